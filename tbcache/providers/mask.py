"""Credentials that an upstream echoes are masked before anybody reads its answer.

An error message, a redirect or a debugging page may quote what we sent; from there it would go into
exceptions, logs, Redis and the database. A credential is known in the forms in which it may come back:
as it is, in a URL, in HTML, in JSON, and as Basic authentication packs it.
"""

from __future__ import annotations

import base64
import binascii
import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import cast

import httpx2

from tbcache.models import Failure, RawResponse
from tbcache.models.error import UpstreamError
from tbcache.models.secret import MASK, SHORTEST, SecretStr, forms
from tbcache.settings import SourceSettings

Pair = tuple[str, str]
_NAMES = re.compile(r"auth|cookie|key|pass|secret|session|sign|token", re.IGNORECASE)


class Mask:
    """What one exchange must not show: the credentials that are set, and those that are sent."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = set(secrets)

    def learn(self, signed: Iterable[Pair], *, by_name: bool) -> None:
        """Note what a sign-in has added; ``by_name``, only what is named like a credential."""
        for name, value in signed:
            if not by_name or _NAMES.search(name):
                self._secrets.update(_parts(value))

    def response(self, response: RawResponse) -> RawResponse:
        """``response`` without them, in headers and body."""
        headers = {name: self.text(value) for name, value in response.headers.items()}
        return replace(response, headers=headers, body=self.raw(response.body))

    def error(self, error: UpstreamError) -> UpstreamError:
        """``error`` with a message that shows none of them."""
        masked = self.text(error.message)
        if masked == error.message:
            return error
        shown = cast(UpstreamError, replace(Failure.of(error), message=masked).to_error(error.source))
        shown.is_unanswered = error.is_unanswered
        return shown

    def text(self, words: str) -> str:
        return self.raw(words.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")

    def raw(self, body: bytes) -> bytes:
        for secret in self._secrets:
            if len(secret) >= SHORTEST and _pattern(secret).search(body):
                body = _pattern(secret).sub(MASK.encode(), body)
        return body


def pairs(request: httpx2.Request) -> frozenset[Pair]:
    """The names and values in the headers and the query of ``request``: where credentials stand."""
    return frozenset((*request.headers.items(), *request.url.params.multi_items()))


def secrets_of(settings: SourceSettings) -> frozenset[str]:
    """The credentials among a source's settings."""
    values = (value for value in vars(settings).values() if isinstance(value, SecretStr))
    return frozenset(value.get_secret_value().strip() for value in values)


def _parts(value: str) -> Iterator[str]:
    """What is secret in a header such as ``Bearer abc``, or in ``Basic`` and the packed name and password."""
    scheme, _, rest = value.partition(" ")
    yield rest.strip() or scheme
    if scheme.lower() == "basic":
        with_password = _unpacked(rest)
        yield with_password
        yield with_password.partition(":")[2]


def _unpacked(pair: str) -> str:
    try:
        return base64.b64decode(pair).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


@functools.lru_cache(maxsize=64)
def _pattern(secret: str) -> re.Pattern[bytes]:
    return re.compile(forms(secret).encode())
