"""The classes of a folder's images: from a CSV, from sub-folders, or none."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from captum_ext.cli.errors import CallError


class Classes:
    """A model's classes, by number and by name.

    >>> classes = Classes(["cat", "dog"])
    >>> classes.number("dog"), classes.number("1"), classes.number("bird")
    (1, 1, None)
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)

    def number(self, text: str) -> int | None:
        """The class that a text means: a number, or a name; None if there is no such class."""
        text = text.strip()
        if text.isdecimal():
            return int(text) if int(text) < len(self.names) else None
        return self.names.index(text) if text in self.names else None


def from_csv(file: Path, classes: Classes) -> dict[str, int]:
    """Classes by image: lines of path (relative to the folder) and class, with or without a head.

    Raises:
        CallError: if the file can't be read, or a class is not the model's.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            rows = [row for row in csv.reader(stream) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CallError(f"--labels {file} can't be read: {error}.") from error
    labels = {}
    for k, row in enumerate(rows):
        number = classes.number(row[1]) if len(row) > 1 else None
        if number is None:
            if k == 0 and len(row) > 1 and not row[1].strip().isdecimal():
                continue
            raise CallError(
                f"--labels {file}, line {k + 1}: needs an image's path and one of the model's "
                f"{len(classes.names)} classes, but got {','.join(row)!r}."
            )
        labels[Path(row[0].strip()).as_posix()] = number
    return labels


def from_folders(files: Sequence[str], classes: Classes) -> dict[str, int]:
    """Classes by image where every image lies in a sub-folder; else nothing.

    A sub-folder is named by a class's name or number; or there is one for each class, sorted, as
    in a data set's folder of WordNet ids.

    Raises:
        CallError: if the sub-folders can't be the model's classes.
    """
    parts = [Path(file).parts for file in files]
    if not parts or any(len(p) < 2 for p in parts):
        return {}
    folders = sorted({p[0] for p in parts})
    numbers = {folder: classes.number(folder) for folder in folders}
    if None in numbers.values():
        if len(folders) != len(classes.names):
            unknown = next(folder for folder, number in numbers.items() if number is None)
            raise CallError(
                f"IMAGES has sub-folders that are not the model's {len(classes.names)} classes, "
                f"such as {unknown!r}: name them by class, or give --labels."
            )
        numbers = {folder: k for k, folder in enumerate(folders)}
    return {f: n for f, p in zip(files, parts, strict=True) if (n := numbers[p[0]]) is not None}
