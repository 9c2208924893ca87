"""Extra peak memory of the metrics: it grows with an update's batch, not with the data set.

Each measurement is a process of its own: peak resident memory above that of a first update with
one image. Images, maps and annotations are made anew for each update; the model costs nothing.

    python benchmarks/metrics_memory.py
"""

from __future__ import annotations

import subprocess
import sys

import torch
from common import peak_memory
from torch import Tensor

from captum_ext.metrics import Deletion, Insertion, Localization, information_metrics

CASES = {"1 image, twice": (1, 2), "1 image, 48 times": (1, 48), "8 images, twice": (8, 2)}


def free(images: Tensor) -> Tensor:
    """Probabilities of two classes that follow the mean of the image."""
    first = images.mean((1, 2, 3))
    return torch.stack([first, 1 - first], 1)


METRICS = {
    "insertion": lambda: Insertion(free),
    "deletion": lambda: Deletion(free),
    "AIC and SIC, idgi, both levels": lambda: information_metrics(free, preset="idgi"),
    "AIC and SIC, xrai": lambda: information_metrics(free, levels=("entropy",), preset="xrai"),
    "localization": Localization,
}


def peak(name: str, batch: int, updates: int) -> float:
    """Peak resident memory in MB, of this process, above a first update with one image."""
    torch.set_num_threads(1)
    metric = METRICS[name]()
    generator = torch.Generator().manual_seed(0)

    def update(n: int) -> None:
        images = torch.rand(n, 3, 224, 224, generator=generator)
        if name == "localization":
            mask = torch.zeros(n, 224, 224, dtype=torch.bool)
            mask[:, 50:150, 60:120] = True
            metric.update(images[:, 0], mask)
        else:
            metric.update(images, images.flip(-1), target=0)

    update(1)
    before = peak_memory()
    for _ in range(updates):
        update(batch)
    return peak_memory() - before


def main() -> None:
    if len(sys.argv) == 4:
        print(peak(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
        return
    print(f"{'extra peak memory, MB':32}" + "".join(f"{case:>20}" for case in CASES))
    for name in METRICS:
        cells = []
        for batch, updates in CASES.values():
            command = [sys.executable, __file__, name, str(batch), str(updates)]
            cells.append(float(subprocess.check_output(command)))
        print(f"{name:32}" + "".join(f"{cell:20.0f}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
