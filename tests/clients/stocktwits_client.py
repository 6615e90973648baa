from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import run
from stocktwits_collector.collector import Collector


def script(base: str) -> dict[str, Any]:
    # A page that holds two days makes this client begin again at the newer one, without end: each night
    # it uses up the limit.
    Collector.is_same_chunk = lambda *_, **__: True
    start = f"{datetime.now(UTC) - timedelta(hours=3):%Y-%m-%dT%H:%M:%SZ}"
    newest = Collector().get_data({"symbols": ["NVDA"]})
    history = Collector().get_history({"symbols": ["NVDA"], "start": start})
    author = history[0]["user"]["username"]
    of_user = Collector().get_data({"users": [author]})
    run.naps()
    run.faults(base, stocktwits={"limits": "1/1h"})
    limited = _error(lambda: [Collector().get_data({"symbols": ["NVDA"]}) for _ in range(2)])
    run.faults(base)
    return {
        "newest": len(newest),
        "unique": len({message["id"] for message in history}),
        "reaches": min(message["created_at"] for message in history) <= start,
        "named": all("NVDA" in [symbol["symbol"] for symbol in message["symbols"]] for message in history),
        "labels": sorted(
            {
                message["entities"]["sentiment"]["basic"]
                for message in history
                if message["entities"]["sentiment"]
            }
        ),
        "author": author,
        "of_user": sorted({message["user"]["username"] for message in of_user}),
        "limited": limited,
    }


def _error(ask: Any) -> str:
    try:
        ask()
    except Exception as error:
        return str(error)
    return ""


run.main(script)
