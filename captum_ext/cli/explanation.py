"""Several methods on one image: maps, scores and costs."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from tqdm import tqdm

from captum_ext._captum import Attribution, default_chunk
from captum_ext.attr import MaskAttribution
from captum_ext.attr.catalog import Method, accepted
from captum_ext.cli.errors import as_call_error
from captum_ext.cli.running import effort_of
from captum_ext.curve import Curve, GaussianBlur
from captum_ext.evaluation.cost import Cost, Counted, measured
from captum_ext.mask import Descent
from captum_ext.metrics import deletion_curve, insertion_curve

REFERENCES: dict[str, Any] = {"blur": GaussianBlur(51, 50.0), "black": 0.0}


@dataclass(frozen=True)
class Result:
    """A method's map of the image, its scores and its cost."""

    method: Method
    attributions: Tensor
    curves: dict[str, Curve]
    cost: Cost
    descent: Descent | None = None

    def record(self, name: str) -> dict[str, Any]:
        scores = {key: round(float(curve.area()), 6) for key, curve in self.curves.items()}
        return {
            "method": name,
            **scores,
            "seconds": round(self.cost.seconds, 3),
            "forwards": self.cost.forwards,
            "gradients": self.cost.gradients,
        }


def attribute_all(
    methods: dict[str, Method],
    model: nn.Module,
    image: Tensor,
    target: int,
    arguments: argparse.Namespace,
) -> dict[str, Result]:
    results = {}
    chunk = arguments.batch_size or default_chunk((image,))
    options = {
        **effort_of(arguments),
        "internal_batch_size": chunk,
        "perturbations_per_eval": chunk,
        "seed": arguments.seed,
        "show_progress": True,
    }
    with tqdm(unit=" evaluations", leave=False) as bar:
        counted = Counted(model, watch=bar.update)
        for name, method in methods.items():
            bar.set_description(method.label)
            with as_call_error(f"{name}: "):
                attribution = method.make(counted)
                with measured(counted) as cost:
                    credit, descent = _run(attribution, image, target, options)
                curves = _curves(counted, image, credit, target, arguments)
            results[name] = Result(method, credit, curves, cost, descent)
    return results


def _run(
    method: Attribution, image: Tensor, target: int, options: dict[str, Any]
) -> tuple[Tensor, Descent | None]:
    """The map, and the history of an optimized mask."""
    options = accepted(method, options)
    if isinstance(method, MaskAttribution):
        found = method.optimize(image, target=target, **options)
        return found.attributions, found.descent
    return method.attribute(image, target=target, **options), None


def _curves(
    model: nn.Module, image: Tensor, credit: Tensor, target: int, arguments: argparse.Namespace
) -> dict[str, Curve]:
    settings = {
        "reference": REFERENCES[arguments.reference],
        "seed": arguments.seed,
        "internal_batch_size": arguments.batch_size,
    }
    return {
        key: curve(model, image, credit, target=target, reduction=reduction, **settings)
        for reduction, suffix in (("sum", ""), ("abs_sum", "_abs"))
        for key, curve in (
            (f"insertion{suffix}", insertion_curve),
            (f"deletion{suffix}", deletion_curve),
        )
    }


def is_mask_method(method: Method, model: nn.Module) -> bool:
    """Whether the method optimizes a mask, so that it has a history."""
    with as_call_error(f"{method.label}: "):
        return isinstance(method.make(model), MaskAttribution)
