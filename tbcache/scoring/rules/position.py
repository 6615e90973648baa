"""What is done to a position: harm to a bearish one is bullish, harm to a bullish one is bearish."""

from __future__ import annotations

from tbcache.scoring.rules.reading import CLEAR, NEGATED, Reading

_HOLDERS = {
    **dict.fromkeys(("shorts", "bears", "bear", "puts", "shorties", "shorting", "shorted"), -1),
    **dict.fromkeys(("short sellers", "short seller", "short-sellers", "put options"), -1),
    **dict.fromkeys(("longs", "bulls", "bull", "calls", "call options"), 1),
}
_BETS = frozenset(("position", "positions", "thesis", "bet", "bets", "trade", "case", "holders", "buyers"))
_SIDES = {
    **dict.fromkeys(("short", "put", "bear", "bearish"), -1),
    **dict.fromkeys(("long", "call", "bull", "bullish"), 1),
}

# What somebody does to another, who is named behind it.
_HARMS = """
    crush crushes crushing destroy destroys destroying squeeze squeezes squeezing burn burns burning kill
    kills killing punish punishes punishing trap traps trapping hurt hurts hurting slaughter slaughtering
    liquidate liquidates liquidating wreck wrecks wrecking roast roasts roasting smoke smokes smoking
    embarrass embarrasses embarrassing torch torches torching
"""
_HELPS = "reward rewards rewarding rewarded vindicate vindicates vindicated"
# What happened to those who are named before it; of some verbs also to those behind it.
_SUFFERS = """
    crushed destroyed squeezed burned burnt killed punished trapped slaughtered liquidated wrecked roasted
    smoked embarrassed torched obliterated annihilated demolished steamrolled hammered rekt cooked toast
    dead doomed worthless underwater lose loses losing lost bleed bleeding suffer suffers suffering panic
    panicking panicked capitulate capitulated capitulating cover covering covered cry crying sweating
    scared nervous terrified wrong scrambling screwed fucked finished regretting hurting burning squirming
    pain trouble rip evaporated vaporized
"""
_GAINS = """
    win wins winning won right print prints printing printed paying paid feasting celebrating happy
    profitable laughing control rewarded vindicated thriving victorious eating itm
"""
_ACTS = {**dict.fromkeys(_HARMS.split(), -1), **dict.fromkeys(_HELPS.split(), 1)}
_STATES = {**dict.fromkeys(_SUFFERS.split(), -1), **dict.fromkeys(_GAINS.split(), 1)}
_FATES = frozenset((*_ACTS, *_STATES))
TRIGGERS = frozenset((*_HOLDERS, *_SIDES))


def read_positions(reading: Reading, valences: list[float]) -> list[float]:
    """Rate what happens to those who hold a position by what it means for the price."""
    if _FATES.isdisjoint(reading.words):
        return valences
    valences, taken = list(valences), set()
    for i, word in enumerate(reading.words):
        if word not in _FATES or (at := _holder(reading, i)) is None or at in taken:
            continue
        fate = _ACTS[word] if at > i and word in _ACTS else _STATES.get(word, 0)
        figure = _side(reading, at) * fate * CLEAR
        taken.add(at)
        for j in range(min(i, at), max(i, at) + 1):
            valences[j] = 0.0
        valences[i] = figure * (NEGATED if reading.is_negated(i) else 1.0)
    return valences


def _holder(reading: Reading, i: int) -> int | None:
    """The place of those whom the word at ``i`` tells of."""
    word = reading.words[i]
    behind = _nearest(reading, reading.after(i, 3)) if word in _ACTS or word.endswith("ed") else None
    # "Crushed by the bears" harms somebody else.
    if behind is not None and "by" in reading.words[i:behind]:
        behind = None
    if word in _STATES:
        before = _nearest(reading, reading.before(i, 6))
        return behind if before is None else before
    return behind


def _nearest(reading: Reading, places: range) -> int | None:
    return next((j for j in places if _side(reading, j)), None)


def _side(reading: Reading, i: int) -> int:
    """1 where the word at ``i`` is a bullish position, -1 where it is a bearish one, 0 where it is none."""
    word = reading.words[i]
    if word in _BETS and i and reading.words[i - 1] in _SIDES:
        return _SIDES[reading.words[i - 1]]
    return _HOLDERS.get(word, 0)
