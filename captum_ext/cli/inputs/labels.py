"""The classes of a folder's images: from a CSV, from sub-folders, or none."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import TypeAlias

from torch import nn

from captum_ext._text import number_of
from captum_ext.cli.errors import CallError
from captum_ext.cli.inputs.models import name_of
from captum_ext.cli.inputs.pictures import SUFFIXES
from captum_ext.cli.inputs.words import text_of
from captum_ext.cli.options import PROBABILITY, SCORE

Label: TypeAlias = int | tuple[int, ...]
"""The class of an image, or several of a multi-label model."""
_HEADS = ("class", "label", "target")
"""What a second column of classes is called, in small letters."""


class Classes:
    """A model's classes, by number and by name.

    >>> classes = Classes(["cat", "dog", "crane", "crane"])
    >>> classes.number("dog"), classes.number("1"), classes.number(1)
    (1, 1, 1)
    >>> classes.number("bird"), classes.number("crane"), classes.number(10**30)
    (None, None, None)
    """

    @classmethod
    def of(cls, model: nn.Module, n: int, answers: str = PROBABILITY) -> Classes:
        """The ``n`` classes of a model, by the names that it knows; of scores its outputs."""
        return cls([name_of(model, k, answers) for k in range(n)])

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        times = Counter(self.names)
        self._numbers = {name: k for k, name in enumerate(self.names) if times[name] == 1}

    def number(self, said: object) -> int | None:
        """The class that is meant: by number, or by a name that one class alone bears.

        None if there is no such class, or if the number and the name of two classes agree.
        """
        if isinstance(said, float) and said.is_integer():
            said = int(said)
        if isinstance(said, int) and not isinstance(said, bool):
            return said if 0 <= said < len(self.names) else None
        if not isinstance(said, str):
            return None
        text = said.strip()
        named = self._numbers.get(text)
        if not (text.isascii() and text.isdecimal()):
            return named
        number = int(text) if len(text) < 20 and int(text) < len(self.names) else None
        return number if named in (None, number) else None


def target_of(said: str | None, classes: Classes, answers: str = PROBABILITY) -> int | None:
    """The class or output that ``--target`` means, by number or name.

    None for classes if nothing is said: each image's top class. Of scores, which have none, the
    only output.

    Raises:
        CallError: if the model has no such class, several of this name, or several outputs of
            which none is said.
    """
    what = "an output" if answers == SCORE else "a class"
    if said is None:
        if answers == SCORE and len(classes.names) > 1:
            raise CallError(
                f"--target is needed: the model has {number_of(len(classes.names), 'output')}, and "
                "--reading score has no top class."
            )
        return 0 if answers == SCORE else None
    same = [str(k) for k, name in enumerate(classes.names) if name == said.strip()]
    if len(same) > 1:
        kind = "outputs" if answers == SCORE else "classes"
        raise CallError(f"--target {said!r} names the {kind} {', '.join(same)}: give a number.")
    number = classes.number(said)
    if number is None:
        raise CallError(
            f"--target is {what} from 0 to {len(classes.names) - 1} or its name, but got "
            f"{said[:80]!r}."
        )
    return number


def targets_of(
    said: Sequence[str] | None, classes: Classes, answers: str = PROBABILITY
) -> list[int] | None:
    """`target_of` each of several ``--target``; None for the top class.

    Raises:
        CallError: as `target_of`, or if two name the same class.
    """
    found: list[int] = []
    words: Sequence[str | None] = said or [None]
    for number in (target_of(one, classes, answers) for one in words):
        if number is None:
            return None
        if number in found:
            kind = "output" if answers == SCORE else "class"
            raise CallError(f"--target names {kind} {number} twice.")
        found.append(number)
    return found


def from_csv(
    file: Path, classes: Classes, images: Iterable[str], several: bool = False
) -> dict[str, Label]:
    """Classes by image: lines of path (relative to the folder) and class, with or without a head.

    The first line is a head if it names neither a class of the model nor an image. An image of
    several classes has a line for each, or one with ``;`` between them.

    Args:
        file: the CSV.
        classes: the model's.
        images: the folder's, by path.
        several: whether an image may be of several classes.

    Raises:
        CallError: if the file can't be read, or holds no such line, a class is not the model's,
            columns stand for classes, or an image has two and may not.
    """
    # Names of files need not be UTF-8.
    text = text_of("--labels", file, "surrogateescape")
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    except csv.Error as error:
        raise CallError(f"--labels {file} can't be read: {error}.") from error
    _require_classes_second(file, rows, classes, images, several)
    labels: dict[str, list[int]] = {}
    lines: dict[str, int] = {}
    for k, (line, row) in enumerate(rows):
        name = Path(row[0]).as_posix()
        numbers = _numbers(row[1], classes) if len(row) > 1 else []
        if not numbers:
            if k == 0 and len(row) > 1 and not _is_image(name, images):
                continue
            raise CallError(
                f"--labels {file}, line {line}: needs an image's path and one of the model's "
                f"{number_of(len(classes.names), 'class', 'classes')}, but got "
                f"{','.join(row)[:80]!r}{_on_separators(row)}."
            )
        found = labels.setdefault(name, [])
        found += [k for k in dict.fromkeys(numbers) if k not in found]
        first = lines.setdefault(name, line)
        if len(found) > 1 and not several:
            where = f"line {line}" if first == line else f"lines {first} and {line}"
            raise CallError(
                f"--labels {file}, {where}: {name!r} has the classes "
                f"{found[0]} and {found[1]}; keep one of them, as those of --model exclude one "
                "another; of a multi-label model say it: --activation sigmoid."
            )
    if not labels:
        raise CallError(f"--labels {file} has no line of an image's path and its class.")
    return {n: found[0] if len(found) == 1 else tuple(sorted(found)) for n, found in labels.items()}


def _require_classes_second(
    file: Path,
    rows: Sequence[tuple[int, list[str]]],
    classes: Classes,
    images: Iterable[str],
    several: bool,
) -> None:
    """Raises CallError for a table whose second column is not its classes.

    Marks of 0 and 1 in a column for each class are also numbers of classes, as ages are: those of
    the second column would become the images' classes.
    """
    head = rows[0][1] if rows else []
    named = {cell for cell in head[1:] if _is_named(cell, classes)}
    has_head = not all(cell.isdecimal() for cell in head[1:])
    body = [row[1:] for _, row in rows[has_head:]]
    marks = bool(body) and all({*cells} <= {"0", "1"} for cells in body)
    wide = max(map(len, body), default=0) > 1 and (head[1:] or [""])[0].lower() not in _HEADS
    third = next((cell for cell in head[2:] if cell.lower() in _HEADS), None)
    if third is not None and head[1].lower() not in _HEADS:
        raise CallError(
            f"--labels {file} has {third!r} in column {head.index(third) + 1}, but classes are "
            f"read from the second, {head[1]!r}: write path and class first."
        )
    of_one = bool(named) and not _is_image(Path(head[0]).as_posix(), images)
    if (len(named) > 1 and of_one) or (marks and (wide or of_one)):
        raise CallError(
            f"--labels {file} has columns of 0 and 1 for classes, it seems, but each line is read "
            "as a path and its class: write a line for each 1, under a first line `file,class`."
        )
    for line, row in rows if several else ():
        lost = next((cell for cell in row[2:] if _is_named(cell, classes)), None)
        if lost is not None:
            raise CallError(
                f"--labels {file}, line {line}: has the class {lost!r} in a column that is not "
                "read: write all classes of an image in the second one, with ; between them."
            )


def _is_named(cell: str, classes: Classes) -> bool:
    """Whether a cell is a class's name, and no number."""
    return not cell.isdecimal() and classes.number(cell) is not None


def _on_separators(row: Sequence[str]) -> str:
    other = next((mark for mark in (";", "\t") if len(row) == 1 and mark in row[0]), None)
    return f": columns are separated by commas, not by {other!r}" if other else ""


def _numbers(said: str, classes: Classes) -> list[int]:
    """The classes that a cell names; none if one of them is no class."""
    whole = classes.number(said)
    # The name of a class may have a semicolon.
    found = [whole] if whole is not None else [classes.number(one) for one in said.split(";")]
    return [] if None in found else [k for k in found if k is not None]


def _is_image(name: str, images: Iterable[str]) -> bool:
    return name.lower().endswith(SUFFIXES) or any(
        name in (image, PurePath(image).with_suffix("").as_posix()) for image in images
    )


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
    unknown = [folder for folder, number in numbers.items() if number is None]
    # Where some are classes by name or number, counting the others would be a guess.
    if len(unknown) == len(folders) == len(classes.names):
        numbers = {folder: k for k, folder in enumerate(folders)}
    elif unknown:
        raise CallError(
            "IMAGES has sub-folders that are not the model's "
            f"{number_of(len(classes.names), 'class', 'classes')}, such as {unknown[0]!r}: name "
            "them by class, or give --labels."
        )
    return {f: n for f, p in zip(files, parts, strict=True) if (n := numbers[p[0]]) is not None}
