"""The file that says of a process what Redis cannot: that it is there, and that it is clean."""

from __future__ import annotations

import errno
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import pytest

from tbcache.io import run
from tbcache.limiter import limiter_of
from tbcache.limiter import marker as marker_module
from tbcache.limiter.marker import KEPT_SECONDS, Marker
from tbcache.limiter.member import Membership
from tbcache.rate_limiter import RateLimiter
from tbcache.settings import BUILT_IN
from tbcache.store import Store
from tests.server import Server, wait_until

OURS = f"machine-{os.getpid()}.aaaa"
LIVING = f"machine-{os.getppid()}.bbbb"


#: Each test has a folder of its own in its place.
ROOT = marker_module.root.__wrapped__


@contextmanager
def full_disk() -> Iterator[None]:
    """This process can make a file, and can write nothing into any."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of all fleets, which the first marker makes."""
    monkeypatch.setattr("tbcache.limiter.marker.root", lambda: tmp_path / "markers")
    return tmp_path / "markers"


@pytest.fixture
def leave_behind() -> Callable[..., str]:
    """Has a process of its own say something and die at once, killed; the name of its file."""

    def leave(is_clean: bool = True) -> str:
        say = "use('reddit')" if is_clean else "set_unheard('reddit', 1.0)"
        code = f"""
import os, signal, sys
from pathlib import Path
from tbcache.limiter import marker
marker.root = lambda: Path(sys.argv[1])
one = marker.Marker("fleet", f"machine-{{os.getpid()}}.cccc")
one.{say}
print(one._member, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
        command = [sys.executable, "-c", code, str(marker_module.root())]
        done = subprocess.run(command, stdout=subprocess.PIPE)
        return done.stdout.decode().strip()

    return leave


def folder_of(root: Path) -> Path:
    """The folder of the one fleet that is there."""
    (folder,) = root.iterdir()
    return folder


def grow_old(file: Path, seconds: float = KEPT_SECONDS + 1) -> None:
    """As if it had been written so long ago, by each clock."""
    if not file.is_symlink():
        at = b'"at":%f' % (time.monotonic() - seconds)
        file.write_bytes(re.sub(rb'"at":[0-9.]+', at, file.read_bytes()))
    moment = time.time() - seconds
    os.utime(file, (moment, moment), follow_symlinks=False)


def test_a_marker_says_what_was_said_last(root: Path) -> None:
    """Its share is given back at once, or kept: both by mistake cost slots."""
    marker = Marker("fleet", OURS)
    assert not marker.is_clean
    marker.set_clean()
    assert marker.is_clean
    assert marker.set_fallback()
    assert not marker.is_clean
    marker.set_clean()
    marker.remove()
    assert not marker.is_clean
    marker.remove()


def test_only_others_of_the_same_fleet_are_company(root: Path) -> None:
    """Those of another Redis share nothing with this one."""
    one, other, foreign = Marker("fleet", OURS), Marker("fleet", LIVING), Marker("another", OURS)
    for marker in (one, foreign):
        marker.set_clean()
        assert marker.is_alone("reddit", 0.0)
    other.use("reddit")
    assert not one.is_alone("reddit", 0.0)
    one.use("reddit")
    assert not other.is_alone("reddit", 0.0)
    assert foreign.is_alone("reddit", 0.0)
    other.remove()
    assert one.is_alone("reddit", 0.0)


def test_a_source_is_named_again_where_it_could_not_be_written(root: Path) -> None:
    """No descriptor was free for a moment: nobody would ever see this process. Where that stays so, not every
    ask for a slot tries it anew."""
    one, other, tried = Marker("fleet", OURS), Marker("fleet", LIVING), []

    def refuse(*_: object, **__: object) -> int:
        tried.append(time.monotonic())
        raise OSError(errno.EMFILE, "Too many open files")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.open", refuse)
        for _ in range(1000):
            one.use("reddit")
    assert len(tried) <= 1 + (time.monotonic() - tried[0]) / marker_module.RETRY_SECONDS
    assert other.is_alone("reddit", 0.0)
    wait_until(lambda: one.use("reddit") or not other.is_alone("reddit", 0.0), 20)


@pytest.mark.parametrize("end", [Marker.set_over, Marker.remove])
def test_whoever_has_left_makes_no_file_by_an_ask_that_comes_late(
    root: Path, end: Callable[[Marker], None]
) -> None:
    """It would be taken for a process that was killed a moment ago."""
    one, other = Marker("fleet", OURS), Marker("fleet", LIVING)
    one.use("reddit")
    end(one)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(marker_module, "RETRY_SECONDS", 0.0)
        one.use("reddit")
    assert other.is_alone("reddit", 0.0)


@pytest.mark.parametrize("has_sent", [True, False])
def test_a_process_that_has_left_and_begins_again_is_seen(
    server: Server, store_for: Callable[..., Store], root: Path, has_sent: bool
) -> None:
    """One worker is stopped and another started in one process: whoever begins without Redis must see it."""
    store = store_for(server)
    limiter, membership = RateLimiter(BUILT_IN["reddit"], store), Membership(store)
    other = limiter_of(store).windows.machine.marker_of(LIVING)
    for _ in range(2):
        membership.start()
        if has_sent:
            assert limiter.check_rate_limit()[0]
        else:
            limiter_of(store).windows.join_machine("reddit")
        assert not other.is_alone("reddit", 0.0)
        membership.stop()
        assert other.is_alone("reddit", 0.0)


def test_one_that_begins_again_without_redis_may_be_alone(root: Path) -> None:
    """Its file is made as it takes the first slot, and for that it has to be alone."""
    one = Marker("fleet", OURS)
    one.use("reddit")
    one.set_over()
    assert not one.is_alone("reddit", 0.0)
    one.begin()
    assert one.is_alone("reddit", 0.0)


def test_what_a_process_sent_that_is_over_may_be_in_the_window_for_a_window_more(root: Path) -> None:
    """A command that is started again and again while Redis is away is a new process each time."""
    one, other = Marker("fleet", OURS), Marker("fleet", LIVING)
    one.set_clean()
    other.use("reddit")
    other.set_fallback()
    assert not one.is_alone("reddit", 0.0)
    other.set_over()
    assert not other.is_clean
    assert (one.is_alone("reddit", 60.0), one.is_alone("reddit", 0.0)) == (False, True)
    other.set_clean()
    other.set_over()
    other.set_over()
    assert other.is_clean
    ended_at = time.time() - 60.0
    os.utime(folder_of(root) / LIVING, (ended_at, ended_at))
    assert (one.is_alone("reddit", 61.0), one.is_alone("reddit", 59.0)) == (False, True)


def test_who_uses_another_source_is_no_company(root: Path, leave_behind: Callable[..., str]) -> None:
    """Of bots that began on one machine while Redis was away, the first got nothing more and the second
    nothing, although each had a source of its own."""
    one, other = Marker("fleet", OURS), Marker("fleet", LIVING)
    other.use("reddit")
    for say in (other.set_fallback, lambda: other.set_unheard("news", 0.0), other.set_clean, other.set_over):
        say()
        assert one.is_alone("options", 60.0)
        assert not one.is_alone("reddit", 60.0)
    # What it has sent without Redis is in the window, although Redis was told of it by now.
    assert not one.is_alone("news", 60.0)
    leave_behind()
    assert one.is_alone("options", 60.0)


def test_a_source_that_is_used_later_is_named_whatever_was_said(root: Path) -> None:
    """Whether its share is kept or given back is not for that to say."""
    one, other = Marker("fleet", OURS), Marker("fleet", LIVING)
    other.use("reddit")
    assert other.is_clean
    other.set_fallback()
    other.use("news")
    assert not other.is_clean
    assert not one.is_alone("news", 0.0)
    assert not one.has_unheard("news", 60.0)
    other.set_unheard("options", 0.0)
    other.use("twitter")
    assert not one.is_alone("twitter", 0.0)
    assert one.has_unheard("options", 60.0)
    assert not one.has_unheard("twitter", 60.0)


@pytest.mark.parametrize("calls", ["iterdir", "mkdir"])
def test_what_a_file_says_does_not_depend_on_the_others(
    root: Path, monkeypatch: pytest.MonkeyPatch, calls: str
) -> None:
    """A process that has no descriptor free could not list them, and would use what it has not named."""
    one, other = Marker("fleet", OURS), Marker("fleet", LIVING)
    other.use("reddit")
    with monkeypatch.context() as broken:
        broken.setattr(Path, calls, Mock(side_effect=OSError))
        other.use("news")
    assert not one.is_alone("news", 0.0)


def test_who_was_told_no_share_and_sends_is_seen_for_a_window(
    root: Path, leave_behind: Callable[..., str]
) -> None:
    """Redis does not know what it has sent; of those that it has told a share it keeps that."""
    one, other = Marker("fleet", OURS), Marker("fleet", LIVING)
    assert not one.has_unheard("reddit", 60.0)
    one.set_unheard("reddit", 0.0)
    other.set_clean()
    assert not one.has_unheard("reddit", 60.0)
    other.set_fallback()
    assert not one.has_unheard("reddit", 60.0)
    other.set_unheard("reddit", 0.0)
    assert one.has_unheard("reddit", 60.0)
    assert not one.has_unheard("reddit", 0.0)
    other.remove()
    file = folder_of(root) / leave_behind(is_clean=False)
    assert one.has_unheard("reddit", 60.0)
    grow_old(file, 60.0)
    assert (one.has_unheard("reddit", 61.0), one.has_unheard("reddit", 59.0)) == (True, False)


def test_each_slot_of_one_that_was_told_no_share_is_seen(root: Path) -> None:
    """From the last one on, all it has sent is in the window for as long."""
    one, other = Marker("fleet", OURS), Marker("fleet", LIVING)
    other.set_unheard("reddit", 0.0)
    grow_old(folder_of(root) / LIVING)
    assert not one.has_unheard("reddit", 60.0)
    other.set_unheard("reddit", 0.0)
    assert one.has_unheard("reddit", 60.0)


def test_it_is_seen_for_as_long_as_it_says_and_for_its_sources(root: Path) -> None:
    """Its calls may name a longer window than the settings. And where a limit is one of a day, what was sent
    of another source is nothing to wait for.
    """
    one, other = Marker("fleet", OURS), Marker("fleet", LIVING)
    other.set_unheard("reddit", 20.0)
    other.set_unheard("news", 5.0)
    other.set_over()
    grow_old(folder_of(root) / LIVING, 10.0)
    assert one.has_unheard("reddit", 1.0)
    assert not one.has_unheard("news", 1.0)
    assert one.has_unheard("news", 60.0)
    assert not one.has_unheard("options", 86_400.0)
    other.set_clean()
    other.set_unheard("options", 1.0)
    assert not one.has_unheard("reddit", 60.0)


@pytest.mark.parametrize("text", ["", "clean", "{", "[1]", '{"used":["news"]}', '{"used":["\udcff"]}'])
def test_a_file_that_does_not_say_of_what_may_be_of_any_source(root: Path, text: str) -> None:
    """An earlier version writes nothing, and so does a full disk."""
    one, other = Marker("fleet", OURS), Marker("fleet", LIVING)
    other.set_unheard("news", 1.0)
    (folder_of(root) / LIVING).write_text(text, errors="surrogateescape")
    assert not one.is_alone("reddit", 0.0)
    assert one.has_unheard("reddit", 60.0) == (text != "clean")
    assert not one.has_unheard("reddit", 0.0)


def test_a_window_without_end_is_not_believed(root: Path) -> None:
    """Nobody would begin again."""
    one, other = Marker("fleet", OURS), Marker("fleet", LIVING)
    other.set_unheard("reddit", 1e300)
    assert one.has_unheard("reddit", 1.0)
    grow_old(folder_of(root) / LIVING)
    assert not one.has_unheard("reddit", 1.0)


def test_on_a_full_disk_the_last_slot_is_still_seen(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be the slot of before, and of other sources."""
    one, other = Marker("fleet", OURS), Marker("fleet", LIVING)
    other.set_unheard("news", 1.0)
    monkeypatch.setattr(os, "pwrite", Mock(side_effect=OSError))
    assert other.set_unheard("reddit", 0.0)
    assert (folder_of(root) / LIVING).read_bytes() == b""
    assert one.has_unheard("reddit", 60.0)


@pytest.mark.parametrize("say", [Marker.set_clean, Marker.set_fallback])
def test_on_a_full_disk_who_redis_knows_holds_up_nobody(
    root: Path, monkeypatch: pytest.MonkeyPatch, say: Callable[[Marker], object]
) -> None:
    """Where a limit is one of a day, whoever began after it would get nothing for that day."""
    one, other = Marker("fleet", OURS), Marker("fleet", LIVING)
    other.set_unheard("reddit", 0.0)
    monkeypatch.setattr(os, "pwrite", Mock(side_effect=OSError))
    say(other)
    assert not one.has_unheard("reddit", 60.0)
    assert not other.is_clean
    assert not one.is_alone("reddit", 0.0)


def test_a_full_disk_moves_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who began before it was full are seen where they are. Python takes another folder then."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with full_disk():
        assert ROOT().parent == tmp_path
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    assert ROOT().parent == Path("/tmp")  # noqa: S108 -- the system's


def test_a_clock_that_was_set_back_shuts_nobody_out_for_longer(root: Path) -> None:
    """It was sent by now at the latest, whatever the time was then."""
    one, other = Marker("fleet", OURS), Marker("fleet", LIVING)
    one.set_clean()
    other.set_unheard("reddit", 0.0)
    other.set_over()
    file = folder_of(root) / LIVING
    for looks in (lambda: one.has_unheard("reddit", 60.0), lambda: not one.is_alone("reddit", 0.0)):
        os.utime(file, (time.time() + 3600.0,) * 2)
        assert looks()
        assert file.stat().st_mtime <= time.time()
    assert one.has_unheard("reddit", 60.0)
    assert one.is_alone("reddit", 0.0)


def test_a_clock_that_was_set_forward_makes_nothing_look_old(root: Path) -> None:
    """The monotonic clock tells how long ago it was. That of another machine may be any."""
    one, other, far = (Marker("fleet", name) for name in (OURS, LIVING, "another-1.cccc"))
    other.set_unheard("reddit", 0.0)
    os.utime(folder_of(root) / LIVING, (0.0, 0.0))
    assert (one.has_unheard("reddit", 60.0), far.has_unheard("reddit", 60.0)) == (True, False)
    (folder_of(root) / LIVING).write_text('{"used": [], "unheard": {"reddit": 0.0}, "at": 1e300}')
    os.utime(folder_of(root) / LIVING, (0.0, 0.0))
    assert not one.has_unheard("reddit", 60.0)


def test_what_another_user_has_planted_stops_nobody(root: Path) -> None:
    """The name of the folder can be worked out by anybody."""
    one, other = Marker("fleet", OURS), Marker("fleet", LIVING)
    other.set_unheard("reddit", 0.0)
    assert one.has_unheard("reddit", 60.0)
    folder_of(root).chmod(0o777)
    assert not one.has_unheard("reddit", 60.0)


def test_nobody_finds_a_file_that_is_just_being_made(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would say nothing yet, or seem to be of a dead process: two that begin at once would wait for each
    other.
    """
    one, other, lock = Marker("fleet", OURS), Marker("fleet", LIVING), marker_module._lock
    found: list[bool] = []

    def looked_at(file: int) -> None:
        found.append(one.has_unheard("reddit", 60.0) or (folder_of(root) / LIVING).exists())
        lock(file)
        found.append(one.has_unheard("reddit", 60.0))

    monkeypatch.setattr(marker_module, "_lock", looked_at)
    other.set_clean()
    assert found == [False, False]
    assert not one.has_unheard("reddit", 60.0)
    assert [file.name for file in folder_of(root).iterdir()] == [LIVING]


@pytest.mark.parametrize("is_clean", [True, False])
def test_when_a_killed_process_sent_last_is_not_known_before_it_is_found(
    root: Path, leave_behind: Callable[..., str], is_clean: bool
) -> None:
    """Its file is as old as its start: it may have sent until a moment ago."""
    one, other = Marker("fleet", OURS), Marker("fleet", LIVING)
    killed = leave_behind(is_clean)
    one.set_clean()
    file = folder_of(root) / killed
    started_at = time.time() - 600.0
    os.utime(file, (started_at, started_at))
    assert not one.is_alone("reddit", 60.0)
    assert Marker("fleet", killed).is_clean == is_clean
    # Another process that begins later goes by what the first has found.
    found_at = file.stat().st_mtime - 61.0
    os.utime(file, (found_at, found_at))
    assert other.is_alone("reddit", 60.0)


def test_a_child_of_a_killed_process_does_not_stand_for_it(root: Path) -> None:
    """A bot forks a helper and dies: newcomers would wait for what it sent as long as the helper lives."""
    code = """
import os, signal, sys
from pathlib import Path
from tbcache.limiter import marker
marker.root = lambda: Path(sys.argv[1])
one = marker.Marker("fleet", f"machine-{os.getpid()}.cccc")
one.set_clean()
if os.fork() == 0:
    os.close(1)
    os.read(0, 1)
    os._exit(0)
os.kill(os.getpid(), signal.SIGKILL)
"""
    command = [sys.executable, "-c", code, str(root)]
    ours = Marker("fleet", OURS)
    # The helper lives until its standard input ends, which is when the block does.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.wait(30) == -signal.SIGKILL
        ours.set_clean()
        wait_until(lambda: ours.is_alone("reddit", 0.0), 20.0, "the end of the dead process's lock")


def test_whoever_says_again_that_it_is_clean_is_so_in_between(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others look at any moment, and take an empty file for one that may have sent what nobody knows."""
    marker, said = Marker("fleet", OURS), list[bool]()
    marker.set_clean()
    for name in ("ftruncate", "pwrite"):
        monkeypatch.setattr(os, name, _then(getattr(os, name), lambda: said.append(marker.is_clean)))
    marker.set_clean()
    assert said == [True, True]


def _then(do: Callable[..., object], look: Callable[[], object]) -> Callable[..., object]:
    def both(*args: object) -> object:
        done = do(*args)
        look()
        return done

    return both


def test_a_process_id_that_is_used_again_is_another_process(
    root: Path, leave_behind: Callable[..., str]
) -> None:
    """In a container the bot has the number 1 in each of its lives, and would wait for itself for ever."""
    killed = leave_behind()
    one = Marker("fleet", OURS)
    one.set_clean()
    file = folder_of(root) / killed
    file.rename(file.with_name(f"elsewhere-{os.getpid()}.dddd"))
    assert not one.is_alone("reddit", 0.0)
    assert one.is_alone("reddit", 0.0)


def test_where_nothing_can_be_written_a_killed_process_is_company(
    root: Path, leave_behind: Callable[..., str]
) -> None:
    """On a full disk nobody can say when it was found. What it has said stays."""
    killed = Marker("fleet", leave_behind())
    one = Marker("fleet", OURS)
    one.set_clean()
    with full_disk():
        assert not one.is_alone("reddit", 0.0)
        assert not one.is_alone("reddit", 0.0)
    assert killed.is_clean


@pytest.mark.parametrize("is_root", [True, False])
def test_a_folder_that_others_can_write_to_says_nothing(root: Path, is_root: bool) -> None:
    """Anybody could have planted what lies there, or may have it removed."""
    marker = Marker("fleet", OURS)
    marker.set_clean()
    folder = folder_of(root)
    (root if is_root else folder).chmod(0o777)
    marker.set_fallback()
    assert (folder / OURS).read_bytes() != b""
    if not is_root:
        assert not marker.is_clean
        assert not marker.is_alone("reddit", 0.0)


def test_a_link_in_place_of_the_folder_is_not_followed(root: Path, tmp_path: Path) -> None:
    """Whoever planted it chooses where we write, and what we read."""
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    root.symlink_to(theirs)
    Marker("fleet", OURS).set_clean()
    assert list(theirs.iterdir()) == []


def test_old_files_of_dead_processes_are_removed(root: Path, leave_behind: Callable[..., str]) -> None:
    """Each process leaves one that is killed; those of the living and what was written lately stay."""
    leave_behind()
    ours, living = Marker("fleet", OURS), Marker("fleet", LIVING)
    living.set_clean()
    folder = folder_of(root)
    (folder / "nobody").touch()
    ours.set_clean()
    assert len(list(folder.iterdir())) == 4
    for file in folder.iterdir():
        grow_old(file)
    begun = f"machine-{os.getpid()}.dddd"
    Marker("fleet", begun).set_clean()
    assert {file.name for file in folder.iterdir()} == {OURS, LIVING, begun}


def test_a_file_without_a_process_is_no_company(root: Path) -> None:
    """It would keep newcomers from all they may take for a day."""
    marker = Marker("fleet", OURS)
    marker.set_clean()
    (folder_of(root) / "nobody").touch()
    assert marker.is_alone("reddit", 60.0)


def test_a_folder_that_cannot_be_made_ends_no_process(root: Path) -> None:
    """Where nobody can be seen, none takes what others may have."""
    root.write_text("a file")
    marker = Marker("fleet", OURS)
    marker.set_clean()
    assert not marker.is_clean
    assert marker.set_fallback()
    assert not marker.is_alone("reddit", 0.0)
    marker.set_over()
    marker.remove()


def test_a_process_is_clean_again_after_an_outage(
    private_server: Server, store_for: Callable[..., Store]
) -> None:
    """Redis has been told of what it sent alone: were it killed now, its share need not be kept."""
    store = store_for(private_server)
    limiter = RateLimiter(BUILT_IN["twitter"], store)
    assert limiter.check_rate_limit()[0]
    limiter_of(store).windows.stay_clean()
    private_server.stop()
    assert limiter.check_rate_limit()[0]
    assert not limiter_of(store).windows.machine.marker.is_clean
    private_server.start()
    wait_until(lambda: limiter_of(store).windows.machine.marker.is_clean)


def test_who_only_looks_is_no_company(server: Server, store_for: Callable[..., Store]) -> None:
    """The API is there for weeks, and sends nothing: who begins while Redis is away goes on beside it."""
    store = store_for(server)
    assert RateLimiter(BUILT_IN["twitter"], store).get_status().allowed > 0
    # As at each return.
    run(limiter_of(store).restoration.restore("twitter"))
    assert not limiter_of(store).windows.machine.marker.is_clean


@pytest.mark.parametrize("is_over", [True, False])
def test_who_only_looks_without_redis_is_no_company_either(
    private_server: Server, store_for: Callable[..., Store], root: Path, is_over: bool
) -> None:
    """A dashboard sends nothing: a bot that begins beside it, or after it, has what there is."""
    looking, bot = (RateLimiter(BUILT_IN["twitter"], store_for(private_server)) for _ in range(2))
    private_server.stop()
    seen = looking.get_status()
    assert (seen.is_limited, seen.remaining) == (False, seen.allowed)
    assert not root.exists()
    if is_over:
        limiter_of(looking.core.store).windows.leave_machine()
    assert bot.check_rate_limit()[0]
    # Whoever takes something is seen by the others, and by those who look.
    assert not RateLimiter(BUILT_IN["twitter"], store_for(private_server)).check_rate_limit()[0]
    assert looking.get_status().is_limited
    private_server.start()
    wait_until(lambda: looking.core.store.is_available)
    assert not limiter_of(looking.core.store).windows.machine.marker.is_clean


def test_threads_that_begin_together_take_one_lock(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each writes the file: the lock of the first would hold the second up."""
    marker, lock, is_over = Marker("fleet", OURS), marker_module._lock, threading.Event()
    locked: list[int] = []

    def slowly(file: int) -> None:
        locked.append(file)
        is_over.wait(0.2)
        lock(file)

    monkeypatch.setattr(marker_module, "_lock", slowly)
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(marker.set_clean) for _ in range(8)]:
            done.result(30)
    assert len(locked) == 1
    assert marker.is_clean
