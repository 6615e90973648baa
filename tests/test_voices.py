"""Voices: which items of an answer count, and how much."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import voice
from tbcache.models import Engagement, FetchRequest, Item, SymbolSentiment
from tbcache.models.error import ConfigurationError
from tbcache.scoring import VOICES, VoiceRule, aggregate, get_scorer, score_items, voice_rules
from tbcache.scoring.voices import Voice, weigh
from tbcache.scoring.voices.language import is_english
from tbcache.scoring.voices.sketch import ALIKE, SIZE, Shelf, likeness, sketch_of, words_of
from tbcache.settings import Settings

NOW = datetime(2026, 3, 2, 14, 30, tzinfo=UTC)
WORDS = ("margin", "chart", "guidance", "factory", "holder", "supply", "demand", "quarter", "price", "volume")


def item(name: str, text: str = "", minutes: int = 0, **facts: Any) -> Item:
    return Item(name, NOW + timedelta(minutes=minutes), text or f"text of {name}", **facts)


def dropped(*items: Item, rules: Sequence[VoiceRule] = VOICES) -> dict[str, float]:
    return dict(weigh(items, rules).dropped)


def summed(items: Sequence[Item], **options: Any) -> SymbolSentiment:
    scores = score_items(items, get_scorer())
    return aggregate(
        FetchRequest("twitter", "AAPL", 24),
        items,
        scores,
        as_of=NOW,
        complete=True,
        since=None,
        reason=None,
        scorer="finance-vader/4",
        **options,
    )


WHY = "Margins are growing faster than anybody thought, so the shares should rally"


@pytest.mark.parametrize(
    ("rule", "items"),
    [
        ("gone", [item("1", "", is_gone=True)]),
        ("gone", [item("1", "[removed]")]),
        ("notice", [item("1", "Daily discussion thread", kind="notice")]),
        ("notice", [item("1", "Daily discussion thread", author="AutoModerator")]),
        ("language", [item("1", "$AAPL sube con fuerza, buena entrada", lang="es")]),
        ("language", [item("1", "$AAPL rompeu a resistência, alta pela frente")]),
        ("language", [item("1", "$AAPL 上昇トレンド継続、買い増した")]),
        ("language", [item("1", "Wer glaubt, dass die Aktie noch weiter fällt?")]),
        ("repost", [item("1", WHY), item("2", f"RT @ann: {WHY}", kind="repost", origin="1")]),
        ("repost", [item("1", WHY, kind="repost", origin="9"), item("2", WHY, kind="repost", origin="9")]),
        ("copy", [item("1", WHY, author="ann"), item("2", WHY, author="bob")]),
        ("copy", [item("1", WHY), item("2", f"{WHY.upper()}!!! https://x.example/1")]),
        ("copy", [item("1", f"{WHY} and soon"), item("2", WHY)]),
        (
            "copy",
            [
                item("1", "I made $9,101 on it thanks to my mentor, best signals", author="ann"),
                item("2", "I made $9,108 on it thanks to my mentor, best signals", author="ann"),
            ],
        ),
    ],
)
def test_what_is_no_voice_of_its_own_does_not_count(rule: str, items: list[Item]) -> None:
    """Of a real day's posts more than half are others' words; each would count as an opinion."""
    assert dropped(*items) == {rule: 1.0}


@pytest.mark.parametrize(
    "items",
    [
        [item("1", "Margins are growing"), item("2", "Guidance was raised")],
        [item("1", "to the moon", author="ann"), item("2", "to the moon", author="bob")],
        [item("1", "Up 5.1% today and not selling a share", author="ann"),
         item("2", "Down 3.2% this week on weak volume again", author="bob")],
        [item("1", "$AAPL sube", lang="es", label="bullish")],
        [item("1", "$AAPL 200c 3/21"), item("2", "https://x.example/1")],
        [item("1", WHY, kind="repost", origin="9")],
        [item("1", "La Nina lifts the price of crops this year")],
        [item("1", "", kind="trade", score=1.0), item("2", "", kind="trade", score=1.0)],
    ],
)  # fmt: skip
def test_what_is_a_voice_counts(items: list[Item]) -> None:
    """A rule that takes too much is as wrong as none."""
    assert weigh(items, VOICES).shares == (1.0,) * len(items)


def test_of_what_an_author_repeats_three_times_none_counts() -> None:
    """An advertisement is always bullish: one voice of each author moves a thin symbol's score."""
    ads = [item(f"a{k}", f"I made ${9100 + k} on it thanks to my mentor, best signals", k, author="ann")
           for k in range(3)]  # fmt: skip
    one = item("b", WHY, author="bob")
    assert weigh([*ads, one], VOICES).shares == (0.0, 0.0, 0.0, 1.0)
    assert dropped(*ads, one) == {"copy": 3.0}
    assert dropped(*ads[:2], one) == {"copy": 1.0}


POSITION = "My position in $NVDA for today's session is now: {}"


def test_who_changes_his_mind_counts_with_his_last_word() -> None:
    """He says so in the form of his own: what he thought in the morning was counted all day."""
    said = [item(word, POSITION.format(word), k, author="ann") for k, word in enumerate(("long", "short"))]
    copied = item("copied", POSITION.format("long"), 1, author="bob")
    assert weigh(said, VOICES).shares == (0.0, 1.0)
    assert weigh([*said, copied], VOICES).shares == (0.0, 1.0, 0.0)
    traded = [item("1", "Up 5 of 10 trades in $AAPL today", author="ann"),
              item("2", "Up 3 of 12 trades in $TSLA today", 1, author="ann")]  # fmt: skip
    assert weigh(traded, VOICES).shares == (0.0, 1.0)
    assert weigh([replace(each, author=None) for each in said], VOICES).shares == (1.0, 0.0)
    assert weigh([replace(each, kind="article") for each in said], VOICES).shares == (1.0, 0.0)


@pytest.mark.parametrize("sign", ["\u200b", "\u00ad", "\u2060", "\ufe0f", "\u202e"])
def test_what_no_reader_is_shown_makes_no_other_text(sign: str) -> None:
    """Twenty robots posted one sentence, each with a space of no width within another of its words."""
    words = WHY.split()
    texts = [
        " ".join(f"{word[:2]}{sign}{word[2:]}" if i == k else word for i, word in enumerate(words))
        for k in (1, 3, 5)
    ]
    assert weigh([item(str(k), text, k) for k, text in enumerate(texts)], VOICES).shares == (1.0, 0.0, 0.0)
    assert score_items([item(text, text) for text in texts], get_scorer()) == get_scorer().score([WHY] * 3)


def test_an_articles_headline_tells_it_from_others() -> None:
    """A site puts the same words below many headlines, and other words below one that it has from a wire."""
    below = "Shares moved in heavy trading on the day after the company gave an update to its investors"
    first = item("1", f"Apple opens four new stores in the north of Spain\n\n{below}", kind="article")
    other = item("2", f"Judge lets the case of Apple's music shop go on\n\n{below}", kind="article")
    again = item("3", "Apple opens four new stores in the north of Spain\n\nMore at ten.", kind="article")
    assert weigh([first, other, replace(again, at=NOW + timedelta(hours=1))], VOICES).shares == (
        1.0,
        1.0,
        0.0,
    )


def test_an_authors_post_under_the_same_headline_is_the_same() -> None:
    """On reddit an advertisement comes with other words below it each time."""
    head = "Our room of forty thousand winners is free this week"
    posts = [
        item(str(k), f"{head}\n\n{WORDS[k]} {WORDS[k + 1]} {WORDS[k + 2]}", k, author="ann") for k in (1, 5)
    ]
    assert dropped(*posts) == {"copy": 1.0}
    assert dropped(posts[0], replace(posts[1], author="bob")) == {}


def test_an_author_counts_as_three_at_most() -> None:
    """One author wrote 17 of a page of 30."""
    rng = random.Random(1)
    many = [item(f"a{k}", " ".join(rng.choices(WORDS, k=9)), k, author="ann") for k in range(12)]
    one = item("b", "Nothing to see", author="bob")
    assert dropped(*many, one) == {"author": 9.0}
    assert weigh([*many, one], VOICES).shares == pytest.approx([0.25] * 12 + [1.0])
    assert dropped(*many, one, rules=voice_rules(times=12)) == {}
    assert dropped(*[replace(each, kind="article") for each in many]) == {}


@pytest.mark.parametrize(
    ("symbols", "text", "share"),
    [
        (("A", "B"), "", 1.0),
        (("A", "B", "C", "D", "E"), "", 1.0),
        (tuple("ABCDEFGHIJ"), "", 0.5),
        ((), "$A $B $C $D $E $F $G $H all green", 0.625),
    ],
)
def test_who_names_many_tickers_counts_in_part(symbols: tuple[str, ...], text: str, share: float) -> None:
    """A third of recorded Stocktwits messages name three tickers or more, but few name more than five: who
    compares a few means each of them."""
    weighed = weigh([item("1", text, symbols=symbols)], VOICES)
    assert weighed.shares == (share,)
    assert weighed.dropped == ({} if share == 1 else {"tickers": 1 - share})


def test_what_others_liked_counts_more_where_it_is_asked_for() -> None:
    """It is an option: likes can be bought."""
    liked, plain = item("1", engagement=Engagement(likes=200)), item("2")
    assert weigh([liked, plain], VOICES).shares == (1.0, 1.0)
    more, one = weigh([liked, plain], voice_rules(engagement=True)).shares
    assert one == 1.0
    assert 5.0 < more < 8.0
    known = item("3", engagement=Engagement(followers=200_000))
    assert weigh([known], voice_rules(engagement=True)).shares == (more,)


def test_an_answer_says_what_each_rule_took_out() -> None:
    """A number of items alone says nothing of how many people that is."""
    items = [
        item("1", "Great quarter, the stock will soar from here"),
        item("2", "Great quarter, the stock will soar from here", 1),
        item("3", "This is a disaster, sell", 2, symbols=tuple("ABCDEFGHIJ")),
        item("4", "Mal trimestre, cuidado", 3, lang="es"),
    ]
    found = summed(items)
    assert (found.count, found.bullish, found.bearish, found.neutral) == (4, 1, 1, 0)
    assert found.voices == 1.5
    assert found.dropped == {"copy": 1.0, "language": 1.0, "tickers": 0.5}
    good, bad = get_scorer().score([items[0].text, items[2].text])
    assert found.score == pytest.approx((good + 0.5 * bad) / 1.5, abs=1e-5)


def test_what_was_told_before_these_hours_is_a_copy_for_the_rules_that_look_back() -> None:
    """Each rule of one's own would otherwise count what was not asked for."""
    old, new = (
        item("1", "the plant in Ohio opens in spring", -900),
        item("2", "the plant in Ohio opens in spring"),
    )
    seen = list[int]()
    own = VoiceRule("own", lambda voices: seen.append(len(voices)) or [1.0] * len(voices))
    weighed = weigh([new], (own, *VOICES), None, [old])
    assert (weighed.shares, dict(weighed.dropped), seen) == ((0.0,), {"copy": 1.0}, [1])


def test_without_rules_everything_counts() -> None:
    """The rules are a list, and who wants none of them says so."""
    items = [item("1", WHY), item("2", WHY), item("3", "[removed]")]
    found = summed(items, voices=())
    assert (found.count, found.voices, found.dropped) == (3, 3.0, {})


def test_a_rule_of_ones_own_sees_what_is_left() -> None:
    """A user may know robots that we do not."""
    seen: list[str] = []

    def no_robots(voices: Sequence[Voice]) -> list[float]:
        seen.extend(voice.item.id for voice in voices)
        return [float(voice.item.author != "robot") for voice in voices]

    items = [item("2", "A fine day", author="robot"), item("1", WHY, -5), item("3", WHY, 5)]
    weighed = weigh(items, (*VOICES, VoiceRule("robot", no_robots)))
    assert seen == ["1", "2"]
    assert weighed.shares == (0.0, 1.0, 0.0)
    assert weighed.dropped == {"copy": 1.0, "robot": 1.0}


@pytest.mark.parametrize("shares", [[], [1.0, 1.0], [-0.1], [float("nan")]])
def test_a_rule_that_gives_no_share_a_voice_is_named(shares: list[float]) -> None:
    """It is a user's function: the error says which one."""
    with pytest.raises(ConfigurationError, match="voice rule 'odd' must give 1 shares"):
        weigh([item("1")], (VoiceRule("odd", lambda voices: shares),))


_texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(_texts, st.sampled_from(["ann", "bob", None])), max_size=12), st.randoms())
def test_the_order_in_which_items_come_does_not_matter(rows: list[Any], rng: random.Random) -> None:
    """Pages come in any order, and the answer of a later moment is computed from the same items."""
    items = [item(str(k), text, k % 4, author=author) for k, (text, author) in enumerate(rows)]
    shuffled = rng.sample(items, len(items))
    first, second = weigh(items, VOICES), weigh(shuffled, VOICES)
    assert dict(zip(items, first.shares, strict=True)) == dict(zip(shuffled, second.shares, strict=True))
    assert first.dropped == second.dropped


def test_what_is_kept_and_what_is_taken_out_add_up() -> None:
    """Each item is one: counted, or named under the rule that took it."""
    rng = random.Random(3)
    items = [
        item(
            str(k), " ".join(rng.choices(WORDS, k=rng.randrange(1, 9))), k, author=rng.choice(["a", "b", "c"])
        )
        for k in range(60)
    ]
    weighed = weigh(items, VOICES)
    assert sum(weighed.shares) + sum(weighed.dropped.values()) == pytest.approx(60, abs=0.01)


def test_a_thousand_copies_take_no_longer_each_than_a_hundred() -> None:
    """Anybody may post the same thing again and again; each is compared with a few others alone."""
    compared = [0]

    class Counted(Shelf):
        def _near(self, keys):  # type: ignore[no-untyped-def]
            found = list(super()._near(keys))
            compared[0] += len(found)
            return found

    def comparisons(times: int) -> int:
        compared[0], shelf = 0, Counted()
        for k in range(times):
            shelf.group(sketch_of([*WORDS[:6], str(k), *map(str, range(k, k + 9))]))
        return compared[0]

    assert comparisons(1_000) <= 12 * comparisons(100) + 12


def test_a_sketch_is_the_same_in_every_process() -> None:
    """What was answered live is computed again by another process."""
    assert sorted(sketch_of(words_of("Margins are growing")))[:2] == [1832709993, 2446146277]
    one, other = sketch_of(words_of(WHY)), sketch_of(words_of("Costs fell, and so did the price of oil"))
    assert likeness(one, one) == 1.0
    assert likeness(one, other) == 0.0


@pytest.mark.parametrize(
    ("text", "english"),
    [
        ("What strike are you looking at?", True),
        ("$AAPL 200c", None),
        ("", None),
        ("Compré más $AAPL, tendencia muy alcista", False),
        ("Was macht ihr mit $AAPL?", False),
        ("$AAPL yükselişe geçti, aldım", False),
        ("Un avis sur $AAPL ?", False),
    ],
)
def test_english_is_told_by_its_common_words(text: str, english: bool | None) -> None:
    """Reddit, Stocktwits and news name no language; where nobody can tell, it counts."""
    assert is_english(text) is english


def test_the_settings_choose_the_rules() -> None:
    """How many posts of one author count is a matter of taste."""
    chosen = Settings.load({"TBCACHE_AUTHOR_TIMES": "5", "TBCACHE_LANGUAGES": "en,de"})
    assert (chosen.author_times, chosen.languages, chosen.weigh_engagement) == (5, ("en", "de"), False)


@pytest.mark.parametrize(
    ("name", "value"),
    [("TBCACHE_AUTHOR_TIMES", "0"), ("TBCACHE_LANGUAGES", "english!")],
)
def test_a_setting_that_makes_no_sense_is_named(name: str, value: str) -> None:
    """Whoever starts a process reads one line that says which variable is wrong."""
    with pytest.raises(Exception, match=name):
        Settings.load({name: value})


def test_the_rules_bring_an_answer_nearer_to_the_truth() -> None:
    """Measured where the truth is known, and each item read rightly: what the scorer misses is not theirs."""
    samples = list(islice(voice.read("stocktwits", 1), 8, 10))

    def off(rules: Sequence[VoiceRule]) -> float:
        return sum(abs(voice.read_rightly(sample, rules) - sample.truth) for sample in samples)

    assert off(VOICES) < off(())
    assert sum(len(sample.items) for sample in samples) > 300


def test_a_plain_english_text_is_weighed_without_a_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """A week of a busy symbol is 10,000 texts, each of which is looked at in every refresh."""
    sketched: list[list[str]] = []

    def count(words: list[str]) -> frozenset[int]:
        sketched.append(words)
        return sketch_of(words)

    monkeypatch.setattr("tbcache.scoring.voices.repetition.sketch_of", count)
    monkeypatch.setattr("tbcache.scoring.voices.language._is_latin", pytest.fail)
    plain = "the margins of this company are growing again and so do the sales"
    numbered = "what they expect for 2027 was cut and the shares are down by 5 on it"
    weigh([Item("1", NOW, plain, author="ann"), Item("2", NOW, numbered, author="ann")], VOICES)
    assert len(sketched) == 1 + 2


def test_what_is_told_apart_at_a_glance_is_no_copy() -> None:
    """Most texts that share a pair of words are sorted out so; a copy among them would count twice."""
    dice = random.Random(3)
    alike = 0
    for _ in range(5_000):
        hashes = dice.sample(range(200), dice.randint(1, SIZE))
        one = frozenset(hashes)
        other = frozenset(h if dice.random() < 0.9 else dice.randrange(200) for h in hashes)
        if likeness(one, other) >= ALIKE:
            alike += 1
            shelf = Shelf()
            # They share one of the hashes by which a near one is looked for, all but surely.
            is_looked_at = not {*sorted(one)[:4]}.isdisjoint(sorted(other)[:4])
            assert not is_looked_at or shelf.group(one) == shelf.group(other)
    assert alike > 500
