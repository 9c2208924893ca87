"""Attribution methods: each one a choice of pieces from `path` or `mask`."""

from captum_ext.attr.igos import IGOS, IGOSPlus, IGOSPlusPlus
from captum_ext.attr.mask_attribution import MaskAttribution, MaskRun
from captum_ext.attr.meaningful_perturbation import MeaningfulPerturbation
from captum_ext.attr.rise import RISE

__all__ = [
    "IGOS",
    "RISE",
    "IGOSPlus",
    "IGOSPlusPlus",
    "MaskAttribution",
    "MaskRun",
    "MeaningfulPerturbation",
]
