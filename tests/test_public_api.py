"""Every public name is where users look for it: docstring, examples, documentation."""

import doctest
import importlib
import inspect
import re
import warnings
from dataclasses import is_dataclass
from pathlib import Path
from typing import get_origin

import pytest

from captum_ext._moved import MOVED

ROOT = Path(__file__).parents[1]
FOLDERS = [
    "",
    ".attr",
    ".path",
    ".mask",
    ".mask.advanced",
    ".curve",
    ".metrics",
    ".evaluation",
    ".viz",
    ".testing",
]
NAMES = [
    (f"captum_ext{folder}", name)
    for folder in FOLDERS
    for name in importlib.import_module(f"captum_ext{folder}").__all__
]
EACH = pytest.mark.parametrize(("module", "name"), NAMES, ids=[".".join(pair) for pair in NAMES])
PAGES = {page: page.read_text() for page in (ROOT / "docs").rglob("*.md")}
INDEX = PAGES[ROOT / "docs" / "reference" / "index.md"]


def examples():
    """The source of every doctest of the package, and of the tutorials."""
    parser = doctest.DocTestParser()
    for file in (ROOT / "captum_ext").rglob("*.py"):
        for example in parser.get_examples(file.read_text()):
            yield example.source
    for file in (ROOT / "tutorials").glob("*.ipynb"):
        yield file.read_text()


EXAMPLES = "\n".join(examples())


@EACH
def test_public_name_has_a_docstring_of_its_own(module, name):
    thing = getattr(importlib.import_module(module), name)
    # Python 3.10 takes aliases of generic types for classes.
    is_alias = get_origin(thing) is not None
    if not is_alias and (inspect.isclass(thing) or inspect.isfunction(thing)):
        assert thing.__doc__
        assert not thing.__doc__.startswith(f"{name}("), "a dataclass without a docstring"
        assert thing.__doc__.split("\n\n")[0].rstrip().endswith((".", ":"))


@pytest.mark.parametrize(("module", "name"), [pair for pair in NAMES if "attr" in pair[0]])
def test_help_on_a_method_does_not_show_the_arguments_of_captums_base(module, name):
    thing = getattr(importlib.import_module(module), name)
    if inspect.isclass(thing):
        # What `help` shows of an `__init__` without words is its parent's.
        assert "forward_func" not in (inspect.getdoc(thing.__init__) or "")


@EACH
def test_public_name_is_in_the_reference(module, name):
    pages = (ROOT / "docs" / "reference").glob("*.md")
    entry = re.compile(rf"^::: {re.escape(module)}\.{name}$", re.MULTILINE)
    assert any(entry.search(page.read_text()) for page in pages)


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_index_of_the_reference_lists_what_is_public_and_nothing_else(folder):
    (names,) = re.findall(rf"^- \[?`captum_ext{re.escape(folder)}`.*?: (.*)$", INDEX, re.MULTILINE)
    listed = re.findall(r"`(\w+)`", names)
    assert sorted(listed) == sorted(importlib.import_module(f"captum_ext{folder}").__all__)


@pytest.mark.parametrize("module", sorted({module for module, _ in NAMES}))
def test_reference_lists_nothing_that_is_not_public(module):
    text = "\n".join(PAGES.values())
    entries = re.findall(rf"^::: {re.escape(module)}\.(\w+)$", text, re.MULTILINE)
    assert sorted(entries) == sorted(importlib.import_module(module).__all__)


@pytest.mark.parametrize(
    ("module", "name"),
    [(m, n) for m, n in NAMES if m in ("captum_ext", "captum_ext.attr", "captum_ext.metrics")],
)
def test_what_users_call_is_explained_beyond_the_reference(module, name):
    pages = [text for page, text in PAGES.items() if "reference" not in page.parts]
    assert any(re.search(rf"\b{name}\b", text) for text in pages)


@EACH
def test_public_name_is_in_an_example_that_runs(module, name):
    thing = getattr(importlib.import_module(module), name)
    shown = ">>>" in (thing.__doc__ or "") or re.search(rf"\b{name}\b", EXAMPLES)
    # Records and interfaces are given to or by what has an example.
    interface = inspect.isabstract(thing) or getattr(thing, "_is_protocol", False)
    if inspect.isfunction(thing) or (
        inspect.isclass(thing) and not interface and not is_dataclass(thing)
    ):
        assert shown


def test_every_command_and_option_of_the_catalog_is_documented():
    from captum_ext.registry import METHODS

    page = (ROOT / "docs" / "reference" / "command.md").read_text()
    assert [name for name in METHODS if f"`{name}`" not in page] == []


RENAMED = {
    "BlurredBase": "Blurred",
    "Deletion": "DeletionTerm",
    "Evaluate": "Objective",
    "Here": "MaskState",
    "Insertion": "InsertionTerm",
    "InterpolatedBase": "Interpolated",
    "Move": "StepResult",
    "Rule": "UpdateRule",
}


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [(module, old, new) for module, names in MOVED.items() for old, new in names.items()],
)
def test_a_name_that_moved_is_still_found_where_it_was(module, old, new):
    place, _, name = new.rpartition(".")
    assert name == RENAMED.get(old, old)
    with pytest.warns(DeprecationWarning, match=re.escape(f"{module}.{old} is now {new};")) as said:
        found = getattr(importlib.import_module(module), old)
    assert found is getattr(importlib.import_module(place), name)
    assert said[0].filename == __file__
    public = {folder for folder, _ in NAMES}
    assert (place, name) in NAMES or place not in public


@pytest.mark.parametrize("module", MOVED)
def test_a_star_import_and_dir_find_no_moved_names(module):
    names: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(f"from {module} import *", names)
        listed = {*names, *dir(importlib.import_module(module))}
    assert not listed & {*MOVED[module]}


def test_a_name_that_never_was_is_an_error():
    for module in MOVED:
        with pytest.raises(AttributeError, match=f"module '{module}' has no attribute 'nothing'"):
            _ = importlib.import_module(module).nothing
