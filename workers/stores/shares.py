"""Where workers take their shares of the gateway's rate limit: in memory, on DynamoDB, on PostgreSQL.

Each adds to the counts of some slices of time in one call, and tells what stood before (`workers.domain.ports.Shares`).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

from workers.domain.ports import Clock, Taken
from workers.domain.shares import UNTOUCHED, Ask, Slice, slice_at


@dataclass
class MemoryShares:
    """The model: a dict. For tests, and for workers of one process."""

    clock: Clock
    reach: int = 4
    slices: dict[int, Slice] = field(default_factory=dict)

    async def take(self, asked: Sequence[Ask], now: float) -> Taken:  # noqa: ARG002 - it has a clock
        at = self.clock.now().timestamp()
        self.slices = {number: of for number, of in self.slices.items() if number >= slice_at(at) - 1}
        before = dict(self.slices)
        for number, *more in asked:
            old = self.slices.get(number, UNTOUCHED)
            self.slices[number] = Slice(*(a + b for a, b in zip(old, more, strict=True)))
        return Taken(before, at, at)


ITEM = "#shares"
"""No transaction's id begins with #."""
KINDS = ("t", "l", "h")
"""Of attributes, with a slice's number behind: what is taken of it, by the light, and how many are hungry."""
STAMP = "at"
"""The time of whoever wrote last, in milliseconds."""


@dataclass
class DynamoDbShares:
    """One item of the transactions' table.

    An UpdateItem of one write unit adds to the counts of all slices asked for. It has no condition, so it is never in
    vain: parts over PARTS are simply nobody's. The counts of slices that are over go with the next write.

    DynamoDB has no clock that can be read to the millisecond. So each worker goes by its own, and leaves it on the
    item: whoever finds himself behind another's stamp follows it, and what is off by more than a second is put right by
    the Date of DynamoDB's answers. What matters is that all go by the same time, not which.
    """

    client: Any
    """boto3's DynamoDB client; its calls run in threads."""
    table: str
    reach: int = 6
    _old: tuple[str, ...] = ()
    """Attributes of slices that are over, as last seen."""

    async def take(self, asked: Sequence[Ask], now: float) -> Taken:
        answer = await asyncio.to_thread(self._add, asked, now) if asked else await asyncio.to_thread(self._look)
        item = answer["Attributes"]
        earliest, latest = _time(answer, int(item.get(STAMP, {"N": "0"})["N"]) / 1000)
        # by whichever clock is behind: what is another worker's present must not be taken from him
        least = slice_at(min(now, earliest)) - 1
        counts: dict[int, dict[str, int]] = {}
        old = []
        for name, value in item.items():
            if (number := _slice_of(name)) is None:
                continue
            if number < least:
                old.append(name)
            else:
                counts.setdefault(number, {})[name[0]] = int(value["N"])
        self._old = tuple(old)
        before = {number: Slice(*(found.get(kind, 0) for kind in KINDS)) for number, found in counts.items()}
        return Taken(before, earliest, latest)

    def _look(self) -> Mapping[str, Any]:
        """By BatchGetItem, which workers may do anyway."""
        wanted = {self.table: {"Keys": [{"id": {"S": ITEM}}], "ConsistentRead": True}}
        answer = self.client.batch_get_item(RequestItems=wanted)
        return {**answer, "Attributes": next(iter(answer["Responses"].get(self.table, [])), {})}

    def _add(self, asked: Sequence[Ask], now: float) -> Mapping[str, Any]:
        values = {":at": {"N": str(int(now * 1000))}}
        adds = []
        for number, *counts in asked:
            for kind, amount in zip(KINDS, counts, strict=True):
                if amount:
                    values[f":{kind}{number}"] = {"N": str(amount)}
                    adds.append(f"{kind}{number} :{kind}{number}")
        old = [name for name in self._old if f":{name}" not in values]  # no write may add to it and take it away
        gone = f" REMOVE {', '.join(old)}" if old else ""
        answer = self.client.update_item(
            TableName=self.table,
            Key={"id": {"S": ITEM}},
            UpdateExpression=f"SET #at = :at ADD {', '.join(adds)}{gone}",
            ExpressionAttributeNames={"#at": STAMP},
            ExpressionAttributeValues=values,
            ReturnValues="ALL_OLD",
        )
        return {"Attributes": {}, **answer}


def _slice_of(name: str) -> int | None:
    return int(name[1:]) if name[:1] in KINDS and name[1:].isdigit() else None


def _time(answer: Mapping[str, Any], stamp: float) -> tuple[float, float]:
    """Between which times the answer was made: by its Date, which knows seconds, and by another worker's stamp."""
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    if not date:
        return stamp, math.inf
    second = parsedate_to_datetime(date).timestamp()
    latest = second + 1
    return max(second, stamp) if stamp <= latest else second, latest


SECONDS = 5.0
"""For PostgreSQL's answer: one that comes later is of no use."""


@dataclass
class PostgresShares:
    """A few rows of one small table, changed by one function in one short statement; the time is the database's."""

    pool: Any
    """asyncpg's."""
    clock: Clock | None = None
    """Stands in for the database's own in tests."""
    reach: int = 4

    async def take(self, asked: Sequence[Ask], now: float) -> Taken:  # noqa: ARG002 - the database has a clock
        columns = [list(column) for column in zip(*asked, strict=True)] or [[], [], [], []]
        rows = await self.pool.fetch(
            "SELECT slice, taken, light, hungry, at FROM take_shares($1, $2, $3, $4, $5)",
            self.clock.now() if self.clock else None,
            *columns,
            timeout=SECONDS,
        )
        at = float(rows[0]["at"])  # a row without a slice comes in any case
        return Taken({row["slice"]: Slice(*row[1:4]) for row in rows if row["slice"] is not None}, at, at)
