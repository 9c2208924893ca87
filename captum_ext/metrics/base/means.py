"""`ScalarMetric` and `TableMetric`: means over examples, with intervals."""

from __future__ import annotations

import warnings
from abc import abstractmethod

from torch import Tensor

from captum_ext._tensors import accumulation_dtype
from captum_ext.metrics.base.bootstrap import (
    LEVEL,
    N_SAMPLES,
    Statistic,
    interval,
    mean_of,
    too_few,
)
from captum_ext.metrics.base.example import ExampleMetric

Interval = tuple[Tensor, Tensor]


class ScalarMetric(ExampleMetric):
    """One number per example, and one for all."""

    @abstractmethod
    def _values(self) -> Tensor:
        """The value of every example, (N,), nan where it is undefined."""

    def _columns(self) -> dict[str, Tensor]:
        return {"value": self._values()}

    def _statistic(self) -> Statistic:
        """The metric, of all examples where it is defined and of resamples of them."""
        return mean_of(self._values())

    def compute(self) -> Tensor:
        """The metric of all examples where it is defined; nan without any."""
        return self._statistic().value.to(self.device, accumulation_dtype(self.device))

    @property
    def per_example(self) -> Tensor:
        """The value of every example, (N,), nan where it is undefined."""
        with self._gathered():
            return self._values()

    def interval(self, level: float = LEVEL, n_samples: int = N_SAMPLES, seed: int = 0) -> Interval:
        """Bootstrap interval of the value, over examples: see `docs/metrics/compare.md`.

        Args:
            level: share of samples whose interval holds the truth, between 0 and 1.
            n_samples: how many resamples.
            seed: of the resampling; the order of the examples does not matter.

        Returns:
            The ends, low and high; nan, and a warning, with fewer than six examples where the
            value is defined.
        """
        with self._gathered():
            statistic = self._statistic()
        return _said(statistic, interval(statistic, level, n_samples, seed))


class TableMetric(ExampleMetric):
    """Several named numbers per example, possibly at several stages."""

    @abstractmethod
    def _tables(self) -> dict[str, Tensor]:
        """By name (N,) or (N, stages), nan where undefined."""

    def _columns(self) -> dict[str, Tensor]:
        return self._tables()

    def compute(self) -> dict[str, Tensor]:
        """The mean over examples of each number where it is defined; nan without any.

        A number of several stages is first averaged over the stages of an example.
        """
        return {name: by_example(table).nanmean() for name, table in self._tables().items()}

    @property
    def per_example(self) -> dict[str, Tensor]:
        """Each number of every example, (N,) or (N, stages), nan where it is undefined."""
        with self._gathered():
            return self._tables()

    def interval(
        self, level: float = LEVEL, n_samples: int = N_SAMPLES, seed: int = 0
    ) -> dict[str, Interval]:
        """Bootstrap interval over examples of each mean; as `ScalarMetric.interval`."""
        intervals = {}
        for name, table in self.per_example.items():
            statistic = mean_of(by_example(table))
            intervals[name] = _said(statistic, interval(statistic, level, n_samples, seed), name)
        return intervals


def by_example(table: Tensor) -> Tensor:
    """One number per example, (N,): the mean over stages where there are several.

    >>> import torch
    >>> by_example(torch.tensor([[1.0, 3.0], [4.0, torch.nan]]))
    tensor([2., 4.])
    """
    return table if table.dim() == 1 else table.nanmean(1)


def _said(statistic: Statistic, ends: Interval, name: str = "") -> Interval:
    """The interval, with a warning that names the reason where there is none."""
    if reason := too_few(statistic.n_examples):
        warnings.warn(f"{name}: {reason}" if name else reason, UserWarning, stacklevel=3)
    return ends
