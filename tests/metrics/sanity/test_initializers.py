"""The notebook's preset of the sanity checks: own initializers, classes anew, its readings."""

import pytest
import torch
from captum.attr import Saliency
from torch import nn

from captum_ext.metrics import ParameterRandomization
from captum_ext.registry import SIMILARITIES


def network():
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
    )
    net = nn.Sequential(*body, nn.Flatten(), nn.Linear(8, 4)).eval()
    for p in net.parameters():
        p.data.add_(5.0)
    net[1].running_mean.fill_(3.0)
    return net


class Asked:
    """A method that notes what it is asked, and of which weights."""

    def __init__(self):
        self.targets, self.weights = [], []

    def __call__(self, model):
        def attribute(inputs, target=None):
            self.targets.append(target)
            self.weights.append({k: v.clone() for k, v in model.state_dict().items()})
            return Saliency(model).attribute(inputs, target=target)

        method = Saliency(model)
        method.attribute = attribute
        return method


def test_layers_draw_their_own_parameters_and_keep_their_statistics():
    asked, images = Asked(), torch.rand(2, 3, 8, 8)
    check = ParameterRandomization(asked, initialize="layer", similarity=["spearman"])
    check.update(network(), images, target=1)
    drawn = asked.weights[-1]
    # Within what `reset_parameters` can give, where before all weights were near 5.
    assert drawn["0.weight"].abs().max() <= 27**-0.5
    assert drawn["5.weight"].abs().max() <= 8**-0.5
    assert torch.equal(drawn["1.weight"], torch.ones(8))
    assert torch.equal(drawn["1.running_mean"], torch.full((8,), 3.0))
    assert check.protocol["initialize"] == "layer"

    again, state = Asked(), torch.get_rng_state()
    other = ParameterRandomization(again, initialize="layer", similarity=["spearman"])
    other.update(nn.DataParallel(network()), images, target=1)
    assert all(torch.equal(drawn[k], again.weights[-1][k]) for k in drawn)
    assert torch.equal(state, torch.get_rng_state())
    third = Asked()
    ParameterRandomization(third, initialize="layer", similarity=["spearman"], seed=1).update(
        network(), images, target=1
    )
    assert not torch.equal(drawn["0.weight"], third.weights[-1]["0.weight"])


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.token, self.head = nn.Parameter(torch.rand(12)), nn.Linear(12, 2)

    def forward(self, x):
        return self.head(x.flatten(1) * self.token)


def test_what_no_layer_draws_is_refused_with_what_to_do():
    check = ParameterRandomization(Saliency, initialize="layer", similarity=["spearman"])
    with pytest.raises(ValueError, match=r"token is of a Tokens.*matched_normal"):
        check.update(Tokens(), torch.rand(1, 3, 2, 2), target=0)
    with pytest.raises(ValueError, match='a function or "layer"'):
        ParameterRandomization(Saliency, initialize="kaiming")


def test_retargeted_maps_are_of_each_randomized_models_own_class():
    asked, net, images = Asked(), network(), torch.rand(6, 3, 8, 8)
    check = ParameterRandomization(asked, retarget=True, similarity=["spearman"], seed=3)
    check.update(net, images, target=2)
    assert asked.targets[0] == 2
    with torch.no_grad():
        for target, weights in zip(asked.targets[1:], asked.weights[1:], strict=True):
            net.load_state_dict(weights)
            assert torch.equal(target, net(images).argmax(1))
    assert any(bool((t != 2).any()) for t in asked.targets[1:])
    with pytest.raises(ValueError, match=r"no scores \(N, classes\)"):
        check.update(nn.Sequential(nn.Flatten(), nn.Linear(192, 2), nn.Flatten(0)), images)


def test_the_notebooks_readings_are_far_from_zero_by_chance():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(4, 1, 48, 48, generator=generator) ** 5 for _ in range(2))
    stretched, own = SIMILARITIES["stretched_ssim"], SIMILARITIES["ssim"]
    # Most of a map is the gray of no credit, which all maps have in common.
    assert stretched(a, b).min() > 0.3
    assert own(a, b).max() < 0.2
    assert SIMILARITIES["hog_spearman"](a, b).min() > 0.6
    for name in ("stretched_ssim", "hog_spearman"):
        assert SIMILARITIES[name](a, a) == pytest.approx(1)
    noise = torch.randn(2, 1, 48, 48, generator=generator)
    assert stretched(noise, -noise).max() < -0.9


def test_the_preset_is_the_notebooks_and_takes_changes():
    check = ParameterRandomization.from_preset(Saliency, "notebook", similarity=["spearman"])
    check.update(network(), torch.rand(2, 3, 8, 8), target=0)
    told = check.protocol
    assert (told["initialize"], told["class"]) == ("layer", "of the randomized model")
    assert told["similarity"] == ["spearman"]
    with pytest.raises(ValueError, match="notebook"):
        ParameterRandomization.from_preset(Saliency, "paper")
