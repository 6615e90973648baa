"""Serves the simulator on a port."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from tbcache.embedded.simulator.app import create_app
from tbcache.io.web_server import WebServer, configure, inherit, listen
from tbcache.models import Limit


class Options(TypedDict, total=False):
    """The arguments of :func:`create_app`."""

    limits: Mapping[str, Sequence[Limit]] | None
    replay: Path | None
    seed: int
    latency: tuple[float, float]
    credentials: Mapping[str, str] | None
    plans: Mapping[str, str] | None
    faults: Any


def serve(
    host: str,
    port: int,
    *,
    fd: int | None = None,
    on_ready: Callable[[str], None] | None = None,
    **options: Unpack[Options],
) -> None:
    """Serve until SIGTERM or SIGINT, then return at once; requests in flight get no answer.

    Port 0 takes a free one; ``on_ready`` is called with the base URL once it
    answers. ``fd`` is a socket that listens already, in their place. ``options`` are
    those of :func:`create_app`.

    Raises:
      ConfigurationError: the address cannot be listened on, or a replay folder holds nothing.
      UnknownSource, InvalidRequest: as :func:`create_app`.
    """
    app = create_app(**options)
    listener, url = listen("the simulator", host, port) if fd is None else inherit(fd)
    # Clients keep connections open for long. If the server closed one earlier, the next request might meet
    # that.
    config = configure(app, log_level="warning", lifespan="off", timeout_keep_alive=75)
    announce = functools.partial(on_ready, url) if on_ready is not None else _say_nothing
    WebServer(config, announce, is_abrupt=True).run(sockets=[listener])


def _say_nothing() -> None:
    return
