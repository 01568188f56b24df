"""A third alternative beside the two: a package in three rooms, a line, a sequence and a choice of the pipeline.

It is real: one Lambda on a schedule, with the table that there is. All that is claimed of it is seen in a copy of the
repository, by the programs that people start: it comes up once, and everything is asked of that.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RECORDINGS
from tests.docs.markdown import ROOT, documents
from tests.extending import beside

pytestmark = pytest.mark.usefixtures("pulumi_cli")

MOST_CHANGED = 3
SECONDS = 200


@dataclass(frozen=True)
class Seen:
    changed: list[str]
    judged: dict[str, Any]
    costs: str
    demo: int
    said: str


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """What the copy's own programs say, both at once: the one mostly waits."""
    copy = tmp_path_factory.mktemp("third")
    changed = beside.make(copy)
    recordings = copy / ".recordings"  # its own: the code that is recorded is another's
    recordings.mkdir()
    environment = os.environ | {"PYTHONPATH": str(copy), RECORDINGS: str(recordings)}

    def start(*module: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", *module]
        return subprocess.Popen(
            command, cwd=copy, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    running = start("demo", "--alternative", "sweep", "--short"), start("tests.extending.judged", "sweep")
    try:
        (said, trouble), (judged, why) = (one.communicate(timeout=SECONDS) for one in running)
    finally:
        for one in running:
            if one.poll() is None:
                one.terminate()
                one.wait(30)
    assert running[1].returncode == 0, why[-2000:]
    found = json.loads(judged)
    return Seen(changed, found, found["costs"], running[0].returncode, said + trouble)


def test_so_many_files_of_the_repository_change(seen: Seen) -> None:
    print("changed:", ", ".join(seen.changed))
    assert seen.changed == sorted(beside.CHANGES)
    assert len(seen.changed) <= MOST_CHANGED


def test_the_page_names_each_of_them_and_each_folder() -> None:
    page = documents()["docs/extending.md"].section("Another alternative").text
    named = set(re.findall(r"`([^`]+)`", page))
    assert set(beside.CHANGES) <= named
    assert {folder.replace("sweep", "<name>") + "/" for folder in beside.FOLDERS} <= named
    assert beside.STACK.replace("sweep", "<name>") in named
    facets = {path.name for path in (beside.SWEEP / "alternatives/sweep").glob("*.py")} - {"__init__.py"}
    assert facets <= named, "a file for each facet"


def test_it_is_previewed_comes_up_under_the_policies_and_keeps_every_promise(seen: Seen) -> None:
    assert seen.demo == 0, seen.said[-3000:]
    assert "Policies:" in seen.said
    assert re.search(r"\+ \d+ to create", seen.said), "the preview"
    assert re.search(r"\+ \d+ created", seen.said)
    assert "Verdict on sweep: every promise kept" in seen.said
    assert re.search(r"CONFIRMED +(\d+) +([\d,.]+) +\1 +\2", seen.said), "as many effects as confirmed, to the cent"


def test_the_policies_and_the_scanner_judge_it(seen: Seen) -> None:
    stacks = [f"sweep {environment}" for environment in ("dev", "staging", "prod")]
    assert seen.judged["broken"] == {name: [] for name in stacks}
    assert all(count > 50 for count in seen.judged["resources"].values())
    assert seen.judged["scanned"] == sorted(name.replace(" ", "-") for name in stacks)


def test_it_is_priced_beside_the_others(seen: Seen) -> None:
    assert {"Lambda", "DynamoDB writes", "NAT hours + IPv4"} <= set(seen.judged["lines"])
    assert "Step Functions" not in seen.judged["lines"]
    assert 50 < seen.judged["fixed"] < 90
    assert 1 < seen.judged["further"] < 10
    assert re.search(r"sweep is cheaper|cheaper, above it sweep", seen.costs)


def test_it_is_drawn(seen: Seen) -> None:
    assert seen.judged["not drawn"] == []
    assert seen.judged["arrows"]["drawn"] == seen.judged["arrows"]["there"] != []
    assert seen.judged["picture"].startswith("<svg")


def test_the_pipeline_takes_it_and_its_alarms_and_roles_are_tabled(seen: Seen) -> None:
    assert {"confirm-dev", "confirm-dev-plan", "confirm-dev-apply"} <= set(seen.judged["gates"])
    assert "confirm-build" not in seen.judged["gates"], "it has no image"
    assert {"oldest-pending", "function-errors"} <= set(seen.judged["alarms"])
    assert seen.judged["permissions"] > 10


def test_it_was_the_copy_that_spoke(seen: Seen) -> None:
    assert Path(seen.judged["here"]) != ROOT
    assert (Path(seen.judged["here"]) / "alternatives/sweep").is_dir()
    assert not (ROOT / "alternatives/sweep").exists()
