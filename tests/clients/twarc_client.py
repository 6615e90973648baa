from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import run
from twarc.client2 import Twarc2
from twarc.expansions import ensure_flattened


def script(base: str) -> dict[str, Any]:
    run.naps()
    twarc = Twarc2(bearer_token=run.credential("TBCACHE_TWITTER__BEARER_TOKEN"), metadata=False)
    # It asks for every field and every expansion there is.
    since = datetime.now(UTC) - timedelta(hours=12)
    pages = list(twarc.search_recent("($NVDA OR $TSLA) lang:en", max_results=100, start_time=since))
    posts = [post for page in pages for post in ensure_flattened(page)]
    counts = [row for page in twarc.counts_recent("$NVDA", granularity="hour") for row in page["data"]]
    run.faults(base, twitter={"limits": "1/1h"})
    # While it sleeps, the window ends.
    waits = run.naps(lambda: run.faults(base))
    after_limit = [len(next(twarc.search_recent("$NVDA", max_results=10))["data"]) for _ in range(3)]
    return {
        "pages": len(pages),
        "posts": len(posts),
        "unique": len({post["id"] for post in posts}),
        "authors": all(post["author"]["username"] for post in posts),
        "languages": sorted({post["lang"] for post in posts}),
        "kinds": sorted({ref["type"] for post in posts for ref in post.get("referenced_tweets", ())}),
        "referenced": sum("text" in ref for post in posts for ref in post.get("referenced_tweets", ())),
        "hours": len(counts),
        "after_limit": after_limit,
        "waits": waits,
    }


run.main(script)
