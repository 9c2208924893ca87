"""MkDocs hook: what the theme leaves out for keyboards and screen readers."""

from typing import Any

LACKING = {
    'data-md-component="search" role="dialog"': ' aria-label="Search"',
    # Wide code scrolls, which takes a place for the keyboard's focus.
    "<pre><span></span><code": ' tabindex="0"',
}
"""By what stands in a page, what must follow."""


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Names the search, and lets the keyboard into blocks of code."""
    for start, more in LACKING.items():
        output = output.replace(start, start + more)
    return output
