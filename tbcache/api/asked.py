"""An answer that somebody asks for, who may hang up: what has not begun to be loaded then ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any, TypeVar

from fastapi import HTTPException, Request

from tbcache.api.address import client_of
from tbcache.api.crew import Places
from tbcache.io.asker import asking

T = TypeVar("T")

GONE = "who asked has hung up"


class _Client(ExitStack):
    """Who asks: he has a place from the moment on at which there is something to wait for.

    Where he is gone meanwhile, a load that comes too late for its slot waits for no other.
    """

    def __init__(self, places: Places, name: str) -> None:
        super().__init__()
        self._places, self._name = places, name
        self.has_place = self.is_loading = self.is_gone = False

    def wait(self) -> None:
        self.is_loading = False
        if self.is_gone:
            raise HTTPException(408, GONE)
        if not self.has_place:
            self.enter_context(self._places.taken(self._name))
            self.has_place = True

    def load(self) -> None:
        self.is_loading = True


async def while_asked(request: Request, places: Places, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What ``work`` gives, which needs one of ``places`` only where its answer is not there.

    Where who asks is gone while it still waits, for a slot or for another's load, it is cancelled, and its
    slot is given back. A load that has begun is paid for, and ends for the cache.

    Raises:
      HTTPException: there is no place; 408 where it was cancelled, which nobody is there to read.
    """
    with _Client(places, client_of(request.scope)) as client:
        with asking(client):
            working = asyncio.create_task(work())
        going = asyncio.create_task(_see_go(request, client))
        try:
            await asyncio.wait((working, going), return_when=asyncio.FIRST_COMPLETED)
            if working.done() or client.is_loading:
                return await working
            working.cancel()
            await asyncio.wait((working,))
            raise HTTPException(408, GONE)
        finally:
            # The server stops, where they are not over.
            going.cancel()
            working.cancel()


async def _see_go(request: Request, client: _Client) -> None:
    """Until who asks has hung up. He sends no body: that is refused before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    client.is_gone = True
