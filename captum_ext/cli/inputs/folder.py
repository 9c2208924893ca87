"""A folder of images as a data set: (image, target, mask)."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from captum_ext._text import number_of
from captum_ext.cli.errors import CallError
from captum_ext.cli.inputs.annotation import Annotation
from captum_ext.cli.inputs.labels import Label
from captum_ext.cli.inputs.pictures import SUFFIXES, PictureError, Reader
from captum_ext.cli.inputs.words import require_folder
from captum_ext.evaluation.store.folder import ForeignFileError, ResultFolder

# Suffixes of pictures that a folder may hold beside those that are read.
_OTHER = (".avif", ".dib", ".heic", ".heif", ".jfif", ".jp2", ".jxl", ".pbm", ".pgm", ".svg")
# The picture that a run draws in its folder of results.
_DRAWN = "curves.png"
_Said = TypeVar("_Said")


class Listing(NamedTuple):
    """The images of a folder, by path relative to it and sorted, and what is to be said."""

    files: list[str]
    notes: list[str]


def images_of(folder: Path, masks: Iterable[Path] = (), out: Path | None = None) -> Listing:
    """The images of a folder and its sub-folders, links to folders included.

    Args:
        folder: where to look.
        masks: pictures that are no images.
        out: the folder of results, whose content is no data.

    Raises:
        CallError: if there is no such folder, no image in it, or ``out`` is the same.
    """
    require_folder(folder)
    left_out = {os.path.realpath(path) for path in (*masks, *([out] if out else []))}
    if os.path.realpath(folder) in left_out:
        raise CallError(
            f"--out is IMAGES {folder} itself, where results would become images: give a folder "
            "of its own."
        )
    notes: list[str] = []
    paths = [*_walk(str(folder), left_out, frozenset(), notes)]
    names = [PurePath(os.path.relpath(path, folder)).as_posix() for path in paths]
    files = sorted(name for name in names if name.lower().endswith(SUFFIXES))
    if not files:
        raise CallError(f"IMAGES {folder} holds no image ({', '.join(SUFFIXES)}).")
    others = sorted(name for name in names if name.lower().endswith(_OTHER))
    if others:
        notes.append(
            f"IMAGES holds {number_of(len(others), 'picture')} of formats that are not read, such "
            f"as {others[0]!r}"
        )
    return Listing(files, notes)


def _walk(
    folder: str, left_out: set[str], above: frozenset[str], notes: list[str]
) -> Iterator[str]:
    """All files below a folder; a link back to a folder above leads nowhere."""
    above |= {os.path.realpath(folder)}
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        notes.append(f"IMAGES: {folder} can't be read ({error.strerror}): what it holds is missing")
        return
    for entry in entries:
        real = os.path.realpath(entry.path)
        if real in left_out or entry.name.startswith(".captum-ext-"):
            continue
        if entry.name == _DRAWN and _is_result(folder):
            continue
        if not os.path.isdir(real):
            yield entry.path
        elif real not in above:
            yield from _walk(entry.path, left_out, above, notes)


def _is_result(folder: str) -> bool:
    """Whether the curves in a folder are those that a run drew."""
    try:
        return ResultFolder(Path(folder)).owns(_DRAWN)
    except ForeignFileError:
        return False


def assigned(
    files: Sequence[str], said: Mapping[str, _Said], option: str
) -> tuple[dict[str, _Said], list[str]]:
    """What is said of paths, with or without suffix, by image; and what is to be said of it.

    Raises:
        CallError: if no path is an image's, one means several images, or an image is meant twice.

    >>> assigned(["a.png", "b.png"], {"a": 1, "b.png": 2, "c.png": 3}, "--labels")
    ({'a.png': 1, 'b.png': 2}, ["--labels names 1 image that is not there, such as 'c.png'"])
    """
    stems = defaultdict(list)
    for file in files:
        stems[_stem(file)].append(file)
    whole, found, names, gone = {*files}, dict[str, _Said](), dict[str, str](), list[str]()
    for name, value in said.items():
        meant = [name] if name in whole else stems.get(name, [])
        if not meant:
            gone.append(name)
        elif len(meant) > 1:
            raise CallError(
                f"{option} names {name!r}, which is {meant[0]!r} as well as {meant[1]!r}: write "
                "the suffix."
            )
        elif found.setdefault(meant[0], value) != value:
            raise CallError(
                f"{option} says different things of {names[meant[0]]!r} and {name!r}, the same "
                "image; keep one of them."
            )
        else:
            names.setdefault(meant[0], name)
    if not gone:
        return found, []
    missing = number_of(len(gone), "image that is", "images that are")
    sentence = f"{option} names {missing} not there, such as {gone[0]!r}"
    if len(gone) == len(said):
        raise CallError(f"{sentence}: paths are relative to IMAGES.")
    return found, [sentence]


def _stem(file: str) -> str:
    return PurePath(file).with_suffix("").as_posix()


class Folder(Sequence[tuple[Tensor, "Label | None", "Tensor | None"]]):
    """Images by position: the tensor the model takes, the class, and the annotated region.

    Of an image of several classes the regions (classes, H, W), where its annotation tells them.

    An item with a fault of its own raises ValueError with the reason; if the disk fails, or a
    file has gone since the start, that is an OSError.

    Args:
        folder: where the images are.
        files: their paths, relative to the folder.
        labels: classes by path.
        annotations: by path.
        reader: from a file to the tensor that the model takes.
    """

    def __init__(
        self,
        folder: Path,
        files: Sequence[str],
        labels: Mapping[str, Label],
        annotations: Mapping[str, Annotation],
        reader: Reader,
    ) -> None:
        self.folder, self.files, self.labels = folder, list(files), dict(labels)
        self.annotations, self.reader = dict(annotations), reader
        self._missing = {name for name in files if not os.path.exists(folder / name)}

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: Any) -> Any:
        name = self.files[index]
        file = self.folder / name
        if name not in self._missing and not os.path.exists(file):
            # An unmounted disk, as likely as not: nothing is wrong with the image.
            raise FileNotFoundError(errno.ENOENT, "has gone since the start", str(file))
        annotation = self.annotations.get(name)
        try:
            picture = self.reader.picture(file)
            target = self.target(name)
            regions = annotation.regions(picture.size, target) if annotation else []
            masks = [self.reader.region(region) for region in regions if region is not None]
            mask = torch.stack(masks) if len(masks) > 1 else next(iter(masks), None)
            return self.reader.tensor(picture), target, mask
        except PictureError as error:
            raise ValueError(error.reason) from error
        except CallError as error:
            raise ValueError(str(error)) from error

    def target(self, name: str) -> Label | None:
        """The class of an image, or several, if it is known."""
        annotation = self.annotations.get(name)
        return self.labels.get(name, annotation.label if annotation else None)

    def identity(self, index: int) -> dict[str, str]:
        """What decides an example, by the bytes of its files: `evaluate` compares it.

        Raises:
            OSError: if the image's file can't be read.
        """
        name = self.files[index]
        annotation = self.annotations.get(name)
        return {
            "image": _digest_of(self.folder / name),
            "target": str(self.target(name)),
            "mask": "None []" if annotation is None else _content_of(annotation),
        }


def _content_of(annotation: Annotation) -> str:
    """What an annotation says, its files by their content."""
    own = [(label, _content_of(one)) for label, one in annotation.of_class]
    masks = [_digest_of_mask(file) for file in annotation.masks]
    return f"{replace(annotation, masks=(), of_class=())!r} {masks} {own}"


def _digest_of_mask(file: Path) -> str:
    try:
        return _digest_of(file)
    except OSError:
        # That it is missing is a reason of this example's.
        return "missing"


def _digest_of(file: Path) -> str:
    if not stat.S_ISREG(file.stat().st_mode):
        return "no file"
    seen = hashlib.sha256()
    with file.open("rb") as stream:
        while part := stream.read(1 << 20):
            seen.update(part)
    return seen.hexdigest()
