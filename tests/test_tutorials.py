"""The tutorials run from top to bottom, are small, and show what they were saved with."""

import json
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "tutorials"
FILES = sorted(FOLDER.glob("*.ipynb"))
EACH = pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])


def test_all_tutorials_are_there():
    assert {file.stem for file in FILES} >= {
        "beyond_images",
        "optimized_masks",
        "path_methods",
        "sanity_checks",
        "which_map_to_trust",
    }


@EACH
def test_tutorial_runs_with_little_effort(file, monkeypatch):
    monkeypatch.setenv("CAPTUM_EXT_SMOKE", "1")
    monkeypatch.delenv("MPLBACKEND", raising=False)
    root = str(FOLDER.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    notebook = nbformat.read(file, as_version=4)
    saved = sum(shows_picture(cell) for cell in notebook.cells)
    resources = {"metadata": {"path": str(FOLDER)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    assert sum(shows_picture(cell) for cell in notebook.cells) == saved > 0


@EACH
def test_tutorial_was_saved_whole_and_small(file):
    assert file.stat().st_size < 1_500_000
    cells = json.loads(file.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    kinds = {output["output_type"] for cell in code for output in cell["outputs"]}
    assert "error" not in kinds
    assert any(cell["outputs"] for cell in code)


@EACH
def test_tutorial_says_what_its_pictures_show(file):
    cells = nbformat.read(file, as_version=4).cells
    for k, cell in enumerate(cells):
        if shows_picture(cell):
            after = [c for c in cells[k + 1 : k + 4] if c.cell_type == "markdown"]
            assert after, f"nothing follows the picture of cell {k}"
            assert len(after[0].source) > 100


def shows_picture(cell):
    outputs = cell.get("outputs", [])
    return any(k.startswith("image/") for o in outputs for k in o.get("data", {}))
