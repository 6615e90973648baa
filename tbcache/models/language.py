"""Codes of languages, as settings and upstreams write them."""

from __future__ import annotations

from collections.abc import Iterable


def spoken(codes: Iterable[str]) -> tuple[str, ...]:
    """The languages of ``codes``, each once, without the country: ``en`` for ``en-US``."""
    return tuple(dict.fromkeys(code.lower().split("-")[0] for code in codes))
