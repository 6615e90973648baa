"""What others wrote, read with care: JSON that may be damaged, or meant to break whoever reads it."""

from __future__ import annotations

from typing import Any

import pytest

from tbcache.models.untrusted import NotJson, read_json
from tbcache.queue.job import decode_result
from tbcache.repository import CorruptAnswer, decode_answer
from tbcache.settings.profile import Profile, read_profile

DEEP = b'{"x":' * 100_000 + b"1" + b"}" * 100_000
JUNK = [
    b"",
    b"{",
    b"[1,]",
    b"[1] x",
    b"NaN",
    b"1e999",
    b"9" * 5000,
    b'"\\ud800"',
    b'"\xff"',
    b"\xef\xbb\xbf{}",
    b"[" * 5000,
    DEEP,
]


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk[:12]))
@pytest.mark.parametrize("kind", [Any, Profile])
def test_what_is_no_json_is_one_error_of_one_line(junk: bytes, kind: Any) -> None:
    """The decoder knows four; whoever forgets one falls over a single value that anybody may write."""
    with pytest.raises(NotJson) as caught:
        read_json(junk, kind)
    assert str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("junk", [DEEP, b'{"message": "\xff"}'])
def test_what_lies_damaged_in_redis_is_an_error_of_ours(junk: bytes) -> None:
    """A status page, a waiting caller and the outbox meet it, and go on."""
    assert read_profile(junk) is None
    assert decode_result(junk).message == "its result cannot be read"
    with pytest.raises(CorruptAnswer):
        decode_answer(junk)


def test_json_keeps_its_order_and_every_digit() -> None:
    """An id of 20 digits that became a float would be another id."""
    assert list(read_json(b'{"b": 12345678901234567890, "a": 1, "b2": null}').items()) == [
        ("b", 12345678901234567890),
        ("a", 1),
        ("b2", None),
    ]
    assert read_json('["é"]', list[str]) == ["é"]
