"""Where on a path the knots stand."""

import math

import pytest
import torch
from captum.attr import IntegratedGradients

from captum_ext.attr import IDGI, BlurIG, GuidedIG, PathAttribution
from captum_ext.path import EqualRise, FixedPath, StraightLine, even, important_direction
from captum_ext.path.placement import placed
from captum_ext.score import Score
from tests.attr.test_path_methods import Watched


def along(*curves):
    """The values at K places of examples whose score along the path is a known function."""

    def values(places):
        ts = torch.as_tensor(places, dtype=torch.float64)
        ts = ts[:, None].expand(-1, len(curves)) if ts.dim() == 1 else ts
        return torch.stack([curve(t) for curve, t in zip(curves, ts.T, strict=True)], dim=1)

    return values


def steep(t):
    return torch.sigmoid(40 * (t - 0.3))


def wave(t):
    return torch.sin(2 * math.pi * t)


def test_every_step_holds_the_same_share_of_the_total_variation():
    values = along(steep, wave)
    places = EqualRise(n_probes=2000, floor=0.0, power=1.0)(values, n_steps=8)
    assert places.shape == (9, 2)
    fine = torch.linspace(0, 1, 80001, dtype=torch.float64)
    for k, total in enumerate([1.0, 4.0]):
        change = values(fine)[:, k].diff().abs()
        steps = torch.bucketize(fine[1:], places[1:-1, k].contiguous())
        shares = torch.zeros(8, dtype=torch.float64).scatter_add(0, steps, change)
        torch.testing.assert_close(shares, torch.full_like(shares, total / 8), atol=2e-3, rtol=0)


@pytest.mark.parametrize("placement", [EqualRise(24, floor=1.0), EqualRise(24, floor=0.3)])
def test_a_floor_bounds_the_longest_step(placement):
    longest = placement(along(steep), n_steps=10).diff(dim=0).max()
    assert longest <= 1 / (10 * placement.floor) + 1e-12


@pytest.mark.parametrize("floor", [0.0, 0.02])
def test_a_score_that_does_not_change_gets_even_steps(floor):
    def rounded(t):
        return 1 + 1e-8 * torch.sin(1e6 * t)

    places = EqualRise(5, floor)(along(torch.zeros_like, rounded, steep), n_steps=7)
    torch.testing.assert_close(places[:, 0], even(None, 7))
    torch.testing.assert_close(places[:, 1], even(None, 7), rtol=0, atol=0.02)
    assert (places[:, 2] - even(None, 7)).abs().max() > 0.1


def test_each_example_is_placed_by_its_own_values():
    both = EqualRise()(along(steep, wave), n_steps=6)
    assert torch.equal(both[:, :1], EqualRise()(along(steep), n_steps=6))
    assert torch.equal(both[:, 1:], EqualRise()(along(wave), n_steps=6))


@pytest.mark.parametrize(
    ("keywords", "message"),
    [({"n_probes": 0}, "`n_probes`.*got 0"), ({"floor": 1.5}, r"`floor`.*\[0, 1\].*got 1.5")],
)
def test_settings_that_nobody_can_mean_are_refused(keywords, message):
    with pytest.raises(ValueError, match=message):
        EqualRise(**keywords)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ([0.0, 1.0], r"3 places for 2 steps.*got \(2,\)"),
        ([[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]], r"\(3, 4\) for 4 examples, but got \(3, 2\)"),
        ([0.0, 1.5, 1.0], r"rise from 0.*got \[0.0, 1.5, 1.0\]"),
        ([0.0, float("nan"), 1.0], r"rise from 0.*nan"),
        ([0.1, 0.5, 1.0], "rise from 0"),
        ([0.0, 0.5, 0.9], "to 1, its end"),
    ],
)
def test_places_that_are_none_are_refused(places, message):
    with pytest.raises(ValueError, match=message):
        placed(lambda values, n_steps: places, along(steep), n_steps=2, n_examples=4)


def placings(model, images):
    return [
        IDGI(IntegratedGradients(model), placement=EqualRise(6)),
        IDGI(BlurIG(model, 3.0), placement=EqualRise(6)),
        PathAttribution(model, Bent(), important_direction, EqualRise(6)),
        BlurIG(model, 3.0, placement=EqualRise(6)),
    ]


class Bent(FixedPath):
    """A path that only knows numbers."""

    def point(self, start, end, t):
        return torch.lerp(start, end, math.sin(math.pi / 2 * t) if t > 0.1 else t)


@pytest.mark.parametrize("which", range(4), ids=["IG", "Blur", "own path", "Blur IG"])
def test_placed_maps_do_not_depend_on_batch_or_chunk(which, model, images):
    method = placings(model, images)[which]
    together = method.attribute(images, target=1, n_steps=5)
    for chunk in (1, 4, 100):
        again = method.attribute(images, target=1, n_steps=5, internal_batch_size=chunk)
        torch.testing.assert_close(again, together, rtol=1e-4, atol=1e-7)
    alone = [method.attribute(images[k : k + 1], target=1, n_steps=5) for k in range(3)]
    torch.testing.assert_close(torch.cat(alone), together, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("which", range(3), ids=["IG", "Blur", "own path"])
@pytest.mark.parametrize("n_steps", [1, 7])
def test_idgi_shares_out_the_whole_rise_of_placed_steps(which, n_steps, model, images):
    method = placings(model, images)[which]
    _, delta = method.attribute(images, target=0, n_steps=n_steps, return_convergence_delta=True)
    assert delta.abs().max() < 1e-6


def test_placed_knots_stand_where_the_placement_says(model, images):
    score = Score(model, (images,), target=0)
    ends = (torch.zeros_like(images),), (images,)
    own = torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.5, 0.7], [1.0, 1.0, 1.0]])
    knots = list(Bent().knots(score, *ends, 2, lambda values, n_steps: own))
    for k, t in enumerate(own[1].tolist()):
        expected = Bent().point(images[k] * 0, images[k], t)
        assert torch.equal(knots[1].point[0][k], expected)
    assert torch.equal(knots[2].point[0], images)


def test_a_placement_of_ones_own_is_one_function(model, images):
    def squared(values, n_steps):
        assert values([0.0, 1.0]).shape == (2, 3)
        return [(k / n_steps) ** 2 for k in range(n_steps + 1)]

    class Squared(FixedPath):
        def point(self, start, end, t):
            return torch.lerp(start, end, t**2)

    placed = PathAttribution(model, StraightLine(), placement=squared)
    bent = PathAttribution(model, Squared())
    assert torch.equal(
        placed.attribute(images, target=1, n_steps=5), bent.attribute(images, target=1, n_steps=5)
    )


def test_probes_are_forward_passes_without_a_graph(model, images):
    watched = Watched(model)
    BlurIG(watched, placement=EqualRise(6)).attribute(images, target=0, n_steps=4)
    assert (watched.gradients, watched.forwards) == (3 * 5, 3 * 7)


def test_a_probe_that_is_not_finite_is_named_with_its_examples(images):
    def model(x):
        x = x.flatten(1).sum(1)
        return torch.where((x > 400) & (x < 600), torch.nan, x)

    with pytest.raises(ValueError, match=r"nan or infinite.*examples \["):
        IDGI(IntegratedGradients(model), EqualRise(8)).attribute(images, n_steps=1)


def test_a_path_that_remembers_its_batch_is_refused(model, images):
    class Remembers(FixedPath):
        def point(self, start, end, t):
            return start + t * images

    method = PathAttribution(model, Remembers(), placement=EqualRise(3))
    with pytest.raises(ValueError, match=r"`point` of Remembers.*\(3, 3, 20, 16\)"):
        method.attribute(images, target=0, n_steps=2)


def test_a_path_that_finds_its_own_points_refuses_a_placement(model):
    for make in (
        lambda: GuidedIG(model, placement=EqualRise()),
        lambda: IDGI(GuidedIG(model), placement=even),
    ):
        with pytest.raises(ValueError, match=r"`placement`.*GuidedPath finds its own"):
            make()


@pytest.mark.parametrize(("bad", "said"), [(EqualRise, "EqualRise"), ("even", "'even'"), (5, "5")])
def test_what_is_no_placement_is_refused(bad, said, model):
    with pytest.raises(TypeError, match=rf"`placement` is even, EqualRise\(\).*got {said}"):
        BlurIG(model, placement=bad)


def test_without_n_steps_placed_steps_are_few(model, images):
    watched = Watched(model)
    IDGI(BlurIG(watched), placement=EqualRise()).attribute(images, target=0)
    assert (watched.gradients, watched.forwards) == (3 * 16, 3 * (25 + 1))


def test_idgi_keeps_the_placement_of_its_method_unless_it_has_its_own(model):
    method = BlurIG(model, placement=EqualRise(5))
    assert IDGI(method).placement == EqualRise(5)
    assert IDGI(method, placement=even).placement is even
