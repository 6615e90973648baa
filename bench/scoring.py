"""How fast the default scorer is, as a ratio to plain vaderSentiment in the same run.

Usage: python bench/scoring.py [ROUNDS]

Both rate the same short posts and headlines in turn; each round's ratio is taken
alone, so that a busy machine slows both sides of it. Prints the median of them, and
the macro-F1 of both on those texts.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from tbcache.scoring import THRESHOLD, FinanceVader
from tbcache.scoring.lean import LeanVader

SENTENCES = Path(__file__).parent.parent / "tests" / "data" / "finance_sentences.tsv"
Rate = Callable[[list[str]], list[float]]


def main(rounds: int) -> None:
    rows = [line.split("\t") for line in SENTENCES.read_text("utf-8").splitlines() if line[0] != "#"]
    labels, texts = [row[0] for row in rows], [row[2] for row in rows]
    analyzer, lean = SentimentIntensityAnalyzer(), LeanVader()
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


def seconds(rate: Rate, texts: list[str]) -> float:
    start = time.perf_counter()
    rate(texts)
    return time.perf_counter() - start


def f1(labels: list[str], scores: list[float]) -> float:
    guesses = [
        "bullish" if score >= THRESHOLD else "bearish" if score <= -THRESHOLD else "neutral"
        for score in scores
    ]
    figures = []
    for label in sorted(set(labels)):
        hits = sum(guess == truth == label for guess, truth in zip(guesses, labels, strict=True))
        figures.append(2 * hits / (guesses.count(label) + labels.count(label)))
    return statistics.mean(figures)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 31)
