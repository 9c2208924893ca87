"""What maps cost and what they are worth."""

from captum_ext.evaluation.cost import Cost, Counted, measured

__all__ = ["Cost", "Counted", "measured"]
