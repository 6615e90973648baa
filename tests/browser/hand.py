"""Who uses the page: with a mouse, or by the keyboard alone."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

#: Further than that nobody tabs.
MOST_TABS = 120


class Mouse:
    """Clicks, and counts its clicks."""

    def __init__(self, page: Page) -> None:
        self.page, self.presses = page, 0

    def press(self, one: Locator) -> None:
        """Follow a link, or press a button."""
        self.presses += 1
        one.click()

    def write(self, field: Locator, text: str) -> None:
        """Fill in a field."""
        field.click()
        self.page.keyboard.type(text)


class Keyboard(Mouse):
    """Reaches all by Tab, and presses Enter."""

    def press(self, one: Locator) -> None:
        self.presses += 1
        self._reach(one)
        self.page.keyboard.press("Enter")

    def write(self, field: Locator, text: str) -> None:
        self._reach(field)
        self.page.keyboard.type(text)

    def _reach(self, one: Locator) -> None:
        expect(one).to_be_visible()
        for _ in range(MOST_TABS):
            if one.evaluate("element => element === document.activeElement"):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"{one} is not reached by Tab")
