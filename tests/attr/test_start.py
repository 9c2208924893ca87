"""A start of masks: read right at every grid, each example's own, and refused where it misleads."""

import pytest
import torch
from captum.attr import InputXGradient, IntegratedGradients, Saliency
from torch import Tensor

from captum_ext.attr import (
    IGOS,
    AlignedContribution,
    BlurIG,
    Configured,
    GradCam,
    IGOSPlus,
    IGOSPlusPlus,
    MeaningfulPerturbation,
    Start,
)
from captum_ext.mask import fixed
from captum_ext.mask.grid import FeatureGroups, MaskGrid, read
from tests.attr.planted import detector, overlap, planted, scenes
from tests.conftest import WEAK_EVIDENCE

pytestmark = WEAK_EVIDENCE

METHODS = {m.__name__: m for m in (IGOS, IGOSPlus, IGOSPlusPlus, MeaningfulPerturbation)}
STILL = {"step": fixed(0.0), "l1_weight": 0.1, "tv_weight": 0.0}
"""Masks that stay where they begin."""


def begun(start, images, **options) -> Tensor:
    method = IGOSPlusPlus(detector(4.0), 7, start=start, **STILL)
    return method.optimize(images, 0.4, target=1, n_iter=1, n_steps=2, **options).descent.masks


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_finds_a_planted_patch_from_a_map(method):
    net, image = detector(), planted()
    explainer = method(net, 28, start=GradCam(net))
    assert overlap(explainer.attribute(image, 0.4, target=1, n_iter=4, n_steps=4)) > 0.7


def test_a_wrong_start_is_left():
    image, wrong = planted(), 1 - planted()[:, :1].gt(0.75).float()
    maps = IGOSPlusPlus(detector(), 7, start=wrong).attribute(image, 0.4, target=1)
    assert overlap(maps) > 0.6


def test_masks_begin_at_one_minus_depth_times_the_scaled_map():
    images = scenes()
    credit = torch.zeros(3, 1, 28, 21)
    credit[0, :, 10:20, 5:15], credit[1, :, :9], credit[2, :, 3] = 2.0, 0.1, 7.0
    masks = begun(Start(credit, depth=0.8), images)
    mean = read(MaskGrid(7), (credit.expand_as(images),), (images,))
    expected = 1 - 0.8 * mean / mean.amax(1, keepdim=True)
    torch.testing.assert_close(masks, expected[:, None].expand(-1, 2, -1))
    torch.testing.assert_close(masks.amin((1, 2)), torch.full((3,), 0.2))


def test_a_cell_reads_the_mean_by_how_much_it_masks():
    images, maps = (torch.rand(2, 3, 12, 9),), (torch.rand(2, 3, 12, 9),)
    grid = MaskGrid((4, 3))
    cells = torch.eye(12)
    weights = grid.enlarge(cells, (torch.rand(12, 3, 12, 9),))[0].flatten(1)
    expected = maps[0].mean(1).flatten(1) @ weights.T / weights.sum(1)
    torch.testing.assert_close(read(grid, maps, images), expected)


def test_groups_read_their_mean_and_none_where_an_example_lacks_them():
    groups = FeatureGroups((torch.tensor([[0, 0, 1], [0, 0, 0]]),))
    maps = (torch.tensor([[1.0, 3.0, 5.0], [6.0, 0.0, 0.0]]),)
    assert read(groups, maps, (torch.zeros(2, 3),)).tolist() == [[2.0, 5.0], [2.0, 0.0]]


def test_negative_credit_is_none_and_no_credit_begins_at_ones_with_a_warning():
    images = scenes()
    credit = torch.stack([torch.ones(3, 28, 21), -torch.ones(3, 28, 21), torch.zeros(3, 28, 21)])
    with pytest.warns(UserWarning, match=r"`start` has no positive credit.*\[1, 2\]"):
        masks = begun(credit, images)
    expected = torch.tensor([0.2, 1.0, 1.0])
    torch.testing.assert_close(masks.amax((1, 2)), expected)
    torch.testing.assert_close(masks.amin((1, 2)), expected)


@pytest.mark.parametrize(
    ("start", "error", "message"),
    [
        (torch.rand(3, 3, 7, 7), ValueError, r"`start`.*\(3, 3, 28, 21\).*\(3, 3, 7, 7\)"),
        (torch.rand(1, 3, 28, 21), ValueError, r"`start`.*\(1, 3, 28, 21\)"),
        ((torch.rand(3, 3, 28, 21),) * 2, ValueError, r"`start`"),
        (torch.full((3, 1, 28, 21), torch.nan), ValueError, r"finite.*\[0, 1, 2\]"),
        ("grad-cam", TypeError, r"`start`.*got str"),
        ((), TypeError, r"`start`"),
        (lambda x: x, TypeError, r"`start`.*function"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(start, error, message):
    with pytest.raises(error, match=message):
        begun(start, scenes())


@pytest.mark.parametrize("options", [{"depth": 0.0}, {"depth": 1.5}, {"share": 1.0}])
def test_settings_out_of_range_are_named(options):
    with pytest.raises(ValueError, match=rf"`{next(iter(options))}`.*got"):
        Start(torch.ones(1), **options)


def test_an_example_does_not_depend_on_its_batch():
    net, images = detector(4.0).double(), scenes().double()
    method = IGOSPlusPlus(net, 7, start=Start(GradCam(net), share=0.5))
    options = {"baselines": 0.4, "target": 1, "n_iter": 3}
    alone = [method.attribute(image[None], **options) for image in images]
    torch.testing.assert_close(method.attribute(images, **options), torch.cat(alone))


def test_a_method_is_asked_what_the_mask_is():
    """Target, further arguments and baselines; what it was configured with stays."""
    asked = []

    class Asked(InputXGradient):
        def attribute(self, inputs, baselines=None, target=None, additional_forward_args=None):
            asked.append((baselines, target, additional_forward_args))
            return super().attribute(inputs, target, additional_forward_args)

    net, images = detector(4.0), scenes()
    factor = torch.tensor([1.0, 0.9, 0.8])

    def model(x: Tensor, factor: Tensor) -> Tensor:
        return net(x) * factor[:, None]

    for start in (Asked(model), Configured(Asked(model), baselines=7.0)):
        method = IGOS(model, 7, start=start)
        method.attribute(images, 0.4, [1, 1, 1], factor, n_iter=1, n_steps=2)
    (given, target, more), (own, *_) = asked
    torch.testing.assert_close(given, torch.full_like(images, 0.4))
    assert target == [1, 1, 1]
    assert (more if isinstance(more, Tensor) else more[0]).tolist() == factor.tolist()
    assert own == 7.0


def test_tuples_groups_and_methods_with_a_start_of_their_own():
    def model(x: Tensor, y: Tensor) -> Tensor:
        return (x[:, 0] + y[:, 1]).sigmoid()

    inputs = (torch.ones(2, 3), torch.ones(2, 2))
    groups = (torch.tensor([[0, 1, 2]]), torch.tensor([[3, 4]]))
    method = IGOSPlusPlus(model, tv_weight=0.0, l1_weight=0.1, start=InputXGradient(model))
    maps = method.attribute(inputs, 0.0, feature_mask=groups, n_iter=2)
    assert [m.shape for m in maps] == [x.shape for x in inputs]
    assert maps[0][:, 0].min() > maps[0][:, 1:].max()
    # A blur path takes no baselines, and warns of those that it is given.
    assert begun(BlurIG(detector(4.0)), scenes()).amin() < 1


def test_a_start_that_draws_is_decided_by_the_seed():
    net, image = detector(4.0), scenes()[:1]

    class Drawn(Saliency):
        def attribute(self, inputs, target=None):
            return torch.rand_like(inputs)

    masks = []
    for state in (1, 2):
        torch.manual_seed(state)
        method = IGOSPlusPlus(net, 7, start=Drawn(net), **STILL)
        before = torch.get_rng_state()
        options = {"target": 1, "n_iter": 1, "n_steps": 2, "seed": 3}
        masks.append(method.optimize(image, 0.4, **options).descent.masks)
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*masks)


def test_a_model_that_ignores_its_input_gets_an_empty_map_from_any_start():
    images = scenes()
    method = IGOSPlusPlus(
        lambda x: x.flatten(1)[:, :1] * 0 + 0.5, 7, start=torch.rand(3, 1, 28, 21)
    )
    with pytest.warns(UserWarning, match=r"nothing was deleted for the examples \[0, 1, 2\]:"):
        assert method.attribute(images, 0.4, target=0).max() < 1e-3


def test_share_is_the_part_of_the_start_in_the_result():
    images, credit = scenes(), torch.rand(3, 1, 28, 21)
    found = [
        IGOSPlusPlus(detector(4.0), 7, start=Start(credit, share=share)).attribute(
            images, 0.4, target=1, n_iter=1, n_steps=2
        )
        for share in (0.0, 0.25)
    ]
    mean = read(MaskGrid(7), (credit.expand_as(images),), (images,))
    (scaled,) = MaskGrid(7).enlarge(mean / mean.amax(1, keepdim=True), (images,))
    torch.testing.assert_close(found[1], 0.75 * found[0] + 0.25 * scaled)


def test_a_path_method_starts_at_what_deleted_features_become():
    net, images = detector(4.0), scenes()
    aligned = Configured(AlignedContribution(IntegratedGradients(net)), n_steps=4)
    expected = aligned.attribute(images, baselines=0.4, target=1)
    assert torch.equal(begun(aligned, images), begun(expected, images))
