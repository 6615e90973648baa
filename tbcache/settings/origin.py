"""Every setting of this process: its value as it is in force, and where that is from. Secrets are masked.

Beside them: variables of the environment that are none of ours, and are likely to have been meant.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

from tbcache.models.secret import SecretStr
from tbcache.models.untrusted import printable
from tbcache.settings.model import FIELDS, Settings
from tbcache.settings.reading import SettingOrigin
from tbcache.settings.secret import ADDRESSES, CREDENTIALS, address_of
from tbcache.settings.source import Source, get_sources
from tbcache.settings.variable import PREFIX, variable, variable_of

MASK = "********"
#: Of a URL everything may be shown but the user and the password.
_URLS = ("redis_url", "database_url")
#: What REDIS_URL goes before.
_PARTS = tuple(map(variable_of, ("redis_host", "redis_port", "redis_password", "redis_db", "redis_ssl")))
#: How much (of 1) a name has in common with one of ours, to be taken for that.
NEAR_NAME = 0.8


@dataclass(frozen=True, slots=True)
class SettingValue:
    """A setting: its variable, its value in words (empty: none), and where that is from: ``command line``,
    ``environment``, the ``runtime file`` of a running ``tbcache up``, the ``source``'s own figures, or the
    ``default``.

    ``is_set`` is False where nobody has said anything.
    """

    variable: str
    value: str
    origin: str

    @property
    def is_set(self) -> bool:
        return self.origin in get_args(SettingOrigin)


class NearMiss(NamedTuple):
    """A variable that is none of ours, and the one that is likely to be meant."""

    name: str
    meant: str


def settings_in_force(settings: Settings) -> list[SettingValue]:
    """All settings, those of the fleet first, then those of each source.

    Raises:
      ConfigurationError: the class of a source cannot be used.
    """
    origins = settings.reading.origins
    plain = [
        _value(origins, variable_of(field), getattr(settings, field), field in _URLS)
        for field in FIELDS.settings
    ]
    return [
        *plain,
        *(one for source in get_sources(settings).values() for one in _of_source(settings, origins, source)),
    ]


def ignored(settings: Settings) -> Iterator[tuple[list[str], str]]:
    """Variables that are set, and count for nothing, with what goes before them."""
    reading, url = settings.reading, variable_of("redis_url")
    if reading.overruled:
        yield reading.overruled, "--data-dir"
    parts = [name for name in _PARTS if name in reading.origins]
    if parts and url in reading.origins:
        yield parts, url


def near_misses(settings: Settings, names: Iterable[str]) -> list[NearMiss]:
    """Those of the variables ``names`` that are likely to be meant for one of ours.

    What begins with our prefix is looked at when settings are read, and refused there.
    """
    known = [one.variable for one in settings_in_force(settings)]
    of_source = {_plain(name): name for name in known if "__" in name}
    found = (_near_miss(name, known, of_source) for name in sorted(names))
    return [one for one in found if one is not None]


def _of_source(
    settings: Settings, origins: Mapping[str, SettingOrigin], source: Source
) -> Iterator[SettingValue]:
    said = settings.source(source.name)
    for field in FIELDS.source:
        name = variable(source.name, field)
        value, origin = getattr(said, field), origins.get(name)
        if field in CREDENTIALS and value is not None:
            # Not all of them are kept as secrets.
            value = SecretStr(MASK)
        if origin is None and hasattr(source, field):
            value = source.address if field in ADDRESSES else getattr(source, field)
            yield SettingValue(name, _words(value), "source")
        else:
            yield _value(origins, name, value, field in ADDRESSES)


def _value(origins: Mapping[str, SettingOrigin], name: str, value: Any, is_url: bool = False) -> SettingValue:
    if is_url and value is not None:
        value = address_of(value.get_secret_value() if isinstance(value, SecretStr) else value)
    return SettingValue(name, _words(value), origins.get(name) or "default")


def _words(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return ",".join(f"{key}={one}" for key, one in value.items())
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return printable(f"{value:g}" if isinstance(value, float) else str(value))


def _near_miss(name: str, known: list[str], of_source: dict[str, str]) -> NearMiss | None:
    if name in known or name.startswith(PREFIX):
        return None
    plain = _plain(name)
    # As TWITTER_BEARER_TOKEN, tbcache_twitter__limits or TBCACHE-NEWS-API-KEY.
    if plain in of_source:
        return NearMiss(name, of_source[plain])
    head = name.upper().partition("_")[0]
    if not (head.startswith("REDIS") or difflib.get_close_matches(head, [PREFIX.rstrip("_")], cutoff=0.7)):
        return None
    # As REDIS_PASS: the beginning of one says more than what is spelled alike.
    begun = [one for one in known if one.startswith(name.upper()) and "__" not in one]
    if len(begun) == 1:
        return NearMiss(name, begun[0])
    for meant in difflib.get_close_matches(name.upper(), known, n=1, cutoff=NEAR_NAME):
        return NearMiss(name, meant)
    return None


def _plain(name: str) -> str:
    return re.sub(r"[^A-Z0-9]+", "_", name.upper()).removeprefix(PREFIX)
