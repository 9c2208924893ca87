"""``captum-ext explain``: one image, several maps, and what each is worth."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor, nn

from captum_ext.attr.mask_attribution import NOTHING
from captum_ext.cli.errors import CallError, say, show
from captum_ext.cli.explanation import REFERENCES, Result, attribute_all, is_mask_method
from captum_ext.cli.inputs.models import device_of, load_model, name_of, predict
from captum_ext.cli.inputs.pictures import Reader
from captum_ext.cli.options import (
    add_effort_options,
    add_model_options,
    check_numbers,
    chosen,
    effort_of,
    inputs_of,
    made_for,
    require_maps,
    target_of,
)
from captum_ext.cli.output import (
    add_overwrite,
    check_outputs,
    finish,
    path,
    shown,
    write_figure,
    write_json,
)
from captum_ext.evaluation import Counted
from captum_ext.evaluation.settings import versions
from captum_ext.registry import METHODS
from captum_ext.viz import Explained, explanation_figure, history_figure
from captum_ext.viz.maps import least_credit

DEFAULT_METHODS = "ig,guided-ig,blur-ig,idgi-ig,idgi-guided-ig,idgi-blur-ig"


def add_to(commands: Any) -> None:
    """Adds the command's arguments to the parser."""
    sub = commands.add_parser(
        "explain",
        help="explain an image's top class with several methods and score the maps",
        description="Explains one image with several methods, scores each map by insertion and "
        "deletion, prints a table and draws one figure.",
    )
    add = sub.add_argument
    add("image", nargs="?", type=path, metavar="IMAGE", help="default: scikit-image's `coffee`")
    add_model_options(sub)
    add("--methods", default=DEFAULT_METHODS, help=f"of {', '.join(METHODS)}; or all")
    add_effort_options(sub, steps=50, n_masks=4000)
    add("--target", help="class to explain, number or name (default: the top class)")
    add(
        "--reference",
        choices=REFERENCES,
        default="blur",
        help="what replaces pixels in insertion "
        "and deletion: the blurred image (51 x 51, sigma 50; default) or black",
    )
    add("--out", type=path, default=Path("explanation.png"), help="the figure (explanation.png)")
    add("--history", type=path, metavar="FILE", help="a figure of how masks were optimized")
    add("--json", type=path, metavar="FILE", help="also write the table as JSON")
    add_overwrite(sub)
    add("--seed", type=int, default=0, help="of all that is random: methods and ties")
    sub.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Explains the image; raises CallError before any work if something does not fit."""
    methods = chosen(arguments.methods)
    check_numbers(arguments)
    outputs = {"--out": arguments.out, "--history": arguments.history, "--json": arguments.json}
    check_outputs(outputs, inputs_of(arguments), arguments.overwrite)
    device = device_of(arguments.device)
    model = load_model(arguments.model, arguments.weights, device)
    counted = Counted(model)
    made, unsuited = made_for(counted, methods, arguments)
    if arguments.history and not any(is_mask_method(method) for method in made.values()):
        raise CallError("--history needs a method that optimizes a mask, such as igos.")
    reader = Reader(model)
    image = reader.tensor(reader.picture(arguments.image))[None].to(device)
    probabilities = predict(model, image)[0]
    target = int(probabilities.argmax())
    if arguments.target is not None:
        target = target_of(arguments.target, model, len(probabilities))
    show(f"explaining {name_of(model, target)} (class {target}, p = {probabilities[target]:.3f})")
    labels = {name: method.label for name, method in methods.items()}
    found = attribute_all(made, labels, counted, image, target, arguments)
    lost = {name: Result(labels[name], problem=why) for name, why in unsuited.items()}
    results = {name: {**lost, **found}[name] for name in methods}
    missing = {n: r.problem if r.attributions is None else None for n, r in results.items()}
    require_maps(missing)
    for name, result in found.items():
        if result.problem is not None:
            say(f"{name} fails: {result.problem}")
    table = [result.record(name) for name, result in results.items()]
    writers: dict[Path, Any] = {
        arguments.out: lambda: write_figure(
            _figure(image, probabilities, target, model, results, arguments), arguments.out
        )
    }
    if arguments.history:
        descents = {r.label: r.descent for r in results.values() if r.descent is not None}
        writers[arguments.history] = lambda: write_figure(
            history_figure(descents), arguments.history
        )
    if arguments.json:
        report = {
            "target": {"class": target, "name": name_of(model, target)},
            "probability": float(probabilities[target]),
            "table": table,
            "protocol": _protocol(arguments),
            "versions": versions(),
        }
        writers[arguments.json] = lambda: write_json(report, arguments.json)
    finish(f"{_as_text(table, results)}\n{_caption(arguments)}", writers)


def _figure(
    image: Tensor,
    probabilities: Tensor,
    target: int,
    model: nn.Module,
    results: Mapping[str, Result],
    arguments: argparse.Namespace,
) -> Figure:
    top = probabilities.topk(min(5, len(probabilities)))
    names = [name_of(model, int(i)) for i in top.indices]
    rows = [
        Explained(
            r.label,
            None if r.attributions is None else r.attributions[0],
            r.curves,
            NOTHING if r.descent else least_credit(float(probabilities[target]), image.numel()),
            r.problem,
        )
        for r in results.values()
    ]
    predictions = list(zip(names, top.values.tolist(), strict=True))
    reading = f"|map|, {arguments.reference} reference"
    return explanation_figure(image[0], predictions, rows, name_of(model, target), reading)


def _as_text(table: list[dict[str, Any]], results: Mapping[str, Result]) -> str:
    head = ("method", "insertion", "|insertion|", "deletion", "|deletion|", "seconds", "forwards",
            "gradients")  # fmt: skip
    keys = ("insertion", "insertion_abs", "deletion", "deletion_abs")
    lines = [f"{head[0]:18}" + "".join(f"{word:>12}" for word in head[1:])]
    for record in table:
        label, why = results[record["method"]].label, record["reason"]
        scores = "".join(f"{_number(record[key]):>12}" for key in keys)
        counts = f"{record['seconds']:12.1f}{record['forwards']:12d}{record['gradients']:12d}"
        lines.append(f"{label:18}{scores}{counts}{f'  {why}' if why else ''}")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.3f}"


def _caption(arguments: argparse.Namespace) -> str:
    return (
        f"insertion: higher is better, deletion: lower is better; {arguments.reference} "
        "reference, 20 steps.\npixels are ranked by the sum over channels, in |...| by the sum of "
        "absolute values."
    )


def _protocol(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "model": shown(arguments.model),
        "weights": shown(arguments.weights),
        "image": shown(arguments.image),
        "reference": arguments.reference,
        "curve_steps": 20,
        **effort_of(arguments),
        "seed": arguments.seed,
    }
