"""Of which troubles one is told, after how long, and where to. What is not sound is a ValueError, which
quotes no address and no secret."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from tbcache.models.error import nearest
from tbcache.models.limit import UNIT_SECONDS
from tbcache.models.trouble import KINDS
from tbcache.settings.redis_url import has_sound_port
from tbcache.settings.variable import misspelt

#: Any kind of trouble.
ANY = "*"
NEVER = "never"
DEFAULT_RULES = "*:5m,redis_away:30s,redis_refuses:30s,no_worker:1m,no_scheduler:1m,paused:12h"
MOST_RULES = 200
#: A trouble of which nobody is told for longer is one of which nobody need be told.
LONGEST_SECONDS = 30 * 86_400.0
#: As Standard Webhooks has it: the prefix of a secret, and how many bytes it has.
SECRET_PREFIX = "whsec_"  # noqa: S105 -- what every secret begins with
LEAST_BYTES, MOST_BYTES = 24, 64

_RULE = re.compile(r"([a-z_*]+)(?:@([\w.\-]+))?:(?:(\d+(?:\.\d+)?)([a-z]+)|never)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class AlertRule:
    """Troubles of ``kind`` (``*``: any), of one source or queue or of all, are told of when they have lasted
    ``seconds``; None: never.
    """

    kind: str
    source: str | None
    seconds: float | None

    def __str__(self) -> str:
        where = f"@{self.source}" if self.source else ""
        return f"{self.kind}{where}:{NEVER if self.seconds is None else span(self.seconds)}"


def read_rules(text: str) -> tuple[AlertRule, ...]:
    """Read ``closed@reddit:5m,drift:never``."""
    rules = tuple(_rule(part.strip()) for part in text.split(",") if part.strip())
    if len(rules) > MOST_RULES:
        raise ValueError(f"it has {len(rules)} rules; at most {MOST_RULES} are read")
    seen: set[tuple[str, str | None]] = set()
    for one in rules:
        if (one.kind, one.source) in seen:
            raise ValueError(f"{str(one).partition(':')[0]} is there twice")
        seen.add((one.kind, one.source))
    return rules


def rule_for(rules: Iterable[AlertRule], kind: str, source: str | None) -> AlertRule | None:
    """The rule that a trouble goes by, None where there is none: the one that says most of it.

    A rule of the kind goes before one of any kind, and of two of one kind that of the source first.
    """
    fitting = [one for one in rules if one.kind in (kind, ANY) and one.source in (source, None)]
    return max(fitting, key=lambda one: (one.kind == kind, one.source is not None), default=None)


def check_rule_sources(rules: Iterable[AlertRule], known: Iterable[str]) -> None:
    """See that no rule names a source that is nearly a known one; any other may be one that code declares."""
    names = tuple(known)
    for one in rules:
        near = misspelt(one.source, names) if one.source and one.source not in names else None
        if near is not None:
            raise ValueError(f"{one.source!r} is no source; did you mean {near!r}?")


def check_webhook_url(url: str, *, allow_http: bool) -> None:
    """See that ``url`` may be sent to.

    Raises:
      ValueError: it is no URL, or would carry what is sent in the clear; the URL is not quoted.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("it should be https://HOST/PATH") from None
    is_plain = re.fullmatch(r"[!-~]{1,2048}", url) is not None
    if (
        not is_plain
        or parts.scheme not in ("http", "https")
        or not parts.hostname
        or not has_sound_port(parts)
    ):
        raise ValueError("it should be https://HOST/PATH")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("it should have no user, password or #: what is sent is signed")
    if parts.scheme == "http" and not allow_http and not is_loopback(parts.hostname):
        raise ValueError("it should be https:// (or this machine, or set TBCACHE_ALERT_ALLOW_HTTP=true)")


def is_loopback(host: str) -> bool:
    """True for this machine's own name and addresses."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def secret_bytes(secret: str) -> bytes:
    """The key that ``whsec_...`` stands for."""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(SECRET_PREFIX) or not LEAST_BYTES <= len(key) <= MOST_BYTES:
        raise ValueError(
            f"it should be {SECRET_PREFIX} and {LEAST_BYTES} to {MOST_BYTES} bytes in base64, "
            f"as `echo {SECRET_PREFIX}$(openssl rand -base64 32)` prints"
        )
    return key


def span(seconds: float) -> str:
    """``90s``, ``5m``, ``12h``: as a rule has it."""
    for unit in ("d", "h", "m"):
        if seconds >= UNIT_SECONDS[unit] and seconds % UNIT_SECONDS[unit] == 0:
            return f"{seconds / UNIT_SECONDS[unit]:.0f}{unit}"
    return f"{seconds:g}s"


def _rule(text: str) -> AlertRule:
    found = _RULE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:80]!r} is not KIND[@NAME]:TIME, like closed@reddit:5m or drift:never")
    kind, source, number, unit = found.groups()
    kind = kind.lower()
    if kind != ANY and kind not in KINDS:
        known = f"(known: {', '.join(KINDS)}, or * for any)"
        raise ValueError(f"{kind[:80]!r} is no kind of trouble{nearest(kind, KINDS)} {known}")
    if number is None:
        return AlertRule(kind, source, None)
    if unit.lower() not in UNIT_SECONDS:
        raise ValueError(f"{text[:80]!r} has an unknown unit {unit!r}{nearest(unit, UNIT_SECONDS)}")
    seconds = float(number) * UNIT_SECONDS[unit.lower()]
    if seconds > LONGEST_SECONDS:
        raise ValueError(f"{text[:80]!r} is longer than {span(LONGEST_SECONDS)}")
    return AlertRule(kind, source, seconds)
