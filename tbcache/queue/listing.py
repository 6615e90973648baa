"""The jobs of a queue that are not over, and not dead: which there are, whose, and when each will start."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from tbcache.io import run
from tbcache.models.decoder import convert
from tbcache.models.error import InvalidRequest
from tbcache.models.job import JobState as JobState
from tbcache.models.shape import Shape
from tbcache.models.untrusted import NotJson, printable, quoted, read_json, whole_number
from tbcache.queue.explain import WAITING, Prospect, pacing_source, prospect_of
from tbcache.queue.filter import Filter
from tbcache.queue.job import read_message_of
from tbcache.queue.script import REVOKED, Stand, job_of
from tbcache.settings import Settings
from tbcache.store import Store

#: So many ids, or jobs, are read in one call.
PAGE = 500

_LANES = ("suspects", "interactive", "prewarm")
#: In which parts of a queue the jobs of each state are.
_PARTS: dict[JobState | None, tuple[str, ...]] = {
    None: ("claims", *_LANES, "delayed"),
    "running": ("claims",),
    "waiting": _LANES,
    "delayed": ("delayed",),
    "follows": ("claims", *_LANES, "delayed"),
}


@dataclass(frozen=True, slots=True)
class JobFilter(Filter):
    """Which jobs are meant. When one was queued is as the clock of whoever queued it had it."""

    state: JobState | None = None

    def is_of(self, job: _Summary) -> bool:
        """Whether a job may be meant, by its message."""
        return self._is_of(job.symbol or "", job.caller or "") and (
            self.until is None or job.queued_at is None or job.queued_at <= self.until
        )


@dataclass(frozen=True, slots=True)
class ListedJob(Shape):
    """A job that is neither over nor dead."""

    queue: str
    job_id: str
    state: JobState
    """`follows`: it comes after a running job of the same fetch."""
    lane: str | None
    place: int | None
    """In its lane, from 1, of one that waits."""
    actor: str
    symbol: str | None
    """Null of a job that is no fetch."""
    caller: str | None
    queued_at: datetime | None
    starts_at: datetime | None
    """As far as that is known; of a delayed one when it is due, of a running one when it began."""
    tries: int
    """How often it has failed."""
    cause: str
    """What it waits for, or why it was put off, in a few words."""


class JobPage(NamedTuple):
    """Jobs of a queue; ``rest`` is how many of the queue stand before the next that is meant, None where that
    was all.
    """

    jobs: list[ListedJob]
    rest: int | None


class JobMark(NamedTuple):
    """A place in the lists of queues: how many jobs of a queue come before it. They move on meanwhile."""

    queue: str
    skip: int

    @classmethod
    def read(cls, text: str) -> JobMark:
        """
        Raises:
          InvalidRequest: it is none.
        """
        queue, _, skip = text.rpartition(":")
        if not (queue and skip.isdecimal() and skip.isascii() and len(skip) < 10):
            raise InvalidRequest(f"after {quoted(text)}: it should be as the answer's `Link` has it")
        return cls(queue, int(skip))

    def __str__(self) -> str:
        return f"{self.queue}:{self.skip}"


class _Arguments(msgspec.Struct, frozen=True):
    symbol: str | None = None


class _Options(msgspec.Struct, frozen=True):
    caller: str | None = None


class _Message(msgspec.Struct, frozen=True):
    actor_name: str = "?"
    kwargs: _Arguments = _Arguments()
    options: _Options = _Options()
    message_timestamp: int = 0


class _Fields(NamedTuple):
    """What Redis has of a job beside its place."""

    message: Any
    lane: Any
    tries: Any


class _Found(NamedTuple):
    """A job, and how many of the queue come before it."""

    place: int
    job_id: str
    fields: _Fields


class _Summary(NamedTuple):
    """What a job says of itself."""

    actor: str
    symbol: str | None
    caller: str | None
    lane: str | None
    queued_at: datetime | None


class Listing:
    """The jobs of one queue."""

    def __init__(self, store: Store, settings: Settings, queue: str) -> None:
        self._store, self._settings, self._queue = store, settings, queue

    def search(self, where: JobFilter, most: int) -> list[ListedJob]:
        """The jobs that are meant, at most so many: first those that run, then those that wait, in the
        order in which they are to start, then those that are put off."""
        return self.page(where, most).jobs

    def page(self, where: JobFilter, most: int, skip: int = 0) -> JobPage:
        """The same, without the first ``skip`` jobs of the queue."""
        meant = [*itertools.islice(self._meant(where, skip), most + 1)]
        jobs = self._jobs([(job_id, fields) for _, job_id, fields in meant[:most]])
        rest = meant[most].place if len(meant) > most else None
        return JobPage([job for job in jobs if where.state in (None, job.state)], rest)

    def waiting(self, where: JobFilter) -> list[str]:
        """The ids of the jobs that are meant and in no worker's hands: those that wait, are put off, or
        follow one that runs. Jobs move on meanwhile."""
        held = {*self._part("claims")}
        return [job_id for _, job_id, _ in self._meant(where) if job_id not in held]

    def _meant(self, where: JobFilter, skip: int = 0) -> Iterator[_Found]:
        """The jobs that may be meant, without the first ``skip`` of the queue."""
        ids = self._ids(where.state) if where.job_id is None else iter([where.job_id])
        for page in _pages(itertools.islice(ids, skip, None)):
            for job_id, known in zip(page, self._fields(page), strict=True):
                if where.is_of(_summary(known)):
                    yield _Found(skip, job_id, known)
                skip += 1

    def _ids(self, state: JobState | None) -> Iterator[str]:
        """The ids of all, or of those that may be in ``state``, each once: jobs move on meanwhile."""
        seen = set[str]()
        for job_id in itertools.chain(*map(self._part, _PARTS[state])):
            if job_id not in seen:
                seen.add(job_id)
                if state != "follows":
                    yield job_id
        # Those that follow another job are in no lane.
        if state in (None, "follows") and int(self._store.call("HLEN", self._key("jobs"))) > len(seen):
            all_ids = (one.decode(errors="replace") for one in self._store.call("HKEYS", self._key("jobs")))
            yield from (job_id for job_id in all_ids if job_id not in seen)

    def _part(self, part: str) -> Iterator[str]:
        """The ids of the jobs in a part of the queue."""
        for start in itertools.count(0, PAGE):
            page = self._store.call("ZRANGE", self._key(part), start, start + PAGE - 1)
            for one in page:
                if part != "claims":
                    yield one.decode(errors="replace")
                elif not one.endswith(REVOKED):
                    yield job_of(one)
            if len(page) < PAGE:
                return

    def _jobs(self, meant: list[tuple[str, _Fields]]) -> Iterator[ListedJob]:
        source = pacing_source(self._queue, self._settings)
        prospect = run(prospect_of(self._store, self._settings, source, [job_id for job_id, _ in meant]))
        for (job_id, known), stand in zip(meant, prospect.stands, strict=True):
            if stand.state not in ("dead", "over"):
                yield self._job(job_id, stand, known, prospect)

    def _fields(self, ids: list[str]) -> list[_Fields]:
        asks = (("HMGET", self._key(part), *ids) for part in ("jobs", "lanes", "tries"))
        return [_Fields(*each) for each in zip(*self._store.execute(*asks), strict=True)]

    def _job(self, job_id: str, stand: Stand, known: _Fields, prospect: Prospect) -> ListedJob:
        summary = _summary(known)
        is_waiting = stand.state in WAITING
        return ListedJob(
            queue=self._queue,
            job_id=printable(job_id),
            state="waiting" if is_waiting else stand.state,  # type: ignore[arg-type]
            lane=stand.state if is_waiting else summary.lane,
            place=stand.place + 1 if is_waiting else None,
            actor=summary.actor,
            symbol=summary.symbol,
            caller=summary.caller,
            queued_at=summary.queued_at,
            starts_at=prospect.moment_of(stand),
            tries=whole_number(known.tries) or 0,
            cause=prospect.cause_of(stand),
        )

    def _key(self, part: str) -> str:
        return self._store.keys.queue(self._queue, part)


def _pages(ids: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(ids)
    while page := list(itertools.islice(rest, PAGE)):
        yield page


def _summary(known: _Fields) -> _Summary:
    """What a job says of itself; less, where it cannot be read."""
    try:
        message = _message_in(known.message)
    except (NotJson, TypeError, msgspec.ValidationError):
        message = _Message()
    # "<lane> <stride> <caller>": see queue.lua.
    words = known.lane if isinstance(known.lane, bytes) else b""
    lane, _, account = (*printable(words).split(" ", 2), "", "")[:3]
    symbol = message.kwargs.symbol
    return _Summary(
        printable(message.actor_name),
        None if symbol is None else printable(symbol),
        printable(message.options.caller or account) or None,
        lane or None,
        _moment(message.message_timestamp),
    )


def _message_in(data: Any) -> _Message:
    try:
        return read_json(data, _Message)
    except NotJson:
        return convert(read_message_of(data), _Message)


def _moment(millis: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(millis / 1000, UTC) if millis else None
    except (ValueError, OverflowError, OSError):
        return None
