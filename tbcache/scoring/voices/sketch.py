"""Which texts are nearly the same: by the pairs of words that they share.

A sketch is the smallest few of the hashes of a text's pairs of words, a sample of them that is the same
for the same pairs (MinHash, bottom-k). The hash is CRC-32, which is the same in every process and quick.
"""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable
from itertools import pairwise

from tbcache.models.untrusted import visible

#: How many hashes a sketch has, and the least part of them that near copies have in common.
SIZE = 24
ALIKE = 0.8
#: A copy is looked for among so many others that share a hash, at most: the time stays linear.
_LOOKED_AT = 8
#: A copy shares one of its so many smallest hashes, all but surely.
_KEYS = 4

Sketch = frozenset[int]

_LINK = re.compile(r"(?:https?://|www\.)\S+")
_LEAD = re.compile(r"\A(?:rt\s+)?(?:@\w+:?\s+)*", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+(?:['.,][^\W_]+)*")
_CASHTAG = re.compile(r"[$](?<!\w.)[A-Za-z][\w.]*")
_DIGITS = re.compile(r"\d+(?:[.,]\d+)*")


def words_of(text: str) -> list[str]:
    """The words of ``text`` that tell it from others: no links, no "RT @name:" before it, no punctuation."""
    return _WORD.findall(_LEAD.sub("", _LINK.sub(" ", visible(text)).strip()).lower())


def form_of(text: str) -> list[str]:
    """The words of ``text`` without its tickers, all numbers being one word: the advertisements of one author
    differ in these alone.
    """
    return words_of(_DIGITS.sub("0", _CASHTAG.sub(" ", visible(text))))


def sketch_of(words: list[str]) -> Sketch:
    """The sketch of a text by its words; of fewer than two words, of the word alone."""
    pairs = pairwise(words) if len(words) > 1 else ((word, "") for word in words)
    return frozenset(
        _smallest({zlib.crc32(" ".join(pair).encode("utf-8", "replace")) for pair in pairs}, SIZE)
    )


def likeness(one: Sketch, other: Sketch) -> float:
    """The share of all pairs that both have, estimated: 0..1."""
    sample = _smallest(one | other, SIZE)
    return len((one & other).intersection(sample)) / len(sample) if sample else 0.0


def _may_be_alike(one: Sketch, other: Sketch) -> bool:
    """False where no likeness of :data:`ALIKE` is possible, which is told without sorting: the sample that
    both are compared by has as many hashes as the longer one at least.
    """
    return len(one & other) >= ALIKE * max(len(one), len(other))


def _smallest(hashes: Collection[int], most: int) -> list[int]:
    # A heap is quicker from some hundreds on; most texts have a few dozen words.
    return sorted(hashes)[:most]


class Shelf:
    """Sketches in groups of nearly the same, each with whom it belongs to."""

    def __init__(self) -> None:
        self._by_key: defaultdict[Hashable, list[tuple[Sketch, int]]] = defaultdict(list)
        self._groups = 0

    def group(self, sketch: Sketch, owner: Hashable = None) -> int:
        """The number of the group of ``owner``'s that ``sketch`` belongs to: a new one where none is near."""
        keys = [(owner, hash_) for hash_ in _smallest(sketch, _KEYS)]
        for other, number in self._near(keys):
            if _may_be_alike(sketch, other) and likeness(sketch, other) >= ALIKE:
                return number
        self._groups += 1
        for key in keys:
            self._by_key[key].append((sketch, self._groups))
        return self._groups

    def _near(self, keys: Iterable[Hashable]) -> Iterable[tuple[Sketch, int]]:
        return dict.fromkeys(other for key in keys for other in self._by_key.get(key, ())[-_LOOKED_AT:])
