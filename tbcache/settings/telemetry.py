"""Where the spans of our own processes go, as OpenTelemetry's own variables say.

``tbcache api``, ``worker`` and ``scheduler`` make a tracer provider where ``OTEL_EXPORTER_OTLP_ENDPOINT``,
``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`` or ``OTEL_TRACES_EXPORTER`` is set. Headers, timeouts, sampling,
batches and the resource follow the variables that the SDK reads itself. A bot sets a provider of its own.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tbcache.io.background import BackgroundThread
from tbcache.io.log import get_logger
from tbcache.io.trace import tracer
from tbcache.models.error import MissingExtra
from tbcache.models.extra import has, need
from tbcache.models.version import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

log = get_logger("tbcache.trace")

#: For so long a process that ends waits for its last spans to be taken.
STOP_SECONDS = 3.0
_GRPC = "opentelemetry.exporter.otlp.proto.grpc"


@contextmanager
def tracing(role: str) -> Iterator[None]:
    """Meanwhile, the spans of this process are sent, if that is asked for; the last of them at the end.

    ``role`` is the part of ``service.name`` after ``tbcache-``, which a variable may say otherwise. Where
    they cannot be sent, one warning says so, and the process does its work.
    """
    try:
        provider = _provider(role, os.environ)
    except (ValueError, MissingExtra) as error:
        log.warning("trace.not_sent", reason=str(error))
        provider = None
    try:
        yield
    finally:
        if provider is not None:
            _stop(provider)


def exporter_name(variables: Mapping[str, str]) -> str:
    """How spans are to be exported: ``otlp-http``, ``otlp-grpc``, ``console``, or ``none``."""
    if variables.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return "none"
    places = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    is_placed = any(variables.get(name, "").strip() for name in places)
    name = variables.get("OTEL_TRACES_EXPORTER", "").strip() or ("otlp" if is_placed else "none")
    if name in ("console", "none"):
        return name
    if name != "otlp":
        raise ValueError(f"OTEL_TRACES_EXPORTER={name!r} is not otlp, console or none")
    protocols = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    protocol = next(filter(None, (variables.get(name, "").strip() for name in protocols)), "http/protobuf")
    if protocol not in ("http/protobuf", "grpc"):
        raise ValueError(f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol!r} is not http/protobuf or grpc")
    return "otlp-grpc" if protocol == "grpc" else "otlp-http"


def _provider(role: str, variables: Mapping[str, str]) -> TracerProvider | None:
    """The provider that is made and set; None where nothing is to be exported, or there is one already."""
    name = exporter_name(variables)
    if name == "none" or tracer() is not None:
        return None
    need("sending spans", "opentelemetry.sdk", otherwise="unset OTEL_EXPORTER_OTLP_ENDPOINT")
    from opentelemetry import trace
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter = _exporter(name)
    ours = Resource.create({"service.name": f"tbcache-{role}", "service.version": __version__})
    provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return provider


def _exporter(name: str) -> SpanExporter:
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        # Standard output is for what a command prints.
        return ConsoleSpanExporter(out=sys.stderr)
    if name == "otlp-http":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter()
    if not has(_GRPC):
        raise ValueError("OTEL_EXPORTER_OTLP_PROTOCOL=grpc needs opentelemetry-exporter-otlp-proto-grpc")
    from importlib import import_module

    grpc: SpanExporter = import_module(f"{_GRPC}.trace_exporter").OTLPSpanExporter()
    return grpc


def _stop(provider: TracerProvider) -> None:
    # A collector that does not answer is tried again for longer than a container may take to stop.
    is_over = threading.Event()

    def step() -> None:
        provider.shutdown()
        is_over.set()

    BackgroundThread("tbcache-last-spans", step).start()
    is_over.wait(STOP_SECONDS)
