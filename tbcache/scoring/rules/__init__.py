"""What no lexicon sees: rules that rate words anew by those around them, each in its own module.

A rule takes the words and their valences and gives valences; the next one goes on from there. Each looks at
a bounded number of words around each word, so that the time grows with the length of the text and no faster.
"""

import functools

from tbcache.scoring.rules import (
    bargain,
    circumstance,
    contrast,
    expectation,
    headline,
    irony,
    movement,
    negation,
    position,
    purchase,
    strategy,
)
from tbcache.scoring.rules.reading import Reading, Rule

#: Each with the words without which it says nothing, in their order: what a clause is about, then who
#: denies it, then who does not mean it.
RULES: tuple[tuple[Rule, frozenset[str]], ...] = (
    (bargain.read_bargains, bargain.TRIGGERS),
    (movement.read_movements, movement.TRIGGERS),
    (headline.read_headlines, headline.TRIGGERS),
    (strategy.read_strategies, strategy.TRIGGERS),
    (negation.read_negations, negation.TRIGGERS),
    (position.read_positions, position.TRIGGERS),
    (expectation.read_expectations, expectation.TRIGGERS),
    (contrast.read_contrasts, contrast.TRIGGERS),
    (irony.read_irony, irony.TRIGGERS),
)
#: Those of reports alone, after the others.
REPORT_RULES: tuple[tuple[Rule, frozenset[str]], ...] = (
    (purchase.read_purchases, purchase.TRIGGERS),
    (circumstance.read_circumstances, circumstance.TRIGGERS),
)
_ALL = (*RULES, *REPORT_RULES)
#: The rules that each trigger calls for, as bits in their order: in talk, and in reports.
_CALLED = tuple(
    {
        word: sum(1 << k for k, (_, triggers) in enumerate(rules) if word in triggers)
        for word in frozenset[str]().union(*(triggers for _, triggers in rules))
    }
    for rules in (RULES, _ALL)
)
_TRIGGERS = tuple(map(frozenset, _CALLED))


@functools.cache
def _chosen(called: int) -> tuple[Rule, ...]:
    """The rules whose bits are set in ``called``, in their order."""
    return tuple(rule for k, (rule, _) in enumerate(_ALL) if called >> k & 1)


def understand(
    words: list[str], tokens: list[str], valences: list[float], is_report: bool = False
) -> list[float]:
    """The ``valences`` of ``words`` by all the rules; ``tokens`` are the words with their punctuation."""
    # Most posts have none of these words.
    if found := _TRIGGERS[is_report].intersection(words):
        called, calls = 0, _CALLED[is_report]
        for word in found:
            called |= calls[word]
        reading = Reading(words, tokens)
        for rule in _chosen(called):
            valences = rule(reading, valences)
    return valences


__all__ = ["REPORT_RULES", "RULES", "Reading", "Rule", "understand"]
