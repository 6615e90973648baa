"""The scripts of the queue; the files in ``tbcache/lua`` say what each does."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Annotated, Literal, NamedTuple

from tbcache.limiter import Given, SlotScript, WindowKeys
from tbcache.limiter.script import SeenReply
from tbcache.models import Lane
from tbcache.models.job import EnqueueState
from tbcache.store import Keys
from tbcache.store.reply import number, record, records, text, texts
from tbcache.store.script import Argument, Key, Script
from tbcache.store.wire import MICROS


class QueueKeys(NamedTuple):
    """The parts of one source's queue; queue.lua says what is in each."""

    interactive: Key
    prewarm: Key
    suspects: Key
    interactive_tags: Key
    prewarm_tags: Key
    delayed: Key
    claims: Key
    jobs: Key
    lanes: Key
    pending: Key
    keys: Key
    tries: Key
    deaths: Key
    dead: Key
    dead_jobs: Key
    reasons: Key
    pace: Key
    bell: Key
    asked: Key
    called: Key
    answered: Key


#: The parts of a queue, as they are named in Redis.
PARTS = tuple(field.replace("_", "-") for field in QueueKeys._fields)


def queue_keys(keys: Keys, source: str) -> QueueKeys:
    """The keys of the queue of ``source``."""
    return _queue_keys(keys.namespace, source)


# Each job that is sent asks for them.
@functools.lru_cache(maxsize=256)
def _queue_keys(namespace: str, source: str) -> QueueKeys:
    keys = Keys(namespace)
    return QueueKeys(*(keys.queue(source, part) for part in PARTS))


class Enqueue(NamedTuple):
    """Queue jobs, or join those that are queued for the same fetches; each ask is an :class:`Ask`."""

    queue: QueueKeys
    state: Key
    clears: Key
    fence: Key
    token: int
    lane: Lane
    delay_us: int
    charge: str
    needed: float
    after: float
    caller: str
    stride: str
    is_requeued: bool
    is_follow_up: bool
    asked_us: int
    deadline_us: int
    asks: tuple[Argument, ...]


class JobAsk(NamedTuple):
    """What enqueue.lua is told of a job; without the key of a fetch it is queued whatever is there."""

    id: str
    message: bytes
    key: str


class Queued(NamedTuple):
    """What became of an ask: the job in force, and the cache's entry of a hit, why it is refused, the token
    of a later leader, or the server's time (us) where it is too late.
    """

    id: str
    state: EnqueueState = "queued"
    entry: bytes = b""


class Otherwise(NamedTuple):
    """What became of an ask that has ``place`` others before it, where no job of its id was simply queued for
    it: as :class:`Queued` has it."""

    place: int
    id: str
    state: Annotated[EnqueueState, lambda word: word.decode()]
    entry: bytes


def queued_of(ids: Iterable[str], replied: Iterable[Otherwise]) -> list[Queued]:
    """What became of the asks of one call, by the ids that they had for their jobs, and what was replied."""
    found = [Queued(id) for id in ids]
    for one in replied:
        found[one.place] = Queued(one.id, one.state, one.entry)
    return found


class SendKeys(NamedTuple):
    """The keys that a job needs which may go at once."""

    interactive: Key
    interactive_tags: Key
    jobs: Key
    lanes: Key
    bell: Key
    state: Key


class Send(NamedTuple):
    """Queue one job that is no fetch, and may go at once."""

    parts: SendKeys
    id: str
    message: bytes
    caller: str
    stride: str
    asked_us: int
    deadline_us: int


class Dequeue(NamedTuple):
    """Give a worker as many jobs as it has idle threads and the source has slots."""

    queue: QueueKeys
    window: WindowKeys
    clears: Key
    most: int
    limits: str
    prewarm_fraction: float
    hold_us: int
    claim_us: int
    present_us: int
    present: str
    suffix: str
    most_deaths: int
    asked_us: int
    deadline_us: int
    process: str
    cost: int
    readiness: str
    charge: str
    seen_before: str
    in_hand: tuple[Argument, ...]


class HandedOut(NamedTuple):
    """A job; ``is_held`` where a slot of its claim's name comes with it."""

    message: bytes
    claim: bytes
    is_held: bool


class Dequeued(NamedTuple):
    """What a worker gets."""

    now: int
    retry_at: int
    is_called: bool
    is_stopped: bool
    seen: SeenReply
    revoked: tuple[bytes, ...]
    jobs: tuple[HandedOut, ...]


class FinishJobs(NamedTuple):
    """Say what became of jobs; what was done of each, see finish.lua."""

    queue: QueueKeys
    slots: Key
    most_tries: int
    asked_us: int
    ends: tuple[Argument, ...]


class Purge(NamedTuple):
    """Forget dead letters; how many there were."""

    queue: QueueKeys
    ids: tuple[Argument, ...]


class Cancel(NamedTuple):
    """Take jobs out of the queue for good; where it ``stops_running``, those that a worker has in hand too.
    ``result`` is what those who wait for one get. What became of each: see :data:`Moved`."""

    queue: QueueKeys
    result: bytes
    stops_running: bool
    ids: tuple[Argument, ...]


class Promote(NamedTuple):
    """Put a job that waits in front of its lane."""

    queue: QueueKeys
    id: str


#: What became of a job that an operator cancels or promotes; it may be in a worker's hands, which is told to
#: stop it where it is cancelled, or over.
Moved = Literal["done", "stopping", "running", "gone"]


class MovedReply(NamedTuple):
    """See :data:`Moved`."""

    state: Annotated[Moved, lambda word: word.decode()]


class Explain(NamedTuple):
    """Ask where jobs stand in their queue, and what the next of them waits for."""

    queue: QueueKeys
    window: WindowKeys
    limits: str
    cost: int
    ids: tuple[str, ...]


class Stand(NamedTuple):
    """Where a job stands; explain.lua has the states. ``reason`` and ``tries`` are of one that is put off. It
    stands for ``many`` jobs that wait one behind the other."""

    state: str
    place: int
    at: int
    reason: str
    tries: int
    many: int


class Explained(NamedTuple):
    """What explain.lua replies."""

    now: int
    interactive: int
    prewarm: int
    suspects: int
    in_hand: int
    limits: str
    stamps: tuple[int, ...]
    each: int
    retry_at: int
    is_stopped: bool
    reason: str
    jobs: tuple[Stand, ...]


class Backlog(NamedTuple):
    """Learn what waits in a queue, and how much of it may go within ``horizon_us``."""

    queue: QueueKeys
    slots: Key
    state: Key
    limits: str
    cost: int
    horizon_us: int


class BacklogReply(NamedTuple):
    """What waits. ``begun`` jobs were handed out in ``begun_us``; ``admissible`` of those that wait may go,
    -1 for any number; ``oldest_ms`` is since 1970."""

    now: int
    waiting: int
    oldest_ms: int
    begun: int
    begun_us: int
    admissible: int


class LookForJobs(NamedTuple):
    """Learn when queues are to be asked for jobs, though nobody rings; look.lua has the five keys of each."""

    queues: tuple[Key, ...]


class Looked(NamedTuple):
    """The server's time, and of each queue when there is something (us); -1: never."""

    now: int
    moments: tuple[int, ...]


#: Behind a claim of a job that is over, and in a worker's hands still (queue.lua).
REVOKED = b"/!"


def job_of(claim: bytes) -> str:
    """The id of the job that a claim is of, which may have any character in it."""
    return claim.decode(errors="replace").rpartition("/")[0]


def slot_of(claim: bytes) -> str:
    """The name of the slot that a job came with, which is that of its claim."""
    return claim.decode(errors="replace")


def _given(ask: Dequeue, reply: Dequeued) -> Given:
    slots = [slot_of(job.claim) for job in reply.jobs if job.is_held]
    return Given(slots, held_seconds=ask.hold_us / MICROS, cost=ask.cost)


SEND = Script("send", Send, text)
ENQUEUE: Script[Enqueue, tuple[Otherwise, ...]] = Script("enqueue", Enqueue, records(Otherwise))
DEQUEUE: SlotScript[Dequeue, Dequeued] = SlotScript("dequeue", Dequeue, record(Dequeued), _given)
EXPLAIN = Script("explain", Explain, record(Explained))
LOOK = Script("look", LookForJobs, record(Looked))
PURGE = Script("purge", Purge, number)
CANCEL = Script("cancel", Cancel, texts)
PROMOTE = Script("promote", Promote, record(MovedReply))
BACKLOG = Script("backlog", Backlog, record(BacklogReply))
FINISH = Script("finish", FinishJobs, texts)
