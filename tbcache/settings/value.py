"""The values of variables: how each is read, and what is refused, in words for who has set it."""

from __future__ import annotations

import re
from collections import Counter
from ipaddress import IPv4Network, IPv6Network, ip_network
from urllib.parse import urlsplit

from tbcache.models import Limit, ticker
from tbcache.models.extra import DATABASE_EXAMPLES
from tbcache.models.names import MARKS
from tbcache.models.untrusted import NotJson, read_json
from tbcache.settings.reader import matching
from tbcache.settings.redis_url import has_sound_port, is_host

DATABASES = ("sqlite", "sqlite+pysqlite", "postgres", "postgresql", "postgresql+psycopg")
#: Ten years: what lasts longer is a typo.
LONGEST_SECONDS = 315_360_000.0
#: A token that is shorter can be guessed.
LEAST_TOKEN = 16

Network = IPv4Network | IPv6Network


def _split(value: str) -> list[str]:
    """Read ``a,b`` and ``["a","b"]`` alike."""
    if value.lstrip().startswith("["):
        try:
            return read_json(value, list[str])
        except NotJson:
            raise ValueError('it should be a list like A,B or ["A","B"]') from None
    return [part.strip() for part in value.split(",") if part.strip()]


def _pairs(value: str) -> list[tuple[str, str, str]]:
    """The entries of ``a=b,c=d``, each parted at its ``=``."""
    return [part.partition("=") for part in value.split(",") if part.strip()]


def limits(value: object) -> tuple[Limit, ...]:
    found = Limit.parse_all(value) if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not found or not all(isinstance(one, Limit) for one in found):
        raise ValueError("it should be like '300/15m,10000/1d'")
    return tuple(found)


def symbols(value: str) -> tuple[str, ...]:
    return tuple(map(ticker, _split(value)))


def languages(value: str) -> tuple[str, ...]:
    found = tuple(_split(value))
    if not found or not all(re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})?", name) for name in found):
        raise ValueError("it should be one or more codes of languages, like en or en,de")
    return found


def names(value: str) -> dict[str, str]:
    """Read ``SYMBOL=name|name,...`` as a mapping; a mark behind the symbol says that it is a word as well."""
    pairs = _pairs(value)
    if not all(symbol.strip() and _are_names(names) for symbol, _, names in pairs):
        raise ValueError("each entry is SYMBOL=NAME|NAME without quotation marks, like SQ=Block|Cash App")
    found = [(_marked(symbol.strip()), names.strip()) for symbol, _, names in pairs]
    bare = Counter(symbol.rstrip(MARKS) for symbol, _ in found)
    if twice := [symbol for symbol, count in bare.items() if count > 1]:
        raise ValueError(f"{twice[0]} is there twice: names of one symbol are separated by |")
    return dict(found)


def _marked(symbol: str) -> str:
    """A ticker, with the mark that may stand behind it."""
    bare = symbol.rstrip(MARKS)
    if len(mark := symbol[len(bare) :]) > 1:
        raise ValueError(
            f"{symbol!r} has several marks, of which one may stand behind a symbol: {' '.join(MARKS)}"
        )
    return ticker(bare) + mark


def _are_names(text: str) -> bool:
    """Each of them has a letter or a digit, and none a quotation mark, which queries put around it."""
    return all(any(map(str.isalnum, name)) and '"' not in name for name in text.split("|"))


def classes(value: str) -> dict[str, str]:
    """Read ``name=module:Class,...`` as a mapping."""
    pairs = _pairs(value)
    for name, _, path in pairs:
        # A name with "__" could have no variables of its own.
        if not name.strip().isidentifier() or "__" in name or ":" not in path:
            raise ValueError("each source is NAME=MODULE:CLASS, like bluesky=mybot.sources:Bluesky")
    return {name.strip().lower(): path.strip() for name, _, path in pairs}


def host(value: str) -> None:
    if not is_host(value) or not _is_of_url(value):
        raise ValueError("it should be the name or the address of a machine, like redis.example.com")


def _is_of_url(host: str) -> bool:
    """Whether a URL with this host has it, and nothing else: the host's port and password go there too."""
    try:
        parts = urlsplit(f"//{host}:1")
        return (parts.netloc, parts.port) == (f"{host}:1", 1) and parts.hostname in (
            host.lower(),
            host.lower().strip("[]"),
        )
    except ValueError:
        return False


def token(value: str) -> None:
    if len(value) < LEAST_TOKEN:
        raise ValueError(
            f"it can be guessed: it should have {LEAST_TOKEN} characters or more, like one that "
            "`openssl rand -hex 32` makes"
        )


def networks(value: str) -> tuple[Network, ...]:
    """Read ``10.0.0.0/8,192.0.2.1`` as networks; an address is a network of one, and ``::ffff:192.0.2.1`` is
    one of IPv4."""
    found = _split(value)
    try:
        return tuple(map(_network, found))
    except ValueError:
        raise ValueError("it should be addresses or networks, like 127.0.0.1,10.0.0.0/8") from None


def _network(text: str) -> Network:
    found = ip_network(text)
    mapped = found.network_address.ipv4_mapped if isinstance(found, IPv6Network) else None
    if mapped is None or found.prefixlen < 96:
        return found
    return ip_network((mapped, found.prefixlen - 96))


_NO_SENTINELS = "it should be HOST:PORT,HOST:PORT,... of the Sentinels, like s1:26379,s2:26379"


def sentinels(value: str) -> tuple[str, ...]:
    found = tuple(part.strip() for part in value.split(",") if part.strip())
    if not found or not all(map(_is_address, found)):
        raise ValueError(_NO_SENTINELS)
    return found


def _is_address(text: str) -> bool:
    """True for a host and its port."""
    parts = urlsplit(f"//{text}")
    return has_sound_port(parts) and bool(parts.port) and is_host(parts.hostname or "") and not parts.path


def http_url(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("it should be text")
    right = "it should be https://HOST or http://HOST:PORT"
    try:
        parts = urlsplit(value)
    except ValueError:
        # Python's own words quote the password.
        raise ValueError(right) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not has_sound_port(parts):
        raise ValueError(right)
    return value


def database_url(value: str) -> None:
    kind, mark, _ = value.strip().partition("://")
    if kind not in DATABASES or not mark:
        # A text without such a beginning is left out: its password could not be told apart.
        known = "" if not mark else f"{kind!r} is not supported; "
        raise ValueError(f"{known}it should be like {DATABASE_EXAMPLES}")


namespace = matching(
    r"[A-Za-z0-9_.\-]{1,64}", "it should be 1-64 letters, digits, dots, dashes or underscores"
)
market = matching(r"[A-Z0-9/]{3,12}", "it should be the code of an exchange, like XNYS or XLON")
user_agent = matching(
    r"[!-~]([ -~]{0,510}[!-~])?", "it should be 1-512 printable ASCII characters, as it becomes a header"
)
subreddits = matching(
    r"[A-Za-z0-9_\-]+(\+[A-Za-z0-9_\-]+)*", "it should be names joined by +, like stocks+investing"
)
domains = matching(
    r"[A-Za-z0-9\-]+(\.[A-Za-z0-9\-]+)+(,[A-Za-z0-9\-]+(\.[A-Za-z0-9\-]+)+)*",
    "it should be the domains of sites joined by commas, like reuters.com,ft.com",
)
