"""One HTTP connection: uvicorn's, bounded in time and number, and with every refusal as JSON.

uvicorn waits for the rest of a head or of a body for ever, and says what it has to say itself
as plain text.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from typing import Any, Literal

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from tbcache.io.address import read_address
from tbcache.io.web_place import WebPlaces

#: The step of its client that a connection waits for: to send the rest of a head or of a body; to send the
#: rest of a body whose request is answered already; to read the answer; to read the last answer and close; to
#: close.
Phase = Literal["head", "body", "rest", "reader", "end", "refused"]

SECONDS: dict[Phase, float] = {
    "head": 10.0,
    "body": 10.0,
    "rest": 2.0,
    "reader": 10.0,
    "end": 10.0,
    "refused": 2.0,
}

#: So much of what a client sends ahead is read while it is answered: who hangs up behind it is seen to.
MOST_AHEAD = 64 * 1024
#: In the state of a request: opens the :meth:`BoundedProtocol.apart` of its connection.
APART = "tbcache.apart"

#: What who has no place is told, by what is taken.
TOO_MANY = {
    "all": (503, "there are too many connections; try again later"),
    "its own": (429, "too many connections are yours; try again when one of them is closed"),
}

# Anyone can cause these warnings, as often as he likes: they would fill a disk.
_log = logging.getLogger("uvicorn.error.connection")
_log.setLevel(logging.ERROR)


class BoundedProtocol(H11Protocol):
    """Cuts who keeps it waiting, see ``SECONDS``; idle connections end by ``timeout_keep_alive``. Who has no
    place in ``places`` is told so.

    A client by IPv4 is told from others by that, also on a socket for IPv6.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        places: WebPlaces | None = None,
    ) -> None:
        super().__init__(config, server_state, {**app_state, APART: self.apart}, _loop)
        self.logger = _log
        self._places, self._place = places, ExitStack()
        self._is_refused = False
        self._phase: Phase | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.client is not None:
            self.client = str(read_address(self.client[0]) or self.client[0]), self.client[1]
        if self._places is None:
            self._watch()
        elif (lack := self._places.answered.lack(self._whose)) is None:
            self._place.enter_context(self._places.answered.taken(self._whose))
            self._watch()
        elif self._places.refused.lack(None):
            transport.abort()
        else:
            self._place.enter_context(self._places.refused.taken(None))
            self._refuse(*TOO_MANY[lack])

    @property
    def _whose(self) -> str | None:
        return self._places.client(self.client[0] if self.client else "") if self._places else None

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Within this the connection takes no place among the requests that are answered: a stream does not
        end, and streams have a bound of their own."""
        self._place.close()
        try:
            yield
        finally:
            if self._places is not None and self in self.connections:
                self._place.enter_context(self._places.answered.taken(self._whose))

    def data_received(self, data: bytes) -> None:
        if not self._is_refused:
            super().data_received(data)
            self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._place.close()
        self._set_phase(None)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Called while h11's error is handled, which knows better what is wrong."""
        error = sys.exception()
        status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
        self._refuse(status, f"this is no HTTP request that can be answered ({str(error)[:100]})")

    def shutdown(self) -> None:
        """Called when the server stops: who still sends is not waited for."""
        if self._phase in ("body", "refused"):
            self._refuse(503, "the server stops")
            self.transport.close()
        else:
            super().shutdown()

    def _watch(self) -> None:
        """Note what the connection waits for by now."""
        # uvicorn reads no more behind a second request until the first is answered, and sees no client go.
        if self.flow.read_paused and self.conn.their_state is h11.DONE and self._has_little_ahead:
            self.flow.resume_reading()
        self._set_phase(self._find_phase())

    @property
    def _has_little_ahead(self) -> bool:
        return len(self.conn.trailing_data[0]) <= MOST_AHEAD

    def _find_phase(self) -> Phase | None:
        if self._is_refused:
            return "refused"
        if self.transport.is_closing():
            return "end"
        if self.flow.write_paused:
            return "reader"
        if self.conn.their_state is h11.SEND_BODY:
            return "body" if self.conn.our_state is h11.SEND_RESPONSE else "rest"
        is_waiting = self.conn.their_state is h11.IDLE
        return "head" if is_waiting and (self.cycle is None or self.conn.trailing_data[0]) else None

    def _set_phase(self, phase: Phase | None) -> None:
        """Start the time of a phase; not again while it lasts, or a byte now and then would do."""
        if phase == self._phase:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._phase = phase
        self._timer = None if phase is None else self.loop.call_later(SECONDS[phase], self._cut)

    def _cut(self) -> None:
        if self._phase == "body" or (self._phase == "head" and self.conn.trailing_data[0]):
            self._refuse(408, f"the request's {self._phase} did not come within {SECONDS[self._phase]:g} s")
        else:
            self.transport.abort()

    def _refuse(self, status: int, text: str) -> None:
        """Say so if nothing was said yet, and end. What still comes in is not looked at: to close
        at once would reset the connection, and the refusal would be lost on its way."""
        can_answer = not self._is_refused and self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE)
        self._is_refused = True
        self._unset_keepalive_if_required()
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if can_answer:
            self.transport.write(_refusal(status, text))
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._watch()


#: What errors are, by RFC 9457.
PROBLEM = "application/problem+json"


def problem(status: int, text: str, **more: object) -> dict[str, object]:
    """An error in the form of RFC 9457, with ``more`` of its members; ``error`` is the line that earlier
    versions had alone."""
    known = {"type": "about:blank", "status": status, "title": HTTPStatus(status).phrase}
    return {**known, "detail": text, "error": text, **more}


def _refusal(status: int, text: str) -> bytes:
    body = json.dumps(problem(status, text)).encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"content-type: {PROBLEM}",
        f"content-length: {len(body)}",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "connection: close",
        *(("retry-after: 1",) if status in (429, 503) else ()),
    )
    return "\r\n".join((*head, "\r\n")).encode() + body
