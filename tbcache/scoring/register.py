"""Whether a text is a report, as headlines, news and statements of companies are, or talk.

Words of feeling mean little in a report, where "valuable raw material" and "wellness services" are no praise;
and reports are what general dictionaries read worst (Loughran & McDonald, When Is a Liability Not a
Liability?, Journal of Finance 66, 2011).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# They stand side by side, as one name a line would hide the rest.
_PEOPLE = """
    i i'm i've i'll i'd im ive id my me mine myself we we're we've we'll our us you your you're you've u ur
    yours dont doesnt didnt isnt cant wont everyone everybody nobody anyone anybody somebody someone guys
    folks bro dude lol lmao gonna wanna gotta imo imho tbh ngl btw wtf omg yeah yep nope please thanks lets
    let's yolo lfg hodl moon dip thesis bagholders shorts longs bulls bears puts calls chart
"""
_POINTING = """
    they they're them it's that's here's what's there's he's don't doesn't didn't isn't aren't can't won't
    wasn't wouldn't this these here think hope maybe looks help what
"""
_NEWS = """
    said says told reports reported announced announces according company company's group inc corp ltd oyj
    plc ceo cfo quarter q1 q2 q3 q4 h1 h2 fiscal eur usd mn mln bn million billion percent pct analyst
    analysts shareholders index futures sales profit revenue operating agreement earnings shares stocks
    markets u.s
"""
#: Words of people who speak for themselves, or to each other: no report has one outside of a quotation.
_TALK = frozenset(_PEOPLE.split())
#: Words that headlines have as well, which write them with a capital: "Here's What Comes Next".
_SHARED = frozenset(_POINTING.split())
#: Words of reports: one of them, and a text without a word of talk is a report however short it is.
_REPORTED = frozenset(_NEWS.split())
#: A sentence of so many words without any of talk is a report; shorter ones may be cries.
_SENTENCE = 8
#: A headline in capitals has so many words at least; of its words those of up to four letters may be small.
_HEADLINE = 5
_SMALL = re.compile(r" [a-z]\w{4}")
_OPENINGS = frozenset(".`'\"(-$0123456789#@*")


def is_report(text: str, words: Sequence[str]) -> bool:
    """Whether ``text`` is a report; ``words`` are its words in lower case."""
    first = text[:1]
    if "!" in text or (not first.isupper() and first not in _OPENINGS):
        return False
    if not _TALK.isdisjoint(words) and not _is_country(text, words):
        return False
    size = len(words)
    if not _SHARED.isdisjoint(words):
        return size >= _HEADLINE and _is_headline(text)
    if size >= _SENTENCE or not _REPORTED.isdisjoint(words):
        return True
    return size >= _HEADLINE and _is_headline(text)


def _is_country(text: str, words: Sequence[str]) -> bool:
    """Whether the only word of talk is the country's name: "the US has added jobs"."""
    return "US" in text and _TALK.intersection(words) == {"us"}


def _is_headline(text: str) -> bool:
    """Whether all but short words begin with a capital, and half of all do, and not all are in capitals."""
    # Most texts have one without early on.
    if _SMALL.search(text):
        return False
    tokens = text.split()
    return 2 * sum(token[0].isupper() for token in tokens) >= len(tokens) and not text.isupper()
