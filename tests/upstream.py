"""The simulator as a process of its own, for tests that need real HTTP.

with running_simulator(limits={"reddit": "10/2s"}) as upstream:
    settings = Settings.load(upstream.variables)
    ...
    assert upstream.stats()["reddit"]["refused"] == 0
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2

from tbcache.simulator import demo_variables

START_SECONDS = 30.0
STOP_SECONDS = 10.0

_PROGRAM = """
import json, sys
from pathlib import Path
from tbcache.models import Limit
from tbcache.simulator import serve

given = json.loads(sys.argv[1])
given["limits"] = {name: Limit.parse_all(text) for name, text in given["limits"].items()}
given["replay"] = Path(given["replay"]) if given["replay"] else None
given["latency"] = tuple(given["latency"])
serve("127.0.0.1", 0, on_ready=lambda url: print(url, flush=True), **given)
"""


class SimulatorProcess:
    """A simulator on a free port of 127.0.0.1.

    ``limits`` are by source, like ``{"reddit": "10/2s"}``; ``latency`` is none
    unless given; ``plans`` as in ``{"news": "paid"}``.
    """

    def __init__(
        self,
        *,
        limits: Mapping[str, str] | None = None,
        replay: Path | None = None,
        seed: int = 7,
        latency: tuple[float, float] = (0.0, 0.0),
        credentials: Mapping[str, str] | None = None,
        plans: Mapping[str, str] | None = None,
    ) -> None:
        self._options = {
            "limits": dict(limits or {}),
            "replay": str(replay) if replay else None,
            "seed": seed,
            "latency": latency,
            "credentials": dict(credentials or {}),
            "plans": dict(plans or {}),
        }
        self._credentials = dict(credentials or {})
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 -- as long as the process lives
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> SimulatorProcess:
        """Start it and wait until it answers.

        Raises:
          RuntimeError: it ended, or did not answer in time; carries what it wrote.
        """
        command = [sys.executable, "-c", _PROGRAM, json.dumps(self._options)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._errors, text=True)
        self.process = process
        assert process.stdout is not None
        # Killing it ends the readline below: a simulator that hangs must not hang the test.
        deadline = threading.Timer(START_SECONDS, process.kill)
        deadline.start()
        self.url = process.stdout.readline().strip()
        deadline.cancel()
        if not self.url:
            self.stop()
            raise RuntimeError(f"the simulator did not start:\n{self.errors()}")
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def variables(self) -> dict[str, str]:
        """The variables that point tbcache here, credentials included."""
        return {**demo_variables(self.url), **self._credentials}

    def stats(self) -> dict[str, Any]:
        """What ``GET /_stats`` says, by source."""
        return _checked(httpx2.get(f"{self.url}/_stats"))

    def reset(self) -> None:
        """Start the figures afresh."""
        _checked(httpx2.post(f"{self.url}/_stats/reset"))

    def faults(self, every: Mapping[str, Any] | None = None, /, **by_source: Mapping[str, Any]) -> None:
        """Set faults: ``faults(reddit={"outage": True})``; for every source ``faults({"empty": True})``."""
        body = {**({"*": every} if every is not None else {}), **by_source}
        _checked(httpx2.post(f"{self.url}/_faults", json=body))

    def clear_faults(self) -> None:
        """Make everything go right again."""
        _checked(httpx2.delete(f"{self.url}/_faults"))

    def errors(self) -> str:
        """What it wrote to stderr so far; nothing, when all is well."""
        self._errors.seek(0)
        return self._errors.read()

    def stop(self) -> int:
        """Stop it, by its pid; return its exit code."""
        assert self.process is not None
        self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def close(self) -> None:
        """Stop it if it still runs, and let go of its files."""
        if self.process is not None:
            self.stop()
            assert self.process.stdout is not None
            self.process.stdout.close()
        self._errors.close()


@contextlib.contextmanager
def running_simulator(**options: Any) -> Iterator[SimulatorProcess]:
    """A started :class:`SimulatorProcess`, stopped at the end; ``options`` are its arguments."""
    simulator = SimulatorProcess(**options)
    try:
        yield simulator.start()
    finally:
        simulator.close()


def _checked(response: httpx2.Response) -> Any:
    if response.status_code != 200:
        raise RuntimeError(f"the simulator answered {response.status_code}: {response.text}")
    return response.json()
