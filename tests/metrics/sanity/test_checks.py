"""Sanity checks: what is randomized, in which order, and what maps do about it."""

import copy
import dataclasses
import pickle

import pytest
import torch
from captum.attr import InputXGradient, LayerGradCam, NoiseTunnel, Saliency
from torch import nn
from torchvision.models import VisionTransformer

from captum_ext.attr import RISE, BlurIG, GradCam
from captum_ext.metrics import (
    DataRandomization,
    ParameterRandomization,
    matched_normal,
    plot_cascade,
    train_on_permuted_labels,
)
from captum_ext.metrics.sanity.randomize import execution_order, stages_of

RANKS = ["spearman", "abs_spearman"]


class Backwards(nn.Module):
    """Registers its layers in another order than it runs them."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(8, 3)
        self.norm = nn.BatchNorm2d(4)
        self.first = nn.Conv2d(3, 4, 3, 2)
        self.same = nn.Conv2d(4, 4, 3, padding=1)
        self.twin = nn.Conv2d(4, 4, 3, padding=1)
        self.scale = nn.Parameter(torch.ones(1, 4, 1, 1))

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x))) * self.scale
        x = torch.relu(self.twin(torch.relu(self.same(x))))
        return self.last(nn.functional.adaptive_avg_pool2d(x, (1, 2)).flatten(1)).softmax(1)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Backwards().eval()


@pytest.fixture
def images():
    return torch.rand(3, 3, 12, 14, generator=torch.Generator().manual_seed(0))


def check_of(net, images, **settings):
    check = ParameterRandomization(
        settings.pop("make_method", Saliency), similarity=RANKS, **settings
    )
    check.update(net, images, target=1)
    return check


def test_stages_go_from_the_output_to_the_input_in_order_of_execution(net, images):
    report = check_of(net, images).report
    names = [row["stage"] for row in report]
    assert names == ["last", "twin", "same", "norm", "first", "(model)"]
    assert report[-1]["parameters"] == ["scale"]


@pytest.mark.parametrize("order", ["cascading", "independent"])
def test_report_counts_the_weights_that_each_stage_changed(order, net, images):
    report = check_of(net, images, order=order).report
    assert sum(row["share"] for row in report) == pytest.approx(1)
    shares = [row["share"] for row in report]
    changed = [row["changed"] for row in report]
    upto = [sum(shares[: i + 1]) for i in range(len(shares))]
    assert changed == pytest.approx(upto if order == "cascading" else shares)


def test_every_parameter_of_a_vision_transformer_is_randomized():
    torch.manual_seed(0)
    vit = VisionTransformer(16, 8, 2, 2, 8, 16, num_classes=3).eval()
    images = torch.rand(2, 3, 16, 16)
    report = check_of(vit, images).report
    assert report[-1]["changed"] == 1
    named = {name for row in report for name in row["parameters"]}
    assert named == {name for name, _ in vit.named_parameters()}
    by_name = {name: row["stage"] for row in report for name in row["parameters"]}
    layer = "encoder.layers.encoder_layer_1.self_attention"
    assert by_name[f"{layer}.in_proj_weight"] == layer
    assert by_name[f"{layer}.out_proj.weight"] == layer
    order = [row["stage"] for row in report]
    assert order.index("heads.head") == 0
    assert order.index("(model)") == len(order) - 1
    blocks = [row["stage"] for row in check_of(vit, images, stages="block").report]
    assert blocks[:3] == [
        "heads.head",
        "encoder.ln",
        "encoder.layers.encoder_layer_1",
    ]


@pytest.mark.parametrize("target", [1, [0, 1, 2], torch.tensor([0, 1, 2])])
def test_a_method_that_draws_does_not_depend_on_the_batch(target, net, images):
    def found(part, of):
        check = ParameterRandomization(lambda m: NoiseTunnel(Saliency(m)), similarity=["spearman"])
        check.update(net, images[part], target=of)
        return check.per_example["spearman"]

    each = [target] * 3 if isinstance(target, int) else list(target)
    alone = torch.cat([found(slice(k, k + 1), int(each[k])) for k in range(3)])
    torch.testing.assert_close(found(slice(3), target), alone, rtol=0, atol=1e-3)


def test_fresh_parameters_are_drawn_per_layer_from_the_seed_alone(net, images):
    seen = []

    def remember(model):
        seen.append({k: v.clone() for k, v in model.state_dict().items()})
        return Saliency(model)

    for _ in range(2):
        torch.manual_seed(len(seen))
        state = torch.get_rng_state()
        check_of(net, images, make_method=remember)
        assert torch.equal(torch.get_rng_state(), state)
    first, again = seen[6], seen[13]
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["same.weight"], first["twin.weight"])
    assert not torch.equal(first["norm.weight"], torch.ones(4))
    assert torch.equal(first["norm.running_mean"], net.norm.running_mean)
    check_of(net, images, make_method=remember, order="independent")
    # Alone or in the cascade, a layer's draw is the same.
    assert torch.equal(seen[-5]["twin.weight"], first["twin.weight"])
    assert torch.equal(seen[-5]["last.weight"], net.last.weight)
    check_of(net, images, make_method=remember, seed=1)
    assert not torch.equal(seen[-1]["last.weight"], first["last.weight"])


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_bit_identical_afterwards_also_after_an_exception(fails, net, images):
    net.train()
    before = copy.deepcopy(net.state_dict())
    calls = []

    def make(model):
        calls.append(model)
        if fails and len(calls) == 3:
            raise RuntimeError("enough")
        return Saliency(model)

    check = ParameterRandomization(make, similarity=RANKS)
    if fails:
        with pytest.raises(RuntimeError, match="enough"):
            check.update(net, images, target=1)
        assert check.per_example["spearman"].numel() == 0
    else:
        check.update(net, images, target=1)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.training
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert all(not m._forward_pre_hooks for m in net.modules())
    assert net not in calls


def test_a_map_that_ignores_the_model_stays_and_one_that_follows_it_drops(net, images):
    class Edges:
        """The image's own contrast, whatever the model."""

        def __init__(self, model):
            pass

        def attribute(self, inputs, target=None):
            return inputs - inputs.mean((2, 3), keepdim=True)

    stays = check_of(net, images, make_method=Edges)
    drops = check_of(net, images)
    for name in RANKS:
        torch.testing.assert_close(stays.by_stage()[name], torch.ones(6).double())
        assert drops.by_stage()[name][-1] < 0.5
        # The unrandomized map is not part of the mean.
        torch.testing.assert_close(drops.compute()[name], drops.by_stage()[name].mean())
    assert drops.maps[0].shape == (7, 3, 12, 14)


def test_layer_methods_and_tuples_of_inputs_are_explained(net, images):
    grad_cam = check_of(net, images, make_method=lambda model: LayerGradCam(model, model.same))
    assert grad_cam.maps[0].shape[1] == 1

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 2)

        def forward(self, a, b, scale):
            return torch.tanh(self.layer(torch.cat([a, b], 1))) * scale

    check = ParameterRandomization(InputXGradient, similarity=RANKS)
    pair = (torch.rand(4, 2), torch.rand(4, 3))
    check.update(Two(), pair, target=0, additional_forward_args=(2.0,))
    assert check.per_example["spearman"].shape == (4, 1)


def test_running_statistics_are_kept_or_estimated_on_the_inputs(net, images):
    seen = []

    def remember(model):
        seen.append((model.norm.running_mean.clone(), model.first(images).mean((0, 2, 3))))
        assert not model.norm.training
        return Saliency(model)

    check_of(net, images, make_method=remember)
    torch.testing.assert_close(seen[-1][0], net.norm.running_mean)
    check_of(net, images, make_method=remember, buffers="reestimate")
    torch.testing.assert_close(*seen[-1])


def test_stages_are_told_before_the_first(net, images):
    told, made = [], []

    def make(model):
        made.append(len(told))
        return Saliency(model)

    check = ParameterRandomization(make, similarity=RANKS)
    check.watch = told.append
    check.update(net, images, target=1)
    assert told == [[row["stage"] for row in check.report]]
    assert made == [0] + [1] * len(told[0])


def test_stages_can_be_named_and_unknown_names_are_said(net, images):
    wrapped = nn.Sequential(net, nn.Identity())
    report = check_of(wrapped, images, stages=["0"]).report
    assert [row["stage"] for row in report] == ["0"]
    with pytest.raises(ValueError, match=r"`stages`.*\['head'\]"):
        check_of(net, images, stages=["head"])


def test_modules_that_never_run_belong_to_the_one_around_them(net):
    with execution_order(net) as order:
        pass
    (stage,) = stages_of(net, order)
    assert set(stage.parameters) == {name for name, _ in net.named_parameters()}


def test_matched_normal_keeps_mean_and_spread_and_moves_constants():
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(5000) * 3 + 2
    made = matched_normal(weights, generator)
    assert float(made.mean()) == pytest.approx(2, abs=0.2)
    assert float(made.std()) == pytest.approx(3, abs=0.2)
    assert float(matched_normal(torch.ones(5000), generator).std()) == pytest.approx(0.1, abs=0.01)
    assert float(matched_normal(torch.zeros(5000), generator).std()) == pytest.approx(
        0.01, abs=1e-3
    )


def test_maps_with_nan_are_counted_and_left_out(net, images):
    class Broken(Saliency):
        def attribute(self, inputs, target=None):
            maps = super().attribute(inputs, target=target)
            maps[0] = torch.nan
            return maps

    check = check_of(net, images, make_method=Broken)
    assert check.excluded == {"map not finite": 1}
    assert check.undefined["spearman"] == ("map not finite", "", "")
    assert check.per_example["spearman"][0].isnan().all()
    assert all(value.isfinite() for value in check.compute().values())


def test_chance_is_known_for_each_example_and_lost_where_the_map_is_constant(net, images):
    noise = torch.randn(3, 1, 12, 14, generator=torch.Generator().manual_seed(0))
    noise[1] = 0.5
    method = Known(*[noise] * 7)
    check = ParameterRandomization(lambda model: method, similarity=["abs_spearman", "ssim"])
    check.update(net, images, target=1)
    for values in check.chance.values():
        assert values.isnan().tolist() == [False, True, False]
        assert (values[[0, 2]].abs() < 0.3).all()
    check.merge_state(pickle.loads(pickle.dumps(check)))
    assert len(check.chance["ssim"]) == 6


def test_a_map_that_turns_into_its_negative_stays_similar_in_size(net, images):
    noise = torch.randn(3, 1, 12, 14, generator=torch.Generator().manual_seed(0))
    method = Known(noise, *[-noise] * 6)
    check = ParameterRandomization(
        lambda model: method, similarity=["spearman", "unsigned_spearman"]
    )
    check.update(net, images, target=1)
    assert float(check.compute()["spearman"]) == pytest.approx(-1)
    assert float(check.compute()["unsigned_spearman"]) == pytest.approx(1)


class Known:
    """A method that gives known maps, one batch for each call."""

    def __init__(self, *maps):
        self.maps = [*maps]

    def attribute(self, inputs, target=None):
        return self.maps.pop(0)


def test_a_map_that_vanishes_has_similarity_0_and_one_that_never_was_has_no_value(net, images):
    noise = torch.randn(3, 1, 12, 14, generator=torch.Generator().manual_seed(0))
    nothing = torch.zeros_like(noise)
    first, second = noise.clone(), noise.clone()
    first[1] = 0.7
    second[2] = 0
    method = Known(first, second, noise, noise, noise, noise, nothing)
    check = ParameterRandomization(lambda model: method, similarity=[*RANKS, "ssim", "hog"])
    check.update(net, images, target=1)
    for name, values in check.per_example.items():
        torch.testing.assert_close(values[0], torch.tensor([1.0] * 5 + [0.0]).double())
        assert values[1].isnan().all()
        torch.testing.assert_close(values[2], torch.tensor([0.0] + [1.0] * 4 + [0.0]).double())
        assert check.vanished[name].tolist() == [1, 0, 0, 0, 0, 2]
        assert check.undefined[name] == ("", "map constant", "")
    assert check.excluded == {"map constant": 1}


def test_rounding_errors_of_a_constant_map_are_no_picture(net, images):
    low = torch.full((3, 1, 3, 3), 0.3)
    size = (12, 14)
    enlarged = nn.functional.interpolate(low, size, mode="bilinear", align_corners=False)
    shaken = enlarged * (1 + 1e-7 * torch.randn(3, 1, *size).sign())
    assert (shaken != shaken[0, 0, 0, 0]).any()
    check = ParameterRandomization(lambda model: Known(shaken), similarity=RANKS, keep_maps=0)
    check.update(net, images, target=1)
    assert check.n_excluded == 3


def test_state_merges_and_pickles_and_the_method_is_borrowed(net, images):
    images = torch.cat([images, images.flip(2)])
    whole = check_of(net, images)
    left, right = check_of(net, images[:1]), check_of(net, images[1:])
    left.merge_state(pickle.loads(pickle.dumps(right)))
    for name, value in whole.compute().items():
        torch.testing.assert_close(left.compute()[name], value)
        low, high = whole.interval(n_samples=100)[name]
        assert low <= value <= high
    with pytest.raises(ValueError, match="`make_method` is missing"):
        pickle.loads(pickle.dumps(whole)).update(net, images, target=1)
    assert not any("weight" in key for key in whole.state_dict())
    small = nn.Sequential(nn.Flatten(), nn.Linear(504, 3))
    with pytest.raises(ValueError, match=r"`model` has 1 stage,.*had 6"):
        whole.update(small, images, target=1)
    whole.reset()
    assert (whole.report, whole.maps) == ([], [])


def test_plots_show_every_stage_and_every_method(net, images):
    import matplotlib.pyplot as plt

    checks = {"Saliency": check_of(net, images), "x": check_of(net, images)}
    figure, axes = checks["x"].plot()
    curves = [line for line in axes.get_lines() if line.get_marker() == "o"]
    assert [len(line.get_ydata()) for line in curves] == [7, 7]
    dotted = [line.get_ydata()[0] for line in axes.get_lines() if line not in curves]
    assert dotted == pytest.approx([float(v.mean()) for v in checks["x"].chance.values()])
    assert axes.get_figure() is figure
    cascade = plot_cascade(checks, images[0])
    assert len(cascade.axes) == 2 * 8 + 2
    assert cascade.axes[1].get_title() == "original map"
    with pytest.raises(ValueError, match=r"`example` 3"):
        plot_cascade(checks, example=3)
    plt.close("all")


@pytest.mark.parametrize("wrapper", ["compiled", "DataParallel", "both", "inside", "classifier"])
def test_numbers_and_stages_do_not_depend_on_a_wrapper(wrapper, images):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(480, 3)).eval()
    plain = check_of(net, images)
    if wrapper == "classifier":
        whole = nn.Sequential(nn.Identity(), net)
    elif wrapper == "inside":
        net[0] = torch.compile(net[0], backend="eager")
        whole = net
    else:
        whole = net
        if wrapper in ("compiled", "both"):
            whole = torch.compile(whole, backend="eager")
        if wrapper in ("DataParallel", "both"):
            whole = nn.DataParallel(whole)
    # A compiled model that was used runs code that no hook sees.
    whole(images)
    check = check_of(whole, images)
    for name, values in plain.per_example.items():
        torch.testing.assert_close(check.per_example[name], values)
    prefix = "1." if wrapper == "classifier" else ""
    assert [row["stage"] for row in check.report] == [prefix + "3", prefix + "0"]


@pytest.mark.parametrize("inner", [None, True, False])
@pytest.mark.parametrize("order", ["cascading", "independent"])
def test_an_outer_autocast_does_not_bring_old_weights_back(order, inner, images):
    class Cast(nn.Module):
        """A network that may have an autocast of its own."""

        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(
                nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
                nn.Linear(128, 5),
            )  # fmt: skip

        def forward(self, x):
            if inner is None:
                return self.net(x).float()
            with torch.autocast("cpu", torch.bfloat16, cache_enabled=inner):
                return self.net(x).float()

    torch.manual_seed(0)
    net = Cast().eval()
    plain = check_of(net, images, order=order)
    with torch.autocast("cpu", torch.bfloat16):
        amp = check_of(net, images, order=order)
    for name, values in plain.by_stage().items():
        torch.testing.assert_close(amp.by_stage()[name], values, rtol=0, atol=0.05)


def test_labels_are_learned_under_an_outer_autocast():
    def accuracy(amp):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 3))
        x, y = torch.rand(24, 3, 4, 4), torch.arange(24) % 3
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            return train_on_permuted_labels(
                net, x, y, n_epochs=150, batch_size=8, lr=1e-2, show_progress=False
            )[1]

    assert accuracy(False) > 0.9
    assert accuracy(True) > 0.9


class InPlace(nn.Module):
    """Writes into all that it is given."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten())
        self.head = nn.Linear(480, 3)

    def forward(self, x, scale=None):
        x = x.sub_(0.5) if scale is None else x.sub_(scale.add_(1.0))
        return self.head(self.net(x))


class Perturbs:
    """Asks the model without gradients, as models that write in place allow."""

    def __init__(self, model):
        self.model = model

    def attribute(self, inputs, target=None, additional_forward_args=()):
        with torch.no_grad():
            self.model(inputs, *additional_forward_args)
        return inputs.detach() * self.model.head.weight.detach().sum()


@pytest.mark.parametrize("buffers", ["keep", "reestimate"])
def test_data_is_as_it_was_also_where_a_model_writes_in_place(buffers, images):
    net = InPlace().eval()
    scale, labels = torch.zeros(1), torch.tensor([0, 1, 2])
    before = copy.deepcopy((images, scale, labels, net.state_dict()))
    check_of(net, images, make_method=Perturbs, buffers=buffers)
    check = ParameterRandomization(Perturbs, similarity=RANKS, buffers=buffers)
    check.update(net, images, labels, (scale,))
    twin = copy.deepcopy(net)
    DataRandomization(Perturbs, RANKS).update(net, twin, images, labels, (scale,))
    train_on_permuted_labels(net, images, labels, n_epochs=2, show_progress=False)
    after = (images, scale, labels, net.state_dict())
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    torch.testing.assert_close(twin.state_dict(), net.state_dict(), rtol=0, atol=0)


def test_one_image_is_too_few_to_reestimate_and_is_said():
    net = nn.Sequential(nn.Flatten(), nn.Linear(504, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)).eval()
    check = ParameterRandomization(Saliency, similarity=RANKS, buffers="reestimate")
    with pytest.raises(ValueError, match=r"`buffers='reestimate'`.*for 1 example.*'keep'"):
        check.update(net, torch.rand(1, 3, 12, 14), target=1)
    check.update(net, torch.rand(2, 3, 12, 14), target=1)
    assert len(check.per_example["spearman"]) == 2


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize(
    "norm", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm,
             nn.utils.parametrizations.spectral_norm, nn.utils.parametrizations.orthogonal]
)  # fmt: skip
def test_a_parametrized_weight_is_of_its_layer(norm, images):
    torch.manual_seed(0)
    net = nn.Sequential(norm(nn.Conv2d(3, 4, 3)), nn.Tanh(), nn.Flatten(), norm(nn.Linear(480, 3)))
    net(images)
    check = check_of(net.eval(), images)
    assert [row["stage"] for row in check.report] == ["3", "0"]
    assert check.report[-1]["changed"] == 1
    assert float(check.by_stage()["spearman"][-1]) < 0.9


class Tied(nn.Module):
    """Ends with the weight that it begins with, as language models do."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.middle = nn.Linear(6, 6)
        self.last = nn.Linear(6, 6)
        self.last.weight = self.first.weight
        self.again = self.middle

    def forward(self, x):
        return self.last(self.again(self.middle(self.first(x).tanh()).tanh()).tanh())


def test_tied_weights_belong_to_the_last_layer_that_uses_them_and_count_once():
    check = ParameterRandomization(Saliency, similarity=RANKS)
    check.update(Tied(), torch.rand(4, 6), target=1)
    rows = {row["stage"]: row for row in check.report}
    assert [*rows] == ["last", "middle", "first"]
    assert rows["last"]["parameters"] == ["first.weight", "last.bias"]
    assert rows["first"]["parameters"] == ["first.bias"]
    assert sum(row["share"] for row in check.report) == pytest.approx(1)
    assert rows["first"]["changed"] == 1
    assert rows["last"]["changed"] == pytest.approx(42 / (36 * 2 + 18))


@dataclasses.dataclass
class Answer:
    scores: torch.Tensor


OUTPUTS = {
    "dict": lambda logits: {"logits": logits},
    "tuple": lambda logits: (logits, logits),
    "list": lambda logits: [logits],
    "Answer": Answer,
    "NoneType": lambda logits: None,
    "one number for all examples": lambda logits: logits.mean(),
}


@pytest.mark.parametrize("make_method", [Saliency, GradCam, BlurIG, RISE])
@pytest.mark.parametrize("kind", OUTPUTS)
def test_outputs_that_are_no_tensor_are_named(kind, make_method, images):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(480, 3))

        def forward(self, x):
            return OUTPUTS[kind](self.net(x))

    check = ParameterRandomization(make_method, similarity=RANKS)
    with pytest.raises(TypeError, match=rf"must return a tensor, but gave {kind}"):
        check.update(Model().eval(), images, target=1)
    assert check.n_excluded == len(check.per_example["spearman"]) == 0
    if kind == "dict":
        check = ParameterRandomization(
            lambda m: Saliency(lambda x: m(x)["logits"]), similarity=RANKS
        )
        check.update(Model().eval(), images, target=1)
        assert len(check.per_example["spearman"]) == 3


def failing(error):
    def make(model):
        raise error

    return make


@pytest.mark.parametrize(
    ("make_method", "said"),
    [
        (failing(IndexError("list index out of range")), "fails with IndexError: list index"),
        (failing(AssertionError()), "fails with AssertionError without a message"),
        (failing(KeyError("x")), "fails with KeyError: 'x'"),
        (lambda model: None, "fails with AttributeError: 'NoneType'"),
        (lambda model: Known(None), "map for each of 3 examples, but got NoneType"),
        (lambda model: Known(()), "map for each of 3 examples, but got none"),
        (lambda model: Known(torch.zeros(3).numpy()), "examples, but got ndarray"),
        (lambda model: Known(torch.zeros(2, 4)), r"examples, but got \(2, 4\)"),
        (lambda model: Known((torch.zeros(3, 4), {})), r"examples, but got \(3, 4\), dict"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_made_method_is_one_sentence(make_method, said, net, images):
    with pytest.raises((TypeError, RuntimeError), match=rf"`make_method`.*{said}"):
        check_of(net, images, make_method=make_method)
    other = DataRandomization(make_method, RANKS)
    with pytest.raises((TypeError, RuntimeError), match=rf"`make_method`.*{said}"):
        other.update(net, net, images, target=1)


def test_a_wrong_target_stays_an_assertion_error_of_captum(net, images):
    with pytest.raises(AssertionError, match="Target list length"):
        ParameterRandomization(Saliency).update(net, images, target=[0, 1])


def test_a_method_of_another_model_is_refused(net, images):
    with pytest.raises(ValueError, match=r"`make_method` must.*`model` itself ran"):
        check_of(net, images, make_method=lambda model: Saliency(net))
    assert all(not m._forward_pre_hooks and not m._forward_hooks for m in net.modules())


def test_a_method_may_ask_the_model_given_to_update_beside_its_own(net, images):
    def make(model):
        net(images)
        return Saliency(model)

    for name, values in check_of(net, images, make_method=make).per_example.items():
        torch.testing.assert_close(values, check_of(net, images).per_example[name])


def test_a_model_whose_code_is_bound_to_the_original_is_refused(net, images):
    net.forward = torch.compile(net.forward, backend="eager")
    with pytest.raises(ValueError, match=r"parameters in 6 modules, but runs none"):
        check_of(net, images)


class Frozen(nn.Module):
    """Normalizes by numbers that never change, as detection models do."""

    def __init__(self):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(3, 1, 1))

    def forward(self, x):
        return x - self.running_mean


def test_what_a_model_cannot_do_is_said(images):
    whole = nn.Sequential(Frozen(), nn.Flatten(), nn.Linear(504, 3))
    with pytest.raises(ValueError, match=r"`buffers='reestimate'`.*those of Frozen never change"):
        check_of(whole, images, buffers="reestimate")
    with pytest.raises(ValueError, match=r"`model` has lazy layers.*run it once"):
        check_of(nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), images)
    with pytest.raises(RuntimeError, match=r"`model` fails on `inputs` with RuntimeError: mat1"):
        check_of(
            nn.Sequential(nn.Flatten(), nn.Linear(5, 3)),
            images,
            make_method=lambda model: Known(images),
        )


def test_complex_parameters_keep_mean_and_spread_of_both_parts():
    weights = torch.complex(torch.randn(4000) + 2, torch.randn(4000) + 2)
    made = matched_normal(weights, torch.Generator().manual_seed(0))
    assert made.is_complex()
    for part in (made.real, made.imag):
        assert (float(part.mean()), float(part.std())) == pytest.approx((2, 1), abs=0.1)


def test_an_exported_model_is_refused(images):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(480, 3)).eval()
    whole = torch.export.export(net, (images,)).module()
    with pytest.raises(ValueError, match=r"parameters in 2 modules, but runs none"):
        check_of(whole, images)


def test_inference_mode_around_the_checks_changes_nothing(net, images):
    plain = check_of(net, images)
    with torch.inference_mode():
        check = check_of(net, images.clone())
        twin, _ = train_on_permuted_labels(
            net, images.clone(), torch.tensor([0, 1, 2]), n_epochs=2, show_progress=False
        )
    for name, values in plain.per_example.items():
        torch.testing.assert_close(check.per_example[name], values)
    assert not torch.equal(twin.last.weight, net.last.weight)


def test_data_randomization_compares_maps_under_two_models(net, images):
    torch.manual_seed(1)
    other = Backwards().eval()
    check = DataRandomization(Saliency, similarity=RANKS)
    check.update(net, other, images, target=1)
    same = DataRandomization(Saliency, similarity=RANKS)
    same.update(net, copy.deepcopy(net), images, target=1)
    for name in RANKS:
        assert check.compute()[name] < 0.9
        torch.testing.assert_close(same.compute()[name], torch.tensor(1.0).double())
    figure, axes = check.plot()
    assert axes.get_figure() is figure
    assert check.protocol["similarity"] == RANKS


def test_permuted_labels_are_learned_by_a_copy(capsys):
    torch.manual_seed(0)
    inputs, labels = torch.randn(40, 10), torch.arange(40) % 2
    model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 2))
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    twin, accuracy = train_on_permuted_labels(model, inputs, labels, n_epochs=300, lr=0.01)
    assert torch.equal(torch.get_rng_state(), state)
    assert "permuted labels" in capsys.readouterr().err
    assert accuracy >= 0.95
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    right = float((twin(inputs).argmax(1) == labels).float().mean())
    assert right < 0.9
    with pytest.raises(ValueError, match="`inputs` and `labels`"):
        train_on_permuted_labels(model, inputs, labels[:3])
    with pytest.raises(TypeError, match=r"`labels` are numbers of classes.*float32"):
        train_on_permuted_labels(model, inputs, labels.float())
    with pytest.raises(ValueError, match=r"`n_epochs` and `batch_size`.*got 0 and 64"):
        train_on_permuted_labels(model, inputs, labels, n_epochs=0)
    with pytest.raises(TypeError, match=r"`model` must return logits.*gave \(40, 5, 2\)"):
        train_on_permuted_labels(
            nn.Sequential(nn.Linear(10, 10), nn.Unflatten(1, (5, 2))),
            inputs, labels, show_progress=False,
        )  # fmt: skip
    with pytest.raises(TypeError, match=r"`model` is a module with parameters.*Identity"):
        train_on_permuted_labels(nn.Identity(), inputs, labels)


def test_bad_settings_are_named(net, images):
    with pytest.raises(ValueError, match=r"`order`.*got 'random'"):
        ParameterRandomization(Saliency, order="random")
    with pytest.raises(ValueError, match=r"`similarity` is some of.*got \['l2'\]"):
        ParameterRandomization(Saliency, similarity=["l2"])
    with pytest.raises(ValueError, match=r"`buffers`.*got 'drop'"):
        ParameterRandomization(Saliency, buffers="drop")
    with pytest.raises(TypeError, match=r"`model` is a module with parameters.*Identity"):
        check_of(nn.Identity(), images)
    with pytest.raises(ValueError, match=r"`initialize` must keep the shape"):
        check_of(net, images, initialize=lambda p, g: torch.zeros(()))
