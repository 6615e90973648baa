"""Deletes each line of each script, one at a time, and runs the tests: a line that none misses is named.

Where a line begins a block, the whole block goes with it. Where a line reads a number from Redis, it is also
tried without the bounds of the number.

    python -m tests.mutants [--since COMMIT] [SCRIPT ...]

With ``--since``, only lines that were changed after that commit. Works on a copy of the tree. Not part of the
test run: it takes about as long as it has lines.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Container, Iterator, Sequence
from pathlib import Path

import lupa

ROOT = Path(__file__).parents[1]
LUA = Path("tbcache", "lua")
DAMAGE = ["core/test_damage.py"]
ADMISSION = [f"core/test_{name}.py" for name in ("admission", "member", "headroom", "pipeline", "allowances")]
LIMITER = [
    f"core/test_{name}.py" for name in ("rate_limiter", "slots", "member", "interleaving", "allowances")
]
QUEUE = ["core/test_queue.py", "core/test_fairness.py"]
MEMBER = [f"core/test_{name}.py" for name in ("member", "allowances")]
LOSS = [f"core/test_{name}.py" for name in ("loss", "fleet_limits", "admission", "member", "allowances")]
WAITER = ["core/test_waiter.py"]
CLEAR = ["test_clear.py"]
LOAD = ["test_load.py", "test_cache.py"]
TROUBLE = ["cli/test_trouble.py"]
BUDGET = ["core/test_budget.py"]
FIGURES = ["core/test_monitoring.py", *TROUBLE]
STORE = ["core/test_store.py"]
STANDING = ["core/test_standing.py"]
OPERATOR = ["core/test_operator.py", *STANDING]
DEAD = ["core/test_dead.py"]
#: The tests that are about a script, or a part that scripts include, the quickest to fail first.
SUITES = {
    "admit": [*ADMISSION, *CLEAR],
    "settle": [*DAMAGE, *ADMISSION, *CLEAR, "core/test_derive.py", *TROUBLE],
    "turn": ADMISSION,
    "derive": ["core/test_derive.py"],
    "put_back": ["core/test_stock.py"],
    "merge": ["core/test_merge.py"],
    "restore": [*DAMAGE, *ADMISSION],
    "lose": ["core/test_jump.py", *DAMAGE],
    "summary": ["core/test_rest.py"],
    "beat": [*DAMAGE, *MEMBER, "core/test_admission.py"],
    "leave": [*DAMAGE, "core/test_jump.py", "core/test_machine.py", "core/test_fleet_limits.py", *MEMBER],
    "take": LIMITER,
    "commit": LIMITER,
    "release": LIMITER,
    "reopen": [*STORE, "core/test_fleet_limits.py", "core/test_member.py", "cli/test_fleet.py"],
    "backlog": ["core/test_scale.py", *DAMAGE],
    "purge": DEAD,
    "cancel": DEAD,
    "promote": DEAD,
    "incident": ["test_alert.py"],
    "order": OPERATOR,
    "bound": OPERATOR,
    "said": STANDING,
    "weight": STANDING,
    "time": [*STORE, "core/test_admission.py"],
    "count": FIGURES,
    "minute": ["core/test_minute.py", *TROUBLE, "core/test_monitoring.py", "cli/test_damaged.py"],
    "carry": ["core/test_total.py"],
    "name": ["core/test_any_name.py", "core/test_monitoring.py"],
    "billed": BUDGET,
    "purse": [*DAMAGE, *BUDGET],
    "lead": ["core/test_scheduler.py", "core/test_leader.py"],
    "fence": ["core/test_leader.py"],
    "token": ["core/test_leader.py"],
    "probe": ["core/test_refusal.py", *STORE],
    "layout": ["core/test_layout.py", *STORE],
    "enqueue": [*QUEUE, *OPERATOR, *DEAD, "core/test_unique.py"],
    "send": [*QUEUE, *OPERATOR, "core/test_actors.py", "core/test_layout.py"],
    "explain": ["core/test_estimate.py", "core/test_put_off.py"],
    "dequeue": [*QUEUE, *MEMBER, *OPERATOR, *DEAD, "core/test_actors.py"],
    "look": QUEUE,
    "finish": [*QUEUE, *DEAD, "core/test_put_off.py", "core/test_actors.py"],
    "clear": CLEAR,
    "compact": CLEAR,
    "sweep": [*CLEAR, "core/test_unique.py"],
    "drop": ["core/test_unique.py"],
    "begin_load": LOAD,
    "end_load": LOAD,
    # What others include.
    "step": ["core/test_jump.py", *DAMAGE],
    "stop": OPERATOR,
    "budget": [*DAMAGE, *BUDGET, "core/test_admission.py", *FIGURES],
    "removal": ["core/test_stock.py", "core/test_merge.py"],
    "dropped": ["core/test_unique.py"],
    "envelope": [*CLEAR, *LOAD, "core/test_admission.py", *QUEUE],
    "epoch": [*DAMAGE, "core/test_jump.py", *LOSS],
    "figure": ["core/test_total.py", "core/test_minute.py"],
    "fleet": [*DAMAGE, "core/test_fleet_limits.py", "core/test_headroom.py", *LOSS],
    "headroom": [*DAMAGE, "core/test_headroom.py", "core/test_scale.py", *ADMISSION],
    "borrow": ["core/test_admission.py", *LIMITER, *QUEUE],
    "call": [*DAMAGE, *ADMISSION],
    "lane": [*DAMAGE, "core/test_admission.py", *LIMITER, *QUEUE],
    "late": ["core/test_jump.py", "core/test_rate_limiter.py"],
    "lease": [*DAMAGE, "core/test_admission.py", *LOAD],
    "limit": [*DAMAGE, "core/test_fleet_limits.py", *LIMITER, "core/test_headroom.py"],
    "member": [*DAMAGE, "core/test_member.py", "core/test_headroom.py", *LOSS],
    "outbox": ["core/test_admission.py", "core/test_derive.py"],
    "notice": [*MEMBER, *STORE, *TROUBLE],
    "number": [*DAMAGE, *STORE, *LIMITER, *QUEUE],
    "queue": [*QUEUE, *DEAD, "core/test_put_off.py"],
    "bell": QUEUE,
    "place": [*QUEUE, *DEAD],
    "slot": [*LIMITER, *ADMISSION, *QUEUE],
    "state": LOSS,
    "usage": [*TROUBLE, "core/test_monitoring.py", "core/test_admission.py"],
    "wake": [*WAITER, *QUEUE],
    "answered": [*QUEUE, "core/test_derive.py"],
    "window": [*DAMAGE, *LIMITER, *ADMISSION, *QUEUE],
}
#: What reads a number without bounds, in place of what number.lua has.
UNBOUND = {
    "bounded": "(function(text, _, _, otherwise) return tonumber(text or nil) or otherwise end)",
    "moment": "(function(text) return tonumber(text or nil) or 0 end)",
}
#: One kind of server is enough to miss a line.
ONE_KIND = "not [cluster and not [redis"


def mutants(text: str) -> Iterator[tuple[int, str]]:
    """The number of each line that does something, and the text without it or the block it begins; and the
    text without each bound of it."""
    lines = text.splitlines(keepends=True)
    for first, line in enumerate(lines):
        if line.strip() and not line.strip().startswith("--"):
            without = ("".join(lines[:first] + lines[last:]) for last in _ends(lines, first))
            if (mutant := next(filter(compiles, without), None)) is not None:
                yield first + 1, mutant
            for unbound in _unbound(line):
                yield first + 1, "".join((*lines[:first], unbound, *lines[first + 1 :]))


def _unbound(line: str) -> Iterator[str]:
    """The line where one of its numbers is read whatever it is."""
    for found in re.finditer(r"\b(?<!function )(bounded|moment)\(", line):
        yield f"{line[: found.start()]}{UNBOUND[found[1]]}({line[found.end() :]}"


def _ends(lines: Sequence[str], first: int) -> Iterator[int]:
    """Where the statement that begins with line ``first`` may end: behind it, or behind its block."""
    yield first + 1
    if not lines[first].strip().startswith(("end", "else", "}")):
        depth = _depth(lines[first])
        for last in range(first + 1, len(lines)):
            if lines[last].strip() and _depth(lines[last]) <= depth:
                yield last + 1
                return


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


def compiles(text: str) -> bool:
    """False where any test at all would fail."""
    try:
        lupa.LuaRuntime().compile(text)
    except lupa.LuaError:
        return False
    return True


def is_missed(tree: Path, name: str) -> bool:
    """True when a test fails."""
    tests = [f"tests/{suite}" for suite in SUITES[name]]
    # What has missed a line may miss the next as well.
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--failed-first", "--timeout=30"]
    command += ["-k", ONE_KIND, *tests]
    # Also the processes that the tests start are those of the copy.
    variables = {**os.environ, "PYTHONPATH": str(tree)}
    ended = subprocess.run(command, cwd=tree, env=variables, capture_output=True, check=False)
    return ended.returncode != 0


def changed(name: str, since: str) -> set[int]:
    """The numbers of the lines of a script that are not what they were at that commit."""
    command = ["git", "diff", "--unified=0", since, "--", str(LUA / f"{name}.lua")]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    hunks = re.findall(r"^@@ \S+ \+(\d+)(?:,(\d+))? @@", found, re.MULTILINE)
    return {int(first) + line for first, count in hunks for line in range(int(count or 1))}


def survivors(tree: Path, name: str, chosen: Container[int]) -> Iterator[str]:
    """Those of the chosen lines of a script that no test misses."""
    path = tree / LUA / f"{name}.lua"
    text = path.read_text("utf-8")
    if is_missed(tree, name):
        raise SystemExit(f"{name}: a test fails with every line there: no more is told of any without one")
    for number, mutant in mutants(text):
        if number not in chosen:
            continue
        path.write_text(mutant, "utf-8")
        if not is_missed(tree, name):
            yield f"{LUA / path.name}:{number}: {text.splitlines()[number - 1].strip()}"
    path.write_text(text, "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("scripts", nargs="*", metavar="SCRIPT", help="only these")
    parser.add_argument("--since", metavar="COMMIT", help="only lines that were changed after it")
    options = parser.parse_args()
    names = options.scripts or sorted(path.stem for path in (ROOT / LUA).glob("*.lua"))
    found = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "build", "dist", "__pycache__"))
        for name in names:
            chosen = changed(name, options.since) if options.since else range(1, 10_000)
            for survivor in survivors(tree, name, chosen):
                found += 1
                print(survivor, flush=True)
    print(f"{found} lines that no test misses", flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
