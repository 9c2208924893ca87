"""A result folder never touches what no run wrote."""

import os
import random

import pytest

from captum_ext.evaluation.store import folder as module
from captum_ext.evaluation.store.folder import MARKER, ForeignFileError, ResultFolder

NAMES = ["results.json", "curves.png", "report.html"]


def put(folder, name, text):
    with folder.write(name) as file:
        file.write_text(text)


def content(path):
    return {p.name: p.read_bytes() for p in path.iterdir() if p.name != MARKER}


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_done_files_of_others_stay_as_they_are(seed, tmp_path):
    draw = random.Random(seed)
    foreign = {}
    for step in range(40):
        folder, name = ResultFolder(tmp_path), draw.choice(NAMES)
        match draw.choice(["write", "write", "user", "remove", "fail", "sweep"]):
            case "user":
                foreign[name] = f"mine {step}".encode()
                (tmp_path / name).write_bytes(foreign[name])
            case "remove":
                folder.remove(name)
            case "sweep":
                folder.sweep()
            case "fail" if name not in foreign:
                with pytest.raises(TypeError):
                    put(folder, name, 7)
            case _ if name in foreign:
                with pytest.raises(ForeignFileError, match=name):
                    folder.claim([name])
                with pytest.raises(ForeignFileError, match="move it away"), folder.write(name):
                    raise AssertionError("nothing is written")
            case _:
                put(folder, name, f"ours {step}")
                assert (tmp_path / name).read_text() == f"ours {step}"
        assert foreign.items() <= content(tmp_path).items()
        assert not [n for n in content(tmp_path) if n not in NAMES]


def test_a_link_is_never_followed(tmp_path):
    (tmp_path / "labels.csv").write_text("mine")
    out = tmp_path / "out"
    out.mkdir()
    (out / "results.json").symlink_to(tmp_path / "labels.csv")
    with pytest.raises(ForeignFileError), ResultFolder(out).write("results.json") as file:
        file.write_text("ours")
    assert (tmp_path / "labels.csv").read_text() == "mine"


def test_a_file_is_ours_whenever_a_kill_comes(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    real = os.replace
    for n in range(4):
        put(ResultFolder(tmp_path), "results.json", f"before {n}")
        left = [n]

        def replace(*args, left=left):
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            real(*args)

        monkeypatch.setattr(module.os, "replace", replace)
        try:
            put(ResultFolder(tmp_path), "results.json", f"after {n}")
        except Killed:
            assert n < 2
        monkeypatch.setattr(module.os, "replace", real)
        assert ResultFolder(tmp_path).owns("results.json")


def test_temporary_files_of_killed_runs_are_swept_when_old(tmp_path):
    put(ResultFolder(tmp_path), "results.json", "x")
    names = [".captum-ext-ab12_xyz.json", ".captum-ext-mine.json", "captum-ext-ab12_xyz.json"]
    for name in names:
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / ".captum-ext-young678.png").write_text("")
    ResultFolder(tmp_path).sweep()
    assert {*content(tmp_path)} == {*names[1:], "results.json", ".captum-ext-young678.png"}


def test_a_damaged_marker_is_named(tmp_path):
    put(ResultFolder(tmp_path), "results.json", "x")
    (tmp_path / MARKER).write_text("{")
    with pytest.raises(ForeignFileError, match="damaged: remove it"):
        ResultFolder(tmp_path).claim(["results.json"])
