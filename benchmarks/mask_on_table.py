"""Masks of a table: how many rows get an empty map, and what the objective ends at.

scikit-learn's breast-cancer table, 143 test rows of 30 standardized columns, explained for a
network of 32 hidden units that is sure of its answers. Columns are deleted to their mean. The
objective is each method's own, without noise and at 15 points for all; deletion is the mean
probability while columns go in the map's order.

    python benchmarks/mask_on_table.py [--methods I-GOS,iGOS+,iGOS++]
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import replace

import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from captum_ext.attr import IGOS, IGOSPlus, IGOSPlusPlus, MaskAttribution
from captum_ext.mask import FeatureGroups, IntegratedGradient
from captum_ext.mask.advanced import MaskProblem
from captum_ext.score import Score

METHODS = {"I-GOS": IGOS, "iGOS+": IGOSPlus, "iGOS++": IGOSPlusPlus}
COLUMNS = torch.arange(30)[None]


def table() -> tuple[nn.Module, Tensor, Tensor]:
    """A trained network of probabilities, the test rows, and the class it gives each."""
    features, labels = load_breast_cancer(return_X_y=True)
    train, test, train_labels, _ = train_test_split(
        features, labels, random_state=0, stratify=labels
    )
    mean, std = train.mean(0), train.std(0)
    rows, seen = (torch.tensor((x - mean) / std).float() for x in (test, train))
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Linear(32, 2))
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(seen), torch.tensor(train_labels)).backward()
        optimizer.step()
    model = nn.Sequential(network, nn.Softmax(1)).eval()
    with torch.no_grad():
        return model, rows, model(rows).argmax(1)


def objective(method: MaskAttribution, masks: Tensor, rows: Tensor, target: Tensor) -> Tensor:
    """Of each row's mask, (N,), without noise."""
    problem = MaskProblem(
        Score(method.forward_func, (rows,), target),
        (rows,),
        (torch.zeros_like(rows),),
        FeatureGroups((COLUMNS,)),
        method.terms,
        method.regularizers,
    )
    sample = problem.sample(IntegratedGradient().fractions(15))
    return problem.value(masks, torch.arange(len(rows)), sample)


@torch.no_grad()
def deletion(model: nn.Module, maps: Tensor, rows: Tensor, target: Tensor) -> Tensor:
    """Mean probability of each row while its columns go, (N,)."""
    rank = maps.argsort(dim=1, descending=True, stable=True).argsort(1)
    kept = [model(rows * (rank >= k)).gather(1, target[:, None])[:, 0] for k in range(1, 31)]
    return torch.stack(kept).mean(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", default=",".join(METHODS))
    arguments = parser.parse_args()
    model, rows, target = table()
    print(f"{'':22}{'empty':>7}{'objective':>16}{'deletion':>16}{'cost':>7}{'s':>6}")
    for name in arguments.methods.split(","):
        ours, steps = METHODS[name](model), METHODS[name](model)
        steps.step = replace(steps.step, jumps=())
        choices = {"": ours, " without jumps": steps, " published": METHODS[name].published(model)}
        for choice, method in choices.items():
            start = time.time()
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "nothing was deleted")
                run = method.optimize(rows, 0, target, feature_mask=COLUMNS)
            took, empty = time.time() - start, (run.attributions.amax(1) < 1e-3).sum()
            columns = [
                objective(method, run.descent.masks, rows, target),
                deletion(model, run.attributions, rows, target),
            ]
            cells = [f"{c.mean():.3f} +- {1.96 * c.std() / len(c) ** 0.5:.3f}" for c in columns]
            cost = run.descent.forwards[-1].double().mean()
            print(
                f"{name + choice:22}{empty:7d}{cells[0]:>16}{cells[1]:>16}{cost:7.0f}{took:6.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
