"""`make variants`: the product broken in one place after the other, and what notices.

Each must be noticed twice at least: by the simulator, and by a test. What is known of them (known.json) makes it quick;
`--search` looks anew, which takes a while, and writes that file.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any

from evidence.record import Evidence, Table, keep
from tests import forked
from tests.forked import Done, Job, Ran
from tests.variants.known import Found, Seeds, load, save

MOST_SEEDS = 2000
"""So many lives may a variant take to be found."""
TEST_SECONDS, LIFE_SECONDS = 75.0, 300.0
"""For the tests of one variant, and for its lives; what was noticed by then counts."""
SPANS = (0, 40, 160, 640, MOST_SEEDS)
"""A search plays the first lives with all of them, and later ones with those that still survive."""
MOST_KILLERS = 4
"""Tests that are counted of those that fail with a variant."""
SHOWN = 2
KINDS = ("serverless", "fargate")
TEXTUAL = (
    "tests/docs/*",
    "tests/contract/test_statements.py*",
    "tests/domain/test_inlined.py*",
    "tests/variants/test_registry.py*",
)
"""Tests that look at the text of the code, and not at what it does: what they notice is not noticed."""


def _in_lives(name: str, seeds: Sequence[int]) -> Callable[[Callable[[Any], None]], Seeds]:
    """Plays these until it is found in each kind of life."""

    def work(tell: Callable[[Any], None]) -> Seeds:
        from simulation.chance import Setup
        from simulation.play import play
        from tests.variants.edits import broken
        from tests.variants.registry import VARIANTS

        (variant,) = (one for one in VARIANTS if one.name == name)
        found: Seeds = {}
        with broken(variant.in_a_life):
            for seed in seeds:
                kind = KINDS[Setup.of(seed).streams]
                if kind in found:
                    continue
                try:
                    oracles = sorted({one.oracle for one in play(seed).violations})
                except Exception as error:
                    oracles = [f"crash: {type(error).__name__}"]
                if oracles:
                    found[kind] = (seed, oracles)
                    tell(found)
                if len(found) == len(KINDS):
                    break
        return found

    return work


def _in_tests(name: str, arguments: str | Sequence[str], most: int) -> Callable[[Callable[[Any], None]], Ran]:
    def work(tell: Callable[[Any], None]) -> Ran:
        from tests.variants.edits import broken
        from tests.variants.registry import VARIANTS

        edits = [edit for one in VARIANTS if one.name == name for edit in one.edits]
        with broken(edits):
            return forked.tests(arguments, tell, most=most)

    return work


def _registry(tell: Callable[[Any], None]) -> list[tuple[str, tuple[str, ...], str, str, str]]:
    """What this process must know of them, without the product in it."""
    from tests.variants.registry import VARIANTS

    return [(one.name, one.of, one.stores, one.tests, one.unseen) for one in VARIANTS]


def _is_test_of_text(test: str) -> bool:
    return any(fnmatch.fnmatch(test, pattern) for pattern in TEXTUAL)


def _test_jobs(rows: Sequence[Any], known: Mapping[str, Found], *, search: bool) -> Iterator[Job]:
    for name, _, _, files, _ in rows:
        killers = known.get(name, Found()).killers
        if search or killers:
            yield Job(f"tests {name}", _in_tests(name, files if search else killers, MOST_KILLERS), TEST_SECONDS)


def _known_lives(rows: Sequence[Any], known: Mapping[str, Found]) -> Iterator[Job]:
    for name, *_ in rows:
        if seeds := sorted({seed for seed, _ in known.get(name, Found()).seeds.values()}):
            yield Job(f"lives {name}", _in_lives(name, seeds), LIFE_SECONDS)


def _searched_lives(rows: Sequence[Any], found: Mapping[str, Found]) -> Iterator[Job]:
    """As long as it is not found, by what was found in the spans before."""
    for first, last in pairwise(SPANS):
        for name, *_, unseen in rows:
            if not unseen and not found.get(name, Found()).seeds:
                yield Job(f"lives {name}", _in_lives(name, range(first, last)), LIFE_SECONDS)


def _take(done: Done, found: dict[str, Found]) -> None:
    kind, _, name = done.job.name.partition(" ")
    one = found.setdefault(name, Found())
    one.seconds += done.seconds
    if kind == "lives":
        one.seeds |= done.answer if done.answer is not None else (done.last or {})
    elif (ran := done.answer or done.last) is not None:
        one.killers = [test for test in ran.failed if not _is_test_of_text(test)]
        if ran.error:
            one.errors.append(ran.error)
    if done.error:
        one.errors.append(f"{kind}: {done.error}")


def main() -> int:
    """Exit code 0: each was noticed by both. 1: one was not. 2: a test fails without any variant."""
    parser = argparse.ArgumentParser(prog="make variants", description=__doc__)
    parser.add_argument("--search", action="store_true", help="look for seeds and tests anew, and keep what is found")
    parser.add_argument("--only", default="*", help="variants whose name is like this")
    parser.add_argument("--missing", action="store_true", help="search for what is not known yet, and nothing else")
    parser.add_argument("--lives", action="store_true", help="by the simulator alone")
    parser.add_argument("--tests", action="store_true", help="by tests alone")
    options = parser.parse_args()
    began, known = time.monotonic(), load()
    both = options.lives is options.tests
    forked.load()
    (registry,) = forked.children([Job("registry", _registry)])
    if registry.answer is None:
        print(registry.error)
        return 1
    rows = [row for row in registry.answer if fnmatch.fnmatch(row[0], options.only)]
    with forked.servers(needed=both or options.tests):
        if (both or options.tests) and not (options.search or options.missing) and not _is_whole(rows, known):
            return 2
        search = options.search or options.missing
        if options.search:
            known = {name: one for name, one in known.items() if name not in {row[0] for row in rows}}
        found = known if search else {}
        jobs: list[Iterator[Job]] = []
        if both or options.tests:
            wanted = [row for row in rows if not search or not known.get(row[0], Found()).killers]
            jobs.append(_test_jobs(wanted, known, search=search))
        if both or options.lives:
            jobs.append(_searched_lives(rows, found) if search else _known_lives(rows, known))
        for number, done in enumerate(forked.children(chain(*jobs)), 1):
            _take(done, found)
            print(f"{number:>3} {done.seconds:>6.1f} s  {done.job.name}: {_said(done)}", flush=True)
            if search:
                save({row[0]: found[row[0]] for row in registry.answer if row[0] in found})
    whole = (both or search) and options.only == "*"
    return _report(rows, found if whole else {**known, **found}, time.monotonic() - began, whole=whole)


def _said(done: Done) -> str:
    if done.job.name.startswith("lives"):
        seeds = done.answer if done.answer is not None else done.last or {}
        return (
            ", ".join(f"{kind} {seed} ({'; '.join(oracles)})" for kind, (seed, oracles) in seeds.items()) or "SURVIVES"
        )
    ran = done.answer or done.last
    if ran is None:
        return done.error.strip().splitlines()[-1]
    said = f"{len(ran.failed)} tests fail" if ran.failed else f"SURVIVES {len(ran.passed)} tests"
    return f"{said}; {done.error} {ran.error}" if done.answer is None else said


def _is_whole(rows: Sequence[Any], known: Mapping[str, Found]) -> bool:
    """Whether every test that is to notice a variant passes without one."""
    wanted = {row[0] for row in rows}
    tests = sorted({test for name, one in known.items() if name in wanted for test in one.killers})
    if not tests:
        return True
    (done,) = forked.children([Job("as it is", _in_tests("", tests, 10), 600)])
    if done.answer is not None and not done.answer.failed and not done.answer.error:
        print(f"{len(done.answer.passed)} tests pass with the product as it is ({done.seconds:.0f} s)")
        return True
    print(f"without any variant these fail: {done.answer.failed if done.answer else done.error}")
    return False


def _report(rows: Sequence[Any], found: Mapping[str, Found], seconds: float, *, whole: bool) -> int:
    table, survived = [], []
    for name, of, stores, _, unseen in rows:
        one = found.get(name, Found())
        noticed = bool(one.killers) and bool(one.seeds or unseen) and len(one.killers) + len(one.seeds) > 1
        if not noticed:
            survived.append(name)
        seeds = " ".join(f"{kind} {seed}" for kind, (seed, _) in one.seeds.items()) or ("-" if unseen else "NONE")
        oracles = ", ".join(sorted({oracle for _, those in one.seeds.values() for oracle in those})) or unseen
        table.append((name, " ".join(of), stores, seeds, oracles, len(one.killers), "; ".join(one.killers[:SHOWN])))
    print(f"\n{'variant':<62} {'of':<8} {'stores':<9} {'seed':<26} tests  oracles")
    for name, of, stores, seeds, oracles, tests, _ in table:
        print(f"{name:<62} {of:<8} {stores:<9} {seeds:<26} {tests:>5}  {oracles}")
    lives = sum(1 for row in rows if found.get(row[0], Found()).seeds)
    seen = [row for row in rows if not row[4]]
    print(f"\n{len(rows)} variants in {seconds:.0f} s; {lives} of {len(seen)} fall in a life; {len(survived)} survive")
    for name in survived:
        print(f"  SURVIVES: {name}", *found.get(name, Found()).errors[:1])
    if whole:
        keep(
            Evidence(
                part="variants",
                claim="What would break the promise is noticed: by the simulator, and by independent tests.",
                command="make variants",
                passed=not survived,
                seconds=round(seconds, 1),
                figures={
                    "variants": len(rows),
                    "noticed": len(rows) - len(survived),
                    "fall_in_a_life": lives,
                    "not_in_a_life_for_a_reason": len(rows) - len(seen),
                    "independent_tests": len({test for one in found.values() for test in one.killers}),
                    "most_seeds": max((seed for one in found.values() for seed, _ in one.seeds.values()), default=0),
                },
                tables=[
                    Table(
                        "Broken variants", ("variant", "of", "stores", "seeds", "found by", "tests", "such as"), table
                    )
                ],
            )
        )
    return min(len(survived), 1)


if __name__ == "__main__":
    sys.exit(main())
