"""The faults of a simulator that runs, over its HTTP: see docs/simulator.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2

from tbcache.io.http import tls_context
from tbcache.models.error import ConfigurationError, InvalidRequest, TbcacheError
from tbcache.models.untrusted import LINE, NotJson, printable, read_json
from tbcache.settings import BUILT_IN, Settings

TIMEOUT_SECONDS = 5.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")

#: The faults of each source, by name; those that are not set are left out.
Faults = dict[str, dict[str, Any]]


def simulator_of(settings: Settings) -> str:
    """The address of the simulator that these settings ask in the place of the real APIs.

    Raises:
      ConfigurationError: they ask the real ones.
    """
    for name in BUILT_IN:
        url = settings.source(name).base_url
        parts = urlsplit(url or "")
        if parts.hostname in _LOOPBACK and parts.path.rstrip("/") == f"/{name}":
            return f"{parts.scheme}://{parts.netloc}"
    raise ConfigurationError(
        "no simulator is asked here: run this where `tbcache up --demo` runs, or say its --url"
    )


class FaultControl:
    """Reads and sets the faults of the simulator at ``url``.

    Each method raises TbcacheError where it does not answer as one, and InvalidRequest where there is no such
    source or fault.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def read(self) -> Faults:
        """The faults in force, by source."""
        return self._ask("GET")

    def set(self, source: str, faults: Mapping[str, Any]) -> Faults:
        """Set some of a source's faults, beside those that it has; ``*`` is every source."""
        known = self.read()
        chosen = list(known) if source == "*" else [source]
        # One that is not known is left to the simulator, which names the nearest.
        return self._ask("POST", {name: {**known.get(name, {}), **faults} for name in chosen})

    def clear(self, source: str | None = None) -> Faults:
        """End the faults of a source, or of all."""
        return self._ask("DELETE") if source is None else self._ask("POST", {source: {}})

    def _ask(self, method: str, body: object = None) -> Faults:
        where = f"the simulator at {self._url}"
        try:
            answer = httpx2.request(
                method,
                f"{self._url}/_faults",
                json=body,
                timeout=TIMEOUT_SECONDS,
                trust_env=False,
                verify=tls_context(),
            )
            found = read_json(answer.content)
        except (httpx2.HTTPError, httpx2.InvalidURL, NotJson) as error:
            raise TbcacheError(f"{where} does not answer as one: {printable(str(error), LINE)}") from None
        if answer.status_code == 422 and isinstance(found, dict):
            raise InvalidRequest(printable(str(found.get("error")), LINE))
        if answer.status_code != 200 or not isinstance(found, dict):
            raise TbcacheError(f"{where} does not answer as one: HTTP {answer.status_code}")
        return {str(name): one for name, one in found.items() if isinstance(one, dict)}
