"""Everything a change must pass: ruff, mypy, then all tests, tutorials and the site included."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The last run prints the count of tests.
RUNS = [
    ["ruff", "format", "--check", "."],
    ["ruff", "check", "."],
    ["mypy"],
    ["pytest", "-n", "2", "--dist", "worksteal"],
]


def main() -> int:
    # Small models run many times faster on one thread.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    for run in RUNS:
        print("$", *run, flush=True)
        code = subprocess.run([sys.executable, "-m", *run], cwd=ROOT, env=environment).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
