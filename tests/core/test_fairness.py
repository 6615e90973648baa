"""Within a lane every caller gets its part, whatever the others have queued before."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import dramatiq
import pytest

import tbcache
from tbcache.io import run, utc_now
from tbcache.limiter import WindowKeys
from tbcache.models import FetchRequest, Lane
from tbcache.models.caller import current_caller
from tbcache.models.error import ConfigurationError, InvalidRequest
from tbcache.monitoring.caller_usage import OTHERS, CallerUsage
from tbcache.queue import PacingBroker, Queue
from tbcache.queue.account import STRIDE, Account, account_for
from tbcache.queue.batch import _call, put, put_all
from tbcache.queue.script import (
    DEQUEUE,
    ENQUEUE,
    FINISH,
    Dequeue,
    FinishJobs,
    HandedOut,
    JobAsk,
    queue_keys,
)
from tbcache.queue.wants import Wants
from tbcache.settings import Settings
from tbcache.settings.caller import program_name
from tbcache.store import Store
from tests.core.test_queue import FAST, Fleet
from tests.server import wait_until
from tests.today import set_today

WEIGHTS = "double=2,half=0.5,desk/vip=4"


class Line:
    """The queue of one source, and who queued which job of it."""

    def __init__(self, store: Store, settings: Settings, name: str = "news") -> None:
        self.store = store
        self.queue = Queue(store, settings)
        self.name, self.keys = name, queue_keys(store.keys, name)
        self.callers: dict[str, str] = {}
        self._names = itertools.count()

    def put(self, caller: str, count: int = 1, lane: Lane = "interactive") -> list[str]:
        """Queue ``count`` jobs in the name of ``caller``; their ids."""
        return [self.join(caller, f"S{next(self._names)}", lane) for _ in range(count)]

    def join(self, caller: str, symbol: str, lane: Lane = "interactive") -> str:
        handle = self.queue.enqueue(FetchRequest("news", symbol), lane, caller=caller)
        self.callers.setdefault(handle.job_id, caller)
        return handle.job_id

    def hand_out(self, most: int) -> tuple[HandedOut, ...]:
        """What a worker without a limit gets that asks for ``most`` jobs."""
        keys, suffix = self.store.keys, f"{next(self._names)}."
        window = WindowKeys(keys.slots(self.name), keys.state(self.name), keys.fleet(self.name))
        ask = Dequeue(
            self.keys, window, keys.clears(self.name), most, "", 0.7, 1, 10**12, 0, "", suffix, 4, 0, 0, "p",
            1, "", "fetch", "", (),
        )  # fmt: skip
        return self.store.run(DEQUEUE, ask).jobs

    def take(self, most: int) -> list[str]:
        """The ids of the jobs that come next, one after another."""
        return [job.claim.decode().partition("/")[0] for job in self.hand_out(most)]

    def serve(self, most: int) -> list[str]:
        """The callers of the jobs that come next."""
        return [self.callers[id] for id in self.take(most)]

    def give_back(self, job: HandedOut) -> None:
        assert self.finish(job, "back") == ("back",)

    def finish(self, job: HandedOut, what: str) -> Sequence[str]:
        ends = (job.claim, what, "", 0, 0, 0, "", 0, "")
        return self.store.run(FINISH, FinishJobs(self.keys, self.store.keys.slots("news"), 4, 0, ends))


@pytest.fixture
def line(store: Store, settings: Settings) -> Line:
    weights = Settings.load({"TBCACHE_CALLER_WEIGHTS": WEIGHTS}).caller_weights
    return Line(store, replace(settings, caller_weights=weights))


@pytest.mark.parametrize("lane", ["interactive", "prewarm"])
def test_who_comes_late_with_little_does_not_wait_for_who_has_much(line: Line, lane: Lane) -> None:
    """A backtest that queues thousands of jobs must not hold up the bot that trades."""
    line.put("backtest", 40, lane)
    assert line.serve(5) == ["backtest"] * 5
    line.put("bot", 10, lane)
    served = line.serve(22)
    assert served.count("bot") == 10
    assert {one for one, _ in itertools.groupby(served)} == {"backtest", "bot"}


def test_a_job_that_takes_no_slot_is_taken_off_the_account(line: Line) -> None:
    """Who cancels what was queued by mistake must not wait behind everybody for it."""
    mistaken = line.put("bot", 30)
    line.put("other", 40)
    for job_id in mistaken:
        assert line.queue.cancel("news", job_id, "by mistake") == "done"
    line.put("bot", 1)
    assert "bot" in line.serve(3)


def test_what_was_never_on_the_account_is_not_taken_off_it(line: Line) -> None:
    """Who cancels what is put off would have its next jobs go before everybody's, and its own."""
    line.put("bot", 20)
    line.put("other", 20)
    asks = [FetchRequest("news", f"LATER{number}") for number in range(20)]
    for handle in line.queue.enqueue_many(asks, caller="bot", delay_seconds=600):
        assert line.queue.cancel("news", handle.job_id, "by mistake") == "done"
    late = line.put("bot", 10)
    assert not set(late) & set(line.take(38))


def test_names_below_one_caller_are_on_its_account(line: Line) -> None:
    """However many names somebody spreads over, it comes to one part."""
    for number in range(50):
        line.put(f"desk/bot-{number}")
        line.put(f"desk/bot-{number}/child")
    line.put("bot", 5)
    assert line.serve(12).count("bot") == 5


def test_a_name_below_a_caller_has_an_account_of_its_own_where_it_has_a_weight(line: Line) -> None:
    """Whoever is in charge says who is who: by the weights."""
    settings = line.queue._settings
    assert account_for("desk/vip/one", settings.caller_weights) == Account("desk/vip", STRIDE // 4)
    assert account_for("desk/other", settings.caller_weights) == Account("desk", STRIDE)
    assert account_for("half/x", settings.caller_weights) == Account("half", STRIDE * 2)


def test_equals_get_equal_parts(line: Line) -> None:
    """By Jain's index, at any moment, though they come one after another with different loads."""
    callers = [f"bot-{number}" for number in range(8)]
    for number, caller in enumerate(callers):
        line.put(caller, 12 + 4 * number)
    for _ in range(3):
        counts = Counter(line.serve(32))
        assert jain([counts[caller] for caller in callers]) >= 0.99


def jain(parts: Sequence[float]) -> float:
    return sum(parts) ** 2 / (len(parts) * sum(part * part for part in parts))


def test_parts_are_as_the_weights(line: Line) -> None:
    """Two to one, and four to one half."""
    for caller in ("double", "single", "half"):
        line.put(caller, 100)
    counts = Counter(line.serve(105))
    assert [counts["double"], counts["single"], counts["half"]] == pytest.approx([60, 30, 15], abs=1.5)


def test_a_message_gets_the_place_that_another_job_of_its_caller_would(line: Line) -> None:
    """There is a script for a message alone (send.lua), and one for all others."""
    store, chance = line.store, random.Random(7)
    weights = Settings.load({"TBCACHE_CALLER_WEIGHTS": WEIGHTS}).caller_weights
    lines = {name: Line(store, line.queue._settings, name) for name in ("default", "news")}

    def queue(name: str, message_id: str, account: Account) -> None:
        wants = Wants(account)
        ask = JobAsk(message_id, dramatiq.Message(name, "note", (), {}, {}).encode(), "")
        if name == "default":
            put(store, name, ask, wants)
        else:
            store.run(ENQUEUE, _call(store, name, [ask], wants))

    for number in range(120):
        account = account_for(chance.choice(("double", "half/x", "desk/vip", "bot", "desk")), weights)
        claimed = set()
        for name, one in lines.items():
            queue(name, f"id{number % 40}", account)
            if number % 3 == 2:
                claimed.add(tuple(job.claim.partition(b"/")[0] for job in one.hand_out(1 + number % 2)))
        assert len(claimed) < 2
    default, news = (
        [
            store.client.zrange(one.keys.interactive, 0, -1, withscores=True),
            store.client.zrange(one.keys.interactive_tags, 0, -1, withscores=True),
            store.client.hgetall(one.keys.lanes),
        ]
        for one in lines.values()
    )
    assert default == news


@pytest.mark.parametrize("is_plain", [True, False])
def test_whose_a_job_is_is_found_at_once(store: Store, *, is_plain: bool) -> None:
    """Redis looks through a hash of short values from its beginning, up to 512 of them, with each job."""
    wants = Wants(Account("", STRIDE), delay_seconds=0 if is_plain else 60)
    put(store, "default", JobAsk("1", b"{}", ""), wants)
    assert store.client.object("encoding", store.keys.queue("default", "lanes")) == b"hashtable"


def test_a_part_that_was_not_used_is_not_kept_for_later(line: Line) -> None:
    """Who comes back after an hour gets its part of now, and does not shut out the others for as long."""
    line.put("steady", 60)
    line.put("guest", 1)
    line.serve(30)
    line.put("guest", 20)
    counts = Counter(line.serve(20))
    assert counts["steady"] == pytest.approx(10, abs=1)


def test_callers_who_come_one_after_another_are_served_in_that_order(line: Line) -> None:
    """Their jobs are as urgent as each other: chance, and the spelling of ids, must not decide."""
    for round_ in range(2):
        for number in range(20):
            line.put(f"caller-{round_}-{number}")
        line.take(5)
    assert line.serve(40) == [
        *(f"caller-0-{number}" for number in range(10, 20)),
        *(f"caller-1-{number}" for number in range(20)),
    ]


def test_a_job_that_is_given_back_comes_first_and_costs_nothing_again(line: Line) -> None:
    """Its caller has paid for it, and it waited its turn."""
    line.put("a", 6)
    line.put("b", 6)
    first = line.hand_out(1)[0]
    line.give_back(first)
    assert line.hand_out(1)[0].message == first.message
    assert Counter(line.serve(8)) == {"a": 4, "b": 4}


def test_who_joins_a_job_far_behind_has_it_as_soon_as_one_of_their_own(line: Line) -> None:
    """Else it would do harm that somebody else wants the same."""
    line.put("backtest", 50)
    line.join("backtest", "AAPL")
    wanted = line.join("bot", "AAPL")
    assert wanted in line.take(2)
    line.put("bot", 3)
    # It was on the account of who brought it forward.
    assert line.serve(3)[:2] == ["backtest", "bot"]


def test_who_joins_a_job_in_front_of_their_own_pays_nothing(line: Line) -> None:
    """It comes when it would have come anyway."""
    line.join("bot", "AAPL")
    line.put("bot", 2)
    line.put("backtest", 1)
    line.join("backtest", "AAPL")
    assert line.serve(4) == ["bot", "backtest", "bot", "bot"]


def test_a_lifted_job_is_on_the_account_of_who_waits_for_it(line: Line) -> None:
    """Nobody else asked for it to be before the others."""
    line.put("bot", 3)
    line.put("other", 3)
    line.join("scheduler", "AAPL", "prewarm")
    wanted = line.join("bot", "AAPL")
    assert line.take(7).index(wanted) == 6


def test_no_more_is_known_of_callers_than_there_are_jobs(line: Line) -> None:
    """A million names that were made up must not fill Redis."""
    tags = line.keys.interactive_tags
    line.put("steady", 10)
    line.take(5)
    line.store.client.zadd(tags, {f"made-up-{number}": STRIDE * 3 + number for number in range(1000)})
    line.put("bot", 1)
    assert set(line.store.client.zrange(tags, 0, -1)) == {b"", b"steady", b"bot"}
    line.take(6)
    assert not line.store.client.exists(tags)


def test_a_stream_of_new_names_holds_nobody_up_for_ever(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them is before the second job of who was there, but only so many."""
    monkeypatch.setattr("tbcache.queue.account.STRIDE", 20_000)
    line.put("steady", 2)
    served = line.serve(1)
    for number in range(25):
        line.put(f"made-up-{number}")
        served += line.serve(1)
    assert served.count("steady") == 2


def test_a_retry_is_on_its_callers_account(line: Line) -> None:
    """It takes a slot more, and whoever always fails must not get more than the others."""
    line.put("fails", 4)
    line.put("works", 4)
    for job in line.hand_out(2):
        line.finish(job, "later")
    wait_until(lambda: not line.take(0) and line.queue.depth("news").delayed == 0)
    assert Counter(line.serve(6)) == {"fails": 3, "works": 3}


@pytest.mark.parametrize("many", [1, 3])
@pytest.mark.parametrize("caller", ["", "bot"])
def test_jobs_keep_the_order_in_which_they_came(store: Store, caller: str, many: int) -> None:
    """Also those of an earlier layout, which are nobody's; of equal places Redis would go by the ids."""
    ids = ["third", "second", "first"]
    asks = [JobAsk(id, b"{}", "") for id in ids]
    for at in range(0, len(ids), many):
        run(put_all(store, "default", asks[at : at + many], Wants(Account(caller, STRIDE))))
    lane: Any = store.client.zrange(store.keys.queue("default", "interactive"), 0, -1)
    assert [id.decode() for id in lane] == ids


def test_a_message_of_dramatiqs_names_its_caller(store: Store, settings: Settings) -> None:
    """By an option, or by the block that it is sent in; what it queues itself is in the same name."""
    broker = PacingBroker(store, settings, [])
    seen: list[tuple[str, str | None]] = []

    @dramatiq.actor(broker=broker)
    def note(name: str, is_first: bool = True) -> None:
        seen.append((name, current_caller.get()))
        if is_first:
            note.send(name, False)

    note.send_with_options(args=("option",), caller="desk/a")
    with tbcache.caller("desk/b"):
        note.send("block")
    note.send("none")
    for other in ("a b", ["desk"], 1):
        with pytest.raises(InvalidRequest, match="is no caller"):
            note.send_with_options(args=("other",), caller=other)
    accounts = [account.split() for account in store.client.hvals(store.keys.queue("default", "lanes"))]
    assert [lane for lane, _, _ in accounts] == [b"interactive"] * 3
    assert [int(stride) for _, stride, _ in accounts] == [STRIDE] * 3
    assert sorted(one.decode() for *_, one in accounts) == sorted(["desk", "desk", settings.own_caller])
    worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=25)
    worker.start()
    try:
        wait_until(lambda: len(seen) == 6, 20)
    finally:
        worker.stop(30_000)
    assert Counter(seen) == {("option", "desk/a"): 2, ("block", "desk/b"): 2, ("none", None): 2}


def test_a_fetch_is_carried_out_in_its_callers_name(store: Store, settings: Settings) -> None:
    """The worker's own asks on its behalf count as the caller's."""
    fleet, seen = Fleet(store, settings, FAST), []
    fleet.act = lambda source, symbol, slot: seen.append((symbol, current_caller.get()))
    queue = Queue(store, settings)
    with tbcache.caller("desk/a"):
        queue.enqueue(FetchRequest("news", "A"))
        queue.enqueue(FetchRequest("news", "B"), caller="desk/b")
    queue.enqueue(FetchRequest("news", "C"))
    fleet.start(1)
    try:
        wait_until(lambda: len(seen) == 3, 20)
    finally:
        fleet.stop()
    assert dict(seen) == {"A": "desk/a", "B": "desk/b", "C": settings.own_caller}


def test_usage_is_counted_by_caller_for_a_bounded_number_of_them(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names below one caller count as its own, and names that were made up must not fill Redis."""
    usage, day = CallerUsage(store, settings, lambda: None), utc_now()
    set_today(monkeypatch, day)
    for name in ("desk/a", "desk/b", "bot"):
        with tbcache.caller(name):
            usage.record("news", "cache")
    usage.record("news", "live")
    usage.flush()
    assert usage.read("news", day) == {
        "desk": {"cache": 2},
        "bot": {"cache": 1},
        settings.own_caller: {"live": 1},
    }
    for number in range(2):
        for index in range(700):
            with tbcache.caller(f"made-up-{number}-{index}"):
                usage.record("news", "cache")
        with tbcache.caller("bot"):
            usage.record("news", "cache")
        usage.flush()
    found = usage.read("news", day)
    assert (len(found), found["bot"]["cache"]) == (1001, 3)
    assert sum(one["cache"] for name, one in found.items() if name not in ("bot", "desk")) == 1400
    assert found[OTHERS]["cache"] == 1400 - 997


@pytest.mark.parametrize("name", ["", "a b", "a/", "/a", "a//b", "x" * 65, "a:b", "é", "a\n", 7])
def test_what_is_no_name_of_a_caller_is_refused_before_anything_is_queued(
    name: Any, store: Store, settings: Settings
) -> None:
    """It becomes a part of names in Redis, and of what operators read."""
    with pytest.raises(InvalidRequest, match="is no caller"), tbcache.caller(name):
        pytest.fail("it was taken")
    with pytest.raises(InvalidRequest, match="is no caller"):
        Queue(store, settings).enqueue(FetchRequest("news", "A"), caller=name)
    with pytest.raises(ConfigurationError, match="TBCACHE_CALLER"):
        Settings.load({"TBCACHE_CALLER": str(name) or " "}) if name != 7 else Settings.load(
            {"TBCACHE_CALLER": " "}
        )
    assert not store.client.exists(store.keys.queue("news", "jobs"))


@pytest.mark.parametrize("value", ["a", "a=0", "a=x", "a=-1", "a=1001", "a=nan", "a b=1", "=1"])
def test_weights_that_are_none_are_refused(value: str) -> None:
    """A typo would leave a caller without its part, in silence."""
    with pytest.raises(ConfigurationError, match="TBCACHE_CALLER_WEIGHTS"):
        Settings.load({"TBCACHE_CALLER_WEIGHTS": value})


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("bots/bot.py", "bot"),
        ("/x/tbcache", "tbcache"),
        ("/x/my bot/__main__.py", "my_bot"),
        ("", "python"),
        ("-c", "python"),
    ],
)
def test_a_process_is_its_program_where_nothing_is_said(
    path: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two programs of one user share a queue fairly without a setting; the copies of one are one caller."""
    monkeypatch.setattr("sys.argv", [path])
    assert program_name() == name
    assert Settings.load({}).own_caller == name
