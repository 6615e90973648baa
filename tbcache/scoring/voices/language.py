"""Which language a text is in, where the upstream does not say: by its letters and its commonest words."""

from __future__ import annotations

import re
import unicodedata

from tbcache.scoring.voices.memory import remembered

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_NOISE = re.compile(r"(?:https?://|www\.)\S+|[$@#]\w+")
#: The names that X has for texts without a language: links, tickers, pictures.
NONE = frozenset(("und", "zxx", "art", "qam", "qct", "qht", "qme", "qst"))
# Without "a", "I", "no" and "do", which are words elsewhere as well.
_ENGLISH = frozenset(
    """
    the an and or but if to of in on at for with from by is are was were be been it its this that
    these those you he she we they my your his her our their not does did have has had will
    would can could should  what when who why how all just so up down out over about into than then now
    here there more most very still  again new after before today week buy sell hold call puts calls
    stock shares
    """.split()
)
# Of Spanish, Portuguese, French, Italian; of German, Dutch and the Nordic languages; of Turkish, Indonesian
# and Polish.
_OTHERS = frozenset(
    """
    el los las una del al en con por para que es se más muy hoy otra todo esta este pero como qué os um
    uma da  dos das com não mais muito hoje vou semana foi ao na em les du une et est pas pour dans sur
    avec je vous  nous ce cette qui encore sont aux au lo gli di che non oggi ancora sono della nel  der
    das und ist nicht mit ein eine einen auf von für zu ich wir ihr sie bei nach noch auch wird dem vor
    het  een niet van voor met ik og det som ikke på är och inte av till ett  bir ve bu için çok mi ile
    daha var ama yang dan ini untuk dengan tidak akan w się nie jest jak z
    """.split()
)
#: A word of another language that is one in English as well says nothing.
_FOREIGN = _OTHERS - _ENGLISH


@remembered
def is_english(text: str) -> bool | None:
    """Whether ``text`` is English; None where it says too little."""
    words = [word.lower() for word in _WORD.findall(_NOISE.sub(" ", text))]
    if not words:
        return None
    letters = "".join(words)
    # The commonest case first: to look at each letter takes longer than all the rest.
    if not letters.isascii() and sum(not _is_latin(letter) for letter in letters) * 3 > len(letters):
        return False
    english = sum(word in _ENGLISH for word in words)
    foreign = sum(word in _FOREIGN or not word.isascii() for word in words)
    if foreign and foreign > english:
        return False
    return True if english else None


def _is_latin(letter: str) -> bool:
    return letter.isascii() or not letter.isalpha() or unicodedata.name(letter, "").startswith("LATIN")
