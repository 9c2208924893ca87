"""Seconds per image of path methods, as ratios to the model's own gradients.

The yardstick is as many gradients of the bare model, in chunks of the same size. Beside them
Captum's IntegratedGradients, and PAIR's `saliency` where it is installed (with shims for what
NumPy 2.4 removed; pip install saliency --no-deps).

    python benchmarks/path_speed.py [--steps 20] [--batch 4]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from captum.attr import IntegratedGradients

from captum_ext import ImageClassifier
from captum_ext.attr import IDGI, BlurIG, GuidedIG


def seconds(run) -> float:
    """The faster of two runs after a warm-up."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def bare_gradients(model, images, n_steps: int, per_call: int):
    """What no path method can do without: n_steps gradients of every image."""
    for rows in torch.split(images.repeat(n_steps, 1, 1, 1), per_call):
        leaf = rows.clone().requires_grad_()
        torch.autograd.grad(model(leaf)[:, 0].sum(), leaf)


def pair_runs(model, images, n_steps: int):
    """PAIR's methods on the same model, or nothing where the package is missing."""
    if not hasattr(np, "trapz"):
        np.trapz = np.trapezoid  # noqa: NPY201
        quantile = np.quantile
        np.quantile = lambda a, q, interpolation=None, **k: quantile(
            a, q, **({"method": interpolation} if interpolation else {}), **k
        )
    try:
        from saliency.core import BlurIG as PairBlur, GuidedIG as PairGuided
    except ImportError:
        return {}

    def call(x, call_model_args=None, expected_keys=None):
        batch = torch.tensor(np.asarray(x), dtype=torch.float32).permute(0, 3, 1, 2)
        leaf = batch.requires_grad_()
        (gradient,) = torch.autograd.grad(model(leaf)[:, 0].sum(), leaf)
        return {"INPUT_OUTPUT_GRADIENTS": gradient.permute(0, 2, 3, 1).numpy()}

    arrays = [x.permute(1, 2, 0).double().numpy() for x in images]
    guided = {"x_steps": n_steps, "x_baseline": np.zeros_like(arrays[0])}
    return {
        "PAIR Guided IG": lambda: [PairGuided().GetMask(a, call, **guided) for a in arrays],
        "PAIR Blur IG": lambda: [PairBlur().GetMask(a, call, steps=n_steps) for a in arrays],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=4)
    given = parser.parse_args()
    model = ImageClassifier.from_efficientnet_lite0()
    images = torch.rand(given.batch, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    keywords = {"target": 0, "n_steps": given.steps}
    methods = {
        "IDGI (IG)": IDGI(IntegratedGradients(model)),
        "Guided IG": GuidedIG(model),
        "IDGI (Guided IG)": IDGI(GuidedIG(model)),
        "Blur IG": BlurIG(model),
        "IDGI (Blur IG)": IDGI(BlurIG(model)),
        "Captum IG": IntegratedGradients(model),
    }
    runs = {
        name: lambda m=method: m.attribute(images, **keywords) for name, method in methods.items()
    }
    runs |= pair_runs(model, images, given.steps)
    bare = {
        n: seconds(lambda n=n: bare_gradients(model, images, given.steps, n))
        for n in (given.batch, 8)
    }
    print(f"bare gradients: {bare[8]:.2f} s in chunks of 8, {bare[given.batch]:.2f} s of "
          f"{given.batch}; {given.batch} images, {given.steps} steps")  # fmt: skip
    for name, run in runs.items():
        taken = seconds(run)
        yardstick = bare[given.batch] if "Guided" in name else bare[8]
        print(f"{name:20} {taken:7.2f} s   {taken / yardstick:5.2f} x the bare model")


if __name__ == "__main__":
    main()
