"""``HEAD`` wherever there is a ``GET``: what that would answer, without its body (RFC 9110, 9.3.2)."""

from __future__ import annotations

from anyio import CancelScope
from anyio.lowlevel import checkpoint
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Heads:
    """Asks for a ``GET``, and leaves out the body; what would go on for ever ends with its head."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        with CancelScope() as asked:

            async def headed(message: Message) -> None:
                if message["type"] != "http.response.body":
                    await send(message)
                    return
                await send({"type": "http.response.body", "body": b""})
                if message.get("more_body", False):
                    asked.cancel()
                    # It ends here: what came after the end of an answer would be an error.
                    await checkpoint()

            await self._app({**scope, "method": "GET"}, receive, headed)
