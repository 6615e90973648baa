"""The API on a port."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn

from tbcache.api.app import create_app
from tbcache.api.security import is_loopback
from tbcache.errors import ConfigurationError
from tbcache.log import get_logger
from tbcache.settings import Settings, get_settings

log = get_logger("tbcache.api")

#: How long requests in flight may take to end after SIGTERM.
STOP_SECONDS = 2


def serve(
    host: str, port: int, settings: Settings | None = None, *, on_ready: Callable[[str], None] | None = None
) -> None:
    """Serve until SIGTERM or SIGINT; requests in flight get ``STOP_SECONDS`` to end.

    Port 0 takes a free one; the address is logged, and ``on_ready`` called with it, once
    the API answers.

    Raises:
      ConfigurationError: the address cannot be listened on.
    """
    settings = settings or get_settings()
    app = create_app(settings)
    listener = _listen(host, port)
    url = f"http://{_bracketed(host)}:{listener.getsockname()[1]}"

    def announce() -> None:
        log.info("api.ready", url=url)
        if not settings.api_token and not is_loopback(host):
            log.warning("api.no_token", hint="nobody can clear the cache from outside; set TBCACHE_API_TOKEN")
        if on_ready is not None:
            on_ready(url)

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        # Who asks decides what is allowed, so no header may say who that is.
        proxy_headers=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    _Server(config, announce).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Ends with code 0 when it is told to stop: uvicorn's own dies of the signal it caught."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
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


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(
            f"the API cannot listen on {_bracketed(host)}:{port} ({reason}); "
            "choose another --port, or 0 for a free one"
        ) from None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
