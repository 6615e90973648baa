"""One look at the fleet a second, for all who watch."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import NamedTuple

from fastapi import Request
from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.types import Receive, Scope, Send

from tbcache.api.bound import most_streams
from tbcache.fleet import Fleet, FleetStatus, Trend
from tbcache.io.log import get_logger
from tbcache.io.web_protocol import APART

log = get_logger("tbcache.api")

EVERY_SECONDS = 1.0
#: After so long a page asks again whether it may watch by now.
RETRY_SECONDS = 15

#: The parts of a page by the id of their element.
Parts = Mapping[str, str]


class Seen(NamedTuple):
    """What one look shows: the fleet now, and how each source has come there."""

    status: FleetStatus
    trends: Mapping[str, Trend]


#: Makes the parts of one page of what was seen.
Draw = Callable[[Seen], Parts]


class Full(Exception):
    """As many pages are watched as may be."""


class _Watched:
    """A page that somebody watches: what it last showed, and what of it the last look has changed."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.watchers = 0
        self.parts: Parts = {}
        self.changes = b""
        self.number = 0

    def show(self, name: str, seen: Seen) -> None:
        """Draw it anew. One that cannot be drawn, as of a source which is gone, is no other's trouble."""
        try:
            parts = self.draw(seen)
        except Exception:
            log.exception("page.failed", page=name)
            return
        self.changes = message({name: text for name, text in parts.items() if self.parts.get(name) != text})
        self.parts, self.number = parts, self.number + 1


class Live:
    """Looks at the fleet once a second while anybody watches, and draws each page once for all its watchers.

    Used in one event loop alone. ``most`` watch at once.
    """

    def __init__(self, look: Callable[[], Seen], most: int) -> None:
        self.most = most
        self._look = look
        self._pages: dict[str, _Watched] = {}
        self._looked: asyncio.Event = asyncio.Event()
        self._seen: Seen | None = None
        self._looked_at = -math.inf
        self._looking: asyncio.Task[None] | None = None
        self._one = asyncio.Lock()

    async def status(self) -> FleetStatus:
        """The fleet as it was at most a second ago."""
        return (await self.seen()).status

    async def seen(self, within: float = EVERY_SECONDS) -> Seen:
        """What a look has shown at most ``within`` seconds ago."""
        async with self._one:
            begun = time.monotonic()
            if self._seen is None or begun - self._looked_at >= within:
                self._seen = await asyncio.to_thread(self._look)
                self._looked_at = begun
            return self._seen

    def forget(self) -> None:
        """Something has been done: whoever asks next sees it."""
        self._looked_at = -math.inf

    @contextmanager
    def watching(self, name: str, draw: Draw, seconds: float = math.inf) -> Iterator[AsyncIterator[bytes]]:
        """The messages of the page ``name``, for as long as this is open, and no longer than ``seconds``: all
        of it at first, and then what has changed.

        Raises:
          Full: as many watch as may.
        """
        if sum(page.watchers for page in self._pages.values()) >= self.most:
            raise Full
        page = self._pages.setdefault(name, _Watched(draw))
        page.watchers += 1
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._go_on_looking())
        try:
            yield self._messages(page, time.monotonic() + seconds)
        finally:
            page.watchers -= 1
            if not page.watchers:
                self._pages.pop(name, None)

    async def _messages(self, page: _Watched, until: float) -> AsyncIterator[bytes]:
        seen = -1
        while time.monotonic() < until:
            looked = self._looked
            if page.number and page.number != seen:
                text = page.changes if page.number == seen + 1 else message(page.parts)
                seen = page.number
                yield text
            await looked.wait()
        yield _stands_still("the session has ended, and this page stands still: reload it to log in")

    async def _go_on_looking(self) -> None:
        while self._pages:
            begun = time.monotonic()
            await self._look_once()
            looked, self._looked = self._looked, asyncio.Event()
            looked.set()
            await asyncio.sleep(max(0.05, EVERY_SECONDS - (time.monotonic() - begun)))

    async def _look_once(self) -> None:
        try:
            # Half of it: what was looked at for somebody just now will do, and the last round's will not.
            seen = await self.seen(EVERY_SECONDS / 2)
        except Exception:
            # Those who watch see that nothing comes; the next look may go well.
            log.exception("page.failed")
            return
        for name, page in list(self._pages.items()):
            page.show(name, seen)


class Stream(EventSourceResponse):
    """What changes of a page, each second, until its reader goes, for so many ``seconds`` at most; 503 where
    as many watch as may.

    A browser's stream goes on asking by itself after that, and the page says meanwhile that it stands still.
    """

    def __init__(self, live: Live, name: str, draw: Draw, seconds: float = math.inf) -> None:
        super().__init__(())
        self._live, self._name, self._draw, self._seconds = live, name, draw, seconds
        self._apart: Callable[[], AbstractContextManager[None]] = nullcontext

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._apart = scope.get("state", {}).get(APART, nullcontext)
        await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        try:
            watching = self._live.watching(self._name, self._draw, self._seconds)
            with watching as messages, self._apart():
                self.body_iterator = messages
                await super().stream_response(send)
        except Full:
            self.status_code = 503
            self.headers["Retry-After"] = str(RETRY_SECONDS)
            self.body_iterator = _refusal(self._live.most)
            await super().stream_response(send)


async def _refusal(most: int) -> AsyncIterator[bytes]:
    text = (
        f"{most} pages are watched already, and no more may be: this one stands still. Reload it to see more"
    )
    yield _stands_still(text)


def _stands_still(text: str) -> bytes:
    """Tells a page why nothing more comes; it asks again later."""
    return format_sse_event(data_str=text, event="full", retry=RETRY_SECONDS * 1000)


def _look(fleet: Fleet) -> Seen:
    status = fleet.status()
    return Seen(status, fleet.trends(source.name for source in status.sources))


def live_of(request: Request) -> Live:
    """The one look at the fleet of this app."""
    state = request.app.state
    if not hasattr(state, "live"):
        state.live = Live(partial(_look, state.context.fleet), most_streams())
    found: Live = state.live
    return found


def message(parts: Parts) -> bytes:
    """What the browser puts in the place of the elements with these ids; the same bytes for all who watch."""
    text = "".join(
        f'<hx-partial hx-target="#{name}" hx-swap="outerMorph">{text}</hx-partial>'
        for name, text in parts.items()
    )
    return format_sse_event(data_str=text)
