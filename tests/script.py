"""Scripts of ours on a client of the tests' own, and whether their files say and do what is declared."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar

import redis

from tbcache.store import script as scripts
from tbcache.store.constant import SHARED
from tbcache.store.reply import fields_of
from tbcache.store.script import Script

C = TypeVar("C", bound=tuple[Any, ...])
R = TypeVar("R")

_POSITIONS = re.compile(r"\b(KEYS|ARGV)\b")
#: A line of a header that begins with names, up to two spaces; what is said of them is indented deeper.
_LISTED = r"[a-z_\d]+(?:, [a-z_\d]+)*"
_NAMES = re.compile(rf"--(?: (KEYS|ARGV|Replies)  |       )({_LISTED}|[a-z_]+:(?: {_LISTED})?)(?:  |$)")
#: The names that an included file defines: no key or argument may have one of them.
_DEFINED = re.compile(r"^local (?:function )?([\w, ]+)", re.MULTILINE)


def run(client: redis.Redis, script: Script[C, R], call: C) -> R:
    """Run ``script`` there, by its text."""
    packed: list[Any] = script.pack(call)
    return script.read(client.eval(script.text, *packed))


def problems(script: Script[Any, Any]) -> list[str]:
    """How the file of ``script``, and those that it includes, differ from what is declared."""
    names = {name for field in script._fields for name in field.names} | SHARED.keys()
    said, declared = _header(_text(script.name)), _declared(script)
    found = [f"its header says that {part} are {said[part]}" for part in said if said[part] != declared[part]]
    for file in _files(script.name):
        text = scripts._COMMENT.sub("", _text(file))
        found += [f"{file}.lua reads {name} by position" for name in _POSITIONS.findall(text)]
        defined = {word for line in _DEFINED.findall(_text(file)) for word in re.findall(r"\w+", line)}
        found += [f"{file}.lua defines {name}, which is declared" for name in sorted(names & defined)]
    return found


def _text(name: str) -> str:
    return Path(scripts._FOLDER, f"{name}.lua").read_text("utf-8")


def _files(name: str) -> dict[str, None]:
    """The files of which a script consists, its own first."""
    included = scripts._INCLUDE.findall(_text(name))
    return {name: None} | {part: None for one in included for part in _files(one)}


def _declared(script: Script[Any, Any]) -> dict[str, list[str]]:
    """What the header must list."""
    return {
        "KEYS": [field.name for field in script._keys],
        "ARGV": [field.name for field in script._arguments],
        "Replies": [
            f"{tag}{': ' if tag else ''}{', '.join(fields_of(kind))}".rstrip()
            for tag, kind in script.reply.kinds.items()
        ],
    }


def _header(text: str) -> dict[str, list[str]]:
    """What the comment at the head of a file lists, by its parts."""
    listed: dict[str, list[str]] = {"KEYS": [], "ARGV": [], "Replies": []}
    part = ""
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        found = _NAMES.match(line)
        part = found[1] or part if found else "Replies" if line.startswith("-- Replies") else part
        if found and part:
            listed[part].extend([found[2]] if part == "Replies" else found[2].split(", "))
    return listed
