"""How fast the default scorer is, how often it is right, and whether it knows when, beside vaderSentiment.

    python -m bench.scoring [--rounds N] [--sets FOLDER] [--lexicon FILE ...]

Both rate the same short posts and headlines in turn; each round's ratio is taken
alone, so that a busy machine slows both sides of it. Prints the median of them, the time of
a text of 32 times the length beside that of 32 texts, and the macro-F1 of both.

Then, of the sentences in ``bench/data/calibration.tsv``, those that nobody has looked at (the part ``held``):
the macro-F1 over all of them and over the 70% of which the scorer is surest, and the expected calibration
error of its confidence, each sentence by a confidence that was fitted without it.

FOLDER holds labelled sets of one's own, as most of them may not be passed on: files
NAME.tsv of LABEL<TAB>TEXT, the label bullish, bearish or neutral (or positive, negative).
Of each set the same figures, then the mean of the sets, with the middle 95% of 1,000 draws of as many texts;
beside them, as so few texts never agree with their confidences to the last, the calibration error of as many
that are right as often as they are said to be. Where a set knows no neutral texts, what is read as neutral is
no answer, and the figures are those of the others.

FILE is a lexicon of others, WORD<TAB>VALENCE: its figures are those of VADER's rules with these words in
place of VADER's own.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from bench import calibrate
from bench.agreement import (
    DRAWS,
    Set,
    calibration_error,
    chance,
    label_of,
    macro_f1,
    most_confident,
    read_sets,
)
from tbcache.scoring import FinanceVader
from tbcache.scoring.vader import Vader

SENTENCES = Path(__file__).parent.parent / "tests" / "data" / "finance_sentences.tsv"
#: What is left out at least where the scorer may leave out what it is unsure of.
SHARE = 0.7
#: Many texts are equally sure: the figure of the surest is the mean of so many ways to choose among these.
TIES = 100
TIMES = 32

Rate = Callable[[list[str]], list[float]]


def main(rounds: int, folder: Path | None, lexicons: Sequence[Path]) -> None:
    rows = [line.split("\t") for line in SENTENCES.read_text("utf-8").splitlines() if line[0] != "#"]
    labels, texts = [row[0] for row in rows], [row[2] for row in rows]
    analyzer, lean = SentimentIntensityAnalyzer(), Vader()
    plain: Rate = lambda texts: [analyzer.polarity_scores(text)["compound"] for text in texts]  # noqa: E731
    ours: dict[str, Rate] = {
        "finance-vader": FinanceVader().score,
        "VADER's rules alone": lambda texts: [lean.compound(text) for text in texts],
    }
    print(
        f"{len(texts)} texts, {rounds} rounds; vaderSentiment = 1.00, macro-F1 {f1(labels, plain(texts)):.3f}"
    )
    for name, rate in ours.items():
        rate(texts)  # reads its lexicon
        ratios = sorted(seconds(plain, texts) / seconds(rate, texts) for _ in range(rounds))
        print(
            f"{name}: {statistics.median(ratios):.2f} times as fast "
            f"({ratios[0]:.2f}-{ratios[-1]:.2f}), macro-F1 {f1(labels, rate(texts)):.3f}"
        )
    slower = lengthen(ours["finance-vader"], texts)
    print(f"a word in a text of {TIMES} times the length takes {slower:.2f} times as long")
    labels, texts, sure = held()
    print(f"{len(texts)} sentences that the rules were not made by: {certainty(labels, texts, sure)}")
    print(f"vaderSentiment there: macro-F1 {f1(labels, plain(texts)):.3f}")
    if folder is not None:
        sets = read_sets(folder)
        print(
            f"\n{sum(len(texts) for _, texts in sets.values())} texts of {len(sets)} labelled sets, macro-F1"
        )
        others = {path.stem: with_words(path) for path in lexicons}
        for name, rate in {"vaderSentiment": plain, **others, **ours}.items():
            print(f"{name}: {compare(sets, rate)}")
        for name, (labels, texts) in sets.items():
            print(f"{name}: {certainty(labels, texts)}")


def with_words(lexicon: Path) -> Rate:
    """VADER with the words of a lexicon in place of its own."""
    analyzer = SentimentIntensityAnalyzer()
    rows = (line.split("\t") for line in lexicon.read_text("utf-8").splitlines() if line.strip())
    analyzer.lexicon = {word: float(valence) for word, valence in rows}
    return lambda texts: [analyzer.polarity_scores(text)["compound"] for text in texts]


def compare(sets: dict[str, Set], rate: Rate) -> str:
    """The macro-F1 of each set, and of their mean."""
    rated = {name: (labels, rate(texts)) for name, (labels, texts) in sets.items()}
    figures = {name: f1(labels, scores) for name, (labels, scores) in rated.items()}
    random_ = random.Random(1)
    draws = sorted(
        statistics.mean(f1(*_draw(labels, scores, random_)) for labels, scores in rated.values())
        for _ in range(DRAWS)
    )
    low, high = draws[DRAWS // 40], draws[-DRAWS // 40]
    each = ", ".join(f"{name} {figure:.3f}" for name, figure in figures.items())
    return f"mean {statistics.mean(figures.values()):.3f} ({low:.3f}-{high:.3f}); {each}"


def _draw(labels: list[str], scores: list[float], random_: random.Random) -> tuple[list[str], list[float]]:
    picked = random_.choices(range(len(labels)), k=len(labels))
    return [labels[i] for i in picked], [scores[i] for i in picked]


def seconds(rate: Rate, texts: list[str]) -> float:
    # Of this thread alone: what else the machine does slows neither.
    start = time.thread_time()
    rate(texts)
    return time.thread_time() - start


def lengthen(rate: Rate, texts: list[str]) -> float:
    """The time of texts of 32 times the length, by that of as many words in short ones."""
    long = [" ".join(texts[i : i + TIMES]) for i in range(0, len(texts), TIMES)]
    return statistics.median(seconds(rate, long) / seconds(rate, texts) for _ in range(15))


def certainty(labels: list[str], texts: list[str], confidences: list[float] | None = None) -> str:
    """How far the scorer's confidence, or the ``confidences``, tell where it is right."""
    ratings = FinanceVader().rate(texts)
    guesses, sure = [label_of(r.score) for r in ratings], confidences or [r.confidence for r in ratings]
    answered = [i for i, guess in enumerate(guesses) if guess in labels]
    labels, guesses = [labels[i] for i in answered], [guesses[i] for i in answered]
    sure = [sure[i] for i in answered]
    part = statistics.mean(
        macro_f1([labels[i] for i in chosen], [guesses[i] for i in chosen])
        for chosen in (most_confident(sure, SHARE, seed) for seed in range(TIES))
    )
    right = [guess == label for guess, label in zip(guesses, labels, strict=True)]
    return (
        f"macro-F1 {macro_f1(labels, guesses):.3f} of {len(labels)}, {part:.3f} of the surest {SHARE:.0%}, "
        f"calibration error {calibration_error(sure, right):.3f} ({chance(sure):.3f} by chance)"
    )


def held() -> tuple[list[str], list[str], list[float]]:
    """The labels and texts of that part, and how sure the scorer is by what was fitted without each."""
    rows = calibrate.labelled("held")
    sure = calibrate.crossed(calibrate.read())[calibrate.OURS][-len(rows) :]
    return [label for label, _ in rows], [text for _, text in rows], sure


def f1(labels: list[str], scores: list[float]) -> float:
    return macro_f1(labels, [label_of(score) for score in scores])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--sets", type=Path, metavar="FOLDER")
    parser.add_argument("--lexicon", type=Path, metavar="FILE", action="append", default=[])
    options = parser.parse_args()
    main(options.rounds, options.sets, options.lexicon)
