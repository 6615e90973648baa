"""Each rule of the check finds the source that breaks it, and says where and what would be right."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tbcache import FetchRequest, HttpRequest, Item, Page, Provider, RawResponse
from tbcache.models.coerce import moment
from tbcache.models.error import UpstreamPayloadError
from tbcache.models.price import Price
from tbcache.models.request import Stretch
from tbcache.providers.conformance import RULES, Finding, check
from tbcache.providers.recording import Recording
from tbcache.settings import Source, SourceSettings

NOW = datetime(2026, 7, 28, 21, 0, 0, tzinfo=UTC)
SOURCE = Source("chirps", "https://chirps.test", (), pack=5, price=Price(per_item=0.01, page_items=5))
_COUNT = itertools.count()


class Chirps(Provider):
    """A source that keeps every rule."""

    def request(self, fetch: FetchRequest, cursor: str | None, since: datetime) -> HttpRequest:
        params = {"q": ",".join(fetch.symbols), "since": since.isoformat()}
        return HttpRequest("GET", self.source.base_url, params | ({"cursor": cursor} if cursor else {}))

    def parse(self, response: RawResponse) -> Page:
        body = self.read_json(response)
        items = tuple(map(self.item, body["chirps"]))
        return Page(items, next=body.get("cursor"), exhausted="cursor" not in body)

    def item(self, row: Mapping[str, Any]) -> Item:
        return Item(row["id"], moment(row["at"]), row["text"], author="me", symbols=("AAPL",))


def row(minutes: int) -> dict[str, Any]:
    at = (NOW - timedelta(minutes=minutes)).isoformat()
    return {"id": f"c{minutes}", "at": at, "text": f"so many minutes ago: {minutes}"}


def recording(
    name: str, body: object, cursor: str | None = None, since: datetime | None = None, status: int = 200
) -> Recording:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    stretch = None if since is None else Stretch(since, since_id="c3")
    start = NOW - timedelta(hours=1) if since is None else since
    return Recording(
        name,
        RawResponse(status, {}, raw, received_at=NOW),
        None,
        FetchRequest("chirps", "AAPL", 1, stretch=stretch, asked_at=NOW),
        start,
        cursor,
        tuple(one["id"] for one in body["chirps"]) if isinstance(body, dict) and "chirps" in body else None,
    )


FIRST = recording("first", {"chirps": [row(1), row(2), row(3)], "cursor": "older"})
SECOND = recording("second", {"chirps": [row(4), row(5)]}, "older")
REFRESH = recording("refresh", {"chirps": [row(0), row(1)]}, since=NOW - timedelta(minutes=2))
GOOD = (FIRST, SECOND, REFRESH)


def checked(
    kind: type[Provider] = Chirps, recordings: Sequence[Recording] = GOOD, **figures: Any
) -> tuple[Finding, ...]:
    return check(kind(replace(SOURCE, **figures), SourceSettings()), recordings).findings


def variant(**methods: Callable[..., Any]) -> type[Provider]:
    return type("Variant", (Chirps,), methods)


def item_with(**changes: Callable[[Mapping[str, Any]], Any]) -> type[Provider]:
    """A source that reads these fields of an item in other ways."""

    def item(self: Chirps, row: Mapping[str, Any]) -> Item:
        return replace(Chirps.item(self, row), **{name: change(row) for name, change in changes.items()})

    return variant(item=item)


def asking(change: Callable[[Provider, dict[str, str]], dict[str, str]]) -> type[Provider]:
    """A source with other parameters."""

    def request(self: Chirps, fetch: FetchRequest, cursor: str | None, since: datetime) -> HttpRequest:
        asked = Chirps.request(self, fetch, cursor, since)
        return replace(asked, params=change(self, dict(asked.params)))

    return variant(request=request)


def without(name: str) -> type[Provider]:
    return asking(lambda _, params: {key: value for key, value in params.items() if key != name})


def reading(read: Callable[[Chirps, RawResponse], Page]) -> type[Provider]:
    return variant(parse=read)


def _any_status(self: Chirps, response: RawResponse) -> Page:
    body = json.loads(response.body or b'{"chirps": []}')
    return Page(tuple(map(self.item, body.get("chirps", ()))), next=body.get("cursor"), exhausted=True)


def _empty_for_garbage(self: Chirps, response: RawResponse) -> Page:
    try:
        return Chirps.parse(self, response)
    except UpstreamPayloadError:
        return Page((), exhausted=True)


def _bug_for_garbage(self: Chirps, response: RawResponse) -> Page:
    try:
        return Chirps.parse(self, response)
    except UpstreamPayloadError:
        raise ZeroDivisionError from None


def _words_of_its_own(self: Chirps, response: RawResponse) -> Page:
    if response.status == 403:
        raise UpstreamPayloadError("chirps", f"no access by {self.settings.api_key.get_secret_value()}")  # type: ignore[union-attr]
    return Chirps.parse(self, response)


def _signed(self: Provider, params: dict[str, str]) -> dict[str, str]:
    return params | {"apikey": self.settings.api_key.get_secret_value()}  # type: ignore[union-attr]


def _by_first_character(self: Chirps, symbols: Sequence[str]) -> tuple[str, ...]:
    return tuple(symbols[1:])


BROKEN: dict[str, tuple[str, type[Provider]]] = {
    "a success that is not read": ("parses", variant(item=lambda self, row: Item(row["uid"], None, ""))),
    "a parser that ends the program": ("parses", item_with(text=lambda row: sys.exit(3))),
    "a parser with a bug": ("parses", item_with(text=lambda row: str(1 / 0))),
    "a bug where nothing is expected": ("garbage", reading(_bug_for_garbage)),
    "a request that cannot be built": ("cursor moves", asking(lambda _, params: {"q": params["nothing"]})),
    "a time without a zone": ("parses", item_with(at=lambda row: datetime.fromisoformat(row["at"][:19]))),
    "one id for all": ("unique ids", item_with(id=lambda row: "c")),
    "ids of one process": ("stable ids", item_with(id=lambda row: f"x{row['id']}")),
    "milliseconds as seconds": ("times", item_with(at=lambda row: moment(row["at"]) + timedelta(days=900))),  # type: ignore[operator]
    "seconds as milliseconds": ("times", item_with(at=lambda row: datetime(1970, 1, 21, tzinfo=UTC))),
    "a score beyond 1": ("bounds", item_with(score=lambda row: 5.0)),
    "a weight that is none": ("bounds", item_with(weight=lambda row: float("nan"))),
    "an endless id": ("bounds", item_with(id=lambda row: row["id"] * 300)),
    "no times": ("times", item_with(at=lambda row: None)),
    "the clock": ("pure", item_with(text=lambda row: f"{next(_COUNT)}")),
    "no cursor is sent": ("cursor moves", without("cursor")),
    "the whole time again": ("since", without("since")),
    "one symbol of many": ("packs", asking(lambda _, params: params | {"q": params["q"][:4]})),
    "a pack without its leader": ("packs", variant(packs=_by_first_character)),
    "items of nobody": ("packs", item_with(symbols=lambda row: ())),
    "every status is a page": ("errors", reading(_any_status)),
    "garbage is silence": ("garbage", reading(_empty_for_garbage)),
    "a key in the URL": ("secrets", asking(_signed)),
    "a key in an error": ("secrets", reading(_words_of_its_own)),
    "no end is stated": (
        "cursor ends",
        reading(lambda self, response: replace(Chirps.parse(self, response), exhausted=False)),
    ),
    "an end on each page": (
        "cursor ends",
        reading(lambda self, response: replace(Chirps.parse(self, response), exhausted=True)),
    ),
    "a wait that is not heard": (
        "retry",
        variant(read_json=lambda self, response: Provider.read_json(self, replace(response, headers={}))),
    ),
}


def test_a_source_that_keeps_every_rule_has_no_finding() -> None:
    """A check that complains of what is right is turned off."""
    assert checked() == ()


@pytest.mark.parametrize(("rule", "kind"), BROKEN.values(), ids=BROKEN)
def test_a_broken_source_is_found(rule: str, kind: type[Provider]) -> None:
    """Each of these has cost somebody a day: money spent twice, hours without posts, a key in a log."""
    wrong = [finding for finding in checked(kind) if finding.level == "wrong"]
    assert rule in {finding.rule for finding in wrong}
    assert all("\n" not in str(finding) and finding.right for finding in wrong)


@pytest.mark.parametrize(
    ("rule", "recordings", "figures"),
    [
        ("newest first", (recording("up", {"chirps": [row(n) for n in (9, 8, 7, 6, 5)]}),), {}),
        ("cursor moves", (FIRST, recording("again", {"chirps": [row(4)], "cursor": "older"}, "older")), {}),
        ("stable ids", (FIRST, recording("moved", {"chirps": [row(2) | {"id": "c99"}]}, "older")), {}),
        (
            "stable ids",
            (FIRST, recording("places", {"chirps": [row(n + 3) | {"id": f"c{n}"} for n in (1, 2)]}, "older")),
            {},
        ),
        ("since", (FIRST, recording("late", {"chirps": []}, since=NOW - timedelta(minutes=3))), {}),
        ("since", (FIRST, recording("all", {"chirps": [row(1), row(2), row(3)]}, since=NOW)), {}),
        ("cost", GOOD, {"price": Price(per_item=0.01, page_items=2)}),
        ("rechecks", GOOD, {"recheck_seconds": 60.0}),
    ],
)
def test_what_recordings_show_is_found(
    rule: str, recordings: Sequence[Recording], figures: dict[str, Any]
) -> None:
    """An upstream that does not do what its documents say is seen in what it answers alone."""
    wrong = {
        finding.rule for finding in checked(recordings=recordings, **figures) if finding.level == "wrong"
    }
    assert wrong == {rule}


def test_one_mistake_is_said_once() -> None:
    """Of eight recordings it was eight lines, and a second mistake was lost among them."""
    (found,) = [one for one in checked(item_with(score=lambda row: 5.0)) if one.rule == "bounds"]
    assert (found.recording, found.also) == ("first", ("second", "refresh"))
    assert "in first: " in str(found)
    assert "(and in 2 others); " in str(found)


def test_what_recordings_do_not_show_is_said_and_is_no_failure() -> None:
    """Whoever has one page knows what is still to be recorded."""
    shown = checked(recordings=(FIRST,))
    assert {(finding.level, finding.rule) for finding in shown} == {
        ("not shown", "cursor ends"),
        ("not shown", "since"),
    }


def test_a_refusal_is_a_sound_recording() -> None:
    """It is no page, and nothing is missing from it."""
    assert checked(recordings=(*GOOD, recording("refused", {"error": "no"}, status=403))) == ()


def test_each_rule_has_a_source_that_breaks_it() -> None:
    """A rule that cannot fail is none."""
    tried = {rule for rule, _ in BROKEN.values()} | {"newest first", "cost", "rechecks"}
    assert tried == set(RULES)
