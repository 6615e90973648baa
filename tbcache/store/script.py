"""Lua scripts, read from ``tbcache/lua``: a line ``--@include NAME`` stands for another file's text."""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files

_INCLUDE = re.compile(r"^--@include (\w+)\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text and the digest the server knows it by."""

    name: str
    text: str
    sha: str


@functools.cache
def script(name: str) -> Script:
    """The script ``tbcache/lua/<name>.lua``."""
    text = _read(name)
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def _read(name: str) -> str:
    text = files("tbcache").joinpath("lua", f"{name}.lua").read_text("utf-8")
    return _INCLUDE.sub(lambda found: _read(found[1]), text)
