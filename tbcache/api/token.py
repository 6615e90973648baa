"""Who may do what: one token is for everything, another one for reading alone."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self

from starlette.datastructures import Headers

from tbcache.api.session import session_seconds
from tbcache.models.secret import SecretStr
from tbcache.settings import Settings

#: "act" is to change something, or to ask what may cost money; who may do that may read as well.
Scope = Literal["read", "act"]


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of this API; None for one that is not set."""

    act: SecretStr | None = None
    read: SecretStr | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.api_token, settings.api_read_token)

    @property
    def are_set(self) -> bool:
        """False where nobody has a token, and all is for this machine."""
        return bool(self.act or self.read)

    def scope_of(self, headers: Headers) -> Scope | None:
        """What the token in ``headers`` allows; None without one of ours."""
        return self._scope(headers, _has_token)

    def scope_of_page(self, headers: Headers) -> Scope | None:
        """What the token in ``headers`` allows, or the session of the page; None without one of ours."""
        return self._scope(headers, lambda *shown: _has_token(*shown) or session_seconds(*shown) > 0)

    def seconds_of_page(self, headers: Headers) -> float:
        """For how long what ``headers`` show lets in: a token for ever, a session until it ends."""
        if self.scope_of(headers) is not None:
            return math.inf
        return max(session_seconds(headers, token) for token in (self.act, self.read) if token)

    def _scope(self, headers: Headers, has_shown: Callable[[Headers, SecretStr], bool]) -> Scope | None:
        may_act, may_read = (
            token is not None and has_shown(headers, token) for token in (self.act, self.read)
        )
        return "act" if may_act else "read" if may_read else None

    def named(self, text: str) -> SecretStr | None:
        """The token of ours that ``text`` is."""
        tokens = [token for token in (self.act, self.read) if token]
        return next((token for token in tokens if _is_same(text.encode(), token)), None)


def shown_in(headers: Headers) -> list[str]:
    """What ``headers`` show as tokens, each of which is tried."""
    return [one for one in _given(headers) if one]


def _given(headers: Headers) -> tuple[str, str]:
    return headers.get("x-api-token", ""), _bearer(headers)


def _has_token(headers: Headers, token: SecretStr) -> bool:
    # Header values are decoded as Latin-1; back to the bytes that were sent.
    found = [_is_same(one.encode("latin-1"), token) for one in _given(headers)]
    return any(found)


def _is_same(given: bytes, token: SecretStr) -> bool:
    """The time that it takes does not depend on how much of it is right."""
    return secrets.compare_digest(given, token.get_secret_value().encode())


def _bearer(headers: Headers) -> str:
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""
