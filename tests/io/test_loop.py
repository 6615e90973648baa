"""The asyncio driver: one connection for all tasks of a loop, and nothing of another loop or process."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import os
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from tbcache import io
from tbcache.io import loop, shared_connection
from tbcache.io.deadline import seconds_left, until
from tbcache.io.error import Unsent
from tbcache.io.loop import drive
from tbcache.io.shared_connection import SharedConnection
from tbcache.models.error import RedisUnreachable
from tbcache.store.fault import reason_of
from tbcache.store.node import Node
from tests.io.conftest import Run
from tests.proxy import Proxy
from tests.server import Server, wait_until

PATIENT = 30.0


@pytest.fixture
def node(server: Server) -> Iterator[Node]:
    node = Node(server.url, PATIENT)
    yield node
    node.close()


async def call(server: io.Server, *command: str) -> Any:
    return await drive(_call(server, command))


async def _call(server: io.Server, command: tuple[str, ...]) -> Any:
    return await io.world().call(server, command)


async def pipeline(server: io.Server, commands: Sequence[tuple[str, ...]]) -> list[Any]:
    return await drive(_pipeline(server, commands))


async def _pipeline(server: io.Server, commands: Sequence[tuple[str, ...]]) -> list[Any]:
    return await io.world().pipeline(server, commands)


async def eventually(ask: Callable[[], Awaitable[Any]]) -> Any:
    """What it returns as soon as it raises no redis error."""
    async with asyncio.timeout(PATIENT):
        while True:
            try:
                return await ask()
            except redis.RedisError:
                await asyncio.sleep(0.01)


# What is asked and answered


def test_tasks_share_one_connection_and_each_gets_its_own_answer(
    server: Server, node: Node, run: Run
) -> None:
    """A thousand tasks are no thousand sockets; an answer that went to another would be somebody else's."""
    before = server.connections()

    async def main() -> list[bytes]:
        answers = await asyncio.gather(*(call(node, "ECHO", str(n)) for n in range(1000)))
        assert len(server.connections() - before) == 1
        return answers

    assert run(main()) == [str(n).encode() for n in range(1000)]


def test_a_large_value_goes_and_comes_whole(node: Node, run: Run) -> None:
    """More than a socket takes at once."""
    large = "x" * 20_000_000

    async def main() -> list[Any]:
        return list(await asyncio.gather(call(node, "ECHO", large), call(node, "ECHO", "small")))

    assert run(main()) == [large.encode(), b"small"]


def test_a_cancelled_task_leaves_the_answers_of_the_others(node: Node, run: Run) -> None:
    """Its own answer comes all the same, and is nobody's."""

    async def main() -> list[Any]:
        tasks = [asyncio.create_task(call(node, "ECHO", str(n))) for n in range(100)]
        await call(node, "PING")
        tasks += [asyncio.create_task(call(node, "ECHO", str(n))) for n in range(100, 200)]
        await asyncio.sleep(0)
        for task in tasks[100::3]:
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    found = run(main())
    assert [isinstance(one, asyncio.CancelledError) for one in found[100::3]] == [True] * 34
    kept = [n for n in range(200) if n < 100 or (n - 100) % 3]
    assert [found[n] for n in kept] == [str(n).encode() for n in kept]


def test_what_a_cancelled_task_asked_is_done_before_what_is_asked_after_it(
    server: Server, node: Node, run: Run
) -> None:
    """A slot that is given back before it is taken stays taken."""

    async def main() -> None:
        await call(node, "PING")
        asking = asyncio.create_task(call(node, "SET", "order", "taken", "EX", "60"))
        await asyncio.sleep(0)
        asking.cancel()
        await call(node, "SET", "order", "given back", "EX", "60")

    run(main())
    assert server.client.get("order") == b"given back"


def test_errors_of_the_server_are_those_of_the_blocking_way(node: Node, run: Run) -> None:
    """What an error means is told by its kind and its words, in one place for both."""
    commands = [("GET",), ("EVALSHA", "0" * 40, "0"), ("LPOP", "text"), ("NOSUCHCOMMAND",)]
    node.call("SET", "text", "x", "EX", "60")

    async def main() -> list[Any]:
        asked = [call(node, *command) for command in commands]
        return await asyncio.gather(*asked, call(node, "ECHO", "after"), return_exceptions=True)

    *found, after = run(main())
    assert after == b"after"
    for command, error in zip(commands, found, strict=True):
        with pytest.raises(redis.ResponseError) as blocking:
            node.call(*command)
        assert (type(error), str(error)) == (type(blocking.value), str(blocking.value))


def test_commands_that_are_sent_together_are_answered_together(node: Node, run: Run) -> None:
    """An error that is about one of them is no matter of the others, in both worlds."""
    node.call("SET", "text", "x", "EX", "60")
    commands = [("GET", "text"), ("LPOP", "text"), ("PTTL", "nothing"), ("GET", "nothing")]

    async def main() -> tuple[list[Any], Any]:
        return await asyncio.gather(pipeline(node, commands), call(node, "ECHO", "after"))

    found, after = run(main())
    assert after == b"after"
    for answers in (found, node.pipeline(*commands)):
        assert [answers[0], *answers[2:]] == [b"x", -2, None]
        assert isinstance(answers[1], redis.ResponseError)


def test_a_cancelled_task_that_sent_several_leaves_the_answers_of_the_others(node: Node, run: Run) -> None:
    """Some of what it asked may be answered by then, and some not."""

    async def main() -> Any:
        commands = [("ECHO", str(number)) for number in range(10)]
        asking = asyncio.create_task(pipeline(node, commands))
        await call(node, "PING")
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
        return await call(node, "ECHO", "mine")

    assert run(main()) == b"mine"


# Without an answer


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    proxy = Proxy(server.port).start()
    yield proxy
    proxy.close()


def test_nothing_waits_longer_than_the_timeout_and_a_late_answer_is_nobodys(proxy: Proxy, run: Run) -> None:
    """The next to ask would read it as his own."""
    node = Node(proxy.url, PATIENT)

    async def main() -> None:
        await call(node, "PING")
        node.timeout = 0.1
        node.generation += 1
        await eventually(lambda: call(node, "PING"))
        proxy.silence()
        found = await asyncio.gather(*(call(node, "ECHO", "late") for _ in range(10)), return_exceptions=True)
        assert {type(one) for one in found} == {redis.TimeoutError}
        assert len({id(one) for one in found}) == 10
        proxy.mend()
        node.timeout = PATIENT
        assert await eventually(lambda: call(node, "ECHO", "next")) == b"next"

    run(main())
    node.close()


def test_an_answer_that_came_while_the_loop_stood_still_is_in_time(node: Node, run: Run) -> None:
    """A bot that computes for seconds in its loop must not take its Redis for dead."""
    node.timeout = 0.2

    async def main() -> None:
        await eventually(lambda: call(node, "PING"))
        asking = asyncio.create_task(call(node, "ECHO", "here"))
        while not _is_sent(node):
            await asyncio.sleep(0)
        # Answered after the other, which is over.
        assert Node.call(patient, "PING") == b"PONG"
        time.sleep(2 * node.timeout)
        # Some loops look at their timers before they look at what came.
        _connection_to(node)._watch()
        assert await asking == b"here"

    patient = Node(node._url, PATIENT)
    run(main())
    patient.close()


def _is_sent(node: Node) -> bool:
    return bool(_connection_to(node)._asked) and not _connection_to(node)._unsent


def _connection_to(node: Node) -> SharedConnection:
    found: SharedConnection = _dialled()[node].shared
    return found


def _dialled() -> dict[Any, Any]:
    world = loop.world_of(asyncio.get_running_loop())
    return {} if world is None else world._dialled


class MovedClock:
    """The monotonic clock, and by how much it is ahead."""

    ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


@contextmanager
def answering_by_hand() -> Iterator[tuple[str, Callable[[bytes], None]]]:
    """A server that takes one connection, and what makes it say something. Gone, it has read all."""
    with socket.create_server(("127.0.0.1", 0)) as listening, contextlib.ExitStack() as over:
        taken: Future[socket.socket] = Future()
        thread = threading.Thread(target=lambda: taken.set_result(listening.accept()[0]))
        thread.start()
        over.callback(thread.join)
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0", lambda data: taken.result(20).sendall(data)
        with taken.result(20) as connection:
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                pass


def test_an_answer_that_keeps_coming_is_waited_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many large values take longer than the timeout: a Redis that sends all the time is there."""
    clock = MovedClock()
    monkeypatch.setattr(shared_connection, "time", clock)

    async def main(node: Node, say: Callable[[bytes], None]) -> None:
        asking = asyncio.create_task(call(node, "GET", "large"))
        async with asyncio.timeout(PATIENT):
            while node not in _dialled() or not _is_sent(node):
                await asyncio.sleep(0.001)
            for part in (b"$10\r\n", b"one", b"two"):
                clock.ahead += 0.7 * PATIENT
                before = _connection_to(node)._last_seen_at
                say(part)
                while _connection_to(node)._last_seen_at == before:
                    await asyncio.sleep(0.001)
                _connection_to(node)._watch()
        say(b"last\r\n")
        assert await asking == b"onetwolast"

    with answering_by_hand() as (url, say):
        node = Node(url, PATIENT)
        run(main(node, say))
        node.close()


def test_who_waits_for_a_connection_of_an_earlier_generation_gets_one_of_this(
    server: Server, node: Node, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis came back while its old address was still being dialled: that one ask must not end in a KeyError,
    and the old connection must not stay open."""
    before = server.connections()
    dials: list[Future[None]] = []
    connect = node.connect

    def dial() -> Any:
        dials.append(Future())
        dials[-1].result(PATIENT)
        return connect()

    async def until_dialled(count: int) -> None:
        async with asyncio.timeout(PATIENT):
            while len(dials) < count:
                await asyncio.sleep(0.001)

    async def main() -> list[Any]:
        asking = [asyncio.create_task(call(node, "ECHO", "first"))]
        await until_dialled(1)
        node.check()
        asking.append(asyncio.create_task(call(node, "ECHO", "second")))
        await until_dialled(2)
        dials[0].set_result(None)
        # The first of the two is over now, where it does not wait for the other.
        await asyncio.wait(asking[:1], timeout=0.2)
        dials[1].set_result(None)
        found = await asyncio.gather(*asking)
        wait_until(lambda: len(server.connections() - before) == 1, 20, "the end of the first")
        return found

    monkeypatch.setattr(node, "connect", dial)
    assert run(main()) == [b"first", b"second"]


def test_without_a_connection_nothing_is_sent_and_each_who_waits_is_told(run: Run) -> None:
    """The breaker goes by it: what was never sent has taken no slot."""
    listening = socket.create_server(("127.0.0.1", 0))
    node = Node(f"redis://127.0.0.1:{listening.getsockname()[1]}/0", PATIENT)
    listening.close()

    async def main() -> list[Any]:
        return await asyncio.gather(*(call(node, "PING") for _ in range(5)), return_exceptions=True)

    found = run(main())
    assert {type(one) for one in found} == {Unsent}
    assert len({id(one) for one in found}) == 5
    assert all("refused" in str(one.__cause__) for one in found)


def test_a_server_that_takes_connections_and_says_nothing_is_waited_for_no_longer(run: Run) -> None:
    """It may hang in its host while its system goes on to accept."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        node = Node(f"redis://:secret@127.0.0.1:{silent.getsockname()[1]}/0", 0.1)

        async def main() -> None:
            with pytest.raises(Unsent):
                await call(node, "PING")

        run(main())


def test_a_connection_that_the_server_has_closed_is_replaced_at_the_next_call(
    private_server: Server, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Redis that was restarted at night costs the first ask of the day nothing."""
    node = Node(private_server.url, PATIENT)
    monkeypatch.setattr(shared_connection, "CHECK_SECONDS", 0.0)

    async def main() -> None:
        await call(node, "PING")
        # Without a round of the loop, in which it would see the end of the connection.
        private_server.restart()
        assert await call(node, "PING") == b"PONG"

    run(main())
    node.close()


def test_connections_of_another_generation_are_not_used(server: Server, node: Node, run: Run) -> None:
    """The address may lead to another server by now, as after a failover."""

    async def main() -> tuple[int, int]:
        first = await call(node, "CLIENT", "ID")
        node.check()
        return first, await call(node, "CLIENT", "ID")

    first, second = run(main())
    assert first != second
    wait_until(lambda: first not in {int(one["id"]) for one in server.client.client_list()}, 20, "its end")


# How it logs in


def test_it_logs_in_and_chooses_the_database_as_the_blocking_way_does(
    private_server: Server, run: Run
) -> None:
    """One address holds for both."""
    client: Any = private_server.client
    client.execute_command("ACL", "SETUSER", "bot", "on", ">secret", "~*", "+@all")
    node = Node(f"redis://bot:secret@127.0.0.1:{private_server.port}/3", PATIENT)
    wrong = Node(f"redis://bot:wrong@127.0.0.1:{private_server.port}/3", PATIENT)

    async def main() -> bytes:
        with pytest.raises(Unsent) as blocking:
            wrong.call("PING")
        with pytest.raises(Unsent, match="invalid username-password pair") as refused:
            await call(wrong, "PING")
        assert type(refused.value.__cause__) is type(blocking.value.__cause__) is redis.AuthenticationError
        assert "Start one" not in str(RedisUnreachable("localhost", reason_of(refused.value)))
        return bytes(await call(node, "CLIENT", "INFO"))

    info = dict(part.split("=", 1) for part in run(main()).decode().split())
    assert (info["user"], info["db"], info["resp"]) == ("bot", "3", "2")
    node.close()
    wrong.close()


def test_it_goes_over_a_unix_socket(tmp_path: Path, run: Run) -> None:
    """A Redis on the same machine needs no port."""
    server = Server(unixsocket=str(tmp_path / "redis.sock")).start()
    try:
        node = Node(f"unix://{tmp_path}/redis.sock?db=2", PATIENT)
        assert b" db=2 " in run(call(node, "CLIENT", "INFO"))
        node.close()
    finally:
        server.close()


def test_it_goes_over_tls(server: Server, run: Run) -> None:
    """A hosted Redis takes nothing else; what TLS has unpacked already shows on no selector."""
    large = "x" * 300_000
    with tls_before(server.port) as port:
        url = (
            f"rediss://127.0.0.1:{port}/0?ssl_cert_reqs=none&ssl_check_hostname=false&ssl_ciphers={_CIPHERS}"
        )
        node = Node(url, PATIENT)

        async def main() -> list[Any]:
            return await asyncio.gather(*(call(node, "ECHO", large + str(n)) for n in range(5)))

        assert run(main()) == [f"{large}{n}".encode() for n in range(5)]
        node.close()


#: Nobody proves who he is: a certificate would expire, and its key would lie here.
_CIPHERS = "AECDH-AES256-SHA:@SECLEVEL=0"


@contextmanager
def tls_before(port: int) -> Iterator[int]:
    """A port that speaks TLS before the one at ``port``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    ready: Future[int] = Future()
    over = threading.Event()

    async def serve() -> None:
        server = await asyncio.start_server(serve_one, "127.0.0.1", 0, ssl=context)
        ready.set_result(int(server.sockets[0].getsockname()[1]))
        async with server:
            await asyncio.to_thread(over.wait)

    async def serve_one(near_reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        far_reader, far = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pump(near_reader, far), _pump(far_reader, near), return_exceptions=True)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        yield ready.result(PATIENT)
    finally:
        over.set()
        thread.join()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    finally:
        target.close()


# Loops and processes


def test_a_loop_that_ends_leaves_no_connection(server: Server, node: Node, run: Run) -> None:
    """Each asyncio.run of a script would leave one, and a warning."""
    before = server.connections()
    for _ in range(3):
        assert run(call(node, "PING")) == b"PONG"
    gc.collect()
    wait_until(lambda: server.connections() <= before, 20, "the end of its connections")


def test_a_loop_that_was_closed_without_a_word_is_cleared_up_by_the_next(
    server: Server, node: Node, run: Run
) -> None:
    """Some test tools and old programs end a loop by close() alone."""
    before = server.connections()
    old = asyncio.new_event_loop()
    old.run_until_complete(call(node, "PING"))
    old.close()
    assert run(call(node, "PING")) == b"PONG"
    gc.collect()
    wait_until(lambda: server.connections() <= before, 20, "the end of its connections")


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Python's own, of a loop that nobody closes
def test_a_loop_that_is_dropped_unclosed_takes_its_connection_along(server: Server, node: Node) -> None:
    """A program that makes a loop for each ask would have a connection more after each. (One of uvloop that
    reads a socket is kept by uvloop itself.)"""
    before, loops = server.connections(), weakref.WeakSet[asyncio.AbstractEventLoop]()

    def use() -> None:
        one = asyncio.new_event_loop()
        loops.add(one)
        assert one.run_until_complete(call(node, "PING")) == b"PONG"

    def are_gone() -> bool:
        gc.collect()
        return not loops and server.connections() <= before

    for _ in range(3):
        use()
    wait_until(are_gone, 20, "the end of the loops and of their connections")


def test_what_is_collected_in_the_middle_of_a_call_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever collects it is in a context of its own; an error there stands in the stderr of a program."""
    problems: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", problems.append)
    one = asyncio.new_event_loop()
    one.set_exception_handler(lambda _, problem: None)

    async def wait(begun: asyncio.Event) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def begin() -> list[asyncio.Task[None]]:
        begun = asyncio.Event()
        tasks = [asyncio.create_task(drive(wait(begun)))]
        await begun.wait()
        return tasks

    tasks = one.run_until_complete(begin())
    task = weakref.ref(tasks.pop())
    one.close()
    wait_until(lambda: gc.collect() is not None and task() is None, 20, "the end of the task")
    assert problems == []


def test_loops_of_several_threads_have_connections_of_their_own(server: Server, node: Node, run: Run) -> None:
    """A socket that two loops read is read by neither."""
    found: list[int] = []
    both = threading.Barrier(2)

    async def main() -> None:
        found.append(await call(node, "CLIENT", "ID"))
        await asyncio.to_thread(both.wait, PATIENT)
        assert await call(node, "CLIENT", "ID") in found

    threads = [threading.Thread(target=run, args=(main(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forking beside threads is the point here
def test_a_forked_child_uses_nothing_of_its_parents(server: Server, node: Node) -> None:
    """Both would read the answers of one socket."""
    with asyncio.Runner() as runner:
        first = runner.run(call(node, "CLIENT", "ID"))
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                other = asyncio.run(call(Node(server.url, PATIENT), "CLIENT", "ID"))
                os.write(writing, str(other).encode())
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as end:
            other = int(end.read())
        os.waitpid(child, 0)
        assert other != first
        assert runner.run(call(node, "CLIENT", "ID")) == first


# The rest of the world


def test_one_future_is_waited_for_by_many_and_given_up_by_each_alone(run: Run) -> None:
    """Tasks that wait for the same load come and go."""
    shared: Future[str] = Future()

    async def wait(seconds: float | None) -> str:
        return await drive(_wait(seconds))

    async def _wait(seconds: float | None) -> str:
        return await io.world().wait(shared, seconds)

    async def main() -> list[Any]:
        tasks = [asyncio.create_task(wait(None)) for _ in range(3)]
        with pytest.raises(TimeoutError):
            await wait(0.0)
        tasks[0].cancel()
        await asyncio.sleep(0)
        threading.Thread(target=shared.set_result, args=("there",)).start()
        return await asyncio.gather(*tasks, return_exceptions=True)

    cancelled, *others = run(main())
    assert isinstance(cancelled, asyncio.CancelledError)
    assert others == ["there", "there"]


def test_what_blocks_is_done_beside_the_loop_in_the_blocking_world(run: Run) -> None:
    """A user's function may call the blocking API, and its request must keep to the deadline."""

    def work() -> tuple[bool, bool, str]:
        return io.world() is io.BLOCKING, 0 < seconds_left() <= 100.0, threading.current_thread().name

    async def main() -> tuple[bool, bool, str]:
        with until(io.now() + 100.0):
            return await io.world().offload(work)

    is_blocking, is_bounded, thread = run(drive(main()))
    assert is_blocking
    assert is_bounded
    assert thread.startswith("tbcache-work")


def test_many_wait_for_few_threads(run: Run) -> None:
    """A thousand cold asks must not be a thousand threads."""
    names = set()

    def work() -> None:
        names.add(threading.current_thread().name)
        time.sleep(0.001)

    async def main() -> None:
        await asyncio.gather(*(io.world().offload(work) for _ in range(200)))

    run(drive(main()))
    assert len(names) <= 8


class Clustered:
    """A server whose calls must find their node first."""

    endpoint = None

    def __init__(self) -> None:
        self.done: list[str] = []
        self.begun, self.may_end = threading.Event(), threading.Event()

    def call(self, *command: io.Argument) -> str:
        self.begun.set()
        assert self.may_end.wait(PATIENT)
        self.done.append(str(command[0]))
        return "answer"


def test_a_call_in_a_cluster_is_over_before_its_cancelled_task_goes_on(run: Run) -> None:
    """What gives its slot back goes over another connection and would overtake it."""
    cluster = Clustered()

    async def main() -> None:
        task = asyncio.create_task(call(cluster, "take"))
        await asyncio.to_thread(cluster.begun.wait, PATIENT)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        asyncio.get_running_loop().call_later(0.01, cluster.may_end.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert cluster.done == ["take"]
        assert await call(cluster, "release") == "answer"

    run(main())
    assert cluster.done == ["take", "release"]


def test_what_is_given_back_is_given_back_though_the_loop_ends(server: Server, node: Node, run: Run) -> None:
    """Ctrl-C cancels every task, those that give back as well."""
    server.client.delete("given", "back")

    async def give_back(key: str) -> None:
        await io.world().call(node, ("PING",))
        await io.world().call(node, ("SET", key, "1", "EX", "60"))

    async def held() -> None:
        await io.world().call(node, ("PING",))
        try:
            await asyncio.sleep(PATIENT)
        finally:
            io.world().undo(lambda: give_back("given"))

    async def main() -> None:
        await call(node, "PING")
        asyncio.create_task(drive(held()))  # noqa: RUF006 -- the end of the loop cancels it
        await asyncio.sleep(0.01)
        with io.inside(loop.world_of(asyncio.get_running_loop()) or pytest.fail("no world")):
            # Cancelled in the middle.
            io.world().undo(lambda: give_back("back"))

    run(main())
    assert server.client.exists("given", "back") == 2


def test_what_is_spawned_outlives_who_asked_for_it_and_its_failure_is_logged(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """A refresh goes on when the stale answer has been given."""
    found: list[Any] = []

    async def work() -> None:
        found.append((type(io.world()), seconds_left()))
        raise ValueError("in the background")

    async def ask() -> None:
        with until(io.now() + 1.0):
            io.world().spawn(work)

    async def main() -> None:
        await drive(ask())
        while not found:
            await asyncio.sleep(0)

    run(main())
    assert found == [(loop.Asyncio, float("inf"))]
    assert [record.reason for record in caplog.records] == ["ValueError: in the background"]  # type: ignore[attr-defined]


def test_what_is_detached_goes_on_though_its_caller_is_cancelled(run: Run) -> None:
    """Others wait for it; it is in the context of who asked for it, whose code it may be."""
    done: list[str] = []
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name")

    async def main() -> None:
        is_begun, may_end = asyncio.Event(), asyncio.Event()

        async def work() -> str:
            is_begun.set()
            await may_end.wait()
            done.append(name.get())
            return "over"

        async def ask() -> str:
            name.set("caller's")
            return await drive(_detach(work))

        asking = asyncio.create_task(ask())
        await is_begun.wait()
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
        may_end.set()
        async with asyncio.timeout(PATIENT):
            while not done:
                await asyncio.sleep(0.001)

    run(main())
    assert done == ["caller's"]


async def _detach(work: Callable[[], Any]) -> Any:
    return await io.world().detach(work)


def test_the_blocking_api_works_beside_it_in_one_process(node: Node, run: Run) -> None:
    """A program moves to asyncio piece by piece."""

    async def main() -> tuple[bytes, bytes]:
        return io.run(_call(node, ("ECHO", "blocking"))), await call(node, "ECHO", "asyncio")

    assert run(main()) == (b"blocking", b"asyncio")


def test_a_coroutine_is_driven_in_its_own_world_alone(run: Run) -> None:
    """What the user does between two calls is his."""

    async def which() -> io.IO:
        await asyncio.sleep(0)
        return io.world()

    async def main() -> tuple[io.IO, io.IO]:
        return await drive(which()), io.world()

    inside, outside = run(main())
    assert isinstance(inside, loop.Asyncio)
    assert outside is io.BLOCKING
