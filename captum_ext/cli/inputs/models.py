"""``--model``: a name or a file with a factory becomes a classifier of images in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms import ToTensor

from captum_ext._memory import Chunk, default_chunk
from captum_ext._random import seeded
from captum_ext._tensors import accumulation_dtype
from captum_ext._text import numbered_class, reason
from captum_ext.classifier import (
    AUTO,
    ImageClassifier,
    Transform,
    classifier_of,
    classifier_told,
    is_exported,
    load_weights,
    require_unit_images,
)
from captum_ext.cli.errors import CallError, as_call_error, say
from captum_ext.cli.inputs.python_files import factory_in, module_of
from captum_ext.cli.inputs.words import LITE, library_of, loads_a_file, require_model, text_of
from captum_ext.cli.options import PROBABILITY, SCORE, Settings

_MAKERS: dict[str, Callable[..., ImageClassifier]] = {
    "torchvision": ImageClassifier.from_torchvision,
    "timm": ImageClassifier.from_timm,
    "hf": ImageClassifier.from_transformers,
}


def model_of(settings: Settings, device_name: str | None) -> tuple[nn.Module, torch.device]:
    """The model of a command and its device; names that its file registers are known then.

    Raises:
        CallError: as `load_model`, or if there is no such device, or a name that is not known.
    """
    first, *others = devices_of(device_name)
    model = load_model(
        settings.model,
        settings.weights,
        first,
        num_classes=settings.num_classes,
        class_names=_names_in(settings.classes),
        reading=settings.reading,
        activation=None if settings.activation == "none" else settings.activation or AUTO,
    )
    settings.check_names()
    return _over(model, [first, *others]) if others else model, first


def _over(model: nn.Module, devices: list[torch.device]) -> nn.Module:
    """The model, whose network's calls are divided over several devices."""
    classifier = classifier_of(model)
    if classifier is not None:
        # Inside, so that it is asked for names and sizes as ever.
        classifier.model = nn.DataParallel(classifier.model, devices)
        return model
    return nn.DataParallel(model, devices).eval()


def load_model(
    spec: str,
    weights: str | None,
    device: torch.device,
    class_names: Sequence[str] = (),
    reading: str | None = None,
    **head: Any,
) -> nn.Module:
    """The classifier that ``--model`` and ``--weights`` name, in eval mode on the device.

    Args:
        spec: as ``--model``.
        weights: as ``--weights``.
        device: where the model is to be.
        class_names: instead of the source's.
        reading: as ``--reading``.
        head: ``num_classes`` and ``activation`` of a library's network.

    Raises:
        CallError: if there is no such model, factory or file, or the weights don't fit.
    """
    require_model(spec, weights)
    # Random parameters are the same in every process and run.
    with as_call_error(), _in_options(), seeded(0, torch.device("cpu")):
        library, name = library_of(spec)
        chosen = None if weights == "random" else weights or "DEFAULT"
        if library:
            model: nn.Module = _MAKERS[library](
                name, weights=chosen, class_names=class_names, **head
            )
            said = reading or head.get("activation", AUTO) != AUTO
            if model.activation is None and not said:
                # One that stays within [0, 1] would pass for the probability of a class.
                raise CallError(
                    f"--model {spec} is a regression, as its configuration says: give --reading "
                    "score."
                )
        elif loads_a_file(spec):
            model = _from_file(spec)
            _load(model, weights)
            _name(model, class_names)
        else:
            model = ImageClassifier.from_efficientnet_lite(
                LITE[spec], chosen, class_names=class_names, **head
            )
    classifier = classifier_of(model)
    if classifier is not None and len(classifier.class_names) <= 2:
        # Labels of two classes are 0 and 1, also for a model of one logit. Under another
        # activation one number within [0, 1] may be anything.
        said = reading == PROBABILITY and classifier.activation != "softmax"
        classifier.both_classes |= classifier.activation == "sigmoid" or said
    try:
        return (model if is_exported(model) else model.eval()).to(device)
    except Exception as error:
        raise CallError(f"--model can't be used on {device}: {_words(error)}.") from error


@contextmanager
def _in_options() -> Iterator[None]:
    """Says of what can't be fetched how the arguments that it names are called here."""
    try:
        yield
    except ConnectionError as error:
        raise CallError(
            f"{error} On the command line `weights` is --weights, its None is --weights random, "
            "and `name_or_model` is what follows the colon of --model."
        ) from error


def _load(model: nn.Module, weights: str | None) -> None:
    if weights is not None:
        classifier = classifier_of(model)
        load_weights(model if classifier is None else classifier.model, Path(weights))


def _name(model: nn.Module, class_names: Sequence[str]) -> None:
    if not class_names:
        return
    classifier = classifier_of(model)
    if classifier is None:
        raise CallError("--classes is for an ImageClassifier, but the factory makes none.")
    classifier.class_names = tuple(class_names)


def _names_in(file: Path | None) -> list[str]:
    """The lines of ``--classes`` that hold a name."""
    if file is None:
        return []
    lines = text_of("--classes", file).splitlines()
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise CallError(f"--classes {file} names no class.")
    return names


def _from_file(spec: str) -> nn.Module:
    path, _, name = spec.rpartition(":")
    factory = factory_in("--model", Path(path), module_of("--model", Path(path)), name)
    try:
        model = factory()
    except Exception as error:
        raise CallError(f"--model: {spec} fails with {_words(error)}.") from error
    if not isinstance(model, nn.Module):
        raise CallError(
            f"--model: {spec} must return an nn.Module, such as captum_ext.ImageClassifier(model, "
            f"mean, std), but gave {type(model).__name__}."
        )
    with as_call_error(f"--model {spec}: "):
        classifier_told(
            model,
            f"one of the whole, ImageClassifier({type(model).__name__}(...), mean=[0, 0, 0], "
            "std=[1, 1, 1], transform=..., class_names=..., activation=None)",
        )
    return model


def _words(error: BaseException) -> str:
    """An error by its type and first line, within a sentence."""
    return reason(error, named=True).rstrip(".")


def transform_of(model: nn.Module) -> Transform:
    """From a PIL image to a (C, H, W) tensor in [0, 1], as the model wants it."""
    classifier = classifier_of(model)
    return ToTensor() if classifier is None else classifier.transform


def channels_of(model: nn.Module) -> int:
    """How many color channels the model takes."""
    classifier = classifier_of(model)
    return 3 if classifier is None else classifier.mean.shape[1]


def name_of(model: nn.Module, index: int, answers: str = PROBABILITY) -> str:
    """A class by name, where the model knows names; of scores an output."""
    classifier = classifier_of(model)
    if answers == SCORE:
        names = () if classifier is None else classifier.class_names
        return names[index] if index < len(names) else f"output {index}"
    return numbered_class(index) if classifier is None else classifier.name_of(index)


DRAWS = (
    "--model draws random numbers in every call, as dropout or added noise does. Maps and scores "
    "are of the numbers that --seed gives; another seed or --batch-size gives others."
)


class NotFiniteError(CallError):
    """The model answers nan or infinite numbers, of one image perhaps."""


def predict(model: nn.Module, images: Tensor, answers: str = PROBABILITY) -> Tensor:
    """Probabilities, (N, classes), checked to be some; or scores, (N, outputs).

    Rows of probabilities sum to 1, except under another activation of an `ImageClassifier` than a
    softmax.

    Raises:
        CallError: if images leave [0, 1], the model fails, gives nan, or something that is no
            probability.
    """
    with as_call_error("IMAGE: "):
        require_unit_images(model, images)
    try:
        with torch.no_grad(), seeded(0, images.device) as drawn:
            chunk = Chunk(default_chunk((images,)), (images,), model)
            parts = chunk.calls(len(images), lambda part: model(images[part]))
            output = parts[0] if len(parts) == 1 else torch.cat(parts)
            draws = drawn()
    except Exception as error:
        shape = tuple(images.shape)
        raise CallError(f"--model fails on images of shape {shape}: {_words(error)}.") from error
    _require_answers(model, images, output, answers)
    if draws:
        say(DRAWS)
    return output


def _require_answers(model: nn.Module, images: Tensor, output: Any, answers: str) -> None:
    if not isinstance(output, Tensor) or output.shape[:1] != images.shape[:1] or output.dim() > 2:
        what = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        row = "scores" if answers == SCORE else "class probabilities"
        raise CallError(
            f"--model must return one row of {row} per image, but gave {what} for {len(images)}"
            f"{_to_do(output)}."
        )
    if not output.isfinite().all():
        numbers = "scores" if answers == SCORE else "probabilities"
        raise NotFiniteError(f"--model gives nan or infinite {numbers} for this image.")
    if answers == SCORE:
        _require_scores(output)
        return
    if output.dim() < 2 or output.shape[1] < 2:
        raise CallError(
            "--model gives one number per image, not the probabilities of two classes or more: "
            'give the model\'s logit and activation="sigmoid" (captum_ext.ImageClassifier of a '
            "factory; --activation of a library's network), which makes two classes of it. If the "
            "number is the probability of the second of two classes already, say --reading "
            "probability; if it is none, --reading score."
        )
    sums = output.to(accumulation_dtype(output.device)).sum(1)
    classifier = classifier_of(model)
    exclusive = classifier is None or classifier.activation == "softmax"
    off = exclusive and not torch.allclose(sums, torch.ones_like(sums), atol=1e-2)
    if output.min() < 0 or output.max() > 1 + 1e-4 or off:
        raise CallError(
            "--model must return probabilities, but its rows "
            + ("do not sum to 1: " if off else "leave [0, 1]: ")
            + "return captum_ext.ImageClassifier(model, mean, std) from the factory; for a binary "
            'or multi-label model with activation="sigmoid", for one that gives probabilities '
            "itself with activation=None; for scores of another kind say --reading score."
        )


def _to_do(output: Any) -> str:
    """What makes rows of an output that has places too, where it is plain."""
    shape = output.shape[2:] if isinstance(output, Tensor) else ()
    if not shape:
        return ""
    if all(length == 1 for length in shape):
        return ": let the factory flatten it, as nn.Sequential(model, nn.Flatten()) does"
    return (
        ": scores of places, as of a segmentation, are no answer for the image; let the factory "
        "return one number a class, such as their mean over places"
    )


def _require_scores(output: Tensor) -> None:
    if output.dim() < 2:
        raise CallError(
            "--model gives scores of shape (N,), without outputs to choose from: return "
            "captum_ext.ImageClassifier(model, mean, std, activation=None) from the factory."
        )
    if not output.is_floating_point():
        raise CallError(f"--model must give scores of floating point, but gave {output.dtype}.")


@contextmanager
def in_precision(settings: Settings) -> Iterator[None]:
    """While it lasts the layers of models compute in the precision of ``--precision``.

    Raises:
        CallError: if there is no such device.
    """
    if settings.precision != "bf16":
        yield
        return
    # An evaluation reads it among what decides its numbers, so that no resumed run mixes two.
    with torch.autocast(devices_of(settings.device)[0].type, torch.bfloat16):
        yield


def devices_of(names: str | None) -> list[torch.device]:
    """The devices named, with commas between them, or the best there is.

    Raises:
        CallError: if one of them isn't here, or several are not GPUs of CUDA, each named once.
    """
    named = [None] if names is None else [name.strip() for name in names.split(",")]
    found = [device_of(name) for name in named]
    numbers = {device.index for device in found}
    kinds = {device.type for device in found}
    if len(found) > 1 and (kinds != {"cuda"} or None in numbers or len(numbers) < len(found)):
        raise CallError(
            f"--device {names} names several devices, which must be different GPUs of CUDA, such "
            "as cuda:0,cuda:1."
        )
    return found


def device_of(name: str | None) -> torch.device:
    """The device named, or the best there is.

    Raises:
        CallError: if there is no such device here.
    """
    here = _devices_here()
    if name is None:
        return torch.device(here[0].partition(":")[0])
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        if any(name in (one, one.partition(":")[0]) for one in here):
            raise CallError(f"--device {name} can't be used here: {reason(error)}") from error
        # Torch's words are of backends and operators, or of what it was built with.
        raise CallError(
            f"--device {name} can't be used here: this machine, with its build of torch, has "
            f"{', '.join(here)}. Without --device the best of them is taken."
        ) from error
    return device


def _devices_here() -> list[str]:
    """The devices that ``--device`` may name, best first."""
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*(f"cuda:{k}" for k in range(n_gpus)), *mps, "cpu"]
