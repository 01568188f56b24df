"""The run lock: one item in the table of the transactions, so that a second run ends at once while one is under way.

Plan takes it, each batch renews it that begins when a third of the lease is over (a loop over many batches may take
hours), and Plan releases it where nothing is due; after work or an error the state machine does
(components/serverless/state_machine.py). The last run's result is left on it. It saves work and money, it is not what
safety rests on: that is each transaction's fence.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from workers.domain.policy import LONGEST_LEASE
from workers.domain.transaction import from_text, to_text
from workers.stores.common import earliest
from workers.stores.dynamodb import RUN_ITEM

KEY = {"id": {"S": RUN_ITEM}}
"""No transaction's id begins with #."""


SHADOW = "shadow"
"""Of the lock's item: a run in shadow mode was here, and whether no other was since. Runs of the version before go by
its being there alone, and mark what waits: so it stays when shadow mode is left, for the way back to them."""
SINCE = "shadow_since"
"""The same, with the earliest moment that the table was set back to, or none: by the time that somebody sends again the
settings have forgotten it. Runs of the version before take the first note away, and leave this one."""
LEFT_AT, LEFT_SINCE = "shadow_left_at", "shadow_left_since"
"""When the first run after shadow mode began, and the earliest moment that a note of shadow mode ever told."""
STOPPED = "shadow_stopped"
"""The same as `LEFT_AT`, or when a run first saw that it lay ahead."""


class LockTaken(NamedTuple):
    """The lock is ours."""

    others_until: datetime | None = None
    """When shadow mode was left: others may have sent until then. None: it never was."""
    restored_to: datetime | None = None
    """The earliest moment that the table was ever set back to."""
    others_stopped: datetime | None = None
    """`workers.domain.policy.Policy.others_stopped`."""


class LockLost(Exception):  # noqa: N818 - what happened
    """Another run holds the lock, or it was released: this one outlived its lease, and leaves the work to others."""


@dataclass(frozen=True)
class RunLock:
    """The lock item of one table."""

    client: Any
    table: str
    renewed: dict[str, datetime] = field(default_factory=dict)
    """When this worker last renewed it, by run."""

    def take(
        self,
        run: str,
        now: datetime,
        until: datetime,
        *,
        in_shadow: bool = False,
        restored_to: datetime | None = None,
    ) -> LockTaken | None:
        """Hold the lock until `until`, unless another run holds it: None.

        It is ours already in a later loop, or where the answer to a first try was lost. A run in shadow mode leaves a
        note of that; the first that may send turns it into the moment at which shadow mode was left, which stays.
        """
        # a lease beyond what any run takes was dated by a wrong clock: waiting for its end would stop all
        free = "attribute_not_exists(lease_until) OR lease_until < :now OR lease_until > :beyond"
        values: dict[str, datetime | dict[str, Any]] = {":until": until, ":now": now, ":beyond": now + LONGEST_LEASE}
        # A restored table has the lock of a run that was under way then, and is long gone. A moment that lies ahead is
        # a mistake, and would free the lock of a run that goes on.
        if restored_to and restored_to <= now:
            free += " OR lease_until <= :then"
            values[":then"] = restored_to + (until - now)
        condition = f"{free} OR run = :run"
        note = ""
        if in_shadow:
            values |= {":yes": {"BOOL": True}, ":since": restored_to or {"S": ""}}
            note = f", {SHADOW} = :yes, {SINCE} = if_not_exists({SINCE}, :since)"
        try:
            item = self._update(run, f"SET run = :run, lease_until = :until{note}", values, condition)
            if in_shadow:
                known = _moment(item, SINCE)
                if restored_to and (known is None or restored_to < known):
                    self._update(run, f"SET {SINCE} = :since", {":since": restored_to})
            elif item.get(SHADOW) == {"BOOL": True} or SINCE in item:
                item = self._leave_shadow(run, now, _since(item))
            elif (stopped := _moment(item, STOPPED) or _moment(item, LEFT_AT)) and stopped > now:
                item = self._update(run, f"SET {STOPPED} = :now", {":now": now})
        except LockLost:
            return None
        return LockTaken(_moment(item, LEFT_AT), earliest(_since(item), restored_to), _moment(item, STOPPED))

    def _leave_shadow(self, run: str, now: datetime, since: datetime | None) -> Mapping[str, Any]:
        """In one step, so that nobody ever finds neither the note nor the moment."""
        change = f"SET {LEFT_AT} = :now, {STOPPED} = :now, {LEFT_SINCE} = :since, {SHADOW} = :no REMOVE {SINCE}"
        return self._update(run, change, {":now": now, ":since": since or {"S": ""}, ":no": {"BOOL": False}})

    def release(self, run: str) -> None:
        """Let the next run begin at once. Nothing to do where the lock is no longer ours."""
        with contextlib.suppress(LockLost):
            self._update(run, "REMOVE lease_until", {})

    def keep(self, run: str, since: datetime, now: datetime, lease: timedelta) -> None:
        """Renew the lock where a third of its lease is over, as far as this worker knows.

        `since` is when the run's plan took it. A lock that was released stays so: a batch may outlive its run.

        Raises:
            LockLost: it is no longer ours.
        """
        if now - max(since, self.renewed.get(run, since)) < lease / 3:
            return
        condition = "run = :run AND attribute_exists(lease_until)"
        self._update(run, "SET lease_until = :until", {":until": now + lease}, condition)
        self.renewed.clear()
        self.renewed[run] = now

    def note(self, run: str, result: dict[str, int | str]) -> bool:
        """Leave what this run did so far on the item, for `confirm status`: False if the lock is no longer ours."""
        values = {name: {"N": str(v)} if isinstance(v, int) else {"S": v} for name, v in result.items()}
        try:
            self._update(run, "SET last_run = :result", {":result": {"M": values}})
        except LockLost:
            return False
        return True

    def _update(
        self, run: str, expression: str, values: Mapping[str, datetime | dict[str, Any]], condition: str = "run = :run"
    ) -> Mapping[str, Any]:
        """The item as it is then. Raises LockLost where the condition does not hold."""
        texts = {name: {"S": to_text(v)} if isinstance(v, datetime) else v for name, v in values.items()}
        try:
            answer = self.client.update_item(
                TableName=self.table,
                Key=KEY,
                UpdateExpression=expression,
                ConditionExpression=condition,
                ExpressionAttributeValues={":run": {"S": run}, **texts},
                ReturnValues="ALL_NEW",
            )
            item: Mapping[str, Any] = answer["Attributes"]
            return item
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                raise LockLost(f"the run lock of {self.table} is no longer held by {run}") from None
            raise


def _since(item: Mapping[str, Any]) -> datetime | None:
    return earliest(_moment(item, SINCE), _moment(item, LEFT_SINCE))


def _moment(item: Mapping[str, Any], name: str) -> datetime | None:
    text = item.get(name, {}).get("S")
    return from_text(text) if text else None
