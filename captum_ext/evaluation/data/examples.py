"""Examples from whatever a caller has: a list, a data set, a DataLoader, a generator."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeAlias

from torch import Tensor
from torch.utils.data import DataLoader

from captum_ext._text import number_of, reason
from captum_ext.evaluation.data.failures import stop_unless_its_own
from captum_ext.evaluation.data.given import Given, digest
from captum_ext.evaluation.data.items import Columns, Target, parts_of

Data: TypeAlias = Iterable[Any]


@dataclass(frozen=True)
class Example:
    """One example at its position in the data.

    Args:
        position: counts from 0.
        given: what the model is given; None where it can't be read.
        target: the class to explain, or several; None leaves it to the model's prediction. Beside a
            model of scores any number.
        mask: the annotated region, (H, W), if there is one; or a region of each class, (classes,
            H, W): of the example's own, rising, or of all that the model has.
        failure: why nothing is given.
        word: what its inputs are called: an "image", or "inputs".
        identity: what it is by content, where the data says so itself.
    """

    position: int
    given: Given | None
    target: Target = None
    mask: Tensor | None = None
    failure: str | None = None
    word: str = "image"
    identity: Mapping[str, str] | None = None

    @property
    def digest(self) -> str:
        """Its parts by content, as JSON: whether the same position still holds the same."""
        parts = dict(self.parts)
        return json.dumps({**parts, UNREAD: str(self.failure)} if self.given is None else parts)

    @property
    def parts(self) -> Mapping[str, str]:
        """What it is by content: as its data says, or by digests of what was read."""
        if self.identity is not None or self.given is None:
            return self.identity or {}
        parts = {**self.given.digests(self.word), "target": str(self.target)}
        return {**parts, "mask": "none" if self.mask is None else digest(self.mask)}


UNREAD = "unread"
"""Among the parts of an example that could not be read: why."""


@dataclass(frozen=True)
class Reading:
    """How items are read: where their parts are, and whether targets may be any number."""

    columns: Columns = None
    scores: bool = False

    def example(self, position: int, item: Any) -> Example:
        """An item as an example."""
        parts = parts_of(position, item, self.columns, self.scores)
        word = "inputs" if isinstance(item, Mapping) else "image"
        return Example(position, parts.given, parts.target, parts.mask, word=word)


_AS_IT_IS = Reading()


def is_indexed(data: Data) -> bool:
    """Whether examples can be read one by one, and only where they are needed."""
    return count(data) is not None and hasattr(data, "__getitem__") and not isinstance(
        data, DataLoader
    )  # fmt: skip


def parts_at(data: Any, position: int, how: Reading = _AS_IT_IS) -> tuple[Mapping[str, str], bool]:
    """What an example of indexed data is by content, and whether it can be read.

    Data with a method ``identity`` says it without reading the example.
    """
    if hasattr(data, "identity"):
        said = _identity(data, position)
        return said or {}, said is not None
    example = item_at(data, position, how)
    return example.parts, example.given is not None


def _identity(data: Any, position: int) -> Mapping[str, str] | None:
    """What the data says of an example's content; None where it can't be read, or isn't said."""
    if not hasattr(data, "identity"):
        return None
    try:
        said: Mapping[str, str] = data.identity(position)
    except (OSError, ValueError) as error:
        stop_unless_its_own(error, f"example {position}", reading=True)
        return None
    return said


def groups(
    data: Data, size: int, wanted: Callable[[int], bool], how: Reading = _AS_IT_IS
) -> Iterator[list[Example]]:
    """Examples in groups of ``size`` by position, those groups whose number is wanted.

    What a group holds depends on the data and ``size`` alone. Data that can be indexed is only
    read where it is wanted, and an item that can't be read becomes an example with a failure.

    Raises:
        RunStoppedError: if more than the item fails: its folder, a device, memory.

    >>> import torch
    >>> images = [(torch.zeros(3, 2, 2), k) for k in range(5)]
    >>> [[e.target for e in group] for group in groups(images, 2, lambda k: k != 1)]
    [[0, 1], [4]]
    """
    n = count(data)
    if n is not None and is_indexed(data):
        for number, start in enumerate(range(0, n, size)):
            if wanted(number):
                yield [item_at(data, k, how) for k in range(start, min(start + size, n))]
        return
    singles = enumerate(_singles(data))
    number = 0
    while group := [how.example(k, item) for k, item in islice(singles, size)]:
        if wanted(number):
            yield group
        number += 1


def count(data: Data) -> int | None:
    """How many examples there are, where the data says."""
    if isinstance(data, DataLoader):
        return len(data.dataset) if hasattr(data.dataset, "__len__") else None
    return len(data) if isinstance(data, Sized) else None


def item_at(data: Any, position: int, how: Reading = _AS_IT_IS) -> Example:
    """An example of indexed data, with a failure where it can't be read."""
    try:
        example = how.example(position, data[position])
    except TypeError:
        raise
    except Exception as error:
        stop_unless_its_own(error, f"example {position}", reading=True)
        example = Example(position, None, failure=reason(error))
    return replace(example, identity=_identity(data, position))


def first_input(data: Data, how: Reading) -> Tensor | None:
    """The first input of the first example of indexed data; None where it can't be read."""
    if not is_indexed(data) or not count(data):
        return None
    given = item_at(data, 0, how).given
    return None if given is None else given.inputs[0]


def _singles(data: Data) -> Iterator[Any]:
    for item in data:
        if isinstance(item, Mapping):
            batch = isinstance(data, DataLoader) and data.batch_size is not None
            yield from _split(item, _rows_of(item)) if batch else [item]
            continue
        parts = item if isinstance(item, tuple | list) else (item,)
        whole_batch = isinstance(data, DataLoader) and data.batch_size is not None
        if whole_batch or (isinstance(parts[0], Tensor) and parts[0].dim() == 4):
            columns = [[None] * len(parts[0]) if part is None else part for part in parts]
            _require_unmixed(columns)
            yield from zip(*columns, strict=True)
        else:
            yield item


def _require_unmixed(columns: Sequence[Any]) -> None:
    """Raises TypeError for targets of a batch that hold what is of several examples in one."""
    n = len(columns[0])
    for part in columns[1:2]:
        if isinstance(part, list | tuple) and any(_has_rows(one, n) for one in part):
            # What a DataLoader makes of lists of classes looks like one vector for each example.
            raise TypeError(
                f"`data` yields batches with targets as a list of "
                f"{number_of(len(part), 'tensor')}: give those of several classes as one "
                "tensor (N, classes) of 0 and 1, or the data set itself."
            )


def _split(value: Any, n: int) -> list[Any]:
    """What is batched in a value, an entry for each of ``n`` examples."""
    if isinstance(value, Mapping):
        columns = {key: _split(one, n) for key, one in value.items()}
        return [{key: column[k] for key, column in columns.items()} for k in range(n)]
    if isinstance(value, tuple | list) and value and all(_has_rows(one, n) for one in value):
        return [*zip(*(_split(one, n) for one in value), strict=True)]
    if _has_rows(value, n) or (isinstance(value, Sequence) and len(value) == n):
        return [value[k] for k in range(n)]
    return [value] * n


def _has_rows(value: Any, n: int) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and len(value) == n


def _rows_of(value: Any) -> int:
    """How many examples a batch holds, by the first tensor in it."""
    if isinstance(value, Tensor) and value.dim():
        return len(value)
    parts = value.values() if isinstance(value, Mapping) else value
    found = [_rows_of(one) for one in parts] if isinstance(value, Mapping | tuple | list) else []
    return next((n for n in found if n), 0)
