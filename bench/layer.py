"""What the time of a call is made of: the same call without its script, or with that one's commands alone."""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import dramatiq
import hiredis
import redis

from bench import timing
from bench.bulk import parts
from bench.decision import LIMIT, Least, settled
from bench.table import Table
from tbcache.admission.script import ADMIT
from tbcache.io import run
from tbcache.io.connection import Connection
from tbcache.queue.script import SEND
from tbcache.settings import Settings
from tbcache.store import Store
from tbcache.store.script import Script
from tests.server import Server

#: A larger number in a reply is a moment (us).
NO_MOMENT = 10**15
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"')

ASK = Connection.ask


def table(*, is_quick: bool) -> Table:
    """The table, in about 20 seconds; in 5 when ``is_quick``."""
    server = Server().start()
    try:
        with timing.one_core(server):
            return measure(server, rounds=5 if is_quick else 15, calls=100 if is_quick else 200)
    finally:
        server.close()


def measure(server: Server, *, rounds: int, calls: int) -> Table:
    """``admit`` and ``.send`` by layers, beside the same GET."""
    client, link = redis.Redis.from_url(server.url), Store(Settings.load(server.variables))
    client.set("bench", b"x" * 300)
    with parts(server) as part:
        note: Any = dramatiq.actor(actor_name="note", broker=part.broker)(str)
        blocks = {
            "GET over the store's link": timing.block(lambda: run(link.command("GET", "bench"))),
            "the least sliding window by redis-py": timing.block(Least(server.url, LIMIT).acquire),
            **_layers(server, "admit", ADMIT, settled(server.url)),
            **_layers(server, ".send", SEND, timing.block(lambda: note.send("AAPL"))),
        }
        ratios = timing.compare(timing.block(lambda: client.get("bench")), blocks, rounds=rounds, calls=calls)
    client.close()
    link.close()
    return Table(
        "What a call is made of",
        "Median time over one bare redis-py GET (hiredis, pooled); in brackets the extremes of the rounds. "
        "Client and server share a core. Without its script: the same call of a script that does nothing. "
        "Its commands alone: of one that carries out the same commands one after the other, and looks at no "
        "answer: less than that no script takes which keeps the same promises.",
        ["what", "x GET"],
        [[name, str(ratio)] for name, ratio in ratios.items()],
    )


def _layers(
    server: Server, name: str, script: Script[Any, Any], block: timing.Block
) -> dict[str, timing.Block]:
    sent, reply, commands = _recorded(server, script, block)
    texts = {
        f"{name} without its script": "return 1",
        f"{name}, its {len(commands)} commands alone": "\n".join([*_lua(sent, commands), "return 1"]),
    }
    shas = {what: str(server.client.script_load(text)) for what, text in texts.items()}
    return {**{what: _instead(block, script, sha, reply) for what, sha in shas.items()}, name: block}


def _instead(block: timing.Block, script: Script[Any, Any], sha: str, reply: Any) -> timing.Block:
    """``block`` with another script in the place of ``script``, whose reply the caller reads all the same."""

    def ask(connection: Connection, packed: bytes) -> Any:
        if script.sha.encode() not in packed:
            return ASK(connection, packed)
        ASK(connection, packed.replace(script.sha.encode(), sha.encode(), 1))
        return _at(reply, time.time_ns() // 1000)

    def run_block(count: int) -> list[float]:
        with mock.patch.object(Connection, "ask", ask):
            return block(count)

    return run_block


def _at(reply: Any, now_us: int) -> Any:
    """A reply as it would be now: its moments are checked against the clock."""
    if isinstance(reply, list):
        return [_at(part, now_us) for part in reply]
    return now_us if isinstance(reply, int) and reply > NO_MOMENT else reply


def _recorded(
    server: Server, script: Script[Any, Any], block: timing.Block
) -> tuple[list[bytes], Any, list[list[bytes]]]:
    """A call: how it was sent, what the script replied, and the commands that it carried out."""
    seen: list[tuple[bytes, Any]] = []

    def ask(connection: Connection, packed: bytes) -> Any:
        answer = ASK(connection, packed)
        if script.sha.encode() in packed:
            seen.append((packed, answer))
        return answer

    block(2)
    monitor: Any = server.client.connection_pool.get_connection()
    monitor.send_command("MONITOR")
    monitor.read_response()
    with mock.patch.object(Connection, "ask", ask):
        block(1)
    server.client.echo("over")
    commands, is_ours = [], False
    while b'"ECHO"' not in (line := monitor.read_response()):
        if b" lua]" not in line:
            is_ours = script.sha.encode() in line
        elif is_ours:
            commands.append([ast.literal_eval(f"b{quoted.decode()}") for quoted in _QUOTED.findall(line)])
    monitor.disconnect()
    (packed, reply), *_ = seen
    reader = hiredis.Reader()
    reader.feed(packed)
    return reader.gets(), reply, commands


def _lua(sent: Sequence[bytes], commands: Sequence[Sequence[bytes]]) -> Iterator[str]:
    """Lines that carry out ``commands``, with each call's keys and arguments in the places of this one's."""
    count = int(sent[2])
    names = {value: f"ARGV[{at}]" for at, value in enumerate(sent[3 + count :], 1)}
    names |= {value: f"KEYS[{at}]" for at, value in enumerate(sent[3 : 3 + count], 1)}
    for command, *rest in commands:
        parts = [_quoted(command), *(names.get(one, _quoted(one)) for one in rest)]
        yield f"redis.call({', '.join(parts)})"


def _quoted(text: bytes) -> str:
    return "'" + "".join(f"\\{byte:03d}" for byte in text) + "'"
