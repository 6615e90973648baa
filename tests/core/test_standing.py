"""What operators have said holds on where Redis has lost its data, or is back from an old file."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tbcache.fleet import Fleet, Operator
from tbcache.fleet.alert import Watch
from tbcache.fleet.standing import Thing, standing_of
from tbcache.models import Limit
from tbcache.queue import PacingBroker
from tbcache.settings import Settings
from tbcache.store import Refused, Store
from tbcache.store.said import Said
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
        "reddit": (("5/1m",), "ada@desk", "half"),
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


def test_what_is_paused_again_is_so_for_who_paused_it_first(
    settings: Settings, store: Store, operator: Operator
) -> None:
    """By whom, why and since when was forgotten, and an alert that counts from then began anew."""
    fleet = Fleet(settings, store)
    eve = fleet.as_operator("eve")

    def order() -> Any:
        return next(one.order for one in fleet.status().sources if one.name == "twitter")

    operator.pause("twitter", "the bill")
    first = order()
    for who, why in ((eve, "the key"), (operator, ""), (eve, "")):
        assert who.pause("twitter", why).before == first
        assert order() == first
    said = [(line.who, line.detail, line.why) for line in reversed(fleet.audit(10))]
    assert said[:2] == [("ada@desk", "", "the bill"), ("eve", "said again", "the key")]
    drained = eve.drain("twitter", "a move")
    assert (drained.order, drained.is_done, drained.before, order()) == ("pause", False, first, first)
    assert len(fleet.audit(10)) == len(said), "a drain that is not done has no line"
    assert operator.resume("twitter").before == first
    assert eve.drain("twitter", "a move").before is None
    drained = order()
    assert (drained.what, drained.who, drained.why) == ("drain", "eve", "a move")
    assert drained.since > first.since
    assert operator.drain("twitter").before == drained == order()
    assert operator.resume("twitter").before == drained
    assert operator.resume("twitter").before is None
    operator.pause("twitter")
    assert order().since > drained.since
    # Whoever may write to Redis may have written it.
    for damaged in ("x", "1 2", f"{2**60} 1", "5 -1"):
        store.client.hset(store.keys.state("twitter"), "order_since", damaged)
        assert eve.pause("twitter").before == order()
    assert order().who == "ada@desk"


def test_who_resumes_is_told_who_else_had_stopped_it(
    settings: Settings, store: Store, operator: Operator
) -> None:
    """The second of two who pause believes that his pause stands, and the first of them ends it."""
    fleet = Fleet(settings, store)
    eve, bob = fleet.as_operator("eve"), fleet.as_operator("bob")
    bob.pause("reddit", "another source")
    bob.drain("twitter", "a move")
    operator.pause("twitter", "the bill")
    eve.pause("twitter")
    eve.pause("twitter", "the key")
    operator.pause("twitter")
    found = operator.resume("twitter")
    assert [(line.who, line.what, line.why) for line in found.others] == [
        ("eve", "queue.pause", "the key"),
        ("bob", "queue.drain", "a move"),
    ]
    assert re.search(
        r"by ada@desk: the bill; eve had paused it as well at [\d: -]+ UTC: the key; bob had drai", f"{found}"
    )
    operator.pause("twitter")
    assert operator.resume("twitter").others == (), "they were told of at the resume before"
    # Whoever may write to Redis may have written it.
    operator.pause("twitter")
    store.client.set(store.keys.audit, "banana", ex=60)
    with pytest.raises(Refused):
        operator.resume("twitter")
    assert next(one.order for one in fleet.status().sources if one.name == "twitter") is None


def test_what_comes_too_late_to_be_said_again_is_not_said_to_be(
    settings: Settings, store: Store, operator: Operator
) -> None:
    """Somebody has said something else meanwhile: that stands, and the audit had the old order once more."""
    for _ in range(2):
        operator.drain("twitter")
    standing_of(store)._say_again(Thing("order", "twitter"), Said("pause", 1, "eve"))
    assert {line.who for line in Fleet(settings, store).audit(10)} == {"ada@desk"}


def test_limits_that_are_set_again_are_so_by_who_set_them_first(
    settings: Settings, store: Store, server: Server, operator: Operator, look: Look
) -> None:
    """By whom, why and since when was forgotten, by somebody who changed nothing."""
    fleet = Fleet(settings, store)
    eve = fleet.as_operator("eve")

    def bound() -> Any:
        return next(one.bound for one in fleet.status().sources if one.name == "twitter")

    operator.set_limits("twitter", [Limit(5, 60.0)], "shared")
    first, file = bound(), server.client.dump(store.keys.state("twitter"))
    for _ in range(2):
        found = eve.set_limits("twitter", [Limit(5, 60.0)], "another reason")
        assert (found.bound_before, found.is_unchanged, bound()) == (first, True, first)
    assert "; nothing is changed: it was 5/1m since " in f"{found}"
    assert f"{found}".endswith("by ada@desk: shared")
    assert [line.who for line in fleet.audit(10)] == ["ada@desk"]
    # It is said later than what was said in between all the same, where Redis is back from an old file.
    eve.set_limits("twitter", [Limit(4, 60.0)])
    look()
    server.client.restore(store.keys.state("twitter"), 10_000, file, replace=True)
    assert eve.set_limits("twitter", [Limit(5, 60.0)]).is_unchanged
    look()
    assert bound() == first
    assert eve.unset_limits("twitter").bound_before == first
    assert not eve.set_limits("twitter", [Limit(5, 60.0)]).is_unchanged
    assert (bound().who, bound().since > first.since) == ("eve", True)


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
        "reddit": (("5/1m",), "ada@desk", "half"),
        "weights": {"desk/vip": 2.0},
    }


def test_what_an_older_file_does_not_have_is_said_again(
    settings: Settings, store: Store, server: Server, operator: Operator, look: Look
) -> None:
    """Redis is back from a snapshot of some minutes ago, with the looser limit that stood then."""
    operator.set_limits("reddit", [Limit(10, 60.0)], "first")
    operator.pause("twitter")
    operator.set_weight("desk/vip", 4.0)
    keys = [store.keys.state("twitter"), store.keys.state("reddit"), store.keys.weights]
    old: list[Any] = [server.client.dump(key) for key in keys]
    operator.set_limits("reddit", [Limit(2, 60.0)], "then")
    operator.resume("twitter")
    operator.unset_weight("desk/vip")
    for key, dumped in zip(keys, old, strict=True):
        server.client.restore(key, 600_000, dumped, replace=True)
    look()
    assert said(settings, store) == {
        "twitter": None,
        "reddit": (("2/1m",), "ada@desk", "then"),
        "weights": {},
    }
    # It was paused in the file, and is paused again before anybody has looked: that is later than the resume.
    server.client.restore(keys[0], 600_000, old[0], replace=True)
    operator.pause("twitter")
    look()
    assert said(settings, store)["twitter"] == ("pause", "ada@desk", "")


def test_a_process_that_comes_late_undoes_nothing(
    settings: Settings, store: Store, server: Server, operator: Operator, look: Look
) -> None:
    """It stood still, or was cut off, over a loss: it knows of the pause, and not that it was taken back."""
    late = Watch(settings, Store(settings))._step
    operator.pause("twitter")
    operator.set_limits("reddit", [Limit(5, 60.0)])
    operator.set_weight("desk/vip", 4.0)
    late()
    # Whether another says it again before it is taken back, or nobody does.
    for step in (look, lambda: None):
        server.client.flushall()
        step()
        operator.resume("twitter")
        operator.unset_limits("reddit")
        operator.unset_weight("desk/vip")
        late()
        look()
        assert said(settings, store) == {"twitter": None, "reddit": None, "weights": {}}
    # It had read what stood before that.
    standing_of(store).say(Thing("order", "twitter"), Said("pause", 1, "late"))
    assert said(settings, store)["twitter"] is None


def test_what_is_said_is_later_than_what_stands_whatever_the_clock_is(
    settings: Settings, store: Store, server: Server, operator: Operator, look: Look
) -> None:
    """Where the clock was set back, a resume had else no effect, or were undone."""
    key, ahead = store.keys.state("twitter"), int(9e14)
    operator.pause("twitter")
    what, since, *rest = server.client.hget(key, "order").split(b" ")  # type: ignore[union-attr]
    server.client.hset(key, "order", b" ".join([what, b"%d" % (int(since) + ahead), *rest]))
    look()
    operator.resume("twitter")
    look()
    assert said(settings, store)["twitter"] is None
    # A number that no clock has is none.
    server.client.hset(key, "order", b"pause 9%d eve " % 10**16)
    look()
    assert (server.client.hget(key, "order") or b"").startswith(b"resume")  # type: ignore[union-attr, arg-type]


def test_a_weight_that_an_earlier_release_has_set_holds_and_is_said_again(
    settings: Settings, store: Store, server: Server, operator: Operator, look: Look
) -> None:
    """It wrote the weight alone; processes of it may still read that."""
    server.client.hset(store.keys.weights, "desk/vip", "4")
    server.client.expire(store.keys.weights, 600)
    look()
    assert server.client.hget(store.keys.weights, "desk/vip") == b"4"
    assert said(settings, store)["weights"] == {"desk/vip": 4.0}
    server.client.flushall()
    look()
    assert said(settings, store)["weights"] == {"desk/vip": 4.0}
    operator.set_weight("desk/vip", 2.0)
    look()
    assert said(settings, store)["weights"] == {"desk/vip": 2.0}


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


def test_what_is_damaged_there_is_not_said_again_and_keeps_nothing_else_from_it(
    settings: Settings, store: Store, server: Server, operator: Operator, look: Look
) -> None:
    """Whoever may write to Redis may have written it."""
    twitter, reddit, weights = store.keys.state("twitter"), store.keys.state("reddit"), store.keys.weights
    texts: Any = {"order": "stop 1 eve ", "bound": "x:y 1 eve ", "desk/vip": "1e9 1 eve ", "bot": b"\xff"}
    for key in (twitter, reddit, weights):
        server.client.hset(key, mapping=texts)
        server.client.expire(key, 600)
    look()
    server.client.flushall()
    look()
    assert not server.client.exists(twitter, reddit, weights)
    operator.pause("twitter")
    server.client.flushall()
    for key in (reddit, weights):
        server.client.set(key, "x", ex=600)
    look()
    assert b"ada@desk" in (server.client.hget(twitter, "order") or b"")  # type: ignore[operator]


def test_what_is_taken_back_is_not_said_for_ever(settings: Settings, store: Store, look: Look) -> None:
    """A queue that was paused and resumed once was written, and shown, for as long as a fleet ran."""
    standing = standing_of(store)
    standing.say(Thing("order", "old_queue"), Said("resume", 1, "ada"))
    standing.say(Thing("weight", "desk/gone"), Said("-", 1, "ada"))
    store.client.flushall()
    look()
    assert store.client.hget(store.keys.state("old_queue"), "order") is None
    assert store.client.hgetall(store.keys.weights) == {}


def test_a_queue_is_paused_where_its_name_cannot_be_written(store: Store, operator: Operator) -> None:
    """What stands under the key of the names is another's: the order is none the less said."""
    store.client.set(store.keys.queues, "junk", ex=60)
    standing_of(store).say(Thing("order", "billing"), Said("pause", 1, "ada"))
    assert b"pause" in store.client.hget(store.keys.state("billing"), "order")


def test_a_name_in_redis_that_is_none_becomes_no_key(store: Store, settings: Settings) -> None:
    """Whoever may write one key would have any other read."""
    store.client.zadd(store.keys.queues, {"mail": 9e15, "x}:state{": 9e15, "a b": 9e15})
    store.client.expire(store.keys.queues, 60)
    assert {"x}:state{", "a b"}.isdisjoint(standing_of(store)._names())
    assert "mail" in standing_of(store)._names()
