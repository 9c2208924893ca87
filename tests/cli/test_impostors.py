"""Impostors and a user's own methods, by their words in ``--methods``."""

import json
from pathlib import Path

import pytest
import torch
from captum.attr import InputXGradient, Saliency
from torch import nn

from captum_ext import registry
from captum_ext.cli import main
from captum_ext.cli.options import Explain
from captum_ext.evaluation import evaluate
from captum_ext.metrics import Deletion
from captum_ext.metrics.sanity.impostors import Edges
from tests.cli.conftest import said

OWN = """
from captum.attr import InputXGradient, Saliency

class Backwards(InputXGradient):
    def attribute(self, inputs, target=None):
        return -super().attribute(inputs, target)

def backwards(model):
    return Backwards(model)

def mine(model):
    return Saliency(model)

def failing(model):
    raise KeyError("no such layer")

def nothing(model):
    return {}

number = 3
"""


@pytest.fixture
def own(folder):
    (folder / "own.py").write_text(OWN)
    return folder


def call(command, methods, *more):
    images = "images" if command == "evaluate" else "photo.png"
    model = ("--model", "mine.py:classifier", "--steps", "2")
    return main([command, images, *model, "--methods", methods, *more])


def test_impostors_come_last_and_are_never_best(own, capsys):
    assert call("evaluate", "edges,own.py:backwards,random,ig", "--metrics", "insertion") == 0
    out = capsys.readouterr().out
    found = json.loads(Path("evaluation/results.json").read_text())
    assert [row["method"] for row in found["table"]] == [
        "own.py:backwards",
        "ig",
        "edges",
        "random",
    ]
    assert found["impostors"] == ["edges", "random"]
    assert found["significance"]["against"] == "own.py:backwards"
    assert out.index("\nbackwards ") < out.index("\nIG ") < out.index("\nEdges (impostor) ")
    for standing in found["standings"].values():
        assert standing["first"] in ("own.py:backwards", "ig")
        assert "edges" not in standing["sentence"]
    page = Path("evaluation/report.html").read_text()
    assert page.count('<tr class="impostor') == 2
    assert "2 methods and 2 impostors" in " ".join(page.split())


def test_an_impostor_of_the_best_value_is_not_first():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2), nn.Softmax(1)).eval()
    data = [(torch.rand(3, 2, 2), 0) for _ in range(3)]
    metrics = {"deletion": Deletion(model, n_steps=4)}
    methods = {"mine": InputXGradient(model), "edges": Edges(), "other": Saliency(model)}
    found = evaluate(model, data, methods, metrics, batch_size=3, seed=0)
    assert found.methods == ("mine", "other", "edges")
    assert [row["method"] for row in found.ranked("deletion")][-1] == "edges"
    # As if edges were the best by far.
    found.values["deletion"]["edges"] = torch.full((3,), -1.0)
    found.records[2]["deletion"] = -1.0
    assert found.standings["deletion"].first in ("mine", "other")
    assert [row["method"] for row in found.ranked("deletion")][-1] == "edges"


def test_impostors_ask_nothing_and_are_explained(own, capsys):
    assert call("explain", "random,ig,edges", "--json", "t.json") == 0
    rows = json.loads(Path("t.json").read_text())["table"]
    assert [row["method"] for row in rows] == ["ig", "random", "edges"]
    assert [(row["forwards"], row["gradients"], row["reason"]) for row in rows[1:]] == [
        (0, 0, None)
    ] * 2


def test_sanity_shows_impostors_once(own, capsys):
    assert call("sanity", "edges,own.py:mine", "--similarity", "spearman", "--json", "t.json") == 0
    rows = json.loads(Path("t.json").read_text())["table"]
    assert {row["method"]: row["stage"] for row in rows}.keys() == {
        "own.py:mine",
        "image edges",
        "random map",
    }
    assert call("sanity", "edges") == 2
    assert "name a method" in said(capsys)[-1]


def test_all_is_every_method_but_impostors(own):
    settings = {"model": "lite0", "out": Path("x.png"), "overwrite": True}
    names = Explain(methods="all", **settings).method_names
    assert not {"edges", "random"} & {*names}
    more = Explain(methods="edges,all,own.py:mine", **settings).method_names
    assert more == [*names, "own.py:mine", "edges"]


def test_methods_that_fail_are_no_success_beside_impostors(own, capsys):
    assert call("explain", "own.py:failing,edges") == 2
    assert "none suits the model (own.py:failing" in said(capsys)[-1]


@pytest.mark.parametrize(
    ("word", "code", "words"),
    [
        ("gone.py:mine", 2, "--methods names the file gone.py, which does not exist"),
        ("own.py:gone", 2, "--methods names the factory 'gone', which own.py does not define"),
        ("own.py:number", 2, "--methods names the factory 'number', which own.py does not define"),
        (
            "own.py:failing",
            2,
            "none suits the model (own.py:failing: its factory fails with KeyError",
        ),
        (
            "own.py:nothing",
            2,
            "none suits the model (own.py:nothing: its factory makes a dict, not a method",
        ),
        ("broken.py:mine", 2, "--methods: broken.py fails with ZeroDivisionError"),
    ],
)
def test_a_wrong_own_method_is_one_sentence(word, code, words, own, capsys):
    Path("broken.py").write_text("1 / 0")
    assert call("explain", word) == code
    (sentence,) = said(capsys)
    assert words in sentence


def test_a_file_of_model_and_method_is_run_once(own):
    text = (own / "mine.py").read_text()
    (own / "mine.py").write_text(
        f"{text}\n{OWN}\nfrom captum_ext.attr import register\nregister('once', Saliency)\n"
    )
    assert call("explain", "once,mine.py:mine") == 0
    assert "once" not in registry.METHODS
    assert "mine.py:mine" not in registry.METHODS


def test_a_run_with_another_own_method_does_not_go_on(own, capsys):
    less = ("--metrics", "insertion", "--limit", "1")
    assert call("evaluate", "own.py:mine", *less) == 0
    other = OWN.replace("Saliency", "InputXGradient")
    # Of another length: a file changed within a second is taken from its bytecode.
    (own / "own.py").write_text(other)
    assert call("evaluate", "own.py:mine", *less) == 2
    assert "methods.own.py:mine" in said(capsys)[-1]


def test_a_file_of_a_method_is_never_written_over(own, capsys):
    (own / "own.py").rename(own / "own.png.py")
    assert call("explain", "own.png.py:mine", "--json", "own.png.py", "--overwrite") == 2
    (own / "own.json").write_text("{}")
    (own / "linked.py").symlink_to(own / "own.json")
    assert call("explain", "linked.py:mine", "--json", "own.json", "--overwrite") == 2
    assert "also another argument" in said(capsys)[-1]
