"""A folder with models that behave and misbehave, and images."""

import sys

import numpy as np
import pytest
from PIL import Image

from captum_ext.cli import main

FACTORY = '''
import sys

import torch
from torch import nn

from captum_ext import ImageClassifier

NAMES = ["$a$ and $b$", "_under_", "long" * 99, "no \\udcff UTF-8 \\x1b[31m"]


class Net(nn.Module):
    """Does something else once a gradient is wanted."""

    def __init__(self, instead=None):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.Softplus(), nn.Flatten(),
                                 nn.Linear(676, 4))
        self.instead = instead

    def forward(self, x):
        if self.instead is not None and x.requires_grad:
            self.instead()
        return self.net(x)


def made(net):
    return ImageClassifier(net.eval(), [0.5] * 3, [0.5] * 3, class_names=NAMES)


def classifier():
    return made(Net())


class Detached(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x.detach()).detach()


def detached():
    made = classifier()
    made.model = Detached(made.model)
    return made.eval()


def raising(error):
    def instead():
        raise error

    return made(Net(instead))


def silent():
    return raising(ValueError())


def asserting():
    return raising(AssertionError())


def interrupted():
    return raising(KeyboardInterrupt())


def leaving():
    return raising(SystemExit(0))


def exits():
    sys.exit(0)
'''
IMAGE = ("--model", "mine.py:classifier", "--methods", "ig", "--steps", "2")


def picture(seed, size=28):
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def drawn():
    """For tests that look at a figure: it is drawn."""


FIGURES = (
    "cli.explain.explanations_figure",
    "cli.explain.history_figure",
    "cli.explain.frames_figure",
    "cli.sanity.plot_cascade",
    "evaluation.result.curve_figure",
    "evaluation.report.page.score_figure",
    "evaluation.report.page.level_figure",
)


@pytest.fixture(autouse=True)
def quick_figures(request, monkeypatch):
    """Figures are empty and small: making and drawing them is most of a command's time."""
    from matplotlib.figure import Figure

    if "drawn" in request.fixturenames:
        return
    for name in FIGURES:
        monkeypatch.setattr(f"captum_ext.{name}", lambda *_, **__: Figure(figsize=(1, 1), dpi=9))
    real = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda own, to, **how: real(own, to, **{**how, "dpi": 9})
    )


@pytest.fixture(autouse=True)
def own_modules(tmp_path):
    """A test's own files are no modules of the next one, which may have files of that name."""
    yield
    for name, module in [*sys.modules.items()]:
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FACTORY)
    (tmp_path / "images").mkdir()
    for k in range(3):
        picture(k).save(tmp_path / "images" / f"{k}.png")
    picture(9).save(tmp_path / "photo.png")
    return tmp_path


def explain(*arguments, image="photo.png"):
    return main(["explain", image, *IMAGE, *arguments])


def sanity(*arguments, image="images"):
    return main(["sanity", image, *IMAGE, "--similarity", "spearman", *arguments])


def evaluate(*arguments, images="images", out="out"):
    return main(["evaluate", images, *IMAGE, "--out", out, *arguments])


def said(capsys):
    """What the command says on stderr, without progress bars."""
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return [line for line in captured.err.splitlines() if line.startswith("captum-ext: ")]
