"""On whose account a job waits in its lane; queue.lua says what follows from that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tbcache.models.caller import check_caller, current_caller
from tbcache.models.error import InvalidRequest
from tbcache.settings import Settings
from tbcache.settings.caller import account_of

#: How far apart the places of a caller are whose weight is 1.
STRIDE = 1_000_000


class Account(NamedTuple):
    """A caller, and how far apart its places in a lane are."""

    caller: str
    stride: int


def caller_name(given: str | None, settings: Settings) -> str:
    """The name that is ``given``, or that of the thread or task, or the process's own.

    Raises:
      InvalidRequest: what is given is no name of a caller.
    """
    return check_caller(given) if given is not None else current_caller.get() or settings.own_caller


def caller_in(options: Mapping[str, Any]) -> str | None:
    """The caller that the options of a message name; None where they name none, or are damaged."""
    try:
        return check_caller(options["caller"]) if "caller" in options else None
    except InvalidRequest:
        return None


def account_for(name: str, weights: Mapping[str, float]) -> Account:
    """The account of the caller ``name``."""
    account = account_of(name, weights)
    return Account(account, round(STRIDE / weights.get(account, 1.0)))
