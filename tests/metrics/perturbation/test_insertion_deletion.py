"""Insertion and deletion: the formula in loops, presets, references, bad input."""

import itertools

import pytest
import torch
from torch import nn

from captum_ext import ImageClassifier
from captum_ext.curve import GaussianBlur
from captum_ext.metrics import (
    Deletion,
    Insertion,
    deletion,
    deletion_curve,
    insertion,
    insertion_curve,
)
from captum_ext.metrics.perturbation.perturb import Perturbation, perturb, perturb_all

TARGET = torch.tensor([1, 0, 4, 2])


def in_loops(model, image, credit, target, reference, n_steps, inserts):
    """The area pixel by pixel and step by step, for one image without ties."""
    order = credit.sum(0).flatten().argsort(descending=True)
    frame, other = (reference, image) if inserts else (image, reference)
    frame = frame.clone()
    values = []
    done = 0
    for step in range(n_steps + 1):
        for pixel in order[done : round(step * len(order) / n_steps)]:
            row, column = divmod(int(pixel), image.shape[2])
            frame[:, row, column] = other[:, row, column]
        done = round(step * len(order) / n_steps)
        with torch.no_grad():
            values.append(float(model(frame[None])[0, target]))
    return sum((a + b) / 2 / n_steps for a, b in itertools.pairwise(values))


@pytest.mark.parametrize("reference", [0.0, 0.5, GaussianBlur(5, 2.0)])
@pytest.mark.parametrize(("function", "inserts"), [(insertion, True), (deletion, False)])
def test_area_equals_the_definition_in_loops(function, inserts, reference, model, images, maps):
    areas = function(model, images, maps, target=TARGET, n_steps=8, reference=reference)
    shown = reference(images) if callable(reference) else torch.full_like(images, reference)
    for i in range(4):
        expected = in_loops(model, images[i], maps[i], TARGET[i], shown[i], 8, inserts)
        assert float(areas[i]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("metric_class", [Insertion, Deletion])
def test_result_does_not_depend_on_batch_or_chunk(metric_class, model, images, maps):
    whole = metric_class(model, n_steps=5)
    whole.update(images, maps, target=TARGET)
    single = metric_class(model, n_steps=5, internal_batch_size=3)
    for i in range(4):
        single.update(images[i : i + 1], maps[i : i + 1], target=int(TARGET[i]))
    torch.testing.assert_close(whole.per_example, single.per_example, rtol=0, atol=1e-7)
    torch.testing.assert_close(whole.compute(), single.compute(), rtol=0, atol=1e-7)


def test_relative_is_the_curve_over_the_probability_of_the_original(model, images, maps):
    with torch.no_grad():
        whole = model(images).gather(1, TARGET[:, None])
    for function in (insertion_curve, deletion_curve):
        plain = function(model, images, maps, target=TARGET, n_steps=4).y
        ratio = function(model, images, maps, target=TARGET, n_steps=4, relative=True).y
        torch.testing.assert_close(ratio.float(), plain.float() / whole)


def linear(x):
    """The share of ones among the first half of the columns: a known truth."""
    return x[:, :4].mean(1, keepdim=True)


def test_perfect_random_constant_and_reversed_maps_are_put_in_order():
    table = torch.ones(1, 8)
    perfect = torch.tensor([[4.0, 3, 2, 1, -1, -2, -3, -4]])
    noise = torch.tensor([[0.3, -0.2, 0.1, -0.4, 0.2, -0.1, 0.4, -0.3]])
    kinds = {"perfect": perfect, "random": noise, "reversed": -perfect}
    ins = {k: float(insertion(linear, table, m, target=0, n_steps=8)) for k, m in kinds.items()}
    out = {k: float(deletion(linear, table, m, target=0, n_steps=8)) for k, m in kinds.items()}
    # By hand: the share rises over the first half and stays, or stays and then rises.
    assert ins["perfect"] == pytest.approx(0.75)
    assert ins["reversed"] == pytest.approx(0.25)
    assert out["perfect"] == pytest.approx(0.25)
    assert out["reversed"] == pytest.approx(0.75)
    assert 0.25 < ins["random"] < 0.75
    assert 0.25 < out["random"] < 0.75


def test_a_constant_map_scores_as_the_seeded_shuffle_on_average_half():
    areas = [
        float(insertion(linear, torch.ones(1, 8), torch.zeros(1, 8), target=0, n_steps=8, seed=s))
        for s in range(200)
    ]
    assert sum(areas) / 200 == pytest.approx(0.5, abs=0.03)
    assert len(set(areas)) > 10


def test_a_sparse_map_reveals_only_what_it_ranks(model, images):
    sparse = torch.zeros(1, 1, 16, 16)
    sparse[0, 0, :13, 0] = torch.arange(13, 0, -1.0)  # 5 % of 256 pixels
    curve = insertion_curve(model, images[:1], sparse, target=1, n_steps=20)
    frame = torch.zeros_like(images[:1])
    frame[:, :, :13, 0] = images[:1, :, :13, 0]
    with torch.no_grad():
        expected = model(frame)[0, 1]
    # A batch and a single frame round apart in the network's single precision.
    torch.testing.assert_close(curve.y[0, 1].float(), expected)


def test_few_features_cost_no_more_forward_passes_than_they_have_frames():
    calls = []

    def counting(x):
        calls.append(len(x))
        return linear(x)

    insertion(counting, torch.ones(2, 8), torch.rand(2, 8), target=0, n_steps=20)
    assert sum(calls) == 2 * 9
    calls.clear()
    insertion(counting, torch.ones(2, 80), torch.rand(2, 80), target=0, n_steps=20)
    assert sum(calls) == 2 * 21


def test_feature_groups_change_over_together(model, images, maps):
    quarters = (torch.arange(16)[:, None] // 8 * 2 + torch.arange(16) // 8).view(1, 1, 16, 16)
    curve = insertion_curve(
        model, images, maps, target=TARGET, n_steps=4, feature_mask=quarters.expand(1, 3, 16, 16)
    )
    means = maps.view(4, 3, 2, 8, 2, 8).mean((1, 3, 5)).flatten(1)
    best = means.argmax(1).view(4, 1, 1, 1) == quarters
    with torch.no_grad():
        first = model(images * best).gather(1, TARGET[:, None])[:, 0]
    torch.testing.assert_close(curve.y[:, 1].float(), first)


@pytest.mark.parametrize("function", [insertion_curve, deletion_curve])
def test_x_counts_groups_or_the_pixels_that_they_hold(function, model, images, maps):
    sizes = torch.tensor([160, 64, 24, 8])
    groups = torch.repeat_interleave(torch.arange(4), sizes).view(1, 1, 16, 16)
    settings = {"target": TARGET, "n_steps": 4, "feature_mask": groups.expand(1, 3, 16, 16)}
    counted = function(model, images, maps, **settings)
    measured = function(model, images, maps, unit="elements", **settings)
    assert torch.equal(counted.y, measured.y)
    assert counted.x[0].tolist() == [0, 0.25, 0.5, 0.75, 1]
    for x, credit in zip(measured.x, maps, strict=True):
        means = torch.stack([credit[:, groups[0, 0] == g].mean() for g in range(4)])
        shown = sizes[means.argsort(descending=True)].cumsum(0) / 256
        assert x.tolist() == [0, *shown.tolist()]
    pixels = function(model, images, maps, target=TARGET, n_steps=4, unit="elements")
    assert torch.equal(pixels.x, function(model, images, maps, target=TARGET, n_steps=4).x)


def test_tuples_of_inputs_share_one_ranking():
    def both(a, b):
        return (a.sum(1, keepdim=True) + b.sum(1, keepdim=True)) / 3

    a, b = torch.ones(1, 2), torch.ones(1, 1)
    credits = (torch.tensor([[0.1, 0.3]]), torch.tensor([[0.2]]))
    curve = insertion_curve(both, (a, b), credits, baselines=(0, 0), target=0, n_steps=3)
    assert curve.y[0].tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_given_baselines_replace_the_reference_and_protocol_says_so(model, images, maps):
    metric = Insertion(model, n_steps=2, reference=0.25)
    assert metric.protocol["reference"] == "constant 0.25"
    metric.update(images[:1], maps[:1], baselines=0.75, target=1)
    expected = insertion(model, images[:1], maps[:1], target=1, n_steps=2, reference=0.75)
    torch.testing.assert_close(metric.per_example, expected)
    metric.update(images[1:], maps[1:], target=1)
    assert "`baselines` of 1 of 4 examples" in metric.protocol["reference"]


@pytest.mark.parametrize(
    ("metric_class", "preset", "steps", "reference", "reduction"),
    [
        (Insertion, "igos", 50, "GaussianBlur(kernel_size=51, sigma=50.0)", "sum"),
        (Insertion, "rise", 224, "GaussianBlur(kernel_size=11, sigma=5.0)", "sum"),
        (Insertion, "idgi", 20, "constant 0", "abs_sum"),
        (Deletion, "igos", 50, "GaussianBlur(kernel_size=51, sigma=50.0)", "sum"),
        (Deletion, "rise", 224, "constant 0", "sum"),
    ],
)
def test_presets_state_the_papers_protocol(metric_class, preset, steps, reference, reduction):
    metric = metric_class.from_preset(lambda x: x, preset)
    assert metric.protocol["n_steps"] == steps
    assert metric.protocol["reference"] == reference
    assert metric.protocol["reduction"] == reduction
    assert metric_class.from_preset(lambda x: x, preset, n_steps=3).protocol["n_steps"] == 3
    with pytest.raises(ValueError, match=r"`preset` is one of.*got 'none'"):
        metric_class.from_preset(lambda x: x, "none")


def test_rise_deletes_to_zero_of_the_images_that_the_network_sees():
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    classifier = ImageClassifier(net, mean=[0.5, 0.4, 0.3], std=[0.2] * 3).eval()
    image, credit = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4)
    metric = Deletion.from_preset(classifier, "rise", n_steps=4)
    metric.update(image, credit, target=1)
    assert metric.protocol["reference"] == "MeanColor(channels=(0.5, 0.4, 0.3))"
    # At the end the network sees zeros.
    with torch.no_grad():
        last = net(torch.zeros(1, 3, 4, 4)).softmax(1)[0, 1]
    assert float(metric.curve().y[0, -1]) == pytest.approx(float(last))
    black = Deletion.from_preset(classifier, "rise", reference=0.0)
    assert black.protocol["reference"] == "constant 0"
    with pytest.raises(ValueError, match="holds an `ImageClassifier` inside"):
        Deletion.from_preset(nn.Sequential(classifier), "rise")


def test_bfloat16_images_and_channels_last_are_read_like_their_values(model, images, maps):
    expected = insertion(model, images, maps, target=TARGET, n_steps=3)
    last = images.to(memory_format=torch.channels_last)
    torch.testing.assert_close(
        insertion(model, last, maps, target=TARGET, n_steps=3), expected, rtol=0, atol=1e-6
    )
    half = nn.Sequential(nn.Flatten(), nn.Linear(768, 2), nn.Softmax(1)).bfloat16()
    areas = insertion(half, images.bfloat16(), maps.bfloat16(), target=0, n_steps=3)
    assert areas.dtype == torch.float64
    assert torch.isfinite(areas).all()


def test_undefined_examples_are_nan_and_counted_by_reason(images, maps):
    def model(x):
        answer = x.flatten(1).mean(1, keepdim=True)
        return torch.where(answer > 0.9, torch.nan, answer)

    images[1], images[2], maps[0, 0, 0, 0] = 1.0, 0.0, torch.nan
    metric = Insertion(model, n_steps=2, relative=True)
    metric.update(images, maps, target=0)
    assert metric.per_example.isnan().tolist() == [True, True, True, False]
    assert metric.n_excluded == 3
    assert metric.excluded == {
        "attributions not finite": 1,
        "model's answer not finite": 1,
        "original scores 0": 1,
    }
    torch.testing.assert_close(metric.compute(), metric.per_example[3])
    assert metric.curve().y.isfinite().all()


def test_what_is_wrong_for_the_whole_call_is_said_and_loses_nothing(model, images, maps):
    metric = Insertion(model, n_steps=2)
    metric.update(images, maps, target=1)
    before = metric.per_example
    with pytest.raises(ValueError, match=r"`attributions`.*\(4, 3, 16, 16\).*got \(4, 3, 8, 8\)"):
        metric.update(images, maps[:, :, :8, :8], target=1)
    with pytest.raises(ValueError, match=r"`baselines`.*got \(4, 3, 8, 8\)"):
        metric.update(images, maps, baselines=maps[:, :, :8, :8], target=1)
    with pytest.raises(AssertionError, match=r"`target`.*got 7"):
        metric.update(images, maps, target=7)
    with pytest.raises(ValueError, match="`inputs` must be finite"):
        metric.update(images * torch.nan, maps, target=1)
    assert torch.equal(metric.per_example, before)
    logits = Insertion(lambda x: model.model(x), n_steps=2)
    with pytest.raises(ValueError, match=r"`forward_func` must return prob.*ImageClassifier"):
        logits.update(images * 9, maps, target=1)
    with pytest.raises(ValueError, match="`reference` must keep"):
        insertion(model, images, maps, target=1, reference=lambda x: x[:, :1])


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"`unit`.*'features', 'elements'.*got 'pixels'"):
        Insertion(len, unit="pixels")
    with pytest.raises(ValueError, match=r"`n_steps`.*got 0"):
        Insertion(abs, n_steps=0)
    with pytest.raises(ValueError, match=r"`reduction`.*got 'mean'"):
        Deletion(abs, reduction="mean")
    with pytest.raises(TypeError, match=r"`reference`.*got Tensor.*`baselines`"):
        Deletion(abs, reference=(torch.zeros(1),)[0])
    with pytest.raises(TypeError, match=r"`forward_func`.*got int"):
        Deletion(3)


def test_curves_read_in_common_are_those_read_alone():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(108, 4), nn.Softmax(1)).double()
    image, maps = torch.rand(2, 3, 6, 6).double(), torch.randn(3, 2, 3, 6, 6)
    ways = [
        Perturbation(inserts, n_steps=6, reduction=reduction, reference=reference)
        for inserts in (True, False)
        for reduction, reference in (("sum", 0.5), ("abs_sum", GaussianBlur(5, 2.0)))
    ]
    jobs = [(way, credit) for credit in maps for way in ways]
    found = perturb_all(jobs, model, image, target=[1, 3])
    for (way, credit), (ours, _) in zip(jobs, found, strict=True):
        theirs, _ = perturb(way, model, image, credit, target=[1, 3])
        assert torch.equal(ours.x, theirs.x)
        torch.testing.assert_close(ours.y, theirs.y, atol=1e-12, rtol=0)
