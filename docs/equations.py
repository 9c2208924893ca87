"""MkDocs hook: fences of `math` become MathML, which browsers set without a script or a network."""

from typing import Any

from latex2mathml.converter import convert
from pymdownx.superfences import SuperFencesException


def on_config(config: Any) -> Any:
    """Adds the fence to those of superfences."""
    options = config.mdx_configs.setdefault("pymdownx.superfences", {})
    fence = {"name": "math", "class": "equation", "format": equation}
    options.setdefault("custom_fences", []).append(fence)
    return config


def equation(source: str, language: str, css_class: str, *_: Any, **__: Any) -> str:
    """A fence's LaTeX as a block of MathML.

    Raises:
        SuperFencesException: For an unknown command. Superfences passes over every other error.
    """
    block = convert(source, display="block")
    if "\\" in block:
        raise SuperFencesException(f"not all of this equation could be set: {source}")
    return f'<div class="{css_class}">{block}</div>'
