"""A metric's reading of one example, as bytes that can be kept and put together again."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from inspect import signature
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from captum_ext._torchmetrics import count_updates, never_gather

State: TypeAlias = dict[str, Tensor | list[Tensor]]
"""The state of a metric: what `torchmetrics` calls ``metric_state``."""


def empty_copy(metric: Metric) -> Metric:
    """An empty copy of a metric that never asks other processes."""
    copy: Metric = metric.clone()
    copy.reset()
    never_gather(copy)
    return copy


def flat(
    metrics: Mapping[str, Metric | MetricCollection],
) -> tuple[dict[str, Metric], dict[str, str]]:
    """Every metric by name, and for each the one whose readings it shares.

    A collection in the mapping is taken apart; the metrics of one of its ``compute_groups``,
    as of `captum_ext.metrics.information_metrics`, have one state and are read once.

    >>> from torchmetrics import SumMetric
    >>> pair = MetricCollection({"x": SumMetric(), "y": SumMetric()}, compute_groups=[["x", "y"]])
    >>> flat({"both": pair, "z": SumMetric()})[1]
    {'x': 'x', 'y': 'x', 'z': 'z'}
    """
    found: dict[str, Metric] = {}
    leaders: dict[str, str] = {}
    for name, metric in metrics.items():
        if isinstance(metric, MetricCollection):
            members: dict[str, Metric] = dict(metric.items(keep_base=True, copy_state=False))
            groups = metric.compute_groups.values()
            shared = {member: group[0] for group in groups for member in group}
            leaders |= {member: shared.get(member, member) for member in members}
            found |= members
        else:
            found[name], leaders[name] = metric, name
    return found, leaders


def read(metric: Metric, offered: Mapping[str, Any]) -> State:
    """The state of a metric that has seen one example, given what its ``update`` asks for.

    Raises:
        ValueError: if it asks for something that is not offered.
    """
    asked = signature(metric.update).parameters
    missing = [
        name
        for name, parameter in asked.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and offered.get(name) is None
    ]
    if missing:
        raise ValueError("no annotation" if missing == ["masks"] else f"without {missing}")
    metric.reset()
    metric.update(**{k: v for k, v in offered.items() if k in asked and v is not None})
    # reset() empties the lists themselves.
    return {k: list(v) if isinstance(v, list) else v for k, v in metric.metric_state.items()}


def fill(metric: Metric, states: Iterable[State]) -> Metric:
    """An empty copy of a metric, filled with readings in their order.

    >>> from torchmetrics.aggregation import CatMetric
    >>> states = [read(CatMetric(), {"value": torch.tensor([k])}) for k in (3.0, 4.0)]
    >>> fill(CatMetric(), states).compute()
    tensor([3., 4.])
    """
    filling = Filling(metric)
    for state in states:
        filling.add(state)
    return filling.done()


class Filling:
    """A metric that takes readings one by one, in memory that their numbers alone need.

    Args:
        metric: of which an empty copy is filled.
    """

    def __init__(self, metric: Metric) -> None:
        self.metric = empty_copy(metric)
        self.lists: dict[str, list[Tensor]] = {}
        self.n_states = 0

    def add(self, state: State) -> None:
        """Takes the reading of one more example."""
        single: dict[str, Any] = {}
        for name, value in state.items():
            if isinstance(value, list):
                parts = self.lists.setdefault(name, [])
                parts.extend(value)
                if len(parts) >= _PARTS_AT_MOST:
                    parts[:] = _joined(parts)
                single[name] = []
            else:
                single[name] = value
        self.n_states += 1
        count_updates(self.metric, self.n_states)
        if self.n_states == 1:
            for name, value in single.items():
                setattr(self.metric, name, value)
        else:
            self.metric.merge_state(single)

    def done(self) -> Metric:
        """The metric with all readings."""
        for name, parts in self.lists.items():
            setattr(self.metric, name, _joined(parts))
        return self.metric


def one_after_another(states: Sequence[State]) -> State:
    """The rows of several readings as those of one; what is no list is the first's."""
    return {
        name: [part for state in states for part in state[name]]
        if isinstance(value, list)
        else value
        for name, value in states[0].items()
    }


def as_one(metric: Metric, state: State, n: int) -> State:
    """The ``n`` rows of an example's classes as a metric keeps them of one example."""
    own = getattr(metric, "rows_as_one", None)
    return averaged(state, n) if own is None else own(state)


def averaged(state: State, n: int) -> State:
    """The mean of ``n`` rows as one; it is nan, with the first reason, where one of them is.

    >>> state = {"y": [torch.tensor([1.0, 3.0])], "codes": [torch.tensor([0, 2])]}
    >>> averaged(state, 2)
    {'y': [tensor([2.])], 'codes': [tensor([2])]}
    """
    return {
        name: [_mean(torch.cat(value).view(n, -1))] if isinstance(value, list) else value
        for name, value in state.items()
    }


def _mean(rows: Tensor) -> Tensor:
    if rows.is_floating_point():
        return rows.mean(0)
    # Reasons, by code: 0 is none.
    return rows.gather(0, (rows != 0).int().argmax(0)[None])[0]


_PARTS_AT_MOST = 4096


def _joined(parts: list[Tensor]) -> list[Tensor]:
    """Parts that lie one after the other as one; a small tensor costs more than its numbers."""
    return [torch.cat(parts)] if len(parts) > 1 and all(p.dim() == 1 for p in parts) else parts


def pack(states: Mapping[str, State]) -> bytes:
    """States by metric as bytes with a checksum, in full precision.

    >>> state = {"m": {"x": [torch.tensor([0.1], dtype=torch.float64)], "n": torch.tensor(2)}}
    >>> unpack(pack(state)) == state
    True
    """
    head, body = [], []
    for metric, state in states.items():
        for name, value in state.items():
            parts = value if isinstance(value, list) else [value]
            arrays = [part.detach().cpu().numpy() for part in parts]
            kinds = [(array.dtype.str, array.shape) for array in arrays]
            head.append((metric, name, isinstance(value, list), kinds))
            body += [array.tobytes() for array in arrays]
    text = json.dumps(head).encode()
    whole = zlib.compress(struct.pack("<I", len(text)) + text + b"".join(body), 1)
    return struct.pack("<I", zlib.crc32(whole)) + whole


def unpack(packed: bytes) -> dict[str, State]:
    """The states of `pack`.

    Raises:
        OSError: if the bytes were damaged.
    """
    (checksum,), whole = struct.unpack("<I", packed[:4]), packed[4:]
    if zlib.crc32(whole) != checksum:
        raise OSError("a stored result is damaged: its checksum is wrong")
    content = zlib.decompress(whole)
    (length,) = struct.unpack("<I", content[:4])
    at = 4 + length
    states: dict[str, State] = {}
    for metric, name, is_list, kinds in json.loads(content[4:at]):
        parts = []
        for kind, shape in kinds:
            array = np.frombuffer(content, kind, int(np.prod(shape)), at).reshape(shape)
            at += array.nbytes
            parts.append(torch.from_numpy(array.copy()))
        states.setdefault(metric, {})[name] = parts if is_list else parts[0]
    return states
