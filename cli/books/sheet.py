"""CSV as gateways and banks write it: rows under a header, read in bounded memory, or a clear word about the line."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from cli.books.lines import BadBook, Reading

MAX_LINE = 1024 * 1024
"""Bytes. A hundred times what a gateway's line needs; a file without line ends is none."""


class Sheet:
    """The rows of one file; to be read once."""

    def __init__(
        self, stream: BinaryIO, reading: Reading, *, encoding: str = "utf-8", delimiter: str = ",", skip: int = 0
    ) -> None:
        self._reading, self._encoding = reading, encoding
        lines = self._lines(stream)
        for _ in range(skip):
            next(lines, "")
        self._skipped = skip
        self._reader = csv.reader(lines, delimiter=delimiter, strict=True)
        self.header: Sequence[str] = [column.strip() for column in next(self._rows(), (0, []))[1]]

    def place(self, column: str, *, optional: bool = False) -> int:
        """Where that column is; -1 of one that may be missing.

        Raises:
            BadBook: it is missing, or there twice.
        """
        count = self.header.count(column)
        if count == 1:
            return self.header.index(column)
        if count == 0 and optional:
            return -1
        where = f"{self._reading.name} line {self._skipped + 1}"
        found = f"{count} columns {column!r}" if count else f"no column {column!r}"
        raise BadBook(where, found, "one of that name", "export the report with it, or name another format")

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Each row and the line that it ends on; all as long as the header."""
        width = len(self.header)
        for number, row in self._rows():
            if len(row) != width:
                raise BadBook(
                    self._reading.at(number),
                    f"{len(row)} fields",
                    f"{width}, as in the header",
                    "mend the file; a last line that is cut short means that it did not arrive whole",
                )
            yield number, row

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        reader, skipped = self._reader, self._skipped
        while True:
            try:
                for row in reader:
                    if row:
                        yield reader.line_num + skipped, row
                return
            except csv.Error as error:
                cut = "unexpected end of data" in str(error)
                raise BadBook(
                    self._reading.at(reader.line_num + skipped),
                    "the end of the file inside a quoted field" if cut else "no readable line",
                    f"CSV in {self._encoding.upper()}",
                    "fetch the file again, or mend the quotes",
                ) from None

    def _lines(self, stream: BinaryIO) -> Iterator[str]:
        number = 0
        while raw := stream.readline(MAX_LINE + 1):
            number += 1
            if number == 1:
                if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
                    raise BadBook(
                        self._reading.at(1),
                        "UTF-16 (its byte order mark)",
                        self._encoding.upper(),
                        "convert it: iconv -f UTF-16 -t UTF-8 FILE",
                    )
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            if len(raw) > MAX_LINE:
                raise BadBook(self._reading.at(number), "no line end", f"lines of at most {MAX_LINE:,} bytes")
            try:
                yield raw.decode(self._encoding)
            except UnicodeDecodeError as error:
                raise BadBook(
                    self._reading.at(number),
                    f"byte 0x{raw[error.start]:02x}",
                    f"CSV in {self._encoding.upper()}",
                    "save it as UTF-8, or name its encoding in a column map (--columns)",
                ) from None
