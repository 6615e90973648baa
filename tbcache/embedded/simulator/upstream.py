"""One simulated source: its API, its limits, its faults and its figures."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tbcache.embedded.simulator.api import Api
from tbcache.embedded.simulator.fault import Fault
from tbcache.embedded.simulator.ledger import Ledger
from tbcache.embedded.simulator.replay import Envelope, Replay
from tbcache.embedded.simulator.reply import Call, Reply
from tbcache.embedded.simulator.stream import DAY
from tbcache.embedded.simulator.window import Arrival, LimitSet
from tbcache.models.error import InvalidRequest, nearest


class Upstream:
    """Accepts or refuses arrivals, and answers them. ``now`` gives Unix seconds."""

    def __init__(
        self,
        api: Api,
        limits: LimitSet,
        ledger: Ledger,
        *,
        latency: tuple[float, float],
        plan: str,
        replay: Replay | None,
        now: Callable[[], float],
    ) -> None:
        self.api = api
        self.limits = limits
        self.ledger = ledger
        self.fault = Fault()
        self._latency = latency
        self._plan = check_plan(api, plan)
        self._replay = replay
        self.now = now
        self._dice = random.Random(f"{api.seed}:{api.name}")

    def arrive(self, call: Call, at: float) -> Arrival | None:
        """Count an arrival at ``at`` (monotonic seconds); None for a call that does not count."""
        if not self.api.is_counted(call):
            return None
        now = self.now()
        arrival = self.limits.arrive(at, int(now // DAY))
        self.ledger.arrive(now, arrival.accepted)
        return arrival

    def delay(self) -> float:
        """How many seconds this answer takes."""
        return self._dice.uniform(*(self.fault.latency or self._latency))

    def answer(self, call: Call, arrival: Arrival | None) -> Reply | None:
        """The answer; None where the connection is to be closed without one."""
        now = self.now()
        if arrival is None:
            return self._spoiled_by_outage() if self.fault.outage else self._content(call, now)
        answer = self._spoiled_by_outage() if self.fault.outage else self._judged(call, arrival, now)
        self.ledger.record(answer, now)
        if answer is None or answer.status >= 500 or answer.status in self.api.silent:
            return answer
        return answer.with_headers(self.api.rate_headers(arrival, now))

    def set_fault(self, fault: Fault) -> None:
        if fault.limits != self.fault.limits:
            self.limits.lower(fault.limits)
        self.fault = fault

    def check(self, fault: Fault) -> None:
        """Refuse a fault that this source cannot have.

        Raises:
          InvalidRequest: says why.
        """
        if fault.plan:
            check_plan(self.api, fault.plan)
        if fault.envelope:
            self._envelope(fault.envelope)

    def as_data(self) -> dict[str, Any]:
        return self.ledger.as_data(self.limits.windows)

    def reset(self) -> None:
        self.ledger.reset()
        for window in self.limits.windows:
            window.forget_figures()

    def _spoiled_by_outage(self) -> Reply | None:
        return None if self.fault.outage == "drop" else self.api.error(503)

    def _judged(self, call: Call, arrival: Arrival, now: float) -> Reply:
        if not arrival.accepted:
            return self.api.refuse(arrival, now)
        if self._dice.random() < self.fault.error_rate:
            return self.api.error(self.fault.status)
        return self._spoiled(self._content(call, now))

    def _content(self, call: Call, now: float) -> Reply:
        refusal = self.api.authorize(call, now)
        if refusal is not None:
            return refusal
        if not self.api.is_counted(call):
            return self.api.answer(call, now, self._plan)
        if self.fault.quota:
            return self.api.quota_exhausted(now)
        if self.fault.envelope:
            return self._envelope(self.fault.envelope).answer(now)
        answer = self.api.answer(call, now, self.fault.plan or self._plan)
        replayed = self._replay.next_page(self.api.name, now) if self._replay and answer.is_page else None
        return replayed or answer

    def _spoiled(self, answer: Reply) -> Reply:
        if answer.status != 200 or not (self.fault.empty or self.fault.garbage):
            return answer
        # The cut is between two characters: bytes that are no UTF-8 would be another fault than cut JSON.
        half = answer.body[: len(answer.body) // 2].decode(errors="ignore").encode()
        body = b"" if self.fault.empty else half
        # The ids stay as they are: an upstream bills what it has sent, even if it is damaged on the way.
        return replace(answer, body=body)

    def _envelope(self, name: str) -> Envelope:
        if self._replay is None:
            raise InvalidRequest(
                f"{self.api.name}.envelope={name!r} needs recorded answers; start with --replay DIR"
            )
        return self._replay.envelope(self.api.name, name)


def check_plan(api: Api, plan: str) -> str:
    """Return ``plan``.

    Raises:
      InvalidRequest: the source has no such plan; names the nearest.
    """
    if plan in api.plans:
        return plan
    known = ", ".join(api.plans)
    raise InvalidRequest(f"{api.name}.plan={plan!r} is no plan{nearest(plan, api.plans)} (known: {known})")
