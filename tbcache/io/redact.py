"""Takes credentials out of what is about to be logged.

An exception may quote a URL with a key in it, a library its arguments, an upstream what it was sent. So
nothing that is logged is believed to be free of them: those of the settings are looked for in whatever form
they may have, and what stands where credentials usually stand is taken out, whatever it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tbcache.models.secret import MASK, SHORTEST, forms

#: To look through a text takes some microseconds a character.
LONGEST = 20_000
#: Where a text was cut there may stand a part of a credential, which is shorter than this.
_CUT = 1000
#: How deep a value is looked through; what lies deeper is not shown.
DEEPEST = 5

#: Names of credentials. They are bounded, so that no text takes longer than its length to look through.
_NAME = r"[\w.\-]{0,40}(?:api_?-?key|token|secret|passw|pwd|signature|credential|session|cookie)[\w.\-]{0,40}"
#: Of a field of an event or a mapping, of a header, and of a parameter: one list for all.
_SECRET = rf"(?:{_NAME}|(?:proxy-)?authorization)"
#: The user and the password of a URL.
_LOGIN = re.compile(r"(?<=://)[^\s/?#@]+@")
#: ``?name=value``: whether it is one is said by the name.
_PARAMETER = re.compile(r"(?<=[?&;])([\w.\-%\[\]]+)=([^\s&;#'\"<>]+)")
#: ``name=value`` and ``name='value'``.
_ASSIGNED = re.compile(rf"\b({_SECRET}=[\"']?)[^\s\"',;&)}}\]]+", re.IGNORECASE)
#: ``"name": "value"``, as in JSON and what Python shows of a mapping.
_QUOTED = re.compile(rf"(([\"']){_SECRET}\2\s*:\s*)([\"'])(?:(?!\3)[^\\\r\n]|\\.)*\3", re.IGNORECASE)
_HEADER = re.compile(
    r"\b((?:proxy-)?authorization|(?:set-)?cookie|[\w\-]{0,40}api[_-]?key|x-[\w\-]{0,40}(?:token|secret))"
    r"(\s*:\s*)[^\r\n\"']+",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9\-._~+/%]{16,}=*", re.IGNORECASE)
_WHSEC = re.compile(r"whsec_[A-Za-z0-9+/=]+")
_FIELD = re.compile(_SECRET, re.IGNORECASE)
#: In a URL these are credentials as well; as fields they are words of ours.
_PARAMETER_NAME = re.compile(rf"{_SECRET}|key|sig|code", re.IGNORECASE)


class Redactor:
    """Knows the ``secrets`` that no line may show."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # The longest goes first: one may be a part of another.
        known = sorted(
            {one.strip() for one in secrets if len(one.strip()) >= SHORTEST}, key=len, reverse=True
        )
        self._known = re.compile("|".join(map(forms, known))) if known else None

    def text(self, text: str) -> str:
        """``text`` without them, and no more than ``LONGEST`` characters of it."""
        if len(text) <= LONGEST:
            return self._text(text)
        # Masks shorten a text: without the end of what was cut, a part of a credential might be shown.
        return f"{self._text(text[: 2 * LONGEST])[:-_CUT][:LONGEST]}..."

    def _text(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(MASK, text)
        if "://" in text:
            text = _LOGIN.sub(f"{MASK}@", text)
        if "=" in text:
            text = _PARAMETER.sub(_parameter, text)
            text = _ASSIGNED.sub(rf"\1{MASK}", text)
        if ":" in text:
            text = _QUOTED.sub(rf"\1\3{MASK}\3", text)
            text = _HEADER.sub(rf"\1\2{MASK}", text)
        if " " in text:
            text = _SCHEME.sub(rf"\1 {MASK}", text)
        return _WHSEC.sub(MASK, text) if "whsec_" in text else text

    def fields(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of an event without them."""
        return {
            name: MASK if _is_secret(name, value) else self._value(value) for name, value in event.items()
        }

    def _value(self, value: Any, depth: int = 0) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if value is None or isinstance(value, bool | int | float):
            return value
        if depth >= DEEPEST:
            return "..."
        if isinstance(value, Mapping):
            return {
                self.text(str(name)): MASK if _is_secret(str(name), one) else self._value(one, depth + 1)
                for name, one in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [self._value(one, depth + 1) for one in value]
        return self.text(_shown(value))


def _is_secret(name: str, value: Any) -> bool:
    return isinstance(value, str | bytes) and bool(value) and _FIELD.fullmatch(name) is not None


def _parameter(found: re.Match[str]) -> str:
    return f"{found[1]}={MASK if _PARAMETER_NAME.fullmatch(found[1]) else found[2]}"


def _shown(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:
        return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"
