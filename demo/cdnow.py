"""The purchases of `demo/data/cdnow-sample.txt` as transactions: `python -m demo.cdnow > purchases.csv`."""

from __future__ import annotations

import csv
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

SOURCE = Path(__file__).parent / "data" / "cdnow-sample.txt"
COLUMNS = ("id", "account", "amount_minor", "currency")
CURRENCY = "USD"
_CENTS = Decimal(100)


@dataclass(frozen=True, slots=True)
class Purchase:
    """One row of the file. `amount` is in cents; eight purchases of the 6,919 cost nothing, and stay."""

    id: str
    """`<customer>-<day>-<nn>`: `nn` counts a customer's purchases of one day in the order of the file, for
    19 rows equal another one entirely. The file never changes, so the id is stable."""
    account: str
    amount: int
    currency: str = CURRENCY


def purchases(source: Path = SOURCE) -> Iterator[Purchase]:
    """Every purchase in the order of the file.

    Raises:
        ValueError: a line is not of the documented form, or its value is no whole number of cents.
    """
    seen: Counter[str] = Counter()
    with source.open(encoding="ascii", newline="") as lines:
        for number, line in enumerate(lines, 1):
            fields = line.split()
            if len(fields) != 5:
                raise ValueError(f"{source.name} line {number}: 5 columns expected, found {len(fields)}")
            customer, _, day, _, dollars = fields
            cents = Decimal(dollars) * _CENTS
            if cents != cents.to_integral_value():
                raise ValueError(f"{source.name} line {number}: {dollars} is no whole number of cents")
            seen[f"{customer}-{day}"] += 1
            yield Purchase(f"{customer}-{day}-{seen[f'{customer}-{day}']:02d}", customer, int(cents))


def main() -> None:
    """Write the CSV that `confirm import` takes to standard output."""
    rows = csv.writer(sys.stdout, lineterminator="\n")
    try:
        rows.writerow(COLUMNS)
        rows.writerows((p.id, p.account, p.amount, p.currency) for p in purchases())
        sys.stdout.flush()
    except BrokenPipeError:  # the reader (head, for one) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
