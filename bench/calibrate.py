"""Fit the numbers by which a score becomes a confidence, and print them.

    python -m bench.calibrate

They stand in ``tbcache/scoring/confidence.py``. They are fitted on sentences of our own that nobody had
looked at while the rules were written (the part ``blind`` of ``bench/data/calibration.tsv``): on others it is
right too often. Prints the expected calibration error of five-fold cross-validation as well, each sentence by
numbers that were fitted without it, and that of the part ``held``, on which nothing is fitted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from bench.agreement import calibration_error, label_of
from tbcache.scoring import FinanceVader
from tbcache.scoring.confidence import Evidence, confidence, features, is_opinion

SENTENCES = Path(__file__).parent / "data" / "calibration.tsv"
FOLDS = 5
#: How strongly the weights, not the constant, are drawn to 0: there are few sentences.
RIDGE = 1.0
STEPS = 1_500

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
    held = read("held")
    sure = [confidence(e) for e, _ in held]
    print(f"held, by the numbers in use: ECE {calibration_error(sure, [right for _, right in held]):.3f}")


def read(part: str = "blind") -> list[tuple[Evidence, bool]]:
    """What the scorer saw in each sentence of ``part``, and whether it was right."""
    rows = [line.split("\t") for line in SENTENCES.read_text("utf-8").splitlines() if line[0] != "#"]
    rows = [row for row in rows if row[1] == part]
    seen = FinanceVader().read([text for _, _, text in rows])
    return [(e, label_of(e.compound) == label) for e, (label, _, _) in zip(seen, rows, strict=True)]


def crossed(examples: Sequence[tuple[Evidence, bool]]) -> list[float]:
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
    """The constant and weights of the most likely logistic function, by gradient descent."""
    weights = [0.0] * (len(examples[0][0]) + 1)
    for _ in range(STEPS):
        gradient = [0.0] + [RIDGE * weight for weight in weights[1:]]
        for x, right in examples:
            error = probability(weights, x) - right
            gradient = [g + error * value for g, value in zip(gradient, (1.0, *x), strict=True)]
        weights = [w - 0.5 * g / len(examples) for w, g in zip(weights, gradient, strict=True)]
    return weights


def probability(weights: Sequence[float], x: Sequence[float]) -> float:
    total = weights[0] + sum(w * value for w, value in zip(weights[1:], x, strict=True))
    return 1 / (1 + math.exp(-total))


if __name__ == "__main__":
    main()
