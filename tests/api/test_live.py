"""The pages that change by themselves: one look for all who watch, and room for everybody else."""

from __future__ import annotations

import asyncio
import itertools
import resource
import socket
from typing import Any
from unittest import mock

import pytest

from tbcache.api import bound
from tbcache.api.page import live as live_module
from tbcache.api.page.live import Full, Live
from tbcache.io.log import get_logger
from tbcache.models.error import UnknownSource
from tests.api.test_server import running
from tests.server import Server, wait_until
from tests.viewers import fetch


def drawn(status: Any) -> dict[str, str]:
    return {"head": f"look {status}"}


def test_a_hundred_who_watch_share_each_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the fleet and Redis have to do with it is the same for one and for a thousand."""
    monkeypatch.setattr(live_module, "EVERY_SECONDS", 0.1)
    look = mock.Mock(side_effect=itertools.count(1))

    async def seen_by_each() -> list[list[bytes]]:
        live = Live(look, 100)

        async def three() -> list[bytes]:
            with live.watching("home", drawn) as messages:
                return [await anext(messages) for _ in range(3)]

        return await asyncio.wait_for(asyncio.gather(*(three() for _ in range(100))), 60)

    found = asyncio.run(seen_by_each())
    assert all(one == found[0] for one in found)
    # Each round is a look of its own: none of them says again what was said before.
    assert [f"look {number}" in text.decode() for number, text in enumerate(found[0], 1)] == [True] * 3
    assert look.call_count <= 4


def test_who_comes_when_all_places_are_taken_waits_for_one() -> None:
    async def places() -> None:
        live = Live(mock.Mock(), 2)
        with live.watching("home", drawn):
            with live.watching("head", drawn), pytest.raises(Full), live.watching("home", drawn):
                pass
            with live.watching("home", drawn):
                pass

    asyncio.run(places())


def test_a_page_that_cannot_be_drawn_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """One who watches a source that is gone would freeze the page of everybody."""
    monkeypatch.setattr(live_module, "log", mock.Mock(wraps=get_logger("tests")))

    def broken(status: object) -> dict[str, str]:
        raise UnknownSource("gone", ())

    async def first_of_each() -> bytes:
        live = Live(mock.Mock(), 2)
        with live.watching("gone", broken), live.watching("home", lambda status: {"head": "here"}) as there:
            return await asyncio.wait_for(anext(there), 20)

    assert b"here" in asyncio.run(first_of_each())


def test_a_look_that_fails_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page of a fleet that was damaged for a moment goes on by itself."""
    monkeypatch.setattr(live_module, "EVERY_SECONDS", 0.1)
    look = mock.Mock(side_effect=[ValueError("damaged"), "sound", "sound"])

    async def first() -> bytes:
        with Live(look, 1).watching("home", drawn) as messages:
            return await asyncio.wait_for(anext(messages), 20)

    assert b"look sound" in asyncio.run(first())


def watch(port: int) -> tuple[socket.socket, bytes]:
    """A connection that watches the first page, and the beginning of what it is told."""
    connection = socket.create_connection(("127.0.0.1", port), 30)
    connection.sendall(b"GET /live/home HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
    found = b""
    while b"data: " not in found:
        found += connection.recv(65536)
    return connection, found


def test_those_who_watch_leave_room_for_others_and_the_next_is_told_why(server: Server) -> None:
    """A screen in each office must not shut out the one who has to act."""
    files = 96
    with running(server, files=files) as (_, port):
        most = bound.most_streams(files)
        assert most >= 8
        watching = [watch(port) for _ in range(most)]
        try:
            assert all(b"200 OK" in text for _, text in watching)
            full, text = watch(port)
            full.close()
            assert b"503 Service Unavailable" in text
            assert b"retry-after: 15" in text.lower()
            assert b"event: full" in text
            assert f"{most} pages are watched already".encode() in text
            assert asyncio.run(fetch(port, "/healthz"))[0] == 200
            watching.pop()[0].close()

            def is_let_in() -> bool:
                connection, text = watch(port)
                connection.close()
                return b"200 OK" in text

            wait_until(is_let_in, 30, "a place")
        finally:
            for connection, _ in watching:
                connection.close()


@pytest.mark.parametrize(
    ("files", "others", "streams"),
    [
        (resource.RLIM_INFINITY, 1024, 2000),
        (65536, 1024, 2000),
        (6144, 1024, 1024),
        (1024, 171, 170),
        (256, 43, 42),
        (2, 1, 0),
    ],
)
def test_connections_leave_files_for_everything_else(files: int, others: int, streams: int) -> None:
    """An API that is out of files can neither answer nor ask Redis."""
    assert (bound.most_others(files), bound.most_streams(files)) == (others, streams)


@pytest.mark.parametrize(("hard", "soft"), [(512, 512), (1_000_000, 9072), (resource.RLIM_INFINITY, 9072)])
def test_an_api_takes_the_files_that_it_may_have(
    monkeypatch: pytest.MonkeyPatch, hard: int, soft: int
) -> None:
    """A shell gives 256 or 1,024 where a process may have a million, and a thousand screens need more."""
    taken = mock.Mock()
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, hard))
    monkeypatch.setattr(resource, "setrlimit", taken)
    bound.allow_files()
    assert taken.call_args.args[1] == (soft, hard)
