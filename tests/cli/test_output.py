"""No file that the command did not write is written over."""

import itertools
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from PIL import Image

from captum_ext.cli.errors import CallError
from captum_ext.cli.output import check_folder, check_outputs, is_ours, whole_file
from tests.cli.conftest import evaluate, explain, picture, said, sanity


def contents(folder):
    return {p: p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def as_file(place, source):
    shutil.copy(source, place)


def as_hard_link(place, source):
    os.link(source, place)


def as_link(place, source):
    os.symlink(Path(source).resolve(), place)


INPUTS = {
    "image": ("photo.png", lambda out, *more: explain("--out", out, *more)),
    "member": ("images/1.png", lambda out, *more: sanity("--out", out, *more)),
    "weights": (
        "weights.pth",
        lambda out, *more: explain("--weights", "weights.pth", "--out", out, *more),
    ),
    "model": ("mine.py", lambda out, *more: sanity("--out", out, *more)),
}


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("link", [as_hard_link, as_link])
@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_an_input_is_never_written_over_by_any_name(kind, link, overwrite, folder, capsys):
    Path("weights.pth").write_bytes(b"weights")
    source, command = INPUTS[kind]
    link("other.png", source)
    before = contents(folder)
    outs = ["other.png", *([source] if source.endswith(".png") else [])]
    for out in outs:
        assert command(out, *overwrite) == 2
        assert "--out would overwrite" in said(capsys)[-1]
        assert contents(folder) == before


FOREIGN = {".png": b"\x89PNG my drawing", ".pdf": b"%PDF-1.4 mine", ".svg": b"<svg/>", ".jpg": b""}


@pytest.mark.parametrize(
    ("command", "option"),
    [(explain, "--out"), (explain, "--history"), (explain, "--json"), (sanity, "--out"),
     (sanity, "--json")],
)  # fmt: skip
def test_files_of_others_are_kept_unless_overwriting_is_asked_for(command, option, folder, capsys):
    suffixes = [".json"] if option == "--json" else [*FOREIGN]
    for suffix in suffixes:
        file = Path(f"theirs{suffix}")
        file.write_bytes(FOREIGN.get(suffix, b'{"theirs": 1}'))
        before = contents(folder)
        assert command(option, str(file)) == 2
        assert f"{option} would overwrite {file}" in said(capsys)[-1]
        assert "--overwrite" in command_help(option, file, command, capsys)
        assert contents(folder) == before


def command_help(option, file, command, capsys):
    assert command(option, str(file)) == 2
    return said(capsys)[-1]


def test_own_files_are_replaced_and_others_where_asked(folder):
    for suffix in FOREIGN:
        out = Path(f"theirs{suffix}")
        out.write_bytes(b"theirs")
        assert explain("--out", str(out), "--overwrite") == 0
        assert is_ours(out)
    for target in (1, 2):
        assert explain("--json", "t.json", "--target", str(target)) == 0
        assert json.loads(Path("t.json").read_text())["target"]["class"] == target
    assert is_ours(Path("explanation.png"))


def test_our_own_figure_as_an_input_stays(folder, capsys):
    assert explain() == 0
    assert explain("--overwrite", image="explanation.png") == 2
    assert "also another argument" in said(capsys)[-1]


def test_figures_among_the_images_are_no_images(folder, capsys):
    for _ in range(2):
        assert sanity("--out", "images/sanity.png", "--json", "images/s.json") == 0
        assert capsys.readouterr().out.count("3 images") == 1


@pytest.mark.usefixtures("drawn")
def test_a_link_to_an_own_file_leads_to_the_new_one_and_stays(folder):
    assert explain("--out", "real.png") == 0
    before = Path("real.png").read_bytes()
    os.symlink("real.png", "link.png")
    assert explain("--out", "link.png", "--methods", "saliency") == 0
    assert Path("link.png").is_symlink()
    assert Path("real.png").read_bytes() != before


@pytest.mark.parametrize("command", [explain, sanity, evaluate])
def test_what_can_not_be_written_is_refused_before_any_work(command, folder, capsys, monkeypatch):
    monkeypatch.setattr("captum_ext.cli.inputs.models.load_model", None)
    os.symlink("nowhere", "dangling.png")
    os.symlink("b.png", "a.png")
    os.symlink("a.png", "b.png")
    os.mkfifo("pipe.png")
    bad = ["", "dangling.png", "a.png", "pipe.png", "x" * 300 + ".png", "photo.png/x.png",
           "/proc/none/x.png"]  # fmt: skip
    before = {p.name for p in folder.iterdir()}
    for out in bad:
        assert command("--out", out) == 2, out
        assert "--out" in said(capsys)[-1]
    assert {p.name for p in folder.iterdir()} - {"__pycache__"} == before


def test_two_outputs_of_one_name_are_refused(folder, capsys):
    for one, other in itertools.permutations(["a.png", "A.PNG", "./a.png"], 2):
        assert explain("--out", one, "--history", other, "--methods", "igos") == 2
        assert "which is also --out" in said(capsys)[-1]


def test_one_file_that_fails_costs_no_other_and_no_table(folder, capsys, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    assert explain() == 0
    before = Path("explanation.png").read_bytes()
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    assert explain("--json", "t.json", "--methods", "saliency") == 1
    captured = capsys.readouterr()
    assert "Gradient" in captured.out
    assert "wrote t.json" in captured.out
    assert "explanation.png can't be written: [Errno 28] No space left" in captured.err
    assert Path("explanation.png").read_bytes() == before
    assert not list(folder.glob(".captum-ext-*"))


def test_a_killed_write_leaves_nothing_that_looks_like_a_picture(folder):
    with whole_file(Path("images/figure.png")) as temporary:
        picture(0).save(temporary, "PNG")
        assert temporary.suffix not in Image.registered_extensions()


def test_results_of_others_are_not_written_over_by_evaluate(folder, capsys):
    for name in ("results.json", "curves.png", "report.html", "per_example.parquet"):
        Path("mine").mkdir(exist_ok=True)
        Path("mine", name).write_bytes(b"mine")
        before = contents("mine")
        code = evaluate("--methods", "saliency", out="mine")
        assert {p: contents("mine")[p] for p in before} == before
        if name != "per_example.parquet":
            assert code == 2
            assert f"{name} is no run's" in said(capsys)[-1]
        shutil.rmtree("mine")


def check_file(option, file):
    check_outputs({option: file}, [], overwrite=False)


@pytest.mark.parametrize(("check", "place"), [(check_folder, "there"), (check_file, "there.png")])
def test_a_dead_link_and_a_full_disk_are_said_of_files_and_of_folders(
    check, place, tmp_path, monkeypatch
):
    (tmp_path / place).symlink_to(tmp_path / "nothing")
    with pytest.raises(CallError, match=rf"^--out is a link to nothing: .*{place}\. Remove it"):
        check("--out", tmp_path / place)
    (tmp_path / place).unlink()

    def full(dir):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(CallError, match=rf"can be written to, but got .*{place}: No space left"):
        check("--out", tmp_path / place)
