"""`tbcache up --demo`: real processes, and what becomes of them."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

import httpx2
import pytest

from tbcache.cli import up
from tbcache.models.error import ConfigurationError
from tests.cli.command import TBCACHE, Done, Up, children_of, clean_environment, is_alive, running_up, tbcache
from tests.server import PATIENT, Server, free_port, wait_until
from tests.soak import settled, untrue

# Each start of a fleet has a deadline of its own.
pytestmark = pytest.mark.timeout(300)

#: It takes two on an idle machine; more than the supervisor grants its children is for a busy one.
STOP_SECONDS = 20.0
OWN = "of-the-user-alone"
#: Makes stdin the terminal whose Ctrl-C reaches it, and becomes the command.
OWN_TERMINAL = (
    "import fcntl, os, sys, termios;fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One demo for all tests that leave it running, in the shell of a user with credentials of their own."""
    folder = tmp_path_factory.mktemp("up")
    own = {"TBCACHE_NEWS__API_KEY": OWN, "TBCACHE_STOCKTWITS__ACCESS_TOKEN": OWN}
    own |= {"TBCACHE_TWITTER__DAILY_BUDGET": "1000", "TBCACHE_ALERT_RULES": "*:4m"}
    own["TBCACHE_DATABASE_URL"] = f"sqlite:///{folder / 'own.sqlite3'}"
    with running_up(folder / "data", "--demo", **own) as up:
        up.wait_for("all common symbols are warm in every source")
        up.wait_for("ready")
        yield up


@pytest.fixture
def ask(demo: Up, cli: Callable[..., Done]) -> Callable[..., Done]:
    """Runs a command against the demo, in this process: a start of Python takes longer than the command. A
    slow answer of a busy machine is no outage to it."""
    return lambda *args: cli(*args, "--data-dir", str(demo.folder), **PATIENT)


def test_every_common_symbol_becomes_warm(demo: Up, ask: Callable[..., Done]) -> None:
    """This is what the demo promises."""
    status = ask("status").data
    assert {
        source["name"]: (source["warm"], source["common"]) for source in status["sources"]
    } == dict.fromkeys(("twitter", "reddit", "news", "options", "stocktwits"), (10, 10))
    assert [source["usage"]["errors_by_kind"] for source in status["sources"]] == [{}] * 5
    assert status["server"]["version"].startswith("Valkey")
    assert demo.said.count("10/10 warm") == 5


def test_a_shell_keeps_to_the_money_of_the_fleet_that_it_asks_for(ask: Callable[..., Done]) -> None:
    """It has no budget of its own, and would go on where the fleet's is spent. Nor has it other alerts."""
    found = {one["variable"]: (one["value"], one["origin"]) for one in ask("config").data}
    assert found["TBCACHE_TWITTER__DAILY_BUDGET"] == ("1000", "runtime file")
    assert found["TBCACHE_ALERT_RULES"] == ("*:4m", "runtime file")


def test_the_api_is_at_its_usual_port_or_says_where(demo: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bookmark and a scraper's target outlive a restart."""
    (port,) = re.findall(r"ready after .*: the page and the API at http://127\.0\.0\.1:(\d+)", demo.said)
    taken = f"port 8000 is taken: the API is at http://127.0.0.1:{port}"
    assert (port == "8000") is (taken not in demo.said)
    monkeypatch.setattr(up, "API_PORT", int(port))
    with up._api_listener(None) as other:
        assert other.getsockname()[1] != int(port)
    with pytest.raises(ConfigurationError, match=rf"cannot listen on 127\.0\.0\.1:{port} .*choose another"):
        up._api_listener(int(port))


def test_no_request_was_refused_by_the_simulator(demo: Up) -> None:
    """Never over an upstream's limit is the first promise of all."""
    base = demo.note()["variables"]["TBCACHE_NEWS__BASE_URL"].removesuffix("/news")
    stats = httpx2.get(f"{base}/_stats").json()
    assert {name: source["refused"] for name, source in stats.items()} == dict.fromkeys(stats, 0)


def test_the_bill_is_the_simulators_own(demo: Up) -> None:
    """Whoever pays for each post wants to see each post on the bill, and no post twice."""
    base = demo.note()["variables"]["TBCACHE_NEWS__BASE_URL"].removesuffix("/news")
    ours, its = settled(demo, base)
    paid = {name: pytest.approx(source["billed"], abs=0.005) for name, source in its.items()}
    assert {name: ours[name]["cost_today"] for name in its} == paid
    assert its["twitter"]["billed"] > 1.0


def test_an_answer_holds_all_there_was_in_the_hours_that_it_says_it_covers(
    demo: Up, ask: Callable[..., Done]
) -> None:
    """The simulator knows what was there; whoever trades on a number believes its hours."""
    base = demo.note()["variables"]["TBCACHE_NEWS__BASE_URL"].removesuffix("/news")
    asked = [("twitter", 24), ("reddit", 24), ("stocktwits", 24), ("news", 72)]
    answers = [ask("fetch", name, "AAPL", "--hours", str(hours)).data["sentiment"] for name, hours in asked]
    assert list(untrue(base, answers)) == []
    assert all(answer["count"] > 0 for answer in answers)


def test_other_commands_find_it_through_the_data_folder(demo: Up, ask: Callable[..., Done]) -> None:
    """A warm answer comes from the cache: no request, no cost, no waiting."""
    done = demo.run("fetch", "twitter", "AAPL", "--hours", "24")
    assert (done.code, done.err) == (0, "")
    assert done.data["origin"] == "cache"
    waited = ask("enqueue", "reddit", "TSLA", "ZM", "--wait")
    assert waited.code == 0
    assert [answer["sentiment"]["symbol"] for answer in waited.data] == ["TSLA", "ZM"]
    assert all(0 < answer["sentiment"]["covered_hours"] <= 24 for answer in waited.data)


def test_a_demo_never_sees_the_users_own_credentials(
    demo: Up, ask: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are for the real upstreams: the simulator's address stands in a file of the data folder."""
    monkeypatch.setenv("TBCACHE_TWITTER__BEARER_TOKEN", OWN)
    done = ask("fetch", "twitter", "ZM")
    # The simulator refuses any that are not its own.
    assert (done.code, done.data["origin"]) == (0, "live")
    assert OWN not in (demo.folder / "up.json").read_text()
    assert not any(value == OWN for value in demo.note()["variables"].values())


def test_what_a_demo_made_up_is_not_written_to_the_users_own_database(demo: Up) -> None:
    """Whoever computes on history there could not tell it from real answers."""
    wait_until(lambda: (demo.folder / "demo" / "tbcache.sqlite3").exists(), what="the demo's database")
    assert not (demo.folder.parent / "own.sqlite3").exists()
    assert "TBCACHE_DATABASE_URL of your environment is not used in the demo" in demo.said


def test_two_workers_of_8_threads_the_scheduler_and_the_api_run(demo: Up, ask: Callable[..., Done]) -> None:
    """The parts that the main job consists of."""
    workers = ask("status").data["workers"]
    assert sorted(worker["threads"] for worker in workers if worker["role"] == "worker") == [8, 8]
    assert [worker["role"] for worker in workers].count("scheduler") == 1
    assert httpx2.get(f"{demo.note()['api']}/healthz").status_code == 200


def test_nobody_else_may_read_the_note_and_the_server_asks_for_its_password(
    demo: Up, cli: Callable[..., Done]
) -> None:
    """Other users of the machine can reach the loopback, too."""
    note = demo.folder / "up.json"
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    url = demo.note()["variables"]["REDIS_URL"]
    without = url.partition("//")[0] + "//" + url.rpartition("@")[2]
    done = cli("status", REDIS_URL=without)
    assert done.code == 2
    assert "refuses the login" in done.err


def test_a_second_up_on_the_same_folder_says_so_and_touches_nothing(demo: Up) -> None:
    """Two servers appending to one file would destroy it."""
    before, children = demo.note(), demo.children()
    done = tbcache("up", "--demo", "--data-dir", str(demo.folder))
    assert (done.code, done.out) == (2, "")
    assert (
        f"another `tbcache up` (pid {demo.process.pid}) runs with the data folder {demo.folder}" in done.err
    )
    assert (demo.note(), demo.children()) == (before, children)


@pytest.mark.parametrize("name", ["worker-1", "valkey", "scheduler"])
def test_a_child_that_is_killed_is_started_again_and_said_so(
    demo: Up, ask: Callable[..., Done], name: str
) -> None:
    """Out-of-memory killers choose at night."""
    before = demo.children()
    marks = {"worker-1": "workers --threads", "valkey": "valkey-server", "scheduler": "scheduler"}
    victim = min(pid for pid, command in before.items() if marks[name] in command)
    os.kill(victim, signal.SIGKILL)
    demo.wait_for(f"{name} died (signal 9); started again")
    wait_until(lambda: len(demo.children()) == len(before), what="a new child")
    answers: list[Done] = []

    def is_known() -> bool:
        # A command that begins while the others tell a server what they have sent may be refused.
        answers.append(ask("fetch", "news", "AAPL", "--hours", "24"))
        return answers[-1].code == 0 and answers[-1].data["origin"] == "cache"

    try:
        # On a busy machine each of them may take seconds.
        wait_until(is_known, 90.0)
    except AssertionError:
        raise AssertionError(f"the last answers: {answers[-3:]}\n{demo.said}") from None


def test_the_guard_of_the_children_is_replaced_too(demo: Up) -> None:
    """Without it, a killed `up` would leave orphans."""
    before = demo.children()
    (guard,) = [pid for pid, command in before.items() if "kill -KILL 0" in command]
    os.kill(guard, signal.SIGKILL)
    wait_until(
        lambda: any("kill -KILL 0" in c for p, c in demo.children().items() if p != guard), what="a guard"
    )


def test_sigterm_stops_all_within_5_s_and_the_note_is_gone(demo: Up) -> None:
    """The last test of this demo: nothing may be left of it, and the exit is a success."""
    children = demo.children()
    assert len(children) >= 7
    code, seconds = demo.stop(signal.SIGTERM)
    assert (code, [pid for pid in children if is_alive(pid)]) == (0, [])
    assert seconds < STOP_SECONDS
    assert not (demo.folder / "up.json").exists()
    assert "stopped" in demo.said


def test_a_killed_up_leaves_nothing_that_the_next_one_trips_over(tmp_path: Path) -> None:
    """kill -9 reaches no handler: the children must go by themselves, the data must stay; for another demo,
    and not for a real `up`, whose bot would trade on what is made up."""
    small = {"TBCACHE_COMMON_SYMBOLS": "AAPL"}
    with running_up(tmp_path / "data", "--demo", "--processes", "1", "--no-api", **small) as first:
        first.wait_for("all common symbols are warm in every source")
        children = first.children()
        first.process.kill()
        first.process.wait()
        wait_until(lambda: not any(is_alive(pid) for pid in children), 20.0, what="an end of the children")
        assert (tmp_path / "data" / "up.json").exists()
        assert tbcache("status", "--data-dir", str(tmp_path / "data")).code == 3
    began = time.monotonic()
    with running_up(tmp_path / "data", "--demo", "--processes", "1", "--no-api", **small) as second:
        second.wait_for("ready")
        fetched = second.run("fetch", "twitter", "AAPL").data
        assert fetched["age"] > time.monotonic() - began - 5
        assert fetched["origin"] == "cache"
        children = second.children()
        code, seconds = second.stop(signal.SIGINT)
        assert (code, [pid for pid in children if is_alive(pid)]) == (0, [])
        assert seconds < STOP_SECONDS
    with running_up(tmp_path / "data", "--processes", "1", "--no-api", **small, **nowhere()) as real:
        real.wait_for("twitter is off")
        check_that_nothing_is_made_up(real, **small)


@pytest.fixture(scope="module")
def on_own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str], str]]:
    """A folder in which a demo has run, in a terminal, with the server of the environment: a machine with a
    Redis needs no second one. The settings that point at both, and the page that the terminal showed."""
    folder = tmp_path_factory.mktemp("own-server")
    with contextlib.closing(Server(always_answers=True).start()) as server:
        variables = {"TBCACHE_COMMON_SYMBOLS": "AAPL", "REDIS_URL": server.url}
        env = clean_environment(**variables, COLUMNS="140", LINES="50", TERM="xterm")
        command = [*TBCACHE, "--data-dir", str(folder / "data"), "up", "--demo", "--processes", "1"]
        with Screen(command, folder, env) as screen:
            screen.wait_for("all common symbols are warm")
            children = children_of(screen.process.pid)
            assert not any("valkey-server" in command for command in children.values())
            screen.press(b"\x03")
            began = time.monotonic()
            page = screen.rest()
            assert screen.process.wait(timeout=60) == 0
            assert time.monotonic() - began < STOP_SECONDS
        assert not any(is_alive(child) for child in children)
        yield folder / "data", variables, page


def test_a_terminal_shows_a_live_page_and_ctrl_c_is_a_success(
    on_own_server: tuple[Path, dict[str, str], str],
) -> None:
    """A new person runs one command and sees a page move."""
    _, _, page = on_own_server
    for part in (
        "Valkey 9",
        "300/15m",
        "worker-1",
        "tbcache fetch twitter AAPL",
        "/docs",
        "requests over a limit, as the simulator counts them: 0",
    ):
        assert part in page
    # Its own are starting.
    assert "no worker is running" not in page


def test_one_that_keeps_dying_stops_the_whole_with_its_reason(
    on_own_server: tuple[Path, dict[str, str], str],
) -> None:
    """Here in the folder and with the server that a demo has used."""
    folder, variables, _ = on_own_server
    with running_up(folder, "--no-api", "--processes", "1", **variables, **nowhere()) as up:
        up.wait_for("twitter is off: set TBCACHE_TWITTER__BEARER_TOKEN")
        assert not any("valkey-server" in command for command in up.children().values())
        assert up.note()["variables"]["REDIS_URL"] == variables["REDIS_URL"]
        check_that_nothing_is_made_up(up, **variables)
        children: dict[int, str] = {}
        for _ in range(5):
            worker = wait_until(lambda: _worker_of(up), what="a worker")
            children = up.children()
            os.kill(worker, signal.SIGKILL)
            wait_until(lambda worker=worker: worker not in up.children(), what="its end")
        assert up.process.wait(timeout=60) == 1
        assert not any(is_alive(pid) for pid in children)
        assert "tbcache: worker-1 keeps dying (5 times within 30 s, last: signal 9)" in up.said


def nowhere() -> dict[str, str]:
    """Stocktwits needs no credentials, and nothing here may go outside."""
    return {"TBCACHE_STOCKTWITS__BASE_URL": f"http://127.0.0.1:{free_port()}"}


def check_that_nothing_is_made_up(real: Up, **variables: str) -> None:
    """A bot that trades on the answers of a demo would never know."""
    done = tbcache("fetch", "stocktwits", "AAPL", "--data-dir", str(real.folder), **variables, **nowhere())
    assert (done.code, done.out) == (5, "")


class Screen:
    """A command in a terminal of its own, with all that it has written there."""

    def __init__(self, command: Sequence[str], folder: Path, env: dict[str, str]) -> None:
        self._terminal, theirs = pty.openpty()
        self.page = ""
        # Nothing of ours runs between fork and exec: this process has threads, whose locks a fork copies.
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWN_TERMINAL, *command],
            stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=env, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            # Its children end with it.
            self.process.kill()
            self.process.wait(timeout=60)
        os.close(self._terminal)

    def press(self, key: bytes) -> None:
        os.write(self._terminal, key)

    def wait_for(self, text: str, timeout: float = 100.0) -> None:
        """Read until it has written ``text``."""
        self._read(lambda: text in self.page, time.monotonic() + timeout, repr(text))

    def rest(self, timeout: float = 60.0) -> str:
        """Read until nobody has the terminal open; the whole page."""
        self._read(lambda: False, time.monotonic() + timeout, "the end")
        return self.page

    def _read(self, is_over: Callable[[], bool], deadline: float, what: str) -> None:
        while not is_over():
            left = max(0.0, deadline - time.monotonic())
            assert select.select([self._terminal], [], [], left)[0], f"no {what} in:\n{self.page[-8000:]}"
            assert left, f"no {what} in:\n{self.page[-8000:]}"
            try:
                chunk = os.read(self._terminal, 65536)
            except OSError:
                # Linux ends the reading of a terminal that nobody has open with an error.
                chunk = b""
            if not chunk:
                assert what == "the end", f"it ended without {what}:\n{self.page[-8000:]}"
                return
            self.page += chunk.decode(errors="replace")


def _worker_of(up: Up) -> int | None:
    return next((pid for pid, command in up.children().items() if "workers --threads" in command), None)
