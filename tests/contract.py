"""Has schemathesis ask the API whatever its OpenAPI document allows, and much that it does not.

`python -m tests.contract --seconds 300 --seed 7` hunts for longer than the suite does (`make contract`).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tbcache.testing import simulator
from tests.server import Server

ROOT = Path(__file__).parents[1]
PROGRAM = ROOT / ".venv-schema/bin/schemathesis"
CONFIG = ROOT / "tests/api/schemathesis.toml"
#: The tokens of an API that has some.
TOKEN, READ_TOKEN = "a-token-of-the-tests", "one-who-only-reads"
_SERVE = """
import sys
from tbcache.api import serve
serve(sys.argv[1], 0, on_ready=lambda url: print(url, flush=True))
"""


@contextmanager
def fleet(folder: Path) -> Iterator[dict[str, str]]:
    """A server and the simulator's sources: the variables of an API over them."""
    server = Server(always_answers=True).start()
    try:
        with simulator() as upstream:
            yield {
                **upstream.variables,
                "REDIS_URL": server.url,
                "TBCACHE_REDIS_TIMEOUT": "10",
                "TBCACHE_DATA_DIR": str(folder),
                "TBCACHE_LOG_LEVEL": "error",
            }
    finally:
        server.close()


@contextmanager
def serving(host: str = "127.0.0.1", **variables: str) -> Iterator[str]:
    """An API in a process of its own that listens on ``host``; its address."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("TBCACHE_")}
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE, host], env={**known, **variables}, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.communicate(timeout=30)


def ask(url: str, *options: str) -> str:
    """What schemathesis has found that is not as the document says; nothing where all is."""
    command = [PROGRAM, "--config-file", CONFIG, "run", f"{url}/openapi.json", *options]
    # What it keeps for the next time is of the folder that it runs in.
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"{done.stdout}\n{done.stderr}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.contract", description=__doc__)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    folder = ROOT / ".tbcache-contract"
    folder.mkdir(mode=0o700, exist_ok=True)
    phases = ("--phases", "examples,coverage,fuzzing,stateful", "--max-time", str(chosen.seconds // 3))
    asked = ("--seed", str(chosen.seed), "--max-examples", "1000", *phases)
    tokens = {"TBCACHE_API_TOKEN": TOKEN, "TBCACHE_API_READ_TOKEN": READ_TOKEN}
    with fleet(folder) as variables:
        with serving(**variables) as url:
            found = {"where no token is set": ask(url, *asked)}
        with serving(**variables, **tokens) as url:
            shown = ("--header", f"Authorization: Bearer {TOKEN}")
            found["with the token"] = ask(url, *asked, *shown)
            found["without the token"] = ask(url, *asked)
    for where, what in found.items():
        print(what or "what the API answers is as its document says", where)
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
