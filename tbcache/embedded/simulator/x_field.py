"""The names and values that X accepts in a request, and how it refuses all others."""

from __future__ import annotations

from collections.abc import Mapping, Set

from tbcache.embedded.simulator.api import BadParameter

_SPAN_PARAMS = frozenset(
    {"query", "start_time", "end_time", "since_id", "until_id", "next_token", "pagination_token"}
)
COUNTS_PARAMS = _SPAN_PARAMS | {"granularity", "search_count.fields"}
SEARCH_PARAMS = _SPAN_PARAMS | {
    "max_results", "sort_order", "tweet.fields", "expansions", "user.fields", "media.fields", "place.fields",
    "poll.fields",
}  # fmt: skip
LOOKUP_PARAMS = frozenset({"ids", "tweet.fields"})
#: The values that X accepts in the list of each parameter.
_VALUES: Mapping[str, frozenset[str]] = {
    "tweet.fields": frozenset({
        "article", "attachments", "author_id", "card_uri", "community_id", "context_annotations",
        "conversation_id", "created_at", "display_text_range", "edit_controls", "edit_history_tweet_ids",
        "entities", "geo", "id", "in_reply_to_user_id", "lang", "media_metadata", "non_public_metrics",
        "note_tweet", "organic_metrics", "possibly_sensitive", "promoted_metrics", "public_metrics",
        "referenced_tweets", "reply_settings", "scopes", "source", "text", "withheld",
    }),
    "expansions": frozenset({
        "article.cover_media", "article.media_entities", "attachments.media_keys",
        "attachments.media_source_tweet", "attachments.poll_ids", "author_id", "edit_history_tweet_ids",
        "entities.mentions.username", "entities.note.mentions.username", "geo.place_id",
        "in_reply_to_user_id", "referenced_tweets.id", "referenced_tweets.id.attachments.media_keys",
        "referenced_tweets.id.author_id",
    }),
    "user.fields": frozenset({
        "affiliation", "connection_status", "created_at", "description", "entities", "id",
        "is_identity_verified", "location", "most_recent_tweet_id", "name", "parody", "pinned_tweet_id",
        "profile_banner_url", "profile_image_url", "protected", "public_metrics", "receives_your_dm",
        "subscription", "subscription_type", "url", "username", "verified", "verified_followers_count",
        "verified_type", "withheld",
    }),
    "media.fields": frozenset({
        "alt_text", "duration_ms", "height", "media_key", "non_public_metrics", "organic_metrics",
        "preview_image_url", "promoted_metrics", "public_metrics", "type", "url", "variants", "width",
    }),
    "place.fields": frozenset({
        "contained_within", "country", "country_code", "full_name", "geo", "id", "name", "place_type",
    }),
    "poll.fields": frozenset({"duration_minutes", "end_datetime", "id", "options", "voting_status"}),
    "search_count.fields": frozenset({"end", "start", "tweet_count"}),
    "sort_order": frozenset({"recency", "relevancy"}),
}  # fmt: skip
_DEFAULT_FIELDS = ("id", "text", "edit_history_tweet_ids")
#: The field of a post by which the objects of an expansion are joined to it.
_JOINED_BY = {
    "author_id": ("author_id",),
    "referenced_tweets.id": ("referenced_tweets",),
    "referenced_tweets.id.author_id": ("referenced_tweets", "author_id"),
    "in_reply_to_user_id": ("in_reply_to_user_id",),
    "entities.mentions.username": ("entities",),
}


def check(params: Mapping[str, str], known: Set[str]) -> None:
    """
    Raises:
      BadParameter: a name that is not in ``known``, or a value that X does not know.
    """
    for name in params:
        if name not in known:
            raise BadParameter(name, f"The query parameter [{name}] is not one of [{_listed(known)}]")
    for name, values in _VALUES.items():
        for value in listed(params, name):
            if value not in values:
                message = f"The `{name}` query parameter value [{value}] is not one of [{_listed(values)}]"
                raise BadParameter(name, message)


def listed(params: Mapping[str, str], name: str) -> list[str]:
    """The values in a parameter that is a list, in order."""
    return [value for value in params.get(name, "").split(",") if value]


def tweet_fields(params: Mapping[str, str]) -> tuple[str, ...]:
    """The fields of a post in an answer: the default ones, the requested ones, and those for expansions."""
    joined = [field for name in listed(params, "expansions") for field in _JOINED_BY.get(name, ())]
    return tuple(dict.fromkeys((*_DEFAULT_FIELDS, *listed(params, "tweet.fields"), *joined)))


def _listed(names: Set[str]) -> str:
    return ",".join(sorted(names))
