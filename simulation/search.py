"""Many seeds, on all cores: what was found, and how much was done to find it. The same on however many cores."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from simulation.chance import Setup
from simulation.gateway import EFFECT
from simulation.oracles import Finding
from simulation.play import play
from workers.domain.causes import Cause

CHUNK = 50
"""Seeds that a process plays at a time."""
KEPT_FAILURES = 100
GARBAGE = 50_000
"""New objects until the collector looks for garbage: a life leaves much, and the default of 700 takes a tenth of it."""


WHY_NOT: Mapping[Cause, str] = {
    Cause.CLAIM_FAILED: "what has no room for a claim has none for these words, and lies on a desk without a history",
    Cause.UNREADABLE: "what cannot be read has no history that says so; `foreign` counts it",
    Cause.KEY_MISSING: "without a key nothing is claimed that needs a call: the second line of defence",
    Cause.NO_ATTEMPT_LEFT: "no claim leaves what was never sent without an attempt: the second line of defence",
    Cause.RESEND: "the grace period would have to end between two looks at the clock of one call",
}
"""Causes that a search need not reach."""


@dataclass
class Search:
    """What was played."""

    seeds: int = 0
    lives: int = 0
    """Of transactions."""
    events: int = 0
    steps: int = 0
    failures: int = 0
    """Seeds in which an oracle found something."""
    failed: list[tuple[int, tuple[Finding, ...]]] = field(default_factory=list)
    """The first of them, with what was found."""
    faults: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)
    canaries: int = 0
    """Lives with an effect to double, in which it was doubled ..."""
    seen: int = 0
    """... and found."""

    @property
    def unreached(self) -> list[str]:
        """Causes of the workers' own list that led nowhere, and might have."""
        return sorted(cause for cause in Cause if not self.causes[cause] and cause not in WHY_NOT)

    @property
    def awake(self) -> bool:
        """Whether every canary was found."""
        return self.seen == self.canaries

    def add(self, other: Search) -> None:
        for name in ("seeds", "lives", "events", "steps", "failures", "canaries", "seen"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.failed = [*self.failed, *other.failed][:KEPT_FAILURES]
        self.faults.update(other.faults)
        self.causes.update(other.causes)


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def search(first: int, count: int, processes: int, progress: Callable[[Search], None] = lambda _: None) -> Search:
    """Plays `count` seeds from `first` on. `progress` is told what was done so far, again and again."""
    found = Search()
    for chunk in _chunks(first, count, processes):
        found.add(chunk)
        progress(found)
    return found


def _chunks(first: int, count: int, processes: int) -> Iterator[Search]:
    begins = range(first, first + count, CHUNK)
    part = partial(searched, end=first + count)
    if processes == 1 or len(begins) == 1:
        yield from map(part, begins)
        return
    with ProcessPoolExecutor(min(processes, len(begins))) as pool:
        yield from pool.map(part, begins)  # in the order of the seeds


def searched(first: int, end: int) -> Search:
    """One chunk, in this process."""
    gc.freeze()  # what is loaded stays
    gc.set_threshold(GARBAGE)
    found = Search()
    for seed in range(first, min(first + CHUNK, end)):
        played = play(seed)
        found.seeds += 1
        found.lives += played.lives
        found.events += len(played.journal.lines)
        found.steps += played.steps
        found.faults.update(played.journal.faults)
        found.causes.update(played.causes)
        found.faults.update(played.deadlines)
        if played.violations:
            found.failures += 1
            found.failed.append((seed, played.violations))
        if Setup.of(seed).canary and any(line.what == EFFECT for line in played.journal.lines):
            found.canaries += 1
            found.seen += play(seed, canary=True).canary
    return found
