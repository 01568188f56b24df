"""Production's client and confirmer against gateways as vendors make them: nothing twice, nothing lost, and what may
have been done is asked about before it is sent again, never past the key window. Time is virtual.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from demo.verdict import Effect, Verdict, judge
from evidence.record import Evidence, Table, keep
from gateway_simulator import PROFILES, Ledger, Profile, SimulatedGateway
from gateway_simulator.ledger import PAST_THE_WINDOW, UNASKED
from local.processes import ROOT
from tests.corpus import SEED, WHOLE, size
from tests.corpus.wire import Joined
from tests.gateway.support import ACCOUNT, START, LoopClock
from tests.memory_store import MemoryStore
from workers.domain.confirming import Confirmer
from workers.domain.exits import Redrive
from workers.domain.outcomes import NotFound, Outcome
from workers.domain.policy import Policy
from workers.domain.transaction import Status, Transaction
from workers.gateway.limits import BreakerPolicy
from workers.gateway.payments import GatewaySettings, PaymentGateway

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Vendor:
    profile: str
    """Of the stand-in."""
    key_window: timedelta
    """For `gatewayKeyWindowHours`: what its documents promise."""
    grace: timedelta = timedelta(seconds=60)
    """For `gatewayGraceSeconds`."""
    outage: timedelta = timedelta()
    """Until then it does not answer, from its first minute on."""


VENDORS = (
    Vendor("stripe-v1", DAY),
    Vendor("stripe-v2", DAY),
    Vendor("checkout", DAY),
    Vendor("ppro", DAY),
    Vendor("plaid", 7 * DAY),
    Vendor("hostile-vendor", timedelta(hours=2), outage=timedelta(hours=2.5)),
)
TROUBLES = {
    **dict.fromkeys(("error-before", "error-after", "timeout-before", "timeout-after", "unavailable"), 0.03),
    **dict.fromkeys(("close-before", "close-after", "in-flight", "page-408", "edge-503", "stale", "twice"), 0.02),
}
"""What every vendor has at times; the hostile one has all that there is, and more of it."""


@dataclass(frozen=True)
class Played:
    verdict: Verdict
    violations: tuple[str, ...]
    calls: Counter[str]
    states: Counter[str]
    days: float
    killed: int


class Unasking(PaymentGateway):
    """Broken: it takes every question for answered."""

    async def ask(self, transaction: Transaction, key: str) -> Outcome:
        return NotFound()


def play(
    vendor: Vendor,
    folder: Path,
    seed: int,
    count: int,
    gateway: type[PaymentGateway] = PaymentGateway,
    key_window: timedelta | None = None,
) -> Played:
    """So many payments at that vendor, with workers that die in the middle, until all are final or on a desk.

    `key_window` is a setting that does not suit it.
    """
    loop = Joined()
    with contextlib.closing(loop):
        return loop.run_until_complete(_played(loop, vendor, folder, seed, count, gateway, key_window))


async def _played(
    loop: Joined,
    vendor: Vendor,
    folder: Path,
    seed: int,
    count: int,
    kind: type[PaymentGateway],
    key_window: timedelta | None,
) -> Played:
    profile = _profile(vendor)
    ledger = Ledger(folder / f"{vendor.profile}-{seed}.jsonl")
    loop.gateway = SimulatedGateway(ledger, seed=seed, profile=profile, clock=loop.clock, strict=True)
    chance, clock = random.Random(f"{seed} {vendor.profile}"), LoopClock()
    policy = Policy(grace=vendor.grace, key_window=key_window or vendor.key_window)
    store = MemoryStore(clock, policy)
    deadline = min(DAY, 2 * vendor.key_window)
    came = [
        Transaction(f"t-{n}", ACCOUNT, 100 + n, "USD", START, START + deadline * chance.uniform(0.02, 1.5))
        for n in range(count)
    ]
    await store.add(came)
    settings = GatewaySettings("http://vendor", timeout_seconds=10, breaker=BreakerPolicy(consecutive=10**6, ratio=2))
    payments = kind(settings, clock)
    killed, redriven, number, down = 0, 0, 0, False
    while (waiting := [one for one in store.records.values() if one.status in (Status.PENDING, Status.PROCESSING)]) or (
        redriven < 3 and any(one.status is Status.REVIEW for one in store.records.values())
    ):
        if not waiting:  # two people send what waits for one round more
            redriven += 1
            for one in [one for one in store.records.values() if one.status is Status.REVIEW]:
                await store.leave(one.id, Redrive("ann", "bob", "again"))
        number += 1
        assert clock.now() < START + 60 * DAY, waiting[:3]
        worker = Confirmer(
            store, payments, clock, chance, lambda: f"{chance.getrandbits(64):016x}", policy, f"worker-{number}"
        )
        batch = asyncio.create_task(worker.confirm_batch(20))
        if number == 1 or chance.random() < 0.1:
            await asyncio.wait([batch], timeout=0.03 if number == 1 else chance.uniform(0, 11))
            if not batch.done():  # killed: what it held stays under its lease, and its calls go on at the gateway
                batch.cancel()
                killed += 1
        with contextlib.suppress(asyncio.CancelledError):
            await batch
        await clock.sleep(chance.uniform(1, 300 if down else 60))
        down = timedelta(minutes=1) < clock.now() - START < vendor.outage
        loop.gateway.profile = PROFILES["timeout-before"] if down else profile
    await payments.close()
    days = (clock.now() - START) / DAY
    effects = [Effect(one.id, one.amount, one.currency) for one in ledger.effects]
    states = Counter(str(record.status) for record in store.records.values())
    violations = tuple(f"{one.id}: {one.what}" for one in ledger.violations)
    calls = Counter(ledger.answers)
    verdict = judge(came, list(store.records.values()), effects, len(violations))
    await loop.gateway.stop()
    return Played(verdict, violations, calls, states, days, killed)


def _profile(vendor: Vendor) -> Profile:
    profile = PROFILES[vendor.profile]
    if vendor.profile == "hostile-vendor":
        return profile
    return profile.changed({"faults": TROUBLES, "late": 0.05, "late_seconds": 30, "hang_seconds": 30})


SEEDS = range(size(10, 1))
COUNT = size(100, 40)


@pytest.fixture(scope="module")
def rows(request: pytest.FixtureRequest) -> Iterator[list[tuple[str | int | float, ...]]]:
    """A line for each life that was played; kept when all were."""
    began = time.monotonic()
    kept: list[tuple[str | int | float, ...]] = []
    yield kept
    if WHOLE:
        total = [sum(int(row[place]) for row in kept) for place in range(2, 9)]
        names = ("payments", "calls", "asked", "workers_killed", "confirmed", "on_a_desk", "violations")
        keep(
            Evidence(
                part="vendor-profiles",
                claim="At every vendor's gateway each effect happens once, and what may have been done is asked about "
                "before it is sent again, never past the key window.",
                command="make corpus",
                passed=not request.session.testsfailed
                and len(kept) == len(VENDORS) * len(SEEDS)
                and not total[-1]
                and not any(row[9] for row in kept),
                seconds=time.monotonic() - began,
                figures={
                    "seed": SEED,
                    "vendors": len(VENDORS),
                    "lives": len(kept),
                    **dict(zip(names, total, strict=True)),
                },
                tables=[Table("each life", ("vendor", "seed", *names, "promises broken", "days"), kept)],
            )
        )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.profile)
def test_each_effect_happens_once_and_in_order(
    vendor: Vendor, seed: int, tmp_path: Path, rows: list[tuple[str | int | float, ...]]
) -> None:
    count = COUNT if not vendor.outage else COUNT // 2  # its payments are asked about for long
    played = play(vendor, tmp_path, SEED + seed, count)
    against = [f"{one.promise}: {one.against}" for one in played.verdict.checks if not one.kept]
    asked = sum(count for name, count in played.calls.items() if name.startswith("ask"))
    rows.append(
        (
            *(vendor.profile, SEED + seed, count, sum(played.calls.values()), asked, played.killed),
            *(played.states["CONFIRMED"], played.states["REVIEW"], len(played.violations), len(against), played.days),
        )
    )
    assert not played.violations
    assert not against
    assert set(played.states) <= {"CONFIRMED", "REJECTED", "REVIEW"}
    assert played.states["REVIEW" if vendor.outage else "CONFIRMED"] > count / 3
    assert asked > count / 20, "there was something to ask about"
    assert played.killed


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.profile)
def test_the_stand_in_convicts_who_asks_nobody(vendor: Vendor, tmp_path: Path) -> None:
    played = play(vendor, tmp_path, SEED, COUNT, gateway=Unasking)
    assert any(UNASKED in one for one in played.violations)
    assert not played.verdict.holds


def test_the_stand_in_convicts_who_trusts_a_key_for_too_long(tmp_path: Path) -> None:
    """With a key window that is longer than the vendor's, where the gateway is away for as long."""
    for seed in range(SEED, SEED + 20):
        played = play(VENDORS[-1], tmp_path, seed, 8, key_window=timedelta(days=30))
        if any(PAST_THE_WINDOW in one for one in played.violations):
            assert not played.verdict.holds
            return
    pytest.fail("nobody was convicted")


def test_the_docs_table_has_every_vendor() -> None:
    page = (ROOT / "docs" / "gateway-profiles.md").read_text()
    for vendor in VENDORS:
        row = re.search(rf"^\| `{vendor.profile}` \|.*$", page, re.MULTILINE)
        assert row, vendor.profile
        assert f" {vendor.key_window / timedelta(hours=1):g} " in row[0], "the hours of its key window"
        assert PROFILES[vendor.profile].key_window_seconds == vendor.key_window.total_seconds()


def test_a_seed_is_the_same_life_each_time(tmp_path: Path) -> None:
    played = [play(VENDORS[-1], folder, SEED, 5) for folder in (tmp_path / "1", tmp_path / "2")]
    assert played[0] == played[1]
