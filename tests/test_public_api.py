"""Every public name is documented where users look: docstring, example, README, site."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ["", ".attr", ".path", ".mask", ".curve", ".metrics", ".evaluation", ".viz"]
NAMES = [
    (f"captum_ext{folder}", name)
    for folder in FOLDERS
    for name in importlib.import_module(f"captum_ext{folder}").__all__
]
EACH = pytest.mark.parametrize(("module", "name"), NAMES, ids=[".".join(pair) for pair in NAMES])
# What users call; the pieces below are described as a whole.
IN_README = [(module, name) for module, name in NAMES if module.split(".")[-1] in SHOWN]
