"""A table as text that papers, pages and spreadsheets take."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence

from captum_ext.evaluation.export import cell

Rows = Sequence[Sequence[str]]
_LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$",
    **{c: f"\\{c}" for c in "&%$#_{}"},
}  # fmt: skip


def markdown(rows: Rows) -> str:
    r"""The rows, the first of which is the head.

    >>> print(markdown([["a|b", "c"], ["x", "1"]]))
    | a\|b | c |
    | --- | ---: |
    | x | 1 |
    """
    marks = ["---", *["---:"] * (len(rows[0]) - 1)]
    told = [[re.sub(r"([\\|`*_<])", r"\\\1", text) for text in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in (told[0], marks, *told[1:]))


def latex(rows: Rows) -> str:
    r"""The rows as a tabular of the package booktabs.

    >>> print(latex([["a_b", "c"], ["x", "1"]]))
    \begin{tabular}{lr}
    \toprule
    a\_b & c \\
    \midrule
    x & 1 \\
    \bottomrule
    \end{tabular}
    """
    told = [["".join(_LATEX.get(c, c) for c in text) for text in row] for row in rows]
    head, *body = (f"{' & '.join(row)} \\\\" for row in told)
    columns = "l" + "r" * (len(rows[0]) - 1)
    return "\n".join(
        [f"\\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule", *body,
         r"\bottomrule", r"\end{tabular}"]
    )  # fmt: skip


def comma_separated(rows: Rows) -> str:
    """The rows as CSV, in which no spreadsheet takes a name for a formula.

    >>> comma_separated([["method", "x"], ["=cmd", "1"]])
    "method,x\\n'=cmd,1"
    """
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([cell(text) for text in row] for row in rows)
    return stream.getvalue().removesuffix("\n")


FORMATS: dict[str, Callable[[Rows], str]] = {
    "Markdown": markdown, "LaTeX": latex, "CSV": comma_separated,
}  # fmt: skip
