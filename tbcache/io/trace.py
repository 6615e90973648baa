"""Spans of OpenTelemetry, where the program has a tracer provider.

tbcache does not need OpenTelemetry and is never the first to import it: a program that has not set a
provider pays one look-up for a span. Its own provider is used as it is; for our processes
:mod:`tbcache.settings.telemetry` makes one.

The context of a span travels as a carrier: ``traceparent`` and ``tracestate`` of W3C Trace Context.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Mapping
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from tbcache.io.boundary import boundary

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span as ApiSpan
    from opentelemetry.trace import Tracer, TracerProvider

T = TypeVar("T")

Carrier = Mapping[str, str]
Facts = Mapping[str, str | int | float | bool | None]
Kind = Literal["internal", "client", "producer", "consumer"]

#: Of the semantic conventions that the names of attributes are from.
SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
#: What a carrier has, and how long each part may be.
_PARTS = {"traceparent": 64, "tracestate": 512}
NOWHERE: Carrier = {}


class Span:
    """What is told of one step; of this very class where nobody is told.

    Once it is entered, it is the parent of all spans that begin until it is left. An exception that leaves it
    is its error.
    """

    __slots__ = ()
    #: False where whatever is added is dropped: it need not be found out then.
    is_on = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def add(self, facts: Facts) -> None:
        """Add attributes; those that are None are left out."""

    def fail(self, kind: str) -> None:
        """Say that it failed: ``kind`` is the attribute ``error.type``."""

    def link(self, carrier: Carrier) -> None:
        """Link it to the span of ``carrier``, if that names one."""

    def carrier(self) -> Carrier:
        """Its context; empty where there is none."""
        return NOWHERE


_OFF = Span()


class _Recorded(Span):
    __slots__ = ("_span", "_token")
    is_on = True

    def __init__(self, span: ApiSpan) -> None:
        self._span = span

    def __enter__(self) -> Self:
        from opentelemetry import context, trace

        self._token = context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        from opentelemetry import context

        if kind is not None:
            # Its words are left out: they may be anybody's, and show a credential.
            self.fail(kind.__qualname__)
        context.detach(self._token)
        self._span.end()

    def add(self, facts: Facts) -> None:
        self._span.set_attributes(_known(facts))

    def fail(self, kind: str) -> None:
        from opentelemetry.trace import Status, StatusCode

        self._span.set_attribute("error.type", kind)
        self._span.set_status(Status(StatusCode.ERROR))

    def link(self, carrier: Carrier) -> None:
        from opentelemetry import trace

        named = trace.get_current_span(_context(carrier)).get_span_context()
        if named.is_valid:
            self._span.add_link(named)

    def carrier(self) -> Carrier:
        from opentelemetry.trace import set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        found: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(found, set_span_in_context(self._span))
        return found


def span(
    name: str,
    facts: Callable[[], Facts] | None = None,
    *,
    kind: Kind = "internal",
    parent: Carrier | None = None,
) -> Span:
    """Begin a span with the attributes ``facts``, to be entered at once.

    It is a child of the one that runs here; where ``parent`` is given, it is a child of that, and linked to
    it. ``name`` must be one of few: what is asked for belongs into the attributes.
    """
    found = tracer()
    if found is None:
        return _OFF
    from opentelemetry.trace import SpanKind

    context = None if parent is None else _context(parent)
    known = _known(facts()) if facts is not None else None
    begun = _Recorded(found.start_span(name, context, SpanKind[kind.upper()], known))
    if parent is not None:
        begun.link(parent)
    return begun


def carrier() -> Carrier:
    """The context of the span that runs; empty where none does."""
    return _running().carrier()


def carrier_in(options: Mapping[str, Any]) -> Carrier:
    """The carrier among ``options``, which anybody may have written."""
    found = {name: options.get(name) for name in _PARTS}
    return {
        name: value for name, value in found.items() if isinstance(value, str) and len(value) <= _PARTS[name]
    }


def carrier_of(element: bytes) -> Carrier:
    """The carrier of which ``element`` is the traceparent, which anybody may have written."""
    return carrier_in({"traceparent": element.decode(errors="replace")})


def link(carrier: Carrier) -> None:
    """Link the span that runs to that of ``carrier``."""
    _running().link(carrier)


def carried(work: Callable[[], Coroutine[Any, Any, T]]) -> Callable[[], Coroutine[Any, Any, T]]:
    """``work``, as a child of the span that runs now, wherever and whenever it is done."""
    if tracer() is None:
        return work
    from opentelemetry import context

    here = context.get_current()

    async def go_on() -> T:
        token = context.attach(here)
        try:
            return await work()
        finally:
            context.detach(token)

    return go_on


def ids() -> dict[str, str]:
    """``trace_id`` and ``span_id`` of the span that runs, as hexadecimal digits; empty where none does."""
    api = sys.modules.get(_API)
    if api is None:
        return {}
    context = api.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


_API = "opentelemetry.trace"
_UNKNOWN = object()
#: What was set as the provider when it was last looked up, and its tracer: None where it records nothing.
_last: tuple[object, Tracer | None] = (_UNKNOWN, None)


@boundary("tracer")
def tracer() -> Tracer | None:
    """The tracer of the program's provider; None where it has none."""
    api = sys.modules.get(_API)
    if api is None:
        return None
    # The public function reads the environment each time, which would take longer than a hit from memory.
    is_set = getattr(api, "_TRACER_PROVIDER", _UNKNOWN)
    known, found = _last
    return found if is_set is known and known is not _UNKNOWN else _look_up(api)


def _look_up(api: ModuleType) -> Tracer | None:
    global _last
    # Another thread may be amid its import.
    get_provider = getattr(api, "get_tracer_provider", None)
    if get_provider is None:
        return None
    provider: TracerProvider = get_provider()
    from tbcache.models.version import __version__

    is_none = isinstance(provider, (api.ProxyTracerProvider, api.NoOpTracerProvider))
    found = None if is_none else provider.get_tracer("tbcache", __version__, SCHEMA)
    _last = getattr(api, "_TRACER_PROVIDER", _UNKNOWN), found
    return found


def _running() -> Span:
    if tracer() is None:
        return _OFF
    from opentelemetry.trace import get_current_span

    return _Recorded(get_current_span())


def _context(carrier: Carrier) -> Context:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract(carrier)


def _known(facts: Facts) -> dict[str, str | int | float | bool]:
    return {name: value for name, value in facts.items() if value is not None}
