"""`python -m simulation --seeds 10000`, or `--seed N` for one life with all that happened in it."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from evidence.record import Evidence, Table, keep
from simulation import search as searching
from simulation.chance import Setup
from simulation.journal import Journal
from simulation.judge import ORACLES
from simulation.oracles import Finding
from simulation.play import Played, play
from simulation.reading import life_of, summary
from simulation.search import Search
from simulation.shrink import shrink
from workers.domain.causes import Cause

SHOWN = 5
"""Failing seeds that are named; each begins a search of its own."""
MANY = 1000
"""In so many seeds there is a canary; a search that has none is not awake."""
CLAIM = "Whatever strikes, in whatever order: nothing is lost, nothing is done twice, and all comes to its end."


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0: nothing found, and the canary seen. 1: something found. 2: a canary was not seen."""
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="play this one again, and show it")
    parser.add_argument("--whole", action="store_true", help="do not shrink that one")
    parser.add_argument("--seeds", type=int, default=1000, help="how many to play")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--processes", type=int, default=searching.cores(), help="that play at once")
    parser.add_argument("--keep", metavar="PART", help="keep the figures as this part of the evidence")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        return show(options.seed, whole=options.whole)
    return search(options.first, options.seeds, options.processes, options.keep)


def show(seed: int, *, whole: bool = False) -> int:
    setup = Setup.of(seed)
    played = play(seed, setup)
    if played.violations and not whole:
        oracle = played.violations[0].oracle
        print(f"seed {seed} fails by the oracle {oracle!r}; looking for the smallest life that does ...", flush=True)
        setup = shrink(seed, oracle)
        played = play(seed, setup)
        print(f"the smallest: {_shape(setup, played)} (as it was: --whole)")
    ids = sorted({one.id for one in played.violations} & _ids(played.journal)) or sorted(_ids(played.journal))
    for id_ in ids:
        print(f"\n{id_}\n{life_of(played.journal, id_)}")
    print(f"\nseed {seed}: {len(played.journal.lines)} events, hash {played.journal.digest}")
    print("\n".join(f"{one}\n  {ORACLES[one.oracle]}" for one in played.violations) or "no oracle found anything")
    return bool(played.violations)


def _ids(journal: Journal) -> set[str]:
    return {line.id for line in journal.lines if line.id}


def _shape(setup: Setup, played: Played) -> str:
    shape = [f"{played.lives} transactions", f"{setup.workers} workers"]
    return summary(played.journal.faults, shape)


def search(first: int, count: int, processes: int, part: str | None) -> int:
    began = time.perf_counter()
    found = searching.search(first, count, processes, Progress(count, began))
    seconds = time.perf_counter() - began
    done = f"{found.seeds} seeds, {found.lives} transactions, {found.steps} steps, {found.events} events"
    print(f"{done} in {seconds:.1f} s: {found.seeds / seconds:.0f} seeds a second")
    print("faults: " + ", ".join(f"{kind} {times}" for kind, times in sorted(found.faults.items())))
    print("causes never reached: " + (", ".join(found.unreached) or "none"))
    print(f"canary: seen in {found.seen} of {found.canaries} seeds that have one and an effect to double")
    awake = found.awake and (found.canaries > 0 or count < MANY)
    _tell(found)
    if part:
        keep(_evidence(part, found, first, seconds, passed=not found.failures and awake))
    if found.failures:
        return 1
    return 0 if awake else 2


class Progress:
    """Told on a terminal, in a line that is written over."""

    def __init__(self, count: int, began: float) -> None:
        self.count, self.began = count, began

    def __call__(self, found: Search) -> None:
        if not sys.stderr.isatty():
            return
        rate = found.seeds / (time.perf_counter() - self.began)
        end = "\n" if found.seeds == self.count else ""
        told = f"{found.seeds:,} of {self.count:,} seeds, {rate:.0f} a second, {found.failures} fail"
        print(f"\r{told:<70}", end=end, file=sys.stderr, flush=True)


def _tell(found: Search) -> None:
    if not found.failures:
        print("no oracle found anything")
    for seed, violations in found.failed[:SHOWN]:
        print(f"\nseed {seed} fails; the smallest life that does: python -m simulation --seed {seed}")
        print("\n".join(f"  {one}" for one in violations[:SHOWN]))
    if found.failures > SHOWN:
        print(f"\nand {found.failures - SHOWN} seeds more")


def _evidence(part: str, found: Search, first: int, seconds: float, *, passed: bool) -> Evidence:
    return Evidence(
        part=part,
        claim=CLAIM,
        command=f"make simulate SEEDS={found.seeds}" + (f" ARGS='--first {first}'" if first else ""),
        passed=passed,
        seconds=round(seconds, 1),
        figures={
            "seeds": found.seeds,
            "transactions": found.lives,
            "steps": found.steps,
            "events": found.events,
            "seeds_a_second": round(found.seeds / seconds),
            "oracles": len(ORACLES),
            "seeds_that_fail": found.failures,
            "canaries_planted": found.canaries,
            "canaries_seen": found.seen,
            "causes_never_reached": len(found.unreached),
        },
        counts=dict(found.faults),
        tables=[_causes(found), *([_failures(found.failed)] if found.failed else [])],
    )


def _causes(found: Search) -> Table:
    rows = [(cause.value, found.causes[cause]) for cause in Cause]
    return Table("What led from one state to the next", ("cause", "times"), rows)


def _failures(failed: Sequence[tuple[int, Sequence[Finding]]]) -> Table:
    rows = [(seed, str(one)) for seed, violations in failed for one in violations[:1]]
    return Table("Seeds that fail", ("seed", "found"), rows)


if __name__ == "__main__":
    raise SystemExit(main())
