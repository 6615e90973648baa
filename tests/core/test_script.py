"""Scripts with typed calls: what a declaration gives, and what it does not let pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import fakeredis
import pytest

from tbcache.store import script as script_module
from tbcache.store.reply import flag, number, one_of, record
from tbcache.store.script import Key, Script
from tests.architecture import scripts
from tests.bytecode import compiled
from tests.script import problems, run


class Pair(NamedTuple):
    first: Key
    second: Key


class Ask(NamedTuple):
    """One of every kind of field."""

    pair: Pair
    more: tuple[Key, ...]
    name: str
    count: int
    part: float
    is_on: bool
    rest: tuple[str | int, ...]


class Kept(NamedTuple):
    now: int
    part: float
    is_on: bool
    name: str
    raw: bytes
    keys: tuple[str, ...]
    seen: Annotated[str, lambda reply: reply.decode().upper()]


class Refused(NamedTuple):
    """A reply without fields."""


HEADER = """-- ask: a script of the tests.
-- KEYS  pair, more   its keys
-- ARGV  name, count  two on one line
--       part         another
--       is_on
--       rest         name, price, ...
"""
TAGGED = f"""{HEADER}-- Replies
--       kept: now, part, is_on, name, raw, keys, seen   what it was told
--                         this line describes, and lists nothing
--       refused:          it was not told much
"""
BODY = """if count == 0 then
    return reply_refused()
end
local names = {first, second, unpack(more)}
return reply_kept(count + 1, string.format('%.3f', part / 2), is_on, name, rest[2] or '', names, 'seen')
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Write a script's file."""
    monkeypatch.setattr(script_module, "_FOLDER", tmp_path)
    return lambda name, text: (tmp_path / f"{name}.lua").write_text(text) and None


def asking(**given: Any) -> Ask:
    return Ask(Pair("{a}1", "{a}2"), ("{a}3",), "x", 4, 0.5, True, ("p", 7))._replace(**given)


def test_fields_are_names_in_lua_and_replies_are_records(write: Callable[[str, str], None]) -> None:
    """Who writes a script, or calls it, counts no positions."""
    write("ask", TAGGED + BODY)
    script: Script[Ask, Kept | Refused] = Script("ask", Ask, one_of(Kept, Refused))
    client = fakeredis.FakeRedis(version=(7, 4))
    kept = Kept(5, 0.25, True, "x", b"7", ("{a}1", "{a}2", "{a}3"), "SEEN")
    assert run(client, script, asking()) == kept
    many = tuple(f"{{a}}{n}" for n in range(9000))
    told = run(client, script, asking(is_on=False, more=(), rest=many))
    assert isinstance(told, Kept)
    assert (told.is_on, told.keys, told.raw) == (False, ("{a}1", "{a}2"), b"{a}1")
    assert run(client, script, asking(count=0)) == Refused()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (TAGGED.replace("name, count ", "count, name ") + BODY, "ARGV are"),
        (TAGGED.replace("pair, more", "pair") + BODY, "KEYS are"),
        (TAGGED.replace("--       is_on\n", "") + BODY, "ARGV are"),
        (TAGGED.replace("refused:", "denied:") + BODY, "Replies are"),
        (TAGGED + "return KEYS[1]\n", "reads KEYS"),
        (TAGGED + "return #ARGV\n", "reads ARGV"),
        (TAGGED + "local name = 1\n" + BODY, "defines name, which is declared"),
        (TAGGED + "local function count() end\n" + BODY, "defines count, which is declared"),
        ("--@include part\n" + TAGGED + BODY, "defines second, which is declared"),
    ],
)
def test_a_file_that_says_or_does_something_else_is_found(
    write: Callable[[str, str], None], text: str, why: str
) -> None:
    """Before it has mixed up somebody's keys."""
    write("part", "-- part: included.\nlocal other, second = 1, 2\n")
    write("ask", text)
    (problem,) = problems(Script("ask", Ask, one_of(Kept, Refused)))
    assert why in problem


def test_all_files_say_and_do_what_is_declared() -> None:
    """Who reads a header, or writes a script, believes it."""
    assert {name: found for name, script in scripts().items() if (found := problems(script))} == {}


def test_what_is_included_twice_stands_there_once(write: Callable[[str, str], None]) -> None:
    """Each file says itself what it needs."""
    write("deep", "-- deep: included.\nlocal two = 2\n")
    write("part", "--@include deep\n-- part: included.\nlocal four = two * two\n")
    write(
        "sum",
        "--@include deep\n--@include part\n-- sum: of the tests.\n-- Replies the sum.\nreturn two + four\n",
    )

    class Sum(NamedTuple):
        """No keys and no arguments."""

    script = Script("sum", Sum, number)
    assert script.text.count("local two") == 1
    assert script.reply.read(6) == 6


@pytest.mark.parametrize(
    ("block", "is_there"),
    [
        ("local function use()\n--@include half\n    return half\nend\none = use()\n", False),
        ("for i = 1, 2 do -- not the end\n--@include half\nend\n", False),
        ("local is = 'if'\nif is then\n    is = nil\nelse\n--@include half\nend\n", False),
        ("repeat\n--@include half\nuntil half\n", False),
        ("if one then\n--@include half\nelseif two then\n    one = 1\nend\n", False),
        ("if one then\n    two = 1\nend\n--@include half\n", True),
        ("while one do\n    one = nil\nend\n--@include half\n", True),
    ],
)
def test_what_was_included_in_a_block_that_is_over_is_included_again(
    write: Callable[[str, str], None], block: str, is_there: bool
) -> None:
    """What is local to a function ends with it: at its run, a script met a global that does not exist."""
    write("half", "-- half: included.\nlocal half = 1\n")
    write("outer", f"local one, two\n{block}")
    write("ask", f"--@include outer\n--@include half\n{HEADER}-- Replies a number.\nreturn half\n")
    text = Script("ask", Ask, number).text
    assert text.count("local half") == (1 if is_there else 2)
    assert compiled(text).all_globals == {"KEYS", "ARGV"}


def test_functions_that_are_not_called_are_left_out(write: Callable[[str, str], None]) -> None:
    """The server makes each function of a script anew at each call."""
    write(
        "part",
        "-- part: included.\n"
        "local function inner(n)\n    return n + 1\nend\n"
        "local function never()\n    if inner then\n        return inner(1)\n    end\nend\n"
        "local function nor() return never() end\n"
        "local function called(n) return n * 2 end\n",
    )
    write("ask", f"--@include part\n{HEADER}-- Replies a number. `nor` is no call.\nreturn called(count)\n")
    script = Script("ask", Ask, number)
    assert "called" in script.text
    for name in ("inner", "never"):
        assert name not in script.text
    assert run(fakeredis.FakeRedis(), script, asking()) == 8


def test_a_reply_that_is_not_declared_is_an_error(write: Callable[[str, str], None]) -> None:
    """And no tuple of something else."""
    write("ask", HEADER + "-- Replies  now, is_on\nreturn 1\n")

    class Short(NamedTuple):
        now: int
        is_on: bool

    script = Script("ask", Ask, record(Short))
    assert script.read([3, 1]) == Short(3, True)
    for answer in ([3], [3, 1, 1], 3, [b"x", 1]):
        with pytest.raises(ValueError, match=r"^ask\.lua replied"):
            script.read(answer)
    tagged: Script[Ask, Short] = Script.__new__(Script)
    tagged.name, tagged.reply = "ask", one_of(Short)
    for answer in ([b"long", 3, 1], [], None):
        with pytest.raises(ValueError, match=r"^ask\.lua replied"):
            tagged.read(answer)
    assert flag.read(b"1") is True
