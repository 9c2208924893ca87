"""Where the project's repository is: one line of pyproject.toml, which four files follow.

python docs/address.py https://github.com/OWNER/NAME     writes it into all four
python docs/address.py ""                                takes it out of them

README's pictures and links lead there, as they have to where README stands alone, on PyPI.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = ("pyproject.toml", "README.md", "CITATION.cff", "mkdocs.yml")
_URLS = re.compile(r'\[project\.urls\]\nRepository = "(.*)"\nChangelog = .*\n\n')
_LINK = re.compile(r"(!?\[[^\]]*\]\()(?![a-z]+:|#)([^)\s]+\))")
_CITED = re.compile(r"^repository-code: .*\n", re.MULTILINE)
_LINKED = re.compile(r"^  - Repository: .*\n", re.MULTILINE)


def address(pyproject: str) -> str:
    """The address that pyproject.toml tells; nothing where it tells none.

    >>> address('[project.urls]\\nRepository = "https://x.org/a"\\nChangelog = "..."\\n\\n')
    'https://x.org/a'
    """
    found = _URLS.search(pyproject)
    return found[1] if found else ""


def told(url: str, texts: Mapping[str, str]) -> dict[str, str]:
    """The texts of the four files with another address, or without one.

    Raises:
        ValueError: if it is no address of a site.
    """
    url = url.rstrip("/")
    if url and not re.fullmatch(r"https://[\w./~-]+", url):
        raise ValueError(f"the address is https://HOST/OWNER/NAME, but got {url!r}.")
    before = address(texts["pyproject.toml"])
    pyproject, readme, citation, site = (texts[name] for name in FILES)
    pyproject = _URLS.sub("", pyproject)
    citation, site = _CITED.sub("", citation), _LINKED.sub("", site)
    if before:
        readme = re.sub(rf"{re.escape(before)}/(raw|blob|tree)/main/", "", readme)
    if url:
        urls = f'[project.urls]\nRepository = "{url}"\nChangelog = "{url}/blob/main/CHANGELOG.md"\n'
        place = "[project.optional-dependencies]"
        pyproject = pyproject.replace(place, f"{urls}\n{place}", 1)
        readme = _LINK.sub(lambda link: f"{link[1]}{url}/{_kind(*link.groups())}/{link[2]}", readme)
        citation = f"{citation.rstrip()}\nrepository-code: {url}\n"
        # Not `repo_url`, for which the theme asks the network.
        site = f"{site.rstrip()}\n  - Repository: {url}\n"
    return dict(zip(FILES, (pyproject, readme, citation, site), strict=True))


def _kind(start: str, path: str) -> str:
    """How hosts of repositories call a picture, a folder and a file."""
    if start.startswith("!"):
        return "raw/main"
    return "tree/main" if path.endswith("/)") else "blob/main"


if __name__ == "__main__":
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in FILES}
    for name, text in told(sys.argv[1], texts).items():
        (ROOT / name).write_text(text, encoding="utf-8")
