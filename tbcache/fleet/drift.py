"""The troubles of a fleet whose processes were started with other settings than their like."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from tbcache.fleet.model import FleetStatus, Trouble
from tbcache.models.untrusted import printable
from tbcache.monitoring import FETCHING_ROLES, WorkerStatus
from tbcache.settings import variable
from tbcache.settings.profile import SourceProfile

#: How many processes that differ are named.
MOST_NAMED = 3
#: And of what each was started with, so many characters.
MOST_SAID = 60
#: What it means that processes search otherwise: what one has found covers nothing for the other.
LOADED_ANEW = "and each loads all hours anew where another has loaded them"


def drift_of(status: FleetStatus, shell: WorkerStatus) -> tuple[Trouble, ...]:
    """In what a process that looks, and is none of the fleet, was started otherwise than the fleet's are."""
    others = set(drifts(status))
    found = drifts(replace(status, workers=(*status.workers, shell)))
    return tuple(one for one in found if one not in others)


def drifts(status: FleetStatus) -> Iterator[Trouble]:
    """Processes that were started with other settings than their like."""
    fetching = [one for one in status.workers if one.is_alive and one.role in FETCHING_ROLES]
    for name in sorted({name for one in fetching for name in _sources_of(one)}):
        said = {one.name: source for one in fetching if (source := _sources_of(one).get(name)) is not None}
        yield from _other_limits(name, {who: source.limits for who, source in said.items()})
        yield from _other_ttls(name, {who: source.cache_ttl for who, source in said.items()})
        # A bot may leave all fetching to the workers, and have no credentials.
        working = [one.name for one in fetching if one.role == "worker" and one.name in said]
        yield from _other_credentials(name, {who: said[who].missing for who in working})
        # A source without its credentials spends nothing, and is asked nothing.
        able = {who: source for who, source in said.items() if not source.missing}
        yield from _other_budgets(name, {who: source.daily_budget for who, source in able.items()})
        yield from _other_delays(name, {who: source.delay_hours for who, source in able.items()})
        yield from _other_filters(name, {who: source.query_filter for who, source in able.items()})
        subreddits = {who: source.subreddits for who, source in able.items()}
        yield from _other_subreddits(name, subreddits)
    yield from _other_words(fetching)
    yield from _other_symbols(status.living("scheduler"))


def _other_limits(name: str, limits: Mapping[str, str]) -> Iterator[Trouble]:
    if len({frozenset(text.split(",")) for text in limits.values()}) > 1:
        of_text = {text: who for who, text in limits.items()}
        named = ", ".join(f"{who} {text}" for text, who in sorted(of_text.items())[:MOST_NAMED])
        what = f"{name}: the processes have other limits ({named}), and the strictest hold"
        yield Trouble("drift", what, f"start all with the same {variable(name, 'limits')}", name)


def _other_ttls(name: str, ttls: Mapping[str, float | None]) -> Iterator[Trouble]:
    texts = {who: f"{seconds:g} s" for who, seconds in ttls.items() if seconds is not None}
    rule = "and who has a shorter one loads anew what another has just loaded"
    yield from _other(name, "TTLs", texts, rule, variable(name, "cache_ttl"))


def _other_budgets(name: str, budgets: Mapping[str, float | None]) -> Iterator[Trouble]:
    texts = {who: "none" if budget is None else f"${budget:g}" for who, budget in budgets.items()}
    rule = "and each goes on until its own is spent"
    yield from _other(name, "daily budgets", texts, rule, variable(name, "daily_budget"))


def _other_delays(name: str, delays: Mapping[str, float]) -> Iterator[Trouble]:
    texts = {who: f"{hours:g} h" for who, hours in delays.items()}
    rule = "and what one calls complete is not so for the other"
    yield from _other(name, "delays", texts, rule, variable(name, "delay_hours"))


def _other_filters(name: str, filters: Mapping[str, str | None]) -> Iterator[Trouble]:
    texts = {who: "the default" if text is None else repr(text) for who, text in filters.items()}
    yield from _other(name, "query filters", texts, LOADED_ANEW, variable(name, "query_filter"))


def _other_subreddits(name: str, subreddits: Mapping[str, str | None]) -> Iterator[Trouble]:
    texts = {who: text for who, text in subreddits.items() if text is not None}
    yield from _other(name, "subreddits", texts, LOADED_ANEW, variable(name, "subreddits"))


def _other_words(fetching: Iterable[WorkerStatus]) -> Iterator[Trouble]:
    texts = {one.name: one.profile.words for one in fetching if one.profile and one.profile.words}
    variables = f"TBCACHE_NAMES, TBCACHE_LANGUAGES and {variable('news', 'domains')}"
    yield from _other(None, "names, languages or sites", texts, LOADED_ANEW, variables)


def _other_symbols(schedulers: Iterable[WorkerStatus]) -> Iterator[Trouble]:
    """Only schedulers keep symbols warm."""
    profiles = {one.name: one.profile for one in schedulers if one.profile is not None}
    texts = {who: ",".join(sorted(set(profile.common_symbols))) for who, profile in profiles.items()}
    rule = "and what is warm depends on which of them leads"
    yield from _other(None, "common symbols", texts, rule, "TBCACHE_COMMON_SYMBOLS")


def _other(
    source: str | None, what: str, texts: Mapping[str, str], rule: str, variable: str
) -> Iterator[Trouble]:
    """``texts`` are what each process was started with."""
    of_text = {text: who for who, text in texts.items()}
    if len(of_text) > 1:
        named = ", ".join(
            f"{who} {printable(text, MOST_SAID)}" for text, who in sorted(of_text.items())[:MOST_NAMED]
        )
        where = "" if source is None else f"{source}: "
        line = f"{where}the processes have other {what} ({named}), {rule}"
        yield Trouble("drift", line, f"start all with the same {variable}", source)


def _other_credentials(name: str, missing: Mapping[str, Sequence[str]]) -> Iterator[Trouble]:
    if len({bool(variables) for variables in missing.values()}) > 1:
        lacking = " and ".join(sorted({one for variables in missing.values() for one in variables}))
        who = ", ".join([worker for worker, variables in missing.items() if variables][:MOST_NAMED])
        what = f"{name}: {who} has no {lacking}, and other workers do"
        yield Trouble("drift", what, "start all workers with the same credentials", name)


def _sources_of(worker: WorkerStatus) -> dict[str, SourceProfile]:
    return {**worker.profile.declared, **worker.profile.sources} if worker.profile else {}
