"""Transforms from pictures to images in [0, 1], with a normalization at their end taken off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

Transform: TypeAlias = Callable[[Any], Tensor]
Numbers: TypeAlias = list[float]
# Interpolation and differences of type leave [0, 1] by rounding errors.
_ROUNDING = 1e-4


class UnitImages:
    """A transform whose images are checked: (C, H, W), floating point, in [0, 1].

    Args:
        transform: from a picture to a tensor, without normalization.

    Raises:
        ValueError: when called, if the transform gives anything else.

    >>> UnitImages(lambda picture: picture / 255)(torch.full((3, 2, 2), 255.0)).max()
    tensor(1.)
    >>> UnitImages(lambda picture: picture - 0.5)(torch.zeros(3, 2, 2))
    Traceback (most recent call last):
    ...
    ValueError: `transform` must give images in [0, 1], but gave values from -0.5 to -0.5: ...
    """

    def __init__(self, transform: Transform) -> None:
        self.transform = transform

    def __call__(self, picture: Any) -> Tensor:
        made = self.transform(picture)
        if not isinstance(made, Tensor) or not made.is_floating_point() or made.dim() != 3:
            what = type(made).__name__
            if isinstance(made, Tensor):
                what = f"{made.dtype} of shape {tuple(made.shape)}"
            raise ValueError(
                "`transform` must give a floating point tensor (C, H, W) in [0, 1], but gave "
                f"{what}: end it with ToTensor(), or in v2 with ToDtype(torch.float32, scale=True)."
            )
        low, high = span(made)
        if outside(low, high):
            raise ValueError(
                f"`transform` must give images in [0, 1], but gave values from {low:.3g} to "
                f"{high:.3g}: leave its normalization out and give `mean` and `std` instead, or "
                "clamp what interpolation overshoots."
            )
        return made

    def __repr__(self) -> str:
        return repr(self.transform)


def span(images: Tensor) -> tuple[float, float]:
    """The smallest and the largest value; 0 and 0 of nothing."""
    if images.numel() == 0:
        return 0.0, 0.0
    low, high = images.detach().aminmax()
    return float(low), float(high)


def outside(low: float, high: float) -> bool:
    """Whether values leave [0, 1] by more than rounding; nan is another matter."""
    return low < -_ROUNDING or high > 1 + _ROUNDING


def peeled(transform: Transform) -> tuple[Transform, tuple[Numbers, Numbers] | None]:
    """A transform without the normalization at its end, and that one's mean and std.

    Understood are torchvision's presets (``weights.transforms()``), ``Normalize`` of v1 and v2,
    and ``Compose`` and ``nn.Sequential`` that end with one. What is opaque is left as it is.

    Raises:
        ValueError: if a ``Normalize`` stands elsewhere, where it can't be taken off.

    >>> from torchvision import transforms
    >>> steps = [transforms.ToTensor(), transforms.Normalize([0.5], [0.25])]
    >>> rest, found = peeled(transforms.Compose(steps))
    >>> found, [type(step).__name__ for step in rest.transforms]
    (([0.5], [0.25]), ['ToTensor', 'Identity'])
    """
    rest, found = _peeled(transform)
    if any(isinstance(step, _kinds().normalize) for step in _steps(rest)):
        raise ValueError(
            "`transform` holds a Normalize that is not its last step: leave it out and give "
            "`mean` and `std` instead."
        )
    return rest, found


class _Kinds(NamedTuple):
    """What transforms are told by.

    Args:
        harmless: what may follow a normalization without a difference to the values.
    """

    normalize: tuple[Any, ...]
    harmless: tuple[Any, ...]
    chains: tuple[Any, ...]


@cache
def _kinds() -> _Kinds:
    # torchvision takes as long to import as torch: not before there is a transform.
    from torchvision import transforms
    from torchvision.transforms import v2

    return _Kinds(
        (transforms.Normalize, v2.Normalize),
        (nn.Identity, v2.ToPureTensor),
        (transforms.Compose, v2.Compose, nn.Sequential),
    )


def _peeled(transform: Any) -> tuple[Any, tuple[Numbers, Numbers] | None]:
    if isinstance(transform, _kinds().normalize):
        return nn.Identity(), (_numbers(transform.mean), _numbers(transform.std))
    if all(hasattr(transform, name) for name in ("crop_size", "mean", "std")):
        plain = copy(transform)
        mean, std = _numbers(transform.mean), _numbers(transform.std)
        plain.mean, plain.std = [0.0] * len(mean), [1.0] * len(std)
        return plain, (mean, std)
    if type(transform) not in _kinds().chains:
        return transform, None
    steps = _children(transform)
    for k in reversed(range(len(steps))):
        if not isinstance(steps[k], _kinds().harmless):
            steps[k], found = _peeled(steps[k])
            return _chain(transform, steps) if found else transform, found
    return transform, None


def _children(transform: Any) -> list[Any]:
    inside = getattr(transform, "transforms", None)
    if isinstance(inside, list | tuple | nn.ModuleList):
        return list(inside)
    return list(transform.children()) if isinstance(transform, nn.Module) else []


def _chain(transform: Any, steps: list[Any]) -> Any:
    kind = type(transform)
    return kind(*steps) if kind is nn.Sequential else kind(steps)


def _steps(transform: Any) -> Iterator[Any]:
    yield transform
    for step in _children(transform):
        yield from _steps(step)


def _numbers(given: Any) -> Numbers:
    return [float(x) for x in torch.as_tensor(given, dtype=torch.float64, device="cpu").flatten()]
