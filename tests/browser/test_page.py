"""What an operator does on the page, in a real browser: three clicks at most, and all by the keyboard."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tbcache.cache import CacheManager
from tbcache.store import Store
from tests.browser.conftest import Api
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
    "/login",
)


def close_source(store: Store, source: str, reason: str) -> None:
    until = int((time.time() + 600) * 1e6)
    store.client.hset(store.keys.state(source), mapping={"closed_until": until, "closed_reason": reason})
    store.client.expire(store.keys.state(source), 600)


def bury(store: Store, source: str, symbol: str, reason: str) -> None:
    """A dead job."""
    part, job_id = store.keys.queue, f"job-{symbol}"
    message = '{"queue_name":"%s","actor_name":"fetch.%s","args":[],"kwargs":{"symbol":"%s"},"options":{}}'
    store.client.zadd(part(source, "dead"), {job_id: time.time() * 1e6})
    store.client.hset(part(source, "dead-jobs"), job_id, message % (source, source, symbol))
    store.client.hset(part(source, "reasons"), job_id, reason)
    for name in ("dead", "dead-jobs", "reasons"):
        store.client.expire(part(source, name), 600)


def sure(page: Page) -> None:
    """Say so."""
    page.get_by_role("button", name="Yes, do it").click()


# Tasks


def test_a_source_is_reopened_after_its_money_is_topped_up(open_page: OpenPage, shop: Store) -> None:
    close_source(shop, "reddit", "HTTP 402: pay first")
    page = open_page()
    expect(page.locator("#source-reddit")).to_contain_text("HTTP 402: pay first")
    page.locator("#source-reddit a").click()
    page.get_by_role("button", name="Reopen").click()
    sure(page)
    expect(page.get_by_role("status")).to_have_text("reddit is asked again.")
    assert shop.client.hget(shop.keys.state("reddit"), "closed_until") in (None, b"0")


def test_a_source_is_paused(open_page: OpenPage, shop: Store) -> None:
    page = open_page()
    page.locator("#source-reddit a").click()
    page.get_by_role("button", name="Pause").click()
    page.get_by_label("Why").fill("the API changes")
    sure(page)
    expect(page.get_by_role("status")).to_have_text("reddit is paused.")
    page.get_by_role("link", name="Back").click()
    expect(page.locator("main")).to_contain_text("paused by page: the API changes")


def test_what_a_clear_would_remove_is_said_before_it_does(open_page: OpenPage, shop: Store) -> None:
    cache = CacheManager(shop)
    for number in range(12):
        cache.set(f"news:{number}", number)
    page = open_page()
    page.locator("#source-news a").click()
    page.get_by_role("button", name="Clear its cache").click()
    expect(page.locator(".sure")).to_have_text("Remove the 12 cached values that match news:*?")
    page.get_by_role("link", name="No, back").click()
    expect(page).to_have_url(re.compile("/source/news$"))
    assert cache.get("news:3") == 3


def test_how_far_a_symbol_is_known_and_whether_its_answer_is_good_enough(
    open_page: OpenPage, shop: Store
) -> None:
    keep(shop, "NVDA", 6)
    keep(shop, "GME", 24)
    page = open_page()
    expect(page.locator("#warm tr", has_text="reddit")).to_contain_text("25%")
    page.get_by_role("link", name="NVDA").click()
    expect(page.locator("main")).to_contain_text("6.0 of 24 hours")
    page.get_by_label("Symbol").fill("gme")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_contain_text("24.0 of 24 hours")
    expect(page.locator("main")).to_contain_text("+0.25")


def test_the_dead_jobs_of_one_error_are_found_and_queued_again(open_page: OpenPage, shop: Store) -> None:
    bury(shop, "news", "AAPL", "ParseError: no date")
    bury(shop, "news", "TSLA", "TimeoutError: 10 s")
    page = open_page()
    page.get_by_role("link", name="Jobs").click()
    page.get_by_label("Error").fill("parse")
    page.keyboard.press("Enter")
    letters = page.get_by_role("region", name="Dead jobs")
    expect(letters).to_contain_text("AAPL")
    expect(letters).not_to_contain_text("TSLA")
    page.locator("#queue-news").get_by_role("button", name="Queue again").click()
    expect(page.locator(".sure")).to_contain_text(
        "Queue the 1 dead jobs of news whose reason has 'parse' in it"
    )
    sure(page)
    expect(page.get_by_role("status")).to_contain_text("1 dead jobs of news are queued again")


def test_everything_is_reached_by_the_keyboard(open_page: OpenPage, shop: Store) -> None:
    """Tab leads to each link and button in the order of reading, and Enter does what a click does."""
    close_source(shop, "reddit", "HTTP 429")
    page = open_page("/source/reddit")
    expect(page.get_by_role("button", name="Reopen")).to_be_enabled()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText") == "Reopen":
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Yes, do it")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("reddit is asked again.")


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


def test_a_server_that_is_gone_greys_the_page_out_until_it_is_back(open_page: OpenPage, api: Api) -> None:
    """Figures of a minute ago that look like those of now are worse than none."""
    page = open_page("/login")
    page.clock.install()
    page.goto(api.url)
    old = page.locator("html.old")
    expect(old).to_have_count(0)
    api.kill()

    def is_old(is_so: bool) -> bool:
        # What the page waits for, to grey out as to ask again, is due.
        page.clock.run_for(1_000)
        return (old.count() == 1) is is_so

    wait_until(lambda: is_old(True), 60, "the greying out")
    expect(page.locator("#age")).to_contain_text("is the server there?")
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
    """Tables scroll by themselves; the page does not."""
    keep(shop, "NVDA", 6)
    page = open_page(viewport={"width": 380, "height": 800})
    for path in PAGES:
        page.goto(re.sub(r"(?<=\d)/.*", path, page.url))
        assert page.evaluate("document.documentElement.scrollWidth") <= 380, path


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
