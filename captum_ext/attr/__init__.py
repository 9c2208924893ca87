"""Attribution methods: each one a choice of pieces from `path` or `mask`."""

from captum_ext.attr.aligned import AlignedContribution
from captum_ext.attr.at_layer import AtLayer
from captum_ext.attr.blur_ig import BlurIG
from captum_ext.attr.catalog import register
from captum_ext.attr.configured import Configured
from captum_ext.attr.grad_cam import GradCam
from captum_ext.attr.guided_ig import GuidedIG
from captum_ext.attr.idgi import IDGI, path_of
from captum_ext.attr.igos import IGOS, IGOSPlus, IGOSPlusPlus
from captum_ext.attr.mask_attribution import MaskAttribution, MaskRun
from captum_ext.attr.meaningful_perturbation import MeaningfulPerturbation
from captum_ext.attr.over_baselines import OverBaselines
from captum_ext.attr.path_attribution import PathAttribution
from captum_ext.attr.rise import RISE
from captum_ext.attr.start import Start
from captum_ext.attr.walk import walk

__all__ = [
    "IDGI",
    "IGOS",
    "RISE",
    "AlignedContribution",
    "AtLayer",
    "BlurIG",
    "Configured",
    "GradCam",
    "GuidedIG",
    "IGOSPlus",
    "IGOSPlusPlus",
    "MaskAttribution",
    "MaskRun",
    "MeaningfulPerturbation",
    "OverBaselines",
    "PathAttribution",
    "Start",
    "path_of",
    "register",
    "walk",
]
