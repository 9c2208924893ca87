"""``captum-ext evaluate``: a folder of images, several methods, and which to trust."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from captum_ext._captum import Attribution
from captum_ext.attr.catalog import METHODS, lookup
from captum_ext.cli.annotations import Annotations, read_annotations
from captum_ext.cli.errors import CallError, as_call_error
from captum_ext.cli.folder import Folder, assigned, images_of
from captum_ext.cli.labels import Classes, from_csv, from_folders
from captum_ext.cli.models import (
    add_model_options,
    device_of,
    load_model,
    name_of,
    predict,
)
from captum_ext.cli.pictures import Reader
from captum_ext.cli.processes import is_first, launcher, own_device, process_group
from captum_ext.cli.progress import Progress
from captum_ext.cli.running import add_effort_options, check_counts, configured
from captum_ext.cli.say import say
from captum_ext.cli.tables import as_text, write_all
from captum_ext.evaluation import Evaluation, evaluate
from captum_ext.evaluation.catalog import METRICS, REFERENCES, Reading, make_metrics
from captum_ext.evaluation.store import OtherRunError
from captum_ext.metrics.compare import SMALLEST

DEFAULT_METHODS = (
    "ig,guided-ig,blur-ig,idgi-ig,idgi-guided-ig,idgi-blur-ig,igos,igos++,grad-cam,rise"
)
DEFAULT_METRICS = "insertion,deletion"
PRESETS = ("igos", "rise", "idgi", "xrai", "tmlr")


def add_to(commands: Any) -> None:
    """Adds the command's arguments to the parser."""
    sub = commands.add_parser(
        "evaluate",
        help="score methods on a folder of images and write a report",
        description="Explains every image of a folder with several methods, scores the maps and "
        "writes results.json, results.csv, per_example.csv, curves.png and report.html. A run "
        "that was stopped goes on where it was when called again. Under torchrun the images "
        "are dealt out to the processes.",
    )
    add = sub.add_argument
    add("images", type=Path, metavar="IMAGES", help="a folder; sub-folders may name classes")
    add("--labels", type=Path, metavar="CSV", help="lines of image path, class (number or name)")
    add(
        "--annotations",
        type=Path,
        metavar="PATH",
        help="where objects are: JSON (images with file, boxes_xyxy or mask, expected_class; or "
        "COCO's), or a folder of masks named as the images",
    )
    add_model_options(sub)
    add("--methods", default=DEFAULT_METHODS, help=f"of {', '.join(METHODS)}; or all")
    add("--metrics", help=f"of {', '.join(METRICS)} (default: {DEFAULT_METRICS}, and "
        "localization where there are annotations)")  # fmt: skip
    add("--preset", choices=PRESETS, help="a paper's settings, for the metrics that know it")
    add("--reference", choices=REFERENCES, default="blur", help="what replaces pixels in insertion "
        "and deletion: the blurred image (51 x 51, sigma 50; default) or black")  # fmt: skip
    add("--against", metavar="METHOD", help="what others are compared with (default: the first)")
    add("--smallest-difference", type=float, default=SMALLEST, metavar="SHARE", help="differences "
        "below this share of a score's range do not count (default %(default)s)")  # fmt: skip
    add("--all-images", action="store_true", help="also images that the model gets wrong")
    add("--limit", type=int, metavar="N", help="only the first N images, spread over the folder")
    add_effort_options(sub, steps=50, n_masks=1000)
    add("--out", type=Path, default=Path("evaluation"), metavar="DIR", help="default: evaluation")
    add("--restart", action="store_true", help="start anew instead of going on with --out")
    add("--group", type=int, default=4, help="images explained at once (default 4)")
    add("--seed", type=int, default=0, help="of methods that draw random numbers, and of ties")
    sub.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Evaluates; raises CallError before any work if something does not fit."""
    _check(arguments)
    with process_group():
        device = device_of(own_device(arguments.device))
        model = load_model(arguments.model, arguments.weights, device)
        data, notes = _data(arguments, model)
        methods, unsuited = _methods(arguments, model)
        metrics = _metrics(arguments, model, bool(data.annotations))
        progress = Progress(silent=not is_first())
        labeled = any(data.target(name) is not None for name in data.files)
        say(f"{len(data)} images, {len(methods)} methods: {', '.join(methods)}")
        try:
            found = evaluate(
                model,
                data,
                methods,
                metrics,
                batch_size=arguments.group,
                seed=arguments.seed,
                out=arguments.out,
                resume=not arguments.restart,
                names=data.files,
                only_correct=labeled and not arguments.all_images,
                internal_batch_size=arguments.batch_size,
                progress=progress,
            )
        except OtherRunError as error:
            raise CallError(f"--out: {error}") from error
        finally:
            progress.close()
    # Shown, not compared: what they name is, by content.
    found.settings |= _settings(arguments, data)
    if is_first():
        _finish(arguments, found, {**unsuited}, notes)


def _check(arguments: argparse.Namespace) -> None:
    check_counts(arguments)
    if arguments.out.exists() and not arguments.out.is_dir():
        raise CallError(f"--out is a folder, but {arguments.out} is a file.")
    if not 0 <= arguments.smallest_difference < 1:
        raise CallError(
            "--smallest-difference is a share of a score's range, in [0, 1), but got "
            f"{arguments.smallest_difference}."
        )
    names = [] if arguments.methods == "all" else _split(arguments.methods)
    with as_call_error("--methods: "):
        lookup(names or [*METHODS])
    if arguments.against is not None and names and arguments.against not in names:
        raise CallError(f"--against is one of {', '.join(names)}, but got {arguments.against!r}.")


def _split(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()] or [""]


def _data(arguments: argparse.Namespace, model: nn.Module) -> tuple[Folder, list[str]]:
    folder: Path = arguments.images
    reader = Reader(model)
    listed = images_of(folder, out=arguments.out)
    classes = _classes(model, Folder(folder, listed.files, {}, {}, reader))
    annotations = Annotations()
    if arguments.annotations is not None:
        annotations = read_annotations(arguments.annotations, folder, classes)
        listed = images_of(folder, annotations.masks, arguments.out)
    files, notes = listed.files, [*listed.notes, *annotations.notes]
    known, remarks = assigned(files, annotations.of, "--annotations")
    notes += remarks
    labels: dict[str, int] = {}
    if arguments.labels is not None:
        said = from_csv(arguments.labels, classes, files)
        labels, remarks = assigned(files, said, "--labels")
        notes += remarks
    elif not any(a.label is not None for a in known.values()):
        labels = from_folders(files, classes)
    if arguments.limit is not None and arguments.limit < len(files):
        # Spread out: a folder is often sorted by class or source.
        files = [files[k * len(files) // arguments.limit] for k in range(arguments.limit)]
    for note in notes:
        say(note)
    return Folder(folder, files, labels, known, reader), notes


def _classes(model: nn.Module, data: Folder) -> Classes:
    """The model's classes, from its answer to the first image that it takes."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    problem = CallError(f"IMAGES {data.folder} holds no image that can be read.")
    for k in range(len(data)):
        try:
            n = predict(model, data[k][0][None].to(device)).shape[1]
        except ValueError:
            continue
        except CallError as error:
            # Perhaps it is the image: another may suit the model.
            problem = error
            continue
        return Classes([name_of(model, i) for i in range(n)])
    raise problem


def _methods(
    arguments: argparse.Namespace, model: nn.Module
) -> tuple[dict[str, Attribution], dict[str, str]]:
    """The methods made for the model, and why others can't be."""
    names = [*METHODS] if arguments.methods == "all" else _split(arguments.methods)
    made: dict[str, Attribution] = {}
    unsuited: dict[str, str] = {}
    for name, method in lookup(names).items():
        try:
            made[name] = configured(method, model, arguments)
        except (ValueError, TypeError, AssertionError) as error:
            unsuited[name] = str(error).splitlines()[0]
            say(f"{name} is left out: {unsuited[name]}")
    if not made:
        raise CallError(f"--methods: none suits the model: {unsuited}")
    return made, unsuited


def _metrics(arguments: argparse.Namespace, model: nn.Module, annotated: bool) -> dict[str, Any]:
    default = DEFAULT_METRICS
    if annotated and "localization" in METRICS:
        default += ",localization"
    names = _split(default if arguments.metrics is None else arguments.metrics)
    if "localization" in names and not annotated:
        raise CallError("--metrics localization needs --annotations.")
    reading = Reading(arguments.reference, arguments.preset, arguments.seed, arguments.batch_size)
    with as_call_error("--metrics: "):
        return make_metrics(names, model, reading)


def _settings(arguments: argparse.Namespace, data: Folder) -> dict[str, Any]:
    return {
        "images": str(arguments.images),
        "n_images": len(data),
        "model_name": arguments.model,
        "weights": arguments.weights,
        "annotations": None if arguments.annotations is None else str(arguments.annotations),
        "labels": None if arguments.labels is None else str(arguments.labels),
        "preset": arguments.preset,
        "internal_batch_size": arguments.batch_size,
    }


def _finish(
    arguments: argparse.Namespace,
    found: Evaluation,
    unsuited: Mapping[str, str],
    notes: list[str],
) -> None:
    if not found.kept:
        reasons = ", ".join(f"{n} x {reason}" for reason, n in found.reasons.items())
        raise CallError(f"IMAGES: none of {len(found.seen)} images is left: {reasons}.")
    against = arguments.against if arguments.against in found.methods else found.methods[0]
    found.smallest = arguments.smallest_difference
    found.unsuited, found.notes = dict(unsuited), list(notes)
    found.command = f"{launcher()} {arguments.command_line}"
    labels = {name: METHODS[name].label for name in found.methods}
    print(as_text(found, labels, against))
    for file in write_all(found, arguments.out, labels, against):
        print(f"wrote {file}")
