"""Pictures of maps and curves."""

from captum_ext.viz.cascade import Cascade, cascade_figure
from captum_ext.viz.maps import (
    Explained,
    draw_curves,
    explanation_figure,
    heat,
    history_figure,
    overlay,
)

__all__ = [
    "Cascade",
    "Explained",
    "cascade_figure",
    "draw_curves",
    "explanation_figure",
    "heat",
    "history_figure",
    "overlay",
]
