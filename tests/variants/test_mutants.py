"""What `make mutants` rests on; the mutants themselves take half an hour."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.docs.markdown import ROOT
from tests.mutants.__main__ import PARTS, TESTS, Choice, Excuses, Mutant


def mutant(old: str, new: str, file: str = "workers/domain/policy.py") -> Mutant:
    lines = (ROOT / file).read_text().splitlines()
    (number,) = (n for n, line in enumerate(lines, 1) if line.strip() == old)
    return Mutant(file, "Policy.most_claims", "NumberReplacer", number, number, [lines[number - 1]], [new])


OTHER = mutant("return 2 * self.max_attempts", "        return 3 * self.max_attempts")


def test_a_mutant_takes_the_place_of_its_function() -> None:
    code = (
        "from tests.mutants.__main__ import Mutant, _changed, _put_in; from workers.domain.policy import Policy; "
        f"one = Mutant({OTHER.file!r}, '', '', {OTHER.first}, {OTHER.last}, {OTHER.old!r}, {OTHER.new!r}); "
        "name = _changed(one); print(name, Policy(max_attempts=5).most_claims); "
        "_put_in(one, name); print(Policy(max_attempts=5).most_claims)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Policy.most_claims", "10", "15"]


def test_a_mutant_takes_the_place_of_a_rule_in_a_table() -> None:
    file, old = "workers/domain/rules.py", "lambda record: ID.fullmatch(record.id) is not None),"
    one = mutant(old, f"     {old.replace('is not None', 'is None')}", file)
    code = (
        "from tests.mutants.__main__ import Mutant, _put_in_module; from workers.domain.rules import broken_rule; "
        "from tests.fakes import START, payment; from workers.stores.common import arrived; "
        f"one = Mutant({file!r}, '', '', {one.first}, {one.last}, {one.old!r}, {one.new!r}); "
        "record = arrived(payment(), START); print(broken_rule(record) is None); "
        "_put_in_module(one); print(broken_rule(record) is None)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_a_step_that_is_the_same_program_is_excused_wherever_it_is_taken_and_no_other() -> None:
    """Nobody else's change beside it is."""
    old = "zip(a, b, strict=True), zip(c, d, strict=True)"
    for new, excused in (
        ("zip(a, b, strict=False), zip(c, d, strict=True)", True),
        ("zip(a, b, strict=True), zip(c, d, strict=False)", True),
        ("zip(a, b, strict=False), zip(c, d, strict=False)", False),
        ("zip(a, c, strict=True), zip(c, d, strict=True)", False),
    ):
        excuse = Excuses().of(Mutant("any.py", "", "", 1, 1, [old], [new]))
        assert (excuse is not None and excuse.equivalent) is excused


def test_tests_that_pass_by_its_line_are_chosen_the_quick_ones_first_and_then_what_killed_it() -> None:
    lines = {OTHER.file: {OTHER.first: {"tests/a.py::slow", "tests/a.py::quick"}, 1: {"tests/a.py::other"}}}
    choice = Choice({"tests/a.py::slow": 5.8, "tests/a.py::quick": 0.1, "tests/a.py::other": 0.0}, lines, {})
    assert choice.of(OTHER) == ["tests/a.py::quick", "tests/a.py::slow"]
    choice.killed(OTHER, "tests/a.py::slow")
    assert choice.of(OTHER) == ["tests/a.py::slow", "tests/a.py::quick"]


def test_files_and_tests_are_there() -> None:
    for file in {file for files in PARTS.values() for file in files}:
        assert (ROOT / file).exists()
    for test in TESTS:
        assert (ROOT / test).exists(), test


@pytest.mark.parametrize("key", list(Excuses().single) or [None])
def test_each_survivor_says_why_and_is_of_today(key: tuple[str, str, str, str] | None) -> None:
    if key is None:
        pytest.skip("none survives")
    file, _, old, _ = key
    assert len(Excuses().single[key].reason) > 10
    assert old in " ".join((ROOT / file).read_text().split())
