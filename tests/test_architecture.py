"""What holds of every file of the package: which way imports point, how amounts are told."""

import ast
import re
from itertools import pairwise
from pathlib import Path

import pytest
from torch import nn
from torchmetrics import Metric, SumMetric

PACKAGE = Path(__file__).parents[1] / "captum_ext"
_BASE = {"_typing", "_text", "_numbers", "_random", "_progress", "_launch", "_moved", "registry"}
_LIBRARY = {*_BASE, "_captum", "_tensors", "_memory", "score", "blur", "maps", "classifier"}
# Each part may import the parts of its own entry, and its own.
ALLOWED = {
    "_typing": set(),
    "_text": set(),
    "_progress": {"_text"},
    "_numbers": set(),
    "_random": {"_numbers"},
    "_launch": set(),
    "_moved": set(),
    "registry": set(),
    "_transform": set(),
    "_weights": {"_text"},
    "_outputs": {"_text"},
    "_captum": set(),
    "_torchmetrics": set(),
    "_tensors": _BASE,
    "_memory": _BASE,
    "score": {*_BASE, "_captum", "_tensors", "_memory", "_outputs"},
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


_AMOUNT = re.compile(r"(len\(|int\(|n$|(\w+\.)*n_\w+$|count|channels)(?!.* - 1$)")
_PLURAL = re.compile(r" ((?!is |was |has )[a-z-]+ )?(?!is\b|was\b|has\b|times\b|needs\b)[a-z]+s\b")


@EACH
def test_amounts_are_told_by_the_helper_that_knows_one_from_several(file):
    """`number_of`: else a sentence says "1 images" on the day that there is one."""
    for node in ast.walk(ast.parse(file.read_text())):
        for before, after in pairwise(node.values if isinstance(node, ast.JoinedStr) else []):
            if isinstance(before, ast.FormattedValue) and isinstance(after, ast.Constant):
                amount = _AMOUNT.match(ast.unparse(before.value))
                assert not (amount and _PLURAL.match(str(after.value))), f"{file}, {node.lineno}"


@pytest.mark.parametrize("folder", ["attr", "path", "curve", "metrics", "evaluation", "testing"])
def test_every_folder_lists_what_is_public(folder):
    tree = ast.parse((PACKAGE / folder / "__init__.py").read_text())
    lists = [n for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "__all__"]
    assert len(lists) == 1
    assert lists[0].value.elts


def module_of(file):
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def circle(graph):
    """Nodes that lead to one another, in their order; none if there are no such."""
    done, open_ = set(), []

    def walk(node):
        if node in open_:
            return [*open_[open_.index(node) :], node]
        if node not in done:
            open_.append(node)
            for other in sorted(graph[node]):
                if found := walk(other):
                    return found
            open_.pop()
            done.add(node)
        return []

    return next(filter(None, map(walk, sorted(graph))), [])


def test_no_import_leads_back_to_its_own_file():
    """Late imports and those for type checkers count as all others."""
    modules = {module_of(file): file for file in FILES}
    graph = {
        module: {
            longer if (longer := f"{other}.{name}") in modules else other
            for other, name in imports(file)
        }
        & {*modules} - {module}
        for module, file in modules.items()
    }
    assert circle(graph) == []
    assert circle({"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"b"}}) == ["b", "d", "b"]


AT_MOST = {"metrics": 6, "cli": 11, "evaluation": 12}


@pytest.mark.parametrize("folder", AT_MOST)
def test_a_folder_is_read_at_a_glance(folder):
    entries = [entry.name for entry in (PACKAGE / folder).iterdir() if entry.name[:2] != "__"]
    assert len(entries) + 1 <= AT_MOST[folder], sorted(entries)


@EACH
def test_what_defines_something_is_no_scrap(file):
    """Faces, which name what others define, may be short; an idea takes 30 lines."""
    text = file.read_text()
    kinds = (ast.FunctionDef, ast.ClassDef)
    defines = any(isinstance(node, kinds) for node in ast.parse(text).body)
    if file.name != "__init__.py" and defines:
        assert len(text.splitlines()) >= 30


TESTS = Path(__file__).parent
# Of no one folder: pretended devices, numbers of published code, and scripts for type checkers.
_OF_ALL = {"devices", "goldens", "typed"}


def folders_of(top):
    return {f.parent.relative_to(top).as_posix() for f in top.rglob("__init__.py")} - {"."}


def test_tests_lie_as_what_they_test():
    """A folder of the package has one of tests; a private one may have a file instead."""
    package, tests = folders_of(PACKAGE), folders_of(TESTS) - _OF_ALL
    lacking = {
        folder
        for folder in package - tests
        if not (TESTS / folder).with_name(f"test_{Path(folder).name.strip('_')}.py").exists()
    }
    assert (lacking, tests - package) == (set(), set())
