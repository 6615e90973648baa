"""The rule that what is said counts once, however often it is repeated, and an advertisement not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tbcache.models import Item
from tbcache.scoring.voices.memory import remembered
from tbcache.scoring.voices.rule import Voice
from tbcache.scoring.voices.sketch import Shelf, Sketch, form_of, sketch_of, words_of

#: Less says nothing of its author: many people write "to the moon".
_FEWEST = 6
#: Whoever posts nearly the same so many times in the hours of one answer advertises, or is a robot.
_ADVERTISED = 3


def without_copies(voices: Sequence[Voice]) -> list[float]:
    """Of texts that are nearly the same those of whoever said it first count, of one author's the newest: who
    changes his mind says so in his own form. One author's may also differ in numbers and tickers.

    Of an author who posts nearly the same three times or more none of these count: the last of them is no
    opinion either. Articles are compared by their headlines, as a site puts the same words below many of
    them; so are the posts of one author.
    """
    texts, authors = Shelf(), Shelf()
    sketches = [_sketches(voice.item) for voice in voices]
    by_text = [None if sketch is None else texts.group(sketch) for sketch, _ in sketches]
    by_author = [
        None if said is None else authors.group(said, person(voice.item))
        for voice, (_, said) in zip(voices, sketches, strict=True)
    ]
    who = [person(voice.item) or i for i, voice in enumerate(voices)]
    first = dict(zip(reversed(by_text), reversed(who), strict=True))
    latest = {group: i for i, group in enumerate(by_author)}
    reworded = {said: i for i, said in enumerate(zip(who, by_text, strict=True))}
    times = Counter(by_author)
    return [
        float(
            (text is None or (first[text] == one and reworded[one, text] == i))
            and (author is None or (latest[author] == i and times[author] < _ADVERTISED))
        )
        for i, (one, text, author) in enumerate(zip(who, by_text, by_author, strict=True))
    ]


def person(item: Item) -> str:
    """Who speaks in ``item``; ``""`` where nobody is known to, as the byline of an article says nothing."""
    return "" if item.kind in ("article", "trade") else item.author or ""


def _sketches(item: Item) -> tuple[Sketch | None, Sketch | None]:
    """The sketch by which a text is told from all others, and that by which from others of its author's."""
    if item.kind == "trade":
        return None, None
    return _sketched(item.text, item.kind == "article", bool(person(item)))


@remembered
def _sketched(text: str, is_article: bool, has_author: bool) -> tuple[Sketch | None, Sketch | None]:
    headline = _headline(text)
    words = words_of(headline if is_article else text)
    sketch = _sketch(words)
    if not has_author:
        return sketch, None
    form = form_of(headline)
    # Many texts have neither number nor ticker nor headline, and most of the time goes into sketches.
    return sketch, sketch if form == words else _sketch(form)


def _sketch(words: list[str]) -> Sketch | None:
    return sketch_of(words) if len(words) >= _FEWEST else None


def _headline(text: str) -> str:
    """The first paragraph of ``text``; all of it, where that is too short to tell it from others."""
    first, _, rest = text.partition("\n\n")
    return first if rest and len(first.split()) >= _FEWEST else text
