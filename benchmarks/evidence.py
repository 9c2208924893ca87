"""Do the papers' claims hold here? From images to the page on evidence.

Every method's map of every image, scored by insertion, deletion, AIC, SIC, localization and a
sanity check; then each claim of the papers as a paired difference with a 95 % interval. One line
for each network and image is kept, and a run goes on from them.

    python benchmarks/evidence.py [FOLDER] [--networks lite0 lite2 resnet vit] [--keep KEPT]
        [--parts base ablations ...] [--limit N] [--weights FOLDER] [--without METHOD ...]
        [--page] [--quick]

FOLDER as in metrics_on_photographs.py; without one, scikit-image's photographs. "resnet" and "vit"
are trained.py's, whose weights are in --weights. KEPT is benchmarks/evidence_rows, which holds the
rows of the page, so that more images join them; a --quick run needs another. Rows do not say which
code made them: where a method or a score has changed, begin anew. Parts are those of
evidence_studies.py. With --page nothing is measured: the lines that are kept become
docs/evidence.md, benchmarks/evidence.json and docs/pictures/evidence.png.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from common import correct, photographs
from evidence_measure import QUICK, Example, Settings
from evidence_page import write
from evidence_studies import PARTS, measured_part
from metrics_on_photographs import read
from rules import SIDES, classifier
from torch import nn
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
ROWS = ROOT / "benchmarks" / "evidence_rows"


def annotated(folder: Path | None) -> list[Example]:
    """Photographs with their regions, in one random order."""
    if folder is None:
        return [Example(*one) for one in photographs(None)]
    rows = json.loads((folder / "annotations.json").read_text())["images"]
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0)).tolist()
    found = []
    for row in (rows[k] for k in order):
        image, region, _ = read(folder, row)
        found.append(Example(row["file"], image, row["expected_class"], region))
    return found


def digits(n: int = 40) -> list[Example]:
    """Digits among clutter that no network was trained on; which they are depends on ``n``."""
    from trained import held_out

    images, labels, regions = held_out(n)
    return [
        Example(f"digit {k}", images[k : k + 1], int(labels[k]), regions[k : k + 1])
        for k in range(n)
    ]


def network(name: str, weights: Path | None) -> nn.Module:
    if name in SIDES:
        return classifier(name)
    import trained

    if weights is None:
        raise SystemExit(f"{name} needs --weights, a folder for the weights of trained.py.")
    return trained.classifier(name, weights)


def measure(
    part: str,
    name: str,
    model: nn.Module,
    examples: list[Example],
    file: Path,
    limit: int,
    how: Settings,
) -> None:
    """Appends a line for each of the first ``limit`` images that the model classifies rightly."""
    file.parent.mkdir(parents=True, exist_ok=True)
    done = {row["pixels"] for row in lines(file) if row.get("part", "base") == part}
    known = 0
    for example in tqdm(examples, desc=f"{name}, {part}"):
        if known == limit:
            return
        if example.digest in done:
            known += 1
            continue
        target = correct(model, example.image, example.label)
        if target is None:
            continue
        known += 1
        row = measured_part(part, model, example, target, how)
        row |= {"network": name, "pixels": example.digest}
        with file.open("a") as kept:
            kept.write(rounded(json.dumps(row)) + "\n")


def rounded(row: str) -> str:
    """JSON whose numbers have 6 places: more say nothing of an image."""
    return json.dumps(json.loads(row, parse_float=lambda number: round(float(number), 6)))


def lines(file: Path) -> Iterator[dict]:
    if file.exists():
        yield from map(json.loads, file.read_text().splitlines())


def rows_of(folder: Path) -> list[dict]:
    return [row for file in sorted(folder.glob("*.jsonl")) for row in lines(file)]


def main(words: list[str] | None = None, model: nn.Module | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--keep", type=Path, help="default: benchmarks/evidence_rows")
    parser.add_argument("--networks", nargs="+", default=["lite0"])
    parser.add_argument("--parts", nargs="+", default=["base"], choices=PARTS)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--limit", type=int, default=20)
    parser.add_argument("--without", nargs="+", default=[], help="methods that cost too much")
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--quick", action="store_true", help="small images, few steps, both stages")
    parser.add_argument("--into", type=Path, default=ROOT, help="where docs and benchmarks are")
    options = parser.parse_args(words)
    if options.quick and options.keep is None:
        parser.error("--quick needs --keep: its rows are none of the page's.")
    kept = options.keep or ROWS
    how = replace(QUICK if options.quick else Settings(), without=tuple(options.without))
    for name in [] if options.page else options.networks:
        examples = annotated(options.folder) if name in SIDES else digits()
        if options.quick:
            examples = [Example(e.name, e.image[..., ::8, ::8]) for e in examples]
        used = model or network(name, options.weights)
        file = kept / f"{name}.jsonl"
        for part in options.parts:
            measure(part, name, used, examples, file, options.limit, how)
    if options.page or options.quick:
        write(rows_of(kept), options.into)


if __name__ == "__main__":
    main()
