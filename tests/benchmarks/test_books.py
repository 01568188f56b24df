"""The benchmark of reconciliation, on a small book of each format: what is planted is found, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import books
from cli.books.classes import Class


@pytest.mark.parametrize("name", books.FORMATS)
def test_what_is_planted_is_found_and_nothing_else(name: str, tmp_path: Path) -> None:
    found = books.compared(name, 1_500, tmp_path / "book")
    assert found.right
    assert found.planted > 200
    assert found.classes >= 9


def test_a_break_that_nobody_planted_is_false(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books, "PLANTED", tuple(one for one in books.PLANTED if one is not Class.DOUBLED))
    monkeypatch.setattr(books, "HARMLESS", (*books.HARMLESS, Class.DOUBLED))
    found = books.compared("columns", 1_500, tmp_path / "book")
    assert found.found == found.planted
    assert found.false > 10
    assert not found.right


def test_a_large_statement_is_read_in_bounded_memory(tmp_path: Path) -> None:
    found = books.large(tmp_path / "book", 1)
    assert found["lines"] > 3_000
    assert found["peak_mib"] - found["before_mib"] < 64
