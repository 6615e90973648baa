"""Serves the simulator on a port."""

from __future__ import annotations

from collections.abc import Callable

from tbcache.embedded.simulator.app import Simulator
from tbcache.io.web_server import WebServer, configure, inherit, listen


def serve(
    app: Simulator,
    host: str,
    port: int,
    *,
    fd: int | None = None,
    on_ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve until SIGTERM or SIGINT, then return at once; requests in flight get no answer.

    Port 0 takes a free one; ``on_ready`` is called with the base URL once it
    answers. ``fd`` is a socket that listens already, in their place.

    Raises:
      ConfigurationError: the address cannot be listened on.
    """
    listener, url = listen("the simulator", host, port) if fd is None else inherit(fd)
    # Clients keep connections open for long. If the server closed one earlier, the next request might meet
    # that.
    config = configure(app, log_level="warning", lifespan="off", timeout_keep_alive=75)
    WebServer(config, lambda: on_ready(url), is_abrupt=True).run(sockets=[listener])
