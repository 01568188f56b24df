"""What the service says of its database: one loss is told once, whatever order its connections die in."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, cast

import pytest
from botocore.exceptions import CredentialRetrievalError

from tests.fakes import FakeClock, run
from workers.database import login
from workers.database.login import NotSigned, Passwords
from workers.database.source import RetryingSource
from workers.domain.ports import Claimed, Look
from workers.telemetry import Telemetry
from workers.watch import Watch, WatchedSource


class Pool:
    async def expire_connections(self) -> None: ...


class Store:
    """Its settles do what each test says, one after the other."""

    def __init__(self, *turns: Callable[[], Awaitable[list[bool]]]) -> None:
        self.pool, self._turns = Pool(), iter(turns)
        self.asked: list[object] = []

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


def a_database(*turns: Callable[[], Awaitable[list[bool]]]) -> RetryingSource:
    telemetry = Telemetry("", "fargate", "fargate", "test")
    store: Any = Store(*turns)
    return RetryingSource(store, telemetry, FakeClock(), lambda: "", "w", patience=timedelta(minutes=1))


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
    for look in Look:
        run(source.claim(5, look))
    assert cast(Any, database.store).asked == [{"token": "", "by": "w", "limit": 5, "look": look} for look in Look]


class Signer:
    """Signs, or raises what a test says."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.signed = 0

    def __call__(self) -> str:
        if self.error:
            raise self.error
        self.signed += 1
        return f"token-{self.signed}"


AWAY = CredentialRetrievalError(provider="container-role", error_msg="timed out")


def test_while_no_token_can_be_signed_the_last_one_is_good_for_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The credentials of the task's role may be away: a connection lost meanwhile must not end the worker."""
    time = [1000.0]
    monkeypatch.setattr(login, "monotonic", lambda: time[0])
    signer = Signer()
    password = Passwords(signer)
    assert [run(password()), run(password())] == ["token-1", "token-2"]
    signer.error = AWAY
    time[0] += 13 * 60
    assert run(password()) == "token-2"
    time[0] += 60
    with pytest.raises(NotSigned, match="CredentialRetrievalError"):
        run(password())
    signer.error = None
    assert run(password()) == "token-3"


def test_a_token_that_cannot_be_signed_is_waited_out_as_a_database_that_is_away(
    capsys: pytest.CaptureFixture[str],
) -> None:
    signer = Signer()
    signer.error = AWAY
    password = Passwords(signer)

    async def connects() -> list[bool]:
        await password()
        return [True]

    async def comes_back() -> list[bool]:
        signer.error = None
        return await connects()

    assert run(a_database(connects, connects, comes_back).settle([])) == [True]
    assert told(capsys) == ["database lost", "database back"]


def test_signing_holds_up_nobody() -> None:
    """It fetches credentials over HTTP, with waits of its own: the heart and the leases go on meanwhile."""
    gate = threading.Event()

    def slow() -> str:
        assert gate.wait(60)
        return "token"

    async def both() -> str:
        waiting = asyncio.create_task(Passwords(slow)())
        await asyncio.sleep(0)
        gate.set()  # never reached if the loop itself waited
        return await waiting

    assert run(both()) == "token"
