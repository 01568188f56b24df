"""Any CSV, by a column map: a small TOML file that says what its columns are. See docs/confirm-command.md for one."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, BinaryIO

from cli.books.lines import BadBook, Line, LineKind, Reading, shown
from cli.books.sheet import Sheet
from workers.domain.currency import EXPONENTS

ENCODINGS = ("utf-8", "cp1252", "iso-8859-1", "iso-8859-15")
MOST_SKIPPED = 100
MOST_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Columns:
    """A column map that was checked."""

    named: Mapping[str, str]
    """What a column is (`_COLUMNS`) -> its name in the file."""
    fixed_currency: str | None = None
    kinds: Mapping[str, LineKind] = field(default_factory=dict)
    """What a value of the column `kind` means."""
    delimiter: str = ","
    encoding: str = "utf-8"
    decimal: str = "."
    thousands: str = ""
    date_format: str = "%Y-%m-%d"
    skip_lines: int = 0
    negate: bool = False
    """Whether money that moved for a payment has a minus in this file."""


_COLUMNS = ("id", "amount", "amount_minor", "debit", "credit", "currency", "fee", "kind", "date", "reference")
_SETTINGS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "delimiter": ("one character", lambda value: isinstance(value, str) and len(value) == 1 and value not in '"\r\n'),
    "encoding": (" or ".join(ENCODINGS), lambda value: value in ENCODINGS),
    "decimal": ('"." or ","', lambda value: value in (".", ",")),
    "thousands": ('"", ".", ",", " " or "\'"', lambda value: value in ("", ".", ",", " ", "'")),
    "date_format": ("a format such as %d.%m.%Y", lambda value: isinstance(value, str) and "%" in value),
    "skip_lines": (
        f"a number from 0 to {MOST_SKIPPED}",
        lambda value: type(value) is int and 0 <= value <= MOST_SKIPPED,
    ),
    "negate": ("true or false", lambda value: isinstance(value, bool)),
    "currency": ("a currency of ISO 4217 with a minor unit: EUR", lambda value: value in EXPONENTS),
}
_TABLES = ("columns", "kinds")
_KINDS = {kind.value: kind for kind in LineKind}


def load(path: Path) -> Columns:
    """Raises BadBook: it is no column map; says which key, what was found, what is allowed, and the mend."""
    name = str(path)
    with path.open("rb") as stream:
        raw = stream.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        raise BadBook(name, f"more than {MOST_BYTES:,} bytes", "a small TOML file", _SEE)
    try:
        document = tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadBook(name, f"no TOML ({error})", "TOML in UTF-8", _SEE) from None
    return _checked(name, document)


_SEE = "see the example in docs/confirm-command.md"


def _checked(name: str, document: Mapping[str, Any]) -> Columns:
    for key in document:
        if key not in _SETTINGS and key not in _TABLES:
            raise _unknown(name, key, (*_TABLES, *_SETTINGS))
    columns = _table(name, document, "columns")
    for key, value in columns.items():
        if key not in _COLUMNS:
            raise _unknown(name, f"columns.{key}", [f"columns.{one}" for one in _COLUMNS])
        if not isinstance(value, str) or not value.strip():
            raise _wrong(name, f"columns.{key}", value, "the name of a column, as text")
    settings = {key: value for key, value in document.items() if key in _SETTINGS}
    for key, value in settings.items():
        allowed, holds = _SETTINGS[key]
        if not holds(value):
            raise _wrong(name, key, value, allowed)
    if "id" not in columns:
        raise _wrong(name, "columns.id", None, "the column that holds the id under which we sent it")
    amounts = sorted({"amount", "amount_minor", "debit", "credit"} & columns.keys())
    if amounts not in (["amount"], ["amount_minor"], ["credit", "debit"], ["credit"], ["debit"]):
        raise _wrong(
            name, "columns", amounts or None, "amount, or amount_minor, or debit and credit (or one of these two)"
        )
    if ("currency" in columns) == ("currency" in settings):
        found = "both" if "currency" in columns else None
        raise _wrong(name, "currency", found, "columns.currency, or currency for the whole file")
    if settings.get("thousands") and settings["thousands"] == settings.get("decimal", "."):
        raise _wrong(name, "thousands", settings["thousands"], "another character than decimal")
    kinds: dict[str, LineKind] = {}
    for word, values in _table(name, document, "kinds").items():
        if word not in _KINDS:
            raise _unknown(name, f"kinds.{word}", [f"kinds.{one}" for one in _KINDS])
        if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
            raise _wrong(name, f"kinds.{word}", values, 'a list of texts: ["Refund"]')
        for value in values:
            if kinds.setdefault(value.strip(), _KINDS[word]) is not _KINDS[word]:
                raise _wrong(name, f"kinds.{word}", value, "each text once")
    if bool(kinds) != ("kind" in columns):
        key = "columns.kind" if kinds else "kinds"
        raise _wrong(name, key, None, "columns.kind and kinds together, or neither")
    fixed = settings.pop("currency", None)
    return Columns(columns, fixed, kinds, **settings)


def _table(name: str, document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key, {})
    if not isinstance(value, dict):
        raise _wrong(name, key, value, f"a table: [{key}]")
    return value


def _wrong(name: str, key: str, found: object, allowed: str) -> BadBook:
    return BadBook(f"{name}: {key}", "nothing" if found is None else repr(found)[:80], allowed, _SEE)


def _unknown(name: str, key: str, allowed: tuple[str, ...] | list[str]) -> BadBook:
    near = get_close_matches(key, allowed, 1)
    fix = f"did you mean {near[0]}?" if near else _SEE
    return BadBook(f"{name}: {key}", "a key that nobody reads", ", ".join(allowed), fix)


def read(stream: BinaryIO, reading: Reading, columns: Columns) -> Iterator[Line]:
    """A line for the amount, and one for the fee where there is one.

    Raises:
        BadBook: a line is none.
    """
    table = Sheet(stream, reading, encoding=columns.encoding, delimiter=columns.delimiter, skip=columns.skip_lines)
    at = {key: table.place(column) for key, column in columns.named.items()}
    sign = -1 if columns.negate else 1

    def amount(number: int, row: list[str], key: str, code: str) -> int:
        text = row[at[key]].strip()
        if not text:
            return 0
        if columns.thousands:
            text = text.replace(columns.thousands, "")
        if columns.decimal == ",":
            if "." in text:
                raise BadBook(reading.at(number), f"{shown(text)} as {key}", "a number with a decimal comma: 12,50")
            text = text.replace(",", ".")
        return reading.amount(number, key, text, code)

    for number, row in table.rows():
        code = columns.fixed_currency or reading.code(number, "currency", row[at["currency"]])
        if "amount_minor" in at:
            text = row[at["amount_minor"]].strip()
            digits = text.removeprefix("-")
            if not (digits.isascii() and digits.isdigit() and len(digits) <= 16):
                raise BadBook(reading.at(number), f"{shown(text)} as amount_minor", "whole minor units: 1250")
            moved = int(text)
        elif "amount" in at:
            moved = amount(number, row, "amount", code)
        else:
            up, down = (amount(number, row, key, code) if key in at else 0 for key in ("credit", "debit"))
            if (up and down) or up < 0 or down < 0:
                raise BadBook(reading.at(number), "a debit and a credit", "one of them, without a sign")
            moved = up - down
        moved *= sign
        if "kind" in at:
            kind = columns.kinds.get(row[at["kind"]].strip(), LineKind.OTHER)
        else:
            kind = LineKind.PAYMENT if moved >= 0 else LineKind.REFUND
        day = _day(reading, number, row[at["date"]].strip(), columns.date_format) if "date" in at else ""
        reference = row[at["reference"]] if "reference" in at else ""
        name = reading.id(number, row[at["id"]])
        fee = amount(number, row, "fee", code) if "fee" in at else 0
        if moved or not fee:
            yield Line(name, kind, moved, code, number, reference, day)
        if fee:
            yield Line(name, LineKind.FEE, -abs(fee), code, number, reference, day)


def _day(reading: Reading, number: int, text: str, form: str) -> str:
    if not text:
        return ""
    try:
        found = datetime.strptime(text, form).date()  # noqa: DTZ007 - a day alone
    except ValueError:
        raise BadBook(reading.at(number), f"{shown(text)} as date", f"a date as date_format says: {form}") from None
    return reading.checked(number, "date", found)
