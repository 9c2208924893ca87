"""torchmetrics' private names, and what is made of them, stand here alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from typing import Any, TypedDict

from torchmetrics import Metric


class MetricOptions(TypedDict, total=False):
    """What every metric hands on to `torchmetrics.Metric`, under its names there."""

    compute_on_cpu: bool
    dist_sync_on_step: bool
    process_group: Any
    dist_sync_fn: Callable[..., Any] | None
    distributed_available_fn: Callable[..., Any] | None
    sync_on_compute: bool
    compute_with_cache: bool


class OpenMetric(Metric):
    """A metric whose update and synchronization can be stood around."""

    @abstractmethod
    def _updating(self) -> AbstractContextManager[None]:
        """What every update runs inside of."""

    def _wrap_update(self, update: Callable[..., None]) -> Callable[..., None]:
        wrapped = super()._wrap_update(update)

        # torchmetrics reads the signature of the update that was written.
        @wraps(update)
        def inside(*args: Any, **kwargs: Any) -> None:
            with self._updating():
                wrapped(*args, **kwargs)

        return inside

    @contextmanager
    def _gathered(self) -> Iterator[None]:
        """The states of all processes, for as long as it is open."""
        self.sync(dist_sync_fn=self.dist_sync_fn, should_sync=self._to_sync)
        # torchmetrics' own context stays open if what happens inside raises, and every later
        # update then fails.
        try:
            yield
        finally:
            self.unsync(should_unsync=self._is_synced)

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draws the values, or those of `compute` that are given; figure and axes."""
        return self._plot(val, ax)


def state_names(metric: Metric) -> tuple[str, ...]:
    """The names under which a metric keeps what it has seen."""
    return tuple(metric._defaults)


def is_gathered(metric: Metric) -> bool:
    """Whether a metric's states are those of all processes at this moment."""
    return bool(metric._is_synced)


def never_gather(metric: Metric) -> None:
    """Lets a metric speak for its own process, also inside `compute`."""
    # The second was made from the first when the metric was.
    metric.sync_on_compute = metric._to_sync = False


def count_updates(metric: Metric, n_updates: int) -> None:
    """Says how many updates a metric has seen: means of states weigh by it, 0 warns."""
    metric._update_count = n_updates
