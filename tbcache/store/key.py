"""The name of every key, in one place.

A key belongs to one cluster slot by its hash tag, the source: everything a script
touches for a source lies together. All stand under the namespace (``trading_bot:``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime

from tbcache.models.request import TIMELINE

#: Whose log has every clear: it stands for all keys that are of no known source.
EVERYTHING = "*"

_GLOB = re.compile(r"[*?\[\\]")


def for_timelines(pattern: str) -> tuple[str, ...]:
    """Patterns that match the timelines of all answers whose keys match ``pattern``, and maybe others.

    For ``twitter:AAPL:24`` that is ``twitter:AAPL:timeline``.
    """
    symbol, colon, last = pattern.rpartition(":")
    found = [pattern]
    if colon and (":" in symbol or "*" in symbol):
        found.append(f"{symbol}:{TIMELINE}")
    if "*" in last:
        # The asterisk may stand for any number of parts.
        found.append(f"{symbol}{colon}{last[: last.rindex('*')]}*")
    if (shorter := _without_rules(pattern)) != pattern:
        found.extend(for_timelines(shorter))
    return tuple(found)


def _without_rules(pattern: str) -> str:
    """A pattern without the part that an answer by other rules than those of the settings has behind its
    hours, where it may have one.
    """
    rest, _, last = pattern.rpartition(":")
    return rest if last.startswith("rules-") or rest.count(":") > 1 else pattern


def head_of(key: str) -> str:
    """The part of a cache key, or of a pattern of such keys, before the first colon: its source."""
    return key.partition(":")[0]


def is_timeline(key: str) -> bool:
    """True for the cache key of a timeline."""
    return key.endswith(f":{TIMELINE}")


def timeline_of(key: str) -> str | None:
    """The key of the timeline that the answer under ``key`` is made of; None where ``key`` is of no
    answer.
    """
    parts = key.split(":")
    is_answer = len(parts) == 3 or (len(parts) == 4 and parts[3].startswith("rules-"))
    return ":".join((*parts[:2], TIMELINE)) if is_answer and parts[2].isdigit() else None


def tagged(key: str) -> str:
    """``twitter:AAPL:24`` -> ``{twitter}:AAPL:24``: the part before the first colon is the tag."""
    head, colon, rest = key.partition(":")
    return f"{{{head}}}{colon}{rest}"


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one namespace. ``sources`` are the names of those that have a log of clears."""

    namespace: str
    sources: frozenset[str] = frozenset()

    def knowing(self, source: str) -> Keys:
        """The same with a log of clears for a source that no setting names."""
        return replace(self, sources=self.sources | {source})

    def slots(self, source: str) -> str:
        return f"{self.namespace}:{{{source}}}:slots"

    def state(self, source: str) -> str:
        return f"{self.namespace}:{{{source}}}:state"

    def fleet(self, source: str) -> str:
        return f"{self.namespace}:{{{source}}}:fleet"

    @property
    def notices(self) -> str:
        """A channel for what concerns all; notice.lua has what is told there."""
        return f"{self.namespace}:notices"

    def present(self, token: str) -> str:
        """A channel to which a process listens, and on which nothing is said; see presence.py."""
        return f"{self.namespace}:present:{token}"

    @property
    def rights(self) -> str:
        """A channel that nobody listens to: whether one may speak there is the same as for the others."""
        return f"{self.namespace}:rights"

    def scratch(self, token: str) -> str:
        """STRING, for a moment: see rights.py."""
        return f"{self.namespace}:{{scratch}}:{token}"

    @property
    def wakes(self) -> str:
        """A channel on which is told which lists have an element by now; see wake.lua."""
        return f"{self.namespace}:wakes"

    def back(self, source: str) -> str:
        return f"{self.namespace}:{{{source}}}:back"

    def probe(self, source: str) -> str:
        """STRING, see probe.lua."""
        return f"{self.namespace}:{{{source}}}:probe"

    def usage(self, source: str, day: datetime) -> str:
        return f"{self.namespace}:{{{source}}}:usage:{day:%Y%m%d}"

    def minutes(self, source: str) -> str:
        """HASH, see minute.lua."""
        return f"{self.namespace}:{{{source}}}:minutes"

    def totals(self, source: str) -> str:
        """HASH, see carry.lua."""
        return f"{self.namespace}:{{{source}}}:totals"

    def billed(self, source: str, day: datetime) -> str:
        return f"{self.namespace}:{{{source}}}:billed:{day:%Y%m%d}"

    def asked(self, source: str, hour: datetime) -> str:
        """HASH, see monitoring/asked.py."""
        return f"{self.namespace}:{{{source}}}:asked:{hour:%Y%m%d%H}"

    def callers(self, source: str, day: datetime) -> str:
        """HASH, see monitoring/caller_usage.py."""
        return f"{self.namespace}:{{{source}}}:callers:{day:%Y%m%d}"

    def symbol_costs(self, source: str, day: datetime) -> str:
        """HASH, see monitoring/symbol_cost.py."""
        return f"{self.namespace}:{{{source}}}:paid:{day:%Y%m%d}"

    def purses(self, source: str, day: datetime) -> str:
        """HASH, see purse.lua."""
        return f"{self.namespace}:{{{source}}}:purses:{day:%Y%m%d}"

    def delay(self, source: str) -> str:
        """STRING late | prompt | asking… | doubt…, what is known of the plan's delay: admission/delay.py."""
        return f"{self.namespace}:{{{source}}}:delay"

    def outbox(self, source: str) -> str:
        return f"{self.namespace}:{{{source}}}:outbox"

    def queue(self, source: str, part: str) -> str:
        """One part of a source's queue; queue.lua has the list of parts."""
        return f"{self.namespace}:{{{source}}}:queue:{part}"

    @property
    def queues(self) -> str:
        """ZSET, see name.lua: the queues in use that are no source's."""
        return f"{self.namespace}:queues"

    def fence(self, source: str) -> str:
        """STRING, see token.lua."""
        return f"{self.namespace}:{{{source}}}:fence"

    def result(self, source: str, message_id: str) -> str:
        return f"{self.namespace}:{{{source}}}:result:{message_id}"

    def wake(self, source: str, token: str) -> str:
        return f"{self.namespace}:{{{source}}}:wake:{token}"

    def wake_of(self, key: str, token: str) -> str:
        """:meth:`wake`, in the slot of a cache key."""
        return self.wake(key.partition(":")[0], token)

    def entry(self, key: str) -> str:
        return f"{self.namespace}:cache:{tagged(key)}"

    def lease(self, key: str) -> str:
        return f"{self.namespace}:lease:{tagged(key)}"

    @property
    def entries(self) -> str:
        """What the name of every entry begins with."""
        return f"{self.namespace}:cache:"

    @property
    def logs(self) -> str:
        """What the name of every log of clears begins with."""
        return f"{self.namespace}:clears:"

    def clears(self, source: str) -> str:
        """STRING, see clear.lua."""
        return f"{self.namespace}:clears:{{{source}}}"

    def deleted(self, source: str) -> str:
        """STRING that lives for a while after a key of the source was deleted: put_back.lua."""
        return f"{self.namespace}:{{{source}}}:deleted"

    def clears_of(self, key: str) -> str:
        """The log that has every clear of a cache key."""
        head = key.partition(":")[0]
        return f"{self.namespace}:clears:{{{head if head in self.sources else EVERYTHING}}}"

    def clears_for(self, pattern: str) -> list[str]:
        """The logs that a clear of ``pattern`` goes to, first the one that has them all.

        A head without wildcards has one besides, be it known here as a source or only elsewhere.
        """
        head, colon, _ = pattern.partition(":")
        is_one = colon and not _GLOB.search(head)
        return [self.clears(EVERYTHING), self.clears(head)] if is_one else self.all_clears

    @property
    def all_clears(self) -> list[str]:
        """Every log that this process reads, first the one that has every clear."""
        return [self.clears(source) for source in (EVERYTHING, *sorted(self.sources))]

    @property
    def sweeper(self) -> str:
        """STRING, who sweeps what was cleared."""
        return f"{self.namespace}:sweeper"

    @property
    def weights(self) -> str:
        """HASH caller -> the weight that an operator has set: queue/weight.py."""
        return f"{self.namespace}:weights"

    @property
    def audit(self) -> str:
        """LIST, a line of JSON for each thing that an operator did: fleet/audit.py."""
        return f"{self.namespace}:audit"

    @property
    def alert_lease(self) -> str:
        """STRING, who watches the fleet for troubles, see lead.lua."""
        return f"{self.namespace}:{{alert}}:lease"

    @property
    def alert_terms(self) -> str:
        """STRING, JSON of what the process that watches goes by: fleet/incident.py."""
        return f"{self.namespace}:{{alert}}:terms"

    @property
    def alert_gone(self) -> str:
        """STRING, a digest of the webhook that answered 410: fleet/alert/gone.py."""
        return f"{self.namespace}:{{alert}}:gone"

    @property
    def incidents(self) -> str:
        """HASH id -> JSON: fleet/incident.py."""
        return f"{self.namespace}:{{alert}}:incidents"

    @property
    def gone(self) -> str:
        """LIST, a line of JSON for each process that has left: monitoring/departure.py."""
        return f"{self.namespace}:gone"

    @property
    def workers(self) -> str:
        """HASH worker -> JSON of its last heartbeat."""
        return f"{self.namespace}:workers"

    @property
    def layout(self) -> str:
        """HASH, see layout.lua."""
        return f"{self.namespace}:layout"

    @property
    def names(self) -> str:
        """ZSET, see name.lua."""
        return f"{self.namespace}:names"

    def schedule(self, part: str) -> str:
        return f"{self.namespace}:schedule:{part}"

    def key_of(self, entry: str) -> str:
        """The cache key of an entry's or a lease's full name."""
        tail = entry[len(self.namespace) + 1 :].partition(":")[2]
        head, colon, rest = tail.partition(":")
        return head[1:-1] + colon + rest

    def matching(self, kind: str, pattern: str) -> str:
        """A Redis glob for every ``kind`` ("cache" | "lease") key whose cache key matches ``pattern``.

        It may match more, as where a wildcard stands before the first colon: compare
        :meth:`key_of` as well.
        """
        head, colon, rest = pattern.partition(":")
        meta = _GLOB.search(head)
        if ":" in rest:
            # The timeline of what matches is called by another last part.
            pattern = f"{_without_rules(pattern).rpartition(':')[0]}:*"
        if meta or not colon:
            prefix = head[: meta.start()] if meta else head
            return f"{self.namespace}:{kind}:{{{prefix}*"
        return f"{self.namespace}:{kind}:{tagged(pattern)}"


def entry_and_lease(keys: Keys, key: str) -> tuple[str, str]:
    """Both for half of what they cost one by one: each ask of admission pays for two of them."""
    name = tagged(key)
    return f"{keys.namespace}:cache:{name}", f"{keys.namespace}:lease:{name}"
