"""What tests of coroutines wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

SECONDS = 30.0


async def until(condition: Callable[[], Any], what: str) -> None:
    """Let the loop run until it holds."""
    async with asyncio.timeout(SECONDS):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.01)
    assert condition(), what


async def cancelled(task: asyncio.Future[Any]) -> None:
    """Cancel it, and wait until it is over."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
