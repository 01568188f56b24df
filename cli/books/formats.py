"""Which format a file has, by its content where that is sure, and its lines by the reader of that format."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any, BinaryIO

from cli.books import adyen, camt, columns, ledger, stripe
from cli.books.columns import Columns
from cli.books.lines import Line, Reading

PEEK = 64 * 1024


class BookFormat(StrEnum):
    """What a book is written in; any other CSV is read by a column map."""

    LEDGER = "ledger"
    CAMT053 = "camt.053"
    STRIPE = "stripe"
    ADYEN = "adyen"


_HEADERS = (
    (BookFormat.LEDGER, ledger.COLUMNS),
    (BookFormat.STRIPE, stripe.COLUMNS),
    (BookFormat.ADYEN, adyen.COLUMNS),
)


def detected(head: bytes) -> BookFormat | None:
    """By its first bytes; None where none, or more than one, has all that it is known by."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return BookFormat.CAMT053 if b"<" in head[2:4] else None
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"<"):
        return BookFormat.CAMT053
    first = text.split(b"\n", 1)[0].decode("utf-8", "replace")
    try:
        header = {column.strip() for row in csv.reader([first]) for column in row}
    except csv.Error:
        return None
    found = [format_ for format_, needed in _HEADERS if header.issuperset(needed)]
    return found[0] if len(found) == 1 else None


def lines(
    stream: io.BufferedReader[Any], reading: Reading, format_: BookFormat | None = None, map_: Columns | None = None
) -> Iterator[Line]:
    """Raises BadBook: the file is none; where its format is not to be seen, it is read as a plain ledger."""
    if map_ is not None:
        return columns.read(stream, reading, map_)
    return _READERS[format_ or detected(stream.peek(PEEK)) or BookFormat.LEDGER](stream, reading)


_READERS: dict[BookFormat, Callable[[BinaryIO, Reading], Iterator[Line]]] = {
    BookFormat.LEDGER: ledger.read,
    BookFormat.CAMT053: camt.read,
    BookFormat.STRIPE: stripe.read,
    BookFormat.ADYEN: adyen.read,
}


class Counted(io.RawIOBase):
    """A file that tells how many bytes were read of it."""

    def __init__(self, raw: io.RawIOBase, on_read: Callable[[int], None]) -> None:
        self._raw, self._on_read = raw, on_read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int | None:  # type: ignore[override]
        count = self._raw.readinto(buffer)
        self._on_read(count or 0)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
