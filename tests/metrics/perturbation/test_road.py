"""ROAD: the linear system, its noise, both orders and both readings."""

import numpy as np
import pytest
import torch

from captum_ext.curve import NoisyLinear, rank
from captum_ext.curve.imputation import impute
from captum_ext.metrics import ROAD, Insertion, road

KERNEL = np.array([[1, 2, 1], [2, 0, 2], [1, 2, 1]]) / 12


def neighbors_mean(image):
    """The weighted mean of each pixel's existing neighbors, (H, W), by plain loops."""
    height, width = image.shape
    means = np.zeros_like(image)
    for i, j in np.ndindex(height, width):
        total = weight = 0.0
        for k, m in np.ndindex(3, 3):
            y, x = i + k - 1, j + m - 1
            if 0 <= y < height and 0 <= x < width:
                total, weight = total + KERNEL[k, m] * image[y, x], weight + KERNEL[k, m]
        means[i, j] = total / weight
    return means


@pytest.fixture
def images():
    return torch.rand(3, 3, 12, 10, generator=torch.Generator().manual_seed(3))


def answer(x):
    p = (x[:, :1] * torch.linspace(0, 1, x.shape[3])).mean((2, 3))
    return torch.cat([p, 1 - p], 1)


def test_the_middle_of_nine_pixels_by_hand():
    image = np.array([[[1.0, 2.0, 4.0], [8.0, 99.0, 16.0], [32.0, 64.0, 128.0]]])
    known = np.ones((3, 3), bool)
    known[1, 1] = False
    direct, diagonal = 2 + 8 + 16 + 64, 1 + 4 + 32 + 128
    assert impute(image, known)[0, 1, 1] == pytest.approx(direct / 6 + diagonal / 12)
    # In a corner three neighbors are left, two of 1/6 and one of 1/12: 0.4, 0.4 and 0.2.
    known[1, 1], known[0, 0] = True, False
    assert impute(image, known)[0, 0, 0] == pytest.approx(0.4 * 2 + 0.4 * 8 + 0.2 * 99)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_every_removed_pixel_is_the_weighted_mean_of_its_neighbors(share):
    generator = np.random.default_rng(1)
    image, known = generator.random((2, 15, 11)), generator.random((15, 11)) > share
    made = impute(image, known)
    assert (made[:, known] == image[:, known]).all()
    for channel in made:
        np.testing.assert_allclose(channel[~known], neighbors_mean(channel)[~known], atol=1e-12)


def test_the_inside_of_a_plane_is_restored():
    y, x = np.mgrid[:9, :8]
    plane = (0.3 * x + 0.7 * y)[None]
    known = np.ones((9, 8), bool)
    known[1:-1, 1:-1] = False
    np.testing.assert_allclose(impute(plane * known, known), plane, atol=1e-12)


def test_a_wholly_removed_image_is_its_mean(images):
    frames = NoisyLinear(noise=0).frames((images,), rank((images,)), torch.tensor([[0]] * 3))
    made = frames.make(torch.tensor([1]), torch.tensor([0]))[0]
    torch.testing.assert_close(made, images[1:2].mean((2, 3), keepdim=True).expand_as(made))


def test_noise_is_seeded_small_and_on_removed_pixels_alone(images):
    ranking, counts, rows = rank((images,)), torch.tensor([[60]] * 3), torch.tensor([0, 2])

    def make(**how):
        frames = NoisyLinear(**how).frames((images,), ranking, counts)
        return frames.make(rows, torch.tensor([60, 60]))[0]

    plain, noisy = make(noise=0), make()
    shown = (ranking.positions[0][rows] < 60).expand_as(plain)
    assert torch.equal(noisy[shown], images[rows][shown])
    assert (noisy - plain)[~shown].std() == pytest.approx(0.01, rel=0.2)
    assert torch.equal(noisy, make())
    assert not torch.equal(noisy, make(seed=1))


@pytest.mark.parametrize("order", ["morf", "lerf"])
def test_values_do_not_depend_on_batch_or_chunk(images, order):
    settings = {"order": order, "reading": "probability", "percentages": [20, 70]}
    maps = (images * 3).round()
    whole = road(answer, images, maps, 1, **settings)
    parts = [road(answer, x[None], m[None], 1, internal_batch_size=1, **settings)
             for x, m in zip(images, maps, strict=True)]  # fmt: skip
    assert torch.equal(whole, torch.cat(parts))


def test_orders_and_readings():
    images = torch.zeros(1, 3, 8, 8)
    images[..., 4:] = 1

    def bright(x):
        mean = x.mean((1, 2, 3))
        return torch.stack([mean, 1 - mean], 1)

    values = {
        (order, reading): float(
            road(bright, images, images, 0, order=order, reading=reading, percentages=[50])
        )
        for order in ("morf", "lerf")
        for reading in ("accuracy", "probability")
    }
    assert values["morf", "accuracy"] == 0
    assert values["lerf", "accuracy"] == 1
    assert values["morf", "probability"] < 0.05
    assert values["lerf", "probability"] > 0.95
    assert not ROAD(bright).higher_is_better
    assert ROAD(bright, order="lerf").higher_is_better


def test_a_map_that_is_not_finite_leaves_its_batch_alone(images):
    maps = images.clone()
    maps[1, 0, 0, 0] = torch.nan
    found = road(answer, images, maps, 1, reading="probability", percentages=[50])
    expected = road(answer, images, images, 1, reading="probability", percentages=[50])
    assert found.isnan().tolist() == [False, True, False]
    assert torch.equal(found[[0, 2]], expected[[0, 2]])


def test_insertion_takes_the_imputation_as_a_base(images):
    metric = Insertion(answer, base=NoisyLinear(), n_steps=4)
    metric.update(images, images, target=1)
    assert metric.per_example.isfinite().all()


@pytest.mark.parametrize(
    "wrong",
    [{"order": "x"}, {"reading": "x"}, {"reduction": "x"}, {"percentages": []},
     {"percentages": [50, 50]}, {"percentages": [100]}],
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ROAD(answer, **wrong)


def test_a_pixel_is_removed_with_all_its_channels(images):
    groups = torch.arange(3).view(1, 3, 1, 1).expand(1, 3, 12, 10)
    with pytest.raises(ValueError, match="one channel"):
        ROAD(answer).update(images, images, target=1, feature_mask=groups)
