"""Every method and metric on another device gives the CPU's numbers there, without a GPU."""

import copy
import warnings

import pytest
import torch
from captum.attr import IntegratedGradients
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves

from captum_ext import metrics as T
from captum_ext.attr import IDGI, Configured
from captum_ext.evaluation import evaluate
from tests.devices.cases import IMAGES, INSIDE, LONGER, MAPS, METHODS, METRICS, MODEL, SLOW
from tests.devices.pretended_device import PretendedDevice, There


@pytest.fixture(params=["cuda:0", "mps"])
def there(request):
    with PretendedDevice(request.param) as device, warnings.catch_warnings():
        # Masks of so few iterations may delete nothing.
        warnings.simplefilter("ignore")
        yield device


def same(found, wanted, device):
    for got, want in zip(tree_leaves(found), tree_leaves(wanted), strict=True):
        assert got.device == device
        got = got.held if isinstance(got, There) else got
        torch.testing.assert_close(
            got, want, rtol=1e-3, atol=1e-4, equal_nan=True, check_dtype=False
        )


@pytest.mark.parametrize("name", METHODS)
def test_a_method_maps_there_as_on_the_cpu(there, name):
    # A target is left where it is, as a user's labels often are.
    target = [0, 2, 4] if there.device.type == "mps" else torch.tensor([0, 2, 4])
    with _disable_current_modes():
        wanted = METHODS[name](MODEL).attribute(IMAGES, target=target)
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
        wanted = metric.compute()
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


@pytest.mark.filterwarnings("ignore:nothing was deleted")
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
    # What is drawn, and the blurs of a call, come from the host, once each; else nothing does.
    draws = name.startswith(("blur", "igos", "published", "mask"))
    assert len(device.sent) <= 4 + len(calls) * draws
    # Once whether all is finite, and a few times for the whole batch.
    assert len(calls) >= 7
    assert sum(device.syncs.values()) <= len(calls) + 9


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
