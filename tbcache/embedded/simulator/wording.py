"""Sentences with alternatives, so that two authors rarely use the same words.

They are in ``tbcache/data/wording.tsv``. ``[a|b|c]`` stands for one of the three; callers fill in ``{s}``
(the symbol), ``{list}``, ``{up}``, ``{down}``, ``{price}`` and ``{pct}``.
"""

from __future__ import annotations

import functools
import random
import re
from collections import defaultdict
from importlib.resources import files

_CHOICE = re.compile(r"\[([^\[\]]*)\]")


def pick(dice: random.Random, what: str) -> str:
    """A random sentence for ``what``, as "post.bullish", with random alternatives."""
    return _CHOICE.sub(lambda found: dice.choice(found[1].split("|")), dice.choice(_read()[what]))


def known(what: str) -> tuple[str, ...]:
    """All sentences for ``what``."""
    return _read().get(what, ())


@functools.cache
def _read() -> dict[str, tuple[str, ...]]:
    found = defaultdict[str, list[str]](list)
    for line in files("tbcache").joinpath("data/wording.tsv").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            what, sentence = line.split("\t")
            found[what].append(sentence)
    return {what: tuple(sentences) for what, sentences in found.items()}
