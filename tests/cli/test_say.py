"""Nothing is lost, and the exit code is right, wherever stdout and stderr lead."""

import io
import os
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.cli.conftest import evaluate, explain, picture, sanity

ROOT = Path(__file__).parents[2]


def closed_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


def closed_file():
    stream = io.StringIO()
    stream.close()
    return stream


def full_disk():
    return os.fdopen(os.open("/dev/full", os.O_WRONLY), "w")


@contextmanager
def leading(monkeypatch, name, make):
    """`sys.stdout` or `sys.stderr` leads elsewhere for a while."""
    stream = make()
    with monkeypatch.context() as patched:
        patched.setattr(sys, name, stream)
        yield
    # Closing writes what is left, where nothing can be written.
    with suppress(OSError, AttributeError):
        stream.close()


STREAMS = {
    "closed pipe": (closed_pipe, 0),
    "closed file": (closed_file, 0),
    "none": (lambda: None, 0),
    "full disk": (full_disk, 1),
    "ascii": (lambda: io.TextIOWrapper(io.BytesIO(), "ascii"), 0),
}
COMMANDS = {
    "explain": (lambda: explain("--json", "t.json"), ["explanation.png", "t.json"]),
    "sanity": (lambda: sanity("--json", "t.json", "--limit", "1"), ["sanity.png", "t.json"]),
    "evaluate": (evaluate, ["out/results.json", "out/report.html"]),
}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("explain", kind) for kind in STREAMS),
        ("sanity", "closed pipe"),
        ("evaluate", "full disk"),
    ],
)
def test_every_file_is_written_whatever_becomes_of_stdout(name, kind, folder, monkeypatch, capsys):
    make, code = STREAMS[kind]
    command, files = COMMANDS[name]
    with leading(monkeypatch, "stdout", make):
        assert command() == code
    for file in files:
        assert Path(file).stat().st_size > 0
    assert ("stdout can't be written: No space left" in capsys.readouterr().err) == (code == 1)


@pytest.mark.parametrize("kind", ["closed pipe", "full disk", "none", "ascii"])
def test_remarks_that_nobody_can_read_stop_nothing(kind, folder, monkeypatch, capsys):
    picture(1).convert("L").save("photo.png")
    with leading(monkeypatch, "stderr", STREAMS[kind][0]):
        assert explain() == 0
    assert "IG" in capsys.readouterr().out
    assert Path("explanation.png").exists()


def test_a_narrow_encoding_gets_escapes(folder, monkeypatch):
    taken = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(taken, "ascii"))
    assert explain("--target", "3") == 0
    sys.stdout.flush()
    assert rb"no \udcff UTF-8 \x1b[31m (class 3" in taken.getvalue()


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("target", ["0", "1", "2", "3"])
def test_names_of_every_kind_are_drawn_letter_by_letter(target, folder):
    assert explain("--target", target, "--out", "figure.svg", "--methods", "saliency") == 0


def test_names_of_files_that_are_no_utf_8_are_taken(folder, capsys):
    name = os.fsdecode(b"images/\xff\x1b[31m.png")
    picture(4).save(name)
    assert explain(image=name) == 0
    assert evaluate() == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert r"\udcff\x1b[31m.png" in page


def test_the_interpreter_ends_well_after_its_reader_went_away():
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "captum_ext", "--help"]
    with closed_pipe() as stream:
        ended = subprocess.run(command, stdout=stream, stderr=subprocess.PIPE, env=environment)
    assert (ended.returncode, ended.stderr) == (0, b"")
