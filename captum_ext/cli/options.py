"""Every option of the command and its default, as settings that don't change.

Nothing here imports torch: help and wrong calls are answered at once. What the library decides
too (masks of RISE, the smallest difference that counts) is compared with it by the tests.
"""

# ruff: noqa: RUF009 - `_option` makes a field, as `dataclasses.field` does.

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from captum_ext.cli.errors import CallError, as_call_error
from captum_ext.cli.inputs.words import (
    LITE,
    library_of,
    loads_a_file,
    names_in,
    require_folder,
    require_model,
    require_picture,
    require_readable,
)
from captum_ext.cli.output import (
    ANIMATION,
    PAGE,
    check_folder,
    check_maps,
    check_outputs,
    path,
    shown,
)
from captum_ext.registry import (
    METHODS,
    METRICS,
    OVERLAYS,
    PLACEMENTS,
    REFERENCES,
    SIMILARITIES,
    is_impostor,
    presets,
)

DEFAULT_MODEL = next(iter(LITE))
ACTIVATIONS = ("softmax", "sigmoid", "none")
PROBABILITY, SCORE = ANSWERS = ("probability", "score")
"""What a model's numbers are."""
PRECISIONS = ("float32", "bf16")
OWN_PLACEMENT = "own"
PLACED_STEPS = 16
"""What `--placement equal-rise` takes by itself, as `EqualRise` says."""
# More can't be meant: a path of so many steps alone takes days.
_MOST = {
    "steps": 10**6, "n_masks": 10**7, "n_iter": 10**6, "batch_size": 10**6, "group": 10**6,
    "max_forwards": 10**12, "limit": 10**12, "num_classes": 10**6,
}  # fmt: skip
# What every generator of random numbers takes.
_LARGEST_SEED = 2**63 - 1


def _option(help: str | Callable[[], str], default: Any = MISSING, **how: Any) -> Any:
    """A field that is an option, with argparse's settings; help is made when it is asked for."""
    return field(default=default, metadata={"help": help, **how})


def _methods(default: str, unless: str = "") -> Any:
    def told() -> str:
        names = [name for name in METHODS if not is_impostor(name)]
        impostors = " and ".join(name for name in METHODS if is_impostor(name))
        return (
            f"of {', '.join(names)}; or all; {impostors}, which don't ask the model, beside them; "
            "or path/to/file.py:factory, a function from the model to a method of Captum's kind "
            f"(default {default}{unless})"
        )

    return _option(told, None if unless else default)


def _steps(even: int) -> Any:
    told = f"steps of path methods (default: {even}, of equal rise {PLACED_STEPS})"
    return _option(told, None, type=int)


def _n_masks(default: int) -> Any:
    return _option("masks of RISE, 4000 in the paper (default %(default)s)", default, type=int)


def _reference(default: str | None) -> Any:
    told = "what replaces pixels in insertion and deletion: the blurred image (51 x 51, sigma " \
        "50; default) or black"  # fmt: skip
    return _option(told, default, choices=lambda: [*REFERENCES])


def _save_maps() -> Any:
    told = "keep the maps: NAME.npz of each method, with names, targets, settings and versions"
    return _option(told, None, type=path, metavar="FOLDER")


def _image(told: str) -> Any:
    return _option(told, None, positional=True, nargs="?", type=path)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every command is told."""

    SUMMARY: ClassVar[str]
    """One line of the command's list."""

    model: str = _option(
        "lite0 (EfficientNet-Lite0, default), lite1, lite2, torchvision:NAME, timm:NAME or FOLDER, "
        "hf:NAME or FOLDER, or path/to/file.py:factory, a function that returns an ImageClassifier",
        DEFAULT_MODEL,
    )
    weights: str | None = _option(
        "a state dict (.pth or .safetensors); for torchvision also a name of weights; for a "
        "library's networks also `random`, the same in every run",
        None,
        metavar="FILE",
    )
    num_classes: int | None = _option(
        "of --weights (default: what the file says)", None, type=int, metavar="N"
    )
    classes: Path | None = _option(
        "names of the model's classes, a line each", None, type=path, metavar="FILE"
    )
    activation: str | None = _option(
        "from the model's logits to probabilities (default: what the source says); none where it "
        "gives probabilities or other scores itself",
        None,
        choices=lambda: ACTIVATIONS,
    )
    reading: str | None = _option(
        "what the model gives: score for a regression and other numbers that are no "
        "probabilities; probability says so of one that gives one number (default: probabilities)",
        None,
        choices=lambda: ANSWERS,
    )
    device: str | None = _option(
        "cpu, cuda, mps (default: the best there is); cuda:0,cuda:1 divides each call over both",
        None,
    )
    batch_size: int | None = _option(
        "images per model call (default: what suits the device)", None, type=int
    )
    precision: str = _option(
        "bf16 runs the model's layers in bfloat16, all else as ever (default %(default)s)",
        PRECISIONS[0],
        choices=lambda: [*PRECISIONS],
    )
    methods: str | None
    EVEN_STEPS: ClassVar[int] = 50
    steps: int | None = _steps(EVEN_STEPS)
    placement: str = _option(
        "where the steps of paths are: even, as in the papers, or equal-rise, most of them where "
        "the score changes, which 25 more forward passes find; own, each method's own: even, but "
        "along Blur IG's path equal-rise, where --steps is not given (default %(default)s)",
        OWN_PLACEMENT,
        choices=lambda: [OWN_PLACEMENT, *PLACEMENTS],
    )
    n_masks: int = _n_masks(4000)
    n_iter: int | None = _option(
        "iterations of mask methods (default: each method's own)", None, type=int
    )
    max_forwards: int | None = _option(
        "model evaluations a mask method may use per image", None, type=int
    )
    seed: int = _option("of all that is random: methods and ties", 0, type=int)
    command_line: str = ""
    """As it was typed."""

    def __post_init__(self) -> None:
        """Checks what needs no torch; names of methods only where no file may add some."""
        _check_numbers(self)
        for file, _ in self.own_methods.values():
            if not file.is_file():
                raise CallError(f"--methods names the file {file}, which does not exist.")
        require_model(self.model, self.weights)
        if self.classes is not None:
            require_readable("--classes", self.classes)
        if loads_a_file(self.model) and (self.num_classes or self.activation) is not None:
            raise CallError(
                "--num-classes and --activation are for a library's network: the factory of "
                "--model decides them itself."
            )
        if not loads_a_file(self.model):
            self.check_names()

    def check_names(self) -> None:
        """Raises CallError for a name that is not registered, by now."""
        with as_call_error("--methods: "):
            others = {*self.own_methods, *self.map_files}
            names = [name for name in self.method_names if name not in others]
            if names or not others:
                METHODS.require("methods", names)
        folder: Path | None = getattr(self, "save_maps", None)
        if folder is not None:
            check_maps(folder, self.method_names, self.inputs, getattr(self, "overwrite", False))

    @property
    def methods_told(self) -> str:
        """The list of ``--methods``, or what stands for it where it is not given."""
        return self.methods or ""

    @property
    def method_names(self) -> list[str]:
        """The methods that are named, in order, impostors last."""
        own = self.own_methods
        told = names_in("--methods", self.methods_told)
        words = names_in("--methods", ",".join(map(shown, told)))
        known = [name for name in METHODS if name not in own and not is_impostor(name)]
        named = [name for word in words for name in (known if word == "all" else [word])]
        if named == ["none"] and self.map_files:
            named = []
        return sorted(dict.fromkeys([*named, *self.map_files]), key=is_impostor)

    @property
    def map_files(self) -> dict[str, Path]:
        """Files of maps that stand among the methods, by name; none but for ``evaluate``."""
        return {}

    @property
    def own_methods(self) -> dict[str, tuple[Path, str]]:
        """The file and the factory of each method that is none of the registered, by name."""
        found = {}
        for word in names_in("--methods", self.methods_told):
            file, _, factory = word.rpartition(":")
            if file.endswith(".py"):
                found[shown(word)] = Path(file), factory
        return found

    @property
    def answers(self) -> str:
        """What the model's numbers are, of ``ANSWERS``."""
        return self.reading or PROBABILITY

    @property
    def effort(self) -> dict[str, Any]:
        """The effort that was asked for, by the names that methods give it."""
        return {
            "n_steps": self.EVEN_STEPS if self.steps is None else self.steps,
            "n_masks": self.n_masks,
            "n_iter": self.n_iter,
            "max_forwards": self.max_forwards,
        }

    @property
    def inputs(self) -> list[Path]:
        """Every file and folder that the command is told to read."""
        named = ("image", "images", "labels", "annotations", "weights", "classes")
        given = [getattr(self, name, None) for name in named]
        library, place = library_of(self.model)
        model = place if library else self.model.rpartition(":")[0]
        methods = [file for file, _ in self.own_methods.values()]
        files = (*methods, *self.map_files.values())
        return [Path(source) for source in (*given, model, *files) if source]


@dataclass(frozen=True, kw_only=True)
class _WithFigure(Settings):
    """What commands are told that draw one figure and may write a table."""

    MORE: ClassVar[Mapping[str, str]] = {}
    """What a figure may be beside a picture, by option: a suffix."""

    out: Path
    json: Path | None = _option("also write the table as JSON", None, type=path, metavar="FILE")
    overwrite: bool = _option(
        "replace existing outputs that captum-ext did not write; never an input",
        False,
        action="store_true",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_outputs(self.outputs, self.inputs, self.overwrite, self.MORE)

    @property
    def outputs(self) -> dict[str, Path | None]:
        """The files that are written, by option."""
        return {"--out": self.out, "--json": self.json}


@dataclass(frozen=True, kw_only=True)
class Explain(_WithFigure):
    """Explains one image with several methods, scores each map by insertion and deletion,
    prints a table and draws one figure."""

    SUMMARY = "explain an image's top class with several methods and score the maps"
    MORE = {"--out": PAGE, "--frames": ANIMATION}  # noqa: RUF012

    image: Path | None = _image("default: scikit-image's `coffee`")
    methods: str | None = _methods("ig,guided-ig,blur-ig,idgi-ig,idgi-guided-ig,idgi-blur-ig")
    target: Sequence[str] | None = _option(
        "class or output to explain, number or name (default: the top class; the only output); "
        "given again for each of several, which are explained together",
        None,
        action="append",
    )
    reference: str = _reference(next(iter(REFERENCES)))
    out: Path = _option(
        "the figure (%(default)s); as .html a page on which the strongest pixels come and go",
        Path("explanation.png"),
        type=path,
    )
    save_maps: Path | None = _save_maps()
    history: Path | None = _option(
        "a figure of how masks were optimized", None, type=path, metavar="FILE"
    )

    frames: Path | None = _option(
        "what the model saw along insertion and deletion, with its scores: strips, or as .gif an "
        "animation",
        None,
        type=path,
        metavar="FILE",
    )

    overlay: str = _option(
        "how maps lie over the image: as they are, or, for small prints, smoothed or as lines "
        "around the strongest pixels (%(default)s)",
        next(iter(OVERLAYS)),
        choices=lambda: [*OVERLAYS],
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image is not None:
            require_picture(self.image)

    @property
    def outputs(self) -> dict[str, Path | None]:
        """Also the figure of masks, and of frames."""
        return {**super().outputs, "--history": self.history, "--frames": self.frames}


@dataclass(frozen=True, kw_only=True)
class Evaluate(Settings):
    """Explains every image of a folder with several methods, scores the maps and writes
    results.json, results.csv, per_example.csv, curves.png and report.html. A run that was
    stopped goes on where it was when called again. Under torchrun the images are dealt out to
    the processes."""

    SUMMARY = "score methods on a folder of images and write a report"
    METRICS_BY_DEFAULT: ClassVar[str] = "insertion,deletion"
    UNLABELED: ClassVar[tuple[str, ...]] = ("predict", "skip")

    images: Path = _option(
        "a folder; sub-folders may name classes", positional=True, type=path, metavar="IMAGES"
    )
    labels: Path | None = _option(
        "lines of image path, class (number or name; with ; between several)",
        None,
        type=path,
        metavar="CSV",
    )
    annotations: Path | None = _option(
        "where objects are: JSON (images with file, boxes_xyxy or mask, expected_class; or "
        "COCO's), or a folder of masks or of PASCAL VOC's XML files, named as the images",
        None,
        type=path,
        metavar="PATH",
    )
    METHODS_BY_DEFAULT: ClassVar[str] = (
        "ig,guided-ig,blur-ig,idgi-ig,idgi-guided-ig,idgi-blur-ig,igos,igos++,grad-cam,rise"
    )
    methods: str | None = _methods(METHODS_BY_DEFAULT, "; with --maps none")
    maps: str | None = _option(
        "maps made elsewhere, scored alone, or beside the --methods that are named: .npz files "
        "with maps (N, C or 1, H, W) and names (N) of the images, relative to IMAGES",
        None,
        metavar="FILES",
    )
    save_maps: Path | None = _save_maps()
    n_masks: int = _n_masks(1000)
    metrics: str | None = _option(
        lambda: (
            f"of {', '.join(METRICS)} (default: {Evaluate.METRICS_BY_DEFAULT}, and "
            "localization where there are annotations)"
        ),
        None,
    )
    preset: str | None = _option(
        lambda: f"a paper's settings, for the metrics that know it: of {', '.join(presets())}", None
    )
    reference: str | None = _reference(None)
    against: str | None = _option(
        "what others are compared with (default: the first)", None, metavar="METHOD"
    )
    smallest_difference: float = _option(
        "differences below this share of a score's range do not count (default %(default)s)",
        0.005,
        type=float,
        metavar="SHARE",
    )
    all_images: bool = _option("also images that the model gets wrong", False, action="store_true")
    unlabeled: str | None = _option(
        "images without a label: explain the class that the model predicts, or leave them out "
        "(default: skip where others have one, else predict)",
        None,
        choices=lambda: Evaluate.UNLABELED,
    )
    target: str | None = _option(
        "with --reading score: the output to explain, number or name (default: the only one)", None
    )
    limit: int | None = _option(
        "only the first N images, spread over the folder", None, type=int, metavar="N"
    )
    out: Path = _option("default: %(default)s", Path("evaluation"), type=path, metavar="DIR")
    restart: bool = _option("start anew instead of going on with --out", False, action="store_true")
    group: int = _option("images explained at once (default %(default)s)", 4, type=int)

    def __post_init__(self) -> None:
        if not 0 <= self.smallest_difference < 1:
            raise CallError(
                "--smallest-difference is a share of a score's range, in [0, 1), but got "
                f"{self.smallest_difference}."
            )
        if self.metrics is not None:
            names_in("--metrics", self.metrics)
        if self.answers == SCORE and self.labels is not None:
            raise CallError(
                "--labels name classes, and --reading score has none: --target says which output "
                "is explained."
            )
        if self.answers != SCORE and self.target is not None:
            raise CallError(
                "--target is for --reading score: the class of each image is its label's."
            )
        super().__post_init__()
        check_folder("--out", self.out)
        require_folder(self.images)
        for option, file in (("--labels", self.labels), ("--annotations", self.annotations)):
            if file is not None and not file.is_dir():
                require_readable(option, file)
        for file in self.map_files.values():
            require_readable("--maps", file)

    @property
    def methods_told(self) -> str:
        """Without ``--methods`` no other maps are made than those that are given."""
        by_default = self.METHODS_BY_DEFAULT if self.maps is None else "none"
        return by_default if self.methods is None else self.methods

    @property
    def map_files(self) -> dict[str, Path]:
        """Files of maps, by their names."""
        files = [] if self.maps is None else [Path(f) for f in names_in("--maps", self.maps)]
        names = [shown(file.name) for file in files]
        return dict(zip(names_in("--maps", ",".join(names)) if names else [], files, strict=True))

    def check_names(self) -> None:
        """Also of metrics, a preset, and the method of ``--against``."""
        super().check_names()
        self.require_against(self.method_names)
        if self.preset is not None and self.preset not in presets():
            raise CallError(f"--preset is one of {', '.join(presets())}, but got {self.preset!r}.")
        if self.metrics is not None:
            with as_call_error("--metrics: "):
                METRICS.require("metrics", names_in("--metrics", self.metrics))

    def require_against(self, methods: Sequence[str]) -> None:
        """Raises CallError if ``--against`` is not among these methods."""
        if self.against is not None and self.against not in methods:
            raise CallError(f"--against is one of {', '.join(methods)}, but got {self.against!r}.")


@dataclass(frozen=True, kw_only=True)
class Sanity(_WithFigure):
    """The parameter randomization test of Adebayo et al. (NeurIPS 2018): draws the model's
    parameters anew from the output to the input, and compares every method's map after each
    stage with its original map. A map that stays similar does not show what the model has
    learned."""

    SUMMARY = "randomize the model stage by stage and see which maps notice"
    ORDERS: ClassVar[tuple[str, ...]] = ("cascading", "independent")

    image: Path | None = _image("an image or a folder of them; default: scikit-image's `coffee`")
    limit: int = _option("images of a folder (default %(default)s)", 8, type=int, metavar="N")
    methods: str | None = _methods("saliency,ig,guided-ig,blur-ig,idgi-ig,grad-cam")
    order: str = _option(
        "keep earlier stages randomized (default), or randomize each alone",
        "cascading",
        choices=lambda: Sanity.ORDERS,
    )
    stages: str = _option(
        "block (default), layer, or names of modules, separated by commas", "block"
    )
    # Each a size, so that lower is better in all of them.
    similarity: str = _option(
        lambda: f"of {', '.join(SIMILARITIES)} (default %(default)s)",
        "unsigned_spearman,abs_spearman,ssim,hog",
    )
    n_masks: int = _n_masks(500)
    target: str | None = _option(
        "class or output to explain, number or name (default: each image's top class; the only "
        "output)",
        None,
    )
    out: Path = _option("the figure (%(default)s)", Path("sanity.png"), type=path)
    seed: int = _option("of all that is random: fresh parameters and methods", 0, type=int)

    def __post_init__(self) -> None:
        super().__post_init__()
        names_in("--stages", self.stages)
        if self.image is not None and not self.image.is_dir():
            require_picture(self.image)

    def check_names(self) -> None:
        """Also of similarities."""
        super().check_names()
        unknown = [name for name in self.similarities if name not in SIMILARITIES]
        if unknown:
            raise CallError(f"--similarity is among {', '.join(SIMILARITIES)}, but got {unknown}.")

    @property
    def similarities(self) -> list[str]:
        """The similarities that are named, in order."""
        return names_in("--similarity", self.similarity)


COMMANDS: tuple[type[Settings], ...] = (Explain, Evaluate, Sanity)


def add_command(commands: Any, kind: type[Settings]) -> None:
    """Adds a command and its options to argparse's."""
    text = " ".join((kind.__doc__ or "").split())
    sub = commands.add_parser(kind.__name__.lower(), help=kind.SUMMARY, description=text)
    for one in fields(kind):
        how = dict(one.metadata)
        if not how:
            continue
        told = how.pop("help")
        choices = how.pop("choices", None)
        if choices is not None:
            how["choices"] = choices()
        if one.default is not MISSING:
            how["default"] = one.default
        if how.pop("positional", False):
            how.setdefault("metavar", one.name.upper())
            name = one.name
        else:
            name = f"--{one.name.replace('_', '-')}"
        sub.add_argument(name, help=told() if callable(told) else told, **how)
    sub.set_defaults(kind=kind)


def _check_numbers(settings: Settings) -> None:
    for option, most in _MOST.items():
        value = getattr(settings, option, None)
        name = f"--{option.replace('_', '-')}"
        if value is not None and value < 1:
            raise CallError(f"{name} is at least 1, but got {value}.")
        if value is not None and value > most:
            raise CallError(f"{name} is at most {most}, but got {_short(value)}.")
    if not 0 <= settings.seed <= _LARGEST_SEED:
        raise CallError(f"--seed is from 0 to {_LARGEST_SEED}, but got {_short(settings.seed)}.")


def _short(number: int) -> str:
    return str(number) if abs(number) < 10**20 else "a number of more than 20 digits"
