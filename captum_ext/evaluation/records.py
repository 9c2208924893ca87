"""Records as files."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any


def write_csv(file: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Writes records of the same keys as CSV, numbers in full precision, nan as nothing."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [*records[0]] if records else [])
        writer.writeheader()
        writer.writerows({k: _text(v) for k, v in record.items()} for record in records)


def _text(value: Any) -> Any:
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
