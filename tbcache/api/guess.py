"""Wrong tokens: how many of them a client may try, and a line of the log about each."""

from __future__ import annotations

import hmac
import math
import secrets

from starlette.datastructures import Headers
from starlette.types import Scope

from tbcache.api.address import client_of, is_forwarded
from tbcache.io import now
from tbcache.io.log import get_logger
from tbcache.models.bounded import Bounded

log = get_logger("tbcache.api")

#: So many tokens may be tried within so many seconds.
MOST_GUESSES = 10
GUESSES_SECONDS = 60.0
#: So many clients are remembered, those that were heard of last.
MOST_CLIENTS = 10_000
SHUT = f"{MOST_GUESSES} tokens from your address were wrong: try again when Retry-After says"
UNTRUSTED = (
    "all who come through it are one client, and wrong tokens of one shut out all: "
    "set TBCACHE_API_TRUSTED_PROXIES to its address"
)


class Guesses:
    """The wrong tokens that each client has shown of late, by a digest of each that holds for this process.

    One that is shown again and again counts once: a bot with the token of last month guesses nothing, and
    shuts out nobody who shares its address. Where no proxy is trusted (``has_proxies``), one that asks for
    strangers is another client than the bots that run beside it. Used in one event loop alone.
    """

    def __init__(self, *, has_proxies: bool = False) -> None:
        self._has_proxies, self._is_told = has_proxies, False
        self._key = secrets.token_bytes(32)
        self._tried: Bounded[str, dict[bytes, float]] = Bounded(MOST_CLIENTS)

    def seconds_shut(self, scope: Scope) -> int:
        """For how many seconds whoever asks may try none; 0 where he may.

        What he shows meanwhile is not compared: a right one would be found as well.
        """
        tried = self._recent(self._who(scope))
        if len(tried) < MOST_GUESSES:
            return 0
        return max(1, math.ceil(min(tried.values()) + GUESSES_SECONDS - now()))

    def count(self, scope: Scope, token: str) -> None:
        """Whoever asks has shown ``token``, which is none of ours."""
        who, digest = self._who(scope), hmac.digest(self._key, token.encode(errors="replace"), "sha256")
        tried = self._recent(who)
        if digest in tried:
            return
        tried[digest] = now()
        self._tried[who] = tried
        log.warning("token.wrong", client=who)
        if len(tried) == MOST_GUESSES:
            log.warning("token.shut", client=who, tries=MOST_GUESSES, seconds=self.seconds_shut(scope))

    def _recent(self, who: str) -> dict[bytes, float]:
        since = now() - GUESSES_SECONDS
        return {digest: at for digest, at in self._tried.get(who, {}).items() if at > since}

    def _who(self, scope: Scope) -> str:
        client = client_of(scope)
        if self._has_proxies or not is_forwarded(Headers(scope=scope)):
            return client
        if not self._is_told:
            self._is_told = True
            log.warning("proxy.untrusted", client=client, hint=UNTRUSTED)
        return f"{client}, for others"
