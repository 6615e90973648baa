"""What the core's code words say, in English."""

from __future__ import annotations

import re
from datetime import date
from urllib.parse import urlsplit

#: Why an answer reaches no further back. What is not listed is the kind of an error.
_REASONS = {
    "not_asked": "so many hours were not asked for by then",
    "not_yet": "by its clock the upstream had not come to these hours yet",
    "page_budget": "there are more pages than are read at once",
    "rate_limit": "no slot of the limit was left for the next page",
    "budget": "no money was left today for the next page",
    "no_next_page": "the upstream named no next page",
    "full": "no more items are kept",
    "search_depth": "the upstream's search goes no deeper",
    "no_times": "items do not say when they are of",
    "repeated_page": "the upstream went in circles",
    "plan_delay": "the plan's items come late",
    "plan_unknown": "whether the plan's items come late is being found out",
}
#: What a rule takes out.
_RULES = {
    "gone": "deleted by their authors",
    "notice": "notices of machines",
    "multi_leg": "parts of larger trades",
    "relevance": "about something else",
    "language": "in other languages",
    "repost": "reposts",
    "copy": "near copies of others",
    "tickers": "for naming many tickers",
    "author": "for one author's many posts",
    "engagement": "by what others liked",
}
#: What stands in each address of an upstream.
_FORMAL = {"comments", "i", "message", "status", "web"}
#: An option as the exchanges name it: root, date, call or put, price in thousandths.
_OPTION = re.compile(r"([A-Z]{1,6})(\d{2})(\d{2})(\d{2})([CP])(\d{8})")


def reason(code: str) -> str:
    """Why an answer reaches no further back."""
    return _REASONS.get(code, f"the next page failed: {code.replace('_', ' ')}")


def rule(code: str) -> str:
    """What a rule took out; its own name where it is a user's."""
    return _RULES.get(code, code)


def item(name: str, url: str | None) -> str:
    """A few words for an item: an option by its terms, a post or an article by where it is; else its id."""
    option = _OPTION.search(name)
    if option is not None:
        root, year, month, day, side, price = option.groups()
        side = "call" if side == "C" else "put"
        try:
            return f"{root} {int(price) / 1000:g} {side} {date(2000 + int(year), int(month), int(day))}"
        except ValueError:
            return name[:40]
    place = _place(url) or _place(name)
    return _short(place, 36) if place else _short(name, 24)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 4]}…"


def _place(url: str | None) -> str:
    """The host of an address with what of its path says something, as "reddit.com/r/stocks"."""
    try:
        parts = urlsplit(url or "")
    except ValueError:
        return ""
    said = [
        one for one in parts.path.split("/") if re.search("[a-z]", one, re.IGNORECASE) and one not in _FORMAL
    ]
    return "/".join(((parts.hostname or "").removeprefix("www."), *said[:2])) if parts.hostname else ""
