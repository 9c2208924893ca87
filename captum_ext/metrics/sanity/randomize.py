"""Randomizing a network's parameters stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torchmetrics.utilities import rank_zero_warn

from captum_ext._tensors import moved
from captum_ext._text import reason
from captum_ext._typing import Inputs, Target
from captum_ext.metrics.sanity.initializers import Initialize, drawn
from captum_ext.metrics.sanity.made_method import as_tuple, copies_of


@dataclass(frozen=True)
class Stage:
    """Parameters that are randomized together.

    Args:
        name: of the layer or block.
        parameters: their names in the model.
    """

    name: str
    parameters: tuple[str, ...]


def randomize(model: nn.Module, stage: Stage, seed: int, initialize: Initialize) -> None:
    """Draws the stage's parameters anew, each from a generator of its own.

    The seed and the parameter's place in the model decide the draw, so that it is the same in
    every order and under every wrapper, whose prefix changes names, and layers of one shape
    differ.
    """
    for name, values in drawn(model, stage.parameters, seed, initialize).items():
        parameter = model.get_parameter(name)
        with torch.no_grad():
            parameter.copy_(moved(values, parameter.device, parameter.dtype))
    forget_casts()


def forget_casts() -> None:
    """Lets `torch.autocast` cast weights again: to be called after each change in place.

    Its cache knows a weight by its identity and lives as long as the outermost context, so that
    the model would go on with the old values.
    """
    torch.clear_autocast_cache()


@contextmanager
def execution_order(model: nn.Module) -> Iterator[list[str]]:
    """Collects the names of the modules in the order of their first call."""
    order: list[str] = []
    seen: set[str] = set()

    def note(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            if name not in seen:
                seen.add(name)
                order.append(name)

        return hook

    handles = [m.register_forward_pre_hook(note(name)) for name, m in model.named_modules()]
    try:
        yield order
    finally:
        for handle in handles:
            handle.remove()


def stages_of(
    model: nn.Module, order: Sequence[str], stages: str | Sequence[str] = "layer"
) -> list[Stage]:
    """All parameters of the model in stages from the output to the input.

    A parameter belongs to the module that holds it (a class token to the transformer, an
    attention's projections to the attention, what a parametrized weight is made of to its layer)
    and, if that is never called itself, to the nearest module around it that is. One that
    several modules share belongs to the last of them that runs, whose output it decides.

    Args:
        model: the network.
        order: names of its modules in order of execution.
        stages: "layer", "block" (the entries of its Sequential and ModuleList containers), or
            names of modules, within which parameters change together; what is in none of them
            makes stages by layer.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> [stage.name for stage in stages_of(net, ["", "0", "1", "2"])]
    ['2', '0']
    """
    blocks = _blocks(model, stages)
    called = {name: place for place, name in enumerate(order)}
    shared: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        shared.setdefault(id(parameter), []).append(name)
    groups: dict[str, list[str]] = {}
    first: dict[str, int] = {}
    for aliases in shared.values():
        owners = [_owner(name, called) for name in aliases]
        places = [called.get(owner, -1) for owner in owners]
        last = places.index(max(places))
        group = _block_of(aliases[last], blocks)
        group = owners[last] if group is None else group
        # Under the name that `named_parameters` gives it.
        groups.setdefault(group, []).append(aliases[0])
        first[group] = min(first.get(group, 1 << 60), places[last])
    # Of modules that never run, those registered last are taken for the output's.
    place = {name: (first[name], k) for k, name in enumerate(groups)}
    names = sorted(groups, key=place.__getitem__, reverse=True)
    return [Stage(name or "(model)", tuple(groups[name])) for name in names]


def _owner(parameter: str, called: dict[str, int]) -> str:
    layer, parametrized, _ = f".{parameter}".partition(".parametrizations.")
    owner = (layer if parametrized else layer.rpartition(".")[0])[1:]
    while owner and owner not in called:
        owner = owner.rpartition(".")[0]
    return owner


def _block_of(parameter: str, blocks: Sequence[str]) -> str | None:
    inside = [block for block in blocks if parameter.startswith(block + ".")]
    return max(inside, key=len) if inside else None


def _blocks(model: nn.Module, stages: str | Sequence[str]) -> list[str]:
    modules = dict(model.named_modules())
    if stages == "layer":
        return []
    if stages == "block":
        return _entries(model, modules)
    names = [stages] if isinstance(stages, str) else list(stages)
    unknown = [name for name in names if name not in modules]
    if unknown:
        raise ValueError(
            f'`stages` is "layer", "block" or names of modules of the model, but got {unknown}.'
        )
    return names


def _entries(model: nn.Module, modules: dict[str, nn.Module]) -> list[str]:
    """Outermost entries of containers that have parts and hold less than half of the weights."""
    total = sum(p.numel() for p in model.parameters())
    found: list[str] = []
    for name, module in modules.items():
        parent = modules.get(name.rpartition(".")[0])
        size = sum(p.numel() for p in module.parameters())
        entry = isinstance(parent, nn.Sequential | nn.ModuleList) and any(module.children())
        if entry and 0 < size < total / 2 and _block_of(name, found) is None:
            found.append(name)
    return found


def report_of(model: nn.Module, twin: nn.Module, stage: Stage) -> dict[str, Any]:
    """The share of all weights that the stage holds, and that differ by now."""
    pairs = list(zip(twin.named_parameters(), model.parameters(), strict=True))
    total = sum(p.numel() for (_, p), _ in pairs)
    held = sum(p.numel() for (name, p), _ in pairs if name in stage.parameters)
    changed = sum(int((a != b).sum()) for (_, a), b in pairs)
    return {
        "stage": stage.name,
        "parameters": list(stage.parameters),
        "share": held / total,
        "changed": changed / total,
    }


def reestimate(model: nn.Module, data: tuple[Inputs, Target, Any]) -> None:
    norms: list[Any] = [m for m in model.modules() if getattr(m, "running_mean", None) is not None]
    if not norms:
        rank_zero_warn("`buffers='reestimate'`, but the model has no running statistics.")
        return
    frozen = {type(m).__name__ for m in norms if not hasattr(m, "reset_running_stats")}
    if frozen:
        raise ValueError(
            f"`buffers='reestimate'` needs statistics that can be estimated, but those of "
            f"{', '.join(sorted(frozen))} never change: use 'keep'."
        )
    before = [(m, m.training, m.momentum) for m in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    run_model(model, data)
    for norm, training, momentum in before:
        norm.momentum = momentum
        norm.train(training)


def run_model(model: nn.Module, data: tuple[Inputs, Target, Any]) -> Any:
    """What the model says of copies of the data."""
    inputs, _, args = data
    extra = () if args is None else args if isinstance(args, tuple) else (args,)
    given = copies_of((*as_tuple(inputs), *extra))
    try:
        with torch.no_grad():
            return model(*given)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        if "more than 1 value per channel" in str(error):
            raise ValueError(
                "`buffers='reestimate'` estimates statistics of each channel, but a layer of "
                f"`model` gets one value for {len(given[0])} example: `update` with more at a "
                "time, or use 'keep'."
            ) from error
        raise RuntimeError(f"`model` fails on `inputs` with {reason(error, named=True)}") from error
