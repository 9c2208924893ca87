"""Whether a failure is an example's own, or of what the whole run stands on."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import torch

# What may be wrong with one file while its folder is well.
_OF_ONE_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ELOOP,
                errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ}  # fmt: skip
_OF_ONE_FILE_KINDS = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
_PASSING_KINDS = (ConnectionError, TimeoutError, InterruptedError, BlockingIOError)
_DEVICE_WORDS = ("cuda error", "hip error", "cudnn error", "cudnn_status", "cublas_status",
                 "cusolver_status", "mps backend", "nccl error", "xpu error", "out of memory",
                 "can't allocate memory", "cannot allocate memory", "bad allocation",
                 "no space left", "input/output error", "stale file handle")  # fmt: skip
# A device says so of one request, and stays well.
_REQUEST_WORDS = ("not_supported", "bad_param", "not supported")


class RunStoppedError(RuntimeError):
    """Something that the whole run needs has failed; what is done is kept."""


def stop_unless_its_own(error: Exception, where: str, reading: bool = False) -> None:
    """Raises for a failure that other examples would share: of memory, a device, or the disk.

    Args:
        error: what was raised.
        where: at what work, for the sentence.
        reading: whether it was raised while an example was read, when a single file may be
            missing and the rest well.

    Raises:
        RunStoppedError: then; out of memory is raised as it came.

    >>> stop_unless_its_own(ValueError("odd shape"), "example 3")
    >>> stop_unless_its_own(OSError(5, "Input/output error"), "example 3")
    Traceback (most recent call last):
    ...
    captum_ext.evaluation.data.failures.RunStoppedError: the run stopped at example 3, as [Errno 5]
    Input/output error: what is done is kept; run the same again when the cause is gone.
    """
    for one in _chain(error):
        if isinstance(one, torch.OutOfMemoryError | MemoryError):
            raise one
        if _is_passing(one, reading):
            said = (str(one).splitlines() or [type(one).__name__])[0].rstrip(".: ")
            raise RunStoppedError(
                f"the run stopped at {where}, as {said}: what is done is kept; run the same again "
                "when the cause is gone."
            ) from error


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in seen:
        seen.append(following)
        yield following
        hidden = following.__suppress_context__
        following = following.__cause__ or (None if hidden else following.__context__)


def _is_passing(error: BaseException, reading: bool) -> bool:
    if isinstance(error, OSError):
        if isinstance(error, _PASSING_KINDS):
            return True
        one_file = error.errno in _OF_ONE_FILE or isinstance(error, _OF_ONE_FILE_KINDS)
        if reading and one_file:
            return error.filename is not None and not _has_files(error.filename)
        return error.errno is not None
    if type(error).__name__ == "AcceleratorError":
        return True
    text = str(error).lower()
    return (
        isinstance(error, RuntimeError)
        and any(word in text for word in _DEVICE_WORDS)
        and not any(word in text for word in _REQUEST_WORDS)
    )


def _has_files(name: str | bytes | int) -> bool:
    """Whether the folder of a file is there and holds anything: an unmounted one doesn't."""
    if isinstance(name, int):
        return True
    try:
        with os.scandir(Path(os.fsdecode(name)).parent) as entries:
            return any(True for _ in entries)
    except OSError:
        return False
