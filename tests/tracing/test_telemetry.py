"""How our own processes are told where their spans go."""

from __future__ import annotations

import logging
import re
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry import trace
from starlette.testclient import TestClient

from tbcache.api import create_app
from tbcache.settings import Settings, telemetry
from tbcache.settings.telemetry import exporter_name, tracing
from tests.server import Server
from tests.tracing.conftest import Collector, Memory

ROOT = Path(__file__).parents[2]
OTLP = "OTEL_EXPORTER_OTLP"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "none"),
        ({f"{OTLP}_ENDPOINT": " "}, "none"),
        ({f"{OTLP}_ENDPOINT": "http://c:4318"}, "otlp-http"),
        ({f"{OTLP}_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, "otlp-http"),
        ({f"{OTLP}_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, "none"),
        ({f"{OTLP}_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "True"}, "none"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_TRACES_EXPORTER": "otlp", f"{OTLP}_PROTOCOL": "grpc"}, "otlp-grpc"),
        (
            {
                "OTEL_TRACES_EXPORTER": "otlp",
                f"{OTLP}_TRACES_PROTOCOL": "http/protobuf",
                f"{OTLP}_PROTOCOL": "grpc",
            },
            "otlp-http",
        ),
    ],
)
def test_the_variables_say_how_spans_are_exported(variables: dict[str, str], expected: str) -> None:
    """They are OpenTelemetry's, and mean here what they mean elsewhere."""
    assert exporter_name(variables) == expected


def test_the_containers_are_given_the_variables_of_the_page() -> None:
    """Whoever sets one in the shell or in `.env` expects it to count, but for a service's name."""
    page = (ROOT / "docs" / "tracing.md").read_text("utf-8")
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    given = {name for name in compose["x-environment"] if name.startswith("OTEL_")}
    assert set(re.findall(r"`(OTEL_\w+)`", page)) == given | {"OTEL_SERVICE_NAME"}


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER='zipkin' is not otlp, console or none"),
        (
            {f"{OTLP}_PROTOCOL": "http/json"},
            "_PROTOCOL='http/json' is not http/protobuf or grpc",
        ),
        ({f"{OTLP}_PROTOCOL": "grpc"}, "grpc needs opentelemetry-exporter-otlp-proto-grpc"),
        ({}, "sending spans needs opentelemetry.sdk: pip install 'tbcache[otel]'"),
    ],
)
def test_what_cannot_be_sent_is_a_warning_and_the_process_goes_on(
    variables: dict[str, str], reason: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A variable that is set for all containers of a cluster must not stop ours."""
    if not variables:
        monkeypatch.setitem(sys.modules, "opentelemetry", None)
        monkeypatch.delitem(sys.modules, "opentelemetry.sdk")
    for name, value in {f"{OTLP}_ENDPOINT": "http://127.0.0.1:1", **variables}.items():
        monkeypatch.setenv(name, value)
    with caplog.at_level(logging.WARNING, "tbcache.trace"), tracing("worker"):
        pass
    (record,) = caplog.records
    said: Any = record
    assert (said.msg, reason in said.reason) == ("trace.not_sent", True), said.reason


def test_a_process_sends_its_last_spans_as_it_ends(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a deployment stops was mostly doing something. The name of the service is the user's to choose."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", type(trace._TRACER_PROVIDER_SET_ONCE)())
    monkeypatch.setenv("OTEL_SERVICE_NAME", "news-desk")
    for name, value in {**collector.variables, "OTEL_BSP_SCHEDULE_DELAY": "60000"}.items():
        monkeypatch.setenv(name, value)
    with tracing("api"):
        trace.get_tracer("x").start_span("last").end()
        assert collector.all() == []
    assert collector.one("last").process[0] == "news-desk"


def test_a_provider_that_is_there_is_kept(spans: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """`opentelemetry-instrument` has set one: a second one would be refused, with a warning."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    with tracing("worker"):
        assert trace.get_tracer_provider() is spans.provider


def test_a_collector_that_does_not_answer_holds_up_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that takes too long to stop is killed, with all that it still had to do."""
    answered = threading.Event()

    class Provider:
        def shutdown(self) -> None:
            answered.wait(100)

    monkeypatch.setattr(telemetry, "STOP_SECONDS", 0.01)
    telemetry._stop(Provider())  # type: ignore[arg-type]
    assert not answered.is_set()
    answered.set()


def test_a_request_to_the_api_is_a_span_in_the_trace_of_who_asks(spans: Memory, server: Server) -> None:
    """From a bot in another language on, all that comes of it is one trace. What machines ask is left out."""
    trace_id, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    app = create_app(Settings.load({"REDIS_URL": server.url}))
    with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 1)) as client:
        client.get("/healthz")
        client.get("/api/monitoring/status", headers={"traceparent": f"00-{trace_id}-{parent}-01"})
    (asked,) = [one for one in spans.all() if one.kind == "SERVER"]
    assert (asked.trace_id, asked.parent, asked.name) == (trace_id, parent, "GET /api/monitoring/status")
