"""What operators have said holds on where Redis has lost its data, or is back from an old file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tbcache.fleet import Fleet, Operator
from tbcache.fleet.alert import Watch
from tbcache.models import Limit
from tbcache.queue import PacingBroker
from tbcache.settings import Settings
from tbcache.store import Store
from tests.core.conftest import TWITTER
from tests.core.test_operator import operator as operator
from tests.server import Server

Look = Callable[[], object]


@pytest.fixture
def look(settings: Settings, store: Store) -> Look:
    """A process that stands by looks."""
    return Watch(settings, store)._step


def said(settings: Settings, store: Store) -> dict[str, Any]:
    """What is in force by the read model."""
    fleet = Fleet(settings, store)
    by_name = {source.name: source for source in fleet.status().sources}
    order, bound = by_name["twitter"].order, by_name["reddit"].bound
    return {
        "twitter": order and (order.what, order.who, order.why),
        "reddit": bound and (bound.limits, bound.who, bound.why),
        "weights": fleet.weights(),
    }


def test_what_was_said_is_said_again_where_redis_has_lost_it(
    settings: Settings, store: Store, server: Server, operator: Operator, look: Look
) -> None:
    """A source that was paused for its bill would be asked again, and a lowered limit be as before."""
    look()
    operator.pause("twitter", "the bill")
    operator.set_limits("reddit", [Limit(5, 60.0)], "half")
    operator.set_weight("desk/vip", 4.0)
    before = said(settings, store)
    assert before == {
        "twitter": ("pause", "ada@desk", "the bill"),
        "reddit": ((Limit(5, 60.0),), "ada@desk", "half"),
        "weights": {"desk/vip": 4.0},
    }
    look()
    server.client.flushall()
    look()
    assert said(settings, store) == before
    lines = Fleet(settings, store).audit(10)
    assert sorted(line.what for line in lines) == ["caller.weight", "limits.set", "queue.pause"]
    assert {line.who for line in lines} == {"tbcache"}
    look()
    assert len(Fleet(settings, store).audit(10)) == 3


def test_what_was_taken_back_or_said_anew_stays_so(
    settings: Settings, store: Store, server: Server, operator: Operator, look: Look
) -> None:
    """Who resumes a source before a loss, or drains it after one, means it."""
    look()
    operator.pause("twitter")
    operator.set_limits("reddit", [Limit(5, 60.0)])
    operator.set_weight("desk/vip", 4.0)
    look()
    operator.resume("twitter")
    operator.unset_limits("reddit")
    operator.unset_weight("desk/vip")
    look()
    server.client.flushall()
    look()
    assert said(settings, store) == {"twitter": None, "reddit": None, "weights": {}}
    operator.pause("twitter", "first")
    operator.set_limits("reddit", [Limit(5, 60.0)], "half")
    look()
    server.client.flushall()
    operator.drain("twitter", "anew")
    for _ in range(12):
        operator.set_weight("desk/vip", 2.0)
    look()
    assert said(settings, store) == {
        "twitter": ("drain", "ada@desk", "anew"),
        "reddit": ((Limit(5, 60.0),), "ada@desk", "half"),
        "weights": {"desk/vip": 2.0},
    }


def test_what_an_older_file_does_not_have_is_said_again(
    settings: Settings, store: Store, server: Server, operator: Operator, look: Look
) -> None:
    """Redis is back from a snapshot of some minutes ago."""
    operator.set_weight("desk/vip", 4.0)
    look()
    key = store.keys.standing
    old: Any = server.client.dump(key)
    operator.pause("twitter", "since then")
    look()
    server.client.delete(key, store.keys.state("twitter"))
    server.client.restore(key, 600_000, old)
    look()
    assert said(settings, store)["twitter"] == ("pause", "ada@desk", "since then")


def test_a_queue_of_ones_own_stays_paused_as_well(
    settings: Settings, store: Store, server: Server, operator: Operator, look: Look
) -> None:
    """It is in no list of sources."""
    broker = PacingBroker(store, settings, [TWITTER])
    broker.declare_queue("mails")
    server.client.set(store.keys.queue("mails", "asked"), 1, ex=60)
    operator.pause("mails")
    look()
    server.client.flushall()
    look()
    assert b"ada@desk" in (server.client.hget(store.keys.state("mails"), "order") or b"")  # type: ignore[operator]


@pytest.mark.parametrize("kind", ["string", "fields"])
def test_what_is_damaged_there_keeps_no_operator_from_acting(
    settings: Settings,
    store: Store,
    server: Server,
    operator: Operator,
    look: Look,
    kind: str,
) -> None:
    """Whoever may write to Redis may have written it."""
    key = store.keys.standing
    if kind == "string":
        server.client.set(key, "x", ex=600)
    else:
        look()
        texts = [
            "no JSON",
            '{"what":"pause","name":"other","who":"eve"}',
            '{"what":"limits","name":"x","who":"e"}',
        ]
        server.client.hset(
            key, mapping=dict(zip(["twitter order", "a order", "x limits"], texts, strict=True))
        )
        look()
        server.client.flushall()
    look()
    operator.pause("twitter")
    look()
    assert said(settings, store)["twitter"] == ("pause", "ada@desk", "")
    assert len(Fleet(settings, store).audit(10)) == 1
