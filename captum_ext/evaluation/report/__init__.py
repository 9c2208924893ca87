"""One page of an evaluation that a browser opens from disk."""

from captum_ext.evaluation.report.page import write_report

__all__ = ["write_report"]
