"""`CurveMetric`: a metric whose value is the area under a curve of each example."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from captum_ext._torchmetrics import MetricOptions
from captum_ext._typing import Forward
from captum_ext.curve import Curve
from captum_ext.metrics.base.borrowed import BorrowsModel
from captum_ext.metrics.base.means import ScalarMetric
from captum_ext.metrics.base.rows import first_code, mean_of_rows, owners, renumbered


class CurveMetric(BorrowsModel, ScalarMetric):
    """The mean area under the curves of the examples.

    The model is borrowed: it is neither moved nor saved nor copied with the metric, and a
    metric that was pickled needs `bind` before its next ``update``.

    What is kept has a row for each map. Of an image of several classes these are several rows,
    whose values and curves are averaged.
    """

    place: list[Tensor]

    def __init__(self, forward_func: Forward, **kwargs: Unpack[MetricOptions]) -> None:
        super().__init__(**kwargs)
        self.bind(forward_func)
        self._add_list("place", 1, torch.int64)

    def _append(self, **rows: Tensor) -> None:
        super()._append(place=torch.zeros(len(rows["codes"]), dtype=torch.int64), **rows)

    def rows_as_one(self, state: dict[str, Any]) -> dict[str, Any]:
        """A state whose rows are those of one example, of several classes."""
        n = sum(map(len, state["place"]))
        return {**state, "place": [torch.arange(n)]}

    @abstractmethod
    def _curves(self) -> Curve:
        """The curve of every row, nan where it is undefined."""

    def _row_values(self) -> Tensor:
        """The value of every row, (M,), nan where it is undefined."""
        return self._curves().area()

    def _row_codes(self) -> Tensor:
        """Why rows are undefined, (M,)."""
        return self._rows("codes")

    def _owners(self) -> Tensor:
        """Which example each row is of, (M,)."""
        return owners(self._rows("place"))

    def _values(self) -> Tensor:
        return mean_of_rows(self._row_values(), self._owners())

    def _codes(self) -> Tensor:
        return first_code(self._row_codes(), self._owners())

    @property
    def axes_labels(self) -> tuple[str, str]:
        """What x and y of the curve are."""
        return "x", "y"

    def curve(self) -> Curve:
        """The mean curve of the examples where it is defined, a batch of one."""
        with self._gathered():
            return mean_curve(self._curves(), self._owners())

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draws the mean curve; or, given values of `compute`, those, as torchmetrics does.

        Returns:
            Figure and axes.
        """
        if val is not None:
            return super().plot(val, ax)
        import matplotlib.pyplot as plt

        figure, ax = (ax.get_figure(), ax) if ax is not None else plt.subplots()
        x, y = (part[0].cpu() for part in self.curve())
        ax.plot(x, y, label=f"{type(self).__name__} {float(self.compute()):.3f}")
        ax.set_xlabel(self.axes_labels[0])
        ax.set_ylabel(self.axes_labels[1])
        ax.legend()
        return figure, ax


def mean_curve(curve: Curve, owner: Tensor | None = None) -> Curve:
    """The mean over all examples without nan, on a common grid; a batch of one.

    Rows that share their ``x`` keep it; others are interpolated on even steps first.

    Args:
        curve: of M rows.
        owner: whose they are, (M,); None is an example a row.
    """
    owner = torch.arange(len(curve.x), device=curve.x.device) if owner is None else owner
    missing = (curve.x.isnan() | curve.y.isnan()).any(1)
    defined = first_code(missing.long(), owner)[owner] == 0
    x, y = curve.x[defined], curve.y[defined]
    if len(x) == 0:
        empty = curve.x.new_full((1, curve.x.shape[1]), torch.nan)
        return Curve(empty, empty)
    if (x != x[:1]).any():
        grid = torch.linspace(0, 1, x.shape[1], dtype=x.dtype, device=x.device)
        x, y = Curve(x, y).resample(grid)
    return Curve(x[:1], mean_of_rows(y, renumbered(owner[defined])).mean(0, keepdim=True))
