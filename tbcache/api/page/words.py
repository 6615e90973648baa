"""Figures as the page says them."""

from __future__ import annotations

from datetime import datetime

from markupsafe import Markup, escape

from tbcache.api.page.svg import span as span
from tbcache.models.age import age as age


def commands(text: str) -> Markup:
    """``text`` with what stands in backticks as code."""
    parts = text.split("`")
    # One that is not closed opens none.
    pieces = (
        Markup("<code>{}</code>").format(part) if place % 2 and place + 1 < len(parts) else escape(part)
        for place, part in enumerate(parts)
    )
    return Markup("").join(pieces)


def moment(at: datetime, now: datetime) -> str:
    """The time of ``at`` (UTC), with its day where that is another than today."""
    return f"{at:%H:%M:%S}" if at.date() == now.date() else f"{at:%b %d, %H:%M}"


def dollars(amount: float | None) -> str:
    """An amount of US dollars; a dash for none."""
    return "—" if amount is None else f"${amount:,.2f}"


def many(count: int, what: str) -> str:
    """So many of them: 1 ask, 2,000 asks."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def number(count: int | None) -> str:
    """A count; a dash where it is not known."""
    return "—" if count is None else f"{count:,}"


def percent(part: float | None) -> str:
    """A share of 1; a dash where it is not known."""
    return "—" if part is None else f"{part:.0%}"


def milliseconds(seconds: float | None) -> str:
    """A latency; a dash where it is not known."""
    if seconds is None:
        return "—"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def megabytes(size: int) -> str:
    """A size of memory; a dash where it is not known."""
    return f"{size / 1e6:,.0f} MB" if size else "—"


def signed(score: float | None) -> str:
    """A score with its sign; a dash for none."""
    return "—" if score is None else f"{score:+.2f}".replace("-", "−")


def login(text: str) -> Markup:
    """``text`` with the path of the login as a link."""
    return Markup('<a href="/login">/login</a>').join(text.split("/login"))


def it(what: str) -> str:
    """What is said of a thing in words that follow its name, where its name stands by."""
    return f"it {what}"
