"""The way of the command `confirm` to the transactions of a sweep stack; its runs are noted on the run lock."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cli.aws import COUNTS, Table
from cli.desk import DeskOf, Run
from workers.domain.transaction import from_text
from workers.serverless.run_lock import KEY


@dataclass(frozen=True, slots=True)
class NotedRuns:
    """The last run, as it noted itself; a run that found nothing is one too."""

    client: Any
    table: str

    async def last(self) -> Run | None:
        return await asyncio.to_thread(self._last)

    async def last_with_work(self) -> Run | None:
        run = await self.last()
        return run if run and run.totals.get("claimed") else None

    def _last(self) -> Run | None:
        item = self.client.get_item(TableName=self.table, Key=KEY).get("Item", {})
        note = item.get("last_run", {}).get("M")
        if note is None:
            return None
        counted = {name: int(note[name]["N"]) for name in COUNTS if name in note}
        began, ended = from_text(note["began"]["S"]), from_text(note["ended"]["S"])
        return Run(note["run"]["S"], "SUCCEEDED", began, ended, counted)


class SweepTable(Table):
    __slots__ = ()

    def runs(self, client: Any, config: Any) -> NotedRuns:
        return NotedRuns(client, self.name)


def _way(outputs: Mapping[str, Any], environment: Mapping[str, str]) -> SweepTable:
    return SweepTable(outputs["tableName"], outputs["pendingIndexName"], int(outputs["pendingShards"]), None)


DESK = DeskOf(("tableName", "pendingIndexName", "pendingShards"), _way)
