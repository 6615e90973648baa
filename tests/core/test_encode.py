"""Messages are queued as dramatiq's own encoder has them: other brokers and programs read them."""

from __future__ import annotations

from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker

from tbcache.queue.encode import encode


@pytest.fixture
def note() -> Any:
    return dramatiq.actor(actor_name="note", broker=StubBroker())(print)


@pytest.mark.parametrize(
    "what",
    [
        "AAPL",
        "",
        'é\u2028</\x00\x7f\\"',
        "\ud800",
        0,
        -1,
        2**70,
        True,
        None,
        0.1,
        1e300,
        float("inf"),
        (1, "x"),
        {"a": [1]},
    ],
)
def test_a_message_says_what_dramatiqs_own_encoder_says(note: Any, what: Any) -> None:
    """A NaN becomes null in other JSON, and half a surrogate pair an error."""
    for message in (
        note.message(what),
        note.message(what=what),
        note.message_with_options(args=(what, "x"), source="reddit", depth=what),
    ):
        assert dramatiq.Message.decode(encode(message)) == dramatiq.Message.decode(message.encode())


@pytest.mark.parametrize("what", [b"bytes", {1}, object()])
def test_what_dramatiqs_own_encoder_refuses_is_refused(note: Any, what: Any) -> None:
    """A worker would get something else than what was sent: bytes as a text."""
    for message in (note.message(what), note.message(what=what), note.message_with_options(depth=what)):
        with pytest.raises(TypeError):
            encode(message)


class Safe(str):
    """As frameworks have for texts that are escaped."""


@pytest.mark.parametrize("key", [None, True, Safe("x")])
def test_names_and_keys_of_other_types_are_queued(note: Any, key: Any) -> None:
    message = dramatiq.Message(Safe("default"), Safe("note"), (), {key: 1}, {}, Safe("id"), 1)
    assert dramatiq.Message.decode(encode(message)) == dramatiq.Message.decode(message.encode())


def test_a_message_of_another_class_encodes_itself(note: Any) -> None:
    class Sealed(dramatiq.Message[Any]):
        def encode(self) -> bytes:
            return b"sealed"

    assert encode(Sealed(**note.message("AAPL").asdict())) == b"sealed"
