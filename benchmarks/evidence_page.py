"""The page on evidence: all its numbers, and the words that follow from them, are computed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from evidence_claims import CLAIMS, EXPERIMENTS, NOT_HERE
from evidence_picture import draw
from evidence_scores import BETTER
from evidence_summary import Rows, summary
from rules import SIDES

INTRODUCTION = """# Do the claims hold?

Papers say that one method beats another by some score. Here each such claim meets the same images,
made and scored by one command. {size} So a claim that is *not decided* may well be true: the
interval is wide. A cell has the mean of the paired differences over images, positive where the
claimed method is ahead, its 95 % interval by Student's t, and the number of images for which both
scores exist. A claim *holds* where the interval lies above 0, *does not hold* where it lies below.
No correction for many claims is made: of twenty true zeros one leaves its interval by chance.
*Number* is the source's own, only where it could be checked; elsewhere the claim is the direction.
"""
SETUP = """## What was measured

{networks}

Paths take {steps} equal steps, from black but for *aligned*, which is this package's aligned
contribution on the straight line from the blurred image; IG is by trapezoids. RISE has {masks}
masks, which is few; masks of I-GOS, iGOS+ and iGOS++ have 28 x 28 cells and the default number of
iterations, *iGOS++ from Grad-CAM* has {iterations_from_start}. Where a cost was too high a method
was left out on some images, as n tells. Curves have {curve_steps} steps, read the probability, and
rank pixels by the sum of absolute values over channels. *Blur* and *black* are what deleted pixels
become; the insertion ratio is under black, divided by the probability of the original. AIC and SIC
are PAIR's (preset "xrai"), by size of the compressed image, of path methods only, and undefined
where the original scores below .8. `roc_auc`, `f1` and `mae` compare maps with annotated regions.
*Sanity* is the rank correlation of absolute maps before and after the last layer is drawn anew (one
draw; IG, IDGI over it, the gradient and Grad-CAM): less is better. *Edges* and *random* are maps
that ask no model.

![Means and 95 % intervals of four scores, a row for each method](pictures/evidence.png)
"""
WHY = """A claim that does not hold is a finding only if its reason is known. Here the reason that
was guessed is put to a test: if it is right, the first method of the last column is ahead of the
second one."""
STUDIES = """Methods with a piece left out or at another size, and scores that were asked of fewer
images; n is told where it is not that of the network. *iGOS++, ...*: without what is named, or one
of its masks alone; the fixed step is the best of three by the objective. *Coarse*, *half* and
*pixels* are masks of a 32nd (of digits an 8th), half and all of the image's side. *Mask* is Fong
and Vedaldi's. *TV of 2* has a tenth of the weight of roughness. *placed* are the default's 16
placed steps of Blur IG's path, beside twice the equal steps of the rest. *g^2 |dx|* and *(g dx)^2*
share IDGI's rise on the line from black by other powers, *aligned over IG* by this package's rule.
Shares are insertion and deletion under blur, divided by the image's own score: *adversarial* images
differ from the natural ones by at most 8/255, until the network prefers its second class; the map
is of that class."""
FOLDER = "FOLDER --networks NETWORK --weights WEIGHTS"


def write(rows: Rows, into: Path) -> None:
    """Writes benchmarks/evidence.json, docs/evidence.md and docs/pictures/evidence.png."""
    found = summary(rows)
    for folder in ("benchmarks", "docs/pictures"):
        (into / folder).mkdir(parents=True, exist_ok=True)
    kept = json.dumps(found, indent=1) + "\n"
    (into / "benchmarks/evidence.json").write_text(kept)
    (into / "docs/evidence.md").write_text(page(found))
    draw(found, into / "docs/pictures/evidence.png")


def page(found: dict) -> str:
    """The page, of what `summary` found."""
    size = ", ".join(f"{own['n']} images of {name}" for name, own in found.items())
    one = " One network: what holds on it need not hold on another." * (len(found) == 1)
    first = next(iter(found.values()))
    told = "\n".join(f"- {words(name, own)}" for name, own in found.items())
    parts = [
        INTRODUCTION.format(size=f"They are few: {size}.{one}"),
        SETUP.format(networks=told, **first["settings"]),
        f"## Claims\n\n{counts(found)}\n\n{claims_table(found)}",
        f"## Why\n\n{WHY}\n\n{experiments_table(found)}",
        f"## What cannot be tested here\n\n{not_here()}",
        f"## Scores\n\n{scores_tables(found, 'means')}",
        f"## Studies\n\n{STUDIES}\n\n{scores_tables(found, 'studies')}",
        f"## Do scores agree?\n\n{agreement_words(found)}\n\n{agreement_table(found)}",
        f"Made by `python benchmarks/evidence.py {FOLDER}`, then with `--page`.\n",
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def words(name: str, own: dict) -> str:
    small = {"resnet": "ResNet", "vit": "vision transformer"}
    told = f"EfficientNet-{name.capitalize()}, photographs of 224 x 224"
    if SIDES.get(name, 224) != 224:
        told += f", which it sees at {SIDES[name]} x {SIDES[name]}"
    if name in small:
        told = (
            f"a small {small[name]} trained on the spot (`benchmarks/trained.py`), digits of "
            "32 x 32 among clutter that it was not trained on"
        )
    return (
        f"**{name}**: {told}; n = {own['n']}, each an image whose class the network knows; "
        f"{own['seconds']:.0f} seconds of one processor an image."
    )


def counts(found: dict) -> str:
    """How many claims hold, by network."""
    told = []
    for name, own in found.items():
        verdicts = [claim["verdict"] for claim in own["claims"]]
        plural = {"holds": "hold", "does not hold": "do not hold", "not decided": "are not decided"}
        plural["not measured"] = "were not measured"
        kinds = [f"{verdicts.count(k)} {many}" for k, many in plural.items() if k in verdicts]
        told.append(f"of {len(verdicts)} claims on {name} {', '.join(kinds)}")
    return ("; ".join(told) + ".").capitalize()


def claims_table(found: dict) -> str:
    lines = [
        row(("source", "ahead", "of", "by", "number", *found)),
        "|---" * (5 + len(found)) + "|",
    ]
    for k, claim in enumerate(CLAIMS):
        cells = (cell(own["claims"][k]) for own in found.values())
        source = f"{claim.source}{', ' * bool(claim.where)}{claim.where}"
        lines.append(row((source, claim.better, claim.worse, claim.score, claim.paper, *cells)))
    return "\n".join(lines)


def cell(claim: dict) -> str:
    if claim["low"] is None:
        return "not measured"
    return f"{interval_of(claim, '+')}, n = {claim['n']}: **{claim['verdict']}**"


def interval_of(found: dict, sign: str = "") -> str:
    if found["low"] is None:
        return f"{found['mean']:{sign}.3f}"
    return "{mean:{s}.3f} [{low:{s}.3f}, {high:{s}.3f}]".format(**found, s=sign)


def experiments_table(found: dict) -> str:
    lines = [row(("on", "does not hold", "by", "reason", "tested by")), "|---" * 5 + "|"]
    for name, own in found.items():
        for outcome in own["experiments"]:
            tried = EXPERIMENTS[outcome["experiment"]]
            said = {"holds": ", so it is", "does not hold": ", so it is not"}
            told = said.get(outcome["verdict"], "")
            score = f" by {tried.by}" * bool(tried.by)
            tested = f"{tried.ahead} ahead of {tried.of}{score}: {cell(outcome)}{told}"
            claim = f"{tried.better} ahead of {tried.worse}"
            lines.append(row((name, claim, outcome["score"], tried.reason, tested)))
    if len(lines) == 2:
        lines = ["Nothing of what has an experiment failed."]
    lost = [sentence for name, own in found.items() for sentence in unexplained(name, own)]
    lines += ["", f"No reason was tested of: {'; '.join(lost)}."] if lost else []
    return "\n".join(lines)


def unexplained(name: str, own: dict) -> Iterator[str]:
    """What does not hold and has no experiment."""
    tried = {(EXPERIMENTS[one["experiment"]], one["score"]) for one in own["experiments"]}
    known = {(one.better, one.worse, score) for one, score in tried}
    for claim, outcome in zip(CLAIMS, own["claims"], strict=True):
        lost = outcome["verdict"] == "does not hold"
        if lost and (claim.better, claim.worse, claim.score) not in known:
            yield f"{claim.better} ahead of {claim.worse} by {claim.score} ({name})"


def not_here() -> str:
    lines = [row(("source", "claim", "why")), "|---|---|---|"]
    return "\n".join(lines + [row(one) for one in NOT_HERE])


def scores_tables(found: dict, kind: str) -> str:
    """Means with intervals, a table for each network."""
    parts = []
    for name, own in found.items():
        known = [s for s in BETTER if any(s in cells for cells in own[kind].values())]
        if not known:
            continue
        heads = (f"{s} ({'more' if BETTER[s] > 0 else 'less'})" for s in known)
        lines = [
            f"### {name}{', studies' * (kind == 'studies')}\n",
            row(("method", *heads)),
            "|---" * (1 + len(known)) + "|",
        ]
        for method, cells in own[kind].items():
            shown = (mean_of(cells[s], own["n"]) if s in cells else "" for s in known)
            lines.append(row((method, *shown)))
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def mean_of(found: dict, n: int) -> str:
    """With the number of images where it isn't that of the table."""
    return interval_of(found) + (f", n = {found['n']}" if found["n"] != n else "")


def row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def pairs_of(own: dict) -> dict[tuple[str, str], float]:
    pairs = {tuple(key.split(" | ")): tau["mean"] for key, tau in own["agreement"].items()}
    return {pair: tau for pair, tau in pairs.items() if tau is not None}


def agreement_table(found: dict) -> str:
    lines = [row(("scores", *found)), "|---" * (1 + len(found)) + "|"]
    keys = dict.fromkeys(key for own in found.values() for key in own["agreement"])
    for key in keys:
        cells = (own["agreement"].get(key) for own in found.values())
        told = (f"{interval_of(c, '+')}, n = {c['n']}" if c else "" for c in cells)
        lines.append(row((key.replace(" | ", " and "), *told)))
    return "\n".join(lines)


def agreement_words(found: dict) -> str:
    """Which scores repeat others, which stand alone, and so which to report."""
    told = [
        "Kendall's tau between two scores over the methods that have both, impostors left out, of "
        "each image; the mean over images. 1: the same ranking of methods; 0: none in common."
    ]
    for name, own in found.items():
        if pairs_of(own):
            told.append(advice(name, pairs_of(own), own["above random"]))
    return "\n\n".join(told)


def advice(name: str, pairs: dict[tuple[str, str], float], above: dict[str, float]) -> str:
    ranked = sorted(pairs, key=pairs.__getitem__)
    alike = [p for p in ranked if pairs[p] > 0.8]
    least = ranked[0]
    told = [f"**On {name}**"]
    if alike:
        said = ", ".join(f"{a} and {b} ({pairs[a, b]:+.2f})" for a, b in reversed(alike))
        told.append(f"these say nearly the same, so that one of them is enough: {said}.")
    else:
        told.append("no two scores agree so far that one would do.")
    told.append(f"Least alike are {least[0]} and {least[1]} ({pairs[least]:+.2f}).")
    shares = ", ".join(f"{score} {share:.0%}" for score, share in above.items())
    told.append(
        "Little agreement is no merit by itself, as a score of chance agrees with none. Methods "
        f"that stand above a random map (intervals too): {shares or 'not known'}."
    )
    sound = {p: t for p, t in pairs.items() if all(above.get(s, 0) >= 0.9 for s in p)}
    if sound:
        chosen = ", ".join(apart(sound))
        told.append(f"Of the scores with 90 % or more, the least alike, to be reported: {chosen}.")
    return " ".join(told)


def apart(pairs: dict[tuple[str, str], float], n: int = 3) -> list[str]:
    """Scores least alike: from the pair of lowest tau, each next one the least like those."""
    chosen = list(min(pairs, key=pairs.__getitem__))
    tau = pairs | {(b, a): t for (a, b), t in pairs.items()}
    while len(chosen) < n:
        rest = {a for a, _ in tau if all((a, c) in tau for c in chosen) and a not in chosen}
        if not rest:
            break
        chosen.append(min(sorted(rest), key=lambda a: max(tau[a, c] for c in chosen)))
    return chosen
