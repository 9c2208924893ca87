"""What a run is, and whether a folder holds another one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from captum_ext.evaluation.store.folder import OtherRunError


@dataclass(frozen=True)
class About:
    """What a run is.

    Args:
        shown: the settings in few words, for people.
        content: all that decides the numbers, by content, for comparing; both as JSON can hold.
        unknown: what decides them but has no content that could be compared, by its place.
    """

    shown: dict[str, Any] = field(default_factory=dict)
    content: dict[str, Any] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """What a file says of the run that wrote it."""

    content: dict[str, Any]
    unknown: dict[str, str]
    session: str


def check_same(run: Run, about: About, folder: Path, session: str) -> None:
    """Raises OtherRunError unless a file of the folder is of this run."""
    wanted = json.loads(text_of(about.content))
    anew = "start anew (`resume=False`, on the command line --restart)"
    differing = _difference(run.content, wanted)
    if differing:
        key, old, new = differing
        raise OtherRunError(
            f"{folder} holds a run with other settings: `{key}` is {_places(old, new)}. Give "
            f"another folder, or {anew}."
        )
    unknown = {**run.unknown, **about.unknown}
    if unknown and run.session != session:
        place, what = next(iter(unknown.items()))
        raise OtherRunError(
            f"{folder} holds a run that can't be proved to be the same: `{place}` is {what}. Give "
            f"another folder, or {anew}."
        )


def _difference(old: Any, new: Any, path: str = "") -> tuple[str, Any, Any] | None:
    """The first setting that differs: its place, and both values."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return None if old == new else (path, old, new)
    # What is plainly said first: a seed before all that follows from it.
    for key in sorted({**old, **new}, key=lambda key: isinstance(new.get(key), dict)):
        inner = f"{path}.{key}" if path else key
        found = _difference(old.get(key), new.get(key), inner)
        if found:
            return found
    return None


def text_of(value: Mapping[str, Any]) -> str:
    """As JSON, the same for the same content."""
    return json.dumps(value, sort_keys=True)


def _places(old: Any, new: Any) -> str:
    """What stands in either run; of a part that one of them lacks, which has it.

    >>> _places(2, 3), _places({"steps": 50}, None)
    ('2 there and 3 here', 'there and not here')
    """
    if isinstance(old, dict) and new is None:
        return "there and not here"
    if isinstance(new, dict) and old is None:
        return "here and not there"
    return f"{_short(old)} there and {_short(new)} here"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 90 else text[:87] + "..."
