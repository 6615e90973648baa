"""What can be done to jobs: to one that waits, and to those that are dead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tbcache.api.page.verb import SEARCHED, Doing, Verb, searched
from tbcache.fleet import JobFilter
from tbcache.models.age import age
from tbcache.models.error import InvalidRequest

#: How a search is said, by its fields.
_SEARCHED = {
    "symbol": "whose symbol is {}",
    "id": "whose id is {}",
    "error": "whose reason has {!r} in it",
    "caller": "whose caller is {}",
}


def _job(do: Doing) -> str:
    """The job that the form is about, in a few words."""
    return f"the job {do.field('job')} ({do.fleet.explain(do.field('job'), do.source).state})"


def _said(do: Doing, state: str, done: str) -> str:
    if state == "stopping":
        return f"A worker has {do.field('job')} in hand, and is told to stop it. It does not come again."
    if state == "delayed":
        return f"The job stays put off: {do.source} {do.operator.why_put_off(do.source)}."
    if state == "running":
        return f"A worker has {do.field('job')} in hand by now: it is left alone."
    return f"The job is {done}." if state == "done" else "The job is over by now."


def _ask_cancel(do: Doing) -> str:
    return f"Take {_job(do)} out of the queue of {do.source} for good? Who waits for it is told."


def _cancel(do: Doing) -> str:
    return _said(do, do.operator.cancel(do.source, do.field("job"), do.why), "cancelled")


def _meant(do: Doing) -> JobFilter:
    if do.fields.get("error"):
        raise InvalidRequest("a job that waits has no error yet")
    symbol, job, caller = (do.fields.get(name) or None for name in ("symbol", "id", "caller"))
    return JobFilter(symbol, job, caller, do.until)


def _ask_cancel_all(do: Doing) -> str:
    count, said = do.operator.count_jobs(do.source, _meant(do)), _said_of(do)
    many = "1 job that waits" if count == 1 else f"{count:,} jobs that wait"
    return f"Take the {many} for {do.source}{said} out of its queue for good? Who waits for one is told."


def _cancel_all(do: Doing) -> str:
    count, where = do.operator.cancel_jobs(do.source, _meant(do), do.why), _meant(do)
    later = do.operator.count_jobs(do.source, replace(where, until=None)) if where.until else 0
    return f"{count:,} jobs of {do.source} are cancelled{_left(later)}.{_quicker(count)}"


def _ask_promote(do: Doing) -> str:
    source = do.status_of(do.source)
    is_failing = source is not None and source.state == "failing"
    last = f" {do.source} is failing: it would fail as well, and have a try less." if is_failing else ""
    return f"Put {_job(do)} in front of its lane in the queue of {do.source}?{last}"


def _promote(do: Doing) -> str:
    return _said(do, do.operator.promote(do.source, do.field("job")), "in front of its lane")


def _dead(do: Doing) -> str:
    """The dead letters that are meant, with how many those are now."""
    count = do.operator.count_dead(do.source, do.letters)
    many = "1 dead job" if count == 1 else f"{count:,} dead jobs"
    return f"{many} of {do.source}{_said_of(do)}"


def _said_of(do: Doing) -> str:
    """Which jobs of the queue are meant."""
    said = [words.format(do.fields[name]) for name, words in _SEARCHED.items() if do.fields.get(name)]
    return f" {' and '.join(said)}" if said else ""


def _ask_requeue(do: Doing) -> str:
    count, source = do.operator.count_dead(do.source, do.letters), do.status_of(do.source)
    seconds = source.seconds_for(count + source.queue.waiting) if source and source.queue else None
    last = ""
    if source and source.state == "failing":
        last = f" {source.name} is failing: they would fail as well."
    elif seconds:
        last = f" Its limits take about {age(seconds)} until the last of them, and pre-warms come after."
    return f"Queue the {_dead(do)} again?{last}"


def _requeue(do: Doing) -> str:
    done = do.operator.requeue_dead(do.source, do.letters)
    unread = f"; {done.left:,} stay dead, as they cannot be read" if done.left else ""
    later = _left(_died_later(do) - done.left)
    quicker = _quicker(done.queued + done.left)
    return f"{done.queued:,} dead jobs of {do.source} are queued again{unread}{later}.{quicker}"


def _died_later(do: Doing) -> int:
    """How many letters that are meant are there once those of the question are gone."""
    return do.operator.count_dead(do.source, searched(do.fields)) if do.until else 0


def _left(count: int) -> str:
    return f"; {count:,} that came while you were asked are left" if count > 0 else ""


def _quicker(count: int) -> str:
    return "" if count else " None was left: somebody was quicker, and the audit says who."


def _ask_purge(do: Doing) -> str:
    return f"Forget the {_dead(do)} for good?"


def _purge(do: Doing) -> str:
    count = do.operator.purge_dead(do.source, do.letters)
    return f"{count:,} dead jobs of {do.source} are forgotten{_left(_died_later(do))}.{_quicker(count)}"


_WHY = {"why": "Why (for who waits)"}

VERBS: Mapping[str, Verb] = {
    "cancel": Verb("Cancel", "tbcache queue cancel {source} {job}", _ask_cancel, _cancel, _WHY),
    "cancel-all": Verb(
        "Cancel what waits",
        "tbcache queue cancel {source}",
        _ask_cancel_all,
        _cancel_all,
        _WHY,
        ("symbol", "caller"),
        is_of_many=True,
    ),
    "promote": Verb("Next", "tbcache queue promote {source} {job}", _ask_promote, _promote),
    "requeue": Verb(
        "Queue again",
        "tbcache dead requeue {source}",
        _ask_requeue,
        _requeue,
        searched=SEARCHED,
        is_of_many=True,
    ),
    "purge": Verb(
        "Forget", "tbcache dead purge {source}", _ask_purge, _purge, searched=SEARCHED, is_of_many=True
    ),
}
