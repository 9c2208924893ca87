"""Aligned contributions, over any integration path: this package's own method."""

from __future__ import annotations

from captum_ext.attr.idgi import OverMethod
from captum_ext.path.rules import aligned_contribution


class AlignedContribution(OverMethod):
    """Each step's rise, shared out among the features that push with it; not from a paper.

    Keeps a method's path. The contribution of a feature to a step is gradient times
    displacement, as in Integrated Gradients; those with the sign of the step's rise share it in
    proportion, the others get nothing (`captum_ext.path.aligned_contribution`, with its
    equation). Attributions sum to the rise over the whole path for any number of steps, and do
    not depend on features' units. They are not linear in the model: of a linear function whose
    path rises, features that lower it get 0. Costs one forward pass more than the method.

    Args:
        method: Captum's IntegratedGradients, `GuidedIG`, `BlurIG`, `PathAttribution`, or an
            instance of a class registered with `path_of`.
        placement: where the steps are on a path that is known beforehand; None for those of the
            method.

    Raises:
        TypeError: for a method without a path.
        ValueError: for a placement over `GuidedIG`, which finds its own points.

    >>> import torch
    >>> from captum.attr import IntegratedGradients
    >>> method = AlignedContribution(IntegratedGradients(lambda x: x[:, 0] * 4 - x[:, 1] + x[:, 2]))
    >>> method.attribute(torch.tensor([[1.0, 2.0, 1.0]]))
    tensor([[2.4000, 0.0000, 0.6000]])
    """

    over_rule = aligned_contribution
