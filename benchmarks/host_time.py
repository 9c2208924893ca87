"""What the library does on the host for each call of the model: the table of docs/devices.md.

    python benchmarks/host_time.py [--repeats 15] [--quick]

Where a GPU does the arithmetic, the host pays for beginning each operation. So the network and its
three images of 32 x 32 are small enough for arithmetic to be nothing beside that. Told is the
processor time of one thread above that of the same calls of the bare model, by call, in turn with
it; and what a bare call takes, with a gradient or not as the method makes them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from captum.attr import IntegratedGradients
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from measure import Counted, replay, seconds

from captum_ext.attr import Configured
from tests.devices.cases import IMAGES, LONGER, MODEL, TARGETS

METHODS: dict[str, Callable[[nn.Module], Any]] = {
    "Captum's IG": lambda m: Configured(IntegratedGradients(m), n_steps=40, internal_batch_size=12),
    **LONGER,
}


def row(name: str, make: Callable[[nn.Module], Any], repeats: int) -> str:
    """A line of the table."""

    def run(model: nn.Module) -> None:
        make(model).attribute(IMAGES, target=torch.tensor(TARGETS))

    counted = Counted(MODEL)
    run(counted)
    n = len(counted.calls)
    pairs = [
        (seconds(lambda: run(MODEL)), seconds(lambda: replay(MODEL, counted.calls, IMAGES[:1])))
        for _ in range(repeats)
    ]
    above = sorted(1000 * (ours - bare) / n for ours, bare in pairs)
    bare = statistics.median(1000 * bare / n for _, bare in pairs)
    quarter = len(above) // 4
    return (
        f"| {name} | {n} | {statistics.median(above):.2f} ({above[quarter]:.2f}-"
        f"{above[-1 - quarter]:.2f}) | {bare:.2f} |"
    )


def main(words: list[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="two methods, once")
    chosen = parser.parse_args(words)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print("| method | calls | ms a call above the bare ones (quarters) | ms of a bare call |")
    print("|---|---|---|---|")
    for name in [*METHODS][: 2 if chosen.quick else None]:
        print(row(name, METHODS[name], 1 if chosen.quick else chosen.repeats), flush=True)


if __name__ == "__main__":
    main()
