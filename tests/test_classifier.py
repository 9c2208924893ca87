from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from captum.attr import IntegratedGradients
from torch import nn
from torchvision import models, transforms
from torchvision.models._api import WeightsEnum
from torchvision.transforms import v2

from captum_ext import ImageClassifier
from captum_ext.classifier import is_right, require_unit_images
from captum_ext.cli.inputs.models import load_model
from captum_ext.metrics import (
    DataRandomization,
    Insertion,
    ParameterRandomization,
    accuracy_information_curve,
)
from tests.conftest import PICKLES

MEAN, STD = [0.1, 0.2, 0.3], [0.5, 0.25, 1.0]


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 7))


def test_it_is_softmax_of_the_normalized_image(net):
    images = torch.rand(2, 3, 4, 4)
    normalized = (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    expected = net(normalized).softmax(1)
    torch.testing.assert_close(ImageClassifier(net, MEAN, STD)(images), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_half_precision_gives_probabilities_that_can_be_told_apart(dtype, net):
    output = ImageClassifier(net.to(dtype), MEAN, STD)(torch.rand(1, 3, 4, 4, dtype=dtype))
    assert output.dtype == (torch.float32 if dtype == torch.bfloat16 else torch.float64)


def test_the_wrapped_weights_keep_their_names(net):
    state = ImageClassifier(net, MEAN, STD).state_dict()
    assert sorted(state) == ["model.1.bias", "model.1.weight"]


@pytest.mark.parametrize(
    ("images", "error", "words"),
    [
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), TypeError, "use `images.float"),
        (torch.zeros(3, 4, 4), ValueError, r"but got \(3, 4, 4\): add a missing batch dimension"),
        (torch.zeros(1, 1, 4, 4), ValueError, r"shape \(N, 3, height, width\)"),
    ],
)
def test_bad_images_get_one_clear_sentence(images, error, words, net):
    with pytest.raises(error, match=words):
        ImageClassifier(net, MEAN, STD)(images)


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ([0.5], [0.5, 0.5]),
        ([0.5], [0.0]),
        ([], []),
        (0.5, 0.5),
        ([0.5], [float("nan")]),
        ([0.5], None),
    ],
)
def test_bad_normalization_gets_one_clear_sentence(mean, std, net):
    with pytest.raises(ValueError, match="`mean` and `std` need one number per channel"):
        ImageClassifier(net, mean, std)


def test_torchvision_gives_normalization_and_names():
    classifier = ImageClassifier.from_torchvision("mobilenet_v3_small", weights=None)
    torch.testing.assert_close(classifier.mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))
    assert classifier.name_of(967) == "espresso"
    assert not classifier.training


@PICKLES
def test_torchvision_takes_weights_from_disk(tmp_path):
    network = models.squeezenet1_1(weights=None)
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    loaded = ImageClassifier.from_torchvision("squeezenet1_1", str(tmp_path / "mine.pth"))
    assert torch.equal(loaded.model.features[0].weight, network.features[0].weight)


@pytest.mark.parametrize(
    ("name", "weights", "words"),
    [
        ("nonesuch", None, "`name` is a model that torchvision"),
        ("resnet18", "IMAGENET9", "`weights` of resnet18 is one of"),
        ("fcn_resnet50", None, "must be an image classifier"),
    ],
)
def test_what_torchvision_lacks_is_said(name, weights, words):
    with pytest.raises(ValueError, match=words):
        ImageClassifier.from_torchvision(name, weights)


def test_without_a_network_the_file_is_named(monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(ConnectionError, match=r"resnet18-f37072fd\.pth.*pass its path"):
        ImageClassifier.from_torchvision("resnet18")


def logits_of(net, images):
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (MEAN, STD))
    return net((images - mean) / std)


def test_sigmoid_keeps_every_label_apart(net):
    images = torch.rand(2, 3, 4, 4)
    made = ImageClassifier(net, MEAN, STD, activation="sigmoid")(images)
    torch.testing.assert_close(made, logits_of(net, images).sigmoid())


def test_one_logit_needs_a_sigmoid():
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 1))
    images = torch.rand(4, 3, 4, 4)
    with pytest.raises(ValueError, match=r"shape \(4, 1\): use activation=.sigmoid"):
        ImageClassifier(net, MEAN, STD)(images)
    made = ImageClassifier(net, MEAN, STD, activation="sigmoid")(images)
    torch.testing.assert_close(made, logits_of(net, images).sigmoid())


def test_two_names_make_one_logit_two_classes():
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 1))
    images = torch.rand(4, 3, 4, 4)
    classifier = ImageClassifier(net, MEAN, STD, ["no", "yes"], activation="sigmoid")
    p = logits_of(net, images).sigmoid()
    torch.testing.assert_close(classifier(images), torch.cat([1 - p, p], 1))
    credit = [IntegratedGradients(classifier).attribute(images, target=k) for k in (0, 1)]
    torch.testing.assert_close(credit[0], -credit[1])


@pytest.mark.parametrize("n", [1, 3])
def test_one_logit_may_come_without_its_dimension(n):
    class Squeezed(nn.Module):
        def forward(self, x):
            return x.mean((1, 2, 3)).squeeze()

    images = torch.rand(n, 3, 4, 4)
    made = ImageClassifier(Squeezed(), MEAN, STD, activation="sigmoid")(images)
    assert made.shape == (n, 1)
    torch.testing.assert_close(made[:, 0], logits_of(Squeezed(), images).reshape(n).sigmoid())


def test_an_activation_is_any_function_or_none(net):
    images = torch.rand(2, 3, 4, 4)
    cold = ImageClassifier(net, MEAN, STD, activation=lambda logits: (logits / 2).softmax(1))
    torch.testing.assert_close(cold(images), (logits_of(net, images) / 2).softmax(1))
    bare = ImageClassifier(net, MEAN, STD, activation=None)
    assert torch.equal(bare(images), logits_of(net, images))
    with pytest.raises(ValueError, match="`activation` must keep the logits' shape"):
        ImageClassifier(net, MEAN, STD, activation=lambda logits: logits.sum())(images)
    with pytest.raises(ValueError, match=r"`activation` is .*but got 'relu'"):
        ImageClassifier(net, MEAN, STD, activation="relu")


Named = namedtuple("Named", "logits")


@dataclass
class Held:
    logits: Any


class Answering(nn.Module):
    def __init__(self, net, pack):
        super().__init__()
        self.net, self.pack = net, pack

    def forward(self, x):
        return self.pack(self.net(x))


@pytest.mark.parametrize("pack", [Named, Held, lambda t: {"logits": t}])
def test_logits_are_found_in_what_holds_them(pack, net):
    images = torch.rand(2, 3, 4, 4)
    made = ImageClassifier(Answering(net, pack), MEAN, STD)(images)
    assert torch.equal(made, ImageClassifier(net, MEAN, STD)(images))


@pytest.mark.parametrize(
    ("pack", "words"),
    [
        (lambda t: (t, t), "tuple"),
        (lambda t: {"out": t}, "dict"),
        (lambda t: Held(None), "Held"),
        (lambda t: t.detach().numpy(), "ndarray"),
        (lambda t: None, "NoneType"),
    ],
)
def test_what_holds_no_logits_gets_one_clear_sentence(pack, words, net):
    with pytest.raises(TypeError, match=f"`model` must return a tensor of logits.*{words}"):
        ImageClassifier(Answering(net, pack), MEAN, STD)(torch.rand(2, 3, 4, 4))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", None])
@pytest.mark.parametrize("made", [lambda y: y.argmax(1), lambda y: y > 0, lambda y: y + 0j])
def test_what_is_no_floating_point_is_no_logit(made, activation, net):
    model = ImageClassifier(Answering(net, made), MEAN, STD, activation=activation)
    with pytest.raises(TypeError, match="`model` must return logits of floating point"):
        model(torch.rand(2, 3, 4, 4))


def test_logits_of_other_images_are_refused(net):
    with pytest.raises(ValueError, match=r"a row per image, but gave shape \(1, 7\) for 2"):
        ImageClassifier(Answering(net, lambda t: t[:1]), MEAN, STD)(torch.rand(2, 3, 4, 4))


def test_it_can_be_made_without_memory(net):
    with torch.device("meta"):
        classifier = ImageClassifier(net, transform=PRESET())
    assert classifier.mean.is_meta
    assert "mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]" in repr(classifier)


def test_an_exported_model_keeps_the_mode_of_its_export(tmp_path):
    lines = [
        "import torch",
        "def bare():",
        "    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2)).eval()",
        "    return torch.export.export(net, (torch.zeros(2, 3, 2, 2),)).module()",
    ]
    (tmp_path / "mine.py").write_text("\n".join(lines))
    program = load_model(f"{tmp_path / 'mine.py'}:bare", None, torch.device("cpu"))
    made = ImageClassifier(program, [0.5] * 3, [0.25] * 3)
    assert not made.training
    assert made.train().training
    assert not nn.Sequential(made).eval()[0].training
    assert made(torch.rand(2, 3, 2, 2)).shape == (2, 2)


def test_a_function_is_no_model():
    with pytest.raises(TypeError, match=r"`model` must be an nn.Module, but got function"):
        ImageClassifier(lambda x: x, MEAN, STD)


PRESET = models.ResNet18_Weights.DEFAULT.transforms
SEEN = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
NORMALIZING = {
    "preset": PRESET,
    "v1": lambda: transforms.Compose([transforms.ToTensor(), transforms.Normalize(*SEEN)]),
    "v2": lambda: v2.Compose(
        [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(*SEEN)]
    ),
    "v2-pure": lambda: v2.Compose([transforms.ToTensor(), v2.Normalize(*SEEN), v2.ToPureTensor()]),
    "tensors": lambda: transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize(*map(torch.tensor, SEEN))]
    ),
    "nested": lambda: transforms.Compose(
        [
            transforms.Resize(32),
            v2.Compose([transforms.ToTensor(), transforms.Normalize(*SEEN)]),
        ]
    ),
    "sequential": lambda: nn.Sequential(
        v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(*SEEN)
    ),
}


def picture(size=(40, 36)):
    pixels = torch.randint(256, (3, *size), generator=torch.Generator().manual_seed(0))
    return transforms.functional.to_pil_image(pixels.to(torch.uint8))


class Seeing(nn.Module):
    """Answers with two numbers of what it sees."""

    def forward(self, x):
        return torch.stack([x.mean((1, 2, 3)), x.std((1, 2, 3))], 1)


@pytest.mark.parametrize("made", NORMALIZING.values(), ids=NORMALIZING)
@pytest.mark.parametrize(
    "given", [{}, {"mean": SEEN[0], "std": SEEN[1]}, {"mean": [0] * 3, "std": [1] * 3}]
)
def test_a_transform_that_normalizes_does_so_once(made, given):
    classifier = ImageClassifier(Seeing(), **given, transform=made(), activation=None)
    image = classifier.transform(picture())
    assert 0 <= image.min() < image.max() <= 1
    torch.testing.assert_close(classifier(image[None]), Seeing()(made()(picture())[None]))


@pytest.mark.parametrize("made", NORMALIZING.values(), ids=NORMALIZING)
def test_two_different_normalizations_are_refused(made, net):
    with pytest.raises(ValueError, match="`transform` normalizes with mean"):
        ImageClassifier(net, MEAN, STD, transform=made())
    classifier = ImageClassifier(net, MEAN, STD)
    with pytest.raises(ValueError, match="`transform` normalizes with mean"):
        classifier.transform = made()


@pytest.mark.parametrize(
    "transform",
    [
        transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize(*SEEN), transforms.RandomErasing(p=1)]
        ),
        transforms.Compose([transforms.ToTensor(), *[transforms.Normalize(*SEEN)] * 2]),
        v2.Compose([transforms.ToTensor(), v2.RandomApply([v2.Normalize(*SEEN)])]),
    ],
)
def test_a_normalization_within_is_refused(transform, net):
    with pytest.raises(ValueError, match="a Normalize that is not its last step"):
        ImageClassifier(net, *SEEN, transform=transform)


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        (lambda p: NORMALIZING["v1"]()(p), "gave values from -.*leave its normalization out"),
        (transforms.PILToTensor(), "gave torch.uint8 of shape"),
        (v2.ToImage(), "gave torch.uint8 of shape"),
        (transforms.Resize(8), "gave Image"),
        (lambda p: transforms.functional.to_tensor(p)[None], "gave torch.float32 of shape"),
    ],
)
def test_what_a_transform_hides_is_refused_when_it_is_used(transform, words, net):
    with pytest.raises(ValueError, match=words):
        ImageClassifier(net, MEAN, STD, transform=transform).transform(picture())


def test_without_any_normalization_it_asks(net):
    with pytest.raises(ValueError, match="`mean` and `std` are needed"):
        ImageClassifier(net)


def test_a_transform_is_no_part_of_the_model(net):
    classifier = ImageClassifier(net, transform=PRESET())
    classifier.transform = PRESET()
    assert [name for name, _ in classifier.named_children()] == ["model"]


CALLS = {
    "insertion": lambda net, x: Insertion(net).update(x, x, target=1),
    "information": lambda net, x: accuracy_information_curve(net, x, x, target=1),
    "parameters": lambda net, x: ParameterRandomization(IntegratedGradients).update(net, x, 1),
    "data": lambda net, x: DataRandomization(IntegratedGradients).update(net, net, x, 1),
    "compiled": lambda net, x: Insertion(torch.compile(net, backend="eager")).update(
        x, x, target=1
    ),
    "parallel": lambda net, x: Insertion(nn.DataParallel(net)).update(x, x, target=1),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_metrics_refuse_images_that_are_normalized_already(call, net):
    classifier = ImageClassifier(net, MEAN, STD).eval()
    with pytest.raises(ValueError, match=r"must be.* in \[0, 1\]"):
        call(classifier, torch.randn(2, 3, 4, 4))


def test_other_models_take_what_they_want(net):
    require_unit_images(net, torch.randn(2, 3, 4, 4))


def test_right_is_the_top_class_or_a_probable_label(net):
    multi_label = ImageClassifier(net, MEAN, STD, activation="sigmoid")
    answer = torch.tensor([0.7, 0.9, 0.2])
    assert [is_right(multi_label, answer, k) for k in range(3)] == [True, True, False]
    assert [is_right(net, answer, k) for k in range(3)] == [False, True, False]
    assert is_right(ImageClassifier(net, MEAN, STD), torch.tensor([0.4, 0.3, 0.3]), 0)


def plain_values(model):
    """Everything of a network that is no tensor, by module."""
    plain = (bool, int, float, str, tuple, type(None))
    return {
        name: {k: v for k, v in vars(m).items() if isinstance(v, plain)}
        | {k: tuple(p.shape) for k, p in m.named_parameters(recurse=False)}
        for name, m in model.named_modules()
    }


@pytest.fixture
def on_paper(monkeypatch):
    """torchvision's builders without memory, random numbers and files."""

    def empty(*args, make=torch.empty, **kwargs):
        return make(*args, **{**kwargs, "device": "meta"})

    for name in [name for name in vars(nn.init) if name.endswith("_") and name[0] != "_"]:
        monkeypatch.setattr(nn.init, name, lambda tensor, *args, **kwargs: tensor)
    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda self, *args, **kwargs: {})
    monkeypatch.setattr(nn.Module, "load_state_dict", lambda self, *args, **kwargs: None)


def test_torchvision_networks_are_those_of_its_own_builders(on_paper):
    names = models.list_models(module=models)
    assert len(names) >= 80
    for name in names:
        # Weights for the same size of image differ in their numbers alone.
        sizes = {w.transforms().crop_size[0]: w for w in reversed(models.get_model_weights(name))}
        for weights in sizes.values():
            ours = ImageClassifier.from_torchvision(name, weights.name)
            assert plain_values(ours.model) == plain_values(
                models.get_model(name, weights=weights).eval()
            )
            preset = weights.transforms()
            assert ours.transform.transform.crop_size == preset.crop_size
            torch.testing.assert_close(ours.mean.flatten(), torch.tensor(preset.mean))


@pytest.mark.filterwarnings("ignore:The default weight initialization")
@pytest.mark.parametrize("name", ["googlenet", "inception_v3", "vit_h_14", "maxvit_t", "resnet18"])
def test_random_networks_are_built_like_trained_ones(name, on_paper):
    ours = ImageClassifier.from_torchvision(name, weights=None)
    theirs = models.get_model(name, weights="DEFAULT").eval()
    assert plain_values(ours.model) == plain_values(theirs)


@PICKLES
def test_a_file_says_which_network_it_is_of(tmp_path, monkeypatch):
    small = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 8, "patch_size": 16}

    def build(*args, weights=None, progress=True, **kwargs):
        return models.vision_transformer._vision_transformer(
            **small, weights=weights, progress=False, **kwargs
        )

    monkeypatch.setattr(models, "get_model", build)
    file = tmp_path / "mine.pth"
    torch.save(build(image_size=384).state_dict(), file)
    ours = ImageClassifier.from_torchvision("vit_b_16", str(file))
    assert ours.model.image_size == 384
    assert ours.transform.transform.crop_size == [384]
    torch.save(build(image_size=64).state_dict(), file)
    with pytest.raises(ValueError, match=r"must fit vit_b_16.*pos_embedding is .* instead of"):
        ImageClassifier.from_torchvision("vit_b_16", str(file))


@PICKLES
def test_a_file_keeps_the_crop_of_the_weights_it_is_named_after(tmp_path):
    network = models.get_model("regnet_x_400mf", weights=None)
    chosen = models.RegNet_X_400MF_Weights.IMAGENET1K_V1
    for name, size in ((Path(chosen.url).name, 256), ("mine.pth", 232)):
        torch.save(network.state_dict(), tmp_path / name)
        ours = ImageClassifier.from_torchvision("regnet_x_400mf", str(tmp_path / name))
        assert ours.transform.transform.resize_size == [size]
