"""What counts, weighs or seeds is a number of its kind, or is refused by its name."""

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from torch import nn

from captum_ext.attr import (
    IDGI,
    IGOS,
    RISE,
    BlurIG,
    GuidedIG,
    MeaningfulPerturbation,
    OverBaselines,
)
from captum_ext.mask import BilateralTV, EdgeTV
from captum_ext.mask.advanced import PublishedL1
from captum_ext.metrics import ROAD, Insertion, Localization, SensitivityN, localization
from captum_ext.path import EqualRise

MODEL = nn.Sequential(nn.Flatten(), nn.Linear(48, 2), nn.Softmax(1))
IMAGES = torch.rand(2, 3, 4, 4)
CALLS = {
    "idgi": (IDGI(IntegratedGradients(MODEL)), "n_steps", {}),
    "guided": (GuidedIG(MODEL), "n_steps", {}),
    "mask steps": (MeaningfulPerturbation(MODEL, mask_size=2), "n_steps", {"n_iter": 1}),
    "mask iterations": (MeaningfulPerturbation(MODEL, mask_size=2), "n_iter", {}),
    "masks": (RISE(MODEL, cells=2), "n_masks", {}),
    "masks at once": (RISE(MODEL, cells=2), "perturbations_per_eval", {"n_masks": 2}),
    "budget": (MeaningfulPerturbation(MODEL, mask_size=2), "max_forwards", {"n_iter": 1}),
    "seed of noise": (IGOS(MODEL, mask_size=2), "seed", {"n_iter": 1}),
    "seed of masks": (RISE(MODEL, cells=2), "seed", {"n_masks": 2}),
    "seed of draws": (OverBaselines(GuidedIG(MODEL)), "seed", {"n_steps": 2}),
    "baselines": (OverBaselines(GuidedIG(MODEL)), "n_samples", {"n_steps": 2}),
    "chunk": (GuidedIG(MODEL), "internal_batch_size", {"n_steps": 2}),
}


@pytest.mark.parametrize("case", CALLS)
@pytest.mark.parametrize("count", [2.5, 5.0, "5", True])
def test_a_count_that_is_no_whole_number_is_refused_by_name(case, count):
    method, name, more = CALLS[case]
    with pytest.raises(TypeError, match=f"`{name}` is a whole number, but got {count!r}: use"):
        method.attribute(IMAGES, target=0, **{name: count}, **more)


@pytest.mark.parametrize("count", [np.int64(3), torch.tensor(3)])
def test_counts_of_numpy_and_torch_count_as_pythons(count):
    method = IDGI(IntegratedGradients(MODEL))
    found, known = (method.attribute(IMAGES, target=0, n_steps=n) for n in (count, 3))
    assert torch.equal(found, known)


def test_steps_of_a_metric_are_whole():
    with pytest.raises(TypeError, match=r"`n_steps` is a whole number, but got 2\.5"):
        Insertion(MODEL, n_steps=2.5)


@pytest.mark.parametrize("size", [2.5, "28", (7, 7.0), (7, 7, 7)])
@pytest.mark.parametrize(("made", "name"), [(RISE, "cells"), (MeaningfulPerturbation, "mask_size")])
def test_sizes_are_one_or_two_whole_numbers(size, made, name):
    with pytest.raises(TypeError, match=f"`{name}` is a whole number"):
        made(MODEL, **{name: size})


NUMBERS = {
    "fraction": lambda v: GuidedIG(MODEL, fraction=v),
    "max_dist": lambda v: GuidedIG(MODEL, max_dist=v),
    "max_sigma": lambda v: BlurIG(MODEL, max_sigma=v),
    "l1_weight": lambda v: IGOS(MODEL, l1_weight=v),
    "tv_weight": lambda v: MeaningfulPerturbation(MODEL, tv_weight=v),
    "noise_std": lambda v: IGOS(MODEL, noise_std=v),
    "keep": lambda v: RISE(MODEL, keep=v),
    "floor": lambda v: EqualRise(floor=v),
    "power": lambda v: EqualRise(power=v),
    "tolerance": lambda v: Localization(tolerance=v),
    "shares": lambda v: SensitivityN(MODEL, shares=[v]),
    "percentages": lambda v: ROAD(MODEL, percentages=[v]),
    "stdevs": lambda v: OverBaselines(GuidedIG(MODEL)).attribute(IMAGES, target=0, stdevs=v),
    "level": lambda v: evaluated().interval(level=v),
}


def evaluated():
    metric = Localization()
    metric.update(IMAGES, IMAGES[:, 0] > 0.5)
    return metric


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["a", None, [0.5], 0.5j, True])
def test_what_weighs_or_measures_is_a_number(name, value):
    with pytest.raises(TypeError, match=f"`{name}` is a number, but got "):
        NUMBERS[name](value)


@pytest.mark.parametrize("name", NUMBERS)
def test_nan_is_no_number(name):
    with pytest.raises(ValueError, match=f"`{name}`.*nan"):
        NUMBERS[name](float("nan"))


@pytest.mark.parametrize("value", [-1.0, float("inf"), float("-inf")])
@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("l1_weight", lambda v: IGOS(MODEL, l1_weight=v)),
        ("l1_weight", PublishedL1),
        ("tv_weight", lambda v: IGOS(MODEL, tv_weight=v)),
        ("tv_weight", BilateralTV),
        ("tv_weight", EdgeTV),
        ("noise_std", lambda v: IGOS(MODEL, noise_std=v)),
        ("tolerance", lambda v: localization(IMAGES, IMAGES[:, 0] > 0.5, tolerance=v)),
    ],
)
def test_what_a_mask_costs_is_finite_and_no_gain(name, made, value):
    with pytest.raises(ValueError, match=f"`{name}` is a finite number of at least 0, but got"):
        made(value)


@pytest.mark.parametrize("numbers", [None, 0.5, "0.5", {0.5: 1}])
@pytest.mark.parametrize(("made", "name"), [(SensitivityN, "shares"), (ROAD, "percentages")])
def test_shares_are_a_list(made, name, numbers):
    with pytest.raises(TypeError, match=f"`{name}` is a list of numbers, but got {numbers!r}"):
        made(MODEL, **{name: numbers})


@pytest.mark.parametrize("seed", [2**64, -(2**63) - 1])
@pytest.mark.parametrize("case", ["seed of noise", "seed of masks", "seed of draws"])
def test_a_seed_of_more_bits_is_refused_as_it_would_be_another(case, seed):
    method, name, more = CALLS[case]
    with pytest.raises(ValueError, match=f"`seed` is a whole number of 64 bits, but got {seed}"):
        method.attribute(IMAGES, target=0, **{name: seed}, **more)


def test_placed_steps_probe_a_whole_number_of_times():
    with pytest.raises(TypeError, match=r"`n_probes` is a whole number, but got 2\.5"):
        EqualRise(n_probes=2.5)


def test_shifts_are_whole_pixels_and_none_is_negative():
    with pytest.raises(TypeError, match=r"`jitter` is a whole number, but got 2\.5"):
        MeaningfulPerturbation(MODEL, jitter=2.5)
    with pytest.raises(ValueError, match=r"`jitter`.*got -1"):
        MeaningfulPerturbation(MODEL, jitter=-1)
