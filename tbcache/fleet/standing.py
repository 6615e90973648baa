"""What operators have said stands on, where Redis has lost it.

Beside where it is in force (the state of a source or a queue, the weights) it stands in one hash, which the
processes that stand by to watch the fleet read every few seconds and keep in mind. Where that hash is missing
or older than what a process has read, Redis was emptied or is back from an old file: then the process says
again what it knows, of all that nobody has said anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import msgspec

from tbcache.fleet.audit import Audit
from tbcache.io import random_id, run
from tbcache.io.log import get_logger
from tbcache.models import Limit
from tbcache.models.untrusted import NotJson, read_json
from tbcache.settings import is_name
from tbcache.store import Refused, Store
from tbcache.store.order import give_order, set_bound
from tbcache.store.wire import pack_limits, read_limits

log = get_logger("tbcache.fleet")

KEPT_SECONDS = 366 * 86_400
#: The fields that name the life of the data, and count what was said in it.
LIFE, COUNT = b"", b"#"
#: Who says it again, in the audit.
WHO = "tbcache"

What = Literal["pause", "drain", "limits"]


class Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an operator has said of ``name``, a source or a queue. ``limits`` are packed as for scripts."""

    what: What
    name: str
    who: str
    why: str = ""
    limits: str = ""

    @property
    def field(self) -> str:
        """One pause or drain stands at a time, and beside it limits."""
        return _field(self.what, self.name)


class _Stands(NamedTuple):
    """What stands in Redis."""

    life: bytes
    acts: int
    fields: dict[bytes, bytes]
    weights: dict[bytes, bytes]


class Standing:
    """What stands, as this process has read it last."""

    def __init__(self, store: Store) -> None:
        self._store, self._key, self._audit = store, store.keys.standing, Audit(store)
        self._said: dict[bytes, Said] = {}
        self._weights: dict[bytes, bytes] = {}
        self._life, self._count = b"", 0

    def record(self, said: Said) -> None:
        """An operator has said it.

        Raises:
          Unavailable: Redis is away.
        """
        self._write("HSET", said.field, msgspec.json.encode(said))

    def record_limits(self, name: str, limits: Iterable[Limit], who: str, why: str) -> None:
        """An operator has set limits.

        Raises:
          Unavailable: Redis is away.
        """
        self.record(Said("limits", name, who, why, pack_limits(limits)))

    def forget(self, what: What | Literal["resume"], name: str) -> None:
        """An operator has taken it back.

        Raises:
          Unavailable: Redis is away.
        """
        self._write("HDEL", _field(what, name))

    def touch(self) -> None:
        """An operator has set the weight of a caller, or taken it back.

        Raises:
          Unavailable: Redis is away.
        """
        self._write()

    def look(self) -> None:
        """Read what stands; where Redis has lost it, say it again.

        Raises:
          Unavailable: Redis is away.
        """
        stands = self._read()
        if stands is None:
            return
        if self._life and (stands.life != self._life or stands.acts < self._count):
            self._say_again(stands)
            self._write("HINCRBY", COUNT, max(0, self._count - stands.acts))
        if not stands.life:
            self._store.call("HSETNX", self._key, LIFE, random_id(8))
        if (stands := self._read()) is not None:
            self._life, self._count, self._weights = stands.life, stands.acts, stands.weights
            self._said = {
                field: said for field, text in stands.fields.items() if (said := _said(field, text))
            }

    def _read(self) -> _Stands | None:
        """What stands in Redis; None where the key is damaged."""
        with self._store.guard():
            pipe: Any = self._store.client.pipeline(transaction=False)
            pipe.expire(self._key, KEPT_SECONDS)
            pipe.hgetall(self._key)
            pipe.hgetall(self._store.keys.weights)
            _, found, weights = self._store.execute(pipe)
        if not isinstance(found, dict):
            return None
        life, acts = found.pop(LIFE, b""), _whole(found.pop(COUNT, b"0"))
        return _Stands(life, acts, found, weights if isinstance(weights, dict) else {})

    def _write(self, *command: Any) -> None:
        try:
            if command:
                self._store.call(command[0], self._key, *command[1:])
            self._store.call("HINCRBY", self._key, COUNT, 1)
            self._store.call("EXPIRE", self._key, KEPT_SECONDS)
        except Refused as error:
            # It is in force all the same.
            log.warning("order.not_kept", reason=error.reason)

    def _say_again(self, stands: _Stands) -> None:
        for field, said in self._said.items():
            # Of several processes that know it one says it.
            if field not in stands.fields and self._store.call(
                "HSETNX", self._key, field, msgspec.json.encode(said)
            ):
                with contextlib.suppress(Refused):
                    self._say(said)
        for caller, weight in self._weights.items():
            if caller in stands.weights:
                continue
            if self._store.call("HSETNX", self._store.keys.weights, caller, weight):
                self._store.call("EXPIRE", self._store.keys.weights, KEPT_SECONDS)
                self._tell("caller.weight", caller.decode(errors="replace"), weight.decode(errors="replace"))

    def _say(self, said: Said) -> None:
        if said.what == "limits":
            run(set_bound(self._store, said.name, read_limits(said.limits), said.who, said.why))
            self._tell("limits.set", said.name, f"of {said.who}")
        else:
            run(give_order(self._store, said.name, said.what, said.who, said.why))
            self._tell(f"queue.{said.what}", said.name, f"of {said.who}")

    def _tell(self, what: str, name: str, detail: str) -> None:
        log.warning("order.said_again", what=what, target=name, reason="Redis had lost it")
        self._audit.write(WHO, what, name, f"{detail}: Redis had lost it")


def _field(what: str, name: str) -> str:
    return f"{name} {'limits' if what == 'limits' else 'order'}"


def _said(field: bytes, text: bytes) -> Said | None:
    """What stands there; None for what makes no sense, as whoever may write to Redis may have written it."""
    try:
        said = read_json(text, Said)
    except NotJson:
        return None
    is_sound = said.field.encode() == field and is_name(said.name) and " " not in said.who
    return said if is_sound and (said.what != "limits" or read_limits(said.limits)) else None


def _whole(text: bytes) -> int:
    return int(text) if text.isdigit() and len(text) < 16 else 0
