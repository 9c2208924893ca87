"""What every public attribution method keeps to: Captum's conventions and this package's."""

import pytest
import torch
from captum.attr import LayerIntegratedGradients
from torch import nn

from captum_ext.testing import parametrize_with_checks
from tests.conftest import OWN_START, WEAK_EVIDENCE
from tests.contract import CASES, METHODS

pytestmark = [WEAK_EVIDENCE, OWN_START]

EACH = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
ALL = pytest.mark.parametrize("row", METHODS.values(), ids=METHODS)
TABLES = pytest.mark.parametrize(
    "row",
    [row for row in METHODS.values() if not row.images_only],
    ids=[name for name, row in METHODS.items() if not row.images_only],
)


def close(ours, expected):
    torch.testing.assert_close(ours, expected, atol=2e-5, rtol=1e-3)


@parametrize_with_checks(CASES)
def test_it_keeps_the_contract_and_what_it_claims(check):
    check()


@TABLES
def test_tensors_of_a_tuple_may_differ_in_shape(row):
    a, b = torch.rand(2, 3), torch.rand(2, 4, 5)

    def model(a, b):
        return torch.stack([a.sum(1) * b.sum((1, 2)), a.sum(1)], 1).softmax(1)

    credit = row.attribute(model, (a, b), target=0)
    assert [c.shape for c in credit] == [a.shape, b.shape]


@EACH
@pytest.mark.parametrize("target", [None, 99, [0, 1], (1, 1)])
def test_a_wrong_target_is_captums_error(case, target):
    with pytest.raises(AssertionError, match=r"[Tt]arget"):
        case.attribute(target=target)


@ALL
def test_a_scripted_model_gives_the_same(row, model, images):
    expected = row.attribute(model, images, target=1)
    close(row.attribute(torch.jit.script(model), images, target=1), expected)


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


@EACH
@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda x: x.clone().fill_(float("nan")), ValueError, "`inputs` must be finite"),
        (lambda x: x[:0], ValueError, "`inputs` must hold at least one example"),
        (lambda x: x.numpy(), TypeError, "`inputs` is a tensor"),
    ],
    ids=["nan", "empty", "numpy"],
)
def test_bad_inputs_get_one_clear_sentence(case, spoil, error, words):
    with pytest.raises(error, match=words):
        case.made().attribute(spoil(case.inputs), target=1, **case.chosen(case.inputs))


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


@pytest.mark.parametrize("name", ["BlurIG", "IDGI-BlurIG"])
def test_baselines_are_ignored_aloud_where_a_path_has_its_own_start(name, model, images):
    with pytest.warns(UserWarning, match="`baselines` is ignored"):
        METHODS[name].attribute(model, images, baselines=0, target=1)


def test_names_are_the_papers():
    names = {case.name for case in CASES.values()}
    assert names == {
        "AlignedContribution", "BlurIG", "GuidedIG", "IDGI", "PathAttribution", "I-GOS", "iGOS+",
        "iGOS++", "Mask", "RISE", "Grad-CAM", "Guided Backpropagation", "Guided Grad-CAM",
        "Integrated Gradients", "Occlusion", "Saliency", "Expected IDGI", "Layer IDGI",
    }  # fmt: skip
