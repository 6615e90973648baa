"""How a load ended, in the words of the scripts and of the figures."""

from __future__ import annotations

import msgspec

from tbcache.admission.verdict import Grant, Settlement
from tbcache.limiter import ProcessWindow
from tbcache.models import Failure
from tbcache.models.price import Bill
from tbcache.models.untrusted import NotJson, read_json
from tbcache.store.wire import to_micros

#: The kinds of failures that the next load would meet as well.
NEGATIVE_KINDS = {"not_found", "bad_request", "not_entitled", "auth"}
NEGATIVE_SECONDS = 60.0
BACKOFF_SECONDS = 5.0

_encode = msgspec.json.Encoder().encode


def end_slot(window: ProcessWindow, grant: Grant, settlement: Settlement) -> None:
    """Do with this process's record of the slot what settle.lua has done with the slot."""
    if settlement.ending == "abandon":
        window.release(grant.slot, grant.ask.source.cost)
    elif settlement.ending != "interrupted":
        window.commit(grant.slot, grant.ask.source.cost)


def once_of(bill: Bill) -> tuple[str | int, ...]:
    """What is billed once a day as the scripts read it: each id with its price."""
    return tuple(part for id, price in bill.once.items() for part in (id, to_micros(price)))


def payload_of(settlement: Settlement) -> bytes:
    """The JSON of the value, or of the failure; empty where nothing of the load is kept."""
    if settlement.payload is not None:
        return settlement.payload
    if settlement.failure is not None and not settlement.is_over:
        return _encode(settlement.failure)
    return b""


def error_kind(settlement: Settlement) -> str:
    """The kind of failure that the figures count; empty for none."""
    failure = settlement.failure or settlement.closed_by
    return failure.kind if failure and not settlement.is_over else ""


def backoff_seconds(settlement: Settlement) -> float:
    """How long a failure stands for all who ask for this key."""
    if settlement.failure is None or settlement.closed_by is not None:
        return 0.0
    return NEGATIVE_SECONDS if settlement.failure.kind in NEGATIVE_KINDS else BACKOFF_SECONDS


def read_failure(data: bytes) -> Failure:
    """What the last load of a key met, as its lease has it."""
    try:
        return read_json(data, Failure)
    except NotJson:
        return Failure("error", "what the last load met cannot be read", 0, None)
