"""The repository's address stands in one line, and README, site and citation follow it."""

import re

import pytest

from docs.address import FILES, ROOT, address, told

TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in FILES}
URL = "https://host.org/owner/captum_ext"


def test_all_files_tell_the_address_of_pyproject_and_no_other():
    assert told(address(TEXTS["pyproject.toml"]), TEXTS) == TEXTS


def test_a_new_address_is_told_everywhere_and_can_be_taken_back():
    plain = told("", TEXTS)
    found = told(f"{URL}/", plain)
    assert address(found["pyproject.toml"]) == URL
    assert found["CITATION.cff"].endswith(f"\nrepository-code: {URL}\n")
    assert found["mkdocs.yml"].endswith(f"\n  - Repository: {URL}\n")
    assert f"]({URL}/raw/main/docs/explain.jpg)" in found["README.md"]
    assert f"]({URL}/tree/main/tutorials/)" in found["README.md"]
    assert not re.search(r"\]\((?!https://|#)", found["README.md"])
    assert told(URL, found) == found
    assert told("https://other.org/a", found) == told("https://other.org/a", plain)
    assert told("", found) == plain


def places(page):
    """What can be linked to in a page of Markdown."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {"-".join(re.sub(r"[^\w\s-]", "", head.lower()).split()) for head in heads}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_to_files_and_to_places_in_them(page):
    text = (
        (ROOT / page).read_text(encoding="utf-8") if page != "README.md" else told("", TEXTS)[page]
    )
    links = re.findall(r"\]\((?!https://)([^)\s#]*)#?([^)\s]*)\)", text)
    assert links
    for file, place in links:
        goal = ROOT / (file or page)
        assert goal.exists(), file
        assert not place or place in places(goal), f"{file}#{place}"


def test_what_is_no_address_is_refused():
    with pytest.raises(ValueError, match=r"https://HOST.*got 'git@host:a'"):
        told("git@host:a", TEXTS)
