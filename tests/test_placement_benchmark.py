"""The benchmark of placed steps runs, goes on where it was stopped, and simulates what is built."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from captum_ext.path import EqualRise
from tests.conftest import small_net


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import placement

    return placement


def photographs(folder, n):
    records = [{"file": f"{k}.png", "expected_class": 0} for k in range(n)]
    for k, record in enumerate(records):
        pixels = np.random.default_rng(k).integers(0, 255, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / record["file"])
    (folder / "annotations.json").write_text(json.dumps({"images": records}))


def test_a_quick_run_tells_all_and_does_nothing_twice(bench, monkeypatch, tmp_path):
    photographs(tmp_path, 3)
    monkeypatch.setattr(bench, "candidates", lambda: [bench.Candidate(4), bench.Candidate(2, 2)])
    told = tmp_path / "told.json"
    words = [str(tmp_path), "--quick", "--keep", str(tmp_path / "kept"), "--json", str(told)]
    bench.main(words, small_net().eval())
    found = json.loads(told.read_text())
    for path in bench.PATHS:
        finest = [row for row in found["report"][path] if row["n"] == 24]
        assert [row["cosine"] for row in finest] == [1, 1]
        names = {row["placement"] for row in found["choose"][path]}
        assert {"equal", "4 probes, variation, floor 0.02"} <= names
    monkeypatch.setattr(bench, "walked", lambda *_: pytest.fail("a known walk was walked"))
    bench.main(words, small_net().eval())
    assert json.loads(told.read_text()) == found


def test_the_chosen_candidate_is_the_librarys_default(bench):
    def value(t):
        return 1 / (1 + np.exp(-60 * (t - 0.37))) - 0.3 * np.exp(-(((t - 0.7) / 0.02) ** 2))

    def values(places):
        return torch.as_tensor(value(np.asarray(places)).reshape(len(places), -1))

    places = bench.Candidate(12, 12, "power").places(value, 16)
    np.testing.assert_allclose(EqualRise()(values, 16)[:, 0], places, atol=1e-4)


def test_the_two_sided_benchmark_goes_on_and_measures_what_it_says(bench, monkeypatch, tmp_path):
    import two_sided

    photographs(tmp_path, 3)
    told = tmp_path / "told.json"
    words = [str(tmp_path), "--quick", "--keep", str(tmp_path / "kept"), "--json", str(told)]
    # The third photograph chose settings elsewhere.
    two_sided.main([*words, "--limit", "1"], small_net().eval())
    two_sided.main(words, small_net().eval())
    found = json.loads(told.read_text())["lite0"]
    assert {row["n_photographs"] for rows in found.values() for row in rows} == {2}
    halved = [row for row in found["fidelity"] if row["placement"] == "finest, halved"]
    placed = [row for row in found["fidelity"] if row["n"] == 4]
    assert min(row["cosine"] for row in halved) > 0.99
    assert {row["rule"]: row["cost"] for row in placed} == {
        "IG": 15 + 25, "IDGI": 12 + 1 + 25, "IDGI, two-sided": 15 + 1 + 25
    }  # fmt: skip
    names = {(row["method"], row["less"]) for row in found["scores"]}
    assert len(names) == 2 * len(two_sided.COMPARED)
    monkeypatch.setattr(two_sided, "knots_of", lambda *_: pytest.fail("walked again"))
    two_sided.main(words, small_net().eval())
    assert str(json.loads(told.read_text())) == str({"lite0": found})


def test_the_picture_shows_what_both_benchmarks_found(bench, tmp_path):
    import placement_figure

    drawn = []
    axes = type("Axes", (), {"plot": lambda self, *given, **how: drawn.append((given, how))})()
    ends = json.loads((placement_figure.HERE / "two_sided.json").read_text())["lite0"]["fidelity"]
    placement_figure.draw_ends(axes, ends, "blur")
    ((cost, mean, *_), _), ((_, least, *_), _) = drawn
    assert cost == 74
    assert 0.98 < mean < 1
    assert 0.9 < least < mean
    placement_figure.main([str(tmp_path / "figure.png")])
    assert (tmp_path / "figure.png").stat().st_size > 5000
