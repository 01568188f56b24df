"""The search is the same on however many cores, a failing seed shrinks to what it takes, and its life can be read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from simulation.__main__ import MANY, main
from simulation.oracles import Finding
from simulation.play import play
from simulation.reading import life_of
from simulation.search import CHUNK, Search, search
from simulation.shrink import shrink
from tests.variants.edits import broken
from tests.variants.registry import Variant, fallen


def test_a_search_finds_the_same_on_one_core_and_on_two() -> None:
    told: list[int] = []
    alone = search(7, CHUNK + 1, processes=1)
    assert search(7, CHUNK + 1, processes=2, progress=lambda found: told.append(found.seeds)) == alone
    assert told == [CHUNK, CHUNK + 1]
    assert alone.seeds == CHUNK + 1
    assert alone.lives > alone.seeds
    assert alone.steps > alone.lives
    assert alone.failed == []


@pytest.fixture(scope="module")
def failing() -> tuple[Variant, int]:
    return fallen("amount not compared")


def test_a_failing_seed_shrinks_to_what_it_takes(failing: tuple[Variant, int]) -> None:
    variant, seed = failing
    with broken(variant.in_a_life):
        setup = shrink(seed, "ledger")
        played = play(seed, setup)
        assert played.violations[0].oracle == "ledger"
    assert {kind for kind in played.journal.faults if kind != "clock_skew"} == {"other_amount"}
    assert (setup.workers, setup.concurrency, setup.deployments, setup.failovers) == (1, 1, (), ())
    assert played.lives <= 2
    assert play(seed, setup).violations == (), "and only the variant is to blame"
    with pytest.raises(ValueError, match="does not fail by the oracle ledger"):
        shrink(seed, "ledger")


def test_it_is_told_what_the_smallest_is(failing: tuple[Variant, int], capsys: pytest.CaptureFixture[str]) -> None:
    variant, seed = failing
    with broken(variant.in_a_life):
        assert main(["--seed", str(seed)]) == 1
    shown = capsys.readouterr().out
    assert re.search(r"the smallest: [12] transactions, 1 workers, other_amount x [12]", shown)
    assert "TROUBLE: the gateway will move another amount" in shown


def test_what_happened_to_others_is_not_in_a_life() -> None:
    journal = next(played.journal for seed in range(100) if (played := play(seed)).lives > 2)
    first, second, *_ = sorted({line.id for line in journal.lines if line.id})
    shown = life_of(journal, first)
    assert shown.splitlines()[0].split() == ["time", "who", "what", "happened", "state", "why"]
    assert "brings it in" in shown
    workers = {line.who for line in journal.lines if line.id == first}
    others = {line.who for line in journal.lines if line.id == second} - workers
    assert not any(f"  {who} " in shown for who in others)


def test_figures_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evidence.record.keep.__defaults__", (tmp_path,))
    assert main(["--seeds", "2", "--keep", "simulation"]) == 0
    kept = json.loads((tmp_path / "simulation.json").read_text())
    assert (kept["passed"], kept["figures"]["seeds"], kept["figures"]["seeds_that_fail"]) == (True, 2, 0)
    assert kept["command"] == "make simulate SEEDS=2"
    assert kept["counts"]


@pytest.mark.parametrize(("found", "code"), [
    (Search(seeds=MANY, canaries=9, seen=9), 0),
    (Search(seeds=MANY, canaries=9, seen=8), 2),
    (Search(seeds=MANY), 2),
    (Search(seeds=MANY, canaries=9, seen=9, failures=1, failed=[(4, (Finding("lost", "t1", "gone"),))]), 1),
])  # fmt: skip
def test_the_exit_code_tells(found: Search, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulation.search.search", lambda *_: found)
    assert main(["--seeds", str(MANY)]) == code
