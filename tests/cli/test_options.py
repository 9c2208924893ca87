"""The command is parsed once, at the door, and answers what needs no model at once."""

import ast
import subprocess
import sys
from dataclasses import FrozenInstanceError
from inspect import signature
from pathlib import Path

import pytest

from captum_ext.attr import RISE
from captum_ext.cli import main
from captum_ext.cli.options import COMMANDS, Evaluate, Explain, Sanity
from captum_ext.evaluation.run import UNLABELED
from captum_ext.metrics import ParameterRandomization
from captum_ext.metrics.base.compare import SMALLEST
from captum_ext.registry import METHODS, METRICS, SIMILARITIES, presets

CLI = Path(__file__).parents[2] / "captum_ext" / "cli"
# A wrong call of each kind that needs no model, and what is said.
AT_ONCE = {
    "--help": (0, "sanity"),
    "explain --help": (0, "igos++"),
    "evaluate --help": (0, "localization"),
    "--version": (0, "0."),
    "explain gone.png": (2, "IMAGE gone.png does not exist or is not a file"),
    "sanity gone.png": (2, "IMAGE gone.png does not exist or is not a file"),
    "explain --nonsense": (2, "unrecognized arguments: --nonsense"),
    "explain --methods magic": (2, "but got ['magic']"),
    "explain --model gone.py:net": (2, "gone.py, which does not exist"),
    "explain --weights gone.pth": (2, "gone.pth does not exist"),
    "explain --out gone/x.png": (2, "--out is a file in an existing folder"),
    "explain --steps 0": (2, "--steps is at least 1"),
    "evaluate gone": (2, "IMAGES gone is not a folder"),
    "evaluate . --labels gone.csv": (2, "--labels gone.csv can't be read"),
    "evaluate . --annotations gone.json": (2, "--annotations gone.json can't be read"),
    "evaluate . --metrics magic": (2, "but got ['magic']"),
    "evaluate . --preset magic": (2, "--preset is one of igos, rise"),
    "evaluate . --against rise --methods ig": (2, "--against is one of ig, but got 'rise'"),
    "sanity --similarity magic": (2, "--similarity is among spearman"),
}
RUN = """
import contextlib, io, sys
from captum_ext.cli import main
for line in sys.argv[1:]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(line.split())
    print(f"{code}\\x1f{' '.join(said.getvalue().split())}", end="\\x1e")
slow = {"torch", "captum", "torchvision", "matplotlib", "scipy", "torchmetrics", "PIL", "numpy"}
print(sorted(slow & {*sys.modules}))
"""


def test_help_and_wrong_calls_are_answered_without_torch(tmp_path):
    root = str(CLI.parents[1])
    call = [sys.executable, "-c", RUN, *AT_ONCE]
    ran = subprocess.run(
        call, capture_output=True, text=True, check=True, cwd=tmp_path, env={"PYTHONPATH": root}
    )
    *answers, loaded = ran.stdout.split("\x1e")
    for line, answer in zip(AT_ONCE, answers, strict=True):
        code, said = answer.split("\x1f")
        expected, words = AT_ONCE[line]
        assert (int(code), words in said) == (expected, True), f"{line}: {code}, {said}"
    assert loaded.strip() == "[]"
    assert not [*tmp_path.iterdir()]


def test_only_the_door_knows_what_argparse_gives():
    knowing = [file.name for file in CLI.rglob("*.py") if "Namespace" in file.read_text()]
    assert knowing == ["__init__.py"]


def test_every_default_stands_in_one_file():
    for file in CLI.rglob("*.py"):
        calls = [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Call)]
        adding = [n for n in calls if ast.unparse(n.func).endswith("add_argument")]
        allowed = {CLI / "options.py": 1, CLI / "__init__.py": 1}
        assert len(adding) == allowed.get(file, 0), file


@pytest.mark.parametrize("kind", COMMANDS)
def test_settings_do_not_change(kind, tmp_path):
    settings = Evaluate(images=tmp_path) if kind is Evaluate else kind()
    with pytest.raises(FrozenInstanceError):
        settings.seed = 1


def test_defaults_are_the_librarys_where_it_has_one(tmp_path):
    def default(function, name):
        return signature(function).parameters[name].default

    assert Explain().n_masks == default(RISE.attribute, "n_masks")
    assert Evaluate(images=tmp_path).smallest_difference == SMALLEST
    assert Evaluate.UNLABELED == UNLABELED
    assert Sanity().order == default(ParameterRandomization, "order")
    for order in Sanity.ORDERS:
        ParameterRandomization(len, order)


def test_help_lists_what_is_registered(capsys):
    METHODS.add("mymethod", METHODS["ig"])
    METRICS.add("mymetric", len)
    SIMILARITIES.add("mysimilarity", len)
    for command in ("explain", "evaluate", "sanity"):
        assert main([command, "--help"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.count("rise, mymethod; or all") == 3
    assert "localization, mymetric" in printed
    assert "hog_spearman, mysimilarity" in printed
    assert f"of {', '.join(presets())}" in printed
