"""Captum's own test configurations, run with this package's methods."""

import copy

import pytest
import torch

from tests.contract import METHODS

CONFIG = pytest.importorskip(
    "captum.testing.attr.helpers.test_config", reason="Captum ships its configurations from 0.8 on"
)

CASES = [
    case
    for case in CONFIG.config
    if "IntegratedGradients" in [algorithm.__name__ for algorithm in case["algorithms"]]
    and not case.get("noise_tunnel")
    and "layer" not in case
]
TABLES = {name: row for name, row in METHODS.items() if not row.images_only}
pytestmark = [
    pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES]),
    pytest.mark.parametrize("row", TABLES.values(), ids=TABLES),
]


def arguments(case):
    keys = {"inputs", "baselines", "target", "additional_forward_args"}
    return {key: value for key, value in case["attribute_args"].items() if key in keys}


def example(value, i, n):
    """Example `i` of whatever a case passes."""
    if isinstance(value, tuple) and not all(isinstance(v, int) for v in value):
        return tuple(example(v, i, n) for v in value)
    if isinstance(value, torch.Tensor) and value.dim() > 0 and len(value) == n:
        return value[i : i + 1]
    if isinstance(value, list) and len(value) == n:
        return value[i : i + 1]
    return value


def test_targets_and_examples_are_independent(case, row):
    keywords = arguments(case)
    inputs = keywords["inputs"]
    n = len(inputs[0] if isinstance(inputs, tuple) else inputs)
    whole = row.attribute(case["model"], **keywords)
    whole = whole if isinstance(whole, tuple) else (whole,)
    for i in range(n):
        one = row.attribute(
            case["model"],
            **{key: example(value, i, n) for key, value in keywords.items()},
        )
        for ours, theirs in zip(one if isinstance(one, tuple) else (one,), whole, strict=True):
            torch.testing.assert_close(ours, theirs[i : i + 1], atol=1e-4, rtol=1e-3)


def test_hooks_are_removed(case, row):
    model = copy.deepcopy(case["model"])
    row.attribute(model, **arguments(case))
    for module in model.modules():
        hooks = [module._forward_hooks, module._forward_pre_hooks, module._backward_hooks]
        assert not any(hooks)
