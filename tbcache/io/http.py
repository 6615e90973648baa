"""One exchange over HTTP, whose body is bounded as it comes."""

from __future__ import annotations

import ssl
import time
from typing import cast

import httpx2

from tbcache.io.singleton import singleton
from tbcache.io.world import Reply

#: The request is signed already, and httpx2 must add nothing of its own (such as the environment's .netrc).
SIGNED = httpx2.Auth()


@singleton
def tls_context() -> ssl.SSLContext:
    """Whom to trust, for all clients of this process: to read all the certificates takes as long as many
    requests, and a megabyte."""
    return httpx2.create_ssl_context()


def exchange(client: httpx2.Client, request: httpx2.Request, most_bytes: int) -> Reply:
    """Send ``request`` and read its answer; see :meth:`tbcache.io.world.IO.send`. The sockets of ``client``
    must keep to the deadline themselves."""
    response = client.send(request, auth=SIGNED, stream=True, follow_redirects=False)
    at = time.time()
    try:
        body = bytearray()
        # The stream is read as it comes, because iter_bytes unpacks without a bound.
        for piece in cast(httpx2.SyncByteStream, response.stream):
            body += piece
            if len(body) > most_bytes:
                break
        return Reply(response.status_code, dict(response.headers), bytes(body), at)
    finally:
        response.close()
