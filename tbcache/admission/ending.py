"""How a load ended, in the form that the scripts and the figures take it."""

from __future__ import annotations

import msgspec

from tbcache.admission.verdict import Grant, Settlement
from tbcache.limiter import ProcessWindow
from tbcache.models import Failure
from tbcache.models.price import Bill
from tbcache.models.untrusted import NotJson, read_json
from tbcache.store.wire import to_micros

#: Failures of these kinds would most likely meet the next load as well, so they stand for longer.
NEGATIVE_KINDS = {"not_found", "bad_request", "not_entitled", "auth"}
NEGATIVE_SECONDS = 60.0
BACKOFF_SECONDS = 5.0
#: A timeline that nobody asks for is kept for so long (seconds). Most upstreams answer for as many days, so
#: that an older one would be loaded anew in any case.
TIMELINE_SECONDS = 7 * 86400.0

_encode = msgspec.json.Encoder().encode


def end_slot(window: ProcessWindow, grant: Grant, settlement: Settlement) -> None:
    """Change this process's record of the slot as settle.lua has changed the slot in Redis."""
    if settlement.ending == "abandon":
        window.release(grant.slot, grant.ask.source.cost)
    elif settlement.ending != "interrupted":
        window.commit(grant.slot, grant.ask.source.cost)


def once_of(bill: Bill) -> tuple[str | int, ...]:
    """The items that are billed once a day, in the form of the scripts: each id, followed by its price."""
    return tuple(part for id, price in bill.once.items() for part in (id, to_micros(price)))


def payload_of(settlement: Settlement) -> bytes:
    """What is stored of the load: the JSON of the value or of the failure, or nothing (b"")."""
    if settlement.payload is not None:
        return settlement.payload
    return b"" if settlement.failure is None else _encode(settlement.failure)


def error_kind(settlement: Settlement) -> str:
    """The kind of the failure that the figures count; "" where there is none."""
    failure = settlement.failure or settlement.closed_by
    return failure.kind if failure and not settlement.is_over else ""


def backoff_seconds(settlement: Settlement) -> float:
    """For how long the failure answers everyone who asks for this key. It is 0 where the whole source is
    closed, which answers them already.
    """
    if settlement.failure is None or settlement.closed_by is not None:
        return 0.0
    return NEGATIVE_SECONDS if settlement.failure.kind in NEGATIVE_KINDS else BACKOFF_SECONDS


def read_failure(data: bytes) -> Failure:
    """Read the failure of a key's last load, which stands in its lease."""
    try:
        return read_json(data, Failure)
    except NotJson:
        return Failure("error", "what the last load met cannot be read", 0, None)
