"""The rate limiter on its own, by the name it has always had: see :mod:`tbcache.admission.rate_limiter`."""

from tbcache.admission.rate_limiter import RateLimiter, RateLimitStatus, get_rate_limiter

__all__ = ["RateLimitStatus", "RateLimiter", "get_rate_limiter"]
