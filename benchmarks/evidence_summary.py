"""From the rows of `evidence.py` to numbers: means, verdicts, and how far scores agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from math import isnan, nan

from evidence_claims import CLAIMS, EXPERIMENTS, Claim, Verdict, interval, verdict
from evidence_scores import BETTER
from scipy.stats import kendalltau

IMPOSTORS = ("edges", "random")
Rows = Sequence[dict]


def values(rows: Rows, method: str, score: str) -> list[float]:
    """One number for each row, nan where there is none."""
    found = (row["scores"].get(method, {}).get(score) for row in rows)
    return [nan if value is None else value for value in found]


def judged(rows: Rows, claim: Claim) -> Verdict:
    pair = (values(rows, name, claim.score) for name in (claim.better, claim.worse))
    return verdict(*pair, direction=BETTER[claim.score])


def means(rows: Rows) -> dict[str, dict[str, dict]]:
    """Mean, 95 % interval and n of every method by every score that it has."""
    found: dict[str, dict[str, dict]] = {}
    names = dict.fromkeys(name for row in rows for name in row["scores"])
    for method in sorted(names, key=IMPOSTORS.__contains__):
        cells = {}
        for score in BETTER:
            known = [v for v in values(rows, method, score) if not isnan(v)]
            if known:
                cells[score] = numbers(interval(known))
        found[method] = cells
    return found


def numbers(found: Verdict) -> dict:
    """As JSON keeps them: what is not known is None."""
    rounded = {k: round(v, 4) for k, v in asdict(found).items()}
    return {k: None if isnan(v) else v for k, v in rounded.items()}


def agreement(rows: Rows) -> dict[str, dict]:
    """Kendall's tau of two scores over methods, of each image; the mean over images.

    Scores are turned so that more is better. Impostors don't count, nor does a pair with fewer
    than four methods that have both. The sanity check does not rank methods, so it isn't here.
    """
    found = {}
    for a, b in combinations([s for s in BETTER if s != "sanity"], 2):
        taus = [tau for row in rows if not isnan(tau := tau_of(row, a, b))]
        if taus:
            found[f"{a} | {b}"] = numbers(interval(taus))
    return found


def above_random(rows: Rows) -> dict[str, float]:
    """The share of methods that a score puts above the random map, by a verdict that holds."""
    found = {}
    for score in (s for s in BETTER if s != "sanity"):
        chance = values(rows, "random", score)
        of = {m for row in rows for m, s in row["scores"].items() if score in s}
        own = (values(rows, m, score) for m in sorted(of.difference(IMPOSTORS)))
        words = [verdict(v, chance, BETTER[score]).word for v in own]
        if words and not all(map(isnan, chance)):
            found[score] = round(words.count("holds") / len(words), 4)
    return found


def tau_of(row: dict, a: str, b: str) -> float:
    methods = [m for m in row["scores"] if m not in IMPOSTORS]
    pairs = [[values([row], m, s)[0] * BETTER[s] for s in (a, b)] for m in methods]
    known = [pair for pair in pairs if not any(map(isnan, pair))]
    return float(kendalltau(*zip(*known, strict=True)).statistic) if len(known) > 3 else nan


def part_of(row: dict) -> str:
    return row.get("part", "base")


def merged(rows: Rows) -> list[dict]:
    """One row for each network and image, which its pixels tell, of the rows of all parts."""
    found: dict[tuple[str, str], dict] = {}
    for row in sorted(rows, key=lambda row: part_of(row) != "base"):
        whole = found.setdefault((row["network"], row["pixels"]), {**row, "scores": {}})
        for method, scores in row["scores"].items():
            known = whole["scores"].get(method, {})
            whole["scores"] |= {method: known | scores}
    return list(found.values())


def summary(rows: Rows) -> dict:
    """Everything that the page tells, by network."""
    networks = {}
    given, rows = rows, merged(rows)
    for name in dict.fromkeys(row["network"] for row in rows):
        own = [row for row in rows if row["network"] == name]
        claims = [{**numbers(v), "verdict": v.word} for v in (judged(own, c) for c in CLAIMS)]
        base = [row for row in given if (row["network"], part_of(row)) == (name, "base")]
        networks[name] = {
            "n": len(base),
            "settings": base[0]["settings"],
            "seconds": round(sum(sum(row["seconds"].values()) for row in base) / len(base), 1),
            "means": means(base),
            "studies": studies(own, base),
            "claims": claims,
            "experiments": experiments(own, claims),
            "agreement": agreement(base),
            "above random": above_random(base),
        }
    return networks


def studies(own: Rows, base: Rows) -> dict[str, dict[str, dict]]:
    """What the other parts add: methods of theirs, and scores of theirs of the rest."""
    known = means(base)
    found = {}
    for method, cells in means(own).items():
        added = {s: c for s, c in cells.items() if s not in known.get(method, {})}
        if added:
            found[method] = added
    return found


def experiments(own: Rows, claims: Sequence[dict]) -> list[dict]:
    """For each claim that does not hold and has an experiment: its outcome."""
    found = []
    for claim, told in zip(CLAIMS, claims, strict=True):
        for k, tried in enumerate(EXPERIMENTS):
            fits = (claim.better, claim.worse) == (tried.better, tried.worse)
            if fits and claim.score in tried.scores and told["verdict"] == "does not hold":
                pair = Claim("", tried.ahead, tried.of, tried.by or claim.score)
                outcome = judged(own, pair)
                row = {"experiment": k, "score": claim.score, "verdict": outcome.word}
                found.append({**row, **numbers(outcome)})
    return found
