"""Clears: noted in logs that every reader looks at, and swept from Redis after that."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Literal

from tbcache.cache.script import CLEAR, COMPACT, SWEEP, ClearPattern, Compact, Sweep
from tbcache.io import now, random_id, run, world
from tbcache.io.background import BackgroundThread
from tbcache.io.log import get_logger
from tbcache.store import Keys, Store, Unavailable
from tbcache.store.clear import NO_CLEARS, ClearLog, read_log, read_logs
from tbcache.store.key import EVERYTHING, head_of, is_timeline
from tbcache.store.lead import LEAD, Lead

log = get_logger("tbcache.cache")

#: Logs of clears, by name; the one that has every clear is the first.
Logs = dict[str, ClearLog]
Kind = Literal["cache", "lease"]

#: Every reader reads the log: one that is longer is swept by whoever clears next.
MOST_CLEARS = 64
#: A sweeper that is not heard of for so long has died, and another takes over.
CLAIM_MS = 10_000
#: So few that no step holds up the server's readers.
SCAN_COUNT = 50
MOST_REST_SECONDS = 0.01
BATCH = 3
#: How long a sweep in the background waits for a server that is just coming back.
RETURN_SECONDS = 5.0


class Sweeper:
    """Clears patterns for one process. Every method raises Unavailable when Redis is away."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._thread = BackgroundThread("tbcache-sweep", self._resume_once)

    async def hide(self, pattern: str) -> Logs:
        """Hide everything that matches, from everyone and at once.

        Returns the logs as they are now, those that this process reads.
        """
        keys = self._store.keys
        logs = {
            name: read_log(await self._store.ask(CLEAR, ClearPattern(name, pattern)))
            for name in keys.clears_for(pattern)
        }
        return {name: one for name, one in logs.items() if name in keys.all_clears}

    async def sweep(self, pattern: str) -> int:
        """Remove what a clear of ``pattern`` hides; how many entries that were."""
        logs = {name: one.only(pattern) for name, one in (await self._read()).items()}
        async with self._claimed(random_id()) as claim:
            count = await self._sweep(logs, claim)
        # A process that cleared meanwhile has seen the claim and left the sweep to us.
        if _patterns(await self._read()):
            self.start()
        return count

    async def sweep_all(self) -> int:
        """Remove what any clear hides, also where another does the same."""
        async with self._claimed(random_id()) as claim:
            return await self._sweep(await self._read(), claim)

    async def resume(self) -> int:
        """Go on with what nobody sweeps, until nothing is left; how many entries that were."""
        count, claim = 0, random_id()
        # Looked at again after the claim is given back: who cleared meanwhile left it to us.
        while _patterns(logs := await self._read()):
            async with self._claimed(claim) as is_ours:
                if not is_ours:
                    break
                count += await self._sweep(logs, claim)
        return count

    def start(self) -> None:
        """:meth:`resume`, in a thread of its own."""
        self._thread.start()

    def close(self) -> None:
        """End the thread; what it leaves is hidden, and another goes on with it."""
        self._thread.stop(timeout=0.0)

    def _resume_once(self) -> None:
        deadline = now() + RETURN_SECONDS
        while not self._store.is_available and now() < deadline and not self._thread.is_stopping:
            self._thread.pause(0.05)
        try:
            run(self.resume())
        except Unavailable as error:
            # The cleared values stay hidden, and another process goes on with the sweep.
            log.info("sweep.left", reason=error.reason)

    # --- the claim ---------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _claimed(self, claim: str) -> AsyncIterator[str]:
        """Hold the claim while it lasts; "" when another has it."""
        is_ours = await self._renew(claim)
        try:
            yield claim if is_ours else ""
        finally:
            if is_ours:
                with contextlib.suppress(Unavailable):
                    await self._store.ask(LEAD, Lead(self._store.keys.sweeper, claim, 0))

    async def _renew(self, claim: str) -> bool:
        return await self._store.ask(LEAD, Lead(self._store.keys.sweeper, claim, CLAIM_MS)) > 0

    # --- sweeping ----------------------------------------------------------------------

    async def _read(self) -> Logs:
        """Every log that this process knows of, and those its patterns went to besides."""
        keys = self._store.keys
        logs = await read_logs(self._store, keys.all_clears)
        more = {name for pattern in _patterns(logs) for name in keys.clears_for(pattern)} - logs.keys()
        return {**logs, **await read_logs(self._store, sorted(more))} if more else logs

    async def _sweep(self, logs: Logs, claim: str) -> int:
        """Remove what the logs hide, and take it off them.

        Leases go first: without its lease no answer under way is stored, so that whatever
        was loaded before the clear is there, to be found, once the entries are looked through.
        """
        if not _patterns(logs):
            return 0
        await self._remove("lease", logs, claim)
        count = await self._remove("cache", logs, claim)
        # The one that has them all is the last: until then, another finds what is left to do.
        for name, one in reversed(logs.items()):
            if one.clears:
                await self._store.ask(COMPACT, Compact(name, tuple(clear.line for clear in one.clears)))
        return count

    async def _remove(self, kind: Kind, logs: Logs, claim: str) -> int:
        swept, renewed_at = 0, now()
        async for names, sequences, is_value in self._find(kind, logs):
            pending = _pending(self._store.keys, names[0])
            count = await self._store.ask(SWEEP, Sweep(pending, tuple(names), kind, tuple(sequences)))
            swept += count if is_value else 0
            if claim and now() - renewed_at > CLAIM_MS / 4000:
                await self._renew(claim)
                renewed_at = now()
        return swept

    async def _find(self, kind: Kind, logs: Logs) -> AsyncIterator[tuple[list[bytes], list[int], bool]]:
        """Redis keys of a kind that the logs hide, if they are not new; in batches of one hash tag.

        With each its clear's sequence; and whether they are values, not timelines: those are not counted.
        """
        keys = self._store.keys
        found: dict[tuple[str, bool], tuple[list[bytes], list[int], bool]] = {}
        async for name in self._scan(keys.matching(kind, _common(_patterns(logs)))):
            key = keys.key_of(name.decode(errors="surrogateescape"))
            sequence = _cleared_at(logs, keys.clears_of(key), keys.clears(EVERYTHING), key)
            if not sequence:
                continue
            batch = head_of(key), not is_timeline(key)
            names, sequences, _ = found.setdefault(batch, ([], [], batch[1]))
            names.append(name)
            sequences.append(sequence)
            if len(names) == BATCH:
                yield found.pop(batch)
        for one in found.values():
            yield one

    async def _scan(self, match: str) -> AsyncIterator[bytes]:
        started = now()
        async for batch in self._store.scan(match, SCAN_COUNT):
            for name in batch:
                yield name
            # The rest is as long as the step: half of the server's time, and of ours, is for others.
            await world().sleep(min(MOST_REST_SECONDS, now() - started))
            started = now()


def _patterns(logs: Logs) -> set[str]:
    return {clear.pattern for one in logs.values() for clear in one.clears}


def _pending(keys: Keys, name: bytes) -> bytes:
    """The jobs of the queue that has the hash tag of an entry or a lease for its name."""
    head = head_of(keys.key_of(name.decode(errors="surrogateescape")))
    return keys.queue(head, "pending").encode(errors="surrogateescape")


def _common(patterns: set[str]) -> str:
    """A glob for what any of them matches."""
    if len(patterns) == 1:
        return next(iter(patterns))
    heads = {head_of(pattern) if ":" in pattern else "*" for pattern in patterns}
    return f"{heads.pop()}:*" if len(heads) == 1 else "*"


def _cleared_at(logs: Logs, of_source: str, everything: str, key: str) -> int:
    """When the key was cleared, by its source's log; where whoever cleared did not know the source, by the
    log that has every clear."""
    # A source that has become known since the logs were read is not among them.
    return logs.get(of_source, NO_CLEARS).cleared_at(key) or logs[everything].cleared_at(key)
