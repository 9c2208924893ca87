"""What explains a verdict of `evidence.py`: methods with a piece left out, at other sizes, by other
rules, on adversarial images, and by other measures of information. Each is a part of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import torch
from evidence_measure import (
    BLUR,
    Example,
    Settings,
    aligned_from_blur,
    line_methods,
    others,
    path_maps,
)
from evidence_scores import cleaned, information, measured, scored
from rules import shared
from torch import Tensor, nn

from captum_ext.attr import (
    IDGI,
    IGOS,
    RISE,
    AlignedContribution,
    BlurIG,
    IGOSPlusPlus,
    MeaningfulPerturbation,
    PathAttribution,
    walk,
)
from captum_ext.mask import L1, TV, InsertionTerm, Noise, fixed
from captum_ext.metrics import deletion_curve, insertion_curve
from captum_ext.path import StraightLine, aligned_contribution

Named = Iterator[tuple[str, Tensor]]
RATES = (1.0, 10.0, 100.0)
"""Of the fixed steps, of which the one that ends with the lowest objective is scored."""
WITHIN = 8 / 255
"""How far an adversarial image may be from the natural one, in every channel of every pixel."""


def iterations(how: Settings) -> dict[str, int]:
    return {} if how.iterations is None else {"n_iter": how.iterations}


def ablations(model: nn.Module, image: Tensor, target: int, how: Settings) -> Named:
    """iGOS++ without one of its pieces, and each of its masks alone."""
    whole = IGOSPlusPlus(model, mask_size=min(28, image.shape[-1]))
    run = whole.optimize(image, target=target, **iterations(how)).descent
    masks = [whole.grid.enlarge(run.masks[:, k], (image,))[0] for k in range(2)]
    yield "iGOS++, deletion mask", 1 - masks[0]
    yield "iGOS++, insertion mask", 1 - masks[1]
    for name, pieces in less_than(whole).items():
        method = with_pieces(model, whole, pieces)
        yield name, method.attribute(image, target=target, **iterations(how))
    runs = [
        with_pieces(model, whole, {"step": fixed(rate)}).optimize(
            image, target=target, **iterations(how)
        )
        for rate in RATES
    ]
    best = min(runs, key=lambda run: float(run.descent.objective[-1]))
    yield "iGOS++, fixed step", best.attributions


def less_than(whole: IGOSPlusPlus) -> dict[str, dict[str, Any]]:
    """The pieces of iGOS++ that each ablation changes, by their attributes."""
    return {
        "iGOS++, insertion alone": {"terms": (InsertionTerm((0,)),)},
        "iGOS++, no joint terms": {"terms": whole.terms[:2]},
        "iGOS++, no noise": {"noise": Noise(0.0)},
        "iGOS++, plain TV": {"regularizers": (L1(1.0), TV(20.0))},
    }


def with_pieces(model: nn.Module, whole: IGOSPlusPlus, pieces: dict[str, Any]) -> IGOSPlusPlus:
    method = IGOSPlusPlus(model, mask_size=whole.grid.size)
    vars(method).update(pieces)
    return method


def smoothness(model: nn.Module, image: Tensor, target: int, how: Settings) -> Named:
    """Masks that pay a tenth for their roughness."""
    for kind in (IGOS, IGOSPlusPlus):
        method = kind(model, mask_size=min(28, image.shape[-1]), tv_weight=2.0)
        yield f"{kind.name}, TV of 2", method.attribute(image, target=target, **iterations(how))


def cells(side: int) -> dict[str, int]:
    """Masks coarser and finer than 28 x 28, or than the 28 x 28 of an image of 32 x 32."""
    return {"coarse": max(4, side // 32), "half": side // 2, "pixels": side}


def sizes(model: nn.Module, image: Tensor, target: int, how: Settings) -> Named:
    for name, size in cells(image.shape[-1]).items():
        for kind in (IGOS, IGOSPlusPlus):
            method = kind(model, mask_size=size)
            credit = method.attribute(image, target=target, **iterations(how))
            yield f"{kind.name}, {name}", credit
    smoothed = MeaningfulPerturbation(model, mask_size=min(28, image.shape[-1]))
    yield "Mask", smoothed.attribute(image, target=target, **iterations(how))


def many_masks(model: nn.Module, image: Tensor, target: int, how: Settings) -> Named:
    yield (
        "RISE, 8 times the masks",
        RISE(model).attribute(image, target=target, n_masks=8 * how.masks),
    )


def rules(model: nn.Module, image: Tensor, target: int, how: Settings) -> Named:
    """On IDGI's line from black: the rise, shared by other powers."""
    chosen = {
        "g^2 |dx| over IG": shared(2, 1),
        "(g dx)^2 over IG": shared(2, 2),
        "aligned over IG": aligned_contribution,
    }
    methods = [PathAttribution(model, StraightLine(), rule) for rule in chosen.values()]
    maps = walk(methods, image, target=target, n_steps=how.steps)
    yield from zip(chosen, maps, strict=True)


def placed(model: nn.Module, image: Tensor, target: int, how: Settings) -> Named:
    """Along Blur IG's path: the default's placed steps, and twice the equal ones of the rest."""
    methods = blur_methods(model)
    for ending, n in (("placed", None), (f"{2 * how.steps} steps", 2 * how.steps)):
        maps = walk([*methods.values()], image, target=target, n_steps=n)
        yield from ((f"{name}, {ending}", m) for name, m in zip(methods, maps, strict=True))


def blur_methods(model: nn.Module) -> dict[str, PathAttribution]:
    blur = BlurIG(model)
    over = {"IDGI over Blur IG": IDGI(blur), "aligned over Blur IG": AlignedContribution(blur)}
    return {"Blur IG": blur, **over}


MAPS: dict[str, Callable[..., Named]] = {
    "ablations": ablations,
    "sizes": sizes,
    "smoothness": smoothness,
    "many masks": many_masks,
    "rules": rules,
    "placed": placed,
}
"""Parts that are scored as every method is."""


def by_similarity(model: nn.Module, example: Example, target: int, how: Settings) -> dict:
    """AIC and SIC of path methods, information by MS-SSIM."""
    found = {}
    for name, credit in path_maps(model, example.image, target, how).items():
        scores = information(model, example.image, credit.detach(), target, "ms_ssim")
        found[name] = cleaned({f"{key}, MS-SSIM": value for key, value in scores.items()})
    return found


def adversarial(model: nn.Module, image: Tensor, n_steps: int = 40) -> tuple[Tensor, int]:
    """An image near this one, and its class, which is the model's second one of this.

    Steps of 1/255 along the sign of the gradient of the logarithm (Kurakin et al., 2017), until
    the class has .9.
    """
    with torch.no_grad():
        target = int(model(image).topk(2).indices[0, 1])
    moved = image.clone()
    for _ in range(n_steps):
        moved.requires_grad_(True)
        score = model(moved)[0, target]
        if score.item() > 0.9:
            break
        (gradient,) = torch.autograd.grad(score.clamp_min(1e-30).log(), moved)
        moved = moved.detach() + gradient.sign() / 255
        moved = image + (moved - image).clamp(-WITHIN, WITHIN)
        moved = moved.clamp(0, 1).detach()
    return moved.detach(), target


def natural_and_adversarial(
    model: nn.Module, example: Example, target: int, how: Settings
) -> dict[str, dict[str, float | None]]:
    """Insertion and deletion, divided by the image's own score, of an image and its attack."""
    attacked, wrong = adversarial(model, example.image)
    with torch.no_grad():
        if int(model(attacked).argmax()) != wrong:
            return {}
    found = {}
    for ending, image, k in (("", example.image, target), (", adversarial", attacked, wrong)):
        for name, credit in some(model, image, k, how):
            given = {"target": k, "n_steps": how.curve_steps, "reduction": "abs_sum", "base": BLUR}
            credit = credit.detach().expand_as(image)
            with torch.no_grad():
                own = float(model(image)[0, k])
            curves = {"insertion share": insertion_curve, "deletion share": deletion_curve}
            areas = {s: float(c(model, image, credit, **given).area()) for s, c in curves.items()}
            found[name + ending] = cleaned({s: area / own for s, area in areas.items()})
    return found


def some(model: nn.Module, image: Tensor, target: int, how: Settings) -> Named:
    """One method of each kind."""
    line = line_methods(model)
    yield from zip(
        line, walk([*line.values()], image, target=target, n_steps=how.steps), strict=True
    )
    yield "aligned", aligned_from_blur(model, image, target, how)
    known = others(model, image.shape[-1], how)
    for name in ("Grad-CAM", "I-GOS", "iGOS++", "edges"):
        yield name, known[name](image, target)


SCORES: dict[str, Callable[..., dict]] = {
    "MS-SSIM": by_similarity,
    "adversarial": natural_and_adversarial,
}
"""Parts with scores of their own."""
PARTS = ("base", *MAPS, *SCORES)


def measured_part(
    part: str, model: nn.Module, example: Example, target: int, how: Settings
) -> dict[str, Any]:
    """The row of one image: of every method, or of one of the studies."""
    if part == "base":
        return measured(model, example, target, how)
    start = time.process_time()
    if part in SCORES:
        scores = SCORES[part](model, example, target, how)
    else:
        made = MAPS[part](model, example.image, target, how)
        scores = {name: scored(model, example, name, m, target, how) for name, m in made}
    row = {
        "part": part,
        "image": example.name,
        "pixels": example.digest,
        "target": target,
        "settings": asdict(how),
    }
    seconds = {part: round(time.process_time() - start, 2)}
    return {**row, "seconds": seconds, "scores": scores}
