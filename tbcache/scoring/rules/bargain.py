"""What a trade takes as its chance: who buys weakness is bullish, who sells strength is bearish."""

from __future__ import annotations

from tbcache.scoring.rules.reading import UNDERSTOOD, Reading

_BUYS = frozenset(
    "buy buying buys bought buyer buyers add adding added accumulate accumulating load loading loaded "
    "scoop scooping scooped grab grabbing grabbed picking nibbling gift".split()
) | {"loaded up"}
_SELLS = frozenset(
    "sell selling sells sold seller sellers trim trimming trimmed short shorting shorted fade fading "
    "unload unloading dump dumping unloaded exit exiting".split()
)
_WEAKNESS = frozenset(
    "weakness pullback pullbacks dip dips drop drops fear blood correction selloff sell-off crash panic "
    "red lows decline discount".split()
)
_STRENGTH = frozenset(
    "strength rip rips rally rallies pop pops bounce bounces spike spikes highs surge news pump".split()
)
_CHANCES = {
    **dict.fromkeys(_WEAKNESS, (_BUYS, UNDERSTOOD)),
    **dict.fromkeys(_STRENGTH, (_SELLS, -UNDERSTOOD)),
}
#: Words of those who are sorry that they traded: "if you sold you will regret it".
_REGRETS = frozenset(("regret", "regrets", "regretting", "regretted"))
_TRADES = _BUYS | _SELLS
TRIGGERS = frozenset(_CHANCES) | _REGRETS


def read_bargains(reading: Reading, valences: list[float]) -> list[float]:
    """Rate a trade by its side, and not by what made it one."""
    if _TRADES.isdisjoint(reading.words):
        return valences
    valences = list(valences)
    for i, word in enumerate(reading.words):
        if word in _CHANCES:
            trades, figure = _CHANCES[word]
            at = reading.find(reading.before(i, 4), trades)
            if at is not None and _is_object(reading, at, i):
                valences[i], valences[at] = 0.0, figure * (-0.5 if reading.is_negated(at) else 1.0)
        elif word in _REGRETS and (at := _regretted(reading, i)) is not None:
            valences[i] = UNDERSTOOD if reading.words[at] in _SELLS else -UNDERSTOOD
            valences[at] = 0.0
    return valences


def _is_object(reading: Reading, trade: int, i: int) -> bool:
    return not any(
        reading.words[j] in ("and", "or", "as", "that", "is", "are", "was") for j in range(trade + 1, i)
    )


def _regretted(reading: Reading, i: int) -> int | None:
    """The place of the trade that is regretted: before, where it is "it", else right behind."""
    if reading.next_word(i) in ("it", "this", "that", "later", ""):
        return reading.find(range(i - 1, max(i - 8, 0) - 1, -1), _TRADES)
    return reading.find(reading.after(i, 2), _TRADES)
