"""What can be done to jobs: to one that waits, and to those that are dead."""

from __future__ import annotations

from collections.abc import Mapping

from tbcache.api.page.verb import Doing, Verb

#: How a search is said, by its fields.
_SEARCHED = {
    "symbol": "whose symbol is {}",
    "id": "whose id is {}",
    "error": "whose reason has {!r} in it",
    "caller": "whose caller is {}",
}


def _job(do: Doing) -> str:
    """The job that the form is about, in a few words.

    Raises:
      InvalidRequest: it is over by now.
    """
    return f"the job {do.field('job')} ({do.fleet.explain(do.field('job'), do.source).state})"


def _said(do: Doing, state: str, done: str) -> str:
    if state == "stopping":
        return f"A worker has {do.field('job')} in hand, and is told to stop it. It does not come again."
    if state == "running":
        return f"A worker has {do.field('job')} in hand by now: it is left alone."
    return f"The job is {done}." if state == "done" else "The job is over by now."


def _ask_cancel(do: Doing) -> str:
    return f"Take {_job(do)} out of the queue of {do.source} for good? Who waits for it is told."


def _cancel(do: Doing) -> str:
    return _said(do, do.operator.cancel(do.source, do.field("job"), do.why), "cancelled")


def _ask_promote(do: Doing) -> str:
    return f"Put {_job(do)} in front of its lane in the queue of {do.source}?"


def _promote(do: Doing) -> str:
    return _said(do, do.operator.promote(do.source, do.field("job")), "in front of its lane")


def _dead(do: Doing) -> str:
    """The dead letters that are meant, with how many those are now."""
    said = [words.format(do.fields[name]) for name, words in _SEARCHED.items() if do.fields.get(name)]
    count = do.operator.count_dead(do.source, do.letters)
    return f"{count} dead jobs of {do.source}" + (f" {' and '.join(said)}" if said else "")


def _ask_requeue(do: Doing) -> str:
    return f"Queue the {_dead(do)} again?"


def _requeue(do: Doing) -> str:
    done = do.operator.requeue_dead(do.source, do.letters)
    return f"{done.queued} dead jobs of {do.source} are queued again" + (
        f"; {done.left} stay dead, as they cannot be read." if done.left else "."
    )


def _ask_purge(do: Doing) -> str:
    return f"Forget the {_dead(do)} for good?"


def _purge(do: Doing) -> str:
    return f"{do.operator.purge_dead(do.source, do.letters)} dead jobs of {do.source} are forgotten."


_WHY = {"why": "Why (for who waits)"}

VERBS: Mapping[str, Verb] = {
    "cancel": Verb("Cancel", "tbcache queue cancel {source} {job}", _ask_cancel, _cancel, _WHY),
    "promote": Verb("Next", "tbcache queue promote {source} {job}", _ask_promote, _promote),
    "requeue": Verb(
        "Queue again", "tbcache dead requeue {source}", _ask_requeue, _requeue, is_searching=True
    ),
    "purge": Verb("Forget", "tbcache dead purge {source}", _ask_purge, _purge, is_searching=True),
}
