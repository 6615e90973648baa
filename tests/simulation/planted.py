"""``python -m tests.simulation.planted``: bugs planted into the core, to see how soon each is found.

A bug is a piece of text in place of another, in a Lua file or in the source of a function. Where the text
is not there any more, planting it fails: the bug has to be planted anew where its subject has gone.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import inspect
import statistics
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tbcache.store import script as script_module
from tests.simulation.attach import attached
from tests.simulation.bug import BUGS, Bug, Change
from tests.simulation.plan import plan_of
from tests.simulation.run import run
from tests.simulation.scripts import declared


class Gone(Exception):
    """The text that a bug stands in place of is not there any more."""


@contextmanager
def planted(one: Bug) -> Iterator[None]:
    """The core has that bug meanwhile.

    Raises:
      Gone: it cannot be planted.
    """
    way = _in_lua if one.change.where.endswith(".lua") else _in_python
    with way(one, one.change):
        yield


def _replaced(text: str, one: Bug, change: Change) -> str:
    if text.count(change.old) != 1:
        raise Gone(f"{one.name}: {change.where} has {change.old!r} {text.count(change.old)} times, not once")
    return text.replace(change.old, change.new)


@contextmanager
def _in_lua(one: Bug, change: Change) -> Iterator[None]:
    name, folder = change.where, script_module._FOLDER
    _replaced((folder / name).read_text("utf-8"), one, change)
    scripts, before = declared(), [(script, script._source) for script in declared()]
    for script in scripts:
        if change.old in script._source:
            script._source = script._source.replace(change.old, change.new)
            _forget(script)
    try:
        yield
    finally:
        for script, source in before:
            script._source = source
            _forget(script)


def _forget(script: Any) -> None:
    for name in ("text", "sha"):
        script.__dict__.pop(name, None)


@contextmanager
def _in_python(one: Bug, change: Change) -> Iterator[None]:
    module_name, _, path = change.where.partition(":")
    module = importlib.import_module(module_name)
    owner_name, _, name = path.rpartition(".")
    owner = functools.reduce(getattr, owner_name.split("."), module) if owner_name else module
    before = vars(owner)[name]
    function = before.fget if isinstance(before, property) else inspect.unwrap(before)
    source = _replaced(inspect.getsource(function), one, change)
    # Indented as it stands in its class.
    text = f"from __future__ import annotations\nif True:\n{textwrap.indent(source, ' ')}"
    found: dict[str, Any] = {}
    exec(compile(text, change.where, "exec"), vars(module), found)  # noqa: S102
    setattr(owner, name, found[name])
    try:
        yield
    finally:
        setattr(owner, name, before)


@dataclass(frozen=True, slots=True)
class Found:
    """After how many seeds a bug was found, and by which broken promise; None: it was not."""

    bug: Bug
    seeds: int
    promise: str | None
    seconds: float


def find(one: Bug, most: int, first: int = 0) -> Found:
    """Run seed after seed until a promise is broken."""
    began = time.monotonic()
    with planted(one):
        for seed in range(first, first + most):
            report = run(plan_of(seed))
            if report.promise is not None:
                return Found(one, seed - first + 1, report.promise, time.monotonic() - began)
    return Found(one, most, None, time.monotonic() - began)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.planted", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many worlds to try for each")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", default="", help="bugs with this in their name")
    options = parser.parse_args()
    results = []
    with attached():
        for one in BUGS:
            if options.only in one.name:
                found = find(one, options.seeds, options.first)
                results.append(found)
                what = found.promise or "not found"
                print(f"{found.seeds:5d} seeds {found.seconds:6.1f} s  {one.name}: {what}", flush=True)
    missed = [found for found in results if found.promise is None]
    median = statistics.median(found.seeds for found in results)
    print(f"{len(results) - len(missed)} of {len(results)} found, in {median:g} seeds at the median")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
