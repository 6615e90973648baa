"""What of an exchange anybody may see: no credential, neither a known one nor one that is named like one."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from tbcache.models import HttpRequest, RawResponse
from tbcache.models.error import ConfigurationError
from tbcache.models.secret import MASK, SHORTEST
from tbcache.models.untrusted import NotJson, read_json
from tbcache.providers.mask import Mask

#: The headers that a provider reads; all others are left out.
_HEADERS = re.compile(
    r"content-type|date|age|retry-after|location|.*rate-?limit.*|x-uw-.*|x-(app|user)-limit-.*"
)
#: What a credential is called, in a query or in JSON.
_NAMES = re.compile(
    r"(?:.*[-_.])?(?:(?:access|refresh|auth|bearer|id|csrf|api|session)?[-_]?token|(?:api|app|access|secret|"
    r"private|consumer)?[-_]?key|(?:client|app|api)?[-_]?secret|passw(?:or)?d|pwd|authorization|auth|cookies?|"
    r"(?:client|session|sess|s)[-_]?id|session|sig(?:nature)?|jwt|crumb)",
    re.IGNORECASE,
)
#: Two words in one, as ``accessToken``.
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
#: The same within a text: in the query of a URL, or behind a scheme.
_IN_QUERY = re.compile(r"(?<=[?&])([\w.\-]+)=([^&\s\"'<>]+)")
_BEHIND_SCHEME = re.compile(r"\b(Bearer|Basic|OAuth)\s+[\w.~+/=\-]{6,}")


class Strip:
    """Takes the credentials out of exchanges. ``secrets`` are known ones, by what they are called."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._secrets = secrets
        self._mask = Mask(form for secret in secrets.values() for form in (secret, *_encoded(secret)))

    def request(self, request: HttpRequest, kept: Collection[str]) -> HttpRequest:
        """``request`` without them; a value that is one of ``kept``, as a cursor, is none."""
        params = dict(_pairs(request.params.items(), self._mask, kept))
        return replace(request, url=bare(request.url, self._mask, kept), params=params, headers={})

    def response(self, response: RawResponse, kept: Collection[str]) -> RawResponse:
        """``response`` without them, and without the headers that no provider reads."""
        headers = {
            name: self._mask.text(_in_text(value, kept))
            for name, value in response.headers.items()
            if _HEADERS.fullmatch(name)
        }
        return replace(response, headers=headers, body=self._mask.raw(_body(response.body, kept)))

    def check(self, written: bytes) -> bytes:
        """``written``, if none of the known ones is in it.

        Raises:
          ConfigurationError: one is, as one that is too short to be told from other text.
        """
        for name, secret in self._secrets.items():
            if secret and secret.encode() in written:
                short = f", as it has fewer than {SHORTEST} characters" if len(secret) < SHORTEST else ""
                raise ConfigurationError(
                    f"nothing was written: the value of {name} is in an answer, and cannot be taken out"
                    f"{short}; set another one"
                )
        return written


def bare(url: str, mask: Mask, kept: Collection[str] = ()) -> str:
    """``url`` without the credentials that ``mask`` knows, that are named like one, or that stand before the
    host; a value that is one of ``kept``, as a cursor, is none.
    """
    parts = urlsplit(url)
    query = urlencode(_pairs(parse_qsl(parts.query, keep_blank_values=True), mask, kept), safe="*")
    return mask.text(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=query)))


def _pairs(pairs: Any, mask: Mask, kept: Collection[str]) -> list[tuple[str, str]]:
    return [(name, _value(name, mask.text(value), kept)) for name, value in pairs]


def _encoded(secret: str) -> Iterator[str]:
    """The forms of ``secret`` on a debugging page: other cases, hex, and base64 at any place of a text."""
    yield from (secret.lower(), secret.upper())
    plain = secret.encode()
    yield from (plain.hex(), plain.hex().upper())
    for before in range(3):
        # Signs that other bytes are in as well are left out.
        first, last = -(-before * 8 // 6), (before + len(plain)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(bytes(before) + plain).decode()[first:last]


def _value(name: str, value: str, kept: Collection[str]) -> str:
    return MASK if _is_credential(name) and value not in kept else _in_text(value, kept)


def _is_credential(name: str) -> bool:
    return _NAMES.fullmatch(_CAMEL.sub("_", name)) is not None


def _body(body: bytes, kept: Collection[str]) -> bytes:
    try:
        read = read_json(body)
    except NotJson:
        return _changed(body, lambda text: _in_text(text, kept))
    stripped = _in_json(read, kept)
    return body if stripped == read else msgspec.json.encode(stripped)


def _changed(body: bytes, change: Callable[[str], str]) -> bytes:
    # Each byte stands for itself, so that what is no text comes through as it was.
    return change(body.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _in_json(value: Any, kept: Collection[str]) -> Any:
    if isinstance(value, list):
        return [_in_json(part, kept) for part in value]
    if isinstance(value, dict):
        return {name: _field(name, part, kept) for name, part in value.items()}
    return _in_text(value, kept) if isinstance(value, str) else value


def _field(name: str, value: Any, kept: Collection[str]) -> Any:
    # A plain "key" is what names a thing in many an answer.
    is_named = name.lower() != "key" and _is_credential(name)
    if isinstance(value, str) and value and is_named and value not in kept:
        return MASK
    return _in_json(value, kept)


def _in_text(text: str, kept: Collection[str]) -> str:
    text = _IN_QUERY.sub(lambda pair: f"{pair[1]}={_query_value(pair[1], pair[2], kept)}", text)
    return _BEHIND_SCHEME.sub(lambda found: f"{found[1]} {MASK}", text)


def _query_value(name: str, value: str, kept: Collection[str]) -> str:
    return MASK if _is_credential(name) and value not in kept else value
