"""The credentials of a demo, and the variables that point tbcache at a simulator."""

from __future__ import annotations

from tbcache.settings import BUILT_IN

#: Only the simulator accepts these.
DEMO_CREDENTIALS: dict[str, str] = {
    "TBCACHE_TWITTER__BEARER_TOKEN": "demo-twitter-bearer",
    "TBCACHE_REDDIT__CLIENT_ID": "demo-reddit-id",
    "TBCACHE_REDDIT__CLIENT_SECRET": "demo-reddit-secret",
    "TBCACHE_NEWS__API_KEY": "demo-news-key",
    "TBCACHE_OPTIONS__API_KEY": "demo-options-key",
}


def demo_variables(base: str) -> dict[str, str]:
    """Every variable that makes tbcache ask the simulator at ``base``, like ``http://127.0.0.1:9000``."""
    root = base.rstrip("/")
    addresses = {f"TBCACHE_{name.upper()}__BASE_URL": f"{root}/{name}" for name in BUILT_IN}
    return {**DEMO_CREDENTIALS, **addresses, "TBCACHE_REDDIT__AUTH_URL": f"{root}/reddit"}
