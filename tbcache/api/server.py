"""The API on a port."""

from __future__ import annotations

from collections.abc import Callable

from tbcache.api.address import is_loopback
from tbcache.api.app import create_app
from tbcache.api.bound import allow_files, most_others
from tbcache.api.token import Tokens
from tbcache.fleet import get_usage_monitor
from tbcache.fleet.alert import Watch
from tbcache.io.log import get_logger
from tbcache.io.web_place import WebPlaces
from tbcache.io.web_server import WebServer, configure, inherit, listen
from tbcache.models.error import ConfigurationError
from tbcache.settings import Settings, get_settings

log = get_logger("tbcache.api")

#: How long requests in flight may take to end after SIGTERM.
STOP_SECONDS = 2
#: For how long a connection is kept for another request.
IDLE_SECONDS = 5


def serve(
    host: str,
    port: int,
    settings: Settings | None = None,
    *,
    fd: int | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; requests in flight get ``STOP_SECONDS`` to end.

    Port 0 takes a free one; the address is logged, and ``on_ready`` called with it, once
    the API answers. ``fd`` is a socket of ``host`` that listens already, in its place.

    Raises:
      ConfigurationError: the address cannot be listened on, or is for others and no token is set.
    """
    settings = settings or get_settings()
    if not Tokens.of(settings).are_set and not is_loopback(host):
        raise ConfigurationError(
            f"the API would answer anyone who reaches {host}: set TBCACHE_API_TOKEN, or listen on 127.0.0.1"
        )
    allow_files()
    app = create_app(settings)
    listener, url = listen("the API", host, port) if fd is None else inherit(fd)

    def announce() -> None:
        log.info("api.ready", url=url)
        if on_ready is not None:
            on_ready(url)

    config = configure(
        app,
        WebPlaces(most_others(), settings.api_trusted_proxies),
        log_config=None,
        timeout_keep_alive=IDLE_SECONDS,
        server_header=False,
        # The client's address decides what is allowed: only a proxy that is trusted may say what it is.
        proxy_headers=bool(settings.api_trusted_proxies),
        forwarded_allow_ips=[str(one) for one in settings.api_trusted_proxies],
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    watch, monitor = Watch.of_process(settings), get_usage_monitor()
    watch.start()
    # It is on the list of processes whether it fetches or not: one that was killed would else be told by its
    # heir as gone.
    monitor.keep_beating("api")
    try:
        WebServer(config, announce).run(sockets=[listener])
    finally:
        monitor.leave()
        watch.stop()
