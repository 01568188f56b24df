"""The fargate alternative under attack: tasks are processes, each known by its name in what it has claimed."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar

from alternatives.fargate.demo import WORKER, Fargate
from chaos.front import Front, Kind, send
from chaos.proxy import PostgresWire, Proxy
from chaos.stage import Config
from chaos.takeover import Hold, Takeover, takeovers
from demo import chaos
from local.postgres import Postgres, crash
from local.processes import command_of
from local.stack import SCHEDULER_SPEED, LocalAws
from workers.database.connection import LOST
from workers.domain.transaction import Transaction

TASKS = 8
STABLE_SECONDS = 11
"""A task that dies younger is a crash loop to ECS, which then waits longer and longer with the next."""
LEASE_SECONDS = 10
STOP_SECONDS = 25.0
"""After a SIGTERM nothing may be held for longer."""

HELD = "SELECT id, token, lease_until, claimed_by FROM transactions WHERE status = 'PROCESSING'"


class FargateFront(Front):
    """Eight tasks on PostgreSQL, with the shortest lease that settings allow. All clocks are this machine's."""

    alternative = "fargate"
    config: ClassVar[Config] = {
        "clockSkewSeconds": 0,
        "leaseSeconds": LEASE_SECONDS,
        "minTasks": TASKS,
        "maxTasks": TASKS,
        "batchSize": 20,
        "gatewayConcurrency": 5,
        "maxAttempts": 8,
    }
    speed = SCHEDULER_SPEED
    kinds = frozenset(Kind)
    lease = timedelta(seconds=LEASE_SECONDS)
    apart = timedelta(milliseconds=100)
    """A worker keeps the database's time as exactly as an answer is quick (workers/database/clock.py)."""
    ahead = 150
    promise_seconds = 2.0

    scenario: Fargate

    def __init__(self, aws: LocalAws, scenario: Fargate) -> None:
        self._folder = aws.folder / "postgres"
        super().__init__(aws, scenario)
        self._stopping: dict[str, float] = {}
        """Who was told to stop, and when."""
        self._crash: threading.Thread | None = None

    def make_proxy(self) -> Proxy:
        return Proxy(Postgres.running(self._folder).port, PostgresWire)

    def lead_through_proxy(self) -> None:
        ecs, outputs = self.aws.client("ecs"), self.scenario.outputs
        made = ecs.describe_task_definition(taskDefinition=outputs["taskDefinitionArn"])["taskDefinition"]
        for container in made["containerDefinitions"]:
            for variable in container.get("environment", ()):
                if variable["name"] == "DATABASE_PORT":
                    variable["value"] = str(self.proxy.port)
        wanted = ecs.meta.service_model.operation_model("RegisterTaskDefinition").input_shape.members
        own = ecs.register_task_definition(**{name: value for name, value in made.items() if name in wanted})
        arn = own["taskDefinition"]["taskDefinitionArn"]
        place = {"cluster": outputs["clusterName"], "service": outputs["serviceName"]}
        ecs.update_service(**place, taskDefinition=arn)
        until = time.monotonic() + 120
        while time.monotonic() < until:
            [service] = ecs.describe_services(cluster=place["cluster"], services=[place["service"]])["services"]
            if len(service["deployments"]) == 1 and service["runningCount"] == TASKS:
                return
            time.sleep(0.3)

    def workers(self) -> list[int]:
        return chaos.below(chaos.emulator(self.aws.folder), WORKER)

    def connections(self) -> int:
        rows = self.ask("SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = 'confirm'")
        return int(rows[0]["n"]) if rows else 0

    def takeovers(self, records: list[Transaction]) -> list[Takeover]:
        return takeovers(records, self.lease, self.struck.leases)

    @property
    def busy(self) -> bool:
        return super().busy or bool(self._stopping) or self._crashing

    def tick(self) -> None:
        super().tick()
        if self._stopping:
            holding = {row["claimed_by"] for row in self.ask(HELD) or [{"claimed_by": by} for by in self._stopping]}
            for by, since in list(self._stopping.items()):
                if by not in holding or time.monotonic() - since > 2 * STOP_SECONDS:
                    self.struck.stops.append(time.monotonic() - since)
                    del self._stopping[by]

    def strike(self, kind: Kind) -> bool:
        if self._crashing:
            return False
        match kind:
            case Kind.KILL:
                return self._kill()
            case Kind.PAUSE:
                by, pid = self._holder()
                return bool(by) and self.pause(pid)
            case Kind.TERM:
                return self._term()
            case Kind.CUT:
                return self.cut()
            case Kind.CRASH | Kind.RESTART | Kind.ROLL if self.busy:
                return False
            case Kind.CRASH:
                self._crash = threading.Thread(target=self._lose_database, daemon=True)
                self._crash.start()
            case Kind.RESTART:
                with self.away():
                    self.aws.restart_emulator()
            case Kind.ROLL:
                self.scenario.roll()
        return True

    # --- parts

    @property
    def _crashing(self) -> bool:
        return self._crash is not None and self._crash.is_alive()

    def ask(self, query: str, *arguments: object) -> list[Mapping[str, Any]]:
        """Rows; none while the database is away, as we wanted it."""
        try:
            return self.scenario.rows(query, *arguments)
        except LOST:
            return []

    def _lose_database(self) -> None:
        with self.away():
            crash(self._folder)

    def _kill(self) -> bool:
        by, pid = self._holder()
        if not by or not send(pid, signal.SIGKILL):
            return False
        while command_of(pid):
            time.sleep(0.005)
        held: dict[Hold, datetime] = {
            (row["id"], row["token"]): row["lease_until"] for row in self.ask(HELD + " AND claimed_by = $1", by)
        }
        self.struck.leases |= held
        self.struck.in_hand += len(held)
        return True

    def _term(self) -> bool:
        by, pid = self._holder()
        if not by or not send(pid, signal.SIGTERM):
            return False
        self._stopping[by] = time.monotonic()
        return True

    def _holder(self) -> tuple[str, int]:
        """The oldest process that holds something and was told nothing yet."""
        names = {row["claimed_by"] for row in self.ask(HELD)} - self._stopping.keys()
        pids = {int(by.rpartition("-")[2]): by for by in names if by.rpartition("-")[2].isdigit()}
        ages = {pid: age for pid, age in _ages(pids) if pid not in self._paused and pid not in self.spared}
        pid = max(ages, key=ages.__getitem__, default=0)
        return (pids[pid], pid) if ages.get(pid, 0) >= STABLE_SECONDS else ("", 0)


def _ages(pids: Mapping[int, str]) -> list[tuple[int, int]]:
    """Seconds that each has lived, of those that live and are workers."""
    if not pids:
        return []
    lines = [line.split(None, 2) for line in chaos.ps("-o", "pid=,etime=,args=", "-p", ",".join(map(str, pids)))]
    return [(int(pid), seconds_of(time_)) for pid, time_, command in lines if WORKER in command]


def seconds_of(etime: str) -> int:
    """`[[days-]hours:]minutes:seconds`, which every ps has."""
    days, _, rest = etime.rpartition("-")
    total = 0
    for part in rest.split(":"):
        total = total * 60 + int(part)
    return total + int(days or 0) * 86_400
