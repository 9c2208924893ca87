"""Model calls that run out of memory are halved, and parameters ask for no gradient meanwhile."""

import warnings

import pytest
import torch
from captum.attr import IntegratedGradients
from torch import nn

from captum_ext import Score
from captum_ext._memory import default_chunk
from captum_ext.attr import IDGI, IGOS, RISE, BlurIG, GuidedIG, IGOSPlusPlus
from tests.devices.pretended_device import PretendedDevice

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
    "rise": lambda m, x: RISE(m, 2).attribute(x, target=0, n_masks=9),
}


class Bounded(nn.Module):
    """A model that holds no more than ``most`` rows of a call."""

    def __init__(self, most=2**60, error=OUT_OF_MEMORY[0]):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 2))
        self.most, self.error, self.rows = most, error, []

    def forward(self, x):
        self.rows.append(len(x))
        if len(x) > self.most:
            raise self.error
        return self.net(x).softmax(1)


@pytest.fixture
def images():
    return torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))


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
        METHODS[name](model, images)
    assert max(model.rows) <= 3


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


@pytest.mark.parametrize(("free", "rows"), [(80e9, 64), (8e9, 24), (1e9, 3), (0, 2)])
def test_the_chunk_begins_where_free_memory_ends(free, rows):
    with PretendedDevice("cuda:0") as device:
        device.free_bytes = int(free)
        assert default_chunk((device.put(torch.zeros(2, 3, 224, 224)),)) == rows


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
                first, weight = super().forward(x)[:, 0].sum(), self.net[3].weight
                (step,) = torch.autograd.grad(first, weight, create_graph=True)
            return super().forward(x) * (1 + step.square().mean())

    method = IDGI(IntegratedGradients(Adapting()))
    assert method.attribute(images, target=0, n_steps=2).abs().sum() > 0
