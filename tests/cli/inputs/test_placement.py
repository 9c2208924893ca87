"""``--placement`` says where the steps of paths are, and the tables how many there were."""

import json

import pytest

from captum_ext.attr import IDGI, BlurIG, PathAttribution
from captum_ext.cli import main
from captum_ext.cli.inputs.methods import configured
from captum_ext.cli.options import PLACED_STEPS, Explain, Sanity
from captum_ext.path import EqualRise
from captum_ext.path.placement import EQUAL_RISE
from captum_ext.registry import METHODS
from tests.cli.conftest import evaluate, explain, said

MODEL = ("--model", "mine.py:classifier")
WALKING = ["ig", "idgi-ig", "blur-ig", "idgi-blur-ig"]


def report(name):
    with open(name) as file:
        return json.load(file)


def test_placed_methods_share_their_walk_and_their_steps_are_told(folder, capsys):
    methods = ",".join([*WALKING, "guided-ig", "saliency"])
    words = ["--placement", "equal-rise", "--methods", methods, "--json", "t.json"]
    assert main(["explain", "photo.png", *MODEL, *words]) == 0
    found = report("t.json")
    walks = [
        f"ig, idgi-ig, blur-ig, idgi-blur-ig: {PLACED_STEPS} steps of equal rise.",
        "guided-ig: 50 steps that the path finds itself.",
    ]
    assert found["protocol"]["walks"] == walks
    assert found["protocol"]["placement"] == "equal-rise"
    printed = capsys.readouterr().out
    assert all(sentence in printed for sentence in walks)
    rows = {row["method"]: row for row in found["table"]}
    assert (rows["ig"]["gradients"], rows["ig"]["forwards"]) == (PLACED_STEPS, 25 + 1)
    assert rows["guided-ig"]["gradients"] == 50
    assert [rows[name]["shared_with"] for name in WALKING] == [
        ["idgi-ig"], ["ig"], ["idgi-blur-ig"], ["blur-ig"]
    ]  # fmt: skip


def test_steps_that_are_asked_for_are_taken_under_any_placement(folder):
    words = ("--placement", "equal-rise", "--methods", "ig,guided-ig", "--json", "t.json")
    assert explain(*words) == 0
    assert [row["gradients"] for row in report("t.json")["table"]] == [2, 2]


@pytest.mark.parametrize("placement", ["own", "even"])
def test_even_steps_say_nothing(placement, folder):
    words = ["--methods", "ig", "--placement", placement, "--json", "t.json"]
    assert main(["explain", "photo.png", *MODEL, *words]) == 0
    found = report("t.json")
    assert found["table"][0]["gradients"] == found["protocol"]["n_steps"] == 50
    assert (found["protocol"]["placement"], found["protocol"]["walks"]) == (placement, [])
    assert Sanity().effort["n_steps"] == 50


def test_by_default_steps_are_placed_on_the_path_of_blur_ig_alone(folder):
    methods = ["--methods", "ig,blur-ig,idgi-blur-ig", "--json", "t.json"]
    assert main(["explain", "photo.png", *MODEL, *methods]) == 0
    found = report("t.json")
    assert found["protocol"]["walks"] == [
        "ig: 50 equal steps.",
        f"blur-ig, idgi-blur-ig: {PLACED_STEPS} steps of equal rise.",
    ]
    assert [row["gradients"] for row in found["table"]][1:] == [PLACED_STEPS + 1] * 2
    assert configured("blur-ig", len, Explain(methods="blur-ig", steps=7)).options["n_steps"] == 7
    even_steps = configured("blur-ig", len, Explain(methods="blur-ig", placement="even"))
    assert even_steps.options["n_steps"] == 50


@pytest.mark.parametrize("methods", ["guided-ig", "saliency,idgi-guided-ig"])
def test_a_placement_that_nothing_takes_is_refused(methods, folder, capsys):
    assert explain("--placement", "equal-rise", "--methods", methods) == 2
    (sentence,) = said(capsys)
    assert "--placement equal-rise is for methods whose path is known beforehand" in sentence


def test_a_method_that_places_its_steps_itself_keeps_them():
    own = EqualRise(5)
    METHODS.add("own", METHODS["ig"].__class__("own", lambda model: BlurIG(model, placement=own)))
    for placement in ("even", "equal-rise"):
        made = configured("own", len, Explain(methods="own", placement=placement))
        assert made.method.placement is own
    # It says how many it needs, too, unless that is asked for.
    assert configured("own", len, Explain(methods="own")).options == {}
    assert configured("own", len, Explain(methods="own", steps=9)).options == {"n_steps": 9}


def test_aligned_takes_as_many_steps_as_the_help_says(folder):
    words = ["--methods", "aligned,ig", "--json", "t.json"]
    assert main(["explain", "photo.png", *MODEL, *words]) == 0
    assert [row["gradients"] for row in report("t.json")["table"]] == [PLACED_STEPS, 50]


def test_a_run_goes_on_only_under_its_own_placement(folder, capsys):
    assert evaluate() == 0
    assert report("out/results.json")["protocol"]["placement"] == "own"
    assert evaluate("--placement", "equal-rise") == 2
    assert "placement" in said(capsys)[-1]
    assert evaluate("--placement", "equal-rise", "--restart") == 0
    told = "ig: 2 steps of equal rise."
    assert told in report("out/results.json")["excluded"]["notes"]
    assert told in capsys.readouterr().out


def test_the_sanity_test_says_its_steps_too(folder, capsys):
    words = ["--methods", "idgi-ig", "--similarity", "spearman", "--placement", "equal-rise"]
    assert main(["sanity", "photo.png", *MODEL, *words, "--json", "t.json"]) == 0
    assert f"idgi-ig: {PLACED_STEPS} steps of equal rise." in capsys.readouterr().out
    assert report("t.json")["protocol"]["placement"] == "equal-rise"


def test_what_the_help_says_is_what_the_library_takes():
    assert EQUAL_RISE.default_steps == PLACED_STEPS
    assert EQUAL_RISE.n_probes + 1 == 25


def test_placing_a_method_leaves_it_alone():
    method = BlurIG(len)
    placed = method.placed(EQUAL_RISE)
    assert (method.placement, placed.placement) == (None, EQUAL_RISE)
    assert placed.path == method.path
    assert placed.placed(None).placement is None
    assert isinstance(IDGI(placed), PathAttribution)
    assert IDGI(placed).placement is EQUAL_RISE
