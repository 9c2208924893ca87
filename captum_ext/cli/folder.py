"""A folder of images as a data set: (image, target, mask)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor
from torchvision import transforms

from captum_ext.classifier import Transform
from captum_ext.cli.annotations import Annotation, Annotations
from captum_ext.cli.errors import CallError
from captum_ext.cli.pictures import read_image

_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def images_of(folder: Path, annotations: Annotations) -> list[str]:
    """The paths of a folder's images, relative to it and sorted; masks are no images.

    Raises:
        CallError: if there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise CallError(f"IMAGES {folder} is not a folder.")
    files = sorted(
        p.relative_to(folder).as_posix()
        for p in folder.rglob("*")
        if p.suffix.lower() in _SUFFIXES and p.is_file() and p.resolve() not in annotations.masks
    )
    if not files:
        raise CallError(f"IMAGES {folder} holds no image ({', '.join(sorted(_SUFFIXES))}).")
    return files


class Folder(Sequence[tuple[Tensor, "int | None", "Tensor | None"]]):
    """Images by position: the tensor the model takes, the class, and the annotated region.

    An item that can't be read raises OSError with the reason.

    Args:
        folder: where the images are.
        files: their paths, relative to the folder.
        labels: classes by path.
        annotations: by path, or by path without suffix.
        transform: from a picture to the tensor that the model takes; a picture that has the
            model's size already is taken as it is.
        channels: 3 for color, 1 for grey.
    """

    def __init__(
        self,
        folder: Path,
        files: Sequence[str],
        labels: Mapping[str, int],
        annotations: Annotations,
        transform: Transform,
        channels: int = 3,
    ) -> None:
        self.folder, self.files, self.labels = folder, list(files), dict(labels)
        self.annotations, self.transform, self.channels = annotations, transform, channels

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: Any) -> Any:
        name = self.files[index]
        try:
            picture = read_image(self.folder / name, self.channels, announce=False)
        except CallError as error:
            raise OSError(str(error).removeprefix(f"IMAGE {self.folder / name} ")) from error
        annotation = self.annotation(name)
        region = annotation.region(picture.size) if annotation else None
        image = self._fitted(picture)
        mask = None
        if region is not None:
            mask = self._fitted(region.convert(picture.mode))[0] > 0.5
        return image, self.target(name), mask

    def annotation(self, name: str) -> Annotation | None:
        """What is known of an image."""
        stem = Path(name).with_suffix("").as_posix()
        return self.annotations.of.get(name) or self.annotations.of.get(stem)

    def target(self, name: str) -> int | None:
        """The class of an image, if it is known."""
        annotation = self.annotation(name)
        return self.labels.get(name, annotation.label if annotation else None)

    def _fitted(self, picture: Image.Image) -> Tensor:
        made = self.transform(picture)
        if made.shape[1:] == (picture.height, picture.width):
            return transforms.functional.to_tensor(picture)
        return made

    @property
    def digest(self) -> str:
        """Of what decides the data: path, size in bytes, class and annotation of every image."""
        seen = hashlib.sha256()
        for name in self.files:
            size = (self.folder / name).stat().st_size
            seen.update(repr((name, size, self.target(name), self.annotation(name))).encode())
        return seen.hexdigest()[:16]


def without_image(files: Sequence[str], named: Sequence[str], option: str) -> str | None:
    """A sentence on labels or annotations of images that are not there; None if all are.

    Raises:
        CallError: if none of them is.

    >>> without_image(["a.png"], ["a.png", "b.png"], "--labels")
    "--labels names 1 images that are not there, such as 'b.png'"
    """
    known = {*files, *(Path(f).with_suffix("").as_posix() for f in files)}
    gone = [name for name in named if name not in known]
    sentence = f"{option} names {len(gone)} images that are not there, such as {gone[:1]}"
    sentence = sentence.replace("[", "").replace("]", "")
    if gone and len(gone) == len(named):
        raise CallError(f"{sentence}: paths are relative to IMAGES.")
    return sentence if gone else None
