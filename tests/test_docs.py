"""The examples of a page run one after the other, print what it says, and its files exist."""

import contextlib
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import captum.attr
import pytest
import torch

from captum_ext.evaluation import evaluate

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:^```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
SUPPORTED_SOMEWHERE = {
    "FeatureAblation", "ShapleyValueSampling", "ShapleyValues", "Lime", "KernelShap",
    "LayerGradientShap", "LayerGradientXActivation", "LayerIntegratedGradients",
}  # fmt: skip
"""Classes of Captum's that one of its pipelines takes."""
PAGES = ["../README.md", "architecture.md", "captum_pipelines.md", "extending.md", "recipes.md"]


@pytest.mark.parametrize("page", PAGES)
def test_examples_give_what_the_page_says(page):
    if page == "captum_pipelines.md" and not hasattr(captum.attr, "ImageMaskInput"):
        pytest.skip("the page is of Captum 0.9")
    names: dict[str, object] = {"__name__": "__main__"}
    blocks = BLOCK.findall((DOCS / page).read_text())
    assert blocks
    for code, wanted in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, page, "exec"), names)
        assert printed.getvalue() == wanted, code


@pytest.mark.skipif(not hasattr(captum.attr, "ImageMaskInput"), reason="before Captum 0.9")
@pytest.mark.parametrize(
    ("section", "pipeline"),
    [
        ("A language model, by ablation", "LLMAttribution"),
        ("A language model, by ablation", "RemoteLLMAttribution"),
        ("A language model, by gradients", "LLMGradientAttribution"),
        ("A data loader", "DataLoaderAttribution"),
    ],
)
def test_the_page_names_the_classes_that_captum_takes(section, pipeline):
    kind = getattr(captum.attr, pipeline)
    # The list of one of them stands beside it.
    holder = kind if hasattr(kind, "SUPPORTED_METHODS") else sys.modules[kind.__module__]
    page = (DOCS / "captum_pipelines.md").read_text()
    said = page.partition(f"\n## {section}\n")[2].partition("```")[0]
    taken = {one.__name__ for one in holder.SUPPORTED_METHODS}
    assert taken <= {*re.findall(r"`(\w+)`", said)}
    of_captum = {n for n in re.findall(r"`(\w+)`", said) if n in SUPPORTED_SOMEWHERE}
    assert of_captum == taken


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_the_example_of_graphs_gives_what_the_page_says_where_it_can_run():
    pytest.importorskip("torch_geometric")
    page = (DOCS / "captum_pipelines.md").read_text()
    ((code, wanted),) = BLOCK.findall(
        page.replace("```python", "```").replace("```py\n", "```python\n")
    )
    names: dict[str, Any] = {"torch": torch}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "captum_pipelines.md", "exec"), names)
    assert printed.getvalue() == wanted
    gcn, edges, nodes, found = (names[name] for name in ("gcn", "edges", "nodes", "found"))
    best = gcn(nodes, edges)[2].argmax()
    rise = gcn(nodes, edges)[2, best] - gcn(0 * nodes, edges[:, :0])[2, best]
    total = found.node_mask.sum() + found.edge_mask.sum()
    torch.testing.assert_close(total, rise.detach(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("page", [*PAGES, "../CONTRIBUTING.md"])
def test_files_that_are_named_exist(page):
    found = re.findall(
        r"(?<![\w/])(?:captum_ext|tests|docs|benchmarks)/[\w./]+\w", (DOCS / page).read_text()
    )
    named = [file for file in found if "NAME" not in file]
    assert [file for file in named if not (DOCS.parent / file).exists()] == []


def test_every_part_of_the_package_is_on_the_page_of_its_architecture():
    page = (DOCS / "architecture.md").read_text()
    parts = (DOCS.parent / "captum_ext").iterdir()
    folders = [part.name for part in parts if part.is_dir() and part.name[0] != "_"]
    assert [name for name in folders if f"captum_ext/{name}" not in page] == []


def test_every_benchmark_that_can_be_run_is_on_their_page():
    page = (DOCS / "benchmarks.md").read_text()
    scripts = [f for f in (DOCS.parent / "benchmarks").glob("*.py") if "__main__" in f.read_text()]
    assert scripts
    assert [script.name for script in scripts if f"`{script.name}" not in page] == []


def test_the_table_of_images_is_what_its_script_makes(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(DOCS.parent / "benchmarks"))
    import power

    assert power.table(power.from_intervals()) in (DOCS / "choose.md").read_text()
    # Half a standard deviation takes 34 pairs, as any table of the t test's power says.
    assert power.needed(0.5, 1.0) == 34
    file = tmp_path / "rows.jsonl"
    pairs = [{"IG": v, "Grad-CAM": 1.0} for v in (1.0, 2.0, 3.0)]
    rows = [{k: dict.fromkeys(power.SCORES, v) for k, v in pair.items()} for pair in pairs]
    file.write_text("\n".join(json.dumps({"own": row}) for row in rows))
    assert power.from_rows(file) == {("IG", score): 1.0 for score in power.SCORES}


@pytest.mark.parametrize(
    ("name", "method"),
    [("blur-ig", "`BlurIG`"), ("idgi-blur-ig", "`IDGI`"), ("aligned", "`AlignedContribution`")],
)
def test_costs_of_placed_steps_are_what_is_counted(name, method, model, images):
    found = evaluate(model, [(images[0], 0)], [name], ["insertion"], batch_size=1, seed=0)
    (row,) = found.records
    readme = (DOCS.parent / "README.md").read_text()
    (line,) = (
        line for line in readme.splitlines() if line.startswith("|") and f"| {method} " in line
    )
    assert f"{row['gradients']:.0f} g + {row['forwards']:.0f} f" in line


def test_seconds_are_the_evaluations_times_what_each_takes():
    readme = (DOCS.parent / "README.md").read_text()
    table = readme.partition("| Evaluations | Seconds |")[2].partition("\n\n")[0]
    for n, kind, seconds in re.findall(r"\| (?:about )?([\d,]+) ([gf]) \| (\d+) \|", table):
        assert round(int(n.replace(",", "")) * {"g": 0.04, "f": 0.016}[kind]) == int(seconds)


MEASURED = re.compile(r"(?<![\w.])\.\d\d+|\d\d MB\b")
MADE_BY = re.compile(
    r"[a-z_]+\.(py|ipynb)\b|tutorials/|captum-ext explain"
    r"|(performance|evidence|benchmarks|aligned)\.md"
)
_BESIDE_OTHERS = "Numbers on this page that name no script"
"""How protocols.md begins: what published code does, measured beside it."""


@pytest.mark.parametrize(
    "page", ["README.md", *sorted(p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md"))]
)
def test_measured_numbers_stand_beside_what_made_them(page):
    """A script, a notebook, a command, or a page that names one, in the section or the first."""
    text = (DOCS.parent / page if page == "README.md" else DOCS / page).read_text()
    first, *sections = re.split(r"(?m)^(?=## )", re.sub(r"(?ms)^```.*?^```", "", text))
    if _BESIDE_OTHERS in first:
        return
    last = sections[-1] if sections else ""
    for section in sections:
        if MEASURED.search(section) and not MADE_BY.search(first):
            assert MADE_BY.search(section) or "\nMade by" in last, section[:200]
