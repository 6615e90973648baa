"""One look at the fleet a second, for all who watch."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping

from fastapi import Request

from tbcache.fleet import FleetStatus
from tbcache.io.log import get_logger

log = get_logger("tbcache.api")

EVERY_SECONDS = 1.0

#: The parts of a page by the id of their element.
Parts = Mapping[str, str]
#: Makes the parts of one page of a status.
Draw = Callable[[FleetStatus], Parts]


class _Watched:
    """A page that somebody watches: what it last showed, and what of it the last look has changed."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.watchers = 0
        self.parts: Parts = {}
        self.changes = ""
        self.number = 0

    def show(self, status: FleetStatus) -> None:
        parts = self.draw(status)
        self.changes = message({name: text for name, text in parts.items() if self.parts.get(name) != text})
        self.parts, self.number = parts, self.number + 1


class Live:
    """Looks at the fleet once a second while anybody watches, and draws each page once for all its watchers.

    Used in one event loop alone.
    """

    def __init__(self, look: Callable[[], FleetStatus]) -> None:
        self._look = look
        self._pages: dict[str, _Watched] = {}
        self._looked: asyncio.Event = asyncio.Event()
        self._status: FleetStatus | None = None
        self._looked_at = -math.inf
        self._looking: asyncio.Task[None] | None = None
        self._one = asyncio.Lock()

    async def status(self) -> FleetStatus:
        """The fleet as it was at most a second ago."""
        async with self._one:
            if self._status is None or time.monotonic() - self._looked_at >= EVERY_SECONDS:
                self._status = await asyncio.to_thread(self._look)
                self._looked_at = time.monotonic()
            return self._status

    def forget(self) -> None:
        """Something has been done: whoever asks next sees it."""
        self._looked_at = -math.inf

    async def watch(self, name: str, draw: Draw) -> AsyncIterator[str]:
        """The messages of the page ``name``: all of it at first, and then what has changed."""
        page = self._pages.setdefault(name, _Watched(draw))
        page.watchers += 1
        self._begin()
        try:
            seen = -1
            while True:
                looked = self._looked
                if page.number and page.number != seen:
                    yield page.changes if page.number == seen + 1 else message(page.parts)
                    seen = page.number
                await looked.wait()
        finally:
            page.watchers -= 1
            if not page.watchers:
                self._pages.pop(name, None)

    def _begin(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._go_on_looking())

    async def _go_on_looking(self) -> None:
        while self._pages:
            begun = time.monotonic()
            try:
                status = await self.status()
                for name, page in list(self._pages.items()):
                    try:
                        page.show(status)
                    except Exception:
                        # One that cannot be drawn, as that of a source which is gone, is no other's trouble.
                        log.exception("page.failed", page=name)
            except Exception:
                # Those who watch see that nothing comes; the next look may go well.
                log.exception("page.failed")
            looked, self._looked = self._looked, asyncio.Event()
            looked.set()
            await asyncio.sleep(max(0.05, EVERY_SECONDS - (time.monotonic() - begun)))


def live_of(request: Request) -> Live:
    """The one look at the fleet of this app."""
    state = request.app.state
    if not hasattr(state, "live"):
        state.live = Live(state.context.fleet.status)
    found: Live = state.live
    return found


def message(parts: Parts) -> str:
    """What the browser puts in the place of the elements with these ids."""
    return "".join(
        f'<hx-partial hx-target="#{name}" hx-swap="outerMorph">{text}</hx-partial>'
        for name, text in parts.items()
    )
