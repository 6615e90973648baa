"""A job: a dramatiq message for one fetch, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import msgspec
from dramatiq.common import current_millis
from dramatiq.encoder import JSONEncoder
from dramatiq.message import get_encoder

from tbcache.io import random_ids
from tbcache.io.description import described
from tbcache.io.trace import NOWHERE, Carrier, carrier
from tbcache.models import Failure, FetchRequest, Lane, Outcome
from tbcache.models.error import InvalidRequest, RateLimited, TbcacheError, UpstreamError
from tbcache.models.untrusted import LINE, NotJson, printable, read_json
from tbcache.queue.wants import Wants
from tbcache.store.wire import to_time

#: How the names of the actors that fetch begin.
FETCH = "fetch."
#: By these options the end of a message sends others.
_SENDS_MORE = frozenset({"pipe_target", "on_success", "on_failure", "group_completion_uuid"})
#: How the reason begins for which a job is put off that no worker so far has been able to run.
UNKNOWN = "it needs a worker that knows"


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How many jobs of a queue wait, run and died. ``suspects`` are those whose workers died twice:
    each waits for a worker that has nothing else in hand. ``source`` is the queue's name, as JSON has it.
    """

    source: str
    interactive: int
    prewarm: int
    delayed: int
    running: int
    dead: int
    suspects: int = 0

    @property
    def waiting(self) -> int:
        return self.interactive + self.prewarm + self.suspects


@dataclass(frozen=True, slots=True)
class Deaths:
    """How many jobs of a queue died, since when (UTC), and why the last of them did."""

    queue: str
    count: int
    first_at: datetime
    reason: str


def read_message_of(data: bytes) -> Any:
    """What a message says, as a worker of this process would read it: dramatiq's JSON knows NaN and lone
    surrogates, and a user's own encoder reads its own.

    Raises:
      NotJson: it cannot be read so.
    """
    try:
        return read_json(data)
    except NotJson:
        try:
            return get_encoder().decode(data)
        except Exception as error:
            raise NotJson(printable(str(error))) from None


class _Wanted(msgspec.Struct):
    """The arguments in a message from which its fetch follows."""

    symbol: str
    hours: int = 24
    lane: Lane = "interactive"
    needed: float = 0.0


class _Message(msgspec.Struct):
    actor_name: str
    kwargs: _Wanted


#: What dramatiq has noted of tries that are over, and until when a pre-warm was to be run.
_OF_TRIES = ("retries", "traceback", "requeue_timestamp", "valid_until", "refusals", "limited")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job that is dead: since when (UTC), why, and the bytes of its message as it was queued."""

    queue: str
    job_id: str
    died_at: datetime
    reason: str
    data: bytes

    @property
    def message(self) -> str:
        """The message as text."""
        return self.data.decode(errors="replace")

    @property
    def symbol(self) -> str:
        """What it was to fetch, as far as its message can be read."""
        return self._said("kwargs", "symbol") or "?"

    @property
    def what(self) -> str:
        """What died: the symbol of a fetch, the actor of any other job; as far as its message can be read."""
        return self._said("kwargs", "symbol") or self.actor or "?"

    @property
    def actor(self) -> str | None:
        """The name of its actor; None where its message cannot be read."""
        return self._said("actor_name")

    @property
    def args(self) -> str | None:
        """What its actor was called with, as JSON in a line; None where its message cannot be read."""
        try:
            found = read_message_of(self.data)
            named = [f"{name}={json.dumps(value)}" for name, value in found["kwargs"].items()]
            return printable(", ".join([*map(json.dumps, found["args"]), *named]))
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            return None

    @property
    def caller(self) -> str | None:
        """In whose name it was queued; None where its message does not say."""
        return self._said("options", "caller")

    @property
    def is_fetch(self) -> bool:
        """True for a source's own job, and no user's."""
        return self.actor == actor_name(self.queue)

    def _said(self, *path: str) -> str | None:
        """What stands in the message at a path; None where nothing does."""
        try:
            found = read_message_of(self.data)
            for name in path:
                found = found[name]
            return str(found).encode(errors="replace").decode()
        except (ValueError, TypeError, LookupError):
            return None

    @property
    def call_key(self) -> str:
        """See :func:`call_key`; "" where its message cannot be read."""
        try:
            found = read_message_of(self.data)
            return call_key(found["args"], found["options"])
        except (ValueError, TypeError, LookupError, AttributeError):
            return ""

    def anew(self) -> bytes | None:
        """The message as it is queued again, with all its tries before it; None where it cannot be read."""
        try:
            found = read_message_of(self.data)
            options = {name: value for name, value in found["options"].items() if name not in _OF_TRIES}
            return get_encoder().encode({**found, "options": options})
        except Exception:
            # An encoder of a user's own may raise anything.
            return None

    def asked(self) -> tuple[FetchRequest, Lane, float] | None:
        """The fetch, its lane, and how fresh the answer was to be; None where the message asks for none."""
        try:
            found = read_json(self.data, _Message)
            asked = found.kwargs
            request = FetchRequest(self.queue, asked.symbol, asked.hours)
        except (NotJson, InvalidRequest):
            return None
        return (request, asked.lane, asked.needed) if found.actor_name == actor_name(self.queue) else None


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a job came to: an outcome, or the upstream's failure, or a limit's word."""

    outcome: Outcome | None = None
    failure: Failure | None = None
    limited_until: float | None = None
    message: str | None = None
    #: The context of the span in which it came about.
    carrier: Carrier = NOWHERE

    @classmethod
    def of(cls, outcome: Outcome | None, error: BaseException | None) -> Result:
        here = carrier()
        if outcome is not None:
            return cls(outcome=outcome, carrier=here)
        if isinstance(error, UpstreamError):
            return cls(failure=Failure.of(error), carrier=here)
        if isinstance(error, RateLimited):
            reason = printable(str(error.reason), LINE)
            return cls(limited_until=error.retry_at.timestamp(), message=reason, carrier=here)
        why = "" if error is None else described(error)
        return cls(message=printable(why, LINE), carrier=here)

    @property
    def is_plain_end(self) -> bool:
        """True where the job is over, and there is no more to say of that: its value is in the cache."""
        return (self.outcome, self.failure, self.limited_until, self.message) == (None,) * 4

    def get(self, source: str) -> Outcome:
        """The outcome.

        Raises:
          TbcacheError: what the job met instead.
        """
        if self.outcome is not None:
            return self.outcome
        if self.failure is not None:
            raise self.failure.to_error(source)
        if self.limited_until is not None:
            raise RateLimited(source, to_time(self.limited_until * 1e6), self.message or "limit reached")
        raise TbcacheError(f"{source}: the job died: {self.message}")


_RESULTS = msgspec.json.Encoder()


def encode_result(result: Result) -> bytes:
    """A result, as :func:`decode_result` reads it; that there is none, where it cannot be written."""
    try:
        return _RESULTS.encode(result)
    except (ValueError, TypeError) as error:
        # The ends of other jobs are told by the same call, and must not wait for this one.
        return _RESULTS.encode(Result(message=f"its result cannot be written ({type(error).__name__})"))


def decode_result(data: bytes) -> Result:
    """What a job came to, as whoever waits for it reads it."""
    try:
        return read_json(data, Result)
    except NotJson:
        return Result(message="its result cannot be read")


@dataclass(frozen=True, slots=True)
class Finish:
    """What is to become of a job in hand."""

    what: Literal["done", "later", "back", "dead"]
    result: Result | None = None
    delay_seconds: float = 0.0
    is_try: bool = False
    #: False where nothing was sent for it, and its slot is free for another.
    is_begun: bool = True
    #: Why it is dead or put off, where it is; "" of one that is put off as whoever queued it asked.
    reason: str = ""
    #: What is to be its message when it comes again; empty for the same.
    message: bytes = b""


#: The end of a job that is given back as it came.
UNBEGUN = Finish("back", is_begun=False)
#: The end of one that was done, and is given back all the same, as nobody may hear of that.
UNHEARD = Finish("back")


def dead(reason: str, *, is_begun: bool = True) -> Finish:
    """The end of a job that will never be done; ``reason`` may have half a character, or control ones."""
    reason = printable(reason, LINE)
    return Finish("dead", Result(message=reason), is_begun=is_begun, reason=reason)


def call_key(args: Sequence[Any], options: Mapping[str, Any]) -> str:
    """The key by which a message, the call of a fetcher, joins another of the same call, and is answered by
    the cache; "" where each message has a job of its own, as where nobody else's end sends what its own does.
    """
    key = options.get("cache_key")
    # The step before has added an argument to that of a pipeline since its key was made.
    is_its_own = len(args) == options.get("cache_key_args", len(args))
    return key if isinstance(key, str) and is_its_own and _SENDS_MORE.isdisjoint(options) else ""


def actor_name(source: str) -> str:
    """The name of the actor that fetches from ``source``."""
    return f"{FETCH}{source}"


def encoded(
    requests: Sequence[FetchRequest], wants: Wants, caller: str | None, carrier: Carrier
) -> Iterator[tuple[str, bytes]]:
    """The ids and the bytes of the messages that ask a worker for ``requests``, which are of one source, by
    the name of its actor.

    What it takes to make one is most of what a job costs. enqueue.lua reads ``lane``, ``needed`` and
    ``after`` in it, and writes them where an ask joins the job.
    """
    # The others are left out where they say nothing: a worker of an earlier version does not know them.
    wanted: dict[str, Any] = {"lane": wants.lane, "needed": wants.needed}
    if wants.after:
        wanted["after"] = wants.after
    options: dict[str, Any] = {"caller": caller, **carrier} if caller else dict(carrier)
    if wants.valid_until:
        options["valid_until"] = wants.valid_until
    encoder = get_encoder()
    # All of it is plain, so that what dramatiq's own encoder writes is written here in a tenth of the time.
    encode = msgspec.json.Encoder().encode if type(encoder) is JSONEncoder else encoder.encode
    sent_at = current_millis()
    for request, message_id in zip(requests, random_ids(len(requests)), strict=True):
        kwargs: dict[str, Any] = {"symbol": request.symbol, "hours": request.hours, **wanted}
        if request.others:
            kwargs["others"] = request.others
        if request.is_deep:
            kwargs["deep"] = True
        fields = {
            "queue_name": request.source,
            "actor_name": actor_name(request.source),
            "args": (),
            "kwargs": kwargs,
            "options": options,
            "message_id": message_id,
            "message_timestamp": sent_at,
        }
        yield message_id, encode(fields)
