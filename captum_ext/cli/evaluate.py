"""``captum-ext evaluate``: a folder of images, several methods, and which to trust."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from captum_ext._text import printable
from captum_ext.cli.errors import CallError, as_call_error, say
from captum_ext.cli.inputs.annotations import Annotations, read_annotations
from captum_ext.cli.inputs.folder import Folder, assigned, images_of
from captum_ext.cli.inputs.labels import Classes, from_csv, from_folders
from captum_ext.cli.inputs.models import device_of, load_model, name_of, predict
from captum_ext.cli.inputs.pictures import Reader
from captum_ext.cli.options import (
    add_effort_options,
    add_model_options,
    check_numbers,
    chosen,
    made_for,
    names_in,
    require_maps,
)
from captum_ext.cli.output import Progress, check_folder, finish, path, shown, shown_command
from captum_ext.cli.tables import as_text, names_of_files, writers
from captum_ext.evaluation import Evaluation, evaluate
from captum_ext.evaluation.catalog import Reading, make_metrics
from captum_ext.evaluation.processes import is_first, launcher, own_device, process_group
from captum_ext.evaluation.run import UNLABELED
from captum_ext.evaluation.store import OtherRunError
from captum_ext.evaluation.store_files import ResultFolder
from captum_ext.metrics.base.compare import SMALLEST
from captum_ext.registry import METHODS, METRICS, PRESETS, REFERENCES, presets

DEFAULT_METHODS = (
    "ig,guided-ig,blur-ig,idgi-ig,idgi-guided-ig,idgi-blur-ig,igos,igos++,grad-cam,rise"
)
DEFAULT_METRICS = "insertion,deletion"


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
    add("images", type=path, metavar="IMAGES", help="a folder; sub-folders may name classes")
    add("--labels", type=path, metavar="CSV", help="lines of image path, class (number or name)")
    add(
        "--annotations",
        type=path,
        metavar="PATH",
        help="where objects are: JSON (images with file, boxes_xyxy or mask, expected_class; or "
        "COCO's), or a folder of masks named as the images",
    )
    add_model_options(sub)
    add("--methods", default=DEFAULT_METHODS, help=f"of {', '.join(METHODS)}; or all")
    add("--metrics", help=f"of {', '.join(METRICS)} (default: {DEFAULT_METRICS}, and "
        "localization where there are annotations)")  # fmt: skip
    add("--preset", choices=presets(), help="a paper's settings, for the metrics that know it")
    add("--reference", choices=REFERENCES, help="what replaces pixels in insertion "
        "and deletion: the blurred image (51 x 51, sigma 50; default) or black")  # fmt: skip
    add("--against", metavar="METHOD", help="what others are compared with (default: the first)")
    add("--smallest-difference", type=float, default=SMALLEST, metavar="SHARE", help="differences "
        "below this share of a score's range do not count (default %(default)s)")  # fmt: skip
    add("--all-images", action="store_true", help="also images that the model gets wrong")
    add(
        "--unlabeled",
        choices=UNLABELED,
        help="images without a label: explain the class that the "
        "model predicts, or leave them out (default: skip where others have one, else predict)",
    )
    add("--limit", type=int, metavar="N", help="only the first N images, spread over the folder")
    add_effort_options(sub, steps=50, n_masks=1000)
    add("--out", type=path, default=Path("evaluation"), metavar="DIR", help="default: evaluation")
    add("--restart", action="store_true", help="start anew instead of going on with --out")
    add("--group", type=int, default=4, help="images explained at once (default 4)")
    add("--seed", type=int, default=0, help="of all that is random: methods and ties")
    sub.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Evaluates; raises CallError before any work if something does not fit."""
    _check(arguments)
    with process_group(), warnings.catch_warnings():
        # Said below, and stands among the notes.
        warnings.filterwarnings("ignore", ".*computed again")
        device = device_of(own_device(arguments.device))
        model = load_model(arguments.model, arguments.weights, device)
        data, notes = _data(arguments, model)
        methods, unsuited = made_for(model, chosen(arguments.methods), arguments)
        _check_against(arguments, methods)
        metrics = _metrics(arguments, model, bool(data.annotations))
        progress = Progress(silent=not is_first())
        n_labeled = sum(data.target(name) is not None for name in data.files)
        labeled = n_labeled > 0
        unlabeled = arguments.unlabeled or ("skip" if labeled else "predict")
        if 0 < n_labeled < len(data):
            does = {"skip": "left out", "predict": "explained by the model's prediction"}
            say(f"{n_labeled} of {len(data)} images have a label; the others are {does[unlabeled]} "
                "(--unlabeled)")  # fmt: skip
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
                names=[printable(name) for name in data.files],
                only_correct=labeled and not arguments.all_images,
                unlabeled=unlabeled,
                internal_batch_size=arguments.batch_size,
                progress=progress,
            )
        except OtherRunError as error:
            raise CallError(f"--out: {error}") from error
        finally:
            progress.close()
    for note in found.notes:
        say(note)
    # Shown, not compared: what they name is, by content.
    found.settings |= _settings(arguments, data)
    if is_first():
        _finish(arguments, found, {**unsuited}, notes)


def _check(arguments: argparse.Namespace) -> None:
    check_numbers(arguments)
    check_folder("--out", arguments.out)
    try:
        ResultFolder(arguments.out).claim(names_of_files())
    except OtherRunError as error:
        raise CallError(f"--out: {error}") from error
    if not 0 <= arguments.smallest_difference < 1:
        raise CallError(
            "--smallest-difference is a share of a score's range, in [0, 1), but got "
            f"{arguments.smallest_difference}."
        )
    _check_against(arguments, chosen(arguments.methods))
    if arguments.metrics is not None:
        names_in("--metrics", arguments.metrics)


def _check_against(arguments: argparse.Namespace, methods: Mapping[str, Any]) -> None:
    """Raises CallError if ``--against`` is a method that is not run, or not for this model."""
    if arguments.against is not None and arguments.against not in methods:
        raise CallError(f"--against is one of {', '.join(methods)}, but got {arguments.against!r}.")


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
    problem: CallError | None = None
    for k, name in enumerate(data.files):
        try:
            n = predict(model, data[k][0][None].to(device)).shape[1]
        except ValueError as error:
            problem = problem or CallError(
                f"IMAGES {data.folder} holds no image that can be read: {name} {error}."
            )
            continue
        except CallError as error:
            # Perhaps it is the image: another may suit the model.
            problem = error
            continue
        return Classes([name_of(model, i) for i in range(n)])
    assert problem is not None, "a folder holds an image"
    raise problem


def _metrics(arguments: argparse.Namespace, model: nn.Module, annotated: bool) -> dict[str, Any]:
    default = DEFAULT_METRICS
    if annotated and "localization" in METRICS:
        default += ",localization"
    names = names_in("--metrics", default if arguments.metrics is None else arguments.metrics)
    if "localization" in names and not annotated:
        raise CallError("--metrics localization needs --annotations.")
    given, preset = arguments.reference, arguments.preset
    perturbing = [n for n in ("insertion", "deletion") if n in names and preset in PRESETS[n]]
    if given is not None and perturbing:
        raise CallError(
            f"--reference {given}: --preset {preset} says what replaces pixels in "
            f"{' and '.join(perturbing)}. Leave one of them out."
        )
    reading = Reading(given or "blur", preset, arguments.seed, arguments.batch_size)
    with as_call_error("--metrics: "):
        return make_metrics(names, model, reading)


def _settings(arguments: argparse.Namespace, data: Folder) -> dict[str, Any]:
    return {
        "images": shown(arguments.images),
        "n_images": len(data),
        "model_name": shown(arguments.model),
        "weights": shown(arguments.weights),
        "annotations": shown(arguments.annotations),
        "labels": shown(arguments.labels),
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
    found.unsuited = dict(unsuited)
    found.notes += notes
    found.command = f"{launcher()} {shown_command(arguments.command_line)}"
    labels = {name: METHODS[name].label for name in found.methods}
    finish(as_text(found, labels, against), writers(found, arguments.out, labels, against))
    _require_maps(found)


def _require_maps(found: Evaluation) -> None:
    """Raises WorkError if no method gave a map of any image."""
    reasons: dict[str, str] = {}
    for row in found.excluded:
        if row["method"] is not None and row["metric"] is None:
            reasons.setdefault(row["method"], row["reason"])
    none = all(record["n_examples"] == 0 for record in found.records)
    if none:
        require_maps({name: reasons.get(name, "failed") for name in found.methods})
