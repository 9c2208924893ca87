"""``file.py:factory``: a user's file is run, and gives a function."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from captum_ext._text import reason
from captum_ext.cli.errors import CallError


def module_of(option: str, file: Path) -> ModuleType:
    """Runs a user's file.

    Raises:
        CallError: if it is no Python file, or fails.
    """
    # A name that no library has, since dataclasses look their module up by it.
    name = f"_captum_ext_{option.strip('-')}_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise CallError(f"{option} names the file {file}, which is not a Python file.")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        why = reason(error, named=True).rstrip(".")
        raise CallError(f"{option}: {file} fails with {why}.") from error
    finally:
        sys.path.pop(0)
    return module


def factory_in(option: str, file: Path, module: ModuleType, name: str) -> Callable[..., Any]:
    """The function of a file.

    Raises:
        CallError: if there is none of this name.
    """
    factory: Any = getattr(module, name, None)
    if not callable(factory):
        raise CallError(f"{option} names the factory {name!r}, which {file} does not define.")
    return factory
