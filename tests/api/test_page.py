"""The operator's page: what it shows, who may see it, and what can be done on it."""

from __future__ import annotations

import hashlib
import html
import json
import re
import shlex
import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest import mock

import dramatiq
import msgspec
import pytest
from starlette.testclient import TestClient

from tbcache.api import session
from tbcache.api.page import code_word, svg
from tbcache.api.page.act import VERBS
from tbcache.api.page.form import local_path
from tbcache.api.page.render import STATIC
from tbcache.api.page.words import moment
from tbcache.cache import CacheManager
from tbcache.cli.app import load
from tbcache.io import utc_now
from tbcache.models import FetchRequest
from tbcache.models.caller import caller
from tbcache.monitoring import Heartbeat, UsageMonitor, Workload
from tbcache.queue import JobFilter, Queue
from tbcache.queue.broker import PacingBroker
from tbcache.rate_limiter import RateLimiter
from tbcache.settings import Settings, get_source
from tbcache.store import Store
from tbcache.store.lead import LEAD, Lead
from tests.browser.fleet import bury
from tests.kept import keep
from tests.server import Server, wait_until

SettingsFor = Callable[..., Settings]
ClientFor = Callable[..., TestClient]
TOKEN = "the token of the page's tests"
HERE = {"Origin": "http://localhost:8000"}
PAGES = (
    "/",
    "/jobs",
    "/changes",
    "/changes?hours=8",
    "/callers",
    "/audit",
    "/source/reddit",
    "/symbol/NVDA",
    "/symbol?symbol=nvda",
    "/login",
)


@pytest.fixture
def settings(server: Server, settings_for: SettingsFor) -> Settings:
    """Reddit is on."""
    return settings_for(server, TBCACHE_REDDIT__CLIENT_ID="id", TBCACHE_REDDIT__CLIENT_SECRET="secret")


def text_of(page: str) -> str:
    """What a reader sees, in one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_whole_without_script_and_loads_nothing_from_elsewhere(
    client: TestClient, path: str
) -> None:
    """A browser that runs no script, or has no way out, shows it all the same."""
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "script-src 'self'" in policy
    loaded = re.findall(r'<(?:script|link)[^>]*(?:src|href)="([^"]+)"', answer.text)
    assert [one for one in loaded if not one.startswith(("/static/", "data:,"))] == []
    assert not re.search(r"\son\w+=|style=|<script(?![^>]*src=)", answer.text)


def test_what_a_page_loads_is_small_and_never_changes_under_its_path(client: TestClient) -> None:
    """40 KB in all, and 8 KB of style: it opens at once over a phone's line."""
    page = client.get("/").text
    paths = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
    assert len(paths) == 4
    bodies = [client.get(path).content for path in paths]
    for path, body in zip(paths, bodies, strict=True):
        assert path.endswith(hashlib.sha256(body).hexdigest()[:12])
    sent = [client.get(path, headers={"Accept-Encoding": "gzip"}) for path in paths]
    assert (
        len(zlib.compress(page.encode(), 9)) + sum(int(one.headers["content-length"]) for one in sent)
        < 40_000
    )
    assert {one.headers["cache-control"] for one in sent} == {"public, max-age=31536000, immutable"}
    assert [one.content for one in sent] == bodies
    plain = client.get(paths[0], headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert client.get(paths[0].partition("?")[0]).headers["cache-control"] == "no-store"
    assert len((STATIC / "page.css").read_bytes()) < 8_000
    assert client.get("/static/../page.py").status_code == 404


def test_what_others_have_written_is_as_they_have_released_it() -> None:
    """Its licence lies beside it, and whoever changes a file must say so here."""
    known = json.loads((STATIC / "vendored.json").read_text())
    files = {one.name for one in STATIC.iterdir()} - {"page.css", "page.js", "vendored.json"}
    assert files == {name for package in known for name in package["files"]}
    for package in known:
        assert package["version"]
        assert package["licence"]
        for name, digest in package["files"].items():
            assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == digest, name


def test_the_first_page_shows_each_source_with_its_limit_and_its_queue(
    client: TestClient, store: Store, settings: Settings
) -> None:
    queue = Queue(store, settings)
    queue.enqueue(FetchRequest("reddit", "AAPL"))
    page = client.get("/").text
    row = text_of(page[page.index('id="source-reddit"') : page.index('id="source-news"')])
    assert "reddit" in row
    assert "60 in 1 min" in row
    seen = text_of(page)
    assert "no worker runs" in seen.lower() or "No process has been heard of." in seen


def test_a_demo_is_called_one(server: Server, settings_for: SettingsFor, client_for: ClientFor) -> None:
    """Nobody trades by what a simulator has made up, and nobody takes real figures for a simulator's."""
    words = "DEMO: the upstreams are simulated"
    for address, is_one in (("http://127.0.0.1:9", True), ("http://simulator.example:9", False)):
        client = client_for(settings_for(server, TBCACHE_STOCKTWITS__BASE_URL=address))
        assert (words in client.get("/").text) == is_one, address


def test_what_was_asked_over_time_is_drawn_with_its_figures(
    client: TestClient, monitor: UsageMonitor
) -> None:
    """A picture alone tells nobody a figure, and some readers nothing at all."""
    monitor.record_request("reddit", cost=1.25)
    monitor.record_request("reddit", success=False)
    assert monitor.flush()
    page = client.get("/").text
    rows = page[page.index('id="history"') :]
    row = rows[rows.index("/source/reddit") :].partition("</tr>")[0]
    assert "2 asks, 1 error" in text_of(row)
    # A fleet that has just begun has no whole quarter of an hour yet.
    assert re.search(r'aria-label="Asks in the last 24 hours: 2 asks[^>]*>[^p]*<path d="M23', row)
    assert re.search(r'aria-label="Cost today by the hour \(UTC\), \$1.25 in all: \d\d:00 \$1.25"', row)
    assert "options" not in text_of(rows[: rows.index("</section>")])
    hour = client.get("/source/reddit").text.partition("<tbody>")[2].partition("</tr>")[0]
    assert text_of(hour).split()[1:5] == ["2", "0%", "0", "1"]


def test_the_cost_of_today_is_that_of_the_day_where_not_all_its_hours_are_known(
    client: TestClient, monitor: UsageMonitor, store: Store
) -> None:
    """After an upgrade the minutes begin in the middle of a day: what was spent before is not left out."""
    key = store.keys.usage("reddit", store.clock.today)
    store.client.hset(key, "old:cost", 49_000_000)
    store.client.expire(key, 60)
    monitor.record_request("reddit", cost=1.25)
    assert monitor.flush()
    rest = ", $49.00 of it at hours that are not known"
    for path in ("/", "/source/reddit"):
        page = client.get(path).text
        assert f"$50.25{rest}" in text_of(page), path
        assert re.search(rf"by the hour \(UTC\), \$50.25 in all{re.escape(rest)}: \d\d:00 \$1.25", page), path


def test_a_minute_is_drawn_once_for_a_page_that_changes_each_second(
    client: TestClient, monitor: UsageMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The minutes of a day are half a megabyte of each source."""
    asked: list[str] = []
    marks = UsageMonitor.get_marks
    monkeypatch.setattr(
        UsageMonitor, "get_marks", lambda self, source: asked.append(source) or marks(self, source)
    )
    monkeypatch.setattr("tbcache.fleet.history.utc_now", lambda: datetime(2026, 3, 4, tzinfo=UTC))
    for _ in range(3):
        client.get("/")
        client.app.state.live.forget()  # type: ignore[attr-defined]
    assert len(asked) == len(set(asked))
    assert "reddit" in asked


def test_what_changed_in_the_last_hour_is_one_click_away(client: TestClient) -> None:
    """What somebody asks first who was called: it was well an hour ago."""
    assert "Nothing: no operator did anything" in text_of(client.get("/changes").text)
    assert '<a href="/changes">Changes</a>' in client.get("/").text
    assert client.post("/api/queue/reddit/pause", json={"why": "<b>dear</b>"}).status_code == 200
    page = client.get("/changes").text
    assert "operator reddit api: queue.pause reddit: <b>dear</b>" in text_of(page)
    assert "&lt;b&gt;dear" in page


def test_the_freshness_of_an_answer_is_told_in_words(client: TestClient, store: Store) -> None:
    """Colour alone would tell some readers nothing."""
    keep(store, "AAPL", 24)
    keep(store, "MSFT", 6)
    keep(store, "NVDA", 24, fresh=-1)
    page = client.get("/").text
    cells = dict(re.findall(r'title="(\w+): [^"]*">([^<]+)<', _row_of(page, "reddit")))
    assert (cells["AAPL"], cells["MSFT"], cells["NVDA"], cells["TSLA"]) == ("100%", "25%", "stale", "none")


def _row_of(page: str, source: str) -> str:
    return page[page.index(f'<a href="/source/{source}" tabindex="-1">') :].partition("</tr>")[0]


@pytest.mark.parametrize(
    ("name", "url", "words"),
    [
        ("o:NVDA270125P00480000-1", None, "NVDA 480 put 2027-01-25"),
        ("https://www.wire.example/2026/11/26/gme-soars?c", None, "wire.example/gme-soars"),
        ("t3_abc", "https://www.reddit.com/r/stocks/comments/1/post/", "reddit.com/r/stocks"),
        ("1795", "https://x.com/i/web/status/1795", "x.com"),
        ("t3_abc", f"https://wire.example/{'a' * 50}", "wire.example/aaaaaaaaaaaaaaaaaaa…"),
        ("NVDA271325P00480000", None, "NVDA271325P00480000"),
        ("1234567890123456789012345", "http://[", "12345678901234567890…"),
    ],
)
def test_an_item_is_named_in_a_few_words(name: str, url: str | None, words: str) -> None:
    """An address of two lines says less than who has published it."""
    assert code_word.item(name, url) == words


def test_a_symbols_page_shows_what_each_cache_has_and_fetches_nothing(
    client: TestClient, store: Store, monitor: UsageMonitor
) -> None:
    keep(store, "PLTR", 12)
    seen = text_of(client.get("/symbol/pltr").text)
    assert "PLTR" in seen
    assert "+0.25" in seen
    assert "12.0 of 24 hours" in seen
    assert "Nothing is kept." in seen
    # All hours are known, and nobody has written anything: that is no good answer.
    keep(store, "QUIET", 24, is_empty=True)
    quiet = _card_of(client, "QUIET")
    assert ("reddit empty" in quiet, "100%" in quiet) == (True, False)
    assert monitor.get_source_metrics("reddit").requests_today == 0


@pytest.mark.parametrize(
    ("path", "status"), [("/symbol/%3Cscript%3E", 422), ("/source/%3Cscript%3E", 404), ("/symbol", 422)]
)
def test_what_is_no_symbol_or_source_is_refused(client: TestClient, path: str, status: int) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_what_comes_from_outside_is_text_and_never_markup(
    client: TestClient, store: Store, settings: Settings
) -> None:
    """An upstream chooses its words, and so does whoever writes to Redis."""
    evil = "<script>alert(1)</script>"
    until = int((time.time() + 600) * 1e6)
    store.client.hset(
        store.keys.state("reddit"),
        mapping={"closed_until": until, "closed_reason": evil, "closed_at": until - 700_000_000},
    )
    store.client.expire(store.keys.state("reddit"), 60)
    for path in ("/", "/source/reddit", f"/jobs?error={evil}"):
        page = client.get(path).text
        assert "<script>alert" not in page
        assert html.escape(evil) in page or "&lt;script&gt;" in page


def test_a_browser_is_told_what_is_wrong_as_a_page_and_a_program_as_an_object(client: TestClient) -> None:
    """Whoever has mistyped a symbol is led back."""
    asked = {"Accept": "text/html,*/*"}
    for path, status in (("/symbol/%3Cb%3E", 422), ("/source/nobody", 404), ("/nowhere", 404)):
        answer = client.get(path, headers=asked)
        assert (answer.status_code, answer.headers["content-type"][:9]) == (status, "text/html")
        assert "To the first page" in text_of(answer.text)
        assert "<b>" not in answer.text
    assert "did you mean" in text_of(client.get("/source/redit", headers=asked).text)
    assert client.get("/api/nowhere", headers=asked).headers["content-type"] == "application/problem+json"


def test_who_is_there_who_leads_and_who_is_gone_since_when(
    client: TestClient, store: Store, monitor: UsageMonitor, settings: Settings
) -> None:
    """A fleet whose scheduler is gone looks well for an hour."""
    now = utc_now()
    monitor.worker = "scheduler-1"
    monitor.beat("scheduler", started_at=now, workload=Workload(fires={"pre-warm": now.replace(hour=3)}))
    store.run(LEAD, Lead(store.keys.schedule("leader"), "scheduler-1", 60_000))
    gone = Heartbeat("worker", 7, "far", 8, 2, ("AAPL",), now, now - timedelta(seconds=90), "0.1.0")
    store.client.hset(store.keys.workers, "worker-7", msgspec.json.encode(gone))
    Queue(store, settings).enqueue(FetchRequest("reddit", "GME"), "prewarm", delay_seconds=60)
    page = client.get("/processes").text
    rows = [text_of(row) for row in page.split("<tr>")]
    leader, lost = (next(row for row in rows if name in row) for name in ("scheduler-1", "worker-7"))
    assert "scheduler, leads there" in leader
    assert f"pre-warm at {moment(now.replace(hour=3), now)}" in leader
    assert re.search(r" [1-9]\d* MB 0", leader)
    assert f"worker gone since {moment(gone.beat_at, now)} 2 of 8 — 0.1.0 far, 7" in lost
    assert next(row for row in rows if "GME" in row).endswith("reddit GME prewarm 0")


def test_a_queue_of_a_users_own_is_listed_when_it_is_paused_and_when_no_worker_takes_its_jobs(
    client: TestClient, store: Store, settings: Settings, monitor: UsageMonitor
) -> None:
    """What nobody sees is forgotten: it waits for ever."""
    broker = PacingBroker(store, settings, [])
    actor: Any = dramatiq.actor(lambda: None, actor_name="report", queue_name="reports", broker=broker)
    actor.send()
    monitor.beat("worker", started_at=utc_now(), workload=Workload(threads=4, pace={"default": 0.1}))
    assert "the queue reports: 1 queued, and no worker takes them" in text_of(client.get("/").text)
    row = text_of(_queue_row(client, "reports"))
    assert "reports no worker 1 0 0 0 — 0 Pause Drain" in row
    act(client, "pause", source="reports", why="wrong figures", sure="yes")
    page = client.get("/").text
    assert "the queue reports is paused by page@127.0.0.1: wrong figures" in text_of(page)
    assert re.search('action="/act/resume">.*name="source" value="reports"', page)
    assert '<a href="/jobs?source=reports">jobs of reports</a>' in page
    assert "paused by page@127.0.0.1: wrong figures" in text_of(_queue_row(client, "reports"))
    act(client, "resume", source="reports", sure="yes")
    monitor.beat("worker", started_at=utc_now(), workload=Workload(threads=4, pace={"reports": 0.1}))
    assert "reports 1 0 0 0 — 0 Pause Drain" in text_of(_queue_row(client, "reports"))


def _queue_row(client: TestClient, name: str, asked: str = "") -> str:
    page = client.get(f"/jobs{asked}").text
    return page[page.index(f'<tr id="queue-{name}"') :].partition("</tr>")[0]


def test_without_redis_the_page_says_so_and_disables_what_it_cannot_do(
    settings_for: SettingsFor, private_server: Server, client_for: ClientFor
) -> None:
    client = client_for(settings_for(private_server))
    private_server.kill()
    seen = text_of(client.get("/").text)
    assert "is away" in seen
    page = client.get("/source/reddit").text
    buttons = re.findall(r"<button([^>]*)>(?!Show)", page)
    assert buttons
    assert all("disabled" in one for one in buttons)
    # What is not known is no zero, and not "none": the workers go on, and may have spent all of the budget.
    for path in ("/", "/source/reddit", "/symbol/NVDA", "/jobs", "/callers", "/processes", "/audit"):
        answer = client.get(path)
        seen = text_of(answer.text)
        assert answer.status_code == 200, path
        assert "nothing is known" in seen.partition("as of")[2] or path == "/source/reddit", path
        head = answer.text.partition('id="head"')[2].partition("</div>")[0]
        assert not re.search(r"\d workers|\$|\d asks", text_of(head)), path
        assert "0 asks" not in seen, path
        assert not re.search(
            r"None\.|Nobody has done|Nothing is (put off|kept)|No process has been|nothing is kept warm", seen
        ), path


def test_who_asks_how_much_is_shown_with_what_it_cost(
    client: TestClient, store: Store, monitor: UsageMonitor
) -> None:
    """Whoever spent the budget is asked to spend less."""
    for name, micros in (("desk/a", 250_000), ("desk/b", 0), ("bot", 500_000)):
        with caller(name):
            monitor.callers.record("reddit", "live")
            monitor.callers.record("reddit", "cache")
            monitor.callers.record("reddit", "prewarm")
            monitor.callers.pay("reddit", name, micros)
    monitor.popularity.record("reddit:GME:24")
    monitor.popularity.flush()
    monitor.symbol_costs.pay("reddit", ("GME",), 400_000)
    monitor.symbol_costs.flush()
    monitor.callers.flush()
    monitor.record_request("reddit", cost=0.7)
    monitor.flush()
    seen = text_of(client.get("/callers").text)
    # Who has spent most comes first; below `desk` are several.
    assert "bot 2 1 0 1 0 1 $0.50 reddit 2 ($0.50) — its jobs Set weight desk 4 2 0 2 0 2 $0.25" in seen
    assert "reddit $0.70 — 0 1 bot $0.50, desk $0.25 GME $0.40 GME 1" in seen


def test_the_budget_of_a_source_that_is_off_is_nobodys(
    settings_for: SettingsFor, server: Server, client_for: ClientFor
) -> None:
    """The day's budget would look larger than it is."""
    budgets = {"TBCACHE_TWITTER__DAILY_BUDGET": "25", "TBCACHE_REDDIT__DAILY_BUDGET": "3"}
    on = {"TBCACHE_REDDIT__CLIENT_ID": "id", "TBCACHE_REDDIT__CLIENT_SECRET": "secret"}
    client = client_for(settings_for(server, **budgets, **on))
    assert "Cost today $0.00 of $3.00" in text_of(client.get("/").text)


# Who may see it


def test_a_stranger_logs_in_once_and_is_let_in_until_the_session_ends(
    settings_for: SettingsFor, server: Server, client_for: ClientFor
) -> None:
    client = client_for(settings_for(server, TBCACHE_API_TOKEN=TOKEN), address="10.0.0.9")
    sent = client.get("/source/reddit", headers={"Accept": "text/html"}, follow_redirects=False)
    assert (sent.status_code, sent.headers["location"]) == (303, "/login?back=%2Fsource%2Freddit")
    assert "Log in" in client.get(sent.headers["location"]).text
    assert client.get("/source/reddit").status_code == 401
    wrong = client.post("/login", data={"token": "x", "back": "/"})
    assert (wrong.status_code, "not the token" in wrong.text) == (401, True)

    began = time.time()
    let_in = client.post("/login", data={"token": TOKEN, "back": "/source/reddit"}, follow_redirects=False)
    assert (let_in.status_code, let_in.headers["location"]) == (303, "/source/reddit")
    cookie = let_in.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert f"max-age={session.SECONDS}" in cookie
    assert TOKEN not in let_in.headers["set-cookie"]
    assert client.get("/source/reddit").status_code == 200

    # Sent by hand: a browser forgets it by itself then, and whoever has copied it does not.
    kept = {"Cookie": let_in.headers["set-cookie"].partition(";")[0]}
    later = time.time() + session.SECONDS + 1
    # Of the session alone: what else runs in this process would take the servers' clocks for wrong.
    with mock.patch.object(session, "time", SimpleNamespace(time=lambda: later)):
        assert client.get("/source/reddit", headers=kept).status_code == 401
    # A page that is open stands still from then on, and says why.
    with mock.patch.object(session, "time", SimpleNamespace(time=lambda: began + session.SECONDS - 1)):
        assert "the session has ended" in client.get("/live/head", headers=kept).text
    client.cookies.clear()
    assert client.get("/source/reddit", headers=kept).status_code == 200
    # Each page has the way in and out, and the way back.
    assert '<a href="/login">Log in or out</a>' in client.get("/jobs?symbol=GME", headers=kept).text
    out = client.get("/login", headers={"Referer": "http://localhost:8000/jobs?symbol=GME", **kept}).text
    assert 'You are logged in, to look and to act: <a href="/jobs?symbol=GME">' in out
    assert '<form method="post" action="/logout">' in out
    assert 'name="back" value="/"' in client.get("/login", headers={"Referer": "http://evil/jobs"}).text
    client.post("/logout")
    assert "/logout" not in client.get("/login").text
    assert client.get("/source/reddit").status_code == 401


@pytest.mark.parametrize(
    "value", ["", "1", "9999999999.", "9999999999.abc", "99999999999999.x", "-1.x", "²³.x", "ü.ü"]
)
def test_a_cookie_that_is_not_ours_opens_nothing(
    settings_for: SettingsFor, server: Server, client_for: ClientFor, value: str
) -> None:
    client = client_for(settings_for(server, TBCACHE_API_TOKEN=TOKEN), address="10.0.0.9")
    cookie = f"{session.COOKIE}={value}".encode()
    assert client.get("/", headers={b"Cookie": cookie}).status_code == 401


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/a?b=c", "/a?b=c"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://e.example", "/"),
        ("", "/"),
    ],
)
def test_one_is_led_back_to_this_site_alone(path: str, found: str) -> None:
    assert local_path(path) == found


# What can be done


def act(client: TestClient, verb: str, *, headers: Any = None, **fields: str) -> Any:
    return client.post(
        f"/act/{verb}", data={"back": "/", **fields}, headers=HERE if headers is None else headers
    )


def test_nothing_is_done_before_somebody_says_that_he_is_sure(
    client: TestClient, store: Store, settings: Settings
) -> None:
    """The question says how much it would change."""
    cache = CacheManager(store)
    for number in range(3):
        cache.set(f"news:{number}", number)
    cache.set("reddit:1", 1)
    form = act(client, "clear", pattern="news:*", back="/source/news").text
    asked = text_of(form)
    assert "Remove the 3 cached values that match news:*?" in asked
    assert "tbcache cache clear 'news:*'" in asked
    assert cache.get("news:1") == 1
    # A clear is of all up to now: what is being fetched is not kept either.
    cache.set("news:late", 1)
    fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', form))
    done = act(client, "clear", **fields)
    assert "4 cached values are removed; 1 of them had come since you were asked." in text_of(done.text)
    assert 'href="/source/news"' in done.text
    assert (cache.get("news:1"), cache.get("reddit:1")) == (None, 1)


def test_a_closed_source_is_reopened(client: TestClient, store: Store) -> None:
    until = int((time.time() + 600) * 1e6)
    store.client.hset(
        store.keys.state("reddit"), mapping={"closed_until": until, "closed_reason": "HTTP 429"}
    )
    store.client.expire(store.keys.state("reddit"), 60)
    page = client.get("/source/reddit").text
    assert re.search(r"<button>Reopen", page)
    assert "HTTP 429" in page
    # So is one that is paused as well, whose state is that.
    act(client, "pause", source="reddit", sure="yes")
    assert re.search(r"<button>Reopen", client.get("/source/reddit").text)
    act(client, "reopen", source="reddit", sure="yes")
    assert client.get("/api/monitoring/status").json()["sources"][1]["state"] != "closed"


def test_a_source_is_paused_by_someone_for_a_reason_and_goes_on(client: TestClient) -> None:
    """And its limits are lowered. The page says so to all the others, and the audit keeps it."""
    act(client, "pause", source="reddit", why="the API changes", sure="yes")
    act(client, "limits", source="reddit", limits="7/1m", sure="yes")
    page = client.get("/source/reddit").text
    seen = text_of(page)
    assert "paused by page@127.0.0.1: the API changes" in seen
    assert "7 in 1 min" in seen
    assert "<button>Resume" in page
    asked = text_of(act(client, "resume", source="reddit").text)
    assert re.search(
        r"Have reddit go on\? It is paused since .* UTC by page@127.0.0.1: the API changes", asked
    )
    act(client, "resume", source="reddit", sure="yes")
    act(client, "unset", source="reddit", sure="yes")
    page = client.get("/source/reddit").text
    assert "<button>Pause" in page
    assert "60 in 1 min" in text_of(page)
    audit = text_of(client.get("/audit").text)
    assert audit.index("queue.resume") < audit.index("queue.pause")
    assert "the API changes" in audit


def test_what_was_done_is_not_done_again_by_who_loads_the_page_again(client: TestClient) -> None:
    """A browser asks the last page again, and it must not be that which has done it."""
    form = {"source": "reddit", "why": "ä; dear", "sure": "yes", "back": "/source/reddit"}
    sent = client.post("/act/pause", data=form, headers=HERE, follow_redirects=False)
    assert sent.status_code == 303
    for _ in range(2):
        page = client.get(sent.headers["location"]).text
        assert "reddit is paused." in text_of(page)
        assert 'href="/source/reddit"' in page
    assert text_of(client.get("/audit").text).count("queue.pause") == 1
    # Another tab does something, and this one is loaded again.
    assert "stocktwits is paused." in text_of(act(client, "pause", source="stocktwits", sure="yes").text)
    assert "The audit has what was done." in text_of(client.get(sent.headers["location"]).text)
    client.cookies.clear()
    assert "The audit has what was done." in text_of(client.get("/done/pause?back=//evil.example").text)
    assert "evil" not in client.get("/done/pause?back=//evil.example").text
    assert client.get("/done/nothing").status_code == 404


def test_a_form_of_another_site_does_nothing(
    client: TestClient, settings_for: SettingsFor, server: Server, client_for: ClientFor
) -> None:
    """Whoever has logged in may open any page meanwhile."""
    foreign = {"Origin": "https://evil.example"}
    assert act(client, "reopen", source="reddit", headers=foreign).status_code == 403
    guarded = client_for(settings_for(server, TBCACHE_API_TOKEN=TOKEN))
    assert act(guarded, "reopen", source="reddit").status_code == 401
    guarded.post("/login", data={"token": TOKEN})
    assert act(guarded, "reopen", source="reddit").status_code == 200
    assert act(guarded, "reopen", source="reddit", headers=foreign).status_code == 403


@pytest.mark.parametrize(
    ("verb", "fields", "status"),
    [
        ("explode", {}, 404),
        ("reopen", {}, 422),
        ("reopen", {"source": "nobody", "sure": "yes"}, 404),
        ("pause", {"source": "nobody"}, 404),
        ("purge", {"source": "nobody"}, 404),
        ("warm", {"source": "nobody", "symbol": "AAPL"}, 404),
        ("cancel", {"source": "reddit", "job": "none"}, 404),
        ("clear", {"pattern": "no pattern at all\n"}, 422),
        ("warm", {"source": "reddit", "symbol": "<b>", "sure": "yes"}, 422),
    ],
)
def test_what_makes_no_sense_is_refused(
    client: TestClient, verb: str, fields: dict[str, str], status: int
) -> None:
    assert act(client, verb, **fields).status_code == status


def test_every_button_has_its_twin_on_the_command_line_and_over_http(client: TestClient) -> None:
    """What one can do at three in the morning over a telephone, one can do in a script."""
    paths = client.get("/openapi.json").json()["paths"]
    posts = {path.rpartition("/")[2] for path, methods in paths.items() if "post" in methods}
    fields = {"source": "reddit", "symbol": "AAPL", "pattern": "reddit:*", "id": "1", "error": "x"}
    for verb in VERBS.values():
        _, command, *words = shlex.split(verb.twin(fields))
        found: Any = load(command)
        while words and hasattr(found, "commands"):
            command = words.pop(0)
            found = found.commands[command]
        assert {"enqueue": "jobs", "weight": "weights"}.get(command, command) in posts
        options = {one for option in found.params for one in option.opts}
        assert {word for word in words if word.startswith("--")} <= options


def test_why_a_symbol_waits_is_said_with_its_place_and_its_moment(
    client: TestClient, store: Store, settings: Settings
) -> None:
    """It is asked for first when something does not come."""
    queue = Queue(store, settings)
    queue.enqueue(FetchRequest("reddit", "AAPL"))
    queue.enqueue(FetchRequest("reddit", "MSFT"))
    seen = text_of(client.get("/symbol/MSFT").text)
    assert "number 2 of the lane interactive" in seen
    assert "nobody knows when it starts. 0 workers" in seen
    assert "tbcache queue explain" in seen


def test_a_symbols_page_says_why_its_answer_is_stale_and_until_when(
    client: TestClient, store: Store, settings: Settings, monitor: UsageMonitor
) -> None:
    """Also where no job is queued, as of a pre-warm that the scheduler has not queued because of it."""
    keep(store, "GME", 24, fresh=-1)
    assert "Nothing holds reddit up: it is fetched when somebody asks" in _card_of(client, "GME")
    until = int((time.time() + 600) * 1e6)
    store.client.hset(
        store.keys.state("reddit"), mapping={"closed_until": until, "closed_reason": "HTTP 429"}
    )
    store.client.expire(store.keys.state("reddit"), 60)
    act(client, "pause", source="reddit", why="the API changes", sure="yes")
    seen = _card_of(client, "GME")
    assert "reddit is paused by page@127.0.0.1: the API changes; it is closed (HTTP 429) until " in seen
    # A fetch would only wait behind that.
    assert re.search(r"Fetch it \(it is paused by page@127.0.0.1", seen)
    act(client, "reopen", source="reddit", sure="yes")
    act(client, "resume", source="reddit", sure="yes")
    act(client, "limits", source="reddit", limits="2/1h", sure="yes")
    assert RateLimiter(get_source("reddit", settings), store).check_rate_limit(cost=2)[0]
    assert re.search(r"reddit has used its limit of 2/1h until \w", _card_of(client, "GME"))
    assert "Fetch it number" not in _card_of(client, "GME")
    monitor.count("reddit", {"go": 2, "ms20": 2, "error.unavailable": 2})
    assert monitor.flush()
    client.app.state.live.forget()  # type: ignore[attr-defined]
    assert "reddit is failing (2 of 2 fetches: unavailable); it has used" in _card_of(client, "GME")
    job = Queue(store, settings).enqueue(FetchRequest("reddit", "MSFT")).job_id
    asked = text_of(act(client, "promote", source="reddit", job=job).text)
    assert "reddit is failing: it would fail as well, and have a try less." in asked


def _card_of(client: TestClient, symbol: str) -> str:
    page = client.get(f"/symbol/{symbol}").text
    return text_of(page[page.index("<h3>reddit") :].partition("<h3>")[2].partition("<h3>")[0])


def test_who_may_only_read_sees_each_button_disabled_with_the_reason(
    settings_for: SettingsFor, server: Server, client_for: ClientFor, store: Store
) -> None:
    """But for those that only search. Whoever has the other token has all of them."""
    settings = settings_for(server, TBCACHE_API_TOKEN=TOKEN, TBCACHE_API_READ_TOKEN="to read and no more")
    client = client_for(settings, address="10.0.0.9")
    assert '<a href="/login">/login</a>' in client_for(settings).get("/").text
    for token, is_barred in (("to read and no more", True), (TOKEN, False)):
        client.post("/login", data={"token": token})
        for path in ("/", "/source/news", "/symbol/GME", "/symbol?symbol=GME", "/jobs?error=x"):
            page = client.get(path).text
            barred = page.partition("<fieldset disabled>")[2].partition("</fieldset>")[0]
            assert bool(barred) == is_barred, path
            assert ("this token may only read" in text_of(page)) == is_barred, path
            if is_barred:
                assert page.count('action="/act/') == barred.count('action="/act/'), path
                assert "Search" not in barred, path


def test_what_a_drained_source_would_refuse_is_disabled_and_what_matches_nothing(
    client: TestClient, store: Store, settings: Settings
) -> None:
    bury(store, "reddit", "GME", "no date")
    assert "Queue the dead again Clear" in text_of(client.get("/source/reddit").text)
    row = text_of(_queue_row(client, "reddit", "?error=else"))
    assert row.endswith("Queue again (none matches) Forget (none matches)")
    assert text_of(_queue_row(client, "reddit", "?error=date")).endswith("Queue again Forget")
    act(client, "drain", source="reddit", why="dear", sure="yes")
    for path in ("/source/reddit", "/jobs", "/"):
        assert re.search(
            r"(again|Again) \(it is drained by page@127.0.0.1: dear\)", text_of(client.get(path).text)
        ), path


def test_a_trouble_has_its_place_and_its_button(
    client: TestClient, store: Store, monitor: UsageMonitor
) -> None:
    """And what is lost by it comes last."""
    bury(store, "reddit", "GME", "no `date`")
    act(client, "pause", source="twitter", sure="yes")
    page = client.get("/").text
    dead, paused = (
        next(one for one in page.split("<li ") if words in text_of(one))
        for words in ("reddit: 1 queued fetch died", "twitter is paused")
    )
    assert re.search('action="/act/requeue">.*name="source" value="reddit"', dead)
    assert '<a href="/jobs?source=reddit">jobs of reddit</a>' in dead
    assert dead.index("<code>tbcache dead requeue reddit</code>") < dead.index("dead purge")
    assert "no `date`" in text_of(dead)
    assert re.search('action="/act/resume">.*name="source" value="twitter"', paused)
    assert '<a href="/source/twitter">' in paused
    # What gets no worse by itself is no alarm, and stands below what does.
    assert '<dd class="fair"><span class="dot fair"></span>2</dd>' in page
    until = int((time.time() + 600) * 1e6)
    store.client.hset(
        store.keys.state("reddit"), mapping={"closed_until": until, "closed_reason": "HTTP 429"}
    )
    store.client.expire(store.keys.state("reddit"), 60)
    client.app.state.live.forget()  # type: ignore[attr-defined]
    page = client.get("/").text
    assert '<dd class="bad"><span class="dot bad"></span>3</dd>' in page
    assert re.findall('<li class="(bad|fair)">', page) == ["bad", "fair", "fair"]
    # As in every other view.
    told = client.get("/api/monitoring/status").json()["troubles"]
    assert [one["kind"] for one in told] == ["closed", "paused", "dead_letters"]
    # What is queued again while its source fails dies again.
    store.client.hdel(store.keys.state("reddit"), "closed_until", "closed_reason")
    monitor.count("reddit", {"ended": 2, "error.unavailable": 2})
    assert monitor.flush()
    client.app.state.live.forget()  # type: ignore[attr-defined]
    dead = next(one for one in client.get("/").text.split("<li ") if "queued fetch died" in text_of(one))
    assert "Queue again (it is failing)" in text_of(dead)


def test_a_queue_says_how_old_its_oldest_is_and_when_it_is_done(
    client: TestClient, store: Store, settings: Settings, monitor: UsageMonitor
) -> None:
    """A backlog of hours looks like one of seconds by its count."""
    queue = Queue(store, settings)
    for number in range(10):
        queue.enqueue(FetchRequest("reddit", f"S{number}"))
    seen = text_of(client.get("/source/reddit").text)
    assert "nobody knows when: nothing of it goes on by itself" in seen
    monitor.beat("worker", started_at=utc_now(), workload=Workload(threads=4, pace={"reddit": 0.1}))
    act(client, "limits", source="reddit", limits="2/1h", sure="yes")
    # Eight are more than there are slots, and one comes free each half hour.
    assert re.search(r"Oldest \d+ s Done in about 4 h", text_of(client.get("/source/reddit").text))
    page = client.get("/").text
    assert re.search(r"Oldest job \d+ s of reddit ", text_of(page))
    row = page[page.index('id="source-reddit"') :].partition("</tr>")[0]
    assert re.search(r" 10 oldest \d+ s done in 4 h", text_of(row))
    assert "reddit has 10 jobs in its queue, and pre-warms come last until" in _card_of(client, "GME")
    monitor.count("reddit", {"go": 5, "ms20": 4, "ms40": 1, "error.unavailable": 5})
    assert monitor.flush()
    client.app.state.live.forget()  # type: ignore[attr-defined]
    seen = text_of(client.get("/source/reddit").text)
    assert "Done nobody knows when: it is failing since" in seen
    assert "Latency now p50 9 ms, p95 752 ms (5 min)" in seen
    page = client.get("/jobs?source=reddit").text
    assert '<small class="bad wrap"><span class="dot bad"></span>it is failing' in page
    jobs = text_of(page)
    assert re.search(
        r"it is failing \(5 of 5 fetches: unavailable\) .* pre-warms come last 10 0 0 0 — 0", jobs
    )
    assert "reddit is failing: they would fail as well." in text_of(
        act(client, "requeue", source="reddit").text
    )
    assert "done in" not in text_of(client.get("/").text)


def test_who_holds_slots_and_what_is_promised_is_said(
    client: TestClient, store: Store, monitor: UsageMonitor, settings: Settings
) -> None:
    """A window that is full, of which nothing was sent yet, looked like one of somebody else."""
    doing = ("news AAPL", "reddit AMD", "reddit GME")
    monitor.beat("worker", started_at=utc_now(), workload=Workload(threads=4, busy=3, doing=doing))
    now, state = round(utc_now().timestamp() * 1e6), store.keys.state("reddit")
    # One was used, two are held for at most a minute, and one of these begins in half a minute.
    stamps = {"used": now - 5_000_000, "held": now + 40_000_000, "promised": now + 90_000_000}
    store.client.zadd(store.keys.slots("reddit"), stamps)
    store.client.expire(store.keys.slots("reddit"), 600)
    store.client.hset(state, "lease", 60_000_000)
    store.client.expire(state, 600)
    store.client.hset(state, "limits", "3:60000000")
    Queue(store, settings).enqueue_many([FetchRequest("reddit", f"S{number}") for number in range(5)])
    seen = text_of(client.get("/source/reddit").text)
    assert f"Held 2, 1 of them for later: {monitor.worker} for AMD, GME" in seen
    assert "May begin 3 of 5 within a minute, by the limit" in seen
    # That it is used up is said already.
    assert "Now limit" not in seen


def test_a_queue_whose_source_is_closed_says_before_when_nothing_of_it_goes_on(
    client: TestClient, store: Store, settings: Settings
) -> None:
    """Red above it stood until when, and here that nobody knows."""
    Queue(store, settings).enqueue(FetchRequest("reddit", "GME"))
    state = store.keys.state("reddit")
    store.client.hset(state, mapping={"closed_until": 4_000_000_000_000_000, "closed_reason": "quota"})
    store.client.expire(state, 60)
    seen = text_of(client.get("/source/reddit").text)
    assert "Done not before Oct 02, 07:06 UTC" in seen
    assert "Next may go Oct 02, 07:06" in seen


@pytest.mark.parametrize(
    "path", ["/jobs", "/callers", "/changes", "/audit", "/symbol/GME", "/symbol/GME/past"]
)
def test_a_page_of_which_only_the_head_changes_says_of_when_it_is(client: TestClient, path: str) -> None:
    """The clock above ran on over figures of half an hour ago."""
    page = client.get(path).text
    assert re.search(r"This page is of \d\d:\d\d:\d\d UTC, and does not change by itself", text_of(page))
    assert "does not change by itself" not in client.get("/").text


def test_who_does_what_another_has_just_done_is_told_so(client: TestClient) -> None:
    """The reason that bots get is the second one's from then on, and the first knew nothing of it."""
    act(client, "pause", source="reddit", why="the key leaks", by="ada", sure="yes")
    assert 'disabled title="it is paused: resume it first">Drain' in client.get("/source/reddit").text
    before = r"paused since [-\d]+ [:\d]+ UTC by ada@127\.0\.0\.1: the key leaks"
    for verb, by, told in (
        ("pause", "eve", f"reddit is paused; nothing is changed: it was {before}\\."),
        ("drain", "zoe", f"reddit stays paused; nothing is changed: it was {before}\\. Resume it first\\."),
        ("resume", "", f"reddit goes on; it was {before}"),
        ("drain", "zoe", "reddit accepts nothing new\\."),
        ("pause", "", "until now it was drained since .* by zoe@127"),
        ("resume", "", "reddit goes on; it was paused since .* UTC by"),
    ):
        assert re.search(told, text_of(act(client, verb, source="reddit", by=by, sure="yes").text))
    act(client, "drain", source="reddit", sure="yes")
    assert "Next may go now, if it is queued" in text_of(client.get("/source/reddit").text)
    act(client, "limits", source="reddit", limits="3/1h", sure="yes")
    told = text_of(act(client, "limits", source="reddit", limits="2/1h", sure="yes").text)
    assert "until now it was 3/1h (3/1h set by" in told


def test_a_window_that_is_used_evenly_is_drawn_so() -> None:
    """With the newest marks alone it would look as if its slots came free late."""
    now = utc_now()
    slots = [now - timedelta(seconds=900 - 3 * number) for number in range(1, 301)]
    marks = [float(x) for x in re.findall(r'class="slot" x="([\d.]+)"', svg.window(slots, now, 900))]
    assert 100 <= len(marks) <= svg.MOST_MARKS
    assert min(marks) < 5
    assert max(marks) > svg.WIDTH - 5
    assert "300 slots used" in svg.window(slots, now, 900)
    assert svg.window(slots[:1], now, 900).count('class="slot"') == 1


def test_a_job_is_found_put_first_and_cancelled(client: TestClient, store: Store, settings: Settings) -> None:
    """By its symbol or its caller; the question says in which state it is by now."""
    queue = Queue(store, settings)
    first = queue.enqueue(FetchRequest("reddit", "AAPL"), caller="desk/a")
    second = queue.enqueue(FetchRequest("reddit", "MSFT"), caller="desk/b")
    assert "AAPL waiting, number 1 of interactive" in text_of(client.get("/jobs?symbol=aapl").text)
    assert "MSFT" not in client.get("/jobs?symbol=aapl").text
    assert "MSFT" in client.get("/jobs?caller=desk/b").text
    one: Any = {"source": "reddit", "job": second.job_id}
    assert f"Put the job {second.job_id} (waiting) in front of its lane" in text_of(
        act(client, "promote", **one).text
    )
    act(client, "promote", sure="yes", **one)
    assert "MSFT waiting, number 1 of interactive" in text_of(client.get("/jobs").text)
    asked = text_of(act(client, "cancel", **one).text)
    assert f"tbcache queue cancel reddit {second.job_id}" in asked
    assert "The job is cancelled." in text_of(act(client, "cancel", sure="yes", why="wrong", **one).text)
    assert [job.job_id for job in queue.jobs("reddit", JobFilter(), 9)] == [first.job_id]


def test_a_job_that_waits_or_is_put_off_says_why(
    client: TestClient, store: Store, settings: Settings
) -> None:
    """The same words wherever it is seen, and beside the queue what holds all of it up, and until when."""
    queue, state = Queue(store, settings), store.keys.state("reddit")
    queue.enqueue(FetchRequest("reddit", "GME"))
    later = queue.enqueue(FetchRequest("reddit", "AAPL"), delay_seconds=600.0).job_id
    queue.enqueue(FetchRequest("reddit", "SPY"), "prewarm", delay_seconds=700.0)
    noted = f"{int(time.time() * 1e6)} 0 the day's budget is spent"
    store.client.hset(store.keys.queue("reddit", "reasons"), f"@{later}", noted)
    store.client.expire(store.keys.queue("reddit", "reasons"), 60)
    store.client.hset(state, mapping={"closed_until": 4_000_000_000_000_000, "closed_reason": "HTTP 429"})
    store.client.expire(state, 60)
    seen = text_of(client.get("/jobs?source=reddit").text)
    assert (
        "reddit it is closed (HTTP 429) until Oct 02, 07:06 UTC "
        "it has jobs in its queue, and no worker takes them 1 0 0 2"
    ) in seen
    assert "GME waiting, number 1 of interactive a worker: none takes jobs of this queue" in seen
    words = r"the day's budget is spent \(at [^)]+ UTC\)"
    assert re.search(rf"AAPL delayed {words}", seen)
    assert re.search(r"SPY delayed, a pre-warm [\d:]+ ", seen)
    assert re.search(rf"is put off until [^.]+: {words}\.", _card_of(client, "AAPL"))
    told = {one["symbol"]: one["cause"] for one in client.get("/api/jobs?name=reddit").json()}
    assert told["GME"] == "a worker: none takes jobs of this queue"
    assert re.fullmatch(words, told["AAPL"])
    assert client.get(f"/api/jobs/{later}").json()["cause"] == told["AAPL"]


def test_a_job_that_would_be_put_off_again_cannot_be_the_next(
    client_for: ClientFor, settings_for: SettingsFor, server: Server, store: Store
) -> None:
    """Its button is disabled with the reason, and who says it over HTTP is told so as well."""
    variables = {"TBCACHE_TWITTER__BEARER_TOKEN": "secret", "TBCACHE_TWITTER__DAILY_BUDGET": "2"}
    settings = settings_for(server, **variables)
    client, queue = client_for(settings), Queue(store, settings)
    job = queue.enqueue(FetchRequest("twitter", "AAPL"), delay_seconds=600.0).job_id
    assert "Next</button> <form" in re.sub(r"</form>\s*", " ", client.get("/jobs").text)
    store.client.hset(store.keys.usage("twitter", utc_now()), "spent", 2_000_000)
    store.client.expire(store.keys.usage("twitter", utc_now()), 60)
    page = client.get("/jobs").text
    words = "has spent its budget for the day ($2)"
    assert re.search(r"<button disabled[^>]*>Next</button>", page)
    assert f"Next (it {words} until " in text_of(page)
    assert f"twitter it {words} until " in text_of(page)
    told = client.post(f"/api/queue/twitter/jobs/{job}/promote").json()
    assert (told["state"], told["why"].startswith(f"twitter {words} until ")) == ("delayed", True)
    one: Any = {"source": "twitter", "job": job}
    assert f"The job stays put off: twitter {words} until " in text_of(
        act(client, "promote", sure="yes", **one).text
    )


def test_what_is_done_to_the_dead_of_one_error_is_done_so_on_the_command_line(client: TestClient) -> None:
    """Whoever copies the command beside the question must not forget all the others as well."""
    asked = text_of(act(client, "purge", source="reddit", error="no date", symbol="GME").text)
    assert (
        "Forget the 0 dead jobs of reddit whose symbol is GME and whose reason has 'no date' in it" in asked
    )
    assert "tbcache dead purge reddit --symbol GME --error 'no date'" in asked


def test_what_is_done_is_what_was_asked_about(client: TestClient, store: Store, settings: Settings) -> None:
    """The question was about three, thousands more died while it stood there, and all were forgotten."""
    queue = Queue(store, settings)

    def ask(verb: str) -> dict[str, str]:
        form = act(client, verb, source="reddit").text
        return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', form))

    def answer(verb: str, fields: dict[str, str]) -> str:
        return text_of(client.post(f"/act/{verb}", data=fields, headers=HERE).text)

    left = "; 2 that came while you were asked are left."
    for verb, done in (("purge", "are forgotten"), ("requeue", "are queued again")):
        bury(store, "reddit", verb, "no date", 3)
        fields = ask(verb)
        wait_until(lambda at=int(fields["until"]): time.time() * 1e6 > at + 1000)  # type: ignore[misc]
        bury(store, "reddit", "LATER", "no date", 2)
        assert f"3 dead jobs of reddit {done}{left}" in answer(verb, fields)
        assert "None was left: somebody was quicker, and the audit says who." in answer(verb, fields)
        assert sorted(one.symbol for one in queue.dead.search("reddit")) == ["LATER", "LATER1"]
    fields = ask("cancel-all")
    wait_until(lambda: time.time() * 1e6 > int(fields["until"]) + 1000)
    for symbol in ("B", "C"):
        queue.enqueue(FetchRequest("reddit", symbol))
    assert f"3 jobs of reddit are cancelled{left}" in answer("cancel-all", fields)
    assert [one.symbol for one in queue.jobs("reddit", JobFilter(), 9)] == ["B", "C"]


def test_older_slots_than_are_looked_at_are_not_drawn_as_free() -> None:
    """A window of two thousand a day would look empty but for its last minutes."""
    now = datetime(2026, 3, 4, tzinfo=UTC)
    slots = [now - timedelta(minutes=minutes) for minutes in (30, 20, 10)]
    whole, cut = svg.window(slots, now, 3600), svg.window(slots, now, 3600, since=slots[0], used=50)
    assert "3 slots used in the last 1 h" in whole
    assert "unseen" not in whole
    assert "50 slots used in the last 1 h, 0 held; the older ones are not drawn" in cut
    assert '<path class="unseen" d="M0 7.0H120.0"/>' in cut


# Who did what


def test_the_audit_has_the_name_that_somebody_gives_and_from_where(client: TestClient) -> None:
    """Of two operators both were "page"."""
    assert client.get("/audit").status_code == 200
    act(client, "pause", source="reddit", sure="yes")
    act(client, "pause", source="news", sure="yes", by=" Ada Lovelace ")
    asked = act(client, "resume", source="news").text
    assert 'name="by" value="Ada.Lovelace"' in asked
    act(client, "resume", source="news", sure="yes")
    audit = text_of(client.get("/audit").text)
    assert re.search(
        "Ada.Lovelace@127.0.0.1 queue.resume news .*Ada.Lovelace@127.0.0.1 queue.pause news .*"
        "page@127.0.0.1 queue.pause reddit",
        audit,
    )


def test_what_was_typed_wrongly_is_asked_for_again(client: TestClient) -> None:
    """It was gone, and so was the way back."""
    answer = act(client, "limits", source="reddit", limits="60/banana", why="slower", sure="yes")
    assert answer.status_code == 422
    assert 'role="alert">' in answer.text
    assert 'value="60/banana"' in answer.text
    assert 'value="slower"' in answer.text
    assert "It goes by 60/1m" in text_of(answer.text)
    assert act(client, "weight", caller="desk", weight="heavy", sure="yes").status_code == 422


def test_another_pattern_is_counted_before_anything_is_removed(client: TestClient, store: Store) -> None:
    """To clear one symbol one had to leave the page."""
    keep(store, "AAPL", 24)
    keep(store, "GME", 24)
    asked = act(client, "clear", pattern="reddit:*").text
    assert "Remove the 2 cached values that match reddit:*?" in text_of(asked)
    assert re.search(r'<input name="pattern" value="reddit:\*"[^>]*></label> <button>Count it', asked)
    asked = act(client, "clear", pattern="reddit:GME:*").text
    assert "Remove the 1 cached value that matches reddit:GME:*? Of GME; " in text_of(asked)
    assert "tbcache cache clear 'reddit:GME:*'" in html.unescape(asked)
    assert re.search(r"Value Size Age reddit:GME:24 \d+ B \d+ s ", text_of(asked))
    assert "1 cached value is removed." in text_of(
        act(client, "clear", pattern="reddit:GME:*", sure="yes").text
    )


def test_a_caller_gets_a_weight_and_it_is_taken_back(client: TestClient, monitor: UsageMonitor) -> None:
    with caller("desk/a"):
        monitor.callers.record("reddit", "live")
    monitor.callers.flush()
    assert "desk has the weight 4" in text_of(
        act(client, "weight", caller="desk", weight="4", sure="yes").text
    )
    act(client, "weight", caller="night", weight="0.5", sure="yes")
    seen = text_of(client.get("/callers").text)
    assert "reddit 1 4 its jobs Set weight Unset" in seen
    assert "It has asked for nothing today: night 0.5 Unset" in seen
    assert "of its settings again" in text_of(act(client, "unweight", caller="desk", sure="yes").text)
    assert client.get("/api/weights").json() == {"night": 0.5}


def test_the_slots_of_a_source_are_forgotten_on_request(
    client: TestClient, store: Store, settings: Settings
) -> None:
    assert RateLimiter(get_source("reddit", settings), store).check_rate_limit()[0]
    assert "The upstream still counts" in text_of(act(client, "reset", source="reddit").text)
    assert "reddit counts from 0 again." in text_of(act(client, "reset", source="reddit", sure="yes").text)
    assert store.client.zcard(store.keys.slots("reddit")) == 0


# Thousands of the dead


def test_the_dead_are_told_by_their_error_each_with_its_buttons_and_page_by_page(
    client: TestClient, store: Store, monitor: UsageMonitor
) -> None:
    """Of ten thousand fifty were listed, without a word of the others."""
    bury(store, "reddit", "GME", "ParseError: no date", 60)
    bury(store, "news", "GME", "TimeoutError: 10.25 s", 2)
    page = client.get("/jobs").text
    groups = page[page.index('aria-label="Dead jobs by error"') :].partition("</table>")[0]
    first, second = groups.split("<tr>")[2:]
    assert "reddit 60 ParseError: no date Queue again Forget list" in text_of(first)
    assert "news 2 TimeoutError: * s" in text_of(second)
    asked = act(client, "requeue", source="news", error="TimeoutError: * s").text
    assert "tbcache dead requeue news --error 'TimeoutError: * s'" in html.unescape(asked)
    assert "2 dead jobs of news are queued again." in text_of(
        act(client, "requeue", source="news", error="TimeoutError: * s", sure="yes").text
    )
    (path,) = re.findall(r'href="(/jobs\?source=reddit&amp;after=[^"]+)">The next of reddit', page)
    rest = client.get(html.unescape(path)).text
    for text, many in ((page, 10), (rest, 50)):
        letters = text[text.index('aria-label="Dead jobs"') :].partition("</table>")[0]
        assert letters.count("ParseError") == many
    assert "The next of reddit" not in rest
    assert "To be done" not in rest
    assert client.get("/jobs?after=banana").status_code == 422
    # A source alone is looked at as if there were no others.
    one = client.get("/jobs?source=news").text
    assert 'id="queue-reddit"' not in one
    assert "ParseError" not in one
    # And its limits say how long that is.
    monitor.beat("worker", started_at=utc_now(), workload=Workload(serves=("reddit",)))
    act(client, "limits", source="reddit", limits="30/1h", sure="yes")
    asked = text_of(act(client, "requeue", source="reddit").text)
    assert "Its limits take about 1 h until the last of them, and pre-warms come after." in asked


def test_a_process_that_was_killed_and_started_again_is_told_of(
    client: TestClient, monitor: UsageMonitor, store: Store, settings: Settings
) -> None:
    """Its name looked as if nothing had been."""
    for minutes in (9, 1):
        again = UsageMonitor(store, settings)
        again.worker = "worker-7"
        again.beat("worker", started_at=utc_now() - timedelta(minutes=minutes), workload=Workload(threads=8))
    assert "1 lost in the last hour" in text_of(client.get("/").text)
    page = client.get("/processes").text
    lost = text_of(page[page.index('aria-label="Lost"') :])
    assert re.search(r"\d\d:\d\d worker-7 worker another has its name", lost)


def test_what_waits_is_cancelled_by_a_search(client: TestClient, store: Store, settings: Settings) -> None:
    """A bot gone mad has queued thousands; the others' jobs stay."""
    queue = Queue(store, settings)
    for name, symbol in (("desk/a", "AAPL"), ("desk/b", "MSFT"), ("night", "GME")):
        queue.enqueue(FetchRequest("reddit", symbol), caller=name)
    row = _queue_row(client, "reddit", "?caller=desk")
    assert re.search('action="/act/cancel-all">.*name="caller" value="desk"', row)
    asked = act(client, "cancel-all", source="reddit", caller="desk").text
    assert "Take the 2 jobs that wait for reddit whose caller is desk out of its queue" in text_of(asked)
    assert "tbcache queue cancel reddit --caller desk" in asked
    done = act(client, "cancel-all", source="reddit", caller="desk", sure="yes", why="mad").text
    assert "2 jobs of reddit are cancelled." in text_of(done)
    assert queue.depth("reddit").interactive == 1
    assert "cancel-all" not in client.get("/jobs?error=x").text


def test_when_the_next_request_may_go_is_now_while_anything_is_left(
    client: TestClient, store: Store, settings: Settings
) -> None:
    """When the next slot comes free is another moment, and looked like a wait."""

    def told() -> str:
        client.app.state.live.forget()  # type: ignore[attr-defined]
        page = client.get("/").text
        row_of = text_of(page[page.index('id="source-reddit"') :].partition("</tr>")[0])
        (found,) = re.findall(r"60 in 1 min \d+ \d+ (now|once resumed|\d\d:\d\d:\d\d) ", row_of)
        return str(found)

    # Whoever looks first has the app look at the fleet. What is off sends nothing.
    page = client.get("/").text
    off = text_of(page[page.index('id="source-options"') :].partition("</tr>")[0])
    assert re.search(r"\d in [\w ]+ 0 \d+ — ", off)
    limiter = RateLimiter(get_source("reddit", settings), store)
    assert limiter.check_rate_limit()[0]
    assert told() == "now"
    card = text_of(client.get("/source/reddit").text)
    assert re.search(r"Next may go now A slot comes free \d\d:\d\d:\d\d UTC", card)
    assert all(limiter.check_rate_limit()[0] for _ in range(59))
    assert re.match(r"\d\d:", told())
    act(client, "pause", source="reddit", sure="yes")
    assert told() == "once resumed"
