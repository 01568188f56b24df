"""Finding transactions in DynamoDB: what lies on a desk or is open, by the sparse index; the rest by a scan.

There is no index by account or reference: it would cost each transaction another write, and an account that many
payments name is one partition of it, which takes 1,000 writes a second and then holds up the table itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from workers.domain.finding import DESK, OPEN, Found, Route, Size, Where, is_open, on_desk, plan
from workers.domain.transaction import Transaction
from workers.stores.dynamodb import REVIEW_SHARD, DynamoDbStore, _read

MOST_AT_ONCE = 2_000
"""Keys between two looks at their items: 20 calls side by side, of 100 items each."""
UNIT_BYTES = 8 * 1024
"""Of one read unit, eventually consistent: twice 4 KB."""

_WAYS = (
    Route("the index of what lies on a desk", on_desk, "a read unit or two for each that lies on a desk"),
    Route("the index of open work", is_open, "a read unit or two for each that is open"),
)


@dataclass(frozen=True, slots=True)
class DynamoDbFinder:
    """`workers.domain.finding.Finder` on a table and its index."""

    ways: ClassVar[Sequence[Route]] = _WAYS

    store: DynamoDbStore

    async def size(self) -> Size:
        table = (await self.store._call(self.store.client.describe_table, TableName=self.store.table))["Table"]
        units = -(-table["TableSizeBytes"] // UNIT_BYTES)
        return Size(table["ItemCount"], f"{units:,} read units")

    async def find(self, where: Where, expected: int) -> AsyncIterator[Found]:
        seen: set[str] = set()  # what waits for its next turn moves to another place meanwhile
        source = self._by_index(where, expected) if plan(where, self.ways) else self._scan(where)
        async for record in source:
            found = Found(record, record.cause)
            if record.id not in seen and where.matches(found):
                seen.add(record.id)
                yield found

    async def read(self, ids: Sequence[str]) -> list[Transaction]:
        items = await self.store._items(ids, consistent=True)
        return [_read(items[id_]) for id_ in dict.fromkeys(ids) if id_ in items and not id_.startswith("#")]

    async def _by_index(self, where: Where, expected: int) -> AsyncIterator[Transaction]:
        if where.states & OPEN:
            await self.store.learn_shards()
        for states, shards in ((DESK, (REVIEW_SHARD,)), (OPEN, self.store._shards)):
            if not where.states & states:
                continue
            walk, size = self.store._walk(shards, expected), min(max(expected, 100), MOST_AT_ONCE)
            while keys := await walk.take(size):
                for record in await self.read([id_ for _, id_ in keys]):
                    yield record
                size = MOST_AT_ONCE

    async def _scan(self, where: Where) -> AsyncIterator[Transaction]:
        query: dict[str, Any] = {"TableName": self.store.table, **_filter(where)}
        while True:
            page = await self.store._call(self.store.client.scan, **query)
            for item in page["Items"]:
                # Ids of transactions never begin with #: those items are the system's own.
                if not item["id"]["S"].startswith("#"):
                    yield _read(item)
            if "LastEvaluatedKey" not in page:
                return
            query["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def _filter(where: Where) -> dict[str, Any]:
    """What DynamoDB can leave out itself: nothing less is read, and less is sent here. `matches` still decides."""
    values: dict[str, Any] = {}
    tests: list[str] = []

    def need(test: str, **given: dict[str, str]) -> None:
        tests.append(test)
        values.update({f":{name}": value for name, value in given.items()})

    if where.account is not None and where.account_ends is None:
        need("account = :account", account={"S": where.account})
    if where.reference is not None:
        need("gateway_reference = :reference", reference={"S": where.reference})
    if where.currency is not None:
        need("currency = :currency", currency={"S": where.currency})
    if where.amount_from is not None:
        need("amount >= :least", least={"N": str(where.amount_from)})
    if where.amount_to is not None:
        need("amount <= :most", most={"N": str(where.amount_to)})
    return {"FilterExpression": " AND ".join(tests), "ExpressionAttributeValues": values} if tests else {}
