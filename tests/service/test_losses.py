"""What the service says of its database: one loss is told once, whatever order its connections die in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, cast

import pytest

from tests.fakes import FakeClock, run
from workers.domain.ports import Claimed
from workers.service.database import Database
from workers.telemetry import Telemetry
from workers.watch import Watch, WatchedSource


class Pool:
    async def expire_connections(self) -> None: ...


class Store:
    """Its settles do what each test says, one after the other."""

    def __init__(self, *turns: Callable[[], Awaitable[list[bool]]]) -> None:
        self.pool, self._turns = Pool(), iter(turns)
        self.asked: list[object] = []

    def sweep(self) -> None:
        self.asked.append("sweep")

    async def claim_next(self, **how: object) -> Claimed:
        self.asked.append(how)
        return Claimed([], [])

    async def settle(self, moves: Any) -> list[bool]:
        return await next(self._turns)()


async def works() -> list[bool]:
    return [True]


async def fails() -> list[bool]:
    for _ in range(3):  # whoever else can go on does
        await asyncio.sleep(0)
    raise OSError


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()]


def a_database(*turns: Callable[[], Awaitable[list[bool]]]) -> Database:
    telemetry = Telemetry("", "fargate", "fargate", "test")
    store: Any = Store(*turns)
    return Database(store, telemetry, FakeClock(), lambda: "", "w", patience=timedelta(minutes=1))


def test_a_loss_and_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    run(a_database(fails, fails, works).settle([]))
    assert told(capsys) == ["database lost", "database back"]


def test_an_older_connection_that_still_answers_is_no_end(capsys: pytest.CaptureFixture[str]) -> None:
    async def both() -> None:
        lost = asyncio.Event()

        async def late() -> list[bool]:
            await lost.wait()
            return [True]

        async def first() -> list[bool]:
            lost.set()
            raise OSError

        database = a_database(late, first, fails, works)
        await asyncio.gather(database.settle([]), database.settle([]))

    run(both())
    assert told(capsys) == ["database lost", "database back"]


def test_an_older_connection_that_fails_late_is_no_new_loss(capsys: pytest.CaptureFixture[str]) -> None:
    async def both() -> None:
        back = asyncio.Event()

        async def late() -> list[bool]:
            await back.wait()
            raise OSError

        async def last() -> list[bool]:
            asyncio.get_running_loop().call_soon(back.set)
            return [True]

        database = a_database(late, fails, last, works)
        await asyncio.gather(database.settle([]), database.settle([]))

    run(both())
    assert told(capsys) == ["database lost", "database back"]


def test_a_claim_is_made_as_the_stream_asks_for_it() -> None:
    database = a_database()
    source = WatchedSource(database, Watch(database.telemetry, database.clock, "w"))
    how = {"token": "", "by": "w", "limit": 5}
    run(source.claim(5, sweep=True))
    run(source.claim(5, beside=True))
    assert cast(Any, database.store).asked == ["sweep", {**how, "beside": False}, {**how, "beside": True}]
