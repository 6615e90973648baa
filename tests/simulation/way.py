"""What each kind of step does: what users do, and what goes wrong."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from scheduler.leader import LEASE_MS
from tbcache.fleet.alert.lease import LEASE_MS as WATCH_MS
from tbcache.io import utc_now
from tbcache.models import Limit
from tbcache.store.constant import ABSENT_SECONDS
from tbcache.store.said import TAKEN_BACK
from tbcache.testing.simulated.connection import Weather
from tbcache.testing.simulated.kernel import micros
from tests.simulation.caller import Client
from tests.simulation.driver import Coro
from tests.simulation.fault import Faults
from tests.simulation.oracle import ABSENT_US, PLAIN
from tests.simulation.plan import Step
from tests.simulation.process import LOOP, Process
from tests.simulation.work import UNKNOWN

LANES = ("interactive", "prewarm")

#: By how much a clock is set that is set again and again (s).
CLOCK_STEPS = (30.0, 3.0, 0.6, -30.0, -3.0, 1.2)
#: For so long (s) all fetch as much as there is money for: one alone is through with a day's budget by then.
SPENDING = 26.0
#: How late a message is that is late (s).
LATE = 0.07


def _step_for_a_while(faults: Faults, process: Process, step: Step) -> None:
    """The clock is wrong, and is put right."""
    seconds = CLOCK_STEPS[step.odd % len(CLOCK_STEPS)]
    faults.step_clock(seconds)
    faults.kernel.after(step.seconds, lambda: faults.step_clock(-seconds))


def _fetch(faults: Faults, process: Process, step: Step) -> None:
    symbol, patience = f"S{faults.world.number()}", float(step.odd % 4)
    process.do("act fetch", lambda: process.fetch(symbol, patience))


def _fetch_same(faults: Faults, process: Process, step: Step) -> None:
    process.do("act fetch", lambda: process.fetch(f"T{step.odd % 3}", float(step.odd % 4)))


def _hold(faults: Faults, process: Process, step: Step) -> None:
    process.do("act hold", lambda: process.hold(step.odd % 4 * 0.5))


def _saturate(faults: Faults, process: Process, step: Step) -> None:
    process.do("act saturate", lambda: process.saturate(max(0.5, step.seconds)))


def _wait_in_line(faults: Faults, process: Process, step: Step) -> None:
    process.do("act wait in line", lambda: process.wait_in_line(max(1.0, step.seconds)))


def _enqueue(
    faults: Faults, process: Process, step: Step, lane: str = "interactive", wait: float = 0.0
) -> None:
    symbol = f"T{step.odd % 3}" if step.odd % 2 else f"Q{faults.world.number()}"
    delay = 0.0 if step.odd % 3 else 0.5
    process.do("act enqueue", lambda: process.enqueue(symbol, lane, delay, wait))


def _ask_for_what_is_new(faults: Faults, process: Process, step: Step) -> None:
    """Loads that begin after a moment, or last for long, of what others ask for as well."""
    symbol, ago = f"T{step.odd % 2}", timedelta(seconds=(0.0, 0.2, 1.0)[step.odd % 3])
    wants: dict[str, Any] = {"needed": step.seconds}

    async def ask() -> None:
        if step.odd % 4:
            wants["fresh_after"] = utc_now() - ago
        await process.enqueue(symbol, LANES[step.odd % 2], **wants)

    process.do("act ask for what is new", ask)


def _prewarm_for_a_while(faults: Faults, process: Process, step: Step) -> None:
    for _ in range(2 + step.odd % 4):
        symbol = f"Q{faults.world.number()}"
        process.do(
            "act prewarm",
            lambda symbol=symbol: process.enqueue(symbol, "prewarm", valid_seconds=step.seconds / 2),
        )


def _enqueue_what_nobody_knows(faults: Faults, process: Process, step: Step) -> None:
    symbol = f"{UNKNOWN}{faults.world.number()}"
    process.do("act enqueue", lambda: process.enqueue(symbol, LANES[step.odd % 2]))


def _move(how: str) -> Callable[[Faults, Process, Step], object]:
    """An operator cancels or promotes a job that is there, or was."""

    def act(faults: Faults, process: Process, step: Step) -> None:
        oracle = faults.world.oracle
        queue, jobs = (PLAIN, oracle.plain) if step.odd % 4 == 3 else (faults.world.source.name, oracle.jobs)
        known = [*jobs.open] or [*jobs.ended]
        if known:
            id = known[step.who * len(known) // 6]
            process.do(f"act {how}", lambda: process.move(how, queue, id))

    return act


def _exhume(how: str) -> Callable[[Faults, Process, Step], object]:
    def act(faults: Faults, process: Process, step: Step) -> None:
        queue = PLAIN if step.odd % 2 else faults.world.source.name
        process.do(f"act {how}", lambda: process.exhume(how, queue))

    return act


def _send(faults: Faults, process: Process, step: Step) -> None:
    fails, delay_ms = (0, 0, 1, 2, 9)[step.odd % 5], 0 if step.odd % 3 else 300
    process.do("act send", lambda: process.send(fails, delay_ms))


def _call(faults: Faults, process: Process, step: Step) -> None:
    process.do("act call", lambda: process.call(step.seconds * 1.5))


def _cancel_what_runs(faults: Faults, process: Process, step: Step) -> None:
    """An operator cancels a job that a worker has, which hears of it at once, or much later; meanwhile others
    take what there is."""
    world, jobs = faults.world, faults.world.oracle.plain if step.odd % 4 == 3 else faults.world.oracle.jobs
    running = [id for id in jobs.open if jobs.claims.get(id) in jobs.claims_until]
    # Those of somebody's own run for long.
    running = [id for id in running if not jobs.open[id]] or running
    if not running:
        return
    id = running[step.who * len(running) // 6]
    seconds = 1.5 + world.source.limits[0].window_seconds
    for one in world.active if step.odd % 3 else []:
        faults.kernel.after(0.3, lambda one=one: one.do("act saturate", lambda: one.saturate(seconds)))
    name, _ = jobs.given[jobs.claims[id]]
    for worker in [one for one in world.active if one.name == name] if step.odd % 3 else []:
        if step.odd % 2:
            faults.cut(worker, "silent", step.seconds)
        else:
            faults.freeze(worker, step.seconds)
    queue = PLAIN if jobs is world.oracle.plain else world.source.name
    process.do("act cancel", lambda: process.move("cancel", queue, id))


def _outlast_a_slot(faults: Faults, process: Process, step: Step) -> None:
    """A job goes on for longer than its slot would be held, and sends late, though it is cancelled, or Redis
    has lost it; others take what there is."""
    world, after = faults.world, faults.kernel.after
    seconds = world.source.limits[0].window_seconds + world.lease + 2.0
    jobs, queue = world.oracle.jobs, world.source.name
    process.do("act call", lambda: process.call(seconds))

    def cancel() -> None:
        for id in [id for id in jobs.open if jobs.claims.get(id) in jobs.claims_until and not jobs.open[id]]:
            process.do("act cancel", lambda id=id: process.move("cancel", queue, id))

    after(0.8, cancel if step.odd % 2 else lambda: faults.lose(({}, {}), 0, 0.0))
    for one in world.active:
        after(1.0, lambda one=one: one.do("act saturate", lambda: one.saturate(seconds)))


def _hang_up(faults: Faults, process: Process, step: Step) -> None:
    """Whoever asks is gone while his ask waits, for a slot or for another's load."""
    loops = [one for one in faults.world.active if one.kind == LOOP]
    for number, one in enumerate(loops * 3):
        client, symbol = (
            Client(),
            f"T{(step.odd + number) % 3}" if step.odd % 2 else f"S{faults.world.number()}",
        )
        task = one.do("act ask", functools.partial(one.ask, client, symbol, 3.0))
        faults.kernel.after(one.chance.uniform(0.0, 1.0), functools.partial(one.hang_up, client, task))


def _stop_the_leader(faults: Faults, process: Process, step: Step) -> None:
    """It stands still until another leads, or is killed; then it goes on where it stood."""
    # Of the scheduler, or of those that watch the fleet, whose lease holds for longer.
    is_watch = step.odd % 3 == 0
    schedulers = [one for one in faults.world.active if one.kind == "scheduler"]
    leaders = [one for one in schedulers if (one.watch_lease.token if is_watch else one.leader._token)]
    if not leaders:
        return
    leader, after = leaders[0], process.chance.uniform(0.0, 2.2)
    asleep = (WATCH_MS if is_watch else LEASE_MS) / 1000 + 2.5 + step.seconds
    if step.odd % 4:
        faults.kernel.after(after, lambda: faults.freeze(leader, asleep))
    else:
        faults.kernel.after(after, lambda: faults.world.kill(leader))
        faults.begin("scheduler", 1.0)


def _clear(faults: Faults, process: Process, step: Step) -> None:
    pattern = ("reddit:*", "reddit:T0:*", "*", "reddit:T1:24")[step.odd % 4]
    process.do("act clear", lambda: process.clear(pattern))


def _hide_in_a_load(faults: Faults, process: Process, step: Step) -> None:
    """A value is deleted, or all are cleared, while one is being loaded; then others ask for it."""
    name, others = f"V{step.odd % 3}", faults.world.active
    process.do("act load", lambda: process.values.load(name))
    hider, reader = others[step.odd % len(others)], others[(step.odd + 1) % len(others)]
    if step.odd % 2:
        hider = reader = process
    hide = (lambda: hider.values.delete(name)) if step.odd % 4 else (lambda: hider.clear("values:*"))
    faults.kernel.after(process.chance.uniform(0.005, 0.25), lambda: hider.do("act hide", hide))
    faults.kernel.after(0.4, lambda: reader.do("act load", lambda: reader.values.load(name)))


def _spend(faults: Faults, process: Process, step: Step) -> None:
    """One, or all, go on without Redis for a while, and everyone fetches as much as there is money for."""
    for one in faults.world.active * 3:
        one.do("act spend", lambda one=one: one.spend(SPENDING))
    apart = faults.world.active if step.odd % 2 else [process]
    for one in apart if step.odd % 6 else []:
        after = process.chance.uniform(0.2, 1.0)
        faults.kernel.after(
            after, lambda one=one: faults.cut(one, ("refused", "silent")[step.who % 2], SPENDING - 1.0)
        )


def _clear_values(faults: Faults, process: Process, step: Step) -> None:
    pattern = ("values:*", "values:V1", "reddit:quote:*", "*")[step.odd % 4]
    process.do("act clear", lambda: process.clear(pattern))


def _kill(faults: Faults, process: Process, step: Step) -> None:
    faults.world.kill(process)
    faults.begin(process.kind, step.seconds)


def _cut_while_hungry(faults: Faults, process: Process, step: Step) -> None:
    """It has taken what there was, and others wait for that to come free; shortly before, it is cut off."""
    at = _be_hungry(faults, process) - process.chance.uniform(0.3, 0.9)
    faults.kernel.after(at, lambda: faults.cut(process, ("refused", "refused", "silent")[step.odd % 3], 1.5))
    # What it asks at that moment Redis may hear, and it hears nothing of that.
    faults.kernel.after(at - 0.001, lambda: process.do("act take", process.take))


def _lose_while_hungry(faults: Faults, process: Process, step: Step) -> None:
    """It is cut off for so long before that it takes again what others were promised, and Redis loses all,
    and with that its share."""
    at = max(0.0, _be_hungry(faults, process) - process.chance.uniform(0.9, 1.6))
    faults.kernel.after(at, lambda: faults.cut(process, ("refused", "silent")[step.odd % 2], 2.5))
    faults.kernel.after(at + process.chance.uniform(0.0, 0.4), lambda: faults.lose(({}, {}), 0, 0.0))


def _be_hungry(faults: Faults, process: Process) -> float:
    """It takes what there is, and others wait for that: in so many seconds it comes free."""
    limit = faults.world.source.limits[0]
    for _ in range(limit.count):
        process.do("act take", process.take)
    process.do("act saturate", lambda: process.saturate(limit.window_seconds + 1.0))
    others = [one for one in faults.world.active if one is not process]
    for number in range(limit.count if others else 0):
        other = others[number % len(others)]
        other.do("act wait in line", lambda other=other: other.wait_in_line(limit.window_seconds + 0.5))
    return limit.window_seconds


def _cut_in_a_burst(faults: Faults, process: Process, step: Step) -> None:
    """Some of its asks are carried out, and it does not hear which."""
    for _ in range(faults.world.source.limits[0].count):
        process.do("act take", process.take)
    faults.kernel.after(process.chance.uniform(0.0002, 0.002), lambda: faults.cut(process, "silent", 2.0))
    for one in faults.world.active:
        after = 0.0 if one is process else 0.1
        faults.kernel.after(after, lambda one=one: one.do("act saturate", lambda: one.saturate(1.5)))


def _be_back_as_a_promise_begins(faults: Faults, process: Process, step: Step) -> None:
    """Redis hears late that a slot is over, so that another is promised it for later than it leaves. Who had
    it is cut off until then, goes alone, and is back as what was promised begins."""
    world, after, connection = faults.world, faults.kernel.after, process.connection
    others = [one for one in world.active if one is not process]
    window = world.source.limits[0].window_seconds
    if not others or connection.cut:
        return
    other, fair = others[step.odd % len(others)], connection.weather

    async def hold() -> None:
        slot, _ = await process.slots.begin(max_wait=0.0)
        world.upstream.arrive(process.name)
        after(0.5, lambda: other.do("act saturate", lambda: other.saturate(0.3)))
        after(0.8, lambda: other.do("act wait", lambda: other.wait_in_line(window)))
        after(window - 0.85, lambda: faults.cut(process, "refused", 0.865))
        for late in (0.003, 0.006, 0.01):
            after(window + late, lambda: process.do("act take", process.take))
        # It says so twice, as the server has forgotten the script, and each way takes long.
        faults.server._scripts.clear()
        connection.weather = Weather(quick=0.118, slow=0.118, late=1.0)
        after(0.45, lambda: setattr(connection, "weather", fair))
        await process.slots.end(slot)

    process.do("act hold", hold)


def _cut_as_what_was_answered_late_leaves(faults: Faults, process: Process, step: Step) -> None:
    """The answers by which it has taken what there is were late: for Redis that leaves earlier. It is cut off
    until after that, and others wait for it."""
    world, after, connection = faults.world, faults.kernel.after, process.connection
    limit, fair, chance = world.source.limits[0], connection.weather, process.chance
    connection.weather = Weather(quick=LATE, slow=LATE, late=1.0)
    for _ in range(limit.count):
        process.do("act take", process.take)
    after(0.2, lambda: setattr(connection, "weather", fair))
    heard_at = limit.window_seconds + LATE - ABSENT_SECONDS + chance.uniform(0.0, LATE)
    after(heard_at - 0.004, lambda: process.do("act take", process.take))
    after(heard_at, lambda: faults.cut(process, "refused", 1.5))
    after(heard_at, lambda: process.do("act saturate", lambda: process.saturate(1.2)))
    others = [one for one in world.active if one is not process]
    for number in range(limit.count if others else 0):
        other = others[number % len(others)]
        after(
            0.5,
            lambda other=other: other.do(
                "act wait in line", lambda: other.wait_in_line(limit.window_seconds)
            ),
        )


def _cut_beside_what_is_under_way(faults: Faults, process: Process, step: Step) -> None:
    """It has taken the limit, and its requests arrive late; meanwhile the others are cut off, and hungry."""
    limit, after = faults.world.source.limits[0], faults.kernel.after
    late = process.chance.uniform(0.3, 0.7) * faults.world.lease
    for _ in range(limit.count):
        process.do("act hold", lambda: process.hold(0.5, late))
    seconds = 2.5 + limit.window_seconds
    for one in [one for one in faults.world.active if one is not process]:
        after(0.3, lambda one=one: faults.cut(one, "refused", seconds))
        after(0.3, lambda one=one: one.do("act saturate", lambda: one.saturate(seconds)))


def _cut_as_it_rests(faults: Faults, process: Process, step: Step) -> None:
    """The answer to the beat by which it says that it rests is lost, and it goes alone."""
    waits = True

    def look(who: str, command: tuple[bytes, ...], answer: object) -> None:
        nonlocal waits
        call = faults.world.oracle._scripts.read(command) if waits and who == process.name else None
        if call is not None and call.script.name == "beat" and call.number("silence_us") > ABSENT_US:
            waits = False
            faults.cut(process, "silent", 2.0 + step.seconds)
            process.do("act saturate", lambda: process.saturate(2.0))

    faults.server.listeners.append(look)


def _freeze_in_a_load(faults: Faults, process: Process, step: Step) -> None:
    """It wakes up when its lease is over, and another may have loaded the same."""
    symbol = f"T{step.odd % 3}"
    process.do("act fetch", lambda: process.fetch(symbol, 1.0))
    faults.kernel.after(process.chance.uniform(0.05, 0.6), lambda: faults.freeze(process, 1.0 + step.seconds))
    for one in [one for one in faults.world.active if one is not process][:2]:
        after = faults.world.lease + process.chance.uniform(0.0, 1.0)
        faults.kernel.after(after, lambda one=one: one.do("act fetch", lambda: one.fetch(symbol, 3.0)))


def _freeze_in_a_job(faults: Faults, process: Process, step: Step) -> None:
    """Its claims lapse meanwhile, and another worker has the jobs when it wakes up."""
    for _ in range(3):
        symbol = f"Q{faults.world.number()}"
        process.do("act enqueue", lambda symbol=symbol: process.enqueue(symbol, "interactive", 0.0, 0.0))
    workers = [one for one in faults.world.active if one.kind == "worker"]
    if workers:
        # Where Redis cannot know whether they are there, claims hold for twice as long.
        asleep = (
            faults.world.claim_seconds * (1 if faults.world.shape.is_shown else 2) + 0.3 + step.seconds / 2
        )
        faults.kernel.after(process.chance.uniform(0.02, 0.3), lambda: faults.freeze(workers[0], asleep))
        faults.begin("worker", 0.5)


def _cancel(faults: Faults, process: Process, step: Step) -> None:
    """Tasks of an event loop are cancelled wherever they stand: nothing of them is left."""
    loops = [one for one in faults.world.active if one.kind == LOOP]
    if not loops:
        return
    cancel_acts(faults, loops[step.who % len(loops)], f"T{step.odd % 3}", 0.01 if step.odd % 2 else 0.5)


def cancel_acts(faults: Faults, process: Process, symbol: str, most_seconds: float) -> None:
    for act in acts_to_cancel(faults, process, symbol):
        task = process.do("act cancelled", act)
        if isinstance(task, Coro):
            faults.kernel.after(process.chance.uniform(0.0, most_seconds), task.cancel)


def acts_to_cancel(faults: Faults, process: Process, symbol: str) -> list[Callable[[], Any]]:
    acts = [process.take, lambda: process.hold(2.0), lambda: process.fetch(symbol, 2.0)]
    # A load goes on without the task that has asked for it: where its loop ends, it is cancelled as well.
    return [*acts, lambda: process.values.load(symbol)] if faults.world.has_values else acts


def _cut_and_kill(faults: Faults, process: Process, step: Step) -> None:
    """It goes alone, and nobody is ever told what it has sent; others take what there is then."""
    faults.cut(process, ("refused", "silent")[step.odd % 2], 1.0 + step.seconds)
    if step.odd % 3:
        process.do("act saturate", lambda: process.saturate(0.3 + step.seconds / 2))
        for one in [one for one in faults.world.active if one is not process]:
            after = 0.4 + step.seconds / 2
            faults.kernel.after(after, lambda one=one: one.do("act saturate", lambda: one.saturate(1.5)))
    faults.kernel.after(0.3 + step.seconds / 2, lambda: faults.world.kill(process))
    faults.begin(process.kind, 1.0 + step.seconds)


def _lose_beside(faults: Faults, process: Process, step: Step) -> None:
    """One knows nothing of the loss, and goes alone."""
    faults.cut(process, ("refused", "silent")[step.odd % 2], 1.0 + step.seconds)
    faults.kernel.after(0.05 + 0.1 * (step.odd % 4), lambda: faults.lose(({}, {}), 0, 0.0))


def _come_back_with_another_clock(faults: Faults, process: Process, step: Step) -> None:
    """All is used up as the server goes; it comes back empty, on a machine whose clock is another. One may be
    cut off, and puts its slots back later than the others."""
    for one in faults.world.active:
        one.do("act saturate", lambda one=one: one.saturate(1.0 + step.seconds))
    if step.odd % 2:
        faults.kernel.after(0.29, lambda: faults.cut(process, "silent", 1.5 + step.seconds))
    faults.kernel.after(0.3, lambda: faults.lose(({}, {}), 0, step.seconds / 2))
    faults.kernel.after(0.3, lambda: faults.step_clock(CLOCK_STEPS[step.odd % len(CLOCK_STEPS)]))


def _step_back_for_a_moment(faults: Faults, process: Process, step: Step) -> None:
    """The clock is wrong for as long as an answer takes, while all take what they can."""
    for one in faults.world.active:
        one.do("act saturate", lambda one=one: one.saturate(1.0))
        one.do("act hold", lambda one=one: one.hold(0.0))
    seconds = CLOCK_STEPS[3 + step.odd % 2]
    faults.step_clock(seconds)
    faults.kernel.after(step.seconds, lambda: faults.step_clock(-seconds))


def _step_back_beyond_a_step(faults: Faults, process: Process, step: Step) -> None:
    """One is cut off as the clock is set forward. The others have that mended, and are no more as it is set
    back by more: only the first has that mended."""
    seconds, after = CLOCK_STEPS[step.odd % 2], faults.kernel.after
    others = [one for one in faults.world.active if one is not process]
    if not others:
        return
    faults.cut(process, "silent", 1.1)
    faults.step_clock(seconds)
    for one in others:
        one.do("act saturate", lambda one=one: one.saturate(0.9))
        after(1.0, lambda one=one: faults.world.kill(one))
    after(1.0, lambda: faults.step_clock(-2 * seconds))


def _notice_a_step_at_once(faults: Faults, process: Process, step: Step) -> None:
    """All is used up as Redis loses all, and its clock is set back; all but one are cut off. Many threads of
    that one ask at once, some slowly: one may have noted the loss before another has the window mended."""
    fair, connection = process.connection.weather, process.connection

    def fail_over() -> None:
        for one in faults.world.active:
            if one is not process:
                faults.cut(one, "silent", 1.0 + step.seconds / 2)
        faults.lose(({}, {}), 0, 0.0)
        faults.step_clock(CLOCK_STEPS[3 + step.odd % 2])
        connection.weather = Weather(quick=0.001, slow=0.02, late=0.4)
        faults.kernel.after(0.2, lambda: setattr(connection, "weather", fair))
        for _ in range(8):
            process.do("act take", process.take)

    for one in faults.world.active:
        one.do("act saturate", lambda one=one: one.saturate(1.0))
    faults.kernel.after(0.3, fail_over)


def _leave(faults: Faults, process: Process, step: Step) -> None:
    if len(faults.world.active) > 1:
        faults.kernel.spawn(process, "stop", process.stop)


def _leave_and_go_on(faults: Faults, process: Process, step: Step) -> None:
    """It gives its part back, which others have by the time at which nobody reaches Redis. It goes on, or
    begins again."""
    if len(faults.world.active) == 1:
        return
    others = [one for one in faults.world.active if one is not process]
    window, after = faults.world.source.limits[0].window_seconds, faults.kernel.after
    process.spawn("leave", process.membership.stop)
    cut_at = window + faults.world.lease + process.chance.uniform(1.2, 2.0)

    def cut_off() -> None:
        for one in (process, *others):
            faults.cut(one, "refused", 2 * window)
        if step.odd % 2:
            process.spawn("begin", process.membership.start)
        for one in (process, *others):
            one.do("act saturate", lambda one=one: one.saturate(window))

    after(cut_at, cut_off)
    after(cut_at + 2 * window + 0.5, lambda: process.spawn("begin", process.membership.start))


def _cut_all(faults: Faults, process: Process, step: Step) -> None:
    for one in faults.world.living:
        faults.cut(one, ("refused", "silent")[step.odd % 2], step.seconds)


def _refuse(faults: Faults, process: Process, step: Step) -> None:
    upstream = faults.world.upstream
    upstream.mood = ("throttled", "throttled", "down", "stalled")[step.odd % 4]
    upstream.mood_until = faults.kernel.now_us + micros(0.5 + step.seconds)
    # It refuses one, and another asks right after that.
    for after in (0.0, 0.6) if step.odd % 4 == 1 else ():
        faults.kernel.after(after, lambda: _fetch(faults, process, step))


def _storm(faults: Faults, process: Process, step: Step) -> None:
    faults.storm(step.seconds)


def _go_back(faults: Faults, process: Process, step: Step) -> None:
    if faults.saved is not None:
        faults.lose(faults.saved, faults.saved_us, step.seconds if step.odd % 2 else 0.0)


def _freeze_server(faults: Faults, process: Process, step: Step) -> None:
    faults.server.freeze(step.seconds)


def _set_limit(faults: Faults, process: Process, step: Step) -> None:
    """Half of the count in a window of the source's, or a window of its own."""
    limit = faults.world.source.limits[0]
    half = max(faults.world.source.cost, limit.count // 2)
    window = limit.window_seconds * (0.5, 1.0, 1.0)[step.odd % 3]
    process.do("act set a limit", lambda: process.set_limits([Limit(half, window)]))


def _go_on_beneath_a_limit(faults: Faults, process: Process, step: Step) -> None:
    """An operator sets a limit; once all go by it, they lose Redis, and take whatever they can."""
    _set_limit(faults, process, step)
    window = faults.world.source.limits[0].window_seconds
    for one in faults.world.active:
        after = window + faults.world.lease + process.chance.uniform(0.5, 1.0)
        faults.kernel.after(after, lambda one=one: faults.cut(one, "refused", 2 * window + 1.0))
        faults.kernel.after(
            after, lambda one=one: one.do("act saturate", lambda: one.saturate(2 * window + 1.0))
        )


WAYS: dict[str, Callable[[Faults, Process, Step], object]] = {
    "fetch": _fetch,
    "fetch the same": _fetch_same,
    "take": lambda faults, process, step: process.do("act take", process.take),
    "hold": _hold,
    "note": lambda faults, process, step: process.do("act note", process.note),
    "saturate": _saturate,
    "wait in line": _wait_in_line,
    "enqueue": _enqueue,
    "enqueue and wait": lambda faults, process, step: _enqueue(faults, process, step, wait=3.0),
    "prewarm": lambda faults, process, step: _enqueue(faults, process, step, lane="prewarm"),
    "enqueue many": lambda faults, process, step: process.do(
        "act enqueue many", lambda: process.enqueue_many(1 + 2 * step.odd)
    ),
    "ask for what is new": _ask_for_what_is_new,
    "prewarm for a while": _prewarm_for_a_while,
    "enqueue what nobody knows": _enqueue_what_nobody_knows,
    "send": _send,
    "call": _call,
    "cancel a job": _move("cancel"),
    "cancel what runs": _cancel_what_runs,
    "outlast a slot": _outlast_a_slot,
    "hang up": _hang_up,
    "promote a job": _move("promote"),
    "requeue the dead": _exhume("requeue"),
    "forget the dead": _exhume("purge"),
    "stop the leader": _stop_the_leader,
    "clear": _clear,
    "cut off": lambda faults, process, step: faults.cut(
        process, ("refused", "silent")[step.odd % 2], step.seconds
    ),
    "cut all off": _cut_all,
    "cut off while all are hungry": _cut_while_hungry,
    "lose while all are hungry": _lose_while_hungry,
    "cut off and kill": _cut_and_kill,
    "cut off in a burst": _cut_in_a_burst,
    "cut off as it rests": _cut_as_it_rests,
    "cut off beside what is under way": _cut_beside_what_is_under_way,
    "be back as a promise begins": _be_back_as_a_promise_begins,
    "cut off as what was answered late leaves": _cut_as_what_was_answered_late_leaves,
    "freeze in a load": _freeze_in_a_load,
    "freeze in a job": _freeze_in_a_job,
    "cancel": _cancel,
    "freeze": lambda faults, process, step: faults.freeze(process, step.seconds),
    "kill": _kill,
    "leave": _leave,
    "leave and go on": _leave_and_go_on,
    "begin": lambda faults, process, step: faults.begin(process.kind, 0.0),
    "restart the server": lambda faults, process, step: faults.restart(step.seconds),
    "freeze the server": _freeze_server,
    "lose all": lambda faults, process, step: faults.lose(({}, {}), 0, step.seconds if step.odd % 2 else 0.0),
    "lose beside one that is cut off": _lose_beside,
    "go back": _go_back,
    "save": lambda faults, process, step: faults.save(),
    "spend": _spend,
    "hide in a load": _hide_in_a_load,
    "load a value": lambda faults, process, step: process.do(
        "act load", lambda: process.values.load(f"V{step.odd % 3}")
    ),
    "set a value": lambda faults, process, step: process.do(
        "act set", lambda: process.values.set(f"V{step.odd % 3}")
    ),
    "delete a value": lambda faults, process, step: process.do(
        "act delete", lambda: process.values.delete(f"V{step.odd % 3}")
    ),
    "ask a function": lambda faults, process, step: process.do(
        "act ask", lambda: process.values.ask(f"F{step.odd % 3}")
    ),
    "clear values": _clear_values,
    "set the clock for a while": _step_for_a_while,
    "set the clock back for a moment": _step_back_for_a_moment,
    "set the clock back beyond a step": _step_back_beyond_a_step,
    "notice a step at once": _notice_a_step_at_once,
    "come back with another clock": _come_back_with_another_clock,
    "set the clock at any time": lambda faults, process, step: faults.step_clock(
        CLOCK_STEPS[step.odd % len(CLOCK_STEPS)]
    ),
    "set the clock": lambda faults, process, step: faults.set_clock(
        (-30.0, -5.0, -1.0, 1.0, 5.0, 30.0)[step.odd % 6]
    ),
    "pause": lambda faults, process, step: process.do("act pause", lambda: process.order("pause")),
    "drain": lambda faults, process, step: process.do("act drain", lambda: process.order("drain")),
    "resume": lambda faults, process, step: process.do("act resume", lambda: process.order("resume")),
    "set a limit": _set_limit,
    "go on beneath a limit": _go_on_beneath_a_limit,
    "take a limit back": lambda faults, process, step: process.do(
        "act take a limit back", lambda: process.set_limits([])
    ),
    "set a weight": lambda faults, process, step: process.do(
        "act set a weight", lambda: process.set_weight(str(1 + step.odd % 3))
    ),
    "take a weight back": lambda faults, process, step: process.do(
        "act take a weight back", lambda: process.set_weight(TAKEN_BACK)
    ),
    "refuse": _refuse,
    "storm": _storm,
}
