"""`MaskAttribution`: a mask optimized to change the model's score, as an attribution."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Generic, Literal

import torch
from torch import Tensor

from captum_ext._captum import GradientAttribution, log_usage
from captum_ext._numbers import whole
from captum_ext._progress import Work
from captum_ext._tensors import format_baselines, format_inputs, format_output
from captum_ext._typing import Baselines, FeatureMask, Form, Forward, Target, Tensors
from captum_ext.attr.start import Question, Start, StartLike
from captum_ext.mask import (
    DeletionTerm,
    Direction,
    FeatureGroups,
    Grid,
    Noise,
    Regularizer,
    Step,
    Term,
    blurred,
)
from captum_ext.mask.advanced import Descent, MaskProblem, MaskState, descend
from captum_ext.mask.descent import require_iteration
from captum_ext.score import Score, require_model

__all__ = ["MaskAttribution", "MaskRun"]

NOTHING = 1 / 512
"""A map that is nowhere above this is empty: half a grey level of 8 bits leaves every pixel."""
FAINT = 0.05
"""A map that is nowhere above this deletes next to nothing, and is told apart in words: scaled to
its maximum it looks like any other. The page on I-GOS shows one, of a class of probability .02."""


@dataclass(frozen=True)
class MaskRun(Generic[Form]):
    """What an optimization found, and its history.

    Args:
        attributions: 1 - mask at the inputs' resolution, as `MaskAttribution.attribute` gives it.
        descent: masks, objective and model evaluations, iteration by iteration.

    >>> from captum_ext.attr import IGOS
    >>> igos = IGOS(lambda x: x[:, :, 4:8, 4:8].mean((1, 2, 3)), mask_size=8, tv_weight=0.1)
    >>> history = igos.optimize(torch.rand(1, 3, 16, 16), baselines=0, n_iter=5).descent
    >>> bool(history.objective[-1] < history.objective[0]), history.forwards.shape
    (True, torch.Size([5, 1]))
    """

    attributions: Form
    descent: Descent


class MaskAttribution(GradientAttribution):
    """The features whose masking changes the score most: 1 - M of an optimized mask M.

    ``forward_func`` gives probabilities; wrap a model of logits in `ImageClassifier`. The pieces
    are of `captum_ext.mask`, or of a user's own making.

    Args:
        forward_func: the model or function that is explained.
        grid: how the cells of the mask lie over the inputs.
        terms: what of the model's scores of masked inputs is lowered or raised.
        regularizers: what the mask should look like.
        direction: which way the mask moves.
        step: how far.
        noise: on the masked inputs while optimizing.
        jitter: pixels, exclusive, by which masked images are shifted at random.
        n_iter: iterations, unless ``attribute`` says otherwise.
        n_steps: points of an integrated gradient, unless ``attribute`` says otherwise.
        relative_weights: whether the regularizers are multiplied by the score of the input, so
            that a class of probability .04 is masked as one of .9 is; one evaluation more.
        multiply: what the map is 1 minus: the product of the "enlarged" masks, as the model sees
            it, or of the masks' "cells", enlarged afterwards.
        start: where the masks begin, a `Start`, or the map or method of one; None is ones.

    >>> from captum_ext.mask import L1, TV, DeletionTerm, Gradient, InsertionTerm, MaskGrid, adam
    >>> images = torch.rand(2, 3, 16, 16)
    >>> method = MaskAttribution(
    ...     lambda x: x[:, :, 4:8, 4:8].mean((1, 2, 3)),
    ...     grid=MaskGrid(8),
    ...     terms=(DeletionTerm(), InsertionTerm()),
    ...     regularizers=(L1(0.1), TV(0.01)),
    ...     direction=Gradient(),
    ...     step=adam(0.1),
    ... )
    >>> maps = method.attribute(images, n_iter=20)
    >>> maps.shape, bool((maps[:, :, 4:8, 4:8].mean() > 2 * maps.mean()))
    (torch.Size([2, 3, 16, 16]), True)
    """

    name = "Mask"

    def __init__(
        self,
        forward_func: Forward,
        grid: Grid,
        terms: tuple[Term, ...],
        regularizers: tuple[Regularizer, ...],
        direction: Direction,
        step: Step,
        noise: Noise | None = None,
        jitter: int = 0,
        n_iter: int = 20,
        n_steps: int = 20,
        relative_weights: bool = False,
        multiply: Literal["enlarged", "cells"] = "enlarged",
        start: StartLike = None,
    ) -> None:
        """As the class says."""
        require_model(forward_func)
        super().__init__(forward_func)
        self.grid = grid
        self.terms = terms
        self.regularizers = regularizers
        self.direction = direction
        self.step = step
        self.noise = noise or Noise()
        if whole("jitter", jitter) < 0:
            raise ValueError(
                f"`jitter` is how far images are shifted, at least 0, but got {jitter}."
            )
        self.jitter = jitter
        self.n_iter = n_iter
        self.n_steps = n_steps
        self.relative_weights = relative_weights
        self.multiply = multiply
        self.start = Start.of(start)

    def get_name(self) -> str:
        """The method's name in the papers."""
        return self.name

    def require_iteration(
        self, n_steps: int | None = None, max_forwards: int | None = None
    ) -> None:
        """Raises ValueError if ``max_forwards`` allows no iteration; the model is not asked."""
        n_steps = _count("n_steps", self.n_steps if n_steps is None else n_steps)
        spent = int(self.relative_weights)
        require_iteration(self.terms, self.direction, n_steps, max_forwards, spent)

    @log_usage()
    def attribute(
        self,
        inputs: Form,
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        feature_mask: FeatureMask = None,
        n_iter: int | None = None,
        n_steps: int | None = None,
        seed: int = 0,
        max_forwards: int | None = None,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
    ) -> Form:
        """How much of each feature the mask deletes, in [0, 1]; alike over an image's channels.

        Args:
            inputs: images (N, C, H, W), a tuple of inputs, or anything with a ``feature_mask``.
            baselines: what deleted features become; None is the blurred image.
            target: what of the model's output is explained, as in Captum.
            additional_forward_args: further arguments of the model, as in Captum.
            feature_mask: group numbers; one mask value per group instead of a grid.
            n_iter: iterations; None is the method's own.
            n_steps: points of the integrated gradient; None is the method's own.
            seed: decides all that is random, whatever the global random state.
            max_forwards: most model evaluations per example, a gradient counted as three.
            internal_batch_size: rows per model call; None bounds memory.
            show_progress: a bar with the current objective on a terminal, lines in a file.

        Raises:
            ValueError: if the model gives nan or no gradient, the mask does not fit the inputs,
                inputs that are not images lack ``feature_mask`` or ``baselines``, or
                ``max_forwards`` is below one iteration.
        """
        return self.optimize(
            inputs,
            baselines,
            target,
            additional_forward_args,
            feature_mask,
            n_iter,
            n_steps,
            seed,
            max_forwards,
            internal_batch_size,
            show_progress,
        ).attributions

    def optimize(
        self,
        inputs: Form,
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        feature_mask: FeatureMask = None,
        n_iter: int | None = None,
        n_steps: int | None = None,
        seed: int = 0,
        max_forwards: int | None = None,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
    ) -> MaskRun[Form]:
        """As ``attribute``, with the history: objective and evaluations of each iteration."""
        examples = format_inputs(inputs)
        n_iter = _count("n_iter", self.n_iter if n_iter is None else n_iter)
        n_steps = _count("n_steps", self.n_steps if n_steps is None else n_steps)
        grid = self.grid
        if feature_mask is not None:
            grid = FeatureGroups.checked(feature_mask, examples)
        score = Score(
            self.forward_func,
            examples,
            target,
            additional_forward_args,
            self.gradient_func,
            internal_batch_size,
        )
        first: list[MaskState] = []
        with score.borrowed():
            problem = self._problem(score, grid, examples, baselines)
        # The method of a start borrows the model by itself.
        question = Question(
            inputs, target, additional_forward_args, feature_mask, internal_batch_size, seed
        )
        begun = None if self.start is None else self.start.begun(problem, question)
        with (
            score.borrowed(),
            Work(n_iter, "iteration", self.get_name(), shown=show_progress) as work,
        ):

            def progress(iteration: int, here: MaskState) -> None:
                if iteration == 0:
                    first.append(here)
                    _warn_of_logits(here)
                if show_progress and here.value is not None:
                    work.tell(f"objective {here.value.mean().item():.4f}")
                work.update()

            descent = descend(
                problem,
                self.direction,
                self.step,
                n_iter,
                n_steps,
                seed,
                max_forwards,
                progress,
                spent=int(self.relative_weights),
                start=None if begun is None else begun.masks,
            )
            maps = _deleted(problem, descent.masks, self.multiply)
        self._warn_of_nothing(maps, first[0], max_forwards)
        if begun is not None:
            maps = begun.shared(maps)
        return MaskRun(format_output(maps, inputs), descent)

    def _problem(
        self, score: Score, grid: Grid, examples: Tensors, baselines: Baselines
    ) -> MaskProblem:
        grid.count(examples)  # refuses what it can't lie over
        references = (
            tuple(blurred(x) for x in examples)
            if baselines is None
            else format_baselines(baselines, examples)
        )
        # Steps of a mask are smaller than what half precision resolves.
        wide = torch.promote_types(examples[0].dtype, torch.float32)
        return MaskProblem(
            score,
            tuple(x.to(wide) for x in examples),
            tuple(x.to(wide) for x in references),
            grid,
            self.terms,
            self.regularizers,
            self.noise,
            self.jitter,
            score(examples).abs() if self.relative_weights else None,
        )

    def _warn_of_nothing(self, maps: Tensors, first: MaskState, max_forwards: int | None) -> None:
        """Says for which examples the mask stayed at ones, or close to them, and why."""
        most = torch.stack([m.flatten(1).amax(1) for m in maps]).amax(0)
        # One question for both: a device waits for each.
        levels = ((most < NOTHING).int() + (most < FAINT).int()).tolist()
        faint = f"nothing was deleted by more than {FAINT:.0%}, however firm a scaled map may look,"
        for level, said in ((2, "nothing was deleted"), (1, faint)):
            rows = [k for k, one in enumerate(levels) if one == level]
            if rows:
                self._warn_of_rows(said, rows, first, max_forwards)

    def _warn_of_rows(
        self, said: str, rows: list[int], first: MaskState, max_forwards: int | None
    ) -> None:
        which, depends = f"the examples {_listed([*map(str, rows)])}", True
        deletions = [i for i, term in enumerate(self.terms) if isinstance(term, DeletionTerm)]
        if first.scores is not None and deletions:
            way = first.scores[deletions[0]].cpu()[rows]
            if self.start is None:
                which += f", whose scores are {_listed([f'{s:.3g}' for s in way[:, -1].tolist()])}"
            depends = way.shape[1] == 1 or bool((way != way[:, :1]).any())
        warnings.warn(
            f"{said} for {which}: {self._why_nothing(depends, max_forwards)}",
            stacklevel=6,  # the caller of `attribute`
        )

    def _why_nothing(self, depends: bool, max_forwards: int | None) -> str:
        if not depends:
            return (
                "these do not depend on what is deleted. Check `target`, and that `baselines` "
                "differ from the inputs."
            )
        weights = [(type(r).__name__, getattr(r, "weight", None)) for r in self.regularizers]
        costs = ", ".join(f"{name} {w:.3g}" for name, w in weights if isinstance(w, int | float))
        helps = ["lower them"]
        if not self.relative_weights:
            helps.append("pass `relative_weights=True`, which multiplies them by each score")
        if max_forwards is not None:
            helps.append("raise `max_forwards`")
        return (
            "lowering these gains less than deleting costs at the weights of the regularizers "
            f"({costs}): {', or '.join(helps)}."
        )


def _listed(words: list[str], most: int = 5) -> str:
    more = f", ... ({len(words)} in all)" if len(words) > most else ""
    return f"[{', '.join(words[:most])}{more}]"


def _deleted(problem: MaskProblem, masks: Tensor, multiply: str) -> Tensors:
    """1 - the product of the masks, in the shape of the inputs."""
    rows = torch.arange(masks.shape[0], device=masks.device)
    if multiply == "cells":
        masks = masks.prod(1, keepdim=True)
    enlarged = problem.enlarged(masks, rows, range(masks.shape[1]))
    pairs = zip(enlarged, problem.inputs, strict=True)
    return tuple((1 - m).clamp(0, 1).expand_as(x) for m, x in pairs)


def _warn_of_logits(here: MaskState) -> None:
    if here.scores is None:
        return
    low, high = torch.stack(here.scores.aminmax()).tolist()
    if low < -1e-3 or high > 1 + 1e-3:
        warnings.warn(
            f"`forward_func` gave scores from {low:.3g} to {high:.3g}, but masks are optimized for "
            "probabilities, against which the weights of the regularizers are set: wrap a model "
            "of logits in captum_ext.ImageClassifier.",
            stacklevel=2,
        )


def _count(name: str, value: int) -> int:
    value = whole(name, value)
    if value < 1:
        raise ValueError(f"`{name}` must be at least 1, but got {value}.")
    return value
