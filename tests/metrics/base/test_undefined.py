"""One kind of "no value": what is nan has a reason, in every column of every metric."""

import pickle

import pytest
import torch
from torch import nn

from captum_ext.metrics import (
    AIC,
    SIC,
    DataRandomization,
    Deletion,
    Insertion,
    Localization,
    ParameterRandomization,
    TableMetric,
)

N = 5
SIZE = 12
SIMILARITY = ("spearman", "abs_spearman", "ssim", "hog")


def checkered(noise):
    return (torch.arange(SIZE)[:, None] + torch.arange(SIZE)) % 2 + 0 * noise


# From normal numbers to a map.
MAPS = {
    "noise": lambda noise: noise,
    "zeros": torch.zeros_like,
    "constant": lambda noise: torch.full_like(noise, 0.3),
    "constant but for rounding": lambda noise: 0.3 + noise.sign() * 2**-25,
    "one size, two signs": torch.sign,
    "negative": lambda noise: -noise.abs() - 1,
    "checkered": checkered,
    "one pixel": lambda noise: (noise == noise.max()).float(),
    "tiny": lambda noise: noise * 1e-30,
    "huge": lambda noise: noise * 1e30,
    "nan": lambda noise: noise.where(noise > 0, torch.nan),
    "inf": lambda noise: noise.where(noise > 0, torch.inf),
}
IMAGES = {
    "noise": lambda noise: noise.sigmoid(),
    "black": torch.zeros_like,
    "flat": lambda noise: torch.full_like(noise, 0.5),
    "dark": lambda noise: noise.sigmoid() / 1000,
}
ANNOTATIONS = {
    "some": lambda noise: noise[0] > 0,
    "empty": lambda noise: torch.zeros_like(noise[0]),
    "full": lambda noise: torch.ones_like(noise[0]),
}


def drawn(kinds, generator, n=N):
    """One of the kinds for each example."""
    names = [[*kinds][int(torch.randint(len(kinds), (), generator=generator))] for _ in range(n)]
    noise = torch.randn(n, 3, SIZE, SIZE, generator=generator)
    return torch.stack([kinds[name](x) for name, x in zip(names, noise, strict=True)])


def answers(images):
    """A classifier that is sure of noise, and at times has no answer."""
    bright = images.mean((1, 2, 3))
    return torch.stack([bright, 1 - bright], 1).where(bright[:, None] != 0.5, torch.nan)


class Recorded:
    """A method that knows its maps beforehand, one batch for each call."""

    def __init__(self, parts):
        self.parts = parts

    def attribute(self, inputs, target=None):
        return self.parts.pop(0)


def perturbed(make):
    def fill(generator, rows):
        metric, images = make(), drawn(IMAGES, generator)
        maps = drawn(MAPS, generator)
        for part in rows:
            metric.update(images[part], maps[part], target=0)
        return metric

    return fill


def localized(generator, rows):
    metric, maps = Localization(tolerance=2), drawn(MAPS, generator)
    masks = drawn(ANNOTATIONS, generator)
    for part in rows:
        metric.update(maps[part], masks[part])
    return metric


def checked(make):
    def fill(generator, rows):
        maps = [drawn(MAPS, generator) for _ in range(3)]
        method = Recorded([])
        check = make(method)
        for part in rows:
            method.parts = [m[part] for m in maps]
            net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
            models = (net, net) if isinstance(check, DataRandomization) else (net,)
            check.update(*models, torch.zeros(N, 2)[part], target=0)
        return check

    return fill


METRICS = {
    "insertion": perturbed(lambda: Insertion(answers, n_steps=3)),
    "deletion": perturbed(lambda: Deletion(answers, n_steps=3, relative=True)),
    "aic, binned": perturbed(lambda: AIC(answers)),
    "sic, binned": perturbed(lambda: SIC(answers, "entropy")),
    "aic, mean": perturbed(lambda: AIC(answers, "ms_ssim", "xrai")),
    "sic, mean": perturbed(
        lambda: SIC.from_preset(answers, "tmlr", level="ms_ssim", min_score=0.0)
    ),
    "sic, median": perturbed(
        lambda: SIC.from_preset(answers, "xrai", level="entropy", min_score=0.0)
    ),
    "localization": localized,
    "parameter randomization": checked(
        lambda method: ParameterRandomization(lambda model: method, similarity=SIMILARITY)
    ),
    "data randomization": checked(
        lambda method: DataRandomization(lambda model: method, similarity=SIMILARITY)
    ),
}
BINNED = ("aic, binned", "sic, binned")


@pytest.mark.parametrize(
    ("name", "seed"),
    [(name, seed) for name in METRICS for seed in range(2 if "randomization" in name else 4)],
)
def test_what_is_nan_has_a_reason_and_what_has_a_reason_is_nan(name, seed):
    make = METRICS[name]
    whole = make(torch.Generator().manual_seed(seed), [slice(0, N)])
    undefined = whole.undefined
    assert all(len(column) == N for column in undefined.values())
    if name not in BINNED:
        values = whole.per_example
        values = values if isinstance(values, dict) else {"value": values}
        assert set(values) == set(undefined)
        for column, value in values.items():
            missing = [bool(reason) for reason in undefined[column]]
            rows = value.reshape(N, -1).isnan()
            assert rows.any(1).tolist() == missing
            # A row is left out as a whole, so that every stage's mean is over the same examples.
            assert torch.equal(rows.any(1), rows.all(1))
    reasons = {reason for column in undefined.values() for reason in column} - {""}
    assert reasons <= {*map(str, whole.REASONS)}
    assert whole.n_excluded == sum(any(row) for row in zip(*undefined.values(), strict=True))
    assert whole.n_excluded == sum(whole.excluded.values())
    assert set(whole.excluded) <= reasons

    generator = torch.Generator().manual_seed(seed)
    one_by_one = make(generator, [slice(k, k + 1) for k in range(N)])
    assert one_by_one.undefined == undefined
    left = make(torch.Generator().manual_seed(seed), [slice(0, 2)])
    right = make(torch.Generator().manual_seed(seed), [slice(2, N)])
    # What is merged comes first.
    right.merge_state(pickle.loads(pickle.dumps(left)))
    assert right.undefined == undefined
    assert right.excluded == whole.excluded
    whole.reset()
    assert whole.n_excluded == 0


class Own(TableMetric):
    """A user's metric that knows no codes."""

    def __init__(self):
        super().__init__()
        self._add_list("one")
        self._add_list("two", 2)

    def update(self, one, two):
        self._append(one=one, two=two)

    def _tables(self):
        return {"one": self._rows("one"), "two": self._rows("two")}


def test_a_metric_of_ones_own_cannot_hide_a_nan():
    metric, nan = Own(), float("nan")
    metric.update(torch.tensor([1.0, nan, 3.0]), torch.tensor([[nan, 1.0], [1, 1], [1, 1]]))
    reason = "value not a number"
    assert metric.undefined == {"one": ("", reason, ""), "two": (reason, "", "")}
    assert metric.excluded == {reason: 2}
