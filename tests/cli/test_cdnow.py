"""The real purchases: all of them, to the cent, under ids that never change."""

from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path

import pytest

from cli.exits import Exit
from demo import cdnow
from tests.cli.conftest import MemoryCli


def test_every_purchase_to_the_cent() -> None:
    rows = list(cdnow.purchases())
    assert len(rows) == 6919
    assert len({row.id for row in rows}) == 6919
    assert len({row.account for row in rows}) == 2357
    assert sum(row.amount for row in rows) == 24_409_194
    assert sum(row.amount == 0 for row in rows) == 8
    assert rows[0] == cdnow.Purchase("00004-19970101-01", "00004", 2933)


def test_the_ids_never_change() -> None:
    """Else a second import would add everything once more."""
    ids = "\n".join(row.id for row in cdnow.purchases())
    assert hashlib.sha256(ids.encode()).hexdigest()[:16] == "5c1eb0aa140b0bd5"


def test_the_file_is_as_it_was_published() -> None:
    raw = cdnow.SOURCE.read_bytes()
    assert (raw.count(b"\r\n"), len(raw)) == (6919, 228_327)


@pytest.mark.parametrize("line", ["00004 0001 19970101 2", "00004 0001 19970101 2 1.005", "a b c d e f"])
def test_another_file_is_refused(line: str, tmp_path: Path) -> None:
    file = tmp_path / "x.txt"
    file.write_text(f" 00004 0001 19970101  2   29.33\r\n{line}\r\n")
    with pytest.raises(ValueError, match=r"x\.txt line 2"):
        list(cdnow.purchases(file))


def test_what_it_writes_is_what_import_takes(
    confirm: MemoryCli, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cdnow.main()
    text = capsys.readouterr().out
    assert next(csv.reader(io.StringIO(text))) == list(cdnow.COLUMNS)
    file = tmp_path / "purchases.csv"
    file.write_text(text)
    result = confirm("import", str(file))
    assert (result.code, result.err) == (Exit.OK, "")
    assert sum(record.amount for record in confirm.store.records.values()) == 24_409_194
    assert len(confirm.store.records) == 6919
