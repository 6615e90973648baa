"""Fit the numbers by which a score becomes a confidence, and print them.

    python -m bench.calibrate

They stand in ``tbcache/scoring/confidence.py``. They are fitted on sentences of our own that nobody had
looked at while words and rules were written (the parts ``blind`` and ``held`` of
``bench/data/calibration.tsv``): on others it is right too often. Prints the expected calibration error of
five-fold cross-validation as well, each sentence by numbers that were fitted without it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.agreement import calibration_error, label_of
from tbcache.scoring import FinanceVader
from tbcache.scoring.confidence import Evidence, features, is_opinion

SENTENCES = Path(__file__).parent / "data" / "calibration.tsv"
PARTS = ("blind", "held")
FOLDS = 5
#: How strongly the weights, not the constant, are drawn to 0: there are few sentences.
RIDGE = 1.0
STEPS = 20

Example = tuple[tuple[float, ...], bool]


def main() -> None:
    examples = read()
    for name, chosen in (("OPINION", True), ("NEUTRAL", False)):
        part = [(features(e), right) for e, right in examples if is_opinion(e) == chosen]
        weights = ", ".join(f"{weight:.3f}" for weight in fit(part))
        share = sum(right for _, right in part) / len(part)
        print(f"{name} = ({weights})  # {len(part)} texts, {share:.0%} right")
    sure = crossed(examples)
    print(f"cross-validated: ECE {calibration_error(sure, [right for _, right in examples]):.3f}")


def read() -> list[tuple[Evidence, bool]]:
    """What the scorer saw in each sentence of :data:`PARTS`, and whether it was right."""
    rows = [row for part in PARTS for row in labelled(part)]
    seen = FinanceVader().read([text for _, text in rows])
    return [(e, label_of(e.compound) == label) for e, (label, _) in zip(seen, rows, strict=True)]


def labelled(part: str) -> list[tuple[str, str]]:
    """The labels and texts of ``part``."""
    rows = [line.split("\t") for line in SENTENCES.read_text("utf-8").splitlines() if line[0] != "#"]
    return [(label, text) for label, of, text in rows if of == part]


def crossed(examples: Sequence[tuple[Evidence, bool]]) -> list[float]:
    """The confidence of each example by numbers that were fitted without it."""
    sure = [0.0] * len(examples)
    for fold in range(FOLDS):
        for chosen in (True, False):
            rest = [
                (features(e), right)
                for i, (e, right) in enumerate(examples)
                if i % FOLDS != fold and is_opinion(e) == chosen
            ]
            weights = fit(rest)
            for i, (e, _) in enumerate(examples):
                if i % FOLDS == fold and is_opinion(e) == chosen:
                    sure[i] = probability(weights, features(e))
    return sure


def fit(examples: Sequence[Example]) -> list[float]:
    """The constant and weights of the most likely logistic function, by Newton's method."""
    x = np.array([(1.0, *features) for features, _ in examples])
    right = np.array([float(right) for _, right in examples])
    ridge = RIDGE * np.eye(x.shape[1])
    ridge[0, 0] = 1e-9
    weights = np.zeros(x.shape[1])
    for _ in range(STEPS):
        sure = 1 / (1 + np.exp(-x @ weights))
        gradient = x.T @ (right - sure) - ridge @ weights
        weights += np.linalg.solve((x.T * (sure * (1 - sure))) @ x + ridge, gradient)
    return [float(weight) for weight in weights]


def probability(weights: Sequence[float], x: Sequence[float]) -> float:
    total = weights[0] + sum(w * value for w, value in zip(weights[1:], x, strict=True))
    return 1 / (1 + math.exp(-total))


if __name__ == "__main__":
    main()
