"""The desk's store as a model: the shortest code that keeps the contract. Tests run on it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tests.memory_store import MemoryStore
from workers.domain.desk import MOST_OPEN, Item, Request, Stage, from_document, to_document
from workers.domain.pause import Standing, from_json, to_json
from workers.domain.ports import Move
from workers.domain.transaction import Transaction


@dataclass
class MemoryDesk:
    """Requests in a dict, as documents, beside the transactions of a store."""

    store: MemoryStore
    kept: dict[str, dict[str, object]] = field(default_factory=dict)

    async def add(self, request: Request) -> bool:
        if request.id in self.kept:
            return False
        self.kept[request.id] = to_document(request)
        return True

    async def replace(self, before: Request, after: Request) -> bool:
        if self.kept[before.id]["version"] != before.version:
            return False
        self.kept[before.id] = to_document(after)
        return True

    async def request(self, id: str) -> Request | None:  # noqa: A002
        return from_document(self.kept[id]) if id in self.kept else None

    async def waiting(self, now: datetime) -> int:
        return len(await self.requests(now))

    async def requests(self, since: datetime | None = None, limit: int = MOST_OPEN) -> list[Request]:
        found = []
        for one in self.kept.values():
            with contextlib.suppress(ValueError):
                found.append(from_document(one))
        waiting = [one for one in found if one.state in (Stage.OPEN, Stage.APPROVED)]
        waiting = [one for one in waiting if since is None or one.ends_at > since]
        return sorted(waiting, key=lambda one: (one.ends_at, one.id))[:limit]

    async def records(self, items: Sequence[Item]) -> Mapping[str, Transaction]:
        return {item.id: self.store.records[item.id] for item in items if item.id in self.store.records}

    async def standing(self) -> Standing:
        note = self.kept.get("pause", {"version": 0, "document": "null"})
        return from_json(str(note["document"]), int(str(note["version"])))

    async def pause(self, before: Standing, after: Standing) -> bool:
        if (now := await self.standing()) != before:
            return now == after  # as whoever lost the answer to his own write
        self.kept["pause"] = {"version": after.version, "document": to_json(after)}
        return True

    async def exit(self, moves: Sequence[Move]) -> list[bool]:
        return await self.store.settle(moves)
