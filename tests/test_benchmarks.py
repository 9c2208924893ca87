"""The benchmark of everything runs, goes on where it was stopped, and makes its page."""

import json
from pathlib import Path

import pytest

from tests.conftest import small_net

ROOT = Path(__file__).parents[1]


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import run

    return run


@pytest.mark.filterwarnings("ignore:nothing was deleted")
def test_everything_is_measured_once_and_told(bench, monkeypatch, tmp_path):
    file, page = tmp_path / "run.json", tmp_path / "page.md"
    words = ["--quick", "--json", str(file), "--page", str(page)]
    bench.main([*words, "--only", "metrics: localization"], small_net)
    assert list(json.loads(file.read_text())["rows"]) == ["metrics: localization"]
    bench.main(words, small_net)
    rows = json.loads(file.read_text())["rows"]
    assert set(rows) == set(bench.rows(quick=True))
    assert rows["methods: Guided IG"]["gradient"] == bench.QUICK.steps
    assert rows["methods: Grad-CAM"]["peers"]["Captum"]["ratio"]["median"] > 0
    assert all(f"| {row['name']} |" in page.read_text() for row in rows.values())
    monkeypatch.setattr(bench, "compared", lambda *_: pytest.fail("a known row was measured"))
    bench.main(words, small_net)


def test_the_page_is_what_the_numbers_make(bench, tmp_path):
    found = json.loads((ROOT / "benchmarks" / "run.json").read_text())
    bench.write_page(found, tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == (ROOT / "docs" / "performance.md").read_text()


def test_starts_of_masks_are_measured_once(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import mask_start

    file = tmp_path / "rows.jsonl"
    words = ["--json", str(file), "--half", "choose", "--quick", "--iterations", "1", "2"]
    settings = ["--settings", "Grad-CAM", "Grad-CAM .5", "aligned .8"]
    mask_start.main([*words, *settings[:3]], small_net())
    first = file.read_text()
    mask_start.main([*words, *settings], small_net())
    assert file.read_text().startswith(first)
    maps = [m for line in file.read_text().splitlines() for m in json.loads(line)["maps"]]
    assert len(maps) == len({m["name"] for m in maps}) == 1 + 4 + 4
    costs = {m["name"]: m["cost"] for m in maps}
    # One gradient of Grad-CAM, and of each iteration 3 for each of 4 terms, at 3 passes each.
    assert costs["Grad-CAM"] == 3
    assert costs["Grad-CAM .5, 1"] >= 3 + 36
    assert costs["Grad-CAM .5, 2"] == costs["Grad-CAM .5, 2, mean"] >= 3 + 72
    assert "difference to Grad-CAM" in capsys.readouterr().out


def test_data_randomization_is_measured_once_and_told(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import data_randomization as bench

    words = ["--quick", "--json", str(tmp_path / "rows.json"), "--pictures", str(tmp_path)]
    bench.main([*words, "--only", "ig,grad-cam,edges", "--n-images", "2"])
    found = json.loads((tmp_path / "rows.json").read_text())
    assert [*found["rows"]] == ["MLP 0", "CNN 0"]
    assert "no layer that keeps the places" in found["rows"]["MLP 0"]["grad-cam"]["reason"]
    assert bench.run_on(found, "MLP") == ["ig", "edges"]
    assert "| Edges (impostor) | 1.00 ± .00 | 1.00 ± .00 |" in capsys.readouterr().out
    assert {file.name for file in tmp_path.glob("*.png")} == {
        "data_randomization_MLP.png",
        "data_randomization_CNN.png",
    }
    monkeypatch.setattr(bench, "pair", lambda *_: pytest.fail("trained again"))
    assert bench.measure(tmp_path / "rows.json", ["ig", "edges"], 2, quick=True) == found


def test_numbers_of_data_randomization_are_those_of_their_page(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import data_randomization as bench

    found = json.loads(bench.JSON.read_text())
    page = (ROOT / "docs" / "metrics" / "data_randomization.md").read_text()
    for kind in bench.NETWORKS:
        assert bench.table(found, kind) in page
    assert [bench.number(v) for v in (0.314, -0.004, -0.5, 1.0)] == [
        ".31",
        ".00",
        "\N{MINUS SIGN}.50",
        "1.00",
    ]
