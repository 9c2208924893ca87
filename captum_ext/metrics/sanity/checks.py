"""Sanity checks: does a map change with the model that it claims to explain?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self, Unpack

from captum_ext._random import seeded
from captum_ext._text import number_of
from captum_ext._torchmetrics import MetricOptions
from captum_ext._typing import Inputs, Target
from captum_ext.classifier import require_unit_images
from captum_ext.metrics.base.borrowed import Borrowed
from captum_ext.metrics.base.example import Reason
from captum_ext.metrics.base.means import TableMetric
from captum_ext.metrics.sanity.initializers import Initialize, matched_normal
from captum_ext.metrics.sanity.made_method import MakeMethod, as_tuple, explain
from captum_ext.metrics.sanity.randomize import (
    Stage,
    execution_order,
    randomize,
    reestimate,
    report_of,
    run_model,
    stages_of,
)
from captum_ext.metrics.sanity.similarity import (
    Similarity,
    by_chance,
    check_names,
    is_constant,
)
from captum_ext.metrics.sanity.twin import require_parameters, twin_of
from captum_ext.registry import SIMILARITIES
from captum_ext.viz.cascade import draw_stages

DEFAULT_SIMILARITY = ("spearman", "abs_spearman", "ssim", "hog")
NOTEBOOK = MappingProxyType(
    {
        "initialize": "layer",
        "retarget": True,
        "similarity": ("spearman", "abs_spearman", "stretched_ssim", "hog_spearman"),
    }
)
"""What the notebook of the paper does where this package does otherwise."""


class NoSimilarity(Reason):
    """Why the maps of an example can't be compared."""

    NOT_FINITE = "map not finite"
    NOT_FINITE_AFTERWARDS = "map not finite after randomization"
    CONSTANT = "map constant"


class _SanityCheck(TableMetric):
    """Similarities of pairs of maps, (N, stages) each, and their mean; the original is left out."""

    REASONS = NoSimilarity
    higher_is_better = False
    n_stages: Tensor
    seed: int = 0

    def __init__(
        self, make_method: MakeMethod, similarity: Sequence[str], **kwargs: Unpack[MetricOptions]
    ) -> None:
        names = check_names(similarity)
        super().__init__(len(names), **kwargs)
        if not callable(make_method):
            raise TypeError(
                "`make_method` makes an attribution method of a model, as IntegratedGradients or "
                f"`lambda model: IDGI(GuidedIG(model))` do, but got {make_method!r}."
            )
        self._borrowed, self.similarity, self._draws = Borrowed(make_method), names, False
        self.add_state("n_stages", torch.tensor(0), dist_reduce_fx="max")
        self._add_list("gone", len(names), torch.int64)
        for name in names:
            self._add_list(f"similarity_{name}")
            self._add_list(f"chance_{name}")

    def _explain(self, model: nn.Module, *data: Any) -> Tensor:
        if self._borrowed.model is None:
            raise ValueError("`make_method` is missing: a pickled metric leaves it out.")
        # Methods that draw from the global random state get the same numbers for every map, and
        # one example at a time, so that no map depends on those beside it.
        inputs = as_tuple(data[0])
        alone = len(inputs[0]) > 1 and self._draws
        parts = [_row(data, k) for k in range(len(inputs[0]))] if alone else [data]
        maps = []
        for part in parts:
            with seeded(self.seed, inputs[0].device) as drawn:
                maps.append(explain(self._borrowed.model, model, *part))
                again = len(inputs[0]) > 1 and drawn() and not self._draws
            if again:
                self._draws = True
                return self._explain(model, *data)
        return maps[0] if len(maps) == 1 else torch.cat(maps)

    def _add(self, original: Tensor, others: Sequence[Tensor]) -> None:
        if int(self.n_stages) not in (0, len(others)):
            raise ValueError(
                f"`model` has {number_of(len(others), 'stage')}, but those before had "
                f"{int(self.n_stages)}: use one metric per model."
            )
        maps = [original, *others]
        finite = torch.stack([torch.isfinite(m).flatten(1).all(1) for m in maps], 1)
        broken = torch.where(finite.all(1), 0, NoSimilarity.NOT_FINITE_AFTERWARDS)
        broken = broken.masked_fill(~finite[:, 0], NoSimilarity.NOT_FINITE)
        safe = [
            torch.where(fine.view(-1, *[1] * (m.dim() - 1)), m, 0.0)
            for m, fine in zip(maps, finite.unbind(1), strict=True)
        ]
        rows, codes, gone = {}, [], []
        for name in self.similarity:
            values, constant = _compared(SIMILARITIES[name], safe)
            code = torch.where((broken == 0) & constant[:, 0], NoSimilarity.CONSTANT, broken)
            vanished = constant[:, 1:] & (code == 0)[:, None]
            values = values.masked_fill(vanished, 0.0).masked_fill((code != 0)[:, None], torch.nan)
            rows[f"similarity_{name}"] = values
            chance = by_chance(SIMILARITIES[name], safe[0])
            rows[f"chance_{name}"] = chance.masked_fill(code != 0, torch.nan)
            codes.append(code)
            gone.append(vanished)
        self._append(codes=torch.stack(codes, 1), gone=torch.stack(gone, 2), **rows)
        self.n_stages = torch.full_like(self.n_stages, len(others))

    def _shape(self) -> tuple[int, int]:
        return (-1, max(1, int(self.n_stages)))

    def _tables(self) -> dict[str, Tensor]:
        shape = self._shape()
        return {name: self._rows(f"similarity_{name}").view(shape) for name in self.similarity}

    @property
    def vanished(self) -> dict[str, Tensor]:
        """Of how many examples the map became constant, by similarity, at each stage, (stages,).

        Such a map did notice that the model changed: it has similarity 0.
        """
        with self._gathered():
            gone = self._rows("gone").view(*self._shape(), len(self.similarity)).sum(0)
        return dict(zip(self.similarity, gone.unbind(1), strict=True))

    @property
    def chance(self) -> dict[str, Tensor]:
        """Similarity of each example's original map with itself moved elsewhere, (N,).

        What a map without any relation to the original would have; it is seldom 0. nan where the
        original map is undefined.
        """
        with self._gathered():
            return {name: self._rows(f"chance_{name}") for name in self.similarity}

    def by_stage(self) -> dict[str, Tensor]:
        """The mean of each similarity over examples, (stages,)."""
        return {name: table.nanmean(0) for name, table in self.per_example.items()}


def _row(data: tuple[Any, ...], k: int) -> tuple[Any, ...]:
    """One example of inputs, target and further arguments."""
    inputs, target, args = data
    n = len(as_tuple(inputs)[0])

    def of(value: Any) -> Any:
        held = isinstance(value, Tensor) and value.dim() > 0 and len(value) == n
        return value[k : k + 1] if held else value

    inputs = tuple(map(of, inputs)) if isinstance(inputs, tuple) else of(inputs)
    args = tuple(map(of, args)) if isinstance(args, tuple) else of(args)
    return inputs, [target[k]] if isinstance(target, list) else of(target), args


def _compared(similarity: Similarity, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The first map with each other, (N, stages), and which maps have nothing to compare."""
    first, *others = (similarity.read(m) for m in maps)
    values = torch.stack([similarity.compare(first, other) for other in others], 1)
    return values, torch.stack([is_constant(reading) for reading in (first, *others)], 1)


class ParameterRandomization(_SanityCheck):
    """Similarity of maps before and after a model's parameters are randomized.

    The model parameter randomization test of Adebayo et al. (NeurIPS 2018): a map that stays
    similar does not depend on what the model has learned, so lower is better, down to `chance`;
    below 0, "spearman" tells an opposite map, which is no better. Stages go from
    the output to the input; every parameter is in one of them (attention, normalization,
    tokens, embeddings). Randomization happens in a copy. Costs one attribution per stage.

    Args:
        make_method: from a model to a Captum method, such as ``Saliency``.
        order: "cascading" keeps earlier stages randomized, "independent" randomizes each alone.
        similarity: some of "spearman", "unsigned_spearman" (its size: a map that turns into its
            negative stays similar), "abs_spearman", "ssim", "hog"; and the notebook's
            "stretched_ssim" and "hog_spearman".
        seed: of the fresh parameters, and of methods that draw from the global random state,
            which is left as it was.
        stages: "layer", "block", or names of modules; see `stages_of`.
        initialize: from a parameter and a generator to its fresh values; or "layer", as each
            parameter's layer draws them in its ``reset_parameters``.
        buffers: "keep" leaves running statistics alone, "reestimate" lets normalization layers
            estimate them on the inputs at every stage.
        keep_maps: of how many examples the maps are kept for `plot_cascade`.
        retarget: whether a randomized model's map is of the class that this model ranks first,
            instead of ``target``: then a map changes with the question, too.
        kwargs: of `torchmetrics.Metric`.

    >>> from captum.attr import Saliency
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    >>> check = ParameterRandomization(Saliency, similarity=["spearman"])
    >>> check.update(net, torch.rand(3, 4), target=1)
    >>> check.by_stage()["spearman"].shape, [row["stage"] for row in check.report]
    (torch.Size([2]), ['2', '0'])
    """

    def __init__(
        self,
        make_method: MakeMethod,
        order: str = "cascading",
        similarity: Sequence[str] = DEFAULT_SIMILARITY,
        seed: int = 0,
        stages: str | Sequence[str] = "layer",
        initialize: Initialize = matched_normal,
        buffers: str = "keep",
        keep_maps: int = 4,
        retarget: bool = False,
        **kwargs: Unpack[MetricOptions],
    ) -> None:
        if order not in ("cascading", "independent"):
            raise ValueError(f'`order` is "cascading" or "independent", but got {order!r}.')
        if isinstance(initialize, str) and initialize != "layer":
            raise ValueError(f'`initialize` is a function or "layer", but got {initialize!r}.')
        if buffers not in ("keep", "reestimate"):
            raise ValueError(f'`buffers` is "keep" or "reestimate", but got {buffers!r}.')
        super().__init__(make_method, similarity, **kwargs)
        self.order, self.seed, self.stages = order, seed, stages
        self.initialize, self.buffer_rule, self.keep_maps = initialize, buffers, keep_maps
        self.retarget = retarget
        self.report: list[dict[str, Any]] = []
        self.maps: list[Tensor] = []
        self.watch: Callable[[list[str]], Any] | None = None
        """Is told the names of the stages of each call before the first of them."""

    @classmethod
    def from_preset(cls, make_method: MakeMethod, preset: str, **changes: Any) -> Self:
        """The check as its authors' notebook runs it.

        Args:
            make_method: as in the constructor.
            preset: "notebook": weights from each layer's own initializer, the class that each
                randomized model ranks first, SSIM of signed maps stretched from least to largest,
                rank correlation of their HOG. Read every number beside its `chance`.
            changes: arguments of the constructor that take precedence.

        >>> from captum.attr import Saliency
        >>> check = ParameterRandomization.from_preset(Saliency, "notebook", seed=1)
        >>> check.similarity
        ('spearman', 'abs_spearman', 'stretched_ssim', 'hog_spearman')
        """
        if preset != "notebook":
            raise ValueError(f'`preset` is "notebook", but got {preset!r}.')
        return cls(make_method, **{**NOTEBOOK, **changes})

    def update(
        self,
        model: nn.Module,
        inputs: Inputs,
        target: Target = None,
        additional_forward_args: Any = None,
    ) -> None:
        """Adds examples; the model is neither changed nor kept.

        Args:
            model: a module that can be copied; it is copied without the wrappers of
                `torch.compile`, `DataParallel` and `DistributedDataParallel`.
            inputs, target, additional_forward_args: what the method explains, as in Captum.

        Raises:
            TypeError: if it is no module with parameters, is traced or scripted, or can't be
                copied; or model or method give no tensors.
            ValueError: if no layer of the model runs, or the method explains another model.
            RuntimeError: if the method fails.
        """
        require_parameters(model)
        data = (inputs, target, additional_forward_args)
        twin = twin_of(model)
        require_unit_images(twin, data[0])
        with execution_order(twin) as called, execution_order(model) as asked:
            original = self._explain(twin, *data)
            if not called and not asked:
                # A map may not even ask the model, whose layers still have an order.
                run_model(twin, data)
        if asked and not called:
            raise ValueError(
                "`make_method` must make a method that explains the model that it is given, but "
                "`model` itself ran instead: use the argument alone, as in `lambda model: "
                "LayerGradCam(model, model.layer4)`."
            )
        found = _stages(twin, called, self.stages)
        if self.watch is not None:
            self.watch([stage.name for stage in found])
        report: list[dict[str, Any]] = []
        others = []
        for stage in found:
            if self.order == "independent":
                twin = twin_of(model)
            randomize(twin, stage, self.seed, self.initialize)
            if self.buffer_rule == "reestimate":
                reestimate(twin, data)
            report.append(report_of(model, twin, stage))
            asked_for = _first_class(twin, data) if self.retarget else target
            others.append(self._explain(twin, inputs, asked_for, additional_forward_args))
        self._add(original, others)
        self.report = report
        if len(self.maps) < self.keep_maps:
            kept = torch.stack([original, *others], 1)[: self.keep_maps - len(self.maps)]
            self.maps.extend(kept.cpu().unbind(0))

    def reset(self) -> None:
        """Forgets all examples."""
        super().reset()
        self.report, self.maps = [], []

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draws similarity against stage; or, given values of `compute`, those.

        Returns:
            Figure and axes.
        """
        if val is not None:
            return super().plot(val, ax)
        import matplotlib.pyplot as plt

        figure, ax = (ax.get_figure(), ax) if ax is not None else plt.subplots(layout="constrained")
        chance = {name: float(values.nanmean()) for name, values in self.chance.items()}
        similarity = {name: values.tolist() for name, values in self.by_stage().items()}
        draw_stages(ax, [row["stage"] for row in self.report], similarity, chance, self.order)
        return figure, ax

    @property
    def protocol(self) -> dict[str, Any]:
        """Everything that decides the numbers."""
        return {
            **super().protocol,
            "order": self.order,
            "stages": self.stages if isinstance(self.stages, str) else list(self.stages),
            "seed": self.seed,
            "initialize": getattr(self.initialize, "__name__", str(self.initialize)),
            "class": "of the randomized model" if self.retarget else "of the original",
            "buffers": self.buffer_rule,
            "similarity": list(self.similarity),
        }


def _first_class(model: nn.Module, data: tuple[Inputs, Target, Any]) -> Tensor:
    answers = run_model(model, data)
    if not isinstance(answers, Tensor) or answers.dim() != 2:
        raise ValueError(
            "`retarget` explains the class that a randomized model ranks first, but `model` gives "
            "no scores (N, classes): leave it False."
        )
    return answers.argmax(1)


def _stages(twin: nn.Module, called: list[str], stages: str | Sequence[str]) -> list[Stage]:
    found = stages_of(twin, called, stages)
    holders = [m for m in twin.modules() if any(True for _ in m.parameters(recurse=False))]
    if len(holders) > 1 and [stage.name for stage in found] == ["(model)"]:
        raise ValueError(
            f"`model` holds parameters in {number_of(len(holders), 'module')}, but runs none of "
            "them, as an exported one does: give the module that it was made from, or `stages` as "
            "names."
        )
    return found
