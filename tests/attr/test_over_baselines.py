"""Means over several baselines: what they equal, what they sum to, and what is refused."""

import pytest
import torch
from captum.attr import (
    Attribution,
    FeatureAblation,
    GradientShap,
    IntegratedGradients,
    LayerIntegratedGradients,
    NoiseTunnel,
    Saliency,
)

from captum_ext.attr import (
    IDGI,
    BlurIG,
    Configured,
    GuidedIG,
    OverBaselines,
    PathAttribution,
    walk,
)
from captum_ext.path import StraightLine, trapezoid
from captum_ext.testing import check_attribution

METHODS = {
    "IG": IntegratedGradients,
    "IDGI": lambda f: IDGI(IntegratedGradients(f)),
    "IDGI-GuidedIG": lambda f: IDGI(GuidedIG(f, 0.3, 0.2)),
    "GuidedIG": GuidedIG,
    "trapezoid": lambda f: PathAttribution(f, StraightLine(), trapezoid),
}
EACH = pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)


def drawn(*shape, seed=3):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def four():
    return drawn(4, 3, 20, 16)


@EACH
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
def test_with_one_baseline_it_is_the_method_itself_bit_for_bit(make, kind, model, images):
    model, images = model.to(kind), images.to(kind)
    method, start = make(model), drawn(3, 3, 20, 16).to(kind)
    options = {"target": 1, "n_steps": 5, "return_convergence_delta": True}
    forms = [(None, None), (0.25, None), (start[:1], None), (start, False), (start[:1], True)]
    for baselines, shared in forms:
        expected = method.attribute(images, baselines, **options)
        found = OverBaselines(method, shared).attribute(images, baselines, **options)
        # Captum's own widens half precision.
        assert torch.equal(found[0], expected[0].to(kind))
        assert torch.equal(found[1], expected[1])


@EACH
def test_it_is_the_mean_over_one_baseline_after_the_other(make, model, images, four):
    method = make(model)
    alone = [method.attribute(images, b[None], target=1, n_steps=5) for b in four]
    found = OverBaselines(method).attribute(images, four, target=1, n_steps=5)
    # Captum 0.7 gives its own in float64.
    torch.testing.assert_close(found, torch.stack(alone).mean(0).float())


def test_each_example_may_have_baselines_of_its_own(model, images):
    method, own = IDGI(IntegratedGradients(model)), drawn(3, 2, 3, 20, 16)
    found = OverBaselines(method).attribute(images, own, target=[0, 1, 2], n_steps=5)
    for i in range(3):
        one = images[i : i + 1]
        alone = [method.attribute(one, b[None], target=i, n_steps=5) for b in own[i]]
        torch.testing.assert_close(found[i : i + 1], torch.stack(alone).mean(0))


@pytest.mark.parametrize("n_samples", [None, 1, 3])
def test_credit_sums_to_the_output_minus_the_mean_of_those_drawn(n_samples, model, images, four):
    seen = []

    def watched(x):
        seen.append(x)
        return model(x)

    credit, delta = OverBaselines(IDGI(IntegratedGradients(watched))).attribute(
        images, four, target=1, n_steps=4, n_samples=n_samples, return_convergence_delta=True
    )
    shown = torch.cat(seen)
    used = [b for b in four if any(torch.equal(b, x) for x in shown)]
    assert len(used) == (n_samples or 4)
    rise = model(images)[:, 1] - model(torch.stack(used))[:, 1].mean()
    torch.testing.assert_close(credit.flatten(1).sum(1), rise, atol=1e-6, rtol=1e-5)
    assert delta.shape == (3,)
    assert delta.abs().max() < 1e-6


def test_the_delta_is_the_sum_minus_the_mean_rise(model, images, four):
    credit, delta = OverBaselines(GuidedIG(model)).attribute(
        images, four, target=1, n_steps=3, return_convergence_delta=True
    )
    rise = model(images)[:, 1] - model(four)[:, 1].mean()
    assert delta.abs().min() > 1e-5
    torch.testing.assert_close(delta, credit.flatten(1).sum(1) - rise, atol=1e-6, rtol=1e-4)


def test_draws_follow_from_the_seed_alone(model, images, four):
    method = OverBaselines(IDGI(IntegratedGradients(model)))

    def found(rows=slice(None), **options):
        torch.manual_seed(int(torch.randint(1000, ())))
        return method.attribute(images[rows], four, target=1, n_steps=3, **options)

    some = found(n_samples=2, stdevs=0.1)
    assert torch.equal(some, found(n_samples=2, stdevs=0.1, seed=0))
    assert not torch.allclose(some, found(n_samples=2, stdevs=0.1, seed=1))
    assert not torch.allclose(found(n_samples=2), found(n_samples=2, seed=5))
    torch.testing.assert_close(found(slice(1, 2), n_samples=2, stdevs=0.1), some[1:2])
    assert torch.equal(found(n_samples=4), found())


def test_noise_is_drawn_anew_for_each_baseline():
    method = OverBaselines(IntegratedGradients(lambda x: x[:, 0]))
    one, zeros = torch.zeros(1, 1), torch.zeros(1, 1)
    few, more = (method.attribute(one, zeros, n_samples=n, stdevs=2.0, n_steps=1) for n in (1, 200))
    assert few != more
    assert more.abs() < 6 * 2 / 200**0.5
    squares = OverBaselines(PathAttribution(lambda x: x[:, 0] ** 2, StraightLine(), trapezoid))
    variance = squares.attribute(one, zeros, n_samples=200, stdevs=2.0, n_steps=1).item()
    assert variance == pytest.approx(4.0, rel=0.5)


def test_of_a_quadratic_it_is_worked_by_hand_and_what_gradient_shap_draws_around():
    weights = torch.tensor([1.0, -2.0, 0.5])

    def model(x):
        return (weights * x**2).sum(1) + 3 * x[:, 0]

    inputs, baselines = drawn(2, 3, seed=1) + 1, drawn(40, 3)
    found = OverBaselines(PathAttribution(model, StraightLine(), trapezoid)).attribute(
        inputs, baselines, n_steps=4
    )
    parts = weights * (inputs**2 - (baselines**2).mean(0))
    parts[:, 0] += 3 * (inputs - baselines.mean(0))[:, 0]
    torch.testing.assert_close(found, parts)
    torch.manual_seed(0)
    n = 2000
    # Captum draws a random point on the way from a random baseline: 2 w (x - b) (b + t (x - b)).
    theirs = GradientShap(model).attribute(inputs, baselines, n_samples=n)
    torch.testing.assert_close(theirs, found, atol=6 * 3 / n**0.5, rtol=0)
    assert (theirs - found).abs().max() > 1e-5


def test_of_a_network_it_is_what_gradient_shap_draws_around(model, images, four):
    found = OverBaselines(IntegratedGradients(model)).attribute(images, four, target=1)
    torch.manual_seed(0)
    theirs = GradientShap(model).attribute(images, four, n_samples=400, target=1)
    cosine = torch.cosine_similarity(theirs.flatten(1), found.flatten(1))
    assert cosine.min() > 0.97


def test_with_one_set_for_all_it_keeps_the_contract():
    check_attribution(
        lambda f: OverBaselines(IDGI(IntegratedGradients(f)), shared=True),
        options={"n_steps": 6},
        claims=["completeness", "unused_feature", "determinism"],
        exempt={"wrong_baselines": "two baselines are a set for any number of examples"},
    )


def test_inputs_of_a_tuple_draw_their_baselines_together():
    def model(a, b):
        return a.sum(1) * b.sum((1, 2))

    pair, starts = (drawn(2, 3), drawn(2, 2, 4)), (drawn(5, 3), drawn(5, 2, 4, seed=4))
    method = IDGI(IntegratedGradients(model))
    found = OverBaselines(method).attribute(pair, starts, n_steps=3)
    alone = [
        method.attribute(pair, (a[None], b[None]), n_steps=3) for a, b in zip(*starts, strict=True)
    ]
    for k in range(2):
        torch.testing.assert_close(found[k], torch.stack([one[k] for one in alone]).mean(0))
    mixed = OverBaselines(method).attribute(pair, (starts[0], 0.5), n_steps=3)
    alone = [method.attribute(pair, (a[None], 0.5), n_steps=3) for a in starts[0]]
    torch.testing.assert_close(mixed[0], torch.stack([one[0] for one in alone]).mean(0))
    with pytest.raises(ValueError, match=r"drawn together.*got \[5, 4\]"):
        OverBaselines(method).attribute(pair, (starts[0], starts[1][:4]), n_steps=3)


def test_a_function_gives_baselines_as_gradient_shap_takes_one(model, images, four):
    method = OverBaselines(IntegratedGradients(model))
    expected = method.attribute(images, four, target=1, n_steps=4)
    assert torch.equal(method.attribute(images, lambda: four, target=1, n_steps=4), expected)
    halves = method.attribute(images, lambda x: x[:, None] / 2, target=1, n_steps=4)
    expected = IntegratedGradients(model).attribute(images, images / 2, target=1, n_steps=4)
    torch.testing.assert_close(halves, expected.float())


def test_it_works_around_a_layer_and_inside_others(model, images, four):
    layered = OverBaselines(LayerIntegratedGradients(model, model[0]))
    credit, delta = layered.attribute(
        images, four, target=1, n_steps=20, return_convergence_delta=True
    )
    assert credit.shape == model[0](images).shape
    assert delta.shape == (3,)
    two = OverBaselines(LayerIntegratedGradients(model, [model[0]])).attribute(
        images, four, target=1, n_steps=20
    )
    assert isinstance(two, list)
    torch.testing.assert_close(two[0], credit)
    chosen = Configured(OverBaselines(IDGI(IntegratedGradients(model))), baselines=four, n_steps=3)
    plain = chosen.attribute(images, target=1)
    tunnel = NoiseTunnel(chosen)
    found = tunnel.attribute(images, target=1, nt_samples=2, stdevs=0.0)
    torch.testing.assert_close(found, plain)


@pytest.mark.filterwarnings("ignore:Multiple layers")
@pytest.mark.parametrize("wrap", [lambda m: OverBaselines(m, False), Configured])
def test_in_a_layer_methods_place_for_ig_it_takes_that_layers_gradients(wrap, model, images):
    layered = LayerIntegratedGradients(model, model[0])
    layered.ig = GuidedIG(model)
    expected = layered.attribute(images, target=1, n_steps=4)
    layered.ig = wrap(GuidedIG(model))
    assert torch.equal(layered.attribute(images, target=1, n_steps=4), expected)


def test_it_shares_no_walk(model, images):
    with pytest.raises(TypeError, match="`methods` are path methods"):
        walk([OverBaselines(IDGI(IntegratedGradients(model)))], images, target=1)


def test_a_seed_reaches_a_method_that_takes_one(model, images):
    class Seeded(Attribution):
        def attribute(self, inputs, baselines=0, target=None, additional_forward_args=None, seed=0):
            return inputs * seed

    found = OverBaselines(Seeded(model)).attribute(images, seed=7)
    torch.testing.assert_close(found, 7 * images)


def test_any_method_with_baselines_will_do(model, images, four):
    method = FeatureAblation(model)
    groups = torch.arange(4).repeat_interleave(5).view(1, 1, 20, 1).expand(1, 3, 20, 16)
    alone = [method.attribute(images, b[None], target=1, feature_mask=groups) for b in four]
    found = OverBaselines(method).attribute(images, four, target=1, feature_mask=groups)
    torch.testing.assert_close(found, torch.stack(alone).mean(0))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (BlurIG, ValueError, "BlurIG walks BlurPath, which has a start of its own"),
        (lambda f: IDGI(BlurIG(f)), ValueError, "IDGI walks BlurPath"),
        (Saliency, TypeError, "Saliency takes none"),
        (GradientShap, TypeError, "GradientShap averages over baselines itself"),
        (lambda f: OverBaselines(IntegratedGradients(f)), TypeError, "itself"),
        (lambda f: Configured(GuidedIG(f), baselines=0), TypeError, "brings its own along"),
    ],
)
def test_methods_without_baselines_of_the_callers_are_refused(make, error, words, model):
    with pytest.raises(error, match=rf"`method` .*{words}"):
        OverBaselines(make(model))


@pytest.mark.parametrize(
    ("shape", "shared", "words"),
    [
        ((3, 3, 20, 16), None, r"may be 3 for all of the examples.*shared=True.*shared=False"),
        ((2, 3, 20, 16), False, r"shapes \(3, B, 3, 20, 16\), \(3, 3, 20, 16\), but got \(2, 3"),
        ((3, 2, 3, 20, 16), True, r"shapes \(B, 3, 20, 16\), \(1, 3, 20, 16\), but got \(3, 2"),
        ((2, 2, 3, 20, 16), None, r"shapes \(B, 3, 20, 16\), \(3, B, 3, 20, 16\), \(1"),
        ((4, 3, 20, 15), None, "but got"),
        ((0, 3, 20, 16), None, "but got"),
        ((3, 0, 3, 20, 16), None, "but got"),
    ],
)
def test_baselines_that_fit_no_reading_or_two_are_refused(shape, shared, words, model, images):
    method = OverBaselines(IntegratedGradients(model), shared)
    with pytest.raises(ValueError, match=f"`baselines` .*{words}"):
        method.attribute(images, torch.rand(shape), target=1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_samples": 5}, "`n_samples` is how many of 4 baselines.*got 5"),
        ({"n_samples": 0}, "`n_samples`.*got 0"),
        ({"n_samples": 0, "stdevs": 1.0}, "`n_samples`.*got 0"),
        ({"stdevs": -0.1}, "`stdevs`.*at least 0.*got -0.1"),
        ({"stdevs": (0.1, 0.1)}, "`stdevs`.*one per input"),
        ({"baselines": (0, 0)}, "`baselines` needs one entry per input tensor, but got 2 for 1"),
        ({"baselines": torch.full((4, 3, 20, 16), torch.nan)}, "`baselines` must be finite"),
        ({"n_steps": 0}, "`n_steps`"),
        ({"internal_batch_size": 0}, "`internal_batch_size`"),
    ],
)
def test_settings_out_of_range_are_refused(options, words, model, images, four):
    method = OverBaselines(IDGI(IntegratedGradients(model)))
    with pytest.raises(ValueError, match=words):
        method.attribute(images, **{"baselines": four, "target": 1, **options})


def test_noise_on_token_ids_is_refused():
    method = OverBaselines(FeatureAblation(lambda x: x.float().sum(1)))
    with pytest.raises(ValueError, match=r"`stdevs`.*floating point.*torch\.int64"):
        method.attribute(torch.ones(2, 3, dtype=torch.long), stdevs=0.5)
