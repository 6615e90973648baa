from __future__ import annotations

from typing import Any

import run
from unusualwhales.api.flow import get_ticker_order_flow, get_unusual_flow_alerts
from unusualwhales.api.stock import get_options_volume
from unusualwhales.client import UnusualWhalesClient


def script(base: str) -> dict[str, Any]:
    client = _client(base, run.credential("TBCACHE_OPTIONS__API_KEY"))
    alerts = get_unusual_flow_alerts.sync("NVDA", client=client, limit=50).data
    calls = get_ticker_order_flow.sync_detailed(
        client=client, ticker_symbol="NVDA,TSLA", limit=40, is_call=True, min_premium=100_000
    )
    days = get_options_volume.sync("NVDA", client=client, limit=5)
    return {
        "alerts": len(alerts),
        "tickers": sorted({alert.ticker for alert in alerts}),
        "types": sorted({alert.type.value for alert in alerts}),
        "premiums": all(int(alert.total_premium) > 0 for alert in alerts),
        "unread": sorted({name for alert in alerts for name in alert.additional_properties}),
        "calls": calls.parsed.additional_properties["data"],
        "days": len(days.additional_properties["data"]),
        "wrong": get_unusual_flow_alerts.sync_detailed("NVDA", client=_client(base, "x")).status_code,
        "unknown": get_unusual_flow_alerts.sync_detailed("ZZZQ", client=client).status_code,
        "too_many": get_unusual_flow_alerts.sync("NVDA", client=client, limit=500).to_dict(),
    }


def _client(base: str, token: str) -> UnusualWhalesClient:
    return UnusualWhalesClient(base_url=f"{base}/options", token=token)


run.main(script)
