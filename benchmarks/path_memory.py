"""Peak memory of path methods at 50 and 400 steps, beside Captum's IntegratedGradients.

Captum's default, all steps in one call, is measured at 50 and 100 only: it needs 4 and 8 GB
there, and 400 steps would take what most machines don't have. Each measurement is a process of
its own: peak resident memory minus that of one gradient.

    python benchmarks/path_memory.py
"""

from __future__ import annotations

import subprocess
import sys
import warnings

import torch
from captum.attr import IntegratedGradients, Saliency
from common import peak_memory

from captum_ext import ImageClassifier
from captum_ext.attr import IDGI, BlurIG, GuidedIG

METHODS = {
    "IDGI (IG)": (lambda m: IDGI(IntegratedGradients(m)), {}, 400),
    "Guided IG": (GuidedIG, {}, 400),
    "Blur IG": (BlurIG, {}, 400),
    "Captum IG, internal_batch_size 8": (IntegratedGradients, {"internal_batch_size": 8}, 400),
    "Captum IG": (IntegratedGradients, {}, 100),
}


def peak(method: str, n_steps: int) -> float:
    """Peak resident memory above one gradient's, in MB, of this process."""
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    model = ImageClassifier.from_efficientnet_lite0()
    image = torch.rand(1, 3, 224, 224)
    Saliency(model).attribute(image, target=0)
    before = peak_memory()
    make, options, _ = METHODS[method]
    make(model).attribute(image, target=0, n_steps=n_steps, **options)
    return peak_memory() - before


def main() -> None:
    if len(sys.argv) == 3:
        print(peak(sys.argv[1], int(sys.argv[2])))
        return
    print(f"{'extra peak memory, MB':36}{'50 steps':>10}{'more steps':>22}{'ratio':>8}")
    for method, (_, _, steps) in METHODS.items():
        few, many = (
            float(subprocess.check_output([sys.executable, __file__, method, str(n)]))
            for n in (50, steps)
        )
        print(f"{method:36}{few:10.0f}{many:12.0f} ({steps:3}){many / few:13.2f}", flush=True)


if __name__ == "__main__":
    main()
