"""A method that keeps to everything, and for each check one that breaks it."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from captum.attr import GuidedBackprop, IntegratedGradients
from captum.log import log_usage
from torch import Tensor, nn

from captum_ext.attr import IDGI, PathAttribution
from captum_ext.path import StraightLine
from captum_ext.testing.models import TwoLayers


class Sound(PathAttribution):
    """Integrated Gradients with a seed that it has no use for; what comes out may be changed."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, StraightLine())

    @log_usage()
    def attribute(
        self, inputs, baselines=None, target=None, additional_forward_args=None, n_steps=10,
        internal_batch_size=None, return_convergence_delta=False, seed=0,
    ):  # fmt: skip
        named = {
            "baselines": baselines,
            "target": target,
            "additional_forward_args": additional_forward_args,
            "n_steps": n_steps,
            "internal_batch_size": internal_batch_size,
            "return_convergence_delta": return_convergence_delta,
        }
        return self.changed(inputs, named)

    def changed(self, inputs, named):
        return self.sound(inputs, named)

    def sound(self, inputs, named):
        return super().attribute(inputs, **named)


@dataclass(frozen=True)
class Mutant:
    """How to make it, what its failure says, and which checks fail for the same reason.

    `also` None: what comes out can't be worked with at all.
    """

    make: Callable[[Any], Any]
    words: str
    also: tuple[str, ...] | None = ()


MUTANTS: dict[str, Mutant] = {}


def breaks(check: str, words: str, *also: str, all_others: bool = False) -> Callable[[Any], Any]:
    """A decorator of ``changed(self, inputs, named)``, or of a class."""

    def add(broken: Any) -> Any:
        made = broken if isinstance(broken, type) else type(check, (Sound,), {"changed": broken})
        MUTANTS[check] = Mutant(made, words, None if all_others else also)
        return broken

    return add


def after(change: Callable[..., Tensor]) -> Callable[..., Any]:
    """Changes every map by a function of it, its inputs and the arguments."""

    def changed(self, inputs, named):
        found = self.sound(inputs, named)
        if named["return_convergence_delta"]:
            return change(found[0], inputs, named), found[1]
        if isinstance(found, tuple):
            pairs = zip(found, inputs, strict=True)
            return tuple(change(credit, x, named) for credit, x in pairs)
        return change(found, inputs, named)

    return changed


def flat(credit: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    return change(credit.flatten(1)).view_as(credit)


NARROW = after(lambda c, x, named: c.mean(1, keepdim=True))
breaks("shape", r"inputs \(3, 3, 6, 5\) got a map \(3, 1, 6, 5\)", all_others=True)(NARROW)
breaks("fidelity", "raised .*", all_others=True)(NARROW)
breaks("dtype", "inputs of torch.float64 got a map of torch.float32")(
    after(lambda c, x, named: c.float() if c.dtype is torch.float64 else c)
)
breaks("device", "inputs on cpu got a map on meta", all_others=True)(
    after(lambda c, x, named: c.to("meta"))
)
GRAPH = after(lambda c, x, named: c * torch.ones_like(c, requires_grad=True))
breaks("detached", "the map requires a gradient, with <MulBackward0", "drawing")(GRAPH)
breaks("drawing", "raised RuntimeError: Can't call numpy", "detached")(GRAPH)
breaks("contiguous", r"of shape \(3, 3, 6, 5\) has strides", "sensitivity")(
    after(lambda c, x, named: c.transpose(2, 3).contiguous().transpose(2, 3) if c.dim() == 4 else c)
)
breaks("channels_last", "in channels_last, .* as usual")(
    after(lambda c, x, named: c if x.is_contiguous() else c.flip(1))
)
breaks(
    "finite", r"3 credits are not, such as inf at \(0, 0, 0, 0\)",
    "fidelity", "sensitivity", "completeness", "sensitivity_b", "unused_feature",
)(
    after(lambda c, x, named: flat(c, lambda f: torch.cat([f[:, :1] / 0, f[:, 1:]], 1).abs()))
)  # fmt: skip
breaks(
    "some_credit", "example 0 has 90 credits, all 0", "completeness", "sensitivity_a", "drawing"
)(after(lambda c, x, named: c * 0))


@breaks("argument_order", r"`attribute` takes \(inputs, target, baselines, ")
class OtherOrder(Sound):
    @log_usage()
    def attribute(self, inputs, target=None, baselines=None, **named):
        return Sound.attribute.__wrapped__(self, inputs, baselines, target, **named)


breaks("batch_equals_examples", "in the batch, of example 0, .* alone")(
    after(lambda c, x, named: c - c.mean(0) if named["target"] == [0, 1, 2] else c)
)
breaks("chunk", "with internal_batch_size=2, .* without")(
    after(lambda c, x, named: c * 1.1 if named["internal_batch_size"] == 2 else c)
)


@breaks("chunk_below_1", "internal_batch_size=0 got a map")
def any_chunk(self, inputs, named):
    return self.sound(inputs, {**named, "internal_batch_size": None})


breaks("repeatable", "in a second run, .* in the first", "random_state_kept", "determinism")(
    after(lambda c, x, named: c * (1 + 1e-4 * random.SystemRandom().random()))
)


@breaks("target_forms", r"of target=tensor\(4\), .* of 4")
def zero_for_tensors(self, inputs, named):
    target = named["target"]
    zero = isinstance(target, Tensor) and target.dim() == 0
    return self.sound(inputs, {**named, "target": 0 if zero else target})


@breaks("no_target_for_one_output", "raised AssertionError: a target is needed")
def always_a_target(self, inputs, named):
    assert named["target"] is not None, "a target is needed"
    return self.sound(inputs, named)


@breaks("wrong_target", "target=95 of 3 examples and 5 classes got a map")
def the_last_class(self, inputs, named):
    target = named["target"]
    beyond = isinstance(target, int) and target > 4
    return self.sound(inputs, {**named, "target": 4 if beyond else target})


@breaks("one_tuple", "a tuple of 1 went in, but a tensor of shape")
def alone(self, inputs, named):
    found = self.sound(inputs, named)
    return found[0] if isinstance(inputs, tuple) and len(inputs) == 1 else found


@breaks("several_inputs", r"inputs \(3, 3, 6, 5\) got a map \(3, 3, 6, 4\)")
def reversed_maps(self, inputs, named):
    found = self.sound(inputs, named)
    return found[::-1] if isinstance(inputs, tuple) else found


@breaks("additional_arguments", "in the batch, of example 0, .* alone")
def mean_arguments(self, inputs, named):
    given = named["additional_forward_args"]
    if given is not None:
        factor, *others = given
        given = (factor.mean().expand(len(factor)), *others)
    return self.sound(inputs, {**named, "additional_forward_args": given})


@breaks("baseline_forms", "with a number, .* with one for each")
def no_number(self, inputs, named):
    number = isinstance(named["baselines"], float)
    return self.sound(inputs, {**named, "baselines": 0 if number else named["baselines"]})


@breaks("wrong_baselines", "baselines of 2 examples for inputs of 3 got a map")
def first_baseline(self, inputs, named):
    base = named["baselines"]
    fewer = isinstance(base, Tensor) and len(base) < len(inputs)
    return self.sound(inputs, {**named, "baselines": base[:1] if fewer else base})


@breaks("nan_input", "1 of its 90 features was nan, and 90 credits came out finite, 0 nan")
def nan_is_0(self, inputs, named):
    return self.sound(inputs.nan_to_num() if isinstance(inputs, Tensor) else inputs, named)


@breaks("empty_batch", r"inputs \(0, 3, 6, 5\) got a map \(1, 3, 6, 5\)")
def one_at_least(self, inputs, named):
    if len(inputs) == 0:
        return inputs.new_zeros(1, *inputs.shape[1:])
    return self.sound(inputs, named)


@breaks("model_unchanged", "the mode was True, is False")
def left_in_eval(self, inputs, named):
    found = self.sound(inputs, named)
    self.forward_func.eval()
    return found


@breaks(
    "model_unchanged_after_an_error", "when the model fails at call 1 of .*, forward hooks.* is 1"
)
def hook_left_behind(self, inputs, named):
    modules = list(self.forward_func.modules())
    handle = modules[-1].register_forward_hook(lambda *_: None)
    found = self.sound(inputs, named)
    handle.remove()
    return found


@breaks("inputs_unchanged", "the inputs changed by 0.5")
def written_over(self, inputs, named):
    found = self.sound(inputs, named)
    if isinstance(inputs, Tensor):
        inputs.detach().add_(0.5)
    return found


@breaks(
    "inputs_unchanged_after_an_error", "when the model fails, requires_grad of the inputs was False"
)
def left_with_gradient(self, inputs, named):
    given = [x for x in (inputs if isinstance(inputs, tuple) else (inputs,)) if not x.requires_grad]
    for x in given:
        x.requires_grad_()
    found = self.sound(inputs, named)
    for x in given:
        x.requires_grad_(False)
    return found


@breaks("random_state_kept", r"the next number drawn is 0\.\d+, not 0\.")
def draws_in_vain(self, inputs, named):
    torch.rand(1)
    return self.sound(inputs, named)


@breaks("noise_tunnel", "raised AttributeError: .*__wrapped__")
class NotLogged(Sound):
    attribute = Sound.attribute.__wrapped__


@breaks("sensitivity", "raised RuntimeError: gradients are off", "noise_tunnel")
def needs_gradients_on(self, inputs, named):
    if not torch.is_grad_enabled():
        raise RuntimeError("gradients are off")
    return self.sound(inputs, named)


@breaks("traced_model", "of the traced model, .* of the model")
def twice_if_traced(self, inputs, named):
    found = self.sound(inputs, named)
    return 2 * found if isinstance(self.forward_func, torch.jit.ScriptModule) else found


@breaks("convergence_delta", r"3 examples got a delta \(\)")
def one_delta(self, inputs, named):
    found = self.sound(inputs, named)
    return (found[0], found[1].mean()) if named["return_convergence_delta"] else found


breaks("completeness", "sum to .*, its output rises by")(after(lambda c, x, named: c / 2))


@breaks("sensitivity_a", r"1 - ReLU\(1 - x\) rises .* the credit of x is \[0.0, 0.0, 0.0\]")
def only_where_there_is_a_gradient(self, inputs, named):
    found = self.sound(inputs, named)
    if not isinstance(self.forward_func, TwoLayers):
        return found
    leaf = inputs.clone().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(self.forward_func(leaf).sum(), leaf)
    return found * (slope != 0)


@breaks(
    "sensitivity_b", "ReLU.x. - ReLU.x., at which", "implementation_invariance", "unit_invariance"
)
def a_little_guided(self, inputs, named):
    found = self.sound(inputs, named)
    if not isinstance(self.forward_func, TwoLayers):
        return found
    guided = GuidedBackprop(self.forward_func).attribute(inputs.clone(), named["target"])
    return found + 0.1 * guided


breaks(
    "unused_feature", "but all its weights are 0",
    "sensitivity_b", "symmetry", "completeness",
)(after(lambda c, x, named: flat(c, lambda f: f + f.roll(1, 1) / 2)))  # fmt: skip


@breaks("implementation_invariance", r"is 5.4 of 2 ReLU\(x\) - ReLU\(x\), 2.7 of ReLU\(x\)")
def by_units(self, inputs, named):
    found = self.sound(inputs, named)
    if not isinstance(self.forward_func, TwoLayers):
        return found
    return found * len(self.forward_func.first.weight)


breaks("symmetry", "the two features of example 0 have")(
    after(lambda c, x, named: flat(c, lambda f: torch.cat([1.1 * f[:, :1], f[:, 1:]], 1)))
)
breaks("input_shift", "after a shift by 0.3, .* before", "unit_invariance")(
    after(lambda c, x, named: c * (1 + 0.02 * x.mean((1, 2, 3), keepdim=True)))
)


@breaks("unit_invariance", "is 0.1154 of 0.2 x .*, 2.4 of 2 x")
class Important(Sound):
    """IDGI, whose credit in f = w x is the share of w^2."""

    def changed(self, inputs, named):
        return IDGI(IntegratedGradients(self.forward_func)).attribute(inputs, **named)


breaks("determinism", "maps under two global states differ by", "random_state_kept")(
    after(lambda c, x, named: c * (1 + 1e-4 * torch.rand(())))
)
