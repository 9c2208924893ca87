"""A path yields knots, a rule turns two neighboring knots into credit, `integrate` adds up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import ClassVar, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from captum_ext._tensors import accumulation_dtype
from captum_ext._typing import Tensors
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
            value, self._gradient = self._score.with_gradient(self.point)
            self._value = value if self._value is None else self._value
        return self._gradient

    def with_value(self, value: Tensor) -> Knot:
        """The same point and gradient under another value."""
        return Knot(self.point, value, self._gradient, self._score)


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

    def knots(
        self, score: Score, baselines: Tensors, inputs: Tensors, n_steps: int
    ) -> Iterator[Knot]:
        """Yields ``n_steps + 1`` knots at equal distances of t."""
        n = inputs[0].shape[0]
        per_call = max(1, score.chunk // n)
        for first in range(0, n_steps, per_call):
            ts = [j / n_steps for j in range(first, min(first + per_call, n_steps))]
            yield from self._block(score, baselines, inputs, ts)
        ends = (self.point(b, x, 1.0) for b, x in zip(baselines, inputs, strict=True))
        yield Knot(tuple(ends), score=score)

    def _block(
        self, score: Score, baselines: Tensors, inputs: Tensors, ts: list[float]
    ) -> Iterator[Knot]:
        """The knots at ``ts``, from as few model calls as the score's chunk allows."""
        pairs = zip(baselines, inputs, strict=True)
        points = tuple(self.points(b, x, ts) for b, x in pairs)
        rows = torch.arange(inputs[0].shape[0]).repeat(len(ts))
        values, gradients = score.with_gradient(tuple(p.flatten(0, 1) for p in points), rows)
        values = None if values is None else values.view(len(ts), -1)
        shaped = tuple(g.view_as(p) for g, p in zip(gradients, points, strict=True))
        for k in range(len(ts)):
            value, gradient = None if values is None else values[k], tuple(g[k] for g in shaped)
            yield Knot(tuple(p[k] for p in points), value, gradient, score)


def integrate(knots: Iterable[Knot], rule: Rule) -> tuple[Tensors, Knot, Knot]:
    """Adds up a rule's credit over neighboring knots.

    Args:
        knots: a path's knots, at least two.
        rule: credit from (here, there). If it has a method ``pairs``, that says which pairs the
            knots make; otherwise each knot is paired with the next.

    Returns:
        Credit, one tensor per input, in the widest type of the device; the first knot, and the
        last. Memory does not grow with the number of knots.

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

    pairs = rule.pairs if isinstance(rule, PairingRule) else pairwise
    total: Tensors | None = None
    for here, there in pairs(watched()):
        credit = rule(here, there)
        if total is None:
            total = tuple(c.to(accumulation_dtype(c.device), copy=True) for c in credit)
        else:
            for t, c in zip(total, credit, strict=True):
                t += c
    assert total is not None, "a path has at least two knots"
    return total, ends["first"], ends["last"]
