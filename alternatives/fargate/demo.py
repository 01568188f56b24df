"""The fargate alternative in the demo: a worker is killed, the database crashes, the service is rolled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import asyncpg

from demo import chaos
from demo.scenario import Scenario
from local.postgres import Postgres, crash
from local.stack import LocalAws
from workers.database.connection import LOST
from workers.domain.policy import Policy
from workers.domain.ports import Backlog
from workers.domain.transaction import Transaction
from workers.stores.postgres import PostgresStore

T = TypeVar("T")
WORKER = "workers.service"


class Fargate(Scenario):
    alternative = "fargate"
    about = "ECS Fargate, Aurora PostgreSQL: real worker processes on a real PostgreSQL; nothing leaves this machine"
    starts = "the service claims as they come"
    mischief = "a worker will be killed, the database will crash, and the service will be rolled"
    latency_note = "LISTEN/NOTIFY wakes the service; the gateway itself takes 50 ms of it."
    better_for = "seconds matter, large steady volumes, SQL at hand"
    pause = 0.5

    def __init__(self, aws: LocalAws, outputs: dict[str, Any]) -> None:
        super().__init__(aws, outputs)
        self._ecs = aws.client("ecs")
        self._loop = asyncio.new_event_loop()
        self._folder = aws.folder / "postgres"
        self._pool: asyncpg.Pool = self._run(self._connect())
        self._store = PostgresStore(self._pool, Policy())
        self._last = Backlog(0, 0, None, 0)
        self._plan = self.plan()

    def plan(self) -> list[tuple[float, Callable[[], str | None]]]:
        """What is done to the run, each once that share of it is final."""
        return [(0.20, self._kill), (0.45, self._crash), (0.70, self.roll)]

    def backlog(self) -> Backlog:
        try:
            self._last = self._run(self._store.backlog())
        except LOST:  # the crash was our own doing
            self._run(self._pool.expire_connections())
        return self._last

    def everything(self) -> list[Transaction]:
        return self._run(self._store.everything())

    def tasks(self) -> int:
        answer = self._ecs.describe_services(
            cluster=self.outputs["clusterName"], services=[self.outputs["serviceName"]]
        )
        return int(answer["services"][0]["runningCount"])

    def do_mischief(self, share: float, seconds: float) -> str | None:  # noqa: ARG002
        if not self._plan or share < self._plan[0][0]:
            return None
        done = self._plan[0][1]()
        if done:
            self._plan.pop(0)
        return done

    def times(self) -> dict[str, float]:
        lines = [
            line
            for line in self.metric_lines(self.outputs["logGroups"]["worker"])
            if {"ClaimMs", "ConfirmMs", "SettleMs"} & set(line)
        ]
        counts = ("Confirmed", "Rejected", "Retried", "Review", "NotTried")
        names = {"claiming": "ClaimMs", "gateway and its rate limit": "ConfirmMs", "settling": "SettleMs"}
        return {
            text: sum(line.get(name, 0) * sum(line.get(count, 0) for count in counts) for line in lines) / 1000
            for text, name in names.items()
        }

    def add(self, transactions: Sequence[Transaction]) -> None:
        self._run(self._store.add(transactions))

    def find(self, id_: str) -> Transaction | None:
        return self._run(self._store.find(id_))

    def rows(self, query: str, *arguments: object) -> list[Mapping[str, Any]]:
        """What the database answers; raises one of `workers.database.connection.LOST` while it is away."""
        try:
            return list(self._run(self._pool.fetch(query, *arguments)))
        except LOST:
            self._run(self._pool.expire_connections())
            raise

    def close(self) -> None:
        self._pool.terminate()
        self._loop.close()

    # --- mischief

    def _kill(self) -> str | None:
        pids = chaos.below(chaos.emulator(self.aws.folder), WORKER)
        return "SIGKILL to a worker" if any(chaos.kill(pid) for pid in pids[:1]) else None

    def _crash(self) -> str:
        threading.Thread(target=crash, args=(self._folder,), daemon=True).start()
        return "database crashes"

    def roll(self) -> str:
        self._ecs.update_service(
            cluster=self.outputs["clusterName"], service=self.outputs["serviceName"], forceNewDeployment=True
        )
        return "service rolled"

    # --- parts

    async def _connect(self) -> asyncpg.Pool:
        url = Postgres.running(self._folder).url(database=self.outputs["databaseName"])
        return await asyncpg.create_pool(url, min_size=0, max_size=2)

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(call)
