"""Copies of models: without wrappers, and also of a model that keeps what it computed."""

import copy
import threading

import pytest
import torch
from torch import distributed, nn

from captum_ext.metrics.sanity.twin import twin_of


class Keeps(nn.Module):
    """Keeps activations in all the places where networks do."""

    def __init__(self):
        super().__init__()
        self.layer, self.norm = (
            nn.Linear(4, 4),
            nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)),
        )
        self.kept = {"list": [], "dict": {}}
        self.holder = type("Holder", (), {})()

    def forward(self, x):
        self.features = self.layer(x).relu()
        self.kept["list"].append(self.features)
        self.kept["dict"]["deep"] = (self.features[:1], [self.features.sum()])
        self.holder.inside = self.features * 2
        self.layer.features = self.features
        return self.norm(self.features)


@pytest.fixture
def inputs():
    return torch.rand(3, 4, generator=torch.Generator().manual_seed(0))


def wrapped_once(net):
    return {
        "DataParallel": nn.DataParallel(net),
        "compiled": torch.compile(net, backend="eager"),
        "averaged": nn.DataParallel(torch.compile(net, backend="eager")),
    }


def test_kept_activations_do_not_stop_the_copy_and_are_not_shared(inputs):
    net = Keeps()
    expected = net(inputs)
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(net)
    twin = twin_of(net)
    torch.testing.assert_close(twin(inputs), expected)
    assert net.features.requires_grad
    assert net.features is net.layer.features
    assert len(net.kept["list"]) == 1
    assert {id(p) for p in net.parameters()}.isdisjoint(id(p) for p in twin.parameters())


def test_the_older_weight_norm_is_copied_after_a_call(inputs):
    with pytest.warns(FutureWarning):
        net = nn.utils.weight_norm(nn.Linear(4, 2))
    expected = net(inputs)
    twin = twin_of(net)
    torch.testing.assert_close(twin(inputs), expected)
    with torch.no_grad():
        twin.weight_g.zero_()
    torch.testing.assert_close(twin(inputs), net.bias.expand(3, 2))
    torch.testing.assert_close(net(inputs), expected)


@pytest.mark.parametrize("name", wrapped_once(nn.Identity()))
@pytest.mark.parametrize("inside", [False, True])
def test_wrappers_are_taken_off_wherever_they_stand(name, inside, inputs):
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    whole = wrapped_once(net)[name]
    whole = nn.Sequential(whole, nn.Linear(4, 2)) if inside else whole
    expected = whole(inputs)
    twin = twin_of(whole)
    torch.testing.assert_close(twin(inputs), expected)
    wanted = {"0.0.weight", "0.0.bias", "1.weight", "1.bias"} if inside else {"0.weight", "0.bias"}
    assert {n for n, _ in twin.named_parameters()} == wanted
    torch.testing.assert_close(whole(inputs), expected)


def test_distributed_data_parallel_is_taken_off(inputs, tmp_path):
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1
    )
    try:
        twin = twin_of(nn.parallel.DistributedDataParallel(nn.Linear(4, 2)))
    finally:
        distributed.destroy_process_group()
    assert type(twin) is nn.Linear


def test_traced_and_scripted_models_are_refused_also_as_parts(inputs):
    net = nn.Linear(4, 2)
    for one in (torch.jit.script(net), torch.jit.trace(net, inputs)):
        for whole in (one, nn.Sequential(one)):
            with pytest.raises(TypeError, match=r"`model` is traced or scripted.*give the module"):
                twin_of(whole)


def test_what_cannot_be_copied_is_said():
    net = nn.Linear(4, 2)
    net.lock = threading.Lock()
    with pytest.raises(TypeError, match=r"`model` must be a module that can be copied.*lock"):
        twin_of(net)
