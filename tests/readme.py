"""The README and the pages that users copy from, as data: their code blocks and their tables."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def page(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


TEXT = page("README.md")
SETTINGS = page("docs/settings.md")
SOURCE = page("docs/source.md")
#: What stands there before the sections that commands write themselves.
COMMANDS = page("docs/cli.md").partition("<!-- commands -->")[0]
DEPLOYING = page("docs/deploying.md")
#: Of these every command, variable and example is checked.
OPERATING = page("docs/operating.md")
ALL = (
    TEXT,
    SETTINGS,
    page("docs/python.md"),
    SOURCE,
    COMMANDS,
    DEPLOYING,
    page("docs/timelines.md"),
    OPERATING,
)
EVERYTHING = "\n".join(ALL)

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\S+\.py)\n")


def blocks(language: str, text: str = EVERYTHING) -> list[str]:
    """The text of every fenced block in ``language``, in order."""
    return [block for name, block in _BLOCK.findall(text) if name == language]


def files() -> dict[str, str]:
    """The Python blocks whose first line names a file, by that name."""
    return {found[1]: block for block in blocks("python") if (found := _FILE.match(block))}


def examples() -> list[str]:
    """The Python blocks that name no file: each runs by itself."""
    return [block for block in blocks("python") if not _FILE.match(block)]


def table(heading: str, text: str = SETTINGS) -> list[list[str]]:
    """The rows of the table whose first column is headed ``heading`` and whose next columns follow it."""
    lines = iter(text.splitlines())
    rows: list[list[str]] = []
    for line in lines:
        if line.replace(" ", "").startswith(f"|{heading}|".replace(" ", "")):
            next(lines)
            for row in lines:
                if not row.startswith("|"):
                    return rows
                rows.append([cell.strip() for cell in row.strip("|").split(" |")])
    return rows
