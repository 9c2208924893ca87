"""Which methods each command runs on a classifier of each source: the table of docs/models.md.

    python benchmarks/source_table.py [--quick] [--json FILE] [--page FILE] [--work FOLDER]

Every cell is a run of the command, in this process: a source, one of its three commands and all
methods at once, at the least effort. Networks are small and untrained, so no number is looked at
but whether there is one; else the command's sentence stands in the table. What `--json` holds is
not run again.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sources import SIDE, SOURCES

from captum_ext.cli import main as command
from captum_ext.registry import METHODS, is_impostor

HERE = Path(__file__).resolve().parent
MARKS = ("<!-- sources -->\n", "<!-- /sources -->")
EFFORT = ["--steps", "2", "--n-masks", "8", "--n-iter", "1"]
COMMANDS = {
    "explain": "images/0.png --json told.json --out figure.png --overwrite",
    "evaluate": "images --metrics insertion --out run --restart",
    "sanity": "images/0.png --json told.json --out figure.png --overwrite --stages model "
    "--similarity unsigned_spearman",
}
QUICK = ("`file.py:factory`, traced",), ("ig", "grad-cam", "guided-backprop", "rise")
Found = dict[str, dict[str, dict[str, str]]]
"""By source, command and method: nothing, or why there is no map."""


def run(name: str, words: list[str], methods: list[str]) -> dict[str, str]:
    """What a command says of each method; one sentence for all where it refuses the model."""
    told = io.StringIO()
    with redirect_stderr(told), redirect_stdout(io.StringIO()):
        given = ["--methods", ",".join(methods), *words]
        code = command([name, *COMMANDS[name].split(), *EFFORT, *given])
    if code:
        # After notes and progress.
        last = told.getvalue().rpartition("captum-ext: ")[2]
        return dict.fromkeys(methods, " ".join(last.split()))
    return {method: why for method, why in READERS[name](methods).items() if why}


def explained(methods: list[str]) -> dict[str, str]:
    """Why `explain` has no map."""
    rows = {row["method"]: row for row in json.loads(Path("told.json").read_text())["table"]}
    return {name: rows[name]["reason"] or "" for name in methods}


def evaluated(methods: list[str]) -> dict[str, str]:
    """Why `evaluate` has no score."""
    told = json.loads(Path("run/results.json").read_text())
    unsuited, counts = told["excluded"]["methods"], told["counts"]["insertion"]
    return {
        name: unsuited.get(name)
        or ("" if counts[name]["n"] else "; ".join(counts[name]["reasons"]))
        for name in methods
    }


def checked(methods: list[str]) -> dict[str, str]:
    """Why `sanity` has no map."""
    failed = json.loads(Path("told.json").read_text())["failed"]
    return {name: failed.get(name) or "" for name in methods}


READERS = {"explain": explained, "evaluate": evaluated, "sanity": checked}


@contextmanager
def within(folder: Path) -> Iterator[None]:
    """In a folder with an image."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "images" / "0.png")
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def table(found: Found, n_methods: int) -> str:
    """Sources by commands, in Markdown: how many methods give a map, and what is said of others."""
    notes: dict[str, int] = {}
    lines = [f"| `--model` | {' | '.join(COMMANDS)} |", f"|---|{'---|' * len(COMMANDS)}"]
    for source in sorted(found, key=[*SOURCES].index):
        cells = found[source]
        told = [_cell(cells[name], n_methods, notes) for name in COMMANDS]
        lines.append(f"| {source} | {' | '.join(told)} |")
    return "\n".join([*lines, "", *(f"{k}. {why}" for why, k in notes.items())]) + "\n"


def _cell(refused: dict[str, str], n_methods: int, notes: dict[str, int]) -> str:
    if not refused:
        return f"all {n_methods}"
    reasons: dict[str, list[str]] = {}
    for method, why in refused.items():
        reasons.setdefault(why, []).append(f"`{method}`")
    told = [
        f"{'All' if len(names) == n_methods else ', '.join(names)}: {why}"
        for why, names in reasons.items()
    ]
    numbers = [notes.setdefault(line, len(notes) + 1) for line in told]
    return f"{n_methods - len(refused) or 'none'} ({', '.join(map(str, numbers))})"


def main(words: list[str] | None = None) -> None:
    """Runs what is not known yet, and writes the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="one source, four methods")
    parser.add_argument("--json", type=Path, default=HERE / "source_table.json")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "models.md")
    parser.add_argument("--work", type=Path, required=True, help="a folder to write in")
    chosen = parser.parse_args(words)
    named = [name for name in METHODS if not is_impostor(name)]
    sources, methods = QUICK if chosen.quick else ([*SOURCES], named)
    file, page, work = (p.resolve() for p in (chosen.json, chosen.page, chosen.work))
    held: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"found": {}}
    for k, source in enumerate(sources):
        cells = held["found"].setdefault(source, {})
        with within(work / str(k)):
            for name in (name for name in COMMANDS if name not in cells):
                cells[name] = run(name, SOURCES[source](Path()), [*methods])
                file.write_text(json.dumps({**held, "n_methods": len(methods)}, indent=1) + "\n")
                print(f"{source} {name}: {_cell(cells[name], len(methods), {})}", flush=True)
    write_page(json.loads(file.read_text()), page)


def write_page(held: dict[str, Any], page: Path) -> None:
    """Puts the table between its marks."""
    before, rest = page.read_text(encoding="utf-8").split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    page.write_text(
        f"{before}{MARKS[0]}\n{table(held['found'], held['n_methods'])}\n{MARKS[1]}{after}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
