from __future__ import annotations

from typing import Any

import run
import tweepy

FIELDS = {
    "max_results": 100,
    "tweet_fields": ["created_at", "lang", "referenced_tweets", "public_metrics"],
    "expansions": ["author_id", "referenced_tweets.id"],
    "user_fields": ["verified"],
}


def script(base: str) -> dict[str, Any]:
    client = tweepy.Client(run.credential("TBCACHE_TWITTER__BEARER_TOKEN"))
    page = client.search_recent_tweets("$NVDA -is:retweet lang:en", **FIELDS)
    users = {user.id for user in page.includes["users"]}
    pages = list(tweepy.Paginator(client.search_recent_tweets, "$NVDA", max_results=100, limit=3))
    counts = client.get_recent_tweets_count("$NVDA", granularity="day")
    return {
        "posts": len(page.data),
        "joined": all(post.author_id in users for post in page.data),
        "dated": all(post.created_at.tzinfo is not None for post in page.data),
        "languages": sorted({post.lang for post in page.data}),
        "retweets": sum(
            ref.type == "retweeted" for post in page.data for ref in post.referenced_tweets or ()
        ),
        "ids": [post.id for each in pages for post in each.data],
        "counted": counts.meta["total_tweet_count"] == sum(day["tweet_count"] for day in counts.data),
        "nothing": client.search_recent_tweets("$ZZZQ").data,
        "unbalanced": _error(tweepy.BadRequest, client, "($NVDA"),
        "unauthorized": _error(tweepy.Unauthorized, tweepy.Client("wrong"), "$NVDA"),
        "outage": _spoiled(tweepy.TwitterServerError, client, base, outage=True),
        "limited": _spoiled(tweepy.TooManyRequests, client, base, limits="1/1h", at_once=2),
    }


def _error(kind: type[tweepy.HTTPException], client: tweepy.Client, query: str) -> list[str]:
    try:
        client.search_recent_tweets(query)
    except kind as error:
        return [str(error), *error.api_messages, *map(str, error.api_errors)]
    return []


def _spoiled(
    kind: type[tweepy.HTTPException], client: tweepy.Client, base: str, *, at_once: int = 1, **fault: Any
) -> list[str]:
    run.faults(base, twitter=fault)
    errors = [_error(kind, client, "$NVDA") for _ in range(at_once)]
    run.faults(base)
    return errors[-1]


run.main(script)
