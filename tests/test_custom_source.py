"""A source of one's own: the class of docs/source.md, against a server that speaks HTTP."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tbcache import (
    ConfigurationError,
    InvalidRequest,
    RateLimited,
    TbcacheWarning,
    get_provider,
    get_rate_limiter,
    get_usage_monitor,
)
from tbcache.io import utc_now
from tbcache.models import Limit
from tbcache.models.error import UpstreamPayloadError, UpstreamThrottled, UpstreamUnavailable
from tbcache.providers.conformance import check
from tbcache.providers.recording import read_folder
from tbcache.providers.registry import _class_of
from tbcache.providers.tape import Plan, make
from tbcache.settings import Settings, get_source, get_sources
from tbcache.settings.source import _resolve
from tests import conftest, readme
from tests.server import Server

NAME = "mybot/sources.py"
ENTRY = "bluesky=mybot.sources:Bluesky"

# A class is read once per process; each test writes its own.
conftest.SINGLETONS.append(_resolve)


@dataclass
class Bluesky:
    """A small api.bsky.app: pages of posts, or whatever else it is told to answer."""

    url: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    status: int = 200
    body: Any = None
    extra: dict[str, str] = field(default_factory=dict)

    def answer(self, params: dict[str, str]) -> Any:
        if self.body is not None:
            return self.body
        start = int(params.get("cursor", "0"))
        posts = [_post(start + number) for number in range(3)]
        return {"posts": posts, **({"cursor": str(start + 3)} if start < 3 else {})}


def _post(number: int) -> dict[str, Any]:
    return {
        "uri": f"at://{number}",
        "author": {"handle": f"trader{number}.example"},
        "record": {"text": "to the moon, great earnings" if number % 2 else "terrible guidance, selling"},
        "indexedAt": (utc_now() - timedelta(minutes=number)).isoformat(),
    }


@pytest.fixture
def upstream() -> Iterator[Bluesky]:
    fake = Bluesky()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            params = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            fake.asked.append({"path": urlsplit(self.path).path, **params})
            fake.headers.append(dict(self.headers))
            answer = fake.answer(params)
            self.send_response(fake.status)
            for name, value in fake.extra.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        fake.url = f"http://127.0.0.1:{server.server_port}"
        yield fake
        server.shutdown()
        thread.join()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Writes mybot/sources.py where it is found; its first text is the page's."""

    def forget() -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "mybot"]:
            del sys.modules[name]

    def write(text: str) -> None:
        path = tmp_path / NAME
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        forget()

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    write(readme.files()[NAME])
    yield write
    forget()


@pytest.fixture
def bluesky(
    module: Callable[[str], None], upstream: Bluesky, server: Server, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], None]:
    """The environment of a bot with one source of its own; gives ``module``."""
    monkeypatch.setenv("REDIS_URL", server.url)
    # On a busy machine a slow answer of Redis is no outage.
    monkeypatch.setenv("TBCACHE_REDIS_TIMEOUT", "10")
    monkeypatch.setenv("TBCACHE_SOURCES", ENTRY)
    monkeypatch.setenv("TBCACHE_BLUESKY__BASE_URL", upstream.url)
    monkeypatch.setenv("TBCACHE_BLUESKY__LIMITS", "5/1m,100/1d")
    monkeypatch.setenv("TBCACHE_PERSIST", "false")
    return module


def with_defaults(**defaults: Any) -> str:
    """The page's module with further defaults in its class."""
    given = ", ".join(f"{name!r}: {value!r}" for name, value in defaults.items())
    return readme.files()[NAME].replace('"max_hours": 72}', f'"max_hours": 72, {given}}}')


# The page's class


def test_the_class_of_the_readme_is_about_20_lines() -> None:
    """It is the promise: one class of about 20 lines."""
    text = readme.files()[NAME]
    lines = [line for line in text[text.index("class ") :].splitlines() if line.strip()]
    assert len(lines) <= 24


def test_it_fetches_pages_scores_and_caches(bluesky: object, upstream: Bluesky) -> None:
    """The whole pipeline, by two methods of the user's."""
    provider = get_provider("bluesky")
    live = provider.fetch("AAPL", hours=2)
    assert (live.origin, live.complete) == ("live", True)
    assert (live.sentiment.count, live.sentiment.bullish, live.sentiment.bearish) == (6, 3, 3)
    assert [one.get("cursor") for one in upstream.asked] == [None, "3"]
    assert upstream.asked[0]["path"] == "/xrpc/app.bsky.feed.searchPosts"
    assert upstream.asked[0]["q"] == "$AAPL"

    again = provider.fetch("AAPL", hours=2)
    assert (again.origin, again.sentiment) == ("cache", live.sentiment)
    assert len(upstream.asked) == 2
    assert get_usage_monitor().get_source_metrics("bluesky").hits_today == 1


def test_a_refresh_asks_for_what_is_new_alone(bluesky: object, upstream: Bluesky) -> None:
    """The moment to ask from is an argument: whoever counts hours back buys the day again each time."""
    provider = get_provider("bluesky")
    first, again = (
        provider.fetch("AAPL", hours=2),
        provider.run(provider.source.request("AAPL", 2), needed=1e9),
    )
    assert (first.sentiment.count, again.sentiment.count) == (6, 6)
    asked = [datetime.fromisoformat(one["since"]) for one in upstream.asked if "cursor" not in one]
    assert asked[1] - asked[0] > timedelta(hours=1, minutes=50)


def test_the_class_of_the_readme_keeps_every_rule(bluesky: object, upstream: Bluesky, tmp_path: Path) -> None:
    """What people copy is what the check is content with."""
    provider = get_provider("bluesky")
    make(Plan(provider, provider.source.request("AAPL", 2), 2, tmp_path), 30.0)
    report = check(provider, read_folder(tmp_path, "bluesky"))
    assert (report.findings, report.pages) == ((), 3)
    assert len(upstream.asked) == 3


def test_a_class_of_the_old_form_is_told_what_its_argument_is_now(module: Callable[[str], None]) -> None:
    """What it takes for the present moment is the one to ask from."""
    module(readme.files()[NAME].replace("since: datetime", "now: datetime"))
    with pytest.warns(TbcacheWarning, match=r"given the moment to ask from.*fetch, cursor, since"):
        _class_of("bluesky", "mybot.sources:Bluesky")


def test_the_limits_of_its_settings_entry_hold(bluesky: object, upstream: Bluesky) -> None:
    """The environment goes before what the class says; each page spends a slot."""
    provider = get_provider("bluesky")
    assert provider.source.limits == (Limit(5, 60), Limit(100, 86400))
    provider.fetch("AAPL")
    provider.fetch("MSFT")
    assert get_rate_limiter("bluesky").get_status().used == 4
    third = provider.fetch("TSLA", patience=0)
    assert (third.complete, third.sentiment.reason) == (False, "rate_limit")
    assert len(upstream.asked) == 5
    with pytest.raises(RateLimited):
        provider.fetch("AMD", patience=0)


def test_what_the_class_says_is_the_default(module: Callable[[str], None]) -> None:
    """Without a variable the source is as its class has it."""
    module(with_defaults(credentials=["api_key"], cache_ttl=60.0, recheck_seconds=600.0))
    source = get_source("bluesky", Settings.load({"TBCACHE_SOURCES": ENTRY}))
    assert source.base_url == "https://api.bsky.app"
    assert source.limits == (Limit(30, 60),)
    assert (source.max_hours, source.cache_ttl, source.recheck_seconds) == (72, 60.0, 600.0)
    with pytest.raises(InvalidRequest, match="73 is more than bluesky can answer"):
        source.request("AAPL", 73)
    assert source.missing == ("TBCACHE_BLUESKY__API_KEY",)
    hash(source)


def test_credentials_turn_it_on_and_sign_its_requests(
    bluesky: Callable[[str], None], upstream: Bluesky, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that needs a key is off without it, and says which variable is missing."""
    text = with_defaults(credentials=("api_key",))
    auth = (
        "    def auth(self):\n"
        "        from tbcache.providers import HeaderAuth\n"
        '        key = "TBCACHE_BLUESKY__API_KEY"\n'
        '        return HeaderAuth.of(key, self.settings.api_key, "Authorization", "Bearer")\n'
        "\n    def parse("
    )
    bluesky(text.replace("    def parse(", auth))
    monkeypatch.setenv("TBCACHE_BLUESKY__API_KEY", "s3cret")
    get_provider("bluesky").fetch("AAPL")
    assert upstream.headers[0]["Authorization"] == "Bearer s3cret"

    monkeypatch.delenv("TBCACHE_BLUESKY__API_KEY")
    conftest._forget_singletons()
    with pytest.raises(ConfigurationError, match=r"^bluesky is off: set TBCACHE_BLUESKY__API_KEY$"):
        get_provider("bluesky").fetch("AAPL")


# What its upstream may answer


@pytest.mark.parametrize(
    ("status", "body", "headers", "error"),
    [
        (429, {"error": "RateLimitExceeded"}, {"Retry-After": "90"}, UpstreamThrottled),
        (503, b"", {}, UpstreamUnavailable),
        (200, b"<html>", {}, UpstreamPayloadError),
        (200, {"items": []}, {}, UpstreamPayloadError),
        (200, {"posts": [{"uri": "at://1"}]}, {}, UpstreamPayloadError),
        (200, {"posts": None}, {}, UpstreamPayloadError),
    ],
)
def test_a_refusal_or_a_surprise_is_an_upstream_error(
    bluesky: object,
    upstream: Bluesky,
    status: int,
    body: object,
    headers: dict[str, str],
    error: type[Exception],
) -> None:
    """A parser written in ten minutes must not crash a worker when the upstream changes."""
    upstream.status, upstream.body, upstream.extra = status, body, headers
    provider = get_provider("bluesky")
    with pytest.raises(error, match=r"^bluesky: "):
        provider.fetch("AAPL", patience=0)
    assert provider.get_sentiment("AAPL") is None
    assert len(upstream.asked) == 1


# What its settings entry may be


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("bluesky=mybot.source:Bluesky", "cannot be imported (No module named 'mybot.source')"),
        (
            "bluesky=mybot.sources:Blusky",
            "cannot be imported (module 'mybot.sources' has no attribute 'Blusky'); did you mean 'Bluesky'?",
        ),
        ("bluesky=mybot.sources:item", "is no class"),
        (
            "bluesky=mybot.sources:datetime",
            "is no tbcache.Provider: it lacks request(fetch, cursor, since) and parse(response)",
        ),
        ("bluesky=tbcache:Provider", "is no tbcache.Provider: it lacks request("),
    ],
)
def test_an_entry_that_cannot_be_used_is_named(
    bluesky: object, monkeypatch: pytest.MonkeyPatch, entry: str, message: str
) -> None:
    """One line says which entry, and what is wrong with it: also where no provider is made."""
    monkeypatch.setenv("TBCACHE_SOURCES", entry)
    for use in (get_provider, lambda _: get_sources(Settings.load(os.environ))):
        with pytest.raises(ConfigurationError) as caught:
            use("bluesky")
        assert str(caught.value).startswith(f"TBCACHE_SOURCES: {entry} {message}")


@pytest.mark.parametrize("entry", ["bluesky", "bluesky=mybot", "b__s=mybot.sources:Bluesky", "2=a:b"])
def test_a_malformed_entry_is_refused(entry: str) -> None:
    """A name with two underscores could have no variables of its own."""
    with pytest.raises(ConfigurationError, match=r"^TBCACHE_SOURCES='.*' is not valid: .*NAME=MODULE:CLASS"):
        Settings.load({"TBCACHE_SOURCES": entry})


@pytest.mark.parametrize(
    ("defaults", "message"),
    [
        ({"limit": "30/1m"}, "has a default that no source has: 'limit'; did you mean 'limits'?"),
        ({"credentials": ("apikey",)}, "'apikey'; did you mean 'api_key'?"),
        ({"limits": "30/1x"}, "limit '30/1x' has an unknown unit 'x'"),
        ({"limits": 30}, "has the default limits=30, which is not valid: it should be like '300/15m"),
        ({"limits": ()}, "has the default limits=(), which is not valid: it should be like"),
        (
            {"base_url": "api.bsky.app"},
            "base_url='api.bsky.app', which is not valid: it should be https://HOST",
        ),
        ({"cache_ttl": -1}, "cache_ttl=-1, which is not valid: it should be greater than 0"),
        ({"pages": 0}, "pages=0, which is not valid: it should be at least 1"),
        ({"max_hours": "many"}, "max_hours='many', which is not valid: it should be a"),
        ({"charge": "post"}, "charge='post', which is not valid: it should be 'fetch' or 'request'"),
        ({"price": 0.01}, "price=0.01, which is not valid: it should be a tbcache.models.Price"),
        (
            {"credentials": "api_key"},
            "credentials='api_key', which is not valid: it should be like ('api_key',)",
        ),
    ],
)
def test_a_wrong_default_is_named(
    module: Callable[[str], None], defaults: dict[str, Any], message: str
) -> None:
    """Found when the settings are read, not at the first job."""
    module(with_defaults(**defaults))
    with pytest.raises((ConfigurationError, InvalidRequest)) as caught:
        get_sources(Settings.load({"TBCACHE_SOURCES": ENTRY}))
    assert message in str(caught.value)


@pytest.mark.parametrize("figure", ["-1", "float('nan')", "'free'"])
def test_a_price_that_is_none_is_refused(module: Callable[[str], None], figure: str) -> None:
    """Money that comes back would make good what others have spent."""
    text = with_defaults(price="PRICE").replace("'PRICE'", f"Price(per_item={figure})")
    module(text.replace("class Bluesky", "from tbcache.models.price import Price\n\nclass Bluesky"))
    with pytest.raises(ConfigurationError, match="its figures should be numbers of at least 0"):
        get_sources(Settings.load({"TBCACHE_SOURCES": ENTRY}))


def test_defaults_that_are_no_mapping_are_refused(module: Callable[[str], None]) -> None:
    """One clear line, and no traceback of ours."""
    module("class Bluesky:\n    request = parse = print\n    defaults = [('pages', 1)]\n")
    with pytest.raises(ConfigurationError, match="has defaults that are no mapping"):
        get_sources(Settings.load({"TBCACHE_SOURCES": ENTRY}))


def test_a_built_in_name_replaces_that_sources_class(module: Callable[[str], None]) -> None:
    """A dialect we do not speak, on limits and variables that are there already."""
    module(
        "from tbcache.providers.stocktwits import StocktwitsProvider\nclass Mine(StocktwitsProvider): ...\n"
    )
    settings = Settings.load(
        {"TBCACHE_SOURCES": "stocktwits=mybot.sources:Mine", "TBCACHE_STOCKTWITS__CACHE_TTL": "60"}
    )
    source = get_source("stocktwits", settings)
    assert (source.provider, source.cache_ttl) == ("mybot.sources:Mine", 60.0)
    assert source.base_url == "https://api.stocktwits.com"


# From outside


def test_the_command_line_finds_it_in_the_working_folder(
    bluesky: object, upstream: Bluesky, tmp_path: Path
) -> None:
    """`tbcache fetch bluesky AAPL` and `tbcache limits` know it as they know the others."""

    commands = [["fetch", "bluesky", "AAPL"], ["limits"]]
    code = (
        "from tbcache.cli.app import app; from tbcache.cli.error import run\n"
        f"for args in {commands!r}: assert run(app, args) == 0; print(',')"
    )
    # The console script has no working folder on its path.
    command, env = [sys.executable, "-P", "-c", code], {**os.environ, "PYTHONPATH": str(readme.ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    fetched, listed = json.loads(f"[{done.stdout.strip().rstrip(',')}]")
    assert fetched["sentiment"]["count"] == 6
    limits = listed["sources"]["bluesky"]["limits"]
    assert [(one["limit"], one["used"]) for one in limits] == [("5/1m", 2), ("100/1d", 2)]
