"""One exchange over HTTP, whose body is bounded as it comes."""

from __future__ import annotations

import time
from typing import cast

import httpx2

from tbcache.io.world import Reply

#: What is sent is signed already, and httpx2 adds nothing of its own (such as the environment's .netrc).
SIGNED = httpx2.Auth()


def exchange(client: httpx2.Client, request: httpx2.Request, most_bytes: int) -> Reply:
    """Send ``request`` and read its answer; see :meth:`tbcache.io.world.IO.send`. Who made the client has its
    sockets keep to the deadline."""
    response = client.send(request, auth=SIGNED, stream=True, follow_redirects=False)
    at = time.time()
    try:
        body = bytearray()
        # Not by iter_bytes, which unpacks without a bound.
        for piece in cast(httpx2.SyncByteStream, response.stream):
            body += piece
            if len(body) > most_bytes:
                break
        return Reply(response.status_code, dict(response.headers), bytes(body), at)
    finally:
        response.close()
