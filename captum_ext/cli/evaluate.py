"""``captum-ext evaluate``: a folder of images, several methods, and which to trust."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from captum_ext._launch import is_first, launcher
from captum_ext._text import number_of, printable, reason
from captum_ext.classifier import classifier_of
from captum_ext.cli.errors import CallError, as_call_error, say
from captum_ext.cli.inputs.annotation import Annotations
from captum_ext.cli.inputs.annotations import read_annotations
from captum_ext.cli.inputs.folder import Folder, assigned, images_of
from captum_ext.cli.inputs.labels import Classes, Label, from_csv, from_folders, target_of
from captum_ext.cli.inputs.maps import Kept, register_maps, write_maps
from captum_ext.cli.inputs.methods import made_for, require_maps
from captum_ext.cli.inputs.models import model_of, name_of, predict
from captum_ext.cli.inputs.pictures import Reader
from captum_ext.cli.inputs.placement import steps_told
from captum_ext.cli.inputs.words import file_of, names_in
from captum_ext.cli.options import SCORE, Evaluate
from captum_ext.cli.output import Progress, finish, is_ours, maps_file, shown, shown_command
from captum_ext.cli.tables import as_text, claim, writers
from captum_ext.evaluation import Evaluation, evaluate
from captum_ext.evaluation.catalog import Reading, make_metrics
from captum_ext.evaluation.data.screening import WRONG
from captum_ext.evaluation.processes import own_device, process_group
from captum_ext.evaluation.store.folder import OtherRunError
from captum_ext.registry import METHODS, PRESETS


def run(settings: Evaluate) -> None:
    """Evaluates; raises CallError before any work if something does not fit."""
    try:
        claim(settings.out)
    except OtherRunError as error:
        raise CallError(f"--out: {error}") from error
    with process_group(), warnings.catch_warnings():
        # Said below, and stands among the notes.
        warnings.filterwarnings("ignore", ".*computed again")
        model, _ = model_of(settings, own_device(settings.device))
        data, notes = _data(settings, model)
        register_maps(settings.map_files, data)
        methods, unsuited = made_for(model, settings)
        settings.require_against([*methods])
        walks = steps_told(methods, settings)
        metrics = _metrics(settings, model, bool(data.annotations))
        at_hand = Kept(settings.out / ".maps")
        if settings.restart and is_first():
            at_hand.clear()
        kept = at_hand if settings.save_maps else None
        labels = {name: METHODS[name].label for name in methods}
        progress = Progress(silent=not is_first(), labels=labels)
        n_labeled = sum(data.target(name) is not None for name in data.files)
        labeled, n_images = n_labeled > 0, number_of(len(data), "image")
        unlabeled = settings.unlabeled or ("skip" if labeled else "predict")
        if 0 < n_labeled < len(data):
            does = {"skip": "left out", "predict": "explained by the model's prediction"}
            who = f"{n_labeled} of {n_images} {'has' if n_labeled == 1 else 'have'} a label"
            say(f"{who}; the others are {does[unlabeled]} (--unlabeled)")
        say(f"{n_images}, {number_of(len(methods), 'method')}: {', '.join(methods)}")
        try:
            found = evaluate(
                model,
                data,
                methods,
                metrics,
                batch_size=settings.group,
                seed=settings.seed,
                out=settings.out,
                resume=not settings.restart,
                names=[printable(name) for name in data.files],
                only_correct=labeled and not settings.all_images and settings.answers != SCORE,
                reading=settings.answers,
                unlabeled=unlabeled,
                internal_batch_size=settings.batch_size,
                settings={"save_maps": True} if kept else None,
                keep=kept,
                progress=progress,
            )
        except OtherRunError as error:
            raise CallError(f"--out: {error}") from error
        finally:
            progress.close()
    for note in found.notes:
        say(note)
    # Shown, not compared: what they name is, by content.
    found.settings |= _settings(settings, data)
    _describe(found, settings, model, n_labeled)
    if is_first():
        maps = _kept(settings, found, kept) if kept else {}
        _finish(settings, found, {**unsuited}, [*notes, *walks], walks, maps)


def _data(settings: Evaluate, model: nn.Module) -> tuple[Folder, list[str]]:
    folder: Path = settings.images
    reader = Reader(model)
    listed = images_of(folder, out=settings.out)
    classes = _classes(model, Folder(folder, listed.files, {}, {}, reader), settings.answers)
    output = target_of(settings.target, classes, settings.answers)
    if settings.answers == SCORE:
        classes = Classes([])
    annotations = Annotations()
    classifier = classifier_of(model)
    several = classifier is not None and classifier.activation != "softmax"
    if settings.annotations is not None:
        annotations = read_annotations(settings.annotations, folder, classes, several)
        listed = images_of(folder, annotations.masks, settings.out)
    files, notes = listed.files, [*listed.notes, *annotations.notes]
    known, remarks = assigned(files, annotations.of, "--annotations")
    notes += remarks
    labels: dict[str, Label] = {} if output is None else dict.fromkeys(files, output)
    if settings.labels is not None:
        said = from_csv(settings.labels, classes, files, several)
        labels, remarks = assigned(files, said, "--labels")
        notes += remarks
    elif output is None and not any(a.label is not None for a in known.values()):
        labels = {**from_folders(files, classes)}
    if settings.limit is not None and settings.limit < len(files):
        # Spread out: a folder is often sorted by class or source.
        files = [files[k * len(files) // settings.limit] for k in range(settings.limit)]
    for note in notes:
        say(note)
    return Folder(folder, files, labels, known, reader), notes


def _classes(model: nn.Module, data: Folder, answers: str) -> Classes:
    """The model's classes or outputs, from its answer to the first image that it takes."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    problem: CallError | None = None
    for k, name in enumerate(data.files):
        try:
            n = predict(model, data[k][0][None].to(device), answers).shape[1]
        except ValueError as error:
            problem = problem or CallError(
                f"IMAGES {data.folder} holds no image that can be read: {name} {error}."
            )
            continue
        except CallError as error:
            # Perhaps it is the image: another may suit the model.
            problem = CallError(f"no image of {data.folder} suits the model; {name}: {error}")
            continue
        return Classes.of(model, n, answers)
    assert problem is not None, "a folder holds an image"
    raise problem


def _metrics(settings: Evaluate, model: nn.Module, annotated: bool) -> dict[str, Any]:
    default = settings.METRICS_BY_DEFAULT + (",localization" if annotated else "")
    names = names_in("--metrics", default if settings.metrics is None else settings.metrics)
    if "localization" in names and not annotated:
        raise CallError("--metrics localization needs --annotations.")
    given, preset = settings.reference, settings.preset
    perturbing = [name for name in names if _replaces(name, preset)]
    if given is not None and perturbing:
        raise CallError(
            f"--reference {given}: --preset {preset} says what replaces pixels in "
            f"{' and '.join(perturbing)}. Leave one of them out."
        )
    reading = Reading(
        given or Reading.reference,
        preset,
        seed=settings.seed,
        internal_batch_size=settings.batch_size,
        answers=settings.answers,
    )
    with as_call_error("--metrics: "):
        return make_metrics(names, model, reading)


def _replaces(metric: str, preset: str | None) -> bool:
    """Whether a preset says what replaces pixels in a metric."""
    known = PRESETS.get(metric)
    settings = None if known is None or preset is None else known.get(preset)
    return isinstance(settings, Mapping) and "reference" in settings


def _settings(settings: Evaluate, data: Folder) -> dict[str, Any]:
    return {
        "images": shown(settings.images),
        "n_images": len(data),
        "model_name": shown(settings.model),
        "weights": shown(settings.weights),
        "annotations": shown(settings.annotations),
        "labels": shown(settings.labels),
        "preset": settings.preset,
        "placement": settings.placement,
        "internal_batch_size": settings.batch_size,
    }


def _describe(found: Evaluation, settings: Evaluate, model: nn.Module, n_labeled: int) -> None:
    """Gives the report what the run doesn't know: names, and where classes and maps come from."""
    classes = {target for one in found.kept for target, _ in one.pairs if target is not None}
    found.class_names = {k: printable(name_of(model, k, settings.answers)) for k in sorted(classes)}
    given = [("--labels", settings.labels), ("--annotations", settings.annotations)]
    told = next((option for option, file in given if file is not None), "the sub-folders' names")
    if settings.answers == SCORE:
        found.targets_from = "the output of --target, or the model's only one"
    elif n_labeled:
        found.targets_from = f"the class of each image by {told}"
    else:
        found.targets_from = "the class that the model predicts for each image"
    files = {
        "--model": file_of(settings.model),
        "--weights": settings.weights if settings.weights != "random" else None,
    }
    found.files = {o: Path(file) for o, file in files.items() if file and Path(file).is_file()}
    found.sanity = _sanity_of(settings.out / "sanity.json")


def _sanity_of(file: Path) -> dict[str, Any] | None:
    """What ``captum-ext sanity --json`` wrote into the folder; None where it wrote nothing."""
    if not (file.is_file() and is_ours(file)):
        return None
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
        return held if held["table"] and held["protocol"] else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        say(f"{file} is left out of the report, as it can't be read: {reason(error)}")
        return None


def _kept(settings: Evaluate, found: Evaluation, kept: Kept) -> dict[Path, Any]:
    """What writes the maps of each method, of the images and classes of which it gave one."""
    assert settings.save_maps is not None
    lost = {(r["example"], r["method"]) for r in found.excluded if r["metric"] is None}

    def write(method: str, file: Path) -> None:
        names = {one.position: found.name_of(one.position) for one in found.kept}
        rows = [
            (one.position, target)
            for one in found.kept
            if (names[one.position], method) not in lost
            for target, _ in one.pairs
        ]
        write_maps(
            file,
            [kept.of(position, method, target) for position, target in rows],
            [names[position] for position, _ in rows],
            [target for _, target in rows],
            {"method": method, "how": found.settings["methods"][method], **_shared(found)},
        )

    return {
        file: partial(write, record["method"], file)
        for record in found.records
        for file in [maps_file(settings.save_maps, record["method"])]
        if record["n_examples"]
    }


def _shared(found: Evaluation) -> dict[str, Any]:
    """The settings that are not of one method."""
    left_out = ("methods", "metrics", "versions")
    return {key: value for key, value in found.settings.items() if key not in left_out}


def _finish(
    settings: Evaluate,
    found: Evaluation,
    unsuited: Mapping[str, str],
    notes: list[str],
    walks: list[str],
    maps: dict[Path, Any],
) -> None:
    if not found.kept:
        reasons = ", ".join(f"{n} ({reason})" for reason, n in found.reasons.items())
        among = number_of(len(found.seen), "image")
        do = ". --all-images explains those too" if WRONG in found.reasons else ""
        raise CallError(f"IMAGES: none of {among} is left: {reasons}{do}.")
    against = settings.against if settings.against in found.methods else found.methods[0]
    found.smallest = settings.smallest_difference
    found.unsuited = dict(unsuited)
    found.notes += notes
    found.command = f"{launcher()} {shown_command(settings.command_line)}"
    labels = {name: METHODS[name].label for name in found.methods}
    finish(
        "\n".join([as_text(found, labels, against), *walks]),
        writers(found, settings.out, labels, against) | maps,
    )
    _require_maps(found)


def _require_maps(found: Evaluation) -> None:
    """Raises WorkError if no method gave a map of any image."""
    reasons: dict[str, str] = {}
    for row in found.excluded:
        if row["method"] is not None and row["metric"] is None:
            reasons.setdefault(row["method"], row["reason"])
    lost = {record["method"]: record["n_examples"] == 0 for record in found.records}
    require_maps({m: reasons.get(m, "failed") if none else None for m, none in lost.items()})
