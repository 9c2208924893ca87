"""``captum-ext sanity``: does a map change with the model that it claims to explain?"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from captum_ext._captum import Attribution
from captum_ext.attr.catalog import METHODS, Method, lookup
from captum_ext.cli.errors import CallError, as_call_error
from captum_ext.cli.folder import images_of
from captum_ext.cli.models import (
    add_model_options,
    device_of,
    load_model,
    name_of,
    predict,
)
from captum_ext.cli.output import check_output, whole_file
from captum_ext.cli.pictures import Reader
from captum_ext.cli.running import add_effort_options, check_counts, configured, effort_of
from captum_ext.cli.sanity_table import as_text, cascade, table, with_impostors
from captum_ext.cli.say import say
from captum_ext.evaluation import Counted
from captum_ext.evaluation.quiet import quiet
from captum_ext.evaluation.result import plain
from captum_ext.evaluation.settings import versions
from captum_ext.metrics import ParameterRandomization
from captum_ext.metrics.map_similarity import SIMILARITIES
from captum_ext.viz import cascade_figure

DEFAULT_METHODS = "saliency,ig,guided-ig,blur-ig,idgi-ig,grad-cam"
# Each a size, so that lower is better in all of them.
DEFAULT_SIMILARITY = "unsigned_spearman,abs_spearman,ssim,hog"
_PICTURES = (".png", ".pdf", ".svg", ".jpg")


def add_to(commands: Any) -> None:
    """Adds the command's arguments to the parser."""
    sub = commands.add_parser(
        "sanity",
        help="randomize the model stage by stage and see which maps notice",
        description="The parameter randomization test of Adebayo et al. (NeurIPS 2018): draws the "
        "model's parameters anew from the output to the input, and compares every method's map "
        "after each stage with its original map. A map that stays similar does not show what the "
        "model has learned.",
    )
    add = sub.add_argument
    add("image", nargs="?", type=Path, metavar="IMAGE",
        help="an image or a folder of them; default: scikit-image's `coffee`")  # fmt: skip
    add("--limit", type=int, default=8, metavar="N", help="images of a folder (default 8)")
    add_model_options(sub)
    add("--methods", default=DEFAULT_METHODS, help=f"of {', '.join(METHODS)}")
    add("--order", choices=("cascading", "independent"), default="cascading",
        help="keep earlier stages randomized (default), or randomize each alone")  # fmt: skip
    add("--stages", default="block", help="block (default), layer, or names of modules, "
        "separated by commas")  # fmt: skip
    add("--similarity", default=DEFAULT_SIMILARITY, help=f"of {', '.join(SIMILARITIES)}")
    add_effort_options(sub, steps=20, n_masks=500)
    add("--target", help="class to explain, number or name (default: each image's top class)")
    add("--out", type=Path, default=Path("sanity.png"), help="the figure (sanity.png)")
    add("--json", type=Path, metavar="FILE", help="also write the table as JSON")
    add("--seed", type=int, default=0, help="of the fresh parameters, and of methods that draw")
    sub.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the test; raises CallError before any work if something does not fit."""
    methods, similarity = _check(arguments)
    device = device_of(arguments.device)
    model = load_model(arguments.model, arguments.weights, device)
    images = _images(arguments, model, device)
    targets = _targets(arguments, model, images)
    checks = _checks(arguments, methods, similarity, model, images, targets)
    if not checks:
        raise CallError("--methods: none suits the model.")
    labels = {name: methods[name].label for name in checks}
    checks = with_impostors(checks, model, images)
    labels |= {name: name for name in checks if name not in labels}
    records = table(checks)
    print(as_text(records, similarity, labels, checks))
    n = len(images)
    print(
        f"{n} image{'s' * (n > 1)}, {arguments.order}; 1 is the original map, lower is better: a "
        "map that stays similar does not show what the model has learned.\nThe mean is over "
        "stages; [low, high] a 95 % bootstrap interval over images."
    )
    rows = [cascade(labels[name], check) for name, check in checks.items()]
    with whole_file(arguments.out) as file:
        cascade_figure(images[0], rows).savefig(file, dpi=110)
    print(f"wrote {arguments.out}")
    if arguments.json:
        report = {
            "table": records,
            "stages": next(iter(checks.values())).report,
            "protocol": _protocol(arguments, checks, targets),
            "versions": versions(),
            "command": f"captum-ext {arguments.command_line}",
        }
        with whole_file(arguments.json) as file:
            file.write_text(json.dumps(plain(report), indent=1, default=str) + "\n")
        print(f"wrote {arguments.json}")


def _check(arguments: argparse.Namespace) -> tuple[dict[str, Method], list[str]]:
    check_counts(arguments)
    given = [Path(p) for p in (arguments.image, arguments.weights) if p]
    check_output("--out", arguments.out, given, _PICTURES)
    if arguments.json:
        check_output("--json", arguments.json, [*given, arguments.out], (".json",))
    similarity = [name.strip() for name in arguments.similarity.split(",") if name.strip()]
    unknown = [name for name in similarity if name not in SIMILARITIES]
    if unknown or not similarity:
        known = ", ".join(SIMILARITIES)
        raise CallError(f"--similarity is among {known}, but got {unknown or similarity}.")
    with as_call_error("--methods: "):
        names = [name.strip() for name in arguments.methods.split(",") if name.strip()]
        return lookup(names), similarity


def _images(arguments: argparse.Namespace, model: nn.Module, device: torch.device) -> Tensor:
    source, reader, tensors = arguments.image, Reader(model), []
    if source is None or not source.is_dir():
        tensors = [reader.tensor(reader.picture(source))]
    else:
        listed = images_of(source)
        for note in listed.notes:
            say(note)
        for file in listed.files[: arguments.limit]:
            try:
                tensors.append(reader.tensor(reader.picture(source / file)))
            except CallError as error:
                say(f"{error} It is left out.")
    if not tensors:
        raise CallError(f"IMAGE {source} holds no image that can be read.")
    if len({t.shape for t in tensors}) > 1:
        raise CallError("IMAGE holds images of several sizes, and --model does not resize them.")
    return torch.stack(tensors).to(device)


def _targets(arguments: argparse.Namespace, model: nn.Module, images: Tensor) -> Tensor:
    probabilities = predict(model, images)
    n_classes = probabilities.shape[1]
    if arguments.target is None:
        return probabilities.argmax(1)
    names = [name_of(model, k) for k in range(n_classes)]
    given = arguments.target
    number = int(given) if given.isdecimal() else names.index(given) if given in names else -1
    if not 0 <= number < n_classes:
        raise CallError(
            f"--target is a class from 0 to {n_classes - 1} or its name, but got {given!r}."
        )
    return torch.full((len(images),), number, device=images.device)


def _checks(
    arguments: argparse.Namespace,
    methods: dict[str, Method],
    similarity: list[str],
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
) -> dict[str, ParameterRandomization]:
    words = [word.strip() for word in arguments.stages.split(",") if word.strip()]
    stages = words[0] if words in (["block"], ["layer"]) else words
    checks = {}
    with tqdm(unit=" evaluations", leave=False) as bar:
        for name, method in methods.items():
            bar.set_description(method.label)
            try:
                configured(method, model, arguments)
            except (ValueError, TypeError, AssertionError) as error:
                say(f"{name} is left out: {str(error).splitlines()[0]}")
                continue

            def make(randomized: nn.Module, method: Method = method) -> Attribution:
                return configured(method, Counted(randomized, bar.update), arguments)

            check = ParameterRandomization(
                make, arguments.order, similarity, arguments.seed, stages, keep_maps=1
            )
            with as_call_error(f"{name}: "), quiet():
                # One at a time bounds memory, whatever the method.
                for image, target in zip(images, targets, strict=True):
                    check.update(model, image[None], target=int(target))
            checks[name] = check
    return checks


def _protocol(
    arguments: argparse.Namespace, checks: dict[str, ParameterRandomization], targets: Tensor
) -> dict[str, Any]:
    return {
        "model": arguments.model,
        "weights": arguments.weights,
        "image": None if arguments.image is None else str(arguments.image),
        "targets": targets.tolist(),
        **effort_of(arguments),
        **next(iter(checks.values())).protocol,
    }
