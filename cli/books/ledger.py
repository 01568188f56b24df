"""The plain book: a line for each effect, under `id`, `amount_minor` and `currency`; other columns are left alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from cli.books.lines import BadBook, Line, LineKind, Reading
from cli.books.sheet import Sheet

COLUMNS = ("id", "amount_minor", "currency")
REFERENCE = "reference"


def read(stream: BinaryIO, reading: Reading) -> Iterator[Line]:
    """Raises BadBook: a line is none."""
    table = Sheet(stream, reading)
    if missing := [column for column in COLUMNS if column not in table.header]:
        raise BadBook(
            reading.name,
            f"no column {', '.join(missing)}",
            f"a first line with {','.join(COLUMNS)}; or what another sender writes",
            "give it those columns, or say what it is: --format camt.053, stripe or adyen, or --columns MAP.toml",
        )
    id_, amount, code = (table.place(column) for column in COLUMNS)
    reference = table.place(REFERENCE, optional=True)
    for number, row in table.rows():
        name, minor, currency = row[id_].strip(), row[amount].strip(), row[code].strip()
        if not name:
            raise BadBook(reading.at(number), "no id", "the id under which we sent it, the idempotency key")
        if not minor.isascii() or not minor.isdigit() or len(minor) > 16:
            raise BadBook(reading.at(number), "no such amount_minor", "whole minor units: 1250 for 12.50 USD")
        if not (len(currency) == 3 and currency.isascii() and currency.isalpha() and currency.isupper()):
            raise BadBook(reading.at(number), "no such currency", "three capital letters (ISO 4217)")
        yield Line(
            reading.id(number, name),
            LineKind.PAYMENT,
            int(minor),
            currency,
            number,
            row[reference] if reference >= 0 else "",
        )
