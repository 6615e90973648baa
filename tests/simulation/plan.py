"""What a seed stands for: the shape of a world, and what its users do and what goes wrong in it, in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tbcache.models import Limit
from tbcache.testing.simulated.chance import Chance
from tbcache.testing.simulated.connection import Weather
from tests.simulation.world import Shape

#: What users do.
ACTS = (
    "fetch",
    "fetch the same",
    "take",
    "hold",
    "saturate",
    "saturate",
    "wait in line",
    "enqueue",
    "enqueue and wait",
    "prewarm",
    "clear",
)
#: What some worlds have beside them: values of the cache's own, and of functions.
VALUES = (
    "load a value",
    "load a value",
    "load a value",
    "set a value",
    "delete a value",
    "ask a function",
    "ask a function",
    "clear values",
    "hide in a load",
    "hide in a load",
)
#: What goes wrong; each seed has some of it.
FAULTS = (
    "cut off",
    "cut all off",
    "cut off while all are hungry",
    "cut off and kill",
    "cut off in a burst",
    "freeze",
    "freeze in a load",
    "freeze in a job",
    "cancel",
    "kill",
    "leave",
    "begin",
    "restart the server",
    "freeze the server",
    "lose all",
    "lose beside one that is cut off",
    "go back",
    "save",
    "set the clock",
    "refuse",
    "storm",
)
LOSING = ("lose all", "lose beside one that is cut off", "go back", "set the clock")
#: What users do, and what goes wrong, where the server's clock is set again and again: also right before
#: and right after a loss of data, and while the last time is not mended yet.
CLOCK_ACTS = ("saturate", "saturate", "take", "hold", "fetch", "enqueue")
CLOCK_FAULTS = (
    "set the clock for a while",
    "set the clock for a while",
    "set the clock at any time",
    "come back with another clock",
    "come back with another clock",
    "cut off",
    "cut off and kill",
    "cut all off",
    "begin",
    "leave",
    "kill",
    "freeze",
    "freeze the server",
    "restart the server",
    "lose all",
    "go back",
    "save",
)
#: What an operator does, beside all that users do and that goes wrong.
OPERATED = (
    "pause",
    "resume",
    "resume",
    "drain",
    "set a limit",
    "set a limit",
    "take a limit back",
    "set a weight",
    "take a weight back",
)
#: What goes wrong, and what is done, once processes have been at rest for a minute, and meanwhile.
WOKEN = (*ACTS, "note", "note", "note")
REST_FAULTS = (
    "cut off",
    "cut all off",
    "cut off while all are hungry",
    "cut off and kill",
    "cut off in a burst",
    "freeze",
    "kill",
    "leave",
    "begin",
    "storm",
    "lose all",
)
#: A process rests after a minute without a slot (s).
IDLE = 60.0
#: What is done with queues, beside all that goes wrong but losses of data.
QUEUED = (
    "enqueue",
    "enqueue and wait",
    "prewarm",
    "prewarm for a while",
    "prewarm for a while",
    "ask for what is new",
    "ask for what is new",
    "ask for what is new",
    "enqueue what nobody knows",
    "send",
    "send",
    "call",
    "call",
    "cancel a job",
    "cancel what runs",
    "cancel what runs",
    "promote a job",
    "promote a job",
    "requeue the dead",
    "forget the dead",
    "fetch the same",
    "clear",
)
QUEUE_FAULTS = (
    "freeze in a job",
    "freeze in a job",
    "stop the leader",
    "stop the leader",
    "kill",
    "kill",
    "leave",
    "begin",
    "freeze",
    "cut off",
    "restart the server",
    "freeze the server",
    "storm",
    "refuse",
    "lose all",
    "go back",
    "save",
)
#: Seconds between two steps, in windows' halves: most come at once.
PAUSES = (0.0,) * 10 + (0.02, 0.05, 0.1, 0.15, 0.3, 0.5, 0.8, 1.5, 1.9)
LASTING = (0.05, 0.1, 0.3, 0.3, 0.5, 0.5, 0.8, 1.0, 2.0, 3.0)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing: when (s), which, to which process, for how long; ``odd`` settles what is left open."""

    at: float
    what: str
    who: int
    odd: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    shape: Shape
    steps: tuple[Step, ...]
    kind: str = ""

    @property
    def line(self) -> str:
        """The command that plays it."""
        kind = f" --kind {self.kind}" if self.kind else ""
        return f"python -m tests.simulation{kind} --seed {self.seed}"

    def has(self, some: str) -> bool:
        """Whether one of ``some``, divided by ``|``, is in it: a step, or what its shape has any of."""
        names = some.split("|")
        return any(step.what in names for step in self.steps) or any(
            bool(getattr(self.shape, name, 0)) for name in names
        )


def plan_of(seed: int) -> Plan:
    """The plan of a seed: the same for ever."""
    chance, more = Chance(seed, "plan"), Chance(seed, "more")
    shape = _with_budget(more, _shape(chance))
    shape = replace(shape, is_shown=Chance(seed, "shown").happens(0.5))
    steps = _steps(chance, shape)
    end, added = steps[-1].at, list[Step]()
    late = Chance(seed, "late")
    if late.happens(0.1):
        # When all else is over.
        at, over = end + 3.0, end + 4.0 + 2 * shape.limits[0].window_seconds
        added.append(Step(at, "be back as a promise begins", late.below(6), late.below(12), 0.0))
        added.append(Step(over, "take", 0, 0, 0.0))
    under_way = Chance(seed, "under way")
    if shape.lease > 1.0 and not added and under_way.happens(0.15):
        at = end + 3.0 + shape.limits[0].window_seconds
        over = at + 3.0 + shape.limits[0].window_seconds
        added.append(Step(at, "cut off beside what is under way", under_way.below(6), 0, 0.0))
        added.append(Step(over, "take", 0, 0, 0.0))
    lost = Chance(seed, "lost")
    if not added and lost.happens(0.1):
        at = end + 3.0 + shape.limits[0].window_seconds + shape.lease
        over = at + 2.0 + 2 * shape.limits[0].window_seconds + shape.lease
        added.append(Step(at, "lose while all are hungry", lost.below(6), lost.below(12), 0.0))
        added.append(Step(over, "take", 0, 0, 0.0))
    left = Chance(seed, "left")
    if not added and left.happens(0.1):
        at, window = end + 3.0, shape.limits[0].window_seconds
        over = at + 4.0 + 4 * window + shape.lease
        added.append(Step(at, "leave and go on", left.below(6), left.below(12), 0.0))
        added.append(Step(over, "take", 0, 0, 0.0))
    answered = Chance(seed, "answered")
    if not added and answered.happens(0.1):
        at = end + 3.0 + shape.limits[0].window_seconds + shape.lease
        over = at + 3.0 + 3 * shape.limits[0].window_seconds
        what = "cut off as what was answered late leaves"
        added.append(Step(at, what, answered.below(6), answered.below(12), 0.0))
        added.append(Step(over, "take", 0, 0, 0.0))
    if more.happens(0.35):
        added += _scattered(more, VALUES, 8 + more.below(16), end)
    if shape.budget:
        added += [Step(at, "spend", more.below(6), more.below(12), 1.0) for at in (1.0, 29.0)]
        # With its data Redis loses the day's bill, and with its clock it has another day than the upstream.
        left_out = FAULTS if more.happens(0.5) else LOSING
        steps = tuple(step for step in steps if step.what not in left_out)
    return Plan(seed, shape, tuple(sorted((*steps, *added), key=lambda step: step.at)))


def clock_plan_of(seed: int) -> Plan:
    """The plan of a world whose clock is set again and again: the same for ever."""
    chance = Chance(seed, "clock")
    shape = _shape(chance)
    steps = _steps_of(chance, shape, CLOCK_ACTS, CLOCK_FAULTS, 0.3, 25 + chance.below(30))
    # When all else is over, and no slot is in a window.
    at = steps[-1].at + 3.0 + shape.limits[-1].window_seconds + shape.lease
    chance, late = Chance(seed, "moment"), Chance(seed, "mend")
    if chance.happens(0.3):
        # What is old leaves the window with the first slot.
        first, seconds = Step(at - 0.2, "take", 0, 0, 0.0), chance.uniform(0.0005, 0.005)
        moment = Step(at, "set the clock back for a moment", 0, chance.below(12), seconds)
        steps = (*steps, first, moment, Step(at + 2.0, "take", 0, 0, 0.0))
    elif late.happens(0.3):
        mend = late.choice(("notice a step at once", "set the clock back beyond a step"))
        moment = Step(at, mend, late.below(6), late.below(12), late.choice(LASTING))
        steps = (*steps, moment, Step(at + 2.0, "take", 0, 0, 0.0))
    return Plan(seed, shape, steps, "clock")


def operated_plan_of(seed: int) -> Plan:
    """The plan of a world in which operators pause a source, set limits and weights: the same for ever."""
    chance = Chance(seed, "operated")
    shape = _shape(chance)
    # What is said goes by the server's clock.
    faults = tuple(what for what in FAULTS if what != "set the clock")
    steps = _steps_of(chance, shape, ACTS, _some(chance, faults, 0.3) or faults, 0.2, 25 + chance.below(40))
    orders = _scattered(chance, OPERATED, 4 + chance.below(10), steps[-1].at)
    # Who gives up while he waits does so most where an operator has stopped what he asks.
    gone = _scattered(chance, ("hang up",), (2 + chance.below(6)) * shape.loops, steps[-1].at)
    if chance.happens(0.3):
        # Until the last step nobody takes it back.
        at = steps[-1].at + 1.0
        over = at + 3 * shape.limits[0].window_seconds + shape.lease + 2.0
        gone.append(Step(at, "go on beneath a limit", 0, chance.below(12), 1.0))
        gone.append(Step(over, "take", 0, 0, 0.0))
    more = Chance(seed, "sent")
    sent = _scattered(more, ("call",), 4 + more.below(8), steps[-1].at) if more.happens(0.3) else []
    steps = tuple(sorted((*steps, *orders, *gone, *sent), key=lambda step: step.at))
    return Plan(seed, shape, steps, "operated")


def queue_plan_of(seed: int) -> Plan:
    """The plan of a world that is about jobs, and about who leads: the same for ever."""
    chance = Chance(seed, "queue")
    shape = replace(
        _shape(chance),
        bots=1 + chance.below(2),
        workers=1 + chance.below(2),
        schedulers=chance.choice((0, 2, 2, 3)),
        is_plain=True,
        is_shown=chance.happens(0.6),
    )
    faults = _some(chance, QUEUE_FAULTS, 0.4)
    part = chance.uniform(0.05, 0.3) if faults else 0.0
    steps = _steps_of(chance, shape, QUEUED, faults, part, 25 + chance.below(40))
    if shape.schedulers and chance.happens(0.5):
        # One that leads stands still for as long as it takes until another does.
        at = round(chance.uniform(1.5, 4.0), 6)
        stop = Step(at, "stop the leader", chance.below(6), chance.below(12), chance.choice(LASTING))
        steps = tuple(sorted((*steps, stop, *_scattered(chance, QUEUED, 8, 24.0)), key=lambda step: step.at))
    chance = Chance(seed, "long")
    if chance.happens(0.2):
        # When all else is over.
        at, over = steps[-1].at + 3.0, steps[-1].at + 6.0 + shape.limits[0].window_seconds + shape.lease
        long = Step(at, "outlast a slot", 0, chance.below(2), 0.0)
        steps = (*steps, long, Step(over, "enqueue", 0, 0, 0.0))
    return Plan(seed, shape, steps, "queue")


def fair_plan_of(seed: int) -> Plan:
    """The plan of a world in which callers have more jobs than there are slots: the same for ever."""
    chance = Chance(seed, "fair")
    shape = replace(
        _shape(chance),
        limits=(Limit(chance.choice((6, 10)), 1.0),),
        bots=2 + chance.below(3),
        loops=0,
        workers=1 + chance.below(2),
        schedulers=0,
        pages=1,
        cost=1,
        is_fair=True,
        weather=Weather(),
    )
    steps = _steps_of(chance, shape, ("enqueue many",), (), 0.0, 5 + chance.below(8))
    return Plan(seed, shape, steps, "fair")


def rest_plan_of(seed: int) -> Plan:
    """The plan of a world that is at rest for a minute, which its history tells: the same for ever."""
    chance = Chance(seed, "rest")
    shape = replace(
        _shape(chance),
        bots=2 + chance.below(2),
        workers=chance.below(2),
        schedulers=0,
        is_counted=True,
        to_midnight=chance.uniform(2.0, IDLE + 8.0) if chance.happens(0.3) else 0.0,
    )
    before = _steps_of(chance, shape, WOKEN, (), 0.0, 6 + chance.below(6))
    end, faults = before[-1].at, _some(chance, REST_FAULTS, 0.4) or REST_FAULTS
    # Who counts takes no slot, and rests.
    notes = _scattered(chance, ("note",), 6 + chance.below(10), end + IDLE)
    broken = _scattered(chance, faults, chance.below(3), end + IDLE)
    resting = Chance(seed, "resting")
    if resting.happens(0.3):
        broken.append(Step(end, "cut off as it rests", resting.below(6), 0, resting.choice(LASTING)))
    after = _steps_of(chance, shape, WOKEN, faults, 0.4, 10 + chance.below(15))
    # One that has waited for a slot until then rests so much later.
    woken = end + IDLE + chance.uniform(-1.0, 14.0)
    after = tuple(replace(step, at=round(step.at + woken, 6)) for step in after)
    return Plan(
        seed, shape, tuple(sorted((*before, *notes, *broken, *after), key=lambda step: step.at)), "rest"
    )


def _with_budget(chance: Chance, shape: Shape) -> Shape:
    if not chance.happens(0.15):
        return shape
    midnight = chance.uniform(4.0, 18.0) if chance.happens(0.4) else 0.0
    # A day's money is spent in seconds, and more than may be over is kept for one that is absent.
    return replace(
        shape,
        budget=10 + chance.below(8),
        to_midnight=midnight,
        limits=(Limit(2, 1.0),),
        cost=1,
        bots=2,
        loops=min(1, shape.loops),
        workers=0,
        schedulers=0,
    )


def _scattered(chance: Chance, acts: tuple[str, ...], count: int, end: float) -> list[Step]:
    """So many of ``acts``, at any time until then; half of them with another at the same moment."""
    steps = list[Step]()
    for _ in range(count):
        is_beside = steps and chance.happens(0.5)
        at = steps[-1].at if is_beside else round(chance.uniform(0.6, end), 6)
        who, odd = chance.below(6), steps[-1].odd if is_beside else chance.below(12)
        steps.append(Step(at, chance.choice(acts), who, odd, chance.choice(LASTING)))
    return steps


def _shape(chance: Chance) -> Shape:
    count, window = chance.choice((1, 2, 3, 4, 6, 6, 10)), chance.choice((1.0, 2.0, 2.0, 4.0))
    limits = [Limit(count, window)]
    if chance.happens(0.2):
        limits.append(Limit(2 * count, 3 * window))
    return Shape(
        limits=tuple(limits),
        bots=1 + chance.below(4),
        loops=chance.below(2),
        workers=chance.below(3),
        schedulers=int(chance.happens(0.2)),
        pages=chance.choice((1, 1, 2, 3)),
        cost=2 if count > 3 and chance.happens(0.15) else 1,
        lease=chance.choice((1.0, 1.0, 6.0)),
        cache_ttl=chance.choice((0.5, 2.0, 10.0)),
        stale_ttl=chance.choice((0.0, 2.0, 10.0)),
        weather=chance.choice((Weather(), Weather(), Weather(late=0.3, slow=0.15), Weather(lost=0.01))),
    )


def _steps(chance: Chance, shape: Shape) -> tuple[Step, ...]:
    acts = _some(chance, ACTS, 0.5) or ACTS
    faults = _some(chance, FAULTS, 0.3)
    part = chance.uniform(0.1, 0.5) if faults else 0.0
    return _steps_of(chance, shape, acts, faults, part, 25 + chance.below(50))


def _steps_of(
    chance: Chance, shape: Shape, acts: Sequence[str], faults: Sequence[str], part: float, count: int
) -> tuple[Step, ...]:
    """So many steps, the ``part`` of them faults."""
    at, steps = 0.6, []
    for _ in range(count):
        what = chance.choice(faults) if chance.happens(part) else chance.choice(acts)
        steps.append(Step(round(at, 6), what, chance.below(6), chance.below(12), chance.choice(LASTING)))
        at += chance.choice(PAUSES) * shape.limits[0].window_seconds / 2
    return tuple(steps)


def _some(chance: Chance, many: tuple[str, ...], part: float) -> tuple[str, ...]:
    return tuple(one for one in many if chance.happens(part))


#: The plans of each kind of world, by its name.
PLANS: dict[str, Callable[[int], Plan]] = {
    "": plan_of,
    "clock": clock_plan_of,
    "operated": operated_plan_of,
    "queue": queue_plan_of,
    "rest": rest_plan_of,
    "fair": fair_plan_of,
}
#: Of ten seeds, in turn, the kind of each.
TURNS = ("", "rest", "operated", "", "clock", "queue", "fair", "queue", "", "clock")


def any_plan_of(seed: int) -> Plan:
    """The plan of a seed, of one kind after the other."""
    return PLANS[TURNS[seed % len(TURNS)]](seed)


#: A few of them, of each kind, which the tests run each time: quick ones, in which much goes wrong. Of one of
#: each kind a real server is asked the same as well.
TRIED = (9, 28, 36, 48, 52, 72, 77, 81, 88, 90, 109)
COMPARED = (11, 16, 18, 27, 62, 94)
