"""The command ``captum-ext``: exit code 0 is done, 2 a wrong call, 1 everything else."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence

from captum_ext import __version__
from captum_ext.cli import evaluate, explain, sanity
from captum_ext.cli.errors import CallError
from captum_ext.cli.say import say


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    top = argparse.ArgumentParser(
        prog="captum-ext", description="Explain image classifiers, and see which map to trust."
    )
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    explain.add_to(commands)
    evaluate.add_to(commands)
    sanity.add_to(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code.

    >>> main(["explain", "no-such-file.png"])
    2
    """
    try:
        words = sys.argv[1:] if argv is None else [*argv]
        arguments = parser().parse_args(words, argparse.Namespace(command_line=shlex.join(words)))
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        arguments.run(arguments)
    except CallError as error:
        say(str(error))
        return 2
    except KeyboardInterrupt:
        print("captum-ext: interrupted", file=sys.stderr)
        return 1
    except Exception as error:
        print(f"captum-ext: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0
