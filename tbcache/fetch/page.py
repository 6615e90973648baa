"""A page is read from an answer, and has the same bounds for every source.

The items of a page go into the database, their ids into Redis, and its cursor into the next URL. None of
these takes whatever an upstream may send in the megabytes that an answer may have.
"""

from __future__ import annotations

import hashlib
import math
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC
from pathlib import Path

from tbcache.io.description import text_of
from tbcache.io.log import get_logger
from tbcache.models import Engagement, Item, Page, RawResponse
from tbcache.models.error import UpstreamPayloadError
from tbcache.repository.answer import storable

log = get_logger("tbcache.fetch")

#: The most items, and the most users, of a page: far more than any request asks for.
MAX_ITEMS = 5_000
#: Characters. The longest post of any built-in source has as many.
MAX_TEXT = 40_000
MAX_ID = 512
MAX_AUTHOR = 256
MAX_CURSOR = 4_096
MAX_URL = 2_048
MAX_LANG = 35
MAX_SYMBOL = 15
MAX_SYMBOLS = 100
#: Of likes and followers: what every database and JSON can hold.
MAX_COUNT = 10**15


def bounded(source: str, page: Page) -> Page:
    """``page`` with long texts cut, which is logged, and with fingerprints for ids that cannot be keys.

    Raises:
      UpstreamPayloadError: it has more items than anybody asked for, or a cursor that fits in no URL.
      ValueError: a time in it has no zone.
    """
    _check_count(source, "items", len(page.items))
    _check_count(source, "users", len(page.users))
    _check_count(source, "ids of what is gone", len(page.gone))
    if page.next is not None:
        _check_cursor(source, str(page.next))
    _check_zones(page)
    if cut := sum(len(item.text) > MAX_TEXT for item in page.items):
        log.warning("page.cut", source=source, texts=cut, of=len(page.items), characters=MAX_TEXT)
    return replace(
        page, items=_bounded(page.items), users=tuple(map(_key, page.users)), gone=tuple(map(_key, page.gone))
    )


def _check_count(source: str, what: str, count: int) -> None:
    if count > MAX_ITEMS:
        raise UpstreamPayloadError(
            source, f"the answer holds {count} {what}, and {MAX_ITEMS} are the most that is read"
        )


def _check_cursor(source: str, cursor: str) -> None:
    if len(cursor) > MAX_CURSOR or not _is_encodable(cursor):
        raise UpstreamPayloadError(
            source, f"the answer's cursor is no text of at most {MAX_CURSOR} characters"
        )


def _check_zones(page: Page) -> None:
    times = (*(item.at for item in page.items), *(hint.reset_at for hint in page.hints))
    if any(at is not None and at.tzinfo is None for at in times):
        raise ValueError("a time without its zone")


def _bounded(items: Sequence[Item]) -> tuple[Item, ...]:
    return tuple(item if _fits(item) else _cut(item) for item in items)


def _fits(item: Item) -> bool:
    if type(item.symbols) is not tuple:
        # A list, or a set, is not what comes back of it: each read would be a new version.
        return False
    ids = (item.id, item.origin or "", item.first_id or "")
    texts = (item.text, item.author or "", item.url or "", item.lang or "", *item.symbols)
    return (
        all(map(_is_key, ids))
        and all(map(_is_storable, texts))
        and (item.at is None or item.at.tzinfo is UTC)
        and _figure(item.score) == item.score
        and _weight(item.weight) == item.weight
        and all(_count(one) == one for one in _counts(item.engagement))
        and len(item.text) <= MAX_TEXT
        and len(item.author or "") <= MAX_AUTHOR
        and len(item.url or "") <= MAX_URL
        and len(item.lang or "") <= MAX_LANG
        and len(item.symbols) <= MAX_SYMBOLS
        and all(len(symbol) <= MAX_SYMBOL for symbol in item.symbols)
    )


def _cut(item: Item) -> Item:
    """``item`` as Redis and every database can store it, so that an answer is the same wherever it is
    made.
    """
    return replace(
        item,
        id=_key(item.id),
        score=_figure(item.score),
        weight=_weight(item.weight),
        engagement=Engagement(*map(_count, _counts(item.engagement))),
        at=item.at and item.at.astimezone(UTC),
        text=_shorten(storable(item.text), MAX_TEXT),
        author=item.author and _shorten(storable(item.author), MAX_AUTHOR),
        # A URL, a language or a ticker that is cut would be another one: it is left out.
        url=None if item.url is None or len(item.url) > MAX_URL else storable(item.url),
        lang=None if item.lang is None or len(item.lang) > MAX_LANG else storable(item.lang),
        symbols=_symbols(item.symbols),
        origin=item.origin and _key(item.origin),
        first_id=item.first_id and _key(item.first_id),
    )


def _symbols(given: Iterable[str]) -> tuple[str, ...]:
    """The symbols of an item; a text is one. Those of a set come in another order in each process."""
    if isinstance(given, str):
        given = (given,)
    ordered = given if isinstance(given, list | tuple) else sorted(given)
    return tuple(storable(one) for one in ordered if len(one) <= MAX_SYMBOL)[:MAX_SYMBOLS]


def _counts(engagement: Engagement) -> tuple[int | None, ...]:
    return engagement.likes, engagement.reposts, engagement.replies, engagement.followers


def _figure(value: float | None) -> float | None:
    """``value`` where it is a number. Frames of data have NaN where something is missing."""
    return value if value is not None and math.isfinite(value) else None


def _weight(value: float) -> float:
    return value if 0 <= value < math.inf else 0.0


def _count(value: int | None) -> int | None:
    return value if value is not None and abs(value) <= MAX_COUNT else None


def _shorten(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _is_key(id: str) -> bool:
    return len(id) <= MAX_ID and _is_storable(id)


def _is_storable(text: str) -> bool:
    return "\0" not in text and _is_encodable(text)


def _key(id: str) -> str:
    """``id`` where it can be a key, else its fingerprint, which is the same in every process."""
    if _is_key(id):
        return id
    return hashlib.blake2b(id.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def parse_page(source: str, parse: Callable[[RawResponse], Page], response: RawResponse) -> Page:
    """The page in ``response``, cut to the bounds of one.

    Raises:
      UpstreamError: it cannot be read.
    """
    try:
        return bounded(source, parse(response))
    except (AttributeError, LookupError, OverflowError, RecursionError, TypeError, ValueError) as error:
        # The answer has another shape than its parser was written for.
        what = f"the answer is not as expected{_place(error)} ({type(error).__name__}: {_message(error)})"
        raise UpstreamPayloadError(source, what[:200], status=response.status) from error
    except SystemExit as error:
        # Else somebody's parser would end a worker, or a command without a word.
        what = f"parse() ended the program ({error.code!r}): it should raise what is wrong"
        raise UpstreamPayloadError(source, what[:200], status=response.status) from error


def _place(error: Exception) -> str:
    """The file and line of the parser that it met, which is called by the first frame."""
    frames = traceback.extract_tb(error.__traceback__, limit=2)[1:]
    return "".join(f" at {Path(frame.filename).name}:{frame.lineno}" for frame in frames)


def _message(error: Exception) -> str:
    """Its message in one printable line: it may quote the answer."""
    return "".join(sign if sign.isprintable() else " " for sign in text_of(error)[:200])
