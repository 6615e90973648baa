"""``tbcache alert``: of what somebody is told, what has been, and whether the webhook hears it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tbcache.cli.command import JSON, command, commands, group
from tbcache.cli.context import quiet_settings, require_redis
from tbcache.cli.error import say
from tbcache.cli.exit import FAILED, OK
from tbcache.cli.output import print_json, print_note, print_table, tell, wants_json
from tbcache.cli.table import rows_table
from tbcache.io import utc_now
from tbcache.models.age import rough
from tbcache.models.error import ConfigurationError

if TYPE_CHECKING:
    from tbcache.fleet import Incident


MOST_SHOWN = 20
NOBODY = "nobody: no process of the fleet is running"
UNKNOWN = "not known: the process that watches does not say"
NO_WEBHOOK = "none: set TBCACHE_ALERT_WEBHOOK_URL for every process of the fleet; the log alone is told"


@group(commands, "alert", "tbcache alert --json", JSON)
def alerts(most: Annotated[int, typer.Option(min=1, max=500, help="List so many.")] = MOST_SHOWN) -> None:
    """List the fleet's rules of alerts, and the incidents: those that are open, and the last that ended."""
    fleet = require_redis(quiet_settings())
    found, watcher = fleet.incidents(), fleet.watcher()
    shown = sorted(found, key=lambda one: one.ended_at is not None)[:most]
    rules, webhook = watcher.rules, watcher.webhook
    if wants_json():
        who = {"name": watcher.name, "fault": watcher.fault}
        print_json({"rules": rules, "webhook": webhook, "watcher": who, "incidents": shown})
        return
    print_note(f"watches  {watcher.fault or watcher.name or NOBODY}")
    if rules is not None:
        print_note(f"rules    {', '.join(rules) or 'none'}")
        print_note(f"webhook  {webhook or NO_WEBHOOK}")
    elif watcher.name is not None:
        print_note(f"rules    {UNKNOWN}")
    if not shown:
        say("there was no trouble within the last 7 days")
        return
    columns = ("?kind", "?of", "began at (UTC)", ">lasted", "state", "what, as it began")
    print_table(rows_table(columns, map(_row, shown)))


@command(alerts, "test", "tbcache alert test", JSON)
def send_test() -> int:
    """Send a test to the webhook, once, and say what comes back."""
    settings = quiet_settings()
    from tbcache.fleet.alert import Webhook, send_trial

    webhook = Webhook.of(settings)
    if webhook is None:
        raise ConfigurationError(
            "there is no webhook: set TBCACHE_ALERT_WEBHOOK_URL and TBCACHE_ALERT_WEBHOOK_SECRET"
        )
    answer = send_trial(webhook, settings)
    said = f"answered {answer.reason}" if answer.status is not None else f"does not answer: {answer.reason}"
    done = {
        "webhook": webhook.address,
        "is_accepted": answer.is_accepted,
        "status": answer.status,
        "reason": answer.reason,
        "seconds": round(answer.seconds, 3),
    }
    tell(done, f"{webhook.address} {said} ({answer.seconds:.2f} s)")
    return OK if answer.is_accepted else FAILED


def _row(one: Incident) -> tuple[str, ...]:
    from tbcache.fleet import when

    now = utc_now()
    return one.kind, one.name or "-", when(one.began_at, now), rough(one.lasted(now)), _state(one), one.what


def _state(one: Incident) -> str:
    if one.ended_at is not None:
        return "ended"
    if one.opened_at is None:
        return "open"
    if one.tries and not one.unsent:
        return f"open, given up (tries: {one.tries})"
    if one.tries:
        return f"open, not told yet (tries: {one.tries})"
    return "open, told" if one.sent else "open, in the log"
