"""What every method and every curve metric keeps to, whatever a model does with what it gets."""

import pickle
from collections import namedtuple
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from captum.attr import LayerIntegratedGradients
from torch import Tensor, nn

from captum_ext.attr import RISE, PathAttribution
from captum_ext.metrics import AIC, SIC, Deletion, Insertion, insertion
from captum_ext.path import FixedPath
from tests.conftest import OWN_START, WEAK_EVIDENCE, small_net
from tests.contract import METHODS

pytestmark = [WEAK_EVIDENCE, OWN_START]

METRICS = {
    "Insertion": lambda f: Insertion(f, n_steps=3, internal_batch_size=4),
    "Deletion": lambda f: Deletion(f, n_steps=3, relative=True, internal_batch_size=4),
    "AIC": lambda f: AIC(f, "ms_ssim", "tmlr", internal_batch_size=12),
    "SIC": lambda f: SIC(f, "entropy", "tmlr", internal_batch_size=12),
}


def maps_of(images: Tensor) -> Tensor:
    return images.flip(2) - 0.3


def by_method(name: str) -> Callable[..., tuple[Tensor, ...]]:
    def ask(forward_func, images, **named):
        found = METHODS[name].attribute(forward_func, images, **METHODS[name].chunk(6), **named)
        return found if isinstance(found, tuple) else (found,)

    return ask


def by_metric(name: str) -> Callable[..., tuple[Tensor, ...]]:
    def ask(forward_func, images, **named):
        metric, maps = METRICS[name](forward_func), maps_of(images)
        groups = torch.arange(images.shape[3]).expand(images[:1].shape)
        given = [maps.detach().clone(), groups.clone()]
        try:
            metric.update(images, maps, feature_mask=groups, **named)
        finally:
            assert torch.equal(maps, given[0])
            assert torch.equal(groups, given[1])
        return tuple(metric._rows(state) for state in metric._widths)

    return ask


METHODS_ASKED = {name: by_method(name) for name in METHODS}
METRICS_ASKED = {name: by_metric(name) for name in METRICS}
EVERYONE = {**METHODS_ASKED, **METRICS_ASKED}
NEED_GRADIENTS = {name: ask for name, ask in METHODS_ASKED.items() if not METHODS[name].no_gradient}
NEED_NONE = {name: ask for name, ask in EVERYONE.items() if name not in NEED_GRADIENTS}


def over(asked: dict[str, Callable[..., tuple[Tensor, ...]]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("ask", asked.values(), ids=asked)


def assert_equal(ours, expected):
    close(ours, expected, atol=0, rtol=0)


def close(ours, expected, **tolerance):
    torch.testing.assert_close(ours, expected, equal_nan=True, **tolerance)


NET = small_net()


def writes_over_its_input(x, scale):
    x.sub_(0.5).div_(0.25)
    x[:, 0] = x[:, 1]
    return NET(x) * scale[:, None]


def writes_over_its_arguments(x, scale):
    scale.mul_(2.0)
    return NET(x) * scale[:, None] / 2


def writes_over_its_input_in_the_end(x, scale):
    answer = NET(x * 1) * scale[:, None]
    x.zero_()
    return answer


def writes_to_one_output(held={}):  # noqa: B006
    def model(x, scale):
        answer = NET(x) * scale[:, None]
        output = held.setdefault(answer.shape, torch.empty_like(answer)).detach_()
        return output.copy_(answer)

    return model


TWINS = {
    "input": (
        writes_over_its_input,
        lambda x, s: NET(((x - 0.5) / 0.25)[:, [1, 1, 2]]) * s[:, None],
    ),
    "arguments": (writes_over_its_arguments, lambda x, s: NET(x) * s[:, None]),
    "input, at last": (writes_over_its_input_in_the_end, lambda x, s: NET(x) * s[:, None]),
    "output": (writes_to_one_output(), lambda x, s: NET(x) * s[:, None]),
}


@over(EVERYONE)
@pytest.mark.parametrize(("writes", "twin"), TWINS.values(), ids=TWINS)
def test_a_model_that_writes_in_place_gives_what_its_twin_gives(ask, writes, twin, images):
    named = {"target": [0, 1, 2], "additional_forward_args": torch.tensor([0.9, 0.8, 0.7])}
    close(ask(writes, images, **named), ask(twin, images, **named))


class Troubled(nn.Module):
    """Writes over all it gets, counts and draws, and raises at a call of one's choice."""

    def __init__(self, fails_at: int, error: type[BaseException]) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.2), small_net())
        self.register_buffer("calls", torch.zeros(2, dtype=torch.long))
        self.fails_at, self.error, self.n = fails_at, error, 0
        self.train()

    def forward(self, x, scale, named):
        self.n += 1
        self.calls += 1
        answer = self.net(x.mul_(0.5)) * scale.mul_(0.9)[:, None] * named.pop("weight").mul_(0.9)
        if self.n == self.fails_at:
            raise self.error("out of luck")
        return answer


FATES = {
    "passes": (0, RuntimeError, 1),
    "fails at once": (1, RuntimeError, 1),
    "fails later": (3, ValueError, 1),
    "is interrupted": (2, KeyboardInterrupt, 1),
    "wrong target": (0, AssertionError, 99),
}


@over(EVERYONE)
@pytest.mark.parametrize(("fails_at", "error", "target"), FATES.values(), ids=FATES)
def test_all_that_is_the_callers_stays_bit_for_bit(ask, fails_at, error, target, images):
    model = Troubled(fails_at, error)
    inputs, baselines = images.clone().requires_grad_(), torch.full_like(images, 0.2)
    scale, weight = torch.tensor([0.9, 0.8, 0.7]), torch.tensor(1.0)
    extra, targets = (scale, {"weight": weight}), torch.full((3,), target)
    held = [inputs, baselines, scale, weight, targets, *model.state_dict().values()]
    before = [t.detach().clone() for t in (*held, torch.get_rng_state())]
    named = {"baselines": baselines, "target": targets, "additional_forward_args": extra}
    with pytest.raises(error) if fails_at or target == 99 else nullcontext():
        ask(model, inputs, **named)
    after = [*held, torch.get_rng_state()]
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
    assert (inputs.requires_grad, inputs.grad, extra[1]["weight"] is weight) == (True, None, True)
    assert model.training


NO_CLASSES = (
    (1.7, "1.7: convert"),
    (True, "True: convert"),
    (np.int64(1), "1.*: convert"),
    ("1", "'1': convert"),
    (np.array([0, 1, 2]), "array.*: convert"),
    ([0, 1, 2.0], "2.0.: convert"),
    ([0, (1,), 2], "2.: convert"),
    ([[0], [1], [2]], r"\[2\]\]: convert"),
    (torch.tensor([0.0, 1.7, 2.0]), r"torch.float32 of shape \(3,\)"),
    (torch.tensor(1.0), r"torch.float32 of shape \(\)"),
    (torch.tensor([True, False, True]), r"torch.bool of shape \(3,\)"),
    (torch.tensor([[0], [1], [2]]), r"torch.int64 of shape \(3, 1\)"),
)


@over(EVERYONE)
def test_a_target_that_is_the_number_of_no_class_is_refused_by_what_came(ask, model, images):
    for target, got in NO_CLASSES:
        with pytest.raises(AssertionError, match=f"`target` is the number of.*got .*{got}"):
            ask(model, images, target=target)


@over(EVERYONE)
def test_autocast_is_the_models_alone(ask, model, images):
    def half(x):
        assert torch.is_autocast_enabled("cpu")
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16
        return model(x)

    def single(x):
        with torch.autocast("cpu", enabled=False):
            return model(x)

    plain = ask(model, images, target=1)
    with torch.autocast("cpu", torch.bfloat16):
        assert_equal(ask(single, images, target=1), plain)
        found = ask(half, images, target=1)
    for ours, expected in zip(found, plain, strict=True):
        assert ours.dtype == expected.dtype
        assert ours.isfinite().all() or not expected.isfinite().all()
        near = torch.corrcoef(torch.stack([ours.flatten(), expected.flatten()]).nan_to_num())
        assert near.isnan().any() or near[0, 1] > 0.9


@over(EVERYONE)
def test_inference_mode_of_the_caller_changes_nothing(ask, model, images):
    arguments = torch.tensor([0.9, 0.8, 0.7])

    def scaled(x, scale):
        return model(x) * scale[:, None]

    plain = ask(scaled, images, target=torch.tensor([0, 1, 2]), additional_forward_args=arguments)
    with torch.inference_mode():
        inputs, targets, arguments = images.clone(), torch.tensor([0, 1, 2]), arguments.clone()
        found = ask(scaled, inputs, target=targets, additional_forward_args=arguments)
    close(found, plain)


@dataclass
class Answer:
    scores: Tensor


Logits = namedtuple("Logits", ["hidden", "logits"])
NO_SCORES = {
    "dict": (lambda y: {"out": y}, r"dict.*\['out'\].*\[\"out\"\]"),
    "tuple": (lambda y: (y, y), r"tuple of 2.*\[0\]"),
    "namedtuple": (lambda y: Logits(y, y), r"a Logits.*\.logits"),
    "dataclass": (Answer, r"an Answer.*\.scores"),
    "nothing": (lambda y: None, "None"),
    "numpy": (lambda y: y.detach().numpy(), "NumPy.*from_numpy"),
    "classes": (lambda y: y.argmax(1), "int64.*not the number of a class"),
}


@over(EVERYONE)
@pytest.mark.parametrize(("wrap", "words"), NO_SCORES.values(), ids=NO_SCORES)
def test_an_output_that_is_no_score_is_refused_by_a_sentence(ask, wrap, words, model, images):
    with pytest.raises(TypeError, match=rf"`forward_func` must return.*{words}"):
        ask(lambda x: wrap(model(x)), images, target=1)


class FrozenFeatures(nn.Module):
    """A graph of the head's parameters, in which the input has no part."""

    def __init__(self):
        super().__init__()
        self.net = small_net()

    def forward(self, x):
        with torch.no_grad():
            features = self.net[:6](x)
        return self.net[6:](features)


WITHOUT_GRADIENT = {
    "no_grad": torch.no_grad()(NET),
    "inference mode": torch.inference_mode()(NET),
    "detached": lambda x: NET(x).detach(),
    "numpy": lambda x: torch.from_numpy(NET(torch.from_numpy(x.numpy())).detach().numpy()),
    "numpy, detached": lambda x: NET(torch.from_numpy(x.detach().numpy())).detach(),
    "frozen features": FrozenFeatures(),
}


@pytest.mark.parametrize("forward_func", WITHOUT_GRADIENT.values(), ids=WITHOUT_GRADIENT)
@over(NEED_GRADIENTS)
def test_a_model_without_gradient_is_refused_by_one_sentence(ask, forward_func, images):
    with pytest.raises(ValueError, match=r"^no gradient reaches the inputs.*use RISE, which"):
        ask(forward_func, images, target=1)


@pytest.mark.parametrize("forward_func", WITHOUT_GRADIENT.values(), ids=WITHOUT_GRADIENT)
@over(NEED_NONE)
def test_a_model_without_gradient_serves_where_none_is_needed(ask, forward_func, images):
    close(ask(forward_func, images, target=1), ask(NET, images, target=1))


BIAS = nn.Parameter(torch.tensor([[0.3, 0.7]]))
FLAT = {
    "a ReLU that is off": lambda x: (x.flatten(1)[:, :2] - 9).relu() + 0.5,
    "parameters alone": lambda x: BIAS.expand(len(x), 2),
}


@pytest.mark.parametrize("forward_func", FLAT.values(), ids=FLAT)
@over(NEED_GRADIENTS)
def test_a_differentiable_model_that_is_flat_has_no_credit(ask, forward_func, images):
    (credit,) = ask(forward_func, images, target=1)
    assert (credit == 0).all()


@over(NEED_GRADIENTS)
def test_an_input_that_is_not_used_is_told_from_one_that_is_detached(ask, images):
    pair = (images, images.flip(0) * 0.5)
    _, credit = ask(lambda a, b: NET(a), pair, target=1)
    assert (credit == 0).all()
    with pytest.raises(ValueError, match="no gradient reaches"):
        ask(lambda a, b: NET(a + b.detach()), pair, target=1)


@pytest.mark.parametrize("name", [name for name, row in METHODS.items() if row.gradient_only])
def test_within_a_layer_method_the_model_is_the_same(name, model, images):
    """Under autocast and without gradients, where Captum itself asks the model."""

    def explain(model):
        method = LayerIntegratedGradients(model, model[0])
        method.ig = METHODS[name].make(model)
        return method.attribute(images, target=1, n_steps=6)

    plain, before = explain(model), images.clone()
    with torch.autocast("cpu", torch.bfloat16):
        half = explain(model)
    assert torch.corrcoef(torch.stack([plain.flatten(), half.flatten().float()]))[0, 1] > 0.9
    with pytest.raises(ValueError, match="no gradient reaches"):
        explain(nn.Sequential(model[0], Blocked(model[1:])))
    assert torch.equal(images, before)


class Blocked(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x.detach())


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", METRICS)
def test_an_example_without_a_finite_answer_is_left_out_with_its_reason(name, bad, images):
    metric, spoils = METRICS[name](lambda x, y: NET(x) + y[:, None]), torch.tensor([0.0, bad, 0.0])
    metric.update(images, maps_of(images), target=1, additional_forward_args=spoils)
    assert metric.undefined["value"][1] == "model's answer not finite"
    assert metric.excluded["model's answer not finite"] == 1


@pytest.mark.parametrize("name", ["Insertion", "Deletion"])
def test_one_answer_per_example_needs_no_target(name, images):
    expected = METRICS_ASKED[name](NET, images, target=2)
    assert_equal(METRICS_ASKED[name](lambda x: NET(x)[:, 2], images), expected)
    assert_equal(METRICS_ASKED[name](lambda x: NET(x)[:, 2:3], images), expected)


def test_forward_of_a_metric_that_fails_leaves_it_as_it_was(images):
    metric = Insertion(NET, n_steps=3)
    metric.update(images, images, target=1)
    before = metric.compute()
    with pytest.raises(AssertionError, match="target"):
        metric(images, images, target=99)
    assert metric.compute() == before
    assert metric.update_count == 1
    assert metric(images, images, target=1) == before
    assert len(metric.per_example) == 6


@over(METRICS)
def test_a_metric_may_be_made_and_asked_in_and_out_of_inference_mode(ask, images):
    with torch.inference_mode():
        metric = ask(NET)
        metric(images.clone(), maps_of(images), target=1)
    metric.update(images, maps_of(images), target=1, baselines=0)
    metric.reset()
    metric.update(images, maps_of(images), target=1, baselines=0)
    assert metric.update_count == 1


@pytest.mark.parametrize("baselines", [0, torch.zeros(1, 7, dtype=torch.long), None])
def test_token_ids_are_measured_by_their_numbers(baselines):
    embed = nn.Embedding(50, 3)
    ids = torch.randint(1, 50, (2, 7), generator=torch.Generator().manual_seed(0))
    credit = torch.linspace(1, 0, 7).expand(2, 7)
    found = insertion(
        lambda x: embed(x).mean(1).softmax(1), ids, credit, baselines, target=1, n_steps=7
    )
    shown = torch.stack([torch.where(torch.arange(7) < k, ids, 0) for k in range(8)], 1)
    with torch.no_grad():
        answers = embed(shown).mean(2).softmax(2)[..., 1].double()
    close(found, torch.trapezoid(answers, dx=1 / 7))


def test_a_baseline_between_integers_is_refused():
    ids = torch.ones(2, 7, dtype=torch.long)
    with pytest.raises(ValueError, match=r"`baselines` of inputs of type torch.int64.*0\.5"):
        insertion(lambda x: x.float(), ids, ids.float(), 0.5, target=1)


def test_rise_shows_integer_images_as_integers():
    images = torch.randint(0, 256, (2, 3, 20, 16), dtype=torch.uint8)

    def model(x):
        assert x.dtype == torch.uint8
        return NET(x.float() / 255)

    credit = RISE(model, cells=4).attribute(images, target=1, n_masks=50)
    expected = RISE(NET, cells=4).attribute(images.float() / 255, target=1, n_masks=50)
    close(credit, expected, atol=1e-3, rtol=0)


class Careless(FixedPath):
    """Writes over its ends."""

    def point(self, start, end, t):
        return torch.lerp(start.mul_(0.5), end.mul_(0.5), t)


def test_a_path_and_a_reference_that_write_over_what_they_get_reach_nothing_else(images):
    inputs, baselines = images.clone(), torch.full_like(images, 0.2)
    PathAttribution(NET, Careless()).attribute(inputs, baselines, target=1, n_steps=3)
    assert torch.equal(inputs, images)
    assert (baselines == 0.2).all()
    curve = insertion(NET, inputs, maps_of(images), target=1, reference=lambda x: x.mul_(0))
    assert_equal(curve, insertion(NET, inputs, maps_of(images), target=1, reference=0.0))
    assert torch.equal(inputs, images)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_that_went_through_pickle_gives_the_same(name, model, images):
    row = METHODS[name]
    sent = pickle.loads(pickle.dumps(row.make(model)))
    close(sent.attribute(images, target=1, **row.options), row.attribute(model, images, target=1))
