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
