"""The claims of the papers as data, and the verdict on each: see `evidence.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan, sqrt

from scipy import stats

IDGI = "IDGI (CVPR 2023)"
IGOSPP = "iGOS++ (CHIL 2021)"
I_GOS = "I-GOS (AAAI 2020)"
RISE = "RISE (BMVC 2018)"
SANITY = "Sanity checks (NeurIPS 2018)"
OURS = "this package"


@dataclass(frozen=True)
class Claim:
    """That one method is better than another by a score.

    Args:
        source: who claims it.
        better, worse: names of methods.
        score: the name of a score.
        where: the table or figure of the source.
        paper: a number of the source, where this page could check it.
    """

    source: str
    better: str
    worse: str
    score: str
    where: str = ""
    paper: str = ""


def _idgi() -> Iterator[Claim]:
    scores = dict.fromkeys(("insertion black", "insertion ratio", "AIC", "SIC"), "tables 1 to 3")
    scores |= dict.fromkeys(("roc_auc", "f1"), "table 4")
    for score, where in scores.items():
        for path in ("IG", "Guided IG", "Blur IG"):
            yield Claim(IDGI, f"IDGI over {path}", path, score, where)


def _masks() -> Iterator[Claim]:
    for score in ("deletion blur", "insertion blur"):
        for worse in ("I-GOS", "RISE", "Grad-CAM", "iGOS+"):
            yield Claim(IGOSPP, "iGOS++", worse, score, "tables 1 to 3")
    for worse in ("RISE", "Grad-CAM"):
        yield Claim(I_GOS, "I-GOS", worse, "deletion blur")


def _rest() -> Iterator[Claim]:
    numbers = {"insertion blur": "RISE .727", "deletion black": ""}
    for score, paper in numbers.items():
        yield Claim(RISE, "RISE", "Grad-CAM", score, "ResNet50", paper)
    for score in ("insertion blur", "deletion blur"):
        for worse in ("Grad-CAM", "iGOS++"):
            yield Claim(OURS, "aligned", worse, score, "docs/methods/aligned.md")
    for score in ("insertion blur", "insertion black", "deletion blur"):
        yield Claim(OURS, "iGOS++ from Grad-CAM", "Grad-CAM", score, "docs/methods")
    for name in ("gradient", "Grad-CAM", "IG"):
        yield Claim(SANITY, name, "edges", "sanity")
    yield Claim(SANITY, "Grad-CAM", "IG", "sanity")


PIECES = (
    "insertion alone",
    "no joint terms",
    "no noise",
    "plain TV",
    "fixed step",
    "deletion mask",
    "insertion mask",
)


def _studies() -> Iterator[Claim]:
    for score in ("AIC, MS-SSIM", "SIC, MS-SSIM"):
        for path in ("IG", "Guided IG", "Blur IG"):
            yield Claim(IDGI, f"IDGI over {path}", path, score, "tables 2 and 3")
    for piece in PIECES:
        for score in ("deletion blur", "insertion blur"):
            yield Claim(IGOSPP, "iGOS++", f"iGOS++, {piece}", score, "ablations")
    for size in ("coarse", "half", "pixels"):
        for score in ("deletion blur", "insertion blur"):
            yield Claim(IGOSPP, f"iGOS++, {size}", f"I-GOS, {size}", score, "tables 1 and 2")
    for size in ("I-GOS, coarse", "I-GOS", "I-GOS, pixels"):
        yield Claim(I_GOS, size, "Mask", "deletion blur", "deletion")
    whose = {"I-GOS": I_GOS, "iGOS++": I_GOS, "Grad-CAM": I_GOS, "aligned": OURS}
    for name, source in whose.items():
        other = f"{name}, adversarial"
        yield Claim(source, name, other, "insertion share", "adversarial images")


CLAIMS = (*_idgi(), *_masks(), *_rest(), *_studies())

NOT_HERE = (
    (IGOSPP, "X-rays of patients with COVID-19", "the images and the network are not to be had"),
    (
        RISE,
        "against others with 4,000 to 8,000 masks",
        "500 here: more take minutes a photograph on one thread; what 4,000 change is a study",
    ),
    (
        SANITY,
        "data randomization",
        "on [a page of its own](metrics/data_randomization.md)",
    ),
)
"""Source, claim, and why it cannot be tested here."""


@dataclass(frozen=True)
class Experiment:
    """What is tried where a claim does not hold: by the reason, the first method is then ahead."""

    better: str
    worse: str
    scores: tuple[str, ...]
    reason: str
    ahead: str
    of: str
    by: str = ""
    """Another score, where that is what the reason says."""


_DISPLACEMENT = (
    "IDGI shares a step's rise by the squared gradient alone; how far a pixel moves is dropped. "
    "Shared by the squared product of both, the same rise should score better"
)
_ON_BLUR = (
    "along Blur IG's path the displacement is the edges that appear, and IDGI drops it; of the "
    "same steps, aligned contributions keep it"
)
_EMPTY = (
    "a saturated score falls late, and the weight of roughness (20, as the papers have it for "
    "photographs) keeps masks of some small images at ones; a tenth of it does not"
)
EXPERIMENTS = (
    *(
        Experiment(
            f"IDGI over {path}", path, ("roc_auc", "f1", "insertion black", "insertion ratio"),
            _DISPLACEMENT, "(g dx)^2 over IG", "IDGI over IG",
        )
        for path in ("IG", "Guided IG")
    ),
    Experiment(
        "IDGI over Blur IG", "Blur IG",
        ("insertion black", "insertion ratio", "AIC", "SIC", "roc_auc", "f1"),
        _ON_BLUR, "aligned over Blur IG, 100 steps", "IDGI over Blur IG, 100 steps",
    ),
    *(
        Experiment(
            "iGOS++", worse, ("deletion blur", "insertion blur"), _EMPTY, "iGOS++, TV of 2",
            "iGOS++",
        )
        for worse in ("iGOS+", "RISE", "I-GOS", "Grad-CAM")
    ),
    Experiment(
        "I-GOS, coarse", "Mask", ("deletion blur",),
        "coarse cells are wider than a stroke: with as many cells as Mask has, and roughness that "
        "costs a tenth, it should be ahead", "I-GOS, TV of 2", "Mask",
    ),
    Experiment(
        "iGOS++", "iGOS++, insertion mask", ("insertion blur",),
        "that mask is made for this score, and the product for deletion too",
        "iGOS++", "iGOS++, insertion mask", by="deletion blur",
    ),
    Experiment(
        "RISE", "Grad-CAM", ("insertion blur", "deletion black"),
        "500 masks, where the paper has 4,000 to 8,000: with 4,000 the map is less noisy",
        "RISE, 8 times the masks", "RISE",
    ),
    *(
        Experiment("I-GOS", worse, ("deletion blur",), _EMPTY, "I-GOS, TV of 2", "I-GOS")
        for worse in ("RISE", "Grad-CAM", "Mask")
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """How far the better method is ahead: n, mean paired difference and its 95 % interval."""

    n: int
    mean: float
    low: float
    high: float

    @property
    def word(self) -> str:
        if self.n < 2:
            return "not measured"
        if self.low <= 0 <= self.high:
            return "not decided"
        return "holds" if self.low > 0 else "does not hold"


def verdict(better: Sequence[float], worse: Sequence[float], direction: int = 1) -> Verdict:
    """Of scores of the same images; those undefined for either are left out.

    ``direction`` is 1 where more is better and -1 where less is; a positive mean is for the claim.
    """
    pairs = zip(better, worse, strict=True)
    return interval([d for a, b in pairs if not isnan(d := direction * (a - b))])


def interval(values: Sequence[float]) -> Verdict:
    """The mean with the 95 % interval of Student's t."""
    n = len(values)
    mean = sum(values) / n if n else float("nan")
    if n < 2:
        return Verdict(n, mean, float("nan"), float("nan"))
    std = sqrt(sum((v - mean) ** 2 for v in values) / (n - 1))
    half = float(stats.t.ppf(0.975, n - 1)) * std / sqrt(n)
    return Verdict(n, mean, mean - half, mean + half)
