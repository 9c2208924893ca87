"""AIC and SIC: protocols, formulas in loops, exclusions, one pass for all."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid

from captum_ext.curve import PNG, WEBP, WEBP_FULL, Curve, ms_ssim
from captum_ext.curve.codec import to_bytes
from captum_ext.metrics import (
    AIC,
    INFORMATION_PRESETS,
    SIC,
    accuracy_information_curve,
    information_metrics,
    softmax_information_curve,
)
from captum_ext.metrics.information.bins import BinnedPoints
from captum_ext.metrics.information.measure import measure, rescaled

GOLDEN = Path(__file__).parents[2] / "goldens" / "pic.npz"
TARGET = torch.tensor([1, 0, 4, 2])
EASY = {"min_score": 0.0}


@pytest.mark.parametrize("name", ["smooth", "random", "ties"])
@pytest.mark.parametrize("answer", ["sic", "aic"])
def test_rescaled_curves_and_areas_equal_those_of_pair(name, answer):
    golden = np.load(GOLDEN)
    x = torch.from_numpy(golden[f"entropies_{name}"]).double()[None]
    y = torch.from_numpy(golden[f"pred_{name}_{answer}_mono"]).double()[None]
    curve = rescaled(x, y, 1001)
    np.testing.assert_allclose(curve.y[0], golden[f"curve_y_{name}_{answer}_mono"], atol=1e-5)
    assert float(curve.area()) == pytest.approx(
        float(golden[f"auc_{name}_{answer}_mono"]), abs=1e-6
    )


@pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")
def test_median_and_mean_over_images_equal_those_of_pair():
    golden = np.load(GOLDEN)
    names = ("smooth", "random", "ties")
    curves = np.stack([golden[f"curve_y_{name}_sic_mono"] for name in names])
    for aggregate, combine in (("mean", np.mean), ("median", np.median)):
        auc = trapezoid(combine(curves, 0), golden["curve_x"])
        assert auc == pytest.approx(float(golden[f"aggregate_{aggregate}_auc"]), abs=1e-5)
        metric = SIC.from_preset(abs, "xrai", level="entropy", aggregate=aggregate)
        metric._append(
            codes=torch.zeros(3),
            probability=torch.stack([torch.tensor(golden[f"pred_{n}_sic_mono"]) for n in names]),
            correct=torch.ones(3, 15),
            entropy=torch.stack([torch.tensor(golden[f"entropies_{n}"]) for n in names]),
        )
        assert float(metric.compute()) == pytest.approx(auc, abs=1e-5)
        expected = golden[f"aggregate_{aggregate}_curve_y"]
        np.testing.assert_allclose(metric.curve().y[0], expected, atol=1e-5)


def test_rescaled_curves_never_fall_and_run_from_0_to_1():
    x, y = torch.rand(20, 9), torch.rand(20, 9)
    x[:, 0], x[:, -1], y[:, 0], y[:, -1] = 0.1, 0.9, 0.1, 0.8
    curve = rescaled(x, y, 101)
    assert (curve.y.diff(dim=1) >= 0).all()
    assert ((curve.y >= 0) & (curve.y <= 1)).all()
    assert (curve.y[:, -1] == 1).all()


def binned_in_loops(x, y, n_bins, combine):
    cells = [[] for _ in range(n_bins)]
    for a, b in zip(x.flatten().tolist(), y.flatten().tolist(), strict=True):
        cells[min(int(a * n_bins), n_bins - 1)].append(b)
    filled = [i for i in range(n_bins) if cells[i]]
    values = [combine(cells[i]) for i in filled]
    return np.interp(np.arange(n_bins), filled, values), len(filled)


@pytest.mark.parametrize(("median", "combine"), [(False, np.mean), (True, np.median)])
def test_bins_equal_loops_also_for_resamples(median, combine):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(7, 9, generator=generator, dtype=torch.float64) ** 2
    y = torch.rand(7, 9, generator=generator, dtype=torch.float64)
    points = BinnedPoints(x, y, 30, median)
    drawn = torch.randint(7, (4, 7), generator=generator)
    drawn[0] = torch.arange(7)
    for row, values, area in zip(drawn, points.values(drawn), points.areas(drawn), strict=True):
        expected, _ = binned_in_loops(x[row], y[row], 30, combine)
        np.testing.assert_allclose(values, expected, atol=1e-12)
        assert float(area) == pytest.approx(expected.mean())
    assert points.n_filled == binned_in_loops(x, y, 30, combine)[1]


@pytest.mark.parametrize("level", ["entropy", "ms_ssim"])
def test_idgi_preset_equals_its_definition_in_loops(level, model, images, maps):
    aic = AIC(model, level)
    sic = SIC(model, level)
    aic.update(images, maps, target=TARGET)
    sic.update(images, maps, target=TARGET)
    protocol = INFORMATION_PRESETS["idgi"]
    sharp = (images * 255).round() / 255
    x, ratio, right = [], [], []
    for i in range(4):
        order = maps[i].abs().sum(0).flatten().argsort(descending=True)
        base = protocol.base._blur(to_bytes(images[i : i + 1])[0])
        for k in np.linspace(0, 1, 25):
            frame = torch.from_numpy(base.copy()).permute(2, 0, 1) / 255
            shown = order[: int(np.floor(k * 255 + 1e-9)) + 1] if k else order[:0]
            frame.flatten(1)[:, shown] = sharp[i].flatten(1)[:, shown]
            with torch.no_grad():
                p = model(frame[None])[0]
                whole = model(sharp[i][None])[0, TARGET[i]]
            ratio.append(float(p[TARGET[i]] / whole))
            right.append(float(p.argmax() == TARGET[i]))
            if level == "entropy":
                sizes = [protocol.codec.size(a) for a in to_bytes(torch.stack([frame, sharp[i]]))]
                x.append(min(1.0, sizes[0] / sizes[1]))
            else:
                x.append(float(ms_ssim(frame[None], sharp[i][None])))
    expected, filled = binned_in_loops(np.array(x), np.array(right), 100, np.mean)
    assert float(aic.compute()) == pytest.approx(expected.mean(), abs=1e-6)
    expected, _ = binned_in_loops(np.array(x), np.array(ratio), 100, np.median)
    assert float(sic.compute()) == pytest.approx(expected.mean(), rel=1e-5)
    np.testing.assert_allclose(sic.curve().y[0], expected, rtol=1e-4)
    assert aic.n_filled_bins == filled
    shares = np.histogram(np.minimum(x, 1), 10, (0, 1))[0] / len(x)
    np.testing.assert_allclose(aic.frame_shares(), shares, atol=1e-9)
    assert AIC(model, level).frame_shares().isnan().all()
    # The last frame of each image is its original.
    assert sic.n_clipped <= 24 * 4


def test_idgi_preset_has_no_value_per_example_and_says_so(model, images, maps):
    metric = AIC(model)
    metric.update(images, maps, target=1)
    with pytest.raises(ValueError, match=r"'idgi'.*no value per example.*'xrai'"):
        _ = metric.per_example
    with pytest.warns(UserWarning, match="no interval: 4 of the 6"):
        assert metric.interval()[0].isnan()
    metric.update(images.flip(2), maps, target=1)
    low, high = metric.interval(n_samples=100)
    assert low <= high


def count(model, calls):
    def counting(x):
        calls.append(len(x))
        return model(x)

    return counting


@pytest.mark.parametrize("preset", ["idgi", "xrai", "tmlr"])
def test_one_pass_serves_both_curves_and_both_levels(preset, model, images, maps):
    calls = []
    together = information_metrics(count(model, calls), preset=preset)
    for part in (slice(0, 1), slice(1, 4)):
        together.update(images[part], maps[part], target=TARGET[part])
    frames = len(INFORMATION_PRESETS[preset].fractions)
    assert sum(calls) == 4 * frames
    values = together.compute()
    for name, kind in (("aic", AIC), ("sic", SIC)):
        for level in ("entropy", "ms_ssim"):
            alone = kind(model, level, preset)
            alone.update(images, maps, target=TARGET)
            expected = alone.compute()
            torch.testing.assert_close(
                values[f"{name}_{level}"], expected, rtol=0, atol=1e-6, equal_nan=True
            )


def test_functions_give_the_classes_curves(model, images, maps):
    for function, kind in ((accuracy_information_curve, AIC), (softmax_information_curve, SIC)):
        metric = kind(model, "entropy")
        metric.update(images, maps, target=TARGET)
        made = function(model, images, maps, target=TARGET, level="entropy")
        torch.testing.assert_close(made.y, metric.curve().y)
        rows = function(model, images, maps, target=TARGET, level="entropy", preset="tmlr")
        assert rows.y.shape == (4, 1001)


def brightness(x):
    """Class 0 is certain where the left half is bright."""
    bright = x[..., :8].mean((1, 2, 3))
    return torch.stack([bright, 1 - bright], 1).clamp(0, 1)


def half_bright(n=2):
    """As much noise on both sides, bright on the left."""
    x = torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(7)) * 0.2 + 0.8
    x[..., 8:] -= 0.8
    return x


def test_perfect_random_and_reversed_maps_are_put_in_order():
    image = half_bright()
    where = torch.zeros_like(image)
    where[..., :8] = 1 + torch.rand(2, 3, 16, 8)
    kinds = {"perfect": where, "random": torch.rand_like(image), "reversed": 2.1 - where}
    for level in ("entropy", "ms_ssim"):
        area = {}
        for name, credit in kinds.items():
            metric = SIC.from_preset(brightness, "tmlr", level=level, **EASY, codec=PNG)
            metric.update(image, credit, target=0)
            area[name] = float(metric.compute())
        assert area["perfect"] > area["random"] > area["reversed"]


def test_constant_maps_reveal_in_the_seeded_order_not_all_at_once():
    image = half_bright(1)
    metric = SIC.from_preset(brightness, "tmlr", level="ms_ssim", **EASY)
    metric.update(image, torch.zeros_like(image), target=0)
    revealed = metric._rows("probability")[0]
    assert len(revealed.unique()) > 15


def test_images_are_excluded_for_the_reason_that_comes_first(images, maps):
    dark, flat = torch.zeros(1, 3, 16, 16), torch.full((1, 3, 16, 16), 0.95)
    image = torch.cat([dark, flat, half_bright(2)])
    maps[3, 0, 0, 0] = torch.nan
    metric = SIC(brightness, level="entropy", preset="tmlr")
    metric.update(image, maps, target=0)
    # A constant image is its own blur.
    assert metric.excluded == {
        "attributions not finite": 1,
        "original scores too low": 1,
        "base scores as high as the original": 1,
    }
    assert metric.per_example.isnan().tolist() == [True, True, False, True]
    assert metric.compute() == metric.per_example[2]


def test_a_batch_of_which_all_are_excluded_is_nan_and_loses_nothing(maps):
    for preset in ("xrai", "tmlr"):
        metric = AIC(brightness, level="entropy", preset=preset)
        metric.update(torch.zeros(4, 3, 16, 16), maps, target=0)
        assert metric.compute().isnan()
        assert metric.n_excluded == 4
        assert metric.curve().y.isnan().all()
        metric.update(half_bright(4), torch.rand(4, 1, 16, 16), target=0)
        assert len(metric.per_example) == 8


@pytest.mark.parametrize("preset", ["xrai", "tmlr"])
def test_result_does_not_depend_on_batch_or_chunk(preset, model, images, maps):
    settings = {"level": "entropy", **EASY}
    whole = SIC.from_preset(model, preset, **settings)
    whole.update(images, maps, target=TARGET)
    single = SIC.from_preset(model, preset, internal_batch_size=4, **settings)
    for i in range(4):
        single.update(images[i : i + 1], maps[i : i + 1], target=int(TARGET[i]))
    torch.testing.assert_close(
        whole.per_example, single.per_example, rtol=0, atol=1e-6, equal_nan=True
    )


def test_baselines_replace_the_base_and_superpixels_are_revealed_as_one(model, images, maps):
    metric = SIC.from_preset(model, "idgi", level="ms_ssim")
    metric.update(images, maps, baselines=0.0, target=TARGET)
    assert "`baselines` of 4 examples" in metric.protocol["base"]
    with torch.no_grad():
        black = model(torch.zeros_like(images)).gather(1, TARGET[:, None])
    torch.testing.assert_close(metric._rows("probability")[:, :1].float(), black)
    halves = (torch.arange(16) // 8).expand(1, 3, 16, 16)
    grouped = SIC.from_preset(model, "idgi", level="ms_ssim")
    grouped.update(images, maps, target=TARGET, feature_mask=halves)
    assert all(len(row.unique()) <= 3 for row in grouped._rows("probability"))


def test_protocol_names_codec_base_bins_and_thresholds(model):
    protocol = AIC(model, "entropy", reduction="sum").protocol
    assert protocol["reduction"] == "sum"
    assert protocol["n_bins"] == 100
    assert "libwebp" in protocol["codec"]
    assert protocol["base"] == "Blurred(radius=20.0)"
    assert len(protocol["fractions"]) == 25
    assert SIC(model, preset="xrai").protocol["aggregate"] == "median"


@pytest.mark.parametrize(
    ("preset", "codec"), [("idgi", WEBP_FULL), ("xrai", WEBP_FULL), ("tmlr", PNG)]
)
def test_a_papers_name_stands_for_its_codec_and_changes_are_said(preset, codec, model):
    assert INFORMATION_PRESETS[preset].codec == codec
    assert SIC(model, preset=preset, seed=7).protocol["preset"] == preset
    fast = SIC.from_preset(model, preset, codec=WEBP, min_score=0.5)
    assert fast.protocol["preset"] == f"{preset}, but for codec, min_score"


@pytest.mark.parametrize("preset", ["idgi", "xrai", "tmlr"])
def test_the_seed_decides_the_order_among_equals(preset, model, images):
    constant = torch.ones_like(images)

    def readings(seed):
        metric = SIC(model, preset=preset, seed=seed)
        metric.update(images, constant, target=TARGET)
        return metric._rows("probability")

    assert torch.equal(readings(3), readings(3))
    assert not torch.equal(readings(3), readings(4))


def test_bad_input_is_named_and_loses_nothing(model, images, maps):
    metric = SIC(model, "entropy")
    metric.update(images, maps, target=1)
    before = metric.compute()
    with pytest.raises(ValueError, match=r"`inputs`.*\[0, 1\].*-1.*ImageClassifier"):
        metric.update(images - 1, maps, target=1)
    with pytest.raises(ValueError, match=r"1 or 3 channels.*\(4, 2, 16, 16\)"):
        metric.update(images[:, :2], maps, target=1)
    with pytest.raises(ValueError, match=r"`attributions`.*got \(4, 3, 8, 16\)"):
        metric.update(images, maps[:, :, :8], target=1)
    with pytest.raises(AssertionError, match="`target`"):
        metric.update(images, maps, target=9)
    assert metric.compute() == before
    logits = AIC(lambda x: model(x) * 9, "entropy")
    with pytest.raises(ValueError, match="must return probabilities"):
        logits.update(images, maps, target=1)


def test_bad_settings_are_named(model):
    with pytest.raises(ValueError, match=r"`level`.*got 'size'"):
        AIC(model, "size")
    with pytest.raises(ValueError, match=r"`preset`.*got 'pair'"):
        AIC(model, preset="pair")
    idgi = INFORMATION_PRESETS["idgi"]
    with pytest.raises(ValueError, match=r"`fractions` rise from 0 to 1"):
        dataclasses.replace(idgi, fractions=(0.0, 0.5))
    with pytest.raises(ValueError, match=r"`aggregate`.*got 'sum'"):
        dataclasses.replace(idgi, aggregate="sum")
    with pytest.raises(ValueError, match=r"`reduction`.*got 'max'"):
        AIC(model, reduction="max")
    with pytest.raises(ValueError, match=r"`n_bins`.*got 0"):
        dataclasses.replace(idgi, n_bins=0)


def test_curve_of_the_preset_idgi_is_one_row(model, images, maps):
    metric = AIC(model)
    metric.update(images, maps, target=1)
    curve = metric.curve()
    assert isinstance(curve, Curve)
    torch.testing.assert_close(curve.y.mean(), metric.compute())


def sigmoids(weights):
    """Three labels that don't exclude one another, from the mean of an image."""
    return lambda x: (x.mean((1, 2, 3))[:, None] * torch.tensor(weights)).sigmoid()


@pytest.mark.parametrize("n_labels", [1, 3])
def test_labels_that_do_not_exclude_one_another_are_right_where_they_are_probable(n_labels):
    images = torch.rand(2, 3, 32, 32)
    # The second label is never the most probable one, but probable once the image is bright.
    model = sigmoids([9.0, 3.0, -2.0] if n_labels == 3 else [3.0])
    target = 1 if n_labels == 3 else 0
    found = measure(
        INFORMATION_PRESETS["tmlr"], ["ms_ssim"], lambda x: model(x - 0.25), images, images,
        baselines=0.0, target=target,
    )  # fmt: skip
    assert torch.equal(found["correct"], (found["probability"] >= 0.5).double())
    assert 0 < found["correct"].mean() < 1


@pytest.mark.parametrize("preset", INFORMATION_PRESETS)
def test_six_channels_are_measured_by_similarity(preset):
    net = torch.nn.Sequential(torch.nn.Conv2d(6, 4, 3), torch.nn.AdaptiveAvgPool2d(1))
    images = torch.rand(2, 6, 16, 16, generator=torch.Generator().manual_seed(0))
    metric = SIC.from_preset(lambda x: net(x).flatten(1).softmax(1), preset, min_score=0.0)
    metric.update(images, images, target=1)
    assert metric._rows("ms_ssim").isfinite().all()
