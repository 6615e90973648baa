"""Alerts: somebody is told of a trouble that lasts, once for the whole fleet, and of its end.

One process of the fleet watches, and follows each trouble as an incident (``tbcache/fleet/incident.py``): see
docs/alerts.md.
"""

from tbcache.fleet.alert.gone import send_trial
from tbcache.fleet.alert.message import trial_message
from tbcache.fleet.alert.watch import Watch
from tbcache.fleet.alert.webhook import Delivery, Webhook

__all__ = ["Delivery", "Watch", "Webhook", "send_trial", "trial_message"]
