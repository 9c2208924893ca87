"""Tables fit a terminal of 80 columns, and say which way is better."""

import pytest

from captum_ext.cli import main
from captum_ext.cli.tables import explained
from tests.cli.conftest import sanity


def tables(out):
    """The lines that begin with the name of a column or a method, or are numbers."""
    return [line for line in out.splitlines() if "  " in line.strip()]


def test_explain_fits_and_points():
    row = {"insertion": 0.5, "insertion_abs": 0.5, "deletion": 0.5, "deletion_abs": 0.5}
    row |= {"seconds": 12345.6, "forwards": 123456, "gradients": 123456, "reason": "no gradient"}
    row |= {"shared_with": [], "method": "a"}
    lines = tables(explained({"": [row]}, {"a": "a name of one's own that is long"}))
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == [
        *("method", "insertion", "↑", "|insertion|", "↑", "deletion", "↓", "|deletion|", "↓")
    ]
    assert lines[1].startswith("a name of one's own t… ")


@pytest.mark.parametrize("metrics", ["insertion,deletion,road"])
def test_evaluate_fits_and_points(metrics, folder, capsys):
    model = ("--model", "mine.py:classifier", "--methods", "ig")
    more = ("--limit", "1", "--steps", "1")
    assert main(["evaluate", "images", *model, *more, "--metrics", metrics]) == 0
    lines = tables(capsys.readouterr().out)
    assert len(lines) >= 6
    assert max(map(len, lines)) <= 80
    head = " ".join(lines)
    assert "insertion ↑" in head
    assert "deletion_abs ↓" in head
    assert "seconds ↑" not in head


def test_sanity_fits(folder, capsys):
    four = "unsigned_spearman,abs_spearman,ssim,hog"
    assert sanity("--similarity", four, "--methods", "ig,guided-ig", image="photo.png") == 0
    lines = tables(capsys.readouterr().out)
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("mean over stages ↓") for line in lines) == 2
    assert sum(line.startswith("stage: unsigned_spearman") for line in lines) == 2
