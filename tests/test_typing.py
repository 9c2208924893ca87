"""What an editor and a type checker learn of the public API, in scripts as users write them."""

import json
import shutil
import subprocess
import sys
from inspect import signature
from pathlib import Path

import pytest

from captum_ext.metrics import AIC, ROAD, Insertion
from captum_ext.metrics.information import aic_sic
from captum_ext.metrics.perturbation import perturb, road

ROOT = Path(__file__).parents[1]
TYPED = ROOT / "tests" / "typed"


def test_mypy_reads_the_scripts_and_tells_of_what_is_ignored_in_vain():
    """What it finds then, and nowhere else, is the part of `mypy` itself."""
    settings = (ROOT / "pyproject.toml").read_text()
    assert 'modules = ["tests.typed.right", "tests.typed.wrong"]' in settings
    assert "strict = true" in settings
    assert (TYPED / "wrong.py").read_text().count("# type: ignore") > 20


@pytest.mark.skipif(shutil.which("pyright") is None, reason="pyright is not installed")
def test_pyright_finds_what_is_wrong_in_a_script_and_nothing_else(tmp_path):
    for name in ("right", "wrong"):
        text = (TYPED / f"{name}.py").read_text()
        (tmp_path / f"{name}.py").write_text(text.replace("# type: ignore", "# wrong"))
    command = ["pyright", "--outputjson", "--pythonpath", sys.executable, *tmp_path.glob("*.py")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
    found = json.loads(ran)["generalDiagnostics"]
    lines = (tmp_path / "wrong.py").read_text().splitlines()
    marked = {("wrong.py", k) for k, line in enumerate(lines, 1) if line.endswith("# wrong")}
    assert {(Path(e["file"]).name, e["range"]["start"]["line"] + 1) for e in found} == marked


@pytest.mark.parametrize(
    ("settings", "of", "but"),
    [
        (perturb.Settings, Insertion, ()),
        (road._Settings, ROAD, ()),
        (aic_sic.Settings, AIC, ("level", "measured")),
    ],
)
def test_functions_take_every_setting_of_their_class(settings, of, but):
    """`but` for those that the function names itself, or has no use for."""
    named = set(signature(of).parameters) - {"forward_func", "kwargs", *but}
    assert set(settings.__annotations__) == named


def test_the_types_are_shipped():
    assert (ROOT / "captum_ext" / "py.typed").is_file()
