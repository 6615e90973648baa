"""A Redis Cluster: every command goes to the node that serves its key's hash slot.

redis-py's own cluster client opens connections when it is made, and when a node fails it
asks all the others, with pauses, in the time of the caller. Here a call fails at once;
the store's prober looks for the nodes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit, urlunsplit

import redis
from redis.client import PubSub
from redis.crc import REDIS_CLUSTER_HASH_SLOTS as HASH_SLOTS
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError

from tbcache.models.error import ConfigurationError
from tbcache.store.node import Node, Sent
from tbcache.store.script import Argument

T = TypeVar("T")

AWAY = (redis.ConnectionError, redis.TimeoutError, OSError)

MOST_REDIRECTIONS = 4

#: Commands for every node, and what is made of their answers.
_OF_ALL: dict[str, Callable[[list[Any]], Any]] = {"PING": all, "DBSIZE": sum, "INFO": b"\r\n".join}
#: Commands whose keys may lie in several hash slots: their answers are added up.
_OF_EACH_KEY = ("UNLINK", "DEL", "EXISTS")
#: Commands for any node.
_OF_ANY = ("TIME",)


def hash_slot(key: Argument) -> int:
    """The hash slot of a key: of its tag, where it has one."""
    return key_slot(key if isinstance(key, bytes) else str(key).encode())


class Cluster:
    """The nodes, and which hash slots each of them serves. ``url`` names one of them.

    The table of hash slots is read at the first call, and again when a node says that a
    hash slot has moved. A call to a node waits ``timeout`` at most; one that is
    redirected waits for each node on its way.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self._url = url
        self._timeout = timeout
        self._lock = threading.Lock()
        self._nodes: dict[tuple[str, int], Node] = {}
        self._table: list[Node | None] = []
        parts = urlsplit(url)
        self._seed = self._node(parts.hostname or "", parts.port or 6379)

    @property
    def endpoint(self) -> None:
        """None: a command must find its node first."""

    def call(self, *command: Argument) -> Any:
        """One command; see :meth:`Node.call`."""
        if command[0] not in (*_OF_ALL, *_OF_EACH_KEY, *_OF_ANY):
            return self._call(command, self.node_of(_key(command)))
        (answer,) = self.pipeline(command)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def pipeline(self, *commands: Sequence[Argument]) -> list[Any]:
        """Several commands, sent to all nodes concerned at once; see :meth:`Node.pipeline`."""
        parts = [part for position, command in enumerate(commands) for part in self._split(position, command)]
        answers: list[list[Any]] = [[] for _ in commands]
        for part, answer in self._exchange(parts):
            answers[part.position].append(answer)
        return [_merge(command[0], found) for command, found in zip(commands, answers, strict=True)]

    def block(self, seconds: float, *command: str) -> Any:
        """A command that waits for an element of a list; see :meth:`Node.block`."""
        return self.follow(
            lambda node, asking: node.block(seconds, *command, asking=asking), self.node_of(command[1])
        )

    def subscribe(self, channel: str) -> PubSub:
        """A connection to one of the nodes, on which the messages of ``channel`` come from all."""
        return self._seed.subscribe(channel)

    def check(self) -> None:
        """Look for the nodes anew, and whether each that serves hash slots is there.

        Raises:
          redis.RedisError, OSError: one is not.
        """
        self.disconnect()
        self._find()
        for node in self.primaries():
            info: bytes = self.follow(lambda node, _: node.call("CLUSTER", "INFO"), node)
            if b"cluster_state:ok" not in info:
                raise ClusterDownError(f"{node.name} says that the cluster is down")

    def disconnect(self) -> None:
        for node in self._all():
            node.disconnect()

    def close(self) -> None:
        for node in self._all():
            node.close()

    def node_of(self, key: Argument) -> Node:
        """The node that serves the key.

        Raises:
          ClusterDownError: none does.
        """
        number = hash_slot(key)
        node = self._known()[number]
        if node is None:
            raise ClusterDownError(f"no node serves hash slot {number}")
        return node

    def primaries(self) -> list[Node]:
        """Every node that serves a hash slot.

        Raises:
          ClusterDownError: some hash slots are served by none.
        """
        nodes = list(dict.fromkeys(self._known()))
        if None in nodes:
            raise ClusterDownError("not every hash slot is served")
        return [node for node in nodes if node is not None]

    def follow(self, ask: Callable[[Node, bool], T], node: Node, asking: bool = False) -> T:
        """What ``ask(node, asking)`` gets from ``node``, or from the one that it is sent to.

        Raises:
          ClusterDownError: it is sent from one to another without end.
        """
        for _ in range(MOST_REDIRECTIONS):
            try:
                return ask(node, asking)
            except AskError as error:
                node, asking = self.redirect(node, error)
            except AWAY as error:
                error.add_note(node.name)
                raise
        raise ClusterDownError("the nodes do not agree on who serves a hash slot")

    def redirect(self, node: Node, error: AskError) -> tuple[Node, bool]:
        """Where ``node`` sends us, and whether to say ASKING there."""
        target = self._node(error.host or node.host, error.port)
        if not isinstance(error, MovedError):
            return target, True
        with self._exclusively():
            # Unless another thread has been told meanwhile.
            if self._table[error.slot_id] is node:
                self._table = self._read_table(target)
                # The node that gave the hash slot away knows it before the one that has it.
                self._table[error.slot_id] = target
        return target, False

    def _all(self) -> list[Node]:
        """Every node known, the one of the URL last."""
        return [*(node for node in list(self._nodes.values()) if node is not self._seed), self._seed]

    @contextmanager
    def _exclusively(self) -> Iterator[None]:
        """Let one thread ask for the table; the others wait, no longer than they would for a node."""
        if not self._lock.acquire(timeout=self._timeout):
            raise redis.TimeoutError("another thread is asking for the nodes")
        try:
            yield
        finally:
            self._lock.release()

    def _known(self) -> list[Node | None]:
        if not self._table:
            with self._exclusively():
                self._table = self._table or self._read_table(self._seed)
        return self._table

    def _find(self) -> None:
        """Read the table from the first node that answers."""
        problem: Exception | None = None
        with self._exclusively():
            for node in self._all():
                try:
                    self._table = self._read_table(node)
                except (redis.RedisError, OSError) as error:
                    problem = error
                else:
                    return
        raise problem or ClusterDownError("no node is known")

    def _read_table(self, node: Node) -> list[Node | None]:
        """The node of every hash slot, as ``node`` has it; others are forgotten.

        Raises:
          ConfigurationError: it belongs to no cluster.
        """
        try:
            rows = node.call("CLUSTER", "SLOTS")
        except redis.ResponseError as error:
            if "cluster support disabled" not in str(error):
                raise
            raise ConfigurationError(
                "REDIS_CLUSTER is set, but Redis does not run as a cluster; "
                "unset it, or let REDIS_URL name a node of one"
            ) from None
        table: list[Node | None] = [None] * HASH_SLOTS
        for first, last, (host, port, *_), *_ in rows:
            # A node that gives no name of its own is at the address that we have asked.
            server = self._node(host.decode() if host else node.host, port)
            table[first : last + 1] = [server] * (last + 1 - first)
        serving = set(table)
        self._nodes = {address: one for address, one in self._nodes.items() if one in serving}
        return table

    def _node(self, host: str, port: int) -> Node:
        node = self._nodes.get((host, port))
        if node is None:
            node = self._nodes.setdefault((host, port), Node(_at(self._url, host, port), self._timeout))
        return node

    def _call(self, command: Sequence[Argument], node: Node, asking: bool = False) -> Any:
        return self.follow(lambda node, asking: node.call(*command, asking=asking), node, asking)

    def _split(self, position: int, command: Sequence[Argument]) -> list[_Part]:
        name, *arguments = command
        if name in _OF_ALL:
            return [_Part(position, node, command) for node in self.primaries()]
        if name in _OF_EACH_KEY:
            by_slot: dict[int, list[Argument]] = {}
            for key in arguments:
                by_slot.setdefault(hash_slot(key), []).append(key)
            return [_Part(position, self.node_of(keys[0]), (name, *keys)) for keys in by_slot.values()]
        node = self.primaries()[0] if name in _OF_ANY else self.node_of(_key(command))
        return [_Part(position, node, command)]

    def _exchange(self, parts: Sequence[_Part]) -> Iterator[tuple[_Part, Any]]:
        by_node: dict[Node, list[_Part]] = {}
        for part in parts:
            by_node.setdefault(part.node, []).append(part)
        found = self._send_all(by_node)
        for part in parts:
            answer = found[part.node].pop(0)
            yield part, self._redirected(part, answer) if isinstance(answer, AskError) else answer

    def _send_all(self, by_node: dict[Node, list[_Part]]) -> dict[Node, list[Any]]:
        sent: dict[Node, Sent] = {}
        found: dict[Node, list[Any]] = {}
        try:
            for node, parts in by_node.items():
                sent[node] = node.send(*(part.command for part in parts))
            for node in by_node:
                found[node] = node.read(sent[node])
        except BaseException as error:
            error.add_note(node.name)
            # Answers may still come: nobody must read them as his own.
            for one in sent.keys() - found.keys():
                sent[one].connection.close()
            raise
        return found

    def _redirected(self, part: _Part, error: AskError) -> Any:
        try:
            return self._call(part.command, *self.redirect(part.node, error))
        except redis.ResponseError as other:
            return other


class _Part(NamedTuple):
    """What one node does of a command."""

    position: int
    node: Node
    command: Sequence[Argument]


def _key(command: Sequence[Argument]) -> Argument:
    """The first key of a command; scripts have it after the digest and the number of keys."""
    return command[3 if command[0] in ("EVALSHA", "EVAL") else 1]


def _merge(name: Any, answers: list[Any]) -> Any:
    problem = next((answer for answer in answers if isinstance(answer, Exception)), None)
    if problem is not None:
        return problem
    if name in _OF_ALL:
        return _OF_ALL[name](answers)
    return sum(answers) if name in _OF_EACH_KEY else answers[0]


def _at(url: str, host: str, port: int) -> str:
    """``url`` with another host and port, and no database: a cluster has one only."""
    parts = urlsplit(url)
    login, at, _ = parts.netloc.rpartition("@")
    host = f"[{host}]" if ":" in host else host
    return urlunsplit(parts._replace(netloc=f"{login}{at}{host}:{port}", path=""))
