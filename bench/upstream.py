"""A strict upstream that every process may ask: it judges requests in the order of their arrival."""

from __future__ import annotations

import math
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from bench.limiter import Answer
from tbcache.embedded.simulator.window import Arrival, LimitSet
from tbcache.models import Failure, Limit, RateHint

#: What was said, what is left, seconds until a counted arrival leaves or the gate opens again.
_ANSWER = struct.Struct("!cId")
_ACCEPTED, _OVER = b"a", b"o"
#: Why the gate is shut -> what it says, and the failure that this is.
_SHUT = {"throttled": b"t", "quota": b"q"}
_KINDS = {said: kind for kind, said in _SHUT.items()} | {_OVER: "throttled"}


class StrictUpstream:
    """At most ``limit.count`` accepted arrivals in any window, and none while it is shut.

    ``address`` is where to ask.
    """

    def __init__(self, limit: Limit) -> None:
        self._gate = LimitSet([limit])
        self._lock = threading.Lock()
        #: When something arrived (monotonic), and whether it was accepted.
        self.arrivals: list[tuple[float, bool]] = []
        self._shut: tuple[float, bytes] = (0.0, b"")
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.upstream = self

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def arrive(self) -> Arrival:
        """Judge a request that arrives now."""
        with self._lock:
            now = time.monotonic()
            arrival = self._gate.arrive(now)
            self.arrivals.append((now, arrival.accepted))
            return arrival

    def shut(self, seconds: float, kind: str) -> None:
        """Refuse everything for so long, and say until when; ``kind`` is "throttled" or "quota"."""
        self._shut = (time.monotonic() + seconds, _SHUT[kind])

    def judge(self) -> bytes:
        """The answer to a request that arrives now."""
        until, said = self._shut
        if (left := until - time.monotonic()) > 0:
            return _ANSWER.pack(said, 0, left)
        arrival = self.arrive()
        reading = arrival.tightest
        return _ANSWER.pack(_ACCEPTED if arrival.accepted else _OVER, reading.remaining, reading.opens_in)

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def running(limit: Limit) -> Iterator[StrictUpstream]:
    """A started upstream, stopped at the end."""
    upstream = StrictUpstream(limit)
    upstream.start()
    try:
        yield upstream
    finally:
        upstream.close()


class Line:
    """A caller's connection to a strict upstream."""

    def __init__(self, address: tuple[str, int], *, tells_figures: bool) -> None:
        self._tells_figures = tells_figures
        self._socket = socket.create_connection(address)

    def send(self) -> Answer:
        """One request, and what was said to it. Figures come as real upstreams give them: whole
        seconds of the clock, rounded up."""
        self._socket.sendall(b"?")
        said, remaining, opens_in = _ANSWER.unpack(self._socket.recv(_ANSWER.size, socket.MSG_WAITALL))
        reset_at = datetime.fromtimestamp(math.ceil(time.time() + opens_in), UTC)
        if said == _ACCEPTED:
            return Answer(hint=RateHint(remaining, reset_at) if self._tells_figures else None)
        retry_at = reset_at if self._tells_figures or said != _OVER else None
        return Answer(Failure(_KINDS[said], "no", 429, retry_at))

    def close(self) -> None:
        self._socket.close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    upstream: StrictUpstream


class _Handler(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        while self.request.recv(1):
            self.request.sendall(self.server.upstream.judge())
