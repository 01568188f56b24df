"""Every fault that was asked for is there, still fits the product, and falls where it is known to fall.

`make variants` runs the tests of each and prints the table; here only lives are played, at the seeds that are known.
"""

from __future__ import annotations

import re

import pytest

from simulation.chance import Setup
from simulation.judge import ORACLES
from simulation.play import play
from tests.docs.markdown import ROOT
from tests.variants.__main__ import KINDS, MOST_SEEDS
from tests.variants.edits import Code, Migration, Sql, Stale, Value, broken
from tests.variants.known import Found, load
from tests.variants.registry import ASKED, IMPOSSIBLE, VARIANTS, Variant
from workers.domain import transitions
from workers.stores import statements

FOUND = load()


def test_all_that_were_asked_for_are_there() -> None:
    """52 that other systems had, those of "Money first", and the eleven that once survived."""
    assert sum(one.startswith("E") for one in ASKED) == 52
    assert sum(one.startswith("M") for one in ASKED) >= 20
    assert sum(one.startswith("S") for one in ASKED) == 11
    there = {one for variant in VARIANTS for one in variant.of} | set(IMPOSSIBLE)
    assert there == set(ASKED)
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS)


@pytest.mark.parametrize("asked", IMPOSSIBLE)
def test_what_is_impossible_by_design_names_the_test_that_shows_it(asked: str) -> None:
    file, test = re.findall(r"(tests/\S+\.py)::(\w+)", IMPOSSIBLE[asked])[0]
    assert f"def {test}(" in (ROOT / file).read_text()


def test_each_still_fits_the_product_and_leaves_it_whole() -> None:
    before = transitions.claimable.__code__, statements.CLAIM.text
    for variant in VARIANTS:
        with broken(variant.edits):
            pass
        with broken(variant.in_a_life):
            pass
    assert (transitions.claimable.__code__, statements.CLAIM.text) == before


@pytest.mark.parametrize(
    "edit",
    [
        Code("workers.domain.transitions:claimable", "what is not there", ""),
        Sql("CLAIM", "what is not there", ""),
        Migration("0014", "what is not there", ""),
        Migration("9999", "", ""),
        Value("workers.domain.history:MOST_LINES", lambda lines: lines, "as it is"),
    ],
)
def test_a_variant_that_does_not_fit_any_more_says_so(edit: Code | Sql | Migration | Value) -> None:
    with pytest.raises(Stale), broken([edit]):
        pass


def test_pieces_of_one_function_are_broken_together() -> None:
    where = "workers.domain.transitions:may_send"
    edits = [
        Code(where, "record.attempt <= policy.max_attempts", "True"),
        Code(where, "not policy.only_ask", "True"),
        Code(where, "record.desk_by is None", "True"),
    ]
    with broken(edits):
        assert transitions.may_send(None, None)  # type: ignore[arg-type]


def test_each_is_noticed_by_tests_that_there_are() -> None:
    missing = [variant.name for variant in VARIANTS if not FOUND.get(variant.name, Found()).killers]
    assert missing == []
    for one in FOUND.values():
        for test in one.killers:
            file, _, name = test.partition("::")
            assert f"def {name.partition('[')[0]}(" in (ROOT / file).read_text(), test


def test_each_falls_in_a_life_or_says_why_none_can_see_it() -> None:
    seeds = {one.name: [seed for seed, _ in FOUND.get(one.name, Found()).seeds.values()] for one in VARIANTS}
    assert [one.name for one in VARIANTS if bool(seeds[one.name]) is bool(one.unseen)] == []
    assert all(seed < MOST_SEEDS for found in seeds.values() for seed in found)


def test_each_is_noticed_by_two_things_that_do_not_know_of_each_other() -> None:
    """Two tests, or one and a life."""
    noticed = {one.name: FOUND.get(one.name, Found()) for one in VARIANTS}
    assert [name for name, one in noticed.items() if len(one.killers) + bool(one.seeds) < 2] == []


@pytest.mark.parametrize(
    "variant", [one for one in VARIANTS if FOUND.get(one.name, Found()).seeds], ids=lambda one: one.name
)
def test_it_falls_at_the_seeds_that_it_is_known_to_fall_at(variant: Variant) -> None:
    """`make variants ARGS="--search --lives --only NAME"` looks anew, where the simulator has changed."""
    for seed, oracles in FOUND[variant.name].seeds.values():
        with broken(variant.in_a_life):
            found = {one.oracle for one in play(seed).violations}
        assert found >= set(oracles)
        assert play(seed).violations == (), "and only the variant is to blame"


def test_each_oracle_of_a_life_finds_a_variant() -> None:
    """At the seeds that are known, which are played above. Besides, those of every run convict faults by hand
    (tests/simulation/test_oracles.py)."""
    assert {oracle for one in FOUND.values() for _, oracles in one.seeds.values() for oracle in oracles} == set(ORACLES)


def test_kinds_of_lives_are_those_of_the_simulator() -> None:
    assert {KINDS[Setup.of(seed).streams] for seed in range(50)} == set(KINDS)
    for one in FOUND.values():
        assert set(one.seeds) <= set(KINDS)
