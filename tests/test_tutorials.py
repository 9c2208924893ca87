"""The tutorials run from top to bottom, are small, and show what they were saved with."""

import os
from pathlib import Path

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from torchvision import transforms
from traitlets.config import Config

from captum_ext import ImageClassifier
from tests import processes

FOLDER = Path(__file__).parents[1] / "tutorials"
FILES = sorted(FOLDER.glob("*.ipynb"))
SMALL = transforms.Compose([transforms.Resize((64, 64)), transforms.ToTensor()])
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
def test_tutorial_runs_with_little_effort(file, tmp_path):
    process = processes.start(run, file, tmp_path)
    process.join(300)
    assert process.exitcode == 0, (tmp_path / "said.txt").read_text()
    saved = sum(shows_picture(cell) for cell in nbformat.read(file, as_version=4).cells)
    assert int((tmp_path / "shown.txt").read_text()) == saved > 0


def run(file, folder):
    """Runs the cells as Jupyter would, and writes in how many of them there were pictures."""
    processes.say_in(folder / "said.txt")
    os.environ.update(CAPTUM_EXT_SMOKE="1", IPYTHONDIR=str(folder))
    os.chdir(FOLDER)
    settings = Config()
    settings.HistoryManager.enabled = False
    shell = InteractiveShell.instance(config=settings)
    shell.enable_gui = lambda name=None: None
    shell.run_line_magic("matplotlib", "inline")
    # What a tutorial shows of the network depends on its images; that it runs does not.
    ImageClassifier.transform = property(lambda model: SMALL, lambda model, given: None)
    shown = [pictures(shell, cell.source) for cell in code_of(file)]
    (folder / "shown.txt").write_text(str(sum(map(bool, shown))))


def pictures(shell, source):
    """How many pictures a cell shows."""
    with capture_output() as said:
        done = shell.run_cell(source)
    done.raise_error()
    return sum(shows(output.data) for output in said.outputs)


def code_of(file):
    cells = nbformat.read(file, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code"]


@EACH
def test_tutorial_was_saved_whole_and_small(file):
    assert file.stat().st_size < 1_500_000
    code = code_of(file)
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
    return any(shows(output.get("data", {})) for output in cell.get("outputs", []))


def shows(data):
    return any(kind.startswith("image/") for kind in data)
