"""An evaluation as files of plain data."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

# A spreadsheet takes a cell that begins like this for a formula, and may run it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def plain(value: Any) -> Any:
    """A value that JSON can hold: nan and infinities are None.

    >>> plain({"a": [1.0, float("nan")]})
    {'a': [1.0, None]}
    """
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(file: Path, value: Any) -> None:
    """Writes what `plain` gives, one line per entry."""
    text = json.dumps(value, indent=1, default=str, allow_nan=False)
    file.write_text(text + "\n", encoding="utf-8")


def write_csv(file: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Writes records of the same keys as CSV, numbers in full precision, nan as nothing.

    A text that a spreadsheet would take for a formula, such as an image called "=cmd.png", gets
    an apostrophe in front.
    """
    # Names of files that are no UTF-8 are spelled out.
    with file.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream:
        writer = csv.writer(stream)
        writer.writerow([cell(key) for key in records[0]] if records else [])
        writer.writerows([cell(value) for value in record.values()] for record in records)


def cell(value: Any) -> Any:
    """A value as a spreadsheet's cell.

    >>> cell("=1+1"), cell(-1.5), cell("a=1"), cell(float("nan"))
    ("'=1+1", -1.5, 'a=1', '')
    """
    if isinstance(value, str):
        return f"'{value}" if value.lstrip(" ").startswith(_FORMULA) else value
    return "" if value is None or value != value else value


def write_parquet(file: Path, records: Sequence[Mapping[str, Any]]) -> bool:
    """Writes records as Parquet; False, and no file, where pyarrow is not installed."""
    try:
        # By name: type checkers need not know the optional package.
        pyarrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        return False
    parquet.write_table(pyarrow.Table.from_pylist([dict(r) for r in records]), file)
    return True
