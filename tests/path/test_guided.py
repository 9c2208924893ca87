import pytest
import torch

from captum_ext.path import GuidedPath
from captum_ext.score import Score


def walk(path, model, inputs, n_steps, target=0):
    score = Score(model, (inputs,), target)
    knots = path.knots(score, (torch.zeros_like(inputs),), (inputs,), n_steps)
    return torch.stack([knot.point[0] for knot in knots])


def straight(images, n_steps):
    steps = torch.linspace(0, 1, n_steps + 1, dtype=torch.float64)
    return steps.view(-1, 1, 1, 1, 1) * images.double()


def test_each_step_ends_at_its_share_of_the_l1_distance(model, images):
    points = walk(GuidedPath(0.25, 0.1), model, images, 10)
    distance = images.double().flatten(1).sum(1)
    left = (points - images).abs().flatten(2).sum(2) / distance
    expected = torch.linspace(1, 0, 11, dtype=left.dtype)[:, None].expand_as(left)
    torch.testing.assert_close(left, expected, atol=1e-8, rtol=0)


def test_no_feature_is_further_than_max_dist_from_the_straight_line(model, images):
    points = walk(GuidedPath(0.1, 0.05), model, images, 20)
    line = straight(images, 20)
    assert ((points - line).abs() <= 0.05 * images.double() + 1e-12).all()


def test_max_dist_0_is_the_straight_line(model, images):
    guided = walk(GuidedPath(0.25, 0.0), model, images, 7)
    torch.testing.assert_close(guided, straight(images, 7))


def test_no_feature_ever_turns_back(model, images):
    points = walk(GuidedPath(0.3, 0.2), model, images, 15)
    assert (points.diff(dim=0) >= 0).all()


@pytest.mark.parametrize("fraction", [0.0, 1.5, float("nan")])
def test_guided_path_names_the_bad_fraction(fraction):
    with pytest.raises(ValueError, match=f"`fraction`.*got {fraction}"):
        GuidedPath(fraction=fraction)


@pytest.mark.parametrize("max_dist", [-0.1, 2.0])
def test_guided_path_names_the_bad_distance(max_dist):
    with pytest.raises(ValueError, match=f"`max_dist`.*got {max_dist}"):
        GuidedPath(max_dist=max_dist)


def test_a_fraction_of_one_feature_still_arrives(model):
    inputs = torch.rand(2, 3, 4, 4)
    points = walk(GuidedPath(1e-6, 1.0), lambda x: x.flatten(1) ** 2, inputs, 3)
    torch.testing.assert_close(points[-1], inputs.double())
    left = (points[1] - inputs).abs().flatten(1).sum(1) / inputs.flatten(1).sum(1)
    torch.testing.assert_close(left, torch.full_like(left, 2 / 3))


def test_a_path_of_many_features_in_bfloat16(model):
    inputs = torch.rand(1, 3, 40, 40).bfloat16()
    points = walk(GuidedPath(), model.bfloat16(), inputs, 2)
    torch.testing.assert_close(points[-1], inputs.double())


@pytest.mark.parametrize("fraction", [0.07, 0.25])
def test_numpy_and_torch_walk_the_same_path(fraction, model, monkeypatch):
    inputs = torch.rand(2, 3, 36, 36, generator=torch.Generator().manual_seed(0))
    # Half of the image has no gradient: a tie that is larger than a group.
    models = (model, lambda x: model(x * (torch.arange(36) < 18)))
    path = GuidedPath(fraction, 0.3)
    by_numpy = [walk(path, one, inputs, 4) for one in models]
    monkeypatch.setattr("captum_ext.path.guided._by_numpy", lambda values: False)
    for one, points in zip(models, by_numpy, strict=True):
        assert torch.equal(walk(path, one, inputs, 4), points)


def test_examples_walk_the_same_path_in_blocks_and_together(model, images, monkeypatch):
    together = walk(GuidedPath(), model, images, 4)
    monkeypatch.setattr("captum_ext.path.guided._IN_CACHE", 1)
    assert len(images) > 1
    assert torch.equal(walk(GuidedPath(), model, images, 4), together)
