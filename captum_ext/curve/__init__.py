"""Curves: an input revealed or deleted feature by feature, and read twice on the way."""

from captum_ext.curve.blur import GaussianBlur
from captum_ext.curve.curve import Curve
from captum_ext.curve.frames import Frames, even_counts, read
from captum_ext.curve.level import fraction
from captum_ext.curve.ranking import Ranking, rank
from captum_ext.curve.similarity import MultiScaleSimilarity, ms_ssim

__all__ = [
    "Curve",
    "Frames",
    "GaussianBlur",
    "MultiScaleSimilarity",
    "Ranking",
    "even_counts",
    "fraction",
    "ms_ssim",
    "rank",
    "read",
]
