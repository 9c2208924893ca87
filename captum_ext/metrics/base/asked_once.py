"""`AskedOnce`: a model that remembers what it answered, for many scores of one example."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from captum_ext._random import restored, stream
from captum_ext._typing import Forward
from captum_ext.metrics.base.curve_metric import CurveMetric

_SIZES = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class AskedOnce(nn.Module):
    """The model's answers without a gradient; the same row is asked for once.

    All insertion and deletion curves of an image share their ends, and maps of one sign are
    ranked alike by signed and by absolute sums. Calls with more than one argument or with a
    gradient go to the model as they are, and so do all calls of a model that draws random numbers:
    the same row has other answers each time. Every answer is kept for as long as this object.

    >>> asked = []
    >>> model = AskedOnce(lambda x: asked.append(len(x)) or x.sum(1, keepdim=True))
    >>> with torch.no_grad():
    ...     model(torch.tensor([[1.0], [2.0], [1.0]])), model(torch.tensor([[2.0], [3.0]]))
    (tensor([[1.],
            [2.],
            [1.]]), tensor([[2.],
            [3.]]))
    >>> asked
    [2, 1]
    """

    def __init__(self, model: Forward) -> None:
        super().__init__()
        # Named as in compiled modules: what keeps buffers, sizes and ranges looks for the model.
        self._orig_mod = model
        self.training = getattr(model, "training", False)
        self._answers: dict[tuple[Any, ...], Tensor] = {}
        self._weights = torch.empty(0)
        self._draws = False

    def forward(self, *given: Any) -> Any:
        """Answers, a row for each row of the one tensor that is given."""
        inputs = given[0]
        one = len(given) == 1 and isinstance(inputs, Tensor)
        if not one or self._draws or torch.is_grad_enabled():
            return self._orig_mod(*given)
        keys = self._keys(inputs)
        new = {key: row for row, key in enumerate(keys) if key not in self._answers}
        if new:
            rows = sorted(new.values())
            with restored(inputs.device) as drawn:
                found = self._orig_mod(inputs[rows])
                self._draws = drawn()
            if self._draws:
                return self._orig_mod(inputs)
            if not isinstance(found, Tensor) or found.dim() == 0 or len(found) != len(rows):
                return self._orig_mod(inputs)
            self._answers.update(zip((keys[row] for row in rows), found, strict=True))
        return torch.stack([self._answers[key] for key in keys])

    def remember(self, inputs: Tensor, answers: Tensor) -> None:
        """Takes in what the model has answered to someone else, a row for each row."""
        self._answers.update(zip(self._keys(inputs), answers.detach(), strict=True))

    def _keys(self, inputs: Tensor) -> list[tuple[Any, ...]]:
        return [(inputs.dtype, *inputs.shape[1:], *two) for two in self._sums(inputs).tolist()]

    def _sums(self, inputs: Tensor) -> Tensor:
        """Two random sums of each row's bits, modulo 2**64, on its device: (N, 2).

        Rows that differ share both with a chance below 2**-66.
        """
        bits = inputs.detach().contiguous().view(_SIZES[inputs.element_size()]).flatten(1)
        if self._weights.shape[1:] != bits.shape[1:]:
            drawn = torch.randint(-(2**63), 2**63 - 1, (2, bits.shape[1]), generator=stream(0, 1))
            self._weights = drawn.to(bits.device)
        return torch.stack([(bits * own).sum(1) for own in self._weights], 1)


@contextmanager
def asked_once(metrics: Iterable[Metric]) -> Iterator[None]:
    """Metrics that read curves share what their models answer, until the end."""
    shared: dict[int, AskedOnce] = {}
    curves = [m for m in metrics if isinstance(m, CurveMetric) and m.is_bound]
    models = [(metric, metric.forward_func) for metric in curves]
    try:
        for metric, model in models:
            metric.bind(shared.setdefault(id(model), AskedOnce(model)))
        yield
    finally:
        for metric, model in models:
            metric.bind(model)
