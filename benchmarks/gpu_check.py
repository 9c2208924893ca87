"""One accelerator: are the numbers right on it, and what does each method add to the model?

    python benchmarks/gpu_check.py [--device cuda] [--model resnet50] [--side 224] [--images 16]
    python benchmarks/gpu_check.py --device cpu --quick    # a rehearsal where there is none

First every method and metric on the CPU and on the device, with targets on either. Then, for each
case of run.py, seconds beside the same calls of the bare model (least of three, in turn), what is
above them per call, host-device synchronizations per call, and peak memory beside the bare one's.
At last what the default chunk takes of 8 GB.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from captum.attr import IntegratedGradients
from torch import nn
from torch.utils._pytree import tree_leaves

sys.path.insert(0, str(Path(__file__).parents[1]))

from cases import METHODS, METRICS
from measure import Call, Counted, replay
from run import QUICK, Size, setting

from captum_ext import ImageClassifier
from captum_ext.attr import IDGI
from tests.devices import cases as small

WRONG = 2e-2
"""Masks are optimized: a rounding error may choose another step."""


def answers(device: torch.device) -> dict[str, Callable[[], Any]]:
    """Every method with targets on either device, and every metric, moved or not."""
    images, model = small.IMAGES.to(device), copy.deepcopy(small.MODEL).to(device)
    labels = torch.tensor(small.TARGETS)
    found: dict[str, Callable[[], Any]] = {}
    for name, make in small.METHODS.items():
        for where, target in (("CPU", labels), ("device", labels.to(device))):
            found[f"{name}, target on the {where}"] = lambda make=make, target=target: make(
                model
            ).attribute(images, target=target)
    for name, case in small.METRICS.items():
        for moved in (False, True):

            def score(case: Any = case, moved: bool = moved) -> Any:
                metric, data = case(copy.deepcopy(model), lambda t: t.to(device))
                metric = metric.to(device) if moved else metric
                metric.update(*data)
                return metric.compute()

            found[name + ", moved" * moved] = score
    return found


def difference(found: Any, wanted: Any) -> float:
    """The largest, relative to the largest number that was wanted; nan where both are."""
    worst = 0.0
    for got, want in zip(tree_leaves(found), tree_leaves(wanted), strict=True):
        got, want = got.cpu().double(), want.cpu().double()
        if got.shape != want.shape or bool((got.isnan() != want.isnan()).any()):
            return torch.inf
        scale = want.nan_to_num().abs().max().clamp(min=1e-9)
        worst = max(worst, float((got - want).nan_to_num().abs().max() / scale))
    return worst


def check(device: torch.device) -> int:
    """Says what differs from the CPU or fails; how many."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    n_bad, on_cpu = 0, answers(torch.device("cpu"))
    for name, run in answers(device).items():
        try:
            worst = difference(run(), on_cpu[name]())
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            place = [f"{f.filename}:{f.lineno}" for f in frames if "captum_ext" in f.filename]
            print(f"  fails    {name}: {type(error).__name__}: {error} ({place[-1:]})")
            n_bad += 1
            continue
        n_bad += worst > WRONG
        if worst > 1e-4:
            print(f"  {'differs' if worst > WRONG else 'near':8} {name}: {worst:.1e}")
    print(f"  {n_bad} of {len(on_cpu)} differ or fail on {device}")
    return n_bad


def finished(device: torch.device) -> None:
    if device.type in ("cuda", "mps"):
        getattr(torch, device.type).synchronize()


def timed(work: Callable[[], Any], device: torch.device) -> tuple[float, float]:
    """Seconds, and peak memory in GB where the device tells it."""
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    finished(device)
    start = time.perf_counter()
    work()
    finished(device)
    taken = time.perf_counter() - start
    return taken, torch.cuda.max_memory_allocated() / 2**30 if cuda else torch.nan


def synchronizations(work: Callable[[], Any], device: torch.device) -> float:
    """How often the host waited, as CUDA warns of it."""
    if device.type != "cuda":
        return torch.nan
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(w.message) for w in said)


def cost(name: str, run: Callable[[nn.Module], Any], model: nn.Module, image: Any) -> str:
    """A line of the table: a run beside the bare model's same calls."""
    device, counted = image.device, Counted(model)
    run(counted)
    calls: list[Call] = counted.calls
    replay(model, calls, image)
    pairs = [
        (timed(lambda: run(model), device), timed(lambda: replay(model, calls, image), device))
        for _ in range(3)
    ]
    (ours, peak), (bare, least) = (min(side) for side in zip(*pairs, strict=True))
    n, ratio = max(1, len(calls)), ours / bare if calls else torch.nan
    waits = synchronizations(lambda: run(model), device)
    return (
        f"  {name:40} {len(calls):5} {ours:8.3f} {ratio:6.2f} {1000 * (ours - bare) / n:10.2f} "
        f"{waits / n:10.1f} {peak:8.2f} {least:8.2f}"
    )


def costs(device: torch.device, model: nn.Module, size: Size) -> None:
    columns = ("calls", "s", "ratio", "ms/call +", "syncs/call", "GB", "bare GB")
    widths = (5, 8, 6, 10, 10, 8, 8)
    named = zip(columns, widths, strict=True)
    print(f"  {size}\n  {'':40} " + " ".join(f"{c:>{w}}" for c, w in named))
    on_cpu = setting(model, size)
    given = replace(on_cpu, images=on_cpu.images.to(device))
    model = model.to(device)
    for name, case in {**METHODS, **METRICS}.items():
        try:
            _, run = next(case(given))
            print(cost(name, run, model, given.images[:1]), flush=True)
        except Exception as error:
            print(f"  {name:40} fails: {type(error).__name__}: {str(error)[:90]}", flush=True)


def memory() -> None:
    """Whether the default chunk of a large model fits in 8 GB, of one image and 64 steps."""
    device, whole = torch.device("cuda"), torch.cuda.get_device_properties(0).total_memory
    for name in ("resnet50", "vit_l_16"):
        torch.cuda.set_per_process_memory_fraction(min(1.0, 8 * 2**30 / whole))
        model = ImageClassifier.from_torchvision(name, weights=None).to(device).eval()
        image = torch.rand(1, 3, 224, 224, device=device)
        method = IDGI(IntegratedGradients(model))
        try:
            taken, peak = timed(lambda m=method, x=image: m.attribute(x, target=1), device)
            print(f"  {name}: {taken:.1f} s, {peak:.1f} GB")
        except torch.OutOfMemoryError as error:
            print(f"  {name}: {str(error)[:90]}")
        del model, method
    torch.cuda.set_per_process_memory_fraction(1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    device = torch.device(options.device)
    print(f"torch {torch.__version__}, {device}: the CPU's numbers?")
    n_bad = check(device)
    print("what is added to the model?")
    size = QUICK if options.quick else Size(options.images, options.side, 16)
    model = small.MODEL if options.quick else ImageClassifier.from_torchvision(
        options.model, weights=None
    ).eval()  # fmt: skip
    costs(device, model, size)
    if device.type == "cuda":
        print("does the default chunk fit in 8 GB?")
        memory()
    sys.exit(n_bad > 0)


if __name__ == "__main__":
    main()
