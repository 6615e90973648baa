"""One simulated upstream on a moved clock, asked in this process by our provider; nothing waits or sleeps."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import urlsplit

from tbcache.embedded.simulator import DEMO_CREDENTIALS, post
from tbcache.embedded.simulator.app import create_app
from tbcache.embedded.simulator.reddit import RedditApi
from tbcache.embedded.simulator.reply import Call
from tbcache.embedded.simulator.stream import Stream
from tbcache.models import FetchRequest, HttpRequest, Item, Limit, Page, RawResponse
from tbcache.providers.registry import new_provider
from tbcache.settings import BUILT_IN

SEED = 1
#: The most pages that anybody reads.
PAGES = 100


class World:
    """``source`` as the simulator has it with ``seed``, at ``now`` (Unix seconds), which its user moves."""

    def __init__(self, source: str, now: float, seed: int = SEED) -> None:
        self.now = now
        app = create_app(
            # What limits hold back is measured elsewhere.
            limits=dict.fromkeys(BUILT_IN, (Limit(1_000_000, 60),)),
            seed=seed,
            latency=(0.0, 0.0),
            clock=lambda: self.now,
            now=lambda: self.now,
            plans={"news": "paid"},
        )
        self._upstream = app.upstreams[source]
        self.api, self.ledger = self._upstream.api, self._upstream.ledger
        self.source, self.requests = BUILT_IN[source], 0
        self.provider = new_provider(source)

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)

    def send(self, request: HttpRequest) -> RawResponse:
        self.requests += 1
        base = urlsplit(self.source.base_url).path.rstrip("/")
        path = urlsplit(request.url).path.removeprefix(base)
        call = Call(request.method, path, dict(request.params), {**request.headers, **self._credentials()})
        answer = self._upstream.answer(call, self._upstream.arrive(call, self.now))
        assert answer is not None
        return RawResponse(answer.status, answer.headers, answer.body)

    def pages(self, fetch: FetchRequest, most: int = PAGES) -> Iterator[Page]:
        """The answer to ``fetch``, page by page, as far as its hours reach."""
        cursor: str | None = None
        for _ in range(most):
            page = self.provider.parse(self.send(self.provider.request(fetch, cursor, fetch.start(self.at))))
            yield page
            times = [item.at for item in page.items if item.at is not None]
            cursor = page.next
            if cursor is None or (times and min(times) < fetch.start(self.at)):
                return

    def items(self, symbol: str, hours: int, most: int = PAGES) -> list[Item]:
        """What a fetch of the last ``hours`` brings, each item once."""
        fetch = FetchRequest(self.source.name, symbol, hours)
        found = {item.id: item for page in self.pages(fetch, most) for item in page.items}
        return [item for item in found.values() if item.at is None or item.at >= fetch.start(self.at)]

    def truth(self, symbol: str, hours: float) -> list[tuple[Stream, int]]:
        """Every item of the last ``hours`` in the stream of ``symbol``, those that are spelled alike too."""
        return list(self.api.items((symbol,), self.now - hours * 3600, self.now))

    def can_be_found(self, stream: Stream, k: int) -> bool:
        """Whether item ``k`` is there, and in a place where we look."""
        where = (self.api.place(stream, k) or "").lower()
        is_in = self.source.name != "reddit" or where in self.provider.settings.subreddits.lower().split("+")
        return is_in and post.is_there(stream, k, self.now)

    def _credentials(self) -> dict[str, str]:
        known = DEMO_CREDENTIALS
        match self.source.name:
            case "twitter":
                return {"authorization": f"Bearer {known['TBCACHE_TWITTER__BEARER_TOKEN']}"}
            case "news":
                return {"x-api-key": known["TBCACHE_NEWS__API_KEY"]}
            case "reddit":
                assert isinstance(self.api, RedditApi)
                return {
                    "authorization": f"bearer {self.api._sign(int(self.now) + 60)}",
                    "user-agent": "bench",
                }
            case _:
                return {}
