"""Remarks on stderr, by the first process alone."""

from __future__ import annotations

import sys

from captum_ext.cli.processes import is_first


def say(sentence: str) -> None:
    """Says something that is no result."""
    if is_first():
        print(f"captum-ext: {sentence}", file=sys.stderr)
