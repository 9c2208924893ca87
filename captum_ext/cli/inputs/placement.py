"""``--placement``: which methods take it, and how many steps of which kind each one walks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from captum_ext._captum import Attribution
from captum_ext._text import number_of
from captum_ext.attr import Configured, MaskAttribution, PathAttribution
from captum_ext.cli.errors import CallError
from captum_ext.cli.options import OWN_PLACEMENT, Settings
from captum_ext.path import EqualRise, Placement, even
from captum_ext.registry import PLACEMENTS


def placed(
    method: Attribution, options: dict[str, Any], settings: Settings
) -> tuple[Attribution, dict[str, Any]]:
    """The method with its steps where ``--placement`` says, if it takes that, and its options.

    One that says itself where its steps are keeps them.
    """
    placement = _asked_for(settings)
    if placement is not even and _is_free(method):
        assert isinstance(method, PathAttribution)
        method = method.placed(placement)
        places = placement is not None or method.default_placement is not None
    else:
        places = getattr(method, "placement", None) not in (None, even)
    # Without --steps the placement says how many it needs.
    left_out = {"n_steps"} if settings.steps is None and places else set()
    return method, {k: v for k, v in options.items() if k not in left_out}


def require_placed(made: Mapping[str, Configured], settings: Settings) -> None:
    """Raises CallError if ``--placement`` changes nothing."""
    placement = _asked_for(settings)
    found = [getattr(method.method, "placement", None) for method in made.values()]
    if placement not in (None, even) and placement not in found:
        raise CallError(
            f"--placement {settings.placement} is for methods whose path is known beforehand, such "
            f"as ig, blur-ig and IDGI over them, and --methods names none: leave it out."
        )


def steps_told(made: Mapping[str, Configured], settings: Settings) -> list[str]:
    """How many steps of which kind methods walk, a sentence each, where not all are even.

    >>> from captum_ext.attr import BlurIG, GuidedIG
    >>> made = {"a": Configured(BlurIG(len).placed(EqualRise())),
    ...         "b": Configured(GuidedIG(len), n_steps=50)}
    >>> steps_told(made, Settings(methods="blur-ig", placement="equal-rise"))
    ['a: 16 steps of equal rise.', 'b: 50 steps that the path finds itself.']
    """
    if not any(_is_placed(method) for method in made.values()):
        return []
    told: dict[str, list[str]] = {}
    for name, method in made.items():
        steps = _steps_of(method.method, method.options)
        if steps:
            told.setdefault(steps, []).append(name)
    return [f"{', '.join(names)}: {steps}." for steps, names in told.items()]


def _asked_for(settings: Settings) -> Placement | None:
    """What ``--placement`` says, None for each method's own."""
    return None if settings.placement == OWN_PLACEMENT else PLACEMENTS[settings.placement]


def _is_free(method: Attribution) -> bool:
    is_path = isinstance(method, PathAttribution)
    return is_path and method.takes_placement and method.placement is None


def _is_placed(made: Configured) -> bool:
    """Whether its steps are not those of its paper."""
    method = made.method
    if not isinstance(method, PathAttribution):
        return False
    return method.steps(made.options.get("n_steps"))[0] is not even


def _steps_of(method: Attribution, options: Mapping[str, Any]) -> str | None:
    n_steps = options.get("n_steps")
    if not isinstance(method, PathAttribution):
        if n_steps is None or isinstance(method, MaskAttribution):
            return None
        return f"{number_of(n_steps, 'step')} of its own placement"
    placement, n_steps = method.steps(n_steps)
    if not method.takes_placement:
        return f"{number_of(n_steps, 'step')} that the path finds itself"
    kinds = "of equal rise" if isinstance(placement, EqualRise) else "of its own placement"
    if placement is even:
        return number_of(n_steps, "equal step")
    return f"{number_of(n_steps, 'step')} {kinds}"
