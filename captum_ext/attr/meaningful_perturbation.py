"""Meaningful perturbation: the mask of Fong and Vedaldi."""

from __future__ import annotations

from captum_ext._typing import Forward
from captum_ext.attr.mask_attribution import MaskAttribution
from captum_ext.attr.start import StartLike
from captum_ext.mask import L1, TV, DeletionTerm, Gradient, MaskGrid, Noise, Step, adam

__all__ = ["MeaningfulPerturbation"]


class MeaningfulPerturbation(MaskAttribution):
    """A mask that deletes the evidence, by Adam on the plain gradient (ICCV 2017, section 4.3).

    The weights are the paper's 1e-4 and 1e-2, which multiply sums over 28 x 28 cells and their
    27 x 28 pairs of neighbors, turned into weights of means; 300 iterations at rate 0.1,
    exponent 3, shifts below 4 pixels. It starts from ones instead of the paper's circle, and
    enlarges bilinearly without a blur.

    Args:
        forward_func: the model or function that is explained; it gives probabilities.
        mask_size: cells along height and width, or None for one per pixel.
        l1_weight: how much deleted area costs.
        tv_weight: how much roughness costs.
        noise_std: noise on the masked images, in standard deviations of the example.
        step: how far a mask moves per iteration; None is Adam at rate 0.1.
        jitter: masked images are shifted by less than this many pixels.
        relative_weights: whether the weights are multiplied by the score of the input.
        start: where the mask begins, a `Start`, or the map or method of one; None is ones.

    >>> import torch
    >>> images = torch.rand(1, 3, 16, 16)
    >>> model = lambda x: x[:, :, 4:8, 4:8].mean((1, 2, 3))
    >>> mask = MeaningfulPerturbation(model, mask_size=8, tv_weight=0.01, jitter=1)
    >>> mask.attribute(images, baselines=0.0, n_iter=5).shape
    torch.Size([1, 3, 16, 16])
    """

    name = "Mask"

    def __init__(
        self,
        forward_func: Forward,
        mask_size: int | tuple[int, int] | None = 28,
        l1_weight: float = 1e-4 * 28 * 28,
        tv_weight: float = 1e-2 * 27 * 28,
        noise_std: float = 0.0,
        step: Step | None = None,
        jitter: int = 4,
        relative_weights: bool = False,
        start: StartLike = None,
    ) -> None:
        """As the class says."""
        super().__init__(
            forward_func,
            grid=MaskGrid(mask_size),
            terms=(DeletionTerm(),),
            regularizers=(L1(l1_weight), TV(tv_weight, exponent=3.0)),
            direction=Gradient(),
            step=step or adam(0.1),
            noise=Noise(noise_std),
            jitter=jitter,
            n_iter=300,
            relative_weights=relative_weights,
            start=start,
        )
