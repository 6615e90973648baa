"""The faults of a simulator that runs, over its HTTP: see docs/simulator.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2

from tbcache.io.http import tls_context
from tbcache.models.error import ConfigurationError, InvalidRequest, TbcacheError, UnknownSource
from tbcache.models.untrusted import LINE, NotJson, printable, quoted, read_json
from tbcache.settings import BUILT_IN, Settings

TIMEOUT_SECONDS = 5.0
#: Every source.
ALL = "all"
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


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


class FaultControl:
    """Reads and sets the faults of the simulator at ``url``.

    Each method raises TbcacheError where it does not answer as one, UnknownSource where it has no such
    source, and InvalidRequest where there is no such fault.
    """

    def __init__(self, url: str) -> None:
        if not _is_address(url):
            raise InvalidRequest(f"{quoted(url)} is no address: it should be like http://127.0.0.1:9000")
        self._url = url.rstrip("/")

    def read(self) -> Faults:
        """The faults in force, by source."""
        return self._ask("GET")

    def set(self, source: str, faults: Mapping[str, Any]) -> Faults:
        """Set some of a source's faults, or of those of ``ALL``, beside those that they have."""
        known = self._known(source)
        return self._ask("POST", {name: {**found, **faults} for name, found in known.items()})

    def clear(self, source: str = ALL) -> Faults:
        """End the faults of a source, or of all."""
        return self._ask("POST", {name: {} for name in self._known(source)})

    def _known(self, source: str) -> Faults:
        """Those in force of a source, or of all."""
        known = self.read()
        if source not in (ALL, *known):
            raise UnknownSource(source, (*known, ALL))
        return known if source == ALL else {source: known[source]}

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
