"""A path yields knots, a rule turns two neighboring knots into credit, `integrate` adds up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import Any, ClassVar, Protocol, TypeAlias, overload, runtime_checkable

import torch
from torch import Tensor

from captum_ext._tensors import accumulation_dtype
from captum_ext._typing import Tensors
from captum_ext.path.placement import Placement, Places, as_places, even, placed
from captum_ext.score import Score


class Knot:
    """A point of a path, with the model's value and gradient there.

    What is not given is asked of the model when it is first read, so that a path's last point
    costs a forward pass only where somebody wants its value.

    Args:
        point: one tensor per input, (N, ...).
        value: the score of each example, (N,).
        gradient: of the score with respect to the point, in its shape.
        score: the model to ask, where value or gradient is left out.

    >>> from captum_ext import Score
    >>> knot = Knot((torch.tensor([[3.0]]),), score=Score(lambda x: x**2, (torch.ones(1, 1),)))
    >>> knot.gradient
    (tensor([[6.]]),)
    """

    def __init__(
        self,
        point: Tensors,
        value: Tensor | None = None,
        gradient: Tensors | None = None,
        score: Score | None = None,
    ) -> None:
        self.point = point
        self._value = value
        self._gradient = gradient
        self._score = score
        self._steepest: Tensor | None = None

    @property
    def value(self) -> Tensor:
        """The score of each example, (N,)."""
        if self._value is None:
            assert self._score is not None, "a knot without a value needs a score"
            self._value = self._score(self.point)
        return self._value

    @property
    def gradient(self) -> Tensors:
        """The gradient at the point, in its shape."""
        if self._gradient is None:
            assert self._score is not None, "a knot without a gradient needs a score"
            # Its value is left alone: a forward pass that is part of a gradient may round in
            # another way, and what a rule reads must not depend on the rules beside it.
            _, self._gradient = self._score.with_gradient(self.point)
        return self._gradient

    @property
    def steepest(self) -> Tensor:
        """The size of each example's largest gradient, (N,); asked for once, as rules ask often."""
        if self._steepest is None:
            self._steepest = largest(self.gradient)
        return self._steepest

    def with_value(self, value: Tensor) -> Knot:
        """The same point and gradient under another value."""
        other = Knot(self.point, value, self._gradient, self._score)
        other._steepest = self._steepest
        return other


def largest(tensors: Tensors) -> Tensor:
    """The size of each example's largest entry over all tensors, (N,)."""
    each = [x.abs().reshape(len(x), -1).amax(1) for x in tensors]
    return each[0] if len(each) == 1 else torch.stack(each).amax(0)


Rule: TypeAlias = Callable[[Knot, Knot], Tensors]
"""How two neighboring knots become credit, in the shape of their points."""


@runtime_checkable
class PairingRule(Protocol):
    """A rule that works on other pairs of knots than simply neighbors."""

    def pairs(self, knots: Iterable[Knot]) -> Iterable[tuple[Knot, Knot]]:
        """The pairs that credit is added up over, as the path is walked."""

    def __call__(self, here: Knot, there: Knot) -> Tensors:
        """The credit of one pair."""


class Path(ABC):
    """Where an attribution walks, from a baseline to the input.

    A subclass writes `knots`. Where the points are known beforehand, `FixedPath` needs less.
    """

    uses_baselines: ClassVar[bool] = True
    """Whether the path starts from the baselines; if not, it has a start of its own."""

    def check(self, inputs: Tensors, n_steps: int) -> None:
        """Raises where the path can't walk to these inputs; by default it always can."""
        del inputs, n_steps

    @abstractmethod
    def knots(
        self, score: Score, baselines: Tensors, inputs: Tensors, n_steps: int
    ) -> Iterator[Knot]:
        """Yields ``n_steps + 1`` knots, the last without asking the model."""


class FixedPath(Path):
    """A path whose points don't depend on the model: a subclass writes `point`.

    Several steps share a model call, as many as ``score.chunk`` allows.

    >>> from captum_ext import Score
    >>> class Curved(FixedPath):
    ...     def point(self, start, end, t):
    ...         return start + (end - start) * t**2
    >>> score = Score(lambda x: x.sum(1), (torch.ones(1, 2),))
    >>> walk = Curved().knots(score, (torch.zeros(1, 2),), (torch.ones(1, 2),), n_steps=2)
    >>> [knot.point[0].tolist() for knot in walk]
    [[[0.0, 0.0]], [[0.25, 0.25]], [[1.0, 1.0]]]
    """

    @abstractmethod
    def point(self, start: Tensor, end: Tensor, t: float) -> Tensor:
        """The point at ``t`` for one input tensor, (N, ...).

        Args:
            start: the baseline, (N, ...).
            end: the input, (N, ...).
            t: 0 where the path begins, 1 where it ends.
        """

    def points(self, start: Tensor, end: Tensor, ts: list[float]) -> Tensor:
        """The points at each of ``ts``, (len(ts), N, ...); override to make them at once."""
        return torch.stack([self.point(start, end, t) for t in ts])

    def ready(self, inputs: Tensors, places: Tensor) -> FixedPath:
        """The path for one walk, which may hold on the inputs' device what ``places`` need."""
        del inputs, places
        return self

    def knots(
        self,
        score: Score,
        baselines: Tensors,
        inputs: Tensors,
        n_steps: int,
        placement: Placement = even,
    ) -> Iterator[Knot]:
        """Yields ``n_steps + 1`` knots where the placement says; by default at equal distances."""
        n = inputs[0].shape[0]

        def values(places: Places) -> Tensor:
            blocks = self._blocks(score, baselines, inputs, as_places(places))
            found = [score(*_rows_of(points)).view(-1, n) for points in blocks]
            return torch.cat(found).to("cpu", torch.float64)

        places = placed(placement, values, n_steps, n)
        for points in self._blocks(score, baselines, inputs, places[:-1]):
            found, gradients = score.with_gradient(*_rows_of(points))
            shaped = tuple(g.view_as(p) for g, p in zip(gradients, points, strict=True))
            for k in range(len(points[0])):
                value = None if found is None else found.view(-1, n)[k]
                yield Knot(tuple(p[k] for p in points), value, tuple(g[k] for g in shaped), score)
        ends = (self.point(b, x, 1.0) for b, x in zip(baselines, inputs, strict=True))
        yield Knot(tuple(ends), score=score)

    def _blocks(
        self, score: Score, baselines: Tensors, inputs: Tensors, places: Tensor
    ) -> Iterator[Tensors]:
        """Points, (k, N, ...), at as many places at once as the score's chunk allows."""
        per_call, path = max(1, score.chunk // inputs[0].shape[0]), self.ready(inputs, places)
        for ts in torch.split(places, per_call):
            pairs = zip(baselines, inputs, strict=True)
            yield tuple(path._points_at(b, x, ts) for b, x in pairs)

    def _points_at(self, start: Tensor, end: Tensor, ts: Tensor) -> Tensor:
        """The points at ``ts``: (k,) the same for all examples, or (k, N) each at its own."""
        if ts.dim() == 1:
            points = self.points(start, end, ts.tolist())
        else:
            # One by one, so that a path of a user's own is always asked for one number.
            each = zip(torch.split(start, 1), torch.split(end, 1), ts.T.tolist(), strict=True)
            points = torch.cat([self.points(*own) for own in each], dim=1)
        if points.shape != (len(ts), *end.shape):
            raise ValueError(
                f"`point` of {type(self).__name__} gives a point of the inputs' shape, "
                f"{tuple(end.shape)}, but got {tuple(points.shape[1:])}."
            )
        return points


@dataclass(frozen=True)
class StraightLine(FixedPath):
    """Equal steps from baseline to input (Sundararajan, Taly and Yan, ICML 2017, eq. 1).

    >>> StraightLine().point(torch.zeros(1, 2), torch.ones(1, 2), t=0.25)
    tensor([[0.2500, 0.2500]])
    """

    def point(self, start: Tensor, end: Tensor, t: float) -> Tensor:
        """The point ``start + t * (end - start)``, exact at both ends."""
        return torch.lerp(start, end, t)


def _rows_of(points: Tensors) -> tuple[Tensors, Tensor]:
    """Points, (k, N, ...), as rows of a score, (k * N, ...), and whose each row is."""
    k, n = points[0].shape[:2]
    return tuple(p.flatten(0, 1) for p in points), torch.arange(n, device=points[0].device).repeat(
        k
    )


@overload
def integrate(knots: Iterable[Knot], rule: Rule, /) -> tuple[Tensors, Knot, Knot]: ...
@overload
def integrate(knots: Iterable[Knot], /, *rules: Rule) -> tuple[Any, ...]: ...
def integrate(knots: Iterable[Knot], /, *rules: Rule) -> tuple[Any, ...]:
    """Adds up the credit of one rule or several over neighboring knots, in one walk.

    Args:
        knots: a path's knots, at least two.
        rules: credit from (here, there). If a rule has a method ``pairs``, that says which pairs
            the knots make; otherwise each knot is paired with the next.

    Returns:
        For each rule its credit, one tensor per input, in the widest type of the device, the same
        as of a walk for it alone; then the first knot, and the last. Memory does not grow with
        the number of knots.

    >>> line = [Knot((torch.tensor([[x]]),), gradient=(torch.tensor([[2 * x]]),)) for x in (1., 3.)]
    >>> integrate(line, lambda a, b: (a.gradient[0] * (b.point[0] - a.point[0]),))[0]
    (tensor([[4.]], dtype=torch.float64),)
    """
    ends: dict[str, Knot] = {}

    def watched() -> Iterator[Knot]:
        for knot in knots:
            ends.setdefault("first", Knot(knot.point, knot._value, score=knot._score))
            ends["last"] = knot
            yield knot

    totals: list[Tensors | None] = [None] * len(rules)
    walks = zip(rules, _shared(watched(), len(rules)), strict=True)
    pairs = [r.pairs(w) if isinstance(r, PairingRule) else pairwise(w) for r, w in walks]
    # All rules keep step, so that no more than the knots of a step are remembered.
    for step in zip_longest(*pairs):
        for k, pair in enumerate(step):
            if pair is not None:
                totals[k] = _added(totals[k], rules[k](*pair))
    assert None not in totals, "a path has at least two knots"
    return (*totals, ends["first"], ends["last"])


def _shared(knots: Iterator[Knot], n: int) -> list[Iterator[Knot]]:
    """The same knots ``n`` times over, each forgotten once all have taken it.

    Not `itertools.tee`, which keeps up to 57.
    """
    waiting: list[deque[Knot]] = [deque() for _ in range(n)]

    def one(own: deque[Knot]) -> Iterator[Knot]:
        while True:
            if not own:
                knot = next(knots, None)
                if knot is None:
                    return
                for queue in waiting:
                    queue.append(knot)
                del knot
            yield own.popleft()

    return [one(own) for own in waiting]


def _added(total: Tensors | None, credit: Tensors) -> Tensors:
    if total is None:
        return tuple(c.to(accumulation_dtype(c.device), copy=True) for c in credit)
    for t, c in zip(total, credit, strict=True):
        t += c
    return total
