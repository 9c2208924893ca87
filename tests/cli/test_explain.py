"""The command as a user meets it: what it writes, and what it says when it can't."""

import json
import re
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from captum_ext.classifier import classifier_of
from captum_ext.cli import main
from captum_ext.cli.explanation import reading
from captum_ext.cli.explanation.result import Result
from captum_ext.cli.inputs.models import load_model, name_of, predict, transform_of
from captum_ext.cli.tables import explained
from captum_ext.curve import Curve
from captum_ext.evaluation.cost import Counted
from tests.conftest import PICKLES

FACTORY = """
import torch
from torch import nn
from captum_ext import ImageClassifier

def net():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3, stride=2), nn.Softplus(), nn.Flatten(), nn.LazyLinear(4)]
    return nn.Sequential(*layers)

def classifier():
    made = ImageClassifier(net(), [0.5] * 3, [0.5] * 3, class_names=["a", "b", "c", "d"])
    made(torch.zeros(1, 3, 32, 32))
    return made

def logits():
    return net()

class Nan(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :4] * float("nan")

def broken():
    raise RuntimeError("no luck today")

def number():
    return 3

def pooled():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Softmax(1))

def places():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softmax(1))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FACTORY)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("image.png")
    return tmp_path


def explain(*arguments, image="image.png"):
    given = [] if image is None else [str(image)]
    return main(["explain", *given, "--model", "mine.py:classifier", "--steps", "2", *arguments])


def refused(capsys, *arguments, **options):
    """The one sentence that an impossible call gets."""
    assert explain(*arguments, **options) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    (sentence,) = [line for line in captured.err.splitlines() if line.startswith("captum-ext:")]
    return sentence


def test_what_restores_and_halves_the_score_is_read_off_the_curves():
    x = torch.tensor([[0.0, 0.5, 1.0]], dtype=torch.float64)
    curves = {
        "insertion": Curve(x, torch.tensor([[0.0, 0.72, 0.8]], dtype=torch.float64)),
        "deletion": Curve(x, torch.tensor([[0.8, 0.0, 0.0]], dtype=torch.float64)),
        "deletion_abs": Curve(x, torch.tensor([[0.8, 0.8, 0.5]], dtype=torch.float64)),
    }
    row = Result("IG", curves=curves).record("ig")
    assert (row["area_to_restore"], row["area_to_lose"]) == (0.5, 0.25)
    assert (row["area_to_restore_abs"], row["area_to_lose_abs"]) == (None, None)
    assert "restores" not in explained({"": [row]}, {"ig": "IG"})
    more = {"area_to_restore_abs": 0.5, "area_to_lose_abs": 0.25}
    said = explained({"": [row | more]}, {"ig": "IG"})
    assert "top 50% of pixels restores 90% of the score; hiding the top 25% halves it." in said


@pytest.mark.usefixtures("drawn")
def test_explain_writes_a_table_a_figure_and_json(folder, capsys):
    assert explain("--out", "figure.png", "--json", "table.json") == 0
    printed = capsys.readouterr().out
    assert "IDGI (Blur IG)" in printed
    report = json.loads((folder / "table.json").read_text())
    assert [row["method"] for row in report["table"]] == [
        "ig", "guided-ig", "blur-ig", "idgi-ig", "idgi-guided-ig", "idgi-blur-ig"
    ]  # fmt: skip
    assert all(0 <= row["insertion"] <= 1 for row in report["table"])
    with Image.open("figure.png") as figure:
        assert figure.size[0] > 1000
        assert np.asarray(figure.convert("L")).std() > 10
    assert sorted(p.name for p in folder.iterdir() if p.name != "__pycache__") == [
        "figure.png", "image.png", "mine.py", "table.json"
    ]  # fmt: skip


def test_evaluations_are_counted(folder, capsys):
    assert explain("--json", "t.json", "--methods", "ig,idgi-ig,blur-ig,idgi-guided-ig") == 0
    rows = {row["method"]: row for row in json.loads((folder / "t.json").read_text())["table"]}
    costs = {name: (row["gradients"], row["forwards"]) for name, row in rows.items()}
    assert costs == {"ig": (2, 1), "idgi-ig": (2, 1), "blur-ig": (3, 0), "idgi-guided-ig": (2, 1)}
    shared = {name: row["shared_with"] for name, row in rows.items() if row["shared_with"]}
    assert shared == {"ig": ["idgi-ig"], "idgi-ig": ["ig"]}
    assert "IG and IDGI (IG) share a walk" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["ig", "idgi-ig", "blur-ig", "idgi-blur-ig", "idgi-guided-ig"])
def test_methods_that_share_a_walk_score_as_alone(name, folder):
    assert explain("--json", "all.json") == 0
    assert explain("--json", "one.json", "--methods", name) == 0
    costs = ("seconds", "forwards", "gradients", "shared_with")
    rows = [
        {k: v for k, v in row.items() if k not in costs}
        for file in ("all.json", "one.json")
        for row in json.loads((folder / file).read_text())["table"]
        if row["method"] == name
    ]
    assert rows[0] == rows[1]


def test_no_frame_is_asked_for_twice_and_curves_share_calls(folder, monkeypatch):
    calls, read = [], []
    forward, curves = Counted.forward, reading.perturb_all

    def spy(self, images):
        calls.append([image.numpy().tobytes() for image in images.detach()])
        return forward(self, images)

    def read_through(*given, **named):
        calls.clear()
        read.append(curves(*given, **named))
        return read[-1]

    monkeypatch.setattr(Counted, "forward", spy)
    monkeypatch.setattr(reading, "perturb_all", read_through)
    assert explain() == 0
    frames = [frame for call in calls for frame in call]
    # Of 6 maps 4 curves of 21 frames, whose ends are the same two; the prediction knew one.
    assert 6 * 19 < len(frames) == len(set(frames)) <= 6 * 4 * 19 + 1
    assert len(read) == 1
    # 504 frames, 392 at most in a call.
    assert len(calls) == 2


@pytest.mark.usefixtures("drawn")
def test_masks_show_their_history(folder):
    methods = "grad-cam,igos,igos++,mask,rise"
    assert explain("--methods", methods, "--history", "history.png", "--json", "t.json") == 0
    with Image.open("history.png") as figure:
        assert np.asarray(figure.convert("L")).std() > 10
    rows = {row["method"]: row for row in json.loads((folder / "t.json").read_text())["table"]}
    assert rows["rise"]["forwards"] == 4000
    assert rows["igos"]["gradients"] > 0


def test_effort_is_chosen_and_written_down(folder):
    effort = ("--n-masks", "16", "--n-iter", "1", "--max-forwards", "100")
    assert explain("--methods", "igos,rise", *effort, "--json", "t.json") == 0
    report = json.loads((folder / "t.json").read_text())
    rows = {row["method"]: row for row in report["table"]}
    assert rows["rise"]["forwards"] == 16
    assert rows["igos"]["gradients"] == 5
    chosen = {"n_steps": 2, "n_masks": 16, "n_iter": 1, "max_forwards": 100}
    assert chosen.items() <= report["protocol"].items()


def test_the_target_can_be_a_number_or_a_name(folder, capsys):
    assert explain("--target", "2", "--methods", "ig") == 0
    assert explain("--target", "c", "--methods", "ig") == 0
    assert capsys.readouterr().out.count("explaining c (class 2") == 2


def test_two_runs_with_one_seed_print_the_same_scores(folder):
    for name in ("one.json", "two.json"):
        assert explain("--json", name, "--seed", "3") == 0
    tables = [json.loads((folder / name).read_text())["table"] for name in ("one.json", "two.json")]
    for row in tables[0] + tables[1]:
        row.pop("seconds")
    assert tables[0] == tables[1]


def test_half_precision_is_asked_for_and_written_down(folder):
    found = {}
    for name in ("float32", "bf16"):
        assert explain("--precision", name, "--methods", "ig", "--json", f"{name}.json") == 0
        report = json.loads((folder / f"{name}.json").read_text())
        assert report["protocol"]["precision"] == name
        found[name] = report["table"][0]["insertion"]
    assert found["bf16"] != found["float32"]
    assert found["bf16"] == pytest.approx(found["float32"], abs=0.02)
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("mode", ["L", "CMYK", "I;16", "RGBA", "LA", "P", "1", "F"])
def test_images_of_every_mode_are_taken_and_the_conversion_is_said(mode, folder, capsys):
    ramp = np.linspace(0, 1, 32 * 32).reshape(32, 32)
    if mode in ("I;16", "F"):
        scale, kind = {"I;16": (65535, np.uint16), "F": (1, np.float32)}[mode]
        Image.fromarray((ramp * scale).astype(kind)).save("other.tiff")
    else:
        Image.fromarray((ramp * 255).astype(np.uint8)).convert(mode).save("other.tiff")
    assert explain("--methods", "ig", image="other.tiff") == 0
    assert "taken as RGB" in capsys.readouterr().err


def test_an_image_that_is_not_there(folder, capsys):
    assert "IMAGE nowhere.png does not exist" in refused(capsys, image="nowhere.png")


def test_a_truncated_image(folder, capsys):
    whole = (folder / "image.png").read_bytes()
    (folder / "half.png").write_bytes(whole[: len(whole) // 2])
    assert "half.png is damaged" in refused(capsys, image="half.png")


def test_a_file_that_is_no_image(folder, capsys):
    assert "mine.py is not an image" in refused(capsys, image="mine.py")


@pytest.mark.usefixtures("drawn")
def test_an_image_1_pixel_wide(folder, capsys):
    Image.new("RGB", (1, 500)).save("thin.png")
    assert "1 x 500 pixels, too small" in refused(capsys, image="thin.png")


def test_a_decompression_bomb(folder, capsys, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert "too many pixels" in refused(capsys)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--methods", "ig,magic"], "--methods: .*but got ['magic']"),
        (["--methods", ""], "--methods"),
        (["--steps", "0"], "--steps is at least 1, but got 0"),
        (["--n-masks", "0"], "--n-masks is at least 1, but got 0"),
        (["--methods", "igos", "--max-forwards", "3"], "`max_forwards` must allow one iteration"),
        (["--batch-size", "0"], "--batch-size is at least 1, but got 0"),
        (["--target", "4"], "--target is a class from 0 to 3"),
        (["--target", "-1"], "--target is a class from 0 to 3"),
        (["--target", "dog"], "--target is a class"),
        (["--out", "image.png"], "--out would overwrite image.png"),
        (["--out", "missing/figure.png"], "--out is a file in an existing folder"),
        (["--out", "figure.doc"], "--out ends in one of"),
        (["--history", "h.png", "--methods", "ig"], "--history needs a method"),
        (["--history", "explanation.png", "--methods", "igos"], "--history would overwrite"),
        (["--json", "image.png"], "--json ends in one of"),
        (["--device", "cuda:99"], "--device cuda:99 can't be used here"),
        (["--device", "toaster"], "--device toaster can't be used here: this machine"),
        (["--model", "mine.py:pooled"], "flatten it, as nn.Sequential(model, nn.Flatten()) does"),
        (["--model", "mine.py:places"], "scores of places, as of a segmentation"),
        (["--model", "nothing"], "--model is lite0, lite1, lite2, torchvision:NAME"),
        (["--model", "gone.py:net"], "gone.py, which does not exist"),
        (["--model", "mine.py:gone"], "mine.py does not define"),
        (["--model", "mine.py:broken"], "fails with RuntimeError: no luck today"),
        (["--model", "mine.py:number"], "must return an nn.Module"),
        (["--model", "mine.py:logits"], "must return probabilities"),
        (["--model", "mine.py:Nan"], "gives nan"),
        (["--model", "torchvision:nonesuch"], "`name` is a model that torchvision"),
        (["--model", "torchvision:resnet18", "--weights", "gone.pth"], "`weights` of resnet18"),
        (["--weights", "gone.pth"], "gone.pth does not exist"),
        pytest.param(
            ["--weights", "image.png"], "`weights` is a file that torch.load", marks=PICKLES
        ),
        pytest.param(["--weights", "other.pth"], "`weights` must fit the model", marks=PICKLES),
    ],
)
def test_a_wrong_call_gets_one_sentence_and_leaves_no_file(arguments, words, folder, capsys):
    torch.save({"weight": torch.zeros(1)}, "other.pth")
    before = sorted(folder.iterdir())
    sentence = refused(capsys, *arguments)
    for part in words.split(".*"):
        assert part in sentence
    after = [p for p in sorted(folder.iterdir()) if p.name != "__pycache__"]
    assert after == before


@PICKLES
def test_weights_from_a_file_are_used(folder, capsys):
    sys.path.insert(0, str(folder))
    import mine

    sys.path.pop(0)
    made = mine.classifier()
    made.model[3].bias.data[3] += 100
    torch.save(made.model.state_dict(), "weights.pth")
    assert explain("--weights", "weights.pth", "--methods", "ig") == 0
    assert "explaining d (class 3, p = 1.000)" in capsys.readouterr().out


def test_a_failed_run_leaves_the_earlier_figure(folder, monkeypatch):
    assert explain("--methods", "ig") == 0
    earlier = (folder / "explanation.png").read_bytes()

    def fail(*args, **kwargs):
        raise RuntimeError("disk full")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    assert explain("--methods", "ig") == 1
    assert (folder / "explanation.png").read_bytes() == earlier
    assert not list(folder.glob(".captum-ext-*"))


@pytest.mark.usefixtures("drawn")
def test_without_arguments_coffee_is_an_espresso(folder, capsys):
    assert main(["explain", "--methods", "ig", "--steps", "3"]) == 0
    assert "explaining espresso (class 967" in capsys.readouterr().out
    assert (folder / "explanation.png").stat().st_size > 10_000


def test_unknown_arguments_exit_with_2(capsys):
    assert main(["explain", "--nonsense"]) == 2
    assert main([]) == 2


def test_weights_that_can_not_be_fetched_are_named(folder, capsys, monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    sentence = refused(capsys, "--model", "torchvision:resnet18")
    assert "resnet18-f37072fd.pth" in sentence
    assert "pass its path as `weights`" in sentence


SIGMOIDS = """
import torch
from torch import nn
from torchvision import models
from captum_ext import ImageClassifier

def made(n, **options):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(900, n))
    return ImageClassifier(net.eval(), [0.5] * 3, [0.5] * 3, **options)

def binary():
    return made(1, activation="sigmoid")

def named():
    return made(1, class_names=["weed", "crop"], activation="sigmoid")

def detector():
    return made(1, class_names=["crack"], activation="sigmoid")

def labels():
    return made(3, activation="sigmoid")

def softmax():
    return made(1)

def wrapped():
    return nn.Sequential(labels(), nn.Softmax(1))

def compiled():
    return torch.compile(made(3, class_names=list("abc"), activation="sigmoid"), backend="eager")

class Plain(nn.Module):
    def forward(self, x):
        return x.mean((1, 2, 3))[:, None]

def plain():
    return Plain()

def brightness():
    return ImageClassifier(Plain(), [0.0] * 3, [1.0] * 3, activation=None)

def squashed():
    return made(1, activation=torch.sigmoid)

def said_to_be_two():
    model = brightness()
    model.both_classes = True
    return model

def normalized():
    return made(3, transform=models.ResNet18_Weights.DEFAULT.transforms())

def wordless():
    raise KeyError

def tuples():
    return ImageClassifier(Two(), [0.5] * 3, [0.5] * 3)

class Two(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)), x
"""


@pytest.fixture
def sigmoids(folder):
    (folder / "sigmoids.py").write_text(SIGMOIDS)
    return folder


@pytest.mark.parametrize(
    ("factory", "names"),
    [
        ("binary", ["class 0", "class 1"]),
        ("named", ["weed", "crop"]),
        ("detector", ["not crack", "crack"]),
        ("said_to_be_two", ["class 0", "class 1"]),
        ("labels", ["class 0", "class 1", "class 2"]),
    ],
)
def test_one_logit_makes_two_classes_and_several_make_labels(factory, names, sigmoids):
    model = load_model(f"sigmoids.py:{factory}", None, torch.device("cpu"))
    probabilities = predict(model, torch.rand(2, 3, 32, 32))
    assert probabilities.shape == (2, len(names))
    assert [name_of(model, k) for k in range(len(names))] == names


def test_a_compiled_classifier_is_asked_for_what_it_says(sigmoids):
    model = load_model("sigmoids.py:compiled", None, torch.device("cpu"), ["x", "y", "z"])
    assert [name_of(model, k) for k in range(3)] == ["x", "y", "z"]
    assert transform_of(model) is classifier_of(model).transform
    images = torch.rand(1, 3, 32, 32)
    assert not torch.allclose(predict(model, images).sum(1), torch.ones(1), atol=1e-2)


def test_binary_and_multi_label_models_work_in_every_command(sigmoids, capsys):
    (sigmoids / "images").mkdir()
    for k in range(2):
        Image.open("image.png").save(f"images/{k}.png")
    (sigmoids / "labels.csv").write_text("0.png,0\n1.png,1\n")
    data = ("--labels", "labels.csv", "--all-images", "--metrics", "information")
    calls = {
        "binary": (["sanity", "image.png", "--similarity", "spearman"],
                   ["evaluate", "images", *data]),
        "labels": (["explain", "image.png", "--target", "2"],),
    }  # fmt: skip
    for factory, made in calls.items():
        for call in made:
            model = ("--model", f"sigmoids.py:{factory}", "--methods", "ig", "--steps", "2")
            assert main([*call, *model]) == 0
    printed = capsys.readouterr().out
    assert "2 of 2 images" in printed
    assert "explaining class 2 (class 2, p = 0." in printed


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("softmax", '`activation` "softmax" gives 1 for a single logit'),
        ("plain", "one number per image, not the probabilities"),
        # Within [0, 1], and the probability of nothing.
        ("brightness", "one number per image, not the probabilities"),
        ("squashed", "one number per image, not the probabilities"),
        ("normalized", "`transform` normalizes with mean"),
        ("wordless", "fails with KeyError"),
        ("wrapped", "the Sequential holds an `ImageClassifier` inside"),
        ("tuples", "must return a tensor of logits"),
        ("Plain.forward", "does not define"),
    ],
)
def test_models_that_give_no_probabilities_get_one_clear_sentence(factory, words, sigmoids, capsys):
    assert words in refused(capsys, "--model", f"sigmoids.py:{factory}")


def test_random_weights_are_the_same_in_every_run(folder):
    cpu = torch.device("cpu")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = load_model("torchvision:squeezenet1_1", "random", cpu).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    second = load_model("torchvision:squeezenet1_1", "random", cpu).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_random_weights_are_for_a_network_with_a_name(folder, capsys):
    assert "--weights random is for a network of --model that has a name" in refused(
        capsys, "--weights", "random"
    )


def test_a_page_holds_every_map_with_the_scores_of_the_table(folder):
    assert (
        explain("--methods", "ig,blur-ig,saliency", "--out", "figure.html", "--json", "t.json") == 0
    )
    text = (folder / "figure.html").read_text(encoding="utf-8")
    (held,) = re.findall(r'id="held">(.*)</script>', text)
    maps = json.loads(held)["maps"]
    told = json.loads((folder / "t.json").read_text())
    table, target = told["table"], told["target"]
    assert target["name"] == "abcd"[target["class"]]
    assert f"<h1>{target['name']} (class {target['class']}), p = " in text
    assert [one["label"] for one in maps] == ["IG", "Blur IG", "Gradient"]
    for one, row in zip(maps, table, strict=True):
        for name, curve in one["curves"].items():
            assert curve["area"] == pytest.approx(row[name], abs=1e-4)
    assert len(text) < 3e6
    # A second run may replace what the command wrote, and no page of another's.
    assert explain("--methods", "saliency", "--out", "figure.html", "--overlay", "contour") == 0
    page = (folder / "figure.html").read_text(encoding="utf-8")
    assert "lines around the strongest" in page
    assert "lines around the strongest" not in text
    (folder / "mine.html").write_text("<p>mine</p>")
    assert explain("--methods", "saliency", "--out", "mine.html") == 2
    assert (folder / "mine.html").read_text() == "<p>mine</p>"


def test_frames_are_strips_or_an_animation_and_replace_their_own_alone(folder, capsys):
    words = ("--methods", "saliency", "--frames")
    for name, kind in (("frames.gif", "GIF"), ("frames.png", "PNG"), ("frames.png", "PNG")):
        assert explain(*words, name) == 0
        with Image.open(folder / name) as picture:
            assert (picture.format, getattr(picture, "n_frames", 1) > 1) == (kind, kind == "GIF")
    (folder / "mine.gif").write_bytes(b"mine")
    assert explain(*words, "mine.gif") == 2
    assert (folder / "mine.gif").read_bytes() == b"mine"
    assert explain("--methods", "ig", "--out", "a.gif") == 2
    assert "--out ends in one of .png, .pdf, .svg, .jpg, .html" in capsys.readouterr().err


def test_other_figures_are_no_pages(folder, capsys):
    assert explain("--methods", "igos", "--history", "h.html") == 2
    assert "--history ends in one of .png" in capsys.readouterr().err
