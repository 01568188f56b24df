"""The serverless alternative in the demo: the Scheduler fires, and a Lambda is killed in mid-batch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from demo import chaos
from demo.scenario import Scenario, ask_gateway
from local.stack import SCHEDULER_SPEED, LocalAws
from workers.clock import SystemClock
from workers.domain.policy import Policy
from workers.domain.ports import Backlog
from workers.domain.transaction import Transaction
from workers.stores.dynamodb import DynamoDbStore

KILL_AT = 0.3
"""The share of final transactions at which a Lambda is killed."""


class Serverless(Scenario):
    alternative = "serverless"
    about = "Scheduler, Step Functions, Lambda, DynamoDB: no AWS account, no Docker, nothing leaves this machine"
    starts = "the Scheduler starts the state machine"
    mischief = f"a minute of its clock lasts {60 / SCHEDULER_SPEED:.0f} s here; one Lambda will be killed in mid-batch"
    latency_note = (
        f"Most of it is waiting for the Scheduler, whose clock runs {SCHEDULER_SPEED:.0f} times as fast here: "
        "on AWS up to a minute."
    )
    better_for = "uneven or small volumes, a minute's patience, nobody to look after servers"
    pause = 0.8

    def __init__(self, aws: LocalAws, outputs: dict[str, Any]) -> None:
        super().__init__(aws, outputs)
        self._store = open_store(aws, outputs)
        self._killed = False

    def backlog(self) -> Backlog:
        return asyncio.run(self._store.backlog())

    def everything(self) -> list[Transaction]:
        return asyncio.run(self._store.everything())

    def tasks(self) -> None:
        return None

    def do_mischief(self, share: float, seconds: float) -> str | None:  # noqa: ARG002
        if self._killed or share < KILL_AT or not ask_gateway(self.aws, "/_stats")["in_flight"]:
            return None
        function = f"AWS_LAMBDA_FUNCTION_NAME={self.outputs['functions']['confirm']}"
        pids = chaos.below(chaos.emulator(self.aws.folder), function)
        self._killed = any(chaos.kill(pid) for pid in pids[:1])
        return "SIGKILL to a Lambda" if self._killed else None

    def times(self) -> dict[str, float]:
        lines = [line for line in self.metric_lines(self.outputs["logGroups"]["confirm"]) if "ClaimMs" in line]
        names = {"claiming": "ClaimMs", "gateway and its rate limit": "ConfirmMs", "settling": "SettleMs"}
        return {text: sum(line[name] for line in lines) / 1000 for text, name in names.items()}

    def add(self, transactions: Sequence[Transaction]) -> None:
        asyncio.run(self._store.add(transactions))

    def find(self, id_: str) -> Transaction | None:
        return asyncio.run(self._store.find(id_))


def open_store(aws: LocalAws, outputs: dict[str, Any]) -> DynamoDbStore:
    """The stack's table, to look into."""
    return DynamoDbStore(
        aws.client("dynamodb"),
        outputs["tableName"],
        outputs["pendingIndexName"],
        int(outputs["pendingShards"]),
        SystemClock(),
        Policy(),
    )
