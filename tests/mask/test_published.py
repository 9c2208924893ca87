"""The published presets and pieces against the published code."""

import pytest
import torch
from torch import Tensor

from captum_ext.attr import IGOS, IGOSPlus, IGOSPlusPlus
from captum_ext.attr.mask_attribution import MaskAttribution
from captum_ext.mask import TV, DeletionTerm, InsertionTerm, IntegratedGradient, MaskGrid
from captum_ext.mask.advanced import (
    MaskProblem,
    MaskState,
    PublishedBacktracking,
    PublishedBilateralTV,
    PublishedL1,
)
from captum_ext.score import Score
from tests.golden import load, reading

METHODS = {"igos": IGOS, "igosp": IGOSPlus, "igospp": IGOSPlusPlus}
WEIGHTS = {"h1": (1.0, 20.0), "h2": (0.2, 2.0)}


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load("igos")


# Trials and lengths are compared at each iteration before.
@pytest.mark.parametrize("iterations", [1, 15])
@pytest.mark.parametrize("size", [8, 32])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.filterwarnings("ignore:nothing was deleted")
def test_published_presets_equal_the_published_code(golden, weights, method, size, iterations):
    l1, tv = WEIGHTS[weights]
    preset = METHODS[method].published(
        reading(golden, "prob", torch.float64), size, l1, tv, noise_std=0.0
    )
    images, baselines = golden["image"].double(), golden["baseline"].double()
    run = preset.optimize(
        images, baselines, golden["label"].long(), n_iter=iterations, n_steps=10
    ).descent
    masks = run.masks.prod(1).view(3, 1, size, size)
    stride = 2 if size == 32 else 1
    expected = golden[f"{weights}_mask64_{method}_s{size}_it{iterations}"].double()
    torch.testing.assert_close(masks[..., ::stride, ::stride], expected, atol=1e-5, rtol=0)
    # The base loss is the search's first evaluation; the published code does not count it.
    trials = golden[f"{weights}_trials64_{method}_s{size}"][:, :iterations].long()
    torch.testing.assert_close(run.trials.T - 1, trials)
    alphas = golden[f"{weights}_alphas64_{method}_s{size}"][:, :iterations].double()
    torch.testing.assert_close(run.length.T, alphas, rtol=1e-6, atol=0)


@pytest.mark.parametrize("size", [8, 32])
@pytest.mark.parametrize(
    ("name", "piece"),
    [
        ("tv", TV(1.0, scaled=False)),
        ("btv_sigma0.01", PublishedBilateralTV(1.0, 0.01, relative=False)),
        ("btv_sigma1", PublishedBilateralTV(1.0, 1.0, relative=False)),
        ("l1", PublishedL1(1.0)),
    ],
)
def test_regularizers_equal_the_published_ones(golden, name, piece, size):
    mask = golden[f"piece_mask_s{size}"].clone().requires_grad_()
    value = piece((mask,), (golden["image"],))
    (gradient,) = torch.autograd.grad(value.sum(), mask)
    expected = golden[f"piece_{name}_s{size}"]
    torch.testing.assert_close(value.detach(), expected, rtol=1e-4, atol=0)
    theirs = golden[f"piece_{name}_grad_s{size}"]
    torch.testing.assert_close(gradient, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


def test_published_bilateral_variation_treats_rows_and_columns_differently(golden):
    mask, image = golden["piece_mask_s8"].mT, golden["image"].mT
    value = PublishedBilateralTV(1.0, 0.01, relative=False)((mask,), (image,))
    expected = golden["piece_btv_sigma0.01_transposed_s8"]
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=0)
    assert not torch.allclose(value, golden["piece_btv_sigma0.01_s8"], rtol=1e-3)


def problem(
    golden: dict[str, Tensor], term: DeletionTerm | InsertionTerm, *regularizers
) -> MaskProblem:
    images = (golden["image"],)
    score = Score(reading(golden, "prob", torch.float32), images, golden["label"].long())
    return MaskProblem(
        score, images, (golden["baseline"],), MaskGrid(8), (term,), tuple(regularizers)
    )


def test_enlarged_masks_equal_the_published_ones(golden):
    masks = golden["piece_mask_s8"].view(3, 1, 64)
    enlarged = problem(golden, DeletionTerm()).enlarged(masks, torch.arange(3), (0,))
    torch.testing.assert_close(enlarged[0], golden["piece_upscale_s8"])


@pytest.mark.parametrize(
    ("name", "term"), [("del", DeletionTerm()), ("ins", InsertionTerm(weight=1.0))]
)
def test_scores_along_the_way_equal_the_published_ones(golden, name, term):
    objective = problem(golden, term)
    sample = objective.sample([s / 10 for s in range(1, 11)])
    masks = golden["piece_mask_s8"].view(3, 1, 64)
    scores, gradient = objective.scores_and_gradient(masks, torch.arange(3), sample)
    expected = golden[f"piece_interval_score_{name}_n10_s8"].flatten(1) * 10
    torch.testing.assert_close(scores[0].float(), expected, rtol=1e-4, atol=1e-6)
    theirs = golden[f"piece_integrated_gradient_{name}_n10_s8"].view(3, 1, 64)
    torch.testing.assert_close(gradient, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


@pytest.mark.parametrize(("l1", "tv"), [(1.0, 20.0), (0.2, 2.0)])
def test_line_search_equals_the_published_one(golden, l1, tv):
    objective = problem(golden, DeletionTerm(), PublishedL1(l1), TV(tv, scaled=False))
    sample = objective.sample(IntegratedGradient().fractions(10))
    masks = golden["piece_mask_s8"].view(3, 1, 64)
    name = f"L1_{l1:g}_L2_{tv:g}_a1000_s8"
    here = MaskState(masks, golden[f"piece_ls_total_grad_{name}"].view(3, 1, 64))
    move = PublishedBacktracking()(
        here,
        lambda trial, among: objective.value(trial, among, sample),
        (),
        torch.full((3,), 100),
    )
    torch.testing.assert_close(move.length, golden[f"piece_ls_alpha_{name}"])
    torch.testing.assert_close(move.trials - 1, golden[f"piece_ls_trials_{name}"].long())


def test_presets_keep_their_class_and_the_command_lines_settings():
    for method in METHODS.values():
        preset: MaskAttribution = method.published(lambda x: x)
        assert isinstance(preset, method)
        assert (preset.n_iter, preset.n_steps, preset.step.initial) == (20, 15, 1000.0)
