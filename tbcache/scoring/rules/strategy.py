"""What an option trade bets on: who sells a put bets on a rise, who sells a call on a fall."""

from __future__ import annotations

from tbcache.scoring.rules.option import is_option
from tbcache.scoring.rules.reading import Reading

_BET = 1.6
_LEGS = {"calls": 1, "call": 1, "puts": -1, "put": -1, "csp": 1, "csps": 1}
_LEGS |= {"call options": 1, "call option": 1, "put options": -1, "put option": -1}
_SELLS = frozenset(
    "sold sell selling sells wrote write writing writes short shorted shorting naked closed closing dumped "
    "dumping unloaded cash-secured secured".split()
)
_BUYS = frozenset(
    "bought buy buying buys long loaded loading grabbed opened added adding own holding hold".split()
) | {"loaded up", "bought back", "doubled down", "doubling down", "long"}
_TRADES = _SELLS | _BUYS
#: Trades that are named behind their options: "huge put buying".
_FLOWS = {"buying": 1, "buys": 1, "sweep": 1, "sweeps": 1, "selling": -1, "writing": -1}
#: A trade does not reach beyond these to its options: "closed lower as puts traded".
_BARRIERS = frozenset(
    "as when while and or because at for with after before by from if so that who which is are was were "
    "lower higher up down flat red green shares stock stocks".split()
)
_AMBIGUOUS = frozenset(("call", "calls", "put", "puts"))
_SPREADS = frozenset(("spread", "spreads"))
_STYLES = {"bull": 1, "bear": -1}
#: Strategies that bet on no direction, or protect what one has.
_FLAT = frozenset(
    "straddle straddles strangle strangles condor condors butterfly butterflies collar collars".split()
) | {"covered call", "covered calls"}
_PROTECTS = frozenset(("protective", "married", "hedge", "hedging"))
TRIGGERS = frozenset(_LEGS) | _FLAT


def read_strategies(reading: Reading, valences: list[float]) -> list[float]:
    """Rate options by what the trade bets on, and not by the verb that names it."""
    words = reading.words
    valences = list(valences)
    for i, word in enumerate(words):
        if word in _SPREADS:
            _rate_spread(reading, i, valences)
        elif word in _FLAT:
            _rate(reading, i, 0.0, valences)
        elif word in _LEGS and not _is_spread(words, i):
            _rate_leg(reading, i, valences)
    return valences


def _rate_leg(reading: Reading, i: int, valences: list[float]) -> None:
    words = reading.words
    if (flow := _FLOWS.get(reading.next_word(i))) is not None and words[i] in _AMBIGUOUS:
        valences[i], valences[i + 1] = _BET * _LEGS[words[i]] * flow, 0.0
        return
    if words[i] in _AMBIGUOUS and not is_option(reading, i):
        valences[i] = 0.0  # A verb or a talk, which says nothing itself.
        return
    trade = _trade(reading, i)
    if reading.find(reading.before(i, 2), _PROTECTS) is not None or "against" in words[i + 1 : i + 3]:
        _rate(reading, i, 0.0, valences)
    elif trade is not None:
        bet = _LEGS[words[i]] * (-1 if words[trade] in _SELLS and not words[i].startswith("csp") else 1)
        _rate(reading, i, _BET * bet, valences)


def _trade(reading: Reading, i: int) -> int | None:
    """The place of the trade that has the options at ``i`` as its object."""
    for j in reading.before(i, 5):
        if reading.words[j] in _TRADES:
            return j
        if reading.words[j] in _BARRIERS:
            return None
    return None


def _rate_spread(reading: Reading, i: int, valences: list[float]) -> None:
    near = reading.before(i, 3)
    leg = reading.find(near, _LEGS)
    if leg is None:
        return
    style = reading.find(near, _STYLES)
    credit = reading.find(near, ("credit",)) is not None
    debit = reading.find(near, ("debit",)) is not None
    trade = reading.find(reading.before(i, 5), _TRADES)
    sold = credit or (not debit and trade is not None and reading.words[trade] in _SELLS)
    bet = _LEGS[reading.words[leg]] * (-1 if sold else 1) if style is None else _STYLES[reading.words[style]]
    _rate(reading, i, _BET * bet, valences)


def _rate(reading: Reading, i: int, figure: float, valences: list[float]) -> None:
    """Give the word at ``i`` this valence, and those that name the trade none."""
    for j in reading.before(i, 5):
        if reading.words[j] in _TRADES or reading.words[j] in _LEGS or reading.words[j] in _STYLES:
            valences[j] = 0.0
    valences[i] = figure * (-0.5 if reading.is_negated(i) else 1.0)


def _is_spread(words: list[str], i: int) -> bool:
    return not _SPREADS.isdisjoint(words[i + 1 : i + 3])
