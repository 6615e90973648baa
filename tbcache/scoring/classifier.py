"""A scorer that is a classifier of one's own, in ONNX: nothing is shipped, and nothing is downloaded.

It runs in the threads that score and never on the event loop; only texts that are new are rated, those of all
fetches of a process that wait at the same time together.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tbcache.models.error import ConfigurationError
from tbcache.models.extra import need
from tbcache.models.untrusted import NotJson, read_json
from tbcache.scoring.batch import Batches
from tbcache.scoring.scorer import Rating
from tbcache.scoring.target import about

#: What classes are called, and the side that each is of.
_SIDES = {"bullish": 1, "positive": 1, "bearish": -1, "negative": -1, "neutral": 0}
_CHUNK = 1 << 20
#: The inputs of a model that takes tokens, and what of a tokenizer's encoding each is.
_TOKENS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
#: Makes a model's inputs of texts.
_Feed = Callable[[Sequence[str]], dict[str, Any]]


class OnnxScorer:
    """Rates texts by the model in ``path``: a folder with ``model.onnx``, or that file.

    A model that takes strings is given the texts as they are; another one tokens, by the ``tokenizer.json``
    beside it. Its classes are called bullish or positive, bearish or negative, and neutral: by ``labels``, in
    the order of its outputs, or by the ``id2label`` of the ``config.json`` beside it. The score is the
    probability of the likeliest class, below 0 for bearish, and 0 for neutral; the confidence is that
    probability.

    ``batch`` texts are rated at once, the first ``tokens`` of each, by ``threads`` of the runtime. The model
    is read at the first score, which raises what is wrong with it. Safe to share between threads.

    Raises:
      MissingExtra: the extra ``onnx`` is not installed.
      ConfigurationError: there is no model in ``path``, or nobody says what its classes are; or no text would
        be rated.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        labels: Sequence[str] | None = None,
        batch: int = 32,
        tokens: int = 256,
        threads: int = 1,
    ) -> None:
        need("a classifier", "onnxruntime", "tokenizers", "numpy")
        if min(batch, tokens) < 1:
            raise ConfigurationError(f"batch {batch!r} and tokens {tokens!r} must be at least 1")
        path = Path(path)
        self._model = path if path.is_file() else path / "model.onnx"
        if not self._model.is_file():
            raise ConfigurationError(f"{path} holds no classifier: there is no file {self._model}")
        self._sides = _sides(labels or _labels(self._model.with_name("config.json")), self._model)
        self._batch, self._tokens, self._threads = batch, tokens, threads
        self._batches = Batches(self._rate)
        self.name = self._model.parent.name if self._model.name == "model.onnx" else self._model.stem
        #: Of the model's bytes: another model gives other scores, wherever it lies.
        self.version = _digest(self._model)[:8]

    def score(self, texts: list[str]) -> list[float]:
        """One figure a text, -1..1."""
        return [rating.score for rating in self.rate(texts)]

    def score_for(self, texts: list[str], symbol: str) -> list[float]:
        """One figure a text, of the clauses that speak of ``symbol`` where it names other tickers too."""
        return [rating.score for rating in self.rate(texts, symbol)]

    def rate(self, texts: list[str], symbol: str | None = None) -> list[Rating]:
        """One score a text, as by ``score`` or ``score_for``, with its confidence."""
        return self._batches.rate([about(text, symbol) for text in texts] if symbol else texts)

    def _rate(self, texts: Sequence[str]) -> list[Rating]:
        # Those of one length stand beside each other: a batch is as long as its longest text.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        found: dict[int, Rating] = {}
        for start in range(0, len(order), self._batch):
            places = order[start : start + self._batch]
            rows = self._session.probabilities([texts[i] for i in places])
            found.update(zip(places, map(self._rating, rows), strict=True))
        return [found[i] for i in range(len(texts))]

    def _rating(self, row: Sequence[float]) -> Rating:
        if len(row) != len(self._sides):
            raise ConfigurationError(
                f"{self._model} has {len(row)} classes, and {len(self._sides)} are named"
            )
        likeliest = max(range(len(row)), key=row.__getitem__)
        confidence = round(row[likeliest], 4)
        return Rating(self._sides[likeliest] * confidence, confidence)

    @functools.cached_property
    def _session(self) -> _Session:
        return _Session(self._model, self._tokens, self._threads)


class _Session:
    """The model as it is run: texts in, a row of probabilities a text out."""

    def __init__(self, model: Path, tokens: int, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        self._run = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._output = _output(self._run.get_outputs(), model)
        inputs = self._run.get_inputs()
        is_of_texts = len(inputs) == 1 and inputs[0].type == "tensor(string)"
        self._feed = _feed_texts(inputs[0]) if is_of_texts else _feed_tokens(inputs, model, tokens)

    def probabilities(self, texts: Sequence[str]) -> list[list[float]]:
        (rows,) = self._run.run([self._output], self._feed(texts))
        return [_shares(list(map(float, row))) for row in rows]


def _feed_texts(given: Any) -> _Feed:
    import numpy

    def feed(texts: Sequence[str]) -> dict[str, Any]:
        found = numpy.array(texts, dtype=object)
        return {given.name: found.reshape(-1, 1) if len(given.shape) == 2 else found}

    return feed


def _feed_tokens(inputs: Sequence[Any], model: Path, tokens: int) -> _Feed:
    import numpy

    unknown = [given.name for given in inputs if given.name not in _TOKENS]
    if unknown:
        raise ConfigurationError(f"{model} takes {', '.join(unknown)}, and neither texts nor tokens")
    tokenizer = _tokenizer(model, tokens)

    def feed(texts: Sequence[str]) -> dict[str, Any]:
        encoded = tokenizer.encode_batch(list(texts))
        return {
            given.name: numpy.array([getattr(each, _TOKENS[given.name]) for each in encoded], dtype="int64")
            for given in inputs
        }

    return feed


def _tokenizer(model: Path, tokens: int) -> Any:
    from tokenizers import Tokenizer

    path = model.with_name("tokenizer.json")
    if not path.is_file():
        raise ConfigurationError(f"{model} takes tokens, and there is no {path} to make them")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.enable_truncation(tokens)
    padding = _config(model.with_name("config.json")).get("pad_token_id")
    tokenizer.enable_padding(pad_id=padding if isinstance(padding, int) else 0)
    return tokenizer


def _output(outputs: Sequence[Any], model: Path) -> str:
    """The name of the output that has a figure for each class: of scikit-learn's it is the second."""
    for output in outputs:
        if output.type in ("tensor(float)", "tensor(double)", "tensor(float16)") and len(output.shape) == 2:
            return str(output.name)
    kinds = ", ".join(f"{output.name}: {output.type}" for output in outputs)
    raise ConfigurationError(
        f"{model} gives no table of figures, a row a text: {kinds} (skl2onnx: zipmap=False)"
    )


def _shares(row: list[float]) -> list[float]:
    """``row`` as probabilities: as it is where it is one of these, else by softmax."""
    if min(row) >= 0 and math.isclose(sum(row), 1.0, abs_tol=1e-3):
        return row
    most = max(row)
    powers = [math.exp(figure - most) for figure in row]
    return [power / sum(powers) for power in powers]


def _sides(labels: Sequence[str], model: Path) -> tuple[int, ...]:
    unknown = [label for label in labels if label.lower() not in _SIDES]
    if unknown or not labels:
        named = (
            f"its classes are called {', '.join(unknown)}" if unknown else "no config.json names its classes"
        )
        raise ConfigurationError(
            f"{model}: {named}; give labels=, one of bullish, bearish and neutral for each "
            "output, in their order"
        )
    return tuple(_SIDES[label.lower()] for label in labels)


def _labels(config: Path) -> list[str]:
    found = _config(config).get("id2label")
    if not isinstance(found, dict) or not all(key.isdecimal() for key in found):
        return []
    return [str(found[key]) for key in sorted(found, key=int)]


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = read_json(path.read_bytes())
    except NotJson as error:
        raise ConfigurationError(f"{path} is no JSON: {error}") from None
    return found if isinstance(found, dict) else {}


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for chunk in _chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
