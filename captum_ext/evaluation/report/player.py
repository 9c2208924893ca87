"""What the report's pages with sliders need of a run, kept as it comes, of shown images alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor
from torchmetrics import Metric

from captum_ext.curve import GaussianBlur
from captum_ext.curve.bases import BaseLike, absent_of
from captum_ext.evaluation.data.given import Given
from captum_ext.evaluation.readings import State, fill
from captum_ext.evaluation.store.rows import Piece
from captum_ext.metrics import Deletion, Insertion
from captum_ext.metrics.base.curve_metric import CurveMetric
from captum_ext.metrics.perturbation.perturb import Perturbation, describe
from captum_ext.viz.player.held import ORDERS, Played, held_image, held_map, suffixes_of

SHOWN = 4
"""How many of the best images of a method are shown, of the worst, and of those that differ."""
_LARGEST = 2**19
"""Pixels of an image that has a page, which grows with them: 0.1 MB a map at 224 x 224."""
_SUFFIXES = {reduction: suffix for suffix, reduction in ORDERS.items()}


@dataclass(frozen=True)
class Player:
    """Which metrics of a run have the curves of a page, all read alike.

    Args:
        metrics: by the curve, "insertion", "deletion_abs", ...
        names: what the run calls them, by the curve.
        orders: the curve by which images are chosen.
    """

    metrics: Mapping[str, CurveMetric]
    names: Mapping[str, str]
    orders: str

    @classmethod
    def of(cls, metrics: Mapping[str, Metric]) -> Player | None:
        """The player of metrics by name; None where the report's first score is no such curve.

        >>> metrics = {"insertion": Insertion(len), "deletion": Deletion(len)}
        >>> Player.of(metrics).names, Player.of({"deletion": Deletion(len)})
        ({'insertion': 'insertion', 'deletion': 'deletion'}, None)
        """
        first = metrics[primary([*metrics])] if metrics else None
        if not isinstance(first, Insertion):
            return None
        names: dict[str, str] = {}
        for name, metric in metrics.items():
            if isinstance(metric, Insertion | Deletion) and _alike(metric.how, first.how):
                names.setdefault(_curve(metric.how), name)
        kept = [f"{c}{s}" for s in suffixes_of([names]) for c in ("insertion", "deletion")]
        names = {curve: name for curve, name in names.items() if curve in kept}
        if _curve(first.how) not in names:
            return None
        found = {c: m for c, n in names.items() if isinstance(m := metrics[n], CurveMetric)}
        return cls(found, names, _curve(first.how))

    def _how(self, curve: str) -> Perturbation:
        metric = next(m for c, m in self.metrics.items() if c.startswith(curve))
        assert isinstance(metric, Insertion | Deletion), "chosen so"
        return metric.how

    def image(self, position: int, given: Given) -> Piece | None:
        """The picture; None where it is none, or its hidden pixels are not the same all along."""
        x = given.inputs[0].detach()
        if not given.bare or {"baselines", "feature_mask"} & {*given.more} or not _is_picture(x):
            return None
        hidden = {c: absent_of(self._how(c).absent, x) for c in ("insertion", "deletion")}
        absent = {c: shown for c, shown in hidden.items() if shown is not None}
        if len(absent) < 2 or not all(_is_picture(shown) for shown in absent.values()):
            return None
        if torch.equal(absent["insertion"], absent["deletion"]):
            del absent["deletion"]
        return Piece(position, "", None, json.dumps(held_image(x, absent)))

    def map(
        self, position: int, method: str, image: Tensor, credit: Tensor,
        states: Mapping[str, State], least: float,
    ) -> Piece | None:  # fmt: skip
        """A map with what was read along it; None where a curve is missing.

        Args:
            position: of the example.
            method: its name.
            image: (C, H, W).
            credit: its map.
            states: of the metrics, by name.
            least: as of `captum_ext.viz.maps.heat`.
        """
        if not all(name in states for name in self.names.values()):
            return None
        read = {c: fill(self.metrics[c], [states[name]]) for c, name in self.names.items()}
        curves = {c: one.curve() for c, one in read.items() if isinstance(one, CurveMetric)}
        if any(bool(curve.y.isnan().any()) for curve in curves.values()):
            return None
        played = Played(method, credit, curves, least)
        held = held_map(played, image, suffixes_of([curves]), self._how("insertion").seed)
        score = float(curves[self.orders].area()[0])
        return Piece(position, method, score, json.dumps([held]))

    @property
    def reading(self) -> str:
        """What is hidden and what is read, in sentences."""
        how, other = self._how("insertion"), self._how("deletion")
        words = [_hidden(how.absent), _hidden(other.absent)]
        same = words[0] == words[1]
        hidden = words[0] if same else f"{words[0]} in insertion and {words[1]} in deletion"
        return f"Hidden pixels are {hidden}. The score is the {how.label}."


def joined(pieces: Sequence[Piece], n_classes: Mapping[int, int]) -> list[Piece]:
    """The maps of an example's classes as one piece; none where one of them is missing.

    Args:
        pieces: of images, and of maps in the order of the classes.
        n_classes: of the examples, by position.

    >>> two = [Piece(3, "ig", 0.25, "[1]"), Piece(3, "ig", 0.75, "[2]")]
    >>> joined(two, {3: 2}), joined(two[:1], {3: 2})
    ([Piece(position=3, method='ig', score=0.5, held='[1, 2]')], [])
    """
    own: dict[tuple[int, str], list[Piece]] = {}
    for piece in pieces:
        own.setdefault((piece.position, piece.method), []).append(piece)
    found = []
    for (position, method), parts in own.items():
        if not method:
            found += parts
        elif len(parts) == n_classes[position]:
            held = json.dumps([one for part in parts for one in json.loads(part.held)])
            scores = [part.score for part in parts if part.score is not None]
            found.append(Piece(position, method, fmean(scores), held))
    return found


def primary(names: Sequence[str]) -> str:
    """The score that orders: the absolute insertion if there is one, as maps are looked at.

    >>> primary(["deletion", "insertion"]), primary(["road", "deletion"])
    ('insertion', 'road')
    """
    return next((n for n in ("insertion_abs", "insertion") if n in names), names[0])


def best_first(values: Tensor, sign: int = 1) -> list[int]:
    """The places of values that are known, the best first: among equals that which comes first."""
    known = torch.nonzero(~values.isnan()).flatten()
    found: list[int] = known[(sign * values[known]).argsort(descending=True, stable=True)].tolist()
    return found


def differing(values: Tensor) -> list[int]:
    """Of values (methods, images) the images on which methods differ most."""
    spread = values.nan_to_num(0).amax(0) - values.nan_to_num(1).amin(0)
    found: list[int] = spread.argsort(descending=True, stable=True)[:SHOWN].tolist()
    return found


def still_shown(scores: Mapping[tuple[int, str], float], methods: Sequence[str]) -> set[int]:
    """The images that a report may show, of those so far.

    What is among the best of all is among the best at any time, so that the others' pieces can go.

    Args:
        scores: by position and method.
        methods: that are no impostors.

    >>> sorted(still_shown({(k, "ig"): float(k) for k in range(99)}, ["ig"]))
    [0, 1, 2, 3, 95, 96, 97, 98]
    """
    positions = sorted({position for position, _ in scores})
    rows = [[scores.get((p, m), float("nan")) for p in positions] for m in methods]
    values = torch.tensor(rows, dtype=torch.float64)
    chosen: set[int] = set(differing(values)) if positions and len(methods) > 1 else set()
    for own in values:
        order = best_first(own)
        chosen |= {*order[:SHOWN], *order[-SHOWN:]}
    return {positions[k] for k in chosen}


def _alike(how: Perturbation, other: Perturbation) -> bool:
    wanted = ("n_steps", "seed", "relative", "reading")
    return how.reduction in _SUFFIXES and all(getattr(how, k) == getattr(other, k) for k in wanted)


def _curve(how: Perturbation) -> str:
    """A curve by the name that the page knows."""
    return f"{'insertion' if how.inserts else 'deletion'}{_SUFFIXES.get(how.reduction, '?')}"


def _is_picture(x: Tensor) -> bool:
    if x.dim() != 3 or x.shape[0] not in (1, 3) or x[0].numel() > _LARGEST:
        return False
    return x.is_floating_point() and bool(((x >= 0) & (x <= 1)).all())


def _hidden(absent: BaseLike) -> str:
    if isinstance(absent, int | float) and absent == 0:
        return "black"
    return "blurred" if isinstance(absent, GaussianBlur) else f"replaced by {describe(absent)}"
