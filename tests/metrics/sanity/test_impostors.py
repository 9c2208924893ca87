"""Impostors: one that never changes, one that always does, and neither asks the model."""

import pytest
import torch
from torch import nn

from captum_ext._random import seeded
from captum_ext.metrics import DataRandomization, ParameterRandomization, impostors
from captum_ext.registry import METHODS


def checked(name, inputs, **settings):
    net = nn.Sequential(nn.Flatten(), nn.Linear(inputs[0].numel(), 6), nn.Tanh(), nn.Linear(6, 2))
    check = ParameterRandomization(impostors(**settings)[name], similarity=["abs_spearman"])
    check.update(net, inputs, target=1)
    return check


@pytest.mark.parametrize("shape", [(2, 3, 12, 12), (2, 300), (2, 1, 6, 6, 6), (2, 3, 90)])
def test_edges_fail_and_random_maps_are_at_chance(shape):
    inputs = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    edges, noise = (checked(name, inputs) for name in ("image edges", "random map"))
    assert edges.by_stage()["abs_spearman"].tolist() == pytest.approx([1.0, 1.0])
    assert edges.n_excluded == 0
    assert (noise.per_example["abs_spearman"].abs() < 0.3).all()
    assert not torch.equal(noise.maps[0][1], noise.maps[0][2])


def test_random_maps_follow_the_seed_alone():
    inputs = torch.rand(2, 3, 12, 12)
    state = torch.get_rng_state()
    maps = [checked("random map", inputs, seed=seed).maps[0] for seed in (0, 0, 1)]
    nets = torch.get_rng_state()
    assert torch.equal(maps[0], maps[1])
    assert not torch.equal(maps[0], maps[2])
    torch.set_rng_state(state)
    for _ in maps:
        nn.Linear(432, 6), nn.Linear(6, 2)
    assert torch.equal(torch.get_rng_state(), nets)


def test_a_named_random_map_is_at_chance_wherever_models_are_compared():
    make, images = METHODS["random"].make, torch.rand(3, 3, 12, 12)
    nets = [nn.Sequential(nn.Flatten(), nn.Linear(432, 2)) for _ in range(2)]
    data = DataRandomization(make, similarity=["spearman"])
    data.update(*nets, images, target=1)
    stages = ParameterRandomization(make, similarity=["spearman"])
    stages.update(nets[0], images, target=1)
    for check in (data, stages):
        assert (check.per_example["spearman"].abs() < 0.2).all()
    one, again, other = (make(net).attribute(images) for net in (nets[0], nets[0], nets[1]))
    assert torch.equal(one, again)
    assert torch.equal(make(nets[0]).attribute(images[1:]), one[1:])
    assert not torch.equal(one, other)
    assert torch.equal(make(nets[0].forward).attribute(images), one)


def test_a_check_on_the_cpu_seeds_no_other_device(monkeypatch):
    monkeypatch.setattr(torch, "manual_seed", lambda seed: pytest.fail("seeds all devices"))
    with seeded(3, torch.device("cpu")) as drawn:
        assert not drawn()
        one = torch.rand(2)
        assert drawn()
    assert torch.equal(one, torch.rand(2, generator=torch.Generator().manual_seed(3)))


def test_edges_are_where_neighbors_differ():
    image = torch.zeros(1, 1, 6, 6)
    image[..., 3:] = 1
    (method,) = [impostors()["image edges"](None)]
    edges = method.attribute(image)
    assert edges[0, 0, :, 2].tolist() == [1.0] * 6
    assert edges.sum() == 6
    pair = method.attribute((image, torch.tensor([[1.0, 3.0]])))
    assert pair[1].tolist() == [[-1.0, 1.0]]
