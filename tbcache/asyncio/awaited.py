"""How a method of the awaited API is made of its like in the blocking one, with its arguments and words."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from tbcache.io import world
from tbcache.io.loop import drive

P = ParamSpec("P")
T = TypeVar("T")

#: A method that is awaited.
Awaited = Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]


def driven(core: Awaited[P, T], like: Callable[..., object]) -> Awaited[P, T]:
    """A method that drives ``core``, one of the coroutines of its object's ``_core``."""
    name = core.__name__

    @functools.wraps(like)
    async def method(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        # Of a provider of somebody's own it may be another.
        found: T = await drive(getattr(self._core, name)(*args, **kwargs))
        return found

    return method


def beside(like: Callable[Concatenate[Any, P], T]) -> Awaited[P, T]:
    """A method that does what ``like`` of its object's ``blocking`` does, beside the loop: it shows how
    things stand, by many keys, and nobody is in a hurry for it."""

    @functools.wraps(like)
    async def method(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        async def ask() -> T:
            return await world().offload(lambda: like(self.blocking, *args, **kwargs))

        return await drive(ask())

    return method
