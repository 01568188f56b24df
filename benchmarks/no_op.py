"""`python -m benchmarks.no_op`: the service itself, with a gateway that says yes at once, so that it alone is measured.

Set up by the service's own environment. Standard output is the service's log; what the benchmark needs goes to standard
error, a JSON document a line: `ready`, then (after a line on standard input) one whenever the queue has run dry.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from local.processes import hold_to_lifeline
from workers.config import read_service
from workers.domain.confirming import Confirmer
from workers.domain.outcomes import Confirmed, Outcome
from workers.domain.ports import Calls
from workers.domain.transaction import Transaction
from workers.service.__main__ import Service, parts_of, run_until_stopped

DRY_SECONDS = 0.3
"""Without anything settled for so long, the queue has run dry."""


class NoOp:
    """Says yes at once. Its own turn, too."""

    def turn(self, until: datetime | None = None) -> NoOp:  # noqa: ARG002 - the port's signature
        return self

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> None: ...

    def ready(self) -> bool:
        return True

    def away(self) -> timedelta:
        return timedelta()

    def seen(self) -> Calls:
        return Calls()

    async def confirm(self, transaction: Transaction, key: str) -> Outcome:
        return Confirmed(key, transaction.amount, transaction.currency)

    ask = confirm

    async def close(self) -> None: ...


class NoOpService(Service):
    """The service, counting, and starting its work at a word."""

    done, last, cpu = 0, 0.0, 0.0

    async def run(self) -> None:
        await asyncio.gather(*(self.pool.fetchval("SELECT pg_sleep(0.05)") for _ in range(3)))  # connections are made
        say(ready=True)
        await asyncio.to_thread(sys.stdin.readline)
        hold_to_lifeline()
        asyncio.get_running_loop().create_task(self._tell())
        self._cpu_before = time.process_time()
        await super().run()

    def _make_confirmer(self) -> Confirmer:
        return replace(super()._make_confirmer(), gateway=NoOp())

    def _report(self, records: Sequence[Transaction]) -> None:
        super()._report(records)
        self.done += len(records)
        self.last, self.cpu = time.time(), time.process_time()

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(DRY_SECONDS / 3)
            if self.done and time.time() - self.last > DRY_SECONDS:
                say(done=self.done, last=self.last, cpu=self.cpu - self._cpu_before)
                self.done, self._cpu_before = 0, self.cpu


async def main() -> None:
    config = read_service()
    async with parts_of(config) as parts:
        await run_until_stopped(NoOpService(config, parts))


def say(**document: object) -> None:
    print(json.dumps(document), file=sys.stderr, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
