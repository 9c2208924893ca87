"""Pictures of the parameter randomization test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from captum_ext.maps import absolute_map

if TYPE_CHECKING:
    from captum_ext.metrics.sanity.checks import ParameterRandomization


def plot_stages(check: ParameterRandomization, ax: Any = None) -> Any:
    """Draws each similarity against the stages, from the output on; figure and axes.

    Dotted is what maps without any relation would have.
    """
    import matplotlib.pyplot as plt

    figure, ax = (ax.get_figure(), ax) if ax is not None else plt.subplots(layout="constrained")
    for name, values in check.by_stage().items():
        # The unrandomized model's map equals itself.
        (line,) = ax.plot([1.0, *values.tolist()], marker="o", markersize=3, label=name)
        chance = float(check.chance[name].nanmean())
        ax.axhline(chance, color=line.get_color(), linewidth=0.8, linestyle=":")
    names = ["original", *(row["stage"] for row in check.report)]
    ax.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
    ax.set_ylabel("similarity with the original map")
    ax.set_xlabel(f"randomized, {check.order}")
    ax.legend()
    return figure, ax


def plot_cascade(
    checks: Mapping[str, ParameterRandomization], image: Tensor | None = None, example: int = 0
) -> Any:
    """Draws the maps of one example: rows are methods, columns stages, as in the paper.

    Args:
        checks: filled checks over the same model and examples, by name of the method.
        image: (channels, height, width) in [0, 1], shown in front.
        example: which of the kept examples.

    Returns:
        The figure.
    """
    import matplotlib.pyplot as plt

    first = next(iter(checks.values()))
    if any(len(c.maps) <= example or c.maps[example].dim() != 4 for c in checks.values()):
        raise ValueError(
            f"`example` {example} is not among the kept maps of images of every check: `update` "
            "them, with `keep_maps` above it."
        )
    titles = ["original", *(row["stage"] for row in first.report)]
    front = 0 if image is None else 1
    size = (1.1 * (len(titles) + front), 1.25 * len(checks) + 0.6)
    figure, axes = plt.subplots(
        len(checks), len(titles) + front, figsize=size, squeeze=False, layout="constrained"
    )
    for row, (name, check) in zip(axes, checks.items(), strict=True):
        for ax in row:
            ax.set(xticks=[], yticks=[])
        if image is not None:
            row[0].imshow(image.detach().cpu().permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray")
        for ax, stage_map in zip(row[front:], absolute_map(check.maps[example]), strict=True):
            ax.imshow(stage_map.numpy(), cmap="gray", vmin=0, vmax=1)
        row[0].set_ylabel(name, fontsize=8)
    for ax, title in zip(axes[0, front:], titles, strict=True):
        ax.set_title(title, fontsize=6, rotation=90)
    return figure
