"""The items of a symbol in one source: every version of each, and the hours of which no item is missing.

This package has values alone: nothing here asks Redis, an upstream, a database or a clock.
"""

from tbcache.timeline.coverage import NO_COVERAGE, Coverage, Span
from tbcache.timeline.load import AHEAD, PRIVATE, Load, Past
from tbcache.timeline.merge import covers_less, merged
from tbcache.timeline.record import (
    FINAL,
    NOT_YET,
    RETOLD,
    Corrupt,
    Record,
    decode_record,
    encode_record,
    pack_record,
)
from tbcache.timeline.tally import (
    Tally,
    changed,
    compared,
    counted,
    counted_by_upstream,
    tally_of,
    uses_upstream,
)
from tbcache.timeline.timeline import Read, Scored, Timeline
