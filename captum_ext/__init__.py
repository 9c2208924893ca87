"""Attribution methods and metrics that plug into Captum."""

from captum_ext.classifier import ImageClassifier

__all__ = ["ImageClassifier"]
__version__ = "0.1.0"
