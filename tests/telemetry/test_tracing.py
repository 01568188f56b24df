"""Trace context and OTLP, held to OpenTelemetry's own classes; what is kept, and what it costs to keep nothing."""

from __future__ import annotations

import asyncio
import json
import random
import time
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from local.collector import Collector, spans
from tests.fakes import START, FakeClock, LedgerGateway, payment
from workers.config import TracingConfig
from workers.domain.outcomes import Confirmed, Unknown
from workers.domain.policy import Policy
from workers.domain.ports import Move
from workers.domain.transitions import Answer, Claim, decide
from workers.service.traces import Traces
from workers.stores.common import arrived
from workers.telemetry import Telemetry
from workers.tracing import (
    Context,
    Kind,
    Span,
    Value,
    calling,
    encode,
    new_id,
    samples,
    send,
    trace_headers,
    trace_id,
)
from workers.watch import MOST_SPANS, Watch, WatchedGateway

TELEMETRY = Telemetry("ns", "fargate", "fargate", "dev")
CONTEXT = Context("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")


def watch(sampling: float = 0.0) -> Watch:
    return Watch(TELEMETRY, FakeClock(), "w", sampling)


def held(id_: str = "p-1", attempt: int = 1) -> tuple[Watch, Move]:
    record = decide(arrived(payment(id_), START), Claim("t", "w"), START, Policy())._replace(attempt=attempt)
    after = decide(record, Answer(Confirmed("r", record.amount, "USD"), "w"), START, Policy())
    return watch(), Move(record, after)


# --- context


def test_a_transaction_has_one_trace_wherever_it_is_looked_at() -> None:
    one = payment("p-1")
    assert trace_id(one) == trace_id(one._replace(attempt=4, token="x", account="other"))
    assert trace_id(one) != trace_id(payment("p-2"))
    assert int(trace_id(one)[:8], 16) == START.timestamp(), "X-Ray's ids begin with the second"


def test_opentelemetry_reads_our_header() -> None:
    carrier = {"traceparent": str(CONTEXT)}
    seen = trace.get_current_span(TraceContextTextMapPropagator().extract(carrier)).get_span_context()
    assert (f"{seen.trace_id:032x}", f"{seen.span_id:016x}", seen.trace_flags.sampled) == CONTEXT


def test_we_read_opentelemetrys_header_and_no_nonsense() -> None:
    assert Context.read(str(CONTEXT)) == CONTEXT
    assert Context.read(str(CONTEXT._replace(sampled=False))) == CONTEXT._replace(sampled=False)
    assert [Context.read(text) for text in ("", "01-x", str(CONTEXT).upper())] == [None, None, None]


@pytest.mark.parametrize(
    ("header", "context"),
    [
        (
            "Root=1-67891233-abcdef012345678912345678;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=1:fc:0",
            Context("67891233abcdef012345678912345678", "53995c3f42cd8ad8", sampled=True),
        ),
        ("Root=1-67891233-abcdef012345678912345678", None),
        ("", None),
    ],
)
def test_lambdas_header_is_read(header: str, context: Context | None) -> None:
    assert Context.of_lambda({"_X_AMZN_TRACE_ID": header}) == context


def test_sampling_decides_as_opentelemetry_does() -> None:
    chance = random.Random(1)
    for share in (0.0, 0.01, 0.3, 1.0):
        theirs = TraceIdRatioBased(share)
        for _ in range(300):
            id_ = f"{chance.getrandbits(128):032x}"
            kept = theirs.should_sample(None, int(id_, 16), "x").decision is Decision.RECORD_AND_SAMPLE
            assert samples(id_, share) is kept


# --- OTLP


def test_opentelemetry_reads_our_spans() -> None:
    attributes: dict[str, Value] = {
        "tx": "p-1\u00e9", "n": -3, "big": 2**40, "share": 0.5, "yes": True, "list": ("a", "b"),
    }  # fmt: skip
    span = Span(
        *(CONTEXT.trace, CONTEXT.span, "00f067aa0ba902b7", "gateway confirm", 1_700_000_000_123_456_789, 2**63),
        Kind.CLIENT,
        attributes,
        *("it broke", (Context("a" * 32, "b" * 16),)),
    )
    first, second = spans(encode([span, span._replace(parent="", error="", links=())], {"service.name": "s"}))
    assert first == {
        "trace": CONTEXT.trace,
        "id": CONTEXT.span,
        "parent": "00f067aa0ba902b7",
        "name": "gateway confirm",
        "kind": 3,
        "start": 1_700_000_000_123_456_789,
        "end": 2**63,
        "attributes": {"tx": "p-1\u00e9", "n": -3, "big": 2**40, "share": 0.5, "yes": True, "list": ["a", "b"]},
        "error": "it broke",
        "links": [{"trace": "a" * 32, "id": "b" * 16}],
        "resource": {"service.name": "s"},
    }
    assert (second["parent"], second["error"], second["links"]) == ("", "", [])


def taken(collector: Collector, count: int) -> int:
    until = time.monotonic() + 30
    while True:
        lines = collector.file.read_text().splitlines() if collector.file.exists() else []
        if len(lines) >= count or time.monotonic() > until:
            return len({json.loads(line)["id"] for line in lines})
        time.sleep(0.02)


def some(count: int) -> list[Span]:
    why = "unknown: " + "no complete answer within 10 s " * 3
    return [Span("a" * 32, new_id(), new_id(), "confirm", 1, 2, Kind.SERVER, {"why": why}, why) for _ in range(count)]


def test_a_lambda_hands_its_spans_to_the_daemon(tmp_path: Path) -> None:
    collector = Collector(tmp_path / "spans.jsonl").start()
    assert send(some(90), {}, f"127.0.0.1:{collector.port}") == 90
    assert taken(collector, 90) == 90
    collector.stop()
    assert send(some(1), {}, "") == 0, "no daemon, no error"


def test_the_service_posts_its_spans_and_tells_once_what_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    collector = Collector(tmp_path / "spans.jsonl").start()
    seen = watch()
    seen.spans.extend(some(MOST_SPANS + 7))
    assert len(seen.spans) == MOST_SPANS, "memory is bounded"

    async def work() -> None:
        traces = Traces(TracingConfig(0, "s", f"http://127.0.0.1:{collector.port}"), seen, FakeClock())
        await traces.send()
        assert taken(collector, MOST_SPANS) == MOST_SPANS
        collector.stop()
        await traces.close()
        traces = Traces(TracingConfig(0, "s", f"http://127.0.0.1:{collector.port}"), seen, FakeClock())
        for _ in range(2):
            seen.spans.extend(some(1))
            await traces.send()
        await traces.close()

    asyncio.run(work())
    lost = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lost] == ["traces lost"]


# --- what is kept


def test_a_call_carries_its_trace_and_nothing_outlives_it() -> None:
    seen: list[dict[str, str]] = []

    class Gateway(LedgerGateway):
        async def confirm(self, transaction, key):  # type: ignore[no-untyped-def]
            seen.append(trace_headers())
            return await super().confirm(transaction, key)

    watching, move = held()
    asyncio.run(WatchedGateway(Gateway(), watching).confirm(move.before, "p-1"))
    [headers] = seen
    context = Context.read(headers["traceparent"])
    assert context is not None
    assert (context.trace, context.sampled) == (trace_id(move.before), False)
    assert calling.get() is None
    assert trace_headers() == {}


def test_of_what_went_well_and_is_not_sampled_nothing_is_kept() -> None:
    watching, move = held()
    asyncio.run(WatchedGateway(LedgerGateway(), watching).confirm(move.before, "p-1"))
    watching.settled([move], [True], 0)
    assert (watching.take(), watching.kept, watching._calls) == ([], 0, {})


def test_a_second_attempt_is_kept_and_so_is_a_wrong_amount_and_a_defect() -> None:
    for attempt, gateway in (
        (2, LedgerGateway()),
        (1, LedgerGateway(script=lambda *_: (True, Confirmed("r", 1, "USD")))),
        (1, LedgerGateway(script=lambda *_: (True, Unknown("timed out")))),
    ):
        watching, move = held(attempt=attempt)
        asyncio.run(WatchedGateway(gateway, watching).confirm(move.before, "p-1"))
        watching.settled([move], [True], 0)
        assert [span.name for span in watching.take()][:2] == ["confirm", "gateway confirm"]
        assert watching._calls == {}, "what is told is forgotten"

    class Broken(LedgerGateway):
        async def confirm(self, transaction, key):  # type: ignore[no-untyped-def]
            raise KeyError("4111111111111111")

    watching, move = held()
    with pytest.raises(KeyError):
        asyncio.run(WatchedGateway(Broken(), watching).confirm(move.before, "p-1"))
    watching.settled([move], [True], 0)
    assert [span.error for span in watching.take() if span.kind is Kind.CLIENT] == ["KeyError"]


@pytest.mark.parametrize(
    ("sampled", "kept", "error", "told"),
    [(False, 0, "", 0), (True, 0, "", 1), (False, 1, "", 1), (False, 0, "StoreError", 1)],
)
def test_a_batch_is_told_when_it_is_sampled_failed_or_holds_something(
    sampled: bool, kept: int, error: str, told: int
) -> None:
    watching = watch()
    watching.here, watching.kept = Context("a" * 32, "b" * 16, sampled), kept
    watching.whole("batch", 1, {"claimed": 3}, error=error)
    assert len(watching.take()) == told
