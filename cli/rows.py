"""Bytes of a file -> transactions, or what is wrong with which line. Pure: no files, no store, no clock.

Memory stays bounded whatever the file: a line longer than MAX_LINE_BYTES is skipped as it is read. One record is one
line, also in CSV: a quote that is not closed refuses its own line and cannot swallow those after it.

A message never holds account data, not even where columns are mixed up: what was found is shown only where it looks
like what belongs there, and is described ("text of 22 characters") otherwise.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum

from workers.domain.currency import EXPONENTS, WITHOUT_MINOR_UNIT
from workers.domain.redaction import secret_in
from workers.domain.rules import ID
from workers.domain.transaction import CANARY, Transaction, to_text, utc

MAX_LINE_BYTES = 64 * 1024
"""More than a hundred times what a row can need."""
MAX_AMOUNT = 10**15
"""Minor units. Below 2^53, so that no JSON reader on the way can round it."""
MAX_ACCOUNT = 128
YEARS = (1970, 9998)
"""In UTC. Both datastores end there, so that every zone can show every time."""
FUTURE = timedelta(minutes=5)
"""How far `created_at` may lie ahead: clocks differ."""

REQUIRED = ("id", "account", "amount_minor", "currency")
OPTIONAL = ("created_at", "deadline")
COLUMNS = REQUIRED + OPTIONAL

_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})?", re.ASCII)
_DATE_LIKE = re.compile(  # with the year of a payment: 12-34-5678 or 123-45-6789 may be a person's
    r"((19|20)\d\d([-/.])\d{1,2}\3\d{1,2}|(0?[1-9]|[12]\d|3[01])([-/.])(0?[1-9]|[12]\d|3[01])\5(19|20)\d\d)"
    r"([T ]\d{1,2}:\d{2}(:\d{2}([.,]\d{1,9})?)?)?\s?([Zz]|[+-]\d{2}:?\d{2})?",
    re.ASCII,
)
_DECIMAL = re.compile(r"(-?)0*(\d{1,6})\.(\d{1,4})", re.ASCII)
_NUMBER_LIKE = re.compile(r"[-+]?(\d{0,6}([.,]\d{0,4})?|\d{1,3},\d{3}(\.\d{0,4})?)([eE]\d{1,2})?", re.ASCII)
"""Of six digits before the point: accounts have more."""
_NAME_LIKE = re.compile(r"[A-Za-z][A-Za-z_ ]{0,23}")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class Format(StrEnum):
    """How a file holds its rows."""

    CSV = "csv"
    JSONL = "jsonl"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a row: where, what was found, what is allowed, how to mend it."""

    field: str
    """A column, or `line` (the line as a whole), or `header`."""
    found: str
    allowed: str
    fix: str

    def __str__(self) -> str:
        return f"{self.field}: found {self.found}; allowed: {self.allowed}; fix: {self.fix}"


@dataclass(frozen=True, slots=True)
class Row:
    """A good row. `raw` is its line as it stood in the file, without the line end."""

    line: int
    transaction: Transaction
    raw: bytes


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A bad row, with all that is wrong with it. `raw` is None where the line is too long to keep."""

    line: int
    faults: tuple[Fault, ...]
    raw: bytes | None


class BadFile(Exception):  # noqa: N818 - a verdict on the file
    """The file cannot be read as rows at all (wrong header, UTF-16, nothing in it): nothing was loaded."""

    def __init__(self, line: int, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.line, self.faults = line, tuple(faults)


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a row that does not say gets: created now, to be final `within`."""

    now: datetime
    within: timedelta


class Rows:
    """The rows of a file, good and bad, in order; to be iterated once.

    Raises (while iterating):
        BadFile: before the first row, if the file is none.
    """

    def __init__(self, chunks: Iterable[bytes], format_: Format, defaults: Defaults) -> None:
        self._lines = _lines(chunks)
        self._format = format_
        self._defaults = defaults
        self.header: bytes | None = None
        """The header line of a CSV file, once it is read."""

    def __iter__(self) -> Iterator[Row | RefusedRow]:
        columns: tuple[str, ...] = ()
        number, anything = 0, False
        for line in self._lines:
            number += 1
            if number == 1:
                line = _without_mark(line)
            if not line.raw.strip():
                continue
            if self._format is Format.CSV and not anything:
                columns = _header(number, line)
                self.header = line.raw
            else:
                yield self._row(number, line, columns)
            anything = True
        if not anything:
            raise BadFile(1, [_nothing(self._format)])

    def _row(self, number: int, line: _Line, columns: tuple[str, ...]) -> Row | RefusedRow:
        try:
            text = _text(line)
            fields = _csv_fields(text, columns) if self._format is Format.CSV else _json_fields(text)
        except _Unreadable as unreadable:
            return RefusedRow(number, (unreadable.fault,), None if line.too_long else line.raw)
        faults: list[Fault] = []
        transaction = _transaction(fields, self._defaults, faults)
        if transaction is None:
            return RefusedRow(number, tuple(_discreet(fault, fields) for fault in faults), line.raw)
        return Row(number, transaction, line.raw)


# --- bytes to lines --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Line:
    raw: bytes
    """The line without its end; no more than MAX_LINE_BYTES of it."""
    size: int

    @property
    def too_long(self) -> bool:
        return self.size > MAX_LINE_BYTES


def _lines(chunks: Iterable[bytes]) -> Iterator[_Line]:
    """Lines ended by LF or CR LF; keeps MAX_LINE_BYTES of each and counts the rest."""
    kept, size = bytearray(), 0
    for chunk in chunks:
        start = 0
        while start < len(chunk):
            end = chunk.find(b"\n", start)
            stop = len(chunk) if end < 0 else end
            kept += chunk[start : min(stop, start + MAX_LINE_BYTES - len(kept))]
            size += stop - start
            start = stop + 1
            if end >= 0:
                yield _Line(bytes(kept).removesuffix(b"\r"), size)
                kept, size = bytearray(), 0
    if size:
        yield _Line(bytes(kept).removesuffix(b"\r"), size)


class _Unreadable(Exception):  # noqa: N818 - ends the reading of one line only
    def __init__(self, fault: Fault) -> None:
        self.fault = fault


def _without_mark(line: _Line) -> _Line:
    if line.raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadFile(1, [Fault("header", "UTF-16 (its byte order mark)", "UTF-8", _SAVE_AS_UTF8)])
    return _Line(line.raw.removeprefix(b"\xef\xbb\xbf"), line.size)


_SAVE_AS_UTF8 = "save the file as UTF-8, or convert it: iconv -f UTF-16 -t UTF-8 FILE (say what it really is)"


def _nothing(format_: Format) -> Fault:
    if format_ is Format.CSV:
        return Fault(
            "header", "an empty file", "a header line, then one row per line", f"begin with {','.join(REQUIRED)}"
        )
    return Fault("line", "an empty file", "one JSON object per line", "see `confirm import --help` for a row")


def _text(line: _Line) -> str:
    if line.too_long:
        raise _Unreadable(
            Fault(
                "line",
                f"{line.size:,} bytes",
                f"at most {MAX_LINE_BYTES:,} bytes",
                "look for a missing line end or quote; the line is skipped and too long to be copied",
            )
        )
    try:
        text = line.raw.decode()
    except UnicodeDecodeError as error:
        raise _Unreadable(
            Fault("line", f"byte 0x{line.raw[error.start]:02x} at byte {error.start + 1}", "UTF-8", _SAVE_AS_UTF8)
        ) from None
    if control := _CONTROL.search(text):
        name = "a NUL" if control[0] == "\0" else f"the control character 0x{ord(control[0]):02x}"
        raise _Unreadable(
            Fault("line", f"{name} at character {control.start() + 1}", "printable text", "remove it from the line")
        )
    return text


# --- lines to fields -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Number:
    """A number as it was written: amounts are never floats, and 5,000 digits cost nothing."""

    text: str


def _split(text: str) -> list[str]:
    try:
        (fields,) = csv.reader([text], strict=True)
    except csv.Error:
        raise _Unreadable(
            Fault(
                "line",
                "a quote that is not closed, or closed before the field ends",
                'fields in "..." with "" for a quote inside, on one line',
                "mend the quotes",
            )
        ) from None
    return fields


def _header(number: int, line: _Line) -> tuple[str, ...]:
    try:
        text = _text(line)
        names = tuple(name.strip() for name in _split(text))
    except _Unreadable as unreadable:
        raise BadFile(number, [unreadable.fault]) from None
    faults: list[Fault] = []
    allowed = f"{','.join(REQUIRED)} and, optional, {','.join(OPTIONAL)}; in any order"
    if text.lstrip().startswith("{"):
        raise BadFile(number, [Fault("header", "a JSON object", allowed, "say --format jsonl")])
    known = set(names) & set(COLUMNS)
    if not known:
        # Most likely data without a header: nothing of it is shown.
        separator = next((s for s in (";", "\t", "|") if s in text), None)
        fix = (
            f"separate with commas, not with {separator!r}"
            if separator
            else f"put this line first: {','.join(REQUIRED)}"
        )
        raise BadFile(number, [Fault("header", "none of the columns", allowed, fix)])
    strange = [name for name in names[:20] if name not in COLUMNS and _NAME_LIKE.fullmatch(name)]
    for name in REQUIRED:
        if name not in names:
            near = get_close_matches(name, strange, 1, 0.6)
            fix = f"rename {_name(near[0])}" if near else "add it"
            faults.append(Fault("header", f"no column {name}", allowed, fix))
    faults += _unknown(names, allowed)
    for name, times in Counter(names).items():
        if times > 1 and name in COLUMNS:
            faults.append(Fault("header", f"column {name} {times} times", allowed, "keep one of them"))
    if faults:
        raise BadFile(number, faults)
    return names


def _csv_fields(text: str, columns: tuple[str, ...]) -> Mapping[str, object]:
    values = _split(text)
    if len(values) != len(columns):
        raise _Unreadable(
            Fault(
                "line",
                f"{len(values)} fields",
                f"{len(columns)}, as in the header",
                'add what is missing (it may be empty), or put a field that holds a comma in "..."',
            )
        )
    fields: dict[str, object] = {}
    for name, value in zip(columns, (value.strip() for value in values), strict=True):
        if value or name in REQUIRED:  # an empty optional field is one left out, as spreadsheets write it
            fields[name] = _Number(value) if name == "amount_minor" else value
    return fields


class _Twice(Exception):  # noqa: N818 - unwinds the JSON parser only
    pass


def _pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    for name, times in Counter(name for name, _ in pairs).items():
        if times > 1:
            raise _Twice(name)
    return dict(pairs)


_JSON_ROW = '{"id":"order-1","account":"...","amount_minor":1250,"currency":"USD"}'


def _json_fields(text: str) -> Mapping[str, object]:
    allowed = "one JSON object on one line"
    fix = f"write it like {_JSON_ROW}"
    if text.lstrip().startswith("["):
        fix = "an array is no JSON Lines: jq -c '.[]' FILE gives one object per line"
    elif text.startswith(f"{REQUIRED[0]},"):
        fix = "this looks like CSV: say --format csv"
    try:
        value = json.loads(
            text, parse_int=_Number, parse_float=_Number, parse_constant=_Number, object_pairs_hook=_pairs
        )
    except json.JSONDecodeError as error:
        found = f"broken JSON at character {error.pos + 1} ({error.msg})"
        raise _Unreadable(Fault("line", found, allowed, fix)) from None
    except RecursionError:
        raise _Unreadable(Fault("line", "JSON nested too deep", allowed, fix)) from None
    except _Twice as twice:
        found = f"the key {_name(str(twice))} more than once"
        raise _Unreadable(Fault("line", found, "each key once", "keep one of them")) from None
    if not isinstance(value, dict):
        raise _Unreadable(Fault("line", _described(value), allowed, fix))
    return value


MOST_UNKNOWN = 5
"""Names of one header or object that are reported one by one: a line may hold thousands."""


def _unknown(names: Collection[str], allowed: str) -> list[Fault]:
    """The names that are none of the columns, each with the column it was likely meant to be."""
    unknown = [name for name in dict.fromkeys(names) if name not in COLUMNS]
    free = [name for name in COLUMNS if name not in names]
    faults = []
    for name in unknown[:MOST_UNKNOWN]:
        near = get_close_matches(name, free, 1, 0.6) if _NAME_LIKE.fullmatch(name) else []
        fix = f"rename it to {near[0]}" if near else "remove it"
        faults.append(Fault(_name(name), "an unknown name", allowed, fix))
    if (more := len(unknown) - MOST_UNKNOWN) > 0:
        faults.append(Fault("line", f"{more:,} more unknown names", allowed, "remove them"))
    return faults


# --- fields to a transaction -----------------------------------------------------------------------------------------


def _transaction(fields: Mapping[str, object], defaults: Defaults, faults: list[Fault]) -> Transaction | None:
    """The transaction, or None and all that is wrong with it in `faults`."""
    faults += _unknown(fields, ", ".join(COLUMNS))
    currency = _currency(fields, faults)
    id_, account = _id(fields, faults), _account(fields, faults)
    amount = _amount(fields, currency, faults)
    created_at = _time("created_at", fields, defaults.now, faults)
    deadline = _time("deadline", fields, defaults.now + defaults.within, faults)
    if created_at and deadline and not faults:
        _order(created_at, deadline, fields, defaults, faults)
    if faults or id_ is None or account is None or amount is None:
        return None
    if currency is None or created_at is None or deadline is None:
        return None
    return Transaction(id_, account, amount, currency, created_at, deadline)


def _word(name: str, fields: Mapping[str, object], allowed: str, fix: str, faults: list[Fault]) -> str | None:
    """The text of a field, which may be anything that JSON has."""
    if name not in fields:
        faults.append(Fault(name, "no such key", allowed, "add it"))
        return None
    value = fields[name]
    if not isinstance(value, str):
        faults.append(Fault(name, _described(value), f"text: {allowed}", "put it in quotes"))
        return None
    if not value:
        faults.append(Fault(name, "nothing", allowed, fix))
        return None
    return value


def _id(fields: Mapping[str, object], faults: list[Fault]) -> str | None:
    allowed = "1 to 128 of A-Z a-z 0-9 . _ : -, beginning with a letter or a digit"
    fix = "give each transaction an id of its own that never changes"
    text = _word("id", fields, allowed, fix, faults)
    if text is None:
        return None
    if text.startswith(CANARY):
        allowed, fix = "another beginning: this is the system's own", "rename it; `confirm canary` sends a canary"
        faults.append(Fault("id", f"the beginning {CANARY}", allowed, fix))
        return None
    if ID.fullmatch(text):
        if found := secret_in(text) or _account_within(text, fields.get("account")):
            allowed = "an id without any: it is in each log line, trace and command, where it must stay readable"
            faults.append(Fault("id", found, allowed, "give the transaction another id, the same one each time"))
            return None
        return text
    if len(text) > 128:
        found = f"{len(text)} characters"
    else:
        good = ID.match(text)
        at = good.end() if good else 0
        found = f"{text[at]!a} at character {at + 1} of {len(text)}"
    faults.append(Fault("id", found, allowed, "replace what is not allowed, the same way each time"))
    return None


def _account_within(id_: str, account: object) -> str | None:
    """Whether the id tells the row's own account number; accounts that are names of ours may be part of it."""
    number = "".join(one for one in account if one.isalnum()) if isinstance(account, str) else ""
    if sum(one.isdigit() for one in number) < 8:
        return None
    bare = "".join(one for one in id_ if one.isalnum())
    return "the number of the account" if number.casefold() in bare.casefold() else None


def _account(fields: Mapping[str, object], faults: list[Fault]) -> str | None:
    allowed = f"1 to {MAX_ACCOUNT} printable characters"
    text = _word("account", fields, allowed, "say which account pays", faults)
    if text is None or (text.isprintable() and len(text) <= MAX_ACCOUNT and text == text.strip()):
        return text
    faults.append(Fault("account", _size(text), allowed, "shorten it and remove what does not print"))
    return None


def _currency(fields: Mapping[str, object], faults: list[Fault]) -> str | None:
    allowed = "an ISO 4217 code with a minor unit, in capitals, such as USD, EUR or JPY"
    code = _word("currency", fields, allowed, "say the currency", faults)
    if code is None or code in EXPONENTS:
        return code
    shown = ascii(code) if re.fullmatch(r"[A-Za-z]{3}", code) else _size(code)
    if code in WITHOUT_MINOR_UNIT:
        fix = f"{code} has no minor unit, so no payment can be made in it: use another"
    elif code.strip().upper() in EXPONENTS:
        fix = f"write {code.strip().upper()}"
    else:
        fix = "correct the code; a withdrawn currency has a successor (BGN: EUR, ANG: XCG, ZWL: ZWG)"
    faults.append(Fault("currency", shown, allowed, fix))
    return None


def _amount(fields: Mapping[str, object], currency: str | None, faults: list[Fault]) -> int | None:
    name, allowed = "amount_minor", f"a whole number of minor units (cents for USD), 0 to {MAX_AMOUNT:,}"
    if name not in fields:
        faults.append(Fault(name, "no such key", allowed, "add it"))
        return None
    value = fields[name]
    if not isinstance(value, _Number):
        fix = "write the number without quotes" if isinstance(value, str) else "write a number"
        faults.append(Fault(name, _described(value), allowed, fix))
        return None
    return _minor_units(value.text, currency, allowed, faults)


def _minor_units(text: str, currency: str | None, allowed: str, faults: list[Fault]) -> int | None:
    if text.isascii() and text.isdigit():
        digits = text.lstrip("0") or "0"
        # Counted before it is converted: Python refuses, and should, to convert thousands of digits.
        if len(digits) <= len(str(MAX_AMOUNT)) and int(digits) <= MAX_AMOUNT:
            return int(digits)
        found, fix = f"a number of {len(digits)} digits", "correct it; an amount this large is no payment"
    else:
        found = text if text and _NUMBER_LIKE.fullmatch(text) else _size(text)
        fix = "write digits only: no sign, point, comma, exponent or currency sign"
        decimal = _DECIMAL.fullmatch(text)
        if decimal and not decimal[1]:
            fix = _as_minor(decimal[2], decimal[3], currency)
        elif text.startswith("-"):
            fix = "leave refunds out: only payments are confirmed here"
    faults.append(Fault("amount_minor", found, allowed, fix))
    return None


def _as_minor(whole: str, decimals: str, currency: str | None) -> str:
    exponent = EXPONENTS.get(currency or "")
    if exponent is None or len(decimals.rstrip("0")) > exponent:
        return "write whole minor units; round where the amount is made, nothing is rounded here"
    minor = int(whole + decimals.rstrip("0").ljust(exponent, "0"))
    return f"write {minor} if {whole}.{decimals} {currency} is meant"


def _time(name: str, fields: Mapping[str, object], default: datetime, faults: list[Fault]) -> datetime | None:
    if name not in fields:
        return utc(default)
    allowed = f"ISO 8601 with a zone, {YEARS[0]} to {YEARS[1]}, such as 2026-11-24T07:34:00Z"
    text = _word(name, fields, allowed, "leave it out", faults)
    if text is None:
        return None
    shown = ascii(text) if _TIME.fullmatch(text) or _DATE_LIKE.fullmatch(text) else _size(text)
    match = _TIME.fullmatch(text)
    if not match:
        fix = "add the time and the zone" if _DATE_LIKE.fullmatch(text) else "write it like the example"
        faults.append(Fault(name, shown, allowed, fix))
        return None
    if not match[3]:
        faults.append(Fault(name, f"{shown}, without a zone", allowed, f"write {text}Z if it is UTC"))
        return None
    try:
        time = utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        faults.append(Fault(name, shown, allowed, "correct it: there is no such time"))
        return None
    if not YEARS[0] <= time.year <= YEARS[1]:
        faults.append(Fault(name, shown, allowed, "correct the year"))
        return None
    return time


def _order(
    created_at: datetime,
    deadline: datetime,
    fields: Mapping[str, object],
    defaults: Defaults,
    faults: list[Fault],
) -> None:
    if "created_at" in fields and created_at > defaults.now + FUTURE:
        faults.append(
            Fault("created_at", to_text(created_at), f"not after now ({to_text(defaults.now)})", "correct it")
        )
    # A deadline that merely is over is no fault: the same file must add nothing next week, and refuse nothing either.
    elif "created_at" in fields and "deadline" in fields and deadline <= created_at:
        faults.append(
            Fault(
                "deadline",
                to_text(deadline),
                f"after created_at ({to_text(created_at)})",
                "correct one of the two, or leave the deadline out",
            )
        )


# --- what may be shown -----------------------------------------------------------------------------------------------


def _size(text: str) -> str:
    return f"text of {len(text)} character{'' if len(text) == 1 else 's'}" if text else "nothing"


def _name(name: str) -> str:
    """A column's or key's name, if it looks like one."""
    return ascii(name) if _NAME_LIKE.fullmatch(name) and not secret_in(name) else f"a name of {len(name)} characters"


def _described(value: object) -> str:
    """A JSON value by its kind alone."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case _Number():
            return "a number"
        case str():
            return f"{_size(value)} in quotes" if value else "empty quotes"
        case list():
            return "an array"
    return "an object"


def _discreet(fault: Fault, fields: Mapping[str, object]) -> Fault:
    """`fault` without the row's own account, should another field repeat it."""
    account = fields.get("account")
    if isinstance(account, str) and len(account) >= 4 and account in f"{fault.found} {fault.fix}":
        return Fault(fault.field, "the account", fault.allowed, "correct the order of the columns")
    return fault
