"""Lua scripts with typed calls.

A script is declared once, as the call of it: a NamedTuple whose fields are its keys and then its arguments,
in the order in which they travel. So are its replies (reply.py).

    class Lead(NamedTuple):
        lease: Key
        name: str
        lease_ms: int
        above: int = 0

    LEAD = Script("lead", Lead, number)
    token = store.run(LEAD, Lead(keys.sweeper, name, 10_000))

The script's text is ``tbcache/lua/lead.lua`` behind a prologue that is made of the declaration. There each
key and argument is a local variable of its name, a number where it is declared as one, and
``reply_NAME(...)`` builds the reply NAME: no position is written down, in neither language. What Python and
the scripts have in common (constant.py) is there as well. The file's header lists the same names, which tests
compare. A line ``--@include NAME`` stands for another file's text, once: what is there already is not
repeated, unless it was included in a block (a function, an ``if``) that is over.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin

from tbcache.io import Argument as Argument
from tbcache.store.constant import SHARED
from tbcache.store.reply import Reply, fields_of, is_many

#: A field that is a key: any Annotated type is one. ``tuple[Key, ...]`` are any number of them, the
#: last keys; a NamedTuple of keys are several that go together.
Key = Annotated[str, "key"]

C = TypeVar("C", bound=tuple[Any, ...])
R = TypeVar("R")

#: So many functions of a script are made faster where they stand than in a function of their own.
FEW_FUNCTIONS = 8

_FOLDER = Path(__file__).parent.parent / "lua"
_INCLUDE = re.compile(r"^--@include (\w+)\n", re.MULTILINE)
_COMMENT = re.compile(r"--.*")
_STRING = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"")
#: The words of Lua by which a block begins or ends; ``while`` and ``for`` have a ``do``.
_BLOCK = re.compile(r"\b(?:function|if|do|repeat|elseif|else|end|until)\b")
_WORD = re.compile(r"\w+")
#: A constant and its value, a product of numbers or a string.
_CONSTANT = re.compile(
    r"^ *local ([A-Z][A-Z\d_]*) = (-?[\d.]+(?: \* [\d.]+)*|'[^'\n]*')(?: +--.*)?\n", re.MULTILINE
)
#: A word in capitals; strings and comments are passed over.
_UPPER = re.compile(rf"{_STRING.pattern}|{_COMMENT.pattern}|\b[A-Z][A-Z\d_]*\b")
#: A function of a script, of one line or up to an `end` at the start of one, and its name.
_FUNCTION = re.compile(r"^local function (\w+)\b(?:.* end\n|.*\n(?:(?!end\n).*\n)*end\n)", re.MULTILINE)


class Script(Generic[C, R]):
    """One script, with what it is called with and what it replies."""

    def __init__(self, name: str, call: type[C], reply: Reply[R]) -> None:
        self.name, self.call, self.reply = name, call, reply
        self._fields = [_Field(field, kind) for field, kind in fields_of(call).items()]
        self._keys = [field for field in self._fields if field.is_key]
        self._arguments = [field for field in self._fields if not field.is_key]
        self._flags = [at for at, field in enumerate(self._fields) if field.kind is bool]
        # They are replaced from behind, as each that is spread moves what follows.
        self._spread = [at for at, field in reversed([*enumerate(self._fields)]) if field.is_spread]
        #: How many keys there are, where only the first field is several; else 0.
        self._key_count = _key_count(self._fields)

    @functools.cached_property
    def text(self) -> str:
        """What the server runs."""
        named = [*_named(self._keys, "KEYS"), *_named(self._arguments, "ARGV")]
        source = _without_unused(_with_constants("\n".join([*self.reply.lua(), self._source])))
        # It stands in a function, which each call makes: not worth it where that makes few others. Functions
        # that are made in one get at the names at once; Lua would seek a variable of the function that runs,
        # from the last on, for each function that uses it.
        if len(_FUNCTION.findall(source)) > FEW_FUNCTIONS:
            source = f"return (function()\n{source}\nend)()"
        return "\n".join([*named, source])

    @functools.cached_property
    def _source(self) -> str:
        """Its file, with those that it includes in their places."""
        return _read(self.name, [set()])

    @functools.cached_property
    def sha(self) -> str:
        """The digest by which the server knows it."""
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def pack(self, call: C) -> list[Argument]:
        """How many keys there are, the keys, and the arguments: what EVALSHA is told after the digest."""
        if self._key_count:
            return self._pack_plain(call)
        packed: list[Any] = list(call)
        for at in self._flags:
            packed[at] = "1" if packed[at] else ""
        arguments = len(packed) - len(self._keys)
        for at in self._spread:
            packed[at : at + 1] = packed[at]
            arguments += 0 if at < len(self._keys) else len(call[at]) - 1
        return [len(packed) - arguments, *packed]

    def _pack_plain(self, call: C) -> list[Argument]:
        """The same in one go: each ask pays for this."""
        packed: list[Any] = [self._key_count, *call[0], *call[1:]]
        ahead = len(call[0])
        for at in self._flags:
            packed[at + ahead] = "1" if call[at] else ""
        return packed

    def read(self, answer: Any) -> R:
        """The server's answer, as declared.

        Raises:
          ValueError: it is nothing that is declared.
        """
        try:
            return self.reply.read(answer)
        except (LookupError, TypeError, ValueError) as error:
            raise ValueError(f"{self.name}.lua replied {answer!r}"[:300]) from error


class _Field:
    """A key or an argument: its name in Python, the names in Lua, and how it travels."""

    def __init__(self, name: str, kind: Any) -> None:
        self.name, self.kind = name, kind
        is_record = hasattr(kind, "_fields")
        self.is_many = is_many(kind)
        inner = get_args(kind)[0] if self.is_many else kind
        self.is_key = is_record or get_origin(inner) is Annotated
        self.names: list[str] = list(fields_of(kind)) if is_record else [name]
        self.is_spread = is_record or self.is_many


def _key_count(fields: Sequence[_Field]) -> int:
    """The number of keys, where the first field is a record of them and no other is spread; else 0."""
    is_plain = bool(fields) and fields[0].is_spread and not any(field.is_many for field in fields)
    if not is_plain or any(field.is_spread for field in fields[1:]):
        return 0
    return sum(len(field.names) for field in fields if field.is_key)


def _named(fields: Sequence[_Field], table: str) -> Iterator[str]:
    """Lines of Lua that give each key, or each argument, its name."""
    names = [name for field in fields if not field.is_many for name in field.names]
    if names:
        yield f"local {', '.join(names)} = {', '.join(f'{table}[{n}]' for n in range(1, len(names) + 1))}"
    for field in fields:
        if field.is_many:
            # A loop does it, as `unpack` takes less than 8,000 values.
            yield f"local {field.name} = {{}}"
            yield f"for i = {len(names) + 1}, #{table} do {field.name}[i - {len(names)}] = {table}[i] end"
        elif field.kind in (int, float):
            # Half the price of tonumber(), and what is no number is an error.
            yield f"{field.name} = {field.name} + 0"
        elif field.kind is bool:
            yield f"{field.name} = {field.name} == '1'"


def _without_unused(text: str) -> str:
    """A script without the functions that it does not call: the server would make each anew at each call."""
    left = {found[1]: _words_in(found[0]) for found in _FUNCTION.finditer(text)}
    words, unused = Counter(_words_in(text)), set[str]()
    while gone := [name for name in left if words[name] == 1]:
        # What they alone have called is called by nobody.
        for name in gone:
            words.subtract(left.pop(name))
        unused.update(gone)
    return _FUNCTION.sub(lambda found: "" if found[1] in unused else found[0], text)


def _with_constants(text: str) -> str:
    """A script with the values of its constants in their places: each variable that a function uses costs
    something as the function is made, which it is at each call."""
    defined = set(_CONSTANT.findall(text))
    often = Counter(name for name, _ in defined)
    values = SHARED | {name: f"({value})" for name, value in defined if often[name] == 1}
    text = _CONSTANT.sub(lambda found: "" if found[1] in values else found[0], text)
    return _UPPER.sub(lambda found: values.get(found[0], found[0]), text)


def _words_in(text: str) -> list[str]:
    """The words of it, comments left out."""
    return _WORD.findall(_COMMENT.sub("", text))


def _read(name: str, blocks: list[set[str]]) -> str:
    """A script's source. ``blocks`` are those that are open, the innermost last, with what is included in
    each: what is local to a block is there for those inside it alone."""
    # Text and names of files alternate.
    text, *rest = _INCLUDE.split(_text(_FOLDER / f"{name}.lua"))
    parts, depth = [text], len(blocks)
    for included, following in zip(rest[::2], rest[1::2], strict=True):
        _follow(text, blocks)
        if not any(included in block for block in blocks):
            blocks[-1].add(included)
            parts.append(_read(included, blocks))
        parts.append(text := following)
    # All that begin in a file end there.
    del blocks[depth:]
    return "".join(parts)


def _follow(text: str, blocks: list[set[str]]) -> None:
    """Open and close the blocks that begin and end in ``text``."""
    for word in _BLOCK.findall(_STRING.sub("", _COMMENT.sub("", text))):
        if word in ("elseif", "else", "end", "until"):
            blocks.pop()
        if word not in ("end", "until"):
            blocks.append(set())


# Of each file, once: most are included by several scripts, and every process reads them all.


@functools.cache
def _text(file: Path) -> str:
    return file.read_text("utf-8")
