"""Examples from whatever a caller has: a list, a data set, a DataLoader, a generator."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader

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
    """

    position: int
    image: Tensor | None
    target: int | None = None
    mask: Tensor | None = None
    failure: str | None = None

    @property
    def digest(self) -> str:
        """Tells whether the same position still holds the same example."""
        seen = hashlib.sha256(repr(self.target).encode())
        if self.image is not None:
            image = self.image.detach().cpu().contiguous()
            seen.update(f"{image.dtype}{tuple(image.shape)}".encode())
            seen.update(image.view(torch.uint8).numpy().tobytes())
        return seen.hexdigest()[:16]


def groups(data: Data, size: int, wanted: Callable[[int], bool]) -> Iterator[list[Example]]:
    """Examples in groups of ``size`` by position, those groups whose number is wanted.

    What a group holds depends on the data and ``size`` alone. Data that can be indexed is only
    read where it is wanted, and an item that raises OSError or ValueError becomes an example with
    a failure.

    >>> images = [(torch.zeros(3, 2, 2), k) for k in range(5)]
    >>> [[e.target for e in group] for group in groups(images, 2, lambda k: k != 1)]
    [[0, 1], [4]]
    """
    n = count(data)
    indexed = n is not None and hasattr(data, "__getitem__") and not isinstance(data, DataLoader)
    if indexed and n is not None:
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
        item = data[position]
    except (OSError, ValueError) as error:
        return Example(position, None, failure=first_line(error))
    return _example(position, item)


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
            f"item {position} is ({kinds})."
        )
    image, target, *rest = parts
    if isinstance(target, Tensor) and target.numel() != 1:
        raise TypeError(
            f"`data` holds examples where it can be indexed, but item {position} is a batch: give "
            "a DataLoader or an iterator of batches."
        )
    mask = rest[0] if rest else None
    return Example(
        position,
        image.detach(),
        None if target is None else int(target),
        None if mask is None else torch.as_tensor(mask),
    )


def first_line(error: BaseException) -> str:
    """An error in one line.

    >>> first_line(ValueError("no\\nand more")), first_line(ValueError())
    ('no', 'ValueError')
    """
    return (str(error).splitlines() or [type(error).__name__])[0]
