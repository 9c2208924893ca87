"""Examples from whatever a caller has: a list, a data set, a DataLoader, a generator."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from captum_ext._text import reason
from captum_ext.evaluation.data.failures import stop_unless_its_own
from captum_ext.evaluation.store.identity import digest_of_tensor

Data: TypeAlias = Iterable[Any]


@dataclass(frozen=True)
class Example:
    """One example at its position in the data.

    Args:
        position: counts from 0.
        image: (C, H, W), or any shape without a batch dimension; None where it can't be read.
        target: the class to explain; None leaves it to the model's prediction.
        mask: the annotated region, (H, W), if there is one.
        failure: why there is no image.
        identity: what it is by content, where the data says so itself.
    """

    position: int
    image: Tensor | None
    target: int | None = None
    mask: Tensor | None = None
    failure: str | None = None

    identity: Mapping[str, str] | None = None

    @property
    def digest(self) -> str:
        """Its parts by content, as JSON: whether the same position still holds the same."""
        parts = dict(self.parts)
        return json.dumps({**parts, UNREAD: str(self.failure)} if self.image is None else parts)

    @property
    def parts(self) -> Mapping[str, str]:
        """What it is by content: as its data says, or by digests of what was read."""
        if self.identity is not None or self.image is None:
            return self.identity or {}
        parts = {"image": _digest(self.image), "target": str(self.target)}
        return {**parts, "mask": "none" if self.mask is None else _digest(self.mask)}


UNREAD = "unread"
"""Among the parts of an example that could not be read: why."""


def _digest(tensor: Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)} {digest_of_tensor(tensor)}"


def is_indexed(data: Data) -> bool:
    """Whether examples can be read one by one, and only where they are needed."""
    return count(data) is not None and hasattr(data, "__getitem__") and not isinstance(
        data, DataLoader
    )  # fmt: skip


def parts_at(data: Any, position: int) -> tuple[Mapping[str, str], bool]:
    """What an example of indexed data is by content, and whether it can be read.

    Data with a method ``identity`` says it without reading the example.
    """
    if hasattr(data, "identity"):
        said = _identity(data, position)
        return said or {}, said is not None
    example = _item(data, position)
    return example.parts, example.image is not None


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


def groups(data: Data, size: int, wanted: Callable[[int], bool]) -> Iterator[list[Example]]:
    """Examples in groups of ``size`` by position, those groups whose number is wanted.

    What a group holds depends on the data and ``size`` alone. Data that can be indexed is only
    read where it is wanted, and an item that can't be read becomes an example with a failure.

    Raises:
        RunStoppedError: if more than the item fails: its folder, a device, memory.

    >>> images = [(torch.zeros(3, 2, 2), k) for k in range(5)]
    >>> [[e.target for e in group] for group in groups(images, 2, lambda k: k != 1)]
    [[0, 1], [4]]
    """
    n = count(data)
    if n is not None and is_indexed(data):
        for number, start in enumerate(range(0, n, size)):
            if wanted(number):
                yield [_item(data, k) for k in range(start, min(start + size, n))]
        return
    singles = enumerate(_singles(data))
    number = 0
    while group := [_example(k, item) for k, item in islice(singles, size)]:
        if wanted(number):
            yield group
        number += 1


def count(data: Data) -> int | None:
    """How many examples there are, where the data says."""
    if isinstance(data, DataLoader):
        return len(data.dataset) if hasattr(data.dataset, "__len__") else None
    return len(data) if isinstance(data, Sized) else None


def _item(data: Any, position: int) -> Example:
    try:
        example = _example(position, data[position])
    except TypeError:
        raise
    except Exception as error:
        stop_unless_its_own(error, f"example {position}", reading=True)
        example = Example(position, None, failure=reason(error))
    return replace(example, identity=_identity(data, position))


def _singles(data: Data) -> Iterator[Any]:
    for item in data:
        parts = item if isinstance(item, tuple | list) else (item,)
        whole_batch = isinstance(data, DataLoader) and data.batch_size is not None
        if whole_batch or (isinstance(parts[0], Tensor) and parts[0].dim() == 4):
            columns = [[None] * len(parts[0]) if part is None else part for part in parts]
            yield from zip(*columns, strict=True)
        else:
            yield item


def _example(position: int, item: Any) -> Example:
    parts = tuple(item) if isinstance(item, tuple | list) else (item,)
    if len(parts) not in (2, 3) or not isinstance(parts[0], Tensor):
        kinds = ", ".join(type(part).__name__ for part in parts)
        raise TypeError(
            "`data` yields (image, target) or (image, target, mask) with tensor images, but "
            f"item {position} is ({kinds}): read files first, as a torch Dataset does."
        )
    image, target, *rest = parts
    mask = rest[0] if rest else None
    if isinstance(mask, str | bytes | Path):
        raise TypeError(
            f"`data` may hold a mask (H, W) as a third entry, but that of item {position} is "
            f"{type(mask).__name__}: leave it out, and give names of examples as `names`."
        )
    try:
        mask = None if mask is None else torch.as_tensor(mask)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"`data` may hold a mask (H, W) as a third entry, but that of item {position} is "
            f"{type(mask).__name__}: give a tensor or an array."
        ) from error
    return Example(position, image.detach(), _class(position, image, target), mask)


def _class(position: int, image: Tensor, target: Any) -> int | None:
    if target is None:
        return None
    if isinstance(target, Tensor) and target.numel() != 1:
        if target.dim() == 1 and image.dim() <= 3:
            raise TypeError(
                f"`data` holds the number of a class beside each image, but that of item "
                f"{position} is a vector of {len(target)}: of one-hot labels give "
                "`label.argmax()`."
            )
        raise TypeError(
            f"`data` holds examples where it can be indexed, but item {position} is a batch: give "
            "a DataLoader or an iterator of batches."
        )
    try:
        number = target.item() if isinstance(target, Tensor) else target
        if int(number) == number:
            return int(number)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        pass
    raise TypeError(
        f"`data` holds the number of a class beside each image, or None for the model's "
        f"prediction, but that of item {position} is {target!r:.60}."
    )
