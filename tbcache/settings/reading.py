"""How settings are read: which variables count, and where each of them is from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tbcache.settings.folder import DATA_DIR, find_runtime_file, read_runtime_file
from tbcache.settings.variable import OF_FLEET, PREFIX, SOURCES, Fields, variable_of

#: Where the value of a variable may be from.
SettingOrigin = Literal["command line", "environment", "runtime file"]


@dataclass(frozen=True, slots=True)
class Reading:
    """How settings were read. Those that were read in two ways are the same ones, if they say the same."""

    #: Where each variable that is set is from.
    origins: Mapping[str, SettingOrigin] = field(default_factory=dict, compare=False)
    #: By which a process that has our environment reads the same; an empty one is not set.
    for_children: Mapping[str, str] = field(default_factory=dict, compare=False)
    #: Whether a ``tbcache up`` runs with the data folder, and its Redis is ours.
    has_up: bool = field(default=False, compare=False)
    #: Why the runtime file was ignored, in one line; None where there is none, or it counts.
    problem: str | None = field(default=None, compare=False)

    def has(self, field: str) -> bool:
        """Whether the variable of ``field`` is set, wherever it is from."""
        return variable_of(field) in self.origins

    @property
    def overruled(self) -> list[str]:
        """The variables that count for nothing, as the data folder that is named goes before them."""
        return [name for name, value in self.for_children.items() if not value]

    @property
    def is_named_in_vain(self) -> bool:
        """Whether a data folder is named that is to lead to a fleet, and no ``tbcache up`` runs with it."""
        origin = self.origins.get(variable_of("data_dir"))
        # In the environment it may also say where a process of a fleet with a Redis of its own has its files.
        has_redis = self.has("redis_url") or self.has("redis_host")
        return not self.has_up and (origin == "command line" or (origin == "environment" and not has_redis))


def read_variables(
    environ: Mapping[str, str],
    data_dir: Path | None,
    own_source: str,
    fields: Fields,
    redis_of: Callable[[Mapping[str, str]], str | None],
) -> tuple[dict[str, str], Reading]:
    """The variables that count, of the environment and of the runtime file that is found; ``data_dir`` goes
    before both, and ``own_source`` is added to the sources. ``redis_of`` gives the Redis that variables name.
    """
    # An empty variable counts as not set, as compose files leave them.
    env, said = _set(environ), dict[str, str]()
    if data_dir is None:
        found = read_runtime_file(Path(env.get(variable_of("data_dir")) or DATA_DIR))
    else:
        folder, found = find_runtime_file(data_dir)
        said[variable_of("data_dir")] = str(folder)
    if own_source:
        said[SOURCES] = ",".join(filter(None, (env.get(SOURCES), own_source)))
    has_up = bool(found.variables)
    if has_up and data_dir is not None:
        # It names the fleet, which also stands for what the environment says of one.
        said |= {name: "" for name in OF_FLEET if name in env and env[name] != found.variables.get(name)}
    elif has_up:
        # With another Redis than the runtime file's, its demo and its database are not meant either.
        has_up = redis_of(env) in (None, found.variables.get("REDIS_URL"))
    variables = _set(env | said)
    if has_up:
        variables = fields.with_runtime_file(variables, found.variables)
    origins = {
        name: _origin(name, value, said, env)
        for name, value in variables.items()
        if value and name.startswith((PREFIX, "REDIS_"))
    }
    return variables, Reading(origins, said, has_up, found.problem)


def _set(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if value}


def _origin(name: str, value: str, said: Mapping[str, str], env: Mapping[str, str]) -> SettingOrigin:
    if said.get(name) == value:
        return "command line"
    return "environment" if env.get(name) == value else "runtime file"
