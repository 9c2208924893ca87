"""What all optimized masks promise: they find the evidence, repeat, and refuse bad input."""

import re
import warnings

import pytest
import torch
from captum.attr import NoiseTunnel
from captum.metrics import infidelity, sensitivity_max
from torch import Tensor

from captum_ext.attr import (
    IGOS,
    RISE,
    IGOSPlus,
    IGOSPlusPlus,
    MaskAttribution,
    MeaningfulPerturbation,
)
from captum_ext.mask import (
    L1,
    TV,
    Backtracking,
    DeletionTerm,
    Gradient,
    InsertionTerm,
    IntegratedGradient,
    MaskGrid,
    adam,
    fixed,
    nesterov,
)
from tests.attr.planted import detector, overlap, planted, scenes
from tests.conftest import WEAK_EVIDENCE

pytestmark = WEAK_EVIDENCE

METHODS = {m.__name__: m for m in (IGOS, IGOSPlus, IGOSPlusPlus, MeaningfulPerturbation)}
FAST = {"n_iter": 15, "n_steps": 4}


def options(method: type[MaskAttribution]) -> dict[str, int]:
    return {"n_iter": 60} if method is MeaningfulPerturbation else FAST


# What a mask's size changes is in `MaskGrid`, which the methods share.
@pytest.mark.parametrize(
    ("name", "size"),
    [
        *((name, size) for name in METHODS for size in (28, None)),
        *(("IGOS", size) for size in (7, 14, 56, (112, 84), (28, 21))),
    ],
    ids=str,
)
def test_finds_a_planted_patch_at_every_resolution(name, size):
    method, image = METHODS[name], planted()
    gray = torch.full_like(image, 0.4)
    maps = method(detector(), size).attribute(image, gray, target=1, **options(method))
    assert overlap(maps) > 0.7
    assert maps.min() >= 0
    assert maps.max() <= 1


def test_rise_finds_a_planted_patch():
    image = planted()
    gray = torch.full_like(image, 0.4)
    rise = RISE(detector())
    maps = rise.attribute(image, gray, target=1, n_masks=1000, perturbations_per_eval=50)
    assert overlap(maps) > 0.7


STEPS = {
    "search": Backtracking(),
    "adam": adam(0.1),
    "nesterov": nesterov(30.0),
    "fixed": fixed(20.0),
}
COMBINATIONS = [
    (IntegratedGradient(), (DeletionTerm(),)),
    (IntegratedGradient(), (InsertionTerm(),)),
    (IntegratedGradient(), (DeletionTerm(), InsertionTerm())),
    # The plain gradient of insertion alone is 0 where nothing is inserted yet.
    (Gradient(), (DeletionTerm(),)),
    (Gradient(), (DeletionTerm(), InsertionTerm())),
]


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize(("direction", "terms"), COMBINATIONS)
def test_terms_directions_and_steps_combine_freely(terms, step, direction):
    image = planted()
    method = MaskAttribution(
        detector(4.0), MaskGrid(14), terms, (L1(0.1), TV(1.0)), direction, step
    )
    maps = method.attribute(image, torch.full_like(image, 0.4), target=1, n_iter=30, n_steps=3)
    assert overlap(maps) > 0.7


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_one_seed_gives_one_map_bit_for_bit(method):
    explainer = method(detector(4.0), 6)
    first = explainer.attribute(scenes(), 0.4, target=1, seed=3, n_iter=4)
    torch.manual_seed(99)
    again = explainer.attribute(scenes(), 0.4, target=1, seed=3, n_iter=4)
    torch.testing.assert_close(again, first, rtol=0, atol=0)
    assert not torch.equal(explainer.attribute(scenes(), 0.4, target=1, seed=4, n_iter=4), first)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_an_image_does_not_depend_on_its_batch_or_on_chunks(method):
    explainer, images = method(detector(4.0).double(), 6), scenes().double()
    alone = torch.cat([explainer.attribute(x[None], 0.4, target=1, **FAST) for x in images])
    assert alone.amax((1, 2, 3)).min() > 0
    for chunk in (1, 5, None):
        together = explainer.attribute(images, 0.4, target=1, internal_batch_size=chunk, **FAST)
        torch.testing.assert_close(together, alone, atol=1e-9, rtol=0)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_constant_model_has_an_empty_map(method, images):
    bias = torch.full((1, 2), 0.5, requires_grad=True)
    maps = method(lambda x: bias.expand(len(x), 2), 6).attribute(images, target=1, n_iter=5)
    assert torch.equal(maps, torch.zeros_like(images))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_captums_noise_tunnel_and_metrics_run(method, model, images):
    explainer = method(model, 6)
    smooth = NoiseTunnel(explainer).attribute(images, nt_samples=2, target=1, n_iter=2)
    assert smooth.shape == images.shape
    worst = sensitivity_max(explainer.attribute, images, target=1, n_perturb_samples=2, n_iter=2)
    assert torch.isfinite(worst).all()

    def perturb(inputs: Tensor) -> tuple[Tensor, Tensor]:
        noise = 0.1 * torch.randn_like(inputs)
        return noise, inputs - noise

    maps = explainer.attribute(images, target=1, n_iter=2)
    assert infidelity(model, perturb, images, maps, target=1).shape == (3,)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_the_model_is_borrowed(method, model, images):
    before = [p.clone() for p in model.parameters()]
    method(model, 6).attribute(images.requires_grad_(), target=1, n_iter=2)
    assert images.grad is None
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    pairs = zip(model.parameters(), before, strict=True)
    assert all(torch.equal(p, b) for p, b in pairs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_types_come_back_as_they_went_in(method, dtype):
    images = scenes().to(dtype)
    maps = method(detector(4.0).to(dtype), 6).attribute(images, 0.4, target=1, n_iter=3)
    assert maps.dtype == dtype
    assert maps.is_contiguous()
    assert not maps.requires_grad
    assert maps.max() > 0


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_logits_are_warned_of_once(method, images):
    def logits(x: Tensor) -> Tensor:
        return 5 * x.mean((2, 3))

    with pytest.warns(UserWarning, match="ImageClassifier") as caught:
        method(logits, 6).attribute(images, target=1, n_iter=3)
    assert sum("ImageClassifier" in str(warning.message) for warning in caught) == 1


def test_probabilities_are_not_warned_of(model, images):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "nothing was deleted")
        IGOS(model, 6).attribute(images, target=1, n_iter=2)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_nan_is_reported_with_its_examples(method, model, images):
    calls = []

    def breaks(x: Tensor, broken: Tensor) -> Tensor:
        calls.append(len(x))
        nan = torch.where(broken & (len(calls) > 7), float("nan"), 1.0)
        return model(x) * nan.view(-1, 1)

    broken = torch.tensor([False, True, False])
    with pytest.raises(ValueError, match=r"nan.*examples \[1\]"):
        method(breaks, 6).attribute(
            images, target=1, additional_forward_args=broken, n_iter=300, n_steps=2
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_forwards": 11}, r"`max_forwards`.*12 model evaluations, but got 11"),
        ({"n_iter": 0}, r"`n_iter`.*got 0"),
        ({"n_steps": 0}, r"`n_steps`.*got 0"),
        ({"internal_batch_size": 0}, r"`internal_batch_size`.*got 0"),
        ({"feature_mask": torch.zeros(1, 3, 20, 15).long()}, r"`feature_mask`.*\(1, 3, 20, 15\)"),
        ({"feature_mask": torch.zeros(1, 3, 20, 16)}, r"`feature_mask`.*integer.*float32"),
        ({"baselines": torch.zeros(3, 3, 20, 15)}, r"`baselines`.*\(3, 3, 20, 15\)"),
    ],
)
def test_bad_arguments_are_named(arguments, message, model, images):
    with pytest.raises((ValueError, TypeError), match=message):
        IGOS(model, 6).attribute(images, target=1, **{"n_steps": 4, **arguments})


def test_a_mask_finer_than_the_image_is_refused(model, images):
    with pytest.raises(ValueError, match=r"`mask_size`.*28 x 28 for 20 x 16"):
        IGOS(model).attribute(images, target=1)
    with pytest.raises(ValueError, match=r"`mask_size`.*got 0"):
        IGOS(model, mask_size=0)


def test_what_is_no_image_needs_features_and_a_baseline():
    def model(x: Tensor) -> Tensor:
        return x.mean(1)

    rows = torch.rand(2, 5)
    with pytest.raises(ValueError, match=r"`feature_mask` is needed.*\(2, 5\)"):
        IGOS(model).attribute(rows, baselines=0)
    with pytest.raises(ValueError, match=r"`baselines` is needed.*\(2, 5\)"):
        IGOS(model).attribute(rows, feature_mask=torch.arange(5)[None])


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_an_empty_map_is_told_with_its_examples_and_the_reason(method):
    images = scenes()
    factor = torch.tensor([1.0, 1e-4, 1.0])

    def model(x: Tensor, factor: Tensor) -> Tensor:
        return detector(4.0)(x) * factor[:, None]

    settings = {"tv_weight": 1.0, "l1_weight": 0.1}
    with pytest.warns(UserWarning, match=r"nothing was deleted.*\[1\].*e-0.*L1 0\.1.*`relative_w"):
        maps = method(model, 6, **settings).attribute(images, 0.4, 1, factor, n_iter=10)
    assert (maps.amax((1, 2, 3)) > 1e-3).tolist() == [True, False, True]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        relative = method(model, 6, **settings, relative_weights=True)
        assert relative.attribute(images, 0.4, 1, factor, n_iter=10).amax((1, 2, 3)).min() > 0.1


@pytest.mark.parametrize(("weak", "told"), [(0.02, True), (1.0, False)])
def test_a_map_that_deletes_next_to_nothing_is_told_apart_from_an_empty_one(weak, told):
    method = IGOS(lambda x: weak * x[:, :, 2:4, 2:4].mean((1, 2, 3)), 6, 1e-3, 0.1, 0, fixed(0.5))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        maps = method.attribute(torch.ones(1, 3, 12, 12), 0, n_iter=6)
    assert (maps.amax() < 0.05) == told
    expected = r"more than 5%.* for the examples \[0\], whose scores are \[0.02\]"
    assert [bool(re.search(expected, str(warning.message))) for warning in said] == [True] * told


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_score_that_nothing_changes_is_told_apart(method, images):
    explainer = method(lambda x: x.flatten(1)[:, :1] * 0 + 0.5, 6)
    reason = (
        "`relative_weights" if method is MeaningfulPerturbation else "do not depend.*`baselines"
    )
    with pytest.warns(UserWarning, match=rf"nothing was deleted.*\[0, 1, 2\].*0\.5.*{reason}"):
        explainer.attribute(images, target=0, n_iter=3)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("scale", [0.01, 0.5])
def test_relative_weights_explain_a_score_as_any_multiple_of_it(method, scale):
    net, images = detector(4.0).double(), scenes().double()
    settings = {"n_iter": 6, "baselines": 0.4, "target": 1}
    options = {"l1_weight": 0.5, "tv_weight": 2.0, "relative_weights": True}
    whole = method(net, 6, **options).attribute(images, **settings)
    part = method(lambda x: scale * net(x), 6, **options).attribute(images, **settings)
    torch.testing.assert_close(part, whole, atol=1e-6, rtol=0)
    assert whole.amax((1, 2, 3)).min() > 0.1


def test_a_budget_counts_the_score_that_weights_are_relative_to():
    calls = []
    net = detector(4.0)

    def model(x: Tensor) -> Tensor:
        calls.append(len(x) * (3 if torch.is_grad_enabled() else 1))
        return net(x)

    explainer = IGOS(model, 6, relative_weights=True)
    run = explainer.optimize(scenes()[:1], 0.4, 1, n_steps=4, max_forwards=40)
    assert run.descent.forwards[-1].item() == sum(calls) <= 40
    with pytest.raises(ValueError, match="13 model evaluations, but got 12"):
        explainer.optimize(scenes()[:1], 0.4, 1, n_steps=4, max_forwards=12)


def test_a_bad_target_stays_an_assertion_error(model, images):
    with pytest.raises(AssertionError, match=r"`target`.*99"):
        IGOS(model, 6).attribute(images, target=99)
