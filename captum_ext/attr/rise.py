"""RISE: what the score of randomly masked images says of each pixel."""

from __future__ import annotations

from itertools import count
from typing import Any, Literal, overload

import torch
from torch import Tensor

from captum_ext._captum import PerturbationAttribution, log_usage
from captum_ext._memory import Halvable, default_chunk
from captum_ext._numbers import pair, real, whole
from captum_ext._progress import Work
from captum_ext._random import stream
from captum_ext._tensors import accumulation_dtype, format_baselines, format_inputs, format_output
from captum_ext._typing import Baselines, Form, Forward, Inputs, Target, Tensors
from captum_ext.mask.advanced import RandomMasks
from captum_ext.mask.random_masks import BLOCK
from captum_ext.score import Score, require_model

__all__ = ["RISE"]


class RISE(PerturbationAttribution):
    """Randomized Input Sampling for Explanation (Petsiuk, Das and Saenko, BMVC 2018).

    The map is the mean of ``f(I * m + I' * (1 - m)) * m / keep`` over random masks m (equation 6),
    which needs no gradient. Its defaults are the paper's for VGG16; for ResNet50 it draws 8,000.

    Args:
        forward_func: the model or function that is explained.
        cells: cells of a mask along height and width; the paper's 7 x 7.
        keep: probability that a cell is kept, in (0, 1).

    >>> images = torch.rand(1, 3, 16, 16)
    >>> rise = RISE(lambda x: x[:, :, 4:8, 4:8].mean((1, 2, 3)), cells=4)
    >>> maps = rise.attribute(images, n_masks=500, perturbations_per_eval=50)
    >>> bool(maps[:, :, 4:8, 4:8].mean() > 1.2 * maps.mean())
    True
    """

    def __init__(
        self, forward_func: Forward, cells: int | tuple[int, int] = 7, keep: float = 0.5
    ) -> None:
        """As the class says."""
        require_model(forward_func)
        super().__init__(forward_func)
        self.cells = pair("cells", cells)
        self.keep = keep
        RandomMasks(self.cells, keep, self.cells)  # refuses wrong numbers early

    def get_name(self) -> str:
        """The method's name in the paper."""
        return "RISE"

    @overload
    def attribute(
        self,
        inputs: Form,
        baselines: Baselines = ...,
        target: Target = ...,
        additional_forward_args: Any = ...,
        n_masks: int = ...,
        seed: int = ...,
        perturbations_per_eval: int = ...,
        show_progress: bool = ...,
        return_standard_error: Literal[False] = ...,
        tolerance: float | None = ...,
    ) -> Form: ...

    @overload
    def attribute(
        self,
        inputs: Form,
        baselines: Baselines = ...,
        target: Target = ...,
        additional_forward_args: Any = ...,
        n_masks: int = ...,
        seed: int = ...,
        perturbations_per_eval: int = ...,
        show_progress: bool = ...,
        *,
        return_standard_error: Literal[True],
        tolerance: float | None = ...,
    ) -> tuple[Form, Form]: ...

    @overload
    def attribute(
        self,
        inputs: Inputs,
        baselines: Baselines = ...,
        target: Target = ...,
        additional_forward_args: Any = ...,
        n_masks: int = ...,
        seed: int = ...,
        perturbations_per_eval: int = ...,
        show_progress: bool = ...,
        return_standard_error: bool = ...,
        tolerance: float | None = ...,
    ) -> Inputs | tuple[Inputs, Inputs]: ...

    @log_usage()
    @torch.no_grad()
    def attribute(
        self,
        inputs: Inputs,
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        n_masks: int = 4000,
        seed: int = 0,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
        return_standard_error: bool = False,
        tolerance: float | None = None,
    ) -> Any:
        """The expected score of images that show a pixel; alike over an image's channels.

        Args:
            inputs: images (N, C, H, W), or a tuple of them with masks of their own. Integer
                images are shown to the model as integers: what masks blend is rounded.
            baselines: what hidden pixels become; None is 0, as in the paper.
            target: what of the model's output is explained, as in Captum.
            additional_forward_args: further arguments of the model, as in Captum.
            n_masks: masks drawn, the same for all examples.
            seed: decides the masks, whatever the global random state.
            perturbations_per_eval: masks of each example in one model call, at most 256.
            show_progress: a bar on a terminal, a line now and then in a file.
            return_standard_error: whether to return the map's standard error too.
            tolerance: an example stops once the largest standard error of its map is at most
                this, in units of the score; asked every 256 masks.

        Returns:
            The map, and with ``return_standard_error`` its standard error, in the inputs' shape.

        Raises:
            ValueError: if inputs are not images, or the model gives nan.
        """
        images = format_inputs(inputs, needs_gradient=False)
        _check(images, n_masks, perturbations_per_eval, tolerance, return_standard_error)
        rows = images[0].shape[0] * perturbations_per_eval
        if perturbations_per_eval == 1 or isinstance(perturbations_per_eval, Halvable):
            rows = Halvable(min(rows, default_chunk(images)))  # nobody chose them
        score = Score(self.forward_func, images, target, additional_forward_args, chunk=rows)
        with (
            score.borrowed(),
            Work(n_masks, "mask", "RISE", shown=show_progress) as work,
        ):
            references = format_baselines(baselines, images)
            sums = _Sums(images)
            masks = [RandomMasks(self.cells, self.keep, (x.shape[2], x.shape[3])) for x in images]
            devices, n_blocks = [x.device for x in images], -(-n_masks // BLOCK)
            drawn_ahead = RandomMasks.ahead(masks, devices, stream(seed), n_blocks)
            for start, blocks in zip(count(0, BLOCK), drawn_ahead, strict=False):
                ends = min(BLOCK, n_masks - start)
                active = sums.above(tolerance)
                if not len(active):
                    break
                for i in range(0, ends, perturbations_per_eval):
                    part = slice(i, min(i + perturbations_per_eval, ends))
                    drawn = tuple(m.of(b, part) for m, b in zip(masks, blocks, strict=True))
                    values = _scores(score, images, references, drawn, active)
                    sums.add(values / self.keep, drawn, active)
                    work.update(part.stop - part.start)
            found = format_output(sums.means(), inputs)
            return (found, format_output(sums.errors(), inputs)) if return_standard_error else found


class _Sums:
    """Sums over masks of score * mask and of its square, each example with its own count."""

    def __init__(self, images: Tensors) -> None:
        self.images = images
        dtype = accumulation_dtype(images[0].device)
        n = images[0].shape[0]
        self.first = [x.new_zeros(n, x[0, 0].numel(), dtype=dtype) for x in images]
        self.second = [torch.zeros_like(s) for s in self.first]
        self.count = self.first[0].new_zeros(n, 1)

    def add(self, values: Tensor, masks: Tensors, active: Tensor) -> None:
        for first, second, m in zip(self.first, self.second, masks, strict=True):
            flat = m.flatten(1).to(first)
            first.index_add_(0, active, values.to(first) @ flat)
            second.index_add_(0, active, values.to(first).square() @ flat.square())
        self.count[active] += values.shape[1]

    def above(self, tolerance: float | None) -> Tensor:
        """The examples that have not reached the tolerance."""
        everyone = torch.arange(len(self.count), device=self.count.device)
        if tolerance is None or not self.count.any():
            return everyone
        errors = torch.cat([e.flatten(1) for e in self.errors()], 1).amax(1)
        return everyone[~(errors <= tolerance)]

    def means(self) -> Tensors:
        return self._shaped([s / self.count for s in self.first])

    def errors(self) -> Tensors:
        pairs = zip(self.first, self.second, strict=True)
        variances = [(two - one**2 / self.count) / (self.count - 1) for one, two in pairs]
        return self._shaped([(v.clamp(min=0) / self.count).sqrt() for v in variances])

    def _shaped(self, maps: list[Tensor]) -> Tensors:
        pairs = zip(maps, self.images, strict=True)
        return tuple(m.view(-1, 1, *x.shape[2:]).expand_as(x) for m, x in pairs)


def _scores(
    score: Score, images: Tensors, references: Tensors, masks: Tensors, active: Tensor
) -> Tensor:
    """The score of every active example under every mask, (active, masks)."""
    blends = []
    for x, reference, mask in zip(images, references, masks, strict=True):
        kept, hidden = x[active, None], reference[active, None]
        if x.is_floating_point():
            blend = kept * mask.to(x) + hidden * (1 - mask.to(x))
        else:
            blend = (kept * mask + hidden * (1 - mask)).round()
        blends.append(blend.flatten(0, 1))
    return score(tuple(blends), active[:, None].expand(-1, len(masks[0])).flatten()).view(
        len(active), -1
    )


def _check(
    images: Tensors,
    n_masks: int,
    perturbations_per_eval: int,
    tolerance: float | None,
    return_standard_error: bool,
) -> None:
    for x in images:
        if x.dim() != 4:
            raise ValueError(
                f"`inputs` must be images (N, C, H, W) for RISE, but got shape {tuple(x.shape)}: "
                "features of other data are masked by Captum's FeatureAblation or KernelShap; a "
                "single image is given as `inputs[None]`."
            )
    least = 2 if return_standard_error or tolerance is not None else 1
    if whole("n_masks", n_masks) < least:
        raise ValueError(f"`n_masks` must be at least {least}, but got {n_masks}.")
    if whole("perturbations_per_eval", perturbations_per_eval) < 1:
        raise ValueError(
            f"`perturbations_per_eval` counts masks per model call, at least 1, but got "
            f"{perturbations_per_eval}."
        )
    if tolerance is not None and not real("tolerance", tolerance) > 0:
        raise ValueError(f"`tolerance` is a standard error, above 0, but got {tolerance}.")
