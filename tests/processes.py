"""Processes of a test's own, forked from one that has imported what is slow to import.

Started anew, each would import torch, torchvision and torchmetrics for ten seconds. A forked one
has a number, signals and an end of its own like any other, and leaves this process as it is.
Where there are no forks, it is started anew.
"""

import functools
import os
import runpy
import sys
from multiprocessing import forkserver, get_all_start_methods, get_context
from unittest import mock

import torch

METHOD = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
SLOW = ["captum.attr", "captum_ext.cli.evaluate", "matplotlib.figure", "pytest", "torchmetrics"]


@functools.cache
def context():
    """Where the processes come from: one server of forks for all tests of this process."""
    if METHOD == "forkserver":
        forkserver.set_forkserver_preload(SLOW)
        # Hashes of strings, and with them the order of sets, are not those of this process.
        seed = "8" if os.environ.get("PYTHONHASHSEED") == "7" else "7"
        # It reads the package from where this process does, whatever is installed.
        path = os.pathsep.join(filter(None, sys.path))
        given = {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        with mock.patch.dict(os.environ, given):
            forkserver.ensure_running()
    return get_context(METHOD)


def start(function, *arguments):
    process = context().Process(target=function, args=arguments)
    process.start()
    return process


def together(function, arguments, size):
    """`function(rank, *arguments)` in `size` processes; the first that fails raises here."""
    context()
    torch.multiprocessing.start_processes(function, arguments, size, start_method=METHOD)


def command(arguments, environment=(), said=None):
    """`captum-ext` in a process of its own; what it says goes to the file `said`."""
    return start(_command, arguments, {**os.environ, **dict(environment)}, said)


def _command(arguments, environment, said):
    os.environ.clear()
    os.environ.update(environment)
    if said is not None:
        say_in(said)
    sys.argv = ["captum-ext", *arguments]
    runpy.run_module("captum_ext", run_name="__main__")


def say_in(file):
    """What this process says from now on goes to a file."""
    with open(file, "wb") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
