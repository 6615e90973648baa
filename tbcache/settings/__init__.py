"""Settings: what the environment says, read in one place and once."""

from tbcache.settings.model import (
    BUILT_IN_NAMES,
    COMMON_SYMBOLS,
    CREDENTIALS,
    DATABASE_EXAMPLES,
    LONGEST_HOURS,
    LONGEST_SECONDS,
    MOST_DOLLARS,
    NEAR,
    PREFIX,
    Settings,
    SourceSettings,
    get_settings,
    in_plain_words,
    variable,
)

__all__ = [
    "BUILT_IN_NAMES",
    "COMMON_SYMBOLS",
    "CREDENTIALS",
    "DATABASE_EXAMPLES",
    "LONGEST_HOURS",
    "LONGEST_SECONDS",
    "MOST_DOLLARS",
    "NEAR",
    "PREFIX",
    "Settings",
    "SourceSettings",
    "get_settings",
    "in_plain_words",
    "variable",
]
