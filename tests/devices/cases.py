"""What runs on another device, in tests and by benchmarks/gpu_check.py: on small data."""

from __future__ import annotations

from dataclasses import replace

import torch
from captum.attr import IntegratedGradients, Saliency
from torch import nn

from captum_ext import ImageClassifier, metrics as T
from captum_ext.attr import (
    IDGI,
    IGOS,
    RISE,
    BlurIG,
    Configured,
    GradCam,
    GuidedIG,
    IGOSPlus,
    IGOSPlusPlus,
    MeaningfulPerturbation,
)
from captum_ext.attr.guided_backprop import GuidedBackprop, GuidedGradCam

GENERATOR = torch.Generator().manual_seed(0)
IMAGES, BASE = (torch.rand(3, 3, 32, 32, generator=GENERATOR) for _ in range(2))
MAPS = torch.randn(3, 3, 32, 32, generator=GENERATOR)
INSIDE = torch.zeros(3, 32, 32)
INSIDE[:, 8:20, 6:22] = 1
GROUPS = (torch.arange(32)[:, None] // 8 * 4 + torch.arange(32)[None] // 8).view(1, 1, 32, 32)
TARGETS = [1, 2, 4]
"""For which Grad-CAM keeps something of each image."""
LIGHT = (0.01, 0.01)
"""Regularizers under which masks delete: scores of the small model move by hundredths."""
UNIT = 0.25
"""The classifier's standard deviation, also where it stands inside another module."""
METHODS = {
    "guided": lambda m: Configured(GuidedIG(m), n_steps=3),
    "blur": lambda m: Configured(BlurIG(m, 4.0), n_steps=3),
    "idgi": lambda m: Configured(IDGI(IntegratedGradients(m)), n_steps=3),
    "idgi-guided": lambda m: Configured(IDGI(GuidedIG(m)), n_steps=3),
    "igos": lambda m: Configured(IGOS(m, 8, *LIGHT), n_iter=2),
    "igos+": lambda m: Configured(IGOSPlus(m, 8, *LIGHT), n_iter=1),
    "igos++": lambda m: Configured(IGOSPlusPlus(m, 8, *LIGHT), n_iter=2, feature_mask=GROUPS),
    "published": lambda m: Configured(
        IGOSPlusPlus.published(m, 8, *LIGHT, unit=UNIT), n_iter=1, n_steps=3
    ),
    "mask": lambda m: Configured(MeaningfulPerturbation(m, 8), n_iter=2),
    "rise": lambda m: Configured(RISE(m, 4), n_masks=9, perturbations_per_eval=4),
    "grad-cam": GradCam,
    "guided-backprop": GuidedBackprop,
    "guided-grad-cam": GuidedGradCam,
}
LONGER = {
    "guided": lambda m: Configured(GuidedIG(m), n_steps=9),
    "blur": lambda m: Configured(BlurIG(m, 4.0), n_steps=40, internal_batch_size=12),
    "idgi": lambda m: Configured(IDGI(IntegratedGradients(m)), n_steps=40, internal_batch_size=12),
    "idgi-guided": lambda m: Configured(IDGI(GuidedIG(m)), n_steps=9),
    "igos": lambda m: Configured(IGOS(m, 8, *LIGHT), n_iter=3),
    "igos+": lambda m: Configured(IGOSPlus(m, 8, *LIGHT), n_iter=3),
    "igos++": lambda m: Configured(IGOSPlusPlus(m, 8, *LIGHT), n_iter=3, feature_mask=GROUPS),
    "published": lambda m: Configured(
        IGOSPlusPlus.published(m, 8, *LIGHT, unit=UNIT), n_iter=3, n_steps=2
    ),
    "mask": lambda m: Configured(MeaningfulPerturbation(m, 8, *LIGHT), n_iter=8),
    "rise": lambda m: Configured(RISE(m, 4), n_masks=40, perturbations_per_eval=4),
}
"""Methods over enough model calls that what each call costs shows."""
UNSURE = replace(T.INFORMATION_PRESETS["xrai"], min_score=0.0)
"""The small model answers with a fifth, which the preset excludes."""
METRICS = {
    "insertion": lambda m, put: (T.Insertion(m, n_steps=3), (put(IMAGES), put(MAPS), BASE, 1)),
    "deletion": lambda m, put: (
        T.Deletion(m, n_steps=3),
        (put(IMAGES), put(MAPS), None, 1, None, GROUPS),
    ),
    "road": lambda m, put: (T.ROAD(m), (put(IMAGES), put(MAPS), 1)),
    "aic": lambda m, put: (T.AIC(m), (put(IMAGES), put(MAPS), None, 1)),
    "sic": lambda m, put: (T.SIC(m, "entropy", UNSURE), (put(IMAGES), MAPS, None, 1)),
    "localization": lambda m, put: (T.Localization(), (put(MAPS), INSIDE)),
    "parameters": lambda m, put: (T.ParameterRandomization(Saliency), (m, put(IMAGES), 1)),
    "labels": lambda m, put: (T.DataRandomization(Saliency), (m, put(network(1)), put(IMAGES), 1)),
}
SLOW = ("parameters", "labels")
"""Metrics that take a second or more where every operation is watched."""


def network(seed=0):
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, 2),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(5),
        nn.Flatten(),
        nn.Linear(150, 5),
    )
    return ImageClassifier(net.eval(), [0.5] * 3, [0.25] * 3).eval()


MODEL = network()
