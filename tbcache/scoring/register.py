"""Whether a text is a report, as headlines, news and statements of companies are, or talk.

Words of feeling mean little in a report, where "valuable raw material" and "wellness services" are no praise;
and reports are what general dictionaries read worst (Loughran & McDonald, When Is a Liability Not a
Liability?, Journal of Finance 66, 2011).
"""

from __future__ import annotations

from collections.abc import Sequence

# They stand side by side, as one name a line would hide the rest.
_PEOPLE = """
    i i'm i've i'll i'd im ive id my me mine myself we we're we've we'll our us you your you're you've u ur
    yours they they're them it's that's here's what's there's he's don't doesn't didn't isn't aren't can't
    won't wasn't wouldn't dont doesnt didnt isnt cant wont this these here everyone everybody nobody anyone
    anybody somebody someone guys folks bro dude lol lmao gonna wanna gotta imo imho tbh ngl btw wtf omg
    yeah yep nope please thanks lets let's think hope maybe looks shorts longs bulls bears puts calls yolo
    lfg hodl moon dip thesis bagholders chart help what
"""
_NEWS = """
    said says told reports reported announced announces according company company's group inc corp ltd oyj
    plc ceo cfo quarter q1 q2 q3 q4 h1 h2 fiscal eur usd mn mln bn million billion percent pct analyst
    analysts shareholders index futures sales profit revenue operating agreement earnings shares stocks
    markets u.s
"""
#: Words of people who speak for themselves, or to each other: no report has one outside of a quotation.
_TALK = frozenset(_PEOPLE.split())
#: Words of reports: one of them, and a text without a word of talk is a report however short it is.
_REPORTED = frozenset(_NEWS.split())
#: A sentence of so many words without any of talk is a report; shorter ones may be cries.
_SENTENCE = 8
_OPENINGS = frozenset(".`'\"(-$0123456789#@*")


def is_report(text: str, words: Sequence[str]) -> bool:
    """Whether ``text`` is a report; ``words`` are its words in lower case."""
    if not _TALK.isdisjoint(words) or "!" in text:
        return False
    first = text[:1]
    if not first.isupper() and first not in _OPENINGS:
        return False
    return len(words) >= _SENTENCE or not _REPORTED.isdisjoint(words)
