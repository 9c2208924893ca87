"""The table of sources is made of runs, and of what the command says."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import quick_figures  # noqa: F401 - used by all tests here

ROOT = Path(__file__).parents[1]


@pytest.fixture
def table(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import source_table

    return source_table


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning")
def test_each_command_runs_what_the_source_allows(table, monkeypatch, tmp_path):
    page, file = tmp_path / "page.md", tmp_path / "found.json"
    page.write_text("".join(["# Models\n", *table.MARKS, "\nMore"]))
    words = ["--quick", "--json", str(file), "--page", str(page), "--work", str(tmp_path)]
    table.main(words)
    (cells,) = json.loads(file.read_text())["found"].values()
    assert set(cells["explain"]) == set(cells["evaluate"]) == {"grad-cam", "guided-backprop"}
    assert "traced or scripted Sequential: give the module" in cells["explain"]["grad-cam"]
    # Layers of a traced module can't be told apart.
    assert set(cells["sanity"]) == {"ig", "grad-cam", "guided-backprop", "rise"}
    assert "| 2 (1) | 2 (1) | none (2) |" in page.read_text()
    monkeypatch.setattr(table, "command", lambda *_: pytest.fail("a known cell was run"))
    before = page.read_text()
    table.main(words)
    assert page.read_text() == before


def test_the_page_has_what_was_found(table, tmp_path):
    copy = tmp_path / "models.md"
    copy.write_text((ROOT / "docs" / "models.md").read_text())
    table.write_page(json.loads((ROOT / "benchmarks" / "source_table.json").read_text()), copy)
    assert copy.read_text() == (ROOT / "docs" / "models.md").read_text()
