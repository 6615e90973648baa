"""Sends messages one after the other in a thread of its own: a hook that hangs delays nothing else."""

from __future__ import annotations

from collections import deque

from tbcache.fleet.alert.message import Message
from tbcache.fleet.alert.webhook import Delivery, Webhook
from tbcache.io.background import BackgroundThread

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
