"""``captum-ext evaluate`` and ``sanity`` as a user meets them."""

import csv
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from captum_ext.cli import main
from captum_ext.cli.inputs import models
from tests import processes

ROOT = Path(__file__).parents[2]
FACTORY = """
import torch
from torch import nn
from torchvision import transforms
from captum_ext import ImageClassifier

def classifier():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(),
              nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4)]
    net = nn.Sequential(*layers)
    for parameter in net.parameters():
        parameter.data *= 3
    steps = [transforms.Resize(24), transforms.CenterCrop(24), transforms.ToTensor()]
    return ImageClassifier(net.eval(), [0.5] * 3, [0.5] * 3, ["ant", "bee", "cat", "dog"],
                           transforms.Compose(steps))

def larger():
    made = classifier()
    made.transform = transforms.Compose([transforms.Resize(32), transforms.ToTensor()])
    return made

def without_relu():
    return ImageClassifier(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1),
                           nn.Flatten()).eval(), [0.5] * 3, [0.5] * 3)
"""
QUICK = ("--model", "mine.py:classifier", "--methods", "saliency,ig", "--steps", "3")


def picture(seed, size=(24, 24), mode="RGB"):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FACTORY)
    (tmp_path / "images").mkdir()
    for k in range(5):
        picture(k).save(tmp_path / "images" / f"{k}.png")
    return tmp_path


def evaluate(*arguments, images="images", out="out"):
    return main(["evaluate", images, *QUICK, "--out", out, *arguments])


def results(out="out"):
    return json.loads(Path(out, "results.json").read_text())


def scores(out="out"):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in results(out)["table"]]


def rows_of(out):
    with open(f"{out}/per_example.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def refused(capsys, *arguments, **options):
    """The one sentence that an impossible call gets."""
    capsys.readouterr()
    assert evaluate(*arguments, **options) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return [line for line in said.splitlines() if line.startswith("captum-ext:")][-1]


@pytest.mark.usefixtures("drawn")
@pytest.mark.usefixtures("drawn")
def test_a_folder_becomes_tables_curves_and_a_page(folder, capsys):
    assert evaluate() == 0
    printed = capsys.readouterr().out
    assert "Gradient" in printed
    assert "5 of 5 images" in printed
    assert {p.name for p in Path("out").iterdir()} == {
        "results.json", "results.csv", "per_example.csv", "curves.png", "report.html",
        "report-pages", "part-00000.sqlite", "run.lock", ".captum-ext.json",
    }  # fmt: skip
    found = results()
    assert [row["method"] for row in found["table"]] == ["saliency", "ig"]
    assert {"protocol", "versions", "excluded", "significance", "curves"} <= set(found)
    assert len(rows_of("out")) == 10
    with Image.open("out/curves.png") as curves:
        assert np.asarray(curves.convert("L")).std() > 10


def test_the_page_needs_nothing_from_elsewhere_and_repeats_the_command(folder):
    assert evaluate("--seed", "3") == 0
    page = Path("out/report.html").read_text()
    for word in ("<script", "http://", "https://", "<link", "@import"):
        assert word not in page
    assert "captum-ext evaluate images --model mine.py:classifier" in page
    assert "Best and worst images" in page
    assert page.count("data:image/") > 20
    links = re.findall(r'href="([^"]+)"', page)
    assert {Path(link).parent.name for link in links} == {"report-pages"}
    assert all((Path("out") / link).is_file() for link in links)
    checksum = hashlib.sha256(Path("mine.py").read_bytes()).hexdigest()
    assert f"file of --model, mine.py: <code>{checksum}" in page


def test_a_page_of_the_users_is_never_written_over(folder, capsys):
    Path("out/report-pages").mkdir(parents=True)
    Path("out/report-pages/000001.html").write_text("mine")
    Path("out/report-pages/mine.html").write_text("mine")
    assert "000001.html is no run's" in refused(capsys)
    Path("out/report-pages/000001.html").unlink()
    assert evaluate() == 0
    assert Path("out/report-pages/mine.html").read_text() == "mine"
    shutil.rmtree("out/report-pages")
    Path("out/report-pages").write_text("mine")
    assert "is a file where a folder is to be" in refused(capsys)


def test_a_folder_of_which_no_image_suits_the_model_names_one(folder, capsys):
    lines = ["import torch", "class Nan(torch.nn.Module):", "    def forward(self, x):",
             "        return torch.full((len(x), 4), torch.nan)",
             "def made():", "    return Nan().eval()"]  # fmt: skip
    Path("nan.py").write_text("\n".join(lines))
    said = refused(capsys, "--model", "nan.py:made")
    assert "no image of images suits the model; 4.png: --model gives nan" in said


def test_what_can_not_be_fetched_is_told_in_the_commands_options(folder, capsys, monkeypatch):
    def offline(*args, **kwargs):
        raise ConnectionError("pass its path as `weights`.")

    monkeypatch.setitem(models._MAKERS, "torchvision", offline)
    assert "`weights` is --weights" in refused(capsys, "--model", "torchvision:resnet50")


def test_a_file_name_can_not_change_the_page(folder):
    picture(7).save("images/<b>&.png")
    assert evaluate() == 0
    page = Path("out/report.html").read_text()
    assert "<b>&.png" not in page
    assert "&lt;b&gt;&amp;.png" in page


def test_the_same_command_again_does_nothing_again(folder):
    assert evaluate() == 0
    first = results()["table"]
    assert evaluate() == 0
    assert results()["table"] == first


def test_other_settings_need_another_folder_or_a_restart(folder, capsys):
    assert evaluate() == 0
    assert "`seed` is 0 there and 1 here" in refused(capsys, "--seed", "1")
    assert evaluate("--seed", "1", "--restart") == 0


def flip(file):
    """Changes the last byte but sixteen: of an image's pixels, not of its size."""
    content = bytearray(Path(file).read_bytes())
    content[-16] ^= 1
    Path(file).write_bytes(content)


def annotated():
    Path("masks").mkdir()
    for k in range(5):
        pixels = np.zeros((24, 24), np.uint8)
        pixels[4:12, 4:16] = 255
        Image.fromarray(pixels).save(f"masks/{k}_mask.png")
    Path("labels.csv").write_text("".join(f"{k}.png,ant\n" for k in range(5)))
    return ("--labels", "labels.csv", "--annotations", "masks", "--all-images")


def relabel():
    text = Path("labels.csv").read_text()
    Path("labels.csv").write_text(text.replace("3.png,ant", "3.png,bee"))


def edit_model():
    Path("mine.py").write_text(FACTORY.replace("stride=2", "stride=3"))


CHANGES = [
    (lambda: picture(9).save("images/1.png"), "the image of example 1.png has changed"),
    (lambda: flip("images/1.png"), "the image of example 1.png has changed"),
    (lambda: picture(8, mode="L").save("masks/2_mask.png"), "the mask of example 2.png"),
    (relabel, "the target of example 3.png has changed"),
    (edit_model, "`model.model.0"),
    (lambda: picture(9).save("images/9.png"), "`n_examples` is 5 there and 6 here"),
]


def test_changed_files_are_named_and_the_same_files_elsewhere_are_the_same_run(folder, capsys):
    options = annotated()
    assert evaluate(*options) == 0
    first = results()["table"]
    copy = folder.parent / f"{folder.name}-copy"
    shutil.copytree(".", copy)
    os.chdir(copy)
    assert evaluate(*options) == 0
    assert results()["table"] == first
    for change, words in CHANGES:
        os.chdir(folder)
        shutil.rmtree(copy)
        shutil.copytree(".", copy)
        os.chdir(copy)
        change()
        assert words in refused(capsys, *options)


def test_what_was_damaged_is_said_among_the_notes(folder, capsys):
    assert evaluate() == 0
    first = results()["table"]
    os.truncate("out/part-00000.sqlite", 9000)
    assert evaluate() == 0
    assert "part-00000.sqlite is damaged" in capsys.readouterr().err
    (note,) = (note for note in results()["excluded"]["notes"] if "damaged" in note)
    assert "computed again" in note
    again = results()["table"]
    assert [{**row, "seconds": 0} for row in again] == [{**row, "seconds": 0} for row in first]


def strange_images():
    images = Path("images")
    (images / "broken.png").write_bytes((images / "0.png").read_bytes()[:300])
    (images / "empty.jpg").write_bytes(b"")
    (images / "notes.txt").write_text("no image")
    picture(1, (30, 20), "L").save(images / "grey.png")
    picture(2, (40, 30), "CMYK").save(images / "cmyk.jpg")
    Image.fromarray(np.arange(900, dtype=np.uint16).reshape(30, 30) * 60).save(images / "deep.tif")
    Image.new("RGB", (1, 300)).save(images / "thin.png")
    Image.new("RGB", (2000, 1000)).save(images / "huge.png")


def test_bad_images_are_counted_and_the_good_ones_unaffected(folder, monkeypatch):
    assert evaluate("--group", "1", out="before") == 0
    strange_images()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900_000)
    assert evaluate("--group", "1") == 0
    found = {row["example"]: row["reason"] for row in results()["excluded"]["all"]}
    assert set(found) == {"broken.png", "empty.jpg", "thin.png", "huge.png"}
    assert "is damaged" in found["broken.png"]
    assert "not an image" in found["empty.jpg"]
    assert "too small" in found["thin.png"]
    assert "too many pixels" in found["huge.png"]
    before, after = (
        {(row["example"], row["method"]): row["insertion"]
         for row in rows_of(out)}
        for out in ("before", "out")
    )  # fmt: skip
    assert before.items() <= after.items()
    assert len(after) == 2 * 8


def test_classes_come_from_sub_folders_by_name_number_or_order(folder, capsys):
    for naming in (["ant", "dog"], ["0", "3"], ["n01", "n02", "n03", "n04"]):
        images = Path("_".join(naming))
        for k, name in enumerate(naming):
            (images / name).mkdir(parents=True)
            picture(k).save(images / name / "x.png")
        assert evaluate("--all-images", images=str(images), out=f"out-{images}") == 0
        rows = rows_of(f"out-{images}")
        last = {"dog": "3", "3": "3", "n04": "3"}[naming[-1]]
        assert rows[-1]["target"] == last
    (images / "other").mkdir()
    picture(1).save(images / "other" / "x.png")
    assert "not the model's 4 classes" in refused(capsys, images=str(images))


def test_images_without_label_are_left_out_where_others_have_one(folder, capsys):
    Path("labels.csv").write_text("0.png,cat\n")
    assert evaluate("--labels", "labels.csv", "--all-images") == 0
    assert "1 of 5 images has a label; the others are left out" in capsys.readouterr().err
    assert results()["examples"] == {"seen": 5, "kept": 1, "unlabeled": 0}
    options = ("--labels", "labels.csv", "--all-images", "--unlabeled", "predict")
    assert evaluate(*options, out="other") == 0
    assert "4 of 5 images have no label" in capsys.readouterr().out
    assert results("other")["examples"]["unlabeled"] == 4


def test_labels_of_several_classes_are_scored_each_and_refused_under_a_softmax(folder, capsys):
    Path("labels.csv").write_text("0.png,cat;ant\n1,bee\n1,dog\n2.png,ant\n")
    said = refused(capsys, "--labels", "labels.csv")
    assert "line 1: '0.png' has the classes 2 and 0; keep one of them, as those of --model" in said
    made = FACTORY.replace("transforms.Compose(steps))", 'transforms.Compose(steps), "sigmoid")')
    assert made != FACTORY
    Path("labeled.py").write_text(made)
    options = ("--model", "labeled.py:classifier", "--labels", "labels.csv", "--all-images")
    assert evaluate(*options) == 0
    assert "3 images have 5 labels" in capsys.readouterr().out
    assert results()["examples"] == {
        "seen": 5, "kept": 3, "unlabeled": 0, "pairs": 5, "pairs_left_out": 0}  # fmt: skip
    pairs = [(row["example"], row["target"]) for row in rows_of("out")[::2]]
    assert pairs == [("0.png", "0"), ("0.png", "2"), ("1.png", "1"), ("1.png", "3"), ("2.png", "0")]
    before = scores()
    assert evaluate(*options) == 0
    assert scores() == before
    boxes = [("0.png", "cat", [0, 0, 9, 9]), ("0.png", "ant", [9, 9, 20, 20])]
    entries = [{"file": f, "class": c, "boxes_xyxy": [b]} for f, c, b in boxes]
    Path("a.json").write_text(json.dumps({"images": entries}))
    told = (*options[:2], "--annotations", "a.json", "--all-images", "--metrics", "localization",
            "--methods", "edges")  # fmt: skip
    assert evaluate(*told, out="boxes") == 0
    assert "1 image has 2 labels, each" in (printed := capsys.readouterr().out)
    assert "stands for all" not in printed
    np.savez("m.npz", maps=np.ones((1, 1, 8, 8)), names=["0.png"])
    said = refused(capsys, *told, "--maps", "m.npz", out="third")
    assert "of '0.png', which are 0, 2 by --annotations, but has one that says no class" in said


def test_only_correctly_classified_images_are_kept_unless_asked(folder):
    Path("labels.csv").write_text("file,class\n" + "".join(f"{k}.png,bee\n" for k in range(5)))
    assert evaluate("--labels", "labels.csv", "--all-images", out="all") == 0
    n_all = len(rows_of("all")) // 2
    assert n_all == 5
    code = evaluate("--labels", "labels.csv")
    store = sqlite3.connect("out/part-00000.sqlite")
    kept, wrong = (
        store.execute(f"SELECT count(*) FROM seen WHERE reason IS {word}").fetchone()[0]
        for word in ("NULL", "NOT NULL")
    )
    agreeing = store.execute("SELECT count(*) FROM seen WHERE prediction = 1").fetchone()[0]
    assert kept == agreeing
    assert kept + wrong == 5
    assert code == (0 if kept else 2)


def annotate(entries, name="boxes.json"):
    Path(name).write_text(json.dumps({"images": entries}))


def test_boxes_give_localization_and_other_sizes_are_counted(folder):
    Image.new("L", (10, 10), 255).save("images/4_mask.png")
    annotate([
        {"file": "0.png", "boxes_xyxy": [[2, 3, 20, 21]]},
        {"file": "1.png", "boxes_xyxy": [[0, 0, 24, 24]]},
        {"file": "2.png", "boxes_xyxy": []},
        {"file": "4.png", "mask": "images/4_mask.png"},
    ])  # fmt: skip
    assert evaluate("--annotations", "boxes.json") == 0
    found = results()
    assert 0 <= found["table"][0]["roc_auc"] <= 1
    reasons = {row["example"]: row["reason"] for row in found["excluded"]["all"]}
    assert "10 x 10 pixels, the image of 24 x 24" in reasons["4.png"]
    assert reasons["3.png"] == reasons["2.png"] == "no annotation"
    assert "annotation full" in reasons.values()


def test_coco_json_and_a_folder_of_masks_say_the_same_as_boxes(folder):
    annotate([{"file": f"{k}.png", "boxes_xyxy": [[4, 4, 16, 12]]} for k in range(5)])
    Path("coco.json").write_text(json.dumps({
        "images": [{"id": k, "file_name": f"{k}.png", "width": 24, "height": 24} for k in range(5)],
        "annotations": [{"image_id": k, "category_id": 1, "bbox": [4, 4, 12, 8]} for k in range(5)],
        "categories": [{"id": 1, "name": "thing"}],
    }))  # fmt: skip
    Path("masks").mkdir()
    mask = np.zeros((24, 24), np.uint8)
    mask[4:12, 4:16] = 255
    for k in range(5):
        Image.fromarray(mask).save(f"masks/{k}_mask.png")
    for source, out in (("boxes.json", "a"), ("coco.json", "b"), ("masks", "c")):
        assert evaluate("--annotations", source, out=out) == 0
    assert scores("a") == scores("b") == scores("c")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--methods", "ig,magic"], "--methods: `methods` are among"),
        (["--metrics", "beauty"], "--metrics: `metrics` are among"),
        (["--metrics", "localization"], "localization needs --annotations"),
        (["--against", "rise"], "--against is one of saliency, ig, but got 'rise'"),
        (["--limit", "0"], "--limit is at least 1, but got 0"),
        (["--group", "0"], "--group is at least 1, but got 0"),
        (["--labels", "gone.csv"], "--labels gone.csv can't be read"),
        (["--labels", "wrong.csv"], "wrong.csv, line 1: needs an image's path and one of"),
        (["--labels", "elsewhere.csv"], "--labels names 1 image that is not there"),
        (["--annotations", "gone.json"], "--annotations gone.json can't be read"),
        (["--annotations", "mine.py"], "--annotations mine.py can't be read"),
        (["--annotations", "list.json"], "needs a list \"images\""),
        (["--out", "mine.py"], "--out is a folder, but mine.py is a file"),
        (["--model", "mine.py:without_relu", "--methods", "guided-grad-cam"], "none suits"),
    ],
)  # fmt: skip
def test_a_wrong_call_gets_one_sentence(arguments, words, folder, capsys):
    Path("wrong.csv").write_text("0.png,9\n")
    Path("elsewhere.csv").write_text("x.png,1\n")
    Path("list.json").write_text("[]")
    assert words in refused(capsys, *arguments)
    assert not Path("out").exists()


def test_folders_without_images(folder, capsys):
    Path("nothing").mkdir()
    assert "holds no image" in refused(capsys, images="nothing")
    assert "is not a folder" in refused(capsys, images="gone")
    Path("nothing/x.png").write_text("no")
    assert "holds no image that can be read" in refused(capsys, images="nothing")


def test_a_model_that_guided_backpropagation_does_not_suit_is_said(folder, capsys):
    assert evaluate("--model", "mine.py:without_relu",
                    "--methods", "saliency,guided-grad-cam,grad-cam") == 0  # fmt: skip
    assert "guided-grad-cam is left out" in capsys.readouterr().err
    assert "nn.ReLU" in results()["excluded"]["methods"]["guided-grad-cam"]


# Grad-CAM finds nothing for one of the random pictures; iGOS++ then begins at ones, and says so.
@pytest.mark.filterwarnings("default:`start` has no positive credit")
@pytest.mark.filterwarnings("default:nothing was deleted")
def test_every_method_and_metric_works_in_the_command(folder):
    annotate([{"file": f"{k}.png", "boxes_xyxy": [[4, 4, 16, 12]]} for k in range(5)])
    assert evaluate(
        "--model", "mine.py:larger", "--methods", "all",
        "--metrics", "insertion,deletion,localization,information",
        "--annotations", "boxes.json", "--n-masks", "5", "--n-iter", "2", "--limit", "2",
    ) == 0  # fmt: skip
    found = results()
    assert found["excluded"]["methods"] == {}
    for row in found["table"]:
        assert row["n_examples"] == 2, row["method"]
        assert all(0 <= row[c] <= 1 for c in ("insertion_abs", "deletion", "aic_ms_ssim"))


def command(*more):
    return ["evaluate", "images", *QUICK, "--steps", "30", "--group", "1", *more]


def test_a_killed_run_goes_on_to_the_same_numbers_bit_for_bit(folder):
    for k in range(5, 16):
        picture(k).save(f"images/{k}.png")
    whole = command("--out", "whole")
    assert main(whole) == 0
    part = command("--out", "part")
    process = processes.command(part)
    store = Path("part/part-00000.sqlite")
    until = time.monotonic() + 240
    # However slowly a busy machine starts it; a run that ends by itself is no longer waited for.
    while process.is_alive() and time.monotonic() < until:
        time.sleep(0.02)
        if store.exists() and done(store) >= 3:
            break
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert 3 <= done(store) < 32
    assert not Path("part/results.json").exists()
    assert main(part) == 0
    assert scores("part") == scores("whole")
    texts = [
        [{k: v for k, v in row.items() if k != "seconds"}
         for row in rows_of(out)]
        for out in ("part", "whole")
    ]  # fmt: skip
    assert texts[0] == texts[1]


def done(store):
    try:
        with sqlite3.connect(store, timeout=5) as connection:
            return connection.execute("SELECT count(*) FROM done").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def test_torchrun_gives_the_numbers_of_one_process(folder):
    assert main(command("--out", "one")) == 0
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*run, "-m", "captum_ext", *command("--out", "two")], env=environment, check=True
    )
    assert scores("two") == scores("one")
    assert len(list(Path("two").glob("part-*.sqlite"))) == 2
    assert "torchrun --nproc-per-node 2" in Path("two/report.html").read_text()


FAILS = """
import os
import re
calls = []

def failing():
    made = classifier()
    made.model[-1].register_forward_hook(_fail)
    return made

def _fail(*_):
    calls.append(1)
    if len(calls) > 5 and os.environ.get("RANK") == "1":
        raise RuntimeError("CUDA error: an illegal memory access was encountered\\nmore")
"""


def test_the_process_that_fails_says_why_and_no_other_does(folder):
    Path("mine.py").write_text(FACTORY + FAILS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    arguments = [*command("--out", "out"), "--model", "mine.py:failing"]
    both = [
        processes.command(arguments, {**shared, "RANK": rank}, said=f"{rank}.txt") for rank in "01"
    ]
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [1, 1]
    said = [Path(f"{rank}.txt").read_text() for rank in "01"]
    assert said[1].count("captum-ext: the run stopped at ") == 1
    assert "as CUDA error: an illegal memory access" in said[1]
    assert "gloo" not in said[0]
    assert "ended" not in said[0]


def sanity(*arguments, image="images"):
    return main(["sanity", image, *QUICK, *arguments])


@pytest.mark.usefixtures("drawn")
@pytest.mark.usefixtures("drawn")
def test_sanity_writes_the_cascade_and_its_table(folder, capsys):
    # Fewer images have no interval.
    picture(5).save("images/5.png")
    assert sanity("--json", "s.json", "--limit", "6") == 0
    assert "weights changed" in capsys.readouterr().out
    found = json.loads(Path("s.json").read_text())
    stages = [row for row in found["table"] if row["method"] == "ig"]
    shares = [row["changed"] for row in stages]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    edges = [row for row in found["table"] if row["method"] == "image edges"]
    assert all(row["abs_spearman"] == pytest.approx(1) for row in edges)
    assert all(row["ssim_n"] == 6 for row in edges)
    with Image.open("sanity.png") as figure:
        assert np.asarray(figure.convert("L")).std() > 10


def test_sanity_of_one_image_leaves_the_model_and_says_what_is_wrong(folder, capsys):
    assert sanity("--similarity", "ssim", "--order", "independent", image="images/0.png") == 0
    for arguments, words in (
        (["--similarity", "beauty"], "--similarity is among"),
        (["--methods", "magic"], "--methods"),
        (["--target", "9"], "--target is a class from 0 to 3"),
        (["--stages", "nowhere"], "--stages is block"),
        (["--out", "sanity.doc"], "--out ends in one of"),
        (["--steps", "0"], "--steps is at least 1"),
    ):
        assert sanity(*arguments) == 2
        assert words in capsys.readouterr().err


def test_sanity_leaves_out_the_images_that_the_model_does_not_answer(folder, capsys):
    Path("mine.py").write_text(
        FACTORY
        + """
class SometimesNan(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = classifier().model

    def forward(self, x):
        return torch.where(x.flatten(1).mean(1, keepdim=True) < -0.99, torch.nan, self.net(x))

def some():
    return ImageClassifier(SometimesNan().eval(), [0.5] * 3, [0.5] * 3)
"""
    )
    Image.new("RGB", (24, 24)).save("images/2.png")
    assert sanity("--model", "mine.py:some", "--json", "s.json") == 0
    said = capsys.readouterr()
    assert "IMAGE images/2.png is left out: --model gives nan or infinite" in said.err
    assert "4 images, cascading" in said.out
    for k in range(5):
        Image.new("RGB", (24, 24)).save(f"images/{k}.png")
    assert sanity("--model", "mine.py:some") == 2


def test_where_every_class_is_missed_the_way_out_is_said(folder, capsys):
    assert evaluate() == 0
    wrong = {row["example"]: (int(row["target"]) + 1) % 4 for row in rows_of("out")}
    Path("labels.csv").write_text("".join(f"{name},{k}\n" for name, k in wrong.items()))
    said = refused(capsys, "--labels", "labels.csv", out="other")
    assert said.endswith("5 (not classified correctly). --all-images explains those too.")


def test_two_sanity_runs_agree(folder):
    for name in ("a.json", "b.json"):
        assert sanity("--json", name, "--limit", "2") == 0
        torch.rand(3)
    a, b = (json.loads(Path(n).read_text())["table"] for n in ("a.json", "b.json"))
    assert a == b


def in_columns(drawing):
    """The columns of a drawing of folders, each the lines below its head."""
    head, *lines = drawing.splitlines()
    starts = [match.start() for match in re.finditer(r"\S+", head)]
    bounds = [*zip(starts, [*starts[1:], None], strict=True)]
    return [[line[a:b].rstrip() for line in lines if line[a:b].strip()] for a, b in bounds]


def paths_of(lines):
    """The files of a drawn folder: what is indented more lies in what stands above."""
    above = {}
    for line in lines:
        depth = len(line) - len(line.lstrip())
        above = {d: name for d, name in above.items() if d < depth} | {depth: line.strip()}
        if not line.endswith("/"):
            yield "".join(above.values())


def test_the_folders_of_the_recipes_are_read_by_the_commands_below_them(folder):
    page = (ROOT / "docs" / "recipes.md").read_text()
    section = page.partition("## Folders, labels and annotations\n")[2].partition("\n## ")[0]
    drawing, commands = re.findall(r"(?ms)^```\w+\n(.*?)^```", section)
    photos, labels, masks = in_columns(drawing)
    Path("labels.csv").write_text("\n".join(line.strip() for line in labels))
    for root, lines in (("photos", photos), ("masks", masks)):
        for k, name in enumerate(paths_of(lines)):
            file = Path(root, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            (picture(k) if root == "photos" else picture(k, mode="1")).save(file)
    Path("thousand.py").write_text(
        FACTORY.replace("Linear(32, 4)", "Linear(32, 1000)").replace(
            '["ant", "bee", "cat", "dog"]', "_IMAGENET_CATEGORIES"
        )
        + "from torchvision.models._meta import _IMAGENET_CATEGORIES\n"
    )
    for command in commands.strip().splitlines():
        words = command.removeprefix("$ captum-ext ").split()
        quick = ("--model", "thousand.py:classifier", "--methods", "saliency", "--all-images")
        assert main([*words, *quick]) == 0
    rows = {row["example"]: row for row in rows_of("regions")}
    assert {name: row["target"] for name, row in rows.items()} == {
        "tabby/1.jpg": "281", "teapot/2.jpg": "849",
    }  # fmt: skip
    assert float(rows["tabby/1.jpg"]["roc_auc"]) > 0
    assert rows["teapot/2.jpg"]["roc_auc"] == ""
