"""One at a time, in the order in which they came, over awaits."""

from __future__ import annotations

import asyncio

from tbcache import io
from tbcache.io.loop import drive
from tests.io.conftest import Run


def test_many_tasks_are_let_in_one_by_one_in_their_order(run: Run) -> None:
    """A thousand that all come back for each that leaves are half a million wakes."""
    mutex, entered, inside = io.Mutex(), [], []

    async def enter(number: int) -> None:
        async with mutex:
            inside.append(number)
            entered.append(number)
            await io.world().sleep(0.0)
            assert inside == [number]
            inside.remove(number)

    async def main() -> None:
        await asyncio.gather(*(drive(enter(number)) for number in range(500)))

    run(main())
    assert entered == list(range(500))
    assert not mutex.is_held


def test_one_who_is_cancelled_while_it_waits_holds_up_nobody(run: Run) -> None:
    """Whether its turn has come at that moment or not."""
    mutex, entered = io.Mutex(), []

    async def enter(name: str, may_leave: asyncio.Event) -> None:
        async with mutex:
            entered.append(name)
            await may_leave.wait()

    async def main() -> None:
        may_leave, free = asyncio.Event(), asyncio.Event()
        free.set()
        first = asyncio.create_task(drive(enter("first", may_leave)))
        await asyncio.sleep(0.01)
        gone, late = (asyncio.create_task(drive(enter(name, free))) for name in ("gone", "late"))
        last = asyncio.create_task(drive(enter("last", free)))
        await asyncio.sleep(0.01)
        gone.cancel()
        await asyncio.sleep(0)
        may_leave.set()
        # It has been let in by the time that it is cancelled.
        await first
        late.cancel()
        await last

    run(main())
    assert entered[0] == "first"
    assert entered[-1] == "last"
    assert "gone" not in entered
    assert not mutex.is_held
