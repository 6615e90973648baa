"""A web server on a port: uvicorn, told to stop like any other program."""

from __future__ import annotations

import contextlib
import functools
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn

from tbcache.io.web_place import WebPlaces
from tbcache.io.web_protocol import BoundedProtocol
from tbcache.models.error import ConfigurationError

#: How many connections may wait to be accepted. asyncio accepts as many at once, and should no
#: file descriptor be left, it says so as often.
BACKLOG = 128


def configure(app: Any, places: WebPlaces | None = None, **options: Any) -> uvicorn.Config:
    """How every server of ours runs ``app``; ``options`` are uvicorn's."""
    protocol: Any = functools.partial(BoundedProtocol, places=places)
    return uvicorn.Config(app, http=protocol, ws="none", backlog=BACKLOG, access_log=False, **options)


class WebServer(uvicorn.Server):
    """Calls ``on_ready`` when it answers, and ends with code 0 when it is told to stop.

    With ``is_abrupt`` it does not wait for requests in flight.
    """

    def __init__(
        self, config: uvicorn.Config, on_ready: Callable[[], None], *, is_abrupt: bool = False
    ) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._is_abrupt = is_abrupt

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._is_abrupt:
            self.force_exit = True
            for connection in list(self.server_state.connections):
                if connection.transport is not None:
                    connection.transport.close()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own raises the signal again once it has stopped, and dies of it.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGTERM, signal.SIGINT)
        previous = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.should_exit = True


def inherit(fd: int) -> tuple[socket.socket, str]:
    """A listening socket that the parent process opened, and the base URL it answers at."""
    # The protocol is named, because macOS does not tell it, and asyncio looks at it.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=fd)
    host, port = listener.getsockname()
    return listener, f"http://{host}:{port}"


def listen(what: str, host: str, port: int) -> tuple[socket.socket, str]:
    """A listening socket, and the base URL it answers at. Port 0 takes a free one.

    Raises:
      ConfigurationError: ``what`` cannot listen there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio sends without delay only where it is: an answer
    # is a head and a body, and held back by Nagle's algorithm the body comes 40 ms late.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    name = f"[{host}]" if ":" in host else host
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(
            f"{what} cannot listen on {name}:{port} ({reason}); choose another --port, or 0 for a free one"
        ) from None
    return listener, f"http://{name}:{listener.getsockname()[1]}"
