"""Fit the numbers by which a score becomes a confidence, and print them.

    python -m bench.calibrate [--sets FOLDER]

They stand in ``tbcache/scoring/confidence.py``. What counts for how much is fitted on sentences of our own
that nobody had looked at while words and rules were written (the parts ``blind`` and ``held`` of
``bench/data/calibration.tsv``): on others it is right too often. Strangers' texts are read rightly less often
than ours. So all is moved by a shift and a slope of the log-odds, which are fitted on ours and on three
public sets, each counting the same. The order stays as it is: what the scorer is surest of. Of a set that
knows no neutral texts, those that are read as neutral are left out, as that is no answer there.

The public texts may not be passed on. ``bench/data/strangers.tsv`` says what the scorer saw in each of them,
and whether it was right; with ``--sets`` it is written anew from FOLDER, whose files are as those of
bench.scoring. Prints the expected calibration error of five-fold cross-validation, each text by numbers that
were fitted without it, beside that of as many texts that are right exactly as often as is said.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bench.agreement import calibration_error, chance, label_of, read_sets
from tbcache.scoring import FinanceVader
from tbcache.scoring.confidence import Evidence, features, is_opinion

DATA = Path(__file__).parent / "data"
SENTENCES, STRANGERS = DATA / "calibration.tsv", DATA / "strangers.tsv"
PARTS = ("blind", "held")
#: What our own sentences are called beside the sets of others.
OURS = "ours"
FOLDS = 5
#: How strongly the weights, not the constant, are drawn to 0: there are few sentences.
RIDGE = 1.0
STEPS = 20

Example = tuple[tuple[float, ...], bool]
#: What the scorer saw in a text, and whether it was right.
Seen = tuple[Evidence, bool]


def main(folder: Path | None) -> None:
    if folder is not None:
        STRANGERS.write_text(_written(folder), "utf-8")
    sets = read()
    found = numbers(sets)
    for name, chosen in (("OPINION", True), ("NEUTRAL", False)):
        print(f"{name} = ({', '.join(f'{weight:.3f}' for weight in found[chosen])})")
    sure = crossed(sets)
    for name, parts in {**{name: [name] for name in sets}, "strangers": [*sets][1:], "all": [*sets]}.items():
        said = [one for part in parts for one in sure[part]]
        right = [one for part in parts for _, one in sets[part]]
        print(
            f"{name}: ECE {calibration_error(said, right):.3f} of {len(said)} ({chance(said):.3f} by chance)"
        )


def read() -> dict[str, list[Seen]]:
    """What the scorer saw in each sentence of :data:`PARTS`, and in each text of others, by their sets."""
    sets = {OURS: seen([row for part in PARTS for row in labelled(part)])}
    for line in STRANGERS.read_text("utf-8").splitlines():
        if line[0] != "#":
            name, compound, words, rated, agreement, *flags = line.split("\t")
            rules, report, right = (flag == "1" for flag in flags)
            evidence = Evidence(float(compound), int(words), int(rated), float(agreement), rules, report)
            sets.setdefault(name, []).append((evidence, right))
    return sets


def seen(rows: Sequence[tuple[str, str]]) -> list[Seen]:
    """The same of labels with their texts."""
    found = FinanceVader().read([text for _, text in rows])
    return [(e, label_of(e.compound) == label) for e, (label, _) in zip(found, rows, strict=True)]


def _written(folder: Path) -> str:
    scorer = FinanceVader()
    lines = [
        f"# What {scorer.name}/{scorer.version} saw in each text of public sets: set, compound, words,",
        "# rated, agreement, rules, report, and whether it was right.",
    ]
    for name, (labels, texts) in read_sets(folder).items():
        for e, right in seen(list(zip(labels, texts, strict=True))):
            if label_of(e.compound) not in labels:
                continue
            figures = (name, e.compound, e.words, e.rated, round(e.agreement, 4))
            lines.append("\t".join(map(str, (*figures, int(e.rules), int(e.report), int(right)))))
    return "\n".join((*lines, ""))


def labelled(part: str) -> list[tuple[str, str]]:
    """The labels and texts of ``part``."""
    rows = [line.split("\t") for line in SENTENCES.read_text("utf-8").splitlines() if line[0] != "#"]
    return [(label, text) for label, of, text in rows if of == part]


def numbers(sets: Mapping[str, Sequence[Seen]]) -> dict[bool, list[float]]:
    """The constant and the weights for texts with an opinion (True) and for neutral ones."""
    ours = {
        chosen: fit([(features(e), right) for e, right in sets[OURS] if is_opinion(e) == chosen])
        for chosen in (True, False)
    }
    moved = [((_odds(ours, e),), right) for seen in sets.values() for e, right in seen]
    # Each set counts the same, however large it is.
    size = len(moved) / len(sets)
    shift, slope = fit(moved, [size / len(seen) for seen in sets.values() for _ in seen])
    return {
        chosen: [shift + slope * constant, *(slope * weight for weight in weights)]
        for chosen, (constant, *weights) in ours.items()
    }


def crossed(sets: Mapping[str, Sequence[Seen]]) -> dict[str, list[float]]:
    """The confidence of each text by numbers that were fitted without it."""
    without = [
        numbers({name: [s for i, s in enumerate(seen) if i % FOLDS != fold] for name, seen in sets.items()})
        for fold in range(FOLDS)
    ]
    return {
        name: [_sigmoid(_odds(without[i % FOLDS], e)) for i, (e, _) in enumerate(seen)]
        for name, seen in sets.items()
    }


def fit(examples: Sequence[Example], shares: Sequence[float] | None = None) -> list[float]:
    """The constant and weights of the most likely logistic function, by Newton's method; each example counts
    as often as ``shares`` say.
    """
    x = np.array([(1.0, *features) for features, _ in examples])
    right = np.array([float(right) for _, right in examples])
    counts = np.ones(len(examples)) if shares is None else np.array(shares)
    ridge = RIDGE * np.eye(x.shape[1])
    ridge[0, 0] = 1e-9
    weights = np.zeros(x.shape[1])
    for _ in range(STEPS):
        sure = 1 / (1 + np.exp(-x @ weights))
        gradient = x.T @ (counts * (right - sure)) - ridge @ weights
        weights += np.linalg.solve((x.T * (counts * sure * (1 - sure))) @ x + ridge, gradient)
    return [float(weight) for weight in weights]


def probability(weights: Sequence[float], x: Sequence[float]) -> float:
    return _sigmoid(_sum(weights, x))


def _odds(weights: Mapping[bool, Sequence[float]], evidence: Evidence) -> float:
    return _sum(weights[is_opinion(evidence)], features(evidence))


def _sum(weights: Sequence[float], x: Sequence[float]) -> float:
    return weights[0] + sum(w * value for w, value in zip(weights[1:], x, strict=True))


def _sigmoid(odds: float) -> float:
    return 1 / (1 + math.exp(-odds))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", type=Path, metavar="FOLDER")
    main(parser.parse_args().sets)
