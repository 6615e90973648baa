"""What is written down: an answer, and its form on the way to the database."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec

from tbcache.models import Item, SymbolSentiment
from tbcache.models.untrusted import NotJson, read_json, writable
from tbcache.repository.error import CorruptAnswer
from tbcache.timeline import Load, Read


@dataclass(frozen=True, slots=True)
class Answer:
    """A sentiment, and what its load has added to what is known: ``items``, each with the score it was given,
    and ``reads``, by which they are known. ``load`` is what it has made of the record; None of an answer that
    was not loaded, but made of what was known. ``is_private``: the sentiment is by rules or a scorer that are
    not those of the settings, and is nobody else's answer.
    """

    sentiment: SymbolSentiment
    items: tuple[tuple[Item, float | None], ...] = ()
    reads: tuple[Read, ...] = ()
    load: Load | None = None
    is_private: bool = False

    def with_stored_at(self, at: datetime) -> Answer:
        """This answer as one that nobody was given before ``at``."""
        return self if self.load is None else replace(self, load=replace(self.load, stored_at=at))


def encode_answer(answer: Answer) -> bytes:
    """``answer`` as one line of JSON. What JSON cannot say is mended, as the database would have it."""
    # JSON has no infinity: it would come back as null, which is no weight.
    items = tuple((replace(item, weight=finite(item.weight) or 0.0), score) for item, score in answer.items)
    answer = replace(answer, items=items)
    try:
        return msgspec.json.encode(answer)
    except UnicodeEncodeError:
        # A lone surrogate, as a cut emoji leaves it, has no bytes in UTF-8.
        return msgspec.json.encode(_map_texts(msgspec.to_builtins(answer)))


def decode_answer(data: bytes) -> Answer:
    """The answer that :func:`encode_answer` made ``data`` of.

    Raises:
      CorruptAnswer: it made it of none.
    """
    try:
        answer = read_json(data, Answer)
    except NotJson as error:
        raise CorruptAnswer(f"{len(data)} bytes are no answer: {error}") from None
    sentiment = answer.sentiment
    of_items = (moment for item, _ in answer.items for moment in (item.at, item.seen_at))
    of_reads = (moment for read in answer.reads for moment in (*read.span, read.at))
    load = answer.load
    names = ("read_at", "asked_at", "kept_from", "after", "stored_at")
    of_load = () if load is None else (getattr(load, name) for name in names)
    of_top = (top.at for top in sentiment.top)
    moments = (sentiment.as_of, sentiment.since, sentiment.until, *of_items, *of_reads, *of_load, *of_top)
    if any(moment is not None and moment.tzinfo is None for moment in moments):
        raise CorruptAnswer(f"{len(data)} bytes are no answer: a time without its zone")
    return answer


def finite(figure: float | None) -> float | None:
    """``figure``, or None where it is not a number."""
    return figure if figure is not None and math.isfinite(figure) else None


def storable(text: str) -> str:
    """``text`` as every database takes it: no NUL, which PostgreSQL refuses, and no lone surrogate."""
    return writable(text.replace("\0", ""))


def _map_texts(value: object) -> object:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {name: _map_texts(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_map_texts(part) for part in value]
    return value
