"""The values of variables: how each is read, and what is refused, in words for who has set it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo

from tbcache.models import Limit, ticker
from tbcache.models.extra import DATABASE_EXAMPLES
from tbcache.models.untrusted import NotJson, read_json
from tbcache.settings.alert import check_webhook_url, secret_bytes
from tbcache.settings.redis_url import check_redis_url, has_sound_port, is_host

DATABASES = ("sqlite", "sqlite+pysqlite", "postgres", "postgresql", "postgresql+psycopg")
#: Ten years: what lasts longer is a typo.
LONGEST_SECONDS = 315_360_000.0


def _split(value: object) -> object:
    """Read ``a,b`` and ``["a","b"]`` alike."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return read_json(value)
        except NotJson:
            raise ValueError('it should be a list like A,B or ["A","B"]') from None
    return [part.strip() for part in value.split(",") if part.strip()]


def limits(value: object) -> object:
    return Limit.parse_all(value) if isinstance(value, str) else value


def symbols(value: object) -> object:
    names = _split(value)
    return tuple(ticker(name) for name in names) if isinstance(names, list | tuple) else names


def languages(value: object) -> object:
    names = _split(value)
    if not isinstance(names, list | tuple):
        return names
    wrong = [name for name in names if not re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})?", str(name))]
    if wrong or not names:
        raise ValueError("it should be one or more codes of languages, like en or en,de")
    return tuple(names)


def names(value: object) -> object:
    """Read ``SYMBOL=name|name,...`` as a mapping."""
    if not isinstance(value, str):
        return value
    pairs = [part.partition("=") for part in value.split(",") if part.strip()]
    if not all(symbol.strip() and _are_names(names) for symbol, _, names in pairs):
        raise ValueError("each entry is SYMBOL=NAME|NAME without quotation marks, like SQ=Block|Cash App")
    found = [(ticker(symbol), names.strip()) for symbol, _, names in pairs]
    if twice := [symbol for symbol, count in Counter(symbol for symbol, _ in found).items() if count > 1]:
        raise ValueError(f"{twice[0]} is there twice: names of one symbol are separated by |")
    return dict(found)


def _are_names(text: str) -> bool:
    """Each of them has a letter or a digit, and none a quotation mark, which queries put around it."""
    return all(any(map(str.isalnum, name)) and '"' not in name for name in text.split("|"))


def classes(value: object) -> object:
    """Read ``name=module:Class,...`` as a mapping."""
    if not isinstance(value, str):
        return value
    pairs = [part.partition("=") for part in value.split(",") if part.strip()]
    for name, _, path in pairs:
        # A name with "__" could have no variables of its own.
        if not name.strip().isidentifier() or "__" in name or ":" not in path:
            raise ValueError("each source is NAME=MODULE:CLASS, like bluesky=mybot.sources:Bluesky")
    return {name.strip().lower(): path.strip() for name, _, path in pairs}


def host(value: str) -> str:
    if not is_host(value):
        raise ValueError("it should be the name or the address of a machine, like redis.example.com")
    return value


def redis_url(value: SecretStr) -> SecretStr:
    check_redis_url(value.get_secret_value())
    return value


def cluster(value: bool, info: ValidationInfo) -> bool:
    url, number = info.data.get("redis_url"), info.data.get("redis_db")
    parts = urlsplit(url.get_secret_value() if url else f"redis:///{number or 0}")
    if value and (parts.scheme == "unix" or parts.path.strip("/") not in ("", "0")):
        raise ValueError("a cluster has no socket file and no database but 0")
    return value


#: One that is shorter can be guessed.
LEAST_TOKEN = 16


def token(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < LEAST_TOKEN:
        raise ValueError(
            f"it can be guessed: it should have {LEAST_TOKEN} characters or more, like one that "
            "`openssl rand -hex 32` makes"
        )
    return value


def read_token(value: SecretStr, info: ValidationInfo) -> SecretStr:
    if value == info.data.get("api_token"):
        raise ValueError("it is TBCACHE_API_TOKEN, with which one may do everything; it should be another")
    return value


Network = IPv4Network | IPv6Network


def networks(value: object) -> object:
    """Read ``10.0.0.0/8,192.0.2.1`` as networks; an address is a network of one, and ``::ffff:192.0.2.1`` is
    one of IPv4."""
    found = _split(value)
    if not isinstance(found, list | tuple):
        return found
    try:
        return tuple(_network(one) for one in found)
    except ValueError:
        raise ValueError("it should be addresses or networks, like 127.0.0.1,10.0.0.0/8") from None


def _network(text: str) -> Network:
    found = ip_network(text)
    mapped = found.network_address.ipv4_mapped if isinstance(found, IPv6Network) else None
    if mapped is None or found.prefixlen < 96:
        return found
    return ip_network((mapped, found.prefixlen - 96))


_NO_SENTINELS = "it should be HOST:PORT,HOST:PORT,... of the Sentinels, like s1:26379,s2:26379"


def addresses(value: object) -> object:
    if not isinstance(value, str):
        return value
    found = tuple(part.strip() for part in value.split(",") if part.strip())
    if not found:
        raise ValueError(_NO_SENTINELS)
    return found


def sentinels(value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    for address in value:
        parts = urlsplit(f"//{address}")
        if not (has_sound_port(parts) and parts.port and is_host(parts.hostname or "")) or parts.path:
            raise ValueError(_NO_SENTINELS)
    url = info.data.get("redis_url")
    if value and url and urlsplit(url.get_secret_value()).scheme == "unix":
        raise ValueError("Sentinel watches no socket file; REDIS_URL should be redis://SERVICE/DB")
    if value and not (url or info.data.get("redis_host")):
        raise ValueError("it needs a REDIS_URL that says which service it is, as redis://SERVICE/DB")
    if value and info.data.get("redis_cluster"):
        raise ValueError("a cluster promotes its replicas itself; unset it, or REDIS_CLUSTER")
    return value


def http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or not has_sound_port(parts):
        raise ValueError("it should be https://HOST or http://HOST:PORT")
    return value


def database_url(value: SecretStr) -> SecretStr:
    kind, mark, _ = value.get_secret_value().strip().partition("://")
    if kind not in DATABASES or not mark:
        # A text without such a beginning is left out: its password could not be told apart.
        known = "" if not mark else f"{kind!r} is not supported; "
        raise ValueError(f"{known}it should be like {DATABASE_EXAMPLES}")
    return value


def _matching(pattern: str, right: str) -> Callable[[str], str]:
    """Takes what matches ``pattern``; else says what would be ``right``."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(right)
        return value

    return check


namespace = _matching(
    r"[A-Za-z0-9_.\-]{1,64}", "it should be 1-64 letters, digits, dots, dashes or underscores"
)
market = _matching(r"[A-Z0-9/]{3,12}", "it should be the code of an exchange, like XNYS or XLON")
user_agent = _matching(
    r"[!-~]([ -~]{0,510}[!-~])?", "it should be 1-512 printable ASCII characters, as it becomes a header"
)
subreddits = _matching(
    r"[A-Za-z0-9_\-]+(\+[A-Za-z0-9_\-]+)*", "it should be names joined by +, like stocks+investing"
)


def webhook_secret(value: SecretStr) -> SecretStr:
    secret_bytes(value.get_secret_value())
    return value


def webhook_url(value: SecretStr, info: ValidationInfo) -> SecretStr:
    check_webhook_url(value.get_secret_value(), allow_http=bool(info.data.get("alert_allow_http")))
    if "alert_webhook_secret" in info.data and info.data["alert_webhook_secret"] is None:
        raise ValueError("it needs TBCACHE_ALERT_WEBHOOK_SECRET, by which the receiver knows that it was us")
    return value


HttpUrl = Annotated[str, AfterValidator(http_url)]
Seconds = Annotated[float, Field(gt=0, le=LONGEST_SECONDS)]
