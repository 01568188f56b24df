"""Finding transactions in memory: the shortest code that keeps the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from tests.memory_store import MemoryStore
from workers.domain.finding import Found, Route, Size, Where, is_open, on_desk
from workers.domain.transaction import Transaction


@dataclass(frozen=True)
class MemoryFinder:
    """`workers.domain.finding.Finder` on a dict."""

    ways: ClassVar[Sequence[Route]] = (Route("the desk", on_desk, "little"), Route("the open work", is_open, "little"))

    store: MemoryStore

    async def size(self) -> Size:
        return Size(len(self.store.records), "a dict")

    async def find(self, where: Where, expected: int) -> AsyncIterator[Found]:
        for record in sorted(self.store.records.values(), key=lambda one: (one.review_by or one.created_at, one.id)):
            if where.matches(found := Found(record, record.cause)):
                yield found

    async def read(self, ids: Sequence[str]) -> list[Transaction]:
        return [self.store.records[id_] for id_ in dict.fromkeys(ids) if id_ in self.store.records]
