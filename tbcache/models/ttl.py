"""For how long a value may be kept."""

from __future__ import annotations

from tbcache.models.error import InvalidRequest

#: The seconds that values of each kind stay fresh where nobody says otherwise.
REAL_TIME_TTL = 300.0
AGGREGATED_TTL = 600.0
HISTORICAL_TTL = 3600.0
STATIC_TTL = 86400.0
MAX_TTL = 10 * 365 * 86400


def check_ttl(ttl: float) -> float:
    """``ttl`` in seconds.

    Raises:
      InvalidRequest: not a number, not above 0, or more than ten years.
    """
    if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not 0 < ttl <= MAX_TTL:
        raise InvalidRequest(f"TTL {ttl!r:.40} must be a number of seconds above 0, at most {MAX_TTL}")
    return float(ttl)
