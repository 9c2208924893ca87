"""What AIC and SIC by compressed size cost a map, in this and in other trees of the sources.

    python benchmarks/information_cost.py [--tree FOLDER ...] [--maps 4] [--repeats 2]
        [--preset xrai]

Maps of one photograph of scikit-image, smooth and with noise, are measured one after the other at
the preset's codec, beside a model that costs nothing. Each tree is a process of its own, all in
turn; prints processor and wall seconds a map, the first one's and the median of the others'.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

MEASURED = """
import json, sys, time
import torch
from PIL import Image
from skimage import data
from torch.nn.functional import interpolate
from torchvision.transforms.functional import to_tensor

import captum_ext
from captum_ext.metrics import information_metrics

torch.set_num_threads(1)
preset, n_maps = sys.argv[1], int(sys.argv[2])
image = to_tensor(Image.fromarray(data.astronaut()).resize((224, 224)))[None]
generator = torch.Generator().manual_seed(0)


def model(x):
    return torch.stack([x.mean((1, 2, 3)), 1 - x.mean((1, 2, 3))], 1)


def made():
    cells = torch.randn(1, 1, 28, 28, generator=generator)
    noise = torch.randn(1, 1, 224, 224, generator=generator)
    return interpolate(cells, (224, 224), mode="bilinear") + 0.3 * noise


metrics = information_metrics(model, levels=("entropy",), preset=preset)
cpu, wall = [], []
for _ in range(n_maps):
    credit = made()
    start, clock = time.process_time(), time.perf_counter()
    metrics.update(image, credit, target=0)
    cpu.append(time.process_time() - start)
    wall.append(time.perf_counter() - clock)
sizes = metrics["sic_entropy"]._rows("entropy").sum()
found = {"cpu": cpu, "wall": wall, "bytes": float(sizes), "package": captum_ext.__file__}
print(json.dumps(found))
"""


def run(tree: Path, options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of each map; the sizes of all frames together tell whether trees agree."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, options.preset, str(options.maps)],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
    )
    found = json.loads(done.stdout)
    assert Path(found["package"]).is_relative_to(tree), f"another captum_ext than {tree}'s"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tree", type=Path, nargs="*", default=[], help="other sources")
    parser.add_argument("--maps", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--preset", default="xrai", choices=["idgi", "xrai", "tmlr"])
    options = parser.parse_args()
    trees = [Path(__file__).resolve().parent.parent, *(tree.resolve() for tree in options.tree)]
    for _ in range(options.repeats):
        for tree in trees:
            found = run(tree, options)
            cells = [
                f"{what} {found[what][0]:.2f}, then {median(found[what][1:]):.2f}"
                for what in ("cpu", "wall")
            ]
            print(f"{tree}: {'; '.join(cells)} s a map, {found['bytes']:.0f} bytes", flush=True)


if __name__ == "__main__":
    main()
