"""Commands and API over a Redis that holds nonsense: damaged, of another version, or written to deceive."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from tbcache.cli.error import say
from tbcache.io import utc_now
from tbcache.models.untrusted import escaped, moment, printable, whole_number
from tbcache.settings import Settings
from tbcache.store import Store
from tbcache.store.layout import LAYOUT
from tests.cli.command import Done, local_client
from tests.server import Server

Cli = Callable[..., Done]

SOURCE = "stocktwits"
#: What commands a terminal: a title, a cleared screen by two ways, text that runs backwards, a new line.
ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b2J\u202ek\r\nfake"
NUMBERS = [
    "banana",
    "",
    "-5",
    "9" * 30,
    "1e400",
    "nan",
    "9007199254740993000",
    ESCAPES,
    b"\xff\xfe\x00",
    "[red]",
]
PAGES = ["/metrics", *(f"/api/monitoring/{page}" for page in ("rate-limits", "usage?days=2", "cache/status"))]


def names(store: Store) -> list[str]:
    """Every key that is looked at to show the fleet."""
    keys = store.keys
    parts = ("interactive", "prewarm", "delayed", "claims", "dead", "reasons", "suspects")
    return [
        keys.slots(SOURCE),
        keys.state(SOURCE),
        keys.fleet(SOURCE),
        keys.usage(SOURCE, utc_now()),
        keys.clears(SOURCE),
        keys.entry(f"{SOURCE}:AAPL:24"),
        keys.workers,
        keys.names,
        keys.minutes(SOURCE),
        *(keys.queue(SOURCE, part) for part in parts),
    ]


@contextmanager
def told(store: Store) -> Iterator[Any]:
    """A pipeline that writes, and sees that all of it goes away by itself."""
    pipe = store.client.pipeline(transaction=False)
    yield pipe
    for name in names(store):
        pipe.expire(name, 60)
    pipe.execute()


def check_all_shows(cli: Cli, server: Server, settings: Settings) -> None:
    """Every command and page that shows the fleet answers, with nothing in it that commands a terminal."""
    for args in (("status",), ("limits",)):
        for is_terminal in (False, True):
            done = cli(*args, is_terminal=is_terminal, REDIS_URL=server.url)
            check_text(done.out + done.err)
            assert done.code == 0, done.err
            assert is_terminal or json.loads(done.out)
    with local_client(settings) as client:
        for page in PAGES:
            answer = client.get(page)
            assert answer.status_code == 200, answer.text
            check_text(answer.text)


def check_text(text: str) -> None:
    assert [one for one in text if not (one.isprintable() or one == "\n")] == []


@pytest.mark.parametrize("junk", NUMBERS, ids=repr)
def test_a_number_that_is_none_ends_nothing(
    cli: Cli, server: Server, settings: Settings, store: Store, junk: str | bytes
) -> None:
    """The page is what one looks at when something is wrong already."""
    keys = store.keys
    fields = [
        "hit",
        "go",
        "failed",
        "cost",
        "pages",
        "ms5",
        "ms99",
        "ms999999",
        "error.x",
        "error." + ESCAPES,
    ]
    beat = {
        "role": "worker",
        "pid": 1,
        "host": "h",
        "threads": 2,
        "busy": 1,
        "doing": [],
        "started_at": "2026-01-01T00:00:00Z",
        "beat_at": "2026-01-01T00:00:00Z",
    }
    with told(store) as pipe:
        pipe.hset(
            keys.state(SOURCE), mapping=dict.fromkeys(("closed_until", "closed_reason", "limits"), junk)
        )
        pipe.hset(keys.usage(SOURCE, utc_now()), mapping={f"w:{one}": junk for one in fields})
        pipe.hset(keys.usage(SOURCE, utc_now()), mapping={f"{ESCAPES}:hit": 3, b"\xff:hit": 3, "bare": 3})
        for number, field in enumerate(beat):
            pipe.hset(keys.workers, f"w{number}", json.dumps(beat | {field: str(junk)}))
        pipe.hset(keys.workers, "junk", junk)
        pipe.set(keys.clears(SOURCE), junk)
        pipe.set(keys.entry(f"{SOURCE}:AAPL:24"), junk)
    check_all_shows(cli, server, settings)


@pytest.mark.parametrize("kind", ["string", "list", "hash"])
def test_a_key_of_another_type_ends_nothing(
    cli: Cli, server: Server, settings: Settings, store: Store, kind: str
) -> None:
    """Some other program's key of the same name, or one of a version to come."""
    with told(store) as pipe:
        for name in names(store):
            if kind == "string":
                pipe.set(name, "junk")
            elif kind == "list":
                pipe.rpush(name, "junk")
            else:
                pipe.hset(name, "junk", "junk")
    check_all_shows(cli, server, settings)


def test_what_is_damaged_beside_what_is_sound_does_not_hide_it(
    cli: Cli, server: Server, store: Store
) -> None:
    """A reason of another type looked like a Redis that is away."""
    keys, now_us = store.keys, int(utc_now().timestamp() * 1e6)
    minute = now_us // 60_000_000
    with told(store) as pipe:
        pipe.zadd(keys.queue(SOURCE, "dead"), {"job": now_us})
        pipe.set(keys.queue(SOURCE, "reasons"), "junk")
        pipe.zadd(keys.names, {"sound": now_us, "da{maged}": now_us, ESCAPES: now_us})
        pipe.hset(
            keys.minutes(SOURCE), mapping={"banana": "x", str(minute - 3): ESCAPES, str(minute - 2): "1 go="}
        )
        pipe.hset(keys.usage(SOURCE, utc_now()), "w:error.auth", 3)
    status = cli("status", REDIS_URL=server.url, TBCACHE_REDIS_TIMEOUT="10").data
    assert status["server"]["is_available"] is True
    assert [one["name"] for one in status["sources"]][-1] == "sound"


def beat(**changes: Any) -> str:
    now = utc_now().isoformat()
    fields = {"role": "worker", "pid": 1, "host": "h", "threads": 2, "busy": 1, "doing": [], "layout": LAYOUT}
    return json.dumps({**fields, "started_at": now, "beat_at": now, **changes})


def test_a_heartbeat_without_a_time_zone_or_of_a_far_date_is_none(
    cli: Cli, server: Server, store: Store
) -> None:
    """It would end the comparison with our time, or count as alive for ever."""
    far = (utc_now() + timedelta(days=800)).isoformat()
    beats = {
        "naive": beat(beat_at="2026-01-01T00:00:00"),
        "far": beat(beat_at=far),
        "first": beat(beat_at="0001-01-01T00:00:00+14:00"),
        "last": beat(beat_at="9999-12-31T23:59:59-14:00"),
        "negative": beat(threads=-1),
        "endless": beat(busy=10**40),
        "sound": beat(),
    }
    with told(store) as pipe:
        pipe.hset(store.keys.workers, mapping=beats)
    workers = cli("status", REDIS_URL=server.url).data["workers"]
    assert [worker["name"] for worker in workers] == ["sound"]


def test_what_processes_say_of_themselves_is_shown_without_its_escapes(
    cli: Cli, server: Server, settings: Settings, store: Store
) -> None:
    """A name that clears the screen could show a fleet that is well."""
    with told(store) as pipe:
        lie = beat(role="worker" + ESCAPES, host=ESCAPES, doing=[ESCAPES, "[bold]x[/nothing]"] * 500)
        pipe.hset(store.keys.workers, f"w{ESCAPES}", lie)
        until = int((utc_now() + timedelta(minutes=5)).timestamp() * 1e6)
        reason = f"[/red]{ESCAPES}" + "x" * 5000
        pipe.hset(store.keys.state(SOURCE), mapping={"closed_until": until, "closed_reason": reason})
    check_all_shows(cli, server, settings)
    page = cli("status", is_terminal=True, REDIS_URL=server.url, COLUMNS="200").out
    assert "[bold]x[/nothing]" in page
    assert "w?]0;owned??[2J?2J?k fake" in page
    assert "x" * 300 not in page


def test_text_is_shown_in_one_bounded_line() -> None:
    """One rule for all that came from elsewhere."""
    assert printable("plain, with ümläuts and 日本") == "plain, with ümläuts and 日本"
    assert printable(f"a\n\tb{ESCAPES}") == "a b?]0;owned??[2J?2J?k fake"
    assert printable(b"\xffx") == "\ufffdx"
    assert printable("x" * 99, 10) == "xxxxxxx..."


def test_json_stays_json_when_what_commands_a_terminal_is_escaped() -> None:
    """`--json` goes to terminals, too."""
    data = {"a": ESCAPES, "b": "\U000e0001 日本"}
    text = escaped(json.dumps(data, ensure_ascii=False, indent=2))
    assert json.loads(text) == data
    check_text(text)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"12", 12),
        ("12", 12),
        (12, 12),
        (-1, None),
        ("1_0", None),
        ("٣", None),
        ("9" * 18, None),
        (True, None),
    ],
)
def test_a_number_is_digits_within_bounds(value: object, found: int | None) -> None:
    """`int()` reads more than anything of ours writes."""
    assert whole_number(value) == found


def test_a_moment_is_one_that_the_calendar_has() -> None:
    """Python's own dates end in 9999, with an error."""
    assert moment("253402300800000000") is None
    assert moment("banana") is None
    assert moment(b"0") is not None


def test_an_upstreams_words_on_stderr_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A message with a line feed could pass for one of ours."""
    say(f"twitter: {ESCAPES}\ntbcache: all is well")
    assert (
        capsys.readouterr().err == "tbcache: twitter: ?]0;owned??[2J?2J?k\n  fake\n  tbcache: all is well\n"
    )
