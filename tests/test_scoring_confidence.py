"""How sure the scorer is, and whether it is right as often as it says."""

from __future__ import annotations

from itertools import chain

import pytest

from bench import calibrate
from bench.agreement import calibration_error, label_of, most_confident
from bench.calibrate import fit, probability
from bench.scoring import held
from tbcache.scoring import ConfidentScorer, FinanceVader, get_scorer
from tbcache.scoring.confidence import NEUTRAL, OPINION, Evidence, confidence

LABELS, TEXTS, SURE = held()
RATINGS = FinanceVader().rate(TEXTS)
GUESSES = [label_of(rating.score) for rating in RATINGS]


def test_a_rating_has_the_score_that_the_text_has() -> None:
    """The confidence is said beside the score, and changes nothing of it."""
    scorer = get_scorer()
    assert isinstance(scorer, ConfidentScorer)
    assert [rating.score for rating in scorer.rate(TEXTS)] == scorer.score(TEXTS)
    assert (
        scorer.rate(["$UPP soars, $DWN sinks"], "DWN")[0].score
        == FinanceVader().score_for(["$UPP soars, $DWN sinks"], "DWN")[0]
    )


def test_it_is_right_about_as_often_as_it_says() -> None:
    """A confidence of 0.7 that holds in half of the cases is worse than none. Each is of a fit without it."""
    sets = calibrate.read()
    sure = calibrate.crossed(sets)
    right = {name: [is_right for _, is_right in seen] for name, seen in sets.items()}
    assert calibration_error([*chain(*sure.values())], [*chain(*right.values())]) <= 0.05
    for name, said in sure.items():
        assert len(said) > 100
        assert all(0.0 < one < 1.0 for one in said)
        assert calibration_error(said, right[name]) <= 0.05, name


def test_the_numbers_in_the_code_are_those_that_are_fitted() -> None:
    """Whoever changes words or rules fits them anew."""
    found = calibrate.numbers(calibrate.read())
    assert found[True] == pytest.approx(OPINION, abs=0.01)
    assert found[False] == pytest.approx(NEUTRAL, abs=0.01)


def test_where_it_is_surer_it_is_right_more_often() -> None:
    """Who leaves out what the scorer is unsure of gets better labels for it."""
    chosen = most_confident(SURE, 0.7)
    right = [guess == label for guess, label in zip(GUESSES, LABELS, strict=True)]
    assert len(chosen) == round(0.7 * len(LABELS))
    assert sum(right[i] for i in chosen) / len(chosen) > sum(right) / len(right) + 0.02


@pytest.mark.parametrize(
    ("surer", "less_sure"),
    [
        (Evidence(0.8, 10, 3, 1.0, False, False), Evidence(0.1, 10, 3, 1.0, False, False)),
        (Evidence(0.4, 10, 3, 1.0, False, False), Evidence(0.4, 10, 3, 0.2, False, False)),
        (Evidence(0.4, 10, 3, 1.0, True, False), Evidence(0.4, 10, 3, 1.0, False, False)),
        (Evidence(0.0, 12, 0, 1.0, False, False), Evidence(0.0, 12, 4, 0.0, False, False)),
        (Evidence(0.0, 12, 0, 1.0, False, True), Evidence(0.0, 12, 0, 1.0, False, False)),
    ],
)
def test_more_evidence_that_agrees_makes_it_surer(surer: Evidence, less_sure: Evidence) -> None:
    """A clear text is trusted more than one whose words cancel out."""
    assert confidence(surer) > confidence(less_sure)


def test_the_fit_finds_what_it_is_given() -> None:
    """The numbers that stand in the code are the result of it."""
    weights = fit([((float(x),), x > 4) for x in range(10)] * 4)
    assert probability(weights, (0.0,)) < 0.1
    assert probability(weights, (9.0,)) > 0.9


def test_the_calibration_error_is_the_gap_between_the_two() -> None:
    """Both ways: too sure and not sure enough."""
    assert calibration_error([0.95] * 4, [True] * 4) == pytest.approx(0.05)
    assert calibration_error([0.9] * 2, [True, False]) == pytest.approx(0.4)
    assert calibration_error([0.2] * 2, [True, False]) == pytest.approx(0.3)
