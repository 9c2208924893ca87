"""Where a model is cut: the layer is seen once, the model stays as it was, all else is refused."""

from collections import namedtuple

import pytest
import torch
from torch import nn

from captum_ext.attr import IDGI, AtLayer, PathAttribution
from captum_ext.path import StraightLine
from tests.attr.tokens import token_ids, transformer


def at(model, layer):
    return AtLayer(IDGI(PathAttribution(model, StraightLine())), layer)


def hooks(model):
    return [
        len(getattr(m, kind))
        for m in model.modules()
        for kind in ("_forward_hooks", "_forward_pre_hooks")
    ]


class Calling(nn.Module):
    """Calls its layer as a function says."""

    def __init__(self, call, layer=None):
        super().__init__()
        self.layer = nn.Linear(4, 4) if layer is None else layer
        self.call = call

    def forward(self, x):
        return self.call(self.layer, x).softmax(1)


@pytest.mark.parametrize(
    ("call", "layer", "error", "words"),
    [
        (lambda f, x: f(f(x)), None, ValueError, "run once.*Linear.*runs 2 times"),
        (lambda f, x: x, None, ValueError, "run once.*runs not at all"),
        (lambda f, x: f(x.T).T, nn.Linear(2, 2), ValueError, r"for 2 examples.*shape \(4, 2\)"),
        (lambda f, x: f(x)["y"], "dict", TypeError, "a tensor or a tuple.*gives dict"),
        (lambda f, x: x + f(x), "int", TypeError, r"floating point.*gives torch\.int64"),
    ],
)
@pytest.mark.parametrize("x", [torch.rand(2, 4)])
def test_layers_that_can_not_be_replaced_are_refused(call, layer, error, words, x):
    class Other(nn.Module):
        def forward(self, x):
            return {"y": x} if layer == "dict" else x.round().long()

    net = Calling(call, Other() if isinstance(layer, str) else layer)
    with pytest.raises(error, match=rf"`layer` must .*{words}"):
        at(net, net.layer).attribute(x, target=0)
    assert not any(hooks(net))


def test_inputs_of_a_layer_by_keyword_or_of_integers_are_refused():
    net = Calling(lambda f, x: f(input=x))
    with pytest.raises(TypeError, match=r"is given none but by keyword.*layer_input=False"):
        at(net, net.layer).attribute(torch.rand(2, 4), target=0, attribute_to_layer_input=True)
    tokens = transformer()
    with pytest.raises(TypeError, match=r"is given torch\.int64.*layer_input=False"):
        at(tokens, tokens.embed).attribute(token_ids(), target=0, attribute_to_layer_input=True)


def test_positions_that_all_examples_share_are_refused_but_for_one_example():
    net = transformer()
    method = at(net, net.position)
    with pytest.raises(ValueError, match=r"for 2 examples.*shape \(1, 6, 8\).*one by one"):
        method.attribute(token_ids(), target=0)
    assert method.attribute(token_ids(1), target=0).shape == (1, 6, 8)


def test_models_whose_layers_can_not_be_seen_are_refused(model, images):
    with pytest.raises(ValueError, match=r"`forward_func`.*traced or scripted"):
        at(torch.jit.script(model), model[0]).attribute(images, target=0)
    with pytest.raises(ValueError, match=r"`forward_func`.*DataParallel.*\.module"):
        at(nn.DataParallel(model), model[0]).attribute(images, target=0)


def test_the_model_stays_as_it_was_after_any_call():
    net, ids = transformer(), token_ids()
    seen = []
    net.embed.register_forward_hook(lambda *given: seen.append(given[2].shape[0]))
    before, weights = hooks(net), {k: v.clone() for k, v in net.state_dict().items()}
    at(net, net.embed).attribute(ids, target=0, n_steps=2)
    assert seen
    for at_call in (1, 2, 3):
        calls = iter(range(1, 99))

        def failing(ids, calls=calls, at_call=at_call):
            if next(calls) == at_call:
                raise RuntimeError("out of luck")
            return net(ids)

        with pytest.raises(RuntimeError, match="out of luck"):
            at(failing, net.embed).attribute(ids, target=0, n_steps=2)
    assert hooks(net) == before
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    for key, value in net.state_dict().items():
        assert torch.equal(value, weights[key])


def test_what_writes_over_the_layers_output_does_no_harm():
    torch.manual_seed(0)
    layers = [nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 2), nn.Softmax(1)]
    net, x = nn.Sequential(*layers), torch.rand(3, 4)
    found = at(net, net[0]).attribute(x, target=1, n_steps=4)
    layers[1] = nn.ReLU()
    plain = nn.Sequential(*layers)
    assert torch.equal(found, at(plain, plain[0]).attribute(x, target=1, n_steps=4))


def test_named_tuples_keep_their_names():
    pair = namedtuple("pair", ["a", "b"])

    class Named(nn.Module):
        def forward(self, x):
            return pair(x * 2, x**2)

    net = Calling(lambda f, x: _sum(f(x)), Named())
    credit = at(net, net.layer).attribute(torch.rand(2, 4), target=0)
    assert [c.shape for c in credit] == [(2, 4), (2, 4)]


def _sum(found):
    return found.a + found.b
