"""Pages of which no answer is made: a backfill stores their items, a recording keeps them as they came."""

from __future__ import annotations

from collections.abc import Sequence

from tbcache.admission import Admission, Reach, Settlement
from tbcache.fetch.job import Attempt
from tbcache.fetch.reader import Fetched, PageReader
from tbcache.fetch.upstream import Upstream
from tbcache.models import FetchRequest
from tbcache.models.price import Bill
from tbcache.models.request import Stretch
from tbcache.store.codec import encode

#: No answer is fresh for so long (seconds): each page is asked for.
ALWAYS = 1e9


async def read_pages(
    admission: Admission,
    upstream: Upstream,
    attempt: Attempt,
    request: FetchRequest,
    stretches: Sequence[Stretch],
    pages: int,
) -> Fetched:
    """At most ``pages`` of ``stretches`` (none: of all that ``request`` asks for).

    Raises:
      UpstreamError: the first page cannot be read. TooLate: it was not sent.
    """
    return await PageReader(
        upstream,
        attempt,
        admission.turn,
        admission.may_send,
        admission.now,
        Reach(request, upstream.source.delay_hours),
        stretches,
        pages=pages,
    ).read()


def settlement_of(fetched: Fetched, bill: Bill) -> Settlement:
    """How the load of ``fetched`` ends, with an empty value in the place of an answer."""
    return Settlement(
        payload=encode(None),
        closed_by=fetched.closed_by,
        pages=fetched.pages,
        bill=bill,
        hints=fetched.hints,
    )
