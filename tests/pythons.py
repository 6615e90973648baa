"""Runs a small part of the tests on other Pythons, where they are at hand: ``python -m tests.pythons 3.12``.

Every module is imported, and the examples run against a real server, with warnings as errors. A Python that
is not installed, or for which a dependency is not to be had, is left out with a line.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
UV = str(Path(sys.executable).with_name("uv"))
LOCK = ROOT / "requirements.lock"
#: It compares a world with what it was in our own Python, whose digests are in the variable.
SIMULATED = "tests/simulation/test_simulation.py::test_a_seed_is_the_same_world_in_any_process"
VARIABLE = "SIMULATED"
TESTS = (
    "tests/test_floors.py::test_importing_any_module_opens_nothing_and_starts_nothing",
    "tests/test_examples.py",
    "tests/test_fetcher_async.py",
    SIMULATED,
)
#: How many Pythons are tried at once.
WORKERS = 2
#: mypy says the same of each.
LEFT_OUT = "tests/test_examples.py::test_what_people_copy_type_checks_strictly"


def main(*versions: str) -> int:
    pythons = {version: python for version in versions if (python := _python(version)) is not None}
    if SIMULATED in TESTS and pythons:
        os.environ[VARIABLE] = _run(sys.executable, "-m", "tests.simulation", "--digests") or "none"
    with ThreadPoolExecutor(WORKERS) as pool:
        passed = dict(zip(pythons, pool.map(_test, pythons, pythons.values()), strict=True))
    # What fails is tried once more, alone, as in `make unit`.
    again = ("--last-failed", "--last-failed-no-failures", "none")
    failed = [name for name, python in pythons.items() if not (passed[name] or _test(name, python, *again))]
    if failed:
        print(f"failed on Python {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _python(version: str) -> Path | None:
    """The Python of an environment for the tests; None where it cannot be had, which is said."""
    interpreter = _find(version)
    if interpreter is None:
        print(f"Python {version} is not at hand and is left out; `uv python install {version}` brings it")
        return None
    python = _environment(version, interpreter)
    if python is None:
        print(f"Python {version} is left out: not every dependency can be installed there")
    return python


def _test(version: str, python: Path, *more: str) -> bool:
    cache = f"cache_dir={python.parents[1] / 'pytest_cache'}"
    command = (str(python), "-m", "pytest", "-q", "-o", cache, *TESTS, "--deselect", LEFT_OUT, *more)
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    print(f"Python {version}:\n{done.stdout}", flush=True)
    return done.returncode == 0


def _find(version: str) -> str | None:
    """An interpreter that works: one that uv finds, or one of pyenv's, which its shims hide."""
    found = _run(UV, "python", "find", "--no-python-downloads", version)
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    names = (
        [found] if found else [str(path) for path in root.glob(f"versions/{version}.*/bin/python{version}")]
    )
    said = f"Python {version}."
    return next((name for name in names if (_run(name, "--version") or "").startswith(said)), None)


def _environment(version: str, interpreter: str) -> Path | None:
    """The Python of an environment with all that the tests need; None where it cannot be made."""
    folder = ROOT / f".venv-{version}"
    python, stamp = folder / "bin" / "python", folder / ".installed"
    if stamp.exists() and stamp.stat().st_mtime > LOCK.stat().st_mtime:
        return python
    install = (UV, "pip", "install", "--quiet", "--python", str(python))
    for command in (
        (UV, "venv", "--quiet", "--clear", "--python", interpreter, str(folder)),
        (*install, "--require-hashes", "-r", str(LOCK)),
        (*install, "--no-deps", "--no-build-isolation", "-e", str(ROOT)),
    ):
        if _run(*command) is None:
            return None
    stamp.touch()
    return python


def _run(*command: str) -> str | None:
    """What a command says; None where it fails."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
