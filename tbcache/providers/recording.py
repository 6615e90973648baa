"""Recorded answers: files that anybody may see, from which parsers are written and tested.

A recording is a JSON object: the request as it was before it was signed, and the status, headers and body
of its answer. ``symbol``, ``hours``, ``since``, ``cursor`` and ``asked_at`` are what the request was made of,
and ``ids`` the items that were read from it. A file with no more than ``status``, ``headers`` and ``body`` is
one as well. The simulator answers with the same files (``tbcache simulator --replay``).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from tbcache.models import FetchRequest, HttpRequest, RawResponse
from tbcache.models.coerce import moment, record, word
from tbcache.models.error import ConfigurationError, TbcacheError
from tbcache.models.request import Stretch
from tbcache.models.untrusted import NotJson, read_json


@dataclass(frozen=True, slots=True)
class Recording:
    """One answer. ``fetch`` and ``since`` are what it was asked for with, None where that was not recorded;
    ``ids`` those of its items, None where nobody has read them."""

    name: str
    response: RawResponse
    request: HttpRequest | None = None
    fetch: FetchRequest | None = None
    since: datetime | None = None
    cursor: str | None = None
    ids: tuple[str, ...] | None = None

    @property
    def is_refresh(self) -> bool:
        """True where less than all the hours was asked for."""
        return self.fetch is not None and self.fetch.stretch is not None


def folder_of(folder: Path, source: str) -> Path:
    return folder / source


def read_folder(folder: Path, source: str) -> tuple[Recording, ...]:
    """The recordings of ``source`` in ``folder``, by name.

    Raises:
      ConfigurationError: there are none, or one of them is none.
    """
    where = folder_of(folder, source)
    paths = sorted(where.glob("*.json"), key=lambda path: (len(path.name), path.name))
    if not paths:
        raise ConfigurationError(
            f"{where} has no recordings: make some by `tbcache record {source} AAPL --out {folder}`"
        )
    return tuple(_read(path, source) for path in paths)


def written(recording: Recording) -> bytes:
    """The file that ``recording`` is."""
    fetch, request = recording.fetch, recording.request
    data = {
        "source": None if fetch is None else fetch.source,
        "symbol": None if fetch is None else fetch.symbol,
        "hours": None if fetch is None else fetch.hours,
        "since": recording.since,
        "cursor": recording.cursor,
        "is_refresh": recording.is_refresh,
        "since_id": None if fetch is None or fetch.stretch is None else fetch.stretch.since_id,
        "asked_at": recording.response.received_at,
        "request": request and {"method": request.method, "url": request.url, "params": dict(request.params)},
        "ids": recording.ids,
        "status": recording.response.status,
        "headers": dict(recording.response.headers),
        **_body(recording.response.body),
    }
    return msgspec.json.format(msgspec.json.encode(data), indent=1) + b"\n"


def _body(body: bytes) -> dict[str, Any]:
    """As JSON where it is an object or a list; else the text that it is, or its bytes in base64."""
    try:
        read = read_json(body)
        if isinstance(read, dict | list):
            return {"body": read}
    except NotJson:
        pass
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body": None, "body_base64": base64.b64encode(body).decode()}


def _read(path: Path, source: str) -> Recording:
    try:
        data = record(read_json(path.read_bytes()))
        return _recording(path.name, source, data)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    except (NotJson, ValueError, TypeError, KeyError, TbcacheError) as error:
        raise ConfigurationError(
            f"{path} is no recording ({error}): it should be a JSON object with status, headers and body"
        ) from None


def _recording(name: str, source: str, data: Mapping[str, Any]) -> Recording:
    status = data["status"]
    if not isinstance(status, int) or not 100 <= status <= 599:
        raise ValueError(f"its status is {status!r:.40}")
    asked_at, since = moment(data.get("asked_at")), moment(data.get("since"))
    headers = {str(name): str(value) for name, value in record(data.get("headers")).items()}
    response = RawResponse(
        status, headers, _bytes(data), received_at=datetime.now(UTC) if asked_at is None else asked_at
    )
    ids = data.get("ids")
    return Recording(
        name,
        response,
        _request(record(data.get("request"))),
        _fetch(source, data, since, asked_at),
        since if asked_at is not None else None,
        word(data.get("cursor")),
        tuple(map(str, ids)) if isinstance(ids, list) else None,
    )


def _bytes(data: Mapping[str, Any]) -> bytes:
    body = data["body"]
    if body is None and (packed := word(data.get("body_base64"))) is not None:
        try:
            return base64.b64decode(packed, validate=True)
        except binascii.Error:
            raise ValueError("its body_base64 is none") from None
    return body.encode() if isinstance(body, str) else msgspec.json.encode(body)


def _request(data: Mapping[str, Any]) -> HttpRequest | None:
    method, url = word(data.get("method")), word(data.get("url"))
    if method is None or url is None:
        return None
    params = {str(name): str(value) for name, value in record(data.get("params")).items()}
    return HttpRequest(method, url, params)


def _fetch(
    source: str, data: Mapping[str, Any], since: datetime | None, asked_at: datetime | None
) -> FetchRequest | None:
    symbol, hours = word(data.get("symbol")), data.get("hours")
    if symbol is None or since is None or asked_at is None:
        return None
    is_refresh = data.get("is_refresh") is True
    stretch = Stretch(since, since_id=word(data.get("since_id"))) if is_refresh else None
    whole = hours if isinstance(hours, int) else max(1, round((asked_at - since) / timedelta(hours=1)))
    return FetchRequest(source, symbol, whole, stretch=stretch, asked_at=asked_at)


def names(symbol: str, count: int) -> Sequence[str]:
    """The names of ``count`` files of recordings of ``symbol``."""
    return [f"{symbol}-{number}.json" for number in range(1, count + 1)]
