"""Recorded answers, replayed with their ids, and with their times moved up to now."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from tbcache.embedded.simulator.reply import JSON, Reply
from tbcache.models.error import ConfigurationError, InvalidRequest, nearest
from tbcache.models.untrusted import read_json
from tbcache.settings import BUILT_IN

#: The source of each folder of recordings.
FOLDERS = {"newsapi": "news", "unusual_whales": "options", **{name: name for name in BUILT_IN}}
#: How old the newest item of a replayed answer may get before its times are moved again.
FRESH_SECONDS = 300.0

_TIME_FIELDS = {
    "twitter": {"created_at"},
    "reddit": {"created_utc"},
    "news": {"publishedAt"},
    "options": {"created_at", "executed_at", "start_time", "end_time", "tape_time", "date"},
    "stocktwits": {"created_at"},
}
# NewsAPI dates removed articles to 1970-01-01, which must not be moved.
_EARLIEST = datetime(1980, 1, 1, tzinfo=UTC).timestamp()
_NOT_REPLAYED = {"content-length", "content-encoding", "transfer-encoding", "connection", "date", "server",
                 "set-cookie", "keep-alive"}  # fmt: skip
_ABOUT_LIMITS = re.compile(r"rate-?limit|x-uw-")


@dataclass(slots=True)
class Envelope:
    """One recorded answer. ``rows`` are its items where it is a page, else None."""

    name: str
    source: str
    status: int
    headers: Mapping[str, str]
    body: Any
    rows: tuple[dict[str, Any], ...] | None
    _moved_at: float | None = field(default=None, init=False)
    _moved_body: bytes = field(default=b"", init=False)

    def answer(self, now: float) -> Reply:
        """The recorded answer as if it were made at ``now`` (Unix seconds)."""
        if self.rows is None:
            body = self.body.encode() if isinstance(self.body, str) else msgspec.json.encode(self.body)
            return Reply(self.status, body, self._headers())
        if self._moved_at is None or now - self._moved_at > FRESH_SECONDS:
            self._moved_at = now
            self._moved_body = msgspec.json.encode(
                _moved(self.body, _TIME_FIELDS[self.source], self._delay(now))
            )
        users = _users(self.body) if self.source == "twitter" else ()
        return Reply(self.status, self._moved_body, self._headers(), self._ids(), users, is_page=True)

    def _headers(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in self.headers.items()
            if name not in _NOT_REPLAYED and not _ABOUT_LIMITS.search(name)
        }
        if self.rows is not None:
            kept.pop("retry-after", None)
        return {"content-type": JSON, **kept}

    def _delay(self, now: float) -> float:
        times = list(_times(self.body, _TIME_FIELDS[self.source]))
        return int(now) - int(max(times)) if times else 0.0

    def _ids(self) -> tuple[str, ...]:
        rows = self.rows or ()
        return tuple(str(row.get("id") or row.get("url") or f"{self.name}#{i}") for i, row in enumerate(rows))


class Replay:
    """The recordings of a folder. Pages are replayed in turn; any other answer only when asked for by
    name.
    """

    def __init__(self, envelopes: list[Envelope]) -> None:
        self._by_source: dict[str, dict[str, Envelope]] = {name: {} for name in BUILT_IN}
        for envelope in envelopes:
            self._by_source[envelope.source][envelope.name] = envelope
        self._pages = {
            source: [each for _, each in sorted(named.items()) if each.rows is not None]
            for source, named in self._by_source.items()
        }
        self._turns = dict.fromkeys(BUILT_IN, 0)

    @classmethod
    def load(cls, folder: Path) -> Replay:
        """Read every ``SOURCE/*.json`` in ``folder``.

        Raises:
          ConfigurationError: there are none, or one of them is no envelope.
        """
        paths = [path for path in sorted(folder.glob("*/*.json")) if path.parent.name in FOLDERS]
        if not paths:
            raise ConfigurationError(
                f"{folder} has no recorded answers to replay; expected files like reddit/NAME.json "
                f"(folders: {', '.join(sorted(FOLDERS))})"
            )
        return cls([_read(path) for path in paths])

    def next_page(self, source: str, now: float) -> Reply | None:
        """The next page of ``source``, in turn; None where nothing was recorded."""
        pages = self._pages[source]
        if not pages:
            return None
        turn = self._turns[source]
        self._turns[source] = turn + 1
        return pages[turn % len(pages)].answer(now)

    def envelope(self, source: str, name: str) -> Envelope:
        """One recording by its file name.

        Raises:
          InvalidRequest: there is none of that name; names the nearest.
        """
        named = self._by_source[source]
        found = named.get(name) or named.get(f"{name}.json")
        if found is None:
            known = ", ".join(sorted(named)) or "none"
            raise InvalidRequest(
                f"{source}.envelope={name!r} was not recorded{_nearest(name, named)} (known: {known})"
            )
        return found


def _nearest(name: str, named: Mapping[str, Envelope]) -> str:
    by_lower = {known.lower(): known for known in named}
    hint = nearest(name, by_lower)
    for lower, known in by_lower.items():
        hint = hint.replace(repr(lower), repr(known))
    return hint


def _read(path: Path) -> Envelope:
    source = FOLDERS[path.parent.name]
    try:
        data = read_json(path.read_bytes())
        status, body = int(data["status"]), data["body"]
        if not 200 <= status <= 599:
            raise ValueError(status)
        headers = {str(name).lower(): str(value) for name, value in (data.get("headers") or {}).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ConfigurationError(
            f"{path} is no recorded answer; expected a JSON object with status, headers and body"
        ) from None
    return Envelope(path.name, source, status, headers, body, _rows(source, body) if status == 200 else None)


def _rows(source: str, body: Any) -> tuple[dict[str, Any], ...] | None:
    """The items of a body that has the shape of a page; None of any other body."""
    rows = _found(source, body)
    return tuple(row for row in rows if isinstance(row, dict)) if isinstance(rows, list) else None


def _found(source: str, body: Any) -> Any:
    if source == "options" and isinstance(body, list):
        return body
    if not isinstance(body, dict):
        return None
    if source == "reddit":
        listing = body.get("data") if body.get("kind") == "Listing" else None
        children = listing.get("children") if isinstance(listing, dict) else None
        return [child.get("data") for child in children] if isinstance(children, list) else None
    key = {"twitter": "data", "news": "articles", "options": "data", "stocktwits": "messages"}[source]
    rows = body.get(key)
    if isinstance(rows, dict):
        # flow-recent may have an object with the rows of each expiry.
        return [row for part in rows.values() if isinstance(part, list) for row in part]
    return rows


def _users(body: Mapping[str, Any]) -> tuple[str, ...]:
    """The ids of the users in an answer of X."""
    includes = body.get("includes")
    users = includes.get("users") if isinstance(includes, dict) else None
    return tuple(str(user["id"]) for user in users or () if isinstance(user, dict) and "id" in user)


def _times(value: Any, fields: set[str]) -> Iterator[float]:
    if isinstance(value, list):
        for part in value:
            yield from _times(part, fields)
    elif isinstance(value, dict):
        for name, part in value.items():
            if name in fields and (at := _moment(part)) is not None:
                yield at
            else:
                yield from _times(part, fields)


def _moved(value: Any, fields: set[str], seconds: float) -> Any:
    """A copy of ``value`` with every time in ``fields`` moved by ``seconds``, each in its own format."""
    if isinstance(value, list):
        return [_moved(part, fields, seconds) for part in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _later(part, seconds)
        if name in fields and _moment(part) is not None
        else _moved(part, fields, seconds)
        for name, part in value.items()
    }


def _moment(value: Any) -> float | None:
    """The Unix seconds of a time in any format of the upstreams; None of anything else."""
    at: float | None = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        at = value / 1000 if value > 1e11 else float(value)
    elif isinstance(value, str) and value.isdecimal():
        return _moment(int(value))
    elif isinstance(value, str):
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            return None
        at = (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    return at if at is not None and at >= _EARLIEST else None


def _later(value: Any, seconds: float) -> Any:
    if isinstance(value, int | float):
        return value + type(value)(seconds * 1000 if value > 1e11 else seconds)
    if value.isdecimal():
        return str(_later(int(value), seconds))
    at = datetime.fromisoformat(value) + timedelta(seconds=seconds)
    if len(value) == len("2026-01-31"):
        return at.date().isoformat()
    fraction = re.search(r"\.(\d+)", value)
    spec = "seconds" if not fraction else "milliseconds" if len(fraction[1]) == 3 else "microseconds"
    text = at.isoformat(sep=value[10], timespec=spec)
    return text.replace("+00:00", "Z") if value.endswith("Z") else text
