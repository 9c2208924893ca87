"""Kills, flipped bits, files of others: a folder goes on to the same numbers, or says why."""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from captum_ext.evaluation import evaluate
from captum_ext.evaluation.store.folder import MARKER, OtherRunError
from tests.conftest import small_net
from tests.evaluation.conftest import data, methods, metrics, without_time

ROOT = Path(__file__).parents[3]
PART = "part-00000.sqlite"


def run(out, **options):
    net = small_net()
    return evaluate(
        net, data(), methods(net), metrics(net), batch_size=2, seed=0, out=out, **options
    )


@pytest.fixture(scope="module")
def whole():
    return without_time(run(None).per_example)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "out"
    run(folder)
    return folder


@pytest.fixture
def out(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "out"))


def test_a_run_killed_where_it_writes_goes_on_to_the_same_numbers():
    told = {**os.environ, "PYTHONPATH": str(ROOT)}
    script = ROOT / "benchmarks" / "kill_points.py"
    done = subprocess.run([sys.executable, str(script), "--points", "1"], env=told,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("0 of ")


@pytest.mark.parametrize("name", [PART, "part-00001.sqlite"])
def test_a_write_that_a_kill_left_half_done_is_rolled_back(name, out, whole, tmp_path):
    (out / PART).rename(out / name)
    writing = sqlite3.connect(out / name, isolation_level=None)
    writing.execute("PRAGMA cache_size = 1")
    writing.execute("BEGIN")
    writing.execute("UPDATE result SET states = zeroblob(50000)")
    killed = shutil.copytree(out, tmp_path / "killed")
    writing.execute("ROLLBACK")
    writing.close()
    assert (killed / f"{name}-journal").stat().st_size > 0
    assert without_time(run(killed).per_example) == whole


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.filterwarnings("ignore:.*damaged")
def test_flipped_bits_are_computed_again(seed, out, whole):
    draw = random.Random(seed)
    content = bytearray((out / PART).read_bytes())
    for _ in range(draw.choice([1, 1, 3])):
        content[draw.randrange(100 if seed < 5 else len(content))] ^= 1 << draw.randrange(8)
    (out / PART).write_bytes(content)
    assert without_time(run(out).per_example) == whole


@pytest.mark.parametrize("left", [0, 50, 5000])
@pytest.mark.filterwarnings("ignore:.*damaged")
def test_a_file_cut_short_is_computed_again(left, out, whole):
    os.truncate(out / PART, left)
    assert without_time(run(out).per_example) == whole


def test_one_damaged_result_is_computed_again_and_said(out, whole):
    content = (out / PART).read_bytes()
    with sqlite3.connect(out / PART) as part:
        (states,) = part.execute("SELECT states FROM result WHERE position = 3").fetchone()
    place = content.index(states) + 10
    (out / PART).write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    calls = []
    with pytest.warns(UserWarning, match=r"damaged in 1 result.*computed again"):
        found = run(out, progress=lambda *state: calls.append(state))
    assert without_time(found.per_example) == whole
    assert len(calls) == 2
    assert "damaged in 1 result" in found.notes[0]


def test_starting_anew_looks_at_all_before_it_removes_one(out):
    mine = {"part-mine.sqlite": b"mine", "part-00007.sqlite": b"of another program" * 99}
    for name, content in mine.items():
        (out / name).write_bytes(content)
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    for resume in (True, False):
        with pytest.raises(OtherRunError, match=r"part-00007.sqlite is no store"):
            run(out, resume=resume)
        assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    (out / "part-00007.sqlite").unlink()
    run(out, resume=False)
    assert (out / "part-mine.sqlite").read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["run.lock", PART, f"{PART}-journal", f"{PART}-wal"])
def test_files_of_others_are_left_as_they_are(name, tmp_path):
    (tmp_path / name).write_bytes(b"mine")
    for resume in (True, False):
        with pytest.raises(OtherRunError, match=name):
            run(tmp_path, resume=resume)
    assert (tmp_path / name).read_bytes() == b"mine"


def test_parts_are_known_where_the_marker_was_left_behind(out, whole):
    for left in (MARKER, "run.lock"):
        (out / left).unlink()
    assert without_time(run(out).per_example) == whole
