"""What Redis refuses of the keys of each source, as the living processes report it."""

from __future__ import annotations

from collections.abc import Iterable

from tbcache.monitoring import WorkerStatus
from tbcache.store.refusal import Refusal

#: The most different reasons that are shown.
MOST_REASONS = 3


def refusals_of(workers: Iterable[WorkerStatus]) -> dict[str, Refusal]:
    """By source, since when and why Redis refuses something to any process."""
    found: dict[str, list[Refusal]] = {}
    for worker in workers:
        for source, refusal in worker.refused.items() if worker.is_alive else ():
            found.setdefault(source, []).append(refusal)
    return {source: _together(found[source]) for source in sorted(found)}


def _together(refusals: Iterable[Refusal]) -> Refusal:
    oldest_first = sorted(refusals, key=lambda refusal: refusal.since)
    reasons = list(dict.fromkeys(refusal.reason for refusal in oldest_first))
    is_bug = any(refusal.is_bug for refusal in oldest_first)
    return Refusal(oldest_first[0].since, "; ".join(reasons[:MOST_REASONS]), is_bug)
