"""Exit codes and sentences: 2 is a wrong call, 1 everything else, and neither is silent."""

import random
from pathlib import Path

import pytest

from captum_ext.cli import main
from tests.cli.conftest import evaluate, explain, said, sanity

COMMANDS = {"explain": explain, "sanity": sanity, "evaluate": evaluate}
EACH = pytest.mark.parametrize("name", COMMANDS)


@EACH
def test_a_model_without_gradients_ends_with_1_where_all_methods_need_them(name, folder, capsys):
    code = COMMANDS[name]("--model", "mine.py:detached", "--methods", "ig,saliency")
    assert code == 1
    assert "no method gives a map (ig, saliency: " in said(capsys)[-1]


def test_what_other_methods_found_is_kept(folder, capsys):
    options = ("--model", "mine.py:detached", "--methods", "saliency,rise", "--n-masks", "9")
    assert explain(*options, "--json", "t.json") == 0
    captured = capsys.readouterr()
    assert "saliency fails: " in captured.err
    assert "RISE   " in captured.out
    assert Path("explanation.png").exists()


def test_a_method_that_does_not_fit_is_left_out_before_any_work(folder, capsys):
    assert explain("--methods", "guided-grad-cam,ig") == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("captum-ext: guided-grad-cam is left out: ")
    assert explain("--methods", "guided-grad-cam") == 2
    assert "none suits the model" in said(capsys)[-1]


@EACH
@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("silent", "ValueError without a message (mine.py, line "),
        ("asserting", "AssertionError without a message (mine.py, line "),
        ("interrupted", "interrupted"),
        ("leaving", "SystemExit(0)"),
        ("exits", "SystemExit(0)"),
    ],
)
def test_what_a_users_model_raises_is_1_and_told(name, factory, words, folder, capsys):
    assert COMMANDS[name]("--model", f"mine.py:{factory}") == 1
    assert words in said(capsys)[-1]


@EACH
def test_an_argument_that_no_method_takes_is_a_wrong_call(name, folder, capsys):
    assert COMMANDS[name]("--methods", "igos", "--max-forwards", "3") == 2
    assert "`max_forwards` must allow one iteration" in said(capsys)[-1]


CONTRADICTIONS = [
    (evaluate, ["--methods", "saliency,ig", "--against", "rise"], "--against is one of"),
    (evaluate, ["--methods", "all", "--against", "magic"], "--against is one of"),
    (evaluate, ["--methods", "ig,guided-grad-cam", "--against", "guided-grad-cam"], "--against"),
    (evaluate, ["--preset", "xrai", "--metrics", "insertion"], "`preset` 'xrai' belongs to"),
    (evaluate, ["--preset", "rise", "--reference", "black"], "Leave one of them out"),
    (evaluate, ["--metrics", "insertion,insertion"], "--metrics names 'insertion' twice"),
    (evaluate, ["--metrics", ""], "--metrics is a list"),
    (explain, ["--methods", "ig,ig"], "--methods names 'ig' twice"),
    (explain, ["--methods", " , "], "--methods is a list"),
    (explain, ["--target", "9" * 6000], "--target is a class"),
    (sanity, ["--methods", ""], "--methods is a list"),
    (sanity, ["--similarity", "ssim,ssim"], "--similarity names 'ssim' twice"),
    (sanity, ["--stages", "head,"], "--stages is block, layer or names"),
]


@pytest.mark.parametrize(("command", "arguments", "words"), CONTRADICTIONS)
def test_options_that_contradict_are_refused(command, arguments, words, folder, capsys):
    assert command(*arguments) == 2
    assert words in said(capsys)[-1]
    assert not Path("out").exists()


def test_a_file_whose_name_begins_with_a_dash_is_told_from_an_option(folder, capsys):
    Path("photo.png").rename("-photo.png")
    assert main(["explain", "-photo.png", "--model", "mine.py:classifier"]) == 2
    assert "-photo.png is no option: the file of that name is ./-photo.png" in said(capsys)[-1]
    assert main(["explain", "./-photo.png", "--model", "mine.py:classifier", "--steps", "2"]) == 0


NUMBERS = ["0", "-1", str(10**30), "nan", "inf", "1.5", "", "x", "9" * 6000]
WRONG = {
    "--steps": NUMBERS, "--n-masks": NUMBERS, "--n-iter": NUMBERS, "--max-forwards": NUMBERS,
    "--batch-size": NUMBERS, "--limit": NUMBERS, "--group": NUMBERS,
    "--seed": [n for n in NUMBERS if n != "0"],
    "--methods": ["", ",", "ig,ig", "magic", "ig,\x1b[31m", "\udcff"],
    "--model": ["", ":", "gone.py:f", "mine.py:", "a" * 300 + ".py:f", "torchvision:", "\0:f"],
    "--weights": ["", "gone.pth", "images", "w" * 300, "loop.png", "photo.png", "random"],
    "--device": ["", "toaster", "cuda:-1", "\udcff"],
    "--out": ["", ".", "\0", "n" * 300 + ".png", "loop.png", "photo.png", "/proc/x/y.png"],
    "--json": ["", "images", "t.txt", "loop.png", "none/t.json"],
    "--target": ["", "-1", "4", "nobody", "9" * 5000],
    "--labels": ["", "gone.csv", "images", "loop.png"],
    "--annotations": ["", "gone.json", "photo.png"],
    "--nonsense": ["", "\x1b[31m"],
}  # fmt: skip
RIGHT = {"--steps": "2", "--seed": "1", "--methods": "saliency,ig", "--n-iter": "3"}


def vectors(n):
    """Calls with one wrong argument or more among right ones."""
    draw = random.Random(0)
    for k in range(n):
        command = ["explain", "sanity", "evaluate"][k % 3]
        options = ["--model", "mine.py:classifier"]
        for option in draw.sample(sorted(RIGHT), 2):
            options += [option, RIGHT[option]]
        for option in draw.sample(sorted(WRONG), draw.choice([1, 1, 2])):
            options += [option, draw.choice(WRONG[option])]
        yield [command, "images" if command != "explain" else "photo.png", *options]


def test_every_wrong_call_gets_2_and_one_sentence(folder, capsys):
    Path("loop.png").symlink_to("loop.png")
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    for words in vectors(300):
        assert main(words) == 2, words
        captured = capsys.readouterr()
        sentences = captured.err.split("captum-ext: ")[1:]
        assert sentences, words
        assert all(len(s.strip()) > 10 for s in sentences), words
        assert "Traceback" not in captured.err
        assert "\x1b" not in captured.err
        assert len(captured.err) < 1500, words
    assert {p: p.read_bytes() for p in before} == before
