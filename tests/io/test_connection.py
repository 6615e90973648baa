"""A connection of one thread: an answer is read by who asked for it, or by nobody."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import hiredis
import pytest
import redis

from tbcache.store import Store
from tbcache.store import node as node_module
from tbcache.store.node import Node
from tests.server import Server

PATIENT = 30.0


class Scripted:
    """A server that answers each command with the next of ``answers``, whatever it was. After an empty one
    it says nothing more, and waits for the client to hang up."""

    def __init__(self, answers: Sequence[bytes]) -> None:
        self._answers = iter(answers)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        #: How many connections there were.
        self.served = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        # The thread sits in accept(), which a shutdown ends.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.served += 1
            with connection:
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        reader = hiredis.Reader()
        while data := connection.recv(1 << 16):
            reader.feed(data)
            while reader.gets() is not False:
                connection.sendall(next(self._answers))


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    servers: list[Scripted] = []

    def start(*answers: bytes) -> Scripted:
        servers.append(Scripted(answers))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def node_at() -> Iterator[Callable[[str], Node]]:
    nodes: list[Node] = []

    def make(url: str) -> Node:
        nodes.append(Node(url, PATIENT))
        return nodes[-1]

    yield make
    for node in nodes:
        node.close()


def replace_socket(node: Node, kind: Callable[[Any], Any]) -> None:
    """Have the connection that is used next a socket that ``kind`` makes of its own."""
    connection = node._checkout()
    connection._socket = kind(connection._socket)
    node._checkin(connection, node.generation)


class Interrupted:
    """A socket whose reader is interrupted after it has sent."""

    def __init__(self, inner: Any, error: type[BaseException]) -> None:
        self._inner, self._error = inner, error

    def sendall(self, data: bytes) -> None:
        self._inner.sendall(data)

    def recv(self, size: int) -> bytes:
        raise self._error


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError, RuntimeError])
@pytest.mark.parametrize("way", ["call", "pipeline"])
def test_the_answer_to_an_interrupted_ask_is_nobodys(
    server: Server, node_at: Callable[[str], Node], error: type[BaseException], way: str
) -> None:
    """Ctrl-C between ask and answer: the next one who asks would get the answer of before."""
    node = node_at(server.url)
    replace_socket(node, lambda inner: Interrupted(inner, error))
    with pytest.raises(error):
        node.call("ECHO", "theirs") if way == "call" else node.pipeline(("ECHO", "theirs"), ("PING",))
    assert node.call("ECHO", "mine") == b"mine"
    assert node.pipeline(("ECHO", "one"), ("ECHO", "two")) == [b"one", b"two"]


class Impatient:
    """A socket whose reader waits for a moment only."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def sendall(self, data: bytes) -> None:
        self._inner.sendall(data)

    def recv(self, size: int) -> bytes:
        self._inner.settimeout(0.05)
        data: bytes = self._inner.recv(size)
        return data


@pytest.mark.parametrize("half", [b"", b"$6\r\nthe", b"*2\r\n$6\r\ntheirs\r\n"])
def test_half_an_answer_is_read_by_nobody_else(
    scripted: Callable[..., Scripted], node_at: Callable[[str], Node], half: bytes
) -> None:
    """The rest of it may come at any time."""
    server = scripted(half, b"$4\r\nmine\r\n")
    node = node_at(server.url)
    replace_socket(node, Impatient)
    with pytest.raises(redis.TimeoutError):
        node.call("GET", "theirs")
    assert node.call("GET", "mine") == b"mine"
    assert server.served == 2


@pytest.mark.parametrize("answer", [b"?what is this\r\n", b"+theirs\r\n+mine?\r\n", b"+theirs\r\n$4\r\nha"])
def test_what_is_no_answer_or_too_many_of_them_ends_the_connection(
    scripted: Callable[..., Scripted], node_at: Callable[[str], Node], answer: bytes
) -> None:
    """Whose is the second answer? The next caller would take it for his own."""
    server = scripted(answer, b"$4\r\nmine\r\n")
    node = node_at(server.url)
    with pytest.raises(redis.InvalidResponse):
        node.call("GET", "theirs")
    assert node.call("GET", "mine") == b"mine"
    assert server.served == 2


def test_an_error_of_the_server_is_an_answer_like_any_other(
    scripted: Callable[..., Scripted], node_at: Callable[[str], Node]
) -> None:
    """A wrong type costs the one who asked, not the connection."""
    server = scripted(b"-WRONGTYPE no string\r\n", b"-ERR no\r\n", b"+OK\r\n", b"+PONG\r\n")
    node = node_at(server.url)
    with pytest.raises(redis.ResponseError, match="no string"):
        node.call("GET", "hash")
    refused, done = node.pipeline(("GET", "hash"), ("SET", "key", "value"))
    assert isinstance(refused, redis.ResponseError)
    assert done == b"OK"
    assert node.call("PING") == b"PONG"
    assert server.served == 1


def test_a_large_answer_comes_whole(server: Server, node_at: Callable[[str], Node]) -> None:
    """More than is read at once, and more than a socket takes."""
    node, large = node_at(server.url), "x" * 20_000_000
    assert node.call("ECHO", large) == large.encode()
    assert node.call("ECHO", "small") == b"small"


def test_a_connection_that_the_server_has_closed_is_replaced_before_it_is_used(
    server: Server, node_at: Callable[[str], Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Redis that was restarted at night costs the first ask of the day nothing."""
    node = node_at(server.url)
    monkeypatch.setattr(node_module, "CHECK_SECONDS", 0.0)
    first = node.call("CLIENT", "ID")
    server.client.client_kill_filter(_id=first)
    assert node.call("CLIENT", "ID") != first


def test_what_may_have_been_done_is_not_done_again(
    server: Server, node_at: Callable[[str], Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that ends in an ask says nothing of what was asked: a slot would be taken twice."""
    node = node_at(server.url)
    monkeypatch.setattr(node_module, "CHECK_SECONDS", 60.0)
    node.call("SET", "asked", 1, "EX", 60)
    server.client.client_kill_filter(_id=node.call("CLIENT", "ID"))
    with pytest.raises(redis.ConnectionError):
        node.call("INCR", "asked")
    assert node.call("INCR", "asked") == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forking beside threads is the point here
def test_a_forked_child_reads_no_answer_of_its_parents(store: Store) -> None:
    """Both have a copy of one socket."""
    first = store.call("CLIENT", "ID")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answers = {store.call("ECHO", f"child {n}") == f"child {n}".encode() for n in range(100)}
            os.write(writing, f"{answers == {True}} {store.call('CLIENT', 'ID')}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    for n in range(100):
        assert store.call("ECHO", f"parent {n}") == f"parent {n}".encode()
    with os.fdopen(reading, "rb") as end:
        said = end.read().decode()
    os.waitpid(child, 0)
    assert said.startswith("True ")
    assert said != f"True {first}"
    assert store.call("CLIENT", "ID") == first
