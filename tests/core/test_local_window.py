"""Commands without any Redis: those of a user on a machine take slots from one window, kept in a file."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tbcache.io import BLOCKING
from tbcache.io.lock import try_lock
from tbcache.limiter import Limiter, marker, slot_file
from tbcache.limiter.local_window import RETRY_SECONDS, LocalWindow
from tbcache.limiter.promise import SLOWEST
from tbcache.limiter.shortage import Shortage
from tbcache.models import Limit
from tbcache.settings import Settings
from tbcache.store import Store
from tbcache.store.wire import day_of
from tests.cli.command import clean_environment

HOLD = 15.0
MINUTE, DAY = Limit(3, 60.0), Limit(5, 86400.0)
#: The clock of the upstream may be slower.
OVER_A_DAY = 86400.0 * SLOWEST


class Machine:
    """The clocks of a machine, over the true time: nothing but the wall clock can be set, and a start of the
    machine has the others begin anew."""

    def __init__(self) -> None:
        self.now = self.began = 1_800_000_000.0
        self.slept = self.wrong = 0.0
        self.starts = 0

    def monotonic(self) -> float:
        return self.awake() - self.slept

    def awake(self) -> float:
        return self.now - self.began

    def wall(self) -> float:
        return self.now + self.wrong

    def restart(self, seconds: float = 20.0) -> None:
        self.now += seconds
        self.began, self.slept = self.now - 5.0, 0.0
        self.starts += 1

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(BLOCKING, "now", machine.monotonic)
    monkeypatch.setattr(BLOCKING, "clock", machine.wall)
    monkeypatch.setattr(slot_file, "_awake", machine.awake)
    monkeypatch.setattr(slot_file, "_boot", lambda: str(machine.starts))
    return machine


def command() -> Store:
    """The store of a command that has no Redis."""
    store = Store(Settings.load({}))
    store.is_command = True
    return store


class Process:
    """A command."""

    def __init__(self, *limits: Limit, budget: int = 0, price: int = 0) -> None:
        self.limits = limits
        self.limiter = Limiter(command())
        self.window.configure(limits)
        self.window.purse.configure(budget, price)

    @property
    def window(self) -> LocalWindow:
        window = self.limiter.process_window("reddit")
        assert isinstance(window, LocalWindow)
        return window

    @property
    def left(self) -> int | None:
        """What it may spend today yet."""
        with self.window.together():
            return self.window.purse.left(day_of(self.limiter.store.clock.today))

    @property
    def path(self) -> Path:
        return self.window._file.path

    def take(self, slot: str, *limits: Limit, hold: float = HOLD) -> Shortage | None:
        return self.limiter.fallback.take("reddit", slot, 1, limits or self.limits, hold)

    def takes(self, most: int = 10) -> int:
        """How many slots it gets, one after the other."""
        return next(n for n in range(most) if self.take(f"{id(self)}.{n}", hold=0.0) is not None)


def test_the_next_process_counts_what_the_last_has_sent(machine: Machine) -> None:
    """Three commands in a row sent three requests on a limit of one a minute."""
    assert [Process(MINUTE, DAY).takes() for _ in range(2)] == [3, 0]
    machine.now += 60.1
    assert [Process(MINUTE, DAY).takes() for _ in range(2)] == [2, 0]
    machine.now += OVER_A_DAY - 30.0
    # What has left a window of a day is free, and not all of it or nothing.
    assert Process(MINUTE, DAY).takes() == 3
    shortage = Process(MINUTE).take("one")
    assert shortage is not None
    assert "this user's commands on this machine have used the limit" in shortage.reason


def test_what_has_just_left_the_window_may_be_in_that_of_the_upstream(machine: Machine) -> None:
    """Its clock may be slower."""
    assert Process(MINUTE).takes() == 3
    machine.now += 60.03
    Process(MINUTE).window.release("nothing", 1)
    assert Process(MINUTE).takes() == 0
    machine.now += 0.1
    assert Process(MINUTE).takes() == 3


def test_a_program_that_is_no_command_counts_for_itself(machine: Machine) -> None:
    """A suite of tests would use up the day's limit of its user, and find it used by the run before."""
    stores = [Store(Settings.load({})) for _ in range(2)]
    windows = [Limiter(store).fallback for store in stores]
    taken = [window.take("reddit", f"{slot}", 1, (MINUTE,), 0.0) for window in windows for slot in range(3)]
    assert taken == [None] * 6
    assert not Process(MINUTE).path.parent.exists()


def test_two_at_once_share_the_limit(machine: Machine) -> None:
    first, second = Process(MINUTE), Process(MINUTE)
    assert [one.take(f"{number}") for number, one in enumerate((first, second, first))] == [None] * 3
    assert second.take("more") is not None
    second.window.release("1", 1)
    assert first.take("again") is None


def test_a_process_that_was_killed_holds_its_slot_to_the_end(machine: Machine) -> None:
    """What it has sent arrives within a hold."""
    Process(Limit(1, 60.0)).take("killed")
    machine.now += HOLD + 59.0
    assert Process(Limit(1, 60.0)).take("early") is not None
    machine.now += 1.1
    assert Process(Limit(1, 60.0)).take("late") is None


def test_what_a_killed_process_may_have_paid_counts_in_full(machine: Machine) -> None:
    """Nobody knows whether its page was billed; and a clock that is set is no new day."""

    def new() -> Process:
        return Process(MINUTE, budget=100, price=40)

    paying = new()
    assert [paying.take("paid"), paying.take("killed")] == [None, None]
    paying.window.purse.pay(15)
    assert (paying.left, new().left) == (85, 100)
    paying.window.commit("paid", 1)
    assert (paying.left, new().left) == (85, 85)
    # Who pays nothing for its own slots knows what those of others may cost.
    Process(MINUTE).window.release("nothing", 1)
    machine.now += HOLD
    assert new().left == 45
    new().window.release("nothing", 1)
    assert new().left == 45
    machine.wrong = -5 * 86400.0
    assert new().left == 100
    new().window.release("nothing", 1)
    machine.wrong = 0.0
    assert new().left == 45
    machine.now += 86400.0
    assert new().left == 100


def test_a_shorter_window_forgets_nothing_of_a_longer_one(machine: Machine) -> None:
    """One that names a minute in a call would forget the day's of the others."""
    assert Process(DAY).takes() == 5
    machine.now += 3600.0
    assert Process(MINUTE).takes() == 3
    machine.now += 3600.0
    assert Process(MINUTE).takes() == 3
    assert Process(DAY).takes() == 0


@pytest.mark.parametrize(
    "happens",
    [
        lambda machine: setattr(machine, "wrong", -3600.0),
        lambda machine: setattr(machine, "wrong", 3600.0),
        Machine.restart,
    ],
    ids=["set back", "set forward", "started again"],
)
def test_no_clock_that_is_set_makes_a_slot_older_than_it_is(
    machine: Machine, happens: Callable[[Machine], object]
) -> None:
    """By the wall clock a step of a minute would empty the window, and one back would close it for good."""
    assert Process(MINUTE).takes() == 3
    happens(machine)
    machine.now += 30.0
    assert Process(MINUTE).takes() == 0
    machine.now += 31.0
    assert Process(MINUTE).takes() == 3


@pytest.mark.parametrize("is_told", [True, False])
def test_a_machine_that_sleeps_or_is_off_goes_on_counting(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, is_told: bool
) -> None:
    """The day of a laptop would have as many hours as it is awake; and not all systems tell of starts."""
    if not is_told:
        monkeypatch.setattr(slot_file, "_boot", str)
    assert Process(DAY).takes() == 5
    machine.sleep(86400.0 - 60.0)
    assert Process(DAY).takes() == 0
    machine.sleep(160.0)
    assert Process(DAY).takes() == 5
    machine.restart(OVER_A_DAY)
    assert Process(DAY).takes() == 5
    if is_told:
        # It was off for longer than it had been on.
        machine.restart(OVER_A_DAY)
        assert Process(DAY).takes() == 5


def test_a_machine_that_was_started_with_its_clock_set_back_counts_from_then_on(machine: Machine) -> None:
    """What is dated ahead is of no known age."""
    assert Process(MINUTE).takes() == 3
    machine.restart()
    machine.wrong = -1e8
    assert Process(MINUTE).takes() == 0
    machine.now += 61.0
    assert Process(MINUTE).takes() == 3


def test_what_an_upstream_has_closed_is_closed_for_the_next_process(machine: Machine) -> None:
    """It was asked again by each command, while it had named the hour to come back."""
    first = Process(MINUTE)
    assert first.take("one") is None
    first.limiter.closures.close("reddit", 3600.0, "try again in an hour\ud800")
    first.window.commit("one", 1)
    machine.now += 2000.0
    machine.sleep(1000.0)
    closed = Process(MINUTE).take("two")
    assert closed is not None
    assert (closed.why, closed.reason[:20]) == ("closed", "try again in an hour")
    assert closed.seconds == pytest.approx(600.0)
    Process(MINUTE).window.clear()
    assert Process(MINUTE).take("three") is None


def test_a_file_that_is_damaged_closes_the_source_for_a_window(machine: Machine) -> None:
    """Nobody knows what was sent. It is waited for once, and not from each command on anew."""
    assert Process(DAY).takes() == 5
    path = Process(DAY).path
    for damaged in (path.read_bytes()[:-9], b"x" * 40, path.read_bytes().replace(b"86400.0", b"10000.0")):
        path.write_bytes(damaged)
        closed = Process(DAY).take("one")
        assert closed is not None
        assert f"{path} is damaged" in closed.reason
        assert (Process(DAY, budget=10**9).left or 0) < 0
        machine.now += OVER_A_DAY - 100.0
        assert Process(DAY).take("two") is not None
        machine.now += 100.0 + HOLD
        assert Process(DAY).takes() == 5


@contextmanager
def unwritable(path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> Iterator[None]:
    """Meanwhile nothing can be kept there."""
    if how == "full":
        with monkeypatch.context() as patch:
            patch.setattr(os, "ftruncate", _full)
            yield
    elif how == "open to others":
        path.parent.chmod(0o755)
        yield
        path.parent.chmod(0o700)
    else:
        with path.open("rb") as other:
            assert try_lock(other.fileno())
            yield


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("full", "no space left on device"),
        ("open to others", "its folder is open to other users (mode 0755)"),
        ("locked", "another process has locked it"),
    ],
)
def test_what_cannot_be_written_is_not_sent(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, how: str, words: str
) -> None:
    """The next process would not know of it; and what was there before is still known after that."""
    monkeypatch.setattr(slot_file, "LOCK_SECONDS", 0.0)
    process = Process(MINUTE)
    assert process.take("one") is None
    before = process.path.read_bytes()
    with unwritable(process.path, monkeypatch, how):
        for number in range(4):
            refused = process.take(f"refused {number}")
            assert refused is not None
            assert words in refused.reason
            assert refused.seconds == RETRY_SECONDS
        assert process.path.read_bytes().startswith(before)
    assert Process(MINUTE).takes() == 2


def test_what_could_not_be_read_is_not_written_over(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of one slot would be the end of all."""
    assert Process(MINUTE).takes() == 3
    process = Process(MINUTE)
    with monkeypatch.context() as patch:
        patch.setattr(slot_file.SlotFile, "read", _full)
        process.window.commit("one", 1)
    assert Process(MINUTE).takes() == 0


def test_a_file_that_is_removed_as_it_is_locked_is_made_anew(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written to one that has no name any more is seen by nobody."""
    process = Process(MINUTE)
    assert process.take("forgotten") is None
    removals = iter([process.path.unlink])

    def removed_first(file: int) -> bool:
        for remove in removals:
            remove()
        return try_lock(file)

    monkeypatch.setattr(slot_file, "try_lock", removed_first)
    assert process.take("one") is None
    assert Process(MINUTE).takes() == 2


def test_one_that_only_looks_leaves_no_file(machine: Machine) -> None:
    process = Process(MINUTE)
    assert process.limiter.fallback.look("reddit", 1, (MINUTE,)) is None
    assert not process.path.parent.exists()


def test_a_user_without_a_home_that_he_may_write_to_keeps_it_in_the_temporary_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A container may have nothing else. The folder where a command is run is never it."""
    home = tmp_path / "home" / ".local"
    monkeypatch.setenv("XDG_STATE_HOME", str(home))
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).exists())
    (tmp_path / "home").mkdir()
    kept = Process(MINUTE).path
    assert kept == home / f"tbcache-{os.geteuid()}" / "trading_bot@reddit.json"
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.F_OK and Path(path).exists())
    assert Process(MINUTE).path.parent == marker.root()
    # One that was written to is not left for another place, which knows nothing of it.
    kept.parent.mkdir(parents=True)
    assert Process(MINUTE).path == kept
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).exists())
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    assert Process(MINUTE).path.parent == marker.root()


def test_a_process_that_is_killed_as_it_sends_has_its_slot_counted() -> None:
    """What is written after it was sent would be lost."""
    code = """
    import os, tbcache
    from tbcache.fleet import Fleet
    from tbcache.settings import get_settings
    Fleet.of_process(get_settings()).share_as_command()
    quotes = tbcache.source("alphavantage", limits="1/1h")
    @quotes.fetcher
    def quote(symbol):
        os.kill(os.getpid(), 9)
    quote("AAPL")
    """
    run = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)]
    killed = subprocess.run(run, env=clean_environment(), check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    window = Limiter(command()).process_window("alphavantage")
    assert window.wait(Limit(1, 3600.0), 1) == pytest.approx(3600.0, abs=60.0)


def test_a_forked_child_leaves_the_lock_to_its_parent(machine: Machine) -> None:
    """A copy of the open file would hold it for as long as the child lives, where the parent is killed."""
    process = Process(MINUTE)
    with process.window.together():
        locked, (before, after) = process.window._file._file, os.pipe()
        copy = os.dup(locked)
        if (child := os.fork()) == 0:
            os.close(after)
            os.read(before, 1)
            try:
                os.fstat(locked)
            except OSError:
                os._exit(0)
            os._exit(1)
    assert Process(MINUTE).take("one") is None
    os.write(after, b"x")
    assert os.waitpid(child, 0)[1] == 0
    os.close(copy)


@pytest.mark.parametrize("seed", range(6))
def test_no_window_ever_holds_more_than_its_limit(machine: Machine, seed: int) -> None:
    """Whoever takes, ends or is killed, whatever the clock is set to, however often the machine starts."""
    chance, limits = random.Random(seed), (Limit(3, 20.0), Limit(7, 200.0))
    fleet, arrived = [Process(*limits) for _ in range(3)], []
    #: Whose each slot is that is held, and since when.
    held: dict[str, tuple[Process, float]] = {}

    def arrive(slot: str, *, by: float = math.inf) -> None:
        """What was sent with it comes to the upstream within its hold, and before it is answered."""
        began = held.pop(slot)[1]
        arrived.append(chance.uniform(began, min(by, began + HOLD)))

    for number in range(500):
        process, what = chance.choice(fleet), chance.random()
        if what < 0.5:
            if process.take(f"{number}") is None:
                held[f"{number}"] = process, machine.now
        elif what < 0.75 and held:
            slot = chance.choice(list(held))
            if chance.random() < 0.2:
                held.pop(slot)[0].window.release(slot, 1)
            else:
                held[slot][0].window.commit(slot, 1)
                arrive(slot, by=machine.now)
        elif what < 0.8:
            for slot in [slot for slot, (owner, _) in held.items() if owner is process]:
                arrive(slot)
            fleet[fleet.index(process)] = Process(*limits)
        elif what < 0.84:
            machine.wrong = chance.choice([-1e6, -30.0, 30.0, 1e6])
            # Where the machine starts between two writes, it is believed.
            process.window.release("nothing", 1)
        elif what < 0.86:
            for slot in tuple(held):
                arrive(slot)
            fleet = [Process(*limits) for _ in range(3)]
            machine.restart()
            fleet[0].window.release("nothing", 1)
        machine.now += chance.choice([0.0, 0.1, 1.0, 5.0])
    arrived.sort()
    for limit in limits:
        for first, beyond in zip(arrived, arrived[limit.count :], strict=False):
            assert beyond - first >= limit.window_seconds
    # And it is not by taking nothing.
    assert len(arrived) > 15
