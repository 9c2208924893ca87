"""The processes that share a run, as `torchrun` starts them; or this one alone."""

from __future__ import annotations

from typing import Any

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
