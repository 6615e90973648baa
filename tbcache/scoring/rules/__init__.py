"""What no lexicon sees: rules that rate words anew by those around them, each in its own module.

A rule takes the words and their valences and gives valences; the next one goes on from there. Each looks at
a bounded number of words around each word, so that the time grows with the length of the text and no faster.
"""

from tbcache.scoring.rules import expectation, headline, irony, negation, position, strategy
from tbcache.scoring.rules.reading import Reading, Rule

#: Each with the words without which it says nothing, in their order: what a clause is about, then who
#: denies it, then who does not mean it.
RULES: tuple[tuple[Rule, frozenset[str]], ...] = (
    (headline.read_headlines, headline.TRIGGERS),
    (strategy.read_strategies, strategy.TRIGGERS),
    (negation.read_negations, negation.TRIGGERS),
    (position.read_positions, position.TRIGGERS),
    (expectation.read_expectations, expectation.TRIGGERS),
    (irony.read_irony, irony.TRIGGERS),
)
_ANY = frozenset[str]().union(*(triggers for _, triggers in RULES))


def understand(words: list[str], tokens: list[str], valences: list[float]) -> list[float]:
    """The ``valences`` of ``words`` by all the rules; ``tokens`` are the words with their punctuation."""
    # Most posts have none of these words.
    if found := _ANY.intersection(words):
        reading = Reading(words, tokens)
        for rule, triggers in RULES:
            if not triggers.isdisjoint(found):
                valences = rule(reading, valences)
    return valences


__all__ = ["RULES", "Reading", "Rule", "understand"]
