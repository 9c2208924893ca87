"""`ImageClassifier`: images in [0, 1] in, class probabilities out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from inspect import getclosurevars, isfunction
from math import isfinite
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, fx, nn
from typing_extensions import Self

from captum_ext._outputs import Output, logits_of, may_watch, told_misfits, watched
from captum_ext._sources import efficientnet_lite, timm, torchvision, transformers
from captum_ext._sources.source import UNTOLD, Source, Wanted
from captum_ext._text import numbered_class
from captum_ext._transform import Numbers, Transform, UnitImages, outside, peeled, span
from captum_ext._weights import load_weights

__all__ = [
    "ImageClassifier",
    "Transform",
    "is_exported",
    "is_right",
    "load_weights",
    "outside_unit",
    "require_unit_images",
]

Activation = str | Callable[[Tensor], Tensor] | None
ACTIVATIONS = ("softmax", "sigmoid")
# Whose model is known to give logits; no part of a classifier's content.
_WATCHED: WeakSet[ImageClassifier] = WeakSet()
AUTO = "auto"
"""The activation that a source's own configuration tells."""


class ImageClassifier(nn.Module):
    """A classifier that takes images in [0, 1] and returns probabilities.

    Normalization and activation move inside, so that baselines, blurs and masks are colors and
    what is explained is a probability. The wrapped model is used as it is: put it in ``eval()``.

    One logit under a sigmoid is the probability of what the model detects, (N, 1). With two
    ``class_names`` it becomes the probabilities of both classes, (N, 2), so that labels 0 and 1
    are targets (``both_classes``).

    Args:
        model: images normalized by ``mean`` and ``std`` to logits, (N, C, H, W) -> (N, classes)
            or (N,); or to an object, dict or tuple that holds them.
        mean: one number per channel, in units of [0, 1] images; None takes mean and std from
            the normalization in ``transform``.
        std: one number per channel, above 0.
        class_names: names by class index, or empty.
        transform: from a PIL image to a (C, H, W) tensor; None leaves sizes alone. A
            normalization at its end is taken off, as it happens here: ``weights.transforms()``
            of torchvision and `create_transform` of timm can be given as they are.
        activation: from logits to probabilities: "softmax" where one class of several is
            right; "sigmoid" for two classes in one logit, or several that don't exclude one
            another; None where the model gives probabilities itself, or other scores (a
            regression); or a function.
        output: which part of the model's output holds the logits: a key, an attribute, or a place
            in a tuple; None for the output itself or its ``logits``.

    Raises:
        TypeError: on integer images, or a model's output that holds no logits of floating point.
        ValueError: on images that are not (N, C, H, W) with one channel per mean; on one logit
            under a softmax; if the model's first answer shows that it ends with a sigmoid or
            softmax itself; if ``transform`` normalizes otherwise than ``mean`` and ``std``.

    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 5))
    >>> classifier = ImageClassifier(net, mean=[0.5] * 3, std=[0.25] * 3)
    >>> classifier(torch.rand(2, 3, 4, 4)).sum(1).allclose(torch.ones(2))
    True
    >>> detector = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 1))
    >>> ImageClassifier(detector, [0.5] * 3, [0.25] * 3, activation="sigmoid")(
    ...     torch.rand(2, 3, 4, 4)).shape
    torch.Size([2, 1])
    """

    mean: Tensor
    std: Tensor
    transform: Transform
    both_classes: bool
    """Whether one output p becomes the probabilities of two classes, 1 - p and p."""

    def __init__(
        self,
        model: nn.Module,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        class_names: Sequence[str] = (),
        transform: Transform | None = None,
        activation: Activation = "softmax",
        output: Output = None,
    ) -> None:
        # torchvision takes as long to import as torch: not before there is a classifier.
        from torchvision import transforms

        super().__init__()
        if not isinstance(model, nn.Module):
            raise TypeError(f"`model` must be an nn.Module, but got {type(model).__name__}.")
        if not (activation is None or activation in ACTIVATIONS or callable(activation)):
            raise ValueError(
                '`activation` is "softmax", "sigmoid", None or a function of the logits, but got '
                f"{activation!r}."
            )
        self.model = model
        self.training = model.training and not is_exported(model)
        self.class_names = tuple(class_names)
        self.activation = activation
        self.output = output
        self.both_classes = activation == "sigmoid" and len(self.class_names) == 2
        wanted = transform or transforms.ToTensor()
        mean, std = self._normalization = _normalization(mean, std, peeled(wanted)[1])
        shape = (1, -1, 1, 1)
        self.register_buffer("mean", torch.tensor(mean).view(shape), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(shape), persistent=False)
        self.transform = wanted

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "transform":
            value, found = peeled(value)
            _normalization(*self._normalization, found)
            # Not an nn.Module, so that a transform that is one does not become part of the model.
            value = UnitImages(value)
        super().__setattr__(name, value)

    def train(self, mode: bool = True) -> Self:
        """As of every module; an exported model within keeps the mode that it was exported in."""
        if not is_exported(self.model):
            return super().train(mode)
        self.training = mode
        return self

    def extra_repr(self) -> str:
        """What the layers don't show."""
        mean, std = ([round(x, 4) for x in numbers] for numbers in self._normalization)
        both = f", output={self.output!r}" if self.output is not None else ""
        both += ", both_classes=True" if self.both_classes else ""
        return f"mean={mean}, std={std}, activation={self.activation!r}{both}"

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities, (N, classes), of images (N, C, H, W) in [0, 1]."""
        if not images.is_floating_point():
            raise TypeError(
                f"`images` are floating point in [0, 1], but got {images.dtype}: "
                "use `images.float() / 255`."
            )
        if images.dim() != 4 or images.shape[1] != self.mean.shape[1]:
            hint = ": add a missing batch dimension with `images[None]`"
            raise ValueError(
                f"`images` have shape (N, {self.mean.shape[1]}, height, width), but got "
                f"{tuple(images.shape)}{hint if images.dim() == 3 else ''}."
            )
        given = (images - self.mean.to(images)) / self.std.to(images)
        with told_misfits(self.model, (given,)):
            answer = self._output(given)
        made = self._activated(logits_of(answer, len(images), self.output))
        return torch.cat([1 - made, made], 1) if self.both_classes and made.shape[1] == 1 else made

    def _output(self, given: Tensor) -> Any:
        if self in _WATCHED or self.activation not in ACTIVATIONS or not may_watch(self):
            return self.model(given)
        made = watched(self.model, given, str(self.activation), self.output)
        _WATCHED.add(self)
        return made

    def _activated(self, logits: Tensor) -> Tensor:
        if self.activation is None:
            return logits
        # Half-precision probabilities near 1 would be a coarse grid.
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.activation == "sigmoid":
            return logits.sigmoid()
        if self.activation == "softmax":
            if logits.shape[1] == 1:
                raise ValueError(
                    '`activation` "softmax" gives 1 for a single logit, but `model` gave shape '
                    f'{tuple(logits.shape)}: use activation="sigmoid".'
                )
            return logits.softmax(1)
        made: Any = self.activation(logits)  # type: ignore[operator]
        if not isinstance(made, Tensor) or made.shape != logits.shape:
            what = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
            raise ValueError(
                f"`activation` must keep the logits' shape {tuple(logits.shape)}, but gave {what}."
            )
        return made

    def name_of(self, index: int) -> str:
        """The name of a class, or its number where there are no names."""
        if self.both_classes and len(self.class_names) == 1 and index < 2:
            return (f"not {self.class_names[0]}", self.class_names[0])[index]
        names = self.class_names
        return names[index] if index < len(names) else numbered_class(index)

    @classmethod
    def from_torchvision(
        cls,
        name: str,
        weights: str | None = "DEFAULT",
        num_classes: int | None = None,
        class_names: Sequence[str] = (),
        activation: Activation = AUTO,
    ) -> ImageClassifier:
        """A torchvision classifier with the normalization and names of its weights.

        It is built as torchvision builds it for these weights, also where they need another
        image size or transform their input; so is the network with random weights.

        Args:
            name: a name among ``torchvision.models.list_models(torchvision.models)``, such as
                "resnet50".
            weights: a name among torchvision's weights for the model, "DEFAULT" for its best;
                a file with a state dict (as `torch.save` or safetensors write it), taken for
                the weights whose file name it has, else for the first that it fits; or None for
                random weights. Checkpoints of Lightning, and of parallel or compiled models, do.
            num_classes: of random weights or a file's; None is what the file says, else the
                source's own number.
            class_names: instead of the source's own.
            activation: as in the constructor; "auto" is a softmax.

        Raises:
            ValueError: if torchvision has no such model or weights, or the file does not fit.
            ConnectionError: if the weights can't be fetched; it names the file.

        >>> classifier = ImageClassifier.from_torchvision("resnet18", weights=None)
        >>> classifier.name_of(258), classifier.training
        ('Samoyed', False)
        """
        return cls._of(
            torchvision.source(name, Wanted(weights, num_classes, class_names)), activation
        )

    @classmethod
    def from_timm(
        cls,
        name_or_model: str | os.PathLike[str] | nn.Module,
        weights: str | None = "DEFAULT",
        num_classes: int | None = None,
        class_names: Sequence[str] = (),
        activation: Activation = AUTO,
    ) -> ImageClassifier:
        """A classifier of timm with the size, crop, normalization and names that timm gives it.

        Pictures are prepared as ``timm.data.create_transform(**resolve_data_config(model=model))``
        does. Needs the extra ``timm``.

        Args:
            name_or_model: a name that ``timm.list_models()`` lists, with a tag of its weights or
                without, as "resnet18.a1_in1k"; "hf-hub:NAME"; a folder that timm saved; or a
                network, which is taken as it is.
            weights: "DEFAULT" for those of the name, a file with a state dict, or None for random
                weights.
            num_classes, class_names: as of ``from_torchvision``.
            activation: as in the constructor; "auto" is a softmax.

        Raises:
            ValueError: if timm has no such network, or the file does not fit it.
            ConnectionError: if the weights can't be fetched.

        >>> classifier = ImageClassifier.from_timm("test_resnet", weights=None)
        >>> classifier.name_of(258), classifier(torch.rand(1, 3, 64, 64)).shape
        ('Samoyed, Samoyede', torch.Size([1, 1000]))
        """
        return cls._of(
            timm.source(name_or_model, Wanted(weights, num_classes, class_names)), activation
        )

    @classmethod
    def from_transformers(
        cls,
        model_or_folder: str | os.PathLike[str] | nn.Module,
        processor: Any = None,
        weights: str | None = "DEFAULT",
        num_classes: int | None = None,
        class_names: Sequence[str] = (),
        activation: Activation = AUTO,
    ) -> ImageClassifier:
        """An image classifier of Hugging Face's transformers, with its processor and names.

        The network sees what its image processor gives. What a processor does to colors is
        measured, not read from its settings. Needs the extra ``transformers``.

        Args:
            model_or_folder: a folder that ``save_pretrained`` wrote, a name on the Hub, or a model
                with a head, which is taken as it is.
            processor: the model's image processor, or a folder or name of one; None takes the one
                beside the model.
            weights: "DEFAULT" for those in the folder, a file with a state dict, or None for
                random weights.
            num_classes, class_names: as of ``from_torchvision``.
            activation: as in the constructor; "auto" is what ``config.problem_type`` says, a
                softmax where it says nothing.

        Raises:
            ValueError: if there is no classifier, it was not trained to classify, its processor
                does more than resize, crop and normalize, or ``activation`` is needed.
            ConnectionError: if a name can't be fetched.

        >>> from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor
        >>> config = ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
        ...     intermediate_size=8, image_size=32, num_labels=2, id2label={0: "cat", 1: "dog"})
        >>> processor = ViTImageProcessor(size={"height": 32, "width": 32})
        >>> net = ImageClassifier.from_transformers(ViTForImageClassification(config), processor)
        >>> net.name_of(1), net(torch.rand(1, 3, 32, 32)).shape
        ('dog', torch.Size([1, 2]))
        """
        wanted = Wanted(weights, num_classes, class_names)
        found = transformers.source(model_or_folder, processor, wanted)
        return cls._of(found, activation)

    @classmethod
    def from_efficientnet_lite(
        cls,
        number: int = 0,
        weights: str | None = "DEFAULT",
        num_classes: int | None = None,
        class_names: Sequence[str] = (),
        activation: Activation = AUTO,
    ) -> ImageClassifier:
        """EfficientNet-Lite0, 1 or 2 with weights trained on ImageNet, packages of their own.

        Needs the extra ``demo`` and no network at run time. Other arguments as of
        ``from_torchvision``.

        >>> ImageClassifier.from_efficientnet_lite(0).name_of(967)
        'espresso'
        """
        return cls._of(
            efficientnet_lite.source(number, Wanted(weights, num_classes, class_names)), activation
        )

    @classmethod
    def from_efficientnet_lite0(cls) -> ImageClassifier:
        """The same as ``from_efficientnet_lite(0)``."""
        return cls.from_efficientnet_lite(0)

    @classmethod
    def _of(cls, found: Source, activation: Activation = AUTO) -> ImageClassifier:
        if activation == AUTO:
            activation = found.activation
        if activation == UNTOLD:
            raise ValueError(
                "`activation` is needed, as the model's configuration does not tell what its "
                'outputs are: "softmax", "sigmoid" for a detector or several labels, or None for '
                "a regression."
            )
        names = found.class_names
        return cls(found.model, found.mean, found.std, names, found.transform, activation)


def is_exported(model: nn.Module) -> bool:
    """Whether it is the module of an exported program, whose mode is that of its export.

    It says that it is training, whatever it does, and can't be told otherwise.
    """
    return isinstance(model, fx.GraphModule) and "eval" in vars(model)


def require_unit_images(forward_func: Any, inputs: Any) -> None:
    """Refuses images outside [0, 1] for an `ImageClassifier`; other models take what they want.

    Not within ``forward``: paths, noise and masks may leave [0, 1] on their way.

    >>> net = ImageClassifier(nn.Flatten(), mean=[0.5], std=[0.5])
    >>> require_unit_images(net, torch.full((1, 1, 2, 2), -1.5))
    Traceback (most recent call last):
    ...
    ValueError: images must be in [0, 1], as the `ImageClassifier` normalizes them itself, but ...
    """
    for images in inputs if isinstance(inputs, tuple | list) else (inputs,):
        if outside_unit(forward_func, images):
            low, high = span(images)
            raise ValueError(
                "images must be in [0, 1], as the `ImageClassifier` normalizes them itself, but "
                f"got values from {low:.3g} to {high:.3g}: "
                + (
                    "divide them by 255."
                    if 2 < high <= 255 and low >= 0
                    else "give them without normalization."
                )
            )


def outside_unit(forward_func: Any, images: Any) -> bool:
    """Whether an `ImageClassifier` is given images outside [0, 1]."""
    given = isinstance(images, Tensor) and images.is_floating_point()
    return given and classifier_of(forward_func) is not None and outside(*span(images))


def is_right(forward_func: Any, answer: Tensor, target: int) -> bool:
    """Whether a row of answers, (classes,), says that an example is of the target's class.

    Where classes exclude one another, that none scores higher; under an activation of an
    `ImageClassifier` whose row does not sum to 1, that the target's probability is at least .5;
    so too of one that stands inside another model.

    >>> is_right(None, torch.tensor([2.0, 5.0]), 1)
    True
    >>> net = ImageClassifier(nn.Flatten(), mean=[0.5], std=[0.5], activation="sigmoid")
    >>> [is_right(model, torch.tensor([0.7, 0.9]), 0) for model in (net, nn.Sequential(net))]
    [True, True]
    """
    classifier = classifier_of(forward_func)
    inside = classifier or classifier_within(forward_func)
    kind = "softmax" if inside is None else inside.activation
    # Of one inside, what becomes of its answer is not told: the sum says.
    kind = None if classifier is None and kind != "softmax" else kind
    exclusive = kind == "softmax" or _are_complements(classifier, answer)
    if not exclusive and (kind == "sigmoid" or abs(float(answer.cpu().double().sum()) - 1) > 1e-2):
        return bool(answer[target] >= 0.5)
    return bool(answer[target] >= answer.max())


def may_have_several(forward_func: Any, answer: Tensor) -> bool:
    """Whether an example may be of several classes: the model says that none excludes another.

    So it does as an `ImageClassifier` of another activation than a softmax, unless its two
    classes are one number and what it lacks to 1.

    >>> may_have_several(nn.Sigmoid(), torch.tensor([0.7, 0.9]))
    False
    >>> net = ImageClassifier(nn.Flatten(), mean=[0.5], std=[0.5], activation="sigmoid")
    >>> may_have_several(net, torch.tensor([0.7, 0.9]))
    True
    """
    classifier = classifier_of(forward_func)
    exclusive = classifier is None or classifier.activation == "softmax"
    return not (exclusive or _are_complements(classifier, answer))


def _are_complements(classifier: ImageClassifier | None, answer: Tensor) -> bool:
    """Whether a row of two classes came of one number: two logits of labels sum to anything."""
    both = classifier is not None and classifier.both_classes
    return both and abs(float(answer.cpu().double().sum()) - 1) < 1e-5


def classifier_of(forward_func: Any) -> ImageClassifier | None:
    """The classifier that a function asks as it is: compiled, distributed or counted.

    A module of ours that passes everything on has it as ``passes_on``.
    """
    while not isinstance(forward_func, ImageClassifier):
        inner = getattr(forward_func, "passes_on", getattr(forward_func, "_orig_mod", None))
        if isinstance(forward_func, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = forward_func.module
        if not isinstance(inner, nn.Module):
            return None
        forward_func = inner
    return forward_func


def classifier_told(forward_func: Any, instead: str) -> ImageClassifier | None:
    """`classifier_of`, where it decides what images mean: one inside another model is refused.

    Args:
        forward_func: the model or function.
        instead: what may be given instead of the classifier itself.

    Raises:
        ValueError: if an `ImageClassifier` stands inside another model or function.

    >>> net = ImageClassifier(nn.Flatten(), mean=[0.5], std=[0.5])
    >>> classifier_told(net, "") is net, classifier_told(nn.Flatten(), "")
    (True, None)
    """
    classifier = classifier_of(forward_func)
    if classifier is None and classifier_within(forward_func) is not None:
        raise ValueError(
            f"the {type(forward_func).__name__} holds an `ImageClassifier` inside, so that the "
            "images that this is given, and what becomes of its answers, can't be told: give the "
            f"`ImageClassifier` itself, or {instead}."
        )
    return classifier


def classifier_within(forward_func: Any) -> ImageClassifier | None:
    """A classifier that stands somewhere in a module or in what a function holds, if there is one.

    What it is given, and what becomes of its answer, can't be told.

    >>> net = ImageClassifier(nn.Flatten(), mean=[0.5], std=[0.5])
    >>> classifier_of(nn.Sequential(net)), classifier_within(nn.Sequential(net)) is net
    (None, True)
    >>> classifier_within(lambda x: net(x).log()) is net
    True
    """
    if isinstance(forward_func, nn.Module):
        parts = (part for part in forward_func.modules() if isinstance(part, ImageClassifier))
        return next(parts, None)
    held = [getattr(forward_func, "__self__", None), getattr(forward_func, "__wrapped__", None)]
    if isinstance(forward_func, partial):
        held += [forward_func.func, *forward_func.args, *forward_func.keywords.values()]
    elif isfunction(forward_func):
        known = getclosurevars(forward_func)
        held += [*known.nonlocals.values(), *known.globals.values()]
    found = (classifier_within(one) for one in held if isinstance(one, nn.Module))
    return next((one for one in found if one is not None), None)


def _normalization(
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    found: tuple[Numbers, Numbers] | None,
) -> tuple[Numbers, Numbers]:
    """The mean and std that were given, or those found in the transform."""
    if mean is None and std is None:
        if found is None:
            raise ValueError(
                "`mean` and `std` are needed where `transform` does not end with a Normalize that "
                "tells them: for a model that takes images in [0, 1] give 0 and 1 per channel."
            )
        mean, std = found
    try:
        numbers = [[float(x) for x in given] for given in (mean, std)]  # type: ignore[union-attr]
    except (TypeError, ValueError):
        numbers = [[], []]
    if (
        len(numbers[0]) != len(numbers[1])
        or not all(map(isfinite, [*numbers[0], *numbers[1]]))
        or min(numbers[1], default=0.0) <= 0
    ):
        raise ValueError(
            "`mean` and `std` need one number per channel each, `std` above 0, but got "
            f"{mean!r} and {std!r}."
        )
    plain = set(numbers[0]) == {0.0} and set(numbers[1]) == {1.0}
    if found is not None and plain:
        # The model was said to take what the transform gives.
        return found
    for given, other in zip(numbers, found or (), strict=False):
        if len(other) not in (1, len(given)) or any(
            abs(x - y) > 1e-4 for x, y in zip(given, other * len(given), strict=False)
        ):
            raise ValueError(
                f"`transform` normalizes with mean {found[0]} and std {found[1]}, "  # type: ignore[index]
                f"but `mean` and `std` are {numbers[0]} and {numbers[1]}: give one of them alone."
            )
    return numbers[0], numbers[1]
