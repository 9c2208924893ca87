"""Attribution methods and metrics that plug into Captum."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captum_ext.classifier import ImageClassifier
    from captum_ext.score import Score

__all__ = ["ImageClassifier", "Score"]
__version__ = "0.1.0"

# Imported when first asked for: the command says its help, and what is wrong with its
# arguments, before torch is loaded.
_PLACES = {"ImageClassifier": "captum_ext.classifier", "Score": "captum_ext.score"}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'captum_ext' has no attribute {name!r}")
    globals()[name] = found = getattr(import_module(_PLACES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
