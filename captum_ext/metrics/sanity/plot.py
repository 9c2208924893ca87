"""`plot_cascade`: the maps and similarities of sanity checks, as a picture."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from torch import Tensor

from captum_ext.metrics.base.bootstrap import ends_of_mean
from captum_ext.metrics.sanity.checks import ParameterRandomization
from captum_ext.viz.cascade import Cascade, cascade_figure


def plot_cascade(
    checks: Mapping[str, ParameterRandomization],
    image: Tensor | None = None,
    example: int = 0,
    labels: Mapping[str, str] | None = None,
    least: Mapping[str, float] | None = None,
) -> Figure:
    """Draws the maps of one example, rows methods and columns stages, and all similarities.

    Args:
        checks: filled checks over the same model and examples, by the method's name.
        image: (channels, height, width) in [0, 1], shown in front.
        example: which of the kept examples.
        labels: how methods are called, by name.
        least: by name what a map must exceed to be drawn: without any larger value it is no
            evidence. 0 for those that are not named.

    Raises:
        ValueError: if the example's maps were not kept, or are no images.

    >>> import torch
    >>> from captum.attr import Saliency
    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(72, 2))
    >>> check = ParameterRandomization(Saliency, similarity=["spearman"])
    >>> check.update(net, torch.rand(1, 3, 8, 8), target=1)
    >>> len(plot_cascade({"gradient": check}).axes)  # three maps and the similarity
    4
    """
    if any(len(c.maps) <= example or c.maps[example].dim() != 4 for c in checks.values()):
        raise ValueError(
            f"`example` {example} is not among the kept maps of images of every check: `update` "
            "them, with `keep_maps` above it."
        )
    rows = [
        Cascade(
            (labels or {}).get(name, name),
            [row["stage"] for row in check.report],
            check.maps[example],
            {key: by_stage(values) for key, values in check.per_example.items()},
            {key: float(values.nanmean()) for key, values in check.chance.items()},
            (least or {}).get(name, 0.0),
        )
        for name, check in checks.items()
    ]
    return cascade_figure(image, rows)


def by_stage(values: Tensor) -> tuple[list[float], list[float], list[float]]:
    """The mean of each stage, and the ends of its 95 % bootstrap interval over images.

    Args:
        values: (images, stages), nan where undefined.

    >>> import torch
    >>> by_stage(torch.tensor([[0.5]] * 6))
    ([0.5], [0.5], [0.5])
    """
    ends = [ends_of_mean(column) for column in values.unbind(1)]
    lows, highs = ([end[side] for end in ends] for side in (0, 1))
    return values.nanmean(0).tolist(), lows, highs
