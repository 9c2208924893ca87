"""Localization: against scikit-learn, brute force, and cases by hand."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, roc_auc_score
from torchvision import tv_tensors

from captum_ext.metrics import Localization, boxes_to_masks, localization


@pytest.fixture(params=["smooth", "ties"])
def pair(request):
    generator = torch.Generator().manual_seed(2)
    masks = torch.rand(5, 9, 8, generator=generator) < 0.3
    maps = torch.randn(5, 9, 8, generator=generator) + masks.float()
    return (maps if request.param == "smooth" else (maps * 2).round()), masks


def test_roc_auc_equals_scikit_learn(pair):
    maps, masks = pair
    made = localization(maps, masks)["roc_auc"]
    for score, mask, value in zip(maps, masks, made, strict=True):
        assert float(value) == pytest.approx(roc_auc_score(mask.flatten(), score.flatten()))


def test_f1_and_mae_are_the_best_over_every_threshold(pair):
    maps, masks = pair
    made = localization(maps, masks)
    for i, (score, mask) in enumerate(zip(maps, masks, strict=True)):
        chosen = [(score >= t).flatten() for t in score.unique()]
        f1 = max(f1_score(mask.flatten(), c) for c in chosen)
        mae = min(float((c != mask.flatten()).float().mean()) for c in chosen)
        assert float(made["f1"][i]) == pytest.approx(f1)
        assert float(made["mae"][i]) == pytest.approx(mae)


def test_energy_is_the_share_of_positive_credit_inside(pair):
    maps, masks = pair
    made = localization(maps, masks)["energy"]
    for score, mask, value in zip(maps, masks, made, strict=True):
        positive = np.maximum(score.numpy(), 0)
        assert float(value) == pytest.approx(positive[mask.numpy()].sum() / positive.sum())
    assert localization(-maps.abs() - 1, masks)["energy"].isnan().all()


@pytest.mark.parametrize(("tolerance", "hit"), [(0, 0.0), (4.9, 0.0), (5.0, 1.0), (9, 1.0)])
def test_pointing_game_measures_the_distance_to_the_annotation(tolerance, hit):
    maps, masks = torch.zeros(1, 20, 20), torch.zeros(1, 20, 20)
    maps[0, 10, 10] = 1
    masks[0, 13, 14:] = 1  # 3 rows and 4 columns away
    assert float(localization(maps, masks, tolerance)["pointing_game"]) == hit


def test_pointing_game_is_exact_on_large_images_and_fast_on_constant_maps():
    maps, masks = torch.zeros(2, 40, 3200), torch.zeros(2, 40, 3200)
    maps[0, 0, 3000] = 1
    masks[:, 7, 0] = 1
    distance = (3000.0**2 + 7**2) ** 0.5
    inside, outside = (
        localization(maps[:1], masks[:1], distance + change)["pointing_game"]
        for change in (1e-6, -1e-6)
    )
    assert (float(inside), float(outside)) == (1, 0)
    near = (torch.arange(40)[:, None] - 7) ** 2 + torch.arange(3200) ** 2 <= 15**2
    share = localization(maps[1:], masks[1:], 15)["pointing_game"]
    assert float(share) == pytest.approx(float(near.double().mean()))


def test_equal_maxima_share_the_hit():
    maps, masks = torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)
    masks[0, 0] = 1
    scores = localization(maps, masks, tolerance=0)
    assert float(scores["pointing_game"]) == 0.25
    assert float(scores["roc_auc"]) == 0.5


def test_perfect_random_constant_and_reversed_maps_are_put_in_order():
    mask = torch.zeros(1, 16, 16)
    mask[0, 4:9, 4:9] = 1
    noise = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.1
    by = {
        "perfect": mask + noise,
        "random": noise,
        "constant": torch.ones_like(mask),
        "reversed": 1 - mask + noise,
    }
    auc, f1, mae = (
        {k: float(localization(m, mask)[s]) for k, m in by.items()}
        for s in ("roc_auc", "f1", "mae")
    )
    assert auc["perfect"] == 1
    assert auc["reversed"] == 0
    assert auc["constant"] == 0.5
    assert 0.3 < auc["random"] < 0.7
    assert f1["perfect"] == 1
    assert f1["constant"] == pytest.approx(2 * 25 / (256 + 25))
    assert mae["perfect"] == 0
    assert mae["constant"] == pytest.approx(231 / 256)


def test_boxes_are_the_pixels_whose_center_they_hold():
    boxes = [torch.tensor([[0.6, 1.0, 3.4, 2.0], [0, 0, 1, 1]]), torch.zeros(0, 4)]
    masks = boxes_to_masks(boxes, 3, 5)
    assert masks[0].int().tolist() == [[1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]]
    assert not masks[1].any()
    maps = torch.rand(2, 3, 3, 5)
    by_boxes, by_masks = localization(maps, boxes), localization(maps, masks)
    for name in by_boxes:
        torch.testing.assert_close(by_boxes[name], by_masks[name], equal_nan=True)


def boxes_as(kind, numbers, size=(9, 12)):
    return tv_tensors.BoundingBoxes(numbers, format=kind, canvas_size=size)


@pytest.mark.parametrize("seed", range(5))
def test_boxes_say_their_own_format(seed):
    start = torch.rand(3, 2, generator=torch.Generator().manual_seed(seed)) * 5
    size = torch.rand(3, 2, generator=torch.Generator().manual_seed(seed + 9)) * 5 + 1
    forms = {
        "XYXY": torch.cat([start, start + size], 1),
        "XYWH": torch.cat([start, size], 1),
        "CXCYWH": torch.cat([start + size / 2, size], 1),
    }
    expected = boxes_to_masks([forms["XYXY"]], 9, 12)
    assert expected.any()
    for kind, numbers in forms.items():
        assert torch.equal(boxes_to_masks([boxes_as(kind, numbers)], 9, 12), expected)


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        (boxes_as("XYXY", [[1, 1, 3, 3]], (12, 9)), r"9 x 12 pixels.*canvas is \(12, 9\)"),
        (torch.tensor([[5, 5, 2, 2]]), "x0 <= x1 and y0 <= y1"),
        (torch.tensor([[0, 0, torch.nan, 2]]), "x0 <= x1"),
        (boxes_as("XYWH", [[5, 5, -2, 2]]), "x0 <= x1"),
    ],
)
def test_boxes_that_can_not_be_right_are_refused(boxes, words):
    with pytest.raises(ValueError, match=words):
        boxes_to_masks([boxes], 9, 12)


def test_rotated_boxes_are_refused():
    boxes = boxes_as("XYXY", [[4.0, 4.0, 6.0, 6.0]])
    boxes.format = SimpleNamespace(value="CXCYWHR")  # old torchvision has no such format
    with pytest.raises(ValueError, match=r"upright.*but got CXCYWHR: give a mask"):
        boxes_to_masks([boxes], 9, 12)


def test_channels_become_one_map_by_sum_or_absolute_values():
    maps = torch.tensor([[[[1.0, -3.0]], [[0.5, 1.0]]]])
    mask = torch.tensor([[[0, 1]]])
    assert float(localization(maps, mask)["roc_auc"]) == 0
    assert float(localization(maps, mask, reduction="abs_sum")["roc_auc"]) == 1


def test_undefined_images_are_nan_counted_and_left_out(pair):
    maps, masks = pair
    maps[0, 0, 0], masks[1], masks[2] = torch.nan, False, True
    metric = Localization()
    metric.update(maps[:2], masks[:2])
    metric.update(maps[2:, None], masks[2:, None])
    assert metric.excluded == {
        "attributions not finite": 1,
        "annotation empty": 1,
        "annotation full": 1,
    }
    for name, value in metric.compute().items():
        rows = metric.per_example[name]
        assert rows.isnan().tolist() == [True] * 3 + [False] * 2
        torch.testing.assert_close(value, rows[3:].mean())


def test_energy_of_a_map_without_positive_values_has_a_reason_and_the_other_scores_a_value(pair):
    maps, masks = pair
    metric = Localization()
    metric.update(-maps.abs() - 1, masks)
    assert metric.undefined["energy"] == ("no positive attribution",) * 5
    assert metric.undefined["roc_auc"] == ("",) * 5
    assert metric.excluded == {"no positive attribution": 5}
    assert metric.per_example["roc_auc"].isfinite().all()


def test_state_survives_forward_pickle_merge_and_reset(pair):
    maps, masks = (torch.cat([part, part.flip(2)]) for part in pair)
    whole, left, right = Localization(), Localization(), Localization()
    whole.update(maps, masks)
    left(maps[:2], masks[:2])
    right.update(maps[2:], masks[2:])
    left.merge_state(pickle.loads(pickle.dumps(right)))
    for name, value in whole.compute().items():
        torch.testing.assert_close(left.compute()[name], value)
        low, high = whole.interval()[name]
        assert low <= value <= high
        assert left.interval()[name] == whole.interval()[name]
    figure, axes = whole.plot()
    assert axes.get_figure() is figure
    whole.reset()
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert all(value.isnan() for value in whole.compute().values())


def test_bad_input_is_named():
    maps = torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"`masks`.*\(2, 8, 8\).*got \(2, 4, 4\)"):
        localization(maps, torch.ones(2, 4, 4))
    with pytest.raises(ValueError, match=r"`masks` as boxes.*got \(1, 3\)"):
        localization(maps, [torch.zeros(1, 3)] * 2)
    with pytest.raises(ValueError, match=r"`masks`.*each of 2 images, but got 1"):
        localization(maps, [torch.zeros(1, 4)])
    with pytest.raises(ValueError, match=r"`attributions` are maps.*got \(8, 8\)"):
        localization(maps[0, 0], torch.ones(8, 8))
    with pytest.raises(ValueError, match=r"`reduction`.*got 'l2'"):
        Localization(reduction="l2")
    with pytest.raises(ValueError, match=r"`tolerance`.*got -1"):
        Localization(tolerance=-1)
