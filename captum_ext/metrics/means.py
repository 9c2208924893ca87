"""`ScalarMetric` and `TableMetric`: means over examples, with intervals."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from captum_ext._captum import accumulation_dtype
from captum_ext.metrics.base import ExampleMetric
from captum_ext.metrics.bootstrap import bootstrap, middle

Interval = tuple[Tensor, Tensor]


class ScalarMetric(ExampleMetric):
    """One number per example, and one for all."""

    @abstractmethod
    def _values(self) -> Tensor:
        """The value of every example, (N,), nan where it is undefined."""

    def _columns(self) -> dict[str, Tensor]:
        return {"value": self._values()}

    def _statistic(self) -> tuple[int, Callable[[Tensor], Tensor]]:
        """How many examples count, and the metric of resamples of them.

        The function takes the examples drawn, (samples, n), and gives (samples,).
        """
        return mean_of(self._values())

    def compute(self) -> Tensor:
        """The metric of all examples where it is defined; nan without any."""
        n_examples, metric_of = self._statistic()
        if n_examples == 0:
            return torch.tensor(torch.nan, dtype=accumulation_dtype(self.device))
        return metric_of(torch.arange(n_examples)[None])[0].to(self.device)

    @property
    def per_example(self) -> Tensor:
        """The value of every example, (N,), nan where it is undefined."""
        with self._gathered():
            return self._values()

    def interval(self, level: float = 0.95, n_samples: int = 2000, seed: int = 0) -> Interval:
        """Bootstrap interval of the value: percentiles over resampled examples.

        Args:
            level: share of resamples inside, between 0 and 1.
            n_samples: how many resamples.
            seed: of the resampling; the order of the examples does not matter.

        Returns:
            The ends, low and high.

        Raises:
            ValueError: with fewer than two examples where the value is defined.
        """
        with self._gathered():
            n_examples, metric_of = self._statistic()
        return middle(bootstrap(metric_of, n_examples, n_samples, seed), level)


class TableMetric(ExampleMetric):
    """Several named numbers per example, possibly at several stages."""

    @abstractmethod
    def _tables(self) -> dict[str, Tensor]:
        """By name (N,) or (N, stages), nan where undefined."""

    def _columns(self) -> dict[str, Tensor]:
        return self._tables()

    def compute(self) -> dict[str, Tensor]:
        """The mean of each number where it is defined; nan without any."""
        return {name: table.nanmean() for name, table in self._tables().items()}

    @property
    def per_example(self) -> dict[str, Tensor]:
        """Each number of every example, (N,) or (N, stages), nan where it is undefined."""
        with self._gathered():
            return self._tables()

    def interval(
        self, level: float = 0.95, n_samples: int = 2000, seed: int = 0
    ) -> dict[str, Interval]:
        """Bootstrap interval over examples of each mean; as `ScalarMetric.interval`."""
        intervals = {}
        for name, table in self.per_example.items():
            n_examples, mean = mean_of(table if table.dim() == 1 else table.nanmean(1))
            intervals[name] = middle(bootstrap(mean, n_examples, n_samples, seed), level)
        return intervals


def mean_of(values: Tensor) -> tuple[int, Callable[[Tensor], Tensor]]:
    """How many values are not nan, and the mean of resamples of those."""
    # Sorted, so that an interval does not depend on the order of the examples.
    known = values[~values.isnan()].sort().values.cpu()
    return len(known), lambda drawn: known[drawn].mean(1)
