"""What a webhook is sent: an event as Standard Webhooks has it, a type, a timestamp and data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from tbcache.fleet.incident import Incident, News
from tbcache.io import random_id, utc_now
from tbcache.io.redact import Redactor
from tbcache.models.age import rough
from tbcache.models.untrusted import printable

#: <!channel> of Slack, @everyone of Discord and the like.
_CALL = re.compile(r"(?:<!|(?<!\w)@)(channel|here|everyone)\b>?", re.IGNORECASE)
#: A body is as long as its texts; each has so many characters at most.
MOST_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class Message:
    """``id`` is the same however often it is sent."""

    id: str
    body: bytes


def message_id(one: Incident, news: News) -> str:
    """By which a receiver knows a message that it has had already."""
    return f"msg_{one.id}_{news}"


def message_of(one: Incident, news: News, namespace: str, redactor: Redactor) -> Message:
    """That an incident has been opened, or resolved. Its words may quote an error, and what that quotes."""
    what, todo = redactor.text(one.what), redactor.text(one.todo)
    at = (one.resolved_at if news == "resolved" else one.opened_at) or one.seen_at
    lasted = one.lasted(at)
    fate = f"resolved after {rough(lasted)}" if news == "resolved" else f"for {rough(lasted)}"
    text = f"[{namespace}] {_unmarked(what)} ({fate})"
    data = {
        "id": one.id,
        "fleet": namespace,
        "kind": one.kind,
        "source": one.source,
        "queue": one.queue,
        "what": printable(what, MOST_CHARACTERS),
        "todo": printable(todo, MOST_CHARACTERS),
        "began_at": one.began_at,
        "ended_at": one.ended_at if news == "resolved" else None,
        "lasted_seconds": round(lasted, 3),
        "times": one.times,
    }
    return Message(message_id(one, news), _body(f"trouble.{news}", at, text, data))


def trial_message(namespace: str) -> Message:
    """One that tells of no trouble."""
    text = f"[{namespace}] a test of the alerts of tbcache: nothing is wrong"
    return Message(f"msg_{random_id(8)}_test", _body("test", utc_now(), text, {"fleet": namespace}))


def _body(kind: str, at: datetime, text: str, data: dict[str, Any]) -> bytes:
    # `text` beside the rest is what chat servers show.
    event = {"type": kind, "timestamp": at, "text": printable(text, MOST_CHARACTERS), "data": data}
    return msgspec.json.encode(event)


def _unmarked(text: str) -> str:
    """``text`` without what calls all of a channel on a chat server: an upstream may have said it."""
    return _CALL.sub(lambda found: f"({found[1]})", text)
