"""What torchmetrics and its users ask of every metric, over a list of them."""

import copy
import pickle

import pytest
import torch
from torchmetrics import MetricCollection

from captum_ext.metrics import AIC, SIC, Deletion, Insertion

METRICS = {
    "insertion": lambda model: Insertion(model, n_steps=3),
    "deletion": lambda model: Deletion(model, n_steps=3),
    "aic, binned": lambda model: AIC(model, "ms_ssim"),
    "sic, binned": lambda model: SIC(model, "entropy"),
    "sic, mean": lambda model: SIC.from_preset(model, "tmlr", level="ms_ssim", min_score=0.0),
    "sic, median": lambda model: SIC.from_preset(model, "xrai", level="entropy", min_score=0.0),
}


@pytest.fixture
def images():
    # Enough for an interval, also of those whose original answers above its base.
    return torch.rand(14, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def maps():
    return torch.randn(14, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=METRICS)
def make(request, model):
    return lambda: METRICS[request.param](model)


@pytest.fixture
def filled(make, images, maps, labels):
    metric = make()
    metric.update(images, maps, target=labels)
    return metric


def same(a, b):
    torch.testing.assert_close(a.compute(), b.compute(), rtol=0, atol=1e-6, equal_nan=True)
    torch.testing.assert_close(a.curve().y, b.curve().y, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        a.interval(n_samples=50), b.interval(n_samples=50), rtol=0, atol=1e-6, equal_nan=True
    )


def test_the_model_is_borrowed(filled, model):
    assert list(filled.parameters()) == []
    assert list(filled.modules()) == [filled]
    filled.persistent(True)
    assert not any("model" in name or "weight" in name for name in filled.state_dict())
    assert filled.clone().forward_func is model
    filled.train(True)
    assert not model.training


def test_many_updates_leave_few_tensors_in_order(make, images, maps, labels):
    metric, parts = make(), []
    for k in [*range(len(images))] * 5:
        metric.update(images[k : k + 1], maps[k : k + 1], target=labels[k : k + 1])
        parts.append(max(len(getattr(metric, name)) for name in metric._widths))
    assert len(parts) > 16
    assert max(parts) <= len(parts).bit_length()
    whole = make()
    whole.update(images, maps, target=labels)
    for name in metric._widths:
        expected = torch.cat([whole._rows(name)] * 5)
        torch.testing.assert_close(metric._rows(name), expected, rtol=0, atol=1e-6, equal_nan=True)


def test_forward_gives_the_batch_and_keeps_the_rest_with_one_pass_each(
    make, images, maps, labels, model
):
    metric, calls = make(), []
    metric.bind(lambda x: calls.append(len(x)) or model(x))
    first = metric(images[:7], maps[:7], target=labels[:7])
    once = sum(calls)
    metric(images[7:], maps[7:], target=labels[7:])
    assert sum(calls) == 2 * once
    alone = make()
    alone.update(images[:7], maps[:7], target=labels[:7])
    torch.testing.assert_close(first, alone.compute(), equal_nan=True)
    whole = make()
    whole.update(images, maps, target=labels)
    same(metric, whole)


@pytest.mark.filterwarnings("ignore:no interval")
def test_reset_forgets(filled, make, images, maps, labels):
    filled.reset()
    filled.update(images[:3], maps[:3], target=labels[:3])
    fresh = make()
    fresh.update(images[:3], maps[:3], target=labels[:3])
    same(filled, fresh)


def test_copies_and_pickles_keep_the_value_and_pickles_leave_the_model_out(
    filled, images, maps, labels, model
):
    same(filled, filled.clone())
    same(filled, copy.deepcopy(filled))
    loaded = pickle.loads(pickle.dumps(filled))
    same(filled, loaded)
    with pytest.raises(ValueError, match=r"`forward_func` is missing.*bind"):
        loaded.update(images, maps, target=labels)
    loaded.bind(model).update(images, maps, target=labels)
    filled.update(images, maps, target=labels)
    same(filled, loaded)


@pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")
def test_saved_and_loaded_state_gives_the_value(filled, make):
    filled.persistent(True)
    fresh = make()
    fresh.persistent(True)
    fresh.load_state_dict(filled.state_dict())
    same(filled, fresh)


def test_merged_states_give_the_value_of_all_examples(make, images, maps, labels):
    whole, left, right = make(), make(), make()
    whole.update(images, maps, target=labels)
    left.update(images[:1], maps[:1], target=labels[:1])
    right.update(images[1:], maps[1:], target=labels[1:])
    left.compute()
    left.merge_state(right)
    same(left, whole)


def test_a_collection_updates_equal_looking_metrics_apart(make, model, images, maps, labels):
    collection = MetricCollection({"one": make(), "two": make()})
    collection["two"].bind(lambda x: model(x.flip(-1)))
    symmetric = (images[:2] + images[:2].flip(-1)) / 2
    # A first batch on which both agree makes torchmetrics group them, if it can.
    collection.update(symmetric, torch.zeros_like(symmetric), target=1)
    collection.update(images, maps, target=labels)
    apart = make()
    apart.bind(lambda x: model(x.flip(-1)))
    apart.update(symmetric, torch.zeros_like(symmetric), target=1)
    apart.update(images, maps, target=labels)
    assert len(collection.compute_groups) == 2
    same(collection["two"], apart)


def test_without_an_example_the_value_is_nan_and_a_warning(make):
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert make().compute().isnan()


def test_interval_needs_six_examples_and_holds_the_value(make, images, maps, labels):
    metric = make()
    metric.update(images[:5], maps[:5], target=labels[:5])
    with pytest.warns(UserWarning, match="no interval: . of the 6 examples"):
        assert all(end.isnan() for end in metric.interval())
    metric.update(images[5:], maps[5:], target=labels[5:])
    low, high = metric.interval()
    assert low <= metric.compute() <= high
    wide, narrow = metric.interval(level=0.99), metric.interval(level=0.3)
    assert wide[1] - wide[0] > narrow[1] - narrow[0]
    assert metric.interval(seed=4) == metric.interval(seed=4)
    with pytest.raises(ValueError, match=r"`level`.*got 95"):
        metric.interval(level=95)


def test_plot_returns_figure_and_axes_with_the_curve(filled):
    import matplotlib.pyplot as plt

    figure, axes = filled.plot()
    assert axes.get_figure() is figure
    (line,) = axes.get_lines()
    assert line.get_ydata() == pytest.approx(filled.curve().y[0].numpy())
    assert axes.get_xlabel()
    _, own = plt.subplots()
    assert filled.plot(ax=own)[1] is own
    assert filled.plot(filled.compute())[1] is not axes
    plt.close("all")


def test_protocol_is_plain_data(filled):
    assert filled.protocol["metric"] == type(filled).__name__
    assert {type(v) for v in filled.protocol.values()} <= {str, int, float, bool, list}


def test_an_error_while_states_are_gathered_leaves_the_metric_open(model, images, maps, labels):
    metric = Insertion(
        model,
        n_steps=3,
        distributed_available_fn=lambda: True,
        dist_sync_fn=lambda state, group: [state],
    )
    metric.update(images, maps, target=labels)
    with pytest.raises(RuntimeError, match="read nothing"), metric._gathered():
        raise RuntimeError("read nothing")
    metric.update(images, maps, target=labels)
    assert len(metric.per_example) == 2 * len(images)
