"""One row of option flow as an item: a trade, an alert, or a day's or an expiry's totals.

A call bought at the ask or a put sold at the bid leans bullish, the reverse
bearish. Every item has a score, so that its words are never scored; what does
not say which way it leans has a weight of 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tbcache.models import Item, Label, Right
from tbcache.models.coerce import fingerprint, moment, number, word

_NEUTRAL = 0.05
_MOST_DOLLARS = 1e12
_CALL_OR_PUT = {"call": 1, "calls": 1, "c": 1, "put": -1, "puts": -1, "p": -1}
_RIGHTS: Mapping[int, Right] = {1: "call", -1: "put"}
_TIMES = ("executed_at", "created_at", "timestamp", "end_time", "start_time", "tape_time", "date")
_CHAINS = ("option_chain_id", "option_symbol", "option_chain")
_ALERT = frozenset(("total_premium", "total_ask_side_prem", "total_bid_side_prem", "alert_rule"))
_TOTALS = frozenset(
    ("bullish_premium", "bearish_premium", "call_premium", "put_premium", "call_volume", "put_volume")
)
_TRADE = frozenset((*_CHAINS, "premium", "tags", "executed_at", "nbbo_bid", "nbbo_ask", "option_type"))
_OCC = re.compile(r"([A-Z0-9.]{1,6}?)\s*(\d{2})(\d{2})(\d{2})([CP])(\d{8})\Z")


def is_row(value: dict[str, Any]) -> bool:
    """True for a row of any documented kind; an acknowledgement or a grouping is not a row."""
    return not (_ALERT | _TOTALS | _TRADE).isdisjoint(value)


def to_item(row: dict[str, Any]) -> Item:
    """Read a row. ``weight`` is its premium in US dollars."""
    at = next((found for name in _TIMES if (found := moment(row.get(name))) is not None), None)
    score = _score(row)
    counts = score is not None and row.get("canceled") is not True
    score = max(-1.0, min(1.0, score or 0.0))
    return Item(
        _id(row, at),
        at,
        _text(row),
        label=_label(score),
        score=score,
        weight=premium(row) if counts else 0.0,
        kind="trade",
        symbols=tuple(filter(None, (word(row.get("ticker")) or word(row.get("underlying_symbol")),))),
        right=_RIGHTS.get(_direction(row) or 0),
        is_multi_leg=row.get("has_multileg") is True and row.get("has_singleleg") is not True,
    )


def _id(row: dict[str, Any], at: datetime | None) -> str:
    post_id = word(row.get("id"))
    if post_id is not None:
        return post_id
    # Totals grow during the day and stay the same row; a trade is what it is.
    if at is None or (_ALERT | _TOTALS).isdisjoint(row):
        plain = {name: value for name, value in row.items() if isinstance(value, str | int | float)}
        return fingerprint(*(f"{name}={value}" for name, value in sorted(plain.items())))
    names = ("ticker", *_CHAINS, "expiry", "strike", "alert_rule")
    return "/".join([*filter(None, (word(row.get(name)) for name in names)), at.isoformat()])


def _label(score: float) -> Label | None:
    if abs(score) < _NEUTRAL:
        return None
    return "bullish" if score > 0 else "bearish"


def _score(row: dict[str, Any]) -> float | None:
    """-1..1; None where the row does not say which way it leans."""
    if "bullish_premium" in row or "bearish_premium" in row:
        return _balance(_amount(row, "bullish_premium"), _amount(row, "bearish_premium"))
    if not _TOTALS.isdisjoint(row):
        return _totals(row)
    if "total_ask_side_prem" in row or "total_bid_side_prem" in row:
        return _alert(row)
    return _trade(row)


def _totals(row: dict[str, Any]) -> float | None:
    """Calls bought and puts sold against calls sold and puts bought."""
    for what in ("premium", "volume"):
        bull = _amount(row, f"call_{what}_ask_side") + _amount(row, f"put_{what}_bid_side")
        bear = _amount(row, f"call_{what}_bid_side") + _amount(row, f"put_{what}_ask_side")
        if (balance := _balance(bull, bear)) is not None:
            return balance
    return None


def _balance(bull: float, bear: float) -> float | None:
    return (bull - bear) / (bull + bear) if bull + bear > 0 else None


def _alert(row: dict[str, Any]) -> float | None:
    """Ask less bid premium over all of it, what traded in between included."""
    ask, bid = _amount(row, "total_ask_side_prem"), _amount(row, "total_bid_side_prem")
    total, direction = max(_amount(row, "total_premium"), ask + bid), _direction(row)
    return None if direction is None or not total else direction * (ask - bid) / total


def _trade(row: dict[str, Any]) -> float | None:
    tags = _tags(row)
    for tag, score in (("bullish", 1.0), ("bearish", -1.0), ("neutral", 0.0)):
        if tag in tags:
            return score
    side, direction = _side(row, tags), _direction(row)
    if side == 0:
        return 0.0
    return None if side is None or direction is None else float(side * direction)


def _tags(row: dict[str, Any]) -> set[str]:
    tags = row.get("tags")
    return {tag.lower() for tag in tags if isinstance(tag, str)} if isinstance(tags, list) else set()


def _side(row: dict[str, Any], tags: set[str]) -> int | None:
    """1 bought at the ask, -1 sold at the bid, 0 in between."""
    named = (word(row.get("side")) or "").lower()
    for name, side in (("ask", 1), ("bid", -1), ("mid", 0)):
        if name == named or f"{name}_side" in tags:
            return side
    price, bid, ask = (number(row.get(name)) for name in ("price", "nbbo_bid", "nbbo_ask"))
    if price is None or bid is None or ask is None:
        return None
    return int(price >= ask) - int(price <= bid)


def _direction(row: dict[str, Any]) -> int | None:
    """1 for a call, -1 for a put."""
    for kind in (row.get("option_type"), row.get("type"), _contract(row).get("type")):
        if (named := (word(kind) or "").lower()) in _CALL_OR_PUT:
            return _CALL_OR_PUT[named]
    return None


def premium(row: dict[str, Any]) -> float:
    """US dollars that changed hands; 0 where the row does not say."""
    for name in ("total_premium", "premium"):
        if (stated := number(row.get(name))) is not None:
            return _dollars(stated)
    for pair in (
        ("call_premium", "put_premium"),
        ("bullish_premium", "bearish_premium"),
        ("total_ask_side_prem", "total_bid_side_prem"),
    ):
        if paid := sum(_amount(row, name) for name in pair):
            return paid
    return _dollars(100 * _amount(row, "price") * _amount(row, "size"))


def _amount(row: dict[str, Any], name: str) -> float:
    return _dollars(number(row.get(name)) or 0.0)


def _dollars(stated: float) -> float:
    """``stated`` as far as it makes sense: sums of these stay finite."""
    return max(0.0, min(_MOST_DOLLARS, stated))


def _contract(row: dict[str, Any]) -> dict[str, str]:
    """Ticker, expiry, strike and type, as the contract's own symbol states them."""
    chain = next((row[name] for name in _CHAINS if isinstance(row.get(name), str)), "")
    found = _OCC.match(chain)
    if not found:
        return {}
    ticker, year, month, day, kind, strike = found.groups()
    price = f"{int(strike) / 1000:g}"
    return {"ticker": ticker, "expiry": f"20{year}-{month}-{day}", "strike": price, "type": kind}


def _text(row: dict[str, Any]) -> str:
    """A line for people, such as ``QQQ 683 call 2026-07-29, $178,857, RepeatedHits``."""
    contract = _contract(row)
    words = (
        word(row.get("ticker")) or word(row.get("underlying_symbol")) or contract.get("ticker"),
        word(row.get("strike")) or contract.get("strike"),
        _RIGHTS.get(_direction(row) or 0, "options"),
        word(row.get("expiry")) or contract.get("expiry") or word(row.get("date")),
    )
    parts = (" ".join(filter(None, words)), f"${premium(row):,.0f}", word(row.get("alert_rule")))
    return ", ".join(filter(None, parts))
