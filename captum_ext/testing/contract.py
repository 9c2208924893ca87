"""What every attribution method keeps to: Captum's conventions, asked of one method at a time."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any

import torch
from captum.attr import NoiseTunnel, visualization
from captum.metrics import infidelity, sensitivity_max
from torch import Tensor, nn

from captum_ext._text import number_of
from captum_ext.testing.case import (
    AttributionCase,
    described,
    one_tensor,
    require_same,
    require_shape,
)
from captum_ext.testing.models import Failing, OfTwo, OneOutput, Scaled
from captum_ext.testing.report import Check, NotApplicableError, ViolationError, collect, in_words

CONTRACT: list[Check] = []
_CHUNKS = ("internal_batch_size", "perturbations_per_eval")
# torch gives it no types.
trace: Any = torch.jit.trace
_SHARED = ("inputs", "baselines", "target", "additional_forward_args")


# What comes out.


@collect(CONTRACT)
def shape(case: AttributionCase) -> None:
    """A map has exactly the shape of its inputs."""
    require_shape(case.plain, case.inputs)


@collect(CONTRACT)
def dtype(case: AttributionCase) -> None:
    """A map has the type of its inputs, float64 and bfloat16 included."""
    for kind in (case.inputs.dtype, torch.float64, torch.bfloat16):
        if kind is torch.float64 and case.inputs.device.type == "mps":
            continue
        found = case.map(case.inputs.to(kind, copy=True), case.fresh_model().to(kind), target=1)
        if found.dtype is not kind:
            raise ViolationError(f"inputs of {kind} got a map of {found.dtype}")


@collect(CONTRACT)
def device(case: AttributionCase) -> None:
    """A map is on the device of its inputs."""
    if case.plain.device != case.inputs.device:
        raise ViolationError(f"inputs on {case.inputs.device} got a map on {case.plain.device}")


@collect(CONTRACT)
def detached(case: AttributionCase) -> None:
    """A map holds no graph, which would keep the model's activations in memory."""
    if case.plain.requires_grad:
        raise ViolationError(f"the map requires a gradient, with {case.plain.grad_fn}")


@collect(CONTRACT)
def contiguous(case: AttributionCase) -> None:
    """A map owns a number for each place, laid out in order, as Captum's metrics ask."""
    if not case.plain.is_contiguous():
        strides = case.plain.stride()
        raise ViolationError(f"the map of shape {tuple(case.plain.shape)} has strides {strides}")


@collect(CONTRACT)
def channels_last(case: AttributionCase) -> None:
    """The layout of images in memory does not matter."""
    if case.inputs.dim() != 4:
        raise NotApplicableError(f"inputs {tuple(case.inputs.shape)} have no channels")
    found = case.map(case.inputs.clone(memory_format=torch.channels_last), target=1)
    require_same(found, case.plain, case.tolerance, ("in channels_last", "as usual"))


@collect(CONTRACT)
def finite(case: AttributionCase) -> None:
    """A map of finite inputs is finite."""
    bad = ~case.plain.isfinite()
    if bad.any():
        place = tuple(int(i) for i in bad.nonzero()[0])
        raise ViolationError(
            f"{number_of(int(bad.sum()), 'credit is', 'credits are')} not, such as "
            f"{case.plain[place]} at {place}"
        )


@collect(CONTRACT)
def some_credit(case: AttributionCase) -> None:
    """An example on which the model answers has some credit."""
    for i, credit in enumerate(case.plain):
        if not credit.any():
            raise ViolationError(f"example {i} has {number_of(credit.numel(), 'credit')}, all 0")


# What goes in.


@collect(CONTRACT)
def argument_order(case: AttributionCase) -> None:
    """Captum's arguments stand in Captum's order: inputs, baselines, target, additional ones."""
    taken = signature(case.made().attribute).parameters
    found = [name for name in taken if name in _SHARED]
    if next(iter(taken), "") != "inputs" or found != [name for name in _SHARED if name in taken]:
        raise ViolationError(f"`attribute` takes ({', '.join(taken)})")


@collect(CONTRACT)
def batch_equals_examples(case: AttributionCase) -> None:
    """An example's map does not depend on the others of its batch."""
    case.require_not_drawn()
    together = case.map(target=case.classes)
    for i, target in enumerate(case.classes):
        alone = case.map(case.inputs[i : i + 1].clone(), target=target)
        names = (f"in the batch, of example {i}", "alone")
        require_same(together[i : i + 1], alone, case.tolerance, names)


@collect(CONTRACT)
def chunk(case: AttributionCase) -> None:
    """How many examples one call of the model takes does not matter."""
    name = case.require_argument(*_CHUNKS)
    case.require_not_drawn()
    for size in (1, 2, 64):
        found = case.map(target=1, **_chunk(name, size))
        require_same(found, case.plain, case.tolerance, (f"with {name}={size}", "without"))


@collect(CONTRACT)
def chunk_below_1(case: AttributionCase) -> None:
    """A model call of no example is refused in words."""
    name = case.require_argument(*_CHUNKS)
    with _refused(f"{name}=0", name, "at least 1", "batch size"):
        case.attribute(target=1, **_chunk(name, 0))


@collect(CONTRACT)
def repeatable(case: AttributionCase) -> None:
    """Two runs under one global seed give one map."""
    names = ("in a second run", "in the first")
    require_same(case.map(target=1), case.plain, 0.0, names)


@collect(CONTRACT)
def target_forms(case: AttributionCase) -> None:
    """A target means the same as an int, a tuple, a list, a tensor and a list of tuples."""
    k, n = case.n_classes - 1, len(case.inputs)
    expected = case.map(target=k)
    forms = [(k,), [k] * n, torch.tensor(k), torch.tensor([k]), torch.tensor([k] * n), [(k,)] * n]
    for target in forms:
        try:
            found = case.map(target=target)
        except Exception as error:
            raise ViolationError(f"target={target!r} raised {in_words(error)}") from error
        require_same(found, expected, case.tolerance, (f"of target={target!r}", f"of {k}"))


@collect(CONTRACT)
def no_target_for_one_output(case: AttributionCase) -> None:
    """A model of one output, (N,) or (N, 1), needs no target."""
    expected = case.map(target=1)
    for kept, what in ((False, "(N,)"), (True, "(N, 1)")):
        found = case.map(model=OneOutput(case.fresh_model(), 1, kept))
        require_same(found, expected, case.tolerance, (f"of an output {what}", "of its column"))


@collect(CONTRACT)
def wrong_target(case: AttributionCase) -> None:
    """A target that does not fit the output is refused by an error that says target."""
    n, classes = len(case.inputs), case.n_classes
    beyond, examples = classes + 90, number_of(n, "example")
    wrong = [beyond, [0] * (n - 1), torch.tensor([0] * (n - 1) + [beyond]), (1, 1), None]
    for target in wrong:
        with _refused(f"target={target!r} of {examples} and {classes} classes", "target"):
            case.attribute(target=target)


@collect(CONTRACT)
def one_tuple(case: AttributionCase) -> None:
    """A tuple of one tensor gets a tuple of one map, the same."""
    found = case.attribute((case.inputs.clone(),), target=1)
    if not isinstance(found, tuple) or len(found) != 1:
        raise ViolationError(f"a tuple of 1 went in, but {described(found)} came out")
    require_same(found[0], case.plain, case.tolerance, ("in a tuple", "without one"))


@collect(CONTRACT)
def several_inputs(case: AttributionCase) -> None:
    """A tuple of tensors gets a tuple of maps, each in the shape of its own."""
    pair = (case.inputs.clone(), case.inputs.flip(0)[..., :-1])
    found = case.attribute(pair, OfTwo(case.fresh_model()), target=1)
    if not isinstance(found, tuple) or len(found) != 2:
        raise ViolationError(f"a tuple of 2 went in, but {described(found)} came out")
    for credit, x in zip(found, pair, strict=True):
        require_shape(one_tensor(credit), x)


@collect(CONTRACT)
def additional_arguments(case: AttributionCase) -> None:
    """Of additional forward arguments a tensor follows its examples, and all else is passed on."""
    case.require_argument("additional_forward_args")
    case.require_not_drawn()
    factor = torch.linspace(0.1, 0.9, len(case.inputs)).to(case.inputs)
    offset = torch.tensor(0.05).to(case.inputs)

    def given(rows: slice) -> dict[str, Any]:
        return {"additional_forward_args": (factor[rows].clone(), offset.clone(), "on")}

    together = case.map(model=Scaled(case.fresh_model()), target=1, **given(slice(None)))
    for i in range(len(case.inputs)):
        one = slice(i, i + 1)
        model = Scaled(case.fresh_model())
        alone = case.map(case.inputs[one].clone(), model, target=1, **given(one))
        names = (f"in the batch, of example {i}", "alone")
        require_same(together[one], alone, case.tolerance, names)


@collect(CONTRACT)
def baseline_forms(case: AttributionCase) -> None:
    """Baselines mean the same as a number, as one example and as one for each."""
    case.require_argument("baselines")
    if case.start is not None:
        raise NotApplicableError("the method has a start of its own")
    whole = torch.full_like(case.inputs, 0.5)
    expected = case.map(target=1, baselines=whole.clone())
    for what, form in {"a number": 0.5, "one example": whole[:1]}.items():
        found = case.map(target=1, baselines=form)
        require_same(found, expected, case.tolerance, (f"with {what}", "with one for each"))


@collect(CONTRACT)
def wrong_baselines(case: AttributionCase) -> None:
    """Baselines for another number of examples are refused by an error that says baselines."""
    case.require_argument("baselines")
    if case.start is not None:
        raise NotApplicableError("the method has a start of its own")
    fewer = torch.zeros_like(case.inputs)[:2]
    batch = torch.cat([case.inputs, case.inputs])[:3]
    with _refused("baselines of 2 examples for inputs of 3", "baseline"):
        case.attribute(batch, target=1, baselines=fewer)


@collect(CONTRACT)
def nan_input(case: AttributionCase) -> None:
    """An example that holds nan gets no map without a word: an error or a warning."""
    inputs = case.inputs.clone()
    inputs[(0,) * inputs.dim()] = torch.nan
    with case.quiet(), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            found = case.made().attribute(inputs, target=1, **case.chosen(inputs))
        except Exception:
            return
    if not any(word in str(one.message).lower() for one in said for word in ("nan", "finite")):
        credit = one_tensor(found)[0]
        raise ViolationError(
            f"1 of its {number_of(credit.numel(), 'feature')} was nan, and "
            f"{number_of(int(credit.isfinite().sum()), 'credit')} came out finite, "
            f"{int(credit.isnan().sum())} nan"
        )


@collect(CONTRACT)
def empty_batch(case: AttributionCase) -> None:
    """A batch of no example gets an empty map or an error."""
    empty = case.inputs[:0].clone()
    try:
        found = case.attribute(empty, target=1)
    except Exception:
        return
    require_shape(one_tensor(found), empty)


# What is the caller's.


@collect(CONTRACT)
def model_unchanged(case: AttributionCase) -> None:
    """Mode, weights, gradients, requires_grad, hooks and attributes of the model stay."""
    model = _prepared(case)
    before = _state(model)
    case.attribute(model=model, target=1)
    _require_state(model, before, "")


@collect(CONTRACT)
def model_unchanged_after_an_error(case: AttributionCase) -> None:
    """The model stays as it was also where it fails, or the target is wrong."""
    counted = Failing(case.fresh_model())
    case.attribute(model=counted, target=1)
    for at in sorted({1, (counted.calls + 1) // 2, counted.calls}):
        model = _prepared(case)
        before = _state(model)
        _fail(case, case.inputs.clone(), Failing(model, at), 1)
        _require_state(model, before, f"when the model fails at call {at} of {counted.calls}, ")
    model = _prepared(case)
    before = _state(model)
    _fail(case, case.inputs.clone(), model, case.n_classes + 90)
    _require_state(model, before, "when the target is wrong, ")


@collect(CONTRACT)
def inputs_unchanged(case: AttributionCase) -> None:
    """Inputs and baselines keep their values, requires_grad and gradients."""
    given: dict[str, Any] = {}
    if case.takes("baselines"):
        given["baselines"] = torch.zeros_like(case.inputs)
    for needs in (False, True):
        inputs = case.inputs.clone().requires_grad_(needs)
        case.attribute(inputs, target=1, **given)
        _require_as_given(inputs, case.inputs, needs, "inputs", "")
        for baselines in given.values():
            _require_as_given(baselines, torch.zeros_like(inputs), False, "baselines", "")


@collect(CONTRACT)
def inputs_unchanged_after_an_error(case: AttributionCase) -> None:
    """Inputs stay as they were also where the model fails, or the target is wrong."""
    for at, target, when in (
        (1, 1, "the model fails"),
        (0, case.n_classes + 90, "the target is wrong"),
    ):
        inputs = case.inputs.clone()
        _fail(case, inputs, Failing(case.fresh_model(), at), target)
        _require_as_given(inputs, case.inputs, False, "inputs", f"when {when}, ")


@collect(CONTRACT)
def random_state_kept(case: AttributionCase) -> None:
    """A method with a seed leaves the global random state alone, and does not depend on it."""
    if not case.takes("seed"):
        raise NotApplicableError("`attribute` takes no seed")
    if case.drawn:
        raise ViolationError(f"maps under two global states differ by {case.drawn:.2g}")
    with case.quiet(1):
        before = torch.get_rng_state()
        method, inputs = case.made(), case.inputs.clone()
        torch.set_rng_state(before)
        method.attribute(inputs, target=1, **case.chosen(inputs))
        first = torch.rand(1)
        torch.set_rng_state(before)
        expected = torch.rand(1)
    if not torch.equal(first, expected):
        raise ViolationError(
            f"the next number drawn is {first.item():.4f}, not {expected.item():.4f}"
        )


# Who works with it.


@collect(CONTRACT)
def noise_tunnel(case: AttributionCase) -> None:
    """In Captum's NoiseTunnel without noise the map is the same."""
    inputs = case.inputs.clone()
    with case.quiet():
        tunnel = NoiseTunnel(case.made())
        options = case.chosen(inputs)
        found = one_tensor(tunnel.attribute(inputs, nt_samples=2, stdevs=0.0, target=1, **options))
    require_shape(found, inputs)
    if not case.drawn:
        require_same(found, case.plain, case.tolerance, ("in the tunnel", "outside"))


@collect(CONTRACT)
def sensitivity(case: AttributionCase) -> None:
    """Captum's `sensitivity_max` runs it."""
    inputs = case.inputs.clone()
    with case.quiet():
        ask = case.made().attribute
        options = case.chosen(inputs)
        value = sensitivity_max(ask, inputs, target=1, n_perturb_samples=1, **options)
    _require_values("sensitivity_max", value, case)


@collect(CONTRACT)
def fidelity(case: AttributionCase) -> None:
    """Captum's `infidelity` takes its maps."""

    def perturb(x: Tensor) -> tuple[Tensor, Tensor]:
        noise = 0.1 * torch.ones_like(x)
        return noise, x - noise

    inputs, model = case.inputs.clone(), case.fresh_model()
    with case.quiet():
        value = infidelity(model, perturb, inputs, case.plain, target=1, n_perturb_samples=2)
    _require_values("infidelity", value, case)


@collect(CONTRACT)
def drawing(case: AttributionCase) -> None:
    """Captum's `visualize_image_attr` draws its maps."""
    if case.inputs.dim() != 4 or case.inputs.shape[1] not in (1, 3):
        raise NotApplicableError(f"inputs {tuple(case.inputs.shape)} are no pictures")
    credit, picture = (x[0].permute(1, 2, 0).cpu().numpy() for x in (case.plain, case.inputs))
    with case.quiet():
        visualization.visualize_image_attr(
            credit, picture, "blended_heat_map", sign="all", use_pyplot=False
        )


@collect(CONTRACT)
def traced_model(case: AttributionCase) -> None:
    """A traced model gets the same map, or is refused."""
    with case.quiet():
        traced = trace(case.fresh_model(), case.inputs.clone())
        try:
            found = case.map(model=traced, target=1)
        except Exception as error:
            raise NotApplicableError(f"a traced model is refused, {in_words(error)}") from error
    require_same(found, case.plain, case.tolerance, ("of the traced model", "of the model"))


@collect(CONTRACT)
def convergence_delta(case: AttributionCase) -> None:
    """A method that says it has a convergence delta returns one for each example when asked."""
    if not case.made().has_convergence_delta():
        raise NotApplicableError("`has_convergence_delta` says no")
    found = case.attribute(target=1, return_convergence_delta=True)
    if not isinstance(found, tuple) or len(found) != 2:
        raise ViolationError(f"not (map, delta) but {described(found)} came out")
    require_same(one_tensor(found[0]), case.plain, case.tolerance, ("with delta", "without"))
    if found[1].shape != (len(case.inputs),):
        examples = number_of(len(case.inputs), "example")
        raise ViolationError(f"{examples} got a delta {tuple(found[1].shape)}")


def _chunk(name: str, size: int) -> dict[str, Any]:
    return {name: size}


@contextmanager
def _refused(what: str, *words: str) -> Iterator[None]:
    """`ViolationError` unless an error comes that holds one of the words."""
    try:
        yield
    except Exception as error:
        if not any(word in str(error).lower() for word in words):
            raise ViolationError(f"{what} raised {in_words(error)}") from error
        return
    raise ViolationError(f"{what} got a map")


def _prepared(case: AttributionCase) -> nn.Module:
    """A model in training, of which a parameter is frozen and another has a gradient."""
    model = case.fresh_model().train()
    parameters = list(model.parameters())
    if parameters:
        parameters[-1].grad = torch.ones_like(parameters[-1])
        parameters[0].requires_grad_(False)
    return model


def _state(model: nn.Module) -> dict[str, Any]:
    """What belongs to the model's owner, by a name for messages."""
    state: dict[str, Any] = {}
    for name, module in model.named_modules():
        where = f" of {name!r}" if name else ""
        state[f"the mode{where}"] = module.training
        state[f"the attributes{where}"] = sorted(vars(module))
        for kind in (
            "_forward_hooks",
            "_forward_pre_hooks",
            "_backward_hooks",
            "_backward_pre_hooks",
        ):
            state[f"{kind.strip('_').replace('_', ' ')}{where}"] = len(getattr(module, kind))
    for name, parameter in model.named_parameters():
        state[f"requires_grad of {name!r}"] = parameter.requires_grad
        state[f"the gradient of {name!r}"] = _copy(parameter.grad)
    for name, value in model.state_dict().items():
        state[f"{name!r}"] = _copy(value)
    return state


def _copy(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.detach().clone()


def _require_state(model: nn.Module, before: dict[str, Any], when: str) -> None:
    for what, now in _state(model).items():
        old = before.get(what)
        same = (
            torch.equal(now, old) if isinstance(now, Tensor) and isinstance(old, Tensor) else False
        )
        if not same and now is not old and (isinstance(now, Tensor) or now != old):
            raise ViolationError(f"{when}{what} {_change(old, now)}")


def _change(old: Any, now: Any) -> str:
    if isinstance(now, list):
        return f"gained {sorted({*now} - {*old})} and lost {sorted({*old} - {*now})}"
    if isinstance(now, Tensor):
        number = now.flatten()[0].item() if old is None else (now - old).abs().max().item()
        return f"is now {number:.4g}" if old is None else f"changed by {number:.4g}"
    return f"was {old}, is {now}"


def _require_as_given(x: Tensor, values: Tensor, needs: bool, name: str, when: str) -> None:
    if x.requires_grad is not needs:
        raise ViolationError(f"{when}requires_grad of the {name} was {needs}, is {x.requires_grad}")
    if x.grad is not None:
        raise ViolationError(f"{when}the {name} have a gradient now")
    gap = (x.detach() - values).abs().max().item()
    if gap:
        raise ViolationError(f"{when}the {name} changed by {gap:.4g}")


def _fail(case: AttributionCase, inputs: Tensor, model: nn.Module, target: int) -> None:
    """Runs what fails; that a wrong target does is asked by `wrong_target`."""
    try:
        case.attribute(inputs, model, target=target)
    except Exception:
        return
    if isinstance(model, Failing) and model.at:
        raise ViolationError(f"a model that failed at call {model.at} got a map")


def _require_values(name: str, value: Tensor, case: AttributionCase) -> None:
    if value.shape != (len(case.inputs),) or not value.isfinite().all():
        examples = number_of(len(case.inputs), "example")
        raise ViolationError(f"{name} gave {value.tolist()} for {examples}")
