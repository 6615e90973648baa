"""Reddit's application token: fetched by one request, kept until shortly before it expires."""

from __future__ import annotations

import base64
import threading
from concurrent.futures import Future
from typing import Any, Self

import httpx2

from tbcache.fetch import http_response
from tbcache.fetch.http_response import ErrorMeaning
from tbcache.io import now, utc_now
from tbcache.io.fork import renew_in_child
from tbcache.models import RawResponse
from tbcache.models.coerce import number, record
from tbcache.models.error import ConfigurationError, UpstreamAuthError, UpstreamUnavailable
from tbcache.providers.client import WAIT_SECONDS, Flow
from tbcache.settings import SourceSettings

_LIFETIME = 3600.0
_MARGIN = 60.0
_LONGEST = 8192


def refusal(body: Any, response: RawResponse) -> ErrorMeaning | None:
    """The token endpoint refuses in OAuth's words, ``{"error": "invalid_grant"}``, with 200 too."""
    if isinstance(record(body).get("error"), str) and response.status in (200, 400):
        return ErrorMeaning(UpstreamAuthError)
    return None


class RedditAuth(httpx2.Auth):
    """Signs requests with the token, and fetches it where need be; after a 401, for the next one.

    ``sync_auth_flow`` raises the UpstreamError that a refusal of the token means.
    """

    def __init__(self, source: str, settings: SourceSettings) -> None:
        if settings.client_id is None or settings.client_secret is None:
            raise ConfigurationError(f"{source} needs a client id and a client secret")
        pair = f"{settings.client_id}:{settings.client_secret.get_secret_value()}"
        self._source = source
        self._url = f"{settings.auth_url.rstrip('/')}/api/v1/access_token"
        self._basic = base64.b64encode(pair.encode()).decode()
        self._user_agent = settings.user_agent
        self._token = ""
        self._expires = 0.0
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        """Make the lock: at the start, and in a forked child, for which no thread of the parent fetches."""
        self._lock = threading.Lock()
        #: Done when the request that fetches a token has it, or has failed.
        self._fetching: Future[None] | None = None

    @classmethod
    def of(cls, source: str, settings: SourceSettings) -> Self | None:
        """None where the credentials are not set."""
        has_both = settings.client_id is not None and settings.client_secret is not None
        return cls(source, settings) if has_both else None

    def sync_auth_flow(self, request: httpx2.Request) -> Flow:  # type: ignore[override]  # our client can wait
        token = yield from self._current()
        response = yield _signed(request, token)
        if response.status_code == 401:
            # The request is not sent again here: that would be a second arrival on one slot.
            self._forget(token)

    def _forget(self, refused: str) -> None:
        """Let the next request fetch a new token, unless another has done so already."""
        with self._lock:
            if self._token == refused:
                self._expires = 0.0

    def _current(self) -> Flow:
        """The token; a new one when there is none that lasts."""
        give_up = now() + WAIT_SECONDS
        while now() >= self._expires:
            fetching, is_ours = self._turn()
            if is_ours:
                try:
                    self._store((yield self._ask()))
                    break
                finally:
                    self._fetching = None
                    fetching.set_result(None)
            yield from self._wait_for(fetching, give_up)
        return self._token

    def _turn(self) -> tuple[Future[None], bool]:
        """What to wait for, and whether this request is the one that fetches."""
        with self._lock:
            if (fetching := self._fetching) is not None:
                return fetching, False
            self._fetching = fetching = Future()
            return fetching, True

    def _wait_for(self, fetching: Future[None], give_up: float) -> Flow:
        try:
            yield fetching
            if now() < give_up:
                return
        except TimeoutError:
            pass
        raise UpstreamUnavailable(self._source, f"no token within {WAIT_SECONDS:g} s")

    def _ask(self) -> httpx2.Request:
        return httpx2.Request(
            "POST",
            self._url,
            data={"grant_type": "client_credentials"},
            headers={"Authorization": f"Basic {self._basic}", "User-Agent": self._user_agent},
        )

    def _store(self, response: httpx2.Response) -> None:
        answer = RawResponse(
            response.status_code, dict(response.headers), response.content, received_at=utc_now()
        )
        body = record(http_response.page(self._source, answer, refusal))
        token = body.get("access_token")
        if not isinstance(token, str) or not _is_sendable(token):
            raise http_response.unreadable(self._source, answer, "the token endpoint gave no token")
        lifetime = number(body.get("expires_in")) or _LIFETIME
        self._token = token
        self._expires = now() + lifetime - min(_MARGIN, lifetime / 10)


def _is_sendable(token: str) -> bool:
    """True for what a header takes: a server refuses one that is much longer."""
    return 0 < len(token) <= _LONGEST and token.isascii() and token.isprintable()


def _signed(request: httpx2.Request, token: str) -> httpx2.Request:
    request.headers["Authorization"] = f"Bearer {token}"
    return request
