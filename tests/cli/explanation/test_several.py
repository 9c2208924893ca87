"""`explain` of several classes: each with maps and scores of its own, of one walk."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captum_ext.cli import main
from captum_ext.cli.explanation.result import SCORES
from tests.cli.conftest import explain, said

QUICK = ("--steps", "2", "--n-masks", "12", "--n-iter", "2")
EVERY = (
    "ig,idgi-ig,guided-ig,blur-ig,idgi-blur-ig,aligned,rise,smoothgrad,gradient-shap,occlusion,"
    "igos++,mask,saliency,input-x-gradient,grad-cam"
)

NOISY = '''

class Noisy(Net):
    """Has noise in every call."""

    def forward(self, x):
        return super().forward(x + 0.1 * torch.randn_like(x))


def noisy():
    return made(Noisy())
'''


def call(*arguments, methods="ig,rise"):
    model = ("--model", "mine.py:classifier", "--methods", methods)
    return main(["explain", "photo.png", *model, *QUICK, *arguments])


def height(name):
    with Image.open(f"{name}.png") as picture:
        return picture.size[1]


def maps(folder, method):
    with np.load(Path(folder, f"{method}.npz")) as held:
        return held["maps"], held["targets"].tolist(), held["names"].tolist()


def test_each_class_has_the_map_and_scores_that_it_has_alone(folder):
    out = ("--save-maps", "all", "--json", "all.json")
    assert call("--target", "2", "--target", "0", *out, methods=EVERY) == 0
    together = json.loads(Path("all.json").read_text())
    assert [one["class"] for one in together["targets"]] == [2, 0]
    rows = {(row["class"], row["method"]): row for row in together["table"]}
    for k, target in enumerate((2, 0)):
        out = ("--save-maps", "one", "--json", "one.json")
        assert call("--target", str(target), *out, methods=EVERY) == 0
        alone = json.loads(Path("one.json").read_text())
        assert alone["target"] == {key: together["targets"][k][key] for key in ("class", "name")}
        for row in alone["table"]:
            name = row["method"]
            assert (row["reason"], row["insertion"] is None) == (None, False)
            credit, targets, names = maps("all", name)
            assert (targets, names) == ([2, 0], ["photo.png"] * 2)
            own = maps("one", name)[0][0]
            np.testing.assert_allclose(credit[k], own, atol=1e-4 * np.abs(own).max())
            for key in ("insertion", "deletion_abs"):
                assert rows[target, name][key] == pytest.approx(row[key], abs=1e-3)


def test_what_classes_share_is_asked_once(folder, capsys):
    assert call("--target", "2", "--json", "one.json") == 0
    assert call("--target", "2", "--target", "0", "--json", "two.json") == 0
    (one, two) = (json.loads(Path(f"{n}.json").read_text())["table"] for n in ("one", "two"))
    cost = {row["method"]: (row["forwards"], row["gradients"]) for row in one}
    # RISE's masks are asked once for both, each gradient of IG is a class's own.
    assert cost["rise"] == (12, 0)
    shares = [(row["forwards"], row["gradients"]) for row in two if row["method"] == "rise"]
    assert shares == [(6, 0), (6, 0)]
    assert sum(row["gradients"] for row in two) == 2 * cost["ig"][1]
    costs = re.findall(r"^RISE +[\d.]+ +(\d+) +0$", capsys.readouterr().out, re.MULTILINE)
    assert costs == ["12", "12"]


@pytest.mark.usefixtures("drawn")
def test_every_output_shows_each_class(folder, capsys):
    files = ("--frames", "frames.png", "--history", "history.png")
    both = ("--target", "0", "--target", "1")
    assert call(*both, *files, methods="ig,igos++") == 0
    assert call("--target", "0", "--out", "alone.png", methods="ig,igos++") == 0
    printed = capsys.readouterr().out
    tables = re.findall(r"^(.*) \(class (\d)\), p = 0\.\d+$", printed, re.MULTILINE)
    assert [number for _, number in tables] == ["0", "1"]
    assert height("explanation") == 2 * height("alone")
    assert height("frames") > 900
    assert call(*both, "--out", "page.html") == 0
    page = Path("page.html").read_text()
    assert "<h1>2 classes of photo.png</h1>" in page
    assert re.findall(r"<h3>(.*?)<", page) == ["IG", "RISE"] * 2
    assert len(re.findall(r'class="of">.*?\(class [01]\), p = 0', page)) == 2


@pytest.mark.usefixtures("drawn")
def test_a_method_that_fails_for_one_class_is_there_for_others(folder, capsys):
    Path("half.py").write_text(
        "from captum.attr import Saliency\n\n"
        "class Half(Saliency):\n"
        "    def attribute(self, inputs, target=None):\n"
        "        if 1 in ([target] if isinstance(target, int) else target.tolist()):\n"
        "            raise ValueError('not class 1')\n"
        "        return super().attribute(inputs, target=target)\n\n"
        "def half(model):\n    return Half(model)\n"
    )
    both = ("--target", "0", "--target", "1", "--save-maps", "maps")
    assert call(*both, methods="half.py:half") == 0
    assert re.search("half.py:half fails for .*: not class 1", capsys.readouterr().err)
    assert maps("maps", "half.py_half")[1] == [0]


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (("1", "1"), "--target names class 1 twice"),
        (("1", "_under_"), "--target names class 1 twice"),
        (("1", "9"), "--target is a class from 0 to 3 or its name, but got '9'"),
    ],
)
def test_classes_that_cannot_be_meant_are_refused(targets, words, folder, capsys):
    assert explain(*(f"--target={one}" for one in targets)) == 2
    assert words in said(capsys)[-1]


@pytest.mark.parametrize("methods", ["ig,idgi-ig,rise", "smoothgrad,occlusion,igos++,mask,aligned"])
def test_a_model_with_noise_gives_each_class_what_it_gives_alone(methods, folder, capsys):
    Path("mine.py").write_text(Path("mine.py").read_text() + NOISY)
    found = {}
    for name, targets in {"both": "20", "first": "2", "second": "0", "again": "0"}.items():
        chosen = [word for k in targets for word in ("--target", k)]
        out = ("--save-maps", name, "--json", f"{name}.json", "--model", "mine.py:noisy")
        assert call(*chosen, *out, methods=methods) == 0
        assert sum("draws random numbers in every call" in line for line in said(capsys)) == 1
        table = json.loads(Path(f"{name}.json").read_text())["table"]
        found[name] = [{k: v for k, v in row.items() if k in SCORES} for row in table]
    assert found["both"] == found["first"] + found["second"]
    assert found["second"] == found["again"]
    for method in methods.split(","):
        both, *alone = (maps(name, method)[0] for name in ("both", "first", "second"))
        assert np.array_equal(both, np.concatenate(alone))
