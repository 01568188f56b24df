"""`make mutants`: the core with one small step changed, again and again, and the tests that run there.

cosmic-ray makes the mutants (generate.py). Each runs in a process of its own, and the tests that pass by its line run,
those that have killed its neighbours first, until one fails. What survives must be in survivors.toml, with a reason;
what is the same program there, in other words, is left out of the second of the two shares that are printed.

All tests are collected once; a mutant is a child of that process, in which the function has other code (25 ms), or the
module other constants and defaults. What another module has made of such a constant while it was imported stays as it
was: that lets a mutant survive, and never kills one.
"""

from __future__ import annotations

import argparse
import fnmatch
import functools
import hashlib
import importlib
import inspect
import json
import linecache
import random
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

from evidence.record import Evidence, Table, keep
from tests import forked
from tests.conftest import SIMULATED
from tests.forked import Done, Job, Ran

ROOT = Path(__file__).parent.parent.parent
HERE = ROOT / "tests" / "mutants"
KEPT = ROOT / ".local" / "mutants"
GENERATOR = ROOT / ".venv-mutants" / "bin" / "python"
LEAST = 0.95
"""Of the mutants of each part that are another program: so many must be killed."""
WITHIN = 300.0
"""Seconds: a mutant with which the tests take longer does not end, and is killed by that."""
CPU_SECONDS = 10.0
"""Of one test, and ten times what it takes by itself: the same, however busy the machine is."""
MOST_SECONDS = 20.0
"""Of tests for one mutant, by what they take with the product as it is; those of a second or more come last."""

PARTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "transitions": {
        "workers/domain/transitions.py": ("*",),
        "workers/domain/confirming.py": ("*",),
        "workers/domain/policy.py": ("*",),
        "workers/domain/transaction.py": ("*",),
        "workers/domain/history.py": ("*",),
        "workers/domain/rules.py": ("*",),
        "workers/domain/exits.py": ("*",),
        "workers/domain/pause.py": ("*",),
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
            "DynamoDbStore._set_aside", "DynamoDbStore.leave", "DynamoDbStore._execute*", "DynamoDbStore._codes",
            "to_item", "_value", "_line", "_update", "_is_ours", "_is_text",
        ),
        "workers/stores/postgres.py": (
            "PostgresStore.settle", "PostgresStore._settle", "PostgresStore._set_aside_held", "PostgresStore.extend",
            "PostgresStore.leave", "PostgresStore.held", "PostgresStore._written", "_document",
        ),
    },
}  # fmt: skip
"""What is mutated: files, and their functions. SQL is not Python: `make variants` breaks it."""

TESTS = (
    "tests/domain/test_transitions.py",
    "tests/domain/test_confirming.py",
    "tests/domain/test_text.py",
    "tests/domain/test_causes.py",
    "tests/domain/test_history.py",
    "tests/domain/test_policy.py",
    "tests/domain/test_rules.py",
    "tests/domain/test_exits.py",
    "tests/domain/test_pause.py",
    "tests/gateway/test_evidence.py",
    "tests/gateway/test_payments.py",
    "tests/gateway/test_silence.py",
    "tests/contract/test_store.py",
    "tests/contract/test_evidence.py",
    "tests/contract/test_rules.py",
    "tests/contract/test_exits.py",
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
    "test_a_cause_is_a_term", "test_an_item_as_large_as",
)  # fmt: skip
"""They look at the database's plans and rights, and take long; or at what the real datastore alone does."""

Told = Callable[["Mutant", str | None], None]


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
        lines = _text(self.file).splitlines()
        return "\n".join([*lines[: self.first - 1], *self.new, *lines[self.last :]]) + "\n"

    def __str__(self) -> str:
        return f"{self.file}:{self.first} {self.function}: {_flat(self.old)}  ->  {_flat(self.new)}"


@functools.cache
def _text(file: str) -> str:
    return (ROOT / file).read_text()


def _flat(lines: Sequence[str]) -> str:
    return " ".join(" ".join(lines).split())


# --- the mutant in place of what has been imported -------------------------------------------------------------------


@functools.cache
def _parts_of(source: str) -> tuple[Any, dict[str, CodeType]]:
    """What a module does while it is imported, and the code of its functions and methods by their names."""
    found: dict[str, CodeType] = {}

    def outer(code: CodeType) -> Any:
        inner: list[Any] = []
        for one in code.co_consts:
            if not isinstance(one, CodeType):
                inner.append((type(one).__name__, repr(one)))
            elif one.co_flags & inspect.CO_NEWLOCALS and not one.co_name.startswith("<"):
                found[one.co_qualname] = one
                inner.append(one.co_qualname)
            else:
                inner.append(outer(one))
        return code.co_code, code.co_names, inner

    return outer(compile(source, "module", "exec", dont_inherit=True)), found


def _same(one: Any, other: Any) -> bool:
    if not (isinstance(one, CodeType) and isinstance(other, CodeType)):
        return type(one) is type(other) and repr(one) == repr(other)
    return (
        (one.co_code, one.co_names, one.co_varnames, one.co_freevars)
        == (other.co_code, other.co_names, other.co_varnames, other.co_freevars)
        and one.co_exceptiontable == other.co_exceptiontable
        and len(one.co_consts) == len(other.co_consts)
        and all(map(_same, one.co_consts, other.co_consts))
    )


def _changed(mutant: Mutant) -> str | None:
    """The one function whose code is another; "" where none is; None where what the import does is another."""
    try:
        now, after = _parts_of(mutant.source)
    except SyntaxError:  # no program, and so no mutant
        return ""
    was, before = _parts_of(_text(mutant.file))
    if was != now or before.keys() != after.keys():
        return None
    names = [name for name in before if not _same(before[name], after[name])]
    return None if len(names) > 1 else "".join(names)


def _functions(found: Any) -> list[FunctionType]:
    """Of what stands in a module or a class: the function itself, and what was made of it."""
    for name in ("__func__", "fget", "func"):
        found = getattr(found, name, found) if not isinstance(found, FunctionType) else found
    each = [found]
    while (found := getattr(found, "__wrapped__", None)) is not None:
        each.append(found)
    return each


def _put_in(mutant: Mutant, name: str) -> None:
    """Gives the function the mutant's code, wherever it has been imported to."""
    path = str(ROOT / mutant.file)
    module = importlib.import_module(mutant.file.removesuffix(".py").replace("/", "."))
    place: Any = module
    for step in name.split("."):
        place = inspect.getattr_static(place, step)
    *made, function = _functions(place)
    if function.__code__.co_qualname != name:
        raise LookupError(f"{name} of {mutant.file} is {function!r}: have it imported")
    code = _parts_of(mutant.source)[1][name]
    function.__code__ = code.replace(co_filename=path)
    if made:  # `inlined` compiles the source once more, without what decorates it
        from workers.domain.inlined import inlined

        linecache.cache[path] = (len(mutant.source), None, mutant.source.splitlines(keepends=True), path)
        for one in made:
            if one.__code__.co_filename == path:
                one.__code__ = inlined(function).__code__


def _put_in_module(mutant: Mutant) -> None:
    """The same for what the import does: other constants wherever they are, other defaults, other attributes."""
    module = importlib.import_module(mutant.file.removesuffix(".py").replace("/", "."))
    made: dict[str, Any] = {"__name__": module.__name__, "__file__": str(ROOT / mutant.file)}
    exec(compile(mutant.source, str(ROOT / mutant.file), "exec", dont_inherit=True), made)  # noqa: S102 - our own
    for name, now in made.items():
        was = vars(module).get(name)
        if name.startswith("__"):
            continue
        if isinstance(was, type) and was.__module__ == module.__name__:
            for attribute, value in vars(now).items():
                _take_over(was, attribute, value)
            for attribute in {"__setattr__", "__delattr__"} & (vars(was).keys() - vars(now).keys()):
                delattr(was, attribute)  # not frozen
        elif isinstance(was, FunctionType):
            was.__defaults__, was.__kwdefaults__ = now.__defaults__, now.__kwdefaults__
        elif _said(was) != _said(now):
            for other in list(sys.modules.values()):
                if vars(other).get(name) is was:
                    setattr(other, name, now)


def _take_over(kind: type, attribute: str, value: Any) -> None:
    was = vars(kind).get(attribute)
    if isinstance(was, FunctionType) and isinstance(value, FunctionType):
        was.__defaults__, was.__kwdefaults__ = value.__defaults__, value.__kwdefaults__
        if was.__code__.co_name == "__init__" and was.__code__.co_freevars == value.__code__.co_freevars:
            was.__code__ = value.__code__
    elif isinstance(was, staticmethod) and attribute == "__new__":  # a named tuple's
        was.__func__.__defaults__ = value.__func__.__defaults__
    elif not attribute.startswith("__") and isinstance(value, int | float | str | tuple) and _said(was) != _said(value):
        setattr(kind, attribute, value)


def _said(value: Any) -> str:
    if isinstance(value, tuple | list):
        return str([*map(_said, value)])
    if isinstance(value, FunctionType):
        return _said([value.__code__.co_code, value.__code__.co_names, *value.__code__.co_consts])
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


class _Collected:
    """pytest's plugin: in place of the run of all tests, one run of some for each mutant."""

    def __init__(self, run: Callable[[Mapping[str, pytest.Item]], None]) -> None:
        self._run = run

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise SystemExit("there are tests that can't be collected")
        self._run({item.nodeid: item for item in session.items})
        return True


def _placed(
    mutant: Mutant, name: str | None, items: Sequence[pytest.Item], seconds: Mapping[str, float]
) -> Callable[[Callable[[Any], None]], Ran]:
    def work(tell: Callable[[Any], None]) -> Ran:
        try:
            _put_in_module(mutant) if name is None else _put_in(mutant, name)
        except LookupError:
            raise
        except Exception:  # it can't even be imported
            return Ran(failed=["import"])
        seen = forked.Seen(tell)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        items[0].config.pluginmanager.register(seen)
        for item, after in zip(items, [*items[1:], None], strict=True):
            signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS + 10 * seconds.get(item.nodeid, 0.0))
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            if seen.ran.failed:
                break
        return seen.ran

    return work


# --- which tests pass by a line ---------------------------------------------------------------------------------------


class Lean:
    """pytest's plugin: of a test that runs on a real store and on the simulated one, only the latter is left, and where
    it takes a DynamoDB, it gets the simulated one.

    The same Python runs on both, and on the simulated one in a hundredth of the time.
    """

    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[SIMULATED] = True

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        names = {item.nodeid for item in items}
        items[:] = [
            item
            for item in items
            if not any(
                f"{sign}{store}" in item.nodeid
                and item.nodeid.replace(f"{sign}{store}", f"{sign}simulated {store}") in names
                for sign in "[-"
                for store in ("postgres", "dynamodb")
            )
        ]


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
        pytest.main([test_file, *quiet], plugins=[timed, Lean()])
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


def _state(files: Sequence[str], test_file: str) -> str:
    """Of all that decides which of its tests passes by which line."""
    digest = hashlib.sha256(repr((files, SLOW)).encode())
    shared = [file for folder in ("workers", "simulation", "benchmarks") for file in (ROOT / folder).rglob("*.py")]
    for file in sorted([*shared, *(ROOT / "tests").glob("*.py"), ROOT / test_file]):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _passing(files: Sequence[str]) -> tuple[dict[str, float], dict[str, dict[int, set[str]]]]:
    kept = KEPT / "passing.json"
    known = json.loads(kept.read_text()) if kept.exists() else {}
    states = {one: _state(files, one) for one in TESTS}
    new = [one for one in TESTS if known.get(one, {}).get("state") != states[one]]
    for done in forked.children(Job(one, _covered(one, files, SLOW), 900) for one in new):
        if done.answer is None:
            raise SystemExit(f"{done.job.name} can't be run: {done.error}")
        if done.answer.failed:
            raise SystemExit(f"without any mutant these fail: {', '.join(done.answer.failed)}")
        known[done.job.name] = {
            "state": states[done.job.name],
            "seconds": done.answer.seconds,
            "lines": done.answer.lines,
        }
        kept.write_text(json.dumps(known))
        print(f"{done.seconds:>6.1f} s  {done.job.name}: {len(done.answer.seconds)} tests", flush=True)
    seconds: dict[str, float] = {}
    lines: dict[str, dict[int, set[str]]] = {file: defaultdict(set) for file in files}
    for one in TESTS:
        seconds |= known[one]["seconds"]
        for file, those in known[one]["lines"].items():
            for line, tests in those.items():
                lines[file][int(line)].update(tests)
    return seconds, {file: dict(those) for file, those in lines.items()}


class Choice:
    """Which tests run for a mutant, in which order; learns from those that kill."""

    def __init__(
        self,
        seconds: Mapping[str, float],
        lines: Mapping[str, Mapping[int, set[str]]],
        known: Mapping[str, str],
    ) -> None:
        self._seconds, self._lines, self._known = seconds, lines, dict(known)
        self._kills: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self._breadth = Counter[str]()
        for those in lines.values():
            for tests in those.values():
                self._breadth.update(tests)

    def killed(self, mutant: Mutant, killer: str) -> None:
        self._known["|".join(mutant.key)] = killer
        self._kills[mutant.file, mutant.function][killer] += 1
        self._kills[mutant.file, ""][killer] += 1

    @property
    def known(self) -> Mapping[str, str]:
        return self._known

    def of(self, mutant: Mutant) -> list[str]:
        """Those that pass by it: first the one that killed it last time, then those that kill around it, then the
        quick ones that pass by little else."""
        of_file = self._lines[mutant.file]
        tests = {test for line in range(mutant.first, mutant.last + 1) for test in of_file.get(line, ())}
        if not tests:  # what the import does: whoever uses it may notice
            near_by = {test.split("::")[0] for those in of_file.values() for test in those}
            tests = {test for test in self._seconds if test.split("::")[0] in near_by}
        before = self._known.get("|".join(mutant.key))
        near, around = self._kills[mutant.file, mutant.function], self._kills[mutant.file, ""]

        def rank(test: str) -> tuple[float, ...]:
            took = self._seconds.get(test, 0.0)
            own = f"/test_{Path(mutant.file).stem}.py::" in test
            return test != before, took > 1, -near[test], not own, -around[test], took * (100 + self._breadth[test])

        left, chosen = MOST_SECONDS, list[str]()
        for test in sorted(tests, key=rank):
            if (left := left - self._seconds.get(test, 0.0)) < 0 and chosen:
                break
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
    found = [Mutant(**json.loads(line)) for file in files for line in _generated(file)]
    return [one for one in found if _part(one) and not _is_of_words(one) and _changed(one) != ""]


def _generated(file: str) -> list[str]:
    """As cosmic-ray made them of this text of the file: that takes a while."""
    digest = hashlib.sha256((_text(file) + (HERE / "generate.py").read_text()).encode()).hexdigest()
    kept = KEPT / f"{digest}.jsonl"
    if not kept.exists():
        command = [str(GENERATOR), str(HERE / "generate.py"), file]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        KEPT.mkdir(parents=True, exist_ok=True)
        kept.write_text(done.stdout)
    return kept.read_text().splitlines()


def _is_of_words(mutant: Mutant) -> bool:
    """An annotation, which nobody reads at run time; or `slots`, which save memory and decide nothing."""
    was, now = _flat(mutant.old), _flat(mutant.new)
    return (was.startswith(("async def ", "def ")) and "->" in was and " = " not in was) or (
        was.startswith("@dataclass(") and was.replace("slots=True", "slots=False") == now
    )


@dataclass(frozen=True, slots=True)
class Excuse:
    """Why a mutant may survive."""

    reason: str
    equivalent: bool
    """Whether it is the same program, in other words: nothing could tell it from the one that it was made of."""


class Excuses:
    """Of survivors.toml: mutants one by one, and steps that are the same wherever they are taken."""

    def __init__(self, file: Path = HERE / "survivors.toml") -> None:
        read = tomllib.loads(file.read_text())
        self._steps = [(row["old"], row["new"], Excuse(row["reason"], equivalent=True)) for row in read.get("step", [])]
        self.single = {
            (row["file"], row["function"], row["old"], row["new"]): Excuse(row["reason"], row.get("equivalent", False))
            for row in read.get("survivor", [])
        }

    def of(self, mutant: Mutant) -> Excuse | None:
        if (single := self.single.get(mutant.key)) is not None:
            return single
        was, now = _flat(mutant.old), _flat(mutant.new)
        return next((excuse for old, new, excuse in self._steps if now in _steps(was, old, new)), None)


def _steps(text: str, old: str, new: str) -> list[str]:
    """`text` with `old` once replaced: at each of its places."""
    parts = text.split(old)
    return [old.join(parts[:n]) + new + old.join(parts[n:]) for n in range(1, len(parts))]


def _known_killers() -> dict[str, str]:
    file = KEPT / "killers.json"
    return json.loads(file.read_text()) if file.exists() else {}


def _run(mutants: Sequence[Mutant], choice: Choice, seconds: Mapping[str, float], told: Told) -> None:
    """Tells of each by what it was killed; None where it was not."""

    def jobs(items: Mapping[str, pytest.Item]) -> Iterator[Job]:
        for number, mutant in enumerate(mutants):
            if tests := [items[test] for test in choice.of(mutant) if test in items]:
                yield Job(str(number), _placed(mutant, _changed(mutant), tests, seconds), WITHIN)
            else:
                told(mutant, None)

    def run(items: Mapping[str, pytest.Item]) -> None:
        for done in forked.children(jobs(items)):
            mutant, killer = mutants[int(done.job.name)], _killer(done)
            if killer is not None:
                choice.killed(mutant, killer)
            told(mutant, killer)

    wanted = " and ".join(f"not {one}" for one in SLOW)
    quiet = ["-q", "-p", "no:cacheprovider", "-p", "no:terminalreporter", "--capture=no", "-k", wanted]
    pytest.main([*TESTS, *quiet], plugins=[_Collected(run), Lean()])


def _killer(done: Done) -> str | None:
    if done.answer is None:  # a test that never ends has noticed as well
        if "LookupError" in done.error and done.last is None:
            raise SystemExit(f"a mutant could not be run: {done.error}")
        return str(done.last.error if done.last else "import").removeprefix("in ")
    if done.answer.failed:
        return str(done.answer.failed[0])
    return "import" if done.answer.error else None


def main() -> int:
    """Exit code 0: enough were killed, and each that survives has its reason. 1: not."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--part", choices=sorted(PARTS), action="append", help="of the core; all by default")
    parser.add_argument("--file", default="*", help="files whose name is like this")
    parser.add_argument("--function", default="*", help="functions whose name is like this")
    parser.add_argument("--sample", type=int, metavar="N", help="so many of each part, drawn by --seed")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument(
        "--survivors", action="store_true", help="those of survivors.toml alone: do they still survive?"
    )
    options = parser.parse_args()
    began, parts = time.monotonic(), options.part or list(PARTS)
    excuses = Excuses()
    files = sorted({file for part in parts for file in PARTS[part] if fnmatch.fnmatch(file, options.file)})
    mutants = [
        one
        for one in generated(files)
        if _part(one) in parts
        and fnmatch.fnmatch(one.function, options.function)
        and (excuses.of(one) or not options.survivors)
    ]
    there = Counter(str(_part(one)) for one in mutants)
    if options.sample:
        mutants = _sample(mutants, options.sample, options.seed)
    print(f"{len(mutants)} mutants of {len(files)} files", flush=True)
    forked.load()
    KEPT.mkdir(parents=True, exist_ok=True)
    count, killed, left = Counter[str](), Counter[str](), list[Mutant]()
    with forked.servers():
        seconds, lines = _passing(sorted({file for part in PARTS for file in PARTS[part]}))
        choice = Choice(seconds, lines, _known_killers())
        print(f"{time.monotonic() - began:.0f} s: {len(seconds)} tests, and the lines that each passes by", flush=True)

        def told(mutant: Mutant, killer: str | None) -> None:
            part = str(_part(mutant))
            count[part] += 1
            if killer is not None:
                killed[part] += 1
            else:
                left.append(mutant)
                print(f"{'excused' if excuses.of(mutant) else 'SURVIVES'}  {mutant}", flush=True)
            if (number := count.total()) % 25 == 0 or number == len(mutants):
                print(f"{number}/{len(mutants)}, {killed.total()} killed, {time.monotonic() - began:.0f} s", flush=True)
                (KEPT / "killers.json").write_text(json.dumps(choice.known, indent=0))

        _run(mutants, choice, seconds, told)
    whole = not (options.part or options.survivors) and (options.file, options.function) == ("*", "*")
    if count.total() != len(mutants):
        raise SystemExit(f"{count.total()} of {len(mutants)} mutants have been run")
    return _report(count, killed, left, excuses, time.monotonic() - began, there if whole else None, options)


def _sample(mutants: Sequence[Mutant], of_part: int, seed: int) -> list[Mutant]:
    """So many of each part, the same ones for the same seed."""
    chosen: list[Mutant] = []
    for part in PARTS:
        those = sorted((one for one in mutants if _part(one) == part), key=lambda one: one.key)
        chosen += random.Random(seed).sample(those, min(of_part, len(those)))
    return chosen


def _report(
    count: Counter[str],
    killed: Counter[str],
    left: Iterable[Mutant],
    excuses: Excuses,
    seconds: float,
    there: Mapping[str, int] | None,
    options: argparse.Namespace,
) -> int:
    """`there`: how many mutants each part has; None for a run whose figures are not kept."""
    left = list(left)
    new = [one for one in left if excuses.of(one) is None]
    same = Counter(str(_part(one)) for one in left if (excuse := excuses.of(one)) and excuse.equivalent)
    (KEPT / "survivors.json").write_text(json.dumps([asdict(one) for one in new], indent=1))
    total, dead, alike = count.total(), killed.total(), same.total()
    print(f"\n{'part':<14} mutants  killed  of all  the same  of the others")
    rows = [(part, count[part], killed[part], same[part]) for part in count]
    for name, there_are, gone, equal in [*rows, ("all", total, dead, alike)]:
        others = f"{_share(gone, there_are - equal):>9.1%}"
        print(f"{name:<14} {there_are:>7}  {gone:>6}  {_share(gone, there_are):>6.1%}  {equal:>8}  {others}")
    print(f"in {seconds:.0f} s; {len(left)} survive: {alike} are the same program in other words,")
    print(f"{len(left) - alike - len(new)} may for a reason, {len(new)} without one (tests/mutants/survivors.toml)")
    enough = all(killed[part] >= LEAST * (count[part] - same[part]) for part in count)
    if there is not None:
        surviving = {one.key for one in left}
        for key in excuses.single if not options.sample else ():
            if key not in surviving:
                print(f"needs no excuse any more: {' | '.join(key)}")
        keep(
            Evidence(
                part="mutants",
                claim="A small step changed in claim, settle, classify or the transitions fails a test.",
                command="make mutants"
                + (f' ARGS="--sample {options.sample} --seed {options.seed}"' * bool(options.sample)),
                passed=enough and not new,
                seconds=round(seconds, 1),
                figures={
                    "mutants": total,
                    "mutants_there_are": sum(there.values()),
                    "killed": dead,
                    "killed_share": round(_share(dead, total), 4),
                    "the_same_program": alike,
                    "killed_share_of_the_others": round(_share(dead, total - alike), 4),
                    "survivors_with_a_reason": len(left) - alike - len(new),
                    "survivors_without": len(new),
                    **{
                        name: figure
                        for part in count
                        for name, figure in (
                            (f"{part}_mutants", count[part]),
                            (f"{part}_mutants_there_are", there[part]),
                            (f"{part}_killed", killed[part]),
                            (f"{part}_killed_share", round(_share(killed[part], count[part]), 4)),
                            (f"{part}_the_same_program", same[part]),
                            (
                                f"{part}_killed_share_of_the_others",
                                round(_share(killed[part], count[part] - same[part]), 4),
                            ),
                        )
                    },
                },
                counts={part: count[part] for part in count},
                tables=[
                    Table(
                        "Mutants that survive",
                        ("where", "what was", "what it became", "why that is no fault"),
                        [
                            (
                                f"{one.file} {one.function}",
                                _flat(one.old),
                                _flat(one.new),
                                excuse.reason if (excuse := excuses.of(one)) else "NONE",
                            )
                            for one in left
                        ],
                    )
                ],
            )
        )
    return 0 if enough and not new else 1


def _share(some: int, of: int) -> float:
    return some / max(of, 1)


if __name__ == "__main__":
    sys.exit(main())
