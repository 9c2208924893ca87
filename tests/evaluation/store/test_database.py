"""Nothing is lost: stopping, resuming, and folders that can't be used."""

import math
import sqlite3

import pytest
import torch
from captum.attr import Saliency

from captum_ext.evaluation import evaluate
from captum_ext.evaluation.export import plain
from captum_ext.evaluation.readings import pack, unpack
from captum_ext.evaluation.store.about import About
from captum_ext.evaluation.store.database import opened
from tests.evaluation.conftest import data, methods, metrics, without_time


def run(net, out, how=None, **options):
    given = {"batch_size": 2, "seed": 0, "out": out, **options}
    return evaluate(net, data(), how or methods(net), metrics(net), **given)


class StopsAfter:
    """A progress that stops the run before its group number `n`."""

    def __init__(self, n):
        self.left = n

    def __call__(self, label, done, total):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1


@pytest.mark.parametrize("n", [0, 1, 3, 5])
def test_a_stopped_run_goes_on_to_the_same_numbers_bit_for_bit(n, net, tmp_path):
    whole = run(net, None)
    with pytest.raises(KeyboardInterrupt):
        run(net, tmp_path, progress=StopsAfter(n))
    found = run(net, tmp_path)
    assert without_time(found.records) == without_time(whole.records)
    assert without_time(found.per_example) == without_time(whole.per_example)


@pytest.fixture
def calls(monkeypatch):
    """Every call of a convolution."""
    found, forward = [], torch.nn.Conv2d.forward
    monkeypatch.setattr(
        torch.nn.Conv2d, "forward", lambda self, x: (found.append(1), forward(self, x))[1]
    )
    return found


def test_what_is_done_is_not_done_again(net, tmp_path, calls):
    first = run(net, tmp_path)
    calls.clear()
    assert plain(run(net, tmp_path).records) == plain(first.records)
    assert calls == []


def test_starting_anew_does_all_again(net, tmp_path, calls):
    run(net, tmp_path)
    calls.clear()
    run(net, tmp_path, resume=False)
    assert calls


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_size": 3}, "`batch_size` is 2 there and 3 here"),
        ({"seed": 1}, "`seed` is 0 there and 1 here"),
        ({"settings": {"data": "b"}}, "`data` is null there"),
    ],
)
def test_a_folder_of_another_run_is_refused(change, words, net, tmp_path):
    run(net, tmp_path)
    with pytest.raises(ValueError, match=words):
        run(net, tmp_path, **change)


def test_other_methods_and_other_weights_are_another_run(net, tmp_path):
    run(net, tmp_path)
    with pytest.raises(ValueError, match="`methods"):
        run(net, tmp_path, {"gradient": Saliency(net)})
    net[0].weight.data[0] += 1
    with pytest.raises(ValueError, match=r"`model.0.parameters.weight` is"):
        run(net, tmp_path)


def test_two_runs_into_one_folder_are_refused_until_the_first_is_gone(net, tmp_path):
    with (
        opened(tmp_path, About(), resume=True),
        pytest.raises(ValueError, match="another run is writing"),
    ):
        run(net, tmp_path)
    run(net, tmp_path, resume=False)


def test_a_full_disk_ends_clearly_and_keeps_what_was_written(net, tmp_path, monkeypatch):
    real = sqlite3.connect

    def small(*args, **kwargs):
        connection = real(*args, **kwargs)
        connection.execute("PRAGMA max_page_count = 11")
        return connection

    with monkeypatch.context() as patch:
        patch.setattr("sqlite3.connect", small)
        with pytest.raises(OSError, match="free some space and run the same command again"):
            run(net, tmp_path)
    kept = real(tmp_path / "part-00000.sqlite").execute("SELECT count(*) FROM done").fetchone()
    assert 0 < kept[0] < 6
    assert without_time(run(net, tmp_path).records) == without_time(run(net, None).records)


def test_a_damaged_or_foreign_file_is_named(net, tmp_path):
    (tmp_path / "part-00000.sqlite").write_bytes(b"no data base at all" * 100)
    with pytest.raises(ValueError, match=r"part-00000.sqlite is no store of results"):
        run(net, tmp_path)
    foreign = sqlite3.connect(tmp_path / "part-00001.sqlite")
    foreign.execute("CREATE TABLE mine (x)")
    foreign.commit()
    foreign.close()
    (tmp_path / "part-00000.sqlite").unlink()
    with pytest.raises(ValueError, match="but has the name of one"):
        run(net, tmp_path, resume=False)
    assert (tmp_path / "part-00001.sqlite").exists()


def test_a_flipped_bit_in_a_result_is_noticed():
    packed = pack({"m": {"x": [torch.tensor([1.0, math.nan])], "n": torch.tensor(3)}})
    state = unpack(packed)["m"]
    assert state["x"][0][0] == 1
    assert state["x"][0][1].isnan()
    assert int(state["n"]) == 3
    with pytest.raises(OSError, match="damaged"):
        unpack(packed[:-3] + bytes([packed[-3] ^ 1]) + packed[-2:])
