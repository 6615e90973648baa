"""What becomes of the incidents when somebody has looked at the troubles again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from tbcache.fleet.incident import Incident, IncidentKey
from tbcache.fleet.model import Trouble
from tbcache.models.untrusted import LINE, printable
from tbcache.settings.alert import AlertRule, rule_for

#: For how long a trouble must be gone until it counts as ended.
HOLD = timedelta(seconds=60)
#: The same, of one that comes and goes: twice as long for each time that somebody was told of it in the last
#: hour (RECENT).
LONGEST_HOLD = timedelta(minutes=30)
RECENT = timedelta(hours=1)


def follow(
    known: Iterable[Incident],
    troubles: Iterable[Trouble],
    now: datetime,
    rules: Sequence[AlertRule],
    new_id: Callable[[], str],
) -> list[Incident]:
    """The incidents that have begun, changed or ended, as they are now."""
    known, seen = sorted(known, key=lambda one: one.began_at, reverse=True), _by_key(troubles)
    going = {one.key: one for one in known if one.ended_at is None}
    # Two processes may each have begun one while Redis was away: the older goes on, the other ends.
    twice = [one for one in known if one.ended_at is None and going[one.key] is not one]
    changed = [after for one in twice if (after := _gone(one, now, _hold(known, one.key, now))) != one]
    for key in {**seen, **going}:
        before, hold = going.get(key), _hold(known, key, now)
        after = _seen(before, seen[key], now, new_id) if key in seen else _gone(going[key], now, hold)
        after = _opened(after, seen.get(key), now, rules, hold)
        if after != before:
            changed.append(after)
    return changed


def _by_key(troubles: Iterable[Trouble]) -> dict[IncidentKey, Trouble]:
    """One trouble of each kind and source, or queue; where there are several, with the words of all."""
    found: dict[IncidentKey, Trouble] = {}
    for one in troubles:
        key = one.kind, one.name
        if (first := found.get(key)) is not None:
            since = min((moment for moment in (first.since, one.since) if moment), default=None)
            one = replace(first, what=f"{first.what}; {one.what}", since=since)
        found[key] = one
    return found


def _seen(before: Incident | None, trouble: Trouble, now: datetime, new_id: Callable[[], str]) -> Incident:
    what, todo = _words(trouble)
    if before is None:
        began_at = min(trouble.since or now, now)
        return Incident(
            new_id(), trouble.kind, trouble.source, what, todo, began_at, seen_at=now, queue=trouble.queue
        )
    if before.gone_at is not None:
        return replace(before, gone_at=None, times=before.times + 1, what=what, todo=todo)
    if trouble.kind == "paused":
        # Another has said so since, and perhaps something else.
        return replace(before, what=what, todo=todo)
    # The words count what changes each second; those at its begin and when somebody is told are enough.
    return before


def _words(trouble: Trouble) -> tuple[str, str]:
    return printable(trouble.what, LINE), printable(trouble.todo, LINE)


def _gone(before: Incident, now: datetime, hold: timedelta) -> Incident:
    if before.gone_at is None:
        return replace(before, gone_at=now)
    if now - before.gone_at < hold:
        return before
    resolved_at = now if before.opened_at else None
    return replace(before, ended_at=before.gone_at, resolved_at=resolved_at, tries=0, next_try_at=None)


def _opened(
    one: Incident, trouble: Trouble | None, now: datetime, rules: Sequence[AlertRule], hold: timedelta
) -> Incident:
    """``one``, opened where it is there and has lasted as long as its rule says."""
    rule = rule_for(rules, one.kind, one.name)
    if one.opened_at or trouble is None or rule is None or rule.seconds is None:
        return one
    is_back = hold > HOLD
    # What somebody was told of a moment ago must last before it is told of again.
    due = timedelta(seconds=rule.seconds)
    lasted = now - one.seen_at >= max(due, hold) if is_back else now - one.began_at >= due
    if not lasted:
        return one
    what, todo = _words(trouble)
    return replace(one, opened_at=now, what=what, todo=todo)


def is_recent(one: Incident, now: datetime) -> bool:
    """Whether somebody was told of it a moment ago."""
    return one.opened_at is not None and now - one.opened_at < RECENT


def _hold(known: Iterable[Incident], key: IncidentKey, now: datetime) -> timedelta:
    recent = [one for one in known if one.key == key and one.ended_at and is_recent(one, now)]
    return min(HOLD * (1 << min(len(recent), 10)), LONGEST_HOLD)


def steps(before: Mapping[str, Incident], after: Incident) -> list[str]:
    """What has happened to an incident: ``began``, ``opened``, ``ended``, ``resolved``."""
    old = before.get(after.id)
    found = [] if old else ["began"]
    for step in ("opened", "ended", "resolved"):
        if getattr(after, f"{step}_at") and not (old and getattr(old, f"{step}_at")):
            found.append(step)
    return found
