"""What a ``REDIS_URL`` may say: where the server is, who we are to it, and how TLS is done.

redis-py takes any argument of its connections from a URL's query, and takes it before what its caller
says. Timeouts, pools and the protocol are ours to choose, so every name here is checked.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, urlsplit

from tbcache.models.error import nearest

FORM = "it should be redis://HOST:PORT/DB, rediss://... or unix:///PATH"
TIMEOUTS = {"timeout", "socket_timeout", "socket_connect_timeout"}

_FILE = "a file or folder that exists"
_TLS = {
    "ssl_ca_certs": _FILE,
    "ssl_ca_path": _FILE,
    "ssl_certfile": _FILE,
    "ssl_keyfile": _FILE,
    "ssl_cert_reqs": "none|optional|required",
    "ssl_check_hostname": "true|false",
}
_NAMES = {"rediss": _TLS, "unix": {"db": r"\d+"}, "redis": {}}
_ALL = {name for names in _NAMES.values() for name in names}


def check_redis_url(url: str) -> None:
    """See that ``url`` is one that can be used as it is.

    Raises:
      ValueError: says what is wrong, without a word of what may be secret.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        # Python's own words quote the password.
        raise ValueError(FORM) from None
    is_socket = parts.scheme == "unix" and bool(parts.path)
    if not (is_socket or _is_server(parts)):
        raise ValueError(FORM)
    try:
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True) if parts.query else []
    except ValueError:
        raise ValueError("what follows its ? should be NAME=VALUE&...") from None
    for name, value in query:
        _check(parts.scheme, name, value)


def is_host(name: str) -> bool:
    """False for a name that no resolver can be asked for: an empty label, or one of over 63 characters."""
    try:
        name.encode("idna")
    except UnicodeError:
        return False
    return bool(name)


def has_sound_port(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False


def _is_server(parts: SplitResult) -> bool:
    database = parts.path.strip("/")
    is_sound = parts.scheme in ("redis", "rediss") and is_host(parts.hostname or "") and has_sound_port(parts)
    return is_sound and (not database or database.isdecimal())


def _check(scheme: str, name: str, value: str) -> None:
    known = _NAMES[scheme]
    if name not in known:
        raise ValueError(_unknown(scheme, name))
    expected = known[name]
    is_sound = Path(value).exists() if expected is _FILE else re.fullmatch(expected, value, re.IGNORECASE)
    if not is_sound:
        choices = "a number" if expected == r"\d+" else expected.replace("|", ", ")
        raise ValueError(f"its {name} should be {choices}")


def _unknown(scheme: str, name: str) -> str:
    if name in TIMEOUTS:
        return f"its {name} is not taken from there; set TBCACHE_REDIS_TIMEOUT"
    if name in _TLS:
        return f"its {name} is for rediss:// (TLS) only"
    if name == "db":
        return f"its database belongs in the path, as in {scheme}://HOST:PORT/DB"
    return f"it has no {name[:40]!r}{nearest(name, _NAMES[scheme] or _ALL)}"
