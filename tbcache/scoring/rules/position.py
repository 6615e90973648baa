"""What is done to a position: harm to a bearish one is bullish, harm to a bullish one is bearish."""

from __future__ import annotations

from tbcache.scoring.rules.option import is_option
from tbcache.scoring.rules.reading import NEGATED, UNDERSTOOD, Reading

_HOLDERS = {
    **dict.fromkeys(
        ("shorts", "bears", "bear", "puts", "shorties", "shorting", "shorted", "put holders"), -1
    ),
    **dict.fromkeys(("short sellers", "short seller", "short-sellers", "put options"), -1),
    **dict.fromkeys(("longs", "bulls", "bull", "calls", "call options"), 1),
}
_BETS = frozenset(
    "position positions thesis bet bets trade trades case holders holder buyers buyer crowd gamblers "
    "book".split()
)
_SIDES = {
    **dict.fromkeys(("short", "put", "bear", "bearish"), -1),
    **dict.fromkeys(("long", "call", "bull", "bullish"), 1),
}
_OWNERS = frozenset(
    "my his her their our your this these those anyone anybody everyone everybody someone people who still "
    "be".split()
)

# Verbs for what somebody does to another, who is named behind them.
_HARMS = """
    crush crushes crushing destroy destroys destroying squeeze squeezes squeezing burn burns burning kill
    kills killing punish punishes punishing trap traps trapping hurt hurts hurting slaughter slaughtering
    liquidate liquidates liquidating wreck wrecks wrecking roast roasts roasting smoke smokes smoking
    embarrass embarrasses embarrassing torch torches torching rip ate eats
"""
_HELPS = "reward rewards rewarding rewarded vindicate vindicates vindicated"
# Verbs for what happened to those who are named before them; for some verbs also to those behind them.
_SUFFERS = """
    crushed destroyed squeezed burned burnt killed punished trapped slaughtered liquidated wrecked roasted
    smoked embarrassed torched obliterated annihilated demolished steamrolled hammered rekt cooked toast
    dead doomed worthless underwater lose loses losing lost bleed bleeding suffer suffers suffering panic
    panicking panicked capitulate capitulated capitulating cover covering covered cry crying sweating scared
    nervous terrified wrong scrambling screwed fucked finished regretting hurting burning squirming pain
    trouble rip evaporated vaporized wiped drowning hopeless cornered expired stopped blown shambles ate
    eaten rough silent quiet hiding idiots idiot fools clowns morons delusional buried denial wya
"""
_GAINS = """
    win wins winning won right print prints printing printed paying paid feasting celebrating happy
    profitable laughing control rewarded vindicated thriving victorious eating itm banked
"""
# What stands right behind those it tells of, or before them and a preposition: "puts are down 80%", "a loss
# on my puts". Further away it tells of something else.
_DOWN = "down red loss losses"
_UP = "up green profit profits gain gains fortune doubled tripled 10x 5x 3x 2x"
_ACTS = {**dict.fromkeys(_HARMS.split(), -1), **dict.fromkeys(_HELPS.split(), 1)}
_STATES = {
    **dict.fromkeys((*_SUFFERS.split(), "wiped out", "going to zero", "goes to zero"), -1),
    **dict.fromkeys(_GAINS.split(), 1),
}
_CHANGES = {**dict.fromkeys(_DOWN.split(), -1), **dict.fromkeys(_UP.split(), 1)}
#: A fate that reaches through a preposition to those behind it, beside all changes.
_EARNED = {
    **dict.fromkeys(
        "lost lose loses losing stopped burned burnt wrecked rekt destroyed killed cooked rip bad sorry luck "
        "prayers pray".split(),
        -1,
    ),
    **dict.fromkeys("made make makes making won win winning earned banked profited cashed".split(), 1),
}
#: What those are called whom somebody mocks: "poor bears".
_MOCKED = frozenset("poor dumb stupid silly delusional desperate clueless idiot moron".split())
#: "Made" alone says nothing: it must be money.
_MAKES = frozenset("made make makes making".split())
_MONEY = frozenset(
    "money fortune bank bag bags millions thousands hundreds lot ton tons killing profit profits gains "
    "gain everything shirt savings more big cash dollars grand k bread".split()
)
_THROUGH = frozenset("on in from with off of by for to".split())
#: The words that may stand between those who hold and a change that they see.
_BETWEEN = frozenset(
    "is are was were am be been being got get getting go goes going went have has had already now still "
    "all both currently today so way deep deeply well just again in at for to into the a an my this closed "
    "sold sitting massively up down another huge big small nice almost nearly finally not".split()
)
_SAYS = frozenset(
    "say says saying said tell tells telling told claim claims claiming insist insists predicting".split()
)
_ARTICLES = frozenset("the a this that each every next earnings".split())
_FATES = frozenset((*_ACTS, *_STATES, *_CHANGES, *_EARNED, *_MOCKED))
TRIGGERS = frozenset((*_HOLDERS, *_SIDES))


def read_positions(reading: Reading, valences: list[float]) -> list[float]:
    """Rate what happens to those who hold a position by what it means for the price."""
    if not _SAYS.isdisjoint(reading.words):
        valences = _without_hearsay(reading, valences)
    if _FATES.isdisjoint(reading.words):
        return valences
    valences = list(valences)
    taken: set[int] = set()
    for i, word in enumerate(reading.words):
        if word not in _FATES or _is_report(reading, i) or (found := _holder(reading, i)) is None:
            continue
        at, fate = found
        if at in taken:
            # "Expired worthless" is one fate.
            valences[i] = 0.0
            continue
        figure = _side(reading, at) * fate * UNDERSTOOD
        taken.add(at)
        for j in range(min(i, at), max(i, at) + 1):
            valences[j] = 0.0
        valences[i] = figure * (NEGATED if reading.is_negated(i) else 1.0)
    return valences


def _without_hearsay(reading: Reading, valences: list[float]) -> list[float]:
    """``valences`` without what bears or bulls are said to say, whom nobody quotes to agree with."""
    valences = list(valences)
    for i, word in enumerate(reading.words):
        if word in _SAYS and (at := _nearest(reading, reading.before(i, 3))) is not None:
            end = reading.find(reading.after(i, 12), ("and",))
            said = reading.after(i, 12) if end is None else range(i, end)
            for j in (at, *said):
                valences[j] = 0.0
    return valences


def _holder(reading: Reading, i: int) -> tuple[int, int] | None:
    """The place of those whom the word at ``i`` tells of, and whether that is their gain (1) or harm (-1)."""
    word = reading.words[i]
    if word in _MOCKED:
        mocked = _nearest(reading, reading.after(i, 1))
        return None if mocked is None else (mocked, -1)
    behind = _nearest(reading, reading.after(i, 3)) if word in _ACTS or word.endswith("ed") else None
    # "Crushed by the bears" harms somebody else.
    if behind is not None and not _THROUGH.isdisjoint(reading.words[i:behind]):
        behind = None
    if word in _STATES and (before := _nearest(reading, reading.before(i, 6))) is not None:
        return before, _STATES[word]
    if behind is not None:
        return behind, _ACTS[word] if word in _ACTS else _STATES.get(word, -1)
    if word in _CHANGES and (before := _seen(reading, i)) is not None:
        return before, _CHANGES[word]
    return _through(reading, i)


def _is_report(reading: Reading, i: int) -> bool:
    """Whether a print is one of results: "into this print"."""
    return reading.words[i] in ("print", "prints") and reading.last_word(i) in _ARTICLES


def _seen(reading: Reading, i: int) -> int | None:
    """The place of those who see the change at ``i``, where nothing between the two could see it instead."""
    for j in reading.before(i, 6):
        if _side(reading, j):
            return j
        if reading.words[j] not in _BETWEEN and not _is_amount(reading.words[j]):
            return None
    return None


def _through(reading: Reading, i: int) -> tuple[int, int] | None:
    """The place of those that the word at ``i`` reaches by a preposition: "lost money on my puts"."""
    word = reading.words[i]
    fate = _EARNED.get(word) or _CHANGES.get(word)
    if fate is None or reading.last_word(i) in ("doubled", "doubling", "double", "set", "loaded"):
        return None
    places = reading.after(i, 8)
    at = reading.find(places, _THROUGH)
    if at is None or (word in _MAKES and not any(_is_money(reading.words[j]) for j in range(i + 1, at))):
        return None
    holder = _nearest(reading, reading.after(at, 3))
    # "Crushed by the bears": they are the ones who did it.
    return None if holder is None or reading.words[at] == "by" else (holder, fate)


def _nearest(reading: Reading, places: range) -> int | None:
    return next((j for j in places if _side(reading, j)), None)


def _side(reading: Reading, i: int) -> int:
    """1 where the word at ``i`` is a bullish position, -1 where it is a bearish one, 0 where it is none."""
    word = reading.words[i]
    if word in _BETS and i and reading.words[i - 1] in _SIDES:
        return _SIDES[reading.words[i - 1]]
    if word in _SIDES and i and reading.words[i - 1] in _OWNERS and reading.next_word(i) not in _BETS:
        return _SIDES[word]
    if word in ("calls", "puts") and not is_option(reading, i):
        return 0
    return _HOLDERS.get(word, 0)


def _is_amount(word: str) -> bool:
    return word.lstrip("$-+")[:1].isdigit()


def _is_money(word: str) -> bool:
    return word in _MONEY or _is_amount(word)
