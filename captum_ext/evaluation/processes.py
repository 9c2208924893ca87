"""The processes that share a run, as `torchrun` starts them; or this one alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from captum_ext._launch import FAILING, is_shared


def rank_and_size() -> tuple[int, int]:
    """This process's number and how many there are.

    >>> rank_and_size()
    (0, 1)
    """
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


class OtherProcessError(RuntimeError):
    """Another process of the run has ended, so that nothing can be asked of it."""


def gather(value: Any) -> list[Any]:
    """What each process says, in order; all of them must ask.

    Raises:
        OtherProcessError: if one has ended.

    >>> gather("yes")
    ['yes']
    """
    size = rank_and_size()[1]
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
    found = [e for e in gather(error) if e is not None]
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
        FAILING.first = _is_first_to_fail()
        raise
    finally:
        dist.destroy_process_group()


def _is_first_to_fail() -> bool:
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    distributed: Any = dist
    try:
        store = distributed.TCPStore(address, port, is_master=False, timeout=timedelta(seconds=5))
        return bool(store.add("captum_ext/failed", 1) == 1)
    except (RuntimeError, ValueError):
        # The store was the first process's, which has gone without a word.
        return os.environ.get("RANK") == "1"


def own_device(name: str | None) -> str | None:
    """This process's own GPU where it is not told a device."""
    if name is None and is_shared() and torch.cuda.is_available():
        return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"
    return name
