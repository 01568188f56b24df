"""Shadow mode asks and never sends."""

from __future__ import annotations

import random
from pathlib import Path

from tests.fakes import run
from tests.gateway.support import HandClock, WallClock, payments, simulated, transaction
from tests.memory_store import MemoryStore
from workers.config import GatewayConfig
from workers.domain.confirming import Confirmer
from workers.domain.outcomes import Confirmed, Unknown
from workers.domain.policy import Policy
from workers.domain.transaction import Status
from workers.gateway.payments import PaymentGateway
from workers.gateway.shadow import ShadowGateway, gateway_of


def shadow(url: str) -> PaymentGateway:
    return gateway_of(GatewayConfig(url, 10, 0, "", shadow=True), Policy(), "", WallClock())


def test_it_asks_and_sends_nothing(tmp_path: Path) -> None:
    async def check() -> None:
        async with simulated(tmp_path / "ledger") as (server, url), payments(url) as old_job:
            ours, one = shadow(url), transaction()
            unknown = await ours.confirm(one, one.id)
            assert unknown == Unknown("shadow: the gateway does not know it yet")
            assert server.ledger.effects == []
            await old_job.confirm(one, one.id)
            assert isinstance(await ours.confirm(one, one.id), Confirmed)
            assert len(server.ledger.effects) == 1
            await ours.close()

    run(check())


def test_what_the_old_job_missed_lands_on_a_desk_with_that_as_the_reason(tmp_path: Path) -> None:
    async def check() -> None:
        clock = HandClock()
        policy = Policy(max_attempts=2, only_ask=True)
        async with simulated(tmp_path / "ledger") as (server, url), payments(url) as old_job:
            store = MemoryStore(clock, policy)
            await store.add([transaction("done"), transaction("missed")])
            await old_job.confirm(transaction("done"), "done")
            gateway = shadow(url)
            assert isinstance(gateway, ShadowGateway)
            confirmer = Confirmer(store, gateway, clock, random.Random(1), lambda: f"{clock.now()}", policy, "shadow")
            for _ in range(40):  # far more often than it has attempts
                await confirmer.confirm_batch(10)
                clock.move(120)
            done, missed = await store.find("done"), await store.find("missed")
            assert done is not None
            assert missed is not None
            assert (done.status, missed.status) == (Status.CONFIRMED, Status.REVIEW)
            assert missed.reason is not None
            assert missed.reason.startswith("deadline passed; asked ")
            assert missed.reason.endswith("; gateway knows nothing of it")
            assert "gateway does not know it yet" in [line.why for line in missed.history]
            assert missed.attempt == 0
            assert [effect.id for effect in server.ledger.effects] == ["done"]
            await gateway.close()

    run(check())
