"""`python -m simulation --seeds 10000`, or `--seed N` for one life with all that happened in it."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence

from simulation.chance import Setup
from simulation.gateway import EFFECT
from simulation.judge import ORACLES
from simulation.play import Played, play

SHOWN = 5
"""Failing seeds that are named; each begins a search of its own."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0: nothing found, and the canary seen. 1: something found. 2: a canary was not seen."""
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="play this one again, and show it")
    parser.add_argument("--seeds", type=int, default=1000, help="how many to play")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    options = parser.parse_args(arguments)
    return show(options.seed) if options.seed is not None else search(options.first, options.seeds)


def show(seed: int) -> int:
    played = play(seed)
    ids = sorted({one.id for one in played.violations} or {line.id for line in played.journal.lines if line.id})
    for id_ in ids:
        print(f"\n{id_}\n{played.journal.life_of(id_)}")
    print(f"\nseed {seed}: {len(played.journal.lines)} events, hash {played.journal.digest}")
    print("\n".join(f"{one}\n  {ORACLES[one.oracle]}" for one in played.violations) or "no oracle found anything")
    return bool(played.violations)


def search(first: int, count: int) -> int:
    began, failed, faults, events, lives, canaries = time.perf_counter(), [], Counter[str](), 0, 0, [0, 0]
    for seed in range(first, first + count):
        played = play(seed)
        faults.update(played.journal.faults)
        events += len(played.journal.lines)
        lives += played.lives
        if played.violations:
            failed.append(played)
        if Setup.of(seed).canary and any(line.what == EFFECT for line in played.journal.lines):
            canaries[0] += 1
            canaries[1] += play(seed, canary=True).canary
    seconds = time.perf_counter() - began
    print(
        f"{count} seeds, {lives} transactions, {events} events in {seconds:.1f} s: {count / seconds:.0f} seeds a second"
    )
    print("faults: " + ", ".join(f"{kind} {times}" for kind, times in sorted(faults.items())))
    print(f"canary: seen in {canaries[1]} of {canaries[0]} seeds that have one and an effect to double")
    _tell(failed)
    if failed:
        return 1
    return 0 if canaries[1] == canaries[0] else 2


def _tell(failed: Sequence[Played]) -> None:
    if not failed:
        print("no oracle found anything")
    for played in failed[:SHOWN]:
        print(f"\nseed {played.seed} fails; again, with all that happened: python -m simulation --seed {played.seed}")
        print("\n".join(f"  {one}" for one in played.violations[:SHOWN]))
    if len(failed) > SHOWN:
        print(f"\nand {len(failed) - SHOWN} seeds more")


if __name__ == "__main__":
    raise SystemExit(main())
