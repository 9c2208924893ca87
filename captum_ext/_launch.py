"""What the environment says of this process among those that `torchrun` started."""

from __future__ import annotations

import os
from dataclasses import dataclass


def is_shared() -> bool:
    """Whether ``torchrun`` started this process among others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_ADDR" in os.environ


def is_first() -> bool:
    """Whether this process speaks for all."""
    return not is_shared() or os.environ.get("RANK", "0") == "0"


@dataclass
class Failing:
    """Whether this process was the first that failed; None where none did, or it stands alone."""

    first: bool | None = None


FAILING = Failing()


def speaks_of_failure() -> bool:
    """Whether this process says why the work ends: the first that fails, and once for all."""
    return is_first() if FAILING.first is None else FAILING.first


def launcher() -> str:
    """How the processes were started, as a prefix of the command."""
    if not is_shared():
        return "captum-ext"
    nodes = int(os.environ.get("GROUP_WORLD_SIZE", "1"))
    here = f"--nproc-per-node {os.environ.get('LOCAL_WORLD_SIZE', os.environ['WORLD_SIZE'])}"
    return f"torchrun {f'--nnodes {nodes} ' if nodes > 1 else ''}{here} -m captum_ext"
