"""Small classifiers in ONNX, written byte by byte: a model of ``words`` and one of whole texts.

Only what these need of the format: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

_FLOAT, _INT64, _STRING = 1, 7, 8
_STRINGS, _FLOATS, _INTEGER = 8, 6, 2


def of_words(folder: Path, words: dict[str, Sequence[float]], labels: Sequence[str]) -> Path:
    """A model that adds up a figure of each word for each of its classes; a folder as Optimum writes it."""
    vocabulary = {"[PAD]": 0, "[UNK]": 1, **{word: 2 + k for k, word in enumerate(words)}}
    none = [0.0] * len(labels)
    nodes = [
        _node("Gather", ["table", "input_ids"], "rows"),
        _node("Cast", ["attention_mask"], "mask", _integer("to", _FLOAT)),
        _node("Unsqueeze", ["mask", "last"], "column"),
        _node("Mul", ["rows", "column"], "counted"),
        _node("ReduceSum", ["counted", "middle"], "logits", _integer("keepdims", 0)),
    ]
    tensors = [_table("table", [none, none, *words.values()]), _axis("last", 2), _axis("middle", 1)]
    inputs = [_value(name, _INT64, ["n", "t"]) for name in ("input_ids", "attention_mask")]
    model = _model(nodes, tensors, inputs, [_value("logits", _FLOAT, ["n", len(labels)])])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model)
    (folder / "config.json").write_text(json.dumps({"id2label": dict(enumerate(labels)), "pad_token_id": 0}))
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def of_texts(
    path: Path, texts: dict[str, float], *, is_table: bool = True, takes: Sequence[str] = ("text",)
) -> Path:
    """A model of two classes that knows ``texts``, each with a figure for its second class. It ``takes``
    these inputs.
    """
    known = _strings("keys_strings", list(texts)), _floats("values_floats", list(texts.values()))
    nodes = [
        _node("LabelEncoder", [takes[0]], "second", *known, domain="ai.onnx.ml"),
        _node("Neg", ["second"], "first"),
        _node("Concat", ["first", "second"], "figures", _integer("axis", 1)),
    ]
    output = _value("figures", _FLOAT, ["n", 2]) if is_table else _value("second", _FLOAT, ["n"])
    path.write_bytes(_model(nodes, [], [_value(name, _STRING, ["n", 1]) for name in takes], [output]))
    return path


def _model(
    nodes: Sequence[bytes], tensors: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[bytes]
) -> bytes:
    graph = b"".join(
        (
            *(_field(1, node) for node in nodes),
            _field(2, b"graph"),
            *(_field(5, tensor) for tensor in tensors),
            *(_field(11, value) for value in inputs),
            *(_field(12, value) for value in outputs),
        )
    )
    sets = (_field(1, b"") + _number(2, 13), _field(1, b"ai.onnx.ml") + _number(2, 2))
    return _number(1, 8) + _field(7, graph) + b"".join(_field(8, each) for each in sets)


def _node(operator: str, inputs: Sequence[str], output: str, *attributes: bytes, domain: str = "") -> bytes:
    named = b"".join(_field(1, name.encode()) for name in inputs) + _field(2, output.encode())
    options = b"".join(_field(5, attribute) for attribute in attributes)
    return named + _field(4, operator.encode()) + options + _field(7, domain.encode())


def _integer(name: str, value: int) -> bytes:
    return _field(1, name.encode()) + _number(3, value) + _number(20, _INTEGER)


def _strings(name: str, values: Sequence[str]) -> bytes:
    return (
        _field(1, name.encode())
        + b"".join(_field(9, value.encode()) for value in values)
        + _number(20, _STRINGS)
    )


def _floats(name: str, values: Sequence[float]) -> bytes:
    return (
        _field(1, name.encode()) + _field(7, struct.pack(f"<{len(values)}f", *values)) + _number(20, _FLOATS)
    )


def _table(name: str, rows: Sequence[Sequence[float]]) -> bytes:
    figures = [figure for row in rows for figure in row]
    shape = _number(1, len(rows)) + _number(1, len(rows[0]))
    data = struct.pack(f"<{len(figures)}f", *figures)
    return shape + _number(2, _FLOAT) + _field(8, name.encode()) + _field(9, data)


def _axis(name: str, axis: int) -> bytes:
    return _number(1, 1) + _number(2, _INT64) + _field(8, name.encode()) + _field(9, struct.pack("<q", axis))


def _value(name: str, kind: int, shape: Sequence[str | int]) -> bytes:
    sizes = (_number(1, size) if isinstance(size, int) else _field(2, size.encode()) for size in shape)
    tensor = _number(1, kind) + _field(2, b"".join(_field(1, size) for size in sizes))
    return _field(1, name.encode()) + _field(2, _field(1, tensor))


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes((*found, value))
