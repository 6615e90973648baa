"""The simulator as one ASGI app: five APIs under their prefixes, and its own controls under ``/_``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tbcache.embedded.simulator.api import Api
from tbcache.embedded.simulator.credential import DEMO_CREDENTIALS
from tbcache.embedded.simulator.fault import Fault, parse_faults
from tbcache.embedded.simulator.ledger import Ledger
from tbcache.embedded.simulator.mix import MIXES
from tbcache.embedded.simulator.news import NewsApi
from tbcache.embedded.simulator.options import OptionsApi
from tbcache.embedded.simulator.reddit import RedditApi
from tbcache.embedded.simulator.replay import Replay
from tbcache.embedded.simulator.reply import Call, Reply
from tbcache.embedded.simulator.stocktwits import StocktwitsApi
from tbcache.embedded.simulator.truth import MOST_HOURS, truths
from tbcache.embedded.simulator.twitter import TwitterApi
from tbcache.embedded.simulator.upstream import Upstream
from tbcache.embedded.simulator.window import LimitSet
from tbcache.models import Limit, ticker
from tbcache.models.error import InvalidRequest, UnknownSource
from tbcache.models.untrusted import NotJson, read_json
from tbcache.settings import BUILT_IN

APIS: Mapping[str, type[Api]] = {
    api.name: api for api in (TwitterApi, RedditApi, NewsApi, OptionsApi, StocktwitsApi)
}


def create_app(
    *,
    limits: Mapping[str, Sequence[Limit]] | None = None,
    replay: Path | None = None,
    seed: int = 7,
    latency: tuple[float, float] = (0.02, 0.12),
    credentials: Mapping[str, str] | None = None,
    plans: Mapping[str, str] | None = None,
    faults: Any = None,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], float] = time.time,
) -> Simulator:
    """Build a simulator of all five sources.

    ``limits`` and ``plans`` are by source. A source that is not named has the limits of ``tbcache.settings``
    and the first plan of its API. An answer takes between the two ``latency`` figures (seconds).
    ``credentials`` are variables, as in ``DEMO_CREDENTIALS``. ``faults`` are in force from the start, in the
    form that ``POST /_faults`` takes. Limits use ``clock`` (monotonic seconds); contents and headers use
    ``now`` (Unix seconds).

    Raises:
      UnknownSource: ``limits`` or ``plans`` name a source that does not exist.
      ConfigurationError: ``replay`` has no recorded answers.
      InvalidRequest: a plan or a fault does not exist.
    """
    for name in (*(limits or {}), *(plans or {})):
        if name not in APIS:
            raise UnknownSource(name, APIS)
    recorded = Replay.load(replay) if replay is not None else None
    known = {**DEMO_CREDENTIALS, **(credentials or {})}
    upstreams = {
        name: Upstream(
            api(seed, known),
            LimitSet((limits or {}).get(name, BUILT_IN[name].limits), api.window),
            Ledger(BUILT_IN[name].price),
            latency=latency,
            plan=(plans or {}).get(name, api.plans[0]),
            replay=recorded,
            now=now,
        )
        for name, api in APIS.items()
    }
    simulator = Simulator(upstreams, clock)
    simulator.set_faults({} if faults is None else faults)
    return simulator


class Simulator(Starlette):
    """The ASGI app. Requests to an API bypass Starlette's routes, which serve the controls alone."""

    def __init__(self, upstreams: Mapping[str, Upstream], clock: Callable[[], float]) -> None:
        super().__init__(
            routes=[
                Route("/", self._index, methods=["GET"]),
                Route("/_stats", self._stats, methods=["GET"]),
                Route("/_stats/reset", self._reset, methods=["POST"]),
                Route("/_truth/{source}/{symbol}", self._truth, methods=["GET"]),
                Route("/_faults", self._get_faults, methods=["GET"]),
                Route("/_faults", self._post_faults, methods=["POST"]),
                Route("/_faults", self._delete_faults, methods=["DELETE"]),
            ]
        )
        self.upstreams = upstreams
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The time is taken before anything else is done, because a limit counts arrivals.
        at = self._clock()
        if scope["type"] == "http":
            name, _, path = scope["path"][1:].partition("/")
            upstream = self.upstreams.get(name)
            if upstream is not None:
                await _serve(upstream, f"/{path}", at, scope, receive, send)
                return
        await super().__call__(scope, receive, send)

    async def _index(self, request: Request) -> Response:
        return _json(
            {"apis": [f"/{name}" for name in self.upstreams], "controls": ["/_stats", "/_truth", "/_faults"]}
        )

    async def _stats(self, request: Request) -> Response:
        return _json({name: upstream.as_data() for name, upstream in self.upstreams.items()})

    async def _reset(self, request: Request) -> Response:
        for upstream in self.upstreams.values():
            upstream.reset()
        return await self._stats(request)

    async def _truth(self, request: Request) -> Response:
        source, hours = request.path_params["source"], request.query_params.get("hours", "24")
        known = [name for name in self.upstreams if name in MIXES]
        if source not in known or not hours.isdecimal() or int(hours) > MOST_HOURS:
            form = f"/_truth/SOURCE/SYMBOL?hours=24, of {MOST_HOURS} hours at most"
            return _json({"error": f"ask for {form}; sources: {', '.join(known)}"}, 422)
        try:
            symbol = ticker(request.path_params["symbol"])
        except InvalidRequest as error:
            return _json({"error": str(error)}, 422)
        upstream = self.upstreams[source]
        now = upstream.now()
        return _json(truths(upstream.api, symbol, now - int(hours) * 3600, now))

    async def _get_faults(self, request: Request) -> Response:
        return _json({name: upstream.fault.as_data() for name, upstream in self.upstreams.items()})

    async def _post_faults(self, request: Request) -> Response:
        try:
            self.set_faults(_read(await request.body()))
        except InvalidRequest as error:
            return _json({"error": str(error)}, 422)
        return await self._get_faults(request)

    async def _delete_faults(self, request: Request) -> Response:
        for upstream in self.upstreams.values():
            upstream.set_fault(Fault())
        return await self._get_faults(request)

    def set_faults(self, data: Any) -> None:
        """Set all of ``{"reddit": {"outage": true}, "*": {...}}`` or, when one is wrong, none.

        Raises:
          InvalidRequest: one line that names the field and the nearest right one.
        """
        faults = parse_faults(data, self.upstreams)
        for name, fault in faults.items():
            self.upstreams[name].check(fault)
        for name, fault in faults.items():
            self.upstreams[name].set_fault(fault)


def _read(body: bytes) -> Any:
    try:
        return read_json(body)
    except NotJson as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from None


async def _serve(
    upstream: Upstream, path: str, at: float, scope: Scope, receive: Receive, send: Send
) -> None:
    call = _call(path, scope)
    arrival = upstream.arrive(call, at)
    if call.method == "POST":
        call = replace(call, body=await Request(scope, receive).body())
    try:
        if seconds := upstream.delay():
            await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        # The server stops: requests that still wait get no answer.
        return
    answer = upstream.answer(call, arrival)
    if answer is None:
        await _drop(receive, send)
    else:
        await _send(answer, send)


def _call(path: str, scope: Scope) -> Call:
    return Call(
        method=scope["method"],
        path=path,
        params=dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)),
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
    )


async def _send(answer: Reply, send: Send) -> None:
    headers = [
        (name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in answer.headers.items()
    ]
    headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def _drop(receive: Receive, send: Send) -> None:
    """Close the connection without a byte of an answer."""
    # ASGI cannot express this. The `send` of uvicorn is a method of the object that holds the transport.
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        raise ConnectionResetError("the simulator dropped the connection")
    transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass


def _json(data: Any, status: int = 200) -> Response:
    text = msgspec.json.format(msgspec.json.encode(data), indent=2)
    return Response(text, status, media_type="application/json")
