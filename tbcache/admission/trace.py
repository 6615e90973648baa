"""The spans of a load: one in which admission is asked, and one in which the load is settled."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from tbcache.admission.verdict import Ask, Failed, Grant, Settled, Settlement, Verdict, Wait
from tbcache.io.trace import Facts, Span, span

#: The question of :meth:`tbcache.admission.Admission.admit`.
Admit = Callable[[Ask], Coroutine[Any, Any, Verdict]]


def traced(admit: Admit) -> Admit:
    """``admit``, with a span that tells the verdict, and what is waited for."""

    async def admit_in_span(ask: Ask) -> Verdict:
        with span(f"admit {ask.source.name}", lambda: _facts(ask)) as running:
            verdict = await admit(ask)
            running.add({"tbcache.verdict": type(verdict).__name__.lower()})
            if isinstance(verdict, Wait):
                running.add({"tbcache.wait_for": verdict.why, "tbcache.wait_seconds": verdict.seconds})
            elif isinstance(verdict, Failed):
                running.add({"tbcache.failure": verdict.failure.kind})
            return verdict

    return admit_in_span


def settling(grant: Grant) -> Span:
    return span(f"settle {grant.ask.source.name}", lambda: _facts(grant.ask))


def record_settled(running: Span, settlement: Settlement, settled: Settled) -> None:
    """Add how the load ended, and where its value went."""
    if running.is_on:
        failure = settlement.failure
        running.add(
            {
                "tbcache.ending": settlement.ending,
                "tbcache.settled": settled,
                "tbcache.pages": settlement.pages,
                "tbcache.failure": None if failure is None else failure.kind,
            }
        )


def _facts(ask: Ask) -> Facts:
    return {"tbcache.source": ask.source.name, "tbcache.lane": ask.lane}
