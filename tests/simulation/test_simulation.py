"""The simulator: it finds nothing in the product as it is, a seed is always the same life, the oracles are awake."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections import Counter

import pytest

from simulation.__main__ import main
from simulation.chance import FAULTS, Setup
from simulation.loop import Stalled, VirtualLoop
from simulation.play import play
from simulation.reading import TROUBLES
from tests.docs.markdown import ROOT
from tests.variants.edits import broken
from tests.variants.registry import fallen

SEEDS = 250
CANARY = next(seed for seed in range(10_000) if Setup.of(seed).canary and play(seed, canary=True).canary)


def test_no_oracle_finds_anything() -> None:
    found, struck = {}, Counter[str]()
    for seed in range(SEEDS):
        played = play(seed)
        struck.update(played.journal.faults)
        if played.violations:
            found[seed] = [str(one) for one in played.violations]
    assert found == {}, "again, with all that happened: python -m simulation --seed N"
    assert {*FAULTS, "deployment", "outage", "restore"} <= set(struck), "each fault strikes"
    assert set(struck) <= set(TROUBLES), "and has words for people"


def test_a_seed_is_the_same_life_each_time() -> None:
    code = "from simulation.play import play; print(*(play(seed).journal.digest for seed in range(40)))"
    here = [play(seed).journal.digest for seed in range(40)]
    assert len(set(here)) == 40
    for salt in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": salt}
        answer = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        assert answer.stdout.split() == here


def test_a_failing_seed_says_how_to_play_it_again(capsys: pytest.CaptureFixture[str]) -> None:
    variant, number = fallen("another amount leaves no trace of sending")
    seed = str(number)
    with broken(variant.in_a_life):
        assert main(["--first", seed, "--seeds", "1"]) == 1
        assert f"python -m simulation --seed {seed}" in capsys.readouterr().out
        assert main(["--seed", seed, "--whole"]) == 1
    shown = capsys.readouterr().out
    assert re.search(r"^\d:\d\d:\d\d\.\d{3}  \S+ +takes it +PROCESSING  claimed$", shown, re.MULTILINE)
    assert "THE MONEY MOVES" in shown
    assert re.search(r"^(ledger|two effects|key window): t", shown, re.MULTILINE)
    assert main(["--seed", seed]) == 0


def test_the_canary_is_seen_and_a_search_that_does_not_see_it_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["--first", str(CANARY), "--seeds", "1"]) == 0
    assert "canary: seen in 1 of 1" in capsys.readouterr().out
    monkeypatch.setattr("simulation.oracles.two_effects", lambda _: [])
    assert main(["--first", str(CANARY), "--seeds", "1"]) == 2


def test_one_life_in_a_hundred_has_the_canary() -> None:
    assert 50 < sum(Setup.of(seed).canary for seed in range(10_000)) < 200


def test_both_alternatives_are_played() -> None:
    assert {Setup.of(seed).streams for seed in range(SEEDS)} == {True, False}


def test_time_jumps_to_the_next_timer_and_no_further() -> None:
    loop = VirtualLoop()
    loop.run_until_complete(asyncio.sleep(3600))
    assert 3600 <= loop.time() < 3600.01
    with pytest.raises(Stalled):
        loop.run_until_complete(loop.create_future())
    loop.close()
