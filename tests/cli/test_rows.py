"""Bytes to rows: each bad input is named with its line, what was found, what is allowed and how to mend it."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.rows import MAX_AMOUNT, MAX_LINE_BYTES, BadFile, Defaults, Fault, Format, RefusedRow, Row, Rows
from workers.domain.currency import EXPONENTS, WITHOUT_MINOR_UNIT, in_major_units
from workers.domain.rules import broken_rule
from workers.stores.common import arrived

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)
DEFAULTS = Defaults(NOW, timedelta(hours=24))
ACCOUNT = "DE89370400440532013000"
HEADER = "id,account,amount_minor,currency"
GOOD = f"ok-1,{ACCOUNT},1250,USD"


def csv_rows(*lines: str | bytes, header: str = HEADER) -> list[Row | RefusedRow]:
    raw = [line if isinstance(line, bytes) else line.encode() for line in (header, *lines)]
    return list(Rows([b"\n".join(raw)], Format.CSV, DEFAULTS))


def json_rows(*lines: str | bytes) -> list[Row | RefusedRow]:
    raw = [line if isinstance(line, bytes) else line.encode() for line in lines]
    return list(Rows([b"\n".join(raw)], Format.JSONL, DEFAULTS))


def faults(row: Row | RefusedRow) -> tuple[Fault, ...]:
    assert isinstance(row, RefusedRow), "the row was taken"
    return row.faults


def test_a_good_row_becomes_a_transaction() -> None:
    header = HEADER + ",created_at,deadline"
    (row,) = csv_rows(
        f'a:1,"{ACCOUNT}, Ltd ""x""",0,JPY,2026-11-24T08:00:00+01:00,2026-11-25 08:00:00.5Z', header=header
    )
    assert isinstance(row, Row)
    transaction = row.transaction
    assert (row.line, transaction.id, transaction.account) == (2, "a:1", f'{ACCOUNT}, Ltd "x"')
    assert (transaction.amount, transaction.currency) == (0, "JPY")
    assert transaction.created_at == datetime(2026, 11, 24, 7, tzinfo=UTC)
    assert transaction.deadline == datetime(2026, 11, 25, 8, 0, 0, 500_000, tzinfo=UTC)


def test_csv_and_json_lines_say_the_same() -> None:
    (from_csv,) = csv_rows(GOOD)
    (from_json,) = json_rows(f'{{"currency":"USD","id":"ok-1","amount_minor":1250,"account":"{ACCOUNT}"}}')
    assert isinstance(from_csv, Row)
    assert isinstance(from_json, Row)
    assert from_csv.transaction == from_json.transaction
    assert from_csv.transaction.created_at == NOW
    assert from_csv.transaction.deadline == NOW + timedelta(hours=24)


BAD_CSV = [
    # field, amount, currency, account, id -> field, found, part of the fix
    ("a b,x,1,USD", "id", "' ' at character 2 of 3", "replace"),
    ("-a,x,1,USD", "id", "'-' at character 1 of 2", "replace"),
    ("#run,x,1,USD", "id", "'#' at character 1 of 4", "replace"),
    ("é,x,1,USD", "id", r"'\xe9' at character 1 of 1", "replace"),
    (f"{'a' * 129},x,1,USD", "id", "129 characters", "replace"),
    (",x,1,USD", "id", "nothing", "id of its own"),
    ("a,,1,USD", "account", "nothing", "which account"),
    (f"a,{'9' * 129},1,USD", "account", "text of 129 characters", "shorten"),
    ("a,x\u200by,1,USD", "account", "text of 3 characters", "does not print"),
    ("a,x,,USD", "amount_minor", "nothing", "digits only"),
    ("a,x,-5,USD", "amount_minor", "-5", "leave refunds out"),
    ("a,x,-0,USD", "amount_minor", "-0", "leave refunds out"),
    ("a,x,12.50,USD", "amount_minor", "12.50", "write 1250 if 12.50 USD is meant"),
    ("a,x,12.5,USD", "amount_minor", "12.5", "write 1250 if 12.5 USD is meant"),
    ("a,x,1.250,KWD", "amount_minor", "1.250", "write 1250 if 1.250 KWD is meant"),
    ("a,x,7.0,JPY", "amount_minor", "7.0", "write 7 if 7.0 JPY is meant"),
    ("a,x,1.5,JPY", "amount_minor", "1.5", "nothing is rounded here"),
    ("a,x,1.005,USD", "amount_minor", "1.005", "nothing is rounded here"),
    ('a,x,"1,250",USD', "amount_minor", "1,250", "digits only"),
    ("a,x,1e3,USD", "amount_minor", "1e3", "digits only"),
    ("a,x,+5,USD", "amount_minor", "+5", "digits only"),
    ("a,x,$5,USD", "amount_minor", "text of 2 characters", "digits only"),
    ("a,x,٣,USD", "amount_minor", "text of 1 character", "digits only"),
    ("a,x,²,USD", "amount_minor", "text of 1 character", "digits only"),
    ("a,x,1000000000000001,USD", "amount_minor", "a number of 16 digits", "no payment"),
    (f"a,x,{'9' * 5000},USD", "amount_minor", "a number of 5000 digits", "no payment"),
    ("a,x,1,usd", "currency", "'usd'", "write USD"),
    ("a,x,1,", "currency", "nothing", "say the currency"),
    ("a,x,1,DOLLARS", "currency", "text of 7 characters", "correct the code"),
    ("a,x,1,BGN", "currency", "'BGN'", "successor"),
    ("a,x,1,XAU", "currency", "'XAU'", "no minor unit"),
    ("a,x,1", "line", "3 fields", "add what is missing"),
    ("a,x,1,USD,", "line", "5 fields", "add what is missing"),
    ('a,"x,1,USD', "line", "a quote that is not closed, or closed before the field ends", "mend the quotes"),
    ('a,"x"y,1,USD', "line", "a quote that is not closed, or closed before the field ends", "mend the quotes"),
    ("a,x,1,USD\0", "line", "a NUL at character 10", "remove"),
    ("a,x,1,\x1b[31mUSD", "line", "the control character 0x1b at character 7", "remove"),
    ("a,x,1,USD\rb,x,1,USD", "line", "the control character 0x0d at character 10", "remove"),
    (b"a,\xff\xfe,1,USD", "line", "byte 0xff at byte 3", "UTF-8"),
    (b"a,caf\xe9,1,USD", "line", "byte 0xe9 at byte 6", "UTF-8"),
    (f"a,{'x' * MAX_LINE_BYTES},1,USD", "line", "65,544 bytes", "missing line end"),
]


@pytest.mark.parametrize(("line", "field", "found", "fix"), BAD_CSV)
def test_a_bad_csv_row_is_named_and_its_neighbours_survive(line: str | bytes, field: str, found: str, fix: str) -> None:
    before, bad, after = csv_rows(GOOD, line, "ok-2,y,5,EUR")
    assert isinstance(before, Row)
    assert isinstance(after, Row)
    assert after.line == 4
    assert isinstance(bad, RefusedRow)
    assert bad.line == 3
    (fault,) = bad.faults
    assert (fault.field, fault.found) == (field, found)
    assert fix in fault.fix
    assert fault.allowed


BAD_TIMES = [
    ("2026-13-01T00:00:00Z,", "created_at", "'2026-13-01T00:00:00Z'", "no such time"),
    ("2026-02-30T00:00:00Z,", "created_at", "'2026-02-30T00:00:00Z'", "no such time"),
    ("2026-11-01T00:00:00,", "created_at", "'2026-11-01T00:00:00', without a zone", "2026-11-01T00:00:00Z if"),
    ("2026-11-01,", "created_at", "'2026-11-01'", "add the time and the zone"),
    ("24/11/2026,", "created_at", "'24/11/2026'", "add the time"),
    ("1700000000,", "created_at", "text of 10 characters", "like the example"),
    ("1969-12-31T23:59:59Z,", "created_at", "'1969-12-31T23:59:59Z'", "year"),
    (",0001-01-01T00:00:00+14:00", "deadline", "'0001-01-01T00:00:00+14:00'", "no such time"),
    (",9999-01-01T00:00:00Z", "deadline", "'9999-01-01T00:00:00Z'", "year"),
    (",9998-12-31T23:30:00-00:30", "deadline", "'9998-12-31T23:30:00-00:30'", "year"),
    (",9999-12-31T23:59:59-23:00", "deadline", "'9999-12-31T23:59:59-23:00'", "no such time"),
    ("2026-11-24T08:05:01Z,", "created_at", "2026-11-24T08:05:01.000Z", "correct"),
    ("2026-11-02T00:00:00Z,2026-11-01T00:00:00Z", "deadline", "2026-11-01T00:00:00.000Z", "one of the two"),
    ("2026-11-02T00:00:00Z,2026-11-02T01:00:00+01:00", "deadline", "2026-11-02T00:00:00.000Z", "one of the two"),
]


@pytest.mark.parametrize(("times", "field", "found", "fix"), BAD_TIMES)
def test_a_bad_time_is_named(times: str, field: str, found: str, fix: str) -> None:
    good, bad = csv_rows(f"{GOOD},,", f"a,x,1,USD,{times}", header=HEADER + ",created_at,deadline")
    assert isinstance(good, Row)
    (fault,) = faults(bad)
    assert (fault.field, fault.found) == (field, found)
    assert fix in fault.fix


def test_a_deadline_that_is_over_is_no_fault() -> None:
    """Else the file of last week, imported again, would refuse rows that it has loaded."""
    (row,) = csv_rows("a,x,1,USD,2026-11-01T00:00:00Z", header=HEADER + ",deadline")
    assert isinstance(row, Row)


BAD_JSON = [
    ("[1]", "line", "an array", "jq -c"),
    ('"x"', "line", "text of 1 character in quotes", "write it like"),
    ("5", "line", "a number", "write it like"),
    ("null", "line", "null", "write it like"),
    ("id,account,amount_minor,currency", "line", "broken JSON at character 1 (Expecting value)", "--format csv"),
    ('{"id":"a"', "line", "broken JSON at character 10 (Expecting ',' delimiter)", "write it like"),
    ("[" * 60_000, "line", "JSON nested too deep", "jq -c"),
    ('{"id":"a","id":"b"}', "line", "the key 'id' more than once", "keep one"),
    ('{"id":7,"account":"x","amount_minor":1,"currency":"USD"}', "id", "a number", "in quotes"),
    ('{"id":"a","account":null,"amount_minor":1,"currency":"USD"}', "account", "null", "in quotes"),
    ('{"id":"a","account":"\\ud800","amount_minor":1,"currency":"USD"}', "account", "text of 1 character", "print"),
    ('{"id":"a","account":"x","amount_minor":true,"currency":"USD"}', "amount_minor", "true", "write a number"),
    ('{"id":"a","account":"x","amount_minor":12.0,"currency":"USD"}', "amount_minor", "12.0", "write 1200 if"),
    ('{"id":"a","account":"x","amount_minor":1e2,"currency":"USD"}', "amount_minor", "1e2", "digits only"),
    ('{"id":"a","account":"x","amount_minor":-1,"currency":"USD"}', "amount_minor", "-1", "refunds"),
    ('{"id":"a","account":"x","amount_minor":NaN,"currency":"USD"}', "amount_minor", "text of 3 characters", "digits"),
    ('{"id":"a","account":"x","amount_minor":"5","currency":"USD"}', "amount_minor", "text of 1", "without quotes"),
    ('{"id":"a","account":"x","amount_minor":[5],"currency":"USD"}', "amount_minor", "an array", "write a number"),
    ('{"id":"a","account":"x","amount_minor":1,"currency":{}}', "currency", "an object", "in quotes"),
    ('{"id":"a","account":"x","currency":"USD"}', "amount_minor", "no such key", "add it"),
    ('{"id":"a","amount_minor":1,"currency":"USD"}', "account", "no such key", "add it"),
    ('{"id":"a","account":"x","amount_minor":1,"currency":"USD","note":1}', "'note'", "an unknown name", "remove it"),
    (
        '{"id":"a","account":"x","amount_minor":1,"currency":"USD","dead_line":1}',
        "'dead_line'",
        "an unknown",
        "deadline",
    ),
]


@pytest.mark.parametrize(("line", "field", "found", "fix"), BAD_JSON)
def test_a_bad_json_row_is_named_and_its_neighbours_survive(line: str, field: str, found: str, fix: str) -> None:
    good = '{"id":"ok","account":"x","amount_minor":1,"currency":"USD"}'
    before, bad, after = json_rows(good, line, good.replace("ok", "ok2"))
    assert isinstance(before, Row)
    assert isinstance(after, Row)
    (fault,) = faults(bad)
    assert bad.line == 2
    assert fault.field == field
    assert fault.found.startswith(found)
    assert fix in fault.fix


def test_all_that_is_wrong_with_a_row_is_said_at_once() -> None:
    (bad,) = csv_rows("a b,,1.5,usd")
    assert [fault.field for fault in faults(bad)] == ["currency", "id", "account", "amount_minor"]


def test_thousands_of_unknown_keys_are_counted_not_listed() -> None:
    names = ",".join(f'"key{"x" * n}":1' for n in range(300))
    (bad,) = json_rows("{" + names + "}")
    assert sum(fault.found == "an unknown name" for fault in faults(bad)) == 5
    assert any(fault.found == "295 more unknown names" for fault in faults(bad))


BAD_FILES = [
    ("", Format.CSV, "an empty file", "begin with id,account"),
    ("\n \n", Format.CSV, "an empty file", "begin with id,account"),
    ("", Format.JSONL, "an empty file", "--help"),
    ("\ufeff", Format.CSV, "an empty file", "begin with"),
    ("id;account;amount_minor;currency\n", Format.CSV, "none of the columns", "not with ';'"),
    (f"a,{ACCOUNT},1,USD\n", Format.CSV, "none of the columns", f"put this line first: {HEADER}"),
    ("id,account,amount_minor\n", Format.CSV, "no column currency", "add it"),
    ("id,account,amount,currency\n", Format.CSV, "no column amount_minor", "rename 'amount'"),
    (f"{HEADER},note\n", Format.CSV, "an unknown name", "remove it"),
    (f"{HEADER},id\n", Format.CSV, "column id 2 times", "keep one"),
    ('{"id":"a"}\n', Format.CSV, "a JSON object", "--format jsonl"),
    ('id,"account\n', Format.CSV, "a quote that is not closed", "mend the quotes"),
    ("id,\0\n", Format.CSV, "a NUL at character 4", "remove"),
    (",".join(["id"] * 20_000), Format.CSV, "column id 20000 times", "keep one"),
]


@pytest.mark.parametrize(("text", "format_", "found", "fix"), BAD_FILES)
def test_a_file_that_is_none_is_refused_as_a_whole(text: str, format_: Format, found: str, fix: str) -> None:
    with pytest.raises(BadFile) as bad:
        list(Rows([text.encode()], format_, DEFAULTS))
    assert any(fault.found.startswith(found) and fix in fault.fix for fault in bad.value.faults), bad.value
    assert ACCOUNT not in str(bad.value)


def read(raw: bytes, format_: Format) -> tuple[list[Row | RefusedRow], BadFile | None]:
    """The rows, or why the file is none."""
    try:
        return list(Rows([raw], format_, DEFAULTS)), None
    except BadFile as bad:
        return [], bad


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff"])
def test_a_mark_of_utf_16_refuses_the_file_at_once(mark: bytes) -> None:
    for format_ in Format:
        _, bad = read(mark + GOOD.encode("utf-16-le"), format_)
        assert bad
        assert bad.faults[0].found == "UTF-16 (its byte order mark)"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
@pytest.mark.parametrize("format_", list(Format))
def test_utf_16_is_refused_as_a_whole_or_row_by_row(encoding: str, format_: Format) -> None:
    rows, bad = read(f"{HEADER}\n{GOOD}\n".encode(encoding), format_)
    assert bad or (rows and all(isinstance(row, RefusedRow) for row in rows))
    assert bad is None or "UTF-8" in str(bad) or "NUL" in str(bad)


def test_mark_blank_lines_carriage_returns_and_order_of_columns_do_not_matter() -> None:
    raw = b"\xef\xbb\xbf\r\n currency , amount_minor,id,account,deadline\r\n\r\nUSD, 7 ,a,x,\r\n  \r\nUSD,8,b,x,"
    first, second = list(Rows([raw], Format.CSV, DEFAULTS))
    assert isinstance(first, Row)
    assert isinstance(second, Row)
    assert (first.line, first.transaction.amount, second.line, second.transaction.amount) == (4, 7, 6, 8)


def test_lines_do_not_depend_on_how_the_bytes_come() -> None:
    raw = f"{HEADER}\n{GOOD}\nbad\n{'x' * (MAX_LINE_BYTES + 10)}\nok-2,y,5,EUR\n".encode()
    whole = list(Rows([raw], Format.CSV, DEFAULTS))
    assert len(whole) == 4
    for size in (1, 7, 4096):
        assert list(Rows((raw[n : n + size] for n in range(0, len(raw), size)), Format.CSV, DEFAULTS)) == whole


def test_a_line_of_10_mb_costs_no_memory() -> None:
    def chunks() -> Iterator[bytes]:
        yield f"{HEADER}\n".encode()
        for _ in range(160):
            yield b"9" * 65_536
        yield f"\n{GOOD}\n".encode()

    tracemalloc.start()
    try:
        bad, good = list(Rows(chunks(), Format.CSV, DEFAULTS))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(good, Row)
    assert faults(bad)[0].found == "10,485,760 bytes"
    assert peak < 1_000_000


# --- never crashes, never tells -------------------------------------------------------------------------------------

NASTY = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(
        [
            b'"',
            b"\xef\xbb\xbf",
            b"\0",
            b"\r",
            b",",
            b"{",
            b"[[[[",
            b'{"id":',
            b'"amount_minor":1e999}',
            b"9" * 400,
            b"NaN",
            b"\\ud800",
            GOOD.encode(),
            b"a,x,1,USD,",
            b"2026-11-24T08:00:00Z",
            b"9999-99-99T99:99:99+99:99",
        ]
    ),
)
GARBAGE = st.lists(NASTY, max_size=8).map(b"".join).map(lambda raw: raw.replace(b"\n", b" "))


def checked(rows: Iterable[Row | RefusedRow]) -> list[Row]:
    """The good ones; of the bad ones every one says all that it must."""
    good = []
    for row in rows:
        if isinstance(row, Row):
            good.append(row)
            continue
        assert row.line >= 1
        assert row.faults
        for fault in row.faults:
            assert all((fault.field, fault.found, fault.allowed, fault.fix))
            assert str(fault).isprintable()
            assert len(str(fault)) < 500
    return good


@given(before=st.lists(GARBAGE, max_size=3), after=st.lists(GARBAGE, max_size=3))
@settings(max_examples=400, deadline=None)
def test_no_bytes_crash_it_and_a_good_csv_row_among_them_survives(before: list[bytes], after: list[bytes]) -> None:
    raw = b"\n".join([HEADER.encode(), *before, b"the-good-one,x,77,CHF", *after])
    good = checked(Rows([raw], Format.CSV, DEFAULTS))
    assert [row.line for row in good if row.transaction.id == "the-good-one"] == [len(before) + 2]


@given(before=st.lists(GARBAGE, max_size=3), after=st.lists(GARBAGE, max_size=3))
@settings(max_examples=400, deadline=None)
def test_no_bytes_crash_it_and_a_good_json_row_among_them_survives(before: list[bytes], after: list[bytes]) -> None:
    row = b'{"id":"the-good-one","account":"x","amount_minor":77,"currency":"CHF"}'
    raw = b"\n".join([*before, row, *after])
    rows, bad = read(raw, Format.JSONL)
    if bad:
        assert raw.startswith((b"\xff\xfe", b"\xfe\xff"))
    else:
        assert any(row.transaction.id == "the-good-one" for row in checked(rows))


@given(raw=st.one_of(GARBAGE, st.lists(GARBAGE, max_size=5).map(b"\n".join)), format_=st.sampled_from(Format))
@settings(max_examples=400, deadline=None)
def test_any_bytes_as_a_whole_file_are_rows_or_no_file(raw: bytes, format_: Format) -> None:
    rows, bad = read(raw, format_)
    checked(rows)
    assert bad is None or (bad.faults and str(bad).isprintable())


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.sampled_from(["USD", "usd", "2026-11-24T08:00:00Z", "a-1", ""]),
)


@given(
    row=st.dictionaries(
        st.one_of(st.sampled_from([*HEADER.split(","), "created_at", "deadline"]), st.text(max_size=12)), VALUES
    )
)
@settings(max_examples=400, deadline=None)
def test_any_json_object_is_a_transaction_or_says_what_is_wrong(row: dict[str, object]) -> None:
    for good in checked(json_rows(json.dumps(row))):
        assert type(row["amount_minor"]) is int
        assert 0 <= good.transaction.amount == row["amount_minor"] <= MAX_AMOUNT
        assert good.transaction.currency in EXPONENTS


@given(field=st.sampled_from(range(6)), secret=st.sampled_from([ACCOUNT, "4111111111111111", "4111 1111 1111 1111"]))
@settings(deadline=None, max_examples=40)
def test_an_account_in_the_wrong_column_is_never_told(field: int, secret: str) -> None:
    values = ["a b", ACCOUNT, "1.5", "usd", "2026", "2026"]
    values[field] = secret
    (bad,) = csv_rows(",".join(values), header=HEADER + ",created_at,deadline")
    said = " ".join(map(str, faults(bad)))
    assert secret not in said
    assert ACCOUNT not in said


def test_an_account_that_looks_like_a_date_is_not_told_where_another_column_repeats_it() -> None:
    (bad,) = csv_rows("a,12-11-2001,1,USD,12-11-2001", header=HEADER + ",created_at")
    (fault,) = faults(bad)
    assert (fault.field, fault.found) == ("created_at", "the account")
    assert "12-11" not in str(fault)


def test_the_currencies_are_iso_4217() -> None:
    assert len(EXPONENTS) == 165
    assert len(WITHOUT_MINOR_UNIT) == 13
    assert not WITHOUT_MINOR_UNIT & set(EXPONENTS)
    assert all(len(code) == 3 and code.isalpha() and code.isupper() for code in {*EXPONENTS, *WITHOUT_MINOR_UNIT})
    thousandths = {code for code, exponent in EXPONENTS.items() if exponent == 3}
    assert thousandths == {"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"}
    assert (EXPONENTS["USD"], EXPONENTS["JPY"], EXPONENTS["CLF"]) == (2, 0, 4)
    for gone in ("BGN", "HRK", "ANG", "ZWL", "DEM", "SLL"):
        assert gone not in EXPONENTS


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (123450, "USD", "1,234.50 USD"),
        (5, "USD", "0.05 USD"),
        (0, "JPY", "0 JPY"),
        (-1250, "KWD", "-1.250 KWD"),
        (10**15, "EUR", "10,000,000,000,000.00 EUR"),
        (7, "???", "7 minor units of ???"),
    ],
)
def test_amounts_read_exactly(amount: int, currency: str, text: str) -> None:
    assert in_major_units(amount, currency) == text


@pytest.mark.parametrize("id_", ["canary-1", "canary-20260105T090000Z"])
def test_no_file_brings_in_a_canary(id_: str) -> None:
    (row,) = csv_rows(f"{id_},acct,1,USD")
    (fault,) = faults(row)
    assert str(fault) == (
        "id: found the beginning canary-; allowed: another beginning: this is the system's own; "
        "fix: rename it; `confirm canary` sends a canary"
    )


@pytest.mark.parametrize("deadline", ["9998-12-31T23:59:59.999Z", "9998-12-31T23:59:59+00:00", "1970-01-01T00:00:00Z"])
def test_a_time_that_an_import_takes_keeps_to_the_datastores_rules(deadline: str) -> None:
    (row,) = csv_rows(f"a,x,1,USD,{deadline}", header=HEADER + ",deadline")
    assert isinstance(row, Row)
    assert broken_rule(arrived(row.transaction, row.transaction.created_at)) is None
