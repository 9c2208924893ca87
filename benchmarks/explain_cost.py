"""What the default `captum-ext explain` costs in this and in other trees of the sources.

    python benchmarks/explain_cost.py [--tree FOLDER ...] [--repeats 2] [--methods NAMES]

Each run is a process of its own on one thread, all trees in turn; the first is this one. Model
evaluations are all rows that its model sees: of maps, curves and of nothing else. Prints a row a
run and a median a tree; the scores must be the same for a tree to be compared by its cost.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from skimage import data, io

COUNTED = """
import json, sys
import torch
import captum_ext
from captum_ext.cli import main
from captum_ext.evaluation.cost import Counted

torch.set_num_threads(1)
seen = {"calls": 0, "forwards": 0, "gradients": 0, "package": captum_ext.__file__}
forward = Counted.forward


def counting(self, *given):
    output = forward(self, *given)
    kind = "gradients" if output.requires_grad else "forwards"
    seen["calls"] += 1
    seen[kind] += len(output)
    return output


Counted.forward = counting
code = main(sys.argv[2:])
json.dump(seen, open(sys.argv[1], "w"))
sys.exit(code)
"""
COLUMNS = ("calls", "forwards", "gradients", "cpu", "wall")


def run(tree: Path, image: Path, methods: str | None) -> tuple[dict[str, float], dict[str, float]]:
    """What a run took, and the scores of its maps."""
    with tempfile.TemporaryDirectory() as folder:
        seen, table = Path(folder) / "seen.json", Path(folder) / "table.json"
        words = ["explain", image, "--model", "lite0", "--json", table, "--device", "cpu"]
        words += ["--out", Path(folder) / "figure.png"] + (
            ["--methods", methods] if methods else []
        )
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", COUNTED, seen, *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"},
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        took = json.loads(seen.read_text())
        assert Path(took.pop("package")).is_relative_to(tree), f"another captum_ext than {tree}'s"
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        rows = json.loads(table.read_text())["table"]
        scores = {
            f"{row['method']} {key}": value
            for row in rows
            for key, value in row.items()
            if key.startswith(("insertion", "deletion"))
        }
        return {**took, "cpu": cpu, "wall": wall}, scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tree", type=Path, nargs="*", default=[], help="other sources")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--methods", help="instead of the default ones")
    options = parser.parse_args()
    trees = [Path(__file__).resolve().parent.parent, *(tree.resolve() for tree in options.tree)]
    costs: dict[Path, list[dict[str, float]]] = {tree: [] for tree in trees}
    found: dict[Path, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "chelsea.png"
        io.imsave(image, data.chelsea())
        for _ in range(options.repeats):
            for tree in trees:
                cost, found[tree] = run(tree, image, options.methods)
                costs[tree].append(cost)
                print(tree, *(f"{cost[c]:.6g} {c}" for c in COLUMNS), flush=True)
    for tree in trees:
        both = found[tree].keys() & found[trees[0]].keys()
        apart = max(abs(found[tree][key] - found[trees[0]][key]) for key in both)
        middle = {c: median(cost[c] for cost in costs[tree]) for c in COLUMNS}
        print(f"{tree}: {middle}; scores differ by at most {apart:.2g}")


if __name__ == "__main__":
    main()
