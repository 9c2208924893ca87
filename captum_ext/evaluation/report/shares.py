"""Insertion and deletion in shares of each image's own probability."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from captum_ext.evaluation.result import Evaluation
from captum_ext.viz.scores import arrow


def shares(found: Evaluation, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Areas of insertion and deletion in shares of each image's own probability.

    None where answers are no probabilities, an image has several classes, or a metric gives
    shares already.
    """
    settings = found.settings.get("metrics", {})
    kinds = [("Insertion", "probability"), ("Deletion", "probability")]
    columns = [
        c for c in found.columns
        if c in found.values
        and (settings.get(c, {}).get("metric"), settings.get(c, {}).get("reading")) in kinds
    ]  # fmt: skip
    if found.n_pairs or not columns:
        return []
    whole = torch.tensor([one.pairs[0][1] or torch.nan for one in found.kept], dtype=torch.float64)
    heads = [f"{c}{arrow(found.better(c))}" for c in columns]
    values = [
        [float((found.values[c][m].cpu() / whole).nanmean()) for c in columns]
        for m in found.methods
    ]
    rows = [
        {"name": names[m], "cells": ["-" if x != x else f"{x:.3f}" for x in row]}
        for m, row in zip(found.methods, values, strict=True)
    ]
    return [{"title": "shares of probability", "heads": heads, "rows": rows}]
