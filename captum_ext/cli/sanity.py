"""``captum-ext sanity``: does a map change with the model that it claims to explain?"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from captum_ext._captum import Attribution
from captum_ext._text import reason
from captum_ext.attr.mask_attribution import NOTHING
from captum_ext.cli.errors import CallError, say
from captum_ext.cli.explanation import is_mask_method
from captum_ext.cli.inputs.folder import images_of
from captum_ext.cli.inputs.models import device_of, load_model, predict
from captum_ext.cli.inputs.pictures import Reader
from captum_ext.cli.options import (
    add_effort_options,
    add_model_options,
    check_numbers,
    chosen,
    configured,
    effort_of,
    inputs_of,
    made_for,
    names_in,
    require_maps,
    target_of,
)
from captum_ext.cli.output import (
    add_overwrite,
    check_outputs,
    finish,
    is_ours,
    path,
    shown,
    shown_command,
    write_figure,
    write_json,
)
from captum_ext.cli.sanity_table import as_text, cascade, table, with_impostors
from captum_ext.evaluation import Counted
from captum_ext.evaluation.run import quiet
from captum_ext.evaluation.settings import versions
from captum_ext.metrics import ParameterRandomization
from captum_ext.registry import METHODS, SIMILARITIES, Method
from captum_ext.viz import cascade_figure

DEFAULT_METHODS = "saliency,ig,guided-ig,blur-ig,idgi-ig,grad-cam"
# Each a size, so that lower is better in all of them.
DEFAULT_SIMILARITY = "unsigned_spearman,abs_spearman,ssim,hog"


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
    add("image", nargs="?", type=path, metavar="IMAGE",
        help="an image or a folder of them; default: scikit-image's `coffee`")  # fmt: skip
    add("--limit", type=int, default=8, metavar="N", help="images of a folder (default 8)")
    add_model_options(sub)
    add("--methods", default=DEFAULT_METHODS, help=f"of {', '.join(METHODS)}; or all")
    add("--order", choices=("cascading", "independent"), default="cascading",
        help="keep earlier stages randomized (default), or randomize each alone")  # fmt: skip
    add("--stages", default="block", help="block (default), layer, or names of modules, "
        "separated by commas")  # fmt: skip
    add("--similarity", default=DEFAULT_SIMILARITY, help=f"of {', '.join(SIMILARITIES)}")
    add_effort_options(sub, steps=20, n_masks=500)
    add("--target", help="class to explain, number or name (default: each image's top class)")
    add("--out", type=path, default=Path("sanity.png"), help="the figure (sanity.png)")
    add("--json", type=path, metavar="FILE", help="also write the table as JSON")
    add_overwrite(sub)
    add("--seed", type=int, default=0, help="of all that is random: fresh parameters and methods")
    sub.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the test; raises CallError before any work if something does not fit."""
    methods = chosen(arguments.methods)
    similarity = _check(arguments)
    device = device_of(arguments.device)
    model = load_model(arguments.model, arguments.weights, device)
    stages = _stages(arguments.stages, model)
    made, unsuited = made_for(model, methods, arguments)
    images = _images(arguments, model, device)
    targets = _targets(arguments, model, images)
    checks, failed = _checks(
        arguments,
        {name: methods[name] for name in made},
        similarity,
        stages,
        model,
        images,
        targets,
    )
    lost = {**unsuited, **failed}
    require_maps({name: lost.get(name) for name in methods})
    for name, why in failed.items():
        say(f"{name} fails: {why}")
    labels = {name: methods[name].label for name in checks}
    checks = with_impostors(checks, model, images)
    labels |= {name: name for name in checks if name not in labels}
    records = table(checks)
    masks = {name for name, method in made.items() if is_mask_method(method)}
    rows = [
        cascade(labels[name], check, NOTHING if name in masks else 0.0)
        for name, check in checks.items()
    ]
    writers: dict[Path, Any] = {
        arguments.out: lambda: write_figure(cascade_figure(images[0], rows), arguments.out)
    }
    if arguments.json:
        report = {
            "table": records,
            "stages": next(iter(checks.values())).report,
            "failed": lost,
            "protocol": _protocol(arguments, checks, targets),
            "versions": versions(),
            "command": f"captum-ext {shown_command(arguments.command_line)}",
        }
        writers[arguments.json] = lambda: write_json(report, arguments.json)
    text = [as_text(records, similarity, labels, checks), _caption(arguments, len(images))]
    text += [f"{methods[name].label} is left out: {why}" for name, why in lost.items()]
    finish("\n".join(text), writers)


def _caption(arguments: argparse.Namespace, n: int) -> str:
    return (
        f"{n} image{'s' * (n > 1)}, {arguments.order}; 1 is the original map, lower is better: a "
        "map that stays similar does not show what the model has learned.\nThe mean is over "
        "stages; [low, high] a 95 % bootstrap interval over images."
    )


def _check(arguments: argparse.Namespace) -> list[str]:
    check_numbers(arguments)
    outputs = {"--out": arguments.out, "--json": arguments.json}
    check_outputs(outputs, inputs_of(arguments), arguments.overwrite)
    similarity = names_in("--similarity", arguments.similarity)
    unknown = [name for name in similarity if name not in SIMILARITIES]
    if unknown:
        known = ", ".join(SIMILARITIES)
        raise CallError(f"--similarity is among {known}, but got {unknown}.")
    return similarity


def _stages(text: str, model: nn.Module) -> str | list[str]:
    names = names_in("--stages", text)
    if names in (["block"], ["layer"]):
        return names[0]
    known = dict(model.named_modules())
    unknown = [name for name in names if name not in known]
    if unknown:
        raise CallError(
            f"--stages is block, layer or names of modules of the model, but got {unknown}."
        )
    return names


def _images(arguments: argparse.Namespace, model: nn.Module, device: torch.device) -> Tensor:
    source, reader, tensors = arguments.image, Reader(model), []
    if source is None or not source.is_dir():
        tensors = [reader.tensor(reader.picture(source))]
    else:
        listed = images_of(source)
        for note in listed.notes:
            say(note)
        # A figure that an earlier call put among the images is none of them.
        files = [file for file in listed.files if not is_ours(source / file)]
        for file in files[: arguments.limit]:
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
    if arguments.target is None:
        return probabilities.argmax(1)
    number = target_of(arguments.target, model, probabilities.shape[1])
    return torch.full((len(images),), number, device=images.device)


def _checks(
    arguments: argparse.Namespace,
    methods: Mapping[str, Method],
    similarity: list[str],
    stages: str | list[str],
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
) -> tuple[dict[str, ParameterRandomization], dict[str, str]]:
    """The test of every method, and why others failed."""
    checks: dict[str, ParameterRandomization] = {}
    failed: dict[str, str] = {}
    with tqdm(unit=" evaluations", leave=False) as bar:
        for name, method in methods.items():
            bar.set_description(method.label)

            def make(randomized: nn.Module, method: Method = method) -> Attribution:
                return configured(method, Counted(randomized, bar.update), arguments)

            check = ParameterRandomization(
                make, arguments.order, similarity, arguments.seed, stages, keep_maps=1
            )
            try:
                # One at a time bounds memory, whatever the method.
                for image, target in zip(images, targets, strict=True):
                    with quiet():
                        check.update(model, image[None], target=int(target))
            except Exception as error:
                failed[name] = reason(error)
            else:
                checks[name] = check
    return checks, failed


def _protocol(
    arguments: argparse.Namespace, checks: dict[str, ParameterRandomization], targets: Tensor
) -> dict[str, Any]:
    return {
        "model": shown(arguments.model),
        "weights": shown(arguments.weights),
        "image": shown(arguments.image),
        "targets": targets.tolist(),
        **effort_of(arguments),
        **next(iter(checks.values())).protocol,
    }
