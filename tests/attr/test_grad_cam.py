"""Grad-CAM reads the right activation in the right way, or says why it can't."""

import copy
from collections import namedtuple

import pytest
import torch
from captum.attr import LayerGradCam
from torch import nn
from torch.nn import functional
from torchvision import models
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from captum_ext import ImageClassifier
from captum_ext.attr import GradCam
from captum_ext.evaluation.cost import Counted

FAMILIES = {
    "resnet18": "layer4",
    "mobilenet_v3_small": "features",
    "googlenet": "inception5b",
    "inception_v3": "Mixed_7c",
    "efficientnet_b0": "features",
    "regnet_x_400mf": "trunk_output",
    "convnext_tiny": "features",
    "squeezenet1_1": "classifier.2",
}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_end_of_the_last_stage_is_read(name):
    torch.manual_seed(0)
    settings = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    net = models.get_model(name, weights=None, **settings).eval()
    image = torch.rand(1, 3, *((139, 107) if name == "inception_v3" else (64, 96)))
    layer = net.get_submodule(FAMILIES[name])
    # Of random networks many maps are empty: a class whose map is not.
    target = next(k for k in range(9) if GradCam(net, layer).attribute(image, k).any())
    assert torch.equal(
        GradCam(net).attribute(image, target), GradCam(net, layer).attribute(image, target)
    )


def test_the_gradient_weighs_channels_as_in_captum():
    net = models.resnet18(weights=None).eval()
    images = torch.rand(2, 3, 64, 64)
    ours = GradCam(net, net.layer3).attribute(images, target=[3, 5])
    theirs = LayerGradCam(net, net.layer3).attribute(images, [3, 5], relu_attributions=True)
    fine = functional.interpolate(theirs.detach(), (64, 64), mode="bilinear")
    torch.testing.assert_close(ours, fine.expand_as(ours))


class Layouts(nn.Module):
    """One function, its activations laid out in one of three ways."""

    def __init__(self, layout, n_channels=6, order=None, reads_mean=True):
        super().__init__()
        torch.manual_seed(0)
        self.layout, self.order, self.reads_mean = layout, order, reads_mean
        self.patches = nn.Conv2d(3, n_channels, 4, stride=4)
        self.mix = nn.Linear(n_channels, n_channels)
        self.norm = nn.LayerNorm(n_channels)
        self.end = nn.Identity()
        self.head = nn.Linear(n_channels, 5)

    def forward(self, x):
        x = self.patches(x)
        if self.layout == "channels_first":
            x = functional.gelu(functional.linear(x.movedim(1, -1), self.mix.weight, self.mix.bias))
            x = functional.layer_norm(x, x.shape[-1:], self.norm.weight, self.norm.bias)
            return self.head(self.end(x.movedim(-1, 1)).mean((2, 3)))
        x = x.movedim(1, -1)
        if self.layout == "tokens":
            x = x.flatten(1, 2)
            x = x if self.order is None else x[:, self.order]
        x = self.end(self.norm(functional.gelu(self.mix(x))))
        return self.head(x.mean((1, 2)[: x.dim() - 2]))


@pytest.mark.parametrize("layout", ["channels_last", "tokens"])
@pytest.mark.parametrize("size", [(16, 16), (16, 24), (40, 16)])
def test_maps_do_not_depend_on_how_activations_are_laid_out(size, layout):
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    expected = GradCam(Layouts("channels_first")).attribute(images, target=2)
    assert expected.flatten(1).std(1).min() > 0
    for reshape in (None, layout):
        net = Layouts(layout)
        for layer in (None, net.end):
            made = GradCam(net, layer, reshape).attribute(images, target=2)
            torch.testing.assert_close(made, expected)


def test_as_many_channels_as_places_are_a_question():
    net = Layouts("channels_last", n_channels=4)
    images = torch.rand(2, 3, 16, 16)
    with pytest.raises(ValueError, match=r"\(N, 4, 4, 4\).*may be the first or the last"):
        GradCam(net).attribute(images, target=2)
    expected = GradCam(Layouts("channels_first", n_channels=4)).attribute(images, target=2)
    made = GradCam(net, reshape="channels_last").attribute(images, target=2)
    torch.testing.assert_close(made, expected)


def test_a_convolutional_network_with_as_many_channels_as_places_is_none():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images = torch.rand(2, 3, 6, 6)
    assert torch.equal(
        GradCam(net).attribute(images, target=1), GradCam(net, net[1]).attribute(images, target=1)
    )


@pytest.mark.parametrize("order", [[*range(15, -1, -1)], [0, 4, 8, 12, *range(1, 4), *range(5, 8),
                                    *range(9, 12), *range(13, 16)]])  # fmt: skip
def test_tokens_in_another_order_are_not_taken_for_rows(order):
    net = Layouts("tokens", order=order)
    images = torch.rand(2, 3, 16, 16)
    with pytest.raises(ValueError, match=r"works on tokens, in the end of shape \(2, 16, 6\)"):
        GradCam(net).attribute(images, target=2)
    inverse = torch.tensor(order).argsort()
    expected = GradCam(Layouts("channels_first")).attribute(images, target=2)
    made = GradCam(net, net.end, lambda a: a[:, inverse].unflatten(1, (4, 4)).movedim(-1, 1))
    torch.testing.assert_close(made.attribute(images, target=2), expected)


@pytest.fixture(scope="module")
def vit():
    torch.manual_seed(0)
    net = VisionTransformer(32, 8, num_layers=3, num_heads=2, hidden_dim=8, mlp_dim=16).eval()
    nn.init.normal_(net.heads.head.weight)
    return net


def test_a_transformer_that_reads_its_class_token_is_read_one_block_before(vit):
    images = torch.rand(2, 3, 32, 32)
    made = GradCam(vit).attribute(images, target=3)
    before = vit.encoder.layers[-2]
    assert made.flatten(1).any(1).all()
    for reshape in (None, "tokens", lambda a: a[:, 1:].unflatten(1, (4, 4)).movedim(-1, 1)):
        assert torch.equal(made, GradCam(vit, before, reshape).attribute(images, target=3))


class Tokens(nn.Module):
    """A class token first or last, that looks at the patches once and is read alone."""

    def __init__(self, first):
        super().__init__()
        torch.manual_seed(0)
        self.patches, self.all, self.head = nn.Conv2d(3, 8, 8, 8), nn.Identity(), nn.Linear(8, 5)
        self.first = first

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        token = torch.ones_like(x[:, :1])
        x = self.all(torch.cat([token, x] if self.first else [x, token], 1) + 0.1)
        x = (x @ x.transpose(1, 2)).softmax(-1) @ x
        return self.head(x[:, 0 if self.first else -1])


def test_a_class_token_at_the_end_is_not_taken_for_one_at_the_start():
    images = torch.rand(2, 3, 32, 32)
    last = Tokens(first=False)
    with pytest.raises(ValueError, match=r"works on tokens, in the end of shape \(2, 17, 8\)"):
        GradCam(last).attribute(images, target=1)
    grid = GradCam(last, last.all, lambda a: a[:, :-1].unflatten(1, (4, 4)).movedim(-1, 1))
    made = GradCam(Tokens(first=True)).attribute(images, target=1)
    assert made.any()
    torch.testing.assert_close(made, grid.attribute(images, target=1))


def test_a_layer_of_which_the_class_token_alone_is_read_is_refused(vit):
    with pytest.raises(ValueError, match=r"class token alone is: choose an earlier `layer`"):
        GradCam(vit, vit.encoder.ln).attribute(torch.rand(2, 3, 32, 32), target=1)


class Packed(nn.Module):
    """Blocks that give tuples, as those of transformers do."""

    def __init__(self, packed):
        super().__init__()
        self.net = Layouts("tokens")
        self.packed = packed
        if packed:
            self.net.end.register_forward_hook(lambda module, given, output: (output, None))

    def forward(self, x):
        x = self.net.patches(x).flatten(2).transpose(1, 2)
        x = self.net.end(self.net.mix(x))
        return self.net.head((x[0] if self.packed else x).mean(1))


@pytest.mark.parametrize("given", [False, True])
def test_a_tuple_of_one_tensor_is_that_tensor(given):
    images = torch.rand(2, 3, 16, 16)
    packed, plain = (
        [GradCam(net, net.net.end if given else None).attribute(images, k) for k in range(5)]
        for net in (Packed(True), Packed(False))
    )
    assert any(made.any() for made in plain)
    torch.testing.assert_close(packed, plain)


class Moved(nn.Module):
    """After its patches a model with places along the first axis, or along too many."""

    def __init__(self, move):
        super().__init__()
        self.patches, self.mix, self.head = nn.Conv2d(3, 6, 4, 4), nn.Linear(6, 6), nn.Linear(6, 5)
        self.move = move

    def forward(self, x):
        x = self.mix(self.move(self.patches(x)))
        return self.head(x.sum([k for k, side in enumerate(x.shape[:-1]) if side != 2]))


@pytest.mark.parametrize(
    ("move", "shape"),
    [
        (lambda x: x.flatten(2).permute(2, 0, 1), r"\(16, 2, 6\)"),
        (lambda x: x.unflatten(3, (1, 4)).movedim(1, -1), r"\(2, 4, 1, 4, 6\)"),
    ],
)
def test_patches_are_not_read_where_places_go_on_elsewhere(move, shape):
    with pytest.raises(ValueError, match=rf"works, after all.*on {shape}, whose places can't be"):
        GradCam(Moved(move)).attribute(torch.rand(2, 3, 16, 16), target=1)


@pytest.mark.parametrize("size", [(64, 64), (64, 96)])
def test_swin_is_read_after_its_last_stage(size):
    torch.manual_seed(0)
    net = SwinTransformer([4, 4], 8, [2, 2], [2, 2], [4, 4], num_classes=5).eval()
    images = torch.rand(2, 3, *size)
    made = GradCam(net).attribute(images, target=3)
    for layer in (net.norm, net.permute):
        torch.testing.assert_close(made, GradCam(net, layer).attribute(images, target=3))


SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 32,
         "patch_size": 8, "num_labels": 5}  # fmt: skip
MERGING = {"image_size": 64, "patch_size": 4, "embed_dim": 8, "depths": [2, 2],
           "num_heads": [2, 2], "window_size": 4, "num_labels": 5}  # fmt: skip
# The layer that is read by default, how many tokens there come before the patches, their grid.
OF_TRANSFORMERS = {
    "ViT": (SMALL, "vit.layers.1", 1, (4, 4)),
    "DeiT": (SMALL, "deit.layers.1", 2, (4, 4)),
    "Dinov2": (SMALL, "dinov2.layernorm", 1, (4, 4)),
    "Dinov2WithRegisters": (SMALL, "dinov2_with_registers.layernorm", 5, (4, 4)),
    "Swin": (MERGING, "swin.layernorm", 0, (8, 8)),
    "Swinv2": (MERGING, "swinv2.layernorm", 0, (8, 8)),
}


@pytest.mark.parametrize("family", OF_TRANSFORMERS)
def test_transformers_of_hugging_face_are_read_at_their_last_places(family):
    transformers = pytest.importorskip("transformers")
    settings, name, n_prefix, grid = OF_TRANSFORMERS[family]
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**settings)
    net = getattr(transformers, f"{family}ForImageClassification")(config).eval()

    def places(tokens):
        return tokens[:, n_prefix:].unflatten(1, grid).movedim(-1, 1)

    # A batch of one: what has no batch then looks like an activation.
    image = torch.rand(1, 3, *[settings["image_size"]] * 2)
    read = GradCam(net, net.get_submodule(name), places)
    target = next(k for k in range(5) if read.attribute(image, k).any())
    assert torch.equal(GradCam(net).attribute(image, target), read.attribute(image, target))


OF_TIMM = {
    "vit_tiny_patch16_224": ("blocks.10", 1),
    "deit_tiny_distilled_patch16_224": ("blocks.10", 2),
    # Of any size: its patches have their channels last before they are tokens.
    "test_vit": ("blocks.4", 1),
    "swin_tiny_patch4_window7_224": ("norm", None),
    "convnext_atto": ("norm_pre", None),
}


@pytest.mark.parametrize("name", OF_TIMM)
def test_networks_of_timm_are_read_at_their_last_places(name):
    timm = pytest.importorskip("timm")
    layer, n_prefix = OF_TIMM[name]
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=5).eval()
    side = net.pretrained_cfg["input_size"][-1]

    def places(a):
        if n_prefix is not None:
            a = a[:, n_prefix:].unflatten(1, (side // 16, side // 16))
        return a.movedim(-1, 1) if a.shape[-1] > a.shape[1] else a

    image = torch.rand(1, 3, side, side)
    read = GradCam(net, net.get_submodule(layer), places)
    target = next(k for k in range(5) if read.attribute(image, k).any())
    assert torch.equal(GradCam(net).attribute(image, target), read.attribute(image, target))


class Branches(nn.Module):
    """What one-by-one maps, squeezes, auxiliary heads and branches look like in a network."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.auxiliary = nn.Conv2d(4, 5, 3)
        self.left, self.right = nn.Conv2d(4, 3, 1), nn.Conv2d(4, 3, 3, padding=1)
        self.joined = nn.ReLU()
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 6, 1), nn.Sigmoid())
        self.end = nn.BatchNorm2d(6)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 9, 1), nn.Hardswish(),
                                  nn.Flatten(), nn.Linear(9, 5))  # fmt: skip
        self.unused = nn.Conv2d(6, 6, 1)

    def forward(self, x):
        x = self.stem(x)
        extra = self.auxiliary(x)
        x = self.joined(torch.cat([self.left(x), self.right(x)], 1))
        x = self.end(x * self.squeeze(x))
        if self.training:
            self.loss = extra.mean()
        return self.head(functional.relu(x, inplace=True))


@pytest.mark.parametrize("training", [False, True])
def test_branches_squeezes_and_heads_are_not_read(training):
    net = Branches().train(training)
    images = torch.rand(3, 3, 8, 8)
    made = GradCam(net).attribute(images, target=3)
    expected = GradCam(Relued(net), None).attribute(images, target=3)
    torch.testing.assert_close(made, expected)


class Relued(Branches):
    """The same, with the rectifier before the head as a module."""

    def __init__(self, net):
        super().__init__()
        self.last = nn.ReLU()
        self.load_state_dict(net.state_dict())
        self.train(net.training)

    def forward(self, x):
        x = self.stem(x)
        x = self.joined(torch.cat([self.left(x), self.right(x)], 1))
        return self.head(self.last(self.end(x * self.squeeze(x))))


def conv_net(kind, pool):
    torch.manual_seed(0)
    return nn.Sequential(kind(2, 6, 3), nn.ReLU(), kind(6, 5, 3), nn.ReLU(), pool(1), nn.Flatten())


@pytest.mark.parametrize(
    ("kind", "pool", "size"),
    [
        (nn.Conv1d, nn.AdaptiveAvgPool1d, (20,)),
        (nn.Conv2d, nn.AdaptiveAvgPool2d, (20, 9)),
        (nn.Conv3d, nn.AdaptiveAvgPool3d, (6, 12, 9)),
    ],
)
def test_signals_images_and_volumes_have_maps(kind, pool, size):
    net = conv_net(kind, pool)
    inputs = torch.rand(2, 2, *size)
    made = GradCam(net).attribute(inputs, target=1)
    assert made.shape == inputs.shape
    assert made.flatten(1).std(1).min() > 0
    assert torch.equal(made, GradCam(net, net[3]).attribute(inputs, target=1))
    (only,) = GradCam(net).attribute((inputs,), target=1)
    assert torch.equal(only, made)
    alone = [GradCam(net).attribute(x[None], target=1) for x in inputs]
    torch.testing.assert_close(torch.cat(alone), made)


class Pair(nn.Module):
    """Two images through one network each, or through one and the same."""

    def __init__(self, shared):
        super().__init__()
        self.first = conv_net(nn.Conv2d, nn.AdaptiveAvgPool2d)
        self.second = self.first if shared else conv_net(nn.Conv2d, nn.AdaptiveAvgPool2d)

    def forward(self, x, y, scale):
        return (self.first(x) - self.second(y)) * scale


@pytest.mark.parametrize("shared", [False, True])
def test_each_of_several_inputs_has_the_map_of_its_own_layer(shared):
    net, x, y = Pair(shared), torch.rand(2, 2, 12, 12), torch.rand(2, 2, 9, 16)
    made = GradCam(net).attribute((x, y), target=1, additional_forward_args=2.0)
    assert [m.shape for m in made] == [x.shape, y.shape]
    alone = GradCam(net.first).attribute(x, target=1)
    torch.testing.assert_close(made[0], 2 * alone)
    minus = nn.Sequential(net.second, Minus())
    torch.testing.assert_close(made[1], 2 * GradCam(minus).attribute(y, target=1))


class Minus(nn.Module):
    def forward(self, x):
        return -x


MLP = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
CONV = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = CONV

    def forward(self, x):
        return self.net(x) + self.net(2 * x)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: GradCam(MLP), "has no layer that keeps the places of inputs"),
        (lambda: GradCam(ImageClassifier(MLP, [0.5] * 3, [0.5] * 3)), "has no layer that keeps"),
        (lambda: GradCam(nn.Sequential(nn.BatchNorm2d(3), MLP).eval()), "has no layer that keeps"),
        (lambda: GradCam(Twice()), "has no layer that keeps"),
        (lambda: GradCam(Twice(), CONV[0]), "`layer` must run once.*runs 2 times"),
        (lambda: GradCam(CONV, MLP[1]), "`layer` must run once.*runs not at all"),
        (lambda: GradCam(CONV, CONV[3]), r"`layer` must give .N, channels, \*space"),
        (lambda: GradCam(CONV, CONV[0], lambda a: a.mean(1)), "`reshape` must give"),
        (lambda: GradCam(CONV, CONV[0], "tokens"), "`layer` must give tokens"),
        (lambda: GradCam(CONV, None, len), "`reshape` as a function needs the `layer`"),
        (lambda: GradCam(CONV, None, "rows"), "`reshape` is None.*got 'rows'"),
        (
            lambda: GradCam(torch.compile(CONV, backend="eager")),
            "holds a compiled Sequential: give the",
        ),
        (
            lambda: GradCam(nn.Sequential(torch.compile(CONV[0], backend="eager"), *CONV[1:])),
            "a compiled Conv2d",
        ),
        (lambda: GradCam(torch.jit.trace(CONV, torch.rand(1, 3, 4, 4))), "traced or scripted"),
        (lambda: GradCam(ImageClassifier(torch.jit.script(CONV), [0] * 3, [1] * 3)), "traced or"),
    ],
)
def test_what_can_not_be_read_gets_one_clear_sentence(make, words):
    with pytest.raises(ValueError, match=words):
        make().attribute(torch.rand(2, 3, 4, 4), target=1)


def test_an_exported_program_and_its_copy_have_no_layers_to_read():
    images = torch.rand(2, 3, 4, 4)
    program = torch.export.export(CONV, (images,)).module()
    for model in (program, copy.deepcopy(program), nn.Sequential(program)):
        with pytest.raises(ValueError, match="holds an exported program: give the module that"):
            GradCam(model).attribute(images, target=1)
    kept = torch.fx.symbolic_trace(CONV)
    wanted = GradCam(CONV).attribute(images, target=1)
    torch.testing.assert_close(GradCam(kept).attribute(images, target=1), wanted)


def test_one_refusal_is_one_sentence_however_the_model_is_wrapped():
    said = []
    for wrap in (nn.Sequential, Counted, lambda net: Counted(nn.Sequential(net))):
        with pytest.raises(ValueError, match="traced or scripted Sequential") as caught:
            GradCam(wrap(torch.jit.script(CONV)))
        said.append(str(caught.value))
    assert len({*said}) == 1


def test_other_arguments_get_one_clear_sentence():
    with pytest.raises(TypeError, match=r"`forward_func` must be a module.*got function"):
        GradCam(lambda x: x)
    with pytest.raises(TypeError, match=r"`layer` is a module within `forward_func`.*got str"):
        GradCam(CONV, "0")
    with pytest.raises(ValueError, match=r"`inputs` must have places.*got \(2, 5\)"):
        GradCam(CONV).attribute(torch.rand(2, 5), target=1)
    attention = nn.MultiheadAttention(4, 1, batch_first=True)

    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = attention

        def forward(self, x):
            return self.attention(x, x, x)[0].mean(1)

    with pytest.raises(TypeError, match="`layer` must give one tensor"):
        GradCam(Attending(), attention).attribute(torch.rand(2, 5, 4), target=1)


class Answering(nn.Module):
    def __init__(self, pack):
        super().__init__()
        self.net, self.pack = CONV, pack

    def forward(self, x):
        return self.pack(self.net(x))


def test_scores_are_found_as_logits_or_asked_for():
    images = torch.rand(2, 3, 4, 4)
    held = namedtuple("held", "loss logits")
    made = GradCam(Answering(lambda t: held(None, t))).attribute(images, target=1)
    assert torch.equal(made, GradCam(CONV).attribute(images, target=1))
    for pack in (lambda t: (t, t), lambda t: {"out": t}, lambda t: None, lambda t: held(t, None)):
        with pytest.raises(
            TypeError, match=r"must return a tensor of scores.*wrap it in an nn.Mod"
        ):
            GradCam(Answering(pack)).attribute(images, target=1)


class Detached(nn.Module):
    def forward(self, x):
        return CONV(x.detach())


class NoGrad(nn.Module):
    @torch.no_grad()
    def forward(self, x):
        return CONV(x)


@pytest.mark.parametrize("kind", [Detached, NoGrad])
def test_a_model_without_gradient_is_said_to_be_one(kind):
    with pytest.raises(ValueError, match=r"no gradient reaches the inputs.*use RISE"):
        GradCam(kind()).attribute(torch.rand(2, 3, 4, 4), target=1)


def test_nothing_of_the_callers_is_changed():
    net, images = Branches().eval(), torch.rand(2, 3, 8, 8)
    before = images.clone()
    with torch.no_grad():
        GradCam(net).attribute(images, target=1)
        with pytest.raises(AssertionError):
            GradCam(net).attribute(images, target=99)
    assert torch.equal(images, before)
    assert not images.requires_grad
    assert all(not m._forward_hooks for m in net.modules())
    assert all(p.grad is None for p in net.parameters())


def test_running_statistics_and_the_random_state_are_put_back():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.3), CONV[1:]).train()
    images = torch.rand(2, 3, 8, 8)
    before = [t.clone() for t in (*net.state_dict().values(), torch.get_rng_state())]
    GradCam(net).attribute(images, target=1)
    after = (*net.state_dict().values(), torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
