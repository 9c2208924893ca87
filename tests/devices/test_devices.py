"""Every method and metric on another device gives the CPU's numbers there, without a GPU."""

import copy

import pytest
import torch
from captum.attr import IntegratedGradients
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves

from captum_ext import metrics as T
from captum_ext.attr import IDGI, RISE, Configured
from captum_ext.curve import rank
from captum_ext.curve.frames import Frames, Joined
from captum_ext.evaluation import evaluate
from tests.devices.cases import (
    IMAGES,
    INSIDE,
    LONGER,
    MAPS,
    METHODS,
    METRICS,
    MODEL,
    SLOW,
    TARGETS,
)
from tests.devices.pretended_device import PretendedDevice, There

ROUNDING = 1e-5
"""Of the largest number. Differences seen: none on "cuda", up to 2e-6 on "mps"."""


@pytest.fixture(params=["cuda:0", "mps"])
def there(request):
    with PretendedDevice(request.param) as device:
        yield device


def same(found, wanted, device):
    """The CPU's numbers, but for the rounding of sums in float32, on a device."""
    for got, want in zip(tree_leaves(found), tree_leaves(wanted), strict=True):
        assert got.device == device
        got = got.held if isinstance(got, There) else got
        near = ROUNDING * float(want.abs().max())
        torch.testing.assert_close(got, want, rtol=0, atol=near, check_dtype=False)


def telling(wanted):
    """What is wanted of a device, if it is something that another answer would differ from."""
    for want in tree_leaves(wanted):
        assert want.isfinite().all()
        rows = want.flatten(1) if want.dim() > 1 else want.view(1, -1)
        assert want.abs().max() > 0
        assert want.dim() == 0 or (rows.amin(1) < rows.amax(1)).all()
    return wanted


def test_what_tells_nothing_is_no_case():
    for nothing in (torch.zeros(2, 4), torch.ones(2, 4), torch.eye(2)[:, :1], torch.tensor(0.0)):
        with pytest.raises(AssertionError):
            telling({"map": nothing})
    with pytest.raises(AssertionError):
        telling(torch.tensor(torch.nan))
    telling((torch.eye(2), torch.tensor(0.5)))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_maps_there_as_on_the_cpu(there, name):
    # A target is left where it is, as a user's labels often are.
    target = TARGETS if there.device.type == "mps" else torch.tensor(TARGETS)
    with _disable_current_modes():
        wanted = telling(METHODS[name](MODEL).attribute(IMAGES, target=target))
    method = METHODS[name](there.put(copy.deepcopy(MODEL)))
    same(method.attribute(there.put(IMAGES), target=target), wanted, there.device)


def test_targets_may_lie_on_either_device(there):
    method = IDGI(IntegratedGradients(there.put(copy.deepcopy(MODEL))))
    found = [
        method.attribute(there.put(IMAGES), target=target, n_steps=2).held
        for target in (torch.tensor([2, 2, 2]), there.put(torch.tensor([2, 2, 2])), 2)
    ]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize(
    ("name", "moved"),
    [(name, moved) for name in METRICS for moved in (True, False) if moved or name not in SLOW],
)
def test_a_metric_scores_there_as_on_the_cpu(there, name, moved):
    with _disable_current_modes():
        metric, data = METRICS[name](MODEL, lambda t: t)
        metric.update(*data)
        wanted = telling(metric.compute())
    metric, data = METRICS[name](there.put(copy.deepcopy(MODEL)), there.put)
    metric = metric.to(there.device) if moved else metric
    metric.update(*data)
    same(metric.compute(), wanted, there.device if moved else torch.device("cpu"))


def test_training_takes_labels_from_the_cpu(there):
    model = there.put(copy.deepcopy(MODEL))
    trained, _ = T.train_on_permuted_labels(
        model, there.put(IMAGES), torch.tensor([0, 2, 4]), n_epochs=1, show_progress=False
    )
    assert all(p.device == there.device for p in trained.parameters())


@pytest.mark.parametrize("name", LONGER)
def test_a_model_call_stalls_the_device_once(name):
    calls = []
    with PretendedDevice("cuda:0") as device:
        model = device.put(copy.deepcopy(MODEL))
        model.register_forward_pre_hook(lambda *_: calls.append(1))
        images, target = device.put(IMAGES), device.put(torch.tensor([0, 2, 4]))
        device.syncs.clear()
        device.sent.clear()
        LONGER[name](model).attribute(images, target=target)
    # What is drawn comes from the host in blocks, each twice as long as the one before, and so do
    # a search's trials that none before it had, each with a noise of its own; else nothing does.
    assert len(device.sent) <= 8 + 8 * (name == "published")
    # Once whether all is finite, and a few times for the whole batch.
    assert len(calls) >= 7
    assert sum(device.syncs.values()) <= len(calls) + 9


@pytest.mark.parametrize(("n_masks", "copies"), [(256, 2), (4000, 10)])
def test_cells_of_masks_are_sent_in_blocks_that_double(n_masks, copies):
    with PretendedDevice("cuda:0") as device:
        images = device.put(IMAGES[:1, :, :8, :8])
        device.sent.clear()
        rise = RISE(lambda x: x.mean((1, 2, 3)), 4)
        rise.attribute(images, n_masks=n_masks, perturbations_per_eval=256)
    assert len(device.sent) == copies


@pytest.mark.parametrize("make", [T.Insertion, T.AIC])
def test_frames_of_a_metric_stall_the_device_once_a_call(make):
    found = []
    for size in (3, 10):
        calls = []
        with PretendedDevice("cuda:0") as device:
            model = device.put(copy.deepcopy(MODEL))
            model.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
            metric = make(model, internal_batch_size=size)
            data = device.put(IMAGES), device.put(MAPS)
            device.syncs.clear()
            metric.update(*data, target=1)
        found.append((len(calls), sum(device.syncs.values())))
    (many, stalls), (few, fewer) = found
    assert many > few + 7
    assert stalls - fewer <= many - few


@pytest.mark.parametrize(("n_sources", "stalls"), [(1, 0), (3, 1)])
def test_frames_of_several_maps_are_told_apart_by_one_question(n_sources, stalls):
    def make(put):
        images, counts = put(IMAGES), put(torch.tensor([[0, 9, 99]] * 3))
        frames = Frames((images * 0,), (images,), rank((put(MAPS),)), counts)
        joined = Joined([frames] * n_sources)
        return joined, put(torch.arange(3 * n_sources)), put(5 + torch.arange(3 * n_sources))

    joined, *asked = make(lambda x: x)
    wanted = joined.make(*asked)
    with PretendedDevice("cuda:0") as device:
        joined, *asked = make(device.put)
        device.syncs.clear()
        found = joined.make(*asked)
        assert sum(device.syncs.values()) == stalls
        same(found, telling(wanted), device.device)


def test_the_pretended_device_counts_and_refuses():
    with PretendedDevice("mps") as device:
        x = device.put(torch.ones(2))
        assert bool((x > 0).all())
        assert len(x[x > 0]) == 2
        assert x.cpu().tolist() == [1, 1]
        assert sum(device.syncs.values()) == 3
        assert len(torch.tensor([1.0, 2.0], device=device.device)[torch.tensor([0])]) == 1
        assert sum(device.syncs.values()) == 5
        with pytest.raises(RuntimeError, match="same device"):
            x + torch.ones(2)
        with pytest.raises(TypeError, match="float64"):
            x.double()
        with pytest.raises(TypeError, match="float64"):
            x.to("cpu", torch.float64)
        with pytest.raises(RuntimeError, match="generator"):
            torch.rand(2, device=device.device, generator=torch.Generator())


def test_an_evaluation_there_gives_the_cpus_numbers(there):
    def numbers(put):
        model = put(copy.deepcopy(MODEL))
        data = [(x, t, m > 0) for x, t, m in zip(IMAGES, (0, 2, 4), INSIDE, strict=True)]
        metrics = {"insertion": T.Insertion(model, n_steps=2), "where": T.Localization()}
        methods = {"idgi": Configured(IDGI(IntegratedGradients(model)), n_steps=2)}
        found = evaluate(model, data, methods, metrics, batch_size=2, seed=0)
        return {k: v for r in found.records for k, v in r.items() if k in found.columns}

    with _disable_current_modes():
        wanted = numbers(lambda model: model)
    assert len(wanted) > 3
    assert numbers(there.put) == pytest.approx(wanted, rel=1e-3, abs=1e-4)
