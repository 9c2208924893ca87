"""Imports point one way only, and Captum's private names enter through one file."""

import ast
from pathlib import Path

import pytest
from torch import nn
from torchmetrics import Metric, SumMetric

PACKAGE = Path(__file__).parents[1] / "captum_ext"
_BASE = {"_typing", "_text", "_random", "_launch", "_moved", "registry"}
_LIBRARY = {*_BASE, "_captum", "_tensors", "_memory", "score", "blur", "maps", "classifier"}
# Each part may import the parts of its own entry, and its own.
ALLOWED = {
    "_typing": set(),
    "_text": set(),
    "_random": set(),
    "_launch": set(),
    "_moved": set(),
    "registry": set(),
    "_transform": set(),
    "_weights": set(),
    "_outputs": set(),
    "_captum": set(),
    "_torchmetrics": set(),
    "_tensors": _BASE,
    "_memory": _BASE,
    "score": {*_BASE, "_captum", "_tensors", "_memory"},
    "blur": {*_BASE, "_tensors"},
    "maps": {*_BASE, "_tensors"},
    "_sources": {*_BASE, "_transform", "_weights"},
    "classifier": {*_BASE, "_transform", "_weights", "_sources", "_outputs"},
    "path": _LIBRARY,
    "mask": _LIBRARY,
    "curve": _LIBRARY,
}
ALLOWED["attr"] = {*ALLOWED["path"], "path", "mask"}
ALLOWED["viz"] = {*_LIBRARY, "mask", "curve"}
ALLOWED["metrics"] = {*ALLOWED["viz"], "viz", "_torchmetrics"}
ALLOWED["evaluation"] = {*ALLOWED["attr"], *ALLOWED["metrics"], "attr", "metrics", "__init__"}
ALLOWED["testing"] = {*ALLOWED["evaluation"], "evaluation"}
ALLOWED["cli"] = {*ALLOWED["evaluation"], "evaluation"}
ALLOWED["__main__"] = {"cli"}
ALLOWED["__init__"] = {"classifier", "score"}
FILES = sorted(PACKAGE.rglob("*.py"))
EACH = pytest.mark.parametrize("file", FILES, ids=[str(f.relative_to(PACKAGE)) for f in FILES])


def part_of(file):
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(file):
    """Every module a file imports, with the names taken from it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            yield from ((node.module, alias.name) for alias in node.names)


@EACH
def test_imports_point_downwards(file):
    own = part_of(file)
    for module, name in imports(file):
        head, *rest = module.split(".")
        if head == "captum_ext":
            other = rest[0] if rest else "__init__"
            if not rest and name and (PACKAGE / name).is_dir():
                other = name
            assert other == own or other in ALLOWED[own], f"{own} imports {module}"


@EACH
def test_captums_private_names_enter_through_one_file(file):
    if file.name == "_captum.py":
        return
    for module, name in imports(file):
        if module.split(".")[0] == "captum":
            private = [part for part in [*module.split("."), name] if part.startswith("_")]
            assert not private, f"{file} imports {module}.{name}"


_PRIVATE = {
    name
    for name in {*dir(Metric), *vars(SumMetric())} - {*dir(nn.Module), *vars(nn.Module())}
    if name.startswith("_") and not name.startswith("__")
}


@EACH
def test_torchmetrics_private_names_stand_in_one_file(file):
    if file.name == "_torchmetrics.py":
        return
    for node in ast.walk(ast.parse(file.read_text())):
        name = getattr(node, "attr", getattr(node, "name", ""))
        assert name not in _PRIVATE, f"{file}, {node.lineno}: {name}"


@EACH
def test_pictures_are_opened_as_formats_that_are_named(file):
    """Pillow hands some formats to other programs, whatever a file is called."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Image.open":
            assert "formats" in [word.arg for word in node.keywords], f"{file}, {node.lineno}"


@pytest.mark.parametrize("folder", ["attr", "path", "curve", "metrics", "evaluation", "testing"])
def test_every_folder_lists_what_is_public(folder):
    tree = ast.parse((PACKAGE / folder / "__init__.py").read_text())
    lists = [n for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "__all__"]
    assert len(lists) == 1
    assert lists[0].value.elts
