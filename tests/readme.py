"""The README as data: its code blocks and its tables; and the code blocks of pages that it leads to."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text("utf-8")
TIMELINES = (ROOT / "docs" / "timelines.md").read_text("utf-8")

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\S+\.py)\n")


def blocks(language: str, page: str = TEXT) -> list[str]:
    """The text of every fenced block in ``language``, in order."""
    return [text for name, text in _BLOCK.findall(page) if name == language]


def files() -> dict[str, str]:
    """The Python blocks whose first line names a file, by that name."""
    return {found[1]: block for block in blocks("python") if (found := _FILE.match(block))}


def examples() -> list[str]:
    """The Python blocks that name no file: each runs by itself."""
    return [block for block in (*blocks("python"), *blocks("python", TIMELINES)) if not _FILE.match(block)]


def table(heading: str) -> list[list[str]]:
    """The rows of the table whose first column is headed ``heading`` and whose next columns follow it."""
    lines = iter(TEXT.splitlines())
    rows: list[list[str]] = []
    for line in lines:
        if line.replace(" ", "").startswith(f"|{heading}|".replace(" ", "")):
            next(lines)
            for row in lines:
                if not row.startswith("|"):
                    return rows
                rows.append([cell.strip() for cell in row.strip("|").split(" |")])
    return rows
