"""``captum-ext sanity``: does a map change with the model that it claims to explain?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from captum_ext._captum import Attribution
from captum_ext._progress import Work
from captum_ext._text import number_of, reason
from captum_ext.attr.mask_attribution import NOTHING
from captum_ext.cli.errors import CallError, say
from captum_ext.cli.inputs.folder import images_of
from captum_ext.cli.inputs.labels import Classes, target_of
from captum_ext.cli.inputs.methods import configured, is_mask_method, made_for, require_maps
from captum_ext.cli.inputs.models import NotFiniteError, model_of, predict
from captum_ext.cli.inputs.pictures import Reader
from captum_ext.cli.inputs.placement import steps_told
from captum_ext.cli.inputs.words import names_in
from captum_ext.cli.options import Sanity
from captum_ext.cli.output import (
    finish,
    is_ours,
    shown,
    shown_command,
    write_figure,
    write_json,
)
from captum_ext.cli.sanity_table import as_text, table, with_impostors
from captum_ext.evaluation.run import quiet
from captum_ext.evaluation.settings import versions
from captum_ext.metrics import ParameterRandomization, plot_cascade
from captum_ext.registry import METHODS, is_impostor


def run(settings: Sanity) -> None:
    """Runs the test; raises CallError before any work if something does not fit."""
    model, device = model_of(settings, settings.device)
    stages = _stages(settings.stages, model)
    made, unsuited = made_for(model, settings)
    # Always beside the methods, with maps that are drawn anew at every stage.
    made = {name: method for name, method in made.items() if not is_impostor(name)}
    if not made:
        raise CallError(
            "--methods names impostors alone, which always stand beside: name a method."
        )
    images, answers = _images(settings, model, device)
    targets = _targets(settings, model, answers)
    checks, failed = _checks(
        settings,
        [*made],
        stages,
        model,
        images,
        targets,
    )
    lost = {**unsuited, **failed}
    require_maps({name: lost.get(name) for name in made})
    for name, why in failed.items():
        say(f"{name} fails: {why}")
    labels = {name: METHODS[name].label for name in checks}
    checks = with_impostors(checks, model, images)
    labels |= {name: name for name in checks if name not in labels}
    records = table(checks)
    masks = {name for name, method in made.items() if is_mask_method(method)}
    least = dict.fromkeys(masks, NOTHING)
    writers: dict[Path, Any] = {
        settings.out: lambda: write_figure(
            plot_cascade(checks, images[0], labels=labels, least=least), settings.out
        )
    }
    walks = steps_told(made, settings)
    if settings.json:
        report = {
            "table": records,
            "stages": next(iter(checks.values())).report,
            "failed": lost,
            "protocol": _protocol(settings, checks, targets) | {"walks": walks},
            "versions": versions(),
            "command": f"captum-ext {shown_command(settings.command_line)}",
        }
        writers[settings.json] = lambda: write_json(report, settings.json)
    text = [
        as_text(records, settings.similarities, labels, checks),
        *walks,
        _caption(settings, len(images)),
    ]
    text += [f"{METHODS[name].label} is left out: {why}" for name, why in lost.items()]
    finish("\n".join(text), writers)


def _caption(settings: Sanity, n: int) -> str:
    return (
        f"{number_of(n, 'image')}, {settings.order}; 1 is the original map, lower is better: a "
        "map that stays similar does not show what the model has learned.\nThe mean is over "
        "stages; [low, high] a 95 % bootstrap interval over images."
    )


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


def _images(settings: Sanity, model: nn.Module, device: torch.device) -> tuple[Tensor, Tensor]:
    """The images that can be read and that the model answers, and its answers."""
    source, reader, tensors, read = settings.image, Reader(model), [], list[Path | None]()
    if source is None or not source.is_dir():
        tensors, read = [reader.tensor(reader.picture(source))], [source]
    else:
        listed = images_of(source)
        for note in listed.notes:
            say(note)
        # A figure that an earlier call put among the images is none of them.
        files = [file for file in listed.files if not is_ours(source / file)]
        for file in files[: settings.limit]:
            try:
                tensors.append(reader.tensor(reader.picture(source / file)))
                read.append(source / file)
            except CallError as error:
                say(f"{error} It is left out.")
    if not tensors:
        raise CallError(f"IMAGE {source} holds no image that can be read.")
    if len({t.shape for t in tensors}) > 1:
        raise CallError("IMAGE holds images of several sizes, and --model does not resize them.")
    images = torch.stack(tensors).to(device)
    try:
        return images, predict(model, images, settings.answers)
    except NotFiniteError:
        answers = _answered(settings, model, images, read)
        if not answers:
            raise
        return images[[*answers]], torch.cat([*answers.values()])


def _answered(
    settings: Sanity, model: nn.Module, images: Tensor, read: Sequence[Path | None]
) -> dict[int, Tensor]:
    """The model's answers to the images of which it has any; the others are named, unless all."""
    answers, problems = dict[int, Tensor](), dict[int, NotFiniteError]()
    for k in range(len(images)):
        try:
            answers[k] = predict(model, images[k : k + 1], settings.answers)
        except NotFiniteError as error:
            problems[k] = error
    for k, problem in problems.items() if answers else ():
        say(f"IMAGE {read[k]} is left out: {problem}")
    return answers


def _targets(settings: Sanity, model: nn.Module, answers: Tensor) -> Tensor:
    classes = Classes.of(model, answers.shape[1], settings.answers)
    number = target_of(settings.target, classes, settings.answers)
    if number is None:
        return answers.argmax(1)
    return torch.full((len(answers),), number, device=answers.device)


def _checks(
    settings: Sanity,
    methods: Sequence[str],
    stages: str | list[str],
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
) -> tuple[dict[str, ParameterRandomization], dict[str, str]]:
    """The test of every method, and why others failed."""
    checks: dict[str, ParameterRandomization] = {}
    failed: dict[str, str] = {}

    def told(names: list[str]) -> None:
        work.expect(len(methods) * len(images) * (1 + len(names)))

    with Work(0, "map") as work:
        for k, name in enumerate(methods):
            work.begin(METHODS[name].label)

            def make(randomized: nn.Module, name: str = name) -> Attribution:
                work.update()
                return configured(name, randomized, settings)

            check = ParameterRandomization(
                make, settings.order, settings.similarities, settings.seed, stages, keep_maps=1
            )
            check.watch = told
            try:
                # One at a time bounds memory, whatever the method.
                for image, target in zip(images, targets, strict=True):
                    with quiet():
                        check.update(model, image[None], target=int(target))
            except Exception as error:
                failed[name] = reason(error)
            else:
                checks[name] = check
            check.watch = None
            # What a method that failed left undone, once it is known how much that is.
            if work.total:
                work.update((k + 1) * (work.total // len(methods)) - work.done)
    return checks, failed


def _protocol(
    settings: Sanity, checks: dict[str, ParameterRandomization], targets: Tensor
) -> dict[str, Any]:
    return {
        "model": shown(settings.model),
        "weights": shown(settings.weights),
        "precision": settings.precision,
        "reading": settings.answers,
        "image": shown(settings.image),
        "targets": targets.tolist(),
        **settings.effort,
        "placement": settings.placement,
        **next(iter(checks.values())).protocol,
    }
