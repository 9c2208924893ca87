"""Frames and how they are read."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from captum_ext.curve import Frames, GaussianBlur, fraction, rank
from captum_ext.curve.frames import even_counts, read
from captum_ext.score import Score

GOLDEN = Path(__file__).parents[1] / "goldens" / "metric.npz"


@pytest.fixture
def frames():
    start, end = torch.zeros(2, 3, 4, 5), torch.ones(2, 3, 4, 5)
    ranking = rank((torch.rand(2, 3, 4, 5),))
    return Frames((start,), (end,), ranking, even_counts(ranking.n_features, 6))


def total(points, rows):
    return points[0].flatten(1).sum(1)


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_every_frame_shows_exactly_the_counted_features(frames, chunk):
    (shown,) = read(frames, [total], chunk)
    # Three channels change over with their pixel.
    torch.testing.assert_close(shown, 3.0 * frames.counts)


def test_a_chunk_is_never_exceeded_and_equal_frames_are_read_once(frames):
    sizes = []

    def spy(points, rows):
        sizes.append(len(rows))
        return total(points, rows)

    doubled = torch.cat([frames.counts, frames.counts[:, -1:]], 1)
    (shown,) = read(Frames(frames.start, frames.end, frames.ranking, doubled), [spy], 4)
    assert max(sizes) <= 4
    assert sum(sizes) == frames.counts.numel()
    torch.testing.assert_close(shown, 3.0 * doubled)


def test_frames_are_read_several_ways_in_one_pass_also_in_the_background(frames):
    class Later:
        def __init__(self, value):
            self.value = value

        def result(self):
            return self.value

    pair, later = read(
        frames,
        [
            lambda points, rows: torch.stack([total(points, rows), rows.float()], 1),
            lambda points, rows: Later(total(points, rows)),
        ],
        3,
    )
    assert pair.shape == (2, 7, 2)
    torch.testing.assert_close(pair[..., 0], later)
    assert pair[1, :, 1].eq(1).all()


def test_the_last_ranked_features_change_last():
    ranking = rank((torch.tensor([[5.0, 1.0, 3.0]]),))
    frames = Frames((torch.zeros(1, 3),), (torch.ones(1, 3),), ranking, torch.tensor([[0, 1, 2]]))
    (made,) = read(frames, [lambda points, rows: points[0]], 10)
    assert made.tolist() == [[[0, 0, 0], [1, 0, 0], [1, 0, 1]]]


def test_fraction_runs_from_none_to_all_by_the_exact_count(frames):
    x = fraction(frames)
    torch.testing.assert_close(x, frames.counts.double() / 20)
    assert x[0, 0] == 0
    assert x[0, -1] == 1


@pytest.mark.parametrize("n_features", [1, 7, 49, 50176])
@pytest.mark.parametrize("n_steps", [1, 3, 20])
def test_even_counts_are_the_nearest_whole_numbers(n_features, n_steps):
    (counts,) = even_counts(torch.tensor([n_features]), n_steps)
    for step, count in enumerate(counts.tolist()):
        assert abs(count - step * n_features / n_steps) <= 0.5


def test_curves_equal_the_published_metric():
    g = {name: torch.from_numpy(array) for name, array in np.load(GOLDEN).items()}

    def net(x):
        for layer in ("c1", "c2"):
            x = functional.conv2d(x, g[f"net_{layer}_weight"], g[f"net_{layer}_bias"], 2, 1)
            x = functional.softplus(x)
        return functional.linear(x.mean((2, 3)), g["net_fc_weight"], g["net_fc_bias"]).softmax(1)

    image, baseline = (g["image"],), (g["baseline"],)
    ranking = rank((-g["mask_s32"],))
    counts = torch.tensor([*range(0, 1024, 20), 1024]).expand(3, -1)
    score = Score(net, image, g["label"])
    for name, start, end in (("del", image, baseline), ("ins", baseline, image)):
        (y,) = read(Frames(start, end, ranking, counts), [score], 16)
        expected = g[f"{name}_curve_s32_step20"].double()
        torch.testing.assert_close(y, expected, rtol=0, atol=2e-6)
        right_sum = (y[:, 1:] * counts.diff(dim=1) / 1024).sum(1)
        expected = g[f"{name}_score_fixed_s32_step20"].double()
        torch.testing.assert_close(right_sum, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("size", [(60, 70), (8, 5), (1, 1)])
def test_blur_is_a_separable_reflected_gaussian(size):
    image = torch.rand(1, 2, *size, dtype=torch.float64)
    expected = image
    for dim, side in ((2, size[0]), (3, size[1])):
        half = min(25, side - 1)
        weights = torch.exp(-(torch.arange(-half, half + 1).double() ** 2) / (2 * 10.0**2))
        weights /= weights.sum()
        # The index of every tap, mirrored at the border pixel.
        taps = torch.arange(side)[:, None] + torch.arange(-half, half + 1)
        taps = taps.abs()
        taps = torch.where(taps >= side, 2 * (side - 1) - taps, taps)
        lines = expected.movedim(dim, -1)[..., taps]
        expected = (lines * weights).sum(-1).movedim(-1, dim)
    torch.testing.assert_close(GaussianBlur(51, 10.0)(image), expected, rtol=0, atol=1e-6)


def test_blur_names_bad_settings_and_bad_inputs():
    with pytest.raises(ValueError, match=r"`kernel_size`.*odd.*got 4"):
        GaussianBlur(4, 1.0)
    with pytest.raises(ValueError, match="`sigma` is above 0"):
        GaussianBlur(3, 0.0)
    with pytest.raises(ValueError, match=r"images.*got \(2, 5\)"):
        GaussianBlur(3, 1.0)(torch.rand(2, 5))
