"""Which messages are due, when each is sent again, and what was answered."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from tbcache.fleet.alert.gone import Gone
from tbcache.fleet.alert.message import Message, message_id, message_of
from tbcache.fleet.alert.webhook import Delivery, Webhook
from tbcache.fleet.incident import Incident
from tbcache.io import now
from tbcache.io.background import BackgroundThread
from tbcache.io.log import get_logger
from tbcache.io.redact import Redactor

log = get_logger("tbcache.alert")

#: After how many seconds a message is sent again, and then again; after the last of them no more.
RETRY_SECONDS = (5.0, 30.0, 120.0, 600.0, 1800.0)
#: Of more troubles one is told later: whoever reads has seen that something is wrong. The end of one that was
#: told waits for nothing.
MOST_AN_HOUR = 60
#: What was over for longer when somebody could be told is no news.
NEWS = timedelta(hours=2)


class Post:
    """The messages of a process that watches. Without a ``webhook`` there are none."""

    def __init__(
        self, webhook: Webhook | None, namespace: str, redactor: Redactor, gone: Gone | None = None
    ) -> None:
        self._courier = None if webhook is None else Courier(webhook)
        self._namespace, self._redactor = namespace, redactor
        #: When the webhook has accepted the first message of an incident.
        self._told_at: deque[float] = deque()
        self._answers: dict[str, Delivery] = {}
        self._gone = gone
        #: Whether the webhook has accepted what it answered last: then nothing has to wait any more.
        self._takes = False

    def stop(self) -> None:
        if self._courier is not None:
            self._courier.stop()

    def look(self) -> None:
        """Learn whether the receiver has told another process that it wants no more."""
        if self._gone is not None:
            self._gone.look()

    def awaits(self, one: Incident, at: datetime) -> bool:
        """Whether the webhook is still to be told of it."""
        is_gone = self._gone is not None and self._gone.is_set
        if self._courier is None or is_gone or not one.unsent:
            return False
        return one.resolved_at is None or at - one.resolved_at < NEWS

    def due(self, known: Iterable[Incident], at: datetime) -> list[Incident]:
        """Those of which a message is to be sent now, each with when it is due again if it gets no answer."""
        if self._courier is None:
            return []
        awaited = [one for one in known if self.awaits(one, at) and not self.is_sending(one)]
        due = [one for one in awaited if self._takes or _is_due(one, at)]
        ends = [one for one in due if one.sent]
        # What is wrong now goes before the end of what nobody was told of.
        first = sorted(
            (one for one in due if not one.sent), key=lambda one: (one.unsent != "opened", one.began_at)
        )
        # What the courier would not take is no try.
        free = MOST_IN_HAND - self._courier.in_hand
        return [
            # One that is sent again early, as the webhook is back, loses no try by it.
            replace(one, tries=one.tries + _is_due(one, at), next_try_at=at + _pause(one.tries))
            for one in [*ends, *first[: self._may_tell()]][: max(0, free)]
        ]

    def send(self, due: Iterable[Incident]) -> None:
        """Send what :meth:`due` has named, once that is written down."""
        for one in due:
            if self._courier is not None:
                self._courier.take(message_of(one, one.unsent, self._namespace, self._redactor))

    def answered(self, known: Mapping[str, Incident], at: datetime) -> list[Incident]:
        """Those of ``known`` whose messages have been answered, as they are now."""
        if self._courier is not None:
            for message, delivery in self._courier.answers():
                self._answers[message.id] = delivery
                self._takes = delivery.is_accepted
        found = []
        for one in known.values():
            answer = self._answers.pop(message_id(one, one.unsent), None) if one.unsent else None
            if answer is not None:
                found.append(self._after(one, answer, at))
        return found

    def is_sending(self, one: Incident) -> bool:
        """Whether a message of it is under way."""
        return self._courier is not None and self._courier.has(message_id(one, one.unsent))

    def _may_tell(self) -> int:
        while self._told_at and self._told_at[0] < now() - 3600:
            self._told_at.popleft()
        under_way = 0 if self._courier is None else self._courier.in_hand
        return max(0, MOST_AN_HOUR - len(self._told_at) - under_way)

    def _after(self, one: Incident, answer: Delivery, at: datetime) -> Incident:
        facts = {"kind": one.kind, "source": one.name, "incident": one.id, "news": one.unsent}
        over = replace(one, sent=one.unsent, tries=0, next_try_at=None)
        if answer.is_accepted:
            if not one.sent:
                self._told_at.append(now())
            log.info("alert.sent", **facts, status=answer.status, seconds=round(answer.seconds, 3))
            return over
        if answer.is_gone and self._gone is not None:
            self._gone.set()
            log.error(
                "alert.hook_gone",
                **facts,
                hint="it answered 410: nothing more is sent to it until `tbcache alert test` is accepted",
            )
            # It is due again once the receiver wants them again.
            return replace(one, tries=0, next_try_at=None)
        if one.tries > len(RETRY_SECONDS):
            log.error("alert.given_up", **facts, reason=answer.reason, tries=one.tries)
            # That it was tried so often tells it from what was accepted.
            return replace(over, tries=one.tries)
        log.warning("alert.failed", **facts, reason=answer.reason, tries=one.tries)
        pause = max(_pause(one.tries - 1), timedelta(seconds=answer.retry_after))
        return replace(one, next_try_at=at + pause)


def _is_due(one: Incident, at: datetime) -> bool:
    return one.next_try_at is None or one.next_try_at <= at


def _pause(tries: int) -> timedelta:
    return timedelta(seconds=RETRY_SECONDS[min(max(tries, 0), len(RETRY_SECONDS) - 1)])


#: So many are in its hands at once.
MOST_IN_HAND = 20


class Courier:
    """Takes messages, and gives back what was answered. One thread uses it, beside its own."""

    def __init__(self, webhook: Webhook) -> None:
        self._webhook = webhook
        self._waiting: deque[Message] = deque()
        self._answered: deque[tuple[Message, Delivery]] = deque()
        self._in_hand: set[str] = set()
        self._thread = BackgroundThread("tbcache-webhook", self._step)

    @property
    def in_hand(self) -> int:
        """How many are to be sent yet."""
        return len(self._in_hand)

    def take(self, message: Message) -> None:
        """Have it sent: no more than ``MOST_IN_HAND`` at once, by whoever gives them."""
        self._in_hand.add(message.id)
        self._waiting.append(message)
        self._thread.start()

    def has(self, message_id: str) -> bool:
        """Whether it is to be sent yet, or what came back was not asked for yet."""
        return message_id in self._in_hand

    def answers(self) -> list[tuple[Message, Delivery]]:
        """What has come back since the last call."""
        found = [self._answered.popleft() for _ in range(len(self._answered))]
        self._in_hand -= {message.id for message, _ in found}
        return found

    def stop(self) -> None:
        """Send no further one; that which is under way is not waited for."""
        self._waiting.clear()
        self._thread.stop(timeout=0.0)

    def _step(self) -> float | None:
        if not self._waiting:
            return None
        message = self._waiting.popleft()
        self._answered.append((message, self._webhook.send(message)))
        return 0.0
