"""What counts steps, masks, iterations or examples is a whole number, or is refused as none."""

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from torch import nn

from captum_ext.attr import IDGI, RISE, GuidedIG, MeaningfulPerturbation
from captum_ext.metrics import Insertion

MODEL = nn.Sequential(nn.Flatten(), nn.Linear(48, 2), nn.Softmax(1))
IMAGES = torch.rand(2, 3, 4, 4)
CALLS = {
    "idgi": (IDGI(IntegratedGradients(MODEL)), "n_steps", {}),
    "guided": (GuidedIG(MODEL), "n_steps", {}),
    "mask steps": (MeaningfulPerturbation(MODEL, mask_size=2), "n_steps", {"n_iter": 1}),
    "mask iterations": (MeaningfulPerturbation(MODEL, mask_size=2), "n_iter", {}),
    "masks": (RISE(MODEL, cells=2), "n_masks", {}),
    "masks at once": (RISE(MODEL, cells=2), "perturbations_per_eval", {"n_masks": 2}),
    "chunk": (GuidedIG(MODEL), "internal_batch_size", {"n_steps": 2}),
}


@pytest.mark.parametrize("case", CALLS)
@pytest.mark.parametrize("count", [2.5, 5.0, "5"])
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
