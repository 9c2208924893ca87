import pytest
import torch
from torch import nn
from torchvision import models

from captum_ext import ImageClassifier

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


@pytest.mark.parametrize(("mean", "std"), [([0.5], [0.5, 0.5]), ([0.5], [0.0]), ([], [])])
def test_bad_normalization_gets_one_clear_sentence(mean, std, net):
    with pytest.raises(ValueError, match="`mean` and `std` need one number per channel"):
        ImageClassifier(net, mean, std)


def test_torchvision_gives_normalization_and_names():
    classifier = ImageClassifier.from_torchvision("mobilenet_v3_small", weights=None)
    torch.testing.assert_close(classifier.mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))
    assert classifier.name_of(967) == "espresso"
    assert not classifier.training


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
