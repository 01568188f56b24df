"""docs/security.md: each control has a place and a proof, and both are there."""

from __future__ import annotations

import ast
import re

from tests.docs.markdown import ROOT
from tests.program.fargate_invariants import FARGATE_INVARIANTS
from tests.program.invariants import INVARIANTS

TEXT = (ROOT / "docs/security.md").read_text()
ROWS = [line.split(" | ") for line in TEXT.split("## Who may do what")[0].splitlines() if line.startswith("| ")][2:]


HELD_BY = re.findall(r"test_holds` of (.*?) \|", TEXT)
"""The invariants of rows whose proof they are."""


def names_in(path: str) -> set[str]:
    """The names of a file's tests."""
    return {node.name for node in ast.parse((ROOT / path).read_text()).body if isinstance(node, ast.FunctionDef)}


def test_every_threat_has_a_control_a_place_and_a_proof() -> None:
    assert len(ROWS) > 12
    for _, _, place, proof in ROWS:
        places = re.findall(r"`([\w/.-]+)`", place)
        assert places, f"no place: {place}"
        assert all((ROOT / one).exists() for one in places), place
        assert re.search(r"`tests/\S+::test_\w+`", proof), f"no test: {proof}"


def test_every_test_it_names_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", TEXT)
    missing = [f"{path}::{name}" for path, name in named if name not in names_in(path)]
    assert len(named) > 20
    assert missing == []


def test_every_invariant_it_names_is_held() -> None:
    named = {name for names in HELD_BY for name in re.findall(r"`([A-Za-z-]+)`", names)}
    held = {invariant.name.replace(" ", "-") for invariant in INVARIANTS + FARGATE_INVARIANTS}
    assert len(named) > 15
    assert named <= held
