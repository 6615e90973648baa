"""Whatever stands in Redis in place of what was written: no window is exceeded, and the fleet goes on.

``python -m tests.core.test_damage FIRST LAST`` tries such worlds, by their seeds: each has a row of damages.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tbcache.admission import Ask, Go, Settlement
from tbcache.limiter import limiter_of
from tbcache.models import FetchRequest
from tbcache.models.price import Price
from tbcache.store import Unavailable
from tbcache.store.wire import MICROS
from tests.core.test_loss import give_up_allowances
from tests.core.world import LIMIT, SOURCE, Clock, Process, World, moved_clock

#: What is written in place of a text; and of the score of a member.
JUNK = ["", "x", "nan", "-nan", "inf", "-inf", "-1", "1e300", "0x10", "9" * 400, "future", "\x00", "1" * 17]
SCORES = ["-inf", "inf", "-1", "1e300", "future"]
LIMITS = ["0:2000000", "5:0", "1:" + "9" * 17, "9" * 400 + ":2000000", "6:2000000=" + "9" * 400]
TYPES = [
    ("SET", "x"),
    ("RPUSH", "x"),
    ("SADD", "x"),
    ("HSET", "x", "x"),
    ("ZADD", "1", "x"),
    ("XADD", "*", "a", "b"),
]
SPAN = round(LIMIT.window_seconds * MICROS)
#: The fields of a window's state that need not be there (see state.lua).
FIELDS = [
    *("lost_at", "whole_at", "left_until", "returned_at", "closed_until", "closed_at", "strikes", "horizon"),
    *("failing", "past", "lease", "stepped", "stepped_at", "stepped_by", "wanted_until", "order", "bound"),
    *("demand", "demand_at", "limits", "epoch"),
    *(
        f"{name}:{SPAN}"
        for name in ("paced", "foreign", "foreign_until", "learned", "learned_next", "slides")
    ),
    *(f"{name}:ghost" for name in ("share", "rooms", "silence", "limits", "noted", "died")),
]
ALL = ["nan", "inf", "-1e9"]
#: Another epoch would be a loss, in which much of this is dropped.
OTHERS = [field for field in FIELDS if field != "epoch"]
STATE, FLEET, BACK, USAGE = (f"ns:{{reddit}}:{part}" for part in ("state", "fleet", "back", "usage"))
PAGE = Price(per_request=0.01)
#: So long after it the fleet may have less than its share: a hold and a window, and a few beats.
MEND_SECONDS = 5.0
#: Where that is not enough, a process that is not there keeps its share, until it is forgotten.
FORGOTTEN_SECONDS = 620.0
AHEAD = 3600.0


class Damage:
    """One damage: what is written, and where."""

    def __init__(self, chance: random.Random) -> None:
        self.said: list[tuple[Any, ...]] = []
        self._chance = chance

    def do(self, world: World) -> None:
        keys = sorted(key.decode() for key in world.redis.keys("*"))
        ways: list[Callable[[], None]] = [
            lambda: self._field(world, STATE, self._chance.choice(FIELDS)),
            lambda: self._field(world, STATE, self._chance.choice(FIELDS)),
            lambda: self._ghost(world),
            lambda: self._written(world, self._chance.choice(keys)),
            lambda: self._written(world, self._chance.choice(keys)),
            lambda: self._retype(world, self._chance.choice([*keys, BACK])),
        ]
        self._chance.choice(ways)()

    def _say(self, world: World, *command: Any) -> None:
        self.said.append(command)
        world.redis.execute_command(*command)

    def _junk(self, world: World, kinds: list[str]) -> str:
        kind = self._chance.choice(kinds)
        return str(Ahead(AHEAD).micros(world)) if kind == "future" else kind

    def _field(self, world: World, key: str, field: str) -> None:
        junk = self._junk(world, [*JUNK, *LIMITS])
        # A moment of the near future is what an upstream may say.
        if field == "closed_until" and junk.isdigit():
            junk = "x"
        self._say(world, "HSET", key, field, junk)

    def _ghost(self, world: World) -> None:
        """A member that nobody knows."""
        names = ("share", "rooms", "silence")
        for name in self._chance.sample(names, 2):
            self._field(world, STATE, f"{name}:ghost")
        seen = self._chance.choice([str(Ahead(-5.0).micros(world)), self._junk(world, SCORES)])
        self._say(world, "ZADD", FLEET, seen, "ghost")

    def _written(self, world: World, key: str) -> None:
        """A part of what the fleet has written."""
        kind = world.redis.type(key)
        if kind == b"hash":
            self._field(world, key, self._chance.choice(sorted(world.redis.hkeys(key))).decode())
        elif kind == b"zset":
            members = world.redis.zrange(key, 0, -1)
            for member in members if self._chance.random() < 0.3 else [self._chance.choice(members)]:
                self._say(world, "ZADD", key, self._junk(world, SCORES), member)
        else:
            self._say(world, "SET", key, self._junk(world, JUNK), "KEEPTTL")

    def _retype(self, world: World, key: str) -> None:
        command, *rest = self._chance.choice(TYPES)
        world.redis.delete(key)
        self._say(world, command, key, *rest)


def work(world: World, seconds: float) -> int:
    """Each asks as often as it can; how many requests were sent."""
    before, until = len(world.arrivals), world.clock.now + seconds
    while world.clock.now < until:
        world.clock.now += 0.25
        for process in world.fleet:
            if limiter_of(process.store).windows.broken:
                process.store.come_back()
            _ask(world, process)
            process.take()
            process.beat()
    return len(world.arrivals) - before


def _ask(world: World, process: Process) -> None:
    """Fetch, and pay."""
    request = FetchRequest(world.source.name, world.symbol())
    verdict = process.admission.admit(Ask(world.source, request))
    if isinstance(verdict, Go) and process.admission.may_send(verdict.grant):
        world.arrivals.append(world.clock.now)
        bill = world.source.price.bill([])
        process.admission.settle(verdict.grant, Settlement(payload=b"1", pages=1, bill=bill, answer=b"{}"))


class Damaged:
    """A world of two processes, to which damage is done."""

    def __init__(self, clock: Clock) -> None:
        self.world = World(clock, 2, replace(SOURCE, price=PAGE, daily_budget=1000.0))
        work(self.world, 1.0)

    def why_not(self, most_seconds: float = FORGOTTEN_SECONDS) -> str | None:
        """What the last damage does that it must not."""
        late = 0
        try:
            for seconds in (MEND_SECONDS, most_seconds - MEND_SECONDS):
                work(self.world, seconds)
                late = work(self.world, 2 * LIMIT.window_seconds)
                if late >= LIMIT.count:
                    break
        except Unavailable as error:
            return repr(error)
        if (most := self.world.most_in_a_window()) > LIMIT.count:
            return f"{most} in a window"
        return None if late >= LIMIT.count else f"{late} in two windows"


def row(seed: int, length: int = 8) -> str | None:
    """What a row of damages does that it must not."""
    chance = random.Random(seed)
    with moved_clock() as clock:
        damaged, said = Damaged(clock), []
        for _ in range(length):
            damage = Damage(chance)
            damage.do(damaged.world)
            said.append(damage.said)
            if (why := damaged.why_not()) is not None:
                return f"{seed} {said[-3:]}: {why}"
    return None


class Ahead(NamedTuple):
    """A moment by the server's clock."""

    seconds: float

    def micros(self, world: World) -> int:
        return round((world.clock.now + self.seconds) * MICROS)


def state(**fields: str | Ahead) -> Callable[[World], None]:
    def damage(world: World) -> None:
        for field, junk in fields.items():
            value = junk.micros(world) if isinstance(junk, Ahead) else junk
            world.redis.hset(STATE, field.replace("__", ":"), value)

    return damage


def ghost(seen_ago: float, name: str = "ghost", /, **fields: str) -> Callable[[World], None]:
    """A member that nobody knows."""

    def damage(world: World) -> None:
        for field, junk in fields.items():
            world.redis.hset(STATE, f"{field}:{name}", junk)
        world.redis.zadd(FLEET, {name: Ahead(-seen_ago).micros(world)})

    return damage


def alone(clock: Clock) -> tuple[World, Process]:
    """A process that finds nobody dead: the others are of other machines."""
    world = World(clock, 1)
    [process] = world.fleet
    process.membership.core.leaving.is_dead = lambda member: False  # type: ignore[method-assign]
    return world, process


@pytest.fixture
def clock() -> Iterator[Clock]:
    with moved_clock() as clock:
        yield clock


def test_damage_of_any_kind_lets_nobody_exceed_the_limit_and_stops_nobody(clock: Clock) -> None:
    """Each of these once turned the limit off, or stopped the source until somebody mended Redis by hand."""
    damaged = Damaged(clock)
    for name, damages in {
        "shares that are none": [ghost(5.0, share="nan"), ghost(5.0, "another", share="-100")],
        "use by others that is no number": [state(learned__2000000="nan")],
        "use by others below none": [state(foreign__2000000="-500", slides__2000000="1")],
        "windows without end, and use by others of all": [
            state(horizon="inf", learned__2000000="1e300", slides__2000000="0")
        ],
        "use by others, and nothing says until when": [
            state(learned__2000000="5", learned_next__2000000="nan")
        ],
        "use by others that is less in an hour": [
            state(learned__2000000="5", learned_next__2000000=Ahead(AHEAD))
        ],
        "use by others for an hour": [
            state(foreign__2000000="5", foreign_until__2000000=Ahead(AHEAD), slides__2000000="0")
        ],
        "one that may be silent without end": [ghost(5.0, silence="inf", rooms="6:2000000=6")],
        "a limit of nothing": [state(limits="0:2000000")],
        "a window without end": [state(limits=f"1:{'9' * 400}")],
        "a loss that is made good in an hour": [state(lost_at=Ahead(0.0), whole_at=Ahead(AHEAD))],
        "a loss to come, limits of nothing, and one heard of in the future": [
            state(lost_at=Ahead(AHEAD), limits="0:2000000"),
            ghost(-AHEAD, share="0.5", rooms="6:2000000=6"),
        ],
        **{
            f"{junk} in place of all": [state(**dict.fromkeys(OTHERS, junk))]
            for junk in ("nan", "inf", "-1e9")
        },
    }.items():
        for damage in damages:
            damage(damaged.world)
        assert damaged.why_not(most_seconds=2 * MEND_SECONDS) is None, name
        # A source whose scripts fail goes on without Redis, and hides what is wrong in them.
        assert damaged.world.refused == [], name


def test_use_by_others_of_more_than_a_limit_leaves_room_for_one(clock: Clock) -> None:
    """It may have been counted by a larger limit, so it is not nothing; and one request finds out."""
    damaged = Damaged(clock)
    state(foreign__2000000="1000", slides__2000000="1")(damaged.world)
    assert damaged.why_not(most_seconds=2 * MEND_SECONDS) == "2 in two windows"


def test_a_beat_puts_right_what_is_noted_of_the_future(clock: Clock) -> None:
    """All of it held until then, or for ever."""
    world, process = alone(clock)
    assert process.take()
    process.beat()
    ghost(-AHEAD, rooms="6:2000000=6")(world)
    # What is kept for one that nobody knows stops nobody before the beat, either.
    assert process.take()
    ghost(FORGOTTEN_SECONDS, "gone", share="0.1")(world)
    ahead = Ahead(AHEAD)
    state(lost_at=ahead, returned_at=ahead, wanted_until=ahead, left_until="inf", limits="0:2000000")(world)
    process.beat()
    process.beat()
    now = Ahead(0.0).micros(world)
    assert world.redis.hget(STATE, "limits") == b"6:2000000"
    assert (world.redis.zscore(FLEET, "ghost") or 0.0) < now
    assert int(world.redis.hget(STATE, "returned_at")) <= now
    assert now - MICROS <= int(world.redis.hget(STATE, "lost_at")) <= now
    clock.now += MEND_SECONDS
    process.beat()
    assert world.redis.hexists(STATE, f"rooms:{limiter_of(process.store).member}")
    assert 0 < int(world.redis.hget(STATE, "left_until")) < now + 10 * MICROS
    assert world.refused == []


@pytest.mark.parametrize("score", ["ahead", "inf"])
def test_members_that_are_noted_in_the_future_are_heard_all_the_same(clock: Clock, score: str) -> None:
    """They counted as absent, and a damaged moment of a loss stayed as nobody else was there to mend it."""
    world = World(clock, 2)
    for process in (*world.fleet, *world.fleet):
        process.beat()
    for member in world.redis.zrange(FLEET, 0, -1):
        world.redis.zadd(FLEET, {member: Ahead(AHEAD).micros(world) if score == "ahead" else score})
    state(lost_at="x")(world)
    for seconds in (0.0, MEND_SECONDS, 0.0):
        clock.now += seconds
        for process in world.fleet:
            process.beat(gives_up_allowances=True)
    assert [world.fleet[0].take() for _ in range(LIMIT.count)] == [True] * LIMIT.count
    assert world.refused == []


def test_one_that_may_be_silent_without_end_is_as_absent_as_others(clock: Clock) -> None:
    """What is kept for it stopped all others for as long."""
    world, process = alone(clock)
    process.beat()
    ghost(5.0, silence="inf", rooms="6:2000000=6")(world)
    assert [process.take() for _ in range(LIMIT.count)] == [True] * LIMIT.count


def test_an_allowance_that_is_larger_than_any_keeps_nothing_from_others(clock: Clock) -> None:
    """It was infinite, and stopped all others until the next beat of its process."""
    world, process = alone(clock)
    process.beat()
    ghost(0.0, rooms="6:2000000=" + "9" * 400)(world)
    assert [process.take() for _ in range(LIMIT.count)] == [True] * LIMIT.count


def test_a_damaged_share_takes_nothing_of_what_is_kept_for_another(clock: Clock) -> None:
    """It counts as what the others leave, which is nothing where they have more than there is."""
    world, process = alone(clock)
    took = [process.take()]
    give_up_allowances(world)
    ghost(5.0, share="0.5")(world)
    ghost(5.0, "another", share="nan")(world)
    took += [process.take() for _ in range(LIMIT.count)]
    assert took == [True] * 3 + [False] * 4


def test_what_is_kept_for_others_is_asked_for_whatever_stands_where_that_was_done_last(clock: Clock) -> None:
    """Nobody was ever asked for it again."""
    world = World(clock, 2)
    for process in (*world.fleet, *world.fleet):
        process.take()
        process.beat()
    clock.now += LIMIT.window_seconds
    for process in world.fleet:
        process.beat()
    state(wanted_until="inf")(world)
    while world.fleet[0].take():
        pass
    assert float(world.redis.hget(STATE, "wanted_until")) < Ahead(1.0).micros(world)


def test_a_process_that_comes_back_puts_right_what_is_noted_of_it(clock: Clock) -> None:
    """Redis refused all that it had sent alone, or kept no share for it until its next beat."""
    world, process = alone(clock)
    assert process.take()
    process.beat()
    process.cut_off()
    clock.now += LIMIT.window_seconds
    assert process.take()
    share = f"share:{limiter_of(process.store).member}"
    state(horizon="inf", lease="inf", **{share: "nan"})(world)
    process.mend()
    assert world.refused == []
    assert world.redis.hmget(STATE, "horizon", share) == [b"2000000", b"1.000000000"]


def test_a_damaged_share_counts_as_what_the_others_leave(clock: Clock) -> None:
    """One who is cut off goes on with it, whatever stands there by now."""
    world = World(clock, 2)
    near, far = world.fleet
    for process in (*world.fleet, *world.fleet):
        process.take()
        process.beat()
    world.redis.hset(STATE, f"share:{limiter_of(far.store).member}", "nan")
    for _ in range(20):
        clock.now += 0.25
        near.beat()
    assert [near.take() for _ in range(4)] == [True, True, True, False]
    assert world.refused == []


def test_a_loss_of_which_nobody_knows_the_moment_shuts_the_window_until_the_next_beat(clock: Clock) -> None:
    """It counted as none, and what Redis has lost was sent once more."""
    world = World(clock, 1)
    [process] = world.fleet
    assert process.take()
    world.redis.hset(STATE, "lost_at", "nan")
    assert not process.take()
    process.beat()
    clock.now += MEND_SECONDS
    assert process.take()


#: Ten pages.
BUDGET = 0.10
FORMS = ("{}", " {}", "{:x}", "0x{:x}", "0{}", "+{}", "-{}", "{}.0", "{}e1", "1{:030}")
NUMBERS = st.builds(str.format, st.sampled_from(FORMS), st.integers(0, 10**6))
#: What no bill is. One that is a lower number than it was cannot be told from a bill.
NO_BILL = st.one_of(st.text(max_size=8), NUMBERS, st.floats().map(str)).filter(
    lambda text: re.fullmatch("0|[1-9][0-9]{0,15}", text) is None
)


def test_whatever_stands_in_place_of_a_bill_the_budget_is_not_spent_unseen(clock: Clock) -> None:
    """A bill that was damaged counted as nothing, and so the budget was off for the day."""
    world = World(clock, 1, replace(SOURCE, price=PAGE, daily_budget=BUDGET))
    [process] = world.fleet
    usage = process.store.keys.usage("reddit", process.store.clock.today)

    def pages(most: int) -> int:
        before = len(world.arrivals)
        for _ in range(most):
            clock.now += 1.0
            _ask(world, process)
        return len(world.arrivals) - before

    @settings(max_examples=40, deadline=None)
    @given(spent=NO_BILL, paid=st.one_of(st.none(), NO_BILL))
    def try_one(spent: str, paid: str | None) -> None:
        world.redis.delete(usage)
        assert pages(4) == 4
        [cost] = [field for field in world.redis.hkeys(usage) if bytes(field).endswith(b":cost")]
        world.redis.hset(usage, mapping={"spent": spent} if paid is None else {"spent": spent, cost: paid})
        assert pages(8) == (6 if paid is None else 0)
        assert world.redis.hget(usage, "spent") == (b"100000" if paid is None else spent.encode())

    try_one()


if __name__ == "__main__":
    for number in range(*map(int, sys.argv[1:3])):
        try:
            found = row(number)
        except Exception as error:
            found = f"{number}: {error!r}"
        if found:
            print(found, flush=True)
