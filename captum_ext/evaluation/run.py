"""`evaluate`: methods x metrics over a data set, result by result."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from captum_ext._captum import Attribution
from captum_ext._memory import default_chunk, is_out_of_memory
from captum_ext._random import seeded
from captum_ext._text import reason
from captum_ext._typing import Forward, Inputs
from captum_ext.attr.configured import accepted, unwrapped
from captum_ext.attr.grad_cam import enlarged
from captum_ext.attr.mask_attribution import NOTHING, MaskAttribution
from captum_ext.attr.walk import shared_walks, walk
from captum_ext.evaluation import processes
from captum_ext.evaluation.catalog import Reading as MetricReading, named_methods, named_metrics
from captum_ext.evaluation.cost import Cost, shared_walk, watched
from captum_ext.evaluation.data.earlier import Earlier
from captum_ext.evaluation.data.examples import (
    Data,
    Reading,
    count,
    first_input,
    groups,
    is_indexed,
)
from captum_ext.evaluation.data.failures import stop_unless_its_own
from captum_ext.evaluation.data.given import batched
from captum_ext.evaluation.data.items import Columns, Labels, check_columns
from captum_ext.evaluation.data.screening import Screened, screen
from captum_ext.evaluation.readings import (
    empty_copy,
    flat,
    one_after_another,
    pack,
    read,
    unpack,
)
from captum_ext.evaluation.report.player import Player, joined, still_shown
from captum_ext.evaluation.result import COSTS, Evaluation
from captum_ext.evaluation.settings import about, check
from captum_ext.evaluation.store.database import Store, opened
from captum_ext.evaluation.store.rows import Piece, Result, Seen
from captum_ext.metrics.base.asked_once import asked_once
from captum_ext.metrics.perturbation.perturb import READINGS
from captum_ext.metrics.sanity.impostors import Impostor
from captum_ext.viz.thumbnails import map_thumbnail, strung, thumbnail

UNLABELED = ("predict", "skip")
SCORE = "score"
NO_MEAN = "it has no mean over an image's classes"
Keep = Callable[[int, str, Any, "int | None"], Any]
"""Is given an example's position, a method's name, the map and the class that it explains."""
Progress = Callable[[str, int, int], Any]
"""Is told what begins, how many maps are done, and of how many (0: unknown)."""


def evaluate(
    forward_func: Forward,
    data: Data,
    methods: Mapping[str, Attribution | str] | Sequence[str],
    metrics: Mapping[str, Metric | MetricCollection] | Sequence[str],
    *,
    batch_size: int,
    seed: int,
    out: str | Path | None = None,
    resume: bool = True,
    names: Sequence[str] | None = None,
    columns: Columns = None,
    only_correct: bool = False,
    unlabeled: str = "predict",
    reading: str = "probability",
    internal_batch_size: int | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    keep: Keep | None = None,
) -> Evaluation:
    """Explains every example with every method and reads every metric of every map.

    With ``out``, each result is on the disk before the next begins: a run that was killed goes
    on where it was when called again, and ends with the same numbers. In processes started by
    ``torchrun`` (with an initialized process group) groups of examples are dealt out by
    position, and all processes return all results. A method or metric that fails for one
    example is an exclusion with its reason; other examples are unaffected.

    Args:
        forward_func: the model that is explained, in eval mode; its evaluations are counted if
            it is a module.
        data: (image, target) or (image, target, mask) items without a batch dimension; or dicts
            of ``inputs`` (a tensor, or a tuple of tensors) and, where there are, ``target``,
            ``mask``, ``baselines``, ``feature_mask`` and ``additional_forward_args``; or a
            DataLoader or other iterable of batches of them, in an order that does not change.
            What goes with the inputs is given to methods and metrics that take it. A target is
            the number of a class; or, of a multi-label model, a list of numbers or a tensor of 0
            and 1 for every class: each is explained and scored by itself, and the example's value
            is the mean over them. A mask is (H, W), or (classes, H, W) for each of the example's
            classes, in the order of a list, or for each of the model's: a map is held against
            the region of its class. None is no label, see ``unlabeled``. Data that can
            be indexed is read only where something is to be done, and an item that raises OSError
            or ValueError is excluded. All processes get the same data.
        methods: attribution methods of ``forward_func`` by name, or names of the command, as
            ``["ig", "idgi-ig"]``; give those that need more than inputs and target as
            `captum_ext.attr.Configured`. One that fits no example, or can't be made for the
            model, has a row without scores and with its reason.
        metrics: metrics of `captum_ext.metrics` by name, or collections of them, neither filled
            nor changed; or names of the command, as ``["insertion", "deletion"]``, for which
            features are replaced by the blurred image, of inputs that are no images by 0, of
            examples with ``baselines`` by these.
        batch_size: examples explained at once; metrics read one at a time.
        seed: of methods that take one, and for each example of the global random state, from which
            others draw.
        out: a folder for results, made if missing; None keeps them in memory.
        resume: whether to go on with what ``out`` holds, or to start anew. Only the same run goes
            on: everything that decides a number is compared by content, and what can't be (a
            generator, a random state) makes a run that never goes on.
        names: of the examples, for tables and the report.
        columns: the keys of dicts of other keys, such as a data set of Hugging Face's
            ("pixel_values", "labels"): of inputs and target, or of inputs, target and mask; or a
            dict from the names above to theirs, several of them for a tuple.
        only_correct: leaves out, and counts, examples that the model gets wrong; of several
            classes those whose probability is below .5.
        unlabeled: of examples without a label "predict" explains the class that the model
            predicts, and counts them in `Evaluation.n_unlabeled`; "skip" leaves them out.
        reading: what the model's answers are: class scores, of which one is "probability"; or
            "score" for a regression. Of scores none is right or the top one: the only output is
            explained, whatever stands beside the input, and of several the one that ``target``
            numbers.
        internal_batch_size: rows per model call of methods that ask; None bounds memory.
        settings: anything else that decides the numbers: a folder is only resumed with the same,
            and the report shows it.
        progress: is told of every group of a method: its name, how many maps of all images are
            done, excluded images among them, and of how many (0: unknown).
        keep: is given the position, the method's name, the map and the class that it explains
            (None: the only score) of every example, of several classes each, before its result is
            stored; in a run that goes on, of those alone that are still to be made.

    Raises:
        ValueError, TypeError: if an argument doesn't fit, an example has several classes and the
            model doesn't say that it may, or ``out`` holds another run, or a file that no run
            wrote.
        OSError: if results can't be written; what was written is kept.
        RuntimeError, MemoryError: if memory, a device or the disk of the data fails; what was
            written is kept, and the same call goes on.

    >>> from captum.attr import Saliency
    >>> from torch import nn
    >>> from captum_ext.metrics import Insertion
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2), nn.Softmax(1)).eval()
    >>> data = [(torch.rand(3, 2, 2), k % 2) for k in range(3)]
    >>> metrics = {"insertion": Insertion(model, n_steps=4)}
    >>> found = evaluate(model, data, {"gradient": Saliency(model)}, metrics, batch_size=2, seed=0)
    >>> [(row["method"], row["gradients"]) for row in found.records]
    [('gradient', 1.0)]
    """
    check_columns(columns)
    how = Reading(columns, reading == SCORE)
    methods = named_methods(methods, forward_func)
    impostors = [m for m, made in methods.items() if isinstance(unwrapped(made)[0], Impostor)]
    methods = {m: methods[m] for m in sorted(methods, key=impostors.__contains__)}
    if not isinstance(metrics, Mapping):
        first = first_input(data, how)
        asked = MetricReading(seed=seed, internal_batch_size=internal_batch_size, answers=reading)
        metrics = named_metrics(metrics, forward_func, asked, first)
    readers, leaders = flat(metrics)
    check(forward_func, data, methods, readers, batch_size, internal_batch_size, names)
    if unlabeled not in UNLABELED:
        raise ValueError(f"`unlabeled` is one of {[*UNLABELED]}, but got {unlabeled!r}.")
    if reading not in READINGS:
        raise ValueError(f"`reading` is one of {[*READINGS]}, but got {reading!r}.")
    if only_correct and reading == SCORE:
        raise ValueError("`only_correct` is for classes: a score is neither right nor wrong.")
    more = {"unlabeled": unlabeled, "reading": reading, **(settings or {})}
    what = about(forward_func, data, methods, readers, batch_size, seed, only_correct, more)
    job = _Job(
        forward_func,
        methods,
        {name: empty_copy(readers[name]) for name in dict.fromkeys(leaders.values())},
        seed,
        only_correct,
        unlabeled,
        how,
        internal_batch_size,
        keep,
        Player.of(readers),
        impostors,
    )
    with opened(None if out is None else Path(out), what, resume) as store:
        for remark in store.remarks:
            warnings.warn(remark, stacklevel=2)
        _work(job, store, data, batch_size, names, progress)
        processes.gather(None)
        store.share()
        found = Evaluation(
            tuple(methods), readers, leaders, store.seen(), store.results(), what.shown, names,
            impostors, store.pieces(),
        )  # fmt: skip
        found.notes += store.remarks
        together = [[[*methods][k] for k in one] for one in shared_walks([*methods.values()])]
        found.notes += [shared_walk(group) for group in together if len(group) > 1]
        return found


_Drawn = TypeVar("_Drawn", bytes, Piece)
_Pairs = tuple[tuple[int, int | None], ...]
"""Positions of examples, each with a class."""


@dataclass(frozen=True)
class _Job:
    """What happens to a group of examples."""

    forward_func: Forward
    methods: Mapping[str, Attribution]
    metrics: Mapping[str, Metric]
    seed: int
    only_correct: bool
    unlabeled: str
    how: Reading
    internal_batch_size: int | None
    keep: Keep | None = None
    player: Player | None = None
    impostors: Sequence[str] = ()
    pieces: list[Piece] = field(default_factory=list)
    """What came for the report's pages since results were stored."""
    drawing: set[str] = field(default_factory=set)
    """Methods that were seen to draw from the global random state: they get one example at once."""
    told: set[str] = field(default_factory=set)
    """What methods warned of so far."""
    lacking: list[str] = field(default_factory=list)
    """Methods that the group at hand still lacks."""
    brought: dict[tuple[str, _Pairs], tuple[list[Inputs], Cost]] = field(default_factory=dict)
    """Maps of the group at hand that the walk of another method brought, by method and examples."""

    def sharing(self, name: str) -> list[str]:
        """The methods that lack and share a walk with this one, itself among them."""
        among = [one for one in self.methods if one == name or one in self.lacking]
        for places in shared_walks([self.methods[one] for one in among]):
            group = [among[k] for k in places]
            if name in group:
                return group
        return [name]


def _work(
    job: _Job,
    store: Store,
    data: Data,
    batch_size: int,
    names: Sequence[str] | None,
    progress: Progress | None,
) -> None:
    rank, size = processes.rank_and_size()
    earlier = Earlier(store.folder, store.known(), batch_size, names, job.how)

    def is_mine(number: int) -> bool:
        return number % size == rank

    if is_indexed(data):
        store.forget(earlier.to_repeat(data, is_mine))
    finished = store.finished()

    def wanted(number: int) -> bool:
        lacking = any((number, method) not in finished for method in job.methods)
        # Data that comes by itself is compared as it comes.
        return (lacking or not is_indexed(data)) and is_mine(number)

    n = count(data)

    def size_of(number: int) -> int:
        return batch_size if n is None else min(batch_size, n - number * batch_size)

    mine = range(rank, 0 if n is None else -(-n // batch_size), size)
    n_maps = sum(map(size_of, mine)) * len(job.methods)
    n_done = sum(size_of(number) for number, _ in finished if is_mine(number))
    tell = progress or (lambda *state: None)
    for group in groups(data, batch_size, wanted, job.how):
        number = group[0].position // batch_size
        if not is_indexed(data) and earlier.is_to_repeat(group):
            store.forget([number])
            finished -= {(number, name) for name in job.methods}
        lacking = [name for name in job.methods if (number, name) not in finished]
        if not lacking:
            continue
        screened = screen(
            job.forward_func, group, job.only_correct, job.unlabeled, job.how.scores, job.seed
        )
        seen = [_seen(one) for one in screened]
        job.lacking[:] = lacking
        job.brought.clear()
        for name in lacking:
            tell(name, n_done, n_maps)
            job.pieces[:] = _pieces(job, screened) if name == lacking[0] else []
            found = _results(job, name, screened)
            job.pieces[:] = joined(
                job.pieces, {one.example.position: len(one.pairs) for one in screened}
            )
            store.add(number, name, seen, found, job.pieces)
            job.lacking.remove(name)
            n_done += len(group)
        finished |= {(number, name) for name in lacking}
        _thin(job, store, finished, batch_size)
    if not is_indexed(data):
        earlier.check_all_met(is_mine)
    tell("done", n_done, n_maps)


def _thin(job: _Job, store: Store, finished: set[tuple[int, str]], batch_size: int) -> None:
    """Drops what the report will not show, of examples that have all their maps."""
    scores = store.piece_scores()
    known = {key: score for key, score in scores.items() if score is not None}
    shown = still_shown(known, [m for m in job.methods if m not in job.impostors])
    gone = {p for p, _ in scores} - shown
    store.thin(p for p in gone if all((p // batch_size, m) in finished for m in job.methods))


def _pieces(job: _Job, screened: list[Screened]) -> list[Piece]:
    """The images that may have a page of their own."""
    found = [
        _drawn(partial(job.player.image, one.example.position, one.given))
        for one in screened
        if job.player and one.given and one.reason is None
    ]
    return [piece for piece in found if piece is not None]


def _seen(one: Screened) -> Seen:
    example = one.example
    given = example.given
    picture = _drawn(partial(thumbnail, given.inputs[0])) if given and given.bare else None
    several = len(one.classes) > 1
    n_labels = len(labels.classes) if isinstance(labels := example.target, Labels) else 1
    return Seen(
        example.position, example.digest,
        json.dumps(one.classes) if several else _in_store(one.target), one.prediction,
        json.dumps(one.probabilities) if several else one.probability,
        one.reason, picture, 0 if labels is None else n_labels, int(one.shares_region),
    )  # fmt: skip


def _in_store(target: int | None) -> int | None:
    """A class as SQLite can keep it; no model has as many."""
    return target if target is None or abs(target) < 2**63 else None


def _drawn(draw: Callable[[], _Drawn | None]) -> _Drawn | None:
    """A picture for the report; none where it can't be drawn: no number depends on it."""
    try:
        return draw()
    except Exception as error:
        stop_unless_its_own(error, "a picture for the report")
        return None


def _results(job: _Job, name: str, screened: list[Screened]) -> list[Result]:
    kept = [pair for one in screened if one.reason is None for pair in one.pairs]
    kinds = {one.given.kind for one in kept if one.given}
    # Images of different sizes can't be one batch.
    size = len(screened) if len(kinds) == 1 else 1
    batches = [kept[k : k + size] for k in range(0, len(kept), size)]
    # Not over methods: what a batch holds may change an answer's last bit, and a run that was
    # killed between two methods ends with the same numbers.
    with asked_once(job.metrics.values()):
        found = [result for batch in batches for result in _explained(job, name, batch)]
    return [_of_all([*pairs]) for _, pairs in groupby(found, lambda result: result.position)]


def _of_all(pairs: list[Result]) -> Result:
    """The result of an example: of each of its classes a row, what they cost summed."""
    if len(pairs) == 1:
        return pairs[0]
    reasons: dict[str, str] = {}
    for one in pairs:
        reasons = {**json.loads(one.reasons), **reasons}
    if "" in reasons:
        # A method that fails for one class has none of the others' mean.
        reasons = {"": reasons[""]}
    found = [unpack(one.states) for one in pairs]
    names = [name for name in found[0] if all(name in states for states in found)]
    rows = {name: one_after_another([states[name] for states in found]) for name in names}
    costs = [math.fsum(getattr(one, cost) for one in pairs) for cost in COSTS]
    packed = pack({} if "" in reasons else rows)
    seconds, forwards, gradients = costs
    return replace(
        pairs[0], seconds=seconds, forwards=forwards, gradients=gradients,
        reasons=json.dumps(reasons), states=packed, picture=strung([one.picture for one in pairs]),
    )  # fmt: skip


def _explained(job: _Job, name: str, batch: list[Screened]) -> Iterator[Result]:
    """The batch's results; if a method fails for the whole, example by example."""
    if name in job.drawing and len(batch) > 1:
        yield from _one_by_one(job, name, batch)
        return
    try:
        maps, cost = _attribute(job, name, batch)
    except Exception as error:
        half = len(batch) // 2
        if half and not job.internal_batch_size and is_out_of_memory(error):
            for part in (batch[:half], batch[half:]):
                yield from _explained(job, name, part)
            return
        stop_unless_its_own(error, f"{name} of example {batch[0].example.position}")
        if len(batch) > 1:
            yield from _one_by_one(job, name, batch)
        else:
            reasons = json.dumps({"": reason(error)})
            position = batch[0].example.position
            yield Result(position, name, 0.0, 0.0, 0.0, reasons, pack({}), None)
        return
    if name in job.drawing and len(batch) > 1:
        yield from _one_by_one(job, name, batch)
        return
    for one, credit in zip(batch, maps, strict=True):
        yield _measured(job, name, one, credit, cost, len(batch))


def _one_by_one(job: _Job, name: str, batch: list[Screened]) -> Iterator[Result]:
    return (result for one in batch for result in _explained(job, name, [one]))


def _attribute(job: _Job, name: str, batch: list[Screened]) -> tuple[list[Inputs], Cost]:
    """The maps, which the walk of another method may have brought, and what the walk took."""
    examples = tuple((one.example.position, one.target) for one in batch)
    if (name, examples) not in job.brought:
        together = job.sharing(name)
        try:
            maps, cost = _attribute_all(job, together, batch)
        except Exception as error:
            # One of them may spoil it for all.
            if len(together) == 1:
                raise
            stop_unless_its_own(error, f"{name} of example {examples[0][0]}")
            together = [name]
            maps, cost = _attribute_all(job, together, batch)
        for one, credit in zip(together, maps, strict=True):
            job.brought[one, examples] = credit, cost
    return job.brought.pop((name, examples))


def _attribute_all(
    job: _Job, names: list[str], batch: list[Screened]
) -> tuple[list[list[Inputs]], Cost]:
    """The maps of every example by a method, or by each of several that share a walk."""
    methods = [job.methods[name] for name in names]
    inputs, more = batched([one.given for one in batch if one.given])
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    device = tensors[0].device
    chunk = job.internal_batch_size or default_chunk(tensors)
    # Captum's methods divide no batch.
    chunk = type(chunk)(max(chunk, len(batch)))
    options = {
        **more,
        "seed": job.seed,
        "internal_batch_size": chunk,
        # Of the chunk's own type, which says whether running out of memory may halve it.
        "perturbations_per_eval": type(chunk)(max(1, chunk // len(batch))),
    }
    numbers = [one.target for one in batch if one.target is not None]
    target = torch.tensor(numbers, device=device) if numbers else None
    with seeded(job.seed, device) as drawn, quiet(job.told), watched(job.forward_func) as cost:
        taken = accepted(methods[0], options)
        if len(methods) > 1:
            credits = walk(methods, inputs, target=target, **taken)
        else:
            credits = [methods[0].attribute(inputs, target=target, **taken)]
        if drawn():
            # From the global state: what an example gets would depend on those beside it.
            job.drawing.update(names)
    return [_per_example(credit, inputs) for credit in credits], cost


def _per_example(credit: Any, inputs: Inputs) -> list[Inputs]:
    """A method's attribution as a map of each example, as the inputs are given."""
    bare = isinstance(inputs, Tensor)
    tensors = (inputs,) if isinstance(inputs, Tensor) else inputs
    credits = credit if isinstance(credit, tuple) else (credit,)
    n = len(tensors[0])
    if len(credits) != len(tensors) or not all(
        isinstance(one, Tensor) and one.dim() and len(one) == n for one in credits
    ):
        raise ValueError(f"its attribution is not one map per image but {type(credit).__name__}")
    maps = [_fitted(one, x).detach() for one, x in zip(credits, tensors, strict=True)]
    return [maps[0][k] if bare else tuple(one[k] for one in maps) for k in range(n)]


def _fitted(credit: Tensor, x: Tensor) -> Tensor:
    """A layer's map in the shape of its input; credit of an embedding summed for each token."""
    if credit.dim() > x.dim() and credit.shape[: x.dim()] == x.shape:
        return credit.flatten(x.dim()).sum(-1)
    if credit.dim() == x.dim() == 4 and credit.shape[2:] != x.shape[2:]:
        return enlarged(credit.sum(1, keepdim=True), x)
    return credit


def _measured(job: _Job, name: str, one: Screened, credit: Inputs, cost: Cost, n: int) -> Result:
    assert one.given is not None, "what is explained was given"
    inputs, more = batched([one.given])
    maps = (credit,) if isinstance(credit, Tensor) else credit
    batch = tuple(one[None] for one in maps)
    offered = {
        **more,
        "inputs": inputs,
        "attributions": batch[0] if one.given.bare else batch,
        "target": one.target,
        "masks": one.regions[0][None] if one.regions else None,
    }
    if job.keep is not None:
        job.keep(one.example.position, name, credit, one.target)
    states, reasons = {}, {}
    for key, metric in job.metrics.items():
        if len(one.classes) > 1 and not getattr(metric, "averages_rows", False):
            reasons[key] = NO_MEAN
            continue
        try:
            # A model with noise of its own gets the same at every example and in every run.
            with seeded(job.seed, batch[0].device):
                state = read(metric, offered)
            pack({key: state})
            states[key] = state
        except Exception as error:
            stop_unless_its_own(error, f"{key} of {name} of example {one.example.position}")
            reasons[key] = reason(error)
    least = NOTHING if isinstance(unwrapped(job.methods[name])[0], MaskAttribution) else 0.0
    if job.player and one.given.bare:
        where, image = (one.example.position, name), one.given.inputs[0]
        piece = _drawn(partial(job.player.map, *where, image, maps[0], states, least))
        job.pieces.extend([] if piece is None else [piece])
    return Result(
        one.example.position, name, cost.seconds / n, cost.forwards / n, cost.gradients / n,
        json.dumps(reasons), pack(states),
        _drawn(partial(map_thumbnail, maps[0], least)) if one.given.bare else None,
    )  # fmt: skip


@contextmanager
def quiet(told: set[str] | None = None) -> Iterator[None]:
    """Hides Captum's remarks on gradients and hooks that it sets and removes itself.

    What is among ``told`` is not said again, and what is said joins it: a run says once, and not
    once an image, what its methods warn of.
    """
    told, said = set() if told is None else told, []
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.filterwarnings("ignore", "Input Tensor .* did not already require gradients")
            warnings.filterwarnings("ignore", "Setting (forward, )?backward hooks")
            yield
    finally:
        for one in said:
            if str(one.message) not in told:
                told.add(str(one.message))
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
