"""How often 95 % intervals hold the truth: percentiles, BCa, t, bootstrap-t, and those used.

Means of examples drawn from four kinds of scores, and the curves of AIC and SIC (preset "idgi",
frames of all images in 100 bins of x) of made-up images. For each: the share of samples whose
interval holds the value of the whole population, and the median width. "used" is
`captum_ext.metrics.base.bootstrap.interval`.

    python benchmarks/interval_coverage.py [--samples 1000] [--curves 300] [--sizes 6 10 30 60]
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable

import numpy as np
import torch
from scipy import stats

from captum_ext.metrics.base.bootstrap import Statistic, interval, mean_of
from captum_ext.metrics.information.bins import BinnedPoints

Ends = tuple[float, float]
N_RESAMPLES = 2000
SCORES: dict[str, tuple[Callable[[np.random.Generator, int], np.ndarray], float]] = {
    "normal": (lambda draw, n: draw.normal(size=n), 0.0),
    "lognormal": (lambda draw, n: draw.lognormal(size=n), float(np.exp(0.5))),
    "insertion-like, beta(4, 1.5)": (lambda draw, n: draw.beta(4, 1.5, size=n), 4 / 5.5),
    "deletion-like, beta(1, 6)": (lambda draw, n: draw.beta(1, 6, size=n), 1 / 7),
    "hits, 80 %": (lambda draw, n: (draw.random(n) < 0.8).astype(float), 0.8),
}


def student(values: np.ndarray) -> Ends:
    error = values.std(ddof=1) / np.sqrt(len(values))
    reach = stats.t.ppf(0.975, len(values) - 1) * error
    return values.mean() - reach, values.mean() + reach


def bootstrap_t(values: np.ndarray) -> Ends:
    n = len(values)
    drawn = values[np.random.default_rng(0).integers(0, n, (N_RESAMPLES, n))]
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (drawn.mean(1) - values.mean()) / (drawn.std(1, ddof=1) / np.sqrt(n))
    # A resample of equal values has no spread: t is infinite, or undefined for the mean itself.
    low, high = np.quantile(np.nan_to_num(t, nan=0.0), [0.025, 0.975], method="nearest")
    error = values.std(ddof=1) / np.sqrt(n)
    return values.mean() - high * error, values.mean() - low * error


def scipys(statistic: Statistic, method: str) -> Ends:
    def of(drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        rows = torch.tensor(np.atleast_2d(drawn))
        return statistic.of(rows).numpy().reshape(drawn.shape[:-1])

    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        # Equal values have no BCa interval: taken as one point below.
        warnings.simplefilter("ignore")
        found = stats.bootstrap(
            (np.arange(statistic.n_examples),), of, vectorized=True, n_resamples=N_RESAMPLES,
            method=method, random_state=np.random.default_rng(0),
        )  # fmt: skip
    low, high = found.confidence_interval
    value = float(statistic.value)
    return (value, value) if np.isnan(low) else (float(low), float(high))


def used(statistic: Statistic) -> Ends:
    low, high = interval(statistic, n_samples=N_RESAMPLES)
    return float(low), float(high)


def of_statistic(statistic: Statistic) -> dict[str, Ends]:
    return {
        "percentile": scipys(statistic, "percentile"),
        "BCa": scipys(statistic, "BCa"),
        "used": used(statistic),
    }


def of_mean(values: np.ndarray) -> dict[str, Ends]:
    others = {"t": student(values), "bootstrap-t": bootstrap_t(values)}
    return of_statistic(mean_of(torch.from_numpy(values))) | others


def images(n: int, draw: np.random.Generator) -> tuple[torch.Tensor, ...]:
    """Frames of images: information (n, 25), probability ratio, and whether the answer is right."""
    shown = np.linspace(0, 1, 25)
    base = draw.uniform(0.2, 0.6, (n, 1))
    x = base + (1 - base) * shown ** draw.uniform(0.3, 1.2, (n, 1))
    rise = 1 / (1 + np.exp(-draw.uniform(6, 30, (n, 1)) * (shown - draw.beta(1.5, 4, (n, 1)))))
    start, whole = draw.beta(0.6, 4, (n, 1)), draw.beta(5, 1.2, (n, 1))
    noise = np.exp(0.15 * draw.normal(size=(n, 25)) * (1 - shown))
    ratio = np.clip((start + (1 - start) * rise / rise[:, -1:]) * noise, 0, 1 / whole)
    right = ratio * whole > draw.uniform(0.2, 0.5, (n, 1))
    return tuple(torch.from_numpy(part) for part in (x, ratio, right.astype(float)))


def binned(x: torch.Tensor, y: torch.Tensor, median: bool) -> Statistic:
    points = BinnedPoints(x, y, 100, median=median)
    return Statistic(points.n_examples, points.areas, is_mean=False)


def row(name: str, n: int, truth: float, found: list[dict[str, Ends]], bias: float) -> None:
    cells = []
    for how in found[0]:
        ends = np.array([one[how] for one in found])
        held = np.mean((ends[:, 0] <= truth + 1e-9) & (truth - 1e-9 <= ends[:, 1]))
        cells.append(f"{how} {held:.3f} ({np.median(ends[:, 1] - ends[:, 0]):.3g})")
    print(f"{name:30} n {n:3}  {'  '.join(cells)}  bias {bias:+.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--curves", type=int, default=300, help="samples of AIC and SIC")
    parser.add_argument("--sizes", type=int, nargs="+", default=[6, 10, 30, 60])
    options = parser.parse_args()
    for name, (sample, truth) in SCORES.items():
        for n in options.sizes:
            draw = np.random.default_rng(1)
            drawn = [sample(draw, n) for _ in range(options.samples)]
            bias = float(np.mean([v.mean() for v in drawn])) - truth
            row(name, n, truth, [of_mean(v) for v in drawn], bias)
    x, ratio, right = images(4000, np.random.default_rng(1))
    for name, y, median in (("AIC, bins", right, False), ("SIC, bins", ratio, True)):
        truth = float(binned(x, y, median).value)
        for n in options.sizes:
            draw = np.random.default_rng(2)
            picked = [torch.from_numpy(draw.integers(0, 4000, n)) for _ in range(options.curves)]
            curves = [binned(x[k], y[k], median) for k in picked]
            bias = float(np.mean([float(c.value) for c in curves])) - truth
            row(name, n, truth, [of_statistic(c) for c in curves], bias)


if __name__ == "__main__":
    main()
