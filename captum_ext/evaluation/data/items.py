"""From an item of a user's data to what an example is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from captum_ext.evaluation.data.given import MORE, Given, plain_or_tensor

Columns: TypeAlias = Sequence[str] | Mapping[str, "str | Sequence[str]"] | None
KEYS = ("inputs", "target", "mask", *MORE)


@dataclass(frozen=True)
class Labels:
    """The classes of one example, each explained and scored by itself.

    Args:
        classes: their numbers, rising.
        of: how many classes there are, where a vector of 0 and 1 says it.
    """

    classes: tuple[int, ...]
    of: int | None = None


Target: TypeAlias = int | float | Labels | None


class Parts(NamedTuple):
    """An item, read: what the model is given, the target and the annotated regions."""

    given: Given
    target: Target
    mask: Tensor | None


def parts_of(position: int, item: Any, columns: Columns, scores: bool) -> Parts:
    """An item's parts.

    Args:
        position: for sentences.
        item: (image, target), (image, target, mask), or a dict with ``KEYS``.
        columns: where in dicts of other keys these are.
        scores: whether a target may be any number.

    Raises:
        TypeError: if it is no such item.
    """
    if isinstance(item, Mapping):
        named = _renamed(position, item, columns)
        return _in_order(_of_dict(position, named, scores), named.get("target"))
    if columns is not None:
        raise TypeError(
            f"`columns` are keys of items that are dicts, but item {position} is "
            f"{type(item).__name__}."
        )
    parts = _of_tuple(position, item, scores)
    return _in_order(parts, item[1])


def _in_order(parts: Parts, listed: Any) -> Parts:
    """Regions of classes that come in a list's order in that of their numbers."""
    mask = parts.mask
    if not isinstance(listed, list | tuple) or mask is None or mask.dim() < 3:
        return parts
    if len(mask) != len(listed) or len(listed) < 2:
        return parts
    return parts._replace(mask=mask[torch.as_tensor(listed).argsort().to(mask.device)])


def check_columns(columns: Columns) -> None:
    """Raises TypeError or ValueError for columns that can't be meant."""
    if columns is None:
        return
    if isinstance(columns, str) or not isinstance(columns, Mapping | Sequence):
        raise TypeError(f"`columns` are two or three keys, or a dict, but got {columns!r}.")
    named = _by_key(columns)
    unknown = [key for key in named if key not in KEYS]
    if unknown or "inputs" not in named:
        raise ValueError(
            f"`columns` say where {', '.join(KEYS)} are, `inputs` among them, but got {columns!r}."
        )


def _by_key(columns: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(columns, Mapping):
        return dict(columns)
    if len(columns) not in (1, 2, 3):
        raise ValueError(f"`columns` are (inputs, target) or (inputs, target, mask): {columns!r}.")
    return dict(zip(KEYS, columns, strict=False))


def _renamed(position: int, item: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    if columns is None:
        return dict(item)
    found: dict[str, Any] = {}
    for key, named in _by_key(columns).items():
        names = (named,) if isinstance(named, str) else tuple(named)
        lacking = [name for name in names if name not in item]
        if lacking:
            has = ", ".join(map(str, item))
            raise TypeError(f"`columns` name {lacking[0]!r}, but item {position} has {has}.")
        values = tuple(item[name] for name in names)
        found[key] = values[0] if isinstance(named, str) else values
    return found


def _of_dict(position: int, item: dict[str, Any], scores: bool) -> Parts:
    unknown = [str(key) for key in item if key not in KEYS]
    if unknown or "inputs" not in item:
        raise TypeError(
            f"`data` yields dicts with {', '.join(KEYS)}, of which `inputs` alone is needed, but "
            f"item {position} has {', '.join(map(str, item))}: say with `columns=` where they are."
        )
    read: dict[str, Any] = {}
    for key in ("inputs", "mask", *MORE):
        if item.get(key) is not None:
            try:
                read[key] = plain_or_tensor(item[key])
            except TypeError as error:
                raise TypeError(f"`data`: the {key} of item {position} is {error}.") from error
    inputs = read.pop("inputs", None)
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    if not tensors or not all(isinstance(x, Tensor) for x in tensors):
        kinds = ", ".join(type(x).__name__ for x in tensors)
        raise TypeError(
            f"`data`: the inputs of item {position} are a tensor or a tuple of tensors, without a "
            f"batch dimension, but got ({kinds})."
        )
    mask = read.pop("mask", None)
    more = {key: _settled(key, value) for key, value in read.items()}
    target = _class(position, tensors[0], item.get("target"), scores)
    return Parts(Given(tensors, not isinstance(inputs, tuple), more), target, mask)


def _settled(key: str, value: Any) -> Any:
    if key == "additional_forward_args":
        return value if isinstance(value, tuple) else (value,)
    if key == "baselines":
        # A number of a tensor's kind is one for the whole input.
        values = value if isinstance(value, tuple) else (value,)
        plain = tuple(v.item() if isinstance(v, Tensor) and not v.dim() else v for v in values)
        return plain if isinstance(value, tuple) else plain[0]
    return value


def _of_tuple(position: int, item: Any, scores: bool) -> Parts:
    parts = tuple(item) if isinstance(item, tuple | list) else (item,)
    if len(parts) not in (2, 3) or not isinstance(parts[0], Tensor):
        kinds = ", ".join(type(part).__name__ for part in parts)
        raise TypeError(
            "`data` yields (image, target) or (image, target, mask) with tensor images, or dicts, "
            f"but item {position} is ({kinds}): read files first, as a torch Dataset does."
        )
    image, target, *rest = parts
    mask = rest[0] if rest else None
    if isinstance(mask, str | bytes | Path):
        raise TypeError(
            f"`data` may hold a mask (H, W) or (classes, H, W) as a third entry, but that of "
            f"item {position} is {type(mask).__name__}: leave it out, and give names of examples "
            "as `names`."
        )
    try:
        mask = None if mask is None else torch.as_tensor(mask)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"`data` may hold a mask (H, W) or (classes, H, W) as a third entry, but that of "
            f"item {position} is {type(mask).__name__}: give a tensor or an array."
        ) from error
    return Parts(Given((image.detach(),)), _class(position, image, target, scores), mask)


def _class(position: int, first: Tensor, target: Any, scores: bool) -> Target:
    if target is None:
        return None
    if isinstance(target, list | tuple):
        return _listed(position, target)
    if getattr(target, "ndim", 0) == 1 and len(target) != 1 and first.dim() <= 3:
        return _hot(position, torch.as_tensor(target))
    if isinstance(target, Tensor) and target.numel() != 1:
        raise TypeError(
            f"`data` holds examples where it can be indexed, but item {position} is a batch: give "
            "a DataLoader or an iterator of batches."
        )
    try:
        number = target.item() if hasattr(target, "item") else target
        if int(number) == number:
            return int(number)
        if scores and isinstance(number, float):
            return number
    except (TypeError, ValueError, OverflowError, RuntimeError):
        pass
    raise TypeError(
        f"`data` holds the number of a class beside each input, or None for the model's "
        f"prediction, but that of item {position} is {target!r:.60}."
    )


def _hot(position: int, target: Tensor) -> Labels:
    """The classes at which a vector is 1."""
    if not bool(((target == 0) | (target == 1)).all()):
        raise TypeError(
            "`data` holds several classes of an input as a vector of 0 and 1, or as a list of "
            f"their numbers, but that of item {position} is a vector of {len(target)}: "
            f"{target.tolist()!r:.60}."
        )
    return Labels(tuple(target.nonzero().flatten().tolist()), len(target))


def _listed(position: int, target: Sequence[Any]) -> int | Labels:
    """The classes whose numbers are listed; one alone is as a number."""
    numbers = [int(k) for k in target if isinstance(k, Integral) and not isinstance(k, bool)]
    # A vector of 0 and 1 that comes as a list would name its classes twice.
    if len({*numbers}) != len(target):
        raise TypeError(
            f"`data` holds several classes of an input as a list of different numbers, or as a "
            f"tensor of 0 and 1, but that of item {position} is {target!r:.60}."
        )
    return numbers[0] if len(numbers) == 1 else Labels(tuple(sorted(numbers)))
