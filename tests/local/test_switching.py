"""docs/switching.md, played: two stacks side by side on the local AWS, nothing lost, nothing twice, and back again."""

from __future__ import annotations

import csv
import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from local import cdnow
from local.demo.scenario import ask_gateway
from local.stack import LocalAws

PURCHASES = tuple(islice(cdnow.purchases(), 90))
BEFORE, AFTER, BACK = PURCHASES[:40], PURCHASES[40:70], PURCHASES[70:]
BOTH = BEFORE[:10]
"""A producer could not tell whether it had added these to the old stack: it adds them to the new one too."""
SPEED = 30.0
SLOW = {"latency_seconds": [0.2, 0.3]}
"""So that the old stack has open work while the new one comes up."""


class Play:
    """Both stacks, and the commands of the page as one types them."""

    def __init__(self, old: LocalAws, new: LocalAws, folder: Path) -> None:
        self.stacks = {aws.stack: aws for aws in (old, new)}
        self.folder = folder

    def run(self, stack: str, *command: str) -> subprocess.CompletedProcess[str]:
        return self.stacks[stack].run(command, capture=True)

    def must(self, stack: str, *command: str) -> str:
        answer = self.run(stack, *command)
        assert answer.returncode == 0, (answer.stdout + answer.stderr)[-3000:]
        return answer.stdout

    def bring(self, stack: str, purchases: tuple[cdnow.Purchase, ...]) -> int:
        """How many of them were new."""
        file = self.folder / "payments.csv"
        with file.open("w", newline="") as out:
            rows = csv.writer(out)
            rows.writerow(cdnow.COLUMNS)
            rows.writerows((p.id, p.account, p.amount, p.currency) for p in purchases)
        told = json.loads(self.must(stack, "confirm", "import", str(file), "--stack", stack, "--json"))
        return int(told["new"])

    def finish(self, stack: str) -> None:
        """`confirm status` says 8 until all is final."""
        end = time.monotonic() + 180
        while (code := self.run(stack, "confirm", "status", "--stack", stack).returncode) != 0:
            assert code == 8
            assert time.monotonic() < end, f"{stack} did not finish"
            time.sleep(0.5)


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    folder = tmp_path_factory.mktemp("switching")
    with (
        LocalAws("serverless", folder=folder / "local", scheduler_speed=SPEED) as old,
        LocalAws("fargate", folder=folder / "local") as new,
    ):
        ask_gateway(old, "/_faults", {"profile": "calm", **SLOW})
        yield Play(old, new, folder)


def test_a_live_system_moves_and_may_move_back(play: Play) -> None:
    up = ("pulumi", "up", "--yes", "--skip-preview", "--stack")
    play.must("serverless", *up, "serverless")
    assert play.bring("serverless", BEFORE) == len(BEFORE)
    play.must("fargate", *up, "fargate")  # beside it, while it works

    assert play.bring("fargate", (*BOTH, *AFTER)) == len(BOTH) + len(AFTER)
    play.finish("serverless")
    play.finish("fargate")

    assert play.bring("serverless", BACK) == len(BACK)  # back again
    play.finish("serverless")

    effects = Counter(effect["id"] for effect in ask_gateway(play.stacks["serverless"], "/_ledger")["effects"])
    assert set(effects.values()) == {1}
    assert set(effects) == {purchase.id for purchase in PURCHASES}
    assert play.run("serverless", "confirm", "review", "--stack", "serverless", "--json").returncode == 0


def test_in_place_it_is_refused_before_anything_is_touched(play: Play) -> None:
    play.must("serverless", "pulumi", "config", "set", "alternative", "fargate", "--stack", "serverless")
    answer = play.run("serverless", "pulumi", "preview", "--stack", "serverless")
    assert answer.returncode != 0
    table = play.stacks["serverless"].outputs()["tableName"]
    assert f"the table {table} would be deleted with every transaction in it" in answer.stdout + answer.stderr
    assert "Traceback" not in answer.stdout + answer.stderr
    play.must("serverless", "pulumi", "config", "set", "switchFrom", "serverless", "--stack", "serverless")
    meant = play.must("serverless", "pulumi", "preview", "--diff", "--stack", "serverless")
    assert table in meant
