"""One exchange over HTTP in an event loop: ``tbcache/io/http.py``, awaited."""

from __future__ import annotations

import asyncio
import functools
import math
import time
from typing import cast

import anyio
import httpx2

from tbcache.io.deadline import seconds_left
from tbcache.io.http import SIGNED
from tbcache.io.world import Connections, Reply


def opened(connections: Connections) -> httpx2.AsyncClient | None:
    """The client of ``connections`` for an event loop, once all is loaded for which its first exchange would
    hold the loop; None where there is none."""
    client = connections.asyncio()
    if client is not None:
        _load()
    return client


@functools.cache
def _load() -> None:
    # httpx2 connects by anyio, which loads its half for asyncio as it first runs.
    anyio.run(anyio.sleep, 0)


async def exchange(client: httpx2.AsyncClient, request: httpx2.Request, most_bytes: int) -> Reply:
    """Send ``request`` and read its answer; see :meth:`tbcache.io.world.IO.send`."""
    left = seconds_left()
    try:
        async with asyncio.timeout(None if left == math.inf else left):
            return await _exchange(client, request, most_bytes)
    except TimeoutError:
        raise httpx2.ReadTimeout("the total timeout has passed") from None


async def _exchange(client: httpx2.AsyncClient, request: httpx2.Request, most_bytes: int) -> Reply:
    response = await client.send(request, auth=SIGNED, stream=True, follow_redirects=False)
    at = time.time()
    try:
        body = bytearray()
        async for piece in cast(httpx2.AsyncByteStream, response.stream):
            body += piece
            if len(body) > most_bytes:
                break
        return Reply(response.status_code, dict(response.headers), bytes(body), at)
    finally:
        await response.aclose()
