"""`AtLayer`: a method of this package at a layer of the model instead of its inputs."""

from __future__ import annotations

from copy import copy
from typing import Any

import torch
from captum.attr import IntegratedGradients, LayerIntegratedGradients
from torch import Tensor, nn

from captum_ext._captum import Attribution, GradientAttribution, LayerAttribution, log_usage
from captum_ext._tensors import accumulation_dtype, format_baselines, format_inputs
from captum_ext._typing import Baselines, Inputs, Target, Tensors
from captum_ext.attr.configured import Around, Configured, starts_from_baselines, unwrapped
from captum_ext.attr.mask_attribution import MaskAttribution
from captum_ext.attr.path_attribution import PathAttribution
from captum_ext.attr.rise import RISE
from captum_ext.attr.tail import Site, Tail
from captum_ext.score import Score

__all__ = ["AtLayer"]

_METHODS = (PathAttribution, MaskAttribution, RISE, IntegratedGradients)


class AtLayer(LayerIntegratedGradients):
    """A method at a layer: credit of what the layer gives, or is given, such as embeddings.

    The method is asked about the rest of the model, as a function of the layer's activation: it
    goes from the activation of the baselines to that of the inputs, and it has the model's
    values, so that IDGI, `trapezoid`, a `placement` and the mask methods work there too. Over
    `PathAttribution` on a straight line it is Captum's LayerIntegratedGradients with
    ``method="riemann_left"``, whose subclass it is: LLMGradientAttribution takes it.

    The sum of credit is the rise of the model's output only if all that the inputs do to the
    output goes through the layer; ``return_convergence_delta`` tells. IDGI credits features by
    their gradients, also those that don't differ from their baseline.

    Args:
        method: `IDGI`, `GuidedIG`, `BlurIG`, any `PathAttribution`, a mask method, `RISE` or
            Captum's IntegratedGradients, which may be `Configured`. Its model is explained.
        layer: the module, or a list of modules none of which depends on another.

    Raises:
        TypeError: for any other method: Captum has layer classes of its own for its own; for
            one that brings baselines along.
        ValueError: for a mask method that starts from another method, which knows no layer.

    >>> from captum_ext.attr import IDGI
    >>> torch.manual_seed(0)
    <torch._C.Generator object at ...>
    >>> net = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(12, 2), nn.Softmax(1))
    >>> method = AtLayer(IDGI(IntegratedGradients(net)), net[0])
    >>> credit, delta = method.attribute(
    ...     torch.tensor([[3, 1, 4]]), target=1, return_convergence_delta=True
    ... )
    >>> credit.shape, bool(delta.abs() < 1e-6)
    (torch.Size([1, 3, 4]), True)
    """

    def __init__(self, method: Attribution, layer: nn.Module | list[nn.Module]) -> None:
        """As the class says."""
        _require_known(method)
        layers = layer if isinstance(layer, list) else [layer]
        if not layers or not all(isinstance(one, nn.Module) for one in layers):
            raise TypeError(
                "`layer` is a module within the model, such as `model.embed`, or a list of "
                f"modules, but got {layer!r}."
            )
        LayerAttribution.__init__(self, method.forward_func, layer)
        GradientAttribution.__init__(self, method.forward_func)
        self.method = method

    def get_name(self) -> str:
        """The method's own name, of which this is the layer's variant."""
        return f"Layer {self.method.get_name()}"

    def has_convergence_delta(self) -> bool:
        """Whether the method has one."""
        has: bool = self.method.has_convergence_delta()
        return has

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether the method does."""
        does: bool = self.method.multiplies_by_inputs
        return does

    @log_usage()
    def attribute(
        self,
        inputs: Inputs,
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        n_steps: int | None = None,
        internal_batch_size: int | None = None,
        return_convergence_delta: bool = False,
        attribute_to_layer_input: bool = False,
        **options: Any,
    ) -> Any:
        """Attributes the model's output at the target to a layer.

        Args:
            inputs: what the model takes, also integers, such as the ids of tokens.
            baselines: in the form of the inputs, None for zeros; the layer's activation there is
                the method's baseline. A path with a start of its own begins there instead.
            target: this, ``additional_forward_args``, ``n_steps`` and ``internal_batch_size`` as
                in `PathAttribution.attribute`.
            return_convergence_delta: also return the sum of all credit minus the rise of the
                model's output from the baselines to the inputs, (N,); of a path with a start of
                its own from there.
            attribute_to_layer_input: what the layer is given is credited, not what it gives.
            options: further arguments of the method, in the form of the activation, such as
                ``feature_mask`` of a mask method.

        Returns:
            Credit in the shape of the activation: a tensor, or a tuple where the layer gives
            several of floating point; for a list of layers a list of these.

        Raises:
            ValueError: if a layer does not run once, its activation has not one row per
                example, or inputs and baselines do not fit; and whatever the method refuses.
            TypeError: if a layer works on something else than tensors of floating point.
        """
        if return_convergence_delta and not self.has_convergence_delta():
            raise ValueError(
                f"`return_convergence_delta` is for methods that are complete, but "
                f"{self.method.get_name()} has no delta: leave it out."
            )
        tensors = format_inputs(inputs, needs_gradient=False)
        layers = self.layer if isinstance(self.layer, list) else [self.layer]
        site = Site(self.forward_func, tuple(layers), attribute_to_layer_input)
        more = (target, additional_forward_args)
        score = Score(self.forward_func, tensors, *more, chunk=internal_batch_size)
        own_start = not starts_from_baselines(self.method)
        with score.borrowed():
            found, value = site.activations(score, tensors)
            if not own_start:
                begun, first = site.activations(score, format_baselines(baselines, tensors))
        counts = [len(one) for one in found]
        own = {
            "baselines": baselines if own_start else _joined(begun),
            "n_steps": n_steps,
            "internal_batch_size": internal_batch_size,
            "return_convergence_delta": (own_start and return_convergence_delta) or None,
        }
        options |= {key: value for key, value in own.items() if value is not None}
        credit = _of(self.method, Tail(site, counts)).attribute(
            _joined(found),
            target=target,
            additional_forward_args=(*tensors, *(score.additional_forward_args or ())),
            **options,
        )
        if own_start and return_convergence_delta:
            return self._shaped(credit[0], counts), credit[1]
        shaped = self._shaped(credit, counts)
        if not return_convergence_delta:
            return shaped
        return shaped, _delta(credit, value - first)

    def _shaped(self, credit: Inputs, counts: list[int]) -> Any:
        """By layers, if there are several, and alone where a layer has one activation."""
        following = iter(credit if isinstance(credit, tuple) else (credit,))
        by_layer = [tuple(next(following) for _ in range(count)) for count in counts]
        shaped = [one if len(one) > 1 else one[0] for one in by_layer]
        return shaped if isinstance(self.layer, list) else shaped[0]


def _require_known(method: Attribution) -> None:
    inner, chosen = unwrapped(method)
    if "baselines" in chosen:
        raise TypeError(
            "`method` brings `baselines` along, which AtLayer takes in the form of the inputs: put "
            "it outside, as Configured(AtLayer(...), baselines=...)."
        )
    if not isinstance(inner, _METHODS):
        outside = (
            f"put it outside, as {type(inner).__name__}(AtLayer(...))"
            if isinstance(inner, Around)
            else "for Captum's others use Captum's own layer classes"
        )
        raise TypeError(
            "`method` is a path method, a mask method, RISE or Captum's IntegratedGradients, but "
            f"got {type(inner).__name__}: {outside}."
        )
    start = getattr(inner, "start", None)
    if start is not None and isinstance(start.credit, Attribution):
        raise ValueError(
            "`method` starts from another method, which explains the model's inputs and not the "
            "layer: give `start` as maps of the activation's shape."
        )


def _of(method: Attribution, tail: Tail) -> Attribution:
    """The same method of the rest of the model."""
    bound = copy(method)
    bound.forward_func = tail
    if isinstance(method, Configured):
        bound.method = _of(method.method, tail)
    return bound


def _joined(activations: list[Tensors]) -> Inputs:
    """Of all layers, alone if there is one."""
    flat = tuple(a for one in activations for a in one)
    return flat if len(flat) > 1 else flat[0]


def _delta(credit: Inputs, rise: Tensor) -> Tensor:
    parts = credit if isinstance(credit, tuple) else (credit,)
    wide = accumulation_dtype(rise.device)
    total = sum(a.flatten(1).sum(1, dtype=wide).to(rise.device) for a in parts)
    return (total - rise).to(torch.promote_types(parts[0].dtype, torch.float32))
