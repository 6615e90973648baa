"""What a source answers, recorded without credentials, and each built-in source held against every rule."""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from tbcache import ConfigurationError, UpstreamAuthError, UpstreamUnavailable
from tbcache.cli.app import app
from tbcache.cli.error import run
from tbcache.embedded.simulator import DEMO_CREDENTIALS, create_app
from tbcache.embedded.simulator.replay import Replay
from tbcache.models import HttpRequest, Limit, RawResponse
from tbcache.providers import get_provider
from tbcache.providers.base import Provider
from tbcache.providers.client import HttpClient
from tbcache.providers.conformance import check
from tbcache.providers.mask import secrets_of
from tbcache.providers.recording import read_folder, written
from tbcache.providers.strip import Strip
from tbcache.providers.tape import Plan, make
from tbcache.settings import BUILT_IN
from tests import conftest
from tests.readme import ROOT

OWN = ROOT / "examples" / "own_source"
SECRET = "s3cret/value+of=ours"


@pytest.fixture(scope="module")
def upstream() -> Iterator[TestClient]:
    wide = dict.fromkeys(BUILT_IN, (Limit(100_000, 60),))
    with TestClient(create_app(latency=(0.0, 0.0), limits=wide, plans={"news": "paid"})) as client:
        yield client


@pytest.fixture
def provider_of(upstream: TestClient, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Provider]:
    """The provider of a source that asks the simulator, with the demo's credentials; no Redis is needed."""
    for name, value in DEMO_CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TBCACHE_PERSIST", "false")

    def answer(request: httpx2.Request) -> httpx2.Response:
        path = request.url.raw_path.decode()
        headers = {name: request.headers[name] for name in ("authorization", "x-api-key", "user-agent")
                   if name in request.headers}  # fmt: skip
        found = upstream.request(request.method, f"/{at}{path}", headers=headers, content=request.content)
        return httpx2.Response(found.status_code, headers=dict(found.headers), content=found.content)

    at = ""

    def build(name: str, path: str = "") -> Provider:
        nonlocal at
        at = path or name
        provider = get_provider(name)
        provider.__dict__["client"] = HttpClient(
            name,
            auth=provider.auth(),
            secrets=secrets_of(provider.settings),
            transport=httpx2.MockTransport(answer),
        )
        return provider

    return build


def planned(provider: Provider, out: Path, symbol: str = "GME", pages: int = 2) -> Plan:
    return Plan(provider, provider.source.request(symbol, 24), pages, out)


@pytest.mark.parametrize("source", BUILT_IN)
def test_a_built_in_source_keeps_every_rule(
    provider_of: Callable[..., Provider], tmp_path: Path, source: str
) -> None:
    """What is asked of a stranger's source is what ours do."""
    provider = provider_of(source)
    files = make(planned(provider, tmp_path), 10.0)
    assert [file.name for file in files] == [f"GME-{number}.json" for number in range(1, len(files) + 1)]
    text = b"".join(file.read_bytes() for file in files).decode()
    assert not [value for name, value in DEMO_CREDENTIALS.items() if "AGENT" not in name and value in text]
    report = check(provider, read_folder(tmp_path, source))
    assert [str(finding) for finding in report.wrong] == []
    assert report.items > 10
    assert report.recordings == report.pages == len(files) <= 3
    assert Replay.load(tmp_path).next_page(source, time.time()) is not None


def test_a_recording_is_admitted_and_billed_and_writes_over_nothing(
    provider_of: Callable[..., Provider], tmp_path: Path
) -> None:
    """It is a fetch like any other, and what was paid for once is not lost."""
    provider = provider_of("twitter")
    plan = planned(provider, tmp_path)
    assert str(plan) == "twitter: makes at most 3 requests, within 300/15m, which cost $1.50 at most"
    make(plan, 10.0)
    figures = provider.usage_monitor.get_source_metrics("twitter")
    assert provider.rate_limiter.get_status().used == len(list(tmp_path.glob("*/*"))) >= 2
    assert figures.cost_today > 0
    with pytest.raises(ConfigurationError, match=r"GME-1\.json is there already, and is not written over"):
        make(plan, 10.0)
    assert provider.usage_monitor.get_source_metrics("twitter").requests_today == figures.requests_today


def test_a_refusal_is_recorded_as_well(
    provider_of: Callable[..., Provider], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer that nobody has seen yet is the one that a parser is to be tested by."""
    monkeypatch.setenv("TBCACHE_TWITTER__BEARER_TOKEN", SECRET)
    with pytest.raises(UpstreamAuthError):
        make(planned(provider_of("twitter"), tmp_path), 10.0)
    (recording,) = read_folder(tmp_path, "twitter")
    assert (recording.response.status, recording.ids) == (401, None)


def test_no_recording_of_before_stands_in_for_one(
    provider_of: Callable[..., Provider], upstream: TestClient, tmp_path: Path
) -> None:
    """A command that ends well and has written nothing would be believed."""
    provider = provider_of("stocktwits")
    make(planned(provider, tmp_path / "first", pages=1), 10.0)
    upstream.post("/_faults", json={"stocktwits": {"outage": True}})
    try:
        with pytest.raises(UpstreamUnavailable):
            make(planned(provider, tmp_path / "second", pages=1), 10.0)
    finally:
        upstream.delete("/_faults")
    (recording,) = read_folder(tmp_path / "second", "stocktwits")
    assert recording.response.status >= 500


# What anybody may see


STRIP = Strip({"TBCACHE_X__API_KEY": SECRET})


def stripped(body: object, **headers: str) -> tuple[dict[str, str], str]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = STRIP.response(RawResponse(200, headers, raw), ["page-2"])
    return dict(found.headers), found.body.decode()


def test_only_headers_that_a_provider_reads_are_kept() -> None:
    """A session stands in a cookie, and an address in many another header."""
    kept, _ = stripped({}, **{"set-cookie": "session=1", "x-request-id": "7", "retry-after": "4",
                              "x-ratelimit-remaining": "3", "location": "/a?api_key=abc"})  # fmt: skip
    assert kept == {"retry-after": "4", "x-ratelimit-remaining": "3", "location": "/a?api_key=***"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"access_token": "abcdef", "id": 1}, {"access_token": "***", "id": 1}),
        (
            {"data": [{"sessionId": "abcdef", "author": "key"}]},
            {"data": [{"sessionId": "***", "author": "key"}]},
        ),
        ({"next_token": "page-2", "prev_token": "page-1"}, {"next_token": "page-2", "prev_token": "***"}),
        ({"next": "https://a.test/?page=2&apikey=abc"}, {"next": "https://a.test/?page=2&apikey=***"}),
        ({"text": f"you sent {SECRET}"}, {"text": "you sent ***"}),
        ({"text": "you sent s3cret%2Fvalue%2Bof%3Dours"}, {"text": "you sent ***"}),
        ({"text": "Authorization: Bearer abcdefgh"}, {"text": "Authorization: Bearer ***"}),
        ({"key": "AAPL", "author_id": "7"}, {"key": "AAPL", "author_id": "7"}),
    ],
)
def test_no_credential_is_in_a_recorded_body(body: object, expected: object) -> None:
    """A recording lies in a repository; a cursor that is called a token is needed, and is none."""
    assert json.loads(stripped(body)[1]) == expected


@pytest.mark.parametrize("before", ["", "u:", "me:"])
@pytest.mark.parametrize(
    "encode",
    [base64.b64encode, base64.urlsafe_b64encode, bytes.hex, bytes.upper, lambda text: text.hex().upper()],
)
def test_no_credential_is_in_a_recording_in_another_code(
    encode: Callable[[bytes], str | bytes], before: str
) -> None:
    """A debugging page shows what it was sent as base64; whoever reads the recording reads the key."""
    made = encode(f"{before}{SECRET}".encode())
    shown = made if isinstance(made, str) else made.decode()
    text = json.loads(stripped({"text": f"it was {shown}!"})[1])["text"]
    assert "***" in text
    assert len(text) <= len("it was !") + len("***") + 8


def test_what_is_no_json_is_stripped_as_text() -> None:
    """An error page quotes the request as well, and is recorded as the bytes that it is."""
    page = f"<p>{SECRET} at /x?token=abc&page=1 \xff</p>".encode("latin-1")
    raw = STRIP.response(RawResponse(502, {}, page), []).body
    assert raw == b"<p>*** at /x?token=***&page=1 \xff</p>"


def test_a_request_is_recorded_without_credentials() -> None:
    """Whoever signs by a parameter, or names a password in the address, gives neither away."""
    request = HttpRequest(
        "GET", "https://me:passw0rd@a.test/x?sig=abc", {"key": "abc", "next_token": "page-2"}, {"x": SECRET}
    )
    found = STRIP.request(request, ["page-2"])
    assert (found.url, found.headers) == ("https://a.test/x?sig=***", {})
    assert found.params == {"key": "***", "next_token": "page-2"}


def test_a_credential_that_cannot_be_told_from_text_stops_the_recording() -> None:
    """One of three letters stands in many words: nothing is written rather than that."""
    with pytest.raises(ConfigurationError, match=r"nothing was written: the value of TBCACHE_X__API_KEY"):
        Strip({"TBCACHE_X__API_KEY": "abc"}).check(b'{"text": "abcd"}')


# The example, and the commands


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The folder of the example's source, as a stranger stands in it."""
    monkeypatch.chdir(OWN)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("TBCACHE_SOURCES", "")
    monkeypatch.setenv("TBCACHE_POSTS__BEARER_TOKEN", DEMO_CREDENTIALS["TBCACHE_TWITTER__BEARER_TOKEN"])
    yield
    sys.modules.pop("posts", None)


@pytest.mark.usefixtures("own")
def test_the_examples_recordings_show_that_it_keeps_every_rule(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is what a stranger begins with, and needs neither Redis nor a key."""
    assert run(app, ["provider", "check", "posts:Posts"]) == 0
    assert os.environ["TBCACHE_SOURCES"] == "", "whatever is started next would have it"
    found = json.loads(capsys.readouterr().out)
    assert (found["recordings"], found["pages"], found["findings"]) == (3, 3, [])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run(app, ["provider", "check", "posts:Posts"]) == 0
    assert capsys.readouterr().out.startswith("posts: 17 of 17 rules kept, by 3 recordings: 3 pages, 2")
    text = (OWN / "posts.py").read_text()
    assert len(text[text.index("class ") :].splitlines()) <= 42


@pytest.mark.usefixtures("own")
def test_a_stranger_records_and_checks(
    provider_of: Callable[..., Provider], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """Two commands, and what is wrong is said with where, and what would be right."""
    monkeypatch.setenv("TBCACHE_SOURCES", "posts=posts:Posts")
    provider_of("posts", "twitter")
    record = ["record", "posts:Posts", "GME", "--pages", "1", "--out", str(tmp_path)]
    assert run(app, record) == 0
    said = capsys.readouterr()
    files = [f"{tmp_path}/posts/GME-{number}.json" for number in (1, 2)]
    assert json.loads(said.out) == {"source": "posts", "symbol": "GME", "files": files}
    assert said.err.splitlines()[0] == (
        "tbcache: posts: makes at most 2 requests, within 300/15m, which cost $0.10 at most"
    )
    assert run(app, record) == 2
    assert capsys.readouterr().err.endswith("remove it, or say another --out\n")

    first = tmp_path / "posts" / "GME-1.json"
    data = json.loads(first.read_text())
    first.write_text(
        json.dumps({**data, "body": {"data": data["body"]["data"] * 2, "meta": {}}, "ids": None})
    )
    assert run(app, ["provider", "check", "posts:Posts", "--recordings", str(tmp_path)]) == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    wrong = next(one for one in found if one["rule"] == "unique ids")
    assert wrong["what"].startswith("10 ids come more than once")
    assert wrong["recording"] == "GME-1.json"

    # A refusal alone shows nothing of pages.
    for file in (tmp_path / "posts").iterdir():
        file.write_text(json.dumps({**data, "status": 429, "body": {}, "ids": None}))
    capsys.readouterr()
    assert run(app, ["provider", "check", "posts:Posts", "--recordings", str(tmp_path)]) == 2
    assert "no page of posts is in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("posts:Posts", "has no recordings: make some by `tbcache record posts AAPL --out"),
        ("posts:Nobody", "cannot be imported (module 'posts' has no attribute 'Nobody'"),
        ("nowhere:Posts", "cannot be imported (No module named 'nowhere')"),
        ("twiter", "unknown source 'twiter'; did you mean 'twitter'?"),
        ("posts.Posts", "unknown source 'posts.Posts'; a class of your own is written posts:Posts"),
    ],
)
@pytest.mark.usefixtures("own")
def test_what_cannot_be_checked_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    """One line, and the exit code of a wrong command."""
    conftest._forget_singletons()
    assert run(app, ["provider", "check", text, "--recordings", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{", "[]", '{"body": {}}', '{"status": 7, "body": {}}', '{"status": 200}'])
def test_a_file_that_is_no_recording_is_named(tmp_path: Path, text: str) -> None:
    """One broken file among many has to be found."""
    (tmp_path / "posts").mkdir()
    (tmp_path / "posts" / "GME-1.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"GME-1\.json is no recording \("):
        read_folder(tmp_path, "posts")


def test_a_recording_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """Else a check would be of something else than what came."""
    for recording in read_folder(OWN / "recordings", "posts"):
        (tmp_path / "posts").mkdir(exist_ok=True)
        (tmp_path / "posts" / recording.name).write_bytes(written(recording))
    assert read_folder(tmp_path, "posts") == read_folder(OWN / "recordings", "posts")
