"""Regressions in the commands: outputs and scores, no classes and no probabilities."""

import csv
import json

import pytest
import torch

from captum_ext.cli import main
from captum_ext.cli.inputs.models import load_model, predict
from tests.cli.conftest import picture

FACTORY = """
import torch
from torch import nn
from captum_ext import ImageClassifier

class Ends(nn.Module):
    def __init__(self, n):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.Softplus(), nn.Flatten(),
                                 nn.Linear(196, n))

    def forward(self, x):
        return self.net(x)

def made(n, names=()):
    return ImageClassifier(Ends(n).eval(), [0.5] * 3, [0.5] * 3, names, activation=None)

def age():
    return made(1, ["age"])

def nameless():
    return made(1)

def two():
    return made(2, ["age", "weight"])

class Brightness(nn.Module):
    def forward(self, x):
        return x.mean((1, 2, 3))

def brightness():
    return ImageClassifier(Brightness(), [0.0] * 3, [1.0] * 3, activation=None)

def flat():
    return Brightness()
"""
QUICK = ("--methods", "saliency,ig", "--steps", "2")
SCORE = ("--reading", "score")
CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FACTORY)
    (tmp_path / "images").mkdir()
    for k in range(3):
        picture(k).save(tmp_path / "images" / f"{k}.png")
    return tmp_path


def call(command, factory, *arguments):
    image = "images" if command == "evaluate" else "images/0.png"
    return main([command, image, "--model", f"mine.py:{factory}", *QUICK, *arguments])


@pytest.mark.parametrize(
    ("factory", "arguments", "said"),
    [
        ("age", (), "explaining age (output 0, score = "),
        ("nameless", (), "explaining output 0 (output 0, score = "),
        ("two", ("--target", "weight"), "explaining weight (output 1, score = "),
    ],
)
def test_explain_says_outputs_and_scores(factory, arguments, said, folder, capsys):
    assert call("explain", factory, *SCORE, *arguments, "--json", "out.json") == 0
    printed = capsys.readouterr().out
    assert said in printed
    for word in ("%", "class", " p = ", "probability"):
        assert word not in printed
    found = json.loads((folder / "out.json").read_text())
    k = found["target"]["output"]
    model = load_model(f"mine.py:{factory}", None, CPU, reading="score")
    image = model.transform(picture(0))[None]
    assert found["score"] == pytest.approx(float(predict(model, image, "score")[0, k]))
    assert "probability" not in found
    assert found["protocol"]["reading"] == "score"
    assert all(row["area_to_restore"] is None for row in found["table"])
    assert all(row["insertion"] is not None for row in found["table"])


def test_evaluate_reads_scores_of_one_output_and_of_one_of_several(folder, capsys):
    (folder / "labels.json").write_text(
        json.dumps({"images": [{"file": "0.png", "boxes_xyxy": [[2, 2, 9, 9]], "class": "tabby"}]})
    )
    where = ("--annotations", "labels.json")
    assert call("evaluate", "age", *SCORE, *where, "--out", "one") == 0
    assert call("evaluate", "two", *SCORE, "--target", "weight", "--out", "other") == 0
    printed = capsys.readouterr().out
    assert "3 of 3 images" in printed
    assert "the model's answers are read as scores" in printed
    for out, factory, k in (("one", "age", 0), ("other", "two", 1)):
        model = load_model(f"mine.py:{factory}", None, CPU, reading="score")
        images = torch.stack([model.transform(picture(n)) for n in range(3)])
        scores = predict(model, images, "score")[:, k]
        file = folder / out / "per_example.csv"
        # Where pyarrow is installed it is a file of Parquet.
        if file.exists():
            rows = csv.DictReader(file.read_text().splitlines())
            said = [float(row["score"]) for row in rows if row["method"] == "ig"]
            assert said == pytest.approx(scores.tolist(), abs=1e-5)
        found = json.loads((folder / out / "results.json").read_text())
        whole = found["curves"]["insertion"]["ig"]["y"][-1]
        assert whole == pytest.approx(float(scores.mean()), abs=1e-5)
        assert found["examples"] == {"seen": 3, "kept": 3, "unlabeled": 0}
        page = (folder / out / "report.html").read_text()
        assert "probability" not in page
        assert "read as scores" in page
    assert (
        json.loads((folder / "one/results.json").read_text())["counts"]["roc_auc"]["ig"]["n"] == 1
    )


def test_sanity_reads_scores(folder, capsys):
    assert call("sanity", "two", *SCORE, "--target", "0", "--similarity", "spearman") == 0
    assert "probab" not in capsys.readouterr().out


def test_one_number_is_a_probability_where_it_is_said(folder, capsys):
    model = load_model("mine.py:brightness", None, CPU, reading="probability")
    x = torch.rand(2, 3, 28, 28)
    brightness = x.mean((1, 2, 3))
    torch.testing.assert_close(predict(model, x), torch.stack([1 - brightness, brightness], 1))
    assert call("explain", "brightness", "--reading", "probability") == 0
    assert "explaining class " in capsys.readouterr().out
    assert call("explain", "brightness") == 2
    assert "say --reading probability" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "factory", "arguments", "words"),
    [
        ("explain", "two", SCORE, "--target is needed: the model has 2 outputs"),
        ("evaluate", "two", SCORE, "--target is needed: the model has 2 outputs"),
        ("sanity", "two", SCORE, "--target is needed: the model has 2 outputs"),
        ("explain", "two", (*SCORE, "--target", "2"), "--target is an output from 0 to 1"),
        ("explain", "flat", SCORE, "gives scores of shape (N,)"),
        ("explain", "age", ("--reading", "probability"), "its rows leave [0, 1]"),
        ("explain", "two", (), "--model must return probabilities"),
        ("evaluate", "age", ("--target", "0"), "--target is for --reading score"),
        ("evaluate", "age", (*SCORE, "--labels", "mine.py"), "--labels name classes"),
        ("evaluate", "age", (*SCORE, "--metrics", "road"), "road reads probabilities"),
        ("evaluate", "age", (*SCORE, "--metrics", "information"), "reads probabilities"),
    ],
)
def test_what_scores_do_not_have_is_refused(command, factory, arguments, words, folder, capsys):
    assert call(command, factory, *arguments) == 2
    assert words in capsys.readouterr().err
