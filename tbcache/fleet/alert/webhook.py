"""Sends a signed message to a webhook, within bounds of time and size.

The signature is that of Standard Webhooks (https://github.com/standard-webhooks/standard-webhooks): the
headers ``webhook-id``, ``webhook-timestamp`` and ``webhook-signature``, which is ``v1,`` and the HMAC-SHA256
of ``id.timestamp.body`` in base64.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx2

from tbcache.fleet.alert.message import Message
from tbcache.io.http import SIGNED
from tbcache.io.http_deadline import bound, is_over, within
from tbcache.models.secret import SecretStr
from tbcache.models.version import __version__
from tbcache.settings import Settings
from tbcache.settings.alert import secret_bytes

#: All of one try, its answer included.
TRY_SECONDS = 10.0
CONNECT_SECONDS = 5.0
#: A receiver that wants to be asked again later than this is asked by then.
LONGEST_RETRY_SECONDS = 3600.0
GONE = 410


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came back within ``seconds``: a status, or None and the ``reason`` why there is none."""

    status: int | None
    reason: str
    seconds: float
    retry_after: float = 0.0

    @property
    def is_accepted(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_gone(self) -> bool:
        """The receiver wants no more of them, for ever."""
        return self.status == GONE


class Webhook:
    """Where messages are sent, and the key that signs them."""

    def __init__(self, url: SecretStr, secret: SecretStr, try_seconds: float = TRY_SECONDS) -> None:
        self._url, self._secret, self._try_seconds = url, secret, try_seconds

    @classmethod
    def of(cls, settings: Settings) -> Webhook | None:
        url, secret = settings.alert_webhook_url, settings.alert_webhook_secret
        return None if url is None or secret is None else cls(url, secret)

    @property
    def address(self) -> str:
        """Where it is, without its path and query, in which there may be a credential."""
        parts = urlsplit(self._url.get_secret_value())
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def mark(self) -> str:
        """What tells it from another: all of its URL, which is not to be shown."""
        return self._url.get_secret_value()

    def send(self, message: Message) -> Delivery:
        """Send it once, within the time of a try and that of looking up a name; does not raise."""
        began = time.monotonic()
        try:
            # A client of its own: a message is rare, and a connection that is kept would be stale.
            with within(self._try_seconds), httpx2.Client(timeout=self._timeout) as client:
                bound(client)
                # Nothing of the body is needed, and one that comes slowly would count as no answer.
                reply = client.send(
                    self._request(client, message), auth=SIGNED, stream=True, follow_redirects=False
                )
                reply.close()
        except Exception as error:
            return Delivery(None, self._explain(error), time.monotonic() - began)
        retry_after = _seconds(reply.headers.get("retry-after", ""))
        return Delivery(reply.status_code, _words(reply.status_code), time.monotonic() - began, retry_after)

    @property
    def _timeout(self) -> httpx2.Timeout:
        connect = min(CONNECT_SECONDS, self._try_seconds)
        return httpx2.Timeout(self._try_seconds, connect=connect, pool=connect)

    def _request(self, client: httpx2.Client, message: Message) -> httpx2.Request:
        stamp = str(int(time.time()))
        headers = {
            "content-type": "application/json",
            "user-agent": f"tbcache/{__version__}",
            "webhook-id": message.id,
            "webhook-timestamp": stamp,
            "webhook-signature": signature(self._secret, message.id, stamp, message.body),
        }
        return client.build_request(
            "POST", self._url.get_secret_value(), headers=headers, content=message.body
        )

    def _explain(self, error: Exception) -> str:
        # The error's own words are left out but for the system's: they may quote the URL.
        if isinstance(error, httpx2.ConnectTimeout):
            return f"no connection within {self._timeout.connect:g} s"
        if isinstance(error, httpx2.TimeoutException):
            return f"no answer within {self._try_seconds:g} s" if is_over() else "no answer in time"
        if isinstance(error, httpx2.ConnectError):
            return "no connection"
        return f"the exchange failed ({type(error).__name__})"


def signature(secret: SecretStr, message_id: str, stamp: str, body: bytes) -> str:
    """The value of the header ``webhook-signature``."""
    signed = b".".join((message_id.encode(), stamp.encode(), body))
    digest = hmac.new(secret_bytes(secret.get_secret_value()), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def _words(status: int) -> str:
    if 300 <= status < 400:
        return f"{status}, which leads elsewhere and is not followed"
    return str(status)


def _seconds(text: str) -> float:
    """What a Retry-After in seconds says; 0 where it is a date, or nothing."""
    return min(float(text), LONGEST_RETRY_SECONDS) if text.isdecimal() and len(text) < 10 else 0.0
