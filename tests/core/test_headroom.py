"""Somebody else uses the same key: what is left to us is learned."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import replace

from tbcache.admission import Admission, Go, Settlement, Wait
from tbcache.models import Failure, Limit
from tbcache.store import Store
from tests.core.conftest import TWITTER, ask

REFUSED = Failure("throttled", "slow down", 429, None)
SOURCE = replace(TWITTER, limits=(Limit(50, 0.5), Limit(5000, 3600.0)))


class Strict:
    """An upstream that refuses by arrival and tells no figures."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._times: deque[float] = deque()
        self.accepted = 0

    def arrive(self) -> bool:
        with self._lock:
            now = time.monotonic()
            while self._times and now - self._times[0] >= self._limit.window_seconds:
                self._times.popleft()
            if len(self._times) >= self._limit.count:
                return False
            self._times.append(now)
            self.accepted += 1
            return True


def learned(store: Store) -> int:
    return int(store.client.hget(store.keys.state("twitter"), "learned:500000") or 0)


def refuse(admission: Admission, symbol: str) -> None:
    verdict = admission.admit(ask(symbol, SOURCE))
    assert isinstance(verdict, Go)
    admission.settle(verdict.grant, Settlement(failure=REFUSED, closed_by=REFUSED, pages=1))
    admission._store.client.hdel(admission._store.keys.state("twitter"), "closed_until")


def test_a_refusal_leaves_room_to_others_and_good_windows_take_it_back(
    admission: Admission, store: Store
) -> None:
    """A tenth of the shortest window at a refusal, a fiftieth back after four windows."""
    refuse(admission, "A")
    refuse(admission, "B")
    assert learned(store) == 10
    store.client.hset(store.keys.state("twitter"), "learned_next:500000", 0)
    verdict = admission.admit(ask("C", SOURCE))
    assert isinstance(verdict, Go)
    admission.settle(verdict.grant, Settlement(payload=b"1", pages=1))
    assert learned(store) == 9


def test_a_foreign_consumer_is_made_room_for(admission: Admission, store: Store) -> None:
    """Its 28% cost us few refusals once they are learned, and the rest is used."""
    upstream, stop = Strict(SOURCE.limits[0]), threading.Event()
    sent, refused = [0, 0], [0, 0]
    half = time.monotonic() + 2.5
    end = half + 2.5

    def foreign() -> None:
        while not stop.wait(0.5 / 14):
            upstream.arrive()

    def own(name: str) -> None:
        number = 0
        while (now := time.monotonic()) < end:
            number += 1
            verdict = admission.admit(ask(f"{name}N{number}", SOURCE, patience=end - now))
            if isinstance(verdict, Wait):
                time.sleep(min(verdict.seconds, max(0.0, end - now)))
            elif isinstance(verdict, Go):
                time.sleep(max(0.0, verdict.grant.starts_at - time.monotonic()))
                part = int(time.monotonic() > half)
                sent[part] += 1
                if upstream.arrive():
                    admission.settle(verdict.grant, Settlement(payload=b"1", pages=1))
                else:
                    refused[part] += 1
                    admission.settle(verdict.grant, Settlement(failure=REFUSED, closed_by=REFUSED, pages=1))

    threads = [threading.Thread(target=own, args=(f"T{n}",)) for n in range(4)]
    other = threading.Thread(target=foreign)
    for thread in (*threads, other):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    other.join()
    assert refused[1] <= max(3, 0.03 * sent[1])
    assert sent[1] > 80
