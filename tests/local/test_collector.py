"""Lambdas and tasks of the local AWS find the collector as they find X-Ray's daemon and their own collector on AWS."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest

from components.artifact import build
from local.collector import Collector
from local.emulator import Emulator
from local.overlay import ecs_tasks

HANDLER = """
import asyncio
import os

from workers.clock import SystemClock
from workers.collector import Collector
from workers.telemetry import Telemetry
from workers.tracing import Context, Span, new_id, send

def handle(event, context):
    segment = Context.of_lambda()
    spans = [Span(segment.trace, new_id(), segment.span, "batch", 1, 2)]
    if endpoint := os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        telemetry = Telemetry("ns", "serverless", "serverless", "dev")
        asyncio.run(Collector(endpoint, 60, {"service.name": "layer"}, telemetry, SystemClock()).send(spans, "r"))
        return 1
    return send(spans, {"service.name": "daemon"})
"""


def test_a_lambda_s_span_arrives_in_the_trace_that_lambda_named(tmp_path: Path) -> None:
    """By the daemon, and by the collector that stands for the one in a layer."""
    collector = Collector(tmp_path / "spans.jsonl").start()
    code = build(target=tmp_path / "code.zip")
    with zipfile.ZipFile(code, "a") as archive:
        archive.writestr("handler.py", HANDLER)
    with Emulator(tmp_path / "aws", persist=False, collector=collector.port) as emulator:
        client = emulator.client("lambda")
        for name, variables in (("daemon", {}), ("layer", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"})):
            client.create_function(
                FunctionName=name,
                Runtime="python3.13",
                Handler="handler.handle",
                Role="arn:aws:iam::000000000000:role/x",
                Code={"ZipFile": code.read_bytes()},
                TracingConfig={"Mode": "Active"},
                Environment={"Variables": variables},
                Timeout=60,
            )
            assert client.invoke(FunctionName=name)["Payload"].read() == b"1"
    until = time.monotonic() + 60
    while not (collector.file.exists() and collector.file.read_text().count("\n") == 2):
        assert time.monotonic() < until, "a span is missing"
        time.sleep(0.05)
    collector.stop()
    spans = [json.loads(line) for line in collector.file.read_text().splitlines()]
    assert {span["resource"]["service.name"] for span in spans} == {"daemon", "layer"}
    for span in spans:
        assert (span["name"], len(span["trace"]), len(span["parent"])) == ("batch", 32, 16)


def test_a_task_sends_to_the_collector_that_stands_for_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    own = ecs_tasks.environment(given, {}, tmp_path, "000000000000", "us-east-1")
    assert own["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://127.0.0.1:4318"
    monkeypatch.setenv(ecs_tasks.COLLECTOR, "http://127.0.0.1:9")
    own = ecs_tasks.environment(given, {}, tmp_path, "000000000000", "us-east-1")
    assert own["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://127.0.0.1:9"
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" not in ecs_tasks.environment({}, {}, tmp_path, "000000000000", "us-east-1")


def test_what_is_no_trace_is_refused(tmp_path: Path) -> None:
    collector = Collector(tmp_path / "spans.jsonl").start()
    request = urllib.request.Request(
        f"http://127.0.0.1:{collector.port}/v1/traces", b"nonsense", {"Content-Type": "application/x-protobuf"}
    )
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.sendto(b"nonsense", ("127.0.0.1", collector.port))
    until = time.monotonic() + 30
    while collector.refused < 2:
        assert time.monotonic() < until
        time.sleep(0.02)
    collector.stop()
    assert not collector.file.exists()
