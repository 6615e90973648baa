"""The pages hold: what they link to, name and list is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("bench/*.md"))
)

#: What stands in backticks and is the path of a file or a folder of ours, if every word of it is plain.
_PATH = re.compile(r"`((?:tbcache|tests|workers|scheduler|docs|bench|examples)/[\w./-]+)`")


def text_of(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_every_link_inside_the_repository_resolves(page: str) -> None:
    """A reader who follows one arrives."""
    for link in re.findall(r"\]\(([^)]+)\)", text_of(page)):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target.read_text("utf-8")), link


def _anchors(text: str) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    """Files move, and a page that sends its reader to where one was is worse than none."""
    named = [name for name in _PATH.findall(text_of(page)) if "NAME" not in name]
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_make_target_is_explained() -> None:
    """Who works on this knows what each proves before starting it, and finds none that is gone."""
    phony = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    targets = {target for line in phony for target in line.split()}
    assert set(re.findall(r"`make ([\w-]+)`", text_of("CONTRIBUTING.md"))) == targets
