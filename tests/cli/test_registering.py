"""What the file of a model registers, every command knows by name: the example of the docs."""

import json
import re
import sys
from pathlib import Path

import pytest

from captum_ext import registry
from captum_ext.cli import main
from tests.cli.conftest import said

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
MODEL = """
from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from captum_ext import ImageClassifier


@dataclass
class Size:
    classes: int = 4


def net():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3, stride=2), nn.Softplus(), nn.Flatten(),
              nn.Linear(676, Size().classes)]
    return ImageClassifier(nn.Sequential(*layers).eval(), [0.5] * 3, [0.5] * 3)


"""


@pytest.fixture
def mine(folder, monkeypatch):
    """A file with the page's example, of a name of its own."""
    # A file that is changed within a second, to the same size, is taken from its bytecode.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    _, section = PAGE.read_text().split("## Names for the command")
    (example,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    file = folder / "registering.py"
    file.write_text(MODEL + example)
    return file


def call(command, *arguments, images="photo.png"):
    return main([command, images, "--model", "registering.py:net", "--steps", "2", *arguments])


def evaluated(*arguments):
    metrics = ("--metrics", "insertion,ratio", "--preset", "coarse", "--limit", "1")
    return call("evaluate", "--methods", "squares", *metrics, *arguments, images="images")


def test_a_method_is_explained_by_its_name(mine, capsys):
    assert call("explain", "--methods", "ig,squares", "--json", "t.json") == 0
    assert "Squared gradient" in capsys.readouterr().out
    rows = json.loads(Path("t.json").read_text())["table"]
    assert [(row["method"], row["reason"]) for row in rows] == [("ig", None), ("squares", None)]
    assert rows[1]["gradients"] == 1


def test_a_metric_and_a_preset_are_read_by_their_names(mine):
    assert evaluated() == 0
    found = json.loads(Path("evaluation/results.json").read_text())
    (row,) = [row for row in found["table"] if row["method"] == "squares"]
    assert {"ratio", "insertion", "insertion_abs"} <= {*row}
    assert found["protocol"]["metrics"]["ratio"]["n_steps"] == 4
    assert found["protocol"]["metrics"]["insertion_abs"]["n_steps"] == 4


def test_a_similarity_is_compared_by_its_name(mine):
    similarity = ("--similarity", "signs,spearman", "--json", "t.json")
    assert call("sanity", "--methods", "squares", *similarity) == 0
    rows = json.loads(Path("t.json").read_text())["table"]
    squares = [row["signs"] for row in rows if row["method"] == "squares"]
    # Squares are above 0 wherever the model looks, whatever its weights.
    assert squares == pytest.approx([1.0] * len(squares))


def test_a_run_goes_on_only_with_the_same_code(mine, capsys):
    assert evaluated() == 0
    assert evaluated() == 0
    capsys.readouterr()
    for old, new, what in (
        ("gradient**2", "gradient**4", "methods.squares"),
        ("relative=True", "relative=False", "metrics.ratio"),
        ('"ratio", "coarse", {"n_steps": 4}', '"ratio", "coarse", {"n_steps": 5}', "metrics.ratio"),
    ):
        before = mine.read_text()
        assert old in before
        mine.write_text(before.replace(old, new))
        assert evaluated() == 2
        (sentence,) = said(capsys)[-1:]
        assert "--out" in sentence
        assert what in sentence
        mine.write_text(before)
    assert evaluated() == 0


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("explain", ("--methods", "squares,gone"), "squares, but got ['gone']"),
        ("evaluate", ("--metrics", "gone"), "ratio, but got ['gone']"),
        ("evaluate", ("--preset", "gone"), "--preset is one of igos, rise, idgi, coarse, xrai"),
        ("evaluate", ("--methods", "squares", "--against", "ig"), "--against is one of squares"),
        ("sanity", ("--similarity", "gone"), "signs, but got ['gone']"),
    ],
)
def test_a_name_that_the_file_does_not_register_is_refused(command, arguments, words, mine, capsys):
    images = "images" if command == "evaluate" else "photo.png"
    assert call(command, *arguments, images=images) == 2
    (sentence,) = said(capsys)
    assert words in sentence


def test_what_a_file_registers_is_for_one_run(mine, capsys):
    assert call("explain", "--methods", "squares") == 0
    assert "squares" not in registry.METHODS
    assert main(["explain", "photo.png", "--methods", "squares"]) == 2


def test_a_name_that_is_taken_is_said_with_the_file(mine, capsys):
    mine.write_text(mine.read_text().replace('register("squares"', 'register("ig"'))
    assert call("explain", "--methods", "ig") == 2
    (sentence,) = said(capsys)
    assert "registering.py fails with ValueError: `name` 'ig' is taken" in sentence


def test_a_name_that_makes_no_method_is_left_out(mine, capsys):
    mine.write_text(mine.read_text().replace("Squares, ", "lambda model: model, "))
    assert call("explain", "--methods", "ig,squares") == 0
    assert "squares is left out: what is registered under its name makes" in said(capsys)[0]
