"""Whether the receiver wants no more messages, for all processes of the fleet."""

from __future__ import annotations

import contextlib
import hashlib
from datetime import timedelta

from tbcache.fleet.alert.message import trial_message
from tbcache.fleet.alert.webhook import Delivery, Webhook
from tbcache.settings import Settings
from tbcache.store import Store, Unavailable, get_store

#: For so long nothing is sent to one that answered 410, unless its address changes.
KEPT = timedelta(days=7)


class Gone:
    """Kept in Redis as a digest of the address that said so; while Redis is away, as it was seen last."""

    def __init__(self, store: Store, address: str) -> None:
        """``address`` is all of the URL; it may hold a credential, and is not what is kept."""
        self._store = store
        self._mark = hashlib.sha256(address.encode()).hexdigest()[:32].encode()
        self.is_set = False

    def look(self) -> bool:
        with contextlib.suppress(Unavailable):
            self.is_set = self._store.call("GET", self._store.keys.alert_gone) == self._mark
        return self.is_set

    def set(self) -> None:
        self.is_set = True
        with contextlib.suppress(Unavailable):
            seconds = round(KEPT.total_seconds())
            self._store.call("SET", self._store.keys.alert_gone, self._mark, "EX", seconds)

    def clear(self) -> None:
        """It takes messages again."""
        self.is_set = False
        self._store.call("UNLINK", self._store.keys.alert_gone)


def send_trial(webhook: Webhook, settings: Settings) -> Delivery:
    """Send it. Where it is accepted, the processes of the fleet send to that webhook again after a 410."""
    answer = webhook.send(trial_message(settings.namespace))
    if answer.is_accepted and settings.redis is not None:
        with contextlib.suppress(Unavailable):
            Gone(get_store(), webhook.mark).clear()
    return answer
