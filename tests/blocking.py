"""Objects of the core as tests use them that wait: what are coroutines there, run to their end here."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from tbcache import admission
from tbcache.io import run
from tbcache.limiter import member
from tbcache.store import Store


class Blocked:
    """``core`` with methods that block."""

    def __init__(self, core: Any) -> None:
        object.__setattr__(self, "core", core)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.core, name)
        if not inspect.iscoroutinefunction(found):
            return found

        @functools.wraps(found)
        def blocking(*args: Any, **kwargs: Any) -> Any:
            return run(found(*args, **kwargs))

        return blocking

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.core, name, value)


class Admission(Blocked):
    """See :class:`tbcache.admission.Admission`."""

    def __init__(self, *args: Any) -> None:
        super().__init__(admission.Admission(*args))

    @property
    def delay(self) -> Any:
        return Blocked(self.core.delay)


class Membership(Blocked):
    """See :class:`tbcache.limiter.member.Membership`."""

    def __init__(self, *args: Any) -> None:
        super().__init__(member.Membership(*args))


def core(one: Any) -> Any:
    """What stands behind ``one``."""
    return one.core if isinstance(one, Blocked) else one


async def go_on(grant: Any, bill: Any) -> Any:
    """In place of a turn: the next page needs no other slot."""
    return grant


def peek_list(store: Store, key: str, seconds: float) -> bytes | None:
    """The first element of a list, as whoever waits for a load sees it."""
    return run(store.first(key, seconds))
