"""Methods at a layer: what Captum's layer methods give, axioms there, and what is refused."""

import pytest
import torch
from captum.attr import (
    InputXGradient,
    IntegratedGradients,
    LayerIntegratedGradients,
    NoiseTunnel,
    Saliency,
)
from torch import nn

from captum_ext import ImageClassifier
from captum_ext.attr import (
    IDGI,
    IGOS,
    RISE,
    AlignedContribution,
    AtLayer,
    BlurIG,
    Configured,
    GradCam,
    GuidedIG,
    IGOSPlusPlus,
    MaskAttribution,
    MeaningfulPerturbation,
    OverBaselines,
    PathAttribution,
)
from captum_ext.mask import L1, DeletionTerm, Gradient, MaskGrid, adam
from captum_ext.path import EqualRise, StraightLine, trapezoid
from tests.attr.tokens import token_ids, transformer
from tests.conftest import WEAK_EVIDENCE

pytestmark = [pytest.mark.filterwarnings("ignore:Multiple layers"), WEAK_EVIDENCE]


@pytest.fixture
def net():
    return transformer()


@pytest.fixture
def ids():
    return token_ids()


def line(f):
    return PathAttribution(f, StraightLine())


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


LAYERS = [
    (name, of_input)
    for name in ("embed", "block.norm1", "block.linear1", "head")
    for of_input in (False, True)
    if (name, of_input) != ("embed", True)
]


@pytest.mark.parametrize(("name", "of_input"), LAYERS)
def test_the_rule_of_ig_gives_what_captums_layer_method_gives(name, of_input, net, ids):
    layer = net.get_submodule(name)
    options = {"target": [0, 2], "n_steps": 7, "return_convergence_delta": True}
    options |= {"attribute_to_layer_input": of_input, "baselines": torch.full((1, 6), 2)}
    expected = LayerIntegratedGradients(net, layer).attribute(ids, method="riemann_left", **options)
    found = AtLayer(line(net), layer).attribute(ids, **options)
    same(found, expected)
    assert found[0].abs().max() > 1e-3


def test_several_layers_give_a_list_as_captums_do(ids):
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = transformer(), transformer(width=4)

        def forward(self, a, b):
            return self.left(a) * self.right(b)

    net, pair = Both().eval(), (ids, ids.flip(0))
    layers = [net.right.embed, net.left.embed]
    options = {"target": 1, "n_steps": 5, "return_convergence_delta": True}
    expected = LayerIntegratedGradients(net, layers).attribute(
        pair, method="riemann_left", **options
    )
    found = AtLayer(line(net), layers).attribute(pair, **options)
    assert isinstance(found[0], list)
    same(found, expected)
    one = AtLayer(line(net), layers[:1]).attribute(pair, target=1)
    assert isinstance(one, list)
    _, delta = AtLayer(IDGI(line(net)), layers).attribute(pair, **options)
    assert delta.abs().max() < 1e-6


class Split(nn.Module):
    """Gives two tensors, and what is none of floating point."""

    def forward(self, x):
        return x[:, :2] * 2, x.long(), x[:, 2:] ** 2, None


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.split, self.meet = Split(), nn.Bilinear(2, 3, 4)

    def forward(self, x):
        a, whole, b, nothing = self.split(x)
        assert nothing is None
        return (self.meet(a, b) + whole.sum(1, keepdim=True)).softmax(1)


def test_of_a_tuple_all_tensors_of_floating_point_are_credited():
    torch.manual_seed(0)
    net, x = Branching().eval(), torch.rand(3, 5) + 0.2
    credit, delta = AtLayer(IDGI(line(net)), net.split).attribute(
        x, target=1, n_steps=3, return_convergence_delta=True
    )
    assert [c.shape for c in credit] == [(3, 2), (3, 3)]
    assert delta.abs().max() < 1e-6
    pair = (x[:, :2] * 2, x[:, 2:] ** 2)
    whole = x.long().sum(1, keepdim=True)
    by_hand = IDGI(line(lambda a, b: (net.meet(a, b) + whole[0]).softmax(1))).attribute(
        pair, target=1, n_steps=3
    )
    same(credit, by_hand)
    given = AtLayer(line(net), net.meet).attribute(x, target=1, attribute_to_layer_input=True)
    assert [c.shape for c in given] == [(3, 2), (3, 3)]


@pytest.mark.parametrize("n_steps", [1, 4, 30])
@pytest.mark.parametrize("over", [line, GuidedIG], ids=["IG", "GuidedIG"])
@pytest.mark.parametrize("make", [IDGI, AlignedContribution])
def test_complete_rules_share_out_the_whole_rise_at_embeddings(make, over, n_steps, net, ids):
    start = torch.full((2, 6), 3)
    credit, delta = AtLayer(make(over(net)), net.embed).attribute(
        ids, start, target=1, n_steps=n_steps, return_convergence_delta=True
    )
    rise = net(ids)[:, 1] - net(start)[:, 1]
    same(credit.flatten(1).sum(1), rise.detach())
    assert delta.dtype is torch.float32
    assert delta.abs().max() < 1e-6


METHODS = {
    "IDGI": lambda f: IDGI(GuidedIG(f, 0.3, 0.2)),
    "trapezoid": lambda f: PathAttribution(f, StraightLine(), trapezoid, EqualRise(4)),
    "IG": IntegratedGradients,
    "BlurIG": lambda f: BlurIG(f, 2.0),
    "IDGI-BlurIG": lambda f: IDGI(BlurIG(f, 2.0)),
    "IGOS": lambda f: IGOS(f, 3, 0.0, 0.0),
    "mask": lambda f: MeaningfulPerturbation(f, 3, 0.01, 0.01),
    "RISE": lambda f: RISE(f, cells=3),
    "Configured": lambda f: Configured(IDGI(GuidedIG(f)), n_steps=3),
}
OPTIONS = {"IGOS": {"n_iter": 2}, "mask": {"n_iter": 3}, "RISE": {"n_masks": 20}}


@pytest.mark.parametrize("name", METHODS)
def test_it_is_the_method_of_the_rest_of_the_model(name, model, images):
    given = OPTIONS.get(name, {"n_steps": 4}) | {"target": [0, 1, 2]}
    found = AtLayer(METHODS[name](model), model[1]).attribute(images, **given)
    activation, start = (model[:2](x).detach() for x in (images, torch.zeros_like(images)))
    own = {} if "Blur" in name else {"baselines": start}
    expected = METHODS[name](model[2:]).attribute(activation, **own, **given)
    same(found, expected)
    assert found.abs().max() > 0


def test_a_path_with_its_own_start_has_the_delta_from_there(model, images):
    for make in (BlurIG, lambda f: IDGI(BlurIG(f))):
        options = {"target": 1, "n_steps": 6, "return_convergence_delta": True}
        found = AtLayer(make(model), model[0]).attribute(images, **options)
        expected = make(model[1:]).attribute(model[0](images).detach(), **options)
        same(found, expected)


def test_the_delta_tells_what_goes_past_the_layer(net, ids):
    class Skipping(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 1)

        def forward(self, x):
            return self.inner(x) + x.sum(1, keepdim=True)

    net, x = Skipping(), torch.rand(2, 3)
    credit, delta = AtLayer(IDGI(line(net)), net.inner).attribute(x, return_convergence_delta=True)
    same(delta, -x.sum(1))
    expected = LayerIntegratedGradients(net, net.inner).attribute(x, return_convergence_delta=True)
    # Captum 0.7 gives its own in float64.
    same((credit, delta), tuple(e.float() for e in expected))


def test_tokens_may_be_masked_at_their_embeddings(net, ids):
    groups = torch.arange(6)[None, :, None].expand(1, 6, 8)
    pieces = (MaskGrid(3), (DeletionTerm(),), (L1(0.01),), Gradient(), adam(0.2))
    method = AtLayer(MaskAttribution(net, *pieces), net.embed)
    found = method.attribute(ids, target=[0, 1], feature_mask=groups, n_iter=15)
    assert found.shape == (2, 6, 8)
    assert torch.equal(found, found[..., :1].expand_as(found))
    alone = method.attribute(ids[1:], target=1, feature_mask=groups, n_iter=15)
    same(found[1:], alone)
    least = IGOSPlusPlus(net, l1_weight=0.01, tv_weight=0.0)
    assert (
        AtLayer(least, net.embed).attribute(ids, target=1, feature_mask=groups, n_iter=2).max() <= 1
    )


def test_chunks_arguments_and_batches_do_not_matter(net, ids):
    keep = torch.rand(2, 6)
    method = AtLayer(IDGI(GuidedIG(net)), net.embed)
    options = {"n_steps": 5, "additional_forward_args": keep}
    whole = method.attribute(ids, target=[2, 1], **options)
    same(method.attribute(ids, target=[2, 1], internal_batch_size=1, **options), whole)
    for i, target in enumerate([2, 1]):
        alone = method.attribute(
            ids[i : i + 1], target=target, n_steps=5, additional_forward_args=keep[i : i + 1]
        )
        same(alone, whole[i : i + 1])
    assert not torch.allclose(whole, method.attribute(ids, target=[2, 1], n_steps=5))


def test_guided_ig_in_captums_own_place_gives_the_same(net, ids):
    theirs = LayerIntegratedGradients(net, net.embed)
    theirs.ig = GuidedIG(net)
    found = AtLayer(GuidedIG(net), net.embed).attribute(ids, target=1, n_steps=9)
    same(found, theirs.attribute(ids, target=1, n_steps=9))


def test_it_works_inside_and_around_others(net, ids, model, images):
    tunnel = NoiseTunnel(AtLayer(IDGI(line(model)), model[0]))
    plain = AtLayer(IDGI(line(model)), model[0]).attribute(images, target=1, n_steps=4)
    found = tunnel.attribute(images, nt_samples=2, stdevs=0.0, target=1, n_steps=4)
    torch.testing.assert_close(found, plain)
    method = AtLayer(IDGI(line(net)), net.embed)
    starts = torch.randint(12, (4, 6))
    expected = torch.stack([method.attribute(ids, s[None], target=1, n_steps=4) for s in starts])
    found, delta = OverBaselines(method).attribute(
        ids, starts, target=1, n_steps=4, return_convergence_delta=True
    )
    torch.testing.assert_close(found, expected.mean(0))
    assert delta.abs().max() < 1e-6
    chosen = Configured(method, n_steps=4, baselines=torch.full((1, 6), 2))
    same(
        chosen.attribute(ids, target=1),
        method.attribute(ids, torch.full((1, 6), 2), target=1, n_steps=4),
    )


def test_a_classifier_and_a_function_around_a_model_may_be_explained(model, images):
    classifier = ImageClassifier(model[:-1], [0.5] * 3, [0.5] * 3)
    credit, delta = AtLayer(IDGI(line(classifier)), model[0]).attribute(
        images, target=1, n_steps=3, return_convergence_delta=True
    )
    assert delta.abs().max() < 1e-6
    same(
        AtLayer(IDGI(line(lambda x: classifier(x))), model[0]).attribute(
            images, target=1, n_steps=3
        ),
        credit,
    )


def test_half_precision_comes_back_as_it_went_in(model, images):
    half = model.to(torch.bfloat16)
    credit, delta = AtLayer(IDGI(line(half)), half[0]).attribute(
        images.to(torch.bfloat16), target=1, n_steps=3, return_convergence_delta=True
    )
    assert credit.dtype is torch.bfloat16
    assert delta.dtype is torch.float32


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Saliency, "got Saliency: for Captum's others"),
        (InputXGradient, "got InputXGradient"),
        (GradCam, "got GradCam"),
        (lambda f: OverBaselines(GuidedIG(f)), r"as OverBaselines\(AtLayer\(\.\.\.\)\)"),
        (lambda f: Configured(Saliency(f)), "got Saliency"),
    ],
)
def test_methods_that_know_no_rest_of_a_model_are_refused(make, words, model):
    with pytest.raises(TypeError, match=f"`method` is a path method.*{words}"):
        AtLayer(make(model), model[0])


def test_baselines_that_a_method_brings_along_are_refused(model):
    with pytest.raises(TypeError, match=r"`method` brings `baselines`.*Configured\(AtLayer"):
        AtLayer(Configured(GuidedIG(model), baselines=0), model[0])


def test_a_mask_that_starts_from_another_method_is_refused(model):
    with pytest.raises(ValueError, match="`method` starts from another method"):
        AtLayer(IGOS(model, start=GradCam(model)), model[0])


def test_a_mask_has_no_delta(model, images):
    with pytest.raises(ValueError, match=r"`return_convergence_delta`.*I-GOS has no delta"):
        AtLayer(IGOS(model), model[0]).attribute(images, return_convergence_delta=True)
