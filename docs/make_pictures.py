"""The pictures of the pages on methods and metrics, on photographs of scikit-image.

python docs/make_pictures.py [NAME ...]     writes docs/pictures/NAME.jpg; without names all
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from PIL import Image
from skimage import data
from torch import Tensor

from captum_ext import ImageClassifier
from captum_ext.attr import IGOS, IGOSPlusPlus
from captum_ext.curve import Blurred, GaussianBlur, Interpolated, rank
from captum_ext.mask import MaskGrid, blurred
from captum_ext.metrics import deletion_curve, insertion_curve
from captum_ext.registry import METHODS
from captum_ext.viz import heat, overlay

FOLDER = Path(__file__).parent / "pictures"
BLUR = GaussianBlur(51, 50.0)
OPTIONS: dict[str, dict[str, int]] = {
    "ig": {"n_steps": 50},
    "guided-ig": {"n_steps": 50},
    "blur-ig": {"n_steps": 50},
    "idgi-ig": {"n_steps": 50},
    "idgi-guided-ig": {"n_steps": 50},
    "idgi-blur-ig": {"n_steps": 50},
    "igos": {},
    "igos+": {},
    "igos++": {},
    "mask": {"n_iter": 150},
    "rise": {"n_masks": 1000, "perturbations_per_eval": 10},
}


def photograph(model: ImageClassifier, name: str = "coffee") -> tuple[Tensor, int]:
    """One of scikit-image's, (1, 3, 224, 224), and the class that the model sees in it."""
    image = model.transform(Image.fromarray(getattr(data, name)()).convert("RGB"))[None]
    with torch.no_grad():
        return image, int(model(image).argmax())


def probability(model: ImageClassifier, image: Tensor, target: int) -> str:
    """The model's probability of a class, as titles say it."""
    with torch.no_grad():
        p = float(model(image)[0, target])
    return f"p = {p:.2f}" if p >= 0.095 else f"p = {p:.3f}"


def method_picture(name: str, model: ImageClassifier) -> Figure:
    """Image, map, overlay and curves of one method."""
    image, target = photograph(model)
    method = METHODS[name].make(model)
    credit = method.attribute(image, target=target, **OPTIONS[name])
    # Values of RISE are expected scores, far from 0 everywhere.
    shown = credit[0] - credit[0].amin() if name == "rise" else credit[0]
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    figure.get_layout_engine().set(hspace=0.08)
    above, below = figure.subfigures(2, 1, height_ratios=[1.1, 1])
    axes = above.subplots(1, 3)
    _show(axes[0], image[0].permute(1, 2, 0), "input")
    _show(axes[1], heat(shown), METHODS[name].label, cmap="inferno", vmin=0, vmax=1)
    _show(axes[2], overlay(image[0], shown), "over the input")
    curves = below.subplots()
    for label, function in (("insertion", insertion_curve), ("deletion", deletion_curve)):
        curve = function(model, image, credit, target=target, reference=BLUR, reduction="abs_sum")
        curves.plot(curve.x[0], curve.y[0], label=f"{label} {float(curve.area()[0]):.2f}")
    label = f"p({model.name_of(target)})"
    curves.set(xlabel="share of pixels", ylabel=label, ylim=(0, 1), xlim=(0, 1))
    below.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def masks_picture(model: ImageClassifier) -> Figure:
    """The two masks of iGOS++ and their product, and what each shows the model."""
    image, target = photograph(model)
    run = IGOSPlusPlus(model).optimize(image, target=target)
    enlarged = [MaskGrid(28).enlarge(cells, (image,))[0] for cells in run.descent.masks.unbind(1)]
    both = enlarged[0] * enlarged[1]
    away = blurred(image)
    figure = Figure(figsize=(6.4, 7.2), layout="constrained")
    grid = figure.subplots(3, 3)
    for column, name, mask in zip(grid.T, ("x", "y", "xy"), (*enlarged, both), strict=True):
        _show(column[0], 1 - mask[0, 0], f"$1 - M_{{{name}}}$", cmap="inferno", vmin=0, vmax=1)
        for axes, word, kept in ((column[1], "deleted", mask), (column[2], "inserted", 1 - mask)):
            shown = image * kept + away * (1 - kept)
            title = f"{word}: {probability(model, shown, target)}"
            _show(axes, shown[0].permute(1, 2, 0), title)
    return figure


def failures_picture(model: ImageClassifier) -> Figure:
    """I-GOS where it says little: an improbable class, and a wrong one beside the right one."""
    cases = (("coffee", "chocolate sauce"), ("clock", "bubble"), ("clock", "wall clock"))
    figure = Figure(figsize=(6.4, 7.2), layout="constrained")
    for line, (name, word) in zip(figure.subplots(3, 3), cases, strict=True):
        image, _ = photograph(model, name)
        target = [model.name_of(k) for k in range(1000)].index(word)
        _show(line[0], image[0].permute(1, 2, 0), f"{word}\n{probability(model, image, target)}")
        for axes, relative in ((line[1], False), (line[2], True)):
            credit = IGOS(model, relative_weights=relative).attribute(image, target=target)[0]
            rest = image * (1 - credit) + blurred(image) * credit
            title = "relative weights" if relative else "defaults"
            picture = overlay(image[0], credit) if credit.amax() > 1 / 510 else torch.zeros(1, 1)
            _show(axes, picture, f"{title}\ndeleted: {probability(model, rest, target)}")
    return figure


def frames_picture(model: ImageClassifier) -> Figure:
    """What insertion, deletion and the two bases of information curves show the model."""
    image, target = photograph(model)
    credit = METHODS["idgi-ig"].make(model).attribute(image, target=target, n_steps=25)
    ranking = rank((credit,), reduction="abs_sum")
    shares = (0.0, 0.05, 0.2, 0.5, 1.0)
    counts = (torch.tensor([shares]) * ranking.n_features[:, None]).long()
    places, blurred = ranking.positions[0], BLUR(image)
    rows = {
        "insertion": [torch.where(places < n, image, blurred) for n in counts[0]],
        "deletion": [torch.where(places < n, blurred, image) for n in counts[0]],
    }
    for name, base in (("AIC, SIC\nidgi, tmlr", Blurred()), ("xrai", Interpolated())):
        frames = base.frames((image,), ranking, counts)
        rows[name] = [frames.make(torch.tensor([0]), counts[:, j])[0] for j in range(len(shares))]
    figure = Figure(figsize=(9, 7.6), layout="constrained")
    grid = figure.subplots(len(rows), len(shares))
    for line, (name, pictures) in zip(grid, rows.items(), strict=True):
        for axes, share, picture in zip(line, shares, pictures, strict=True):
            with torch.no_grad():
                p = float(model(picture)[0, target])
            _show(axes, picture[0].permute(1, 2, 0), f"{share:.0%}: p = {p:.2f}")
        line[0].set_axis_on()
        line[0].set(xticks=[], yticks=[])
        line[0].set_ylabel(name)
    return figure


def _show(axes: Any, picture: Any, title: str, **options: Any) -> None:
    axes.imshow(picture, **options)
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()


def main(names: list[str]) -> None:
    """Makes the pictures of these names, or all."""
    model = ImageClassifier.from_efficientnet_lite0()
    makers: dict[str, Callable[[], Figure]] = {
        name: lambda name=name: method_picture(name, model) for name in OPTIONS
    }
    makers["frames"] = lambda: frames_picture(model)
    makers["igospp-masks"] = lambda: masks_picture(model)
    makers["igos-failures"] = lambda: failures_picture(model)
    FOLDER.mkdir(exist_ok=True)
    for name in names or makers:
        file = FOLDER / f"{name.replace('+', 'p')}.jpg"
        makers[name]().savefig(file, dpi=150, pil_kwargs={"quality": 85})
        print(file, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
