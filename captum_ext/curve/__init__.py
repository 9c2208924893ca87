"""Curves: an input revealed or deleted feature by feature, and read twice on the way."""

from typing import TYPE_CHECKING

from captum_ext._moved import found_elsewhere
from captum_ext.blur import GaussianBlur
from captum_ext.curve.bases import Base, Blurred, Constant, Interpolated
from captum_ext.curve.codec import PNG, WEBP, WEBP_FULL
from captum_ext.curve.curve import Curve
from captum_ext.curve.frames import Frames, FrameSource
from captum_ext.curve.imputation import NoisyLinear
from captum_ext.curve.ms_ssim import ms_ssim
from captum_ext.curve.ranking import Ranking, rank
from captum_ext.curve.response import fraction

__all__ = [
    "PNG",
    "WEBP",
    "WEBP_FULL",
    "Base",
    "Blurred",
    "Constant",
    "Curve",
    "FrameSource",
    "Frames",
    "GaussianBlur",
    "Interpolated",
    "NoisyLinear",
    "Ranking",
    "fraction",
    "ms_ssim",
    "rank",
]

if not TYPE_CHECKING:  # a type checker would take every name for one that has moved
    __getattr__ = found_elsewhere(__name__)
