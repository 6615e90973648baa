"""What is not broken off in the middle."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from tbcache.io.current import world

T = TypeVar("T")


async def finish(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What ``work`` returns. It goes on to its end though the caller is cancelled, who is told after that."""
    found: Future[T] = Future()

    async def bring() -> None:
        try:
            found.set_result(await work())
        except BaseException as error:
            found.set_exception(error)

    world().undo(bring)
    try:
        return await world().wait(found)
    except BaseException:
        await _over(found)
        raise


def is_cancelled(error: BaseException) -> bool:
    """True where a caller was cancelled, who is not there any more for what was granted."""
    # A caller that was cancelled has loaded the module before.
    import asyncio

    return isinstance(error, asyncio.CancelledError)


async def _over(found: Future[Any]) -> None:
    """Wait for the end, whatever it is."""
    try:
        if not found.done():
            await world().wait(found)
    except Exception:
        return
