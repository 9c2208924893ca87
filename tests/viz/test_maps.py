"""Pictures show what a map says, and nothing where it says nothing."""

import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text

from captum_ext._text import pictured
from captum_ext.attr.mask_attribution import NOTHING
from captum_ext.curve import Curve
from captum_ext.maps import PERCENTILE
from captum_ext.viz import heat, overlay
from captum_ext.viz.cascade import Cascade, cascade_figure
from captum_ext.viz.maps import Explained, draw_curves, explanation_figure, least_credit
from captum_ext.viz.thumbnails import map_thumbnail

LEVEL = Curve(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 0.5]]))
CURVES = {"insertion_abs": LEVEL, "deletion_abs": LEVEL}


def maps(scale):
    return scale * torch.rand(3, 9, 9, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("scale", [1e-30, 1e-9, 1.0, 1e9])
def test_a_signed_maps_picture_does_not_depend_on_its_scale(scale):
    torch.testing.assert_close(torch.as_tensor(heat(maps(scale))), torch.as_tensor(heat(maps(1.0))))


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0, -4.0, 1e6])
def test_what_only_rounding_tells_apart_is_no_picture(level):
    nearly = torch.full((3, 9, 9), level) * (1 + 1e-7 * torch.randn(3, 9, 9))
    assert not heat(nearly).any()
    assert heat(nearly + 1e-4 * maps(1 + abs(level))).any()


def test_a_mask_below_half_a_grey_level_is_no_picture():
    diamond = torch.zeros(3, 9, 9)
    diamond[:, 3:6, 3:6] = 6e-8
    assert not heat(diamond, least=NOTHING).any()
    image = maps(1.0)
    nothing = overlay(image, torch.zeros_like(diamond))
    assert (overlay(image, diamond, least=NOTHING) == nothing).all()
    # What is said to be invisible is: a blend with anything rounds to the same 8 bits, half up.
    grey = torch.arange(256) / 255
    blended = grey + 0.999 * NOTHING * (torch.rand(100, 256) - grey)
    assert ((blended * 255).round() == grey * 255).all()
    assert heat(diamond * 1e6, least=NOTHING).any()


def test_credit_that_sums_to_less_than_the_scores_rounding_is_no_picture():
    least = least_credit(0.25, 3 * 81)
    assert least * 3 * 81 == pytest.approx(0.25 * 2**-23)
    assert not heat(maps(least), least=least).any()
    assert heat(maps(2 * least), least=least).any()


def words(figure):
    """All texts of a figure, as matplotlib lays them out."""
    return [t for t in figure.findobj(lambda a: hasattr(a, "get_text")) if t.get_text()]


def test_what_there_is_nothing_to_see_of_is_said():
    image = torch.rand(3, 9, 9)
    rows = [
        Explained("I-GOS", torch.full((3, 9, 9), 6e-8), CURVES, NOTHING),
        Explained("IG", maps(1.0), CURVES),
        Explained("Saliency", None, {}, problem="no gradient reaches the input"),
    ]
    figure = explanation_figure(image, [("cat", 0.9)], rows, "cat", "black")
    said = [t.get_text().replace("\n", " ") for t in words(figure)]
    assert said.count("no evidence found") == 1
    assert "no map: no gradient reaches the input" in said


def test_a_cascade_and_a_thumbnail_show_no_rounding_either():
    diamond = torch.zeros(3, 9, 9)
    diamond[:, 3:6, 3:6] = 6e-8
    row = Cascade("I-GOS", ["head"], torch.stack([diamond, maps(1.0)]),
                  {"ssim": ([0.1], [0.0], [0.2])}, least=NOTHING)  # fmt: skip
    said = [t.get_text() for t in words(cascade_figure(torch.rand(3, 9, 9), [row]))]
    assert said.count("no evidence") == 1
    blank = map_thumbnail(torch.zeros_like(diamond))
    assert map_thumbnail(diamond, least=NOTHING) == blank != map_thumbnail(diamond)


@pytest.mark.parametrize("name", ["$x$", "a$b_c$", "_x", "\\frac", "x" * 999, "\udcff", "\x1b[31m"])
def test_names_are_drawn_letter_by_letter(name):
    row = Explained(name, maps(1.0), CURVES)
    figure = explanation_figure(torch.rand(3, 9, 9), [(name, 0.9)], [row], name, "black")
    figure.canvas.draw()
    for text in words(figure):
        assert not text.get_text().count("$") - text.get_text().count(r"\$")
        assert len(text.get_text()) < 90 or text.get_text().startswith("Maps: ")
    assert figure.get_suptitle() == f"Why {pictured(name)}?"


def test_scores_have_no_bars_and_no_unit_range():
    level = Curve(torch.tensor([[0.0, 1.0]]), torch.tensor([[40.0, 60.0]]))
    curves = {"insertion_abs": level, "deletion_abs": level}
    row = Explained("IG", maps(1.0), curves)
    figure = explanation_figure(torch.rand(3, 9, 9), [("age", 60.0)], [row], "age", "x", "score")
    _, bars, insertion, _ = figure.axes[:4]
    assert not bars.patches
    assert insertion.get_ylim()[1] > 50
    assert insertion.get_ylabel() == "score of age"


def test_a_legend_leaves_out_no_label():
    axes = Figure().subplots()
    draw_curves(axes, [LEVEL, LEVEL], ["_mine", "other"], "")
    assert len(axes.get_legend().get_texts()) == 2


def test_a_figure_says_what_its_colors_mean_and_hides_no_small_probability():
    row = Explained("IG", torch.rand(3, 8, 8), {})
    figure = explanation_figure(
        torch.rand(3, 8, 8), [("cat", 0.996), ("dog", 0.004)], [row], "", ""
    )
    texts = [" ".join(text.get_text().split()) for text in figure.findobj(Text)]
    assert any("own scale" in text and f"{PERCENTILE:g}th percentile" in text for text in texts)
    assert "dog < 0.005" in texts
    assert not any("0.00 " in f"{text} " for text in texts)
    empty = Explained("IG", None, {}, problem="no gradient")
    figure = explanation_figure(torch.rand(3, 8, 8), [("cat", 1.0)], [empty], "", "")
    assert not any("own scale" in text.get_text() for text in figure.findobj(Text))


@pytest.mark.parametrize(("n", "rows"), [(1, 1), (2, 1), (3, 2), (7, 4)])
def test_overlays_stand_where_there_is_room(n, rows):
    made = [Explained(f"{k}", torch.rand(3, 8, 8), {}) for k in range(n)]
    figure = explanation_figure(torch.rand(3, 8, 8), [("cat", 1.0)], made, "cat", "black")
    figure.canvas.draw()
    pictures = [a.get_window_extent() for p in figure.subfigs[1:] for a in p.axes if a.images]
    assert len(pictures) == 2 * n
    assert len({round(one.y0) for one in pictures}) == rows
