"""Allowances: what a process may take of what is free when Redis goes, and how the others get it back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import fakeredis
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as trials
from hypothesis import strategies as st

from tbcache.admission import Go, Wait
from tbcache.limiter import limiter_of
from tbcache.limiter.allotment import Allotment
from tbcache.limiter.process_window import GIVING_BACK_SECONDS, Mark, ProcessWindow
from tbcache.limiter.script import BEAT, LEAVE, Allotted, Beat, Leave, WindowKeys
from tbcache.models import FetchRequest
from tbcache.queue import PacingBroker
from tbcache.rate_limiter import RateLimiter
from tbcache.settings import Settings
from tbcache.store import Store, Unavailable
from tbcache.store.wire import MICROS, pack_limits
from tests.blocking import Admission, Membership
from tests.core.conftest import TWITTER, ask
from tests.core.test_loss import beat as beat_all
from tests.core.test_loss import begin
from tests.core.world import (
    LEASE,
    LIMIT,
    LOSING,
    MOST_PROCESSES,
    THEIRS_SECONDS,
    WAYS,
    Clock,
    Step,
    World,
    moved_clock,
)
from tests.fake import fake_redis
from tests.job import message
from tests.proxy import Proxy
from tests.script import run
from tests.server import PATIENT, Server, wait_until

SLOTS, STATE, FLEET = (f"ns:{{s}}:{part}" for part in ("slots", "state", "fleet"))
#: A window holds a few dozen steps: most takes meet a limit that is full or nearly so.
OFTEN = [*WAYS, *["take", "admit", "work"] * 2, "turn", "settle", "settle"]
PAUSES = [0.0] * 12 + [0.05, 0.15, 0.3, 0.5, 0.8, 1.5, 1.9]
STEPS = st.builds(Step, st.sampled_from(OFTEN), st.integers(0, 2), st.integers(0, 3), st.sampled_from(PAUSES))
LOSSES = st.builds(
    Step,
    st.sampled_from([*OFTEN, *list(LOSING) * 2]),
    st.integers(0, MOST_PROCESSES - 1),
    st.integers(0, 3),
    st.sampled_from(PAUSES),
)


@pytest.fixture
def moved() -> Iterator[Clock]:
    with moved_clock() as clock:
        yield clock


def play(clock: Clock, steps: list[Step]) -> World:
    """A fleet of three that have all just said that they are there, and what became of it."""
    world = World(clock)
    world.play([Step("beat", who, 0, 0.0) for who in (0, 1, 2) * 3])
    world.play(steps)
    return world


@pytest.mark.timeout(0 if "EXAMPLES" in os.environ else 600)
@trials(
    max_examples=int(os.environ.get("EXAMPLES", "60")),
    deadline=None,
    derandomize="EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(STEPS, min_size=10, max_size=80))
def test_whoever_is_cut_off_or_killed_and_whatever_is_lost_no_window_holds_more(
    moved: Clock, steps: list[Step]
) -> None:
    """Whatever way a process asks: the limiter, admission, a page, the queue, a beat; from rest as well.

    Once all are back, Redis counts no slot that nobody has sent with, and holds none that is over.
    """
    world = play(moved, steps)
    assert world.most_in_a_window() <= LIMIT.count
    world.end()
    assert not world.left_over


@pytest.mark.timeout(0 if "EXAMPLES" in os.environ else 600)
@trials(
    max_examples=int(os.environ.get("EXAMPLES", "12")),
    deadline=None,
    derandomize="EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(LOSSES, min_size=20, max_size=80))
def test_whatever_redis_loses_and_whoever_comes_and_goes_no_window_holds_more(
    moved: Clock, steps: list[Step]
) -> None:
    """Emptied, or back in an older state, also twice; world.py says what is assumed of a loss."""
    assert play(moved, steps).most_in_a_window() <= LIMIT.count


@pytest.mark.parametrize("way", ["fill", "work"])
def test_who_begins_while_redis_is_away_knows_nothing_of_what_was_sent_before(moved: Clock, way: str) -> None:
    """One that was killed, or a worker, has told Redis of all it sent, and cannot tell a newcomer."""
    rest = [Step("give up", 0, 0, 0.0), Step("give up", 1, 0, 0.0)]
    world = play(moved, [*rest, Step(way, 2, 0, 0.0)] * (2 * LIMIT.count))
    sent = len(world.arrivals)
    assert sent == LIMIT.count
    killed = [Step("kill", who, 0, 0.0) for who in (0, 1, 2)]
    world.play([*killed, Step("cut off", 0, 0, 0.0), Step("take", 0, 0, 0.0)])
    assert len(world.arrivals) == sent
    assert "was told no part of the limit" in str(world.fleet[0].limiter.get_status().reason)
    moved.now += LIMIT.window_seconds + LEASE - 0.1
    world.play([Step("take", 0, 0, 0.2)])
    assert len(world.arrivals) == sent
    world.play([Step("take", 0, 0, 0.0)])
    assert len(world.arrivals) == sent + 1


def test_who_is_cut_off_waits_for_what_others_have_under_way(moved: Clock) -> None:
    """Their slots leave a window after they are answered, which may be a hold later."""
    beats = [Step("beat", who, 0, 0.0) for who in (0, 1, 2) * 3]
    old = [Step("take", 0, 0, LIMIT.window_seconds + LEASE), *beats, Step("give up", 0, 0, 0.0)]
    world = play(moved, [*old, Step("fill", 1, 0, 0.0), Step("cut off", 0, 0, 0.0)])
    sent = len(world.arrivals)
    assert sent == 1 + LIMIT.count
    moved.now += LIMIT.window_seconds + THEIRS_SECONDS + LEASE - 0.1
    world.play([Step("take", 0, 0, 0.0)])
    assert len(world.arrivals) == sent
    moved.now += 0.2
    world.play([Step("take", 0, 0, 0.0)])
    assert len(world.arrivals) == sent + 1


def test_who_begins_while_redis_is_away_knows_of_those_who_have_sent_nothing_yet(moved: Clock) -> None:
    """They may reach Redis, and send at any moment."""
    world = play(moved, [Step("kill", 0, 0, 0.0), Step("cut off", 0, 0, 0.0), Step("take", 0, 0, 0.0)])
    assert world.arrivals == []
    world.play([Step("fill", 1, 0, 0.0)])
    assert len(world.arrivals) == LIMIT.count


HEARD = [
    Step("beat", 0, 0, 0.0),
    Step("take", 0, 0, 0.0),
    Step("admit", 0, 0, 0.0),
    Step("admit the same", 0, 0, 0.0),
    Step("turn", 0, 0, 0.0),
    Step("work", 0, 0, 0.0),
]


@pytest.mark.parametrize("way", HEARD, ids=lambda step: step.what)
def test_whatever_redis_answers_is_known_to_have_been_heard(moved: Clock, way: Step) -> None:
    """One that took itself for absent since its last beat took again what another had taken by then."""
    world = play(moved, [])
    first = world.fleet[0]

    def at(seconds: float, *steps: Step) -> None:
        moved.now = max(moved.now, world_began + seconds)
        world.play(steps)

    world_began = moved.now
    at(0.0, Step("take", 0, 0, 0.0))
    at(0.3, Step("admit", 0, 0, 0.0))
    at(1.2, Step("fill", 1, 0, 0.0))
    assert len(world.arrivals) == LIMIT.count
    at(1.8, Step("beat", 1, 0, 0.0), Step("beat", 2, 0, 0.0), way, Step("cut off", 0, 0, 0.0))
    at(2.01, Step("take", 1, 0, 0.0))
    assert len(world.arrivals) == LIMIT.count + 1
    at(2.02, Step("take", 0, 0, 0.0))
    assert world.most_in_a_window() == LIMIT.count
    assert not first.store.is_available


def hear(window: ProcessWindow, share: float, allowances: dict[str, int], mark: Mark) -> None:
    """A beat is answered."""
    window.receive(Allotment(share, share, allowances, (LIMIT,), 2, 0.0), mark)
    window.answered("beat")


@dataclass
class Member:
    """A process of a fleet that shares a source, as far as this test's process can be several."""

    store: Store
    limiter: RateLimiter = field(init=False)
    membership: Membership = field(init=False)

    def __post_init__(self) -> None:
        self.limiter = RateLimiter(TWITTER, self.store)
        limiter_of(self.store).process_window("twitter").must_announce(can_fall_back=True)
        self.membership = Membership(self.store)
        self.membership.start()

    @property
    def allowance(self) -> int:
        """What Redis keeps for it."""
        field = f"rooms:{limiter_of(self.store).member}"
        found = self.store.client.hget(self.store.keys.state("twitter"), field)
        return int(found.partition(b"=")[2]) if found else 0

    @property
    def known_allowance(self) -> int:
        """What it has read that Redis keeps for it."""
        return int(limiter_of(self.store).process_window("twitter").report()[0].partition("=")[2] or 0)

    def take_all(self) -> int:
        """How many slots it gets when it asks until there is none."""
        taken = 0
        while self.limiter.check_rate_limit()[0]:
            taken += 1
        return taken


@pytest.fixture
def join(settings_for: Callable[..., Settings]) -> Iterator[Callable[[str, Server | Proxy], Member]]:
    """Members of a fleet: ``join("far", proxy)``."""
    members: list[Member] = []

    def start(name: str, way: Server | Proxy) -> Member:
        store = Store(Settings.load({"REDIS_URL": way.url, **PATIENT}))
        limiter_of(store).windows.machine.member = name
        members.append(Member(store))
        return members[-1]

    yield start
    for member in members:
        member.membership.stop()
        member.store.close()


def test_from_rest_two_who_cannot_hear_each_other_take_no_more_than_the_limit(
    server: Server, join: Callable[[str, Server | Proxy], Member]
) -> None:
    """Five are free, two of them are either's allowance, and one goes to who still has Redis."""
    proxy = Proxy(server.port).start()
    near, far = join("near-1", server), join("far-1", proxy)
    wait_until(lambda: near.allowance == far.allowance == 2)
    # Redis keeps an allowance from when it writes the answer; who has not read that has none.
    wait_until(lambda: near.known_allowance == far.known_allowance == 2)
    proxy.refuse()
    assert far.take_all() + near.take_all() == 5
    assert limiter_of(far.store).process_window("twitter").used(TWITTER.limits[0]) == 2
    proxy.close()


def test_who_needs_what_is_kept_for_others_gets_it(
    server: Server, join: Callable[[str, Server | Proxy], Member]
) -> None:
    """A limit is never less than it could be: those at rest give their allowances back."""
    busy, *idle = (join(f"member-{number}", server) for number in range(4))
    wait_until(lambda: all(member.allowance == 1 for member in (busy, *idle)))
    # One that asks with no patience is refused where a busy machine takes long to give the allowances back.
    for _ in range(TWITTER.limits[0].count):
        wait_until(lambda: busy.limiter.check_rate_limit()[0])
    assert not busy.limiter.check_rate_limit()[0]
    wait_until(lambda: not any(member.allowance for member in (busy, *idle)))


def test_what_is_kept_for_others_is_given_back_as_they_hear_the_call(moved: Clock) -> None:
    """With the next beat it would come back more than a second later, where its process rests."""
    world, (busy, idle) = begin(moved, 1, 1)
    moved.now += 10.0
    beat_all(busy, idle, busy, idle)
    told = world.redis.pubsub(ignore_subscribe_messages=True)
    told.subscribe(idle.store.keys.notices)
    while busy.take():
        pass
    half = LIMIT.count // 2
    assert len(world.arrivals) == 2 + half
    idle.membership.core._on_notice(wait_until(told.get_message)["data"])
    assert [busy.take() for _ in range(half)] == [True] * half


def test_a_allowance_is_given_up_before_redis_is_told(moved: Clock) -> None:
    """Who loses Redis after that has none, whether it was told or not."""
    window = ProcessWindow()
    hear(window, 0.5, {pack_limits([LIMIT]): 3}, window.report()[1])
    window.give_up_allowances()
    assert window.report()[0] == ""
    assert window.take("x", 1, [LIMIT], 0.0) > 0.0


def test_a_allowance_is_less_by_what_was_granted_since(moved: Clock) -> None:
    """Redis takes what it grants from the allowance first."""
    window, limit = ProcessWindow(), pack_limits([LIMIT])
    hear(window, 1.0, {limit: 3}, window.report()[1])
    window.grant("a", 1, [LIMIT], 0.0)
    window.spend(1)
    assert window.report()[0] == f"{limit}=1"
    window.ask("lost", 1, moved.now)
    assert window.take("b", 1, [LIMIT], 0.0) > 0.0
    assert window.take("lost", 1, [LIMIT], 0.0) == 0.0


def test_nothing_is_taken_alone_where_that_cannot_be_said() -> None:
    """Whoever begins beside it could not see it."""
    window = ProcessWindow(fall_back=lambda window: False)
    assert window.take("slot", 1, [LIMIT], 0.0) > 0.0
    assert not window.has_fallback_slots


def test_one_that_begins_alone_looks_once_more_before_it_sends() -> None:
    """Whoever begins at the same moment, with Redis or without, sees its marker, or is seen by it."""
    said = list[str]()
    window = ProcessWindow(
        fall_back=lambda window: not said.append("may have sent"),  # type: ignore[func-returns-value]
        newcomers_share=lambda seconds: 0.0 if "may have sent" in said else 1.0,
    )
    assert window.take("a", 1, [LIMIT], LEASE) > 0
    assert said == ["may have sent"]


def test_one_who_was_never_known_goes_by_how_many_there_are(moved: Clock) -> None:
    """Redis went before it was asked: of six, each of two who know of each other sends three."""
    window = ProcessWindow(newcomers_share=lambda seconds: 1 / 2)
    assert [window.take(name, 1, [LIMIT], 0.0) == 0.0 for name in "abcd"] == [True, True, True, False]


def taken_by(window: ProcessWindow, names: str) -> str:
    """Which of these slots it may take alone now."""
    return "".join(name for name in names if window.take(name, 1, [LIMIT], 0.0) == 0.0)


def test_what_is_granted_while_a_beat_is_under_way_may_be_of_its_allowances(moved: Clock) -> None:
    """Redis may have granted it before the beat, or after."""
    window, limit = ProcessWindow(), pack_limits([LIMIT])
    mark = window.report()[1]
    window.grant("a", 1, [LIMIT], 0.0)
    hear(window, 1.0, {limit: 3}, mark)
    assert window.report()[0] == f"{limit}=2"


def test_what_was_taken_alone_is_gone_from_the_allowance_when_redis_is_told(moved: Clock) -> None:
    """An outage that ends in the middle of the return is the same outage."""
    window, limit = ProcessWindow(), pack_limits([LIMIT])
    hear(window, 0.5, {limit: 3}, window.report()[1])
    assert taken_by(window, "ab") == "ab"
    assert window.report()[0] == f"{limit}=1"
    window.restored([("a", 0.0), ("b", 0.0)])
    assert window.report()[0] == f"{limit}=1"
    assert taken_by(window, "cde") == "c"


def test_an_answer_from_before_gives_no_new_allowance_to_one_who_went_alone(moved: Clock) -> None:
    """It does not know of what was taken since."""
    window, limit = ProcessWindow(), pack_limits([LIMIT])
    hear(window, 0.5, {limit: 2}, window.report()[1])
    mark = window.report()[1]
    assert taken_by(window, "a") == "a"
    hear(window, 0.5, {limit: 3}, mark)
    assert taken_by(window, "bcd") == "b"


def test_one_who_had_more_than_his_share_takes_no_more_than_that_alone(moved: Clock) -> None:
    """The others leave his share free, not all that he had."""
    window = ProcessWindow()
    for name in "uvwxyz":
        window.grant(name, 1, [LIMIT], 0.0)
    moved.now += 1.0
    hear(window, 1 / 3, {}, window.report()[1])
    moved.now += 1.1
    assert taken_by(window, "abc") == "ab"


def test_redis_may_have_heard_what_it_could_not_answer(moved: Clock) -> None:
    """The others notice that much later, and what leaves until then is theirs."""
    window = ProcessWindow()
    window.grant("old", 1, [LIMIT], 0.0)
    moved.now += LIMIT.window_seconds - THEIRS_SECONDS - 0.1
    hear(window, 0.5, {}, window.report()[1])
    moved.now += 0.2
    window.ask("lost", 1, moved.now)
    moved.now += THEIRS_SECONDS
    assert taken_by(window, "a") == ""
    # One that was refused at the door was not heard.
    window.lose("lost", is_answer_lost=False)
    assert taken_by(window, "a") == "a"


def test_redis_may_have_heard_what_was_then_taken_alone(moved: Clock) -> None:
    """The others notice as late that we are absent, whatever became of that ask."""
    window, limit = ProcessWindow(), pack_limits([LIMIT])
    window.grant("old", 1, [LIMIT], 0.0)
    moved.now += LIMIT.window_seconds - THEIRS_SECONDS - 0.1
    hear(window, 0.5, {limit: 1}, window.report()[1])
    moved.now += 0.2
    window.ask("x", 1, moved.now)
    window.lose("x", is_answer_lost=True)
    assert taken_by(window, "x") == "x"
    moved.now += THEIRS_SECONDS
    assert taken_by(window, "a") == ""


def beat(redis: fakeredis.FakeRedis, name: str, going_by: float, allowances: str = "") -> bytes:
    """The allowances that a process is given."""
    limits = pack_limits([LIMIT])
    window = WindowKeys(SLOTS, STATE, FLEET)
    ask = Beat(
        window, limits, name, str(going_by), 0, 0, 300 * MICROS, allowances, True, "", "an-epoch", MICROS, 0
    )
    told = run(redis, BEAT, ask)
    assert isinstance(told, Allotted)
    return told.allowances.encode()


def test_allowances_are_of_what_others_allowances_leave_free(moved: Clock) -> None:
    """Who had the whole keeps it until he has read that it is less."""
    redis, limit = fake_redis(), pack_limits([LIMIT])
    assert beat(redis, "a", 0.0) == f"{limit}=6".encode()
    assert redis.hget(STATE, "rooms:a") == f"{limit}=6".encode()
    assert beat(redis, "b", 0.0) == b""
    assert beat(redis, "a", 1.0, f"{limit}=6") == f"{limit}=3".encode()
    assert redis.hget(STATE, "rooms:a") == f"{limit}=6".encode()
    redis.hset(STATE, "share:b", 0.5)
    assert beat(redis, "b", 0.5) == b""
    assert beat(redis, "a", 0.5, f"{limit}=3") == f"{limit}=3".encode()
    assert beat(redis, "b", 0.5) == f"{limit}=3".encode()
    redis.zadd(SLOTS, {slot: round(moved.now * MICROS) for slot in "xyz"})
    # Half of three would be one; the other's allowance is all that is left.
    assert beat(redis, "b", 0.5) == b""


@pytest.mark.parametrize("why", ["wanted_until", "lost_at"])
def test_no_allowance_is_given_while_it_is_wanted_or_the_window_is_not_known(moved: Clock, why: str) -> None:
    """Somebody has need of what is free, or nobody knows what is."""
    redis = fake_redis()
    redis.hset(
        STATE, mapping={"epoch": "e", why: round(moved.now * MICROS) + (1 if why == "wanted_until" else -1)}
    )
    assert beat(redis, "a", 0.0) == b""
    moved.now += LIMIT.window_seconds + 1.0
    assert beat(redis, "a", 0.0) != b""


def test_allowances_go_with_whom_they_were_kept_for(moved: Clock) -> None:
    """One that leaves, and one that is forgotten."""
    redis = fake_redis()
    for name in "ab":
        redis.hset(STATE, f"rooms:{name}", "6:2000000=1")
        redis.zadd(FLEET, {name: round(moved.now * MICROS)})
    run(redis, LEAVE, Leave(STATE, FLEET, "a", True, MICROS, 0, 0, 0))
    moved.now += 301.0
    beat(redis, "c", 0.0)
    assert not redis.hexists(STATE, "rooms:a")
    assert not redis.hexists(STATE, "rooms:b")


def test_what_others_use_is_not_free_for_allowances(moved: Clock) -> None:
    """Slots in the window, what the upstream told of somebody else, the shares of the absent."""
    redis, now = fake_redis(), round(moved.now * MICROS)
    redis.zadd(SLOTS, {"taken": now})
    redis.hset(STATE, mapping={"foreign:2000000": 1, "foreign_until:2000000": now + MICROS})
    redis.zadd(FLEET, {"silent": now - MICROS})
    redis.hset(STATE, "share:silent", 0.5)
    # Of six, one is taken, one somebody else's, three are kept: half of one is none.
    assert beat(redis, "a", 0.0) == b""
    redis.hset(STATE, "share:silent", 0.17)
    assert beat(redis, "a", 0.0) == b"6:2000000=1"


def keep(store: Store, process: str, allowance: int) -> None:
    """As if a beat of ``process`` had just been given that allowance."""
    seconds, micros = store.client.time()
    store.client.zadd(store.keys.fleet("twitter"), {process: seconds * MICROS + micros})
    store.client.expire(store.keys.fleet("twitter"), 60)
    # Nobody is absent for as long as the test takes, however slow the machine is.
    noted = {f"rooms:{process}": f"5:60000000={allowance}", f"silence:{process}": 60 * MICROS}
    store.client.hset(store.keys.state("twitter"), mapping=noted)


def test_a_allowance_is_in_the_way_of_others_and_not_of_its_own(admission: Admission, store: Store) -> None:
    """What its own process takes is of it."""
    keep(store, limiter_of(store).member, 3)
    keep(store, "far-1", 2)
    for symbol, left in (("A", b"5:60000000=2"), ("B", b"5:60000000=1"), ("C", None)):
        assert isinstance(admission.admit(ask(symbol)), Go)
        assert store.client.hget(store.keys.state("twitter"), f"rooms:{limiter_of(store).member}") == left
    verdict = admission.admit(ask("D", patience=100.0))
    assert isinstance(verdict, Wait)
    assert verdict.is_brief
    assert verdict.seconds == pytest.approx(0.005)
    # Nobody's allowance counts as used, and who only looks is in nobody's way.
    status = RateLimiter(TWITTER, store).get_status()
    assert (status.used, status.remaining, status.is_limited) == (3, 2, False)


def test_nothing_is_promised_while_allowances_are_kept(admission: Admission, store: Store) -> None:
    """What comes free first may be theirs."""
    for symbol in "ABCDE":
        assert isinstance(admission.admit(ask(symbol)), Go)
    keep(store, "far-1", 1)
    verdict = admission.admit(ask("F", patience=100.0))
    assert isinstance(verdict, Wait)
    assert verdict.is_brief


@pytest.mark.parametrize("way", ["admit", "turn", "take", "dequeue"])
def test_whatever_is_asked_for_allowances_are_called_for_once(
    admission: Admission, store: Store, settings: Settings, server: Server, way: str
) -> None:
    """A call wakes everyone: those who wait for its effect do not call again."""
    verdict = admission.admit(ask("A"))
    assert isinstance(verdict, Go)
    keep(store, "far-1", 4)
    called = server.calls("publish")
    for _ in range(2):
        if way == "admit":
            admission.admit(ask("B"))
        elif way == "turn":
            admission.turn(verdict.grant)
        elif way == "take":
            RateLimiter(TWITTER, store).check_rate_limit()
        else:
            broker = PacingBroker(store, settings, [TWITTER])
            broker.declare_queue("twitter")
            broker.enqueue(message(FetchRequest("twitter", "B"), "interactive"))
            broker.threads.open(1)
            next(broker.consume("twitter", timeout=1))
    assert server.calls("publish") == called + 1


@pytest.mark.parametrize("way", ["admit", "turn"])
def test_who_has_no_patience_waits_while_a_slot_is_given_back(
    admission: Admission, store: Store, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """It is free: to say that there is none would be wrong."""
    verdict = admission.admit(ask("A"))
    assert isinstance(verdict, Go)
    keep(store, "far-1", 4)
    state, waits = store.keys.state("twitter"), list[float]()

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        store.client.hdel(state, "rooms:far-1")

    monkeypatch.setattr("time.sleep", sleep)
    if way == "admit":
        assert isinstance(admission.admit(ask("B")), Go)
    else:
        assert not isinstance(admission.turn(verdict.grant), Wait)
    assert waits == [pytest.approx(0.005)]


def test_in_vain_it_is_waited_for_a_tenth_of_a_second(
    admission: Admission, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One who is about to be known as absent gives nothing back."""
    waits, sleep = list[float](), time.sleep

    def counted(seconds: float) -> None:
        waits.append(seconds)
        sleep(seconds)

    assert isinstance(admission.admit(ask("A")), Go)
    keep(store, "far-1", 4)
    monkeypatch.setattr("time.sleep", counted)
    began = time.monotonic()
    verdict = admission.admit(ask("B"))
    assert isinstance(verdict, Wait)
    assert verdict.is_brief
    assert time.monotonic() - began >= GIVING_BACK_SECONDS
    assert 0 < len(waits) <= 1 + GIVING_BACK_SECONDS / min(waits)


def test_a_beat_that_is_not_sent_does_not_count_as_heard(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or whoever is cut off would wait for ever until the others have noticed."""
    window, membership = limiter_of(store).process_window("twitter"), Membership(store)
    window.configure(TWITTER.limits)
    membership.beat("twitter")
    monkeypatch.setattr(store.breaker, "reason", "cut off")
    with pytest.raises(Unavailable):
        membership.beat("twitter")
    assert not window.is_asked("beat")
