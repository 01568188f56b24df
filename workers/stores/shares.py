"""Where workers take their shares of the gateway's rate limit: here on DynamoDB, in postgres_shares.py on PostgreSQL.

Each adds to the counts of some slices of time in one call, and tells what stood before (`workers.domain.ports.Shares`).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

from workers.domain.ports import Taken
from workers.domain.shares import SLICE, Ask, Slice, slice_at
from workers.domain.timeline import HELD, OFF, Seen, TimeLine

ITEM = "#shares"
"""No transaction's id begins with #."""
KINDS = ("t", "l", "h")
"""Of attributes, with a slice's number behind: what is taken of it, by the light, and how many are hungry."""
STAMP = "at"
"""The time of whoever wrote last, in microseconds."""


@dataclass
class DynamoDbShares:
    """One item of the transactions' table.

    An UpdateItem of one write unit adds to the counts of all slices asked for. It has no condition, so it is never in
    vain: parts over PARTS are simply nobody's. (But for the first after a rest: of all who begin then one is first.)
    The counts of slices that are over go with the next write.

    DynamoDB has no clock that can be read to the millisecond. So workers keep a time of their own
    (`workers.domain.timeline`), and a question of one that does not know it takes nothing, but tells it.
    """

    client: Any
    """boto3's DynamoDB client; its calls run in threads."""
    table: str
    reach: int = 6
    line: TimeLine = field(default_factory=TimeLine)
    """Of one worker."""
    _old: tuple[str, ...] = ()
    """Attributes of slices that are over, as last seen."""

    async def take(self, asked: Sequence[Ask], now: float) -> Taken:
        loop = asyncio.get_running_loop()
        sent = loop.time()
        if not asked or not self.line.may_write(sent):
            return await self._join(now - sent, sent)
        stamp, after = round(self.line.time(sent) * 1e6), self.line.stamp if self.line.founding else None
        try:
            answer = await asyncio.to_thread(self._add, asked, stamp, after)
        except self.client.exceptions.ConditionalCheckFailedException:  # another one was first
            return await self._join(now - sent, sent)
        received = loop.time()
        seen, before = self._read(answer, min(now, self.line.time(received)))
        held = Seen(seen.stamp, max(seen.ends, (asked[-1].slice + 1) * SLICE), seen.second)
        counted = self.line.wrote(stamp, sent, received, held)
        return Taken(before, self.line.time(received), self.line.time(sent), counted)

    async def _join(self, clock: float, began: float) -> Taken:
        """Look, until the time is known."""
        loop = asyncio.get_running_loop()
        while True:
            sent = loop.time()
            answer = await asyncio.to_thread(self._look)
            received = loop.time()
            seen, before = self._read(answer, clock + sent)
            wait = self.line.looked(clock + received, sent, received, seen)
            if not wait:
                return Taken(before, self.line.time(received), self.line.time(began), counted=False)
            await asyncio.sleep(wait)

    def _read(self, answer: Mapping[str, Any], now: float) -> tuple[Seen, dict[int, Slice]]:
        """`now`: what is over by it is over for all."""
        item = answer["Attributes"]
        stamp = int(item.get(STAMP, {"N": "0"})["N"])
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        second = parsedate_to_datetime(date).timestamp() if date else math.floor(now)
        if not self.line.known:  # what is another worker's present must not be taken from him
            now = min(now, second - OFF)
        least = slice_at(now) - 1
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
        farthest = slice_at(stamp / 1e6 + HELD)
        last = max((number for number in before if number <= farthest), default=-1)
        return Seen(stamp, (last + 1) * SLICE, second), before

    def _look(self) -> Mapping[str, Any]:
        """By BatchGetItem, which workers may do anyway."""
        wanted = {self.table: {"Keys": [{"id": {"S": ITEM}}], "ConsistentRead": True}}
        answer = self.client.batch_get_item(RequestItems=wanted)
        return {**answer, "Attributes": next(iter(answer["Responses"].get(self.table, [])), {})}

    def _add(self, asked: Sequence[Ask], stamp: int, after: int | None) -> Mapping[str, Any]:
        """`after`: only where this is the stamp still."""
        values = {":at": {"N": str(stamp)}}
        condition = {}
        if after:
            values[":after"] = {"N": str(after)}
            condition = {"ConditionExpression": "#at = :after"}
        elif after is not None:
            condition = {"ConditionExpression": "attribute_not_exists(#at)"}
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
            **condition,
        )
        return {"Attributes": {}, **answer}


def _slice_of(name: str) -> int | None:
    return int(name[1:]) if name[:1] in KINDS and name[1:].isdigit() else None
