from __future__ import annotations

from typing import Any

import praw
import prawcore
import run


def script(base: str) -> dict[str, Any]:
    # It spreads its requests over the window.
    run.naps()
    reddit = _reddit(base, run.credential("TBCACHE_REDDIT__CLIENT_SECRET"))
    here = reddit.subreddit("wallstreetbets+stocks")
    found = list(here.search("NVDA", sort="new", time_filter="year", limit=None))
    top = list(here.search("NVDA", sort="top", time_filter="week", limit=50))
    new = list(here.new(limit=250))
    hot = list(here.hot(limit=20))
    comments = list(here.comments(limit=120))
    known = [found[0].fullname, comments[0].fullname, "t3_nonsense"]
    info = list(reddit.info(fullnames=known))
    return {
        "found": len({post.id for post in found}),
        "sorted": [post.created_utc for post in found]
        == sorted((p.created_utc for p in found), reverse=True),
        "stickies": sum(post.stickied for post in found),
        "top": [post.score for post in top] == sorted((post.score for post in top), reverse=True),
        "places": sorted({post.subreddit.display_name for post in new}),
        "new": len({post.id for post in new}),
        "hot": [post.stickied for post in hot[:3]],
        "comments": len({comment.id for comment in comments}),
        "bodies": all(comment.body is not None for comment in comments),
        "authorless": sum(post.author is None for post in found),
        "info": [thing.fullname for thing in info] == known[:2],
        "remaining": reddit.auth.limits["remaining"],
        "wrong": _refused(base),
        "limited": _limited(base, reddit),
    }


def _reddit(base: str, secret: str) -> praw.Reddit:
    return praw.Reddit(
        client_id=run.credential("TBCACHE_REDDIT__CLIENT_ID"),
        client_secret=secret,
        user_agent="script:of.the.tests:v1 (by nobody)",
        oauth_url=f"{base}/reddit/",
        reddit_url=f"{base}/reddit",
        check_for_updates=False,
    )


def _refused(base: str) -> int:
    try:
        next(_reddit(base, "wrong").subreddit("stocks").new(limit=1))
    except prawcore.ResponseException as error:
        return int(error.response.status_code)
    return 0


def _limited(base: str, reddit: praw.Reddit) -> float:
    """The seconds after which it is told to come back."""
    run.faults(base, reddit={"limits": "1/1h"})
    try:
        for _ in range(2):
            next(reddit.subreddit("stocks").new(limit=1))
    except prawcore.TooManyRequests as error:
        return float(error.retry_after)
    finally:
        run.faults(base)
    return 0.0


run.main(script)
