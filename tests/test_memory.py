"""Model calls that run out of memory are halved, and parameters ask for no gradient meanwhile."""

import copy
import warnings

import pytest
import torch
from captum.attr import FeatureAblation, IntegratedGradients, Saliency
from torch import nn

from captum_ext import Score, _memory, metrics as T
from captum_ext._memory import Halvable, default_chunk
from captum_ext.attr import (
    IDGI,
    IGOS,
    RISE,
    BlurIG,
    Configured,
    GradCam,
    GuidedIG,
    IGOSPlus,
    IGOSPlusPlus,
    MeaningfulPerturbation,
)
from captum_ext.attr.guided_backprop import GuidedGradCam
from captum_ext.cli.errors import CallError
from captum_ext.cli.inputs.models import devices_of, predict
from captum_ext.evaluation import evaluate
from tests.devices.over_two import OverTwo
from tests.devices.pretended_device import PretendedDevice

_SIZE = Halvable(64)
OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
]
METHODS = {
    "idgi": lambda m, x, **kw: IDGI(IntegratedGradients(m)).attribute(x, target=0, n_steps=9, **kw),
    "guided": lambda m, x, **kw: GuidedIG(m).attribute(x, target=0, n_steps=3, **kw),
    "blur": lambda m, x, **kw: BlurIG(m, 2.0).attribute(x, target=0, n_steps=9, **kw),
    "igos": lambda m, x, **kw: IGOS(m, 4, 0.01, 0.01).attribute(x, target=0, n_iter=2, **kw),
    "igos++": lambda m, x, **kw: IGOSPlusPlus(m, 4, 0.01, 0.01).attribute(
        x, target=0, n_iter=2, **kw
    ),
    "igos+": lambda m, x, **kw: IGOSPlus(m, 4, 0.01, 0.01).attribute(x, target=0, n_iter=1, **kw),
    "published": lambda m, x, **kw: IGOSPlusPlus.published(m, 4, 0.01, 0.01).attribute(
        x, target=0, n_iter=1, n_steps=2, **kw
    ),
    "mask": lambda m, x, **kw: MeaningfulPerturbation(m, 4).attribute(x, target=0, n_iter=2, **kw),
    "rise": lambda m, x: RISE(m, 2).attribute(x, target=0, n_masks=9),
    "grad-cam": lambda m, x: GradCam(m).attribute(x, target=0),
    "guided-grad-cam": lambda m, x: GuidedGradCam(m).attribute(x, target=0),
}
METRICS = {
    "insertion": lambda m: T.Insertion(m, n_steps=4),
    "deletion": lambda m: T.Deletion(m, n_steps=4),
    "road": lambda m: T.ROAD(m, percentages=[20, 60], reading="probability"),
    "aic": lambda m: T.AIC(m, preset="tmlr"),
    "sic": lambda m: T.SIC(m, preset="xrai"),
}
DIVIDING = {
    "ig": lambda m: Configured(IntegratedGradients(m), n_steps=6, internal_batch_size=_SIZE),
    "ablation": lambda m: Configured(FeatureAblation(m), perturbations_per_eval=_SIZE),
}
"""Methods of Captum's that divide their calls by themselves."""


class Bounded(nn.Module):
    """A model that holds no more than ``most`` rows of a call."""

    def __init__(self, most=2**60, error=OUT_OF_MEMORY[0]):
        super().__init__()
        torch.manual_seed(0)
        pool = nn.AdaptiveAvgPool2d(6)
        self.net = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.ReLU(), pool, nn.Flatten(), nn.Linear(144, 2)
        ).eval()
        self.eval()
        self.most, self.error, self.rows = most, error, []

    def forward(self, x):
        self.rows.append(len(x))
        if len(x) > self.most:
            raise self.error
        return self.net(x).softmax(1)


@pytest.fixture
def images():
    return torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.filterwarnings("ignore:nothing was deleted")
@pytest.mark.parametrize("name", METHODS)
def test_out_of_memory_halves_the_chunk_and_changes_no_result(name, images):
    model = Bounded(3)
    with pytest.warns(UserWarning, match=r"out of memory: .* takes [23] rows"):
        found = METHODS[name](model, images)
    torch.testing.assert_close(found, METHODS[name](Bounded(), images), rtol=1e-5, atol=1e-6)
    failed = [rows for rows in model.rows if rows > 3]
    assert failed == sorted(failed, reverse=True)
    # What was found is where the next batch begins, and nothing is said again.
    model.rows.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "nothing was deleted|.*more than half of the rise")
        METHODS[name](model, images)
    assert max(model.rows) <= 3


def test_out_of_memory_halves_what_metrics_ask_and_changes_no_score():
    images = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    maps = METHODS["grad-cam"](Bounded(), images)
    for name, make in METRICS.items():
        scores, models = [], [Bounded(2), Bounded()]
        for model in models:
            metric = make(model)
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                metric.update(images, maps, target=0)
            scores.append(metric.per_example)
            assert any("out of memory" in str(w.message) for w in said) == (model is models[0])
        assert max(models[1].rows) > 2, name
        torch.testing.assert_close(*scores, rtol=1e-5, atol=1e-6, equal_nan=True, msg=name)


@pytest.mark.parametrize("name", DIVIDING)
def test_out_of_memory_halves_the_chunk_of_captums_methods(name, images):
    model = Bounded(7)
    with pytest.warns(UserWarning, match=r"out of memory: .* takes [5-8] rows"):
        found = DIVIDING[name](model).attribute(images, target=0)
    wanted = DIVIDING[name](Bounded()).attribute(images, target=0)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    model.most = 4  # below the batch, which Captum does not divide
    with pytest.raises(torch.OutOfMemoryError):
        DIVIDING[name](model).attribute(images, target=0)


def test_an_evaluation_halves_the_batch_that_a_method_does_not_divide(images):
    def scores(model):
        data, methods = [(image, 0) for image in images], {"map": Configured(Saliency(model))}
        metrics = {"ins": T.Insertion(model, n_steps=2)}
        return evaluate(model, data, methods, metrics, batch_size=5, seed=0).values["ins"]["map"]

    with pytest.warns(UserWarning, match="out of memory"):
        found = scores(Bounded(2))
    torch.testing.assert_close(found, scores(Bounded()))
    assert len(found) == 5


@pytest.fixture
def two_rows(monkeypatch):
    """The library chooses two images of 8 x 8 a call."""
    monkeypatch.setitem(_memory._ELEMENTS_PER_CALL, "cpu", 2 * 3 * 8 * 8)


@pytest.mark.usefixtures("two_rows")
@pytest.mark.filterwarnings("ignore:nothing was deleted")
@pytest.mark.parametrize("name", [n for n in METHODS if "cam" not in n])
def test_a_batch_larger_than_a_call_is_never_asked_at_once(name, images):
    model = Bounded()
    METHODS[name](model, images)
    assert max(model.rows) == 2


@pytest.mark.usefixtures("two_rows")
def test_an_evaluation_halves_a_batch_larger_than_a_call(images):
    def scores(model):
        methods = {"map": Configured(IDGI(IntegratedGradients(model)), n_steps=3)}
        data, metrics = [(image, 0) for image in images], {"ins": T.Insertion(model, n_steps=2)}
        return evaluate(model, data, methods, metrics, batch_size=5, seed=0).values["ins"]["map"]

    with pytest.warns(UserWarning, match="out of memory: .* takes 2 rows"):
        found = scores(Bounded(3))
    torch.testing.assert_close(found, scores(Bounded()))


def test_the_commands_question_is_halved(images):
    model = Bounded(2)
    with pytest.warns(UserWarning, match="out of memory"):
        found = predict(model, images)
    torch.testing.assert_close(found, predict(Bounded(), images))
    assert model.rows == [5, 2, 2, 1]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["cuda", "mps", "cpu"])
def test_every_devices_words_are_known(error, images):
    with pytest.warns(UserWarning, match="out of memory"):
        assert Score(Bounded(2, error), (images,), 0)((images,)).shape == (5,)


def test_a_chunk_that_was_given_is_kept_to(images):
    model = Bounded(3)
    with pytest.raises(torch.OutOfMemoryError):
        METHODS["idgi"](model, images, internal_batch_size=5)
    assert model.rows == [5]


def test_one_row_too_many_and_other_errors_are_handed_on(images):
    with pytest.raises(torch.OutOfMemoryError):
        METHODS["idgi"](Bounded(0), images)
    model = Bounded(3, RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="do not fit"):
        METHODS["idgi"](model, images)
    assert len(model.rows) == 1


@pytest.mark.parametrize(("free", "rows"), [(80e9, 64), (8e9, 24), (1e9, 3), (0, 1)])
def test_the_chunk_begins_where_free_memory_ends(free, rows):
    with PretendedDevice("cuda:0") as device:
        device.free_bytes = int(free)
        assert default_chunk((device.put(torch.zeros(2, 3, 224, 224)),)) == rows


@pytest.mark.filterwarnings("ignore:nothing was deleted")
@pytest.mark.parametrize("name", [n for n in METHODS if "cam" not in n])
def test_calls_divided_over_devices_give_the_same_map(name, images):
    model = Bounded()
    two = OverTwo(copy.deepcopy(model))
    torch.testing.assert_close(
        METHODS[name](two, images), METHODS[name](model, images), rtol=1e-4, atol=1e-6
    )
    assert all(replica.rows for replica in two.replicas)
    assert max(two.replicas[0].rows) <= max(model.rows)


def test_a_chunk_is_for_each_device(images):
    two = OverTwo(Bounded())
    assert Score(two, (images,), 0).chunk == 2 * Score(Bounded(), (images,), 0).chunk
    assert Score(two, (images,), 0, chunk=7).chunk == 7


@pytest.mark.parametrize("name", ["grad-cam", "guided-grad-cam"])
def test_methods_that_look_into_a_model_refuse_one_that_is_divided(name, images):
    with pytest.raises(ValueError, match=r"`forward_func`.*\.module"):
        METHODS[name](OverTwo(Bounded()), images)


def test_parameters_ask_for_no_gradient_while_a_model_is_borrowed(images):
    model, seen = Bounded(), []
    model.net[0].weight.requires_grad_(False)
    before = [p.requires_grad for p in model.parameters()]
    model.register_forward_pre_hook(
        lambda *_: seen.append(any(p.requires_grad for p in model.parameters()))
    )
    METHODS["idgi"](model, images)
    assert seen
    assert not any(seen)
    assert [p.requires_grad for p in model.parameters()] == before
    model.most = 0
    with pytest.raises(torch.OutOfMemoryError):
        METHODS["idgi"](model, images)
    assert [p.requires_grad for p in model.parameters()] == before


def test_a_model_that_needs_gradients_of_its_parameters_gets_them(images):
    class Adapting(Bounded):
        def forward(self, x):
            with torch.enable_grad():
                first, weight = super().forward(x)[:, 0].sum(), self.net[4].weight
                (step,) = torch.autograd.grad(first, weight, create_graph=True)
            return super().forward(x) * (1 + step.square().mean())

    method = IDGI(IntegratedGradients(Adapting()))
    assert method.attribute(images, target=0, n_steps=2).abs().sum() > 0


@pytest.mark.parametrize("names", ["cpu,cpu", "cuda:0,cuda:0", "cuda,cuda:1", "cuda:0,cpu"])
def test_several_devices_are_different_gpus(names, monkeypatch):
    monkeypatch.setattr("captum_ext.cli.inputs.models.device_of", torch.device)
    with pytest.raises(CallError, match="different GPUs"):
        devices_of(names)
    assert devices_of("cuda:0, cuda:1") == [torch.device("cuda:0"), torch.device("cuda:1")]
