"""Each figure is true for a moment: nobody may give out an old one without asking whether it still holds."""

from __future__ import annotations

import hashlib

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: An answer is for whoever asked, and is kept to be compared with the next alone.
KEPT = "private, no-cache"
NOT_KEPT = "no-store"
#: Of what never changes under its path (RFC 8246).
FOREVER = "public, max-age=31536000, immutable"
#: What an answer goes by, beside its path.
VARY = "Authorization, X-API-Token, Cookie"


class ETags:
    """Gives what is read below ``/api`` an ``ETag``, and answers 304 to who has it already. No browser takes
    any answer for something else than it is called.

    A route may set a tag of its own, where more of an answer changes than what matters. Each tag is weak, as
    the same may be sent compressed or not.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        is_kept = path.startswith("/api/") or path == "/openapi.json"
        if scope["type"] == "http" and scope["method"] == "GET" and is_kept:
            await self._app(scope, receive, _Tagged(Headers(scope=scope).get("if-none-match", ""), send))
            return

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                if headers.get("Cache-Control") != FOREVER:
                    headers["Cache-Control"] = NOT_KEPT
            await send(message)

        await self._app(scope, receive, stamped)


class _Tagged:
    """Holds an answer back until all of it is there, and sends it with its tag."""

    def __init__(self, known: str, send: Send) -> None:
        self._known = known
        self._send = send
        self._start: Message = {}
        self._parts: list[bytes] = []

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
        elif message["type"] == "http.response.body":
            self._parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                await self._finish(b"".join(self._parts))
        else:
            await self._send(message)

    async def _finish(self, body: bytes) -> None:
        headers = MutableHeaders(scope=self._start)
        headers.update({"X-Content-Type-Options": "nosniff", "Vary": VARY})
        headers["Cache-Control"] = KEPT if self._start["status"] == 200 else NOT_KEPT
        if self._start["status"] == 200:
            tag = headers.setdefault("ETag", tag_of(body))
            if _is_among(tag, self._known):
                self._start["status"], body = 304, b""
                del headers["Content-Length"], headers["Content-Type"]
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": body})


def tag_of(content: bytes) -> str:
    return f'W/"{hashlib.sha256(content).hexdigest()[:32]}"'


def _is_among(tag: str, known: str) -> bool:
    """RFC 9110: tags are compared without their ``W/``, and ``*`` stands for any."""
    found = [one.strip().removeprefix("W/") for one in known.split(",")]
    return "*" in found or tag.removeprefix("W/") in found
