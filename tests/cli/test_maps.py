"""Maps that are kept, and maps that were made elsewhere."""

import json
from pathlib import Path

import numpy as np
import pytest

from captum_ext.cli import main
from tests.cli.conftest import evaluate, explain, said

LESS = ("--metrics", "insertion", "--limit", "2")


def table(out):
    found = json.loads(Path(out, "results.json").read_text())["table"]
    return {row["method"]: row for row in found}


def held(file):
    with np.load(file, allow_pickle=False) as saved:
        return dict(saved)


def test_maps_alone_are_scored_alone(folder):
    np.savez("m.npz", maps=MAPS, names=NAMES)
    told = ["evaluate", "images", "--model", "mine.py:classifier", "--maps", "m.npz", *LESS]
    assert main([*told, "--out", "alone"]) == 0
    assert [*table("alone")] == ["m.npz"]
    assert main([*told, "--out", "beside", "--methods", "edges"]) == 0
    assert [*table("beside")] == ["m.npz", "edges"]


def scored(*maps, out="scored", more=()):
    model = ("--model", "mine.py:classifier", "--methods", "none")
    return main(
        ["evaluate", "images", *model, "--maps", ",".join(maps), "--out", out, *LESS, *more]
    )


def test_saved_maps_score_the_same_again(folder, capsys):
    assert evaluate("--save-maps", "maps", *LESS) == 0
    saved = held("maps/ig.npz")
    assert saved["maps"].shape == (2, 3, 28, 28)
    assert saved["names"].tolist() == ["0.png", "1.png"]
    assert (saved["targets"] >= 0).all()
    assert json.loads(str(saved["settings"]))["method"] == "ig"
    assert "torch" in json.loads(str(saved["versions"]))
    assert scored("maps/ig.npz") == 0
    one, other = table("out")["ig"], table("scored")["ig.npz"]
    assert one["insertion"] == other["insertion"]
    assert one["insertion_abs"] == other["insertion_abs"]
    assert other["forwards"] == 0


def test_a_run_without_maps_does_not_go_on_as_one_with(folder, capsys):
    assert evaluate(*LESS) == 0
    assert evaluate("--save-maps", "maps", *LESS) == 2
    assert "save_maps" in said(capsys)[-1]
    assert not Path("maps").exists()


def test_a_run_that_goes_on_has_all_maps_or_says_so(folder, capsys):
    assert evaluate("--save-maps", "maps", *LESS) == 0
    before = held("maps/ig.npz")["maps"]
    assert evaluate("--save-maps", "maps", *LESS) == 0
    assert np.array_equal(held("maps/ig.npz")["maps"], before)
    (lost,) = Path("out/.maps").glob("1.?-ig.npy")
    lost.unlink()
    assert evaluate("--save-maps", "maps", *LESS) == 1
    assert "give --restart" in said(capsys)[-1]


def test_starting_anew_empties_what_was_kept_and_nothing_else(folder):
    kept = folder / "out" / ".maps"
    assert evaluate("--save-maps", "maps") == 0
    (kept / "99-ig.npy").write_bytes(b"of an earlier run")
    (kept / "98.1-ig.npy").write_bytes(b"of an earlier run")
    (kept / "mine.npy").write_bytes(b"mine")
    assert evaluate("--restart") == 0
    assert [file.name for file in kept.iterdir()] == ["mine.npy"]


def test_explain_keeps_a_map_and_nothing_of_others(folder, capsys):
    assert explain("--save-maps", "maps") == 0
    saved = held("maps/ig.npz")
    assert (saved["maps"].shape, saved["names"].tolist()) == ((1, 3, 28, 28), ["photo.png"])
    Path("maps/ig.npz").write_bytes(b"mine")
    assert explain("--save-maps", "maps") == 2
    assert "which captum-ext did not write" in said(capsys)[-1]
    assert Path("maps/ig.npz").read_bytes() == b"mine"


NAMES = np.array(["0.png", "1.png"])
MAPS = np.ones((2, 1, 28, 28))
TWICE = np.array(["0.png", "0.png"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"maps": MAPS, "names": NAMES[::-1][:1]}, "and 1 name"),
        ({"maps": MAPS, "names": np.array(["0.png", "a.png"])}, "has no map of 1 of 2 images"),
        ({"maps": MAPS, "names": TWICE}, "names '0.png' twice: several maps of an image"),
        ({"maps": MAPS, "names": TWICE, "targets": [1, 1]}, "names '0.png' twice of class 1: "),
        ({"maps": MAPS, "names": TWICE, "targets": [1, -1]}, "names '0.png' twice: "),
        ({"maps": MAPS[:, 0], "names": NAMES}, "needs maps of shape"),
        ({"maps": MAPS[..., 1:], "names": NAMES}, "the model sees (3, 28, 28)"),
        ({"maps": np.ones((2, 2, 28, 28)), "names": NAMES}, "the model sees (3, 28, 28)"),
        ({"maps": MAPS * np.nan, "names": NAMES}, "holds nan"),
        (
            {"maps": MAPS, "names": NAMES, "targets": ["cat", "dog"]},
            "the class of its map, but has",
        ),
        ({"maps": MAPS, "names": NAMES, "targets": [1]}, "of shape (1,) for 2 names"),
        ({"maps": MAPS}, "is no .npz"),
        ({"maps": np.array([None] * 2), "names": NAMES}, "is no .npz"),
    ],
)
def test_maps_that_are_not_the_images_are_refused(content, words, folder, capsys):
    np.savez("m.npz", **content)
    assert scored("m.npz") == 2
    (sentence,) = said(capsys)[-1:]
    assert "--maps m.npz" in sentence
    assert words in sentence


def test_a_map_of_another_class_is_left_out(folder, capsys):
    maps = np.random.default_rng(0).random((2, 1, 28, 28))
    np.savez("m.npz", maps=maps, names=NAMES, targets=[77, 77])
    assert scored("m.npz") == 1
    assert "its map explains class 77, not" in said(capsys)[-1]


def test_of_several_maps_of_an_image_that_of_its_class_is_scored(folder, capsys):
    assert evaluate("--save-maps", "maps", *LESS) == 0
    saved = held("maps/ig.npz")
    others = {"maps": saved["maps"][:, :, ::-1], "targets": (saved["targets"] + 1) % 4}
    both = {key: np.concatenate([others.get(key, saved[key]), saved[key]]) for key in PARTS}
    np.savez("both.npz", **both)
    assert scored("both.npz") == 0
    assert table("out")["ig"]["insertion"] == table("scored")["both.npz"]["insertion"]
    others |= {"maps": saved["maps"], "targets": (saved["targets"] + 2) % 4}
    parts = {key: np.concatenate([both[key][:2], others.get(key, saved[key])]) for key in PARTS}
    np.savez("others.npz", **parts)
    assert scored("others.npz", out="other") == 1
    assert "its maps explain the classes" in said(capsys)[-1]


PARTS = ("maps", "names", "targets")
LABELED = """
from captum_ext import ImageClassifier
from mine import Net

def classifier():
    return ImageClassifier(Net().eval(), [0.5] * 3, [0.5] * 3, class_names="abcd",
                           activation="sigmoid")
"""


def test_images_of_several_classes_have_a_map_of_each(folder, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    Path("labeled.py").write_text(LABELED)
    Path("labels.csv").write_text("0.png,d;b\n1.png,c\n")
    model = ("--model", "labeled.py:classifier", "--labels", "labels.csv", "--all-images")
    assert evaluate(*model, "--save-maps", "maps", *LESS) == 0
    saved = held("maps/ig.npz")
    assert [*zip(saved["names"].tolist(), saved["targets"].tolist(), strict=True)] == [
        ("0.png", 1), ("0.png", 3), ("1.png", 2)]  # fmt: skip
    assert not np.array_equal(saved["maps"][0], saved["maps"][1])
    order = [1, 2, 0]
    np.savez("mixed.npz", **{key: saved[key][order] for key in PARTS})
    assert scored("mixed.npz", more=model) == 0
    assert table("out")["ig"]["insertion"] == table("scored")["mixed.npz"]["insertion"]
    np.savez("less.npz", **{key: saved[key][1:] for key in PARTS})
    assert scored("less.npz", out="less", more=model) == 2
    assert said(capsys)[-1].endswith(
        "needs a map of each class of '0.png', which are 1, 3 by --labels, but has of 3 alone: "
        'name the image for each map, and its class in "targets".'
    )
    np.savez("one.npz", maps=saved["maps"][1:], names=saved["names"][1:])
    assert scored("one.npz", out="less", more=model) == 2
    assert "but has one that says no class" in said(capsys)[-1]
