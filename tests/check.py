"""Everything a change must pass: ruff, mypy, then all tests, tutorials and the site included."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FIRST = [["ruff", "format", "--check", "."], ["ruff", "check", "."]]
BESIDE = ["mypy"]
"""Runs beside the tests, which leave one of two processors idle at their start and end."""
# The last run prints the count of tests.
LAST = ["pytest", "-n", "2", "--dist", "worksteal"]


def main() -> int:
    # Small models run many times faster on one thread.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}

    def start(run: list[str], **pipes: int) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", *run]
        return subprocess.Popen(words, cwd=ROOT, env=environment, text=True, **pipes)

    for run in FIRST:
        print("$", *run, flush=True)
        if start(run).wait():
            return 1
    with start(BESIDE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as types:
        print("$", *LAST, flush=True)
        tests = start(LAST)
        told = types.communicate()[0]
        print("$", *BESIDE, told, sep="\n" if types.returncode else " ", flush=True)
        return tests.wait() or types.returncode


if __name__ == "__main__":
    sys.exit(main())
