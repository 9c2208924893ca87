"""MkDocs hook: the theme's search gets the name that a screen reader tells."""

from typing import Any

SEARCH = 'data-md-component="search" role="dialog"'


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Names the search of a page."""
    return output.replace(SEARCH, f'{SEARCH} aria-label="Search"')


def on_post_template(output: str, template_name: str, config: Any) -> str:
    """The same of pages that no file of docs/ becomes."""
    return on_post_page(output, None, config)
