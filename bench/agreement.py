"""How far labels agree with the truth, and confidences with how often they are right."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from pathlib import Path

from tbcache.scoring import THRESHOLD

#: The labels and the texts of a set.
Set = tuple[list[str], list[str]]

LABELS = {"positive": "bullish", "negative": "bearish"}
#: Confidences are compared in so many bins of equal width.
BINS = 10
#: What is drawn is drawn so many times.
DRAWS = 1000


def read_sets(folder: Path) -> dict[str, Set]:
    """Every labelled set of a folder, by name."""
    sets = {}
    for path in sorted(folder.glob("*.tsv")):
        rows = [line.split("\t", 1) for line in path.read_text("utf-8").splitlines() if line.strip()]
        sets[path.stem] = ([LABELS.get(label, label) for label, _ in rows], [text for _, text in rows])
    return sets


def label_of(score: float) -> str:
    return "bullish" if score >= THRESHOLD else "bearish" if score <= -THRESHOLD else "neutral"


def macro_f1(truths: Sequence[str], guesses: Sequence[str]) -> float:
    """The mean F1 of the classes that the truths have."""
    figures = []
    for label in sorted(set(truths)):
        hits = sum(guess == truth == label for guess, truth in zip(guesses, truths, strict=True))
        figures.append(2 * hits / (list(guesses).count(label) + list(truths).count(label)))
    return statistics.mean(figures)


def calibration_error(confidences: Sequence[float], right: Sequence[bool]) -> float:
    """The expected calibration error: the mean distance of confidence and share of right labels."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for sure, is_right in zip(confidences, right, strict=True):
        bins[min(int(sure * BINS), BINS - 1)].append((sure, is_right))
    gaps = (abs(sum(sure for sure, _ in part) - sum(is_right for _, is_right in part)) for part in bins)
    return sum(gaps) / len(confidences)


def chance(confidences: Sequence[float]) -> float:
    """The mean calibration error of texts that are right as often as the confidences say."""
    dice = random.Random(1)
    drawn = ([dice.random() < sure for sure in confidences] for _ in range(DRAWS))
    return statistics.mean(calibration_error(confidences, right) for right in drawn)


def most_confident(confidences: Sequence[float], share: float, seed: int = 0) -> list[int]:
    """The places of the ``share`` of texts that the scorer is surest of; of equals, any, by ``seed``."""
    order = list(range(len(confidences)))
    # In a file that is sorted by labels the first of them would be of one label.
    random.Random(seed).shuffle(order)
    order.sort(key=lambda i: -confidences[i])
    return order[: round(share * len(order))]
