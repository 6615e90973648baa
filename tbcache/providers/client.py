"""The HTTP client of a source: pooled, bounded in time and size, never following a redirect."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator
from typing import Any, Self

import httpx2
from pydantic import SecretStr

from tbcache.errors import ConfigurationError, UpstreamPayloadError, UpstreamUnavailable
from tbcache.models import HttpRequest, RawResponse, utc_now

MAX_BYTES = 8 * 1024 * 1024


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
    """Sends one source's requests. Shared by the threads of a process; opens nothing before the first."""

    def __init__(
        self,
        source: str,
        *,
        auth: httpx2.Auth | None = None,
        transport: httpx2.BaseTransport | None = None,
        connect_timeout: float = 3.0,
        read_timeout: float = 10.0,
        total_timeout: float = 12.0,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._source = source
        self._auth = auth
        self._transport = transport
        self._timeout = httpx2.Timeout(read_timeout, connect=connect_timeout, pool=connect_timeout)
        self._total_timeout = total_timeout
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._client: httpx2.Client | None = None
        self._pid = 0

    def send(self, request: HttpRequest) -> RawResponse:
        """Send ``request`` and read its answer, whatever its status.

        Raises:
          UpstreamUnavailable: no answer, or none within ``total_timeout`` seconds.
          UpstreamPayloadError: an answer above ``max_bytes``, or wrongly compressed.
        """
        _deadline.at = time.monotonic() + self._total_timeout
        try:
            return self._exchange(request)
        except httpx2.DecodingError:
            raise UpstreamPayloadError(self._source, "the answer is wrongly compressed") from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise UpstreamUnavailable(self._source, self._explain(error)) from None
        finally:
            _deadline.at = None

    def close(self) -> None:
        """Close the pool; a later ``send`` opens a new one."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None and self._pid == os.getpid():
            client.close()

    def _exchange(self, request: HttpRequest) -> RawResponse:
        client = self._pool()
        built = client.build_request(
            request.method, request.url, params=dict(request.params) or None, headers=dict(request.headers)
        )
        response = client.send(built, stream=True)
        received_at = utc_now()
        try:
            body = self._read(response)
            return RawResponse(response.status_code, dict(response.headers), body, received_at=received_at)
        finally:
            response.close()

    def _read(self, response: httpx2.Response) -> bytes:
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > self._max_bytes:
                raise UpstreamPayloadError(
                    self._source,
                    f"the answer is larger than {self._max_bytes} bytes",
                    status=response.status_code,
                )
            _time_left(None)
        return bytes(body)

    def _pool(self) -> httpx2.Client:
        # A child process that wrote to the sockets of its parent would mix up both their answers.
        with self._lock:
            if self._client is None or self._pid != os.getpid():
                self._client, self._pid = self._build(), os.getpid()
            return self._client

    def _build(self) -> httpx2.Client:
        client = httpx2.Client(
            auth=self._auth, transport=self._transport, timeout=self._timeout, follow_redirects=False
        )
        if self._transport is None:
            _bound(client)
        return client

    def _explain(self, error: Exception) -> str:
        if isinstance(error, httpx2.TimeoutException):
            if isinstance(error, httpx2.ConnectTimeout):
                return f"no connection within {self._timeout.connect:g} s"
            return f"no answer within {self._total_timeout:g} s" if _is_over() else "the answer stalled"
        if isinstance(error, httpx2.NetworkError | httpx2.ProxyError):
            return f"no connection ({error})" if str(error) else "no connection"
        # Not the error's own words: a protocol error quotes the header it refused, credentials included.
        return f"the exchange failed ({type(error).__name__})"


# -- the total timeout ------------------------------------------------------------------------
#
# httpx2 bounds each read, not their sum, so an upstream that sends a byte every few seconds would
# hold a thread for as long as it likes, in its headers too. The sum is bounded at the socket.


class _Deadline(threading.local):
    at: float | None = None


_deadline = _Deadline()


def _is_over() -> bool:
    return _deadline.at is not None and time.monotonic() >= _deadline.at


def _time_left(timeout: float | None) -> float | None:
    """``timeout`` seconds, or what is left until this thread's deadline, if less."""
    if _deadline.at is None:
        return timeout
    left = _deadline.at - time.monotonic()
    if left <= 0:
        raise httpx2.ReadTimeout("the total timeout has passed")
    return left if timeout is None else min(timeout, left)


def _bound(client: httpx2.Client) -> None:
    """Make every socket of ``client`` keep to the deadline of the thread that uses it."""
    # No public option takes a network backend and keeps the environment's proxies; a test drips
    # bytes at a client, so an httpx2 that moves this attribute is noticed.
    for transport in (client._transport, *client._mounts.values()):
        if isinstance(transport, httpx2.HTTPTransport):
            pool: Any = transport._pool
            pool._network_backend = _BoundedBackend(pool._network_backend)


class _BoundedBackend:
    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, **options: Any) -> Any:
        stream = self._backend.connect_tcp(host, port, timeout=_time_left(timeout), **options)
        return _BoundedStream(stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


class _BoundedStream:
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> Any:
        return self._stream.read(max_bytes, timeout=_time_left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout=_time_left(timeout))

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> Any:
        stream = self._stream.start_tls(ssl_context, server_hostname, timeout=_time_left(timeout))
        return _BoundedStream(stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
