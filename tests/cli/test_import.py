"""`confirm import` from the command line to the store: what is loaded, what is told, what is left for mending."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from cli import loading
from cli.exits import Exit
from tests.cli.conftest import MemoryCli
from tests.memory_store import MemoryStore
from workers.domain.ports import Added
from workers.domain.transaction import Status, Transaction
from workers.stores.dynamodb import StoreError

HEADER = "id,account,amount_minor,currency"
ACCOUNT = "DE89370400440532013000"


def write(folder: Path, *lines: str, name: str = "pay.csv", header: str = HEADER) -> Path:
    path = folder / name
    path.write_text("\n".join([header, *lines]) + "\n" if header else "\n".join(lines) + "\n")
    return path


def test_good_rows_are_loaded_as_pending_transactions(confirm: MemoryCli, tmp_path: Path) -> None:
    file = write(tmp_path, f"a,{ACCOUNT},1250,USD", f"b,{ACCOUNT},0,JPY")
    result = confirm("import", str(file))
    assert (result.code, result.err) == (Exit.OK, "")
    assert "2 rows" in result.out
    assert "2 new, 0 already there, 0 refused" in result.out
    first = confirm.store.records["a"]
    assert (first.account, first.amount, first.currency, first.status) == (ACCOUNT, 1250, "USD", Status.PENDING)
    assert first.deadline == confirm.clock.now() + timedelta(hours=24)
    assert first.history[0].now is Status.PENDING
    assert not list(tmp_path.glob("*rejected*"))


def test_the_same_file_twice_adds_nothing(confirm: MemoryCli, tmp_path: Path) -> None:
    file = write(tmp_path, f"a,{ACCOUNT},1250,USD", f"b,{ACCOUNT},1,USD")
    confirm("import", str(file))
    before = dict(confirm.store.records)
    confirm.clock.advance(7 * 86400)
    result = confirm("import", str(file))
    assert result.code == Exit.OK
    assert "0 new, 2 already there, 0 refused" in result.out
    assert confirm.store.records == before


def test_an_id_with_other_content_is_named_and_left_untouched(confirm: MemoryCli, tmp_path: Path) -> None:
    confirm("import", str(write(tmp_path, f"a,{ACCOUNT},1250,USD")))
    before = confirm.store.records["a"]
    for other in (f"a,{ACCOUNT},1251,USD", f"a,{ACCOUNT},1250,EUR", "a,someone-else,1250,USD"):
        file = write(tmp_path, f"n{len(other)},{ACCOUNT},1,USD", other, name="more.csv")
        result = confirm("import", str(file))
        assert result.code == Exit.ROWS_REFUSED
        assert "line 3: id: found one that is already there, for another payment" in result.err
        assert "fix: give this one an id of its own" in result.err
        rejects = tmp_path / "more.rejected.csv"
        assert rejects.read_text() == f"{HEADER}\n{other}\n"
        rejects.unlink()
        assert confirm.store.records["a"] == before


def test_ids_that_come_twice_in_one_file(confirm: MemoryCli, tmp_path: Path) -> None:
    """Across parts too: the store would see the first as its own."""
    many = [f"m{n},x,1,USD" for n in range(loading.PART)]
    result = confirm(
        "import", str(write(tmp_path, "a,x,1,USD", "a,x,1,USD", "a,x,2,USD", *many, "a,x,1,USD", "a,x,3,USD"))
    )
    assert result.code == Exit.ROWS_REFUSED
    assert f"{loading.PART + 1:,} new, 2 already there, 2 refused" in result.out
    assert "line 4: id: found one that is also on line 2, for another payment" in result.err
    assert f"line {loading.PART + 6}: id: found one that is also on line 2, for another payment" in result.err
    assert confirm.store.records["a"].amount == 1


def test_bad_rows_are_left_for_mending_as_they_stood(confirm: MemoryCli, tmp_path: Path) -> None:
    file = tmp_path / "pay.csv"
    bad = [b'b 1,"x, y",1,USD', b"c,\xff,1,USD", b"d,x,1.5,USD"]
    file.write_bytes(b"\r\n".join([b"\xef\xbb\xbf" + HEADER.encode(), b"a,x,1,USD", *bad, b"e,x,1,USD", b""]))
    result = confirm("import", str(file))
    assert result.code == Exit.ROWS_REFUSED
    assert set(confirm.store.records) == {"a", "e"}
    rejects = tmp_path / "pay.rejected.csv"
    assert rejects.read_bytes() == b"\n".join([HEADER.encode(), *bad, b""])
    assert stat.S_IMODE(rejects.stat().st_mode) == 0o600
    assert f"The refused rows are in {rejects}" in result.out

    rejects.write_bytes(rejects.read_bytes().replace(b"b 1", b"b1").replace(b"\xff", b"x").replace(b"1.5", b"150"))
    assert confirm("import", str(rejects)).code == Exit.OK
    assert set(confirm.store.records) == {"a", "b1", "c", "d", "e"}


def test_a_row_that_the_datastore_refuses_stops_no_other(
    confirm: MemoryCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = confirm.store.add

    async def add(transactions: Sequence[Transaction]) -> Added:
        added = await whole([one for one in transactions if one.id != "b"])
        return replace(added, refused=tuple(one.id for one in transactions if one.id == "b"))

    monkeypatch.setattr(confirm.store, "add", add)
    result = confirm("import", str(write(tmp_path, "a,x,1,USD", "b,x,1,USD", "c,x,1,USD")))
    assert result.code == Exit.ROWS_REFUSED
    assert "2 new, 0 already there, 1 refused" in result.out
    assert "line 3: line: found a row that keeps to the rules of an import" in result.err
    assert set(confirm.store.records) == {"a", "c"}


def test_refused_rows_are_told_in_the_order_of_the_file(confirm: MemoryCli, tmp_path: Path) -> None:
    confirm("import", str(write(tmp_path, "a,x,1,USD")))
    result = confirm("import", str(write(tmp_path, "x y,x,1,USD", "a,x,2,USD", "z z,x,1,USD", name="b.csv")))
    assert re.findall(r"line (\d+)", result.err) == ["2", "3", "4"]


def test_json_lines_from_standard_input_with_rejects_elsewhere(confirm: MemoryCli, tmp_path: Path) -> None:
    lines = b'{"id":"a","account":"x","amount_minor":5,"currency":"EUR"}\n{"id":"b"}\n'
    rejects = tmp_path / "left.jsonl"
    result = confirm("import", "-", "--format", "jsonl", "--rejects", str(rejects), stdin=lines)
    assert result.code == Exit.ROWS_REFUSED
    assert set(confirm.store.records) == {"a"}
    assert rejects.read_bytes() == b'{"id":"b"}\n'


def test_refused_rows_of_one_import_outlive_the_next(
    confirm: MemoryCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may be the only copy: a pipe cannot be read again, and two files may end in one name."""
    monkeypatch.chdir(tmp_path)
    for day in ("monday", "tuesday"):
        lines = f"{HEADER}\n{day},x,1.5,USD\n".encode()
        assert confirm("import", "-", "--format", "csv", stdin=lines).code == Exit.ROWS_REFUSED
    assert (tmp_path / "stdin.rejected.csv").read_text() == f"{HEADER}\nmonday,x,1.5,USD\n"
    assert (tmp_path / "stdin.rejected-2.csv").read_text() == f"{HEADER}\ntuesday,x,1.5,USD\n"
    for ending in ("json", "jsonl"):
        file = write(tmp_path, name=f"pay.{ending}", header=f'{{"id":"{ending}"}}')
        result = confirm("import", str(file))
    assert (tmp_path / "pay.rejected.jsonl").read_text() == '{"id":"json"}\n'
    assert (tmp_path / "pay.rejected-2.jsonl").read_text() == '{"id":"jsonl"}\n'
    assert "pay.rejected-2.jsonl" in result.out, "and the operator is told where"


def test_a_file_that_the_operator_named_for_refused_rows_is_not_overwritten(confirm: MemoryCli, tmp_path: Path) -> None:
    file, kept = write(tmp_path, "a,x,1,USD", "b,x,1.5,USD"), tmp_path / "kept.csv"
    kept.write_text("the only copy")
    result = confirm("import", str(file), "--rejects", str(kept))
    assert result.code == Exit.USAGE
    assert "may be the only copy" in result.err
    assert kept.read_text() == "the only copy"
    assert not confirm.store.records


def test_a_dry_run_checks_and_writes_nothing(
    confirm: MemoryCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(_: object) -> None:
        raise AssertionError("a dry run asked for a stack")

    monkeypatch.setattr("cli.target.find", never)
    result = confirm("import", str(write(tmp_path, "a,x,1,USD", "a,x,2,USD", "b b,x,1,USD")), "--dry-run")
    assert result.code == Exit.ROWS_REFUSED
    assert "1 good, 0 repeated, 2 refused" in result.out
    assert "Nothing was written" in result.out
    assert not confirm.store.records


def test_the_deadline_of_rows_without_one_and_one_that_is_over(confirm: MemoryCli, tmp_path: Path) -> None:
    over = (confirm.clock.now() - timedelta(days=1)).isoformat()
    file = write(tmp_path, "a,x,1,USD,", f"b,x,1,USD,{over}", header=HEADER + ",deadline")
    result = confirm("import", str(file), "--final-within", "2")
    assert result.code == Exit.OK
    assert confirm.store.records["a"].deadline == confirm.clock.now() + timedelta(hours=2)
    assert "1 of these rows have a deadline that has passed" in result.out


def test_json_of_an_import_is_stable(confirm: MemoryCli, tmp_path: Path) -> None:
    file = write(tmp_path, "a,x,1,USD", "a,x,1,USD", "a,x,2,USD", "b,x,1.5,USD")
    result = confirm("import", str(file), "--json")
    assert (result.code, result.err) == (Exit.ROWS_REFUSED, "")
    value = json.loads(result.out)
    assert list(value) == [
        "file",
        "dry_run",
        "rows",
        "new",
        "already",
        "refused",
        "conflicting",
        "overdue",
        "rejects",
        "faults",
        "faults_total",
    ]
    counts = {name: value[name] for name in ("rows", "new", "already", "refused", "conflicting", "overdue")}
    assert counts == {"rows": 4, "new": 1, "already": 1, "refused": 2, "conflicting": 1, "overdue": 0}
    assert value["faults"][1] == {
        "line": 5,
        "field": "amount_minor",
        "found": "1.5",
        "allowed": "a whole number of minor units (cents for USD), 0 to 1,000,000,000,000,000",
        "fix": "write 150 if 1.5 USD is meant",
    }
    assert value["rejects"].endswith("pay.rejected.csv")


def test_json_lists_a_bounded_number_of_faults_and_counts_all(
    confirm: MemoryCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.main.FAULTS_IN_JSON", 3)
    value = json.loads(confirm("import", str(write(tmp_path, *["x x,y,1,USD"] * 10)), "--json").out)
    assert (len(value["faults"]), value["faults_total"], value["refused"]) == (3, 10, 10)


def test_a_file_that_is_none_loads_nothing(confirm: MemoryCli, tmp_path: Path) -> None:
    file = write(tmp_path, f"a,{ACCOUNT},1,USD", header="id,account,amount,currency")
    result = confirm("import", str(file))
    assert result.code == Exit.ERROR
    assert "line 1: header: found no column amount_minor" in result.err
    assert "nothing was loaded" in result.err
    assert not confirm.store.records
    assert not list(tmp_path.glob("*rejected*"))


def test_a_header_alone_is_fine(confirm: MemoryCli, tmp_path: Path) -> None:
    result = confirm("import", str(write(tmp_path)))
    assert result.code == Exit.OK
    assert "nothing to do" in result.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.csv"], "there is no file none.csv"),
        (["pay.txt"], "say --format csv or jsonl"),
        (["-"], "say --format csv or jsonl"),
        (["pay.csv", "--rejects", "pay.csv"], "is the input itself"),
        (["pay.csv", "--format", "xml"], "csv"),
        (["pay.csv", "--final-within", "0"], "final-within"),
    ],
)
def test_wrong_usage_does_nothing(
    arguments: list[str], said: str, confirm: MemoryCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("pay.csv", "pay.txt"):
        write(tmp_path, "a,x,1,USD", name=name)
    result = confirm("import", *arguments)
    assert result.code == Exit.USAGE
    assert said in result.err
    assert not confirm.store.records


def test_a_folder_is_no_file(confirm: MemoryCli, tmp_path: Path) -> None:
    folder = tmp_path / "d.csv"
    folder.mkdir()
    result = confirm("import", str(folder))
    assert result.code == Exit.ERROR
    assert "Traceback" not in result.err
    assert "correct the path" in result.err


class FailsAt(MemoryStore):
    """A store that breaks at its second part."""

    parts = 0
    error: BaseException = StoreError("table gone")

    async def add(self, transactions: Sequence[Transaction]) -> Added:
        self.parts += 1
        if self.parts == 2:
            raise self.error
        return await super().add(transactions)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreError("table gone"), Exit.ERROR),
        (OSError(28, "No space left on device"), Exit.ERROR),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
    ],
)
def test_what_ends_it_early_says_how_far_it_came_and_the_same_command_goes_on(
    error: BaseException, code: Exit, confirm: MemoryCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "PART", 10)
    file = write(tmp_path, "x x,y,1,USD", *[f"m{n},x,1,USD" for n in range(25)])
    confirm.store = FailsAt(confirm.store.clock, confirm.store.policy)
    confirm.store.error = error
    result = confirm("import", str(file))
    assert result.code == code
    assert "after line 11: 9 new" in result.err
    assert "run the same command again" in result.err
    assert "Traceback" not in result.err
    assert len(confirm.store.records) == 9
    again = confirm("import", str(file))
    assert "16 new, 9 already there, 1 refused" in again.out
    assert len(confirm.store.records) == 25


ANOTHER = f"{ACCOUNT[:4]}500105175407324931"


@pytest.mark.parametrize(
    ("header", "rows"),
    [  # the columns mixed up, as a spreadsheet does it
        (HEADER, [f"{ANOTHER},a-1,1,EUR", f"{ANOTHER},a-2,2,EUR"]),
        (HEADER, ["4111111111111111,a-1,1,EUR", "4111111111111111,a-2,2,EUR"]),
        (HEADER, ["p-1,1250,123 456 789,EUR"]),
        (HEADER, ['p-1,1250,"123,456,789",EUR']),
        (HEADER, ["p-1,1250,-12345678901,EUR"]),
        (HEADER, ["p-1,1250,12345678901.5,EUR"]),
        (HEADER, ["p-1,1250,1,ACMEBANK"]),
        (HEADER + ",deadline", ["p-1,1250,12,EUR,123-45-6789"]),
        (HEADER + ",deadline", ["p-1,1250,12,EUR,12-34-56"]),
        (HEADER + ",created_at", ["p-1,1250,12,EUR,4321-98-7654"]),
    ],
)
def test_no_message_shows_an_account_in_the_wrong_column(
    confirm: MemoryCli, tmp_path: Path, header: str, rows: list[str]
) -> None:
    file = str(write(tmp_path, *rows, header=header))
    for how in ((), ("--json",), ("--dry-run",)):
        result = confirm("import", file, *how)
        assert result.code == Exit.ROWS_REFUSED
        for secret in (ANOTHER, "4111111111111111", "123 456", "123,456", "12345678901", "ACMEBANK", "123-45", "12-34"):
            assert secret not in result.out + result.err
        assert "4321-98" not in result.out + result.err


def test_no_account_is_ever_printed(confirm: MemoryCli, tmp_path: Path) -> None:
    rows = [
        f"a,{ACCOUNT},1,USD",
        f"a,{ACCOUNT},2,USD",
        f"{ACCOUNT},{ACCOUNT},x,USD",
        f"b,c,{ACCOUNT},USD",
        f"b,c,1,{ACCOUNT}",
        f'b,"{ACCOUNT},1,USD',
        f"b,{ACCOUNT},1,USD,x",
        f"b b,{ACCOUNT},1.5,{ACCOUNT}",
        f"{ACCOUNT} {ACCOUNT},{ACCOUNT},1,USD",
    ]
    confirm("import", str(write(tmp_path, *rows)))
    confirm("import", str(write(tmp_path, *rows)), "--json")
    confirm("import", str(write(tmp_path, header=rows[0])))
    confirm("show", "a")
    confirm("show", "a", "--json")
    assert confirm.store.records["a"].account == ACCOUNT
    assert ACCOUNT not in "".join(confirm.printed)


def test_ids_with_a_date_among_their_digits_are_no_cards(confirm: MemoryCli, tmp_path: Path) -> None:
    """Shop, year, day, number: each tenth has the form of a card, beginning, length and check digit."""
    file = tmp_path / "rows.csv"
    rows = [f"6201-2026-1130-{n:04},acct-1,1250,EUR" for n in range(100)]
    file.write_text("\n".join(["id,account,amount_minor,currency", *rows]) + "\n")
    assert confirm("import", str(file)).code == 0
    assert len(confirm.store.records) == 100
