"""Every method and metric beside the bare model and beside the peers that are installed.

    python benchmarks/run.py [--quick] [--only WORD] [--again] [--json FILE] [--page FILE]

Rows that the JSON file holds are kept, so that a run that was stopped goes on; `--again` measures
them anew. First how often a method asks the model; then its processor time divided by that of the
same calls of the bare model, all runs in turn in one process on one thread: the median of
`--repeats` ratios, with the least and the largest. Peak memory comes from processes of their own.
`--quick` uses small images and one repeat. The page is written from the JSON file alone.
"""

from __future__ import annotations

import argparse
import json
import platform
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from cases import METHODS, METRICS, ONE_IMAGE, Setting
from common import peak_memory
from measure import compared, peak_in_process, replay
from page import table_of, write_page
from torch import nn

import captum_ext
from captum_ext import ImageClassifier

TOLD = (
    "torch",
    "captum",
    "saliency",
    "torchcam",
    "grad-cam",
    "quantus",
    "xplique",
    "torchmetrics",
    "pytorch-msssim",
)
"""Packages whose versions the page tells."""


@dataclass(frozen=True)
class Size:
    """How much a row is measured on."""

    images: int
    side: int
    steps: int


BESIDE = Size(images=8, side=224, steps=10)
GROWING = ("IDGI (IG)", "Guided IG", "Blur IG", "RISE", "iGOS++", "deletion, 20 steps")
GROWTH = (
    Size(1, 224, 4),
    Size(8, 224, 4),
    Size(64, 224, 4),
    Size(1, 224, 64),
    Size(1, 512, 4),
    Size(1, 1024, 4),
)
QUICK = Size(images=2, side=64, steps=2)
Model = Callable[[], nn.Module]


def setting(model: nn.Module, size: Size) -> Setting:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(size.images, 3, size.side, size.side, generator=generator)
    layer = [m for m in model.modules() if isinstance(m, nn.Conv2d)][-1]
    return Setting(images, layer, size.steps)


def rows(quick: bool) -> dict[str, tuple[str, str, Size]]:
    """What is measured, by the row's name: table, case and size."""
    beside = QUICK if quick else BESIDE
    found = {
        f"{table}: {name}": (table, name, beside)
        for table, cases in (("methods", METHODS), ("metrics", METRICS))
        for name in cases
    }
    for size in (QUICK,) if quick else GROWTH:
        # Steps are a path's, and iterations and masks of the others: a metric has none.
        for name in (n for n in GROWING if size.steps <= 4 or n not in METRICS):
            words = f"growth: {name}, {size.images} x {size.side}, {size.steps}"
            found[words] = ("growth", name, size)
    return found


def measured(table: str, name: str, size: Size, model: nn.Module, repeats: int) -> dict[str, Any]:
    given = setting(model, size)
    runs = {**METHODS, **METRICS}[name](given)
    runs = dict([next(runs)] if table == "growth" else runs)
    examples = 1 if name in ONE_IMAGE else size.images
    found = compared(runs, model, given.images[:1], examples, repeats)
    return {"table": table, "name": name, **asdict(size), **found}


def peak(work: Callable[[nn.Module], Any], make: Model) -> float:
    """Memory in MB that work takes above the loaded model, in this process."""
    model = make()
    before = peak_memory()
    work(model)
    return peak_memory() - before


def peaks(name: str, size: Size, largest: list[Any]) -> dict[str, float]:
    """Of a run, and of its largest call of the bare model."""
    script, side = Path(__file__), str(size.side)
    words = (name, str(size.images), side, str(size.steps))
    call = (str(largest[0]), str(int(largest[1])), side)
    return {
        "peak": peak_in_process(script, "--peak", *words),
        "bare_peak": peak_in_process(script, "--peak-bare", *call),
    }


def about() -> dict[str, Any]:
    versions = {"captum_ext": captum_ext.__version__}
    for package in TOLD:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {"python": platform.python_version(), "machine": platform.machine(), **versions}


def run(options: argparse.Namespace, make: Model) -> dict[str, Any]:
    """Measures what is missing in the JSON file, which is written after each row."""
    model = make()
    known = json.loads(options.json.read_text()) if options.json.exists() else {"rows": {}}
    # Rows that stay were made beside peers that may be gone.
    found = {"about": known.get("about", {}) | about(), "rows": known["rows"]}
    for key, (table, name, size) in rows(options.quick).items():
        row = found["rows"].get(key)
        new = row is None or options.again
        wants_memory = table == "growth" and options.memory and (new or "peak" not in row)
        if options.only not in key or not (new or wants_memory):
            continue
        if new:
            row = measured(table, name, size, model, options.repeats)
        if wants_memory:
            row |= peaks(name, size, row["largest"])
        found["rows"][key] = row
        print(table_of([row], head=False), flush=True)
        write(found, options.json)
    return found


def write(found: dict[str, Any], file: Path) -> None:
    """Rows in the order in which they are measured, whenever that was."""
    known, order = found["rows"], list(rows(quick=False))
    ordered = sorted(known, key=lambda key: order.index(key) if key in order else len(order))
    found["rows"] = {key: known[key] for key in ordered}
    file.write_text(json.dumps(found, indent=1) + "\n")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--quick", action="store_true", help="small images, one repeat, no memory")
    made.add_argument("--only", default="", help="rows whose name holds this")
    made.add_argument("--again", action="store_true", help="measure known rows anew")
    made.add_argument("--repeats", type=int, default=3)
    made.add_argument("--json", type=Path, help="default: benchmarks/run.json")
    made.add_argument("--page", type=Path, help="default: docs/performance.md")
    made.add_argument("--peak", nargs=4, metavar=("NAME", "IMAGES", "SIDE", "STEPS"))
    made.add_argument("--peak-bare", nargs=3, type=int, metavar=("ROWS", "GRADIENT", "SIDE"))
    return made


def main(words: list[str] | None = None, make: Model | None = None) -> None:
    options = parser().parse_args(words)
    make = make or ImageClassifier.from_efficientnet_lite0
    if options.peak:
        name, *numbers = options.peak
        size = Size(*map(int, numbers))
        cases = {**METHODS, **METRICS}
        print(peak(lambda model: next(cases[name](setting(model, size)))[1](model), make))
        return
    if options.peak_bare:
        n, with_gradient, side = options.peak_bare
        call, image = (n, bool(with_gradient)), torch.zeros(1, 3, side, side)
        print(peak(lambda model: replay(model, [call], image), make))
        return
    here = Path(__file__).parent
    options.json = options.json or (Path("quick.json") if options.quick else here / "run.json")
    page = Path("quick.md") if options.quick else here.parent / "docs" / "performance.md"
    options.repeats = 1 if options.quick else options.repeats
    options.memory = not options.quick
    found = run(options, make)
    write_page(found, options.page or page)


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    main()
