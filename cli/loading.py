"""Rows into a store: in parts, in the order of the file, never overwriting; and what became of each."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from cli.exits import Exit, Trouble
from cli.rows import Fault, RefusedRow, Row
from workers.domain.ports import Store
from workers.domain.transaction import Transaction

PART = 500
"""Rows per call of the store: twenty of DynamoDB's BatchExecuteStatement calls, which run side by side."""
READ_BYTES = 64 * 1024


@dataclass(slots=True)
class Loaded:
    """What became of the rows so far; `new + already + refused` are all of them."""

    new: int = 0
    already: int = 0
    """There before, or twice in the file, with the same content."""
    refused: int = 0
    conflicting: int = 0
    """Of the refused, those whose id stands for another payment."""
    overdue: int = 0
    """Of the new, those whose deadline had passed: they go to a person without a call."""
    last_line: int = 0

    @property
    def rows(self) -> int:
        return self.new + self.already + self.refused


async def load(
    rows: Iterable[Row | RefusedRow],
    store: Store | None,
    on_refused: Callable[[RefusedRow], None],
    on_part: Callable[[Loaded], None],
    loaded: Loaded,
) -> None:
    """Add the good rows to `store` (None: only check), keeping count in `loaded` even where an error ends it early.

    Raises:
        cli.rows.BadFile: the file is none; nothing was loaded.
    """
    with _Seen() as seen:
        every = iter(rows)
        while part := list(islice(every, PART)):
            fresh: list[Row] = []
            refused: list[RefusedRow] = []
            repeated = 0
            for row in part:
                if isinstance(row, RefusedRow):
                    refused.append(row)
                elif (earlier := seen.add(row)) is None:
                    fresh.append(row)
                elif earlier.same:
                    repeated += 1
                else:
                    refused.append(_conflict(row, f"also on line {earlier.line}, for another payment"))
            by_id = {row.transaction.id: row for row in fresh}
            if store is not None and fresh:
                added = await store.add([row.transaction for row in fresh])
                refused += [_conflict(by_id[id_], "already there, for another payment") for id_ in added.conflicting]
                refused += [_not_taken(by_id[id_]) for id_ in added.refused]
                repeated += len(added.already)
                new = [by_id[id_] for id_ in added.new]
            else:
                new = fresh
            loaded.new += len(new)
            loaded.already += repeated
            loaded.refused += len(refused)
            loaded.conflicting += sum(_is_conflict(row) for row in refused)
            loaded.overdue += sum(row.transaction.deadline <= row.transaction.created_at for row in new)
            loaded.last_line = part[-1].line
            for row in sorted(refused, key=lambda row: row.line):
                on_refused(row)
            on_part(loaded)


def _conflict(row: Row, found: str) -> RefusedRow:
    fault = Fault(
        "id",
        f"one that is {found}",  # not the id itself: where columns are mixed up, it is an account
        "one account, amount and currency per id, for ever",
        "give this one an id of its own; what is there was left untouched",
    )
    return RefusedRow(row.line, (fault,), row.raw)


def _not_taken(row: Row) -> RefusedRow:
    fault = Fault(
        "line",
        "a row that keeps to the rules of an import, and not to those of the datastore",
        "what the datastore takes",
        "report it: rows are checked before they are sent. The others were loaded",
    )
    return RefusedRow(row.line, (fault,), row.raw)


def _is_conflict(row: RefusedRow) -> bool:
    return any(fault.field == "id" and "for another payment" in fault.found for fault in row.faults)


@dataclass(frozen=True, slots=True)
class _Earlier:
    line: int
    same: bool


class _Seen:
    """The ids of the file so far, in a temporary database that SQLite spills to disk: memory stays bounded.

    Of the content only a digest is kept, so no account reaches the disk.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE seen (id TEXT PRIMARY KEY, line INTEGER, digest BLOB) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def __enter__(self) -> _Seen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def add(self, row: Row) -> _Earlier | None:
        """The first row with this id, or None where this is the first."""
        digest = _digest(row.transaction)
        values = (row.transaction.id, row.line, digest)
        if self._database.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", values).rowcount:
            return None
        (line, first) = self._database.execute(
            "SELECT line, digest FROM seen WHERE id = ?", (row.transaction.id,)
        ).fetchone()
        return _Earlier(line, first == digest)


def _digest(transaction: Transaction) -> bytes:
    content = f"{transaction.amount}\0{transaction.currency}\0{transaction.account}"
    return hashlib.sha256(content.encode()).digest()[:16]


def chunks(stream: BinaryIO, on_read: Callable[[int], None] = lambda _: None) -> Iterator[bytes]:
    """The bytes of `stream`, a bounded piece at a time; tells `on_read` how many came."""
    while piece := stream.read(READ_BYTES):
        on_read(len(piece))
        yield piece


MOST_REJECTS = 1000
"""Files of bad rows side by side; somebody mends none of them."""


class Rejects:
    """The file of the bad rows, as they stood, to be mended and imported; made when the first one comes.

    It holds account data as the input does, so only its owner may read it. What is there stays: it may be the only
    copy of the rows of another file, or of a pipe. So the name gets a number where it is taken, unless the operator
    chose it.
    """

    def __init__(self, path: Path, header: Callable[[], bytes | None], *, chosen: bool = False) -> None:
        self.path = path
        self._chosen = chosen
        self._header = header
        self._file: BinaryIO | None = None
        self.rows = 0

    def write(self, row: RefusedRow) -> None:
        if row.raw is None:
            return
        if self._file is None:
            self._file = self._new()
            if header := self._header():
                self._file.write(header + b"\n")
        self._file.write(row.raw + b"\n")
        self.rows += 1

    def _new(self) -> BinaryIO:
        """A new file, so that its permissions are ours and nothing is lost; `path` is its name from now on."""
        first = self.path
        for number in range(1, 2 if self._chosen else MOST_REJECTS + 1):
            self.path = first if number == 1 else first.with_stem(f"{first.stem}-{number}")
            with suppress(FileExistsError):
                return os.fdopen(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        raise taken(first)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def taken(path: Path) -> Trouble:
    """What to say where refused rows have no place."""
    return Trouble(
        f"{path} is there already, and may be the only copy of rows that were refused before",
        "import what is in it or move it away, or name another file with --rejects",
        Exit.USAGE,
    )
