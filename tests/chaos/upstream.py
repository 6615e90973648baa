"""The simulator as a process that records every arrival by itself.

python -m tests.chaos.upstream FD RECORD LIMITS
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from tbcache.embedded.simulator.app import create_app
from tbcache.io.web_server import WebServer, inherit
from tbcache.models import Limit
from tests.chaos.record import Record

#: What spends nothing of Reddit's limit.
TOKEN_PATH = "/reddit/api/v1/access_token"
LAG_SECONDS = 0.05
MOST_LAG_SECONDS = 0.5
MOST_JUMP_SECONDS = 0.005


class Recorder:
    """Writes down when each request arrives, for which source and from whom, before it is passed on.

    The simulator's own judgement of its limits is not asked.
    """

    def __init__(self, app: ASGIApp, record: Record) -> None:
        self._app = app
        self._record = record

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        at = time.monotonic()
        path: str = scope.get("path", "")
        if scope["type"] == "http" and path != TOKEN_PATH and not path.startswith("/_"):
            agent = dict(scope["headers"]).get(b"user-agent", b"").decode("latin-1")
            self._record.write(at=at, source=path.split("/")[1], agent=agent, path=path)
        await self._app(scope, receive, send)


async def watch_clock(record: Record) -> None:
    """Write down when this process was late, or the machine's clock was set: a limit counts by it."""
    ahead = time.time() - time.monotonic()
    while True:
        began = time.monotonic()
        await asyncio.sleep(LAG_SECONDS)
        lag = time.monotonic() - began - LAG_SECONDS
        jump = time.time() - time.monotonic() - ahead
        if lag > MOST_LAG_SECONDS:
            record.write(lag=lag)
        if abs(jump) > MOST_JUMP_SECONDS:
            record.write(jump=jump)
            ahead += jump


def main(fd: int, path: Path, limits: dict[str, str]) -> None:
    record = Record(path)
    app = create_app(limits={name: Limit.parse_all(text) for name, text in limits.items()})
    listener, _ = inherit(fd)
    config = uvicorn.Config(
        Recorder(app, record), log_level="warning", access_log=False, lifespan="off", timeout_keep_alive=75
    )
    tasks: list[asyncio.Task[None]] = []

    def ready() -> None:
        tasks.append(asyncio.get_running_loop().create_task(watch_clock(record)))

    WebServer(config, ready, is_abrupt=True).run(sockets=[listener])


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
