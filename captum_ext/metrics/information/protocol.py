"""`InformationProtocol`: how an information curve is measured; three published presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captum_ext.curve import PNG, WEBP_FULL, Base, Blurred, Interpolated
from captum_ext.curve.bases import as_base
from captum_ext.curve.codec import Codec
from captum_ext.curve.ranking import REDUCTIONS
from captum_ext.registry import PRESETS as _PRESETS

LEVELS = ("entropy", "ms_ssim")


@dataclass(frozen=True)
class InformationProtocol:
    """Everything that decides an information curve, but the model and the level.

    Args:
        name: of the preset.
        base: what is shown where nothing is revealed: a `captum_ext.curve.Base`, a number or a
            function from images to others.
        fractions: share of pixels revealed per frame, rising from 0 to 1.
        codec: whose file size measures information, for the level "entropy". Its effort decides
            the number too: the blurred base of photographs holds .30 of the original's size
            under `WEBP_FULL`, PAIR's, and .39 under the faster `WEBP` (mean of 24).
        n_bins: into how many equal bins of x the frames of all images are put; None keeps a
            curve per image, both axes rescaled between its base and its original.
        n_points: on how many even points curves per image are interpolated.
        aggregate: "mean" or "median" over the images' curves.
        min_score: images whose original answers below are excluded.
        reduction: how channels become one rank: "sum" or "abs_sum".
        seed: of the order among equals.
    """

    name: str
    base: Base
    fractions: tuple[float, ...]
    codec: Codec = WEBP_FULL
    n_bins: int | None = None
    n_points: int = 1001
    aggregate: str = "mean"
    min_score: float = 0.8
    reduction: str = "abs_sum"
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "base", as_base(self.base))
        f = self.fractions
        if len(f) < 2 or f[0] != 0 or f[-1] != 1 or any(b <= a for a, b in pairwise(f)):
            raise ValueError(f"`fractions` rise from 0 to 1, but got {f}.")
        if self.aggregate not in ("mean", "median"):
            raise ValueError(f'`aggregate` is "mean" or "median", but got {self.aggregate!r}.')
        if self.reduction not in REDUCTIONS:
            raise ValueError(f"`reduction` is one of {[*REDUCTIONS]}, but got {self.reduction!r}.")
        if (self.n_bins is not None and self.n_bins < 1) or self.n_points < 2:
            raise ValueError(
                "`n_bins` is at least 1 and `n_points` at least 2, but got "
                f"{self.n_bins} and {self.n_points}."
            )

    def counts(self, n_features: Tensor) -> Tensor:
        """How many pixels each frame reveals, (N, frames).

        As many as are not below the quantile 1 - fraction of a map without ties.
        """
        shares = torch.tensor(self.fractions, dtype=torch.float64)
        # Away from the rounding error of a product that is whole.
        places = (shares * (n_features[:, None].cpu() - 1)).mul(1e9).round().div(1e9).floor()
        return torch.where(shares > 0, places + 1, 0).long().to(n_features.device)

    @property
    def description(self) -> dict[str, Any]:
        """The protocol as plain data."""
        return {
            "preset": self._title,
            "base": repr(self.base),
            "fractions": list(self.fractions),
            "codec": self.codec.version,
            "scale": "as read" if self.n_bins else "per image, between base and original",
            "n_bins": self.n_bins or 0,
            "n_points": self.n_points,
            "aggregate": "binned over the data set" if self.n_bins else self.aggregate,
            "min_score": 0.0 if self.n_bins else self.min_score,
            "reduction": self.reduction,
            "ties": f"shuffled with seed {self.seed}",
        }

    @property
    def _title(self) -> str:
        """The preset's name, and what differs from it: then it is another measure."""
        known = PRESETS.get(self.name)
        if known is None:
            return self.name
        mine, theirs = _unseeded(self), _unseeded(known)
        names = (f.name for f in fields(self))
        changed = [n for n in names if getattr(mine, n) != getattr(theirs, n)]
        return f"{self.name}, but for {', '.join(changed)}" if changed else self.name


def _unseeded(how: InformationProtocol) -> InformationProtocol:
    base = replace(how.base, seed=0) if isinstance(how.base, Interpolated) else how.base
    return replace(how, seed=0, base=base)


_XRAI = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.10, 0.13, 0.21, 0.34, 0.5, 0.75)

IDGI = InformationProtocol("idgi", Blurred(20.0), tuple(np.linspace(0, 1, 25).tolist()), n_bins=100)
"""Yang, Wang and Bilgic (CVPR 2023): frames of the whole data set in bins of x."""
XRAI = InformationProtocol("xrai", Interpolated(0.01), (0.0, *_XRAI, 1.0), aggregate="median")
"""PAIR's ``compute_pic_metric`` after Kapishnikov et al. (ICCV 2019): a curve per image."""
TMLR = InformationProtocol("tmlr", Blurred(20.0), tuple(i / 20 for i in range(21)), codec=PNG)
"""arXiv 2409.09043: as ``XRAI`` over a blurred base, 5 % steps and PNG."""

PRESETS: Mapping[str, InformationProtocol] = _PRESETS["information"]
"""The papers' protocols by name."""
