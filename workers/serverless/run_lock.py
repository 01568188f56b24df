"""The run lock: one item in the table of the transactions, so that a second run ends at once while one is under way.

The state machine takes and releases it (components/serverless/state_machine.py); here it is renewed, and the last
run's result is left on it. It saves work and money, it is not what safety rests on: that is each transaction's fence.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from workers.domain.transaction import to_text

KEY = {"id": {"S": "#run"}}
"""No transaction's id begins with #."""


class LockLost(Exception):  # noqa: N818 - what happened
    """Another run holds the lock: this one took longer than its lease and must end."""


@dataclass(frozen=True)
class RunLock:
    """The lock item of one table."""

    client: Any
    table: str

    def renew(self, run: str, until: datetime) -> None:
        """Hold the lock until `until`.

        Raises:
            LockLost: it is no longer ours.
        """
        self._update(run, "SET lease_until = :until", {":until": {"S": to_text(until)}})

    def note(self, run: str, result: dict[str, int | str]) -> None:
        """Leave what this run did so far on the item, for `confirm status`."""
        values = {name: {"N": str(v)} if isinstance(v, int) else {"S": v} for name, v in result.items()}
        self._update(run, "SET last_run = :result", {":result": {"M": values}})

    def _update(self, run: str, expression: str, values: dict[str, Any]) -> None:
        try:
            self.client.update_item(
                TableName=self.table,
                Key=KEY,
                UpdateExpression=expression,
                ConditionExpression="run = :run",
                ExpressionAttributeValues={":run": {"S": run}, **values},
            )
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                raise LockLost(f"the run lock of {self.table} is no longer held by {run}") from None
            raise
