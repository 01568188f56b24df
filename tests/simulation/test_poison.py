"""A transaction that kills its workers takes no other one along: nobody can tell which one it is, and yet."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from simulation.chance import Setup
from simulation.gateway import number_of
from simulation.oracles import Turn, starved
from simulation.play import World
from workers.domain.causes import Cause
from workers.domain.transaction import Status

SEEDS = 30


def poisoned(seed: int, attempts: int) -> Setup:
    """Nothing strikes in it but the first transaction; time is no matter for the others."""
    setup = Setup.of(seed)
    policy = replace(setup.policy, max_attempts=attempts, key_window=timedelta(hours=24))
    return replace(
        setup, policy=policy, transactions=5, workers=1, batch=3, poisoned={0: "kills"}, deployments=(), failovers=(),
        faults={}, outage=None, brown_out=None, restore=None, clocks_off=0.0, fat={}, foreign=(), shadow_until=None,
        back_to_shadow=None, operators=0,
    )  # fmt: skip


@pytest.mark.parametrize("attempts", [1, 8])
@pytest.mark.parametrize("streams", [False, True], ids=["serverless", "fargate"])
def test_no_healthy_one_is_given_up_with_a_poisoned_one(streams: bool, attempts: int) -> None:
    died, turns = 0, []
    for seed in range(SEEDS):
        setup = replace(poisoned(seed, attempts), streams=streams)
        world = World(seed, setup)
        world.transactions = [one._replace(deadline=one.created_at + timedelta(hours=12)) for one in world.transactions]
        assert world.played().violations == ()
        for record in world.database.records.values():
            sick = number_of(record.id) == 0
            died += sick and record.cause is Cause.WORKERS_LOST
            assert sick or record.status is not Status.REVIEW, f"seed {seed}: {record.id} was given up, too"
            if not sick:
                turns.append((setup, Turn(record.id, record.history[0].at, record.settled_at or record.history[-1].at)))
    assert died == SEEDS
    for setup, turn in turns:
        lost = setup.policy.lease + setup.policy.clock_skew + timedelta(seconds=2 * setup.trigger)
        assert starved([turn], [], 8 * lost, turn.due) == []
