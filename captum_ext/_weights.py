"""State dicts from files, and whether they fit a model; all failures in one sentence."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from captum_ext._text import number_of

State: TypeAlias = Mapping[str, Any]
# Below, torch.load(weights_only=True) runs code of a crafted file (CVE-2025-32434, fixed in 2.6)
# or writes out of bounds (CVE-2026-24747, fixed in 2.10).
_SAFE_TORCH = (2, 10)
_MOST_NAMED = 3
# Where checkpoints of training keep the state dict.
_HOLDERS = ("state_dict", "model_state_dict", "model")
# What wrappers put into the names of tensors.
_WRAPPERS = ("_orig_mod.", "module.")


def read_state(file: Path, trusted: bool = False) -> State:
    """The state dict in a file: ``.safetensors``, or what ``torch.save`` wrote, tensors only.

    Args:
        file: where it is; a checkpoint of Lightning, or another that holds the state dict as
            "state_dict", "model_state_dict" or "model", will do.
        trusted: whether the file is known to be harmless, as one that a package ships.

    Raises:
        ValueError: if there is no such file, it holds something else, or this release of torch
            can't read pickled files safely.
        ImportError: for ``.safetensors`` without the package of that name.
    """
    if not os.path.isfile(file):
        raise ValueError(f"`weights` is a file with a state dict, but {file} does not exist.")
    state = _safetensors(file) if file.suffix == ".safetensors" else _pickled(file, trusted)
    if isinstance(state, Mapping):
        held = (state.get(name) for name in _HOLDERS)
        state = next((one for one in held if isinstance(one, Mapping)), state)
    if not isinstance(state, Mapping) or not any(isinstance(t, Tensor) for t in state.values()):
        raise ValueError(
            f"`weights` is a file with a state dict, tensors by name, but {file} holds "
            f"{_content(state)}: save `model.state_dict()`."
        )
    return state


def load_weights(model: nn.Module, file: Path, trusted: bool = False) -> None:
    """Loads the state dict in a file, and says in one sentence if it can't.

    Raises:
        ValueError, ImportError: as `read_state`, or if the state dict does not fit the model.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp(), "two.pth")
    >>> torch.save({"weight": torch.ones(1, 2)}, file)
    >>> load_weights(nn.Linear(2, 1), file)
    Traceback (most recent call last):
    ...
    ValueError: `weights` must fit the model, but ...two.pth does not: it lacks bias.
    """
    state = matched(read_state(file, trusted), model.state_dict())
    problem = misfit(model, state)
    if problem:
        raise ValueError(f"`weights` must fit the model, but {file} does not: {problem}.")
    model.load_state_dict(state)


def matched(state: State, wanted: Iterable[str]) -> State:
    """A state dict by the names that a model gives its tensors.

    Wrappers put words before them (``module.`` of parallel models, ``_orig_mod.`` of compiled
    ones), and a Lightning module the name under which it keeps the network; what else such a
    module keeps, as its loss, is left out.

    Raises:
        ValueError: if the network is held several times, as with its moving average.

    >>> matched({"net.module.bias": 1, "net.module.x": 2, "loss.x": 3}, ["bias", "x"])
    {'bias': 1, 'x': 2}
    """
    names = [*wanted]
    for word in _WRAPPERS:
        if not any(word in name for name in names):
            state = {name.replace(word, ""): tensor for name, tensor in state.items()}
    if not names or all(name in state for name in names):
        return state
    starts = {key[: -len(names[0])] for key in state if key.endswith(f".{names[0]}")}
    whole = sorted(p for p in starts if all(p + name in state for name in names))
    if len(whole) > 1:
        raise ValueError(
            f"`weights` holds the model {len(whole)} times, as {', '.join(map(repr, whole[:3]))}: "
            "save the state dict of the one that is meant."
        )
    # Where nothing fits whole, the names are told as the model has them.
    start = max([*whole, *sorted(starts), ""], key=lambda p: sum(p + n in state for n in names))
    return {key[len(start) :]: t for key, t in state.items() if key.startswith(start)}


def n_classes_in(state: State, wanted: State, n_classes: int) -> int:
    """How many classes a file's weights have: ``n_classes``, unless their heads have another size.

    Args:
        state: by the model's names.
        wanted: the state dict of the model made for ``n_classes``.

    >>> n_classes_in(nn.Linear(2, 7).state_dict(), nn.Linear(2, 5).state_dict(), 5)
    7
    """
    found = set()
    for name, tensor in wanted.items():
        given = state.get(name)
        if isinstance(given, Tensor) and given.shape != tensor.shape:
            alike = given.shape[1:] == tensor.shape[1:] and tensor.shape[:1] == (n_classes,)
            found.add(given.shape[0] if alike else None)
    (n,) = found if len(found) == 1 else (None,)
    return n or n_classes


def misfit(model: nn.Module, state: State) -> str:
    """Why a state dict does not fit, naming at most three tensors; "" if it does.

    >>> misfit(nn.Linear(2, 1), {"weight": torch.ones(1, 3), "bias": torch.ones(1), "x": 1})
    'it has x, which the model has not; weight is (1, 3) instead of (1, 2)'
    """
    wanted = model.state_dict()
    problems = [f"it lacks {name}" for name in wanted if name not in state]
    problems += [f"it has {name}, which the model has not" for name in state if name not in wanted]
    for name, tensor in wanted.items():
        given = state.get(name, tensor)
        if isinstance(tensor, Tensor) and not isinstance(given, Tensor):
            problems.append(f"{name} is of type {type(given).__name__}")
        elif isinstance(tensor, Tensor) and given.shape != tensor.shape:
            problems.append(f"{name} is {tuple(given.shape)} instead of {tuple(tensor.shape)}")
    more = len(problems) - _MOST_NAMED
    return "; ".join(problems[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _safetensors(file: Path) -> State:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise ImportError(f"`weights` {file} needs safetensors: pip install safetensors") from None
    try:
        state: State = load_file(file)
    except Exception as error:
        raise ValueError(
            f"`weights` {file} is not a whole .safetensors file: {_first_line(error)}."
        ) from error
    return state


def _pickled(file: Path, trusted: bool) -> Any:
    release = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if release < _SAFE_TORCH and not trusted:
        raise ValueError(
            f"`weights` {file} is a pickled file, which torch {torch.__version__} does not read "
            "safely (CVE-2025-32434, CVE-2026-24747): update torch to 2.10 or later, or save the "
            "weights as .safetensors."
        )
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f"`weights` is a file that torch.load(weights_only=True) reads, but {file} is not: it "
            "is damaged, or holds more than tensors: where you trust it, save its state dict alone."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _content(state: Any) -> str:
    if isinstance(state, Mapping):
        entries = number_of(len(state), "entry", "entries")
        return f"a {type(state).__name__} of {entries} without tensors"
    return f"a {type(state).__name__}"
