"""How much of each item counts: rules, one after the other, each of which may take something away."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tbcache.models import Item
from tbcache.models.error import ConfigurationError
from tbcache.scoring.broken import broken


class Voice(NamedTuple):
    """An item that counts, and how much of it, by the rules before: 1.0 is all.

    ``symbol`` is the one that was asked for, where there was one.
    """

    item: Item
    share: float
    symbol: str | None = None

    @property
    def says_itself(self) -> bool:
        """Whether its author or its figures say what it is, so that nobody has to understand its text."""
        return self.item.label is not None or self.item.score is not None


#: What is left of each voice, in their order: 1.0 all, 0.0 nothing; above 1.0 it counts more than others. A
#: rule sees the items of one answer that still count, the oldest first, and looks at nothing else.
Shares = Callable[[Sequence[Voice]], Sequence[float]]


@dataclass(frozen=True, slots=True)
class VoiceRule:
    """A rule by the name under which an answer tells what it took out.

    One that ``looks_back`` sees before these voices what was said before the hours of the answer, as far as
    it is known, and gives a share for each of that as well, which counts nothing.
    """

    name: str
    shares: Shares
    looks_back: bool = False


def name_of_rules(rules: Sequence[VoiceRule], *scorer: str) -> str:
    """What a list of rules is called in the key of the answers that it makes: a digest of their names, and of
    that of a ``scorer`` of somebody's own.

    Raises:
      ConfigurationError: one of them is no rule.
    """
    for rule in rules:
        if not isinstance(rule, VoiceRule):
            raise ConfigurationError(f"{rule!r} is no voice rule: give it a name, as VoiceRule('mine', it)")
    names = "\n".join((*(rule.name for rule in rules), *scorer))
    return f"rules-{hashlib.sha256(names.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class Weighed:
    """The ``shares`` of the items, in their order, and how many items, or parts, each rule took out."""

    shares: tuple[float, ...]
    dropped: Mapping[str, float]


def weigh(
    items: Sequence[Item],
    rules: Sequence[VoiceRule],
    symbol: str | None = None,
    earlier: Sequence[Item] = (),
) -> Weighed:
    """What is left of each of ``items``, which were asked for by ``symbol``, by ``rules``.

    The order of the items does not matter: two that are of the same moment are told apart by their ids.
    ``earlier`` are items of before, which the rules that look back compare them with.

    Raises:
      ConfigurationError: a rule raised something, gave another number of shares than there were voices, or
        one that is below 0; it is named.
    """
    shares, dropped = [1.0] * len(items), dict[str, float]()
    order = sorted(range(len(items)), key=lambda i: _place(items[i]))
    before = [Voice(item, 1.0, symbol) for item in sorted(earlier, key=_place)]
    for rule in rules:
        places = [i for i in order if shares[i] > 0]
        left = _left(rule, before, [Voice(items[i], shares[i], symbol) for i in places])
        taken = math.fsum(shares[i] * (1 - share) for i, share in zip(places, left, strict=True) if share < 1)
        if taken:
            dropped[rule.name] = round(taken, 3)
        for i, share in zip(places, left, strict=True):
            shares[i] *= share
    return Weighed(tuple(shares), dropped)


def _left(rule: VoiceRule, before: Sequence[Voice], voices: Sequence[Voice]) -> Sequence[float]:
    """What the rule leaves of each of ``voices``."""
    seen = [*before, *voices] if rule.looks_back else voices
    try:
        return _checked(rule, rule.shares(seen), len(seen))[len(seen) - len(voices) :]
    except ConfigurationError:
        raise
    except Exception as error:
        raise broken(f"voice rule {rule.name!r}", error) from error


def _checked(rule: VoiceRule, shares: Sequence[float], count: int) -> Sequence[float]:
    if len(shares) != count or not all(math.isfinite(share) and share >= 0 for share in shares):
        raise ConfigurationError(
            f"voice rule {rule.name!r} must give {count} shares of at least 0, one a voice; it gave "
            f"{len(shares)}: {list(shares)[:5]}"
        )
    return shares


def _place(item: Item) -> tuple[bool, float, str]:
    return item.at is None, 0.0 if item.at is None else item.at.timestamp(), item.identity
