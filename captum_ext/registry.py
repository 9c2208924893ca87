"""What has a name: methods, metrics, papers' settings, placements, references, similarities.

Each name stands here once. What it names is imported when it is first asked for: the command
lists names in its help, and refuses others, before torch is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True)
class Late:
    """What stands at a place, "module:name", imported when it is called or asked for.

    >>> Late("math:sqrt")(9.0)
    3.0
    """

    place: str

    def found(self) -> Any:
        """What stands there."""
        module, _, name = self.place.partition(":")
        return getattr(import_module(module), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.found()(*args, **kwargs)


class Table(Mapping[str, _T], Generic[_T]):
    """Things by name, in the order in which they were added.

    Args:
        kind: what they are, for errors.
        things: by name; a `Late` is what stands at its place.

    >>> table = Table("roots", {"square": Late("math:sqrt")})
    >>> table["square"](9.0), [*table]
    (3.0, ['square'])
    """

    def __init__(self, kind: str, things: Mapping[str, Any] | None = None) -> None:
        self.kind = kind
        self._things = dict(things or {})

    def __getitem__(self, name: str) -> _T:
        thing = self._things[name]
        return thing.found() if isinstance(thing, Late) else thing

    def __contains__(self, name: object) -> bool:
        # Mapping's own would import what it looks for.
        return name in self._things

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)

    def __repr__(self) -> str:
        return f"{self.kind}: {', '.join(self)}"

    def add(self, name: str, thing: Any, overwrite: bool = False) -> None:
        """Gives a thing a name.

        Raises:
            ValueError: if the name is taken by another thing, or can't be typed in a list.
        """
        # "all" stands for every method.
        if not name or name != name.strip() or "," in name or name == "all":
            raise ValueError(f"`name` is a word without commas, not `all`, but got {name!r}.")
        if name in self and self._things[name] != thing and not overwrite:
            raise ValueError(
                f"`name` {name!r} is taken among the {self.kind}: choose another, or give "
                "overwrite=True."
            )
        self._things[name] = thing

    def require(self, argument: str, names: Sequence[str]) -> None:
        """Raises ValueError for names of an argument that are not all here, or none."""
        unknown = [name for name in names if name not in self]
        if unknown or not names:
            raise ValueError(
                f"`{argument}` are among {', '.join(self)}, but got {unknown or [*names]}."
            )

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Whatever is added within is gone afterwards."""
        before = dict(self._things)
        try:
            yield
        finally:
            self._things = before


@dataclass(frozen=True)
class Method:
    """A named method: how it is made from a model, and how its pictures are labeled.

    An ``impostor`` doesn't ask the model: it is scored beside methods, never among them.
    """

    label: str
    make: Callable[[Any], Any]
    impostor: bool = False


def _named(label: str, place: str, impostor: bool = False) -> Method:
    return Method(label, Late(place), impostor)


_IMPOSTORS = "captum_ext.metrics.sanity.impostors"


METHODS: Table[Method] = Table(
    "methods",
    {
        "saliency": _named("Gradient", "captum_ext.attr.catalog:gradient"),
        "input-x-gradient": _named("Input x gradient", "captum.attr:InputXGradient"),
        "smoothgrad": _named("SmoothGrad", "captum_ext.attr.catalog:smoothgrad"),
        "gradient-shap": _named("GradientShap (black)", "captum_ext.attr.catalog:gradient_shap"),
        "occlusion": _named("Occlusion", "captum_ext.attr.catalog:occlusion"),
        "grad-cam": _named("Grad-CAM", "captum_ext.attr:GradCam"),
        "guided-backprop": _named(
            "Guided backpropagation", "captum_ext.attr.guided_backprop:GuidedBackprop"
        ),
        "guided-grad-cam": _named(
            "Guided Grad-CAM", "captum_ext.attr.guided_backprop:GuidedGradCam"
        ),
        "ig": _named("IG", "captum_ext.attr.catalog:integrated_gradients"),
        "guided-ig": _named("Guided IG", "captum_ext.attr:GuidedIG"),
        "blur-ig": _named("Blur IG", "captum_ext.attr:BlurIG"),
        "idgi-ig": _named("IDGI (IG)", "captum_ext.attr.catalog:idgi_ig"),
        "idgi-guided-ig": _named("IDGI (Guided IG)", "captum_ext.attr.catalog:idgi_guided_ig"),
        "idgi-blur-ig": _named("IDGI (Blur IG)", "captum_ext.attr.catalog:idgi_blur_ig"),
        "aligned": _named("Aligned (from blur)", "captum_ext.attr.catalog:aligned"),
        "igos": _named("I-GOS", "captum_ext.attr:IGOS"),
        "igos+": _named("iGOS+", "captum_ext.attr:IGOSPlus"),
        "igos++": _named("iGOS++", "captum_ext.attr:IGOSPlusPlus"),
        "igos++-grad-cam": _named(
            "iGOS++ from Grad-CAM", "captum_ext.attr.catalog:igos_plus_plus_from_grad_cam"
        ),
        "mask": _named("Mask", "captum_ext.attr:MeaningfulPerturbation"),
        "rise": _named("RISE", "captum_ext.attr:RISE"),
        "edges": _named("Edges (impostor)", f"{_IMPOSTORS}:Edges", impostor=True),
        "random": _named("Random (impostor)", f"{_IMPOSTORS}:RandomMap", impostor=True),
    },
)

METRICS: Table[Callable[..., Any]] = Table(
    "metrics",
    {
        name: Late(f"captum_ext.evaluation.catalog:{name}")
        for name in ("insertion", "deletion", "road", "information", "localization")
    },
)
"""From a model and a `captum_ext.evaluation.Reading` to the metrics of a name."""

_CURVES = "captum_ext.metrics.perturbation.insertion_deletion"
_INFORMATION = "captum_ext.metrics.information.protocol"
PRESETS: dict[str, Table[Any]] = {
    "insertion": Table(
        "presets of insertion",
        {
            "igos": Late(f"{_CURVES}:IGOS"),
            "rise": Late(f"{_CURVES}:RISE_INSERTION"),
            "idgi": Late(f"{_CURVES}:IDGI"),
        },
    ),
    "deletion": Table(
        "presets of deletion",
        {"igos": Late(f"{_CURVES}:IGOS"), "rise": Late(f"{_CURVES}:RISE_DELETION")},
    ),
    "information": Table(
        "presets of information",
        {
            "idgi": Late(f"{_INFORMATION}:IDGI"),
            "xrai": Late(f"{_INFORMATION}:XRAI"),
            "tmlr": Late(f"{_INFORMATION}:TMLR"),
        },
    ),
}
"""The papers' settings that a metric knows: arguments of insertion and deletion, a protocol."""

PLACEMENTS: Table[Any] = Table(
    "placements",
    {
        "even": Late("captum_ext.path.placement:even"),
        "equal-rise": Late("captum_ext.path.placement:EQUAL_RISE"),
    },
)
"""Where the steps of a path are; the first is the papers'."""

REFERENCES: Table[Any] = Table(
    "references", {"blur": Late("captum_ext.evaluation.catalog:BLURRED"), "black": 0.0}
)
"""What replaces pixels in insertion and deletion; the first is the default."""

_DRAWN = "captum_ext.viz.overlays"
OVERLAYS: Table[Any] = Table(
    "overlays",
    {name: Late(f"{_DRAWN}:{name}") for name in ("pixels", "smooth", "contour")},
)
"""How a map lies over its image; the first is the map as it is, and the default."""

_SIMILARITY = "captum_ext.metrics.sanity.similarity"
SIMILARITIES: Table[Any] = Table(
    "similarities",
    {
        "spearman": Late(f"{_SIMILARITY}:SPEARMAN"),
        "unsigned_spearman": Late(f"{_SIMILARITY}:UNSIGNED_SPEARMAN"),
        "abs_spearman": Late(f"{_SIMILARITY}:ABS_SPEARMAN"),
        "ssim": Late(f"{_SIMILARITY}:SSIM"),
        "hog": Late(f"{_SIMILARITY}:HOG"),
        "stretched_ssim": Late(f"{_SIMILARITY}:STRETCHED_SSIM"),
        "hog_spearman": Late(f"{_SIMILARITY}:HOG_SPEARMAN"),
    },
)
"""Rank correlation of signed maps, its size, that of absolute maps, SSIM, correlation of HOG.

The last two are the notebook's of the sanity checks: SSIM of signed maps stretched from least to
largest, rank correlation of their HOG.
"""


def is_impostor(name: str) -> bool:
    """Whether a name is of an impostor.

    >>> is_impostor("edges"), is_impostor("ig"), is_impostor("no-such-name")
    (True, False, False)
    """
    return name in METHODS and METHODS[name].impostor


def presets() -> list[str]:
    """The names of all presets, each once."""
    return [*dict.fromkeys(name for known in PRESETS.values() for name in known)]


@contextmanager
def kept() -> Iterator[None]:
    """Whatever is registered within is gone afterwards."""
    metrics = dict(PRESETS)
    with ExitStack() as stack:
        tables: list[Table[Any]] = [
            METHODS, METRICS, OVERLAYS, PLACEMENTS, REFERENCES, SIMILARITIES
        ]  # fmt: skip
        tables += PRESETS.values()
        for table in tables:
            stack.enter_context(table.kept())
        try:
            yield
        finally:
            PRESETS.clear()
            PRESETS.update(metrics)
