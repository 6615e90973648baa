"""The variables of the environment: how they are named, and how they become the fields of the settings."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tbcache.models.error import ConfigurationError, nearest
from tbcache.settings.field import Reader
from tbcache.settings.secret import ADDRESSES, CREDENTIALS

PREFIX = "TBCACHE_"
#: Names the user's own sources.
SOURCES = f"{PREFIX}SOURCES"
#: The field of each variable without our prefix.
REDIS_VARIABLES = {
    f"REDIS_{name}": f"redis_{name.lower()}"
    for name in ("URL", "HOST", "PORT", "PASSWORD", "DB", "SSL", "CLUSTER", "SENTINELS", "SENTINEL_PASSWORD")
}
#: The fields that have a shorter name in code.
IN_CODE = {"cache_ttl": "ttl", "stale_ttl": "stale"}
#: How much (of 1) a name and that of a source have in common, to be taken for a misspelling.
NEAR = 0.8
_WORD = re.compile(r"[^\W\d_]+|\d+")
#: The settings of the whole fleet that the runtime file may give: none that names code to run, and no secret
#: but those of Redis and the database.
FROM_RUNTIME_FILE = (
    "REDIS_URL",
    "REDIS_CLUSTER",
    "REDIS_SENTINELS",
    "REDIS_SENTINEL_PASSWORD",
    "TBCACHE_DATABASE_URL",
    "TBCACHE_NAMESPACE",
    "TBCACHE_ALERT_RULES",
)
#: All that say which fleet is meant.
OF_FLEET = tuple(dict.fromkeys((*REDIS_VARIABLES, *FROM_RUNTIME_FILE)))


def variable(source: str, field: str) -> str:
    return f"{PREFIX}{in_variables(source)}__{field}".upper()


def variable_of(field: str) -> str:
    """The variable of one setting that is no source's."""
    return next((name for name, one in REDIS_VARIABLES.items() if one == field), f"{PREFIX}{field.upper()}")


def in_variables(source: str) -> str:
    """The name of ``source`` as variables have it: no shell sets one with a dash or a dot, and two
    underscores end it."""
    return re.sub(r"[_.\-]+", "_", source).rstrip("_")


def misspelt(name: str, sources: Iterable[str]) -> str | None:
    """The one of ``sources`` that ``name`` is likely to be a misspelling of; None where there is none.

    Two that differ in a whole word are two sources, as feed_us and feed_eu.
    """
    words = _WORD.findall(name)
    for near in difflib.get_close_matches(name, tuple(sources), cutoff=NEAR):
        theirs = _WORD.findall(near)
        if len(words) != len(theirs) or all(map(_is_near, words, theirs)):
            return near
    return None


def _is_near(word: str, other: str) -> bool:
    return difflib.SequenceMatcher(None, word, other).ratio() >= NEAR


def refusal(variable: str, value: str, right: str) -> str:
    """That ``variable`` cannot have that value, which is not shown of a secret, and what would be right."""
    is_secret = any(word in variable for word in ("TOKEN", "SECRET", "KEY", "PASSWORD", "URL"))
    shown = "(hidden)" if is_secret and "__BASE_URL" not in variable else repr(value)
    return f"{variable}={shown} is not valid: {right}"


class Fields(NamedTuple):
    """The readers of all fields: of those of the settings, and of those of a source. ``built_in`` are the
    sources that are fields themselves.
    """

    settings: Mapping[str, Reader[Any]]
    source: Mapping[str, Reader[Any]]
    built_in: tuple[str, ...]

    @property
    def plain(self) -> tuple[str, ...]:
        """The fields whose variables have our prefix, and that are no source."""
        return tuple(field for field in self.settings if field not in REDIS_VARIABLES.values())

    def collect(self, variables: Mapping[str, str]) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        """The fields that ``variables`` give, each as it is written, and those of each source by its name."""
        plain = {field: variables[name] for name, field in REDIS_VARIABLES.items() if variables.get(name)}
        of_sources: dict[str, dict[str, str]] = {}
        custom = set(own_sources(variables))
        for name, value in _ours(variables):
            field, _, nested = name.removeprefix(PREFIX).lower().partition("__")
            if nested and (field in {*self.built_in, *custom} or self._may_be_declared(field, custom)):
                if nested not in self.source:
                    # Another source's setting is not meant.
                    raise ConfigurationError(self._unknown(name, (field,)))
                of_sources.setdefault(field, {})[nested] = value
            elif field in self.plain and not nested:
                plain[field] = value
            else:
                raise ConfigurationError(self._unknown(name, (*self.built_in, *custom)))
        return plain, of_sources

    def with_runtime_file(self, env: Mapping[str, str], written: Mapping[str, str]) -> dict[str, str]:
        """The variables in force; of the runtime file's, only those of a fixed list count.

        A source that only the runtime file has an address for is the demo's: its credentials are the file's
        too, and the user's own never reach an address that stands in a file.
        """
        # A shell that has no budget of its own asks in the fleet's name, and would spend beyond the fleet's.
        budgets = [name for source in self.built_in for name in _variables_of(source, ("daily_budget",))]
        given = {name: written[name] for name in (*FROM_RUNTIME_FILE, *budgets) if name in written}
        variables = {**given, **env}
        for source in self.built_in:
            addresses, credentials = _variables_of(source, ADDRESSES), _variables_of(source, CREDENTIALS)
            if addresses[0] in written and not any(env.get(name) for name in addresses):
                variables |= dict.fromkeys(credentials, "")
                chosen = (*addresses, *credentials, *_variables_of(source, ("delay_hours",)))
                variables |= {name: written[name] for name in chosen if name in written}
        return variables

    def _may_be_declared(self, source: str, custom: Iterable[str]) -> bool:
        """True for what may be a source that code declares, which is not known here.

        Not where it is nearly one that is known: it is likely to be a misspelling.
        """
        if not re.fullmatch(r"\w+", source) or source in (*self.settings, *self.built_in):
            return False
        return misspelt(source, (*self.built_in, *custom)) is None

    def _unknown(self, name: str, sources: Sequence[str]) -> str:
        """``sources`` are those of which a setting may be meant."""
        if (bare := name.removeprefix(PREFIX)) in REDIS_VARIABLES:
            return f"{name} is no setting of tbcache; did you mean {bare}?"
        if (meant := self._meant_of_source(bare.lower(), sources)) is not None:
            return f"{name} is no setting of tbcache; did you mean {meant}?"
        known = [variable_of(field) for field in self.plain]
        known += [variable(source, field) for source in sources for field in self.source]
        by_lower = {option.lower(): option for option in known}
        hint = nearest(name, by_lower)
        for lower, option in by_lower.items():
            hint = hint.replace(repr(lower), option)
        return f"{name} is no setting of tbcache{hint}"

    def _meant_of_source(self, bare: str, sources: Sequence[str]) -> str | None:
        """The variable of a source that is meant by one with the name that code has for the field, or with
        one underscore."""
        source, _, said = bare.partition("__")
        for field in self.source:
            if said == IN_CODE.get(field) or (not said and bare.endswith(f"_{field}")):
                found = source if said else bare.removesuffix(f"_{field}")
                return variable(misspelt(found, sources) or found, field)
        return None


def _variables_of(source: str, fields: Iterable[str]) -> tuple[str, ...]:
    return tuple(variable(source, field) for field in fields)


def _ours(variables: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Our variables that are not empty."""
    for name, value in sorted(variables.items()):
        if name.startswith(PREFIX) and value != "":
            yield name, value


def own_sources(variables: Mapping[str, str]) -> dict[str, str]:
    """The user's own sources, with the class of each; a malformed list has none, and is refused when it is
    validated."""
    parts = (part.partition("=") for part in variables.get(SOURCES, "").split(","))
    return {name.strip().lower(): path.strip() for name, _, path in parts if path}
