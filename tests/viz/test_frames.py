"""Strips and animations hold the frames that curves were read at, and their scores."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from captum_ext.curve import Constant, Curve, rank
from captum_ext.curve.frames import even_counts
from captum_ext.viz import frames
from captum_ext.viz.player import Played

IMAGE = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(0))
CREDIT = torch.randn(3, 6, 6, generator=torch.Generator().manual_seed(1))


def played(*suffixes, n_steps=4):
    x = torch.linspace(0, 1, n_steps + 1)[None]
    names = {"insertion": x / 2, "deletion": 1 - x}
    return Played(
        "IG", CREDIT, {f"{name}{s}": Curve(x, y) for name, y in names.items() for s in suffixes}
    )


@pytest.mark.parametrize(("suffixes", "order"), [(("", "_abs"), "abs_sum"), (("",), "sum")])
def test_frames_are_those_of_the_metrics(suffixes, order):
    one = played(*suffixes)
    ranking = rank((CREDIT[None],), reduction=order)
    counts = even_counts(ranking.n_features, 4)
    shown = Constant(0.0).frames((IMAGE[None],), ranking, counts)
    black, comes = torch.zeros_like(IMAGE), frames._comes(one, 0)
    found = list(frames._frames(IMAGE, black, comes, "insertion", range(5)))
    hidden = list(frames._frames(IMAGE, black, comes, "deletion", range(5)))
    for k in range(5):
        (made,) = shown.make(torch.tensor([0]), counts[0, k : k + 1])
        wanted = (made[0] * 255).round().byte().permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(found[k], wanted)
        np.testing.assert_array_equal(found[k] + hidden[k], found[4])


def test_a_strip_says_share_and_score_of_each_frame():
    figure = frames.frames_figure(IMAGE, IMAGE * 0, [played("")], "cat")
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[:4] == ["0 %\n0.00", "25 %\n0.12", "50 %\n0.25", "100 %\n0.50"]
    assert titles[4:6] == ["0 %\n1.00", "25 %\n0.75"]
    assert [axis.get_ylabel() for axis in figure.axes][::4] == ["IG\ninsertion", "IG\ndeletion"]


def test_an_animation_has_every_frame_that_was_asked(tmp_path):
    file = tmp_path / "frames.gif"
    gray = IMAGE.mean(0, keepdim=True)
    frames.write_frames(file, gray, gray * 0, [played("")] * 2, "cat", comment="mine")
    with Image.open(file) as animation:
        assert animation.info["comment"] == b"mine"
        pictures = [np.asarray(page.convert("RGB")) for page in ImageSequence.Iterator(animation)]
    assert len(pictures) == 5
    assert all((a != b).any() for a, b in pairwise(pictures))
