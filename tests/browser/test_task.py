"""The ten tasks of an operator, each within three clicks of the first page, and each by the keyboard alone.

With SCREENSHOTS, a folder, what is seen on the way is kept there: `make screenshots`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tbcache.store import Store
from tests.browser.fleet import beat, populate
from tests.browser.hand import Keyboard, Mouse

OpenPage = Callable[..., Page]
Task = Callable[[Mouse, Page, Callable[[str], None]], None]
#: A test may run elsewhere.
FOLDER = Path(os.environ["SCREENSHOTS"]).resolve() if "SCREENSHOTS" in os.environ else None


def main(page: Page) -> Locator:
    return page.locator("main")


def why_does_aapl_wait(hand: Mouse, page: Page, shoot: Callable[[str], None]) -> None:
    shoot("fleet")
    hand.press(page.locator("#warm").get_by_role("link", name="AAPL"))
    told = main(page)
    expect(told).to_contain_text(
        "is number 2 of the lane interactive, waits for the upstream, which has closed it (HTTP 402"
    )
    expect(told).to_contain_text(re.compile(r"starts at about \d\d:\d\d:\d\d"))
    shoot("symbol")


def pause_twitter(hand: Mouse, page: Page, shoot: Callable[[str], None]) -> None:
    hand.press(page.locator("#source-twitter").get_by_role("link", name="twitter"))
    hand.press(page.get_by_role("button", name="Pause"))
    hand.write(page.get_by_label("Why"), "the API changes")
    hand.press(page.get_by_role("button", name="Yes, do it"))
    expect(page.get_by_role("status")).to_have_text("twitter is paused.")


def who_spent_the_budget(hand: Mouse, page: Page, shoot: Callable[[str], None]) -> None:
    hand.press(page.get_by_role("link", name="Callers"))
    expect(page.get_by_role("region", name="Money by source")).to_contain_text("research $6.25, desk $1.40")


def requeue_the_dead_of_one_error(hand: Mouse, page: Page, shoot: Callable[[str], None]) -> None:
    hand.press(page.get_by_role("link", name="Jobs", exact=True))
    shoot("jobs")
    group = page.get_by_role("region", name="Dead jobs by error").get_by_role(
        "row", name="ParseError: no date"
    )
    hand.press(group.get_by_role("button", name="Queue again"))
    expect(page.locator(".sure")).to_contain_text(
        "Queue the 9,999 dead jobs of news whose reason has 'ParseError: no date' in it again? Its limits"
    )
    hand.press(page.get_by_role("button", name="Yes, do it"))
    expect(page.get_by_role("status")).to_have_text("9,999 dead jobs of news are queued again.")


def is_the_answer_for_gme_good_enough(hand: Mouse, page: Page, shoot: Callable[[str], None]) -> None:
    hand.write(page.get_by_label("Symbol"), "gme")
    page.keyboard.press("Enter")
    expect(main(page)).to_contain_text("+0.25 ± 0.06, confidence 91%")
    expect(main(page)).to_contain_text("15.0 of 24 hours (there are more pages than are read at once)")
    expect(main(page)).to_contain_text("left out: 4 near copies of others, 1.5 for naming many tickers")
    expect(main(page).get_by_role("link", name="reddit.com/r/stocks").first).to_be_visible()


def which_process_is_gone(hand: Mouse, page: Page, shoot: Callable[[str], None]) -> None:
    hand.press(page.get_by_role("link", name="Processes").first)
    row = page.get_by_role("region", name="Processes").locator("tr", has_text="worker-7")
    expect(row).to_contain_text(re.compile(r"gone since \d\d:\d\d:\d\d"))


def reopen_after_topping_up(hand: Mouse, page: Page, shoot: Callable[[str], None]) -> None:
    hand.press(page.locator("#source-reddit").get_by_role("link", name="reddit"))
    expect(main(page)).to_contain_text("1: worker-1 for GME")
    shoot("source")
    hand.press(page.get_by_role("button", name="Reopen"))
    hand.press(page.get_by_role("button", name="Yes, do it"))
    expect(page.get_by_role("status")).to_have_text("reddit is asked again.")


def what_would_a_clear_remove(hand: Mouse, page: Page, shoot: Callable[[str], None]) -> None:
    hand.press(page.locator("#source-news").get_by_role("link", name="news"))
    hand.press(page.get_by_role("button", name="Clear its cache"))
    expect(page.locator(".sure")).to_contain_text(
        re.compile(
            "Remove the 22 cached values that match news:[*][?] Of AAPL, AMD, AMZN, .* and 2 more; .* old[.]"
        )
    )
    hand.press(page.get_by_role("link", name="No, back"))
    expect(page).to_have_url(re.compile("/source/news$"))


def how_far_is_nvda_covered(hand: Mouse, page: Page, shoot: Callable[[str], None]) -> None:
    expect(page.locator("#warm tr", has_text="news")).to_contain_text("33%")
    hand.press(page.locator("#warm").get_by_role("link", name="NVDA"))
    expect(main(page)).to_contain_text("8.0 of 24 hours")


def what_changed_in_the_last_hour(hand: Mouse, page: Page, shoot: Callable[[str], None]) -> None:
    hand.press(page.get_by_role("link", name="Changes"))
    expect(main(page)).to_contain_text("its answers look wrong")


TASKS: tuple[Task, ...] = (
    why_does_aapl_wait,
    pause_twitter,
    who_spent_the_budget,
    requeue_the_dead_of_one_error,
    is_the_answer_for_gme_good_enough,
    which_process_is_gone,
    reopen_after_topping_up,
    what_would_a_clear_remove,
    how_far_is_nvda_covered,
    what_changed_in_the_last_hour,
)


@pytest.mark.parametrize("kind", [Mouse, Keyboard])
def test_the_ten_tasks_are_done_in_three_clicks_or_by_the_keyboard(
    open_page: OpenPage, shop: Store, kind: type[Mouse]
) -> None:
    """At half past nine nobody reads a manual."""
    settings = shop.settings
    populate(shop, settings)
    page = open_page(viewport={"width": 1280, "height": 800})
    first = page.url
    for task in TASKS:
        beat(shop, settings)
        page.goto(first)
        # What is shown may be a second old.
        expect(page.locator("#source-reddit")).to_contain_text("HTTP 402" if task in TASKS[:7] else "reddit")
        expect(page.locator("#head")).to_contain_text("2 of 8 busy")
        hand = kind(page)
        task(hand, page, lambda name: _shoot(page, name) if FOLDER and kind is Mouse else None)
        assert hand.presses <= 3, task.__name__


def _shoot(page: Page, name: str) -> None:
    assert FOLDER is not None
    # Of what is long its head.
    page.screenshot(path=FOLDER / f"{name}.png", full_page=name != "jobs")
