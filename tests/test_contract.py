"""What every public attribution method keeps to: Captum's conventions and this package's."""

import pytest
import torch
from captum.attr import LayerIntegratedGradients, NoiseTunnel, visualization
from captum.metrics import infidelity, sensitivity_max
from torch import nn

from tests.conftest import OWN_START, WEAK_EVIDENCE, small_net
from tests.contract import METHODS

pytestmark = [WEAK_EVIDENCE, OWN_START]

ALL = pytest.mark.parametrize("row", METHODS.values(), ids=METHODS)
TABLES = pytest.mark.parametrize(
    "row",
    [row for row in METHODS.values() if not row.images_only],
    ids=[name for name, row in METHODS.items() if not row.images_only],
)


def close(ours, expected):
    torch.testing.assert_close(ours, expected, atol=2e-5, rtol=1e-3)


@ALL
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_shape_type_and_layout_are_the_inputs(row, dtype, model, images):
    inputs = images.to(dtype).to(memory_format=torch.channels_last)
    credit = row.attribute(model.to(dtype), inputs, target=1)
    assert (credit.shape, credit.dtype, credit.device) == (inputs.shape, dtype, inputs.device)
    assert credit.is_contiguous()
    assert not credit.requires_grad
    assert credit.isfinite().all()


@ALL
def test_some_credit_is_given(row, model, images):
    assert row.attribute(model, images, target=1).flatten(1).abs().amax(1).gt(0).all()


@ALL
def test_a_batch_equals_its_examples(row, model, images):
    together = row.attribute(model, images, target=[0, 1, 2])
    for i in range(3):
        close(together[i : i + 1], row.attribute(model, images[i : i + 1], target=i))


@ALL
@pytest.mark.parametrize("size", [1, 2, 5, 64])
def test_the_chunk_does_not_matter(row, size, model, images):
    whole = row.attribute(model, images, target=1)
    close(row.attribute(model, images, target=1, **row.chunk(size)), whole)


@ALL
def test_the_global_random_state_does_not_matter_and_is_left_alone(row, model, images):
    torch.manual_seed(1)
    first = row.attribute(model, images, target=1)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(row.attribute(model, images, target=1), first)
    assert torch.equal(torch.get_rng_state(), state)


@ALL
def test_a_1_tuple_comes_back_as_one(row, model, images):
    alone = row.attribute(model, images, target=1)
    (credit,) = row.attribute(model, (images,), target=1)
    assert torch.equal(credit, alone)


@ALL
def test_a_tuple_of_inputs_gives_a_tuple(row, images):
    net = small_net(channels=3)

    def two(a, b):
        return net((a + 2 * b) / 3)

    credit = row.attribute(two, (images, images.flip(0)), target=1)
    assert isinstance(credit, tuple)
    assert [c.shape for c in credit] == [images.shape] * 2


@TABLES
def test_tensors_of_a_tuple_may_differ_in_shape(row):
    a, b = torch.rand(2, 3), torch.rand(2, 4, 5)

    def model(a, b):
        return torch.stack([a.sum(1) * b.sum((1, 2)), a.sum(1)], 1).softmax(1)

    credit = row.attribute(model, (a, b), target=0)
    assert [c.shape for c in credit] == [a.shape, b.shape]


@ALL
@pytest.mark.parametrize(
    "target",
    [
        [2, 2, 2],
        (2,),
        torch.tensor(2),
        torch.tensor([2]),
        torch.tensor([2, 2, 2]),
        [(2,), (2,), (2,)],
    ],
    ids=["list", "tuple", "0-d", "1-element", "1-D", "list of tuples"],
)
def test_every_form_of_target_means_the_same(row, target, model, images):
    close(row.attribute(model, images, target=target), row.attribute(model, images, target=2))


@ALL
def test_no_target_is_needed_where_there_is_one_output(row, model, images):
    def one(x):
        return model(x)[:, 2]

    def column(x):
        return model(x)[:, 2:3]

    expected = row.attribute(model, images, target=2)
    close(row.attribute(one, images), expected)
    close(row.attribute(column, images), expected)


@ALL
@pytest.mark.parametrize("target", [None, 99, [0, 1], torch.tensor([0, 1, 99]), (1, 1)])
def test_a_wrong_target_is_captums_error(row, target, model, images):
    with pytest.raises(AssertionError, match=r"[Tt]arget"):
        row.attribute(model, images, target=target)


@ALL
def test_additional_arguments_follow_their_example(row, model, images):
    def scaled(x, factor, offset, flag):
        assert flag == "on"
        return model(x) * factor[:, None] + offset

    factor = torch.tensor([0.1, 0.5, 0.9])
    extra = (factor, torch.tensor(0.05), "on")
    together = row.attribute(scaled, images, target=1, additional_forward_args=extra)
    for i in range(3):
        extra = (factor[i : i + 1], torch.tensor(0.05), "on")
        alone = row.attribute(
            scaled, images[i : i + 1], target=1, additional_forward_args=extra, **row.chunk(1)
        )
        close(together[i : i + 1], alone)


@ALL
@pytest.mark.parametrize("form", ["number", "one", "all"])
def test_every_form_of_baseline_means_the_same(row, form, model, images):
    forms = {
        "number": 0.5,
        "one": torch.full_like(images[:1], 0.5),
        "all": torch.full_like(images, 0.5),
    }
    expected = row.attribute(model, images, baselines=(0.5,), target=1)
    close(row.attribute(model, images, baselines=forms[form], target=1), expected)


class Failing(nn.Module):
    """A model that fails at its second call."""

    def __init__(self, model):
        super().__init__()
        self.model, self.calls = model, 0

    def forward(self, x):
        self.calls += 1
        if self.calls > 1:
            raise RuntimeError("out of luck")
        return self.model(x)


@ALL
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(row, fails, model, images):
    model.train()
    model[0].weight.requires_grad_(False)
    model[6].weight.grad = torch.ones_like(model[6].weight)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    inputs = images.clone().requires_grad_()
    if fails:
        with pytest.raises(RuntimeError, match="out of luck"):
            row.attribute(Failing(model), inputs, target=1, **row.chunk(1))
    else:
        row.attribute(model, inputs, target=1)
    assert model.training
    assert [p.requires_grad for p in model.parameters()] == [False] + [True] * 5
    assert torch.equal(model[6].weight.grad, torch.ones_like(model[6].weight))
    assert model[2].weight.grad is None
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(m._forward_hooks or m._backward_hooks for m in model.modules())
    assert inputs.grad is None


@ALL
def test_inputs_and_baselines_are_not_changed(row, model, images):
    inputs, baselines = images.clone(), torch.zeros_like(images)
    row.attribute(model, inputs, baselines=baselines, target=1)
    assert torch.equal(inputs, images)
    assert torch.equal(baselines, torch.zeros_like(images))


@ALL
def test_it_works_in_a_noise_tunnel(row, model, images):
    tunnel = NoiseTunnel(row.make(model))
    credit = tunnel.attribute(images, nt_samples=2, stdevs=0.0, target=1, **row.options)
    close(credit, row.attribute(model, images, target=1))


@ALL
def test_infidelity_takes_its_maps(row, model, images):
    def perturb(x):
        noise = 0.1 * torch.ones_like(x)
        return noise, x - noise

    credit = row.attribute(model, images, target=1)
    value = infidelity(model, perturb, images, credit, target=1, n_perturb_samples=2)
    assert value.isfinite().all()


@ALL
def test_sensitivity_max_runs_it(row, model, images):
    value = sensitivity_max(
        row.make(model).attribute, images, target=1, n_perturb_samples=1, **row.options
    )
    assert value.shape == (3,)
    assert value.isfinite().all()


@ALL
def test_captum_draws_its_maps(row, model, images):
    credit = row.attribute(model, images[:1], target=1)[0].permute(1, 2, 0).numpy()
    picture = images[0].permute(1, 2, 0).numpy()
    figure, _ = visualization.visualize_image_attr(
        credit, picture, method="blended_heat_map", use_pyplot=False
    )
    assert figure.axes


@ALL
@pytest.mark.parametrize("compiler", ["script", "trace"])
def test_compiled_models_give_the_same(row, compiler, model, images):
    # Not by identity: torch 2.6 puts a function of its own in place of torch.jit.trace later on.
    trace = compiler == "trace"
    compiled = torch.jit.trace(model, images) if trace else torch.jit.script(model)
    expected = row.attribute(model, images, target=1)
    close(row.attribute(compiled, images, target=1), expected)


@pytest.fixture(scope="module")
def process_group(tmp_path_factory):
    store = tmp_path_factory.mktemp("group") / "store"
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@ALL
def test_a_distributed_model_gives_the_same(row, process_group, model, images):
    expected = row.attribute(model, images, target=1)
    wrapped = nn.parallel.DistributedDataParallel(model)
    close(row.attribute(wrapped, images, target=1), expected)


@pytest.mark.parametrize(
    "row",
    [row for row in METHODS.values() if row.gradient_only],
    ids=[name for name, row in METHODS.items() if row.gradient_only],
)
def test_it_stands_in_for_a_layer_methods_ig(row, model, images):
    layered = LayerIntegratedGradients(model, model[0])
    layered.ig = row.make(model)
    credit = layered.attribute(images, target=1, n_steps=8)
    assert credit.shape == model[0](images).shape
    tail = row.attribute(model[1:], model[0](images).detach(), target=1, n_steps=8)
    layer_baseline = model[0](torch.zeros_like(images)).detach()
    if not row.own_start:
        tail = row.attribute(
            model[1:], model[0](images).detach(), layer_baseline, target=1, n_steps=8
        )
    close(credit, tail)


@ALL
def test_its_name_is_the_papers(row, model):
    assert " " not in row.make(model).get_name()


@ALL
@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda x: x.clone().fill_(float("nan")), ValueError, "`inputs` must be finite"),
        (lambda x: x[:0], ValueError, "`inputs` must hold at least one example"),
        (lambda x: x.numpy(), TypeError, "`inputs` is a tensor"),
    ],
    ids=["nan", "empty", "numpy"],
)
def test_bad_inputs_get_one_clear_sentence(row, spoil, error, words, model, images):
    with pytest.raises(error, match=words):
        row.attribute(model, spoil(images), target=1)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (torch.ones(2, 3, 20, 16, dtype=torch.uint8), r"image\.float\(\) / 255"),
        (torch.ones(2, 7, dtype=torch.long), "embeddings of token ids"),
        (torch.ones(2, 7, dtype=torch.complex64), "view_as_real"),
    ],
    ids=["image", "tokens", "complex"],
)
@pytest.mark.parametrize(
    "row",
    [row for row in METHODS.values() if not row.no_gradient],
    ids=[name for name, row in METHODS.items() if not row.no_gradient],
)
def test_inputs_without_gradients_get_a_hint_of_their_kind(row, inputs, words, model):
    with pytest.raises(TypeError, match=rf"`inputs` must be floating point.*{words}"):
        row.attribute(model, inputs, target=1)


@ALL
def test_baselines_of_a_wrong_shape_get_one_clear_sentence(row, model, images):
    if row.own_start:
        with pytest.warns(UserWarning, match="`baselines` is ignored"):
            row.attribute(model, images, baselines=images[:2], target=1)
    else:
        with pytest.raises(ValueError, match=r"`baselines` must have the inputs' shape"):
            row.attribute(model, images, baselines=images[:2], target=1)


@ALL
def test_a_chunk_below_1_gets_one_clear_sentence(row, model, images):
    with pytest.raises(ValueError, match="at least 1, but got 0"):
        row.attribute(model, images, target=1, **row.chunk(0))
