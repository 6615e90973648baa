"""The HTTP client of a source: pooled, bounded in time and size, never following a redirect."""

from __future__ import annotations

import re
import threading
from collections.abc import Generator, Iterable
from concurrent.futures import Future
from contextlib import closing
from datetime import UTC, datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Self

import httpx2

from tbcache.fetch.http_response import line
from tbcache.io import http_deadline as deadline
from tbcache.io import run, world
from tbcache.io.fork import renew_in_child
from tbcache.io.http import tls_context
from tbcache.models import HttpRequest, RawResponse
from tbcache.models.error import ConfigurationError, UpstreamAuthError, UpstreamError, UpstreamUnavailable
from tbcache.models.secret import SecretStr
from tbcache.providers.body import ACCEPTED, unpack
from tbcache.providers.mask import Mask, pairs
from tbcache.providers.trace import record_status, requesting
from tbcache.settings import variable

MAX_BYTES = 8 * 1024 * 1024
#: A sign-in, the request itself, and another try of both.
MAX_REQUESTS = 4
#: For how long one request waits for the sign-in of another.
WAIT_SECONDS = 10.0

#: The names of what an auth of ours does: it asks, and it waits for another request's sign-in.
Flow = Generator[httpx2.Request | Future[None], httpx2.Response, Any]

#: The errors that come before a request is off. After any other, nobody knows whether it was served.
_UNSENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.InvalidURL,
    httpx2.LocalProtocolError,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)
#: The prefix that Python puts before the system's words.
_ERRNO = re.compile(r"^\[Errno -?\d+\] ")


class HeaderAuth(httpx2.Auth):
    """Puts a credential into a header at the moment of sending, so that no request carries it before."""

    def __init__(self, variable: str, secret: SecretStr, name: str, scheme: str = "") -> None:
        value = secret.get_secret_value().strip()
        if not value or not value.isascii() or not value.isprintable():
            raise ConfigurationError(f"{variable}=(hidden) is not valid: a header takes printable ASCII only")
        self._name = name
        self._value = SecretStr(f"{scheme} {value}".strip())

    @classmethod
    def of(cls, variable: str, secret: SecretStr | None, name: str, scheme: str = "") -> Self | None:
        """None where there is no secret to send."""
        return None if secret is None else cls(variable, secret, name, scheme)

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        request.headers[self._name] = self._value.get_secret_value()
        yield request


class HttpClient:
    """Sends one source's requests. Shared by the threads of a process; opens nothing before the first.

    All that ``auth`` sends, such as the request for a token, keeps to the same bounds. Nothing of an
    upstream stays from one request to the next, cookies included, and no ``secrets`` of ours are in
    what comes back, nor what ``auth`` put on.
    """

    def __init__(
        self,
        source: str,
        *,
        auth: httpx2.Auth | None = None,
        secrets: Iterable[str] = (),
        transport: httpx2.BaseTransport | None = None,
        connect_timeout: float = 3.0,
        read_timeout: float = 10.0,
        total_timeout: float = 12.0,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._source = source
        self._auth = auth
        self._secrets = frozenset(secrets)
        self._transport = transport
        self._timeout = httpx2.Timeout(read_timeout, connect=connect_timeout, pool=connect_timeout)
        self._total_timeout = total_timeout
        self._max_bytes = max_bytes
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        """Have no connections: at the start, and in a forked child. One that wrote to the sockets of its
        parent would mix up both their answers.
        """
        self._lock = threading.Lock()
        self._client: httpx2.Client | None = None

    def send(self, request: HttpRequest) -> RawResponse:
        """Send ``request`` and read its answer, whatever its status.

        Raises:
          UpstreamUnavailable: no answer, or none within ``total_timeout`` seconds.
          UpstreamPayloadError: an answer above ``max_bytes``, or wrongly compressed.
          UpstreamError: the one that ``auth`` met.
        """
        return run(self.exchange(request))

    async def exchange(self, request: HttpRequest) -> RawResponse:
        """:meth:`send`, in the world that it is awaited in."""
        mask = Mask(self._secrets)
        try:
            return mask.response(await self._exchange(request, mask))
        except UpstreamError as error:
            raise mask.error(error) from None

    def close(self) -> None:
        """Close the pool; a later ``send`` opens a new one."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def blocking(self) -> httpx2.Client:
        """See :class:`tbcache.io.Connections`."""
        with self._lock:
            if self._client is None:
                self._client = self._build()
            return self._client

    def asyncio(self) -> httpx2.AsyncClient | None:
        """See :class:`tbcache.io.Connections`."""
        if self._transport is not None and not isinstance(self._transport, httpx2.AsyncBaseTransport):
            return None
        return httpx2.AsyncClient(transport=self._transport, **self._options())

    async def _exchange(self, request: HttpRequest, mask: Mask) -> RawResponse:
        with deadline.within(self._total_timeout):
            try:
                client = await self._opened()
                built = client.build_request(
                    request.method,
                    request.url,
                    params=dict(request.params) or None,
                    headers=dict(request.headers),
                )
                return await self._sign_in(built, mask)
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                failure = UpstreamUnavailable(self._source, self._explain(error))
                failure.is_unanswered = not isinstance(error, _UNSENT)
                raise failure from None

    async def _opened(self) -> httpx2.Client:
        """The client, by which requests are built in any world. To make it takes a tenth of a second and
        more, for which an event loop is not held."""
        client = self._client
        return client if client else await world().offload(self.blocking)

    async def _sign_in(self, built: httpx2.Request, mask: Mask) -> RawResponse:
        """Send what the auth asks for, one request after the other; the answer to the last is the one."""
        unsigned = pairs(built)
        with closing(self._signer(built).sync_auth_flow(built)) as flow:
            request = await _next(flow, None)
            for _ in range(MAX_REQUESTS):
                # Of a request of the auth's own, most is no secret: its host, its length.
                mask.learn(pairs(request) - unsigned, by_name=request is not built)
                answer = await self._answer(request, mask)
                try:
                    request = await _next(flow, _to_response(answer, request))
                except StopAsyncIteration:
                    return answer
        raise UpstreamAuthError(self._source, f"the sign-in takes more than {MAX_REQUESTS} requests")

    def _signer(self, request: httpx2.Request) -> httpx2.Auth:
        if self._auth is not None:
            return self._auth
        name, password = request.url.username, request.url.password
        return httpx2.BasicAuth(name, password) if name or password else httpx2.Auth()

    async def _answer(self, request: httpx2.Request, mask: Mask) -> RawResponse:
        with requesting(request, mask) as sent:
            reply = await world().send(self, request, self._max_bytes)
            record_status(sent, reply.status)
        headers = dict(reply.headers)
        encoding = headers.pop("content-encoding", "")
        body = unpack(self._source, reply.status, encoding, reply.body, self._max_bytes)
        return RawResponse(reply.status, headers, body, received_at=datetime.fromtimestamp(reply.at, UTC))

    def _build(self) -> httpx2.Client:
        client = httpx2.Client(transport=self._transport, **self._options())
        if self._transport is None:
            deadline.bound(client)
        return client

    def _options(self) -> dict[str, Any]:
        """What a client of either kind is made with."""
        return {
            "headers": {"Accept-Encoding": ACCEPTED},
            "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            "timeout": self._timeout,
            "verify": tls_context(),
            "follow_redirects": False,
        }

    def _explain(self, error: Exception) -> str:
        if isinstance(error, httpx2.TimeoutException):
            if isinstance(error, httpx2.ConnectTimeout):
                return f"no connection within {self._timeout.connect:g} s"
            whole = f"no answer within {self._total_timeout:g} s"
            return whole if deadline.is_over() else "the answer stalled"
        if isinstance(error, httpx2.NetworkError | httpx2.ProxyError):
            why = _ERRNO.sub("", line(str(error)))
            return f"no connection ({why})" if why else "no connection"
        if isinstance(error, httpx2.UnsupportedProtocol):
            where = f"set {variable(self._source, 'base_url')}, or base_url among its defaults"
            return f"the URL that request() has made has no http:// or https:// ({where})"
        # The error's own words are left out: a protocol error quotes the refused header, credentials and all.
        return f"the exchange failed ({type(error).__name__})"


async def _next(flow: Flow, answer: httpx2.Response | None) -> httpx2.Request:
    """The next request of an auth's flow, after the ``answer`` to the one before.

    An auth of ours may also wait: for what another request brings, where it would ask for the same.

    Raises:
      StopAsyncIteration: there is no further one.
    """
    try:
        step = flow.send(answer) if answer is not None else next(flow)
        while isinstance(step, Future):
            try:
                await world().wait(step, WAIT_SECONDS)
            except TimeoutError as error:
                step = flow.throw(error)
            else:
                step = next(flow)
        return step
    except StopIteration:
        raise StopAsyncIteration from None


def _to_response(answer: RawResponse, request: httpx2.Request) -> httpx2.Response:
    """``answer`` as an auth reads it: whole, and unpacked already."""
    # They are bytes, because httpx2 takes a text for ASCII, and an upstream's header may hold any letter.
    headers = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
    return httpx2.Response(answer.status, headers=headers, content=answer.body, request=request)
