"""Both alternatives at work on the same transactions, with all that leaves them kept: the tests search it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import json
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import asyncpg
import boto3
import pytest

from cli import main
from local.collector import Collector
from local.postgres import Postgres
from tests.conftest import AwsAccount
from tests.contract.conftest import SHARDS, make_table
from tests.fakes import run
from tests.serverless.test_handlers import NUMBERS
from tests.service.harness import Harness
from tests.telemetry.gateway import LeakyGateway, Reply
from tests.telemetry.secrets import Secret, sentences
from workers.clock import SystemClock
from workers.domain.outcomes import Confirmed
from workers.domain.policy import Policy
from workers.domain.ports import Move, Store
from workers.domain.transaction import Transaction, to_text
from workers.domain.transitions import Answer, decide
from workers.serverless import handlers
from workers.serverless.run_lock import KEY
from workers.stores.dynamodb import DynamoDbStore
from workers.stores.postgres import PostgresStore
from workers.tracing import trace_id

SEED = 20_261_124
TROUBLES = ((400, "invalid"), (409, "processing"), (422, ""), (429, "rate_limited"), (500, "error"))
"""With the gateway's own word for it; "" where it is to be in nobody's words."""
RUN = "0f0e0d0c-aaaa-bbbb-cccc-1234567890ab"
CONTEXT = SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000)
SLOW_SECONDS = 0.7
SAMPLING = "0.3"
CACHES = (handlers.app, handlers.s3, handlers._gateway, handlers._key)
"""What a Lambda keeps between invocations."""
TOLD = sentences(SEED)[::2]


@dataclass
class World:
    """What was put in, and what came out."""

    alternative: str
    secrets: list[Secret] = field(default_factory=list)
    records: list[Transaction] = field(default_factory=list)
    log: str = ""
    documents: list[str] = field(default_factory=list)
    """All else: inputs and outputs of the functions, plans, what the command printed, what exceptions said."""
    calls: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """The gateway's: id and headers."""
    spans: list[dict[str, Any]] = field(default_factory=list)
    """What the collector took."""

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.splitlines()]

    @property
    def everything(self) -> str:
        return "\n".join([self.log, *self.documents, *map(json.dumps, self.spans)])

    def spans_of(self, id_: str) -> list[dict[str, Any]]:
        """Those in a transaction's own trace, in the order of their beginnings."""
        [record] = [record for record in self.records if record.id == id_]
        found = [span for span in self.spans if span["trace"] == trace_id(record)]
        return sorted(found, key=lambda span: int(span["start"]))


Told = Sequence[tuple[Secret, str]]
"""Secrets, each in the middle of some words."""


def fill(world: World, gateway: LeakyGateway, told: Told) -> None:
    """Transactions whose accounts are secrets, and a gateway that puts secrets into all its answers."""
    now = datetime.now(UTC) - timedelta(seconds=1)

    def add(id_: str, *replies: Reply, account: str = "acct-1") -> None:
        world.records.append(Transaction(id_, account, 100, "USD", now, now + timedelta(hours=2)))
        gateway.replies[id_] = list(replies) or [Reply(200)]

    for n, (secret, text) in enumerate(told):
        world.secrets.append(secret)
        gateway.words = text
        trouble, word = TROUBLES[n % len(TROUBLES)]
        match n % 4:
            case 0:
                add(f"no-{n}", Reply(422, {"status": "rejected", "reason": text}), account=secret.text)
            case 1:
                said = {"status": word or text, "note": text}
                add(f"odd-{n}", Reply(trouble, said), Reply(200, {"note": text}), account=secret.text)
            case 2:
                page = f"<html>{text}</html>" if n % 8 == 2 else {"status": "invalid", "error": text}
                add(f"text-{n}", Reply(400, page), Reply(200), account=secret.text)
            case _:
                add(f"ok-{n}", Reply(200, {"note": text}), account=secret.text)
    add("amount-1", Reply(200, {"amount": 99}))
    add("card-1", Reply(200, {"reference": "4111111111111111"}))
    world.secrets.append(Secret("reference", "", "4111111111111111"))
    world.records.append(Transaction("late-1", "acct-1", 100, "USD", now - timedelta(hours=2), now))
    add("slow-1", Reply(200, seconds=SLOW_SECONDS))


async def taken_over(store: Store) -> None:
    """Somebody else confirms what our worker has just sent: its lease is over."""
    claimed = await store.claim(token="of-somebody-else", by="somebody-else", limit=1, ids=["lost-1"])
    [held] = claimed.held
    answer = Answer(Confirmed("ref-lost-1", held.amount, held.currency), "somebody-else")
    assert await store.settle([Move(held, decide(held, answer, datetime.now(UTC), Policy()))]) == [True]


@contextlib.contextmanager
def environment(values: dict[str, str]) -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        patch.setattr(boto3, "DEFAULT_SESSION", None)
        yield patch


def command(world: World, *arguments: str) -> str:
    """What `confirm ARGUMENTS` prints."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.suppress(SystemExit):
        main.run(arguments)
    world.documents += [out.getvalue(), err.getvalue()]
    return out.getvalue()


def ask_about_all(world: World, outputs: Any, folder: Any) -> None:
    """Every command that shows something, on this stack; and an import of rows that are wrong."""
    file = folder / "outputs.json"
    file.write_text(json.dumps(outputs))
    with environment({"CONFIRM_OUTPUTS": str(file), "NO_PROXY": "127.0.0.1"}):
        for arguments in (["status"], ["status", "--all", "--json"], ["review"], ["review", "--json"]):
            command(world, *arguments)
        for record in world.records[::9]:
            command(world, "show", record.id)
            command(world, "show", record.id, "--json")
        assert "amount-1" in command(world, "review", "--json")
        rows = folder / "rows.csv"
        rows.write_text(
            "id,account,amount_minor,currency\n" + "".join(f"new-1,{s.text!r},x,USD\n" for s in world.secrets)
        )
        command(world, "import", str(rows))


# --- serverless


def serverless(aws: AwsAccount, gateway: LeakyGateway, folder: Any, told: Told = TOLD) -> World:
    """Runs of the handlers as the state machine makes them, until nothing is due any more."""
    world = World("serverless")
    fill(world, gateway, told)
    collector = Collector(folder / "spans.jsonl").start()
    dynamodb, s3 = aws.client("dynamodb"), aws.client("s3")
    table = make_table(dynamodb)
    s3.create_bucket(Bucket=table)
    values = {
        **aws.environment,
        **NUMBERS,
        "RETRY_BASE_SECONDS": "0.01",
        "RETRY_CAP_SECONDS": "0.05",
        "GRACE_SECONDS": "0.01",
        "STACK": "serverless",
        "ALTERNATIVE": "serverless",
        "ENVIRONMENT": "dev",
        "TABLE_NAME": table,
        "INDEX_NAME": "pending",
        "PENDING_SHARDS": str(SHARDS),
        "BATCH_SIZE": "40",
        "BATCHES_PER_PLAN": "9",
        "PLAN_BUCKET": table,
        "GATEWAY_URL": gateway.url,
        "REVIEW_OWNER": "payment-operations",
        "METRIC_NAMESPACE": "ConfirmTransactions",
        "TRACE_SAMPLING": SAMPLING,
        "_X_AMZN_TRACE_ID": "Root=1-67891233-abcdef012345678912345678;Parent=53995c3f42cd8ad8;Sampled=0",
        "AWS_XRAY_DAEMON_ADDRESS": f"127.0.0.1:{collector.port}",
    }
    lock = {**KEY, "run": {"S": RUN}, "lease_until": {"S": to_text(datetime.now(UTC))}}
    dynamodb.put_item(TableName=table, Item=lock)

    def take_over() -> None:
        dynamodb.update_item(
            TableName=table,
            Key={"id": {"S": "lost-1"}},
            UpdateExpression="SET lease_until = :past",
            ExpressionAttributeValues={":past": {"S": "2026-01-01T00:00:00.000Z"}},
        )
        asyncio.run(taken_over(DynamoDbStore(dynamodb, table, "pending", SHARDS, SystemClock(), Policy())))

    now = world.records[0].created_at
    world.records.append(Transaction("lost-1", "acct-1", 100, "USD", now, now + timedelta(hours=2)))
    gateway.replies["lost-1"] = [Reply(200, before=take_over), Reply(200)]
    out = io.StringIO()
    with environment(values) as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        for kept in CACHES:
            kept.cache_clear()
        app = handlers.app()
        run(app.store.add(world.records))
        for _ in range(12 + len(told) // 20):
            planned = handlers.plan({"run": RUN, "last": {}}, CONTEXT)
            world.documents.append(json.dumps(planned))
            if not planned["batches"]:
                break
            plan = s3.get_object(Bucket=table, Key=planned["key"])["Body"].read().decode()
            results = [handlers.confirm(json.loads(line), CONTEXT) for line in plan.splitlines()]
            started = now.isoformat()
            event = {"run": RUN, "trace": planned["trace"], "started": started, "plan": planned, "results": results}
            world.documents += [plan, json.dumps(event), json.dumps(handlers.report(event, CONTEXT))]
            time.sleep(0.06)
        for secret in world.secrets[::5]:
            failing = SimpleNamespace(learn_shards=_raising(f"could not reach {secret.text} again"))
            patch.setattr(handlers, "app", lambda failing=failing: dataclasses.replace(app, store=failing))
            try:
                handlers.plan({"run": RUN, "last": {}}, CONTEXT)
            except Exception as error:
                world.documents.append(f"{type(error).__name__}: {error!r} {error.__cause__!r}")
        app.loop.run_until_complete(handlers._gateway().close())
        app.loop.close()
    for kept in CACHES:
        kept.cache_clear()
    world.log, world.calls = out.getvalue(), list(gateway.headers)
    world.spans = collected(collector)
    machine = aws.client("stepfunctions").create_state_machine(
        name="secrets",
        definition='{"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}',
        roleArn=f"arn:aws:iam::{aws.id}:role/x",
    )
    outputs = {
        "alternative": "serverless",
        "environment": "dev",
        "region": "us-east-1",
        "tableName": table,
        "pendingIndexName": "pending",
        "pendingShards": SHARDS,
        "stateMachineArn": machine["stateMachineArn"],
    }
    with environment(aws.environment):
        ask_about_all(world, outputs, folder)
    return world


def _raising(text: str) -> Callable[..., Any]:
    async def fail(*_: object, **__: object) -> Any:
        raise RuntimeError(text)

    return fail


# --- fargate


def fargate(
    place: Harness, postgres: Postgres, store: PostgresStore, gateway: LeakyGateway, folder: Any, told: Told = TOLD
) -> World:
    """One worker until all are final or on a desk, then some that fail on their way up."""
    world = World("fargate")
    fill(world, gateway, told)
    collector = Collector(folder / "spans.jsonl").start()
    now = world.records[0].created_at
    world.records.append(Transaction("lost-1", "acct-1", 100, "USD", now, now + timedelta(hours=2)))

    def take_over() -> None:
        async def do() -> None:
            async with asyncpg.create_pool(postgres.url(database=place.database), min_size=0, max_size=1) as pool:
                await pool.execute(
                    "UPDATE transactions SET lease_until = now() - interval '1 hour' WHERE id = 'lost-1'"
                )
                await taken_over(PostgresStore(pool, Policy()))

        asyncio.run(do())

    gateway.replies["lost-1"] = [Reply(200, before=take_over), Reply(200)]
    run(store.add(world.records))
    with place.worker(
        RETRY_BASE_SECONDS="0.01",
        RETRY_CAP_SECONDS="0.05",
        GRACE_SECONDS="0.01",
        TRACE_SAMPLING=SAMPLING,
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.port}",
    ) as worker:
        until = time.monotonic() + 90 + len(told) / 5
        while run(store.backlog()).open:
            assert time.monotonic() < until, worker.log.read_text()[-2000:]
            time.sleep(0.1)
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(60) == 0
    world.log, world.calls = worker.log.read_text(), list(gateway.headers)
    world.spans = collected(collector)
    for n, secret in enumerate(world.secrets[:: 1 + len(world.secrets) // 4]):
        text = secret.text.encode("ascii", "ignore").decode()  # an environment is bytes
        with place.worker(f"broken-{n}", DATABASE_PORT=f"x {text} y") as broken:
            assert broken.process.wait(60) == 1
        world.log += broken.log.read_text()
    outputs = {
        "alternative": "fargate",
        "stack": "fargate",
        "environment": "dev",
        "region": "us-east-1",
        "databaseHost": "127.0.0.1",
        "databasePort": postgres.port,
        "databaseName": place.database,
    }
    with environment({"CONFIRM_DATABASE_URL": postgres.url(database=place.database)}):
        ask_about_all(world, outputs, folder)
    return world


def collected(collector: Collector) -> list[dict[str, Any]]:
    """All that was sent: a datagram may still be on its way, so until nothing comes any more."""
    size, until = -1, time.monotonic() + 30
    while size != (size := collector.file.stat().st_size if collector.file.exists() else 0) or not size:
        assert time.monotonic() < until, "no span came"
        time.sleep(0.3)
    collector.stop()
    assert collector.refused == 0
    return [json.loads(line) for line in collector.file.read_text().splitlines()]
