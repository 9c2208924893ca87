"""Curves: an input revealed or deleted feature by feature, and read twice on the way."""

from captum_ext.blur import GaussianBlur
from captum_ext.curve.bases import (
    Base,
    Blurred,
    BlurredBase as BlurredBase,
    Constant,
    Interpolated,
    InterpolatedBase as InterpolatedBase,
)
from captum_ext.curve.codec import PNG, WEBP, WEBP_FULL, Codec, CompressedSize
from captum_ext.curve.curve import Curve
from captum_ext.curve.frames import Frames, FrameSource, even_counts, read
from captum_ext.curve.imputation import NoisyLinear
from captum_ext.curve.ms_ssim import MultiScaleSimilarity, ms_ssim
from captum_ext.curve.ranking import Ranking, rank
from captum_ext.curve.response import fraction, probability_and_correctness

__all__ = [
    "PNG",
    "WEBP",
    "WEBP_FULL",
    "Base",
    "Blurred",
    "Codec",
    "CompressedSize",
    "Constant",
    "Curve",
    "FrameSource",
    "Frames",
    "GaussianBlur",
    "Interpolated",
    "MultiScaleSimilarity",
    "NoisyLinear",
    "Ranking",
    "even_counts",
    "fraction",
    "ms_ssim",
    "probability_and_correctness",
    "rank",
    "read",
]
