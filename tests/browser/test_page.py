"""The page in a real browser: it is live, and for everybody. What is done on it is in test_task.py."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tbcache.fleet import Fleet
from tbcache.io import utc_now
from tbcache.models import FetchRequest, Limit
from tbcache.monitoring import UsageMonitor, Workload
from tbcache.queue import Queue
from tbcache.store import Store
from tests.browser.conftest import Api
from tests.browser.fleet import bury, close_source
from tests.kept import keep
from tests.server import wait_until

OpenPage = Callable[..., Page]
PAGES = (
    "/",
    "/jobs",
    "/changes",
    "/callers",
    "/processes",
    "/audit",
    "/source/reddit",
    "/symbol/NVDA",
    "/symbol/NVDA/past",
    "/login",
)


def sure(page: Page) -> None:
    """Say so."""
    page.get_by_role("button", name="Yes, do it").click()


# It is live


def test_what_changes_is_seen_without_a_reload_and_a_field_keeps_what_was_typed(
    open_page: OpenPage, shop: Store
) -> None:
    page = open_page()
    field = page.get_by_label("Symbol")
    field.click()
    page.keyboard.type("NV")
    close_source(shop, "reddit", "HTTP 429: too many")
    expect(page.locator("#source-reddit")).to_contain_text("HTTP 429: too many")
    expect(field).to_be_focused()
    page.keyboard.type("DA")
    expect(field).to_have_value("NVDA")


def test_a_server_that_is_slow_or_gone_greys_the_page_out_until_it_is_back(
    open_page: OpenPage, api: Api
) -> None:
    """Figures of a minute ago that look like those of now are worse than none."""
    page = open_page("/login")
    page.clock.install()
    page.goto(api.url)
    old = page.locator("html.old")
    expect(old).to_have_count(0)

    def is_old(is_so: bool) -> bool:
        # What the page waits for, to grey out as to ask again, is due.
        page.clock.run_for(1_000)
        return (old.count() == 1) is is_so

    with api.frozen():
        wait_until(lambda: is_old(True), 60, "the greying out of a slow server's page")
    wait_until(lambda: is_old(False), 60, "the page's going on")
    api.kill()
    wait_until(lambda: is_old(True), 60, "the greying out")
    expect(page.locator("#age")).to_contain_text("is the server there?")
    # It is read all the same: nobody knows anything newer.
    assert Axe().run(page).violations_count == 0
    api.start()
    wait_until(lambda: is_old(False), 60, "the page's being live again")


def test_a_page_that_may_not_be_watched_says_so_and_asks_again(open_page: OpenPage, api: Api) -> None:
    """It would look like one of a server that is gone."""
    text = "2 pages are watched already"
    answer = {
        "status": 503,
        "headers": {"Content-Type": "text/event-stream"},
        "body": f"retry: 100\nevent: full\ndata: {text}\n\n",
    }
    page = open_page("/login")
    page.route("**/live/*", lambda route: route.fulfill(**answer))
    page.goto(api.url)
    expect(page.locator("#age")).to_have_text(text)
    expect(page.locator("html.old")).to_have_count(1)
    expect(page.locator("#age")).to_have_text(text)
    page.unroute("**/live/*")
    expect(page.locator("html.old")).to_have_count(0)
    expect(page.locator("#age")).to_have_text("")


# For everybody


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_stands_in_the_way_of_a_screen_reader(open_page: OpenPage, shop: Store, scheme: str) -> None:
    keep(shop, "NVDA", 6)
    close_source(shop, "reddit", "HTTP 429: too many")
    bury(shop, "news", "AAPL", "ParseError: no date")
    page = open_page(color_scheme=scheme)
    for path in PAGES:
        page.goto(re.sub(r"(?<=\d)/.*", path, page.url))
        found = Axe().run(page)
        assert found.violations_count == 0, f"{path}: {found.generate_report()}"


def test_a_telephone_shows_all_of_it(open_page: OpenPage, shop: Store) -> None:
    """Tables scroll by themselves; the page does not. Nor does one of a word that is longer than a line."""
    keep(shop, "NVDA", 6)
    close_source(shop, "reddit", "x" * 190)
    page = open_page(viewport={"width": 380, "height": 800})
    for path in PAGES:
        page.goto(re.sub(r"(?<=\d)/.*", path, page.url))
        assert page.evaluate("document.documentElement.scrollWidth") <= 380, path


def test_a_laptop_shows_the_first_table_whole_where_much_is_wrong(open_page: OpenPage, shop: Store) -> None:
    """Its last column is what all of it costs, and was cut off as soon as something failed."""
    close_source(shop, "options", "the upstream says daily_request_limit_hit")
    settings, operator = shop.settings, Fleet(shop.settings, shop).as_operator("ada")
    operator.pause("stocktwits", "its answers look wrong")
    monitor, queue = UsageMonitor(shop, settings), Queue(shop, settings)
    monitor.beat("worker", started_at=utc_now(), workload=Workload(threads=8, serves=("reddit", "news")))
    monitor.count("reddit", {"go": 57, "ms20": 57, "cost": 12_340_000, "error.unavailable": 57})
    monitor.count("news", {"go": 9, "ms900": 9})
    assert monitor.flush()
    queue.enqueue_many([FetchRequest("news", f"S{number}") for number in range(900)])
    operator.set_limits("news", [Limit(100, 3600.0)])
    page = open_page(viewport={"width": 1280, "height": 800})
    expect(page.locator("#source-news")).to_contain_text("done in")
    expect(page.locator("#source-reddit")).to_contain_text("unavailable")
    table = page.locator("#sources .scroll")
    assert table.evaluate("one => one.scrollWidth <= one.clientWidth")


def test_the_page_is_whole_without_script(browser: object, api: Api, shop: Store) -> None:
    close_source(shop, "reddit", "HTTP 429: too many")
    context = browser.new_context(java_script_enabled=False)  # type: ignore[attr-defined]
    page = context.new_page()

    def is_shown() -> bool:
        # What is shown may be a second old, and without script nothing renews it but a reload.
        page.goto(api.url)
        return "HTTP 429: too many" in page.locator("#source-reddit").inner_text()

    wait_until(is_shown, 30, "the closure's being shown")
    page.locator("#source-reddit a").click()
    page.get_by_role("button", name="Reopen").click()
    sure(page)
    expect(page.get_by_role("status")).to_have_text("reddit is asked again.")
    context.close()
