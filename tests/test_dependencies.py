"""What an installation brings along: counted by what the installed distributions say that they require."""

from __future__ import annotations

import tomllib
from importlib.metadata import requires
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT: dict[str, Any] = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


def closure(*wanted: str) -> set[str]:
    """The distributions that ``wanted`` bring to this platform, themselves included."""
    found: set[str] = set()
    ahead = [(Requirement(text), "") for text in wanted]
    while ahead:
        requirement, extra = ahead.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        extras = requirement.extras or {""}
        if name not in found or requirement.extras:
            found.add(name)
            ahead += [(Requirement(text), extra) for text in requires(name) or () for extra in extras]
    return found


def test_what_stands_twice_or_is_not_maintained_does_not_come_along() -> None:
    """Each distribution is one more to trust, to update and to wait for."""
    unwanted = {"orjson", "pydantic-settings", "python-dotenv", "requests", "urllib3", "vadersentiment"}
    assert closure(*PROJECT["dependencies"]) & unwanted == set()
