"""The simulator on a port."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TypedDict, Unpack

import uvicorn

from tbcache.errors import ConfigurationError
from tbcache.models import Limit
from tbcache.simulator.app import create_app


class Options(TypedDict, total=False):
    """What :func:`create_app` takes."""

    limits: Mapping[str, Sequence[Limit]] | None
    replay: Path | None
    seed: int
    latency: tuple[float, float]
    credentials: Mapping[str, str] | None
    plans: Mapping[str, str] | None


def serve(
    host: str, port: int, *, on_ready: Callable[[str], None] | None = None, **options: Unpack[Options]
) -> None:
    """Serve until SIGTERM or SIGINT, then return at once; requests in flight get no answer.

    Port 0 takes a free one; ``on_ready`` is called with the base URL once it
    answers. ``options`` are those of :func:`create_app`.

    Raises:
      ConfigurationError: the address cannot be listened on, or a replay folder holds nothing.
    """
    app = create_app(**options)
    listener = _listen(host, port)
    url = f"http://{_bracketed(host)}:{listener.getsockname()[1]}"
    # Clients keep connections for long; a server that closes them sooner races with their next request.
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", timeout_keep_alive=75)
    _Server(config, on_ready, url).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Stops at once, and as if nothing had happened: uvicorn's own dies of the signal it caught."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[str], None] | None, url: str) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._on_ready is not None:
            self._on_ready(self._url)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.force_exit = True
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.close()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio sends without delay only where it is: an answer is a head and a
    # body, and held back by Nagle's algorithm the body comes 40 ms late.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(
            f"the simulator cannot listen on {_bracketed(host)}:{port} ({reason}); "
            "choose another --port, or 0 for a free one"
        ) from None
    return listener


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
