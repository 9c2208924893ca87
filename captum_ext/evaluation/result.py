"""`Evaluation`: what a run found, as tables, curves and intervals."""

from __future__ import annotations

import json
import math
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torchmetrics import Metric

from captum_ext._moved import called_elsewhere
from captum_ext._text import number_of
from captum_ext.curve import Curve
from captum_ext.evaluation.export import plain, write_csv, write_json
from captum_ext.evaluation.readings import Filling, as_one, unpack
from captum_ext.evaluation.settings import protocol_of
from captum_ext.evaluation.store.rows import Piece, Result, Seen
from captum_ext.metrics.base.compare import (
    SMALLEST,
    Difference,
    differences,
    limit_of,
    smallest_of,
)
from captum_ext.metrics.base.standing import Standing, standing
from captum_ext.viz.scores import curve_figure
from captum_ext.viz.thumbnails import unstrung

COSTS = ("seconds", "forwards", "gradients")
NO_RESULT, NO_NUMBER = "not reached", "value not a number"


@dataclass(frozen=True)
class Count:
    """Of what a number is: ``n`` and all ``reasons`` together are the examples given.

    Args:
        n: how many examples have a value.
        reasons: how many have none, by reason.
    """

    n: int
    reasons: dict[str, int] = field(default_factory=dict)


def count_of(reasons: Iterable[str]) -> Count:
    """The count of examples by their reasons, "" for those that have a value.

    >>> count_of(["", "no annotation", "", "no annotation"])
    Count(n=2, reasons={'no annotation': 2})
    """
    found = Counter(reasons)
    return Count(found.pop("", 0), dict(found.most_common()))


class Evaluation:
    """What `evaluate` found.

    Args:
        methods: their names, in order.
        metrics: by name, empty.
        leaders: for each metric, the one whose readings it shares.
        seen: the examples by position.
        results: of every kept example and method.
        settings: what decided the numbers.
        names: of the examples; None numbers them.
        impostors: the methods that don't ask the model: scored, and never best.
        pieces: what the report's pages of single images need.

    >>> from captum.attr import InputXGradient
    >>> from captum_ext.evaluation import evaluate
    >>> from captum_ext.metrics import Deletion
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2), torch.nn.Softmax(1))
    >>> data = [(torch.rand(3, 2, 2), k % 2) for k in range(3)]
    >>> methods = {"input x gradient": InputXGradient(model.eval())}
    >>> metrics = {"deletion": Deletion(model, n_steps=4)}
    >>> found = evaluate(model, data, methods, metrics, batch_size=3, seed=0)
    >>> found, found.values["deletion"]["input x gradient"].shape
    (Evaluation(3 examples, 1 method, ['deletion']), torch.Size([3]))
    """

    def __init__(
        self,
        methods: tuple[str, ...],
        metrics: Mapping[str, Metric],
        leaders: Mapping[str, str],
        seen: Sequence[Seen],
        results: Sequence[Result],
        settings: Mapping[str, Any],
        names: Sequence[str] | None = None,
        impostors: Sequence[str] = (),
        pieces: Sequence[Piece] = (),
    ) -> None:
        self.methods = methods
        self.impostors = tuple(impostors)
        self.settings = dict(settings)
        self.seen = list(seen)
        self.kept = [one for one in seen if one.reason is None]
        self._metrics = metrics
        self.leaders = dict(leaders)
        self._names = names
        self.pieces = {(one.position, one.method): one for one in pieces}
        self.unsuited: dict[str, str] = {}
        """Methods that can't be used with the model, and why."""
        self.notes: list[str] = []
        """Remarks on the data, for the report."""
        self.smallest = SMALLEST
        """The smallest difference that counts, as a share of a score's range."""
        self.command: str | None = None
        """The command that repeats the run, for the report."""
        self.class_names: dict[int, str] = {}
        """What classes that are explained are called, as far as that is known."""
        self.targets_from: str | None = None
        """Where the classes that are explained come from, in words."""
        self.files: dict[str, Path] = {}
        """Files that the model was made of, by what they are, for their checksums in the report."""
        self.sanity: dict[str, Any] | None = None
        """What ``captum-ext sanity --json`` wrote of the same model, for the report."""
        # Bootstraps take time, and every file asks for them.
        self._significance: dict[tuple[str, float], dict[str, dict[str, Difference]]] = {}
        self._standings: dict[float, dict[str, Standing]] = {}
        self._results = {(r.position, r.method): r for r in results}
        self._read: dict[tuple[int, str], tuple[str, ...]] = {}
        self.metrics: dict[str, dict[str, Metric]] = {name: {} for name in metrics}
        """The filled metrics, by metric and method; of an image of several classes their mean."""
        self._by_class: dict[str, dict[str, Metric]] = {name: {} for name in metrics}
        for method in methods:
            for name, metric in self._filled(method).items():
                self.metrics[name][method] = metric
            for name, metric in self._filled(method, by_class=True).items() if self.n_pairs else ():
                self._by_class[name][method] = metric

    def _filled(self, method: str, by_class: bool = False) -> dict[str, Metric]:
        sizes = {one.position: 1 if by_class else len(one.pairs) for one in self.kept}
        filling = {name: Filling(metric) for name, metric in self._metrics.items()}
        for result in self._of(method):
            states = unpack(result.states)
            self._read[result.position, method] = tuple(states)
            for name, one in filling.items():
                if self.leaders[name] in states:
                    state, n = states[self.leaders[name]], sizes[result.position]
                    one.add(as_one(one.metric, state, n) if n > 1 else state)
        return {name: one.done() for name, one in filling.items()}

    def name_of(self, position: int) -> str:
        """The name of an example."""
        return self._names[position] if self._names is not None else str(position)

    @cached_property
    def columns(self) -> dict[str, tuple[str, str | None]]:
        """The table's scores: the metric each is of, and its key where a metric has several."""
        columns: dict[str, tuple[str, str | None]] = {}
        for name, by_method in self.metrics.items():
            # A metric that has read nothing does not say which scores it has.
            read = [one for one in by_method.values() if one.update_called]
            value = self._value([*read, *by_method.values()][0])
            if isinstance(value, Mapping):
                suffix = "_abs" if name.endswith("_abs") else ""
                for key in value:
                    short = f"{key}{suffix}"
                    columns[f"{name}_{key}" if short in columns else short] = (name, key)
            else:
                columns[name] = (name, None)
        return columns

    @staticmethod
    def _value(metric: Metric) -> Any:
        return metric.compute() if metric.update_called else torch.tensor(float("nan"))

    @property
    def answers(self) -> str:
        """What the model's answers are: "probability" or "score"."""
        return str(self.settings.get("reading", "probability"))

    def _is_bounded(self, column: str) -> bool:
        """Whether a column's values have a range of their own, as those of scores have not."""
        return protocol_of(self._metrics[self.columns[column][0]]).get("reading") != "score"

    def better(self, column: str) -> bool | None:
        """Whether higher is better in a column; None where it isn't said."""
        name, key = self.columns[column]
        metric = self._metrics[name]
        said = getattr(metric, "higher_is_better", None)
        lower = {"mae"}
        return key not in lower if said is None and key is not None else said

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """The table, one record per method: scores with 95 % intervals, costs per example."""
        return [self._record(method) for method in self.methods]

    def _record(self, method: str) -> dict[str, Any]:
        record: dict[str, Any] = {"method": method}
        for column, (name, key) in self.columns.items():
            value = self._value(self.metrics[name][method])
            value = value[key] if isinstance(value, Mapping) else value
            record[column] = float(value)
            record[f"{column}_low"], record[f"{column}_high"] = self._interval(column, method)
            record[f"{column}_n"] = self.counts[column][method].n
        done = [r for r in self._of(method) if "" not in json.loads(r.reasons)]
        for cost in COSTS:
            total = math.fsum(getattr(r, cost) for r in done)
            record[cost] = total / len(done) if done else float("nan")
        record["n_examples"] = len(done)
        record["n_excluded"] = len(self.seen) - len(done)
        record["reason"] = None if done else self._reason_of(method)
        return record

    def _reason_of(self, method: str) -> str | None:
        """Why a method has no map of any example: what most of them say."""
        reasons = Counter(json.loads(r.reasons)[""] for r in self._of(method))
        return reasons.most_common(1)[0][0] if reasons else None

    def _of(self, method: str) -> list[Result]:
        found = (self._results.get((one.position, method)) for one in self.kept)
        return [result for result in found if result is not None]

    def _interval(self, column: str, method: str) -> tuple[float, float]:
        name, key = self.columns[column]
        metric: Any = self.metrics[name][method]
        try:
            with warnings.catch_warnings():
                # The counts say in how few examples there is a value.
                warnings.simplefilter("ignore", UserWarning)
                ends = metric.interval()
        except (ValueError, AttributeError):
            return float("nan"), float("nan")
        if isinstance(ends, Mapping):
            ends = ends.get(key, (float("nan"), float("nan")))
        return float(ends[0]), float(ends[1])

    @property
    def table(self) -> Any:
        """`records` as a pandas DataFrame if pandas is installed, else as they are."""
        try:
            pandas = import_module("pandas")
        except ImportError:
            return self.records
        return pandas.DataFrame(self.records).set_index("method")

    @cached_property
    def curves(self) -> dict[str, dict[str, Curve]]:
        """Mean curves by metric and method, of the metrics that have one."""
        return {
            name: {method: cast(Any, metric).curve() for method, metric in by_method.items()
                   if metric.update_called}
            for name, by_method in self.metrics.items()
            if hasattr(next(iter(by_method.values())), "curve")
        }  # fmt: skip

    @cached_property
    def values(self) -> dict[str, dict[str, Tensor]]:
        """Per column and method the value of each kept example, (N,), nan where undefined.

        Columns of metrics that are defined for a whole data set alone are left out.
        """
        return self._all_values()

    @cached_property
    def values_by_class(self) -> dict[str, dict[str, Tensor]]:
        """`values` of each class of the kept examples, one after the other."""
        return self._all_values(by_class=True) if self.n_pairs else self.values

    def _all_values(self, by_class: bool = False) -> dict[str, dict[str, Tensor]]:
        """`values`, or those of each class of the examples, one after the other."""
        found = {column: {m: self._values(column, m, by_class) for m in self.methods}
                 for column in self.columns}  # fmt: skip
        return {
            column: {m: v for m, v in by_method.items() if v is not None}
            for column, by_method in found.items()
            if all(v is not None for v in by_method.values())
        }

    def _values(self, column: str, method: str, by_class: bool) -> Tensor | None:
        name, key = self.columns[column]
        metrics = self._by_class if by_class else self.metrics
        try:
            values = getattr(metrics[name][method], "per_example", None)
        except ValueError:
            # Defined for a whole data set alone, as AIC and SIC of the preset "idgi".
            return None
        if isinstance(values, Mapping):
            values = values.get(key)
        if not isinstance(values, Tensor) or values.dim() != 1:
            return None
        rows = [one.position for one in self.kept for _ in (one.pairs if by_class else "1")]
        read = [k for k, position in enumerate(rows)
                if self.leaders[name] in self._read.get((position, method), ())]  # fmt: skip
        if len(read) != len(values):
            return None
        whole = torch.full((len(rows),), torch.nan, dtype=torch.float64)
        whole[read] = values.detach().cpu().double()
        return whole

    def significance(self, against: str) -> dict[str, dict[str, Difference]]:
        """Each method against one of them, by column and method, on the same examples."""
        key = against, self.smallest
        if key not in self._significance:
            found = {
                c: differences(v, against, self.smallest, self._is_bounded(c))
                for c, v in self.values.items()
            }
            self._significance[key] = found
        return self._significance[key]

    @property
    def least(self) -> dict[str, float]:
        """By column the smallest difference that counts."""
        return {
            column: smallest_of(v, self.smallest, self._is_bounded(column))
            for column, v in self.values.items()
        }

    def limits(self, against: str) -> dict[str, str]:
        """By column why no difference from a method can be significant; "" where one can."""
        return {
            column: limit_of([(d.n, d.p_value) for d in by_method.values()], "image")
            for column, by_method in self.significance(against).items()
        }

    @property
    def standings(self) -> dict[str, Standing]:
        """By column the methods that are best, and whether the score can tell them apart.

        Impostors are none of them.
        """
        if self.smallest not in self._standings:
            among = [m for m in self.methods if m not in self.impostors]
            self._standings[self.smallest] = {
                column: standing(
                    {row["method"]: row[column] for row in self.records if row["method"] in among},
                    {m: v for m, v in self.values.get(column, {}).items() if m in among},
                    self.better(column),
                    self.least.get(column, 0.0),
                )
                for column in self.columns
            }
        return self._standings[self.smallest]

    def ranked(self, column: str) -> list[dict[str, Any]]:
        """`records`, best first by a column, those without a value last; then impostors, alike."""
        sign = 1 if self.better(column) is False else -1

        def place(row: dict[str, Any]) -> tuple[bool, bool, float]:
            unknown = row[column] != row[column]
            return row["method"] in self.impostors, unknown, 0.0 if unknown else sign * row[column]

        return sorted(self.records, key=place)

    @cached_property
    def counts(self) -> dict[str, dict[str, Count]]:
        """By column and method how many examples have a value, and why others have none."""
        return {
            column: {m: count_of(self._reasons_of(column, m)) for m in self.methods}
            for column in self.columns
        }

    def _reasons_of(self, column: str, method: str) -> list[str]:
        """Why each example given has no value in a column, "" where it has one."""
        name, key = self.columns[column]
        undefined = getattr(self.metrics[name][method], "undefined", {}).get(key or "value")
        read = iter(undefined if undefined is not None else ())
        values = self.values.get(column, {}).get(method)
        kept = iter(range(len(self.kept)))

        def reason_of(position: int, left_out: str | None) -> str:
            if left_out is not None:
                return left_out
            k = next(kept)
            result = self._results.get((position, method))
            if result is None:
                return NO_RESULT
            failed: dict[str, str] = json.loads(result.reasons)
            # "" stands for the method itself.
            for what in ("", self.leaders[name]):
                if what in failed:
                    return failed[what] or NO_RESULT
            if undefined is not None:
                return next(read)
            return NO_NUMBER if values is not None and bool(torch.isnan(values[k])) else ""

        return [reason_of(one.position, one.reason) for one in self.seen]

    @cached_property
    def per_example(self) -> list[dict[str, Any]]:
        """A record for every kept example, class of it and method: its values and costs.

        What an example's classes cost is shared out evenly.
        """
        columns, (records, k) = self.values_by_class, ([], 0)
        for one in self.kept:
            results = {m: self._results.get((one.position, m)) for m in self.methods}
            for target, answer in one.pairs:
                for method, result in results.items():
                    if result is not None:
                        about = {"example": self.name_of(one.position), "target": target,
                                 self.answers: answer, "method": method}  # fmt: skip
                        values = {c: float(v[method][k]) for c, v in columns.items()}
                        costs = {cost: getattr(result, cost) / len(one.pairs) for cost in COSTS}
                        records.append({**about, **values, **costs})
                k += 1
        return records

    @property
    def n_pairs(self) -> int:
        """How many classes of images are explained; 0 where no image has several labels."""
        several = any(one.labeled > 1 for one in self.kept)
        return sum(len(one.pairs) for one in self.kept) if several else 0

    @property
    def n_pairs_left_out(self) -> int:
        """How many labels of kept examples are left out, as their class is not predicted."""
        return sum(max(one.labeled, 1) - len(one.pairs) for one in self.kept)

    @property
    def n_one_region(self) -> int:
        """Of how many images of several classes one annotated region stands for all."""
        return sum(one.one_region for one in self.kept)

    @cached_property
    def costs(self) -> dict[str, dict[str, float]]:
        """Seconds and model evaluations per example, by method."""
        return {r["method"]: {cost: r[cost] for cost in COSTS} for r in self.records}

    @cached_property
    def excluded(self) -> list[dict[str, Any]]:
        """Everything left out, with its reason: an example, or of one a method or metric."""
        rows = [
            {"example": self.name_of(one.position), "method": None, "metric": None,
             "reason": one.reason}
            for one in self.seen
            if one.reason is not None
        ]  # fmt: skip
        for one in self.kept:
            for method in self.methods:
                result = self._results.get((one.position, method))
                for metric, reason in json.loads(result.reasons if result else "{}").items():
                    rows.append({"example": self.name_of(one.position), "method": method,
                                 "metric": metric or None, "reason": reason})  # fmt: skip
        for name, by_method in self.metrics.items():
            for method, metric in by_method.items():
                for reason, n in getattr(metric, "excluded", {}).items():
                    rows.append({"example": f"{n} of {len(self.kept)}", "method": method,
                                 "metric": name, "reason": reason})  # fmt: skip
        return rows

    @property
    def reasons(self) -> dict[str, int]:
        """How many examples are left out entirely, by reason."""
        return dict(Counter(one.reason for one in self.seen if one.reason is not None))

    @property
    def n_unlabeled(self) -> int:
        """How many of the kept examples have no label: the model's prediction is explained."""
        return sum(not one.labeled for one in self.kept)

    def picture_of(self, position: int) -> bytes | None:
        """The small picture of an example (JPEG)."""
        return next((s.picture for s in self.seen if s.position == position), None)

    def maps_of(self, position: int, method: str) -> list[bytes | None]:
        """Small maps of an example's classes by a method (grey JPEG), one for each."""
        result = self._results.get((position, method))
        return unstrung(result.picture if result else None)

    def as_dict(self, against: str | None = None) -> dict[str, Any]:
        """Everything but per-example values, for JSON; nan is None."""
        reference = against or self.methods[0]
        counted = {"pairs": self.n_pairs, "pairs_left_out": self.n_pairs_left_out}
        pairs = counted if self.n_pairs else {}
        return plain(
            {
                "table": self.records,
                "significance": {
                    "against": reference,
                    "columns": {
                        column: {m: asdict(d) for m, d in by_method.items()}
                        for column, by_method in self.significance(reference).items()
                    },
                    "limits": self.limits(reference),
                    "smallest": self.least,
                },
                "standings": {
                    column: {**asdict(one), "best": one.best, "sentence": one.sentence({})}
                    for column, one in self.standings.items()
                },
                "counts": {
                    column: {m: asdict(count) for m, count in by_method.items()}
                    for column, by_method in self.counts.items()
                },
                "impostors": [*self.impostors],
                "curves": {
                    name: {m: {"x": c.x[0].tolist(), "y": c.y[0].tolist()}
                           for m, c in by_method.items()}
                    for name, by_method in self.curves.items()
                },
                "examples": {"seen": len(self.seen), "kept": len(self.kept),
                             "unlabeled": self.n_unlabeled, **pairs},
                "excluded": {
                    "examples": self.reasons,
                    "methods": self.unsuited,
                    "notes": self.notes,
                    "all": self.excluded,
                },
                "command": self.command,
                "protocol": {k: v for k, v in self.settings.items() if k != "versions"},
                "versions": self.settings.get("versions", {}),
            }
        )  # fmt: skip

    def to_json(self, file: str | Path, against: str | None = None) -> None:
        """Writes the table, significance, curves, exclusions, protocol and versions."""
        write_json(Path(file), self.as_dict(against))

    def to_csv(self, file: str | Path, per_example: bool = False) -> None:
        """Writes the table, or the record of every example and method."""
        write_csv(Path(file), self.per_example if per_example else self.records)

    def plot(self, labels: Mapping[str, str] | None = None) -> Figure:
        """The curves of every method, one picture per metric that has curves."""
        names = {m: (labels or {}).get(m, m) for m in self.methods}
        axes = {
            name: getattr(next(iter(by_method.values())), "axes_labels", ("x", "y"))
            for name, by_method in self.metrics.items()
        }
        return curve_figure(self.curves, axes, names)

    to_html = called_elsewhere(
        "captum_ext.evaluation.Evaluation.to_html", "captum_ext.evaluation.write_report"
    )

    def __repr__(self) -> str:
        n = len(self.kept)
        amounts = f"{number_of(n, 'example')}, {number_of(len(self.methods), 'method')}"
        return f"Evaluation({amounts}, {[*self.columns]})"
