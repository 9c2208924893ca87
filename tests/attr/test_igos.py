"""I-GOS, iGOS+ and iGOS++ as declarations."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from captum_ext import ImageClassifier
from captum_ext.attr import IGOS, IGOSPlus, IGOSPlusPlus, MeaningfulPerturbation
from captum_ext.evaluation.cost import Counted
from captum_ext.mask import BilateralTV, DeletionTerm, InsertionTerm, adam
from captum_ext.metrics.base.asked_once import AskedOnce
from tests.attr.planted import detector, overlap, planted, scenes
from tests.conftest import WEAK_EVIDENCE

pytestmark = WEAK_EVIDENCE

METHODS = {m.__name__: m for m in (IGOS, IGOSPlus, IGOSPlusPlus)}
NAMES = {IGOS: "I-GOS", IGOSPlus: "iGOS+", IGOSPlusPlus: "iGOS++", MeaningfulPerturbation: "Mask"}


@pytest.mark.parametrize("method", NAMES)
def test_names_are_the_papers(method):
    assert method(lambda x: x).get_name() == NAMES[method]


def test_terms_are_the_papers():
    assert IGOS(lambda x: x).terms == (DeletionTerm(),)
    assert IGOSPlus(lambda x: x).terms == (DeletionTerm(), InsertionTerm())
    masks = [(type(term), term.masks) for term in IGOSPlusPlus(lambda x: x).terms]
    single = [(DeletionTerm, (0,)), (InsertionTerm, (1,))]
    assert masks == [*single, (DeletionTerm, (0, 1)), (InsertionTerm, (0, 1))]


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_published_noise_and_edges_are_in_units_of_normalized_images(method):
    class Probabilities(nn.Module):
        def forward(self, x):
            return x.mean((2, 3))

    classifier = ImageClassifier(Probabilities(), mean=[0.5] * 3, std=[0.25] * 3)
    assert method.published(classifier).noise.std == pytest.approx(0.05)
    assert method.published(lambda x: x).noise.std == 0.2
    for piece in method.published(classifier).regularizers:
        if isinstance(piece, BilateralTV):
            assert piece.sigma == pytest.approx(0.01 / 16)
            assert not piece.relative


def test_the_unit_is_found_where_the_classifier_is_asked_as_it_is_and_asked_for_elsewhere():
    classifier = ImageClassifier(nn.Flatten(), mean=[0.5] * 3, std=[0.25] * 3)
    same = [nn.DataParallel(classifier), torch.compile(classifier, backend="eager"),
            Counted(classifier), AskedOnce(Counted(classifier))]  # fmt: skip
    for model in same:
        assert IGOS.published(model).noise.std == pytest.approx(0.05)
    within = [nn.Sequential(classifier), lambda x: classifier(x).exp(), classifier.forward,
              partial(nn.functional.normalize, classifier)]  # fmt: skip
    for model in within:
        with pytest.raises(
            ValueError, match=r"holds an `ImageClassifier` inside.*or unit=0\.25 if"
        ):
            IGOS.published(model)
        assert IGOS.published(model, unit=0.25).noise.std == pytest.approx(0.05)
    assert IGOS.published(nn.Flatten()).noise.std == 0.2


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_published_noise_differs_between_base_and_trial(method):
    seen = []
    net = detector(4.0)

    def model(x):
        seen.append(x.detach().clone())
        return net(x)

    image = scenes()[:1]
    preset = method.published(model, 7)
    preset.optimize(image, image, 1, n_iter=1, n_steps=1, max_forwards=100)
    # The reference is the image, so that only noise tells one blend from another.
    noise = torch.cat(seen) - image
    assert len(noise.flatten(1).unique(dim=0)) == len(noise)
    seen.clear()
    method(model, 7, tv_weight=0.0).optimize(image, image, 1, n_iter=1, n_steps=1)
    common = torch.cat(seen) - image
    torch.testing.assert_close(common, common[:1].expand_as(common))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_any_step_and_any_grid_can_be_chosen(method):
    image = planted(112, 84)
    explainer = method(detector(4.0), (28, 14), l1_weight=0.2, tv_weight=1.0, step=adam(0.1))
    run = explainer.optimize(image, 0.4, target=1, n_iter=20, n_steps=3)
    assert overlap(run.attributions) > 0.7
    assert run.descent.masks.shape[-1] == 28 * 14
    assert not run.descent.trials.any()


def test_published_igospp_enlarges_the_product_of_its_masks():
    image = scenes()[:1]
    for preset in (True, False):
        method = IGOSPlusPlus.published(detector(4.0), 7) if preset else IGOSPlusPlus(detector(), 7)
        run = method.optimize(image, 0.4, target=1, n_iter=2, n_steps=2)
        cells = run.descent.masks.view(1, 2, 7, 7)
        product = cells.prod(1, keepdim=True) if preset else cells
        seen = F.interpolate(product, (28, 21), mode="bilinear", align_corners=True).prod(1)
        torch.testing.assert_close(run.attributions[0, :1], 1 - seen, atol=1e-6, rtol=0)


def test_weights_of_the_mask_are_the_papers_of_sums():
    mask, weights = torch.rand(1, 1, 28, 28), MeaningfulPerturbation(lambda x: x).regularizers
    differences = [mask.diff(dim=axis).abs().pow(3).sum() for axis in (-2, -1)]
    found = sum(piece((mask,), ()) for piece in weights)
    expected = 1e-4 * (1 - mask).sum() + 1e-2 * sum(differences)
    torch.testing.assert_close(found[0], expected)


def test_progress_shows_the_objective(capsys):
    IGOS(detector(4.0), 7).attribute(scenes(), 0.4, target=1, n_iter=3, show_progress=True)
    shown = capsys.readouterr().err
    assert "I-GOS: 3 of 3 iterations, objective " in shown
    assert "\r" not in shown


def test_the_search_spends_less_than_a_third_of_the_published_trials():
    options = {"baselines": 0.4, "target": 1, "n_iter": 10, "n_steps": 5}
    ours = IGOS(detector(4.0), 7).optimize(scenes(), **options).descent
    theirs = IGOS.published(detector(4.0), 7).optimize(scenes(), **options).descent
    assert (3 * ours.trials.sum(0) < theirs.trials.sum(0)).all()


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("size", [7, 28, None])
def test_the_defaults_find_a_planted_patch_for_few_evaluations(method, size):
    explainer = method(detector(), size)
    run = explainer.optimize(planted(), 0.4, target=1)
    assert overlap(run.attributions) > 0.7
    # A gradient of each iteration is three evaluations; trials are on average no more than that.
    gradients = 3 * explainer.n_iter * explainer.n_steps * len(explainer.terms)
    assert run.descent.forwards[-1].item() <= 2 * gradients
