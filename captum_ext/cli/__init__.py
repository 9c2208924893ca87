"""The command ``captum-ext``: exit code 0 is done, 2 a wrong call, 1 everything else."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import NoReturn

from captum_ext import __version__, registry
from captum_ext._text import reason
from captum_ext.cli.errors import CallError, WorkError, say, say_failure, tolerant_streams
from captum_ext.cli.options import COMMANDS, Evaluate, Explain, Sanity, Settings, add_command


class _Parser(argparse.ArgumentParser):
    """A parser that says what is wrong as everything else of the command does."""

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message and os.path.exists(unknown):
            message = f"{unknown} is no option: the file of that name is ./{unknown}"
        raise CallError(f"{message} (see {self.prog} --help)")


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    top = _Parser(
        prog="captum-ext", description="Explain image classifiers, and see which map to trust."
    )
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for kind in COMMANDS:
        add_command(commands, kind)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code.

    >>> main(["explain", "no-such-file.png"])
    2
    """
    # What the file of a model registers is for this run alone.
    with tolerant_streams() as out, registry.kept():
        code = _code([*(sys.argv[1:] if argv is None else argv)])
        out.flush()
        if out.lost is not None:
            say(f"stdout can't be written: {out.lost}.")
            code = code or 1
    return code


def _code(words: list[str]) -> int:
    """Runs the command; whatever ends it is one sentence and an exit code."""
    try:
        settings = _settings(words)
        if settings is not None:
            _run(settings)
    except CallError as error:
        say_failure(str(error))
        return 2
    except WorkError as error:
        say_failure(str(error))
        return 1
    except KeyboardInterrupt:
        say_failure("interrupted")
        return 1
    except SystemExit as stop:
        # Of a user's file or a library: the work was not done, whatever code it gives.
        say_failure(f"the work was ended from inside by SystemExit({stop.code!r}).")
        return 1
    except Exception as error:
        say_failure(reason(error))
        return 1
    return 0


def _settings(words: list[str]) -> Settings | None:
    """What the words mean; None where help or the version was all that was asked for.

    Raises:
        CallError: if they can't be meant.
    """
    try:
        parsed = parser().parse_args(words, argparse.Namespace(command_line=shlex.join(words)))
    except SystemExit:
        return None
    kind: type[Settings] = parsed.kind
    return kind(**{one.name: getattr(parsed, one.name) for one in fields(kind)})


def _run(settings: Settings) -> None:
    # With torch and all that stands on it, which take seconds: not before the call is known to
    # be a right one.
    from captum_ext.cli import evaluate, explain, sanity
    from captum_ext.cli.inputs.models import in_precision

    with in_precision(settings):
        if isinstance(settings, Explain):
            explain.run(settings)
        elif isinstance(settings, Evaluate):
            evaluate.run(settings)
        elif isinstance(settings, Sanity):
            sanity.run(settings)
