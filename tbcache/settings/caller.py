"""Callers as the settings have them: this process's own name, and the weight of each."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from tbcache.models.caller import MOST_LETTERS, check_caller
from tbcache.models.error import InvalidRequest

LEAST_WEIGHT, MOST_WEIGHT = 0.001, 1000.0


def program_name() -> str:
    """The name of the program that runs: ``bot`` for ``python bot.py`` and for ``python -m bot``."""
    return _name_of(sys.argv[0] if sys.argv and not sys.argv[0].startswith("-") else "")


# Each job that is sent asks for it.
@functools.lru_cache(maxsize=8)
def _name_of(program: str) -> str:
    path = Path(program)
    name = path.parent.name if path.stem == "__main__" else path.stem
    return re.sub(r"[^A-Za-z0-9._@\-]", "_", name)[:MOST_LETTERS].strip("-") or "python"


def read_weights(value: str) -> dict[str, float]:
    """Read ``NAME=WEIGHT,...`` as a mapping."""
    pairs = [part.partition("=") for part in value.split(",") if part.strip()]
    try:
        return {check_caller(name.strip()): _weight(weight) for name, _, weight in pairs}
    except InvalidRequest as error:
        raise ValueError(str(error)) from None


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = 0.0
    if not LEAST_WEIGHT <= weight <= MOST_WEIGHT:
        raise ValueError(
            f"each entry is NAME=WEIGHT with a weight of {LEAST_WEIGHT:g} to {MOST_WEIGHT:g}, "
            "like bot-a=2,desk/bot-b=0.5"
        )
    return weight


def account_of(name: str, weights: Mapping[str, float]) -> str:
    """On whose account ``name`` is: its longest beginning that has a weight, or its first part."""
    if not weights:
        return name.partition("/")[0]
    parts = name.split("/")
    beginnings = ("/".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((one for one in beginnings if one in weights), parts[0])
