"""Where the spans of a test go: into memory, or to a collector on a port of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Sent
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode


@dataclass(frozen=True)
class Seen:
    """A span, however it came here. ``process`` is which of several has sent it."""

    trace_id: str
    id: str
    parent: str
    name: str
    kind: str
    facts: dict[str, Any]
    links: tuple[str, ...]
    is_error: bool
    process: tuple[str, str] = ("", "")


class Spans:
    """Spans that have ended."""

    def all(self) -> list[Seen]:
        raise NotImplementedError

    def named(self, name: str) -> list[Seen]:
        return [one for one in self.all() if one.name == name]

    def one(self, name: str) -> Seen:
        (found,) = self.named(name)
        return found


class Memory(Spans):
    """Those of this process."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("bot")

    def all(self) -> list[Seen]:
        return [_seen(one) for one in self._exporter.get_finished_spans()]


class Collector(Spans):
    """What OTLP over HTTP brings from any process."""

    def __init__(self) -> None:
        self._spans: list[Seen] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        #: For a process that is to send its spans here, as soon as each has ended.
        self.variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self._server.server_port}",
            "OTEL_BSP_SCHEDULE_DELAY": "20",
        }

    def all(self) -> list[Seen]:
        return list(self._spans)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        spans = self._spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                for batch in ExportTraceServiceRequest.FromString(body).resource_spans:
                    resource = _facts(batch.resource.attributes)
                    process = (resource["service.name"], resource["service.instance.id"])
                    spans.extend(_sent(one, process) for scope in batch.scope_spans for one in scope.spans)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                return

        return Handler


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Memory:
    """This process has a provider meanwhile, as if a bot had set one."""
    memory = Memory()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", memory.provider)
    return memory


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


def _seen(span: ReadableSpan) -> Seen:
    context = cast(trace.SpanContext, span.context)
    return Seen(
        trace_id=trace.format_trace_id(context.trace_id),
        id=trace.format_span_id(context.span_id),
        parent="" if span.parent is None else trace.format_span_id(span.parent.span_id),
        name=span.name,
        kind=span.kind.name,
        facts=dict(span.attributes or {}),
        links=tuple(trace.format_span_id(link.context.span_id) for link in span.links),
        is_error=span.status.status_code is StatusCode.ERROR,
    )


def _sent(span: Sent, process: tuple[str, str]) -> Seen:
    return Seen(
        trace_id=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        name=span.name,
        # OTLP counts from 1.
        kind=SpanKind(span.kind - 1).name,
        facts=_facts(span.attributes),
        links=tuple(link.span_id.hex() for link in span.links),
        is_error=span.status.code == Status.STATUS_CODE_ERROR,
        process=process,
    )


def _facts(pairs: Any) -> dict[str, Any]:
    found: list[KeyValue] = list(pairs)
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in found}
