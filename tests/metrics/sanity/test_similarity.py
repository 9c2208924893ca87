"""Similarities of maps against scipy and scikit-image."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from skimage.feature import hog as skimage_hog
from skimage.metrics import structural_similarity

from captum_ext.curve import GaussianBlur
from captum_ext.maps import absolute_map, signed_map
from captum_ext.metrics.sanity.similarity import by_chance
from captum_ext.registry import SIMILARITIES
from captum_ext.viz import heat


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(3, 3, 48, 50, generator=generator)
    return a, a + torch.randn(3, 3, 48, 50, generator=generator)


def test_signed_maps_keep_signs_in_minus_1_to_1(pair):
    made, summed = signed_map(pair[0]), pair[0].double().sum(1)
    assert made.abs().flatten(1).amax(1).tolist() == [1, 1, 1]
    assert torch.equal(made.sign(), summed.sign())


def test_absolute_maps_are_cut_at_the_99th_percentile(pair):
    for made, credit in zip(absolute_map(pair[0]), pair[0].double().abs().sum(1), strict=True):
        high = np.percentile(credit, 99)
        expected = ((credit - credit.min()) / (high - credit.min())).clamp(0, 1)
        torch.testing.assert_close(made, expected)


def test_a_sparse_map_keeps_its_levels_and_a_broken_one_is_no_number():
    sparse = torch.zeros(1, 1, 40, 40)
    sparse[0, 0, 0, :3] = torch.tensor([1.0, -2.0, 4.0])
    assert absolute_map(sparse)[0, 0, :3].tolist() == [0.25, 0.5, 1.0]
    assert torch.equal(absolute_map(sparse)[0].float(), torch.as_tensor(heat(sparse[0])))
    sparse[0, 0, 5, 5] = torch.nan
    assert SIMILARITIES["spearman"](sparse, torch.rand_like(sparse)).isnan().all()
    assert SIMILARITIES["ssim"](sparse, torch.rand_like(sparse)).isnan().all()


def test_spearman_equals_scipy_also_with_ties(pair):
    a, b = ((p * 2).round() for p in pair)
    signed, absolute = SIMILARITIES["spearman"](a, b), SIMILARITIES["abs_spearman"](a, b)
    for i in range(3):
        flat = [p[i].sum(0).flatten() for p in (a, b)]
        assert float(signed[i]) == pytest.approx(spearmanr(*flat).statistic)
        flat = [absolute_map(p)[i].flatten() for p in (a, b)]
        assert float(absolute[i]) == pytest.approx(spearmanr(*flat).statistic)


def test_ssim_is_two_dimensional_and_equals_scikit_image(pair):
    made = SIMILARITIES["ssim"](*pair)
    maps = [absolute_map(p).numpy() for p in pair]
    for i in range(3):
        _, full = structural_similarity(
            maps[0][i], maps[1][i], gaussian_weights=True, sigma=1.5, data_range=1.0,
            use_sample_covariance=False, full=True,
        )  # fmt: skip
        # Ours counts windows inside the image alone.
        assert float(made[i]) == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-9)


def test_hog_is_the_correlation_of_histograms(pair):
    made = SIMILARITIES["hog"](*pair)
    for i in range(3):
        a, b = (skimage_hog(absolute_map(p)[i].numpy(), pixels_per_cell=(16, 16)) for p in pair)
        assert float(made[i]) == pytest.approx(np.corrcoef(a, b)[0, 1])


@pytest.mark.parametrize("name", [name for name in SIMILARITIES if name != "stretched_ssim"])
def test_equal_maps_are_1_and_the_negative_map_tells_signed_from_absolute(name, pair):
    similarity = SIMILARITIES[name]
    torch.testing.assert_close(similarity(pair[0], pair[0]), torch.ones(3).double())
    expected = -1.0 if name == "spearman" else 1.0
    assert (similarity(pair[0], -pair[0] * 2 + 1e-9 * pair[1]) * expected > 0.99).all()
    torch.testing.assert_close(
        similarity(pair[0], -pair[0]), torch.full((3,), expected, dtype=torch.float64)
    )


def test_constant_maps_have_no_correlation_and_tables_no_image():
    flat = torch.zeros(1, 3, 48, 48)
    assert SIMILARITIES["spearman"](flat, torch.rand_like(flat)).isnan().all()
    for name in ("ssim", "hog"):
        with pytest.raises(ValueError, match=rf"'{name}' compares images.*\(2, 5\)"):
            SIMILARITIES[name](torch.rand(2, 5), torch.rand(2, 5))


TEXTURES = {
    "noise": lambda x: x,
    "smooth": GaussianBlur(15, 3.0),
    "parts of it": lambda x: GaussianBlur(15, 3.0)(x).relu(),
    "spots": lambda x: GaussianBlur(7, 1.0)(x) ** 3,
}


@pytest.mark.parametrize("texture", TEXTURES)
@pytest.mark.parametrize("name", SIMILARITIES)
def test_chance_is_what_independent_maps_of_a_kind_score(name, texture):
    generator = torch.Generator().manual_seed(0)
    one, two = (TEXTURES[texture](torch.randn(24, 3, 48, 48, generator=generator)) for _ in "ab")
    pairs = SIMILARITIES[name](one, two).mean()
    chance = by_chance(SIMILARITIES[name], one)
    torch.testing.assert_close(chance.mean(), pairs, rtol=0, atol=0.1)
    torch.testing.assert_close(by_chance(SIMILARITIES[name], one[3:4]), chance[3:4])


def test_chance_of_a_blob_in_the_middle_is_not_that_of_its_opposite():
    x = torch.linspace(-1, 1, 48)
    blob = torch.exp(-8 * (x[:, None] ** 2 + x**2))[None, None]
    assert abs(float(by_chance(SIMILARITIES["spearman"], blob))) < 0.1


@pytest.mark.parametrize("shape", [(2, 60), (2, 3, 40), (2, 1, 6, 7, 8), (2, 2, 3, 4, 5, 3)])
def test_chance_is_known_for_features_signals_and_volumes(shape):
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    assert (by_chance(SIMILARITIES["spearman"], maps).abs() < 0.15).all()
