"""The three Lambda functions of the state machine: plan the batches, confirm one, report on all.

Batches are small enough for one invocation: settings see to it that size, time-outs, leases and payload fit.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import boto3
from botocore.config import Config

from workers import measures
from workers.clock import SystemClock
from workers.config import LambdaConfig, read_lambda
from workers.domain.confirming import Confirmer, Tally
from workers.gateway.api_key import ApiKey
from workers.gateway.payments import PaymentGateway
from workers.gateway.shadow import gateway_of
from workers.serverless.run_lock import RunLock
from workers.stores.dynamodb import DynamoDbStore
from workers.telemetry import Telemetry, told
from workers.watch import Watch, WatchedStore

SAMPLE = 10
"""Of a batch so many are timed: logs are billed by the byte."""
SETTLE_RESERVE = timedelta(seconds=5)
"""Kept of an invocation's time to settle in: no call to the gateway begins that could eat into it."""


@dataclass(frozen=True)
class App:
    """What a warm Lambda keeps between invocations: clients, connections and the loop that they belong to."""

    config: LambdaConfig
    clock: SystemClock
    store: DynamoDbStore
    lock: RunLock
    telemetry: Telemetry
    loop: asyncio.AbstractEventLoop


@cache
def app() -> App:
    """Made at the first invocation, so that importing this module costs little and does no I/O."""
    config, clock = read_lambda(), SystemClock()
    client = boto3.client("dynamodb", config=_client_config())
    store = DynamoDbStore(client, config.table, config.index, config.shards, clock, config.policy)
    telemetry = Telemetry(config.metric_namespace, config.alternative, config.environment)
    if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
        telemetry.take_over_logging()
    return App(config, clock, store, RunLock(client, config.table), telemetry, asyncio.new_event_loop())


def gateway() -> PaymentGateway:
    """The gateway's client; its breaker and its connections outlive an invocation."""
    return _gateway(_key().current(app().clock.now()))


@cache
def _gateway(api_key: str) -> PaymentGateway:
    config = app().config
    return gateway_of(config.gateway, config.policy, api_key, app().clock)


@cache
def _key() -> ApiKey:
    client = boto3.client("secretsmanager", config=_client_config())
    return ApiKey(client, app().config.gateway.secret_arn, app().telemetry)


@cache
def s3() -> Any:
    return boto3.client("s3", config=_client_config())


@told
def plan(event: dict[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001 - Lambda's signature
    """Find what is due and leave it in S3 as batches, a JSON line each: {"run", "loop"} -> {"bucket", "key", ...}."""
    config, telemetry, now = app().config, app().telemetry, app().clock.now()
    run, loop = str(event["run"]), int(event["loop"])
    app().lock.renew(run, now + config.run_lease)
    due = app().loop.run_until_complete(app().store.due(config.batch_size * config.batches_per_plan))
    parts = [due.ids[n : n + config.batch_size] for n in range(0, len(due.ids), config.batch_size)]
    key = f"plans/{run}/{loop}.jsonl"
    if parts:
        lines = (json.dumps({"run": run, "batch": n, "ids": ids}) for n, ids in enumerate(parts))
        s3().put_object(Bucket=config.plan_bucket, Key=key, Body="\n".join(lines).encode() + b"\n")
    age = max((now - due.oldest_due_at).total_seconds(), 0) if due.oldest_due_at else 0
    desk = app().loop.run_until_complete(app().store.desk())
    telemetry.metrics(
        {
            "Backlog": (len(due.ids), "Count"),  # a lower bound once a plan is full
            "OldestPendingAge": (round(age, 3), "Seconds"),
            **measures.of_desk(desk, now, config.policy.review_within),
        },
        now,
        run=run[:8],
    )
    measures.by_currency(telemetry, desk, now)
    return {
        "run": run,
        "loop": loop,
        "bucket": config.plan_bucket,
        "key": key,
        "batches": len(parts),
        "transactions": len(due.ids),
        "more": due.more,
    }


@told
def confirm(event: dict[str, Any], context: Any) -> dict[str, int]:
    """Confirm one batch: {"run", "batch", "ids"} -> counts. Raises only for faults of the infrastructure."""
    config, telemetry, clock = app().config, app().telemetry, app().clock
    run = f"{str(event['run'])[:8]}/{event['batch']}"
    remaining = timedelta(milliseconds=context.get_remaining_time_in_millis())
    through = gateway()
    worker = Confirmer(
        WatchedStore(app().store, Watch(telemetry, clock, run)),
        through,
        clock,
        random.SystemRandom(),
        lambda: secrets.token_hex(8),
        config.policy,
        f"run-{run}",
    )
    ids = [str(id_) for id_ in event["ids"]]
    stop_at = clock.now() + remaining - SETTLE_RESERVE
    batch = app().loop.run_until_complete(worker.confirm_batch(len(ids), ids, stop_at))
    tally = batch.tally
    calls, now = through.seen(), clock.now()
    telemetry.transactions(batch.settled, run)
    telemetry.metrics(
        {
            "Confirmed": (tally.confirmed, "Count"),
            "Rejected": (tally.rejected, "Count"),
            "Retried": (tally.retried, "Count"),
            "Review": (tally.review, "Count"),
            "NotTried": (tally.not_tried, "Count"),
            "LostFences": (tally.lost, "Count"),
            "ClaimMs": (round(batch.claim_seconds * 1000, 1), "Milliseconds"),
            "ConfirmMs": (round(batch.call_seconds * 1000, 1), "Milliseconds"),
            "SettleMs": (round(batch.settle_seconds * 1000, 1), "Milliseconds"),
            **measures.of_gateway(calls, ready=through.ready(), most=SAMPLE),
            **measures.of_finals(measures.seconds_to_final(batch.settled, SAMPLE)),
        },
        now,
        run=run,
    )
    measures.by_kind(telemetry, calls, now)
    return asdict(tally)


@told
def report(event: dict[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001
    """Sum up a plan's batches, and say whether another plan is worth it.

    It is while progress is made and a full batch is left: a few stragglers (retries mostly) wait for the next run,
    since each loop costs five transitions and a read of every shard, however little it finds.
    """
    now, store = app().clock.now(), app().store
    run, loop = str(event["run"]), int(event["plan"]["loop"])
    results = event["results"]
    names = Tally.__slots__
    total = Tally(*(sum(int(result.get(name, 0)) for result in results) for name in names))
    failed = sum(1 for result in results if result.get("failed"))
    left = app().loop.run_until_complete(store.due(app().config.batch_size))
    app().telemetry.metrics({"BatchesFailed": (failed, "Count")}, now, run=run[:8])
    counts = {**asdict(total), "failed": failed}
    app().lock.note(run, {"run": run, "at": now.isoformat(), "loop": loop, **counts})
    progress = total.claimed > total.not_tried + total.lost
    full = len(left.ids) == app().config.batch_size
    return {"run": run, "loop": loop + 1, "more": progress and full, **counts}


def _client_config() -> Config:
    """Short time-outs and few retries: what fails here comes back by the lease, which is longer than all of them."""
    return Config(
        connect_timeout=2, read_timeout=5, retries={"mode": "standard", "max_attempts": 4}, max_pool_connections=16
    )
