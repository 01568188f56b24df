"""`__main__.py` shows what a stack consists of; a part of a component was at the top before, and stays what it is."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from alternatives.settings import NAMES
from analysis.graph import PROJECT, ROOT, Record
from components.tags import component_of
from tests.docs.test_layers import imports

MOST_LINES = 45
"""For each alternative."""
MAIN = (ROOT / "__main__.py").read_text()


def test_the_composition_is_read_in_one_go() -> None:
    assert len(MAIN.splitlines()) <= MOST_LINES * len(NAMES)


def test_each_alternative_is_composed_there() -> None:
    (choice,) = (node for node in ast.parse(MAIN).body if isinstance(node, ast.Match))
    named = {
        case.pattern.value.value
        for case in choice.cases
        if isinstance(case.pattern, ast.MatchValue) and isinstance(case.pattern.value, ast.Constant)
    }
    assert named == set(NAMES)


def test_nothing_shared_knows_an_alternative() -> None:
    """What is shared stands beside the alternatives' packages, and imports from none of them."""
    folder = ROOT / "components"
    shared = [path for path in folder.rglob("*.py") if path.relative_to(folder).parts[0] not in NAMES]
    assert folder / "aurora/datastore.py" in shared
    packages = {f"components.{name}" for name in NAMES}
    named = [
        (str(path), module)
        for path in shared
        for module in imports(path.read_text(), ".".join(path.parent.relative_to(ROOT).parts))
        if ".".join(module.split(".")[:2]) in packages
    ]
    assert not named


def test_a_part_of_a_component_is_known_from_where_it_was_before(recorded: Record) -> None:
    """Else a stack that was deployed before would lose it and get another: its vault, its policy, its queue."""
    parts = {
        one.name: one
        for one in recorded.resources
        if one.type.startswith(f"{PROJECT}:") and "pulumi:pulumi:Stack" not in one.parent
    }
    assert {"operators", "queries"} <= set(parts)
    assert [name for name, part in parts.items() if not part.at_the_top_before] == []


@pytest.mark.parametrize(
    ("types", "component"),
    [
        (f"{PROJECT}:network:Network$awsx:ec2:Vpc$aws:ec2/vpc:Vpc", "network"),
        (f"{PROJECT}:datastore:Datastore$aws:dynamodb/table:Table", "datastore"),
        (f"{PROJECT}:datastore:Datastore${PROJECT}:backup:Backup$aws:backup/vault:Vault", "backup"),
        ("aws:iam/role:Role", None),
    ],
)
def test_the_bill_knows_the_innermost_component(types: str, component: str | None) -> None:
    assert component_of(f"urn:pulumi:stack::{PROJECT}::{types}::name") == component


@pytest.mark.parametrize("what", ["", "import cli.main; [one.desk() for one in alternatives.ALTERNATIVES.values()];"])
def test_who_knows_the_alternatives_loads_no_pulumi(what: str) -> None:
    """The operators' command least of all, which asks each for the way to its datastore."""
    script = f"import sys, alternatives; {what} print(sorted(name for name in sys.modules if 'pulumi' in name))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
