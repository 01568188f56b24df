"""DynamoDB's billing rules as pure functions: sizes of items, write units, read units.

DynamoDB developer guide: "Item sizes and formats", "Read and write operations", "Global secondary indexes". An
emulator knows no more of a write than that it happened, so the units are computed from the item before and after it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

KIB = 1024
READ_STEP = 4 * KIB

Item = Mapping[str, Any]
"""As boto3's client has it: attribute name -> {type: value}."""

EMPTY: Item = {}


@dataclass(frozen=True, slots=True)
class Units:
    """Write units of the base table and of the index."""

    table: int = 0
    index: int = 0

    def __add__(self, other: Units) -> Units:
        return Units(self.table + other.table, self.index + other.index)

    @property
    def all(self) -> int:
        return self.table + self.index


def item_bytes(item: Item) -> int:
    """Of an item: the UTF-8 bytes of its attributes' names, and their values."""
    return sum(len(name.encode()) + value_bytes(value) for name, value in item.items())


def value_bytes(value: Mapping[str, Any]) -> int:
    """Of one attribute's value.

    Raises:
        ValueError: a type that this table does not hold.
    """
    [(kind, content)] = value.items()
    match kind:
        case "S":
            return len(content.encode())
        case "N":
            return _number_bytes(content)
        case "BOOL" | "NULL":
            return 1
        case "L":
            return 3 + sum(1 + value_bytes(element) for element in content)
        case "M":
            return 3 + sum(1 + len(name.encode()) + value_bytes(part) for name, part in content.items())
    raise ValueError(f"no rule for DynamoDB's type {kind}")


def _number_bytes(text: str) -> int:
    """About a byte for two significant digits, one more, and one for a sign."""
    digits = text.lstrip("-").replace(".", "").strip("0")
    return math.ceil(len(digits) / 2) + 1 + text.startswith("-")


def write_units(before: Item | None, after: Item | None, index_keys: Sequence[str]) -> Units:
    """Of one write that turned `before` into `after` (None: no item), on a table with one KEYS_ONLY index.

    A write that its condition refused turned an item into itself: it is billed like a write, in the table only.
    """
    largest = max(item_bytes(before or EMPTY), item_bytes(after or EMPTY))
    old, new = (index_entry(item or EMPTY, index_keys) for item in (before, after))
    # a changed key is a delete of the old entry and a put of the new one
    changed = 0 if old == new else _steps(old) + _steps(new)
    return Units(max(math.ceil(largest / KIB), 1), changed)


def index_entry(item: Item, index_keys: Sequence[str]) -> Item | None:
    """What a KEYS_ONLY index holds of an item; None unless it has all of the index's keys (a sparse index)."""
    if any(key not in item for key in index_keys):
        return None
    return {key: item[key] for key in ("id", *index_keys)}


def read_units(sizes: Sequence[int], *, consistent: bool) -> float:
    """Of items read by their keys: each by itself in steps of 4 KiB. An item that is not there is read all the same."""
    steps = sum(max(math.ceil(size / READ_STEP), 1) for size in sizes)
    return steps * (1.0 if consistent else 0.5)


def page_units(sizes: Sequence[int]) -> float:
    """Of one page of an (eventually consistent) query of the index: the sum of its entries in steps of 4 KiB."""
    return max(math.ceil(sum(sizes) / READ_STEP), 1) * 0.5


def _steps(entry: Item | None) -> int:
    return 0 if entry is None else max(math.ceil(item_bytes(entry) / KIB), 1)
