"""The Lambda handlers as plain functions, on the local AWS and a gateway with a ledger."""

from __future__ import annotations

import asyncio
import json
import math
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError

from local.collector import Collector
from tests.conftest import AwsAccount
from tests.contract.conftest import make_table
from tests.fakes import FakeClock, LedgerGateway, payment
from workers.config import ConfigError, read_lambda
from workers.domain.causes import Cause
from workers.domain.outcomes import Confirmed, Outcome, Rejected, Retryable, Unknown
from workers.domain.pause import Scope, paused, resumed
from workers.domain.ports import Move
from workers.domain.transaction import Status, Transaction, to_text
from workers.gateway.api_key import ApiKey, KeyUnreadable
from workers.gateway.silence import MOST_GAP
from workers.serverless import handlers
from workers.serverless.run_lock import KEY
from workers.stores.dynamodb import Due, StoreError
from workers.stores.dynamodb_desk import DynamoDbDesk
from workers.tracing import trace_id

GATEWAY = handlers.gateway
"""Before the fixture puts a ledger in its place."""
RUN = "0f0e0d0c-aaaa-bbbb-cccc-1234567890ab"
CONTEXT = SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000)
NUMBERS = {
    "PENDING_SHARDS": "2",
    "BATCH_SIZE": "10",
    "BATCHES_PER_PLAN": "3",
    "RUN_LEASE_SECONDS": "600",
    "LEASE_SECONDS": "60",
    "CLOCK_SKEW_SECONDS": "2",
    "MAX_ATTEMPTS": "5",
    "RETRY_BASE_SECONDS": "30",
    "RETRY_CAP_SECONDS": "900",
    "GATEWAY_TIMEOUT_SECONDS": "2",
    "GATEWAY_CONCURRENCY": "5",
    "GATEWAY_RATE_LIMIT": "0",
    "GRACE_SECONDS": "60",
    "KEY_WINDOW_SECONDS": "86400",
    "REVIEW_SECONDS": "86400",
}


@pytest.fixture
def gateway(aws: AwsAccount, monkeypatch: pytest.MonkeyPatch) -> Iterator[LedgerGateway]:
    dynamodb, s3 = aws.client("dynamodb"), aws.client("s3")
    table = make_table(dynamodb)
    s3.create_bucket(Bucket=table)
    texts = {
        "STACK": "serverless",
        "ALTERNATIVE": "serverless",
        "ENVIRONMENT": "dev",
        "TABLE_NAME": table,
        "INDEX_NAME": "pending",
        "PLAN_BUCKET": table,
        "GATEWAY_URL": "http://127.0.0.1:1",
        "REVIEW_OWNER": "payment-operations",
        "METRIC_NAMESPACE": "ConfirmTransactions",
    }
    for name, value in {**aws.environment, **NUMBERS, **texts}.items():
        monkeypatch.setenv(name, value)
    ledger = LedgerGateway()
    monkeypatch.setattr(handlers, "gateway", lambda: ledger)
    handlers.app.cache_clear()
    handlers.s3.cache_clear()
    yield ledger
    app = handlers.app()
    if app.collector:
        app.loop.run_until_complete(app.collector.close())
    app.loop.close()
    handlers.app.cache_clear()


def add(count: int, account: str = "acct-1") -> list[Transaction]:
    now = handlers.app().clock.now()
    records = [
        Transaction(f"p-{n:03}", account, 100 + n, "USD", now, payment(created_at=now).deadline) for n in range(count)
    ]
    asyncio.run(handlers.app().store.add(records))
    return records


def plan(run: str = RUN, **last: Any) -> dict[str, Any]:
    return handlers.plan({"run": run, "last": last}, CONTEXT)


def lock() -> dict[str, str]:
    """Who holds the run lock, and until when; without `lease_until` nobody does."""
    app = handlers.app()
    item = app.store.client.get_item(TableName=app.config.table, Key=KEY).get("Item", {})
    return {name: item[name]["S"] for name in ("run", "lease_until") if name in item}


def hold(run: str, until: datetime) -> None:
    app = handlers.app()
    item = {**KEY, "run": {"S": run}, "lease_until": {"S": to_text(until)}}
    app.store.client.put_item(TableName=app.config.table, Item=item)


def batches(planned: dict[str, Any]) -> list[dict[str, Any]]:
    body = handlers.s3().get_object(Bucket=planned["bucket"], Key=planned["key"])["Body"].read()
    return [json.loads(line) for line in body.splitlines()]


def emitted(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_plan_holds_what_is_due_in_batches(gateway: LedgerGateway, capsys: pytest.CaptureFixture[str]) -> None:
    add(25)
    planned = plan()
    assert (planned["batches"], planned["transactions"], planned["more"]) == (3, 25, False)
    lines = batches(planned)
    assert [len(line["ids"]) for line in lines] == [10, 10, 5]
    assert sorted(id_ for line in lines for id_ in line["ids"]) == [f"p-{n:03}" for n in range(25)]
    assert {line["run"] for line in lines} == {RUN}
    [metrics] = emitted(capsys)
    assert metrics["Backlog"] == 25
    assert metrics["OldestPendingAge"] >= 0


def test_a_plan_stops_at_its_size_and_says_there_is_more(gateway: LedgerGateway) -> None:
    add(31)
    planned = plan()
    assert (planned["batches"], planned["transactions"], planned["more"]) == (3, 30, True)


def test_each_claim_of_a_batch_has_a_token_of_its_own(gateway: LedgerGateway) -> None:
    """Whoever is called again for the same batch is another holder: by the worker's name he would be the first one."""
    add(3)
    [line] = batches(plan())
    tokens: list[str | None] = []

    def busy(verb: str, record: Transaction, calls: int) -> tuple[bool, Outcome]:
        tokens.append(record.token)
        return False, Retryable("busy")

    gateway.script = busy
    for _ in range(2):
        handlers.confirm(line, CONTEXT)
        store = handlers.app().store
        now = handlers.app().clock.now()
        found = asyncio.run(store.everything())
        moves = [Move(one, one._replace(next_attempt_at=now, version=one.version + 1)) for one in found]
        assert all(asyncio.run(store.settle(moves)))
    assert [tokens.count(token) for token in dict.fromkeys(tokens)] == [3, 3]


def marked(capsys: pytest.CaptureFixture[str]) -> list[int]:
    return [line["transactions"] for line in emitted(capsys) if line.get("event") == "possibly sent by others"]


def set_mode(monkeypatch: pytest.MonkeyPatch, mode: str, **changes: str) -> None:
    """As a deployment does."""
    for name, value in {"GATEWAY_MODE": mode, **changes}.items():
        monkeypatch.setenv(name, value)
    handlers.app.cache_clear()


def planned(run: str) -> list[dict[str, Any]]:
    """The batches of a run of its own, which releases the lock."""
    found = plan(run)
    handlers.app().lock.release(run)
    return batches(found) if found["batches"] else []


def confirmed(lines: list[dict[str, Any]]) -> int:
    app = handlers.app()
    app.lock.take(lines[0]["run"], app.clock.now(), app.clock.now() + app.config.run_lease)
    return sum(handlers.confirm(line, CONTEXT)["confirmed"] for line in lines)


def records() -> dict[str, Transaction]:
    return {record.id: record for record in asyncio.run(handlers.app().store.everything())}


def test_in_shadow_mode_a_plan_marks_what_waits_and_the_first_plan_after_it_keeps_the_moment(
    gateway: LedgerGateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What came in after shadow mode's last look is asked about first too, for as long as it waits."""
    add(2)
    [line] = planned("1" * 8)
    assert not {"others_until", "restored_to"} & set(line), "there was no shadow mode"
    assert not any(record.sent_earlier for record in records().values())
    capsys.readouterr()
    set_mode(monkeypatch, "shadow")
    planned("2" * 8)
    assert marked(capsys) == [2]
    assert {(record.status, record.sent_earlier) for record in records().values()} == {(Status.PENDING, True)}
    add(3)  # one comes in after the last look
    gateway.effects["p-002"] = 1  # and the old job pays it, under a key of its own
    before = records()
    set_mode(monkeypatch, "confirm")
    [line] = planned("3" * 8)
    assert (marked(capsys), records()) == ([], before), "nothing needs to be marked"
    [again] = planned("4" * 8)
    assert again["others_until"] == line["others_until"]
    assert confirmed([again]) == 1
    assert gateway.effects == {"p-002": 1}
    assert {verb for verb, _ in gateway.calls} == {"ask"}


def test_what_a_run_in_shadow_mode_holds_and_what_the_index_does_not_show_yet_is_asked_about(
    gateway: LedgerGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever could not have been marked at that moment: the old job pays it in its last second."""
    set_mode(monkeypatch, "shadow", LEASE_SECONDS="0", CLOCK_SKEW_SECONDS="0")
    planned("1" * 8)
    add(2)
    app = handlers.app()
    [held] = app.loop.run_until_complete(app.store.claim(token="dead", by="w0", limit=1, ids=["p-000"])).held
    gateway.effects |= {"p-000": 1, "p-001": 1}
    set_mode(monkeypatch, "confirm", LEASE_SECONDS="60")
    [line] = planned("3" * 8)
    assert confirmed([{**line, "ids": ["p-000", "p-001"]}]) == 2
    assert gateway.effects == {"p-000": 1, "p-001": 1}
    assert held.lease_until is not None
    assert records()["p-000"].last_sent_at == max(datetime.fromisoformat(line["others_until"]), held.lease_until)


def test_the_first_run_after_shadow_mode_is_not_held_up_by_how_much_waits(
    gateway: LedgerGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """300,000 took longer to mark than a function lives, and the next run began anew."""
    set_mode(monkeypatch, "shadow")
    planned("1" * 8)
    set_mode(monkeypatch, "confirm")
    add(150)
    client, calls = handlers.app().store.client, []
    client.meta.events.register("before-call.dynamodb", lambda model, **_: calls.append(model.name))
    lines = planned("2" * 8)
    assert len(lines) == 3, "a full plan"
    assert all("others_until" in line for line in lines)
    # of the lock's own item, which tells how many shards there ever were, and of the note of a pause
    assert (calls.count("BatchExecuteStatement"), calls.count("BatchGetItem")) == (0, 2), "what waits is left alone"


def test_marking_leaves_the_plan_its_time(gateway: LedgerGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """In shadow mode: it goes on with the next one."""
    set_mode(monkeypatch, "shadow")
    add(2)
    left = SimpleNamespace(get_remaining_time_in_millis=lambda: 0)
    assert handlers.plan({"run": "1" * 8, "last": {}}, left)["batches"] == 1
    assert not any(record.sent_earlier for record in records().values())


def test_a_restores_moment_outlives_the_settings(gateway: LedgerGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be given later, or given anew: the earliest counts, and what came in by then counts from it, however often
    shadow mode is entered and left once more."""
    add(1)
    moments = [None, "2026-01-05T09:00:00.000Z", "2026-01-04T09:00:00.000Z", "2026-01-06T09:00:00.000Z", None]
    for n, moment in enumerate(moments):
        set_mode(monkeypatch, "shadow", RESTORED_TO=moment or "")
        planned(f"{n}" * 8)
    set_mode(monkeypatch, "confirm", RESTORED_TO="")
    [line] = planned("5" * 8)
    assert line["restored_to"] == "2026-01-04T09:00:00.000Z"
    policy = handlers._policy(line)
    assert (policy.restored_to, policy.others_until) == (
        datetime.fromisoformat(line["restored_to"]),
        datetime.fromisoformat(line["others_until"]),
    )
    set_mode(monkeypatch, "shadow")
    planned("6" * 8)
    set_mode(monkeypatch, "confirm")
    [again] = planned("7" * 8)
    assert again["restored_to"] == line["restored_to"]
    assert again["others_until"] > line["others_until"]


def test_a_lock_that_came_back_with_the_table_holds_up_no_run(gateway: LedgerGateway) -> None:
    """The run that took it is of a time that the table was set back to. One that began since then keeps its own."""
    lock, then, lease = handlers.app().lock, datetime(2026, 1, 5, 9, tzinfo=UTC), timedelta(minutes=5)
    later = then + timedelta(minutes=1)
    assert lock.take("gone", then, then + lease)
    assert lock.take("new", later, later + lease, in_shadow=True) is None
    assert lock.take("new", later, later + lease, in_shadow=True, restored_to=then)
    assert lock.take("newer", later, later + lease, in_shadow=True, restored_to=then) is None
    ahead = later + timedelta(days=1)  # by mistake: it frees no run's lock
    assert lock.take("newest", later, later + lease, in_shadow=True, restored_to=ahead) is None


def test_a_run_of_the_version_before_takes_no_moment_away(
    gateway: LedgerGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It removes the note that it knows, once it has marked what waits; and in shadow mode it leaves that one alone."""
    add(1)
    set_mode(monkeypatch, "shadow")
    planned("1" * 8)
    app = handlers.app()
    app.store.client.update_item(TableName=app.config.table, Key=KEY, UpdateExpression="REMOVE shadow")
    set_mode(monkeypatch, "confirm")
    [line] = planned("2" * 8)
    change = {"UpdateExpression": "SET shadow = :yes", "ExpressionAttributeValues": {":yes": {"BOOL": True}}}
    handlers.app().store.client.update_item(TableName=app.config.table, Key=KEY, **change)
    [again] = planned("3" * 8)
    assert again["others_until"] > line["others_until"]


def test_a_plan_in_shadow_mode_marks_from_the_restores_moment_that_the_settings_have_forgotten(
    gateway: LedgerGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_mode(monkeypatch, "shadow", RESTORED_TO="2026-01-04T09:00:00.000Z")
    planned("1" * 8)
    set_mode(monkeypatch, "shadow", RESTORED_TO="")
    add(1)
    [line] = planned("2" * 8)
    assert records()["p-000"].first_sent_at == datetime.fromisoformat("2026-01-04T09:00:00Z")
    assert line["restored_to"] == "2026-01-04T09:00:00.000Z"


def test_back_at_the_version_before_a_run_still_finds_that_shadow_mode_was_here(
    gateway: LedgerGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It marks what waits where the lock has `shadow`, and sets that in shadow mode: then it is to be left again."""
    add(1)
    set_mode(monkeypatch, "shadow")
    planned("1" * 8)
    set_mode(monkeypatch, "confirm")
    [line] = planned("2" * 8)
    client, table = handlers.app().store.client, handlers.app().config.table
    assert "shadow" in client.get_item(TableName=table, Key=KEY)["Item"]
    [again] = planned("3" * 8)
    assert again["others_until"] == line["others_until"], "it is left"
    change = {"UpdateExpression": "SET shadow = :yes", "ExpressionAttributeValues": {":yes": {"BOOL": True}}}
    client.update_item(TableName=table, Key=KEY, **change)
    [anew] = planned("4" * 8)
    assert anew["others_until"] > line["others_until"]


def test_shadow_mode_that_was_left_by_a_clock_that_was_ahead_is_left_by_the_first_run_that_sees_it(
    gateway: LedgerGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(1)
    ahead = handlers.app().clock.now() + timedelta(hours=5)
    set_mode(monkeypatch, "shadow")
    planned("1" * 8)
    set_mode(monkeypatch, "confirm")
    lock = handlers.app().lock
    left = lock.take("2" * 8, ahead, ahead)
    lock.release("2" * 8)
    assert left is not None
    found = [handlers._policy(line) for n in "34" for line in planned(n * 8)]
    assert [policy.others_until for policy in found] == [left.others_until] * 2
    assert found[0].others_stopped == found[1].others_stopped
    assert found[0].others_stopped is not None
    assert found[0].others_stopped < handlers.app().clock.now()


def test_a_batch_that_was_planned_in_shadow_mode_is_sent_by_nobody(
    gateway: LedgerGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The functions were deployed meanwhile: what others sent since that plan, the next one marks."""
    add(2)
    monkeypatch.setenv("GATEWAY_MODE", "shadow")
    handlers.app.cache_clear()
    [line] = batches(plan())
    monkeypatch.setenv("GATEWAY_MODE", "confirm")
    handlers.app.cache_clear()
    assert handlers.confirm(line, CONTEXT)["not_tried"] == 2
    del line["mode"]  # as of a version before it
    assert handlers.confirm(line, CONTEXT)["not_tried"] == 2
    assert gateway.calls == []


def test_a_full_plan_has_room_for_what_would_never_be_due(
    gateway: LedgerGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While more is due than a plan holds, nobody looked for it; and it is due from then on, called or not."""
    set_mode(monkeypatch, "confirm", PENDING_SHARDS="1")
    add(41)
    handlers.app().store.client.update_item(
        TableName=handlers.app().config.table,
        Key={"id": {"S": "p-040"}},
        UpdateExpression="SET next_attempt_at = :ahead",
        ExpressionAttributeValues={":ahead": {"S": "9998-01-01T00:00:00.000Z"}},
    )
    ids = [id_ for line in planned("1" * 8) for id_ in line["ids"]]
    assert (len(ids), "p-040" in ids) == (30, True)
    due = records()["p-040"].next_attempt_at
    assert due is not None
    assert due <= handlers.app().clock.now()


def test_a_run_finds_what_came_under_more_shards_and_loops_for_it(
    gateway: LedgerGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENDING_SHARDS", "9")
    handlers.app.cache_clear()
    plan("1" * 8)
    add(25)
    monkeypatch.setenv("PENDING_SHARDS", "1")
    handlers.app.cache_clear()
    planned = plan("2" * 8)
    assert (planned["transactions"], planned["shards"]) == (25, 9)
    handlers.app.cache_clear()  # another function's process
    results = [{"claimed": 10, "confirmed": 10}]
    assert handlers.report({"run": "2" * 8, "plan": planned, "results": results}, CONTEXT)["more"]


def test_long_ids_make_smaller_batches(gateway: LedgerGateway) -> None:
    """They break a rule, which is found when they are claimed: until then the state machine must hold them."""
    ids = [f"{n:03}" + "\N{GREEK SMALL LETTER OMEGA}" * 1_000 for n in range(100)]
    parts = list(handlers._parts(ids, 100))
    assert [one for part in parts for one in part] == ids
    assert max(len(json.dumps({"ids": part})) for part in parts) < 256 * 1024
    assert list(handlers._parts(["a"] * 25, 10)) == [["a"] * 10, ["a"] * 10, ["a"] * 5]
    assert list(handlers._parts([], 10)) == []


def sent(line: dict[str, Any]) -> set[str]:
    """The metrics of a line."""
    [block] = line["_aws"]["CloudWatchMetrics"]
    return {metric["Name"] for metric in block["Metrics"]}


def test_an_idle_plan_writes_nothing_and_tells_so(gateway: LedgerGateway, capsys: pytest.CaptureFixture[str]) -> None:
    planned = plan()
    [metrics] = emitted(capsys)
    assert (sent(metrics), metrics["Backlog"]) == ({"Backlog"}, 0), "each other is paid for in the hours that have it"
    assert planned["batches"] == 0
    assert "Contents" not in handlers.s3().list_objects_v2(Bucket=planned["bucket"])


def test_the_first_plan_takes_the_run_lock_and_a_later_one_renews_it(gateway: LedgerGateway) -> None:
    add(1)
    assert not plan()["locked_out"]
    first = lock()
    assert first["run"] == RUN
    assert first["lease_until"] > to_text(handlers.app().clock.now())
    assert plan(loop=1)["transactions"] == 1
    assert lock()["lease_until"] >= first["lease_until"]


@pytest.mark.parametrize("loop", [0, 2], ids=["at the start", "between two loops"])
def test_a_plan_that_finds_the_lock_taken_tells_what_is_due_and_plans_nothing(
    gateway: LedgerGateway, capsys: pytest.CaptureFixture[str], loop: int
) -> None:
    """Else nobody would look at the backlog, the desk and the canary for as long as a loop takes."""
    add(1)
    until = handlers.app().clock.now() + timedelta(minutes=1)
    hold("another", until)
    assert plan(loop=loop) == {"run": RUN, "batches": 0, "locked_out": True}
    [metrics] = emitted(capsys)
    assert sent(metrics) == {"Backlog", "OldestPendingAge"}
    assert lock() == {"run": "another", "lease_until": to_text(until)}


@pytest.fixture
def clock(gateway: LedgerGateway) -> Iterator[FakeClock]:
    """Time that passes when the test says so."""
    app, clock = handlers.app(), FakeClock()
    ours = replace(app, clock=clock, store=replace(app.store, clock=clock))  # type: ignore[arg-type] # a clock is a clock
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handlers, "app", lambda: ours)
        yield clock


def test_a_loop_that_takes_longer_than_the_lease_keeps_the_run_lock(gateway: LedgerGateway, clock: FakeClock) -> None:
    """At a low rate limit, or with a slow gateway, its batches take hours; the schedule goes on each minute."""
    add(30)
    planned = plan()
    results = []
    for batch in batches(planned):
        for _ in range(8):
            clock.advance(60)
            assert plan(f"another-{clock.now()}")["locked_out"], "two runs at once"
        results.append(handlers.confirm(batch, CONTEXT))
    assert [result["confirmed"] for result in results] == [10, 10, 10]
    assert report(planned, *results)["confirmed"] == 30
    assert not plan(loop=1)["locked_out"]


def test_a_batch_renews_the_lock_only_when_a_third_of_its_lease_is_over(
    gateway: LedgerGateway, clock: FakeClock
) -> None:
    add(30)
    first, second, third = batches(plan())
    taken = lock()
    clock.advance(199)
    handlers.confirm(first, CONTEXT)
    assert lock() == taken
    clock.advance(1)
    handlers.confirm(second, CONTEXT)
    assert lock()["lease_until"] == to_text(clock.now() + timedelta(seconds=600))
    renewed = lock()
    clock.advance(199)
    handlers.confirm(third, CONTEXT)
    assert lock() == renewed, "this worker knows that it was renewed"


@pytest.mark.parametrize("whose", ["taken by another", "released"])
def test_a_batch_of_a_run_that_lost_its_lock_tries_nothing(
    gateway: LedgerGateway, clock: FakeClock, capsys: pytest.CaptureFixture[str], whose: str
) -> None:
    add(5)
    planned = plan()
    [batch] = batches(planned)
    clock.advance(300)
    if whose == "released":
        handlers.app().lock.release(RUN)
    else:
        hold("another", clock.now() + timedelta(minutes=1))
    before = lock()
    emitted(capsys)
    counts = handlers.confirm(batch, CONTEXT)
    assert counts == {**dict.fromkeys(counts, 0), "not_tried": 5}
    [line] = emitted(capsys)
    assert (line["event"], gateway.calls, lock()) == ("run lock lost", [], before)
    assert not report(planned, counts)["more"]


def test_a_report_of_a_run_that_lost_its_lock_ends_it_without_an_error(gateway: LedgerGateway) -> None:
    """It did its work; that another run goes on is no reason to get anybody up."""
    add(25)
    planned = plan()
    counts = handlers.confirm(batches(planned)[0], CONTEXT)
    until = handlers.app().clock.now() + timedelta(minutes=1)
    hold("another", until)
    assert not report(planned, counts)["more"]
    assert lock() == {"run": "another", "lease_until": to_text(until)}


@pytest.mark.usefixtures("hasty")
def test_a_lock_that_cannot_be_renewed_keeps_no_batch_from_its_work(gateway: LedgerGateway, clock: FakeClock) -> None:
    add(5)
    [batch] = batches(plan())
    clock.advance(300)
    repair = cut_off(handlers.app().lock.client, "dynamodb", "UpdateItem")
    assert handlers.confirm(batch, CONTEXT)["confirmed"] == 5
    repair()


def test_a_lock_that_lapsed_is_taken(gateway: LedgerGateway) -> None:
    add(1)
    hold("another", handlers.app().clock.now() - timedelta(seconds=1))
    assert plan()["batches"] == 1
    assert lock()["run"] == RUN


def test_a_lock_whose_lease_a_wrong_clock_dated_is_taken(gateway: LedgerGateway) -> None:
    """No run takes as long; until then nothing would be confirmed."""
    add(1)
    hold("another", handlers.app().clock.now() + timedelta(days=1))
    assert plan()["batches"] == 1
    assert lock()["run"] == RUN


def test_a_plan_whose_answer_was_lost_is_made_again(gateway: LedgerGateway) -> None:
    add(1)
    first, again = plan(), plan()
    assert (first["batches"], first["key"]) == (again["batches"], again["key"]) == (1, f"plans/{RUN}/0.jsonl")


@pytest.mark.parametrize("loop", [0, 1])
def test_a_plan_that_finds_nothing_gives_the_lock_back(gateway: LedgerGateway, loop: int) -> None:
    hold(RUN, handlers.app().clock.now() + timedelta(minutes=1))
    planned = plan(loop=loop)
    assert (planned["batches"], planned["locked_out"]) == (0, False)
    assert lock() == {"run": RUN}
    assert not plan("the-next")["locked_out"]


def test_a_lock_that_another_took_meanwhile_is_left_alone(
    gateway: LedgerGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = handlers.app().clock.now() + timedelta(minutes=1)

    def long_look(*_: object) -> Due:
        hold("another", until)
        return Due((), None, more=False)

    monkeypatch.setattr(handlers, "_look", long_look)
    assert plan()["batches"] == 0
    assert lock() == {"run": "another", "lease_until": to_text(until)}


def test_a_batch_is_confirmed_and_logged(gateway: LedgerGateway, capsys: pytest.CaptureFixture[str]) -> None:
    def script(_: str, transaction: Transaction, __: int) -> tuple[bool, Outcome] | None:
        odd: dict[str, tuple[bool, Outcome]] = {
            "p-001": (False, Rejected("closed")),
            "p-002": (True, Unknown("timed out")),
        }
        return odd.get(transaction.id)

    add(10, account="4111111111111111")
    gateway.script = script
    [batch] = batches(plan())
    capsys.readouterr()
    counts = handlers.confirm(batch, CONTEXT)
    assert counts == {
        "claimed": 10, "confirmed": 8, "rejected": 1, "retried": 1, "review": 0, "lost": 0, "not_tried": 0
    }  # fmt: skip
    output = capsys.readouterr().out
    assert "4111111111111111" not in output
    lines = [json.loads(line) for line in output.splitlines()]
    changes = {line["tx"]: line for line in lines if "tx" in line}
    assert len(changes) == 10
    assert changes["p-001"]["status"] == "REJECTED"
    assert changes["p-002"]["why"].startswith("unknown")
    metrics, kind = [line for line in lines if "_aws" in line]
    assert (metrics["Confirmed"], metrics["Rejected"], metrics["Retried"]) == (8, 1, 1)
    assert (metrics["GatewayMs"], metrics["GatewayErrors"]) == ([12.3, 56.0], 1)
    assert not {"Review", "NotTried", "LostFences", "BreakerOpen"} & set(metrics), "what did not happen is not sent"
    assert len(metrics["TimeToFinal"]) == 9, "one is not final"
    assert all(0 <= seconds < 60 for seconds in metrics["TimeToFinal"])
    assert (kind["GatewayErrors"], kind["Kind"]) == (1, "unknown")
    assert kind["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["Stack", "Alternative", "Environment", "Kind"]]
    per_transaction = len(output) / 10
    assert per_transaction < 450


def stop(*scopes: Scope | None) -> None:
    """As the desk's function does it, one after the other; None resumes."""
    app = handlers.app()
    desk = DynamoDbDesk(app.store)
    for scope in scopes:
        before = asyncio.run(desk.standing())
        after = paused(before, scope, "ana", "w", app.clock.now()) if scope else resumed(before, "w")[0]
        assert asyncio.run(desk.pause(before, after))


def test_a_batch_sends_nothing_while_sending_is_paused_and_goes_on_asking(gateway: LedgerGateway) -> None:
    add(3)
    gateway.script = lambda verb, *_: (False, Unknown("timed out")) if verb == "confirm" else None
    handlers.confirm(batches(plan())[0], CONTEXT)  # possibly sent
    fresh = Transaction("q-000", "acct-1", 1, "USD", handlers.app().clock.now(), payment().deadline.replace(year=2100))
    asyncio.run(handlers.app().store.add([fresh]))
    gateway.calls.clear()
    stop(Scope.SENDING)
    ids = {"ids": ["p-000", "p-001", "p-002", "q-000"]}
    event = {**batches(plan())[0], **ids}
    counts = handlers.confirm(event, CONTEXT)
    assert {verb for verb, _ in gateway.calls} <= {"ask"}
    assert counts["not_tried"] >= 1
    waiting = records()["q-000"]
    assert (waiting.status, waiting.cause, waiting.attempt) == (Status.PENDING, Cause.PAUSED, 0)
    assert waiting.first_sent_at is None, "proven never sent"


def test_a_batch_calls_nobody_while_everything_is_paused_and_what_is_late_goes_to_its_desk(
    gateway: LedgerGateway,
) -> None:
    now = handlers.app().clock.now()
    add(2)
    late = Transaction("late", "acct-1", 1, "USD", now - timedelta(hours=2), now - timedelta(hours=1))
    asyncio.run(handlers.app().store.add([late]))
    (event,) = batches(plan())
    stop(Scope.SENDING, Scope.ALL)
    counts = handlers.confirm(event, CONTEXT)
    assert gateway.calls == []
    assert (counts["confirmed"], counts["review"]) == (0, 1)
    assert {id_: record.status for id_, record in records().items()} == {
        "late": Status.REVIEW, "p-000": Status.PENDING, "p-001": Status.PENDING
    }  # fmt: skip
    stop(None)
    assert handlers.confirm(event, CONTEXT)["confirmed"] == 2
    assert gateway.effects == {"p-000": 1, "p-001": 1}


def test_how_long_people_have_paused_it_is_told(
    gateway: LedgerGateway, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    stop(Scope.SENDING)
    clock.advance(90)
    capsys.readouterr()
    plan()
    stop(None)
    plan()
    before, after = emitted(capsys)
    assert before["PausedSeconds"] == 90
    assert "PausedSeconds" not in after


def test_a_pause_that_cannot_be_read_just_now_stops_no_plan(
    gateway: LedgerGateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def busy(_: DynamoDbDesk) -> None:
        raise StoreError("throttled")

    add(2)
    monkeypatch.setattr(DynamoDbDesk, "standing", busy)
    assert batches(plan())[0]["ids"] == ["p-000", "p-001"]
    assert '"error": "StoreError"' in capsys.readouterr().out


def test_a_batch_without_time_left_tries_nothing(gateway: LedgerGateway) -> None:
    add(5)
    [batch] = batches(plan())
    short = SimpleNamespace(get_remaining_time_in_millis=lambda: 6_000)
    assert handlers.confirm(batch, short)["not_tried"] == 5
    assert gateway.calls == []


def test_the_time_that_the_key_takes_is_the_batchs_own(
    gateway: LedgerGateway, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Secrets Manager may be slow: no call may begin that would outlive the invocation."""
    add(3)
    (event,) = batches(plan())

    def slow() -> LedgerGateway:
        clock.advance(2)
        return gateway

    monkeypatch.setattr(handlers, "gateway", slow)
    # 8 s, less 5 to settle in, less 2 for the key: 1 is left, and a call takes up to 2
    short = SimpleNamespace(get_remaining_time_in_millis=lambda: 8_000)
    assert handlers.confirm(event, short)["not_tried"] == 3
    assert gateway.calls == []


def test_without_a_key_what_is_late_goes_to_a_desk_and_the_rest_is_tried_again(
    gateway: LedgerGateway, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Secrets Manager is away: deadlines hold all the same. The batch fails, as a fault of the infrastructure."""
    keyless = SimpleNamespace(current=_unreadable)
    monkeypatch.setattr(handlers, "gateway", GATEWAY)
    monkeypatch.setattr(handlers, "_key", lambda: keyless)
    handlers._gateway.cache_clear()
    add(2)
    clock.advance(24 * 3600)
    asyncio.run(handlers.app().store.add([payment("young", created_at=clock.now())]))
    (event,) = batches(plan())
    capsys.readouterr()
    with pytest.raises(KeyUnreadable):
        handlers.confirm(event, CONTEXT)
    states = {record.id: record.status for record in asyncio.run(handlers.app().store.everything())}
    assert states == {"p-000": Status.REVIEW, "p-001": Status.REVIEW, "young": Status.PENDING}
    assert [line["Review"] for line in emitted(capsys) if "Review" in line] == [2]
    assert handlers.confirm({**event, "ids": []}, CONTEXT)["claimed"] == 0


def test_a_key_that_is_unreadable_for_a_moment_ends_nothing_that_may_have_been_sent(
    gateway: LedgerGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restore: all is overdue, and was never asked about."""
    set_mode(monkeypatch, "shadow")
    began = handlers.app().clock.now() - timedelta(hours=30)
    asyncio.run(handlers.app().store.add([payment(f"p-00{n}", created_at=began) for n in range(2)]))
    handlers._closed.cache_clear()
    seconds = iter((0.0, 1.0, *(20_000.0 * n for n in range(1, 20))))
    monkeypatch.setattr(handlers._closed().silence, "seconds", lambda: next(seconds))
    gateway.effects = {"p-000": 1, "p-001": 1}
    [line] = planned("1" * 8)
    handlers.app().lock.take(line["run"], handlers.app().clock.now(), handlers.app().clock.now() + timedelta(minutes=9))
    answers = iter([False, False, True])

    def key() -> LedgerGateway:
        if next(answers, False):
            return gateway
        raise KeyUnreadable("throttled")

    def waited_for(id_: str) -> None:
        record = records()[id_]
        due = record._replace(next_attempt_at=began, version=record.version + 1)
        asyncio.run(handlers.app().store.settle([Move(record, due)]))

    monkeypatch.setattr(handlers, "gateway", key)
    for _ in range(2):
        with pytest.raises(KeyUnreadable):
            handlers.confirm({**line, "ids": ["p-000"]}, CONTEXT)
    waited_for("p-000")
    assert handlers.confirm({**line, "ids": ["p-000"]}, CONTEXT)["confirmed"] == 1
    needed = math.ceil(handlers.app().config.policy.patience.total_seconds() / MOST_GAP)
    for _ in range(needed):  # it was read meanwhile; and hours in which nobody tried are no hours without a key
        with pytest.raises(KeyUnreadable):
            handlers.confirm({**line, "ids": ["p-001"]}, CONTEXT)
        assert records()["p-001"].status is Status.PENDING
    waited_for("p-001")
    assert handlers.confirm({**line, "ids": ["p-001"]}, CONTEXT)["review"] == 1, "for more than patience"
    handlers._closed.cache_clear()


def _unreadable(_: datetime) -> str:
    raise KeyUnreadable("the gateway's key could not be read")


def test_one_client_of_the_gateway_follows_its_key(
    gateway: LedgerGateway, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each key had a client of its own, with a limit and a breaker of its own, and none was ever closed."""
    keys = iter(("first", "second", EndpointConnectionError(endpoint_url="https://x"), "third"))

    def answer(**_: str) -> dict[str, str]:
        if isinstance(key := next(keys), str):
            return {"SecretString": key}
        raise key

    secrets = SimpleNamespace(
        get_secret_value=answer, exceptions=SimpleNamespace(ResourceNotFoundException=ZeroDivisionError)
    )
    key = ApiKey(secrets, "arn:aws:secretsmanager:::x", handlers.app().telemetry)
    monkeypatch.setattr(handlers, "_key", lambda: key)
    handlers._gateway.cache_clear()
    sent = []
    for _ in range(4):
        client = GATEWAY()
        sent.append(client._settings.api_key)
        assert client is handlers._gateway()
        clock.advance(600)
    assert sent == ["first", "second", "second", "third"]
    handlers._gateway.cache_clear()


def test_a_batch_that_comes_twice_is_confirmed_once(gateway: LedgerGateway) -> None:
    add(5)
    [batch] = batches(plan())
    assert handlers.confirm(batch, CONTEXT)["confirmed"] == 5
    assert handlers.confirm(batch, CONTEXT)["claimed"] == 0
    assert set(gateway.effects.values()) == {1}


def test_a_run_goes_on_over_a_deployment(gateway: LedgerGateway) -> None:
    """What a run knows is in its plan and in the table: functions made anew in between lose nothing of it."""
    add(25)
    first, *others = batches(plan())
    assert handlers.confirm(first, CONTEXT)["confirmed"] == 10
    handlers.app().loop.close()
    handlers.app.cache_clear()
    assert [handlers.confirm(batch, CONTEXT)["confirmed"] for batch in (first, *others)] == [0, 10, 5]
    assert set(gateway.effects.values()) == {1}


def report(planned: dict[str, Any], *results: dict[str, int]) -> dict[str, Any]:
    return handlers.report({"run": RUN, "plan": planned, "results": list(results)}, CONTEXT)


def test_a_report_sums_up_and_ends_when_nothing_is_left(gateway: LedgerGateway) -> None:
    add(15)
    planned = plan()
    result = report(planned, *(handlers.confirm(batch, CONTEXT) for batch in batches(planned)))
    assert (result["confirmed"], result["claimed"], result["failed"]) == (15, 15, 0)
    assert (result["loop"], result["more"]) == (1, False)
    app = handlers.app()
    item = app.store.client.get_item(TableName=app.config.table, Key=KEY)["Item"]
    assert item["last_run"]["M"]["confirmed"] == {"N": "15"}


def test_a_report_goes_on_while_a_batch_is_left_and_progress_is_made(gateway: LedgerGateway) -> None:
    add(25)
    planned = plan()
    first, second, _ = batches(planned)
    counts = handlers.confirm(first, CONTEXT)
    assert report(planned, counts, {"failed": 1})["more"]
    stuck = {"claimed": 4, "not_tried": 4}
    assert not report(planned, stuck)["more"], "work is left, but no way to do it now"
    counts = handlers.confirm(second, CONTEXT)
    assert not report(planned, counts)["more"], "stragglers wait for the next run"


def cut_off(client: Any, service: str, operation: str) -> Callable[[], None]:
    """No connection to a service of AWS for one of its operations; the returned function repairs it."""
    name = f"before-send.{service}.{operation}"

    def refuse(request: Any, **_: Any) -> None:
        raise EndpointConnectionError(endpoint_url=request.url)

    client.meta.events.register(name, refuse)
    return lambda: client.meta.events.unregister(name, refuse)


@pytest.fixture
def hasty(gateway: LedgerGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that try once: what is tested is what happens when they give up."""
    monkeypatch.setattr(handlers, "_client_config", lambda: Config(retries={"total_max_attempts": 1}))


@pytest.mark.usefixtures("hasty")
def test_without_s3_nothing_is_planned_and_nothing_touched(gateway: LedgerGateway) -> None:
    add(12)
    repair = cut_off(handlers.s3(), "s3", "PutObject")
    with pytest.raises(EndpointConnectionError):
        plan()
    assert gateway.calls == []
    repair()
    planned = plan()  # nobody had to wait for a lease: nothing was claimed
    assert planned["transactions"] == 12
    tallies = [handlers.confirm(line, CONTEXT) for line in batches(planned)]
    assert sum(tally["confirmed"] for tally in tallies) == 12
    assert set(gateway.effects.values()) == {1}


@pytest.mark.usefixtures("hasty")
def test_without_dynamodb_a_batch_calls_nobody(gateway: LedgerGateway) -> None:
    add(5)
    [line] = batches(plan())
    repair = cut_off(handlers.app().store.client, "dynamodb", "BatchExecuteStatement")
    with pytest.raises(StoreError, match="Could not connect"):
        handlers.confirm(line, CONTEXT)
    assert gateway.calls == []  # no claim, no call
    repair()
    assert handlers.confirm(line, CONTEXT)["confirmed"] == 5
    assert set(gateway.effects.values()) == {1}


def test_without_the_network_to_the_gateway_no_attempt_is_used_up(gateway: LedgerGateway) -> None:
    add(5)
    [line] = batches(plan())
    gateway.script = lambda *_: (False, Retryable("no connection", counts=False))
    tally = handlers.confirm(line, CONTEXT)
    assert (tally["confirmed"], tally["review"]) == (0, 0)
    records = asyncio.run(handlers.app().store.everything())
    assert {(one.status, one.attempt) for one in records} == {(Status.PENDING, 0)}
    assert gateway.effects == {}


def test_desk_and_failures_are_metrics(gateway: LedgerGateway, capsys: pytest.CaptureFixture[str]) -> None:
    add(1)
    [batch] = batches(plan())
    gateway.script = lambda *_: (True, Confirmed("ref", 1, "USD"))
    assert handlers.confirm(batch, CONTEXT)["review"] == 1
    capsys.readouterr()
    report(plan(), {"failed": 1}, {"failed": 1})
    planned, money, reported = emitted(capsys)
    assert (planned["InReview"], reported["BatchesFailed"]) == (1, 2)
    assert 0 <= planned["OldestReviewAge"] < 60
    assert (money["MoneyAtRisk"], money["Currency"]) == (100, "USD")
    assert asyncio.run(handlers.app().store.review())[0].status is Status.REVIEW


def test_the_environment_is_checked_whole() -> None:
    with pytest.raises(ConfigError) as error:
        read_lambda({**NUMBERS, "BATCH_SIZE": "many"})
    assert "TABLE_NAME is missing" in str(error.value)
    assert "BATCH_SIZE must be a number from 0 to 1,000,000,000, found text of 4 characters" in str(error.value)


def test_a_plan_sends_the_canary_and_tells_of_the_one_before(
    gateway: LedgerGateway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY_MINUTES", "525600")  # no turn ends in a test
    with pytest.raises(ConfigError, match="CANARY_ACCOUNT is missing"):
        read_lambda()
    monkeypatch.setenv("CANARY_ACCOUNT", "test-account")
    handlers.app.cache_clear()
    app = handlers.app()
    canary = app.config.canary
    assert canary is not None
    now = app.clock.now()
    before = Transaction(
        canary.id_at(now - canary.every), "test-account", 1, "USD", now, payment(created_at=now).deadline
    )
    asyncio.run(app.store.add([before]))
    assert plan()["transactions"] == 2
    [metrics] = emitted(capsys)
    assert metrics["CanaryConfirmed"] == 0
    assert plan()["transactions"] == 2, "one a turn"
    [batch] = batches(plan())
    capsys.readouterr()
    counts = handlers.confirm(batch, CONTEXT)
    assert (counts["claimed"], counts["confirmed"], len(gateway.effects)) == (2, 0, 2)
    lines = emitted(capsys)
    assert {line["tx"] for line in lines if "tx" in line} == set(batch["ids"]), "a line as for every other"
    [outcomes, _] = [line for line in lines if "_aws" in line]
    assert not {"Confirmed", "TimeToFinal"} & set(outcomes)
    plan()
    [metrics] = emitted(capsys)
    assert metrics["CanaryConfirmed"] == 1
    assert metrics["CanarySeconds"][0] >= 0


def test_a_canary_that_cannot_be_sent_stops_no_payment(
    gateway: LedgerGateway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY_MINUTES", "5")
    monkeypatch.setenv("CANARY_ACCOUNT", "test-account")
    handlers.app.cache_clear()
    add(1)

    async def refused(canary: Transaction) -> None:
        raise StoreError("not allowed")

    monkeypatch.setattr(handlers.app().store, "send", refused)
    assert plan()["transactions"] == 1
    failed, metrics = emitted(capsys)
    assert (failed["event"], failed["error"], failed["why"]) == ("failed", "StoreError", "not allowed")
    assert "CanaryConfirmed" not in metrics


# --- traces through a collector in a layer


def test_spans_go_to_the_collector_under_the_transactions_own_traces(
    gateway: LedgerGateway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And none to the daemon. When the collector dies, payments are confirmed, and the loss is told once."""
    layer, daemon = Collector(tmp_path / "layer.jsonl").start(), Collector(tmp_path / "daemon.jsonl").start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{layer.port}")
    monkeypatch.setenv("AWS_XRAY_DAEMON_ADDRESS", f"127.0.0.1:{daemon.port}")
    monkeypatch.setenv("TRACE_SAMPLING", "1")
    monkeypatch.setenv("_X_AMZN_TRACE_ID", f"Root=1-67891233-{'a' * 24};Parent={'b' * 16};Sampled=1")
    monkeypatch.setattr(handlers, "TRACES_SECONDS", 60.0)
    handlers.app.cache_clear()
    records = add(15)
    first, second = batches(plan())
    assert handlers.confirm(first, CONTEXT)["confirmed"] == 10
    spans = [json.loads(line) for line in layer.file.read_text().splitlines()]
    traces = {trace_id(record) for record in records if record.id in first["ids"]}
    assert {span["trace"] for span in spans if span["name"] == "transaction"} == traces
    assert {span["name"] for span in spans} >= {"plan", "batch", "confirm", "gateway confirm"}
    layer.stop()
    app = handlers.app()
    assert app.collector
    app.loop.run_until_complete(app.collector.close())  # or the old connection would go on
    assert handlers.confirm(second, CONTEXT)["confirmed"] == 5
    assert handlers.confirm(second, CONTEXT)["claimed"] == 0, "and this one's span is lost too"
    lost = [line["why"] for line in emitted(capsys) if line.get("event") == "traces lost"]
    assert lost == ["could not connect: connection refused"]
    assert not daemon.file.exists()
    daemon.stop()


def test_a_collector_that_answers_nothing_keeps_nobody(gateway: LedgerGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        monkeypatch.setenv("TRACE_SAMPLING", "1")
        monkeypatch.setattr(handlers, "TRACES_SECONDS", 0.05)
        handlers.app.cache_clear()
        add(3)
        [batch] = batches(plan())
        assert handlers.confirm(batch, CONTEXT)["confirmed"] == 3
