"""Maps in files: one ``.npz`` a method, of images by name, written here or by any other library."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from captum_ext._captum import Attribution
from captum_ext._text import number_of, printable, reason
from captum_ext.cli.errors import CallError, say
from captum_ext.cli.inputs.folder import Folder
from captum_ext.cli.output import MARK, maps_file, whole_file
from captum_ext.evaluation.settings import versions
from captum_ext.registry import METHODS, Method

_UNLABELED = -1
_ByClass: TypeAlias = "dict[int | None, Tensor]"
"""Maps (C, H, W) of an image, by the class that each explains; None where that is not known."""
_Held: TypeAlias = dict[str, _ByClass]
"""What a file holds, by image."""


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
        names: of the images; one of several classes has a map for each.
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

    def __call__(self, position: int, method: str, credit: Tensor, target: int | None) -> None:
        """Keeps the map of a class of an example."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self._file(position, method, target)
        with whole_file(file) as temporary, temporary.open("wb") as stream:
            np.save(stream, credit.detach().float().cpu().numpy())

    def of(self, position: int, method: str, target: int | None) -> Tensor:
        """The map of a class of an example.

        Raises:
            ValueError: if it isn't there any more.
        """
        try:
            file = self._file(position, method, target)
            return torch.from_numpy(np.load(file, allow_pickle=False))
        except OSError as error:
            raise ValueError(
                "a map that the run kept has gone: give --restart, which makes all anew"
            ) from error

    def clear(self) -> None:
        """Removes the maps of an earlier run, and nothing else that may stand there."""
        for file in [*self.folder.glob("*.npy")]:
            if re.match(r"\d+(\.\d+)?-", file.name):
                file.unlink(missing_ok=True)
        with suppress(OSError):
            # Something else stands there, or nothing ever did.
            self.folder.rmdir()

    def _file(self, position: int, method: str, target: int | None) -> Path:
        of = "" if target is None else f".{target}"
        return self.folder / f"{position}{of}-{maps_file(Path(), method).stem}.npy"


def register_maps(files: Mapping[str, Path], data: Folder) -> None:
    """Makes every file of ``--maps`` a method of its name, for the run.

    Raises:
        CallError: if a file is none of maps, or its maps are not those of the images.
    """
    if not files:
        return
    held = {name: _read(file) for name, file in files.items()}
    for name, one in held.items():
        _require_classes(files[name], one, data)
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


def _require_classes(file: Path, held: _Held, data: Folder) -> None:
    """Raises CallError for an image of several classes of which the file has not each one's map."""
    for name in data.files:
        label, own = data.target(name), held.get(printable(name), {})
        if isinstance(label, tuple) and own and not {*label} <= {*own}:
            where = "--labels" if name in data.labels else "--annotations"
            has = "one that says no class" if None in own else f"of {_classes(own)} alone"
            raise CallError(
                f"--maps {file} needs a map of each class of {name!r}, which are {_classes(label)} "
                f"by {where}, but has {has}: name the image for each map, and its class in "
                '"targets".'
            )


def _classes(numbers: Iterable[int | None]) -> str:
    return ", ".join(map(str, sorted(k for k in numbers if k is not None)))


def _read(file: Path) -> _Held:
    try:
        with np.load(file, allow_pickle=False) as kept:
            maps, names = np.asarray(kept["maps"]), [str(name) for name in kept["names"].tolist()]
            unlabeled = np.full(len(names), _UNLABELED)
            targets = np.asarray(kept["targets"]) if "targets" in kept else unlabeled
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise CallError(
            f'--maps {file} is no .npz with "maps" (N, C, H, W) and "names" (N): {reason(error)}'
        ) from error
    if targets.shape != (len(names),) or targets.dtype.kind not in "iu":
        raise CallError(
            f'--maps {file} needs a whole number for each name in "targets", the class of its map, '
            f"but has {targets.dtype} of shape {targets.shape} for "
            f"{number_of(len(names), 'name')}."
        )
    if maps.ndim != 4 or len(maps) != len(names):
        raise CallError(
            f"--maps {file} needs maps of shape (N, C or 1, H, W), and N names, but has "
            f"{maps.shape} and {number_of(len(names), 'name')}."
        )
    if maps.dtype.kind not in "fiu" or not np.isfinite(maps).all():
        raise CallError(f"--maps {file} holds nan, infinite values, or no numbers.")
    held: _Held = {}
    tensors = torch.from_numpy(maps.astype(np.float32))
    for name, target, one in zip(names, targets.tolist(), tensors, strict=True):
        own, known = held.setdefault(name, {}), None if target == _UNLABELED else target
        if own and (known in own or None in (known, *own)):
            of = "" if known is None else f" of class {known}"
            raise CallError(
                f"--maps {file} names {name!r} twice{of}: several maps of an image are of several "
                'classes, each in "targets".'
            )
        own[known] = one
    return held


def _matched(
    file: str, held: _Held, images: Mapping[str, tuple[str, Tensor]]
) -> dict[str, _ByClass]:
    """The maps of each image by its content, of the size and channels of the image."""
    missing = [name for name in images if name not in held]
    if missing:
        raise CallError(
            f"--maps {file} has no map of {len(missing)} of {number_of(len(images), 'image')}, "
            f"such as {missing[0]!r}; it names {next(iter(held), 'none')!r}: names are paths "
            "relative to IMAGES."
        )
    others = sum(map(len, held.values())) - sum(len(held[name]) for name in images)
    if others:
        spare = number_of(others, "map of another image is", "maps of other images are")
        say(f"--maps {file}: {spare} left out")
    found: dict[str, _ByClass] = {}
    for name, (content, image) in images.items():
        by_class = found.setdefault(content, {})
        for target, credit in held[name].items():
            if credit.shape[1:] != image.shape[1:] or credit.shape[0] not in (1, image.shape[0]):
                raise CallError(
                    f"--maps {file}: the map of {name!r} has shape {tuple(credit.shape)}, but the "
                    f"model sees {tuple(image.shape)}: one channel or as many, of that size."
                )
            # Shared out, so that sums over channels are the map's own.
            whole = (credit / (image.shape[0] / credit.shape[0])).expand_as(image)
            if not torch.equal(by_class.setdefault(target, whole), whole):
                raise CallError(
                    f"--maps {file} has another map for {name!r} than for an image of the same "
                    "pixels."
                )
    return found


@dataclass(frozen=True)
class _Maker:
    maps: dict[str, _ByClass]

    def __call__(self, model: Any) -> Attribution:
        return Given(model, self.maps)


class Given(Attribution):
    """Maps that were made elsewhere, found by the content of the image.

    Args:
        forward_func: is never asked.
        maps: by content the maps, (C, H, W), by the class that each explains, None if that is not
            known.
    """

    def __init__(self, forward_func: Any, maps: dict[str, _ByClass]) -> None:
        super().__init__(forward_func)
        self.maps = maps

    def attribute(self, inputs: Tensor, target: Any = None) -> Tensor:
        """The maps of the images.

        Raises:
            ValueError: if an image has no map of the class in ``target``, or, of no ``target``,
                several.
        """
        wanted = torch.as_tensor(_UNLABELED if target is None else target).expand(len(inputs))
        pairs = zip(inputs, wanted.tolist(), strict=True)
        return torch.stack([_of_class(self.maps[_content(x)], k) for x, k in pairs]).to(inputs)


def _of_class(maps: _ByClass, asked: int) -> Tensor:
    """The map of the class that is asked, or the only one where it or the question says none."""
    if asked in maps:
        return maps[asked]
    if None in maps or (asked == _UNLABELED and len(maps) == 1):
        return maps.get(None, next(iter(maps.values())))
    told = "its map explains class" if len(maps) == 1 else "its maps explain the classes"
    not_of = "one score" if asked == _UNLABELED else asked
    raise ValueError(f"{told} {_classes(maps)}, not {not_of}")


def _content(image: Tensor) -> str:
    return hashlib.sha256(image.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
