"""RISE: its formula, its randomness, its error and its bounds."""

import pytest
import torch
from torch import Tensor

from captum_ext.attr import RISE
from captum_ext.mask.advanced import RandomMasks


def test_equals_the_formula_in_plain_loops(model, images):
    stream = RandomMasks((4, 3), 0.4, (20, 16)).blocks(torch.Generator().manual_seed(5))
    masks = RandomMasks((4, 3), 0.4, (20, 16)).of(next(stream), slice(0, 30))
    expected = torch.zeros(3, 1, 20, 16)
    for n in range(3):
        for mask in masks:
            expected[n] += model((images[n] * mask)[None])[0, 2].item() * mask / (0.4 * 30)
    found = RISE(model, (4, 3), 0.4).attribute(images, target=2, n_masks=30, seed=5)
    torch.testing.assert_close(found, expected.expand_as(images))


def test_the_mean_mask_is_the_share_kept():
    masks = RandomMasks((5, 3), 0.3, (17, 20))
    stream = masks.blocks(torch.Generator().manual_seed(0))
    mean = torch.stack([masks.of(next(stream), slice(None)).mean(0) for _ in range(20)]).mean(0)
    assert mean.min() > 0.26
    assert mean.max() < 0.34


@pytest.mark.parametrize("perturbations_per_eval", [1, 7, 300])
def test_only_the_seed_decides_the_masks(model, images, perturbations_per_eval):
    rise = RISE(model, cells=5)
    expected = rise.attribute(images, target=1, n_masks=270, perturbations_per_eval=64)
    torch.manual_seed(perturbations_per_eval)
    found = rise.attribute(
        images, target=1, n_masks=270, perturbations_per_eval=perturbations_per_eval
    )
    torch.testing.assert_close(found, expected)
    assert not torch.equal(found, rise.attribute(images, target=1, n_masks=270, seed=1))


def test_an_example_does_not_depend_on_its_batch(model, images):
    rise, options = RISE(model, cells=5), {"n_masks": 600, "tolerance": 0.02}
    together = rise.attribute(images, target=1, **options)
    alone = [rise.attribute(x[None], target=1, **options) for x in images]
    torch.testing.assert_close(together, torch.cat(alone))


def test_hidden_pixels_take_the_reference(images):
    seen = []

    def model(x: Tensor) -> Tensor:
        seen.append(x)
        return x.mean((1, 2, 3))

    RISE(model, cells=4).attribute(images, baselines=images, n_masks=5)
    for x in seen:
        torch.testing.assert_close(x, images)


def test_standard_error_predicts_the_spread_over_seeds(model, images):
    rise = RISE(model, cells=4)
    runs = [
        rise.attribute(
            images,
            target=1,
            n_masks=100,
            seed=seed,
            perturbations_per_eval=100,
            return_standard_error=True,
        )
        for seed in range(40)
    ]
    spread = torch.stack([found for found, _ in runs]).std(0)
    error = torch.stack([error for _, error in runs]).mean(0)
    assert error.shape == images.shape
    assert 0.9 < (spread / error).mean() < 1.1


def test_tolerance_stops_each_example_on_its_own():
    calls = []

    def model(x: Tensor) -> Tensor:
        calls.append(len(x))
        return x.mean((1, 2, 3))

    images = torch.stack([torch.ones(3, 8, 8), torch.full((3, 8, 8), 0.01)])
    _, error = RISE(model, cells=4).attribute(
        images,
        n_masks=2560,
        perturbations_per_eval=256,
        tolerance=0.02,
        return_standard_error=True,
    )
    assert calls[0] == 512
    assert calls[-1] == 256
    assert len(calls) < 10
    assert error.amax() <= 0.02


def test_memory_does_not_grow_with_the_number_of_masks():
    rows = []

    def model(x: Tensor) -> Tensor:
        rows.append(len(x))
        return x.sum((1, 2, 3))

    RISE(model, cells=2).attribute(torch.ones(2, 1, 4, 4), n_masks=700, perturbations_per_eval=9)
    assert max(rows) == 18
    assert sum(rows) == 1400


def test_tuples_have_masks_of_their_own(images):
    small = images[:, :1, :9, :7]
    maps = RISE(
        lambda a, b: a[:, :, :10].mean((1, 2, 3)) + 0 * b.sum((1, 2, 3)), cells=4
    ).attribute((images, small), n_masks=500, perturbations_per_eval=100)
    assert [m.shape for m in maps] == [images.shape, small.shape]
    assert maps[0][:, :, :8].mean() > 1.1 * maps[0][:, :, 12:].mean()
    assert maps[1].std() < 0.1 * maps[1].mean()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_masks": 0}, "`n_masks`.*got 0"),
        ({"n_masks": 1, "return_standard_error": True}, "`n_masks`.*at least 2"),
        ({"perturbations_per_eval": 0}, "`perturbations_per_eval`.*got 0"),
        ({"tolerance": 0.0}, r"`tolerance`.*got 0\.0"),
    ],
)
def test_wrong_numbers_are_named(model, images, options, message):
    with pytest.raises(ValueError, match=message):
        RISE(model, cells=4).attribute(images, target=0, **options)


def test_wrong_pieces_are_named(model, images):
    with pytest.raises(ValueError, match=r"`keep`.*got 1"):
        RISE(model, keep=1)
    with pytest.raises(ValueError, match=r"`cells`.*got 30 x 30 for 20 x 16"):
        RISE(model, cells=30).attribute(images, target=0)
    with pytest.raises(ValueError, match=r"images.*\(3, 4\)"):
        RISE(model).attribute(torch.ones(3, 4), target=0)
    with pytest.raises(ValueError, match=r"nan.*examples \[1\]"):
        RISE(lambda x: x.mean((1, 2, 3)).log(), cells=4).attribute(
            torch.stack([images[0], -images[0]]), n_masks=3
        )


def test_blocks_sent_ahead_are_those_of_one_generator_in_turn():
    masks = [RandomMasks((4, 3), 0.4, (20, 16)), RandomMasks((2, 2), 0.4, (6, 6))]
    generator = torch.Generator().manual_seed(3)
    streams = [one.blocks(generator) for one in masks]
    there = [torch.device("cpu")] * 2
    n = 0
    for blocks in RandomMasks.ahead(masks, there, torch.Generator().manual_seed(3), 6):
        for (kept, corners), stream in zip(blocks, streams, strict=True):
            wanted = next(stream)
            assert torch.equal(kept, wanted[0].float())
            assert torch.equal(corners, wanted[1])
        n += 1
    assert n == 6
