"""Axioms and costs of the path methods."""

import warnings

import pytest
import torch
from captum.attr import IntegratedGradients
from torch import nn

from captum_ext.attr import (
    IDGI,
    AlignedContribution,
    BlurIG,
    Configured,
    GuidedIG,
    PathAttribution,
    path_of,
)
from captum_ext.evaluation import evaluate
from captum_ext.path import (
    BlurPath,
    EqualRise,
    StraightLine,
    even,
    important_direction,
    trapezoid,
)

OVER = {
    "IG": IntegratedGradients,
    "Guided IG": GuidedIG,
    "Blur IG": BlurIG,
    "trapezoid": lambda f: PathAttribution(f, StraightLine(), trapezoid),
}


def rise(model, images, start):
    with torch.no_grad():
        return model(images)[:, 0].double() - model(start)[:, 0].double()


@pytest.mark.parametrize("n_steps", [1, 2, 7, 50])
@pytest.mark.parametrize("over", OVER.values(), ids=OVER)
def test_idgi_shares_out_the_whole_rise(over, n_steps, model, images):
    credit, delta = IDGI(over(model)).attribute(
        images, target=0, n_steps=n_steps, return_convergence_delta=True
    )
    assert delta.shape == (3,)
    assert delta.abs().max() < 1e-6
    if not isinstance(path_of(over(model)), BlurPath):
        whole = rise(model, images, torch.zeros_like(images))
        total = credit.double().flatten(1).sum(1)
        torch.testing.assert_close(total, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n_steps", [1, 7, 50])
def test_idgi_shares_out_the_whole_rise_in_bfloat16(n_steps, model, images):
    half = model.to(torch.bfloat16)
    inputs = images.to(torch.bfloat16)
    credit = IDGI(IntegratedGradients(half)).attribute(inputs, target=0, n_steps=n_steps)
    whole = rise(half, inputs, torch.zeros_like(inputs))
    total = credit.double().flatten(1).sum(1)
    torch.testing.assert_close(total, whole, rtol=1e-2, atol=1e-2 * float(whole.abs().max()))


class Saturating(nn.Module):
    """Flat below .3 and above .7 of its mean brightness: most gradients on a path vanish."""

    def forward(self, x):
        return ((x.flatten(1).mean(1, keepdim=True) - 0.3) / 0.4).clamp(0, 1)


@pytest.mark.parametrize("n_steps", [3, 7, 50])
def test_idgi_is_complete_where_gradients_vanish(n_steps):
    images = torch.stack([torch.full((3, 4, 4), v) for v in (0.2, 0.5, 0.9)])
    credit = IDGI(IntegratedGradients(Saturating())).attribute(images, target=0, n_steps=n_steps)
    total = credit.flatten(1).sum(1)
    torch.testing.assert_close(total, torch.tensor([0.0, 0.5, 1.0]), atol=1e-6, rtol=1e-5)


def test_the_delta_shows_a_rise_that_no_gradient_claims():
    jump = Saturating()
    images = torch.full((1, 3, 4, 4), 1.0)
    credit, delta = IDGI(IntegratedGradients(jump)).attribute(
        images, target=0, n_steps=1, return_convergence_delta=True
    )
    assert credit.abs().max() == 0
    assert delta.item() == -1


def test_idgi_equals_the_papers_sum_in_loops(model, images):
    n_steps, image = 6, images[:1]
    expected = torch.zeros_like(image)
    for j in range(n_steps):
        here = (image * j / n_steps).requires_grad_()
        value = model(here)[0, 2]
        (gradient,) = torch.autograd.grad(value, here)
        there = model(image * (j + 1) / n_steps)[0, 2]
        expected += gradient**2 / (gradient**2).sum() * (there - value).detach()
    credit = IDGI(IntegratedGradients(model)).attribute(image, target=2, n_steps=n_steps)
    torch.testing.assert_close(credit, expected, rtol=1e-4, atol=1e-7)


def test_idgi_walks_equal_steps_whatever_captums_quadrature():
    assert path_of(IntegratedGradients(len)) == StraightLine()


class Watched(nn.Module):
    """Counts the rows of forward passes with and without a gradient."""

    def __init__(self, model):
        super().__init__()
        self.model, self.gradients, self.forwards, self.calls = model, 0, 0, 0

    def forward(self, x):
        self.calls += 1
        if x.requires_grad and torch.is_grad_enabled():
            self.gradients += len(x)
        else:
            self.forwards += len(x)
        return self.model(x)


@pytest.mark.parametrize("n_steps", [1, 9])
@pytest.mark.parametrize(
    ("make", "gradients", "forwards"),
    [
        (lambda f: IDGI(IntegratedGradients(f)), 0, 1),
        (lambda f: IDGI(GuidedIG(f)), 0, 1),
        (lambda f: IDGI(BlurIG(f)), 0, 1),
        (GuidedIG, 0, 0),
        (BlurIG, 1, 0),
        (lambda f: PathAttribution(f, StraightLine()), 0, 0),
    ],
    ids=["IDGI-IG", "IDGI-Guided", "IDGI-Blur", "Guided", "Blur", "Path"],
)
def test_evaluations_are_the_steps_and_no_more(make, gradients, forwards, n_steps, model, images):
    watched = Watched(model)
    make(watched).attribute(images, target=0, n_steps=n_steps)
    assert watched.gradients == len(images) * (n_steps + gradients)
    assert watched.forwards == len(images) * forwards


def test_fixed_paths_evaluate_several_steps_per_model_call(model, images):
    watched = Watched(model)
    IDGI(IntegratedGradients(watched)).attribute(images, target=0, n_steps=40)
    assert watched.calls <= 3


def test_guided_ig_calls_the_model_once_per_step_for_all_images(model, images):
    watched = Watched(model)
    GuidedIG(watched).attribute(images, target=0, n_steps=9)
    assert watched.calls == 9


def test_no_call_has_more_rows_than_the_internal_batch_size(model, images):
    seen = []

    def noted(x):
        seen.append(len(x))
        return model(x)

    for method in (IDGI(IntegratedGradients(noted)), GuidedIG(noted), BlurIG(noted)):
        method.attribute(images, target=0, n_steps=5, internal_batch_size=2)
    assert max(seen) == 2


def test_trapezoid_converges_to_captums_integrated_gradients(model, images):
    ours, delta = PathAttribution(model, StraightLine(), trapezoid).attribute(
        images, target=1, n_steps=400, return_convergence_delta=True
    )
    theirs = IntegratedGradients(model).attribute(images, target=1, n_steps=500)
    assert (ours - theirs).norm() / theirs.norm() < 1e-2
    assert delta.abs().max() < 1e-3


def test_identical_input_and_baseline_give_zeros(model, images):
    credit = GuidedIG(model).attribute(images, baselines=images, target=1, n_steps=4)
    assert (credit == 0).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("make", [GuidedIG, lambda f: IDGI(IntegratedGradients(f))])
def test_a_gradient_that_is_not_finite_is_named_with_its_examples(make, bad, images):
    def model(x):
        scale = torch.where(x.flatten(1).mean(1) > 0.2, bad, 1.0)
        return (x.flatten(1).sum(1) * scale)[:, None]

    with pytest.raises(ValueError, match=r"nan or infinite.*examples \["):
        make(model).attribute(images, target=0, n_steps=10)


@pytest.mark.parametrize("n_steps", [0, -3])
def test_too_few_steps_get_one_clear_sentence(n_steps, model, images):
    with pytest.raises(ValueError, match=f"`n_steps`.*at least 1, but got {n_steps}"):
        GuidedIG(model).attribute(images, target=0, n_steps=n_steps)


def test_blur_ig_refuses_what_is_no_batch_of_images(model, images):
    with pytest.raises(ValueError, match=r"`inputs`.*\(3, 20, 16\): add a missing batch dimension"):
        BlurIG(model).attribute(images[0], target=0)


@pytest.mark.parametrize("channels", [1, 4])
def test_blur_ig_takes_any_number_of_channels(channels):
    images = torch.rand(2, channels, 9, 14)
    credit = BlurIG(lambda x: x.square().sum((1, 2, 3))).attribute(images, n_steps=3)
    assert credit.shape == images.shape


def test_idgi_refuses_a_method_without_a_path():
    with pytest.raises(TypeError, match=r"`method` must integrate along a path.*got Unknown"):
        IDGI(type("Unknown", (), {})())


def test_idgi_keeps_the_default_steps_of_its_method(model):
    assert IDGI(GuidedIG(model)).default_steps == 200
    assert IDGI(BlurIG(model)).default_steps == 100
    assert IDGI(IntegratedGradients(model)).default_steps == 50


@pytest.mark.parametrize("make", [BlurIG, lambda f: IDGI(BlurIG(f))])
def test_blur_ig_places_its_steps_unless_it_is_told_how_many(make, model):
    method = make(model)
    assert method.steps(None) == (EqualRise(power=0.5), 16)
    assert method.steps(20) == (even, 20)
    assert method.placed(even).steps(None) == (even, 100)
    assert IDGI(IntegratedGradients(model)).steps(None) == (even, 50)


def test_idgi_takes_equal_steps_over_a_blur_ig_that_takes_them(model):
    assert IDGI(BlurIG(model, placement=even)).steps(None) == (even, 100)


def test_the_important_direction_works_with_any_path(model, images):
    ours = PathAttribution(model, StraightLine(), important_direction)
    theirs = IDGI(IntegratedGradients(model))
    torch.testing.assert_close(
        ours.attribute(images, target=2, n_steps=5), theirs.attribute(images, target=2, n_steps=5)
    )


def test_idgi_in_a_layer_method_says_what_it_needs(model, images):
    from captum.attr import LayerIntegratedGradients

    layered = LayerIntegratedGradients(model, model[0])
    layered.ig = IDGI(IntegratedGradients(model))
    with pytest.raises(ValueError, match="needs the model's values"):
        layered.attribute(images, target=0, n_steps=3)


def _saturated(x):
    """A score that rises within a twentieth of the line from 0 to 1."""
    return torch.sigmoid(200 * (x.flatten(1).mean(1) - 0.53))[:, None]


def _told(method, inputs, n_steps, **options):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        method.attribute(inputs, target=0, n_steps=n_steps, **options)
    return [str(one.message) for one in said if "more than half" in str(one.message)]


def test_one_step_that_carries_the_rise_is_told_once_a_call():
    x = torch.ones(3, 4)
    idgi = IDGI(IntegratedGradients(_saturated))
    (sentence,) = _told(idgi, x, 8)
    assert sentence.startswith("IDGI: more than half of the rise lies in one of the 8 equal steps")
    assert _told(idgi.placed(EqualRise()), x, 16) == []
    assert _told(idgi, x, 4) == []
    # Nothing is known of values where gradients alone are walked.
    assert _told(PathAttribution(_saturated, StraightLine()), x, 8) == []
    assert _told(IDGI(IntegratedGradients(lambda x: x.sum(1, keepdim=True))), x, 8) == []
    # Half of the examples are enough, and one with no rise says nothing.
    assert len(_told(idgi, torch.cat([x, 0 * x]), 8)) == 1
    assert _told(idgi, 0 * x, 8) == []


def test_evaluate_tells_of_one_step_once_a_method():
    methods = {"IDGI": Configured(IDGI(IntegratedGradients(_saturated)), n_steps=13)}
    table = [(torch.ones(4) - 0.01 * k, 0) for k in range(4)]
    with warnings.catch_warnings(record=True) as said:
        warnings.resetwarnings()
        evaluate(_saturated, table, methods, ["deletion"], batch_size=1, seed=0)
    assert len([one for one in said if "one of the 13 equal steps" in str(one.message)]) == 1


def test_a_table_in_units_of_many_orders_is_warned_of():
    weights = torch.tensor([[1.0, 1e-3, 1.0, 1e3, 1.0, 1e-3, 2.0, 1e3]])
    table = torch.rand(5, 8, generator=torch.Generator().manual_seed(0)) / weights

    def model(x):
        return (weights * x).sum(1)

    with pytest.warns(UserWarning, match="IDGI: columns move by amounts.*standardize"):
        IDGI(IntegratedGradients(model)).attribute(table, n_steps=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        IDGI(IntegratedGradients(lambda x: x.sum(1))).attribute(table * weights, n_steps=3)
        AlignedContribution(IntegratedGradients(model)).attribute(table, n_steps=3)
        # A column that is nearly always 0 says nothing of units.
        sparse = torch.cat([table * weights, torch.full((5, 1), 1e-6)], 1)
        IDGI(IntegratedGradients(lambda x: x.sum(1))).attribute(sparse, n_steps=3)


def test_a_class_in_place_of_a_method_is_told_apart():
    with pytest.raises(TypeError, match=r"got the class GuidedIG: make one, as GuidedIG\(model\)"):
        IDGI(GuidedIG)


def test_mean_gradients_are_no_rise_to_share_out():
    method = IntegratedGradients(lambda x: x.sum(1), multiply_by_inputs=False)
    for over in (IDGI, AlignedContribution):
        with pytest.raises(ValueError, match=r"multiply_by_inputs=False.*leave the argument away"):
            over(method)


@pytest.mark.parametrize(
    "made",
    [
        GuidedIG,
        lambda f: IDGI(IntegratedGradients(f)),
        lambda f: IDGI(GuidedIG(f)),
        lambda f: AlignedContribution(IntegratedGradients(f)),
        lambda f: PathAttribution(f, StraightLine(), placement=EqualRise(4)),
    ],
)
def test_one_number_per_example_is_a_table_of_one_column(made):
    numbers = torch.tensor([0.5, 1.0, 2.0])
    asked = {"n_steps": 4, "return_convergence_delta": True}
    found, delta = made(lambda x: x**3).attribute(numbers, **asked)
    column, known = made(lambda x: x[:, 0] ** 3).attribute(numbers[:, None], **asked)
    torch.testing.assert_close((found, delta), (column[:, 0], known))
