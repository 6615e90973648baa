"""One simulated source: its dialect behind its gate, with its faults and its figures."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tbcache.embedded.simulator.answer import Answer, Call
from tbcache.embedded.simulator.dialect import Dialect
from tbcache.embedded.simulator.fault import Fault
from tbcache.embedded.simulator.ledger import Ledger
from tbcache.embedded.simulator.replay import Envelope, Replay
from tbcache.embedded.simulator.stream import DAY
from tbcache.embedded.simulator.window import Arrival, Gate
from tbcache.models.error import InvalidRequest, nearest


class Upstream:
    """Judges arrivals and answers them; ``now`` gives Unix seconds."""

    def __init__(
        self,
        dialect: Dialect,
        gate: Gate,
        ledger: Ledger,
        *,
        latency: tuple[float, float],
        plan: str,
        replay: Replay | None,
        now: Callable[[], float],
    ) -> None:
        self.dialect = dialect
        self.gate = gate
        self.ledger = ledger
        self.fault = Fault()
        self._latency = latency
        self._plan = check_plan(dialect, plan)
        self._replay = replay
        self.now = now
        self._dice = random.Random(f"{dialect.seed}:{dialect.name}")

    def arrive(self, call: Call, at: float) -> Arrival | None:
        """Count an arrival at ``at`` (monotonic seconds); None for a call that spends nothing."""
        if not self.dialect.is_counted(call):
            return None
        now = self.now()
        arrival = self.gate.arrive(at, int(now // DAY))
        self.ledger.arrive(now, arrival.accepted)
        return arrival

    def delay(self) -> float:
        """How many seconds this answer takes."""
        return self._dice.uniform(*(self.fault.latency or self._latency))

    def answer(self, call: Call, arrival: Arrival | None) -> Answer | None:
        """What the caller gets; None to close the connection without an answer."""
        now = self.now()
        if arrival is None:
            return self._spoiled_by_outage() if self.fault.outage else self._content(call, now)
        answer = self._spoiled_by_outage() if self.fault.outage else self._judged(call, arrival, now)
        self.ledger.record(answer, now)
        if answer is None or answer.status >= 500 or answer.status in self.dialect.silent:
            return answer
        return answer.with_headers(self.dialect.rate_headers(arrival, now))

    def set_fault(self, fault: Fault) -> None:
        if fault.limits != self.fault.limits:
            self.gate.lower(fault.limits)
        self.fault = fault

    def check(self, fault: Fault) -> None:
        """Refuse a fault that this source cannot have.

        Raises:
          InvalidRequest: says why.
        """
        if fault.plan:
            check_plan(self.dialect, fault.plan)
        if fault.envelope:
            self._envelope(fault.envelope)

    def as_data(self) -> dict[str, Any]:
        return self.ledger.as_data(self.gate.windows)

    def reset(self) -> None:
        self.ledger.reset()
        for window in self.gate.windows:
            window.forget_figures()

    def _spoiled_by_outage(self) -> Answer | None:
        return None if self.fault.outage == "drop" else self.dialect.error(503)

    def _judged(self, call: Call, arrival: Arrival, now: float) -> Answer:
        if not arrival.accepted:
            return self.dialect.refuse(arrival, now)
        if self._dice.random() < self.fault.error_rate:
            return self.dialect.error(self.fault.status)
        return self._spoiled(self._content(call, now))

    def _content(self, call: Call, now: float) -> Answer:
        refusal = self.dialect.authorize(call, now)
        if refusal is not None:
            return refusal
        if not self.dialect.is_counted(call):
            return self.dialect.answer(call, now, self._plan)
        if self.fault.quota:
            return self.dialect.quota_exhausted(now)
        if self.fault.envelope:
            return self._envelope(self.fault.envelope).answer(now)
        answer = self.dialect.answer(call, now, self.fault.plan or self._plan)
        replayed = self._replay.next_page(self.dialect.name, now) if self._replay and answer.is_page else None
        return replayed or answer

    def _spoiled(self, answer: Answer) -> Answer:
        if answer.status != 200 or not (self.fault.empty or self.fault.garbage):
            return answer
        # Cut between two characters: what is no UTF-8 is another fault than what is no JSON.
        half = answer.body[: len(answer.body) // 2].decode(errors="ignore").encode()
        body = b"" if self.fault.empty else half
        # What was served is billed, whatever is left of it on the way.
        return replace(answer, body=body)

    def _envelope(self, name: str) -> Envelope:
        if self._replay is None:
            raise InvalidRequest(
                f"{self.dialect.name}.envelope={name!r} needs recorded answers; start with --replay DIR"
            )
        return self._replay.envelope(self.dialect.name, name)


def check_plan(dialect: Dialect, plan: str) -> str:
    """Return ``plan``.

    Raises:
      InvalidRequest: the source has no such plan; names the nearest.
    """
    if plan in dialect.plans:
        return plan
    known = ", ".join(dialect.plans)
    raise InvalidRequest(
        f"{dialect.name}.plan={plan!r} is no plan{nearest(plan, dialect.plans)} (known: {known})"
    )
