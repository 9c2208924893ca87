"""What words of the command name: lists, files, folders and models, checked without torch."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

from captum_ext.cli.errors import CallError

LITE = {"efficientnet_lite0": 0, "lite0": 0, "lite1": 1, "lite2": 2}
LIBRARIES = ("torchvision", "timm", "hf")
"""Where networks have names: ``LIBRARY:NAME``."""


def names_in(option: str, text: str) -> list[str]:
    """The words of a list separated by commas.

    Raises:
        CallError: if there is none, or one of them twice.

    >>> names_in("--methods", "ig, rise")
    ['ig', 'rise']
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise CallError(f"{option} is a list separated by commas, but names nothing.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise CallError(f"{option} names {twice!r} twice.")
    return names


def require_picture(file: Path) -> None:
    """Raises CallError if there is nothing at the path of an image."""
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise CallError(f"IMAGE {file} does not exist or is not a file.") from None
    except OSError:
        # What else is wrong is said where the file is read.
        return


def require_folder(folder: Path) -> None:
    """Raises CallError if there is no folder of images."""
    if not folder.is_dir():
        raise CallError(f"IMAGES {folder} is not a folder.")


def require_readable(option: str, file: Path) -> None:
    """Raises CallError if the file of an option can't be read."""
    try:
        file.open("rb").close()
    except OSError as error:
        raise CallError(f"{option} {file} can't be read: {error.strerror}.") from error


def text_of(option: str, file: Path, errors: str = "strict") -> str:
    """The text of an option's file, in UTF-8 with or without a mark in front.

    Args:
        option: what the file was given for.
        file: where it is.
        errors: what becomes of bytes that are no UTF-8, as in `bytes.decode`.

    Raises:
        CallError: if it can't be read, or is of another encoding.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CallError(f"{option} {file} can't be read: {error.strerror}.") from error
    try:
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise UnicodeError
        return content.decode("utf-8-sig", errors)
    except UnicodeError as error:
        raise CallError(
            f"{option} {file} can't be read: it is not in UTF-8; save it so."
        ) from error


def loads_a_file(spec: str) -> bool:
    """Whether a model comes from a user's file, which may register names."""
    return ":" in spec and not library_of(spec)[0]


def file_of(spec: str) -> str | None:
    """The user's file that a model comes from; None where there is none.

    >>> file_of("mine.py:net"), file_of("timm:resnet18")
    ('mine.py', None)
    """
    return spec.rpartition(":")[0] if loads_a_file(spec) else None


def library_of(spec: str) -> tuple[str, str]:
    """The library that a model is of, and its name there; "" and the model for any other.

    >>> library_of("timm:resnet18"), library_of("mine.py:net")
    (('timm', 'resnet18'), ('', 'mine.py:net'))
    """
    library, colon, name = spec.partition(":")
    return (library, name) if colon and library in LIBRARIES else ("", spec)


def require_model(spec: str, weights: str | None) -> None:
    """Raises CallError for what ``--model`` and ``--weights`` can't mean."""
    library, name = library_of(spec)
    if library == "torchvision" and name:
        return
    if not (name if library else loads_a_file(spec) or spec in LITE):
        raise CallError(
            f"--model is {', '.join([*LITE][1:])}, {', '.join(f'{one}:NAME' for one in LIBRARIES)} "
            f"or path/to/file.py:factory, but got {spec!r}."
        )
    file = file_of(spec)
    if file is not None and not os.path.isfile(file):
        raise CallError(f"--model names the file {file}, which does not exist.")
    if weights == "random" and loads_a_file(spec):
        raise CallError(
            "--weights random is for a network of --model that has a name, such as "
            "torchvision:NAME: leave it out, or give a FILE."
        )
    if weights not in (None, "random") and not os.path.isfile(weights):
        raise CallError(f"--weights is a file with a state dict, but {weights} does not exist.")
