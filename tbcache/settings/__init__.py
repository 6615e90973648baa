"""Settings: what the environment says, read in one place and once, and what each source is by them."""

from tbcache.models.request import LONGEST_HOURS
from tbcache.models.ttl import AGGREGATED_TTL, HISTORICAL_TTL, REAL_TIME_TTL, STATIC_TTL
from tbcache.settings.capacity import shortages
from tbcache.settings.declared import declare, get_declared
from tbcache.settings.model import (
    BUILT_IN_NAMES,
    COMMON_SYMBOLS,
    FIELDS,
    Settings,
)
from tbcache.settings.process import forget_command_line, get_settings, name_data_dir, name_source
from tbcache.settings.secret import CREDENTIALS
from tbcache.settings.source import (
    BUILT_IN,
    Source,
    check_name,
    get_source,
    get_sources,
    import_class,
    is_name,
    source_names,
    unconfigured,
    warn_of_near_miss,
    why_off,
)
from tbcache.settings.upstream import MOST_DOLLARS, SourceSettings
from tbcache.settings.value import LONGEST_SECONDS
from tbcache.settings.variable import PREFIX, variable
