"""Maps in files: one ``.npz`` a method, of images by name, written here or by any other library."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captum_ext._captum import Attribution
from captum_ext._text import printable, reason
from captum_ext.cli.errors import CallError, say
from captum_ext.cli.inputs.folder import Folder
from captum_ext.cli.output import MARK, maps_file, whole_file
from captum_ext.evaluation.settings import versions
from captum_ext.registry import METHODS, Method

_UNLABELED = -1


def write_maps(
    file: Path,
    maps: Sequence[Tensor],
    names: Sequence[str],
    targets: Sequence[int | None],
    settings: Mapping[str, Any],
) -> None:
    """Writes maps (N, C, H, W) of named images, with all that decided them.

    Args:
        file: a ``.npz``; its folder is made.
        maps: of each image, (C, H, W).
        names: of the images.
        targets: the class that each map explains.
        settings: how the maps were made.

    Raises:
        ValueError: if the maps have several shapes.
    """
    if len({one.shape for one in maps}) > 1:
        raise ValueError("images of several sizes have no common array of maps")
    file.parent.mkdir(parents=True, exist_ok=True)
    known = [_UNLABELED if target is None else target for target in targets]
    said: dict[str, Any] = {"settings": settings, "versions": versions()}
    with whole_file(file) as temporary, temporary.open("wb") as stream:
        entries: dict[str, Any] = {
            # First, and as plain bytes, where it is looked for.
            "captum_ext": np.bytes_(MARK.encode()),
            "maps": torch.stack([*maps]).float().cpu().numpy(),
            "names": np.array([*names]),
            "targets": np.array(known, dtype=np.int64),
            **{key: np.array(json.dumps(value, default=str)) for key, value in said.items()},
        }
        np.savez(stream, **entries)


class Kept:
    """Maps of a run that may be stopped, each in a file of its own until all are there.

    Args:
        folder: is made; what is there of the same run is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, position: int, method: str, credit: Tensor) -> None:
        """Keeps the map of an example."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with whole_file(self._file(position, method)) as temporary, temporary.open("wb") as stream:
            np.save(stream, credit.detach().float().cpu().numpy())

    def of(self, position: int, method: str) -> Tensor:
        """The map of an example.

        Raises:
            ValueError: if it isn't there any more.
        """
        try:
            return torch.from_numpy(np.load(self._file(position, method), allow_pickle=False))
        except OSError as error:
            raise ValueError(
                "a map that the run kept has gone: give --restart, which makes all anew"
            ) from error

    def clear(self) -> None:
        """Removes the maps of an earlier run, and nothing else that may stand there."""
        for file in [*self.folder.glob("*.npy")]:
            if re.match(r"\d+-", file.name):
                file.unlink(missing_ok=True)
        with suppress(OSError):
            # Something else stands there, or nothing ever did.
            self.folder.rmdir()

    def _file(self, position: int, method: str) -> Path:
        return self.folder / f"{position}-{maps_file(Path(), method).stem}.npy"


def register_maps(files: Mapping[str, Path], data: Folder) -> None:
    """Makes every file of ``--maps`` a method of its name, for the run.

    Raises:
        CallError: if a file is none of maps, or its maps are not those of the images.
    """
    if not files:
        return
    held = {name: _read(file) for name, file in files.items()}
    images: dict[str, tuple[str, Tensor]] = {}
    for k, name in enumerate(data.files):
        try:
            image = data[k][0]
        except (ValueError, OSError):
            # It is left out, with its reason.
            continue
        images[printable(name)] = _content(image), image
    for method, (file, one) in zip(files, held.items(), strict=True):
        METHODS.add(method, Method(method, _Maker(_matched(file, one, images))))


@dataclass(frozen=True)
class _Held:
    """What a file holds: maps (C, H, W) by image, and the class that each explains."""

    maps: dict[str, Tensor]
    targets: dict[str, int]


def _read(file: Path) -> _Held:
    try:
        with np.load(file, allow_pickle=False) as held:
            maps, names = np.asarray(held["maps"]), [str(name) for name in held["names"].tolist()]
            targets = held["targets"].tolist() if "targets" in held else [_UNLABELED] * len(names)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise CallError(
            f'--maps {file} is no .npz with "maps" (N, C, H, W) and "names" (N): {reason(error)}'
        ) from error
    if maps.ndim != 4 or len(maps) != len(names) or len(targets) != len(names):
        raise CallError(
            f"--maps {file} needs maps of shape (N, C or 1, H, W), and N names, but has "
            f"{maps.shape} and {len(names)} names."
        )
    if maps.dtype.kind not in "fiu" or not np.isfinite(maps).all():
        raise CallError(f"--maps {file} holds nan, infinite values, or no numbers.")
    if len({*names}) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise CallError(f"--maps {file} names {twice!r} twice.")
    tensors = torch.from_numpy(maps.astype(np.float32))
    known = {n: int(t) for n, t in zip(names, targets, strict=True) if t != _UNLABELED}
    return _Held(dict(zip(names, tensors, strict=True)), known)


def _matched(
    file: str, held: _Held, images: Mapping[str, tuple[str, Tensor]]
) -> dict[str, tuple[Tensor, int | None]]:
    """The map, and the class that it explains, of each image by its content."""
    missing = [name for name in images if name not in held.maps]
    if missing:
        raise CallError(
            f"--maps {file} has no map of {len(missing)} of {len(images)} images, such as "
            f"{missing[0]!r}; it names {next(iter(held.maps), 'none')!r}: names are paths relative "
            "to IMAGES."
        )
    others = len(held.maps) - len(images)
    if others:
        say(f"--maps {file}: {others} maps of other images are left out")
    found: dict[str, tuple[Tensor, int | None]] = {}
    for name, (content, image) in images.items():
        credit = held.maps[name]
        if credit.shape[1:] != image.shape[1:] or credit.shape[0] not in (1, image.shape[0]):
            raise CallError(
                f"--maps {file}: the map of {name!r} has shape {tuple(credit.shape)}, but the "
                f"model sees {tuple(image.shape)}: one channel or as many, of that size."
            )
        # Shared out, so that sums over channels are the map's own.
        whole = (credit / (image.shape[0] / credit.shape[0])).expand_as(image)
        before = found.setdefault(content, (whole, held.targets.get(name)))
        if not torch.equal(before[0], whole):
            raise CallError(
                f"--maps {file} has another map for {name!r} than for an image of the same pixels."
            )
    return found


@dataclass(frozen=True)
class _Maker:
    maps: dict[str, tuple[Tensor, int | None]]

    def __call__(self, model: Any) -> Attribution:
        return Given(model, self.maps)


class Given(Attribution):
    """Maps that were made elsewhere, found by the content of the image.

    Args:
        forward_func: is never asked.
        maps: by content the map, (C, H, W), and the class that it explains, if that is known.
    """

    def __init__(self, forward_func: Any, maps: dict[str, tuple[Tensor, int | None]]) -> None:
        super().__init__(forward_func)
        self.maps = maps

    def attribute(self, inputs: Tensor, target: Any = None) -> Tensor:
        """The maps of the images.

        Raises:
            ValueError: if one of them explains another class than ``target``.
        """
        wanted = torch.as_tensor(_UNLABELED if target is None else target).expand(len(inputs))
        found = []
        for one, asked in zip(inputs, wanted.tolist(), strict=True):
            credit, target_of_it = self.maps[_content(one)]
            if target_of_it is not None and _UNLABELED != asked != target_of_it:
                raise ValueError(f"its map explains class {target_of_it}, not {asked}")
            found.append(credit)
        return torch.stack(found).to(inputs)


def _content(image: Tensor) -> str:
    return hashlib.sha256(image.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
