"""Attribution methods: each one a choice of pieces from `path` or `mask`."""

from captum_ext.attr.blur_ig import BlurIG
from captum_ext.attr.guided_ig import GuidedIG
from captum_ext.attr.idgi import IDGI, path_of
from captum_ext.attr.path_attribution import PathAttribution

__all__ = ["IDGI", "BlurIG", "GuidedIG", "PathAttribution", "path_of"]
