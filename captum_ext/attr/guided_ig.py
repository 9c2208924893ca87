"""Guided Integrated Gradients."""

from __future__ import annotations

from captum_ext._typing import Forward
from captum_ext.attr.path_attribution import PathAttribution
from captum_ext.path.guided import GuidedPath
from captum_ext.path.placement import Placement
from captum_ext.path.rules import riemann


class GuidedIG(PathAttribution):
    """Guided Integrated Gradients (Kapishnikov et al., CVPR 2021, arXiv:2106.09788).

    Integrates along a path that moves features with small gradients first, and so passes less
    noise. The whole batch walks at once, with one gradient per step and image. The path is far
    from complete at its defaults on large images: the convergence delta tells.

    Args:
        forward_func: the model or function to explain.
        fraction: share of features moved together, in (0, 1].
        max_dist: bound on the distance from the straight line, in [0, 1]; 0 is the straight line.
        placement: None: this path finds its own points, and any placement is refused.

    >>> import torch
    >>> method = GuidedIG(lambda x: x[:, 0] * x[:, 1])
    >>> credit, delta = method.attribute(torch.ones(1, 2), return_convergence_delta=True)
    >>> credit.shape, abs(delta.item()) < 0.05
    (torch.Size([1, 2]), True)
    """

    default_steps: int = 200

    def __init__(
        self,
        forward_func: Forward,
        fraction: float = 0.25,
        max_dist: float = 0.02,
        placement: Placement | None = None,
    ) -> None:
        """As the class says."""
        super().__init__(forward_func, GuidedPath(fraction, max_dist), riemann, placement)
