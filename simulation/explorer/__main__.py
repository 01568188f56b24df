"""`python -m simulation.explorer`: all interleavings up to the bound; what holds in each of their states."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from evidence.record import Evidence, Table, keep
from simulation.explorer.search import Explored, drawn, explore
from simulation.explorer.shapes import FULL, SMALL
from simulation.explorer.world import INVARIANTS, Shape

CLAIM = "In whatever order two workers, an operator and the gateway act, whatever is lost or late: at most one effect."


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0: every invariant holds in every state. 1: one does not, and this is the shortest way there."""
    parser = argparse.ArgumentParser(prog="python -m simulation.explorer", description=__doc__)
    parser.add_argument("--small", action="store_true", help="the bound that `make test` explores")
    parser.add_argument("--keep", metavar="PART", help="keep the figures as this part of the evidence")
    options = parser.parse_args(arguments)
    began, done = time.perf_counter(), []
    for shape in SMALL if options.small else FULL:
        print(f"{shape.name}, {shape.horizon} ticks", flush=True)
        done.append(explore(shape, progress=_told))
        print(_summary(done[-1]), flush=True)
        if not done[-1].holds:
            break
    seconds = time.perf_counter() - began
    print("\n".join(f"{name}: {sentence}" for name, sentence in INVARIANTS.items()))
    print(f"{sum(one.states for one in done)} states, {sum(one.steps for one in done)} steps in {seconds:.0f} s")
    holds = all(one.holds for one in done)
    if options.keep:
        keep(evidence(options.keep, done, seconds))
    return not holds


def _told(tick: int, states: int, all_: int) -> None:
    print(f"  tick {tick:>2}: {states:>9} states, {all_:>9} so far", flush=True)


def _summary(one: Explored) -> str:
    if one.holds:
        ends = ", ".join(f"{status} {count}" for status, count in sorted(one.ends.items()))
        return f"  holds; ends: {ends}; {one.longest} ticks at most to the end, once faults have stopped"
    found = "\n".join(f"  {name}: {what}\n    {INVARIANTS[name]}" for name, what in one.found)
    return f"{found}\n{drawn(one.trace)}"


def evidence(part: str, done: Sequence[Explored], seconds: float) -> Evidence:
    """What was explored, for `make evidence`."""
    figures = {
        "shapes": len(done),
        "states": sum(one.states for one in done),
        "steps": sum(one.steps for one in done),
        "invariants": len(INVARIANTS),
        "longest_way_to_an_end_ticks": max(one.longest for one in done),
    }
    rows = [(*_figures(one.shape), one.states, one.steps, one.holds) for one in done]
    shapes = Table("Shapes", ("shape", "ticks", "deadline", "lease", "grace", "key window", "attempts", "redrives",
                              "states", "steps", "holds"), rows)  # fmt: skip
    held = Table("Invariants", ("invariant", "what holds in every state"), list(INVARIANTS.items()))
    return Evidence(
        part, CLAIM, "make explore", all(one.holds for one in done), round(seconds, 1), figures, tables=(shapes, held)
    )


def _figures(shape: Shape) -> tuple[str, int, int, int, int, int, int, int]:
    times = shape.deadline, shape.lease, shape.grace, shape.known
    return (shape.name, shape.horizon, *times, shape.attempts, shape.redrives)


if __name__ == "__main__":
    raise SystemExit(main())
