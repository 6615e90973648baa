"""The simulator as a process of its own, for tests that need real HTTP."""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypedDict, Unpack

import httpx2

from tbcache.embedded import ProcessGroup
from tbcache.io.http import tls_context
from tbcache.models.error import TbcacheError
from tbcache.models.extra import need
from tbcache.testing.early import check_early

START_SECONDS = 60.0
STOP_SECONDS = 10.0


class Options(TypedDict, total=False):
    """What a simulator is started with.

    ``limits`` are by source, like ``{"reddit": "10/2s"}``; ``plans`` as in ``{"news": "paid"}``; an answer
    takes ``latency`` seconds, the least and the most (none); what is posted follows from ``seed``;
    ``credentials`` are variables, in place of the demo's; ``replay`` is a folder of recorded answers.
    """

    limits: Mapping[str, str]
    plans: Mapping[str, str]
    latency: tuple[float, float]
    seed: int
    credentials: Mapping[str, str]
    replay: Path | None


class RunningSimulator:
    """A simulator of the five upstreams on a free port of 127.0.0.1, at ``url``."""

    def __init__(
        self, url: str, process: subprocess.Popen[bytes], errors: IO[str], credentials: Mapping[str, str]
    ) -> None:
        self.url = url
        self.process = process
        self._errors = errors
        self._credentials = credentials

    @property
    def variables(self) -> dict[str, str]:
        """The variables that point tbcache here, credentials included."""
        # It is imported here, because it comes with an extra.
        from tbcache.embedded.simulator import demo_variables

        return {**demo_variables(self.url), **self._credentials}

    def stats(self) -> dict[str, Any]:
        """What was accepted and refused, the most in any window, and the bill, by source."""
        return _checked(httpx2.get(f"{self.url}/_stats", verify=tls_context()))

    def reset(self) -> None:
        """Start the figures afresh; the limits go on."""
        _checked(httpx2.post(f"{self.url}/_stats/reset", verify=tls_context()))

    def faults(self, every: Mapping[str, Any] | None = None, /, **by_source: Mapping[str, Any]) -> None:
        """Set faults: ``faults(reddit={"outage": True})``; for every source ``faults({"empty": True})``.

        Raises:
          TbcacheError: there is no such fault, or source.
        """
        body = {**({"*": every} if every is not None else {}), **by_source}
        _checked(httpx2.post(f"{self.url}/_faults", json=body, verify=tls_context()))

    def clear_faults(self) -> None:
        """Make everything go right again."""
        _checked(httpx2.delete(f"{self.url}/_faults", verify=tls_context()))

    def errors(self) -> str:
        """What it wrote to stderr so far; nothing, when all is well."""
        return _text(self._errors)


@contextmanager
def simulator(**options: Unpack[Options]) -> Iterator[RunningSimulator]:
    """A :class:`RunningSimulator` that answers, and is gone after the block. What may be said of it is in
    :class:`Options`.

    Raises:
      MissingExtra: the extra ``server`` is not installed. ConfigurationError: see :func:`check_early`.
      TbcacheError: it did not start, as where an option cannot be; with what it wrote.
    """
    need("the simulator", "fastapi", "uvicorn")
    check_early()
    given = {"limits": {}, "replay": None, "latency": (0.0, 0.0), **options}
    command = (sys.executable, "-P", "-m", "tbcache.testing.child", json.dumps(given, default=str))
    with (
        tempfile.TemporaryFile("w+") as errors,
        ProcessGroup() as group,
        group.spawn(command, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        try:
            url = _url(process)
            if not url:
                raise TbcacheError(f"the simulator did not start:\n{_text(errors)}")
            yield RunningSimulator(url, process, errors, options.get("credentials", {}))
        finally:
            _stop(process)


def _url(process: subprocess.Popen[bytes]) -> str:
    """The line in which it says where it answers; nothing, when it ended without one."""
    if (out := process.stdout) is None:
        return ""
    # A simulator that hangs must not hang the test.
    with selectors.DefaultSelector() as selector:
        selector.register(out, selectors.EVENT_READ)
        if not selector.select(START_SECONDS):
            process.kill()
    return out.readline().decode().strip()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def _checked(response: httpx2.Response) -> dict[str, Any]:
    if response.status_code != 200:
        raise TbcacheError(f"the simulator answered {response.status_code}: {response.text}")
    found: dict[str, Any] = response.json()
    return found
