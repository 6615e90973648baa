"""A dict that does not grow for ever."""

from __future__ import annotations

from tbcache.models.bounded import Bounded


def test_what_was_set_longest_ago_goes_for_one_more() -> None:
    """What is set again takes the place of no other, and is the newest from then on."""
    kept = Bounded[str, int](2)
    kept["a"], kept["b"] = 1, 2
    kept["b"] = 3
    assert kept == {"a": 1, "b": 3}
    kept["a"] = 4
    kept["c"] = 5
    assert kept == {"a": 4, "c": 5}
