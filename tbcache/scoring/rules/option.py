"""Calls and puts that are options, and those that are verbs: "the board calls for calm" names no trade."""

from __future__ import annotations

from tbcache.scoring.rules.reading import Reading

_PLURALS = frozenset(("calls", "puts"))
_SINGLES = frozenset(("call", "put"))
#: The objects of a person who calls or puts something begin with one of these.
_OBJECTS = frozenset(
    "the a an it its this that these those him her his them their us me my our himself itself themselves "
    "another more what some pressure focus emphasis attention faith trust".split()
)
_CALLS = frozenset(("out", "off", "upon", "into", "attention", "in"))
_PUTS = frozenset(("off", "out", "up", "down", "forward", "aside", "forth", "together", "back", "away"))
_PUT_ON = frozenset(("hold", "ice", "notice", "watch", "sale", "brakes", "display", "a", "an", "the"))
#: Words before what is called for where no day follows: "calls for Friday" are options, "calls for calm" not.
_DAYS = frozenset(
    "monday tuesday wednesday thursday friday monday's january february march april may june july august "
    "september october november december jan feb mar apr jun jul aug sep sept oct nov dec next this "
    "earnings expiry expiration opex tomorrow today eow eom eoy income premium pennies cheap profit "
    "profits gains".split()
)
#: Words that stand before an option only.
_OWN = frozenset(
    "my your his her our their these those some otm itm atm leap leaps weekly weeklies bought buy buying "
    "buys sold sell selling sells wrote write writing long short shorting holding hold own opened added "
    "adding loaded grabbed naked more many of on in covered deep cheap the closed closing dumped dumping "
    "trading rolled unloaded cash-secured protective extra few additional".split()
)
_ARTICLES = frozenset(("a", "an", "one"))


def is_option(reading: Reading, i: int) -> bool:
    """Whether the word at ``i``, one of "call", "calls", "put" and "puts", names options."""
    word, last = reading.words[i], reading.last_word(i)
    if word in _SINGLES:
        # A single put is a verb as well ("put them aside"), and a single call a talk.
        return last[:1].isdigit() or last in _ARTICLES or last in _OWN - {"the"}
    if last[:1].isdigit() or last in _OWN:
        return True
    return word not in _PLURALS or not _is_verb(reading, i)


def _is_verb(reading: Reading, i: int) -> bool:
    behind = reading.next_word(i)
    if behind in _OBJECTS:
        # "Calls the only way": without a subject it is a name.
        return bool(reading.last_word(i))
    if reading.words[i] == "calls":
        return behind in _CALLS or (behind == "for" and not _is_day(reading.next_word(i + 1)))
    return behind in _PUTS or (behind == "on" and reading.next_word(i + 1) in _PUT_ON)


def _is_day(word: str) -> bool:
    return word in _DAYS or word[:1].isdigit() or not word
