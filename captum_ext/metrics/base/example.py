"""`ExampleMetric`: a torchmetrics metric that keeps what it measured of every example."""

from __future__ import annotations

import uuid
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import Unpack

from captum_ext._tensors import accumulation_dtype, moved
from captum_ext._torchmetrics import MetricOptions, OpenMetric, is_gathered, state_names


class Reason(IntEnum):
    """Why an example has no value: a code from 1 in the order of the members, and in words.

    >>> class Missing(Reason):
    ...     EMPTY = "annotation empty"
    ...     FULL = "annotation full"
    >>> int(Missing.FULL), str(Missing.FULL)
    (2, 'annotation full')
    """

    words: str

    def __new__(cls, words: str) -> Reason:
        code = len(cls.__members__) + 1
        reason = int.__new__(cls, code)
        reason._value_, reason.words = code, words
        return reason

    def __str__(self) -> str:
        return self.words


def coded(*reasons: tuple[Tensor, Reason]) -> Tensor:
    """The codes of examples, 0 where no reason holds; of several that do, the last.

    >>> class Missing(Reason):
    ...     EMPTY = "annotation empty"
    >>> coded((torch.tensor([False, True]), Missing.EMPTY))
    tensor([0, 1])
    """
    codes = torch.zeros_like(reasons[0][0], dtype=torch.int64)
    for holds, reason in reasons:
        # Not by a mask as index, for which a GPU would be asked how many there are.
        codes = codes.masked_fill(holds.to(codes.device), reason)
    return codes


class ExampleMetric(OpenMetric):
    """A metric that knows its value example by example.

    Undefined values are nan, left out of means and counted by reason. Values are kept
    on the metric's device. In distributed runs `compute`, `curve`, `per_example`, `undefined`,
    `excluded` and `interval` gather the examples of all processes, so that all processes must
    call them.

    A metric of one's own appends to ``codes`` why each example is undefined: 0 where it is not,
    else 1 + the place in ``REASONS``, a `Reason` or a tuple of words; (N,), or (N, n_columns)
    where columns differ.

    Args:
        n_columns: of how many columns ``codes`` speaks; 1 is for all alike.
        kwargs: of `torchmetrics.Metric`.
    """

    is_differentiable: bool | None = False
    full_state_update: bool | None = False
    REASONS: ClassVar[type[Reason] | tuple[str, ...]] = ()
    """Why an example may be undefined, by code - 1; 0 is defined."""
    averages_rows: bool = False
    """Whether what is kept of an image's classes has the mean of their values.

    Only then `captum_ext.evaluation.evaluate` can give an image of several classes one value: by
    the mean of what is kept, or as a method ``rows_as_one`` of the metric puts it together.
    """

    codes: list[Tensor]
    identity: Tensor

    def __init__(self, n_columns: int = 1, **kwargs: Unpack[MetricOptions]) -> None:
        # The value is cheap, and a cached one would be stale after merge_state.
        super().__init__(**{"compute_with_cache": False, **kwargs})
        self._widths: dict[str, int] = {}
        self._dtypes: dict[str, torch.dtype | None] = {}
        # MetricCollection takes two metrics with equal states for one and updates only the first;
        # early releases of torchmetrics compare the first state alone.
        words = uuid.uuid4().fields[:3] + uuid.uuid4().fields[1:3]
        self.add_state("identity", torch.tensor(words), dist_reduce_fx="max")
        self._add_list("codes", n_columns, torch.int64)

    def _add_list(self, name: str, width: int = 1, dtype: torch.dtype | None = None) -> None:
        """A state of ``width`` numbers per example; ``dtype`` None is the widest of the device."""
        self._widths[name], self._dtypes[name] = width, dtype
        self.add_state(name, [], dist_reduce_fx="cat")

    def _append(self, **rows: Tensor) -> None:
        # Flat, so that a process without data has parts of as many dimensions to gather.
        for name, part in rows.items():
            parts = getattr(self, name)
            like = self._empty(name)
            parts.append(moved(part.detach(), like.device, like.dtype).flatten())
            # Many small tensors would keep freed memory between them from being used again.
            while len(parts) > 1 and len(parts[-2]) <= len(parts[-1]):
                parts[-2:] = [torch.cat(parts[-2:])]

    def _empty(self, name: str) -> Tensor:
        dtype = self._dtypes[name] or accumulation_dtype(self.device)
        return torch.zeros(0, dtype=dtype, device=self.device)

    def _rows(self, name: str) -> Tensor:
        """A list state as one tensor, (N,) or (N, width)."""
        state = getattr(self, name)
        parts = [state] if isinstance(state, Tensor) else [self._empty(name), *state]
        flat = torch.cat([part.reshape(-1) for part in parts])
        width = self._widths[name]
        return flat if width == 1 else flat.view(-1, width)

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gathers the states of all processes, also of one that has seen no example."""
        if not is_gathered(self):
            for name in self._widths:
                if len(getattr(self, name)) == 0:
                    setattr(self, name, [self._empty(name)])
        super().sync(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The metric of one batch, which is also added; one that fails leaves all as it was."""
        with torch.inference_mode(False), self._unless_it_fails():
            return super().forward(*args, **kwargs)

    @contextmanager
    def _updating(self) -> Iterator[None]:
        # What is made in inference mode can't be written into outside of it.
        with torch.inference_mode(False), self._unless_it_fails():
            for name in state_names(self):
                state = getattr(self, name)
                if isinstance(state, Tensor) and state.is_inference():
                    setattr(self, name, state.clone())
            yield

    @contextmanager
    def _unless_it_fails(self) -> Iterator[None]:
        """Puts the metric back as it was if what happens inside raises."""
        before = dict(vars(self))
        lists = {name: list(held) for name, held in before.items() if isinstance(held, list)}
        tensors = {
            name: held.clone()
            for name, held in before.items()
            if isinstance(held, Tensor) and not held.is_inference()
        }
        try:
            yield
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            # In place: metrics of one compute group share their states.
            for name, held in lists.items():
                before[name][:] = held
            for name, state in tensors.items():
                before[name].copy_(state)
            raise

    def _codes(self) -> Tensor:
        """Why examples are undefined, by position in ``REASONS`` from 1; 0: they aren't.

        (N,) for all columns, or (N, columns).
        """
        return self._rows("codes")

    @abstractmethod
    def _columns(self) -> dict[str, Tensor]:
        """Every number by its column, (N,) or (N, stages), nan where it is undefined."""

    @property
    def undefined(self) -> dict[str, tuple[str, ...]]:
        """By column the reason why each example has no value, "" where it has one.

        A `ScalarMetric` has the one column "value", a `TableMetric` its numbers' names.
        """
        with self._gathered():
            columns, codes = self._columns(), self._codes()
        # What is nan has no value, also where no code says why.
        reasons = ("", *map(str, self.REASONS), "value not a number")
        found = {}
        for k, (name, values) in enumerate(columns.items()):
            code = codes if codes.dim() == 1 else codes[:, k]
            code = code if len(code) else torch.zeros(len(values), dtype=torch.int64)
            missing = values.isnan().unsqueeze(-1).flatten(1).any(1).to(code.device)
            code = torch.where((code == 0) & missing, len(reasons) - 1, code)
            found[name] = tuple(reasons[c] for c in code.tolist())
        return found

    @property
    def excluded(self) -> dict[str, int]:
        """How many examples have no value in some column, by the first column's reason.

        `undefined` tells the columns apart.
        """
        rows = zip(*self.undefined.values(), strict=True)
        return dict(Counter(next(filter(None, row)) for row in rows if any(row)))

    @property
    def n_excluded(self) -> int:
        """How many examples have no value in some column; `excluded` says why."""
        return sum(self.excluded.values())

    @property
    def protocol(self) -> dict[str, Any]:
        """Everything that decides the number, so that it can be repeated."""
        return {"metric": type(self).__name__}
