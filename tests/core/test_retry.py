"""Which calls are made again, and for how long."""

from __future__ import annotations

import pytest

from tbcache.store import Unavailable, retry
from tbcache.store.retry import Retry


def away(*, is_timeout: bool = False, is_refusal: bool = False, is_passing: bool = False) -> Unavailable:
    error = Unavailable("redis://somewhere", "?", is_refusal=is_refusal, is_passing=is_passing)
    error.is_timeout = is_timeout
    return error


@pytest.mark.parametrize(
    ("is_read", "has_begun", "error", "tries"),
    [
        (False, False, away(is_timeout=True), 2),
        (True, False, away(is_timeout=True), 1),
        (False, False, away(), 1),
        (True, True, away(), 2),
        (False, True, away(), 2),
        (False, True, away(is_refusal=True), 1),
        (False, True, away(is_refusal=True, is_passing=True), 2),
    ],
)
def test_a_call_is_made_again_where_the_act_would_be_left_half_done(
    is_read: bool, has_begun: bool, error: Unavailable, tries: int
) -> None:
    """Where nothing is done yet, or Redis refuses, whoever asked is told at once."""
    act, told = Retry(), list[bool]()
    if has_begun:
        act.read(lambda: None)

    def call(may_be_done: bool = False) -> str:
        told.append(may_be_done)
        if len(told) == 1:
            raise error
        return "done"

    try:
        assert (act.read(call) if is_read else act.write(call)) == "done"
    except Unavailable:
        assert tries == 1
    assert told == [False, not is_read and error.is_timeout][:tries]


def test_it_is_made_again_for_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has asked waits for it."""
    monkeypatch.setattr(retry, "RETRY_SECONDS", 0.0)
    told: list[bool] = []

    def call(may_be_done: bool) -> None:
        told.append(may_be_done)
        raise away(is_timeout=True)

    with pytest.raises(Unavailable):
        Retry().write(call)
    assert told == [False]
