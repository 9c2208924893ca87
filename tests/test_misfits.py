"""Inputs and maps that can't be answered are refused in a sentence that says what to do."""

import pytest
import torch
from captum.attr import IntegratedGradients
from torch import nn

from captum_ext.attr import IDGI, IGOS, RISE, BlurIG, GradCam, GuidedIG, OverBaselines
from captum_ext.metrics import ROAD, Deletion, Insertion, Localization, SensitivityN, localization

NET = nn.Sequential(
    nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
    nn.Softmax(1),
)  # fmt: skip
TABLE = nn.Sequential(nn.Linear(6, 2), nn.Softmax(1))
IMAGES = torch.rand(2, 3, 8, 8)
METHODS = {
    "idgi": lambda f, x: IDGI(IntegratedGradients(f)).attribute(x, target=1, n_steps=2),
    "guided": lambda f, x: GuidedIG(f).attribute(x, target=1, n_steps=2),
    "blur": lambda f, x: BlurIG(f, 2.0).attribute(x, target=1, n_steps=2),
    "igos": lambda f, x: IGOS(f, mask_size=4).attribute(x, target=1, n_iter=1),
    "rise": lambda f, x: RISE(f, cells=2).attribute(x, target=1, n_masks=2),
    "grad-cam": lambda f, x: GradCam(f).attribute(x, target=1),
}
METRICS = {
    "insertion": lambda f, x: Insertion(f, n_steps=2).update(x, x, target=1),
    "deletion": lambda f, x: Deletion(f, n_steps=2).update(x, x, target=1),
    "sensitivity": lambda f, x: SensitivityN(f, n_subsets=3).update(x, x, target=1),
}
over = pytest.mark.parametrize


@over("ask", (METHODS | METRICS).values(), ids=METHODS | METRICS)
def test_an_image_without_a_batch_is_told_how_to_get_one(ask):
    with pytest.raises(ValueError, match=r"`inputs\[None\]`"):
        ask(NET, IMAGES[0])


@over("name", ["idgi", "insertion", "sensitivity"])
def test_other_errors_of_a_model_stay_its_own(name):
    def model(x):
        raise RuntimeError("shapes cannot be multiplied, says the model")

    with pytest.raises(RuntimeError, match="says the model"):
        (METHODS | METRICS)[name](model, IMAGES)


def test_a_row_of_a_table_is_told_how_to_become_a_batch():
    with pytest.raises(ValueError, match=r"shape \(N,\) .* give `inputs\[None\]`"):
        METHODS["idgi"](TABLE, torch.rand(6))


@over("kind", [torch.uint8, torch.int64, torch.bool])
@over("ask", [METHODS["rise"], *METRICS.values()], ids=["rise", *METRICS])
def test_whole_numbers_for_a_model_of_floats_are_told_to_be_converted(ask, kind):
    images = (IMAGES * 255).to(kind)
    with pytest.raises(ValueError, match=rf"its inputs {kind} .* `images.float\(\) / 255`"):
        ask(NET, images)


@over("ask", (METHODS | METRICS).values(), ids=METHODS | METRICS)
@over(("made", "what"), [(torch.Tensor.to_sparse, "sparse_coo"), (lambda x: x.to("meta"), "meta")])
def test_inputs_without_plain_numbers_are_refused(ask, made, what):
    with pytest.raises(TypeError, match=f"`inputs` are dense tensors .* got one .*{what}"):
        ask(NET, made(IMAGES))


@over("made", [lambda x: x * 1j, torch.Tensor.to_sparse], ids=["complex", "sparse"])
def test_maps_that_have_no_order_are_refused(made):
    maps, inside = made(IMAGES), IMAGES[:, 0] > 0.5
    for metric in (Insertion(NET), Deletion(NET), ROAD(NET), SensitivityN(NET)):
        with pytest.raises(TypeError, match="`attributions` are dense tensors of real numbers"):
            metric.update(IMAGES, maps, target=1)
    for ask in (Localization().update, localization):
        with pytest.raises(TypeError, match="`attributions` are dense tensors of real numbers"):
            ask(maps, inside)


def test_maps_that_are_no_tensor_are_told_by_their_type():
    with pytest.raises(ValueError, match=r"`attributions` are maps .*, but got ndarray"):
        localization(IMAGES.numpy(), IMAGES[:, 0] > 0.5)


def test_groups_that_are_no_tensor_are_told_by_their_type():
    with pytest.raises(TypeError, match=r"`feature_mask` holds .*, but got str"):
        Insertion(NET).update(IMAGES, IMAGES, target=1, feature_mask="superpixels")


def test_a_lone_group_has_no_subsets_and_so_no_correlation():
    metric = SensitivityN(NET, n_subsets=3)
    metric.update(IMAGES, IMAGES, 1, feature_mask=torch.zeros(1, 3, 8, 8, dtype=torch.long))
    assert metric.excluded == {"all subsets hold the same credit": 2}


def test_a_baseline_without_dimensions_is_refused_over_several_as_over_one():
    for method in (GuidedIG(NET), OverBaselines(GuidedIG(NET))):
        with pytest.raises(ValueError, match=r"`baselines` must have the inputs' shape .*got \(\)"):
            method.attribute(IMAGES, torch.tensor(0.0), target=1)
