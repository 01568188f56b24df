"""The smallest life that fails as a seed does: without the faults, workers and transactions that it does not take."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from simulation.chance import Setup
from simulation.play import Played, play

MOST_PLAYS = 600
"""Lives that are played for it."""

SALTS = 4
"""So often each smaller life is tried, with other chance each time."""

Change = Callable[[Setup], Setup]
"""Leaves something out; the same setup where that is out already."""


def shrink(seed: int, oracle: str, most: int = MOST_PLAYS) -> Setup:
    """What is left of the setup of `seed` when one thing after the other is left out, as long as `oracle` still fails.

    A life in another shape goes another way from there on, so it may find nothing, or fail in another way: whatever is
    left out stays out only where the same oracle fails, be it with other chance.
    """
    setup, left = Setup.of(seed), most
    played = play(seed, setup)
    if not _fails(played, oracle):
        raise ValueError(f"seed {seed} does not fail by the oracle {oracle}")
    smaller = True
    while smaller and left > 0:
        smaller = False
        for change in _changes(setup, played):
            if (one := change(setup)) == setup:
                continue
            for salt in (setup.salt, *range(1, SALTS)):
                left -= 1
                tried = play(seed, replace(one, salt=salt))
                if _fails(tried, oracle) and _size(tried) <= _size(played):
                    setup, played, smaller = replace(one, salt=salt), tried, True
                    break
            if left <= 0:
                break
    return setup


def _size(played: Played) -> int:
    return sum(count for kind, count in played.journal.faults.items() if kind != "clock_skew")


def _fails(played: Played, oracle: str) -> bool:
    return any(one.oracle == oracle for one in played.violations)


def _changes(setup: Setup, played: Played) -> Iterator[Change]:
    """From what makes the most difference to what makes the least."""
    yield partial(_without_kinds, kinds=frozenset(setup.faults) - frozenset(played.struck))
    failing = {int(found[1]) for one in played.violations if (found := re.match(r"t(\d+)", one.id))}
    yield partial(_without_transactions, numbers=frozenset(range(setup.transactions)) - failing)
    for name, none in NOTHING.items():
        yield partial(_with, name=name, value=none)
    for kind in setup.faults:
        yield partial(_without_kinds, kinds=frozenset({kind}))
    for number in range(setup.transactions):
        yield partial(_without_transactions, numbers=frozenset({number}))
    for workers in range(1, setup.workers):
        yield partial(_with, name="workers", value=workers)
    yield partial(_with, name="concurrency", value=1)
    for kind, count in played.struck.items():
        size = count
        while size:
            for first in range(0, count, size):
                struck = range(first + 1, min(first + size, count) + 1)
                yield partial(_sparing, strikes=frozenset((kind, number) for number in struck))
            size //= 2


NOTHING: dict[str, object] = {
    "restore": None,
    "shadow_until": None,
    "outage": None,
    "brown_out": None,
    "operators": 0,
    "deployments": (),
    "back_to_shadow": None,
    "clocks_off": 0.0,
    "poisoned": {},
    "foreign": (),
    "fat": {},
    "ahead": {},
    "failovers": (),
    "stops": (),
}
"""What a setup says where there is none of it."""


def _with(setup: Setup, name: str, value: object) -> Setup:
    return replace(setup, **{name: value}) if getattr(setup, name) != value else setup  # type: ignore[arg-type]


def _without_kinds(setup: Setup, kinds: frozenset[str]) -> Setup:
    return replace(setup, faults={kind: often for kind, often in setup.faults.items() if kind not in kinds})


def _without_transactions(setup: Setup, numbers: frozenset[int]) -> Setup:
    left_out = setup.left_out | numbers
    return setup if len(left_out) == setup.transactions else replace(setup, left_out=left_out)


def _sparing(setup: Setup, strikes: frozenset[tuple[str, int]]) -> Setup:
    return replace(setup, spared=setup.spared | {one for one in strikes if one[0] in setup.faults})
