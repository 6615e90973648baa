"""A classifier of one's own in the place of the lexicon."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tbcache import get_provider
from tbcache.models import extra
from tbcache.models.error import ConfigurationError, MissingExtra
from tbcache.scoring import OnnxScorer, Rating, get_scorer, name_of
from tbcache.scoring.batch import Batches
from tests import onnx_model
from tests.server import wait_until

WORDS = {"soars": (4.0, 0.0, 0.0), "sinks": (0.0, 4.0, 0.0), "meets": (0.0, 0.0, 4.0)}
LABELS = ("positive", "negative", "neutral")
#: Seconds: a busy machine has time for nothing.
LONG = 60.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return onnx_model.of_words(tmp_path_factory.mktemp("models") / "finbert", WORDS, LABELS)


def test_a_transformer_rates_texts_of_any_length_in_any_order(folder: Path) -> None:
    """What is padded to the length of a longer text beside it must not count."""
    texts = ["sinks", "the chip maker soars again and again in the evening", "it meets", "soars"]
    scorer = OnnxScorer(folder, batch=3)
    ratings = scorer.rate(texts)
    assert [round(rating.score, 2) for rating in ratings] == [-0.96, 0.96, 0.0, 0.96]
    assert [round(rating.confidence, 2) for rating in ratings] == [0.96] * 4
    assert scorer.score(texts) == [rating.score for rating in ratings]
    assert scorer.score(texts) == OnnxScorer(folder, batch=1).score(texts)
    assert scorer.score([]) == []


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"tokens": 0}])
def test_a_batch_of_nothing_is_refused_at_once(folder: Path, wrong: dict[str, int]) -> None:
    """It was a ValueError of range() in the first fetch."""
    with pytest.raises(ConfigurationError, match="must be at least 1"):
        OnnxScorer(folder, **wrong)  # type: ignore[arg-type]


def test_a_classifier_is_asked_for_each_ticker_by_its_own_clause(folder: Path) -> None:
    """It sees one text at a time, and knows of no symbol."""
    scorer = OnnxScorer(folder)
    text = "$NVDA soars, $INTC sinks"
    assert [scorer.score_for([text], symbol)[0] > 0 for symbol in ("NVDA", "INTC")] == [True, False]


def test_a_pipeline_takes_the_texts_themselves(tmp_path: Path) -> None:
    """Scikit-learn's models have no tokens: their vectorizer is part of the model."""
    path = onnx_model.of_texts(tmp_path / "pipeline.onnx", {"good": 2.0, "bad": -2.0})
    scorer = OnnxScorer(path, labels=("bearish", "bullish"))
    assert [score > 0 for score in scorer.score(["bad", "good"])] == [False, True]
    assert scorer.name == "pipeline"


def test_a_setting_names_the_classifier_of_every_source(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A score is kept under the name of who gave it, and another model gives others."""
    monkeypatch.setenv("TBCACHE_CLASSIFIER", str(folder))
    scorer = get_provider("twitter").analyzer
    assert scorer is get_scorer(folder)
    name, version = name_of(scorer).split("/")
    assert (name, len(version)) == ("finbert", 8)


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_without("model.onnx"), "holds no classifier: there is no file"),
        (_without("config.json"), "no config.json names its classes; give labels="),
        (_without("tokenizer.json"), "takes tokens, and there is no"),
        (
            lambda folder: onnx_model.of_texts(folder / "model.onnx", {"a": 1.0}, takes=("x", "y")),
            "takes x, y, and",
        ),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is no JSON"),
        (
            lambda folder: (folder / "config.json").write_text(json.dumps({"id2label": {"0": "LABEL_0"}})),
            "LABEL_0",
        ),
        (
            lambda folder: (folder / "config.json").write_text(json.dumps({"id2label": {"0": "neutral"}})),
            "3 classes",
        ),
        (
            lambda folder: onnx_model.of_texts(folder / "model.onnx", {"a": 1.0}, is_table=False),
            "no table of figures",
        ),
    ],
)
def test_what_is_wrong_with_a_classifier_is_said(
    tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    """Whoever exported it can do it again, and must know what was missing."""
    folder = onnx_model.of_words(tmp_path, WORDS, LABELS)
    spoil(folder)
    with pytest.raises(ConfigurationError, match=said):
        OnnxScorer(folder).score(["soars"])


def test_a_classifier_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting alone brings no runtime."""
    monkeypatch.setattr(extra, "has", lambda module: module != "onnxruntime")
    with pytest.raises(MissingExtra, match=r"a classifier needs onnxruntime: pip install 'tbcache\[onnx\]'"):
        OnnxScorer(folder)


class _Slow:
    """Rates when it is let, and knows what it was asked for."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.has_begun, self.may_end = threading.Event(), threading.Event()

    def __call__(self, texts: Sequence[str]) -> list[Rating]:
        self.batches.append(list(texts))
        self.has_begun.set()
        assert self.may_end.wait(LONG)
        if "odd" in texts:
            raise ValueError("odd")
        return [Rating(len(text) / 10, 1.0) for text in texts]


@pytest.mark.parametrize("text", ["odd", "even"])
def test_what_comes_while_a_classifier_runs_is_rated_together(text: str) -> None:
    """A model takes hardly longer for thirty texts than for one; a post is new to many symbols at once."""
    slow = _Slow()
    batches = Batches(slow)
    found: dict[int, object] = {}

    def ask(number: int, texts: list[str]) -> None:
        try:
            found[number] = [rating.score for rating in batches.rate(texts)]
        except ValueError as error:
            found[number] = str(error)

    threads = [threading.Thread(target=ask, args=(0, ["first"]))]
    threads[0].start()
    assert slow.has_begun.wait(LONG)
    threads += [threading.Thread(target=ask, args=(k, [text, "ab", "ab"[:k]])) for k in (1, 2)]
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: len(batches._waiting) == 2, LONG, "both threads' waiting")
    slow.may_end.set()
    for thread in threads:
        thread.join(LONG)
    assert found[0] == [0.5]
    assert len(slow.batches) == 2
    assert sorted(slow.batches[1]) == sorted({text, "ab", "a"})
    expected = {1: [0.4, 0.2, 0.1], 2: [0.4, 0.2, 0.2]} if text == "even" else {1: "odd", 2: "odd"}
    assert {1: found[1], 2: found[2]} == expected
