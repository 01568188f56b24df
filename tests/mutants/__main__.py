"""`make mutants`: the core with one small step changed, again and again, and the tests that run there.

cosmic-ray makes the mutants (generate.py). Each is imported in a process of its own in place of the file, and the tests
that pass by its line run, the quickest first, until one fails. What survives must be in survivors.toml, with a reason.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib.abc
import importlib.machinery
import json
import linecache
import subprocess
import sys
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import CodeType
from typing import Any

from evidence.record import Evidence, Table, keep
from tests import forked
from tests.forked import Done, Job, Ran

ROOT = Path(__file__).parent.parent.parent
HERE = ROOT / "tests" / "mutants"
KEPT = ROOT / ".local" / "mutants"
GENERATOR = ROOT / ".venv-mutants" / "bin" / "python"
LEAST = 0.95
"""Of the mutants that are killed."""
WITHIN = 30.0
"""Seconds: a mutant with which the tests take longer does not end, and is killed by that."""
MOST_SECONDS = 6.0
"""Of tests for one mutant, by what they take with the product as it is; those of a second or more come last."""

PARTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "transitions": {
        "workers/domain/transitions.py": ("*",),
        "workers/domain/confirming.py": ("*",),
        "workers/domain/policy.py": ("*",),
        "workers/domain/transaction.py": ("*",),
        "workers/domain/history.py": ("*",),
        "workers/domain/rules.py": ("*",),
        "workers/gateway/silence.py": ("*",),
    },
    "classify": {
        "workers/gateway/evidence.py": ("*",),
        "workers/domain/outcomes.py": ("*",),
    },
    "claim": {
        "workers/stores/common.py": ("*",),
        "workers/stores/dynamodb.py": (
            "DynamoDbStore.claim", "DynamoDbStore._claim", "DynamoDbStore._own", "DynamoDbStore._items*", "_Walk.*",
            "DynamoDbStore._page", "DynamoDbStore._put_on_desk", "parse", "_from_value", "_entry", "_is_held",
        ),
        "workers/stores/postgres.py": (
            "PostgresStore.claim*", "PostgresStore._claim*", "PostgresStore._first_of", "PostgresStore._late",
            "PostgresStore._set_aside", "_claimed", "_to_review",
        ),
    },
    "settle": {
        "workers/stores/dynamodb.py": (
            "DynamoDbStore.settle", "DynamoDbStore.extend", "DynamoDbStore._write", "DynamoDbStore._won",
            "DynamoDbStore._set_aside", "DynamoDbStore.redrive", "DynamoDbStore._execute*", "DynamoDbStore._codes",
            "to_item", "_value", "_line", "_update", "_is_ours", "_is_text",
        ),
        "workers/stores/postgres.py": (
            "PostgresStore.settle", "PostgresStore._settle", "PostgresStore._set_aside_held", "PostgresStore.extend",
            "PostgresStore.redrive", "PostgresStore.held", "PostgresStore._written", "_document",
        ),
    },
}  # fmt: skip
"""What is mutated: files, and their functions. SQL is not Python: `make variants` breaks it."""

TESTS = (
    "tests/domain/test_transitions.py",
    "tests/domain/test_confirming.py",
    "tests/domain/test_text.py",
    "tests/domain/test_causes.py",
    "tests/gateway/test_evidence.py",
    "tests/gateway/test_payments.py",
    "tests/gateway/test_silence.py",
    "tests/contract/test_store.py",
    "tests/contract/test_evidence.py",
    "tests/contract/test_rules.py",
    "tests/contract/test_shadow.py",
    "tests/contract/test_canary.py",
    "tests/contract/test_dynamodb.py",
    "tests/contract/test_postgres.py",
    "tests/domain/test_sending.py",
    "tests/contract/test_fence.py",
    "tests/service/test_source.py",
)
"""That may kill one: they begin quickly."""
SLOW = (
    "test_a_claim_keeps_to_its_index", "test_claims_write_no_index", "test_migrations", "test_a_role_can_do",
    "test_a_plan_of_an_empty", "login_can_become", "test_what_is_seldom", "test_the_table_refuses",
    "test_a_cause_is_a_term",
)  # fmt: skip
"""They look at the database's plans and rights, and take long."""


OF_STORES = ("postgres", "dynamodb", "database", "test_dynamodb", "test_postgres")
"""What of a shared suite takes a real store: the core is run over the model, which is quick."""


@dataclass(frozen=True, slots=True)
class Mutant:
    file: str
    function: str
    operator: str
    first: int
    last: int
    old: list[str]
    new: list[str]

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What stays the same when lines move."""
        return self.file, self.function, _flat(self.old), _flat(self.new)

    @property
    def source(self) -> str:
        lines = (ROOT / self.file).read_text().splitlines()
        return "\n".join([*lines[: self.first - 1], *self.new, *lines[self.last :]]) + "\n"

    def __str__(self) -> str:
        return f"{self.file}:{self.first} {self.function}: {_flat(self.old)}  ->  {_flat(self.new)}"


def _flat(lines: Sequence[str]) -> str:
    return " ".join(" ".join(lines).split())


# --- the mutant in place of its file ----------------------------------------------------------------------------------


class _Mutated(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._source, self.path, "exec", dont_inherit=True)


class Finder(importlib.abc.MetaPathFinder):
    def __init__(self, file: str, source: str) -> None:
        self._name, self._path = file.removesuffix(".py").replace("/", "."), str(ROOT / file)
        self._source = source

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None:
            spec.loader = _Mutated(fullname, self._path, self._source)
            lines = self._source.splitlines(keepends=True)
            linecache.cache[self._path] = (len(self._source), None, lines, self._path)  # `inlined` reads it there
        return spec


def _tested(mutant: Mutant, tests: Sequence[str]) -> Callable[[Callable[[Any], None]], Ran]:
    def work(tell: Callable[[Any], None]) -> Ran:
        sys.meta_path.insert(0, Finder(mutant.file, mutant.source))
        return forked.tests(tests, tell, most=1)

    return work


# --- which tests pass by a line ---------------------------------------------------------------------------------------


class _Timed:
    """pytest's plugin: how long each test takes, and by which lines of ours it passes."""

    def __init__(self, coverage: Any) -> None:
        self.seconds: dict[str, float] = {}
        self.failed: list[str] = []
        self._coverage = coverage

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._coverage.switch_context(nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed.append(report.nodeid)


@dataclass(frozen=True, slots=True)
class Passing:
    """Of one test file: what each of its tests takes, and which lines it passes by."""

    seconds: dict[str, float]
    lines: dict[str, dict[int, list[str]]]
    """file -> line -> tests."""
    failed: list[str]


def _covered(
    test_file: str, files: Sequence[str], skipped: Sequence[str]
) -> Callable[[Callable[[Any], None]], Passing]:
    def work(tell: Callable[[Any], None]) -> Passing:
        import coverage
        import pytest

        found = coverage.Coverage(data_file=None, include=[str(ROOT / file) for file in files], config_file=False)
        found.start()
        timed = _Timed(found)
        wanted = " and ".join(f"not {one}" for one in skipped)
        quiet = ["-q", "-p", "no:cacheprovider", "-p", "no:terminalreporter", "-k", wanted]
        pytest.main([test_file, *quiet], plugins=[timed])
        found.stop()
        data = found.get_data()
        lines = {
            file: {
                line: sorted(one for one in those if one)
                for line, those in data.contexts_by_lineno(str(ROOT / file)).items()
            }
            for file in files
        }
        return Passing(timed.seconds, lines, timed.failed)

    return work


def _passing(files: Sequence[str]) -> tuple[dict[str, float], dict[str, dict[int, set[str]]]]:
    seconds: dict[str, float] = {}
    lines: dict[str, dict[int, set[str]]] = {file: defaultdict(set) for file in files}
    stores = any(file.startswith("workers/stores/") for file in files)
    skipped = SLOW if stores else (*SLOW, *OF_STORES)
    there = [one for one in TESTS if (ROOT / one).exists() and (stores or Path(one).stem not in OF_STORES)]
    for done in forked.children(Job(one, _covered(one, files, skipped), 900) for one in there):
        if done.answer is None:
            raise SystemExit(f"{done.job.name} can't be run: {done.error}")
        if done.answer.failed:
            raise SystemExit(f"without any mutant these fail: {', '.join(done.answer.failed)}")
        seconds |= done.answer.seconds
        for file, those in done.answer.lines.items():
            for line, tests in those.items():
                lines[file][line].update(tests)
        print(f"{done.seconds:>6.1f} s  {done.job.name}: {len(done.answer.seconds)} tests", flush=True)
    return seconds, lines


def _chosen(mutant: Mutant, seconds: Mapping[str, float], lines: Mapping[str, Mapping[int, set[str]]]) -> list[str]:
    """The tests for a mutant: those that pass by it, first those that pass by little else."""
    of_file = lines[mutant.file]
    tests: set[str] = set()
    for line in range(mutant.first, mutant.last + 1):
        tests |= of_file.get(line, set())
    if not tests or not mutant.function or all(line not in of_file for line in range(mutant.first, mutant.last + 1)):
        # at the top of the module: whoever uses it may notice
        tests |= {test for those in of_file.values() for test in those}
    order = sorted(
        tests,
        key=lambda test: (seconds.get(test, 0.0) > 1, not test.startswith("tests/domain"), seconds.get(test, 0.0)),
    )
    left = MOST_SECONDS
    chosen: list[str] = []
    for test in order:
        if (left := left - seconds.get(test, 0.0)) < 0 and chosen:
            break  # what comes next takes longer
        chosen.append(test)
    return chosen


# --- the run ----------------------------------------------------------------------------------------------------------


def _part(mutant: Mutant) -> str | None:
    for part, files in PARTS.items():
        if any(fnmatch.fnmatch(mutant.function, pattern) for pattern in files.get(mutant.file, ())):
            return part
    return None


def generated(files: Sequence[str]) -> list[Mutant]:
    if not GENERATOR.exists():
        raise SystemExit("cosmic-ray is not installed: make mutants does that")
    done = subprocess.run(
        [str(GENERATOR), str(HERE / "generate.py"), *files], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = [Mutant(**json.loads(line)) for line in done.stdout.splitlines()]
    return [one for one in found if _part(one) and not _is_of_words(one)]


def _is_of_words(mutant: Mutant) -> bool:
    """An annotation, which nobody reads at run time."""
    return (
        mutant.old[0].lstrip().startswith(("async def ", "def "))
        and "->" in mutant.old[0]
        and " = " not in mutant.old[0]
    )


def survivors() -> dict[tuple[str, str, str, str], str]:
    """Those that may survive, and why."""
    file = HERE / "survivors.toml"
    rows = tomllib.loads(file.read_text()).get("survivor", []) if file.exists() else []
    return {(row["file"], row["function"], row["old"], row["new"]): row["reason"] for row in rows}


def _known_killers() -> dict[str, str]:
    file = KEPT / "killers.json"
    return json.loads(file.read_text()) if file.exists() else {}


def _results(mutants: Sequence[Mutant], old: Mapping[str, str]) -> Iterator[tuple[Mutant, str | None]]:
    """Each with the test that killed it; None where none did."""
    seconds, lines = _passing(sorted({one.file for one in mutants}))
    by_name: dict[str, Mutant] = {}
    jobs = []
    for number, mutant in enumerate(mutants):
        tests = _chosen(mutant, seconds, lines)
        first = old.get("|".join(mutant.key))
        if first in seconds:
            tests = [first, *(test for test in tests if test != first)]
        by_name[str(number)] = mutant
        if tests:
            jobs.append(Job(str(number), _tested(mutant, tests), WITHIN))
        else:
            yield mutant, None
    for done in forked.children(jobs):
        yield by_name[done.job.name], _killer(done)


def _killer(done: Done) -> str | None:
    if done.answer is None:  # a test that never ends has noticed as well
        return str(done.last.error if done.last else "import")
    if done.answer.failed:
        return str(done.answer.failed[0])
    return "import" if done.answer.error else None


def main() -> int:
    """Exit code 0: enough were killed, and each that survives has its reason. 1: not."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--part", choices=sorted(PARTS), action="append", help="of the core; all by default")
    parser.add_argument("--file", default="*", help="files whose name is like this")
    parser.add_argument("--function", default="*", help="functions whose name is like this")
    parser.add_argument(
        "--survivors", action="store_true", help="those of survivors.toml alone: do they still survive?"
    )
    options = parser.parse_args()
    began, parts = time.monotonic(), options.part or list(PARTS)
    excused = survivors()
    files = sorted({file for part in parts for file in PARTS[part] if fnmatch.fnmatch(file, options.file)})
    mutants = [
        one
        for one in generated(files)
        if _part(one) in parts
        and fnmatch.fnmatch(one.function, options.function)
        and (one.key in excused or not options.survivors)
    ]
    print(f"{len(mutants)} mutants of {len(files)} files", flush=True)
    forked.load()
    KEPT.mkdir(parents=True, exist_ok=True)
    killers = _known_killers()
    count, killed, left = Counter[str](), Counter[str](), []
    with forked.servers():
        for number, (mutant, killer) in enumerate(_results(mutants, killers), 1):
            part = str(_part(mutant))
            count[part] += 1
            if killer is not None:
                killed[part] += 1
                killers["|".join(mutant.key)] = killer
            else:
                left.append(mutant)
                print(f"{'excused' if mutant.key in excused else 'SURVIVES'}  {mutant}", flush=True)
            if number % 25 == 0:
                print(
                    f"{number}/{len(mutants)}, {sum(killed.values())} killed, {time.monotonic() - began:.0f} s",
                    flush=True,
                )
                (KEPT / "killers.json").write_text(json.dumps(killers, indent=0))
    (KEPT / "killers.json").write_text(json.dumps(killers, indent=0))
    whole = not (options.part or options.survivors) and (options.file, options.function) == ("*", "*")
    return _report(count, killed, left, excused, time.monotonic() - began, whole=whole)


def _report(
    count: Counter[str],
    killed: Counter[str],
    left: Iterable[Mutant],
    excused: Mapping[tuple[str, str, str, str], str],
    seconds: float,
    *,
    whole: bool,
) -> int:
    left = list(left)
    new = [one for one in left if one.key not in excused]
    (KEPT / "survivors.json").write_text(json.dumps([asdict(one) for one in new], indent=1))
    print(f"\n{'part':<14} mutants  killed  of them")
    for part in count:
        print(f"{part:<14} {count[part]:>7}  {killed[part]:>6}  {killed[part] / count[part]:.1%}")
    total, dead = sum(count.values()), sum(killed.values())
    print(f"{'all':<14} {total:>7}  {dead:>6}  {dead / max(total, 1):.1%}  in {seconds:.0f} s")
    print(f"{len(left)} survive, {len(left) - len(new)} of them for a reason (tests/mutants/survivors.toml)")
    enough = all(killed[part] >= LEAST * count[part] for part in count)
    if whole:
        gone = [key for key in excused if key not in {one.key for one in left}]
        for key in gone:
            print(f"needs no excuse any more: {' | '.join(key)}")
        keep(
            Evidence(
                part="mutants",
                claim="A small step changed in claim, settle, classify or the transitions fails a test.",
                command="make mutants",
                passed=enough and not new,
                seconds=round(seconds, 1),
                figures={
                    "mutants": total,
                    "killed": dead,
                    "killed_share": round(dead / max(total, 1), 4),
                    "survivors_with_a_reason": len(left) - len(new),
                    "survivors_without": len(new),
                    **{f"{part}_killed_share": round(killed[part] / count[part], 4) for part in count},
                },
                counts={part: count[part] for part in count},
                tables=[
                    Table(
                        "Mutants that survive",
                        ("where", "what was", "what it became", "why that is no fault"),
                        [
                            (f"{one.file} {one.function}", _flat(one.old), _flat(one.new), excused.get(one.key, "NONE"))
                            for one in left
                        ],
                    )
                ],
            )
        )
    return 0 if enough and not new else 1


if __name__ == "__main__":
    sys.exit(main())
