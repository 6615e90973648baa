"""The sources: what each is allowed, how long its answers last, what they cost. Data only.

Figures are those of the operators' public documents (X API v2, Reddit Data API,
NewsAPI, Unusual Whales, Stocktwits); what a plan really grants is set per source
in the environment and goes before these.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import re
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from tbcache.models import Charge, FetchRequest, Limit
from tbcache.models.error import ConfigurationError, InvalidRequest, TbcacheWarning, UnknownSource, nearest
from tbcache.models.price import Price
from tbcache.models.request import LONGEST_HOURS
from tbcache.models.ttl import HISTORICAL_TTL, REAL_TIME_TTL
from tbcache.models.untrusted import printable
from tbcache.settings.default import checked
from tbcache.settings.model import Settings
from tbcache.settings.upstream import READERS, SourceSettings
from tbcache.settings.variable import misspelt, variable

FREE = Price()

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}")


@dataclass(frozen=True, slots=True)
class Source:
    """One upstream, as it is configured in this process.

    ``deepening_share`` is the part of the daily budget that older hours may have cost, which nobody waits
    for; ``cost`` is how many slots of each limit a request takes; ``max_hours`` how far
    back the upstream can answer; ``pages`` how many requests one answer may take;
    ``pack`` how many symbols one request may ask for; ``recheck_seconds`` how often it is
    asked what became of items that are known (0: it cannot be asked that);
    ``stale_ttl`` (seconds past ``cache_ttl``) how long an old answer may stand in for
    a new one: while that is loaded, as long as it is younger than twice ``cache_ttl``, or where it cannot
    be; ``delay_hours`` how late a plan's items come; ``lag_seconds`` how much later than its
    time an item may turn up otherwise. ``credentials``
    are the settings without which the source is off, ``missing`` the variables that
    would turn it on. One that is not configured has no limits.
    """

    name: str
    base_url: str
    limits: tuple[Limit, ...]
    cache_ttl: float = REAL_TIME_TTL
    stale_ttl: float = HISTORICAL_TTL
    charge: Charge = "fetch"
    price: Price = FREE
    daily_budget: float | None = None
    deepening_share: float = 0.5
    cost: int = 1
    max_hours: int = 168
    pages: int = 3
    pack: int = 1
    recheck_seconds: float = 0.0
    delay_hours: float = 0.0
    lag_seconds: float = 60.0
    credentials: tuple[str, ...] = ()
    provider: str = ""
    missing: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        """``base_url`` as anyone may see it: without the name and password that may stand in it."""
        parts = urlsplit(self.base_url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    @property
    def is_enabled(self) -> bool:
        """True when every credential it needs is set; ``missing`` names the others."""
        return not self.missing

    @property
    def is_packed(self) -> bool:
        """True where one request may ask for several symbols; of a late plan each is asked for by itself."""
        return self.pack > 1 and not self.delay_hours

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables of the credentials without which it is off."""
        return tuple(variable(self.name, field) for field in self.credentials)

    def require(self) -> None:
        """
        Raises:
          ConfigurationError: it is off; says what turns it on.
        """
        if self.missing:
            raise ConfigurationError(why_off(self.name, self.missing))

    def request(self, symbol: str, hours: int = 24) -> FetchRequest:
        """Build a request this source can answer.

        Raises:
          InvalidRequest: no ticker, or hours outside what the source can answer.
        """
        return _request(self.name, symbol, hours, self.max_hours)


def why_off(name: str, missing: Sequence[str]) -> str | None:
    """That the source is off, and the variables that turn it on; None where it lacks none."""
    return f"{name} is off: set {' and '.join(missing)}" if missing else None


@functools.lru_cache(maxsize=4096, typed=True)
def _request(source: str, symbol: str, hours: int, max_hours: int) -> FetchRequest:
    request = FetchRequest(source, symbol, hours)
    if request.hours > max_hours:
        asked = f"hours {request.hours}"
        raise InvalidRequest(f"{asked} is more than {source} can answer; the most is {max_hours}")
    return request


BUILT_IN: Mapping[str, Source] = {
    source.name: source
    for source in (
        Source(
            name="twitter",
            base_url="https://api.x.com",
            limits=(Limit(300, 900),),
            price=Price(per_item=0.005, per_user=0.010, daily_dedupe=True),
            max_hours=168,
            # The search of X goes up to 30 seconds ago.
            lag_seconds=30.0,
            pages=2,
            pack=30,
            recheck_seconds=3600.0,
            credentials=("bearer_token",),
            provider="tbcache.providers.twitter:TwitterProvider",
        ),
        Source(
            name="reddit",
            base_url="https://oauth.reddit.com",
            limits=(Limit(60, 60),),
            max_hours=LONGEST_HOURS,
            pages=3,
            pack=10,
            recheck_seconds=3600.0,
            credentials=("client_id", "client_secret"),
            provider="tbcache.providers.reddit:RedditProvider",
        ),
        Source(
            name="news",
            base_url="https://newsapi.org",
            limits=(Limit(100, 60),),
            max_hours=720,
            pages=1,
            delay_hours=24.0,
            # Articles are found some time after they were published.
            lag_seconds=3600.0,
            credentials=("api_key",),
            provider="tbcache.providers.news:NewsProvider",
        ),
        Source(
            name="options",
            base_url="https://api.unusualwhales.com",
            limits=(Limit(100, 60),),
            max_hours=336,
            pages=3,
            pack=20,
            credentials=("api_key",),
            provider="tbcache.providers.options:OptionsProvider",
        ),
        Source(
            name="stocktwits",
            base_url="https://api.stocktwits.com",
            limits=(Limit(60, 60),),
            max_hours=168,
            pages=3,
            provider="tbcache.providers.stocktwits:StocktwitsProvider",
        ),
    )
}


def get_sources(settings: Settings) -> dict[str, Source]:
    """Every source, the built-in ones first, as ``settings`` configures them."""
    return {name: get_source(name, settings) for name in source_names(settings)}


def is_name(name: object) -> bool:
    """True for what may name a source, and so become a part of a key."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def check_name(name: str) -> str:
    """``name``, if it may name a source."""
    if not is_name(name):
        raise InvalidRequest(
            f"source name {printable(repr(name), 80)} is not valid: 1-64 letters, digits, dots, dashes or "
            "underscores, the first of them a letter or a digit"
        )
    return name


def source_names(settings: Settings) -> tuple[str, ...]:
    """The names of the configured sources, the built-in ones first."""
    return (*BUILT_IN, *(name for name in settings.sources if name not in BUILT_IN))


# Each job of a queue that is no source's asks for it as it is sent.
@functools.lru_cache(maxsize=256)
def unconfigured(name: str) -> Source:
    """A source that is no more than its name: what its limit is, each call says."""
    return Source(name=name, base_url="", limits=())


def warn_of_near_miss(name: str, settings: Settings, stacklevel: int) -> None:
    """Say so when ``name``, which is no configured source, is likely to be a misspelling of one that is."""
    if (near := misspelt(name.lower(), source_names(settings))) is not None:
        warnings.warn(
            f"{name!r} is no configured source, and goes by limits and figures of its own; "
            f"did you mean {near!r}?",
            TbcacheWarning,
            stacklevel=stacklevel,
        )


def get_source(name: str, settings: Settings) -> Source:
    """The source ``name`` as ``settings`` configures it.

    Raises:
      UnknownSource: neither built in nor named in ``TBCACHE_SOURCES``.
      ConfigurationError: the class that ``TBCACHE_SOURCES`` names cannot be used.
    """
    if name not in BUILT_IN and name not in settings.sources:
        raise UnknownSource(name, (*BUILT_IN, *settings.sources))
    return _resolve(name, settings.sources.get(name, ""), settings.source(name))


@functools.lru_cache(maxsize=256)
def _resolve(name: str, provider: str, variables: SourceSettings) -> Source:
    base = BUILT_IN.get(name) or Source(name=name, base_url="", limits=(Limit(60, 60),))
    if provider:
        base = replace(base, provider=provider, **_defaults(name, provider))
    missing = tuple(
        variable
        for field, variable in zip(base.credentials, base.variables, strict=True)
        if getattr(variables, field) is None
    )
    return check_cost(replace(base, **chosen(variables), missing=missing))


def chosen(variables: SourceSettings) -> dict[str, Any]:
    """What of a source's figures its settings say."""
    return {field: value for field in FIGURES if (value := getattr(variables, field)) is not None}


def check_cost(source: Source) -> Source:
    tightest = min(limit.count for limit in source.limits)
    if source.cost > tightest:
        raise ConfigurationError(
            f"{variable(source.name, 'cost')}={source.cost} is more than its limits allow at once; "
            f"the most is {tightest}"
        )
    return source


def _defaults(name: str, path: str) -> dict[str, Any]:
    """What the user's own class says of its source; the environment goes before it."""
    given: Mapping[str, Any] = getattr(import_class(name, path), "defaults", {})
    where = f"TBCACHE_SOURCES: {name}={path}"
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{where} has defaults that are no mapping, like {{'max_hours': 72}}")
    _check(given, _DEFAULTS, f"{where} has a default that no source has")
    found = checked(f"{where} has the default", given)
    _check(found.get("credentials", ()), READERS, f"{where} has a credential unknown here")
    return found


def _check(given: Iterable[str], known: Iterable[str], what: str) -> None:
    for word in given:
        if word not in known:
            raise ConfigurationError(f"{what}: {word!r}{nearest(word, known)}")


_DEFAULTS = {field.name for field in fields(Source)} - {"name", "provider", "missing"}
#: The figures of a source that its settings may say.
FIGURES = tuple(field for field in READERS if field in _DEFAULTS)


#: What a class must say itself of its source.
_METHODS = {"request": "request(fetch, cursor, since)", "parse": "parse(response)"}


def import_class(name: str, path: str) -> type:
    """The class ``MODULE:CLASS`` that source ``name`` is made of.

    Raises:
      ConfigurationError: it cannot be imported, is no class, or lacks what a provider must have.
    """
    module, _, attribute = path.partition(":")
    _look_in_working_folder()
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        near = nearest(attribute, vars(sys.modules[module])) if module in sys.modules else ""
        raise ConfigurationError(
            f"TBCACHE_SOURCES: {name}={path} cannot be imported ({error}){near}"
        ) from None
    if not isinstance(found, type):
        raise ConfigurationError(f"TBCACHE_SOURCES: {name}={path} is no class")
    abstract = getattr(found, "__abstractmethods__", ())
    lacking = [call for method, call in _METHODS.items() if method in abstract or not hasattr(found, method)]
    if lacking:
        raise ConfigurationError(
            f"TBCACHE_SOURCES: {name}={path} is no tbcache.Provider: it lacks {' and '.join(lacking)}"
        )
    return found


def _look_in_working_folder() -> None:
    """Let the user's own module be found in the working folder, after everything else.

    Not before the environment has named one: a library that tries to import what is not installed would
    take it from there as well, and the folder may be somebody else's repository.
    """
    # A process can outlive its working folder.
    with contextlib.suppress(FileNotFoundError):
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.append(here)
