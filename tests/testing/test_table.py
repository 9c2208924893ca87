"""The table of docs/testing.md is what the checks find."""

from pathlib import Path

import captum
import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not captum.__version__.startswith("0.9"), reason="the page tells of Captum 0.9")
def test_the_page_holds_what_is_found(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import contract_table

    page = (ROOT / "docs" / "testing.md").read_text()
    assert contract_table.table(contract_table.reports()) in page
