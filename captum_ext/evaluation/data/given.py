"""What a model is given of one example, and how several become a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from captum_ext._typing import Inputs, Tensors
from captum_ext.evaluation.store.identity import digest_of_tensor

MORE = ("baselines", "feature_mask", "additional_forward_args")
"""What may stand beside inputs, by the names that Captum gives it."""
_PLAIN = (bool, int, float, complex, str, bytes, type(None))


@dataclass(frozen=True)
class Given:
    """An example's inputs and what goes with them, all without a batch dimension.

    Args:
        inputs: one tensor or several.
        bare: whether the model takes one tensor, and no tuple is given to methods.
        more: of the names of ``MORE``, each a tensor, a plain value or a tuple of them.

    >>> one = Given((torch.zeros(3),), more={"additional_forward_args": (torch.tensor(2), "mean")})
    >>> inputs, more = batched([one, one])
    >>> inputs.shape, more["additional_forward_args"]
    (torch.Size([2, 3]), (tensor([2, 2]), 'mean'))
    """

    inputs: Tensors
    bare: bool = True
    more: Mapping[str, Any] = field(default_factory=dict)

    def to(self, device: torch.device) -> Given:
        """The same on a device."""

        def moved(x: Tensor) -> Any:
            return x.to(device)

        more = {key: _each(moved, value) for key, value in self.more.items()}
        return replace(self, inputs=_each(moved, self.inputs), more=more)

    @property
    def kind(self) -> Any:
        """What examples of one batch have in common; a feature mask is the whole batch's."""
        like = {k: _each(digest_of_tensor if k == "feature_mask" else _shape, v)
                for k, v in self.more.items()}  # fmt: skip
        return _each(_shape, self.inputs), self.bare, repr(sorted(like.items()))

    def digests(self, inputs: str) -> dict[str, str]:
        """Every part by content, the inputs under a name."""
        parts = {inputs: self.inputs[0] if self.bare else self.inputs, **self.more}
        return {k: v if isinstance(v := _each(digest, part), str) else repr(v)
                for k, part in parts.items()}  # fmt: skip


def batched(given: Sequence[Given]) -> tuple[Inputs, dict[str, Any]]:
    """Examples of one kind as a batch: its inputs, and what goes with them.

    A feature mask keeps a batch dimension of 1, as Captum's methods take one mask for all.
    """
    first = given[0]
    more = {k: _stacked([one.more[k] for one in given]) for k in first.more if k != "feature_mask"}
    if "feature_mask" in first.more:
        more["feature_mask"] = _each(lambda mask: mask[None], first.more["feature_mask"])
    inputs: Tensors = _stacked([one.inputs for one in given])
    return (inputs[0] if first.bare else inputs), more


def digest(tensor: Tensor) -> str:
    """A tensor by its type, shape and numbers."""
    return f"{tensor.dtype} {list(tensor.shape)} {digest_of_tensor(tensor)}"


def plain_or_tensor(value: Any) -> Any:
    """Arrays and lists of numbers as tensors, tuples of them as tuples, plain values as they are.

    Raises:
        TypeError: for anything else, whose content could not be compared.

    >>> plain_or_tensor(([1, 2], 0.5, None))
    (tensor([1, 2]), 0.5, None)
    """
    if isinstance(value, tuple):
        return tuple(map(plain_or_tensor, value))
    if isinstance(value, _PLAIN):
        return value
    try:
        return torch.as_tensor(value).detach()
    except Exception as error:
        raise TypeError(f"a {type(value).__name__}, not a tensor or an array") from error


def _each(change: Callable[[Tensor], Any], value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_each(change, one) for one in value)
    return change(value) if isinstance(value, Tensor) else value


def _shape(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.dtype, tuple(tensor.shape)


def _stacked(values: list[Any]) -> Any:
    if isinstance(values[0], tuple):
        return tuple(_stacked([*column]) for column in zip(*values, strict=True))
    return torch.stack(values) if isinstance(values[0], Tensor) else values[0]
