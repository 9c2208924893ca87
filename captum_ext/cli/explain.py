"""``captum-ext explain``: one image, several maps, and what each is worth."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from captum_ext.attr.catalog import METHODS, lookup
from captum_ext.cli.errors import CallError, as_call_error
from captum_ext.cli.explanation import REFERENCES, Result, attribute_all, is_mask_method
from captum_ext.cli.models import (
    add_model_options,
    device_of,
    load_model,
    name_of,
    predict,
)
from captum_ext.cli.output import check_output, whole_file
from captum_ext.cli.pictures import Reader
from captum_ext.cli.running import add_effort_options, check_counts, effort_of
from captum_ext.evaluation.settings import versions
from captum_ext.viz import Explained, explanation_figure, history_figure

DEFAULT_METHODS = "ig,guided-ig,blur-ig,idgi-ig,idgi-guided-ig,idgi-blur-ig"
_PICTURES = (".png", ".pdf", ".svg", ".jpg")


def add_to(commands: Any) -> None:
    """Adds the command's arguments to the parser."""
    sub = commands.add_parser(
        "explain",
        help="explain an image's top class with several methods and score the maps",
        description="Explains one image with several methods, scores each map by insertion and "
        "deletion, prints a table and draws one figure.",
    )
    add = sub.add_argument
    add("image", nargs="?", type=Path, metavar="IMAGE", help="default: scikit-image's `coffee`")
    add_model_options(sub)
    add("--methods", default=DEFAULT_METHODS, help=f"of {', '.join(METHODS)}")
    add_effort_options(sub, steps=50, n_masks=4000)
    add("--target", help="class to explain, number or name (default: the top class)")
    add(
        "--reference",
        choices=REFERENCES,
        default="blur",
        help="what replaces pixels in insertion "
        "and deletion: the blurred image (51 x 51, sigma 50; default) or black",
    )
    add("--out", type=Path, default=Path("explanation.png"), help="the figure (explanation.png)")
    add("--history", type=Path, metavar="FILE", help="a figure of how masks were optimized")
    add("--json", type=Path, metavar="FILE", help="also write the table as JSON")
    add("--seed", type=int, default=0, help="of methods that draw random numbers, and of ties")
    sub.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Explains the image; raises CallError before any work if something does not fit."""
    with as_call_error("--methods: "):
        methods = lookup([name.strip() for name in arguments.methods.split(",") if name.strip()])
    _check(arguments)
    device = device_of(arguments.device)
    model = load_model(arguments.model, arguments.weights, device)
    if arguments.history and not any(is_mask_method(m, model) for m in methods.values()):
        raise CallError("--history needs a method that optimizes a mask, such as igos.")
    reader = Reader(model)
    image = reader.tensor(reader.picture(arguments.image))[None].to(device)
    probabilities = predict(model, image)[0]
    target = _target(arguments.target, model, probabilities)
    print(f"explaining {name_of(model, target)} (class {target}, p = {probabilities[target]:.3f})")
    results = attribute_all(methods, model, image, target, arguments)
    table = [result.record(name) for name, result in results.items()]
    print(_as_text(table, results))
    print(_caption(arguments))
    top = probabilities.topk(min(5, len(probabilities)))
    names = [name_of(model, int(i)) for i in top.indices]
    rows = [Explained(r.method.label, r.attributions[0], r.curves) for r in results.values()]
    predictions = list(zip(names, top.values.tolist(), strict=True))
    reading = f"|map|, {arguments.reference} reference"
    figure = explanation_figure(image[0], predictions, rows, name_of(model, target), reading)
    with whole_file(arguments.out) as file:
        figure.savefig(file, dpi=110)
    print(f"wrote {arguments.out}")
    if arguments.history:
        descents = {r.method.label: r.descent for r in results.values() if r.descent is not None}
        with whole_file(arguments.history) as file:
            history_figure(descents).savefig(file, dpi=110)
        print(f"wrote {arguments.history}")
    if arguments.json:
        report = {
            "target": {"class": target, "name": name_of(model, target)},
            "probability": float(probabilities[target]),
            "table": table,
            "protocol": _protocol(arguments),
            "versions": versions(),
        }
        with whole_file(arguments.json) as file:
            file.write_text(json.dumps(report, indent=1) + "\n")
        print(f"wrote {arguments.json}")


def _check(arguments: argparse.Namespace) -> None:
    check_counts(arguments)
    given = [Path(p) for p in (arguments.image, arguments.weights) if p]
    check_output("--out", arguments.out, given, _PICTURES)
    if arguments.history:
        check_output("--history", arguments.history, [*given, arguments.out], _PICTURES)
    if arguments.json:
        others = [*given, arguments.out, arguments.history or arguments.out]
        check_output("--json", arguments.json, others, (".json",))


def _target(given: str | None, model: nn.Module, probabilities: Tensor) -> int:
    if given is None:
        return int(probabilities.argmax())
    names = [name_of(model, i) for i in range(len(probabilities))]
    target = int(given) if given.isdecimal() else names.index(given) if given in names else -1
    if not 0 <= target < len(probabilities):
        raise CallError(
            f"--target is a class from 0 to {len(probabilities) - 1} or its name, "
            f"but got {given!r}."
        )
    return target


def _as_text(table: list[dict[str, Any]], results: dict[str, Result]) -> str:
    head = ("method", "insertion", "|insertion|", "deletion", "|deletion|", "seconds", "forwards",
            "gradients")  # fmt: skip
    keys = ("insertion", "insertion_abs", "deletion", "deletion_abs")
    lines = [f"{head[0]:18}" + "".join(f"{word:>12}" for word in head[1:])]
    for record in table:
        label = results[record["method"]].method.label
        scores = "".join(f"{record[key]:12.3f}" for key in keys)
        counts = f"{record['seconds']:12.1f}{record['forwards']:12d}{record['gradients']:12d}"
        lines.append(f"{label:18}{scores}{counts}")
    return "\n".join(lines)


def _caption(arguments: argparse.Namespace) -> str:
    return (
        f"insertion: higher is better, deletion: lower is better; {arguments.reference} "
        "reference, 20 steps.\npixels are ranked by the sum over channels, in |...| by the sum of "
        "absolute values."
    )


def _protocol(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "model": arguments.model,
        "weights": arguments.weights,
        "image": None if arguments.image is None else str(arguments.image),
        "reference": arguments.reference,
        "curve_steps": 20,
        **effort_of(arguments),
        "seed": arguments.seed,
    }
