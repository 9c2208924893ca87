"""The processes that share a run, as `torchrun` starts them; or this one alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist


def here() -> tuple[int, int]:
    """This process's number and how many there are.

    >>> here()
    (0, 1)
    """
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


class OtherProcessError(RuntimeError):
    """Another process of the run has ended, so that nothing can be asked of it."""


def everyone(value: Any) -> list[Any]:
    """What each process says, in order; all of them must ask.

    Raises:
        OtherProcessError: if one has ended.

    >>> everyone("yes")
    ['yes']
    """
    size = here()[1]
    if size == 1:
        return [value]
    values: list[Any] = [None] * size
    try:
        dist.all_gather_object(values, value)
    except RuntimeError as error:
        raise OtherProcessError(
            "another process of this run ended before its work was done: what is done is kept; run "
            "the same again to go on."
        ) from error
    return values


def agree(error: Exception | None) -> None:
    """Raises in all processes if there is an error in one, so that none waits for another."""
    found = [e for e in everyone(error) if e is not None]
    if found:
        raise error or found[0]


# The slowest process may be far behind the fastest; `torchrun` ends the others if one dies.
_PATIENCE = timedelta(days=30)


@contextmanager
def process_group() -> Iterator[None]:
    """Joins the processes that ``torchrun`` started; alone, does nothing."""
    if not is_shared():
        yield
        return
    # Results are small and on the CPU, whatever the model's device.
    dist.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield
    except BaseException:
        # Before others notice that this one has gone: the first that fails knows why.
        _failing.first = _is_first_to_fail()
        raise
    finally:
        dist.destroy_process_group()


@dataclass
class _Failing:
    first: bool | None = None


_failing = _Failing()


def _is_first_to_fail() -> bool:
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    distributed: Any = dist
    try:
        store = distributed.TCPStore(address, port, is_master=False, timeout=timedelta(seconds=5))
        return bool(store.add("captum_ext/failed", 1) == 1)
    except (RuntimeError, ValueError):
        # The store was the first process's, which has gone without a word.
        return os.environ.get("RANK") == "1"


def speaks_of_failure() -> bool:
    """Whether this process says why the work ends: the first that fails, and once for all."""
    return is_first() if _failing.first is None else _failing.first


def is_shared() -> bool:
    """Whether ``torchrun`` started this process among others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_ADDR" in os.environ


def is_first() -> bool:
    """Whether this process speaks for all."""
    return not is_shared() or os.environ.get("RANK", "0") == "0"


def own_device(name: str | None) -> str | None:
    """This process's own GPU where it is not told a device."""
    if name is None and is_shared() and torch.cuda.is_available():
        return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"
    return name


def launcher() -> str:
    """How the processes were started, as a prefix of the command."""
    if not is_shared():
        return "captum-ext"
    nodes = int(os.environ.get("GROUP_WORLD_SIZE", "1"))
    here = f"--nproc-per-node {os.environ.get('LOCAL_WORLD_SIZE', os.environ['WORLD_SIZE'])}"
    return f"torchrun {f'--nnodes {nodes} ' if nodes > 1 else ''}{here} -m captum_ext"
