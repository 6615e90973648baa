"""A test of the webhook, once, by whoever wants to know what comes back."""

from __future__ import annotations

import contextlib

from tbcache.fleet.alert.gone import Gone
from tbcache.fleet.alert.message import trial_message
from tbcache.fleet.alert.webhook import Delivery, Webhook
from tbcache.settings import Settings
from tbcache.store import Unavailable, get_store


def send_trial(webhook: Webhook, settings: Settings) -> Delivery:
    """Send it. Where it is accepted, the processes of the fleet send to that webhook again after a 410."""
    answer = webhook.send(trial_message(settings.namespace))
    if answer.is_accepted and settings.redis is not None:
        with contextlib.suppress(Unavailable):
            Gone(get_store(), webhook.mark).clear()
    return answer
