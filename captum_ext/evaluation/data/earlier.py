"""Whether the examples of a run that goes on are those that it began with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from captum_ext.evaluation.data.examples import UNREAD, Example, Reading, parts_at
from captum_ext.evaluation.data.failures import RunStoppedError
from captum_ext.evaluation.store.folder import OtherRunError


class Earlier:
    """The examples that are known from earlier starts, compared as they are met again.

    Args:
        folder: where results are, for sentences.
        known: what they were by content, by position.
        batch_size: examples per group.
        names: of the examples, for sentences.
        how: items are read.
    """

    def __init__(
        self,
        folder: Path | None,
        known: Mapping[int, Mapping[str, str]],
        batch_size: int,
        names: Sequence[str] | None,
        how: Reading,
    ) -> None:
        self.folder = folder
        self.known = known
        self.batch_size = batch_size
        self.names = names
        self.how = how
        self.n_met = 0

    def to_repeat(self, data: Any, is_mine: Callable[[int], bool]) -> set[int]:
        """Groups, by number, with an example that could not be read then and can be now.

        Raises:
            OtherRunError: if one is no longer what it was.
            RunStoppedError: if one can't be read any more.
        """
        return {
            position // self.batch_size
            for position in sorted(self.known)
            if is_mine(position // self.batch_size)
            and self._is_new(position, *parts_at(data, position, self.how))
        }

    def is_to_repeat(self, group: Sequence[Example]) -> bool:
        """The same of a group that has been read."""
        self.n_met = max(self.n_met, group[-1].position + 1)
        first = group[0].position
        met = {p for p in self.known if first <= p < first + self.batch_size}
        if met and met != {example.position for example in group}:
            raise OtherRunError(self._other("there are other examples, not as many"))
        news = [self._is_new(e.position, e.parts, e.given is not None) for e in group
                if e.position in self.known]  # fmt: skip
        return any(news)

    def check_all_met(self, is_mine: Callable[[int], bool]) -> None:
        """Raises OtherRunError if data that came by itself ended before what is known."""
        mine = [p for p in self.known if is_mine(p // self.batch_size)]
        if max(mine, default=-1) >= self.n_met:
            raise OtherRunError(self._other("there were more examples"))

    def _is_new(self, position: int, parts: Mapping[str, str], readable: bool) -> bool:
        then = self.known[position]
        name = position if self.names is None else self.names[position]
        if UNREAD in then:
            # No number came of it: whatever can be read now is what a run from the start has.
            changed = bool(parts) and {**parts, UNREAD: then[UNREAD]} != then
            return readable and (changed or len(then) == 1)
        if not readable:
            raise RunStoppedError(
                f"the run stopped, as example {name} can't be read any more: what is done is kept; "
                "run the same again when it is there."
            )
        differing = [part for part in {**then, **parts} if then.get(part) != parts.get(part)]
        if differing:
            raise OtherRunError(self._other(f"the {differing[0]} of example {name} has changed"))
        return False

    def _other(self, what: str) -> str:
        return (
            f"{self.folder} holds results of other data: {what}. Give another folder, or start "
            "anew (`resume=False`, on the command line --restart)."
        )
