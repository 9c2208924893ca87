"""Every check of metrics can fail, and fails for its own reason."""

import re

import pytest
import torch
from torch import nn
from torchmetrics import Metric

from captum_ext.metrics import AIC, SIC, Deletion, Insertion
from captum_ext.testing import MetricCase, check_metric, parametrize_with_checks
from captum_ext.testing.metric import METRIC

CLAIMS = ("order", "truth")


@parametrize_with_checks(
    {
        "Insertion": MetricCase(lambda m: Insertion(m, n_steps=3), claims=CLAIMS),
        "Deletion": MetricCase(lambda m: Deletion(m, n_steps=3), claims=CLAIMS),
        "AIC": MetricCase(lambda m: AIC(m, "ms_ssim"), claims=["order"]),
        "SIC": MetricCase(lambda m: SIC(m, "entropy"), claims=["order"]),
    }
)
def test_it_keeps_the_contract_and_what_it_claims(check):
    check()


class Mutant(Insertion):
    """Insertion with few steps."""

    def __init__(self, model):
        super().__init__(model, n_steps=3)


class Nothing(Mutant):
    def compute(self):
        return super().compute() * torch.nan


class Last(Mutant):
    def compute(self):
        return self.per_example[-1]


class ByUpdates(Mutant):
    def compute(self):
        return super().compute() + 0.1 * self.update_count


class NotMerged(Mutant):
    def merge_state(self, incoming_state):
        pass


class Itself(Mutant):
    def clone(self, prefix=None, postfix=None):
        return self


class Plain(Metric):
    """The mean answer, without what keeps two apart, and counted before the model is asked."""

    def __init__(self, model):
        super().__init__()
        self.ask = [model]
        self.add_state("total", torch.tensor(0.0), "sum")
        self.add_state("n", torch.tensor(0.0), "sum")

    def update(self, inputs, attributions, target):
        self.n += len(inputs)
        self.total += self.ask[0](inputs)[:, target].detach().sum()

    def compute(self):
        return self.total / self.n


class Twice(Mutant):
    def forward(self, *args, **named):
        self.clone().update(*args, **named)
        return super().forward(*args, **named)


class Remembers(Mutant):
    seen = 0

    def update(self, *args, **named):
        super().update(*args, **named)
        self.seen += len(args[0])

    def compute(self):
        return super().compute() + self.seen


class Owner(Mutant):
    def __init__(self, model):
        super().__init__(model)
        self.add_module("net", model)


class Writes(Mutant):
    def update(self, inputs, attributions, **named):
        super().update(inputs, attributions, **named)
        attributions.add_(1)


class Draws(Mutant):
    def update(self, *args, **named):
        torch.rand(1)
        super().update(*args, **named)


class AnyTarget(Mutant):
    def update(self, inputs, attributions, target=None):
        super().update(inputs, attributions, target=4 if target == 95 else target)


class AnyShape(Mutant):
    def update(self, inputs, attributions, **named):
        if attributions.shape != inputs.shape:
            attributions = nn.functional.pad(attributions, (0, 1))
        super().update(inputs, attributions, **named)


class NanIsZero(Mutant):
    def update(self, inputs, attributions, **named):
        super().update(inputs, attributions.nan_to_num(), **named)


class Sizes(Mutant):
    def update(self, inputs, attributions, **named):
        super().update(inputs, attributions.round(), **named)


class Reversed(Mutant):
    def update(self, inputs, attributions, **named):
        super().update(inputs, -attributions, **named)


MUTANTS = {
    "one_number": (Nothing, "the value is nan"),
    "example_order": (Last, "in reverse, .* in order"),
    "batches": (ByUpdates, "in three batches, .* in one"),
    "forward": (Twice, r"\d+ calls of the model instead of \d+"),
    "reset": (Remembers, "after reset, .* of a new one"),
    "merge_state": (NotMerged, "merged, .* of all at once"),
    "clone": (Itself, "of the clone, .* when it was made"),
    "collection": (Plain, "in the collection, .* alone"),
    "failed_update": (Plain, "after the failure, .* before"),
    "borrowed_model": (Owner, "the metric owns net"),
    "arguments_unchanged": (Writes, "the maps changed by 1"),
    "random_state": (Draws, "numbers were drawn from it"),
    "wrong_target": (AnyTarget, "target=95 got the value"),
    "wrong_shape": (AnyShape, "with maps .* got the value"),
    "nan_map": (NanIsZero, "with a map of nan, .* without that example"),
    "order": (Sizes, "of 3 x maps, .* of the maps"),
    "truth": (Reversed, "of the truth, .* reversed: higher is better"),
}


@pytest.mark.parametrize("check", MUTANTS)
def test_a_mutant_fails_its_check_for_the_right_reason(check):
    make, words = MUTANTS[check]
    found = check_metric(make, claims=CLAIMS, raises=False)[check]
    assert found.status == "failed"
    assert re.search(words, found.detail), found.detail


def test_every_check_has_a_mutant():
    assert {*MUTANTS} == {check.name for check in METRIC}
