"""Which activations of a model Grad-CAM reads, and where their channels and places are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor, fx, nn

# A class token that alone is read hides the last blocks' patches; one of the last four does not.
_MOST_TOKEN_LAYERS = 4
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Reading:
    """How an activation is read as (N, channels, *space).

    Args:
        kind: "channels_first", "channels_last" or "tokens".
        n_prefix: of tokens, how many come before those of places.
        grid: of tokens, the sides of their grid.
    """

    kind: str = "channels_first"
    n_prefix: int = 0
    grid: tuple[int, ...] = ()

    def __call__(self, activation: Tensor) -> Tensor:
        """The activation, or its gradient, as (N, channels, *space).

        >>> Reading("tokens", n_prefix=1, grid=(2, 3))(torch.zeros(1, 7, 5)).shape
        torch.Size([1, 5, 2, 3])
        """
        if self.kind == "channels_first":
            return activation
        if self.kind == "tokens":
            places = activation[:, self.n_prefix :]
            activation = places.reshape(len(places), *self.grid, -1)
        return activation.movedim(-1, 1)


@dataclass(frozen=True)
class Executed:
    """What a module gave, and whether one with weights has run by then."""

    module: nn.Module
    output: Any
    after_weights: bool


@dataclass
class Record:
    """Modules in the order in which they finish."""

    executed: list[Executed] = field(default_factory=list)
    weighted: bool = False
    last_axis: set[int] = field(default_factory=set)
    """Of how many dimensions activations were whose last axis a layer takes for channels."""

    def add(self, module: nn.Module, given: Any, output: Any) -> None:
        self.weighted |= any(p.dim() > 1 for p in module.parameters(recurse=False))
        if isinstance(module, nn.Linear | nn.LayerNorm) and given and isinstance(given[0], Tensor):
            channels = (
                (module.in_features,)
                if isinstance(module, nn.Linear)
                else tuple(module.normalized_shape)
            )
            if tuple(given[0].shape[-1:]) == channels:
                self.last_axis.add(given[0].dim())
        self.executed.append(Executed(module, output, self.weighted))


class ScoresOf(nn.Module):
    """A model that gives its scores, also where its output holds them as ``logits``.

    Raises:
        TypeError: if the model gives something else than a tensor.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        # Named as in compiled modules: what is remembered of a model is of this one.
        self._orig_mod = model
        self.training = model.training

    def forward(self, *inputs: Any) -> Tensor:
        """The model's scores."""
        output = self._orig_mod(*inputs)
        scores = output if isinstance(output, Tensor) else getattr(output, "logits", output)
        if not isinstance(scores, Tensor):
            raise TypeError(
                "`forward_func` must return a tensor of scores, or an object that holds one as "
                f"`logits`, but gave {type(output).__name__}: wrap it in an nn.Module that returns "
                "the tensor."
            )
        return scores


@contextmanager
def recorded(model: nn.Module, layer: nn.Module | None = None) -> Iterator[Record]:
    """Records what runs inside; the output of ``layer`` is kept from being written over."""
    record = Record()

    def hook(module: nn.Module, given: Any, output: Any) -> Any:
        made = _only_tensor(output)
        record.add(module, given, made)
        if module is not layer or not isinstance(made, Tensor):
            return None
        kept = made if made.requires_grad else made.detach().requires_grad_()
        record.executed[-1] = Executed(module, kept, record.weighted)
        if made is output:
            return kept.clone()
        return type(output)(kept.clone() if held is made else held for held in output)

    handles = [module.register_forward_hook(hook) for module in model.modules()]
    try:
        yield record
    finally:
        for handle in handles:
            handle.remove()


def _only_tensor(output: Any) -> Any:
    """The one tensor of a tuple that holds nothing else; else what was given."""
    if type(output) in (tuple, list):
        held = [one for one in output if one is not None]
        if len(held) == 1 and isinstance(held[0], Tensor):
            return held[0]
    return output


def require_visible(model: nn.Module) -> None:
    """Refuses models whose layers run where they can't be seen.

    Raises:
        ValueError: for compiled, traced and scripted models.
    """
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise _unseen(f"a traced or scripted {module.original_name}")
        if hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None):
            raise _unseen(f"a compiled {type(getattr(module, '_orig_mod', module)).__name__}")
        if isinstance(module, nn.DataParallel) and len(module.device_ids) > 1:
            raise ValueError(
                "`forward_func` must be a module whose layers can be seen as they run, but "
                "nn.DataParallel runs copies of them: give its `.module`, on one device."
            )


def _is_program(module: nn.Module) -> bool:
    """Whether it runs operations in place of layers: an exported program, or a copy of one."""
    return isinstance(module, fx.GraphModule) and not any(
        any(True for _ in module.get_submodule(str(node.target)).parameters())
        for node in module.graph.nodes
        if node.op == "call_module"
    )


def _unseen(kind: str) -> ValueError:
    # Without the part's place, which the caller's wrappers are a part of.
    return ValueError(
        "`forward_func` must be a module whose layers can be seen as they run, but it is or holds "
        f"{kind}: give the module that it was made from."
    )


def activation_of(layer: nn.Module, record: Record) -> Tensor:
    """What the layer gave.

    Raises:
        ValueError: if it did not run, or several times.
        TypeError: if it gave no tensor.
    """
    given = [one.output for one in record.executed if one.module is layer]
    if len(given) != 1:
        times = f"{len(given)} times" if given else "not at all"
        raise ValueError(
            f"`layer` must run once when `forward_func` does, but {shown(layer)} runs {times}: "
            "choose a layer around or beside it."
        )
    if not isinstance(given[0], Tensor):
        raise TypeError(
            f"`layer` must give one tensor, but {shown(layer)} gives "
            f"{type(given[0]).__name__}: choose a layer inside it."
        )
    return given[0]


def reading_of(activation: Tensor, image: Tensor, record: Record) -> Reading:
    """How an activation of an image (N, C, *space) is to be read, by its shape.

    Raises:
        ValueError: if that can't be told.
    """
    if activation.dim() == 3 and image.dim() > 3:
        found = _tokens_of(activation, image, record)
        if found is None:
            raise ValueError(
                f"`layer` gives tokens of shape {tuple(activation.shape)} whose places can't be "
                'told: use `reshape="tokens"` if those of places come last and row by row, or a '
                "function to (N, channels, *space)."
            )
        return found
    if activation.dim() != image.dim():
        raise ValueError(
            f"`layer` must give (N, channels, *space) for inputs {tuple(image.shape)}, but gave "
            f"{tuple(activation.shape)}: choose an earlier layer, or give `reshape`, a function "
            "to that shape."
        )
    return Reading(_layout(tuple(activation.shape[1:]), _space(image), record))


def tokens_by_count(activation: Tensor, image: Tensor, record: Record) -> Reading:
    """Tokens whose last ones are the places, row by row, as far as a grid of them fits.

    Raises:
        ValueError: if none does.
    """
    if activation.dim() == 3:
        n = activation.shape[1]
        known = [g for g in _grids(record, image) if prod(g) <= n]
        if known:
            return Reading("tokens", n - prod(known[-1]), known[-1])
        space = _space(image)
        for n_prefix in range(n):
            grid = _grid_of(n - n_prefix, space)
            if grid is not None and prod(grid) > 1:
                return Reading("tokens", n_prefix, grid)
    raise ValueError(
        f"`layer` must give tokens (N, tokens, channels) on a grid like the inputs "
        f"{tuple(image.shape)}, but gave {tuple(activation.shape)}: use a function as `reshape`."
    )


@dataclass(frozen=True)
class Candidate:
    """An activation that Grad-CAM may read."""

    activation: Tensor
    reading: Reading


def candidates(
    output: Tensor, image: Tensor, record: Record, model: nn.Module, reshape: str | None
) -> list[Candidate]:
    """The activations of an image that may be read, closest to the output first.

    All that the image does to the output goes through each of them: so none is one of several
    branches, a squeeze beside the main path, or a head that is not read. Each has space. After
    tokens come others, as a class token may be all that is read of the last.

    Raises:
        ValueError: if there is none, or how the closest one is to be read can't be told.
    """
    found: list[Candidate] = []
    seen: set[Any] = {output.grad_fn}
    for one in reversed(record.executed):
        t = one.output
        if one.module is model or not one.after_weights or not _is_waist(output, t, image, seen):
            continue
        seen.add(t.grad_fn)
        if _is_foreign(t, image) and not found:
            raise ValueError(
                "`forward_func` works, after all activations of inputs "
                f"{tuple(image.shape)} that could be read, on {tuple(t.shape)}, whose places "
                "can't be told: choose `layer` and a function as `reshape`, to (N, channels, "
                "*space)."
            )
        if not _is_activation(t, image) or not _may_have_space(t, image):
            continue
        try:
            reading = _read(t, image, record, reshape)
        except ValueError:
            if found:
                break
            raise
        if reading is None or not _has_space(reading(t), image):
            continue
        found.append(Candidate(t, reading))
        if reading.kind != "tokens" or len(found) == _MOST_TOKEN_LAYERS:
            break
    if not found and any(map(_is_program, model.modules())):
        raise _unseen("an exported program")
    if not found:
        raise ValueError(
            "`forward_func` has no layer that keeps the places of inputs "
            f"{tuple(image.shape)} and through which all of them go: choose `layer`, or use a "
            "method that needs none, such as IDGI or RISE."
        )
    return found


def _read(t: Tensor, image: Tensor, record: Record, reshape: str | None) -> Reading | None:
    """How an activation is read; None if not in the way that is asked for."""
    tokens = t.dim() == 3 < image.dim()
    if reshape == "tokens":
        return tokens_by_count(t, image, record) if tokens else None
    if reshape == "channels_last":
        return None if tokens else Reading("channels_last")
    if not tokens:
        return Reading(_layout(tuple(t.shape[1:]), _space(image), record))
    found = _tokens_of(t, image, record)
    if found is None:
        raise ValueError(
            f"`forward_func` works on tokens, in the end of shape {tuple(t.shape)}, whose places "
            'can\'t be told: use `reshape="tokens"` if those of places come last and row by row, '
            "or choose `layer` and a function as `reshape`."
        )
    return found


def _is_activation(t: Any, image: Tensor) -> bool:
    return (
        isinstance(t, Tensor)
        and t.grad_fn is not None
        and t.dim() in {3, image.dim()}
        and t.shape[0] == image.shape[0]
    )


def _space(image: Tensor) -> tuple[int, ...]:
    return tuple(image.shape[2:])


def _may_have_space(t: Tensor, image: Tensor) -> bool:
    """Whether it has space in any reading."""
    if t.dim() == 3 < image.dim():
        # (N, channels, 1) is what is left after a mean over tokens.
        return t.shape[1] > 1 and t.shape[2] > 1
    return _has_space(t, image) or _has_space(t.movedim(-1, 1), image)


def _has_space(t: Tensor, image: Tensor) -> bool:
    pairs = zip(_space(t), _space(image), strict=True)
    return all(side > 1 or whole == 1 for side, whole in pairs)


def _layout(sides: tuple[int, ...], space: tuple[int, ...], record: Record) -> str:
    """Whether channels come first or last, by which sides have the image's proportions.

    Only layers that take the last axis for channels make a doubt.
    """
    doubt = len(space) + 2 in record.last_axis
    first, last = (_like(sides[1:], space), _like(sides[:-1], space))
    if first is not last and (doubt or first):
        return "channels_first" if first else "channels_last"
    if doubt or (last and not first):
        raise ValueError(
            f"the closest activation with space has shape (N, {', '.join(map(str, sides))}), "
            "whose channels may be the first or the last: use "
            '`reshape="channels_last"`, or choose `layer` and a function as `reshape`.'
        )
    return "channels_first"


def _like(sides: tuple[int, ...], space: tuple[int, ...]) -> bool:
    """Whether sides have the proportions of space, up to one place of rounding."""
    slack = max(space)
    return all(
        abs(sides[i] * space[j] - sides[j] * space[i]) <= slack
        for i in range(len(space))
        for j in range(i)
    )


def _grids(record: Record, image: Tensor) -> list[tuple[int, ...]]:
    """The sides of what convolutions gave, in order."""
    return [
        _space(one.output)
        for one in record.executed
        if isinstance(one.module, _CONVOLUTIONS)
        and isinstance(one.output, Tensor)
        and one.output.dim() == image.dim()
    ]


def _grid_of(n: int, space: tuple[int, ...]) -> tuple[int, ...] | None:
    """A grid of n places with exactly the proportions of space."""
    for side in range(1, space[0] + 1):
        sides = [side * whole / space[0] for whole in space]
        if all(s == int(s) for s in sides) and prod(sides) == n:
            return tuple(int(s) for s in sides)
    return None


def _tokens_of(tokens: Tensor, image: Tensor, record: Record) -> Reading | None:
    """How tokens lie on the grid of a convolution; None if the graph does not prove it.

    The first activation with as many tokens still knows the place of each: its gradient reaches
    one place of the grid for a patch and none for a class token; or, where a transformer merges
    neighbors as Swin does, one block of the tokens before, which are then read first.
    """
    n = tokens.shape[1]
    # Beside the last activation with space the last convolution's, whose channels come first: what
    # moves them to the end before it makes tokens, as timm's networks of any size do, hides them.
    grids: list[Tensor] = []
    convolved: list[Tensor] = []
    before: tuple[Tensor, Reading] | None = None
    for one in record.executed:
        t = one.output
        if not _is_activation(t, image):
            continue
        if t.dim() == image.dim():
            # A table of positions in a batch of one looks like an activation.
            if reaches(t, image):
                convolved = [t] if isinstance(one.module, _CONVOLUTIONS) else convolved
                grids, before = [t, *convolved], None
        elif before is not None and before[0].shape[1] == t.shape[1]:
            # The last that has as many, so that what merges them looks at no more than a block.
            before = t, before[1]
        else:
            found = next(filter(None, (_patches(t, grid) for grid in grids)), None)
            found = found or (before and _merged(t, *before))
            if found is not None:
                before = t, found
            elif t.shape[1] == n and grids:
                return None
        if before is not None and before[0].shape[1] == n:
            return before[1]
    return None


def _patches(tokens: Tensor, patches: Tensor) -> Reading | None:
    """The reading of tokens of which each is one place of a grid, and the first may be none."""
    n, grid = tokens.shape[1], _space(patches)
    n_prefix = n - prod(grid)
    if n_prefix < 0 or prod(grid) < 2:
        return None
    proven = all(
        _places(tokens[:, k], patches) == ([k - n_prefix] if k >= n_prefix else [])
        for k in {*range(n_prefix), n_prefix, n_prefix + 1, n - 1}
    )
    return Reading("tokens", n_prefix, grid) if proven else None


def _merged(tokens: Tensor, before: Tensor, known: Reading) -> Reading | None:
    """The reading of tokens of which each was a block of two by two (or by two) before."""
    n = tokens.shape[1]
    grid = tuple(-(-side // 2) for side in known.grid)
    if known.n_prefix or prod(grid) != n or n < 2:
        return None
    coarse = torch.arange(n).view(grid)
    for axis, side in enumerate(known.grid):
        coarse = coarse.repeat_interleave(2, axis).narrow(axis, 0, side)
    blocks = coarse.flatten()
    proven = all(
        _places(tokens[:, k], before) == (blocks == k).nonzero().flatten().tolist()
        for k in {0, 1, grid[-1], n - 1}
        if k < n
    )
    return Reading("tokens", 0, grid) if proven else None


def _places(token: Tensor, before: Tensor) -> list[int]:
    """On which places of the grid, or on which tokens before, a token depends."""
    if not token.requires_grad:
        return []
    # Not the sum, which a LayerNorm keeps constant.
    weights = torch.linspace(0.1, 1.7, token.shape[-1]).to(token).square()
    (found,) = torch.autograd.grad(
        (token * weights).sum(), before, retain_graph=True, allow_unused=True
    )
    if found is None:
        return []
    channels = 2 if before.dim() == 3 else 1
    places: list[int] = found.abs().sum((0, channels)).flatten().nonzero().flatten().tolist()
    return places


def _is_waist(output: Tensor, t: Any, image: Tensor, seen: set[Any]) -> bool:
    """Whether all paths of the graph from output to image pass through it, and it is new."""
    if not isinstance(t, Tensor) or t.grad_fn is None or t.grad_fn in seen:
        return False
    return reaches(t, image) and not reaches(output, image, t.grad_fn)


def _is_foreign(t: Tensor, image: Tensor) -> bool:
    """Whether it may have places along axes that no reading knows.

    Such are the first of a sequence (places, N, channels), or those of windows (N, rows,
    columns, rows, columns, channels).
    """
    if t.dim() > 1 and t.shape[0] != image.shape[0]:
        return True
    return t.dim() not in (3, image.dim()) and sum(side > 1 for side in t.shape[1:]) > 1


def reaches(output: Tensor, leaf: Tensor, without: Any = None) -> bool:
    """Whether a path of the graph leads from an output to an input, past the node ``without``."""
    seen: set[Any] = {without, None}
    waiting: list[Any] = [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        if getattr(node, "variable", None) is leaf:
            return True
        seen.add(node)
        waiting.extend(following for following, _ in node.next_functions)
    return False


def shown(layer: nn.Module) -> str:
    text = " ".join(repr(layer).split())
    return text if len(text) < 60 else f"{text[:57]}..."
