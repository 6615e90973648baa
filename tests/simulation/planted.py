"""``python -m tests.simulation.planted``: bugs planted into the core, to see how soon each is found.

A bug is a piece of text in place of another, in a Lua file or in the source of a function. Where the text
is not there any more, planting it fails: the bug has to be planted anew where its subject has gone.
``found.json`` has for each bug the seed that found it last, which is tried first: where it finds it again, a
search through 0, 1, 2... does so within as many seeds, or earlier.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import inspect
import json
import statistics
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tbcache.store import script as script_module
from tbcache.testing.simulated.attach import attached
from tests.simulation.bug import BUGS, Bug, Change
from tests.simulation.plan import PLANS, Plan
from tests.simulation.run import run
from tests.simulation.scripts import declared

KNOWN = Path(__file__).with_name("found.json")


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
    """``seed`` is the first of those tried whose world broke a promise with the bug, and only with it."""

    bug: Bug
    seed: int | None
    promise: str | None = None
    seconds: float = 0.0

    @property
    def within(self) -> int:
        """A search through 0, 1, 2... has found it after so many seeds."""
        return 0 if self.seed is None else self.seed + 1


def known() -> dict[str, tuple[int, str]]:
    """By bug: the seed that found it last, and the promise that was broken there."""
    found = json.loads(KNOWN.read_text("utf-8"))
    return {name: (int(seed), str(promise)) for name, (seed, promise) in found.items()}


def find(one: Bug, seeds: Iterable[int]) -> Found:
    """Run one seed after the other until a promise is broken that holds without the bug.

    Worlds without what the bug needs are left out, and counted: they say too little of it to be run.
    """
    began, plans = time.monotonic(), PLANS[one.kind]
    for seed in seeds:
        plan = plans(seed)
        if not all(map(plan.has, one.needs)):
            continue
        with planted(one):
            promise = run(plan).promise
        if promise is not None and _is_well(plans, seed):
            return Found(one, seed, promise, time.monotonic() - began)
    return Found(one, None, None, time.monotonic() - began)


@functools.cache
def _is_well(plans: Callable[[int], Plan], seed: int) -> bool:
    """A world that breaks a promise anyway says nothing about a bug."""
    return run(plans(seed)).promise is None


def _order(one: Bug, most: int) -> Iterator[int]:
    """The seed that has found it before comes first."""
    before, _ = known().get(one.name, (None, ""))
    if before is not None:
        yield before
    yield from (seed for seed in range(most) if seed != before)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.planted", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many worlds to try for each")
    parser.add_argument("--fresh", action="store_true", help="begin with seed 0, whatever was found before")
    parser.add_argument("--write", action="store_true", help="note which seed has found what")
    parser.add_argument("--only", default="", help="bugs with this in their name")
    parser.add_argument("--kind", help="bugs that are sought in worlds of this kind")
    options = parser.parse_args()
    results = []
    with attached():
        for one in (one for one in BUGS if options.only in one.name and options.kind in (None, one.kind)):
            seeds = range(options.seeds) if options.fresh else _order(one, options.seeds)
            results.append(find(one, seeds))
            print(_line(results[-1]), flush=True)
            if options.write:
                _note(results[-1])
    missed = [found for found in results if found.seed is None]
    within = [found.within or options.seeds for found in results]
    share = f"{len(results) - len(missed)} of {len(results)} found"
    print(f"{share}, within {statistics.median(within):g} seeds at the median, {max(within)} at most")
    return 1 if missed else 0


def _line(found: Found) -> str:
    what = "not found" if found.seed is None else f"{found.promise}, within {found.within} seeds"
    return f"{found.seconds:7.1f} s  {found.bug.name}: {what}"


def _note(found: Found) -> None:
    noted: dict[str, Any] = dict(known())
    noted.pop(found.bug.name, None)
    if found.seed is not None:
        noted[found.bug.name] = (found.seed, found.promise)
    names = [one.name for one in BUGS]
    lines = [f"  {json.dumps(name)}: {json.dumps(noted[name])}" for name in names if name in noted]
    KNOWN.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
