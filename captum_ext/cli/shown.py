"""Paths as reports show them: nothing of the folders of a machine."""

from __future__ import annotations

import os
import shlex
from pathlib import Path, PurePath
from typing import overload

from captum_ext._text import printable


@overload
def shown(path: str | Path) -> str: ...
@overload
def shown(path: None) -> None: ...
def shown(path: str | Path | None) -> str | None:
    """A path as it was typed; an absolute one by its last part.

    >>> shown("photos/a.png"), shown("/home/me/photos/"), shown("/home/me/net.py:factory")
    ('photos/a.png', 'photos', 'net.py:factory')
    """
    if path is None:
        return None
    text = str(path)
    return printable(PurePath(text).name if os.path.isabs(text) else text)


def shown_command(line: str) -> str:
    """A command whose absolute paths are shown by their last parts.

    >>> shown_command("evaluate '/my data/x' --out=/tmp/o --limit 3")
    'evaluate x --out=o --limit 3'
    """
    words = []
    for word in shlex.split(line):
        option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        words.append(f"{option}{equals}{shown(value)}" if equals else shown(word))
    return shlex.join(words)
