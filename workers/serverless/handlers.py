"""The three Lambda functions of the state machine: plan the batches, confirm one, report on all.

Batches are small enough for one invocation: settings see to it that size, time-outs, leases and payload fit.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from hashlib import blake2b
from time import time_ns
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from workers import measures
from workers.clock import SystemClock
from workers.collector import Collector
from workers.config import LambdaConfig, read_lambda
from workers.domain.confirming import Confirmer, Tally
from workers.domain.pause import Pause
from workers.domain.policy import Policy
from workers.domain.transaction import from_text, to_text
from workers.gateway.api_key import ApiKey, KeyUnreadable
from workers.gateway.closed import ClosedGateway
from workers.gateway.limits import Limiter
from workers.gateway.payments import PaymentGateway
from workers.gateway.shadow import gateway_of
from workers.serverless.run_lock import LockLost, LockTaken, RunLock
from workers.stores.common import earliest
from workers.stores.dynamodb import PAGE, Due, DynamoDbStore
from workers.stores.dynamodb_desk import DynamoDbDesk
from workers.stores.shares import DynamoDbShares
from workers.telemetry import Metrics, Telemetry, failures_logged, told
from workers.tracing import Context, nanoseconds, new_id, send
from workers.watch import Watch, WatchedGateway, WatchedStore

BATCH_BYTES = 200_000
"""Of a batch's ids: a state of Step Functions takes 256 KiB."""
SAMPLE = 10
"""Of a batch so many are timed: logs are billed by the byte."""
SETTLE_RESERVE = timedelta(seconds=5)
"""Kept of an invocation's time to settle in: no call to the gateway begins that could eat into it."""
DOUBT_SHARE = 4
"""Of an invocation's time, the part that marking takes in shadow mode."""
TRACES_SECONDS = 2.0
"""For a collector in a layer, which answers when X-Ray has answered it; the batch is settled and told by then."""


@dataclass(frozen=True)
class App:
    """What a warm Lambda keeps between invocations: clients, connections and the loop that they belong to."""

    config: LambdaConfig
    clock: SystemClock
    store: DynamoDbStore
    lock: RunLock
    telemetry: Telemetry
    loop: asyncio.AbstractEventLoop
    collector: Collector | None = None
    """None: spans go to X-Ray's daemon."""


@cache
def app() -> App:
    """Made at the first invocation, so that importing this module costs little and does no I/O."""
    config, clock = read_lambda(), SystemClock()
    client = boto3.client("dynamodb", config=_client_config())
    store = DynamoDbStore(
        client, config.table, config.index, config.shards, clock, config.policy, config.canary_account
    )
    telemetry = config.telemetry()
    if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
        telemetry.take_over_logging()
    lock, loop = RunLock(client, config.table), asyncio.new_event_loop()
    return App(config, clock, store, lock, telemetry, loop, _collector(config, telemetry, clock))


def _collector(config: LambdaConfig, telemetry: Telemetry, clock: SystemClock) -> Collector | None:
    tracing = config.tracing
    if not tracing.endpoint:
        return None
    return Collector(tracing.endpoint, TRACES_SECONDS, tracing.resource(config.environment), telemetry, clock)


def gateway() -> PaymentGateway:
    """The gateway's client with the present key; its breaker and its connections outlive an invocation, and a key."""
    key = _key().current(app().clock.now())
    _gateway().use_key(key)
    return _gateway()


@cache
def _gateway() -> PaymentGateway:
    config = app().config
    return gateway_of(config.gateway, config.policy, "", app().clock, _limiter())


@cache
def _closed() -> ClosedGateway:
    """What stands for it without a key; a warm Lambda knows for how long."""
    return ClosedGateway()


@cache
def _limiter() -> Limiter:
    """It outlives an invocation, and a key of the gateway: what a warm Lambda knows of the others is still of use."""
    config, clock, store = app().config, app().clock, app().store
    return Limiter(
        clock,
        config.gateway.rate_limit,
        DynamoDbShares(store.client, config.table),
        failed=lambda error: app().telemetry.event("no shares", clock.now(), error=type(error).__name__),
    )


@cache
def _key() -> ApiKey:
    hurried = Config(retries={"mode": "standard", "total_max_attempts": 2})  # it takes the time of a batch
    client = boto3.client("secretsmanager", config=_client_config().merge(hurried))
    return ApiKey(client, app().config.gateway.secret_arn, app().telemetry)


@cache
def s3() -> Any:
    return boto3.client("s3", config=_client_config())


@failures_logged
def plan(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Find what is due and leave it in S3 as batches, a JSON line each: {"run", "last"} -> {"bucket", "key", ...}.

    `last` is what the loop before reported, empty before the first. Each takes the run lock; where another run holds
    it, this one only tells what is due: a loop may take long, and an alarm hears when nobody looks. One that finds
    nothing releases it.
    """
    config, lock, now, began = app().config, app().lock, app().clock.now(), time_ns()
    run, loop = str(event["run"]), int(event["last"].get("loop", 0))
    policy = config.policy
    ours = lock.take(run, now, now + config.run_lease, in_shadow=policy.only_ask, restored_to=policy.restored_to)
    app().loop.run_until_complete(app().store.learn_shards(keep=True))
    if ours and policy.only_ask:
        _doubt(now, run, ours, timedelta(milliseconds=context.get_remaining_time_in_millis()))
    whole = _run({**event["last"], "run": run})
    due = _look(now, run[:8], whole if ours else None)
    if not ours:
        return {"run": run, "batches": 0, "locked_out": True}
    parts = list(_parts(due.ids, config.batch_size))
    key = f"plans/{run}/{loop}.jsonl"
    if parts:
        others = {name: to_text(time) for name, time in ours._asdict().items() if time}
        common = {"run": run, "trace": str(whole), "planned": to_text(now), "mode": _mode(), **others}
        lines = (json.dumps({**common, "batch": n, "ids": ids}) for n, ids in enumerate(parts))
        s3().put_object(Bucket=config.plan_bucket, Key=key, Body="\n".join(lines).encode() + b"\n")
        _tell(_watch(run[:8], whole), "plan", began, whole, transactions=len(due.ids), batches=len(parts))
    else:
        lock.release(run)
    return {
        "run": run,
        "loop": loop,
        "trace": str(whole),
        "bucket": config.plan_bucket,
        "key": key,
        "batches": len(parts),
        "transactions": len(due.ids),
        "more": due.more,
        "shards": app().store.used,
        "locked_out": False,
    }


@failures_logged
def confirm(event: dict[str, Any], context: Any) -> dict[str, int]:
    """Confirm one batch: {"run", "batch", "planned", "ids"} -> counts. Raises only for faults of the infrastructure.

    Where the gateway's key can't be read, what no call helps any more goes to its desk first; for the rest it raises.
    Of a run that lost its lock, or was ended, nothing more is tried: another one plans what is left.
    """
    telemetry, clock = app().telemetry, app().clock
    run = f"{str(event['run'])[:8]}/{event['batch']}"
    # a batch that was planned in another mode, or does not say in which, waits for a plan of this one: that knows until
    # when others may have sent
    if event.get("mode") != _mode() or not _keep_lock(event, run):
        return asdict(Tally(not_tried=len(event["ids"])))
    # before the key is read: that may take its time
    stop_at = clock.now() + timedelta(milliseconds=context.get_remaining_time_in_millis()) - SETTLE_RESERVE
    keyless: KeyUnreadable | None = None
    through: PaymentGateway | ClosedGateway
    try:
        through = gateway()
        _closed().silence.ended()
    except KeyUnreadable as error:
        through, keyless = _closed(), error
        _closed().silence.failed()
    began, whole = time_ns(), _run(event)
    watch, policy = _watch(run, whole), _policy(event)
    pause = _paused()
    worker = Confirmer(
        WatchedStore(replace(app().store, policy=policy), watch),
        WatchedGateway(through, watch),
        clock,
        random.SystemRandom(),
        lambda: secrets.token_hex(8),
        policy,
        f"run-{run}",
        pause=lambda: pause,
    )
    ids = [str(id_) for id_ in event["ids"]]
    try:
        batch = app().loop.run_until_complete(worker.confirm_batch(len(ids), ids, stop_at))
    except Exception as error:
        _tell(watch, "batch", began, whole, f"{type(error).__name__}: {told(error)}", transactions=len(ids))
        raise
    tally = batch.tally
    calls, now = through.seen(), clock.now()
    telemetry.transactions(batch.settled, run)
    telemetry.metrics(
        {
            **measures.of_tally(tally),
            "ClaimMs": (round(batch.claim_seconds * 1000, 1), "Milliseconds"),
            "ConfirmMs": (round(batch.call_seconds * 1000, 1), "Milliseconds"),
            "SettleMs": (round(batch.settle_seconds * 1000, 1), "Milliseconds"),
            **measures.of_gateway(calls, ready=keyless is not None or through.ready(), most=SAMPLE),
            **measures.of_finals(measures.seconds_to_final(batch.settled, SAMPLE)),
        },
        now,
        run=run,
        trace=whole.trace,
    )
    measures.by_kind(telemetry, calls, now)
    failure = told(keyless) if keyless else ""
    _tell(watch, "batch", began, whole, failure, **{name: count for name, count in asdict(tally).items() if count})
    if keyless and tally.not_tried:
        raise keyless
    return asdict(tally)


@failures_logged
def report(event: dict[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001
    """Sum up a plan's batches, and say whether another plan is worth it.

    It is while progress is made and a full batch is left: a few stragglers (retries mostly) wait for the next run,
    since each loop costs five transitions and a read of every shard, however little it finds.
    """
    now, store, began = app().clock.now(), app().store, time_ns()
    run, loop = str(event["run"]), int(event["plan"]["loop"])
    results = event["results"]
    names = Tally.__slots__
    total = Tally(*(sum(int(result.get(name, 0)) for result in results) for name in names))
    failed = sum(1 for result in results if result.get("failed"))
    store.used = max(store.used, int(event["plan"].get("shards", 0)))
    left = app().loop.run_until_complete(store.due(app().config.batch_size))
    whole = _run(event)
    if failed:
        app().telemetry.metrics({"BatchesFailed": (failed, "Count")}, now, run=run[:8], trace=whole.trace)
    counts = {**asdict(total), "failed": failed}
    ours = app().lock.note(run, {"run": run, "at": now.isoformat(), "loop": loop, **counts})
    progress = total.claimed > total.not_tried + total.lost
    full = len(left.ids) == app().config.batch_size
    more = ours and progress and full
    watch = _watch(run[:8], whole)
    watch.kept = total.retried + total.review + total.lost + failed  # then batches have left spans
    _tell(watch, "report", began, whole)
    if not more and "started" in event:
        of_run = replace(watch, here=whole)
        _tell(
            of_run,
            "run",
            nanoseconds(datetime.fromisoformat(event["started"])),
            **{n: c for n, c in counts.items() if c},
        )
    return {"run": run, "loop": loop + 1, "trace": str(whole), "more": more, **counts}


def _keep_lock(event: Mapping[str, Any], run: str) -> bool:
    """Whether the batch's run goes on: False where its lock is another's by now, or was released.

    That the table cannot be reached is told and stops nothing here: the claim will see.
    """
    config, lock, now = app().config, app().lock, app().clock.now()
    since = from_text(event["planned"]) if "planned" in event else now  # a plan of the version before
    try:
        lock.keep(str(event["run"]), since, now, config.run_lease)
    except LockLost as lost:
        app().telemetry.event("run lock lost", now, run=run, why=str(lost))
        return False
    except (BotoCoreError, ClientError) as error:
        app().telemetry.failed(error, now, run=run)
    return True


def _mode() -> str:
    return "shadow" if app().config.policy.only_ask else "confirm"


def _policy(event: Mapping[str, Any]) -> Policy:
    """The policy, with what the batch's plan knew of shadow mode."""
    return _knowing(LockTaken(*(from_text(event[name]) if name in event else None for name in LockTaken._fields)))


def _knowing(known: LockTaken) -> Policy:
    policy = app().config.policy
    return replace(
        policy,
        others_until=known.others_until,
        others_stopped=known.others_stopped,
        restored_to=earliest(known.restored_to, policy.restored_to),
    )


def _doubt(now: datetime, run: str, known: LockTaken, left: timedelta) -> None:
    """In shadow mode others send, and what was restored was sent: nothing that a record says of sending is believed.

    A claim sees to that itself; this is for whoever else reads what waits. So it ends in time for the plan, however
    much that is: the marks stay, and the next plan goes on.
    """
    store = replace(app().store, policy=_knowing(known))
    marked = app().loop.run_until_complete(store.doubt(until=now + left / DOUBT_SHARE))
    if marked:
        app().telemetry.event("possibly sent by others", now, run=run[:8], transactions=marked)


def _parts(ids: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    """Batches of at most `most` ids, each of which fits into the state machine's hands: odd ids may be long."""
    start = size = 0
    for n, id_ in enumerate(ids):
        cost = len(json.dumps(id_)) + 2
        if n - start == most or (size + cost > BATCH_BYTES and n > start):
            yield ids[start:n]
            start, size = n, 0
        size += cost
    if ids:
        yield ids[start:]


def _canary(now: datetime, run: str) -> Metrics:
    """The canary's turn. Its trouble is told, and stops no payment: that it is silent raises the alarm."""
    if (canary := app().config.canary) is None:
        return {}
    try:
        return app().loop.run_until_complete(canary.beat(app().store, now))
    except Exception as error:
        app().telemetry.failed(error, now, run=run)
        return {}


def _look(now: datetime, run: str, whole: Context | None) -> Due:
    """What is due, up to a full plan; how much it is, how old, and what waits for a person is told.

    Of nothing due only that is told, each time: an alarm hears when nobody looks.
    """
    config, store, telemetry = app().config, app().store, app().telemetry
    canary = _canary(now, run)
    most = config.batch_size * config.batches_per_plan
    due = app().loop.run_until_complete(store.due(most))
    ahead = app().loop.run_until_complete(store.never_due(max(most - len(due.ids), _room(most))))
    if ahead:
        telemetry.event("due too far ahead", now, run=run, transactions=len(ahead))
        if whole:
            app().loop.run_until_complete(store.recall(ahead))
        far = set(ahead)
        others = [id_ for id_ in due.ids if id_ not in far]
        ours = others[: most - len(ahead)]
        due = replace(due, ids=(*ours, *ahead), more=due.more or len(ours) < len(others))
    desk = app().loop.run_until_complete(store.desk())
    age = max((now - due.oldest_due_at).total_seconds(), 0) if due.oldest_due_at else 0
    telemetry.metrics(
        {
            "Backlog": (len(due.ids), "Count"),  # a lower bound once a plan is full
            **({"OldestPendingAge": (round(age, 3), "Seconds")} if due.ids else {}),
            **measures.of_desk(desk, now, config.policy.review_within),
            **_pause(now, run),
            **canary,
        },
        now,
        run=run,
        **({"trace": whole.trace} if whole and due.ids else {}),  # a run that does nothing has none
    )
    measures.by_currency(telemetry, desk, now)
    return due


def _pause(now: datetime, run: str) -> Metrics:
    """For how long people have stopped the batches. Each batch looks for itself; here trouble stops no plan."""
    try:
        return measures.of_pause(_paused(), now)
    except Exception as error:
        app().telemetry.failed(error, now, run=run)
        return {}


def _paused() -> Pause | None:
    return app().loop.run_until_complete(DynamoDbDesk(app().store).standing()).pause


def _room(most: int) -> int:
    """Of a plan, kept for what would never be due: however much is, they are looked for."""
    return min(PAGE, max(1, most // 10)) if most > 1 else 0


def _run(event: Mapping[str, Any]) -> Context:
    """The run's span, which Report makes at its end: in the trace of the state machine, as X-Ray's header tells it.

    Handed on through the state machine's data besides, since its children and the local AWS begin traces of their own.
    """
    if found := Context.read(str(event.get("trace", ""))):
        return found
    run = blake2b(str(event["run"]).encode(), digest_size=8).hexdigest()
    segment = Context.of_lambda()
    return Context(segment.trace, run, segment.sampled) if segment else Context(new_id() + run, run, sampled=False)


def _watch(run: str, whole: Context) -> Watch:
    here = Context(whole.trace, new_id(), whole.sampled)
    return Watch(app().telemetry, app().clock, run, app().config.tracing.sampling, here)


def _tell(watch: Watch, name: str, began: int, whole: Context | None = None, error: str = "", **counts: int) -> None:
    """The invocation's own span, and all that it kept, on their way to the daemon or the collector."""
    segment = Context.of_lambda()
    links = [segment] if segment and segment.trace != watch.here.trace else []
    watch.whole(name, began, counts, parent=whole.span if whole else "", error=error, links=links)
    spans, collector = watch.take(), app().collector
    if collector is None:
        send(spans, app().config.tracing.resource(app().config.environment))
    elif spans:
        app().loop.run_until_complete(collector.send(spans, watch.run))


def _client_config() -> Config:
    """Short time-outs and few retries: what fails here comes back by the lease, which is longer than all of them."""
    return Config(
        connect_timeout=2, read_timeout=5, retries={"mode": "standard", "max_attempts": 4}, max_pool_connections=16
    )
