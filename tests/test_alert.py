"""Alerts: each trouble that lasts is told of once, by one process of the fleet, and so is its end."""

from __future__ import annotations

import base64
import itertools
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tbcache.cli.alert import _state
from tbcache.fleet import Fleet, Incident, Trouble
from tbcache.fleet.alert import Delivery, Watch, Webhook, post, trial_message
from tbcache.fleet.alert import follow as follow_module
from tbcache.fleet.alert.follow import HOLD, follow
from tbcache.fleet.alert.memory import Memory
from tbcache.fleet.alert.message import message_of
from tbcache.fleet.alert.webhook import signature
from tbcache.fleet.incident import MOST, Incidents, Terms, stale
from tbcache.io import utc_now
from tbcache.io.redact import Redactor
from tbcache.models import FetchRequest
from tbcache.models.secret import SecretStr
from tbcache.settings import Settings
from tbcache.settings.alert import MOST_BYTES, read_rules, rule_for, secret_bytes
from tbcache.store import Store
from tests.cli.command import Done
from tests.cli.conftest import cli
from tests.cli.test_rights import user
from tests.cli.test_trouble import become_absent, say
from tests.providers.wire import Answer as Answering
from tests.providers.wire import always, answering
from tests.server import Server, free_port, wait_until

__all__ = ["cli"]

SettingsFor = Callable[..., Settings]
StoreFor = Callable[..., Store]
Cli = Callable[..., Done]

SECRET = f"whsec_{base64.b64encode(b'a' * 32).decode()}"
PAGE = Path(__file__).parents[1] / "docs" / "alerts.md"
NOW = utc_now()


def after(seconds: float) -> Any:
    return NOW + timedelta(seconds=seconds)


def hook(url: str, **rest: str) -> dict[str, str]:
    """The settings of a webhook, and a rule that waits for nothing."""
    rules = {"TBCACHE_ALERT_RULES": "*:0s"} | rest
    return {"TBCACHE_ALERT_WEBHOOK_URL": url, "TBCACHE_ALERT_WEBHOOK_SECRET": SECRET, **rules}


class Inbox:
    """What the receiver of the documentation has printed, and how often it was asked."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.url = ""

    def kinds(self) -> list[str]:
        return [one["type"] for one in self.bodies]


@pytest.fixture
def inbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Inbox]:
    """The receiver of docs/alerts.md, on a free port."""
    (code,) = [part.partition("```")[0] for part in PAGE.read_text("utf-8").split("```python\n")[1:]]
    monkeypatch.setenv("TBCACHE_ALERT_WEBHOOK_SECRET", SECRET)
    box = Inbox()

    def loads(body: bytes) -> Any:
        box.bodies.append(json.loads(body))
        return box.bodies[-1]

    there: dict[str, Any] = {"__name__": "receiver", "print": lambda text, flush: box.texts.append(text)}
    exec(compile(code, str(PAGE), "exec"), there)  # noqa: S102 -- what the documentation shows is run
    there["json"] = type("json", (), {"loads": staticmethod(loads)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), there["Receiver"])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    box.url = f"http://127.0.0.1:{server.server_port}/hook"
    try:
        yield box
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is gone has ended: the tests of `follow` move the clock instead."""
    monkeypatch.setattr(follow_module, "HOLD", timedelta(0))


@pytest.fixture
def watch_for() -> Iterator[Callable[..., Watch]]:
    watches: list[Watch] = []

    def build(settings: Settings, store: Store) -> Watch:
        watches.append(Watch(settings, store))
        return watches[-1]

    yield build
    for one in watches:
        one.stop()


def close(store: Store, is_closed: bool = True) -> None:
    """Have the upstream of reddit be closed, or open."""
    key, until = store.keys.state("stocktwits"), time.time() + 3600
    if is_closed:
        store.client.hset(key, mapping={"closed_until": int(until * 1e6), "closed_reason": "quota"})
        store.client.expire(key, 60)
    else:
        store.client.hdel(key, "closed_until", "closed_reason")


def looks(watch: Watch, until: Callable[[], bool]) -> None:
    """Have it look until that is so: what a hook answers is seen with the next look."""

    def look() -> bool:
        watch.look()
        return until()

    wait_until(look)


def sent(store: Store, settings: Settings) -> list[str]:
    return [one.sent for one in Fleet(settings, store).incidents()]


def test_who_watches_reads_no_answers(
    server: Server, settings: Settings, store: Store, watch_for: Callable[..., Watch]
) -> None:
    """It looks each five seconds, for ever: what no trouble needs is not asked for."""
    close(store)
    for symbol in settings.common_symbols:
        store.client.set(store.keys.entry(FetchRequest("stocktwits", symbol).key), b"x" * 100_000, ex=60)
    fleet = Fleet(settings, store)
    fleet.as_operator("ada").pause("reddit", "too dear")
    assert fleet.outline().troubles == fleet.status().troubles
    assert {"closed", "paused"} <= {one.kind for one in fleet.outline().troubles}
    watch = watch_for(settings, store)
    watch.look()
    before = server.client.info("stats")["total_net_output_bytes"]
    watch.look()
    assert server.client.info("stats")["total_net_output_bytes"] - before < 60_000
    assert watch._lease.token


# What becomes of an incident


class Following:
    """Follows troubles through time, by rules."""

    def __init__(self, rules: str) -> None:
        self.rules, self.known, self.ids = read_rules(rules), dict[str, Incident](), itertools.count()

    def see(self, at: Any, *troubles: Trouble) -> list[Incident]:
        found = follow(self.known.values(), troubles, at, self.rules, lambda: f"id-{next(self.ids)}")
        self.known |= {one.id: one for one in found}
        return found


def trouble(kind: str = "closed", source: str | None = "reddit", what: str = "reddit is closed") -> Trouble:
    return Trouble(kind, what, "wait", source)  # type: ignore[arg-type]


def test_a_trouble_is_opened_when_it_has_lasted_and_resolved_when_it_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who is called for each second of trouble turns the phone off."""
    monkeypatch.setattr(follow_module, "HOLD", HOLD)
    fleet = Following("closed@reddit:5m")
    (begun,) = fleet.see(after(0), trouble())
    assert (begun.began_at, begun.opened_at) == (NOW, None)
    assert fleet.see(after(299), trouble(what="reddit is closed, still")) == []
    (opened,) = fleet.see(after(300), trouble())
    assert (opened.opened_at, opened.unsent) == (after(300), "opened")
    (gone,) = fleet.see(after(400))
    assert (gone.gone_at, gone.ended_at) == (after(400), None)
    (over,) = fleet.see(after(460))
    assert (over.ended_at, over.resolved_at, over.unsent) == (after(400), after(460), "resolved")
    assert over.lasted(after(999)) == 400
    assert fleet.see(after(500)) == []


def test_what_comes_and_goes_is_told_of_ever_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that flaps each minute would be two messages a minute, all day."""
    monkeypatch.setattr(follow_module, "HOLD", HOLD)
    fleet, told = Following("*:0s"), 0
    for second in range(0, 3600, 5):
        # There for 70 s, then gone for 70 s.
        there = [trouble()] if second % 140 < 70 else []
        for one in fleet.see(after(second), *there):
            told += (one.opened_at == after(second)) + (one.resolved_at == after(second))
    assert 2 <= told <= 8
    assert max(one.times for one in fleet.known.values()) > 10


def test_troubles_of_one_kind_and_source_are_one_incident() -> None:
    """Five settings that differ are one thing to mend."""
    drift = [trouble("drift", "news", f"news: other {what}") for what in ("limits", "budgets")]
    (one,) = Following("*:0s").see(NOW, *drift)
    assert one.what == "news: other limits; news: other budgets"


def test_each_queue_of_a_user_has_its_incident_and_its_rule() -> None:
    """Of the second nobody was told, and the first had ended when the second was mended."""
    fleet = Following("*:0s,unserved@mail:never")
    billing, mail = (
        Trouble("unserved", f"the queue {name}: 1 queued", "start one", queue=name)
        for name in ("billing", "mail")
    )
    found = {one.name: one for one in fleet.see(NOW, billing, mail)}
    assert {name: one.unsent for name, one in found.items()} == {"billing": "opened", "mail": ""}
    told = message_of(found["billing"], "opened", "a-fleet", Redactor(()))
    assert json.loads(told.body)["data"]["queue"] == "billing"
    (gone,) = fleet.see(after(5), mail)
    assert (gone.queue, gone.gone_at) == ("billing", after(5))


def test_who_is_told_is_told_what_is_wrong_by_then() -> None:
    """After five minutes another queue has no worker either, and of the first one knows more."""
    fleet = Following("unserved:5m")
    fleet.see(NOW, trouble("unserved", None, "a: 1 queued"))
    (told,) = fleet.see(
        after(300), trouble("unserved", None, "a: 9 queued"), trouble("unserved", None, "b: 5 queued")
    )
    assert (told.unsent, told.what) == ("opened", "a: 9 queued; b: 5 queued")


def test_who_looks_reads_by_whom_a_source_is_stopped_now() -> None:
    """It was drained by one, and paused by another between two looks: that is one incident."""
    fleet = Following("paused:0s")
    fleet.see(NOW, trouble("paused", what="reddit is drained by hal: a move"))
    (now,) = fleet.see(after(5), trouble("paused", what="reddit is paused by ada: the key leaks"))
    assert (now.began_at, now.what) == (NOW, "reddit is paused by ada: the key leaks")
    assert fleet.see(after(10), trouble("paused", what="reddit is paused by ada: the key leaks")) == []


def test_a_trouble_that_began_long_ago_is_told_of_at_once() -> None:
    """A process that begins to watch finds what has been wrong since the night."""
    since = after(-3600)
    (one,) = Following("closed:5m").see(NOW, Trouble("closed", "x", "y", "reddit", since))
    assert (one.began_at, one.opened_at) == (since, NOW)


@pytest.mark.parametrize(
    ("kind", "source", "rule"),
    [
        ("closed", "reddit", "closed@reddit:1m"),
        ("closed", "news", "closed:2m"),
        ("failing", "news", "*@news:never"),
        ("failing", "reddit", "*:4m"),
        ("drift", None, "*:4m"),
    ],
)
def test_the_rule_that_says_most_is_the_one(kind: str, source: str | None, rule: str) -> None:
    """One line for all, and one for each exception."""
    rules = read_rules("*:4m, *@news:never, closed:2m, closed@reddit:1m")
    assert str(rule_for(rules, kind, source)) == rule


def test_what_no_rule_names_is_kept_and_nobody_is_told() -> None:
    """What changed in the last hour is asked of all."""
    for rules in ("closed:1m", "drift:never"):
        fleet = Following(rules)
        fleet.see(NOW, trouble("drift", None))
        (one,) = fleet.see(after(86_400))
        (one,) = fleet.known.values()
        assert (one.opened_at, one.resolved_at, one.unsent) == (None, None, "")


def test_incidents_do_not_pile_up() -> None:
    """Redis holds the queue, and must not fill up with what has been."""
    fleet = Following("*:0s")
    for number in range(MOST + 5):
        fleet.see(after(number), trouble("dead_letters", f"s{number}"))
        fleet.see(after(number + 0.5))
    fleet.see(after(MOST + 5))
    assert stale(fleet.known.values(), after(600)) == [f"id-{number}" for number in range(5)]
    assert len(stale(fleet.known.values(), after(8 * 86_400))) == MOST + 5


# Over a fleet


def test_one_process_tells_once_and_the_next_neither_repeats_nor_forgets(
    server: Server,
    settings_for: SettingsFor,
    store_for: StoreFor,
    store: Store,
    watch_for: Callable[..., Watch],
    inbox: Inbox,
) -> None:
    """Ten processes that each tell are ten calls, and one that dies with the word in hand is none."""
    settings = settings_for(server, **hook(inbox.url))
    first, second = (watch_for(settings, store_for(server)) for _ in range(2))
    close(store)
    for one in (first, second):
        one.look()
    looks(first, lambda: sent(store, settings) == ["opened"])
    second.look()
    first.stop()
    second.look()
    assert second._lease.token > 0
    close(store, is_closed=False)
    looks(second, lambda: sent(store, settings) == ["resolved"])
    assert inbox.kinds() == ["trouble.opened", "trouble.resolved"]
    opened, resolved = (one["data"] for one in inbox.bodies)
    assert opened["id"] == resolved["id"]
    assert (opened["kind"], opened["source"], opened["ended_at"]) == ("closed", "stocktwits", None)
    assert resolved["lasted_seconds"] >= 0
    assert "resolved after" in inbox.texts[1]


def test_what_a_former_leader_writes_is_refused(
    server: Server, store: Store, store_for: StoreFor, settings: Settings
) -> None:
    """One that stood still for a minute would bring back what the other has resolved."""
    from tbcache.fleet.alert.lease import Lease

    old, new = Lease(store, "old"), Lease(store_for(server), "new")
    assert old.take()
    assert not new.take()
    (one,) = Following("*:0s").see(NOW, trouble())
    assert Incidents(store).write(old.token, [one])
    old_token = old.token
    old.resign()
    assert new.take()
    assert new.token > old_token
    assert not Incidents(store).write(old_token, [], [one.id])
    assert Fleet(settings, store).incidents() == [one]
    assert Incidents(store).write(new.token, [], [one.id])
    assert Fleet(settings, store).incidents() == []


def test_redis_away_is_told_by_the_last_that_watched_and_stands_beside_the_others(
    private_server: Server,
    settings_for: SettingsFor,
    store_for: StoreFor,
    watch_for: Callable[..., Watch],
    inbox: Inbox,
) -> None:
    """Nobody can look up in Redis whether somebody has told of it."""
    settings = settings_for(private_server, **hook(inbox.url))
    first, second = (watch_for(settings, store_for(private_server)) for _ in range(2))
    for one in (first, second):
        one.look()
    private_server.kill()
    second.look()
    looks(first, lambda: inbox.kinds() == ["trouble.opened"])
    private_server.start()
    looks(first, lambda: inbox.kinds() == ["trouble.opened", "trouble.resolved"])
    assert {one["data"]["kind"] for one in inbox.bodies} == {"redis_away"}
    store = store_for(private_server)
    looks(first, lambda: sent(store, settings) == ["resolved"])
    second.look()
    assert len(inbox.bodies) == 2
    # One that stood still has been followed by another, though Redis is away by the time it goes on.
    first._lease._held_at -= 100
    private_server.kill()
    looks(first, lambda: first._lease.token == 0)
    first.look()
    assert len(inbox.bodies) == 2
    private_server.start()


def test_an_outage_goes_on_with_whoever_watches_next(
    private_server: Server,
    settings_for: SettingsFor,
    store_for: StoreFor,
    watch_for: Callable[..., Watch],
    inbox: Inbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that comes and goes would be told by each process that watched meanwhile, and again each time."""
    settings = settings_for(private_server, **hook(inbox.url))
    first, second = (watch_for(settings, store_for(private_server)) for _ in range(2))
    monkeypatch.setattr(follow_module, "HOLD", HOLD)
    first.look()
    private_server.kill()
    looks(first, lambda: inbox.kinds() == ["trouble.opened"])
    looks(first, lambda: not first._post._courier.in_hand)  # type: ignore[union-attr]
    private_server.start()
    looks(second, lambda: second._lease.token > 0)
    store = store_for(private_server)
    looks(first, lambda: sent(store, settings) == ["opened"])
    looks(second, lambda: [one.gone_at is not None for one in second._known.values()] == [True])
    private_server.kill()
    looks(second, lambda: [one.times for one in second._known.values()] == [2])
    private_server.start()
    monkeypatch.setattr(follow_module, "HOLD", timedelta(0))
    looks(second, lambda: len(inbox.bodies) == 2)
    assert inbox.kinds() == ["trouble.opened", "trouble.resolved"]
    assert len({one["data"]["id"] for one in inbox.bodies}) == 1
    # What somebody was told of a moment ago must last before it is told of again, Redis emptied or not.
    looks(second, lambda: [one.sent for one in second._known.values()] == ["resolved"])
    monkeypatch.setattr(follow_module, "HOLD", HOLD)
    private_server.kill()
    looks(second, lambda: len(second._known) == 2)
    second.look()
    assert [one.opened_at for one in second._known.values() if one.ended_at is None] == [None]
    private_server.start()


def test_two_incidents_of_one_trouble_both_end() -> None:
    """Of two processes each may have begun one, and a pager would ring for ever."""
    fleet = Following("*:0s")
    (older,) = fleet.see(NOW, trouble())
    fleet.known["other"] = replace(older, id="other", began_at=after(5))
    fleet.see(after(10), trouble())
    fleet.see(after(11), trouble())
    assert [one.ended_at is None for one in fleet.known.values()] == [True, False]
    assert fleet.known["other"].unsent == "resolved"


def test_an_incident_outlives_that_redis_is_emptied(
    server: Server,
    settings_for: SettingsFor,
    store_for: StoreFor,
    store: Store,
    watch_for: Callable[..., Watch],
    inbox: Inbox,
) -> None:
    """It is not told again while it lasts, and its end is."""
    settings = settings_for(server, **hook(inbox.url))
    first, second = (watch_for(settings, store_for(server)) for _ in range(2))
    close(store)
    looks(first, lambda: sent(store, settings) == ["opened"])
    for watch in (first, second):
        # Whoever takes over has kept it in mind.
        second.look()
        store.client.delete(store.keys.incidents, store.keys.alert_lease)
        watch.look()
        assert watch._lease.token > 0
        assert sent(store, settings) == ["opened"]
    close(store, is_closed=False)
    looks(second, lambda: sent(store, settings) == ["resolved"])
    assert inbox.kinds() == ["trouble.opened", "trouble.resolved"]
    assert len({one["data"]["id"] for one in inbox.bodies}) == 1
    # What comes and goes is known by what was told of a moment ago.
    store.client.delete(store.keys.incidents)
    second.look()
    assert sent(store, settings) == ["resolved"]


def test_old_incidents_are_removed(
    server: Server, store: Store, settings: Settings, watch_for: Callable[..., Watch]
) -> None:
    """Redis is no archive."""
    (one,) = Following("*:0s").see(NOW, trouble())
    old = replace(one, ended_at=after(-8 * 86_400))
    store.client.hset(store.keys.incidents, one.id, msgspec.json.encode(old))
    store.client.expire(store.keys.incidents, 60)
    watch_for(settings, store).look()
    assert Fleet(settings, store).incidents() == []


@pytest.mark.parametrize("what", ["list", "no end", "no name"])
def test_a_damaged_lease_is_taken_over(
    store: Store, settings: Settings, watch_for: Callable[..., Watch], what: str
) -> None:
    """Nobody was told of anything, for ever, and nobody said so."""
    key = store.keys.alert_lease
    if what == "list":
        store.client.rpush(key, "x")
    else:
        store.client.set(key, "5 ghost" if what == "no end" else "ghost", ex=None if what == "no end" else 60)
    assert Fleet(settings, store).watcher().name is None if what == "no end" else True
    watch = watch_for(settings, store)
    watch.look()
    # Higher than any that ever was, so that nobody who stood still writes with it.
    assert watch._lease.token > 10**15
    assert Fleet(settings, store).watcher().name == watch._lease._name
    assert 0 < store.client.pttl(key) <= 15_000


def test_a_lease_that_redis_refuses_is_a_trouble(
    cli: Cli, server: Server, settings_for: SettingsFor, watch_for: Callable[..., Watch], caplog: Any
) -> None:
    """Nobody can be told by the webhook that nobody is told."""
    keys = ("resetkeys", "~trading_bot:{[^a]*", "~trading_bot:[^{]*", "~trading_bot:{alert}:[^l]*")
    with user(server, *keys) as url, closing(Store(settings_for(server, REDIS_URL=url))) as store:
        watch_for(settings_for(server, REDIS_URL=url), store).look()
        seen = cli("status", "--check", REDIS_URL=url)
        listed = cli("alert", is_terminal=True, REDIS_URL=url)
    assert seen.code == 1
    assert (
        "nobody is told of troubles: the lease trading_bot:{alert}:lease cannot be read (NOPERM" in seen.out
    )
    assert "alert.unwatched" in [record.msg for record in caplog.records]
    assert "cannot be read" in listed.err


@pytest.mark.parametrize("junk", [b"{", b"7", b'{"id":"x"}', b'{"id":7}'])
def test_what_is_damaged_is_no_incident(
    server: Server, store: Store, settings: Settings, watch_for: Callable[..., Watch], junk: bytes
) -> None:
    """Others write to Redis too."""
    (one,) = Following("*:0s").see(NOW, trouble(what="a\x1b[2J"))
    naive = msgspec.json.encode(one).replace(b"Z", b"")
    store.client.hset(store.keys.incidents, "c", msgspec.json.encode(one))
    store.client.hset(store.keys.incidents, mapping={"a": junk, "b": naive, one.id: msgspec.json.encode(one)})
    store.client.expire(store.keys.incidents, 60)
    (read,) = Fleet(settings, store).incidents()
    assert read.what == "a?[2J"
    watch_for(settings, store).look()
    # They would be read at each look, and stand in the way of those that are.
    assert list(store.client.hkeys(store.keys.incidents)) == [one.id.encode()]


def test_a_key_of_another_type_stops_no_alert(
    server: Server,
    settings_for: SettingsFor,
    store: Store,
    watch_for: Callable[..., Watch],
    inbox: Inbox,
) -> None:
    """Whoever holds the lease goes by its own memory."""
    store.client.set(store.keys.incidents, "x", ex=60)
    close(store)
    watch = watch_for(settings_for(server, **hook(inbox.url)), store)
    looks(watch, lambda: inbox.kinds() == ["trouble.opened"])
    watch.look()
    assert inbox.kinds() == ["trouble.opened"]


def test_a_worker_that_is_gone_is_told_of(
    server: Server,
    settings_for: SettingsFor,
    store: Store,
    watch_for: Callable[..., Watch],
    inbox: Inbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The fleet's own troubles are those of the status."""
    monkeypatch.setattr("tbcache.fleet.look.STARTING_SECONDS", 0.0)
    settings = settings_for(server, **hook(inbox.url))
    say(store, settings, "worker", "w-1")
    become_absent(store, "w-1", timedelta(minutes=5))
    looks(watch_for(settings, store), lambda: len(inbox.bodies) == 1)
    assert inbox.bodies[0]["data"]["todo"] == "start one with `tbcache worker`"
    assert inbox.bodies[0]["data"]["lasted_seconds"] >= 300


# The webhook


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """Their published example: any of their libraries can check ours."""
    secret = SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    found = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_receiver_of_the_page_refuses_what_is_not_ours(inbox: Inbox) -> None:
    """One that accepts anything lets anybody call out the operator."""
    assert Webhook(SecretStr(inbox.url), SecretStr(SECRET)).send(trial_message("a")).is_accepted
    other = SecretStr(f"whsec_{base64.b64encode(b'b' * 32).decode()}")
    assert Webhook(SecretStr(inbox.url), other).send(trial_message("a")).status == 401
    assert inbox.kinds() == ["test"]


def _hang(connection: socket.socket, request: bytes) -> None:
    connection.recv(1)


def _drip(connection: socket.socket, request: bytes) -> None:
    while True:
        connection.sendall(b"HTTP/1.1 200 OK\r\n"[:1])
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        (_hang, None, "no answer"),
        (_drip, None, "no answer|failed"),
        (always(b"nonsense\r\n\r\n"), None, "the exchange failed|no answer"),
        (always(b"HTTP/1.1 500 No\r\n\r\n"), 500, "500"),
        (always(b"HTTP/1.1 302 There\r\nlocation: http://127.0.0.1:1/\r\n\r\n"), 302, "not followed"),
        (always(b"HTTP/1.1 200 OK\r\n\r\n", again=b"x" * 65536), 200, "200"),
    ],
)
def test_whatever_a_hook_answers_a_try_is_bounded(answer: Answering, status: int | None, reason: str) -> None:
    """The next message waits behind it."""
    with answering(answer) as url:
        found = Webhook(SecretStr(url), SecretStr(SECRET), try_seconds=0.3 if status is None else 30).send(
            trial_message("a")
        )
    assert found.status == status
    assert any(one in found.reason for one in reason.split("|"))


@pytest.mark.parametrize("host", [f"{'a' * 64}.test", "a..b"])
def test_a_host_that_is_none_is_an_answer(host: str) -> None:
    """An error in the thread would leave the message in hand for ever."""
    answer = Webhook(SecretStr(f"https://{host}/"), SecretStr(SECRET)).send(trial_message("a"))
    assert answer.status is None
    assert answer.reason


def test_what_is_answered_shows_nothing_of_the_url() -> None:
    """The paths of many webhooks are credentials."""
    webhook = Webhook(SecretStr(f"http://127.0.0.1:{free_port()}/hunter2?key=hunter2"), SecretStr(SECRET))
    answer = webhook.send(trial_message("a"))
    assert (answer.status, answer.reason) == (None, "no connection")
    assert "hunter2" not in f"{answer} {webhook.address} {vars(webhook)}"


def test_no_words_of_others_call_all_of_a_channel() -> None:
    """They may be an upstream's, or an operator's."""
    (one,) = Following("*:0s").see(NOW, trouble(what="x <!channel> @everyone me@here.org"))
    body = json.loads(message_of(one, "opened", "ns", Redactor()).body)
    assert body["text"] == "[ns] x (channel) (everyone) me@here.org (for 0 s)"


def test_no_credential_leaves_by_the_webhook() -> None:
    """A job that died quotes its error, and that the URL of Redis."""
    words = "news: 1 queued fetch died: no login at redis://:hunter2-redis@x/0, Authorization: Bearer hunter2"
    (one,) = Following("*:0s").see(NOW, Trouble("dead_letters", words, f"see {words}", "news"))
    body = message_of(one, "opened", "a", Redactor(["hunter2-redis"])).body
    assert b"hunter2" not in body
    assert body.count(b"1 queued fetch died: no login at redis://***@x/0, Authorization: ***") == 3


def test_a_hook_that_hangs_delays_nothing(
    server: Server, settings_for: SettingsFor, store: Store, watch_for: Callable[..., Watch]
) -> None:
    """The look at the fleet goes on meanwhile, and the thread is known by its name."""
    asked, release = threading.Event(), threading.Event()

    def hang(connection: socket.socket, request: bytes) -> None:
        asked.set()
        release.wait(60)

    with answering(hang) as url:
        settings = settings_for(server, **hook(url))
        watch = watch_for(settings, store)
        close(store)
        watch.look()
        assert asked.wait(30)
        assert "tbcache-webhook" in {thread.name for thread in threading.enumerate()}
        close(store, is_closed=False)
        looks(watch, lambda: Fleet(settings, store).incidents()[0].ended_at is not None)
        assert not release.is_set()
        release.set()


@contextmanager
def replying(*statuses: str) -> Iterator[tuple[str, list[bytes]]]:
    """A hook that answers with these one after the other, the last again and again; what it was sent."""
    asked: list[bytes] = []

    def answer(connection: socket.socket, request: bytes) -> None:
        asked.append(request)
        status = statuses[min(len(asked), len(statuses)) - 1]
        connection.sendall(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())

    with answering(answer) as url:
        yield url, asked


def ids(asked: list[bytes]) -> set[bytes]:
    return {line for one in asked for line in one.lower().splitlines() if line.startswith(b"webhook-id")}


def test_a_message_that_fails_is_sent_again_under_the_same_id(
    server: Server,
    settings_for: SettingsFor,
    store: Store,
    watch_for: Callable[..., Watch],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A receiver that was just being restarted is told all the same, and knows a message that it has had."""
    monkeypatch.setattr(post, "RETRY_SECONDS", (0.0, 0.0, 0.0))
    # What was not accepted is none of the messages of an hour.
    monkeypatch.setattr(post, "MOST_AN_HOUR", 1)
    with replying("500 No", "503 No", "204 Yes") as (url, asked):
        settings = settings_for(server, **hook(url))
        close(store)
        looks(watch_for(settings, store), lambda: sent(store, settings) == ["opened"])
    assert (len(asked), len(ids(asked))) == (3, 1)


def test_a_hook_that_is_back_is_told_at_once_of_all_that_is_wrong(
    server: Server,
    settings_for: SettingsFor,
    store: Store,
    watch_for: Callable[..., Watch],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It had answered for half an hour, and knew of none of the troubles that were open."""
    monkeypatch.setattr(post, "RETRY_SECONDS", (3600.0,))
    with replying("500 No", "204 Yes") as (url, asked):
        settings = settings_for(server, **hook(url))
        close(store)
        Fleet(settings, store).as_operator("ada").pause("stocktwits")
        looks(watch_for(settings, store), lambda: sent(store, settings) == ["opened"] * 2)
    assert (len(asked), len(ids(asked))) == (3, 2)


def test_a_message_that_fails_too_often_is_given_up_and_said_so(
    server: Server,
    settings_for: SettingsFor,
    store: Store,
    watch_for: Callable[..., Watch],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It would be sent until the end of time, and the log is what is left."""
    monkeypatch.setattr(post, "RETRY_SECONDS", (0.0, 0.0))
    with replying("500 No") as (url, asked):
        settings = settings_for(server, **hook(url))
        close(store)
        watch = watch_for(settings, store)
        looks(watch, lambda: sent(store, settings) == ["opened"])
        watch.look()
    assert len(asked) == 3
    # It is not called told.
    assert _state(Fleet(settings, store).incidents()[0]) == "open, given up (tries: 3)"
    assert "alert.given_up" in [record.msg for record in caplog.records]


def test_a_hook_that_is_gone_is_asked_no_more(
    server: Server,
    settings_for: SettingsFor,
    store: Store,
    watch_for: Callable[..., Watch],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """410 means that nobody wants them; the log still has every event."""
    caplog.set_level(logging.INFO)
    with replying("410 Gone") as (url, asked):
        settings = settings_for(server, **hook(url))
        close(store)
        watch = watch_for(settings, store)
        looks(watch, lambda: bool(store.client.exists(store.keys.alert_gone)))
        # It has not taken that: where it accepts a test, it is told of what is wrong still.
        (one,) = Fleet(settings, store).incidents()
        assert (one.sent, _state(one), watch._post.awaits(one, utc_now())) == ("", "open, in the log", False)
        store.client.unlink(store.keys.alert_gone)
        watch._post.look()
        assert watch._post.awaits(one, utc_now())
        watch._post._gone.set()  # type: ignore[union-attr]
        close(store, is_closed=False)
        looks(watch, lambda: Fleet(settings, store).incidents()[0].resolved_at is not None)
        watch.look()
        assert watch._post._courier.in_hand == 0  # type: ignore[union-attr]
    assert len(asked) == 1
    said = [record.msg for record in caplog.records if record.name == "tbcache.alert"]
    assert said == ["trouble.began", "alert.opened", "alert.hook_gone", "trouble.ended", "alert.resolved"]
    assert url not in caplog.text.replace("127.0.0.1", "")
    assert SECRET not in caplog.text


def test_a_hook_that_is_gone_is_so_for_all_until_it_takes_a_test(
    server: Server, settings_for: SettingsFor, store_for: StoreFor, watch_for: Callable[..., Watch], cli: Cli
) -> None:
    """Each process that took over asked once more."""
    with replying("410 Gone") as (url, asked):
        settings, store = settings_for(server, **hook(url)), store_for(server)
        close(store)
        first = watch_for(settings, store)
        looks(first, lambda: bool(store.client.exists(store.keys.alert_gone)))
        first.stop()
        close(store, is_closed=False)
        second = watch_for(settings, store)
        looks(second, lambda: Fleet(settings, store).incidents()[0].resolved_at is not None)
        second.look()
        assert second._post._courier.in_hand == 0  # type: ignore[union-attr]
        assert (len(asked), 0 < store.client.ttl(store.keys.alert_gone) <= 7 * 86400) == (1, True)
        variables = {**hook(url), "REDIS_URL": server.url}
        assert cli("alert", "test", **variables).code == 1
        assert store.client.exists(store.keys.alert_gone)
    with replying("204 No Content") as (other, _):
        assert cli("alert", "test", **{**variables, **hook(other)}).data["is_accepted"]
    assert not store.client.exists(store.keys.alert_gone)


def test_an_outage_that_was_told_is_told_to_be_over_by_whoever_is_started_next(
    private_server: Server,
    settings_for: SettingsFor,
    store_for: StoreFor,
    watch_for: Callable[..., Watch],
    inbox: Inbox,
) -> None:
    """To start the workers again is what one does first, and a pager rang for ever."""
    settings = settings_for(private_server, **hook(inbox.url))
    first = watch_for(settings, store_for(private_server))
    first.look()
    private_server.kill()
    looks(first, lambda: inbox.kinds() == ["trouble.opened"])
    looks(first, lambda: [one.sent for one in first._known.values()] == ["opened"])
    first.stop()
    next_one, other = (watch_for(settings, store_for(private_server)) for _ in range(2))
    next_one.look()
    (file,) = (settings.data_dir / "alerts" / "trading_bot").iterdir()
    assert file.stat().st_mode & 0o077 == 0
    private_server.start()
    looks(next_one, lambda: inbox.kinds() == ["trouble.opened", "trouble.resolved"])
    looks(next_one, lambda: not file.exists())
    # The inbox has a message before the one that sent it has the answer.
    store = store_for(private_server)
    looks(next_one, lambda: sent(store, settings) == ["resolved"])
    # One that was started in that folder as well, and is late, begins nothing anew.
    other.look()
    assert sent(store, settings) == ["resolved"]
    assert len({one["data"]["id"] for one in inbox.bodies}) == 1


def test_what_lies_in_the_folder_counts_where_it_is_ours_alone(tmp_path: Path) -> None:
    """Anyone can plant files in a folder that is shared."""
    memory = Memory(tmp_path, "ns")
    one = replace(Following("*:0s").see(NOW, trouble())[0], id="a" * 16)
    memory.write(one)
    (file,) = (tmp_path / "alerts" / "ns").iterdir()
    assert memory.read() == [one]
    file.chmod(0o644)
    assert memory.read() == []
    file.chmod(0o600)
    file.write_bytes(b"{")
    assert memory.read() == []
    file.write_bytes(msgspec.json.encode(one))
    file.rename(file.with_name("0" * 16 + ".json"))
    assert memory.read() == []
    memory.forget("0" * 16)
    memory.forget("0" * 16)
    assert list(file.parent.iterdir()) == []


def test_messages_are_bounded_in_number(
    server: Server,
    settings_for: SettingsFor,
    store: Store,
    watch_for: Callable[..., Watch],
    inbox: Inbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fleet that falls apart would have a phone ring for each part."""
    monkeypatch.setattr(post, "MOST_AN_HOUR", 2)
    settings = settings_for(server, **hook(inbox.url))
    watch = watch_for(settings, store)
    for source in ("stocktwits", "a", "b", "c"):
        store.client.hset(store.keys.state(source), "order", f"pause {int(time.time() * 1e6)} ada ")
        store.client.expire(store.keys.state(source), 60)
        store.client.zadd(store.keys.names, {source: int(time.time() * 1e6)})
    store.client.expire(store.keys.names, 60)
    looks(watch, lambda: sent(store, settings).count("opened") == 2)
    watch.look()
    assert len(inbox.bodies) == 2
    assert len(Fleet(settings, store).incidents()) == 4
    # Who was told that it began is told at once that it is over.
    for source in ("stocktwits", "a", "b", "c"):
        store.client.hdel(store.keys.state(source), "order")
    looks(watch, lambda: len(inbox.bodies) == 4)
    watch.look()
    assert inbox.kinds() == ["trouble.opened"] * 2 + ["trouble.resolved"] * 2
    looks(watch, lambda: sent(store, settings).count("resolved") == 2)
    assert len(watch._post._told_at) == 2
    assert len({one["data"]["id"] for one in inbox.bodies}) == 2


def test_a_message_that_nobody_took_to_the_hook_is_no_try(
    server: Server,
    settings_for: SettingsFor,
    store: Store,
    watch_for: Callable[..., Watch],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that wait behind one that hangs would be given up without ever having been sent."""
    monkeypatch.setattr(post, "MOST_IN_HAND", 1)
    monkeypatch.setattr(post, "RETRY_SECONDS", (0.0,))
    asked, release = threading.Event(), threading.Event()

    def hang(connection: socket.socket, request: bytes) -> None:
        asked.set()
        release.wait(60)

    for source in ("stocktwits", "a"):
        store.client.hset(store.keys.state(source), "order", f"pause {int(time.time() * 1e6)} ada ")
        store.client.expire(store.keys.state(source), 60)
    store.client.zadd(store.keys.names, {"a": int(time.time() * 1e6)})
    store.client.expire(store.keys.names, 60)
    with answering(hang) as url:
        settings = settings_for(server, **hook(url))
        watch = watch_for(settings, store)
        watch.look()
        assert asked.wait(30)
        for _ in range(3):
            watch.look()
        assert sorted(one.tries for one in Fleet(settings, store).incidents()) == [0, 1]
        release.set()


def test_who_is_told_late_is_told_of_what_is_wrong_now(settings_for: SettingsFor, server: Server) -> None:
    """A webhook that is set after a week hears nothing of the week."""
    queue = post.Post(Webhook.of(settings_for(server, **hook("http://127.0.0.1:1"))), "a", Redactor())
    fleet = Following("*:0s")
    fleet.see(NOW, trouble())
    fleet.see(after(1))
    fleet.see(after(2))
    (over,) = fleet.known.values()
    (going,) = Following("*:0s").see(NOW, trouble())
    assert [one.unsent for one in queue.due([over, going], after(60))] == ["opened", "resolved"]
    waiting = replace(going, tries=2, next_try_at=after(600))
    assert queue.due([waiting], after(60)) == []
    # One that is tried early, as the hook is back, loses no try.
    queue._takes = True
    assert [one.tries for one in (*queue.due([waiting], after(60)), *queue.due([waiting], after(600)))] == [
        2,
        3,
    ]
    for hours, is_told in ((1, True), (3, False)):
        assert queue.awaits(over, after(3600 * hours)) is is_told
        assert queue.awaits(going, after(3600 * hours))
    queue.stop()


def test_a_retry_after_is_kept_to_within_bounds() -> None:
    """A receiver under load says when it wants to be asked again."""
    with replying("429 Later\r\nretry-after: 99999", "429 Later\r\nretry-after: soon") as (url, _):
        webhook = Webhook(SecretStr(url), SecretStr(SECRET))
        found: list[Delivery] = [webhook.send(trial_message("a")) for _ in range(2)]
    assert [one.retry_after for one in found] == [3600.0, 0.0]


@pytest.mark.parametrize("secret", ["", "hunter2", "whsec_", f"whsec_{'A' * 28}", "whsec_ä", SECRET[6:]])
def test_a_secret_that_is_none_is_refused_and_not_quoted(secret: str) -> None:
    """A short one can be guessed, and an error goes into logs."""
    with pytest.raises(ValueError, match="it should be whsec_ and 24 to") as caught:
        secret_bytes(secret)
    assert not secret[6:] or secret not in str(caught.value)
    assert len(secret_bytes(f"whsec_{base64.b64encode(b'a' * MOST_BYTES).decode()}")) == MOST_BYTES


# The command


def test_the_command_lists_rules_and_incidents(
    cli: Cli, server: Server, store: Store, settings_for: SettingsFor, watch_for: Callable[..., Watch]
) -> None:
    """What an operator asks in the morning: what has been."""
    close(store)
    watch_for(settings_for(server, TBCACHE_ALERT_RULES="*:0s"), store).look()
    data = cli("alert", REDIS_URL=server.url).data
    # They are those of the process that watches, whatever this shell has.
    assert (data["rules"], data["webhook"]) == (["*:0s"], None)
    (one,) = data["incidents"]
    assert data["watcher"]["name"]
    assert not data["watcher"]["fault"]
    assert (one["kind"], one["source"], one["ended_at"]) == ("closed", "stocktwits", None)
    shown = cli("alert", is_terminal=True, REDIS_URL=server.url, COLUMNS="120")
    assert "stocktwits is closed" in shown.out
    # Without a webhook the log is where it was told.
    assert "in the log" in shown.out
    assert "webhook none: set TBCACHE_ALERT_WEBHOOK_URL for every process" in shown.err
    (known,) = Incidents(store).read().values()
    Incidents(store).add(replace(known, tries=3))
    assert "not told yet (tries: 3)" in cli("alert", is_terminal=True, COLUMNS="160").out


def test_a_shell_elsewhere_is_told_by_what_the_fleet_goes(
    cli: Cli, server: Server, store: Store, settings_for: SettingsFor, watch_for: Callable[..., Watch]
) -> None:
    """It told its own rules, and that there was no webhook, while that of the fleet failed each time."""
    variables = hook("https://hooks.example.com/T0/hidden", TBCACHE_ALERT_RULES="closed:7s")
    watch_for(settings_for(server, **variables), store).look()
    data = cli("alert", REDIS_URL=server.url).data
    assert (data["rules"], data["webhook"]) == (["closed:7s"], "https://hooks.example.com")
    told = store.client.get(store.keys.alert_terms)
    assert b"hidden" not in told
    assert SECRET.encode() not in told
    (finding,) = (one for one in cli("doctor", REDIS_URL=server.url).data if one["about"] == "alerts")
    assert finding["what"] == "https://hooks.example.com is told of troubles: closed:7s"
    # What another has left there is not that of who watches now.
    Incidents(store).publish(Terms("another", ("*:1s",)), 60_000)
    assert cli("alert", REDIS_URL=server.url).data["rules"] is None


def test_a_test_says_what_came_back(cli: Cli, inbox: Inbox) -> None:
    """Who sets a hook up wants to know that it works before it must."""
    done = cli("alert", "test", **hook(inbox.url))
    assert (done.code, done.data["status"], inbox.kinds()) == (0, 204, ["test"])
    assert "answered 204 (" in done.err
    done = cli("alert", "test", **hook(f"http://127.0.0.1:{free_port()}/hunter2"))
    assert done.code == 1
    assert "does not answer: no connection" in done.err
    assert "hunter2" not in done.err
    done = cli("alert", "test", TBCACHE_ALERT_WEBHOOK_URL="")
    assert done.code == 2
    assert "set TBCACHE_ALERT_WEBHOOK_URL" in done.err
