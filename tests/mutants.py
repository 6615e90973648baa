"""Deletes each line of each script, one at a time, and runs the tests: a line that none misses is named.

    python -m tests.mutants [SCRIPT ...]

Works on a copy of the tree. Not part of the test run: it takes about as long as it has lines.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import lupa

ROOT = Path(__file__).parents[1]
LUA = Path("tbcache", "lua")
ADMISSION = [f"core/test_{name}.py" for name in ("admission", "member", "rooms", "headroom", "pipeline")]
LIMITER = [f"core/test_{name}.py" for name in ("interleaving", "slots", "rate_limiter", "member", "rooms")]
QUEUE = ["core/test_queue.py"]
MEMBER = [f"core/test_{name}.py" for name in ("member", "rooms")]
WAITER = ["core/test_waiter.py"]
CLEAR = ["test_clear.py"]
LOAD = ["test_load.py", "test_cache.py"]
TROUBLE = ["cli/test_trouble.py"]
#: The tests that are about a script, the quickest to fail first.
SUITES = {
    "admit": [*ADMISSION, *CLEAR],
    "settle": [*ADMISSION, *CLEAR, *TROUBLE],
    "turn": ADMISSION,
    "restore": ADMISSION,
    "lose": ADMISSION,
    "beat": [*MEMBER, "core/test_admission.py"],
    "leave": MEMBER,
    "take": LIMITER,
    "commit": LIMITER,
    "release": LIMITER,
    "slots": [*LIMITER, *ADMISSION, *QUEUE, *TROUBLE],
    "count": ["core/test_monitoring.py", *TROUBLE],
    "billed": ["core/test_budget.py"],
    "lead": ["core/test_scheduler.py"],
    "queue": QUEUE,
    "enqueue": QUEUE,
    "dequeue": [*QUEUE, *MEMBER],
    "finish": QUEUE,
    "clear": CLEAR,
    "strike": CLEAR,
    "sweep": CLEAR,
    "load": LOAD,
    "keep": LOAD,
    "wake": [*WAITER, *QUEUE],
}
#: One kind of server is enough to miss a line.
ONE_KIND = "not [cluster and not [redis"


def mutants(text: str) -> Iterator[tuple[int, str]]:
    """The number of each line that does something, and the text without it."""
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.strip().startswith("--"):
            yield number, "".join(lines[: number - 1] + lines[number:])


def compiles(text: str) -> bool:
    """False where any test at all would fail."""
    try:
        lupa.LuaRuntime().compile(text)
    except lupa.LuaError:
        return False
    return True


def is_missed(tree: Path, name: str) -> bool:
    """True when a test fails."""
    tests = [f"tests/{suite}" for suite in SUITES.get(name, ["."])]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--timeout=30"]
    command += ["-k", ONE_KIND, *tests]
    ended = subprocess.run(command, cwd=tree, capture_output=True, check=False)
    return ended.returncode != 0


def survivors(tree: Path, name: str) -> Iterator[str]:
    """The lines of a script that no test misses."""
    path = tree / LUA / f"{name}.lua"
    text = path.read_text("utf-8")
    for number, mutant in mutants(text):
        if not compiles(mutant):
            continue
        path.write_text(mutant, "utf-8")
        if not is_missed(tree, name):
            yield f"{LUA / path.name}:{number}: {text.splitlines()[number - 1].strip()}"
    path.write_text(text, "utf-8")


def main() -> int:
    names = sys.argv[1:] or sorted(path.stem for path in (ROOT / LUA).glob("*.lua"))
    found = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "build", "dist", "__pycache__"))
        for name in names:
            for survivor in survivors(tree, name):
                found += 1
                print(survivor, flush=True)
    print(f"{found} lines that no test misses")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
