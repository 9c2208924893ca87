"""The documentation builds without a warning, works without a network, and its links lead on."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.browser import asked, needs_browser

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


class Links(HTMLParser):
    """What a page loads, what it links to, and the places that can be linked to."""

    def __init__(self, page):
        super().__init__()
        self.loads, self.links, self.places = [], [], {""}
        self.feed(page.read_text())

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.places.add(named.get("id") or "")
        if tag in ("img", "script") and named.get("src"):
            self.loads.append(named["src"])
        elif tag == "link" and "stylesheet" in (named.get("rel") or ""):
            self.loads.append(named["href"])
        elif tag == "a" and named.get("href"):
            self.links.append(named["href"])


def test_pages_load_nothing_from_the_network(site):
    for page in site.rglob("*.html"):
        if page.name != "404.html":
            for url in Links(page).loads:
                assert not urlsplit(url).netloc, f"{page.name} loads {url}"
                assert (page.parent / unquote(urlsplit(url).path)).is_file(), f"{page}: {url}"


def test_links_inside_the_site_lead_somewhere(site):
    pages = {page.resolve(): Links(page) for page in site.rglob("*.html")}
    for page, found in pages.items():
        for url in found.links if page.name != "404.html" else []:
            parts = urlsplit(url)
            if not parts.scheme and not parts.netloc:
                goal = (page.parent / unquote(parts.path)).resolve() if parts.path else page
                assert goal.exists(), f"{page.name} links to {url}"
                if goal in pages:
                    places = pages[goal].places
                    assert unquote(parts.fragment) in places, f"{page.name} links to {url}"


def test_every_tutorial_is_a_page_with_its_pictures(site):
    for notebook in (ROOT / "tutorials").glob("*.ipynb"):
        page = Links(site / "tutorials" / f"{notebook.stem}.html")
        assert any(notebook.stem in url for url in page.loads)


def test_no_doctest_is_shown_as_a_quotation(site):
    for page in (site / "reference").glob("*.html"):
        assert not re.search(r"<blockquote>\s*<blockquote>", page.read_text()), page.name


def test_every_equation_is_set_without_a_script(site):
    pages = {file: file.read_text() for file in (ROOT / "docs").rglob("*.md")}
    written = {file: text.count("\n```math\n") for file, text in pages.items()}
    assert sum(written.values()) > 10
    for file, count in written.items():
        page = (site / file.relative_to(ROOT / "docs")).with_suffix(".html").read_text()
        blocks = re.findall(r'<div class="equation"><math .*?</math></div>', page)
        assert len(blocks) == count, file.name


def test_the_search_has_a_name(site):
    for page in site.rglob("*.html"):
        assert 'role="dialog">' not in page.read_text(), page.name


PAINTED = """
const shown = (element) => getComputedStyle(element);
const link = document.querySelector(".md-typeset a:not([class])");
const parts = () => [...document.querySelectorAll(".md-typeset__scrollwrap, pre > code")];
for (let k = 0; k < 80 && !document.querySelector(".md-typeset__scrollwrap"); k++)
  await new Promise((r) => setTimeout(r, 100));
answer([parts().map((part) => part.tabIndex),
  [shown(link).color, shown(document.body).backgroundColor],
  [shown(document.querySelector(".md-header__topic")).color,
   shown(document.querySelector(".md-header")).backgroundColor]]);
"""


def luminance(color):
    """Of a color as browsers tell it, by WCAG 2."""
    values = [float(v) / 255 for v in re.findall(r"[\d.]+", color)[:3]]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


SCROLLING = """
const main = () => [...document.querySelectorAll("article *")];
const scrolls = (part) => ["auto", "scroll"].includes(getComputedStyle(part).overflowX);
for (let k = 0; k < 80 && !document.querySelector(".md-typeset__scrollwrap"); k++)
  await new Promise((r) => setTimeout(r, 100));
answer(main().filter(scrolls).map((part) => [part.className || part.tagName, part.tabIndex]));
"""


@needs_browser
def test_what_scrolls_sideways_by_its_style_is_reached_by_the_keyboard(site):
    found = asked(site / "metrics" / "localization.html", SCROLLING, site / "metrics")
    assert "equation" in {name for name, _ in found}
    assert {place for _, place in found} == {0}


@needs_browser
def test_links_and_the_header_can_be_read_and_what_scrolls_is_reached(site):
    """A contrast of 4.5 to 1, as WCAG 2 asks of text."""
    scrolling, *pairs = asked(site / "recipes.html", PAINTED, site)
    assert len(scrolling) > 5
    assert {*scrolling} == {0}
    for pair in pairs:
        dark, light = sorted(map(luminance, pair))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, pair


TYPED = """
const input = document.querySelector("[data-md-component=search-query]");
input.focus();
input.value = "equidistribution";
input.dispatchEvent(new Event("keyup", { bubbles: true }));
const links = () => [...document.querySelectorAll(".md-search-result__link")].map((a) => a.href);
for (let k = 0; k < 80 && !links().length; k++) await new Promise((r) => setTimeout(r, 100));
answer(links());
"""


@needs_browser
def test_search_finds_a_word_where_the_site_is_opened_from_files(site):
    found = asked(site / "index.html", TYPED, site)
    assert (site / "methods" / "placement.html").as_uri() in found
