"""What a report says is bought or sold: shares are a vote on a company, its plants and phones are none."""

from __future__ import annotations

from tbcache.scoring.mention import mentions
from tbcache.scoring.rules.amount import read_amount
from tbcache.scoring.rules.reading import Reading

_TRADES = frozenset("buy buys bought buying sell sells sold".split())
_SHARES = frozenset(
    "share shares stock stocks equities bonds gilts treasuries futures dip position positions reasons".split()
)
#: Those who trade in shares, whether these are named or not.
_TRADERS = frozenset(
    "investor investors trader traders fund funds insider insiders director directors ceo cfo chairman "
    "shareholder shareholders holder holders foreigners institutions whales analyst analysts nobody".split()
)
#: Before a rating: "started at buy".
_RATED = frozenset(("at", "as", "a", "strong", "is", "says", "from", "rated"))
_REACH = 8
#: "Raises $140M" is money that somebody lends or invests, but not where it is what one of these becomes.
_RAISES = frozenset(("raise", "raises", "raised", "raising"))
_FIGURES = frozenset("target targets guidance guide outlook forecast dividend eps to".split())
#: How many shares there are is no news: "the number of shares increased by 10,000".
_COUNTS = frozenset(("number of shares", "share capital", "the share capital", "capital stock"))
_CHANGES = frozenset(
    "increase increases increased increasing rise rises rose reduced reduction decreased".split()
)
TRIGGERS = _TRADES | _RAISES | _COUNTS


def read_purchases(reading: Reading, valences: list[float]) -> list[float]:
    """Leave out trades in what is no share, money that is raised, and how many shares there are."""
    valences = list(valences)
    for i, word in enumerate(reading.words):
        if (word in _TRADES and not _is_of_shares(reading, i)) or (
            word in _RAISES and _is_of_money(reading, i)
        ):
            valences[i] = 0.0
        elif word in _COUNTS:
            for j in (*reading.before(i, 5), *reading.after(i, 3)):
                valences[j] *= reading.words[j] not in _CHANGES
    return valences


def _is_of_money(reading: Reading, i: int) -> bool:
    amount = read_amount(reading.tokens, reading.words, i + 1)
    return (
        amount is not None
        and amount.is_money
        and "%" not in reading.tokens[i + 1]
        and reading.find(reading.after(i, _REACH), _FIGURES) is None
    )


def _is_of_shares(reading: Reading, i: int) -> bool:
    near = (*reading.before(i, 4), *reading.after(i, _REACH))
    return (
        reading.last_word(i) in _RATED
        or not reading.next_word(i)
        or reading.find(near, _SHARES) is not None
        or reading.find(near, _TRADERS) is not None
        or bool(mentions(" ".join(reading.tokens[i + 1 : i + 4]), ""))
    )
