"""AWS Lambda, with the production's handlers in it: containers that stay warm, are killed, and time out.

What a Lambda's process has but once (`handlers.app` and its like) belongs here to a container, for there are many.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

from botocore.exceptions import ClientError

from simulation.blocking import blocking, wait_for
from simulation.gateway import Ledger, SimulatedGateway
from simulation.life import Life
from simulation.stores.dynamodb import INDEX, TABLE, DynamoDatabase
from workers import telemetry
from workers.config import GatewayConfig, LambdaConfig, TracingConfig
from workers.domain.transaction import Status, to_text
from workers.gateway.api_key import KeyUnreadable
from workers.gateway.closed import ClosedGateway
from workers.serverless import handlers
from workers.serverless.run_lock import RunLock
from workers.telemetry import Telemetry

BUCKET = "plans"
RAISED = {"StoreError", "ClientError", "ReadTimeoutError", "KeyUnreadable"}
"""What a handler raises where the infrastructure fails, and nothing else. By their names: on its way out of a Lambda an
error is made anew, without secrets."""
MOST_IDLE = 4
"""Containers of a function that stay warm."""


class FunctionFailed(Exception):  # noqa: N818 - as Step Functions tells it
    """The function's own error, its time-out, or its death: nobody calls it again with the same input."""


class Silent(Telemetry):
    """Tells nobody."""

    def transactions(self, *_: object) -> None: ...
    def event(self, *_: object, **__: object) -> None: ...
    def metrics(self, *_: object, **__: object) -> None: ...


SILENT = Silent("", "", "", "")


class Bucket:
    """S3, as far as plans need it."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def client(self, life: Life) -> Any:
        return SimpleNamespace(put_object=lambda **arguments: wait_for(self._put(life, **arguments)))

    async def _put(self, life: Life, *, Bucket: str, Key: str, Body: bytes) -> None:  # noqa: ARG002, N803
        await life.step("put_object", "")
        if life.stage.strikes("store_throttled"):
            life.stage.journal.fault(life.name, "store_throttled", "", "put_object")
            raise ClientError({"Error": {"Code": "SlowDown", "Message": "reduce your request rate"}}, "PutObject")
        self.objects[Key] = Body
        await life.step("after put_object", "")


@dataclass
class Container:
    """One process of a function."""

    function: str
    life: Life
    version: int
    """Of the deployment that it came with."""
    app: handlers.App
    gateway: SimulatedGateway
    s3: Any
    closed: ClosedGateway = field(default_factory=ClosedGateway)

    def __post_init__(self) -> None:
        self.closed.silence.seconds = self.life.stage.loop.time

    def key(self) -> SimulatedGateway:
        """As `handlers.gateway`, which reads the gateway's key."""
        stage = self.life.stage
        if stage.strikes("no_key"):
            stage.journal.fault(self.life.name, "no_key")
            raise KeyUnreadable("the gateway's key could not be read")
        return self.gateway


_HERE: ContextVar[Container] = ContextVar("container")
"""Whose code runs."""


@contextmanager
def handlers_in_containers() -> Iterator[None]:
    """What the handlers' module has for its one process is that of the container whose code runs."""
    ours: dict[str, Any] = {
        "app": lambda: _HERE.get().app,
        "gateway": lambda: _HERE.get().key(),
        "_closed": lambda: _HERE.get().closed,
        "s3": lambda: _HERE.get().s3,
        "secrets": SimpleNamespace(token_hex=lambda _: _HERE.get().life.new_token()),
        "random": SimpleNamespace(SystemRandom=lambda: _HERE.get().life),
        "send": lambda *_: None,
    }
    before = {name: getattr(handlers, name) for name in ours}
    log = logging.getLogger("workers")
    level = log.level
    try:
        for name, one in ours.items():
            setattr(handlers, name, one)
        telemetry.print = lambda *_, **__: None  # type: ignore[attr-defined] # what it would tell is in the journal
        log.setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for name, one in before.items():
            setattr(handlers, name, one)
        del telemetry.print  # type: ignore[attr-defined]
        log.setLevel(level)


class Functions:
    """The three functions of a stack, and their containers."""

    def __init__(self, database: DynamoDatabase, ledger: Ledger, born: Callable[[str], Life]) -> None:
        self.database, self.ledger, self.bucket = database, ledger, Bucket()
        self.stage = database.stage
        self.version = 0
        self._born = born
        self._idle: dict[str, list[Container]] = {"plan": [], "confirm": [], "report": []}
        self._count = 0

    def deployed(self) -> None:
        """New containers from now on; those that run end by themselves."""
        self.version += 1
        for idle in self._idle.values():
            idle.clear()

    async def invoke(self, function: str, event: dict[str, Any]) -> dict[str, Any]:
        """What the function returns.

        Raises:
            FunctionFailed: it raised, died, or took too long.
        """
        container, setup = self._container(function), self.stage.setup
        life, loop = container.life, self.stage.loop
        life.looked = loop.seconds  # at its beginning, or later
        until = loop.seconds + setup.function_seconds
        context = SimpleNamespace(get_remaining_time_in_millis=lambda: int(1000 * max(0.0, until - loop.seconds)))

        def run() -> Any:
            _HERE.set(container)  # a greenlet has a context of its own
            return getattr(handlers, function)(event, context)

        async def runs() -> Any:
            _HERE.set(container)
            return await blocking(run)

        look = self._before(function, life)
        task = loop.create_task(runs())
        both: list[asyncio.Future[Any]] = [task, life.died]
        try:
            await asyncio.wait(both, timeout=setup.function_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not task.done():
                life.die("out of time")
                task.cancel()
        ended: object = (await asyncio.gather(task, return_exceptions=True))[0]
        if life.dead:
            raise FunctionFailed("the process died")
        if container.version == self.version and len(self._idle[function]) < MOST_IDLE:
            self._idle[function].append(container)
        if isinstance(ended, BaseException):
            kind = type(ended).__name__
            self.stage.journal.tell(life.name, "raises", "", f"{kind}: {ended}")
            if kind not in RAISED:
                self.stage.judge.finds("defect", life.name, f"{kind}: {ended}")
            raise FunctionFailed(kind)
        look(cast("dict[str, Any]", ended))
        return cast("dict[str, Any]", ended)

    def _before(self, function: str, life: Life) -> Callable[[dict[str, Any]], None]:
        """What has to be known before it begins, to judge of its end."""
        database, judge, since, keys = self.database, self.stage.judge, life.tokens, dict(self.database.table.index)
        partly, fat = self.stage.journal.faults["partly"], self.stage.setup.fat
        back = database.times_set_back

        def left_behind(_ended: dict[str, Any]) -> None:
            """A call that returns holds nothing any more; but for a write that AWS has not taken, or may yet get."""
            if life.unsure or fat or self.stage.journal.faults["partly"] > partly or database.times_set_back > back:
                return
            for record in database.records.values():
                who, _, number = (record.token or "").rpartition(".")
                if record.status is Status.PROCESSING and who == life.name and int(number) > since:
                    judge.finds("left behind", record.id, f"{life.name} has ended, and {record.token} holds it")

        def passed_over(plan: dict[str, Any]) -> None:
            """Only what the index showed all the time is certain."""
            if plan.get("locked_out") or database.times_set_back > back:
                return
            lines = self.bucket.objects[plan["key"]].splitlines() if plan["batches"] else []
            found = [id_ for line in lines for id_ in json.loads(line)["ids"]]
            until = to_text(self.stage.now() - LATELY)
            shown = {
                id_: one["next_attempt_at"]["S"]
                for id_, one in keys.items()
                if database.table.index.get(id_) == one and id_ in database.records
                and one["pending_shard"]["S"].isdecimal() and int(one["pending_shard"]["S"]) < life_shards
            }  # fmt: skip
            full = len(found) >= self.stage.setup.batch * self.stage.setup.batches_per_plan
            last = max((shown.get(id_, "") for id_ in found), default="") if full else until
            for id_, turn in shown.items():
                if id_ not in found and turn < min(last, until):
                    judge.finds("passed over", id_, f"due since {turn}, and {life.name} planned {len(found)} others")

        life_shards = database.shards
        judges = {"confirm": left_behind, "plan": passed_over}
        return judges.get(function, lambda _: None) if not judge.clocks_off else lambda _: None

    def _container(self, function: str) -> Container:
        idle = self._idle[function]
        while idle:
            found = idle.pop()
            if not found.life.dead and self.stage.chance.random() > COLD:
                return found
        self._count += 1
        life = self._born(f"{function}-{self._count}")
        store = self.database.store(life)
        app = handlers.App(
            config=self._config(life),
            clock=cast(Any, life),
            store=store,
            lock=RunLock(store.client, TABLE),
            telemetry=SILENT,
            loop=cast(Any, SimpleNamespace(run_until_complete=wait_for)),
        )
        return Container(
            function, life, self.version, app, SimulatedGateway(self.ledger, life), self.bucket.client(life)
        )

    def _config(self, life: Life) -> LambdaConfig:
        setup = self.stage.setup
        return LambdaConfig(
            stack="simulated",
            alternative="serverless",
            environment="dev",
            metric_namespace="",
            batch_size=setup.batch,
            gateway=GatewayConfig("", setup.concurrency, 0, "", shadow=life.policy.only_ask),
            policy=life.policy,
            tracing=TracingConfig(0, "", ""),
            canary=None,
            table=TABLE,
            index=INDEX,
            shards=self.database.shards,
            plan_bucket=BUCKET,
            batches_per_plan=setup.batches_per_plan,
            run_lease=timedelta(seconds=setup.run_lease),
            canary_account=None,
        )


LATELY = timedelta(minutes=3)
"""A plan takes a while, and its clock may be a little behind: what became due just now need not be in it."""
COLD = 0.1
"""So often Lambda takes a new container though a warm one is there."""
