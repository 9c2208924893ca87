"""A folder with every fault at once: good images get their numbers, each fault its reason."""

import csv
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from captum_ext.cli import main
from tests.cli import pictures
from tests.cli.inputs.test_annotations import COCO_FAULTS, FAULTS, HEIGHT, WIDTH, coco
from tests.cli.inputs.test_pictures import REFUSED

MODEL = """
import torch
from torch import nn
from torchvision import transforms
from captum_ext import ImageClassifier

def classifier(names=("ant", "bee", "cat", "dog")):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
                        nn.Flatten(), nn.Linear(16, 4))
    steps = transforms.Compose([transforms.Resize((12, 14)), transforms.ToTensor()])
    return ImageClassifier(net.eval(), [0.5] * 3, [0.5] * 3, names, steps)

def rude():
    return classifier([f"{name}\\x1b]0;title\\x07" for name in ("ant", "bee", "cat", "dog")])
"""
NAMES = ["=cmd|'A0.png", "\x1b[31mred\n.png", "\udcff.png", "<b>.png", "‮gnp.png", "-x.png"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    Path("mine.py").write_text(MODEL)
    Path("images").mkdir()
    for k in range(3):
        picture(f"{k}.png", k)
    return tmp_path


def picture(name, seed=0):
    pictures.rgb(seed, width=WIDTH, height=HEIGHT).save(Path("images", name), "PNG")


def evaluate(*arguments, out="out"):
    return main(["evaluate", "images", "--model", "mine.py:classifier", "--methods", "saliency",
                 "--metrics", "insertion", "--out", out, *arguments])  # fmt: skip


def rows(out="out"):
    with Path(out, "per_example.csv").open(newline="", encoding="utf-8") as stream:
        return {row["example"]: row["insertion"] for row in csv.DictReader(stream)}


def left_out(out="out"):
    found = json.loads(Path(out, "results.json").read_text())
    return {row["example"]: row["reason"] for row in found["excluded"]["all"]}


def test_faults_of_pictures_are_reasons_at_every_resume():
    assert evaluate("--group", "1", out="before") == 0
    for kind, (content, _) in REFUSED.items():
        Path(f"images/{kind}.png").write_bytes(content)
    Image.new("RGB", (300, 200)).save("images/bomb.png")
    Path("images/loop.png").symlink_to("loop.png")
    Path("images/gone.png").symlink_to("nowhere")
    Path("images/folder.png").mkdir()
    for name in NAMES:
        picture(name)
    bad = {f"{kind}.png" for kind in (*REFUSED, "bomb", "loop", "gone")}
    for _ in range(2):
        assert evaluate("--group", "1") == 0
        assert set(left_out()) == bad
        assert rows().items() >= rows("before").items()
        assert len(rows()) == 3 + len(NAMES)
        assert "'=cmd|'A0.png" in rows()
    assert "too many pixels" in left_out()["bomb.png"]


def test_faults_of_annotations_are_reasons_of_their_images():
    content = {"images": [], "annotations": [], "categories": []}
    for k, (entry, _) in enumerate(COCO_FAULTS.values()):
        picture(f"coco{k}.png")
        one = coco(entry)
        content["images"] += [{**one["images"][0], "id": k, "file_name": f"coco{k}.png"}]
        content["annotations"] += [{**one["annotations"][0], "image_id": k}]
    content["images"] += [{"id": "good", "file_name": "0.png"}]
    content["annotations"] += [{"image_id": "good", "bbox": [1, 1, 4, 4]}]
    Path("coco.json").write_text(json.dumps(content))
    assert evaluate("--annotations", "coco.json", "--metrics", "localization") == 0
    assert {*left_out()} == {f"coco{k}.png" for k in range(len(COCO_FAULTS))} | {"1.png", "2.png"}
    listed = [{"file": "0.png", "boxes_xyxy": [[1, 1, 4, 4]]}]
    for k, (entry, _) in enumerate(FAULTS.values()):
        picture(f"coco{k}.png")
        listed.append({"file": f"coco{k}.png", **entry})
    Path("boxes.json").write_text(json.dumps({"images": listed}))
    words = ("--annotations", "boxes.json", "--metrics", "localization", "--all-images")
    for _ in range(2):
        assert evaluate(*words, out="boxes") == 0
        reasons = left_out("boxes")
        for k, (_, word) in enumerate(FAULTS.values()):
            assert word in reasons[f"coco{k}.png"]
        assert "0.png" not in reasons


def test_a_run_beside_its_own_results_finds_the_same_images(monkeypatch):
    monkeypatch.chdir("images")
    Path("../mine.py").replace("mine.py")
    absolute = os.path.abspath("results")
    for place, words in (("results", ["--out", "results"]), ("results", ["--out", absolute]),
                         ("evaluation", [])):  # fmt: skip
        assert main(["evaluate", ".", "--model", "mine.py:classifier", "--methods", "saliency",
                     "--metrics", "insertion", *words]) == 0  # fmt: skip
        assert sorted(rows(place)) == ["0.png", "1.png", "2.png"]


def test_nothing_that_is_written_tells_of_the_machine(folder):
    Path("labels.csv").write_text("".join(f"{k}.png,{k}\n" for k in range(3)))
    Path("images/loop.png").symlink_to(folder / "images" / "loop.png")
    call = ["evaluate", f"{folder}/images", f"--model={folder}/mine.py:classifier", "--methods",
            "saliency", "--metrics", "insertion", "--labels", f"{folder}/labels.csv",
            "--all-images", "--out", f"{folder}/out"]  # fmt: skip
    for _ in range(2):
        assert main(call) == 0
        for name in ("results.json", "results.csv", "per_example.csv", "report.html"):
            assert str(folder) not in Path("out", name).read_text(), name
    command = json.loads(Path("out/results.json").read_text())["command"]
    assert command == (
        "captum-ext evaluate images --model=mine.py:classifier --methods saliency --metrics "
        "insertion --labels labels.csv --all-images --out out"
    )


def test_no_name_reaches_the_terminal_raw(capfd):
    for name in NAMES:
        picture(name)
    Path("images/bad\x1b[31m.png").write_bytes(b"no")
    Path("labels.csv").write_text("gone\x1b[31m.png,ant\n" + "0.png,bee\n")
    assert evaluate("--labels", "labels.csv", "--all-images") == 0
    assert main(["explain", f"images/{NAMES[1]}", "--model", "mine.py:rude", "--methods",
                 "saliency"]) == 0  # fmt: skip
    for wrong in ("images/bad\x1b[31m.png", "gone\x1b]0;.png"):
        assert main(["explain", wrong, "--model", "mine.py:rude"]) == 2
    shown = capfd.readouterr()
    assert "such as 'gone\\x1b[31m.png'" in shown.err
    assert "\\x1b]0;title\\x07 (class " in shown.out
    for text in (shown.out, shown.err):
        assert not [c for c in text if c in "\x1b\x07\u202e" or "\udc80" <= c <= "\udcff"]


def test_figures_of_this_program_are_no_photographs(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10**8)
    picture("x.png")
    for name in ("figure.png", "figure.jpg"):
        assert main(["explain", "images/x.png", "--model", "mine.py:classifier", "--methods",
                     "saliency", "--out", f"images/{name}"]) == 0  # fmt: skip
    assert evaluate() == 0
    reason = "is a figure that captum-ext drew, and no photograph"
    assert left_out() == {"figure.png": reason, "figure.jpg": reason}
