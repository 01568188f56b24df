"""The runs of `serverless`: EventBridge Scheduler's triggers, and the state machine that they start.

The flow is that of components/serverless/state_machine.py (tests/simulation holds its figures to it); what each state
does is done by the production's handlers.
"""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

from botocore.exceptions import ClientError

from simulation.lambdas import FunctionFailed, Functions
from simulation.stores.dynamodb import TABLE

MAX_LOOPS = 200
"""Of one run."""
RETRIES = 5
"""Of a call whose failure was Lambda's own; waits of a second at first, doubled up to `LONGEST_RETRY`."""
LONGEST_RETRY = 16.0
DYNAMODB_RETRIES = 3
RELEASE: dict[str, Any] = {
    "TableName": TABLE,
    "Key": {"id": {"S": "#run"}},
    "UpdateExpression": "REMOVE lease_until",
    "ConditionExpression": "#run = :run",
    "ExpressionAttributeNames": {"#run": "run"},
}
"""As the state machine itself says it, to DynamoDB."""
IDLE = 0.03
"""So often a trigger is played though nothing is due."""


class Runs:
    """All executions of one stack's state machine."""

    def __init__(self, functions: Functions) -> None:
        self.functions, self.stage = functions, functions.stage
        self.number = 0
        self.under_way: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """One execution more, as the scheduler starts it: at least once."""
        self._begin()
        if self.stage.strikes("duplicate_trigger"):
            self.stage.journal.fault("scheduler", "duplicate_trigger")
            later = self.stage.chance.choice((0.0, self.stage.chance.uniform(0, self.stage.setup.trigger)))
            self.stage.loop.call_later(later, self._begin)

    def _begin(self) -> None:
        self.number += 1
        task = self.stage.loop.create_task(self._execution(f"run{self.number:05}"))
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)

    async def _execution(self, run: str) -> None:
        try:
            await self._loops(run)
        except FunctionFailed:
            await self._release(run)

    async def _loops(self, run: str) -> None:
        last: dict[str, Any] = {}
        for _ in range(MAX_LOOPS):
            plan = await self._call("plan", {"run": run, "last": last})
            if not plan["batches"]:
                return  # Idle, or AlreadyRunning
            self._may_end(run)
            lines = self.functions.bucket.objects[plan["key"]].splitlines()
            at_once = asyncio.Semaphore(self.stage.setup.batches_at_once)
            results = await asyncio.gather(*(self._batch(json.loads(line), at_once) for line in lines))
            self._may_end(run)
            handed_on = {name: plan[name] for name in ("loop", "batches", "transactions", "more", "shards")}
            last = await self._call(
                "report", {"run": run, "trace": plan["trace"], "plan": handed_on, "results": results}
            )
            if not last["more"]:
                break
        await self._release(run)

    def _may_end(self, run: str) -> None:
        """Somebody may stop an execution between two states; nothing of it is left then but its lock."""
        if self.stage.strikes("crash"):
            self.stage.journal.fault(run, "crash", "", "the execution was stopped")
            raise asyncio.CancelledError

    async def _batch(self, line: dict[str, Any], at_once: asyncio.Semaphore) -> dict[str, Any]:
        async with at_once:
            try:
                return await self._call("confirm", line)
            except FunctionFailed as error:
                return {"failed": 1, "batch": line["batch"], "error": str(error)}

    async def _call(self, function: str, event: dict[str, Any]) -> dict[str, Any]:
        """With Step Functions' retries: the same input again, whatever became of the call before."""
        stage, wait = self.stage, 1.0
        for _ in range(RETRIES):
            if not stage.strikes("service_fault"):
                break
            reached = stage.chance.random() < 0.5
            told = "its answer is lost, it goes on" if reached else "not even begun"
            stage.journal.fault(str(event["run"]), "service_fault", "", f"{function}: {told}")
            if reached:
                stage.loop.create_task(self.functions.invoke(function, event))
            await asyncio.sleep(stage.chance.uniform(0, wait))
            wait = min(2 * wait, LONGEST_RETRY)
        return await self.functions.invoke(function, event)

    async def _release(self, run: str) -> None:
        """By the state machine itself. Where even that fails the lock ends with its lease."""
        stage, table = self.stage, self.functions.database.table
        for _ in range(1 + DYNAMODB_RETRIES):
            if stage.strikes("store_throttled"):
                stage.journal.fault(run, "store_throttled", "", "release")
                await asyncio.sleep(stage.chance.uniform(0, 4))
                continue
            wanted = {**RELEASE, "ExpressionAttributeValues": {":run": {"S": run}}}
            table.catch_up()
            try:
                answer: Any = table.update_item(lambda *_: None, **wanted)
            except ClientError as error:  # LockLost: another run has taken it, harmless
                answer = error
            table.tell("update_item", wanted, answer)
            return

    def next_trigger(self, due: float, phase: float) -> float:
        """When the scheduler starts the next run that can matter: few are played at which nothing is due."""
        every, now = self.stage.setup.trigger, self.stage.loop.seconds
        at = now if self.stage.chance.random() < IDLE else max(due, now + 0.001)
        return math.inf if math.isinf(at) else (math.ceil(at / every - phase) + phase) * every
