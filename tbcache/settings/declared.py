"""The sources that the code of this process declares, and no setting."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, NamedTuple

from tbcache.io.singleton import singleton
from tbcache.models.error import ConfigurationError, TbcacheWarning
from tbcache.models.price import Price
from tbcache.models.untrusted import quoted
from tbcache.settings.default import checked
from tbcache.settings.model import Settings
from tbcache.settings.source import (
    FIGURES,
    Source,
    check_cost,
    check_name,
    chosen,
    get_source,
    source_names,
    warn_of_near_miss,
)
from tbcache.settings.upstream import MOST_DOLLARS
from tbcache.settings.variable import IN_CODE, in_variables, misspelt, variable

#: The names that code has for the figures.
_WORDS = IN_CODE | {one: one for one in ("limits", "daily_budget", "cost_per_request")}


class Declared(NamedTuple):
    """A source that code has declared: what was said there, and what the environment makes of it."""

    said: Mapping[str, Any]
    source: Source


@singleton
def get_declared() -> dict[str, Declared]:
    """The sources that the code of this process has declared, by name."""
    return {}


def declare(name: str, said: Mapping[str, Any], settings: Settings, stacklevel: int = 2) -> Source:
    """The source ``name`` with the figures of ``said`` (None: not said), before which the environment goes.

    ``said`` has ``limits``, ``cache_ttl``, ``stale_ttl``, ``daily_budget`` and ``cost_per_request``. A
    configured source has its figures already.

    Raises:
      InvalidRequest: ``name`` is none.
      ConfigurationError: a figure cannot be one, is missing, or is not what was said before.
    """
    given = _figures(check_name(name), {what: value for what, value in said.items() if value is not None})
    if name in source_names(settings):
        if given:
            raise ConfigurationError(_is_configured(name, given))
        return get_source(name, settings)
    known = get_declared().get(name)
    if known is None:
        warn_of_near_miss(name, settings, stacklevel + 1)
        _warn_of_near_variables(name, settings, stacklevel + 1)
        known = get_declared().setdefault(name, Declared(given, _declared(name, given, settings)))
    for what, value in given.items():
        if known.said.get(what) != value:
            raise ConfigurationError(
                f"source {name!r} was declared with other figures before: {_WORDS[what]} was "
                f"{_in_words(known.said.get(what))}, and is {_in_words(value)} here"
            )
    return known.source


def _warn_of_near_variables(name: str, settings: Settings, stacklevel: int) -> None:
    """Say so where a variable of a source that nobody knows is likely to be a misspelling of one of ``name``.

    Not where ``name`` has that variable itself: then the two are likely to be two sources.
    """
    known = {in_variables(one).lower() for one in (name, *source_names(settings), *get_declared())}
    unknown = [one for one in settings.custom if one not in known]
    if (near := misspelt(in_variables(name).lower(), unknown)) is not None:
        for field in sorted(settings.custom[near].said - settings.declared(name).said):
            warnings.warn(
                f"{variable(near, field)} changes nothing of source {name!r}; "
                f"did you mean {variable(name, field)}?",
                TbcacheWarning,
                stacklevel=stacklevel,
            )


def _declared(name: str, given: Mapping[str, Any], settings: Settings) -> Source:
    variables = settings.declared(name)
    limits = variables.limits or given.get("limits")
    if not limits:
        raise ConfigurationError(
            f'source {name!r} has no limits: say limits=, as in tbcache.source({name!r}, limits="60/1m")'
        )
    price = Price(per_request=given.get("cost_per_request", 0.0))
    if "daily_budget" in given and not price.per_request:
        raise ConfigurationError(f"source {name!r}: daily_budget without cost_per_request is never spent")
    if variables.daily_budget is not None and not price.per_request:
        raise ConfigurationError(
            f"{variable(name, 'daily_budget')} is never spent: source {name!r} is declared without a "
            "cost_per_request"
        )
    figures = {what: value for what, value in given.items() if what in FIGURES}
    # Stale values are served only where somebody has said for how long.
    base = Source(name=name, base_url="", limits=limits, stale_ttl=0.0, price=price)
    return check_cost(replace(base, **figures | chosen(variables)))


def _figures(name: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """What code says of a source, checked."""
    where = f"source {name!r} was declared with"
    for what, value in said.items():
        if what != "limits" and (isinstance(value, bool) or not isinstance(value, int | float | Decimal)):
            raise ConfigurationError(
                f"{where} {_WORDS[what]}={quoted(value)}, which is not valid: it should be a number"
            )
    figures = checked(where, {what: value for what, value in said.items() if what in FIGURES}, _WORDS)
    if (price := said.get("cost_per_request")) is None:
        return figures
    if not 0 <= price <= MOST_DOLLARS:
        raise ConfigurationError(
            f"{where} cost_per_request={quoted(price)}, which is not valid: it should be a number of US "
            f"dollars from 0 to {MOST_DOLLARS:.0f}"
        )
    return {**figures, "cost_per_request": float(price)}


def _is_configured(name: str, given: Iterable[str]) -> str:
    words = ", ".join(f"{_WORDS[what]}=" for what in given)
    return (
        f"{name} is a configured source, and has its figures already: leave {words} out and set "
        f"{variable(name, 'limits')} and the like, or take another name"
    )


def _in_words(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "not said" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, slots=True)
class Work:
    """A function of ``source``, which jobs name ``name``.

    ``call`` takes the slot that the job came with, and then the job's own arguments. Without a slot (None) it
    takes one itself. ``uses_slot``: a call costs as many slots as a job of the source comes with; else it
    takes its own, once the job's is given back.
    """

    name: str
    source: str
    call: Callable[..., Any]
    uses_slot: bool


@singleton
def get_work() -> dict[str, Work]:
    """The declared work of this process, by name."""
    return {}
