"""Our reading of a Redis glob is Redis' own."""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tbcache.store.glob import compile_glob
from tests.server import Server


def theirs(server: Server, pattern: str, names: list[str]) -> set[str]:
    server.client.delete("names")
    server.client.sadd("names", *names)
    return {name.decode() for name in server.client.sscan_iter("names", match=pattern, count=1000)}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(
    pattern=st.text("ab-^]\\[:*?é", min_size=1, max_size=8),
    names=st.lists(st.text("ab-^]\\[:é", min_size=1, max_size=6), min_size=1, max_size=40, unique=True),
)
def test_a_glob_matches_what_redis_matches(server: Server, pattern: str, names: list[str]) -> None:
    """A clear that takes one key more than asked for loses an answer; one less keeps a wrong one."""
    # A range of bytes beyond ASCII is the server's compiler's business: char may be signed.
    assume("-é" not in pattern and "é-" not in pattern)
    compiled = compile_glob(pattern)
    ours = {name for name in names if compiled.fullmatch(name.encode())}
    expected = theirs(server, pattern, names)
    server.client.delete("names")
    assert ours == expected


@pytest.mark.parametrize(
    ("pattern", "matches", "others"),
    [
        ("twitter:*", ["twitter:AAPL:24", "twitter:"], ["twitte:A", "xtwitter:A"]),
        ("twitter:?", ["twitter:A"], ["twitter:", "twitter:AB"]),
        ("[a-c]x", ["ax", "cx"], ["dx"]),
        ("[c-a]x", ["bx"], ["dx"]),
        ("[^a]x", ["bx"], ["ax", "x"]),
        ("a\\*b", ["a*b"], ["axb"]),
        ("a.b", ["a.b"], ["axb"]),
        ("a*b*c", ["abc", "axbxc", "abbcc"], ["ab", "acb"]),
        ("line*", ["line\nbreak"], []),
    ],
)
def test_the_rules_of_a_glob(pattern: str, matches: list[str], others: list[str]) -> None:
    """Each rule once, to be read."""
    compiled = compile_glob(pattern)
    assert all(compiled.fullmatch(name.encode()) for name in matches)
    assert not any(compiled.fullmatch(name.encode()) for name in others)


def test_many_stars_take_no_time() -> None:
    """A pattern comes from outside; tried by backtracking, this one would never end."""
    started = time.perf_counter()
    assert not compile_glob("*a" * 30 + "*b").fullmatch(b"a" * 400)
    assert time.perf_counter() - started < 1
