"""Every line of both alternatives keeps to docs/log.schema.json; nothing that leaves them holds a secret; each saved
query, run over the lines, finds what its question asks for."""

from __future__ import annotations

import json
import logging
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from components.queries import NOT_TRIED, TRANSACTION, TROUBLES, Query
from components.queries import QUERIES as SAVED
from local.processes import ROOT
from tests.desk.people import BY_PEOPLE
from tests.telemetry.insights import rows
from tests.telemetry.secrets import found
from tests.telemetry.worlds import SAMPLING, World
from workers.domain import causes
from workers.domain.causes import UNTRIED, Cause
from workers.telemetry import Telemetry, failures_logged
from workers.tracing import Context, samples, trace_id

SCHEMA = json.loads((ROOT / "docs" / "log.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)


def kind(line: dict[str, Any]) -> str:
    return "metrics" if "_aws" in line else str(line.get("event", "change"))


def test_each_line_keeps_to_the_schema(world: World) -> None:
    Draft202012Validator.check_schema(SCHEMA)
    for line in world.lines:
        problems = [error.message for error in VALIDATOR.iter_errors(line)]
        assert not problems, (line, problems)
    kinds = Counter(map(kind, world.lines))
    expected = {"change", "metrics", "failed", "lost fence"}
    assert expected <= set(kinds), kinds
    if world.alternative == "fargate":
        assert {"started", "stopping", "stopped"} <= set(kinds)


def test_a_field_that_nobody_agreed_on_is_refused(world: World) -> None:
    line = next(line for line in world.lines if kind(line) == "change")
    assert VALIDATOR.is_valid(line)
    assert not VALIDATOR.is_valid({**line, "account": "acct-1"})
    assert not VALIDATOR.is_valid({**line, "status": "DONE"})


def test_one_transaction_one_trace(world: World) -> None:
    traces: dict[str, set[str]] = {}
    for line in world.lines:
        if "tx" in line and "trace" in line:
            traces.setdefault(line["tx"], set()).add(line["trace"])
    assert len(traces) > 20
    assert {len(ids) for ids in traces.values()} == {1}
    assert len({id_ for ids in traces.values() for id_ in ids}) == len(traces)
    for line in world.lines:
        if kind(line) == "change" and not (line["status"] in ("CONFIRMED", "REJECTED") and line["attempt"] == 1):
            assert "trace" in line, line


def test_every_transaction_s_end_is_told(world: World) -> None:
    ends = {line["tx"]: line["status"] for line in world.lines if kind(line) == "change"}
    assert set(ends) == {record.id for record in world.records} - {"lost-1"}
    [lost] = [line for line in world.lines if kind(line) == "lost fence"]
    assert (lost["tx"], lost["attempt"]) == ("lost-1", 1)
    assert ends["amount-1"] == ends["late-1"] == "REVIEW"
    assert {ends[id_] for id_ in ends if id_.startswith("no-")} == {"REJECTED"}
    assert {ends[id_] for id_ in ends if id_.startswith(("ok-", "slow-"))} == {"CONFIRMED"}


def test_what_took_long_says_how_long(world: World) -> None:
    slow = [line for line in world.lines if kind(line) == "change" and "ms" in line]
    assert "slow-1" in {line["tx"] for line in slow}
    assert all(line["ms"] >= 500 for line in slow)


def test_no_secret_leaves(world: World) -> None:
    assert len(world.secrets) > 50
    for piece in [*world.log.splitlines(), *world.documents, *map(json.dumps, world.spans)]:
        leaked = found(world.secrets, piece)
        assert not leaked, ([(secret.kind, secret.text) for secret in leaked], piece)


def test_the_secrets_did_come_in(world: World) -> None:
    """Else none could leave: the gateway had said them, and they are the accounts in the store."""
    accounts = [record.account for record in world.records if record.id.startswith(("no-", "ok-", "odd-", "text-"))]
    assert len(found(world.secrets, "\n".join(accounts))) == len(world.secrets) - 1
    whys = [line["why"] for line in world.lines if kind(line) == "change" and line["status"] == "REJECTED"]
    assert any("[" in why or "x" in why for why in whys), "no refusal was redacted"


@pytest.mark.parametrize("error", ["RuntimeError", "ConfigError"])
def test_a_failure_says_what_and_where(world: World, error: str) -> None:
    failures = [line for line in world.lines if kind(line) == "failed" and line["error"] == error]
    if (world.alternative, error) in {("serverless", "ConfigError"), ("fargate", "RuntimeError")}:
        assert not failures
        return
    assert failures
    assert all(line["where"] and line["why"] for line in failures)


# --- traces


def test_a_sampled_transaction_has_its_whole_trace_and_another_none(world: World) -> None:
    share = float(SAMPLING)
    plain = {line["tx"] for line in changes(world)} - {line["tx"] for line in changes(world) if "trace" in line}
    sampled = {record.id for record in world.records if samples(trace_id(record), share)}
    assert sampled & plain
    assert plain - sampled
    for id_ in plain:
        names = [span["name"] for span in world.spans_of(id_)]
        whole = ["transaction", "confirm", "claim", "gateway confirm", "settle"]
        assert names == (whole if id_ in sampled else []), id_


def test_whatever_met_trouble_has_its_trace(world: World) -> None:
    troubled = {line["tx"] for line in changes(world) if "trace" in line and line["cause"] not in UNTRIED}
    assert len(troubled) > 10
    for id_ in troubled:
        spans = world.spans_of(id_)
        assert [span for span in spans if span["error"]], id_
        attempts = [span for span in spans if span["name"] == ("claim" if id_ == "late-1" else "confirm")]
        told = [line for line in changes(world) if line["tx"] == id_ and line["cause"] not in UNTRIED]
        shown = [span["attributes"]["status"] for span in attempts]
        assert [line["status"] for line in told if "trace" in line] == shown[: sum("trace" in line for line in told)]
        for span in attempts:
            assert bool(span["error"]) is (span["attributes"]["status"] in ("PENDING", "REVIEW")), span


def test_what_a_claim_sends_to_a_desk_is_told_as_any_other_change(world: World) -> None:
    [line] = [line for line in changes(world) if line["tx"] == "late-1"]
    assert (line["status"], line["attempt"]) == ("REVIEW", 0)
    assert (line["cause"], line["why"]) == ("deadline-passed", "deadline passed before it could be sent")
    whole, claim = world.spans_of("late-1")
    assert (whole["name"], claim["name"], claim["parent"]) == ("transaction", "claim", whole["id"])
    assert whole["error"] == claim["error"] == line["why"]
    told = sum(line["status"] == "REVIEW" for line in changes(world))
    assert sum(line.get("Review", 0) for line in world.lines) == told


def test_a_lost_fence_has_its_trace(world: World) -> None:
    [attempt] = [span for span in world.spans_of("lost-1") if span["name"] == "confirm"]
    assert attempt["error"].startswith("lost fence")


def test_spans_hang_together(world: World) -> None:
    ids = {(span["trace"], span["id"]) for span in world.spans}
    assert len(ids) == len(world.spans), "an id twice"
    for span in world.spans:
        root = span["name"] in ("transaction", "run")
        assert root is (span["parent"] == ""), span
        assert span["start"] <= span["end"]
        if span["name"] in ("claim", "settle", "gateway confirm", "gateway ask"):
            assert (span["trace"], span["parent"]) in ids, span
        if span["name"] == "confirm":
            assert all((link["trace"], link["id"]) in ids for link in span["links"]), span
            assert span["links"], span
    names = {span["name"] for span in world.spans}
    batches = {"run", "batch", "report"} if world.alternative == "serverless" else {"run"}
    assert names == batches | {"transaction", "confirm", "claim", "gateway confirm", "gateway ask", "settle"}


def test_the_worker_s_spans_are_in_the_trace_of_its_run(world: World) -> None:
    runs = {span["trace"]: span["id"] for span in world.spans if span["name"] == "run"}
    own = [span for span in world.spans if span["name"] in ("plan", "batch", "report")]
    assert {runs[span["trace"]] for span in own} == {span["parent"] for span in own}
    if world.alternative == "serverless":
        assert set(runs) == {"67891233abcdef012345678912345678"}, "not in the state machine's trace"
    services = {span["resource"]["service.name"] for span in world.spans}
    assert services == {"confirm-transactions"}


def test_the_gateway_is_told_the_trace(world: World) -> None:
    by_id = {record.id: trace_id(record) for record in world.records}
    spans = {span["id"]: span for span in world.spans}
    assert world.calls
    for id_, headers in world.calls:
        context = Context.read(headers["traceparent"])
        assert context is not None
        assert context.trace == by_id[id_]
        assert context.sampled is samples(context.trace, float(SAMPLING))
        if context.sampled:
            assert spans[context.span]["name"] in ("gateway confirm", "gateway ask")


# --- the saved queries

QUERIES = {query.name: query for query in SAVED}


def ask(world: World, name: str, **places: str) -> list[dict[str, Any]]:
    text = QUERIES[name].text
    for place, value in places.items():
        assert place in text
        text = text.replace(place, value)
    return rows(text, world.log.splitlines())


def changes(world: World) -> list[dict[str, Any]]:
    return [line for line in world.lines if "tx" in line and "event" not in line]


def test_what_happened_to_one_transaction(world: World) -> None:
    id_ = next(line["tx"] for line in changes(world) if line["tx"].startswith("odd-") and line["status"] == "PENDING")
    told = ask(world, "transaction", **{TRANSACTION: id_})
    assert [line["status"] for line in told] == ["PENDING", "CONFIRMED"]
    assert [line["attempt"] for line in told][-1] in (1, 2)
    assert told[0]["trace"] == told[1].get("trace", told[0]["trace"])
    [lost] = ask(world, "transaction", **{TRANSACTION: "lost-1"})
    assert lost["event"] == "lost fence"


def test_what_failed_and_why(world: World) -> None:
    counted = Counter(
        (line["status"], line["cause"], line.get("why"))
        for line in changes(world)
        if line["status"] != "CONFIRMED" and line["cause"] not in UNTRIED
    )
    told = ask(world, "failures")
    assert {(row["status"], row["cause"], row.get("why")): row["times"] for row in told} == counted
    assert [row["times"] for row in told] == sorted(counted.values(), reverse=True)


def test_the_gateways_errors_by_kind(world: World) -> None:
    kinds = {(row["cause"], row["why"]) for row in ask(world, "gateway-errors")}
    assert {
        ("not-done", "gateway answered 400"),
        ("throttled", "gateway's rate limit (429)"),
        ("unknown-outcome", "unknown: gateway answered 500"),
    } <= kinds
    assert "amount-mismatch" in {cause for cause, _ in kinds}, "the wrong amount is the gateway's error too"
    assert not {cause for cause, _ in kinds} & UNTRIED


def test_queries_speak_of_causes_that_there_are() -> None:
    assert set(json.loads(NOT_TRIED)) == UNTRIED
    assert set(json.loads(TROUBLES)) == causes.TROUBLES | {Cause.AMOUNT_MISMATCH}
    assert set(SCHEMA["$defs"]["cause"]["enum"]) == set(Cause) - {
        *(Cause.ADDED, Cause.CLAIMED, Cause.TAKEN_OVER, Cause.LEFT_OUT),
        *BY_PEOPLE,
    }, "what a worker ends a turn with has a line"


def test_the_slowest(world: World) -> None:
    told = ask(world, "slowest")
    assert "slow-1" in {row["tx"] for row in told}
    assert [row["ms"] for row in told] == sorted((row["ms"] for row in told), reverse=True)


def test_who_waits_on_a_desk(world: World) -> None:
    ends = {line["tx"]: line for line in changes(world)}
    waiting = {id_: (line["cause"], line["why"]) for id_, line in ends.items() if line["status"] == "REVIEW"}
    assert {row["tx"]: (row["cause"], row["reason"]) for row in ask(world, "desk")} == waiting
    assert "amount-1" in waiting


def test_lost_fences(world: World) -> None:
    [row] = ask(world, "lost-fences")
    assert (row["tx"], row["attempt"]) == ("lost-1", 1)


def test_what_went_wrong_in_the_workers(world: World) -> None:
    told = ask(world, "worker-errors")
    failed = [line for line in world.lines if line.get("event") == "failed"]
    assert failed
    assert sum(row["times"] for row in told if row["event"] == "failed") == len(failed)


def test_how_much_was_done(world: World) -> None:
    done = Counter(line["status"] for line in changes(world))
    told = ask(world, "throughput")
    assert sum(row["confirmed"] for row in told) == done["CONFIRMED"]
    assert sum(row["rejected"] for row in told) == done["REJECTED"]


@pytest.mark.parametrize("query", SAVED, ids=lambda query: query.name)
def test_a_query_names_only_fields_that_lines_have(query: Query, world: World) -> None:
    """A misspelt field finds nothing on AWS, without a word."""
    written = {name for line in world.lines for name in line}
    shown = query.commands[0].removeprefix("fields ").split(", ") if query.commands[0].startswith("fields") else []
    assert set(shown) <= written | {"trace"}, set(shown) - written


class Wordless(Exception):  # noqa: N818 - a library's own
    """Its words cannot be had."""

    def __str__(self) -> str:
        raise ValueError("4111111111111111")


def test_an_error_that_cannot_be_told_is_told_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    @failures_logged
    def handler(_event: Any, _context: Any) -> None:
        raise Wordless

    with pytest.raises(Exception, match=r"^an error that has no words$") as caught:
        handler({"run": "r"}, None)
    assert type(caught.value).__name__ == "Wordless"
    line = json.loads(capsys.readouterr().out)
    assert (line["event"], line["error"], line["why"]) == ("failed", "Wordless", "an error that has no words")


def test_a_line_of_a_library_never_stops_it(capsys: pytest.CaptureFixture[str]) -> None:
    before = logging.getLogger().handlers[:]
    try:
        Telemetry("n", "s", "a", "dev").take_over_logging()
        logging.getLogger("boto3").warning("%d of %d", "none")
        logging.getLogger("boto3").error("4111 111111111111 \u0131", exc_info=Wordless())
    finally:
        logging.basicConfig(handlers=before, force=True)
        logging.captureWarnings(False)
    first, failed, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["why"] == "%d of %d"
    assert failed["why"] == "an error that has no words"
    assert second["why"] == "****1111 \u0131"


def test_no_failure_tells_a_card(capsys: pytest.CaptureFixture[str]) -> None:
    error = RuntimeError("row (BIN 411111 rest 1111111111; 411111 1111111111)")
    Telemetry("n", "s", "a", "dev").failed(error, datetime(2026, 11, 30, tzinfo=UTC))
    assert "1111111111" not in capsys.readouterr().out
