"""Unusual Whales: flow alerts, recent flow, and volume by day."""

from __future__ import annotations

import functools
import itertools
import random
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from tbcache.embedded.simulator import chatter
from tbcache.embedded.simulator.api import Api, BadParameter, bearer, moment
from tbcache.embedded.simulator.reply import Call, Reply
from tbcache.embedded.simulator.stream import DAY, Stream, is_known
from tbcache.embedded.simulator.window import Arrival, tightest
from tbcache.settings import COMMON_SYMBOLS

ALERTS = "/api/option-trades/flow-alerts"
DAILY_REQUESTS = 15_000
HISTORY_SECONDS = 30 * DAY
RECENT = 50

Handler = Callable[[Mapping[str, str], float], Reply]
StockHandler = Callable[[str, Mapping[str, str], float], Reply]

_SIDES = ("ALL", "ASK", "BID", "MID")
_WORDS = {502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout"}


class OptionsApi(Api):
    """The API of Unusual Whales. Trades come around the clock and at weekends, so that a demo always shows
    some.
    """

    name = "options"
    per_day = 500.0

    def authorize(self, call: Call, now: float) -> Reply | None:
        return None if bearer(call) == self.credentials["TBCACHE_OPTIONS__API_KEY"] else self.error(401)

    def answer(self, call: Call, now: float, plan: str) -> Reply:
        handler = self._route(call)
        if handler is None:
            return Reply.json(404, {"error": "Route not found"})
        try:
            return handler(call.params, now)
        except BadParameter as bad:
            return Reply.json(
                422,
                {"path": call.path, "msg": f"{bad.name}: {bad.message}", "query": urlencode(call.params)},
            )

    def error(self, status: int) -> Reply:
        if status >= 500:
            words = _WORDS.get(status, "Internal Server Error")
            return Reply(status, words.encode(), {"content-type": "text/plain; charset=utf-8"})
        codes = {401: "unauthorized", 403: "advanced_tier_required", 429: "minute_request_limit_hit"}
        return Reply.json(status, {"code": codes[status]} if status in codes else {})

    def refuse(self, arrival: Arrival, now: float) -> Reply:
        return self.quota_exhausted(now) if arrival.tightest.limit.window_seconds >= DAY else self.error(429)

    def quota_exhausted(self, now: float) -> Reply:
        return Reply.json(429, {"code": "daily_request_limit_hit"})

    def rate_headers(self, arrival: Arrival, now: float) -> Mapping[str, str]:
        # The headers have the figures of one short window; of the day they have a counter only.
        within_a_day = tuple(each for each in arrival.readings if each.limit.window_seconds < DAY)
        reading = tightest(within_a_day or arrival.readings)
        return {
            "x-uw-daily-req-count": str(arrival.today),
            "x-uw-token-req-limit": str(DAILY_REQUESTS),
            "x-uw-minute-req-counter": str(reading.used),
            "x-uw-req-per-minute-remaining": str(reading.remaining),
            "x-uw-req-per-minute-reset": str(int(reading.opens_in * 1000) + 1),
        }

    def _route(self, call: Call) -> Handler | None:
        if call.method != "GET":
            return None
        if call.path == ALERTS:
            return self._alerts
        parts = call.path.strip("/").split("/")
        if len(parts) != 4 or parts[:2] != ["api", "stock"]:
            return None
        of_stock = {
            "flow-recent": self._recent,
            "options-volume": self._volume,
            "flow-alerts": self._stock_alerts,
        }
        handler = of_stock.get(parts[3])
        return functools.partial(self._of_stock, handler, parts[2].upper()) if handler else None

    def _of_stock(self, handler: StockHandler, symbol: str, params: Mapping[str, str], now: float) -> Reply:
        return handler(symbol, params, now) if is_known(symbol) else Reply.json(404, {})

    def _stock_alerts(self, symbol: str, params: Mapping[str, str], now: float) -> Reply:
        return self._alerts({**params, "ticker_symbol": symbol}, now)

    def _alerts(self, params: Mapping[str, str], now: float) -> Reply:
        asked = [part.strip().upper() for part in params.get("ticker_symbol", "").split(",") if part.strip()]
        symbols = asked or list(COMMON_SYMBOLS)
        if not any(is_known(symbol) for symbol in symbols):
            return Reply.json(404, {})
        limit = _count(params, "limit", 100, 200)
        newer = _time(params, "newer_than", now - HISTORY_SECONDS)
        older = _time(params, "older_than", now)
        wanted = _filter(params)
        found = self._between(symbols, max(newer, now - HISTORY_SECONDS), min(older, now))
        rows = list(itertools.islice((item for item in found if wanted(_alert(*item))), limit))
        body = {"data": [_alert(*item) for item in rows]}
        return Reply.page(body, tuple(f"{stream.symbol}-{k}" for stream, k in rows))

    def _between(self, symbols: list[str], newer: float, older: float) -> Iterator[tuple[Stream, int]]:
        """Alerts with ``newer < created_at < older``. These times have fractions of seconds."""
        for stream, k in self.items(symbols, newer - 1, max(newer, older)):
            if newer < _at(stream, k) < older:
                yield stream, k

    def _recent(self, symbol: str, params: Mapping[str, str], now: float) -> Reply:
        side = params.get("side", "ALL").upper()
        if side not in _SIDES:
            raise BadParameter("side", f"{side!r} is not one of {', '.join(_SIDES)}")
        least = _count(params, "min_premium", 0, None, least=0)
        trades = (_trade(stream, k) for stream, k in self._between([symbol], now - HISTORY_SECONDS, now))
        wanted = (trade for trade in trades if _is_wanted(trade, side, least))
        rows = list(itertools.islice(wanted, RECENT))
        # The real API repeats trades now and then.
        body = rows + rows[-1:]
        return Reply.page(body, tuple(row["id"] for row in rows))

    def _volume(self, symbol: str, params: Mapping[str, str], now: float) -> Reply:
        limit = _count(params, "limit", 1, 500)
        today = datetime.fromtimestamp(now, UTC).date()
        days = (today - timedelta(days=back) for back in itertools.count())
        trading = itertools.islice((day for day in days if day.weekday() < 5), limit)
        rows = [_volume_row(self.stream(symbol), day.isoformat()) for day in trading]
        return Reply.page({"data": rows}, tuple(row["date"] for row in rows))


def _at(stream: Stream, k: int) -> float:
    return stream.at(k) + (stream.salt + k * 7919) % 1_000_000 / 1_000_000


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _count(params: Mapping[str, str], name: str, default: int, most: int | None, *, least: int = 1) -> int:
    text = params.get(name, str(default))
    if not text.isdecimal() or int(text) < least or (most is not None and int(text) > most):
        bounds = f"between {least} and {most}" if most else f"at least {least}"
        raise BadParameter(name, f"{text!r} is not a whole number, {bounds}")
    return int(text)


def _time(params: Mapping[str, str], name: str, default: float) -> float:
    """The time in a parameter, which is Unix seconds, Unix milliseconds or ISO 8601."""
    text = params.get(name, "")
    if not text:
        return default
    try:
        number = float(text) if text.replace(".", "", 1).isdecimal() else moment(text)
    except ValueError:
        raise BadParameter(name, f"{text!r} is no Unix time and no ISO 8601 time") from None
    return number / 1000 if number > 1e11 else number


def _filter(params: Mapping[str, str]) -> Callable[[Mapping[str, Any]], bool]:
    """The test for alerts by premium, size, type and kind of trade, as ``params`` ask for."""
    least, most = (_count(params, f"{end}_premium", 0, None, least=0) for end in ("min", "max"))
    smallest = _count(params, "min_size", 0, None, least=0)
    flags = {
        name: params.get(f"is_{name}", "").lower() == "true" for name in ("call", "put", "sweep", "floor")
    }

    def is_wanted(alert: Mapping[str, Any]) -> bool:
        premium = int(alert["total_premium"])
        return (
            least <= premium <= (most or premium)
            and alert["total_size"] >= smallest
            and not any(flags[other] and not flags[alert["type"]] for other in ("call", "put"))
            and all(alert[f"has_{name}"] for name in ("sweep", "floor") if flags[name])
        )

    return is_wanted


class _Contract:
    """The option that item ``k`` is about, and on which side of the market its buyers were."""

    def __init__(self, stream: Stream, k: int, dice: random.Random) -> None:
        self.at = _at(stream, k)
        self.underlying = chatter.price(stream, self.at)
        self.view = chatter.stance(dice, stream.mood(self.at))
        self.is_call = dice.random() < (0.6 if self.view != "bearish" else 0.4)
        step = 5 if self.underlying > 100 else 1
        self.strike = max(step, round(self.underlying * (0.9 + 0.2 * dice.random()) / step) * step)
        expiry = datetime.fromtimestamp(self.at, UTC) + timedelta(days=dice.choice((1, 3, 7, 14, 30, 60)))
        self.expiry = expiry.date().isoformat()
        letter = "C" if self.is_call else "P"
        self.chain = f"{stream.symbol}{expiry:%y%m%d}{letter}{self.strike * 1000:08d}"
        self.price = round(self.underlying * (0.004 + 0.04 * dice.random()), 2)
        self.size = dice.randrange(50, 3000)
        self.ask_share = self._ask_share(dice)

    @property
    def type(self) -> str:
        return "call" if self.is_call else "put"

    @property
    def premium(self) -> int:
        return round(self.price * self.size * 100)

    def _ask_share(self, dice: random.Random) -> float:
        """The fraction that was traded at the ask. A bullish view buys calls there, and sells puts at the
        bid.
        """
        if self.view == "neutral":
            return 0.45 + 0.1 * dice.random()
        is_bought = self.is_call == (self.view == "bullish")
        return 0.7 + 0.3 * dice.random() if is_bought else 0.3 * dice.random()


@functools.lru_cache(maxsize=8192)
def _alert(stream: Stream, k: int) -> dict[str, Any]:
    dice = stream.dice(k)
    contract = _Contract(stream, k, dice)
    open_interest = dice.randrange(100, 40_000)
    volume = contract.size + dice.randrange(9000)
    return {
        "ticker": stream.symbol,
        "option_chain": contract.chain,
        "type": contract.type,
        "strike": str(contract.strike),
        "expiry": contract.expiry,
        "created_at": _stamp(contract.at),
        "price": f"{contract.price:.2f}",
        "underlying_price": f"{contract.underlying:.2f}",
        "total_premium": str(contract.premium),
        "total_ask_side_prem": str(round(contract.premium * contract.ask_share)),
        "total_bid_side_prem": str(contract.premium - round(contract.premium * contract.ask_share)),
        "total_size": contract.size,
        "trade_count": dice.randrange(1, 60),
        "volume": volume,
        "open_interest": open_interest,
        "volume_oi_ratio": f"{volume / open_interest:.12f}",
        "alert_rule": dice.choice(("RepeatedHits", "RepeatedHitsAscendingFill", "FloorTradeLargeCap")),
        "has_sweep": dice.random() < 0.5,
        "has_floor": dice.random() < 0.1,
        "has_multileg": (has_legs := dice.random() < 0.1),
        # Half of the alerts with several legs have single trades too.
        "has_singleleg": not has_legs or k % 2 == 0,
        "all_opening_trades": dice.random() < 0.2,
        "expiry_count": 1,
        "iv_start": f"{0.2 + dice.random():.12f}",
        "iv_end": f"{0.2 + dice.random():.12f}",
    }


@functools.lru_cache(maxsize=8192)
def _trade(stream: Stream, k: int) -> dict[str, Any]:
    dice = stream.dice(k)
    contract = _Contract(stream, k, dice)
    side = "mid" if contract.view == "neutral" else "ask" if contract.ask_share > 0.5 else "bid"
    mark = {"bullish": ["bullish"], "bearish": ["bearish"], "neutral": []}[contract.view]
    return {
        "id": str(uuid.UUID(int=dice.getrandbits(128), version=4)),
        "option_chain_id": contract.chain,
        "underlying_symbol": stream.symbol,
        "option_type": contract.type,
        "strike": str(contract.strike),
        "expiry": contract.expiry,
        "executed_at": _stamp(contract.at),
        "price": f"{contract.price:.2f}",
        "size": contract.size,
        "premium": f"{contract.premium:.2f}",
        "nbbo_bid": f"{contract.price * (1 if side == 'bid' else 0.97):.2f}",
        "nbbo_ask": f"{contract.price * (1 if side == 'ask' else 1.03):.2f}",
        "underlying_price": f"{contract.underlying:.2f}",
        "tags": [f"{side}_side", *mark],
    }


def _is_wanted(trade: Mapping[str, Any], side: str, least: int) -> bool:
    return (side == "ALL" or f"{side.lower()}_side" in trade["tags"]) and float(trade["premium"]) >= least


def _volume_row(stream: Stream, date: str) -> dict[str, Any]:
    dice = random.Random(f"{stream.salt}:{date}")
    mood = stream.mood(moment(date))
    calls, puts = dice.randrange(20_000, 900_000), dice.randrange(20_000, 900_000)
    bullish, bearish = round(1e8 * (1 + 0.4 * mood)), round(1e8 * (1 - 0.4 * mood))
    return {
        "date": date,
        "call_volume": calls,
        "put_volume": puts,
        "call_volume_ask_side": round(calls * 0.46),
        "call_volume_bid_side": round(calls * 0.48),
        "put_volume_ask_side": round(puts * 0.45),
        "put_volume_bid_side": round(puts * 0.47),
        "call_open_interest": calls * 4,
        "put_open_interest": puts * 5,
        "call_premium": str(calls * 190),
        "put_premium": str(puts * 180),
        "bullish_premium": str(bullish),
        "bearish_premium": str(bearish),
        "net_call_premium": str((bullish - bearish) // 2),
        "net_put_premium": str((bearish - bullish) // 2),
        "avg_30_day_call_volume": f"{calls * 0.9:.12f}",
        "avg_30_day_put_volume": f"{puts * 0.9:.12f}",
    }
