"""Maps over images: as they are, or, for the eye alone, smoothed or in lines."""

import numpy as np
import pytest
import torch

from captum_ext.viz import overlay
from captum_ext.viz.maps import Explained, explanation_figure
from captum_ext.viz.overlays import drawn_as

IMAGE = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0))
GREY = IMAGE.mean(0).numpy()[..., None]
# A bright spot, of either sign.
SPOT = torch.zeros(3, 20, 30)
SPOT[0, 9:11, 14:17], SPOT[1, 9:11, 14:17] = -1.0, 2.0


def test_pixels_are_the_map_itself_and_the_default():
    made = overlay(IMAGE, SPOT)
    np.testing.assert_array_equal(made, overlay(IMAGE, SPOT, style="pixels"))
    off = np.ones((20, 30), bool)
    off[9:11, 14:17] = False
    np.testing.assert_allclose(made[off], (0.8 * GREY.repeat(3, -1))[off], atol=1e-6)


def test_a_smooth_map_spreads_and_stays_where_it_was():
    change = np.abs(overlay(IMAGE * 0, SPOT, style="smooth")).sum(-1)
    top = np.unravel_index(change.argmax(), change.shape)
    assert 9 <= top[0] <= 10
    assert 14 <= top[1] <= 16
    assert 0 < change[8, 15] < change[9, 15]
    assert change[15, 15] < 0.02
    np.testing.assert_allclose(change, overlay(IMAGE * 0, -SPOT, style="smooth").sum(-1))


def test_lines_surround_the_strongest_pixels():
    slope = torch.arange(20.0).view(1, 20, 1).expand(1, 20, 30)
    made = overlay(IMAGE, slope, style="contour")
    lines = np.abs(made - 0.85 * GREY).max(-1) > 1e-3
    rows = np.flatnonzero(lines.all(1))
    # The strongest fifth are the last four rows, a tenth the last two, a twentieth the last one.
    np.testing.assert_array_equal(rows, [16, 18, 19])
    assert lines.sum() == 90
    assert len({tuple(made[row, 3]) for row in rows}) == 3


def test_rounding_on_a_plateau_draws_no_line():
    plateau = torch.zeros(1, 20, 30)
    plateau[:, :, 15:] = 1.0 + 2e-7 * IMAGE[:1, :, 15:]
    made = overlay(IMAGE, plateau, style="contour")
    lines = np.abs(made - 0.85 * GREY).max(-1) > 1e-3
    assert lines.any()
    assert not lines[:, 20:].any()


@pytest.mark.parametrize("style", ["pixels", "smooth", "contour"])
def test_what_is_no_map_is_not_drawn(style):
    made = overlay(IMAGE, torch.full((3, 20, 30), 6e-8), least=1e-3, style=style)
    np.testing.assert_allclose(made / made.max(), (GREY / GREY.max()).repeat(3, -1), atol=1e-6)


def test_an_unknown_style_is_named():
    with pytest.raises(ValueError, match="`style` is one of pixels, smooth, contour, but got 'x'"):
        overlay(IMAGE, SPOT, style="x")


@pytest.mark.parametrize("style", ["smooth", "contour"])
def test_the_figure_says_how_it_was_drawn(style):
    said = drawn_as(style, 20, 30)
    assert "by 1 px for display; scores are of the unsmoothed map." in said

    def caption(style):
        rows = [Explained("IG", SPOT, {})]
        figure = explanation_figure(IMAGE, [("cat", 0.9)], rows, "cat", "black", style=style)
        return " ".join(text.get_text() for part in figure.subfigs for text in part.texts)

    assert said in caption(style).replace("\n", " ")
    assert "smoothed" not in caption("pixels")
