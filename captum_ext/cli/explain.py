"""``captum-ext explain``: one image, several maps, and what each is worth."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor, nn

from captum_ext.attr.mask_attribution import NOTHING
from captum_ext.cli.errors import CallError, say, show
from captum_ext.cli.explanation import N_STEPS, SCORES, Result, attribute_all
from captum_ext.cli.inputs.labels import Classes, target_of
from captum_ext.cli.inputs.maps import write_maps
from captum_ext.cli.inputs.methods import is_mask_method, made_for, require_maps
from captum_ext.cli.inputs.models import model_of, name_of, predict
from captum_ext.cli.inputs.pictures import Reader
from captum_ext.cli.inputs.placement import steps_told
from captum_ext.cli.options import SCORE, Explain
from captum_ext.cli.output import (
    ANIMATION,
    MARK,
    PAGE,
    finish,
    maps_file,
    shown,
    whole_file,
    write_figure,
    write_json,
)
from captum_ext.cli.tables import explained
from captum_ext.curve.bases import absent_of
from captum_ext.evaluation.cost import Counted
from captum_ext.evaluation.settings import versions
from captum_ext.metrics.base.asked_once import AskedOnce
from captum_ext.registry import METHODS, REFERENCES
from captum_ext.viz.frames import frames_figure, write_frames
from captum_ext.viz.maps import Explained, explanation_figure, history_figure, least_credit
from captum_ext.viz.player import Played, write_player

_HIDDEN = {"blur": "Hidden pixels are blurred.", "black": "Hidden pixels are black."}


def run(settings: Explain) -> None:
    """Explains the image; raises CallError before any work if something does not fit."""
    model, device = model_of(settings, settings.device)
    counted = Counted(model)
    made, unsuited = made_for(counted, settings)
    if settings.history and not any(is_mask_method(method) for method in made.values()):
        raise CallError("--history needs a method that optimizes a mask, such as igos.")
    reader = Reader(model)
    image = reader.tensor(reader.picture(settings.image))[None].to(device)
    predicted = predict(model, image, settings.answers)
    asked = AskedOnce(counted)
    asked.remember(image, predicted)
    answers = predicted[0]
    target = _target(settings, model, answers)
    name, value = name_of(model, target, settings.answers), float(answers[target])
    scored = settings.answers == SCORE
    kind, letter = ("output", "score") if scored else ("class", "p")
    show(f"explaining {name} ({kind} {target}, {letter} = {value:.3f})")
    labels = {name: METHODS[name].label for name in settings.method_names}
    found = attribute_all(made, labels, counted, asked, image, target, settings)
    lost = {name: Result(labels[name], problem=why) for name, why in unsuited.items()}
    results = {name: {**lost, **found}[name] for name in labels}
    missing = {n: r.problem if r.attributions is None else None for n, r in results.items()}
    require_maps(missing)
    for method, result in found.items():
        if result.problem is not None:
            say(f"{method} fails: {result.problem}")
    walks = steps_told(made, settings)
    table = [result.record(name) for name, result in results.items()]
    heading = f"{name} ({kind} {target}), {letter} = {value:.3f}"

    def draw() -> None:
        least = {name: _least(result, value, image) for name, result in results.items()}
        if settings.out.suffix.lower() == PAGE:
            _write_page(settings, image, results, least, heading)
        else:
            made = _figure(image, answers, target, model, results, least, settings)
            write_figure(made, settings.out)

    writers: dict[Path, Any] = {settings.out: draw}
    if settings.history:
        descents = {r.label: r.descent for r in results.values() if r.descent is not None}
        writers[settings.history] = lambda: write_figure(history_figure(descents), settings.history)
    if settings.frames:
        writers[settings.frames] = lambda: _write_frames(settings, image, results, heading)
    if settings.json:
        report = {
            "target": {kind: target, "name": name},
            settings.answers: value,
            "table": table,
            "protocol": _protocol(settings) | {"walks": walks},
            "versions": versions(),
        }
        writers[settings.json] = lambda: write_json(report, settings.json)
    if settings.save_maps:
        writers |= _kept(settings, results, target)
    finish("\n".join([explained(table, labels), *walks, _caption(settings)]), writers)


def _kept(settings: Explain, results: Mapping[str, Result], target: int) -> dict[Path, Any]:
    """What writes the map of each method that gave one."""
    assert settings.save_maps is not None
    image = "coffee" if settings.image is None else settings.image.name
    return {
        maps_file(settings.save_maps, name): partial(
            write_maps,
            maps_file(settings.save_maps, name),
            [*result.attributions],
            [image],
            [target],
            {"method": name, **_protocol(settings)},
        )
        for name, result in results.items()
        if result.attributions is not None
    }


def _target(settings: Explain, model: nn.Module, answers: Tensor) -> int:
    classes = Classes.of(model, len(answers), settings.answers)
    target = target_of(settings.target, classes, settings.answers)
    return int(answers.argmax()) if target is None else target


def _figure(
    image: Tensor,
    answers: Tensor,
    target: int,
    model: nn.Module,
    results: Mapping[str, Result],
    least: Mapping[str, float],
    settings: Explain,
) -> Figure:
    shown = answers.topk(min(5, len(answers)))
    top = [target] if settings.answers == SCORE else shown.indices.tolist()
    names = [name_of(model, k, settings.answers) for k in top]
    rows = [
        Explained(
            r.label,
            None if r.attributions is None else r.attributions[0],
            r.curves,
            least[key],
            r.problem,
        )
        for key, r in results.items()
    ]
    predictions = list(zip(names, answers[top].tolist(), strict=True))
    reading = f"|map|, {settings.reference} reference, {N_STEPS} steps"
    name = name_of(model, target, settings.answers)
    return explanation_figure(
        image[0], predictions, rows, name, reading, settings.answers, settings.overlay
    )


def _write_page(
    settings: Explain,
    image: Tensor,
    results: Mapping[str, Result],
    least: Mapping[str, float],
    heading: str,
) -> None:
    """Writes the page of the maps whose curves were read; the others are named with the reason.

    Args:
        settings: of the command.
        image: (1, C, H, W).
        results: by name.
        least: by name, the least credit that a map shows.
        heading: what is explained.
    """
    maps, missing = _played(results, least)
    notes = [f"{result.label} is missing: {result.problem}." for result in missing]
    absent, hidden = _absent(image[0], settings.reference), _HIDDEN[settings.reference]
    with whole_file(settings.out) as temporary:
        write_player(
            temporary, image[0], absent, maps, heading, hidden, settings.seed, notes,
            settings.overlay,
        )  # fmt: skip


def _write_frames(
    settings: Explain, image: Tensor, results: Mapping[str, Result], heading: str
) -> None:
    """Writes what was shown to the model along the curves that were read."""
    assert settings.frames is not None
    maps, missing = _played(results, dict.fromkeys(results, 0.0))
    if not maps:
        raise ValueError(f"no curves could be read ({missing[0].problem})")
    absent, file = _absent(image[0], settings.reference), settings.frames
    if file.suffix.lower() != ANIMATION:
        write_figure(frames_figure(image[0], absent, maps, heading, settings.seed), file)
        return
    with whole_file(file) as temporary:
        write_frames(temporary, image[0], absent, maps, heading, settings.seed, MARK)


def _played(
    results: Mapping[str, Result], least: Mapping[str, float]
) -> tuple[list[Played], list[Result]]:
    """Maps with all their curves, and the methods that have none."""
    maps, missing = [], []
    for name, result in results.items():
        if result.attributions is not None and all(key in result.curves for key in SCORES):
            credit = result.attributions[0]
            maps.append(Played(result.label, credit, result.curves, least[name]))
        else:
            missing.append(result)
    return maps, missing


def _absent(image: Tensor, reference: str) -> Tensor:
    """The image (C, H, W) of which no pixel is shown."""
    made = absent_of(REFERENCES[reference], image)
    assert made is not None, "references of the command are the same in every frame"
    return made


def _least(result: Result, value: float, image: Tensor) -> float:
    """The least credit that a map shows."""
    return NOTHING if result.descent else least_credit(value, image.numel())


def _caption(settings: Explain) -> str:
    unit = " areas are in the score's own unit." if settings.answers == SCORE else ""
    return (
        f"insertion: higher is better, deletion: lower is better; {settings.reference} "
        f"reference, {N_STEPS} steps.{unit}\npixels are ranked by the sum over channels, in |...| "
        "by the sum of absolute values."
    )


def _protocol(settings: Explain) -> dict[str, Any]:
    return {
        "model": shown(settings.model),
        "weights": shown(settings.weights),
        "precision": settings.precision,
        "image": shown(settings.image),
        "reading": settings.answers,
        "reference": settings.reference,
        "curve_steps": N_STEPS,
        **settings.effort,
        "placement": settings.placement,
        "seed": settings.seed,
    }
