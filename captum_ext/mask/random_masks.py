"""Random masks: coarse grids of kept cells, enlarged and shifted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from captum_ext._numbers import real
from captum_ext._tensors import sent

__all__ = ["RandomMasks"]

# Masks are drawn in blocks of one size, so that the draw does not depend on how they are used.
BLOCK = 256


@dataclass(frozen=True)
class RandomMasks:
    """The masks of RISE (Petsiuk, Das and Saenko, BMVC 2018, section 3.2).

    A grid of ``cells``, each kept with probability ``keep``, is enlarged bilinearly to a cell
    more than the image and cropped at a random offset within one cell. Its mean is ``keep``.

    Args:
        cells: along height and width.
        keep: probability that a cell is kept, in (0, 1).
        size: height and width of the image.

    Raises:
        ValueError: if ``cells`` exceed the image or ``keep`` is not in (0, 1).

    >>> masks = RandomMasks((7, 7), 0.5, (32, 32))
    >>> drawn = next(masks.blocks(torch.Generator().manual_seed(0)))
    >>> masks.of(drawn, slice(0, 10)).shape
    torch.Size([10, 1, 32, 32])
    """

    cells: tuple[int, int]
    keep: float
    size: tuple[int, int]

    def __post_init__(self) -> None:
        if not 0 < real("keep", self.keep) < 1:
            raise ValueError(
                f"`keep` is the probability that a cell is kept, in (0, 1), but got {self.keep}."
            )
        if min(self.cells) < 1 or any(c > s for c, s in zip(self.cells, self.size, strict=True)):
            raise ValueError(
                f"`cells` must be at least 1 and not exceed the image, but got "
                f"{self.cells[0]} x {self.cells[1]} for {self.size[0]} x {self.size[1]}."
            )

    def blocks(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Kept cells (256, 1, h, w) and offsets (256, 2), block by block without an end."""
        while True:
            kept = torch.rand((BLOCK, 1, *self.cells), generator=generator) < self.keep
            corners = [torch.randint(c, (BLOCK,), generator=generator) for c in self._cell()]
            yield kept, torch.stack(corners, 1)

    def sent(self, block: tuple[Tensor, Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
        """A block on a device, without waiting for it."""
        return sent(block[0], device, torch.float32), sent(block[1], device, torch.int64)

    def of(self, block: tuple[Tensor, Tensor], part: slice) -> Tensor:
        """Some masks of a block, (M, 1, height, width), in [0, 1], on the block's device."""
        kept, corners = block[0][part].float(), block[1][part]
        counts = zip(self.cells, self._cell(), strict=True)
        large = F.interpolate(kept, [(n + 1) * cell for n, cell in counts], mode="bilinear")
        ys, xs = (
            corner[:, None] + torch.arange(side, device=large.device)
            for corner, side in zip(corners.T, self.size, strict=True)
        )
        each = torch.arange(len(large), device=large.device)[:, None, None]
        return large[each, 0, ys[:, :, None], xs[:, None]][:, None]

    @staticmethod
    def ahead(
        masks: Sequence[RandomMasks],
        devices: Sequence[torch.device],
        generator: torch.Generator,
        n_blocks: int,
    ) -> Iterator[list[tuple[Tensor, Tensor]]]:
        """The next block of each of several masks, all drawn by one generator, on their devices.

        Sent in groups, each twice as many as the one before: what is copied does not grow with
        what is asked, and a run that stops early has drawn few in vain.

        Args:
            masks: whose blocks are drawn in turn.
            devices: of each.
            generator: of all.
            n_blocks: how many there are at most.
        """
        streams = [one.blocks(generator) for one in masks]
        most = 1
        while n_blocks > 0:
            n = min(most, n_blocks)
            most, n_blocks = 2 * most, n_blocks - n
            drawn = [[next(stream) for stream in streams] for _ in range(n)]
            there = []
            for one, device, own in zip(masks, devices, zip(*drawn, strict=True), strict=True):
                kept, corners = zip(*own, strict=True)
                there.append(one.sent((torch.cat(kept), torch.cat(corners)), device))
            for start in range(0, n * BLOCK, BLOCK):
                part = slice(start, start + BLOCK)
                yield [(kept[part], corners[part]) for kept, corners in there]

    def _cell(self) -> tuple[int, int]:
        return -(-self.size[0] // self.cells[0]), -(-self.size[1] // self.cells[1])
