"""What an upstream bills: the one rule by which answers are priced, here and in the simulator."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

#: A user and a post may have the same number, and are billed as two.
_USER = "user/"


@dataclass(frozen=True, slots=True)
class Bill:
    """What answers cost, in US dollars: ``dollars`` at any rate, and of ``once`` (price by id) what has
    not been billed before on the same UTC day. ``is_uncertain`` says that it is no more than a bound.
    """

    dollars: float = 0.0
    once: Mapping[str, float] = field(default_factory=dict)
    is_uncertain: bool = False

    @property
    def most(self) -> float:
        """What it comes to where nothing was billed before."""
        return self.dollars + sum(self.once.values())

    def due(self, billed: set[str]) -> float:
        """What it comes to after ``billed``, the ids of the same day, to which its own are added."""
        new = self.once.keys() - billed
        billed |= new
        return self.dollars + sum(self.once[id] for id in new)


NOTHING = Bill()


@dataclass(frozen=True, slots=True)
class Price:
    """A price list in US dollars: by request, by item (a post, an article) and by user that an answer holds.

    ``daily_dedupe``: an item or a user is billed once per UTC day however often it is read.
    ``page_items`` and ``page_users`` are the most that one page brings, as it is asked for.
    """

    per_request: float = 0.0
    per_item: float = 0.0
    per_user: float = 0.0
    daily_dedupe: bool = False
    page_items: int = 100
    page_users: int = 0

    @property
    def per_page(self) -> float:
        """What a page costs at most."""
        return self.per_request + self.per_item * self.page_items + self.per_user * self.page_users

    @property
    def uncertain(self) -> Bill:
        """What a page may cost of which nobody knows whether it was served."""
        return Bill(self.per_page, is_uncertain=self.per_page > 0)

    def bill(self, items: Collection[str], users: Collection[str] = ()) -> Bill:
        """What an answer costs that holds these: the ids of each."""
        if not self.daily_dedupe:
            return Bill(self.per_request + self.per_item * len(items) + self.per_user * len(users))
        once = dict.fromkeys(items, self.per_item) if self.per_item else {}
        if self.per_user:
            once |= dict.fromkeys((f"{_USER}{id}" for id in users), self.per_user)
        return Bill(self.per_request, once)
