"""``captum-ext explain``: one image, several maps, and what each is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor, nn

from captum_ext._captum import PerturbationAttribution
from captum_ext.attr.mask_attribution import NOTHING
from captum_ext.cli.errors import CallError, say, show
from captum_ext.cli.explanation.making import attribute_all
from captum_ext.cli.explanation.reading import N_STEPS
from captum_ext.cli.explanation.result import SCORES, Result
from captum_ext.cli.inputs.labels import Classes, targets_of
from captum_ext.cli.inputs.maps import write_maps
from captum_ext.cli.inputs.methods import configured, is_mask_method, made_for, require_maps
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
from captum_ext.mask.advanced import Descent
from captum_ext.metrics.base.asked_once import AskedOnce
from captum_ext.registry import METHODS, REFERENCES
from captum_ext.viz.frames import frames_figure, write_frames
from captum_ext.viz.maps import Explained, explanations_figure, history_figure, least_credit
from captum_ext.viz.player import Played, write_player

_HIDDEN = {"blur": "Hidden pixels are blurred.", "black": "Hidden pixels are black."}


@dataclass(frozen=True)
class _Asked:
    """A class, or of scores an output, that is explained.

    Args:
        number: of it.
        name: what it is called.
        value: what the model gives it.
        kind: "class" or "output".
        results: what each method gave.
    """

    number: int
    name: str
    value: float
    kind: str
    results: Mapping[str, Result]

    @property
    def heading(self) -> str:
        """With number and value."""
        return f"{self.name} ({self.kind} {self.number}), {self.letter} = {self.value:.3f}"

    @property
    def letter(self) -> str:
        """What the value is, in a word or less."""
        return "p" if self.kind == "class" else "score"


def run(settings: Explain) -> None:
    """Explains the image; raises CallError before any work if something does not fit."""
    model, device = model_of(settings, settings.device)
    counted = Counted(model)
    asked = AskedOnce(counted)
    made, unsuited = made_for(counted, settings)
    if len(settings.target or ()) > 1:
        # Classes of one image see the same masks, which are then asked once for all of them.
        masking = [n for n, m in made.items() if isinstance(m.method, PerturbationAttribution)]
        made |= {name: configured(name, asked, settings) for name in masking}
    if settings.history and not any(is_mask_method(method) for method in made.values()):
        raise CallError("--history needs a method that optimizes a mask, such as igos.")
    reader = Reader(model)
    image = reader.tensor(reader.picture(settings.image))[None].to(device)
    predicted = predict(model, image, settings.answers)
    asked.remember(image, predicted)
    answers = predicted[0]
    targets = _targets(settings, model, answers)
    kind = "output" if settings.answers == SCORE else "class"
    classes = [
        _Asked(k, name_of(model, k, settings.answers), float(answers[k]), kind, {}) for k in targets
    ]
    for one in classes:
        show(f"explaining {one.name} ({kind} {one.number}, {one.letter} = {one.value:.3f})")
    labels = {name: METHODS[name].label for name in settings.method_names}
    found = attribute_all(made, labels, counted, asked, image, targets, settings)
    lost = {name: Result(labels[name], problem=why) for name, why in unsuited.items()}
    classes = [
        replace(one, results={name: {**lost, **own}[name] for name in labels})
        for one, own in zip(classes, found, strict=True)
    ]
    _require_maps(classes)
    for name in made:
        _say_problems(name, classes)
    walks = steps_told(made, settings)
    writers = _writers(settings, model, image, answers, classes, walks)
    tables = {one.heading: _table(one) for one in classes}
    finish("\n".join([explained(tables, labels), *walks, _caption(settings)]), writers)


def _targets(settings: Explain, model: nn.Module, answers: Tensor) -> list[int]:
    classes = Classes.of(model, len(answers), settings.answers)
    targets = targets_of(settings.target, classes, settings.answers)
    return [int(answers.argmax())] if targets is None else targets


def _require_maps(classes: Sequence[_Asked]) -> None:
    """Raises WorkError if no method gave a map of any class."""
    missing: dict[str, str | None] = {}
    for one in classes:
        for name, result in one.results.items():
            problem = result.problem if result.attributions is None else None
            missing[name] = problem and missing.get(name, problem)
    require_maps(missing)


def _say_problems(name: str, classes: Sequence[_Asked]) -> None:
    """Says why a method fails, once if that is the same for all classes."""
    problems = [one.results[name].problem for one in classes]
    for problem in dict.fromkeys(filter(None, problems)):
        of = [one.name for one, why in zip(classes, problems, strict=True) if why == problem]
        say(f"{name} fails{'' if len(of) == len(classes) else ' for ' + ', '.join(of)}: {problem}")


def _table(one: _Asked) -> list[dict[str, Any]]:
    return [result.record(name) for name, result in one.results.items()]


def _writers(
    settings: Explain,
    model: nn.Module,
    image: Tensor,
    answers: Tensor,
    classes: Sequence[_Asked],
    walks: Sequence[str],
) -> dict[Path, Any]:
    """What writes each file that is asked for."""

    def draw() -> None:
        if settings.out.suffix.lower() == PAGE:
            _write_page(settings, image, classes)
        else:
            write_figure(_figure(image, answers, model, classes, settings), settings.out)

    writers: dict[Path, Any] = {settings.out: draw}
    if settings.history:
        descents = _descents(classes)
        writers[settings.history] = lambda: write_figure(history_figure(descents), settings.history)
    if settings.frames:
        writers[settings.frames] = lambda: _write_frames(settings, image, classes)
    if settings.json:
        report = {
            **_as_json(classes, settings.answers),
            "protocol": _protocol(settings) | {"walks": walks},
            "versions": versions(),
        }
        writers[settings.json] = lambda: write_json(report, settings.json)
    if settings.save_maps:
        writers |= _kept(settings, classes)
    return writers


def _as_json(classes: Sequence[_Asked], answers: str) -> dict[str, Any]:
    """One class and its table; of several each row says its class."""
    if len(classes) == 1:
        (one,) = classes
        target = {one.kind: one.number, "name": one.name}
        return {"target": target, answers: one.value, "table": _table(one)}
    return {
        "targets": [
            {one.kind: one.number, "name": one.name, answers: one.value} for one in classes
        ],
        "table": [{one.kind: one.number, **row} for one in classes for row in _table(one)],
    }


def _descents(classes: Sequence[_Asked]) -> dict[str, Descent]:
    """By the label of the method, of several classes with their names."""
    several = len(classes) > 1
    return {
        f"{result.label}, {one.name} ({one.number})" if several else result.label: result.descent
        for one in classes
        for result in one.results.values()
        if result.descent is not None
    }


def _kept(settings: Explain, classes: Sequence[_Asked]) -> dict[Path, Any]:
    """What writes the maps of each method that gave one."""
    assert settings.save_maps is not None
    image, writers = _name_of_image(settings), {}
    for name in classes[0].results:
        maps = [(one.number, one.results[name].attributions) for one in classes]
        made = [(number, credit[0]) for number, credit in maps if credit is not None]
        file = maps_file(settings.save_maps, name)
        if made:
            writers[file] = partial(
                write_maps,
                file,
                [credit for _, credit in made],
                [image] * len(made),
                [number for number, _ in made],
                {"method": name, **_protocol(settings)},
            )
    return writers


def _name_of_image(settings: Explain) -> str:
    return "coffee" if settings.image is None else settings.image.name


def _figure(
    image: Tensor,
    answers: Tensor,
    model: nn.Module,
    classes: Sequence[_Asked],
    settings: Explain,
) -> Figure:
    strongest = answers.topk(min(5, len(answers))).indices.tolist()
    top = [one.number for one in classes] if settings.answers == SCORE else strongest
    names = [name_of(model, k, settings.answers) for k in top]
    predictions = list(zip(names, answers[top].tolist(), strict=True))
    reading = f"|map|, {settings.reference} reference, {N_STEPS} steps"
    rows = [
        (one.name, [_row(r, one.value, image) for r in one.results.values()]) for one in classes
    ]
    return explanations_figure(
        image[0], predictions, rows, reading, settings.answers, settings.overlay
    )


def _row(result: Result, value: float, image: Tensor) -> Explained:
    credit = None if result.attributions is None else result.attributions[0]
    least = _least(result, value, image)
    return Explained(result.label, credit, result.curves, least, result.problem)


def _write_page(settings: Explain, image: Tensor, classes: Sequence[_Asked]) -> None:
    """Writes the page of the maps whose curves were read; the others are named with the reason.

    Args:
        settings: of the command.
        image: (1, C, H, W).
        classes: with their results.
    """
    several = len(classes) > 1
    maps, missing = _played(image, classes, [one.heading if several else "" for one in classes])
    notes = [f"{label} is missing: {problem}." for label, problem in missing]
    absent, hidden = _absent(image[0], settings.reference), _HIDDEN[settings.reference]
    with whole_file(settings.out) as temporary:
        write_player(
            temporary, image[0], absent, maps, _heading(settings, classes), hidden, settings.seed,
            notes, settings.overlay,
        )  # fmt: skip


def _heading(settings: Explain, classes: Sequence[_Asked]) -> str:
    if len(classes) == 1:
        return classes[0].heading
    kinds = "outputs" if settings.answers == SCORE else "classes"
    return f"{len(classes)} {kinds} of {_name_of_image(settings)}"


def _write_frames(settings: Explain, image: Tensor, classes: Sequence[_Asked]) -> None:
    """Writes what was shown to the model along the curves that were read."""
    assert settings.frames is not None
    several = len(classes) > 1
    maps, missing = _played(image, classes, [one.name if several else "" for one in classes])
    if not maps:
        raise ValueError(f"no curves could be read ({missing[0][1]})")
    absent, file = _absent(image[0], settings.reference), settings.frames
    heading = _heading(settings, classes)
    if file.suffix.lower() != ANIMATION:
        write_figure(frames_figure(image[0], absent, maps, heading, settings.seed), file)
        return
    with whole_file(file) as temporary:
        write_frames(temporary, image[0], absent, maps, heading, settings.seed, MARK)


def _played(
    image: Tensor, classes: Sequence[_Asked], names: Sequence[str]
) -> tuple[list[Played], list[tuple[str, str | None]]]:
    """Maps with all their curves, class by class, and why other methods have none."""
    maps, missing = [], []
    for one, of in zip(classes, names, strict=True):
        for result in one.results.values():
            if result.attributions is not None and all(key in result.curves for key in SCORES):
                credit, least = result.attributions[0], _least(result, one.value, image)
                maps.append(Played(result.label, credit, result.curves, least, of))
            else:
                label = f"{result.label}, {of}" if of else result.label
                missing.append((label, result.problem))
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
