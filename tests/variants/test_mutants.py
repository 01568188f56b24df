"""What `make mutants` rests on; the mutants themselves take half an hour."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT
from tests.mutants.__main__ import PARTS, TESTS, Mutant, _chosen, survivors


def mutant(old: str, new: str, file: str = "workers/domain/policy.py") -> Mutant:
    lines = (ROOT / file).read_text().splitlines()
    (number,) = (n for n, line in enumerate(lines, 1) if line.strip() == old)
    return Mutant(file, "Policy.most_claims", "NumberReplacer", number, number, [lines[number - 1]], [new])


def test_a_mutant_is_imported_in_place_of_its_file(tmp_path: Path) -> None:
    one = mutant("return 2 * self.max_attempts", "        return 3 * self.max_attempts")
    code = (
        "import sys; from tests.mutants.__main__ import Finder; "
        f"sys.meta_path.insert(0, Finder({one.file!r}, sys.stdin.read())); "
        "from workers.domain.policy import Policy; print(Policy(max_attempts=5).most_claims)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, input=one.source, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["15"]


def test_tests_that_pass_by_its_line_are_chosen_the_quick_ones_first() -> None:
    one = mutant("return 2 * self.max_attempts", "        return 3 * self.max_attempts")
    lines = {one.file: {one.first: {"tests/a::slow", "tests/a::quick", "tests/domain/a::x"}, 1: {"tests/a::other"}}}
    seconds = {"tests/a::slow": 5.9, "tests/a::quick": 0.1, "tests/domain/a::x": 0.2, "tests/a::other": 0.0}
    assert _chosen(one, seconds, lines) == ["tests/domain/a::x", "tests/a::quick"]


def test_files_and_tests_are_there() -> None:
    for file in {file for files in PARTS.values() for file in files}:
        assert (ROOT / file).exists()
    for test in TESTS:
        assert (ROOT / test).exists(), test


@pytest.mark.parametrize("key", list(survivors()) or [None])
def test_each_survivor_says_why_and_is_of_today(key: tuple[str, str, str, str] | None) -> None:
    if key is None:
        pytest.skip("none survives")
    file, _, old, _ = key
    assert len(survivors()[key]) > 10
    assert old in " ".join((ROOT / file).read_text().split())
