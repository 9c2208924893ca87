"""Weights of a user's own, as trainers write them, fit the network they were trained in."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from captum_ext import ImageClassifier
from captum_ext._weights import load_weights, matched
from captum_ext.cli import main
from captum_ext.cli.inputs.models import model_of, predict
from captum_ext.cli.options import Explain
from tests.cli.conftest import picture
from tests.conftest import PICKLES

NAMES = ["ant", "bee", "owl"]


def prefixed(state, *words):
    return {"".join(words) + name: tensor for name, tensor in state.items()}


def within(state, word, at):
    """A wrapper around one part of the network."""
    return {k.replace(f"{at}.", f"{at}.{word}", 1): v for k, v in state.items()}


WRITTEN = {
    "plain": lambda s: s,
    "lightning": lambda s: {"epoch": 3, "state_dict": prefixed(s, "net.")},
    "with a loss": lambda s: {
        "state_dict": {**prefixed(s, "model."), "loss.weight": torch.ones(3)}
    },
    "parallel": lambda s: {"model": prefixed(s, "module.")},
    "compiled": lambda s: {"model_state_dict": prefixed(s, "_orig_mod.")},
    "all of them": lambda s: {"state_dict": prefixed(s, "net.", "module.", "_orig_mod.")},
    "a compiled part": lambda s: within(s, "_orig_mod.", "features"),
}


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    return models.squeezenet1_1(num_classes=3).eval()


def same(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("write", WRITTEN.values(), ids=WRITTEN)
@PICKLES
def test_weights_are_found_however_they_were_written(write, trained, tmp_path):
    torch.save(write(trained.state_dict()), tmp_path / "best.ckpt")
    file = str(tmp_path / "best.ckpt")
    model = ImageClassifier.from_torchvision("squeezenet1_1", file, class_names=NAMES)
    assert same(model.model, trained)
    assert model.class_names == tuple(NAMES)
    assert model(torch.rand(1, 3, 64, 64)).shape == (1, 3)
    assert ImageClassifier.from_torchvision("squeezenet1_1", file).class_names == ()


def test_safetensors_of_another_number_of_classes_are_read(trained, tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file(prefixed(trained.state_dict(), "model."), tmp_path / "best.safetensors")
    file = str(tmp_path / "best.safetensors")
    assert same(ImageClassifier.from_torchvision("squeezenet1_1", file).model, trained)


@PICKLES
def test_timm_and_transformers_read_the_number_of_classes(tmp_path):
    timm, transformers = pytest.importorskip("timm"), pytest.importorskip("transformers")
    file = str(tmp_path / "best.ckpt")
    network = timm.create_model("test_vit", num_classes=4)
    torch.save({"state_dict": prefixed(network.state_dict(), "net.")}, file)
    model = ImageClassifier.from_timm("test_vit", file)
    assert same(model.model, network)
    assert model.class_names == ()
    few = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = transformers.ViTConfig(hidden_size=8, image_size=32, **few)
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    config.num_labels = 5
    network = transformers.ViTForImageClassification(config)
    torch.save({"state_dict": prefixed(network.state_dict(), "model.")}, file)
    model = ImageClassifier.from_transformers(tmp_path, weights=file)
    assert same(model.model, network)
    assert len(model.class_names) == 5


def test_random_weights_may_have_any_number_of_classes():
    model = ImageClassifier.from_torchvision("squeezenet1_1", None, 2, ["no", "yes"])
    assert model(torch.rand(1, 3, 64, 64)).shape == (1, 2)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"class_names": ["a", "b"]}, "`class_names` are 2, but the model has 3 classes"),
        ({"num_classes": 5}, "classifier.1.weight is .3, 512, 1, 1. instead of .5, 512, 1, 1."),
        ({"num_classes": 0}, "`num_classes` is at least 1"),
        ({"weights": "DEFAULT", "num_classes": 3}, "trained weights have their own"),
        ({"name": "resnet18"}, r"it lacks conv1.weight; .*; it lacks bn1.bias; and \d+ more"),
    ],
)
@PICKLES
def test_what_does_not_fit_is_said_in_one_sentence(settings, words, trained, tmp_path):
    torch.save(trained.state_dict(), tmp_path / "a.pth")
    call = {"name": "squeezenet1_1", "weights": str(tmp_path / "a.pth"), **settings}
    with pytest.raises(ValueError, match=words) as raised:
        ImageClassifier.from_torchvision(**call)
    assert "\n" not in str(raised.value)


@PICKLES
def test_a_network_that_is_held_twice_is_not_chosen_from(tmp_path):
    state = nn.Linear(2, 1).state_dict()
    torch.save({**prefixed(state, "net."), **prefixed(state, "ema.")}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"holds the model 2 times, as 'ema\.', 'net\.'"):
        load_weights(nn.Linear(2, 1), tmp_path / "a.pth")


def test_names_of_a_wrapped_model_are_kept():
    wrapped = nn.Sequential()
    wrapped.add_module("module", nn.Linear(2, 1))
    state = wrapped.state_dict()
    assert matched(state, state) == state


def explained(*arguments):
    return main(["explain", "photo.png", "--methods", "saliency", *arguments])


@PICKLES
def test_the_command_takes_a_checkpoint_and_its_names(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    picture(0).save("photo.png")
    torch.save({"state_dict": prefixed(trained.state_dict(), "net.")}, "best.ckpt")
    Path("names.txt").write_text("ant\nbee\n\nowl\n")
    model = ("--model", "torchvision:squeezenet1_1", "--weights", "best.ckpt")
    loaded = Explain(model=model[1], weights=model[3], classes=Path("names.txt"))
    assert model_of(loaded, "cpu")[0].class_names == tuple(NAMES)
    Path("few.txt").write_text("ant\n")
    for arguments, words in (
        (("--classes", "few.txt"), "`class_names` are 1, but the model has 3"),
        (("--classes", "gone.txt"), "--classes gone.txt can't be read"),
        (("--num-classes", "0"), "--num-classes is at least 1"),
        (("--activation", "relu"), "invalid choice: 'relu'"),
    ):
        assert explained(*model, *arguments) == 2
        assert words in capsys.readouterr().err


@PICKLES
def test_a_detector_of_one_logit_is_two_classes_in_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    picture(0).save("photo.png")
    torch.save(models.squeezenet1_1(num_classes=1).state_dict(), "one.pth")
    model = ("--model", "torchvision:squeezenet1_1", "--weights", "one.pth")
    assert explained(*model) == 2
    assert "use activation=" in capsys.readouterr().err
    settings = Explain(model=model[1], weights=model[3], activation="sigmoid")
    assert predict(model_of(settings, "cpu")[0], torch.rand(1, 3, 64, 64)).shape == (1, 2)
