"""What one leader after the other writes into a queue: a leader that is one no more is refused."""

from __future__ import annotations

from typing import NamedTuple

from tbcache.models.error import TbcacheError
from tbcache.store import Store
from tbcache.store.reply import number
from tbcache.store.script import Key, Script


class FenceCall(NamedTuple):
    """Refuse what earlier leaders write from now on. Replies 0, or the token of a later leader."""

    fence: Key
    token: int


FENCE = Script("fence", FenceCall, number)


class Fenced(TbcacheError):
    """Another process has led since, with a higher ``token``: what was to be written is not."""

    def __init__(self, queue: str, token: int) -> None:
        super().__init__(f"{queue}: another scheduler leads by now")
        self.token = token


def fence(store: Store, queue: str, token: int) -> None:
    """Have ``queue`` refuse what earlier leaders write.

    Raises:
      Fenced: the asker is one of them. Unavailable: Redis is away.
    """
    later = store.run(FENCE, FenceCall(store.keys.fence(queue), token))
    if later:
        raise Fenced(queue, later)
