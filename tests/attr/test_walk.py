"""Several methods on one walk."""

import pytest
import torch
from captum.attr import IntegratedGradients

from captum_ext.attr import IDGI, BlurIG, Configured, GuidedIG, PathAttribution, walk
from captum_ext.path import (
    EqualRise,
    FixedPath,
    Knot,
    StraightLine,
    important_direction,
    integrate,
    riemann,
    trapezoid,
)
from captum_ext.registry import METHODS
from tests.attr.test_path_methods import Watched


def pairs(f):
    return [
        PathAttribution(f, StraightLine()),
        GuidedIG(f),
        IDGI(BlurIG(f, 4.0)),
        IDGI(IntegratedGradients(f)),
        PathAttribution(f, StraightLine(), trapezoid),
        IDGI(GuidedIG(f)),
        BlurIG(f, 4.0),
        IDGI(IntegratedGradients(f), placement=EqualRise(4)),
        PathAttribution(f, StraightLine(), placement=EqualRise(4)),
    ]


def test_maps_of_one_walk_are_those_of_the_methods_alone_bit_for_bit(model, images):
    methods = pairs(model)
    keywords = {"target": 1, "n_steps": 6, "return_convergence_delta": True}
    for method, (credit, delta) in zip(methods, walk(methods, images, **keywords), strict=True):
        alone, its_delta = method.attribute(images, **keywords)
        assert torch.equal(credit, alone)
        assert torch.equal(delta, its_delta)


def test_a_path_that_methods_share_is_walked_once(model, images):
    watched = Watched(model)
    walk(pairs(watched), images, target=1, n_steps=6)
    # Straight line and blur end with a gradient and a value, the others with a value.
    assert watched.gradients == 3 * (7 + 6 + 7 + 6)
    assert watched.forwards == 3 * (1 + 1 + 1 + 5 + 1)


def test_methods_share_no_walk_where_model_path_or_steps_differ(model, images):
    class Held(FixedPath):
        """Not to be compared: its tensors give no single answer."""

        def __init__(self, way):
            self.way = way

        def __eq__(self, other):
            return self.way == other.way

        def point(self, start, end, t):
            return start + t * self.way

    watched = Watched(model)
    methods = [
        BlurIG(watched, 4.0),
        BlurIG(watched, 5.0),
        BlurIG(Watched(model), 4.0),
        PathAttribution(watched, Held(images)),
        PathAttribution(watched, Held(images)),
    ]
    walk(methods, images, target=1, n_steps=2)
    assert watched.gradients == 3 * (3 + 3 + 2 + 2)


def test_without_n_steps_each_method_walks_its_own_number(model, images):
    watched = Watched(model)
    walk([BlurIG(watched), PathAttribution(watched, StraightLine())], images, target=0)
    assert watched.gradients == 3 * (17 + 50)


@pytest.mark.parametrize("n_steps", [2, 50])
def test_the_commands_ig_is_captums_left_riemann_sum(n_steps, model, images):
    ours = METHODS["ig"].make(model).attribute(images, target=1, n_steps=n_steps)
    theirs = IntegratedGradients(model).attribute(
        images, target=1, n_steps=n_steps, method="riemann_left"
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_configured_methods_share_a_walk_of_equal_steps(model, images):
    watched = Watched(model)
    blur_ig = BlurIG(watched, 4.0)
    methods = [
        Configured(blur_ig, n_steps=5),
        Configured(IDGI(blur_ig), n_steps=5),
        Configured(IDGI(blur_ig), n_steps=4),
    ]
    found = walk(methods, images, target=1)
    assert watched.gradients == 3 * (6 + 4)
    for method, credit in zip(methods, found, strict=True):
        assert torch.equal(credit, method.attribute(images, target=1))


def test_captums_own_method_is_refused(model, images):
    with pytest.raises(TypeError, match=r"`methods`.*got IntegratedGradients"):
        walk([IntegratedGradients(model)], images, target=0)


def test_integrate_keeps_no_more_than_the_knots_of_a_step():
    alive, most = set(), 0

    class Noted(Knot):
        def __del__(self):
            alive.discard(id(self))

    def knots():
        nonlocal most
        for t in range(50):
            knot = Noted((torch.ones(1, 1) * t,), torch.ones(1) * t, (torch.ones(1, 1),))
            alive.add(id(knot))
            most = max(most, len(alive))
            yield knot

    a, b, c, first, last = integrate(knots(), riemann, important_direction, trapezoid)
    assert [float(x[0]) for x in (a, b, c)] == [49, 49, 49]
    assert (first.value.item(), last.value.item()) == (0, 49)
    assert most <= 4
