"""What a method may claim: axioms, each asked on a small model made for it.

Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks" (ICML 2017): sections 2 and 3
for sensitivity, implementation invariance, completeness and symmetry. Kindermans et al., "The
(Un)reliability of Saliency Methods" (2019), section 2, for input shifts.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from captum_ext.testing.case import AttributionCase, require_same
from captum_ext.testing.models import LinearModel, TwoLayers
from captum_ext.testing.report import Check, NotApplicableError, ViolationError, collect

AXIOMS: list[Check] = []
# Quadrature with few steps is not exact, nor is its violation small.
_COMPLETE = 0.05


@collect(AXIOMS, claim=True)
def completeness(case: AttributionCase) -> None:
    """Credits sum to the output at the inputs minus that at the baselines."""
    inputs, start = case.inputs, _start(case, case.inputs)
    with torch.no_grad():
        model = case.fresh_model()
        rise = (model(inputs.clone()) - model(start))[:, 1].cpu().double()
    total = case.plain.detach().cpu().double().flatten(1).sum(1)
    worst = int((total - rise).abs().argmax())
    # Nan is no less.
    if not (total - rise).abs().max() <= _COMPLETE * rise.abs().max():
        raise ViolationError(
            f"the credits of example {worst} sum to {total[worst]:.4g}, "
            f"its output rises by {rise[worst]:.4g}"
        )


@collect(AXIOMS, claim=True)
def sensitivity_a(case: AttributionCase) -> None:
    """A feature in which alone inputs and baselines differ, with another output, has credit."""
    if case.start is not None:
        raise NotApplicableError(
            "a start of its own differs from the inputs in more than one feature"
        )
    # 1 - ReLU(1 - x) is flat at 2, where it has risen by 1: the paper's example.
    inputs = torch.zeros_like(case.inputs)
    inputs.flatten(1)[:, 0] = 2
    weight = torch.zeros(1, _width(case))
    weight[0, 0] = -1
    model = TwoLayers(weight, torch.ones(1), torch.tensor([[-1.0]]), torch.ones(1))
    credit = _asked(case, inputs, model).flatten(1)[:, 0]
    if not credit.all():
        raise ViolationError(
            "1 - ReLU(1 - x) rises from 0 at x = 0 to 1 at x = 2, but the credit of x is "
            f"{credit.tolist()}"
        )


@collect(AXIOMS, claim=True)
def sensitivity_b(case: AttributionCase) -> None:
    """A feature whose parts in the model cancel, so that no output changes, has no credit."""
    weight, bias = _weights(case, 6)
    # Two units read feature 0 alone, and the head takes one from the other.
    weight[:4, 0] = 0
    weight[4:] = 0
    weight[4:, 0], bias[4:] = 1, 0
    head = torch.tensor([[0.7, -0.4, 0.5, 0.9, 1.0, -1.0]])
    inputs = case.inputs.clone()
    inputs.flatten(1)[:, 0] = inputs.flatten(1)[:, 0].abs() + 0.5
    credit = _asked(case, inputs, TwoLayers(weight, bias, head))
    _require_none(credit, "ReLU(x) - ReLU(x), at which the output does not change")


@collect(AXIOMS, claim=True)
def unused_feature(case: AttributionCase) -> None:
    """A feature that the model does not read has no credit."""
    weight, bias = _weights(case, 4)
    weight[:, 0] = 0
    model = TwoLayers(weight, bias, torch.tensor([[0.7, -0.4, 0.5, 0.9]]))
    _require_none(_asked(case, case.inputs, model), "all its weights are 0")


@collect(AXIOMS, claim=True)
def implementation_invariance(case: AttributionCase) -> None:
    """Two networks with the same output for all inputs have the same map."""
    inputs = torch.zeros_like(case.inputs)
    inputs.flatten(1)[:, 0], inputs.flatten(1)[:, 1] = 3, 1
    weight = torch.zeros(2, _width(case))
    weight[0, 0] = weight[1, 1] = 1
    zeros, minus = torch.zeros(1), torch.tensor([[1.0, -1.0]])
    # Figure 7 of Sundararajan et al., and a unit that is the difference of two like it.
    pairs = {
        ("ReLU(ReLU(x - 1) - ReLU(y))", "ReLU(ReLU(x) - 1 - ReLU(y))"): (
            TwoLayers(weight, torch.tensor([-1.0, 0]), minus, zeros, rectified=True),
            TwoLayers(weight, torch.zeros(2), minus, zeros - 1, rectified=True),
        ),
        ("2 ReLU(x) - ReLU(x)", "ReLU(x)"): (
            TwoLayers(weight[[0, 0]], torch.zeros(2), torch.tensor([[2.0, -1.0]])),
            TwoLayers(weight[:1], torch.zeros(1), torch.tensor([[1.0]])),
        ),
    }
    for names, (one, other) in pairs.items():
        found, expected = _asked(case, inputs, one), _asked(case, inputs, other)
        require_same(found, expected, case.tolerance, (f"of {names[0]}", f"of {names[1]}"))


@collect(AXIOMS, claim=True)
def symmetry(case: AttributionCase) -> None:
    """Two features that are equal and that the model treats alike have equal credit."""
    weight, bias = _weights(case, 4)
    weight[:, 1] = weight[:, 0]
    inputs = case.inputs.clone()
    inputs.flatten(1)[:, 1] = inputs.flatten(1)[:, 0]
    model = TwoLayers(weight, bias, torch.tensor([[0.7, -0.4, 0.5, 0.9]]))
    credit = _asked(case, inputs, model).flatten(1)
    for i, (one, other) in enumerate(credit[:, :2].tolist()):
        if not abs(one - other) <= case.tolerance * credit[i].abs().max():
            raise ViolationError(f"the two features of example {i} have {one:.4g} and {other:.4g}")


@collect(AXIOMS, claim=True)
def input_shift(case: AttributionCase) -> None:
    """Inputs, baselines and the first bias shifted alike, to the same outputs, keep the map."""
    weight, bias = _weights(case, 4)
    head = torch.tensor([[0.7, -0.4, 0.5, 0.9]])
    shifted = TwoLayers(weight, bias - 0.3 * weight.sum(1), head)
    expected = _asked(case, case.inputs, TwoLayers(weight, bias, head), _zeros(case))
    found = _asked(case, case.inputs + 0.3, shifted, _zeros(case, 0.3))
    require_same(found, expected, case.tolerance, ("after a shift by 0.3", "before"))


@collect(AXIOMS, claim=True)
def unit_invariance(case: AttributionCase) -> None:
    """A feature in another unit, with the weights changed likewise, keeps the map."""
    weight = torch.zeros(1, _width(case))
    weight[0, 0], weight[0, 1] = 2, 1
    inputs = torch.zeros_like(case.inputs)
    inputs.flatten(1)[:, :2] = 1
    expected = _asked(case, inputs, LinearModel(weight), _zeros(case))
    weight[0, 0] = 0.2
    inputs.flatten(1)[:, 0] = 10
    found = _asked(case, inputs, LinearModel(weight), _zeros(case))
    names = ("of 0.2 x + y at x = 10 and y = 1", "of 2 x + y at x = y = 1")
    require_same(found, expected, case.tolerance, names)
    # On a linear model any path gives the same.
    weight, bias = _weights(case, 4)
    head = torch.tensor([[0.7, -0.4, 0.5, 0.9]])
    units = torch.linspace(0.5, 2.0, _width(case))
    expected = _asked(case, case.inputs, TwoLayers(weight, bias, head), _zeros(case))
    inputs = (case.inputs.flatten(1) * units.to(case.inputs)).view_as(case.inputs)
    found = _asked(case, inputs, TwoLayers(weight / units, bias, head), _zeros(case))
    names = ("with features in units from 1/2 to 2", "in units of 1")
    require_same(found, expected, case.tolerance, names)


@collect(AXIOMS, claim=True)
def determinism(case: AttributionCase) -> None:
    """The global random state does not matter: without a seed, or with its default, one map."""
    if case.drawn:
        raise ViolationError(f"maps under two global states differ by {case.drawn:.2g}")


def _start(case: AttributionCase, inputs: Tensor) -> Tensor:
    return torch.zeros_like(inputs) if case.start is None else case.start(inputs)


def _width(case: AttributionCase) -> int:
    return case.inputs[0].numel()


def _weights(case: AttributionCase, units: int) -> tuple[Tensor, Tensor]:
    """Of a first layer, such that units are on and off."""
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(units, _width(case), generator=generator)
    return weight / _width(case) ** 0.5 * 2, torch.randn(units, generator=generator) * 0.1


def _zeros(case: AttributionCase, value: float = 0.0) -> dict[str, Any]:
    """Baselines, where they are an argument."""
    if case.start is not None or not case.takes("baselines"):
        return {}
    return {"baselines": torch.full_like(case.inputs, value)}


def _asked(
    case: AttributionCase, inputs: Tensor, model: nn.Module, given: dict[str, Any] | None = None
) -> Tensor:
    """The map of a model of one output."""
    return case.map(inputs.clone(), model.to(case.inputs), target=0, **(given or {})).detach()


def _require_none(credit: Tensor, why: str) -> None:
    found = credit.flatten(1)[:, 0]
    largest = credit.abs().max()
    if not largest:
        raise NotApplicableError("no feature has credit on the model that is asked")
    # What cancels leaves a rounding error.
    if not found.abs().max() <= 1e-5 * largest:
        k = int(found.abs().argmax())
        raise ViolationError(f"a feature has {found[k]:.4g} of {largest:.4g} at most, but {why}")
