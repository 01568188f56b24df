"""DynamoDB's billing rules, against the examples of its developer guide and the designs of the cost model."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.units import KIB, Units, item_bytes, page_units, read_units, value_bytes, write_units

KEYS = ("pending_shard", "next_attempt_at")


def item(size: int = 400, shard: str | None = "3", due: str = "2026-01-05T09:00:00.000Z") -> dict[str, Any]:
    """An item of `size` bytes in all; without a shard it is not in the index."""
    content: dict[str, Any] = {"id": {"S": "p-1"}, "status": {"S": "PENDING"}}
    if shard is not None:
        content |= {"pending_shard": {"S": shard}, "next_attempt_at": {"S": due}}
    return content | {"pad": {"S": "x" * (size - item_bytes(content) - len("pad"))}}


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ({"S": ""}, 0),
        ({"S": "abc"}, 3),
        ({"S": "Zürich"}, 7),
        ({"N": "7"}, 2),
        ({"N": "27"}, 2),
        ({"N": "-27"}, 3),
        ({"N": "461"}, 3),
        ({"N": "1234.5"}, 4),
        ({"N": "1000000"}, 2),
        ({"N": "0"}, 1),
        ({"BOOL": True}, 1),
        ({"L": []}, 3),
        ({"L": [{"S": "ab"}, {"S": "c"}]}, 3 + (1 + 2) + (1 + 1)),
        ({"M": {"at": {"S": "abc"}}}, 3 + (1 + 2 + 3)),
    ],
)
def test_sizes_of_values(value: dict[str, Any], size: int) -> None:
    assert value_bytes(value) == size


def test_an_item_is_its_names_and_values_in_utf_8() -> None:
    assert item_bytes({"id": {"S": "p-1"}, "amount": {"N": "2933"}, "ü": {"S": "é"}}) == (2 + 3) + (6 + 3) + (2 + 2)


def test_a_type_without_a_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="type SS"):
        value_bytes({"SS": ["a"]})


FINAL = item(600, shard=None)
HALF = item(shard=None) | {"pending_shard": {"S": "3"}}
LATER = item(due="2026-01-05T09:00:30.000Z")


@pytest.mark.parametrize(
    ("what", "before", "after", "units"),
    [
        ("ingest: put in both", None, item(), Units(1, 1)),
        ("claim: the index's keys stand still", item(), item(500), Units(1, 0)),
        ("settle: gone from the index", item(), FINAL, Units(1, 1)),
        ("release: another key, so a delete and a put", item(), LATER, Units(1, 2)),
        ("review: another shard", item(), item(shard="review"), Units(1, 2)),
        ("outside the index", FINAL, item(700, shard=None), Units(1, 0)),
        ("with one of its keys only it is not in the index", None, HALF, Units(1, 0)),
        ("exactly a KiB", item(KIB), item(KIB), Units(1, 0)),
        ("a byte more", item(KIB), item(KIB + 1), Units(2, 0)),
        ("the larger of before and after counts", item(3 * KIB), item(), Units(3, 0)),
        ("refused by its condition", FINAL, FINAL, Units(1, 0)),
        ("refused where there is nothing", None, None, Units(1, 0)),
        ("refused, large", item(2 * KIB + 1), item(2 * KIB + 1), Units(3, 0)),
        ("deleted", item(), None, Units(1, 1)),
    ],
)
def test_write_units(what: str, before: dict[str, Any] | None, after: dict[str, Any] | None, units: Units) -> None:
    assert write_units(before, after, KEYS) == units


def test_a_life_costs_what_the_model_says() -> None:
    claimed, again = item(450), item(550, due="2026-01-05T09:00:30.000Z")
    steps = [(None, item()), (item(), claimed), (claimed, LATER), (LATER, again), (again, FINAL)]
    life = sum((write_units(before, after, KEYS) for before, after in steps), Units())
    assert life == Units(5, 4)
    assert life.all == 9


def test_reads_by_key_round_each_item_up() -> None:
    assert read_units([400, 600], consistent=False) == 1.0
    assert read_units([400, 4 * KIB + 1], consistent=True) == 3.0
    assert read_units([0], consistent=False) == 0.5, "what is not there is read all the same"
    assert read_units([], consistent=True) == 0


def test_a_page_of_a_query_rounds_its_sum_up() -> None:
    assert page_units([]) == 0.5
    assert page_units([100] * 40) == 0.5
    assert page_units([100] * 41) == 1.0
