"""What the sanity check found of the same model, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from captum_ext.evaluation.result import Evaluation


def sanity_table(found: Evaluation, names: Mapping[str, str]) -> dict[str, Any] | None:
    """Each method's similarities after randomization, means over stages, beside chance."""
    if found.sanity is None:
        return None
    table = found.sanity["table"]
    keys = [key.removesuffix("_chance") for key in table[0] if key.endswith("_chance")]
    rows = []
    for method in dict.fromkeys(row["method"] for row in table):
        own = [row for row in table if row["method"] == method]
        rows.append(
            {"name": names.get(method, method), "cells": [_similarity(own, k) for k in keys]}
        )
    protocol = found.sanity.get("protocol", {})
    return {
        "title": "sanity check",
        "heads": [f"{key} ↓" for key in keys],
        "rows": rows,
        "model": protocol.get("model"),
        "n_images": len(protocol.get("targets", [])),
    }


def _similarity(rows: list[dict[str, Any]], key: str) -> str:
    known = [row[key] for row in rows if row[key] is not None]
    chance = rows[0][f"{key}_chance"]
    beside = "" if chance is None else f" (chance {chance:.2f})"
    return f"{sum(known) / len(known):.2f}{beside}" if known else "-"
