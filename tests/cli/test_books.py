"""What banks and gateways send, by small files of each format and version, made by hand.

Where the meaning of a column or an element is from is said in the module of its reader.
"""

from __future__ import annotations

import io
import json
import random
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli import reconcile
from cli.books import camt, columns, formats
from cli.books.classes import AGREEING, MEANING, Class, judge, judge_nameless, judge_unknown
from cli.books.formats import BookFormat, detected
from cli.books.lines import BadBook, Line, LineKind, Moves, Reading
from cli.desk import Entry
from cli.exits import Exit
from cli.reconcile import MOST_LINES, Book, Both, Side
from tests.cli.conftest import MemoryCli
from tests.cli.test_commands import add, settle
from tests.cli.test_reconcile import done
from workers.domain.currency import in_minor_units
from workers.domain.outcomes import Rejected
from workers.domain.transaction import Status

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
DAY = "2026-01-04"


def read(text: str | bytes, id_from: str | None = None, moves: Moves = Moves.IN, **more: object) -> list[Line]:
    raw = text.encode() if isinstance(text, str) else text
    stream = io.BufferedReader(io.BytesIO(raw), 64 * 1024)
    return list(formats.lines(stream, Reading("book", NOW, id_from, moves), **more))  # type: ignore[arg-type]


def told(lines: list[Line]) -> list[tuple[str, str, int, str]]:
    return [(line.id, line.kind.value, line.amount, line.currency) for line in lines]


def refused(text: str | bytes, id_from: str | None = None, **more: object) -> str:
    with pytest.raises(BadBook) as bad:
        read(text, id_from, **more)  # type: ignore[arg-type]
    return str(bad.value)


# --- amounts


@pytest.mark.parametrize(
    ("text", "code", "minor"),
    [
        ("12.50", "USD", 1250),
        ("12.5", "USD", 1250),
        ("-0.01", "USD", -1),
        ("+7", "EUR", 700),
        ("1250", "JPY", 1250),
        ("1250.00", "JPY", 1250),
        ("1.250", "KWD", 1250),
        ("0.00001", "CLF", None),
        ("12.505", "USD", None),
        ("12.5000", "USD", 1250),
        ("1.5", "JPY", None),
        ("1,250.00", "USD", None),
        ("1e3", "USD", None),
        ("", "USD", None),
        (".5", "USD", None),
        ("٣", "USD", None),
        ("1" * 16, "USD", None),
        ("1", "XXX", None),
    ],
)
def test_decimal_text_is_minor_units_or_nothing(text: str, code: str, minor: int | None) -> None:
    if minor is None:
        with pytest.raises(ValueError, match=r"no decimal number|more decimals|without a minor unit"):
            in_minor_units(text, code)
    else:
        assert in_minor_units(text, code) == minor


# --- camt.053

ROOT = '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.{:02}"><BkToCstmrStmt>'


def statement(*entries: str, version: int = 8, stmt: str = "", code: str = "EUR", id_: str = "S-1") -> str:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{ROOT.format(version)}<GrpHdr><MsgId>m</MsgId></GrpHdr><Stmt><Id>{id_}'
        f"</Id><Acct><Id><IBAN>DE02120300000000202051</IBAN></Id><Ccy>{code}</Ccy></Acct>{stmt}{''.join(entries)}"
        "</Stmt></BkToCstmrStmt></Document>"
    )


def entry(
    amount: str,
    *details: str,
    way: str = "CRDT",
    status: str | None = "BOOK",
    more: str = "",
    after: str = "",
    day: str = DAY,
    code: str = "EUR",
    version: int = 8,
) -> str:
    said = status if version < 4 else f"<Cd>{status}</Cd>"
    inner = f"<NtryDtls>{''.join(details)}</NtryDtls>" if details else ""
    return (
        f'<Ntry><Amt Ccy="{code}">{amount}</Amt><CdtDbtInd>{way}</CdtDbtInd>{more}<Sts>{said}</Sts>'
        f"<BookgDt><Dt>{day}</Dt></BookgDt><AcctSvcrRef>bank-1</AcctSvcrRef>{after}{inner}</Ntry>"
    )


def detail(id_: str, amount: str | None = None, more: str = "", version: int = 8, code: str = "EUR") -> str:
    if amount is None:
        said = ""
    elif version < 4:
        said = f'<AmtDtls><TxAmt><Amt Ccy="{code}">{amount}</Amt></TxAmt></AmtDtls>'
    else:
        said = f'<Amt Ccy="{code}">{amount}</Amt>'
    return f"<TxDtls><Refs><EndToEndId>{id_}</EndToEndId></Refs>{said}{more}</TxDtls>"


def code_of(family: str, domain: str = "PMNT") -> str:
    return f"<BkTxCd><Domn><Cd>{domain}</Cd><Fmly><Cd>RCDT</Cd><SubFmlyCd>{family}</SubFmlyCd></Fmly></Domn></BkTxCd>"


@pytest.mark.parametrize("version", camt.VERSIONS)
def test_every_version_of_a_statement(version: int) -> None:
    text = statement(
        entry("12.50", detail("a", None, version=version), version=version),
        entry("30.00", detail("b", "10.00", version=version), detail("c", "20.00", version=version), version=version),
        entry("1.00", way="DBIT", after=code_of("CHRG"), version=version),
        version=version,
    )
    assert detected(text.encode()[:64]) is BookFormat.CAMT053
    assert told(read(text)) == [
        ("a", "payment", 1250, "EUR"),
        ("b", "payment", 1000, "EUR"),
        ("c", "payment", 2000, "EUR"),
        ("", "fee", -100, "EUR"),
    ]
    assert {line.reference for line in read(text)} == {"bank-1"}
    assert {line.day for line in read(text)} == {DAY}


RETURN = "<RtrInf><Rsn><Cd>{}</Cd></Rsn></RtrInf>"
CHARGE = '<Chrgs><Rcrd><Amt Ccy="EUR">0.30</Amt><CdtDbtInd>DBIT</CdtDbtInd><ChrgInclInd>{}</ChrgInclInd></Rcrd></Chrgs>'


@pytest.mark.parametrize(
    ("one", "lines"),
    [
        (entry("5.00", detail("a"), way="DBIT"), [("a", "refund", -500)]),
        (entry("5.00", detail("a", more=RETURN.format("AC04")), way="DBIT"), [("a", "return", -500)]),
        (entry("5.00", detail("a", more=RETURN.format("MD06")), way="DBIT"), [("a", "chargeback", -500)]),
        (entry("5.00", detail("a"), way="DBIT", more="<RvslInd>true</RvslInd>"), [("a", "return", -500)]),
        (entry("5.00", detail("a"), status="PDNG"), [("a", "pending", 500)]),
        (entry("5.00", detail("NOTPROVIDED")), [("", "payment", 500)]),
        (entry("5.00", after=code_of("ZABA", "CAMT"), way="DBIT"), [("", "payout", -500)]),
        (entry("4.70", detail("a", more=CHARGE.format("true"))), [("a", "payment", 500), ("a", "fee", -30)]),
        (entry("4.70", detail("a", more=CHARGE.format("false"))), [("a", "payment", 470)]),
        (entry("4.70", detail("a", more=CHARGE.format("true")), status="PDNG"), [("a", "pending", 470)]),
        (
            entry("5.00", detail("a", "2.00"), detail("b", "2.00")),
            [("a", "payment", 200), ("b", "payment", 200), ("", "other", 100)],
        ),
    ],
)  # fmt: skip
def test_what_an_entry_is(one: str, lines: list[tuple[str, str, int]]) -> None:
    found = read(statement(one))
    assert [(line.id, line.kind.value, line.amount) for line in found] == lines


def test_our_payments_may_go_out() -> None:
    text = statement(entry("5.00", detail("a"), way="DBIT"), entry("5.00", detail("a"), way="CRDT"))
    assert told(read(text, moves=Moves.OUT)) == [("a", "payment", 500, "EUR"), ("a", "refund", -500, "EUR")]


def test_the_id_may_be_elsewhere() -> None:
    text = statement(entry("5.00", "<TxDtls><Refs><InstrId>a</InstrId></Refs></TxDtls>"))
    assert [line.id for line in read(text)] == [""]
    assert [line.id for line in read(text, "InstrId")] == ["a"]
    assert "--id-from 'Nowhere'; allowed: EndToEndId" in refused(text, "Nowhere")


def balance(kind: str, amount: str, way: str = "CRDT", code: str = "EUR") -> str:
    return (
        f"<Bal><Tp><CdOrPrtry><Cd>{kind}</Cd></CdOrPrtry></Tp>"
        f'<Amt Ccy="{code}">{amount}</Amt><CdtDbtInd>{way}</CdtDbtInd></Bal>'
    )


def totals(count: int | str, sum_: str) -> str:
    return (
        f"<TxsSummry><TtlNtries><NbOfNtries>{count}</NbOfNtries><Sum>{sum_}</Sum></TtlNtries>"
        "<TtlCdtNtries><Sum>12.50</Sum></TtlCdtNtries><TtlDbtNtries><Sum>1.00</Sum></TtlDbtNtries></TxsSummry>"
    )


TWO = (entry("12.50", detail("a")), entry("1.00", way="DBIT", after=code_of("CHRG")))


def test_a_statement_comes_to_its_own_totals() -> None:
    text = statement(*TWO, stmt=balance("OPBD", "5.00", "DBIT") + balance("CLBD", "6.50") + totals(2, "13.50"))
    assert len(read(text)) == 2
    paged = "<StmtPgntn><PgNb>1</PgNb><LastPgInd>true</LastPgInd></StmtPgntn>"
    assert len(read(statement(*TWO, stmt=paged))) == 2


PERIOD = "<FrToDt><FrDtTm>{}T00:00:00</FrDtTm><ToDtTm>{}T23:59:59</ToDtTm></FrToDt>"
BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (statement(*TWO, stmt=totals(3, "13.50")), "found 2 entries; allowed: '3', as its TtlNtries says"),
        (statement(*TWO, stmt=totals(2, "13.51")), "entries that sum to 1,350; allowed: 1,351 minor units of EUR"),
        (statement(TWO[0], stmt=totals(1, "12.50")), "as its TtlDbtNtries says"),
        (statement(*TWO, stmt=balance("OPBD", "1.00") + balance("CLBD", "1.00")), "allowed: entries that come to 0"),
        (statement(*TWO, stmt=balance("PRCD", "1.00") + balance("CLBD", "9.00")), "come to 800"),
        (statement(*TWO, entry("1.00", code="USD")), "an entry in USD; allowed: the account's currency, EUR"),
        (statement(*TWO, stmt=balance("OPBD", "1.00", code="USD")), "a balance in USD"),
        (statement(*TWO, stmt=PERIOD.format("2025-12-01", "2025-12-31")), "booked on 2026-01-04; allowed: a day of"),
        (statement(*TWO, stmt=PERIOD.format("2025-12-31", "2025-12-01")), "a period from 2025-12-31 to 2025-12-01"),
        (statement(entry("1.00", day="2026-02-30")), "'2026-02-30' as BookgDt; allowed: a date"),
        (statement(entry("1.00", day="2062-01-04")), "2062-01-04 as BookgDt; allowed: a day from 1970-01-01"),
        (statement(entry("1.00", day="0001-01-01")), "0001-01-01 as BookgDt"),
        (statement(entry("1,00")), "'1,00' as Amt"),
        (statement(entry("1.005")), "more decimals than the 2 of EUR"),
        (statement(entry("1.00", code="EURO")), "'EURO' as Ccy"),
        (statement(entry("1.00", way="CREDIT")), "'CREDIT' as CdtDbtInd; allowed: CRDT or DBIT"),
        (statement(entry("9.00", detail("a"), detail("b"))), "a payment among several without an amount in EUR"),
        (statement("<Ntry><CdtDbtInd>CRDT</CdtDbtInd></Ntry>"), "no Amt"),
        (statement(*TWO, stmt="<StmtPgntn><PgNb>2</PgNb><LastPgInd>true</LastPgInd></StmtPgntn>"), "page '2' of"),
        (statement(*TWO, stmt="<StmtPgntn><PgNb>1</PgNb><LastPgInd>false</LastPgInd></StmtPgntn>"), "page '1' of"),
        (statement(entry("1.00", detail("x" * 300))), "an id of 300 characters"),
        (statement(*TWO, version=1), "a document of camt.053.001.01; allowed: camt.053.001.02 to camt.053.001.13"),
        (statement(*TWO).replace("camt.053", "camt.054"), "a document of camt.054.001.08"),
        (statement(*TWO).replace(' xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"', ""), "without a namespace"),
        ("<html><body/></html>", "no statement (Stmt)"),
        (f"{ROOT.format(8)}</BkToCstmrStmt></Document>", "no statement (Stmt)"),
        (statement(*TWO)[:-60], "its end in the middle"),
        (statement(*TWO)[:300], "its end in the middle"),
        (statement(*TWO).replace("<GrpHdr>", "<GrpHdr><MsgId>ä</MsgId>").encode("latin-1"), "no XML in column"),
        (statement(*TWO).replace("UTF-8", "KLINGON"), "an encoding that cannot be read (unknown encoding: KLINGON)"),
        (statement(*TWO).replace("UTF-8", "shift_jis"), "an encoding that cannot be read (multi-byte"),
        (statement(*TWO).replace("?>", f"?>{BOMB}").replace("S-1", "&b;"), "a DTD or an entity, as XML bombs have"),
        (statement(*TWO).replace("?>", '?><!DOCTYPE x SYSTEM "file:///etc/passwd">'), "a DTD or an entity"),
        (statement(*TWO, stmt="<A>" * 250_000), "more than 100 elements in each other"),
        ("<A>" * 250_000, "more than 100 elements in each other"),
        (statement(*TWO, id_="a" * 3_000), "more than 2,000 characters as Id"),
        (statement(*TWO, stmt=f"<A b='{'a' * 2_000_000}'/>"), "1,048,576 bytes without an element"),
        (statement(*TWO, stmt=balance("OPBD", "1.00") * 1_001), "more than 1,000 balances"),
        (statement("</Stmt>" + TWO[0] + "<Stmt>"), "an entry outside"),
    ],
)  # fmt: skip
def test_a_statement_that_is_none(text: str | bytes, says: str) -> None:
    assert says in refused(text)


def test_one_statement_twice_in_a_file() -> None:
    first = statement(*TWO)
    inner = first[first.index("<Stmt>") : first.index("</Stmt>") + 7]
    assert "statement text of 3 characters twice" in refused(first.replace(inner, inner * 2))
    both = first.replace(inner, inner + inner.replace("S-1", "S-2").replace('"EUR"', '"USD"').replace(">EUR<", ">USD<"))
    assert {line.currency for line in read(both)} == {"EUR", "USD"}


def test_utf_16_and_an_envelope() -> None:
    text = statement(*TWO)
    assert told(read(text.replace("UTF-8", "UTF-16").encode("utf-16"))) == told(read(text))
    body = text.partition("?>")[2]
    assert told(read(f"<Envelope><AppHdr><Id>x</Id></AppHdr>{body}</Envelope>")) == told(read(text))


class Endless(io.RawIOBase):
    """A statement of that many entries, of which no more than a piece is ever there."""

    def __init__(self, entries: int) -> None:
        self._pieces = self._made(entries)
        self._left = b""

    @staticmethod
    def _made(entries: int) -> Iterator[bytes]:
        head, tail = statement("|").split("|")
        yield head.encode()
        for number in range(entries // 10):
            ids = range(number * 10, number * 10 + 10)
            yield entry("10.00", *(detail(f"id-{one}", "1.00") for one in ids)).encode()
        yield tail.encode()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        piece = self._left or next(self._pieces, b"")
        count = min(len(buffer), len(piece))
        buffer[:count] = piece[:count]
        self._left = piece[count:]
        return count


def test_memory_does_not_grow_with_a_statement() -> None:
    def peak(entries: int) -> int:
        tracemalloc.start()
        stream = io.BufferedReader(Endless(entries), 64 * 1024)
        assert sum(bool(line.id) for line in formats.lines(stream, Reading("book", NOW))) == entries
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(100)
    assert peak(3_000) < peak(1_000) * 1.5


# --- Stripe

STRIPE = "balance_transaction_id,created_utc,currency,gross,fee,net,reporting_category,payment_metadata[transaction_id]"


def stripe(*rows: str, header: str = STRIPE) -> str:
    return "\n".join((header, *rows)) + "\n"


def test_stripes_report_of_the_balance() -> None:
    text = stripe(
        "txn_1,2026-01-04 10:00:00,usd,12.50,0.66,11.84,charge,a",
        "txn_2,2026-01-04 10:00:00,usd,-2.50,0.00,-2.50,refund,a",
        "txn_3,2026-01-04 10:00:00,usd,-10.00,15.00,-25.00,dispute,a",
        "txn_4,2026-01-04 10:00:00,usd,10.00,-15.00,25.00,dispute_reversal,a",
        "txn_5,2026-01-04 10:00:00,jpy,1250,0,1250,charge,b",
        "txn_6,2026-01-04 10:00:00,usd,-3.00,0.00,-3.00,fee,",
        "txn_7,2026-01-04 10:00:00,usd,-9.00,0.00,-9.00,payout,",
        "txn_8,2026-01-04 10:00:00,usd,1.00,0.00,1.00,other_adjustment,",
        "txn_9,2026-01-04 10:00:00,usd,-4.00,0.00,-4.00,partial_capture_reversal,c",
        "txn_10,2026-01-04 10:00:00,usd,-4.00,0.00,-4.00,charge_failure,c",
    )
    assert detected(text.encode()) is BookFormat.STRIPE
    assert told(read(text)) == [
        ("a", "payment", 1250, "USD"),
        ("a", "fee", -66, "USD"),
        ("a", "refund", -250, "USD"),
        ("a", "chargeback", -1000, "USD"),
        ("a", "fee", -1500, "USD"),
        ("a", "chargeback", 1000, "USD"),
        ("a", "fee", 1500, "USD"),
        ("b", "payment", 1250, "JPY"),
        ("", "fee", -300, "USD"),
        ("", "payout", -900, "USD"),
        ("", "other", 100, "USD"),
        ("c", "payment", -400, "USD"),
        ("c", "return", -400, "USD"),
    ]
    assert read(text)[0].reference == "txn_1"


def test_stripe_paid_in_another_currency_than_the_balance() -> None:
    header = f"{STRIPE},customer_facing_amount,customer_facing_currency"
    text = stripe("txn_1,2026-01-04 10:00:00,usd,13.90,0.70,13.20,charge,a,12.50,eur", header=header)
    assert told(read(text)) == [("a", "payment", 1250, "EUR"), ("a", "fee", -70, "USD")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (stripe("t,2026-01-04,usd,12.50,0.66,11.85,charge,a"), "line 2: found a net that is not gross - fee"),
        (stripe("t,2026-01-04,usd,12.50,0.66"), "line 2: found 5 fields; allowed: 8"),
        (stripe("t,2026-01-04,usd,12,50,0,charge,a"), "a net that is not gross - fee"),
        (stripe('t,2026-01-04,usd,"12,50",0,12.50,charge,a'), "'12,50' as gross (no decimal number"),
        (stripe("t,2026-01-04,bitcoin,1,0,1,charge,a"), "'bitcoin' as currency"),
        (stripe("t,04/01/2026,usd,1,0,1,charge,a"), "'04/01/2026' as created_utc"),
        (stripe("t,2031-01-04,usd,1,0,1,charge,a"), "2031-01-04 as created_utc"),
        (stripe(header=STRIPE.replace("payment_metadata[transaction_id]", "x")), "no column payment_metadata[...]"),
        (stripe(header=STRIPE.replace("transaction_id]", "x],payment_metadata[y]")), "2 columns payment_metadata[...]"),
        (stripe("t,2026-01-04,usd,4111111111111111,0,1,charge,a"), "text of 16 characters as gross"),
    ],
)
def test_a_report_of_stripe_that_is_none(text: str, says: str) -> None:
    assert says in refused(text)


# --- Adyen

ADYEN = (
    "Company Account,Merchant Account,Psp Reference,Merchant Reference,Payment Method,Creation Date,TimeZone,Type,"
    "Modification Reference,Gross Currency,Gross Debit (GC),Gross Credit (GC),Exchange Rate,Net Currency,"
    "Net Debit (NC),Net Credit (NC),Commission (NC),Markup (NC),Scheme Fees (NC),Interchange (NC),Batch Number"
)


def adyen(*rows: str) -> str:
    return "\n".join((ADYEN, *rows)) + "\n"


def settled(id_: str, type_: str, gross: str, net: str, gross_code: str = "EUR", net_code: str = "EUR") -> str:
    return f"C,M,psp-1,{id_},visa,2026-01-04 11:26:49,CET,{type_},m-1,{gross_code},{gross},1,{net_code},{net},,,,,4"


def test_adyens_settlement_details() -> None:
    text = adyen(
        settled("a", "Settled", ",5.00", ",4.88"),
        settled("b", "Settled", "5.00,", "4.88,"),  # as in Adyen's own sample
        settled("a", "Refunded", "5.00,", "5.00,"),
        settled("a", "Chargeback", "349.99,", "357.49,"),
        settled("a", "ChargebackReversed", ",349.99", ",349.99"),
        settled("c", "Settled", ",5.00", ",5.60", net_code="USD"),
        settled("d", "Settled", ",0.10", "0.05,"),
        settled("", "Fee", ",", "3.00,", gross_code=""),
        settled("", "MerchantPayout", ",", "9.00,", gross_code=""),
        settled("", "NewThing", ",", ",1.00", gross_code=""),
    )
    assert detected(text.encode()) is BookFormat.ADYEN
    assert told(read(text)) == [
        ("a", "payment", 500, "EUR"),
        ("a", "fee", -12, "EUR"),
        ("b", "payment", 500, "EUR"),
        ("b", "fee", -12, "EUR"),
        ("a", "refund", -500, "EUR"),
        ("a", "chargeback", -34999, "EUR"),
        ("a", "fee", -750, "EUR"),
        ("a", "chargeback", 34999, "EUR"),
        ("c", "payment", 500, "EUR"),
        ("d", "payment", 10, "EUR"),
        ("d", "fee", -15, "EUR"),
        ("", "fee", -300, "EUR"),
        ("", "payout", -900, "EUR"),
        ("", "other", 100, "EUR"),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (adyen(settled("a", "Settled", "5.00,5.00", ",4.88")), "'5.00' and '5.00'; allowed: a debit or a credit"),
        (adyen(settled("a", "Settled", ",-5.00", ",4.88")), "allowed: a debit or a credit, without a sign"),
        (adyen(settled("a", "Settled", ",5.001", ",4.88")), "more decimals than the 2 of EUR"),
        (adyen(settled("a", "Settled", ",5.00", ",4.88", gross_code="")), "'' as Gross Currency"),
    ],
)
def test_settlement_details_that_are_none(text: str, says: str) -> None:
    assert says in refused(text)


# --- any CSV

MAP = """
delimiter = ";"
decimal = ","
thousands = "."
encoding = "cp1252"
date_format = "%d.%m.%Y"
skip_lines = 1
currency = "EUR"
[columns]
id = "Verwendung"
amount = "Betrag"
fee = "Gebühr"
kind = "Art"
date = "Tag"
reference = "Beleg"
[kinds]
payment = ["Eingang"]
chargeback = ["Rücklast"]
"""


def mapped(tmp_path: Path, text: str) -> columns.Columns:
    (tmp_path / "map.toml").write_text(text)
    return columns.load(tmp_path / "map.toml")


def test_any_csv_by_a_column_map(tmp_path: Path) -> None:
    text = (
        "Auszug vom 05.01.2026\r\nVerwendung;Betrag;Gebühr;Art;Tag;Beleg\r\n"
        "a;1.012,50;0,30;Eingang;04.01.2026;b-1\r\na;-5,00;;Rücklast;04.01.2026;b-2\r\n;1,00;;Zins;04.01.2026;b-3\r\n"
    )
    lines = read(text.encode("cp1252"), map_=mapped(tmp_path, MAP))
    assert told(lines) == [
        ("a", "payment", 101250, "EUR"),
        ("a", "fee", -30, "EUR"),
        ("a", "chargeback", -500, "EUR"),
        ("", "other", 100, "EUR"),
    ]
    assert (lines[0].day, lines[0].reference, lines[0].place) == (DAY, "b-1", 3)
    assert "byte 0xfc" in refused(
        text.encode("cp1252"), map_=mapped(tmp_path, MAP.replace("cp1252", "utf-8").replace("Gebühr", "x"))
    )


def test_debit_and_credit_columns(tmp_path: Path) -> None:
    map_ = mapped(tmp_path, 'negate = true\n[columns]\nid = "i"\ndebit = "d"\ncredit = "c"\ncurrency = "k"\n')
    assert told(read("i,d,c,k\na,5.00,,eur\na,,1.00,EUR\n", map_=map_)) == [
        ("a", "payment", 500, "EUR"),
        ("a", "refund", -100, "EUR"),
    ]
    assert "a debit and a credit" in refused("i,d,c,k\na,5.00,1.00,eur\n", map_=map_)


COLUMNS = '[columns]\nid = "i"\namount = "a"\ncurrency = "c"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[columns\n", "no TOML"),
        (f"delimeter = ';'\n{COLUMNS}", "map.toml: delimeter: found a key that nobody reads; allowed: columns, kinds"),
        (f"delimeter = ';'\n{COLUMNS}", "fix: did you mean delimiter?"),
        (f"delimiter = ';;'\n{COLUMNS}", "delimiter: found ';;'; allowed: one character"),
        (f"encoding = 'utf-16'\n{COLUMNS}", "encoding: found 'utf-16'; allowed: utf-8 or cp1252"),
        (f"decimal = ';'\n{COLUMNS}", "decimal: found ';'"),
        (f"thousands = '.'\n{COLUMNS}", "thousands: found '.'; allowed: another character than decimal"),
        (f"skip_lines = -1\n{COLUMNS}", "skip_lines: found -1; allowed: a number from 0 to 100"),
        (f"skip_lines = true\n{COLUMNS}", "skip_lines: found True"),
        (f"negate = 1\n{COLUMNS}", "negate: found 1; allowed: true or false"),
        (f"date_format = 'ISO'\n{COLUMNS}", "date_format: found 'ISO'"),
        (f"currency = 'EUR'\n{COLUMNS}", "currency: found 'both'"),
        ('[columns]\nid = "i"\namount = "a"\n', "currency: found nothing; allowed: columns.currency"),
        ('currency = "EURO"\n[columns]\nid = "i"\namount = "a"\n', "currency: found 'EURO'"),
        ('[columns]\namount = "a"\ncurrency = "c"\n', "columns.id: found nothing"),
        ('[columns]\nid = "i"\ncurrency = "c"\n', "columns: found nothing; allowed: amount, or amount_minor"),
        (f'{COLUMNS}credit = "x"\n', "columns: found ['amount', 'credit']"),
        (f'{COLUMNS}ammount = "x"\n', "columns.ammount: found a key that nobody reads"),
        (f"{COLUMNS}fee = 7\n", "columns.fee: found 7; allowed: the name of a column"),
        (f'{COLUMNS}kind = "k"\n', "kinds: found nothing; allowed: columns.kind and kinds together"),
        (f'{COLUMNS}[kinds]\nrefund = ["x"]\n', "columns.kind: found nothing"),
        (f'{COLUMNS}kind = "k"\n[kinds]\nrefunds = ["x"]\n', "fix: did you mean kinds.refund?"),
        (f'{COLUMNS}kind = "k"\n[kinds]\nrefund = "x"\n', "kinds.refund: found 'x'; allowed: a list of texts"),
        (f'{COLUMNS}kind = "k"\n[kinds]\nrefund = ["x"]\nfee = ["x"]\n', "each text once"),
        ("columns = 7\n", "columns: found 7; allowed: a table: [columns]"),
        ("#" * 70_000, "more than 65,536 bytes"),
    ],
)
def test_a_column_map_that_is_none(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(BadBook) as bad:
        mapped(tmp_path, text)
    assert says in str(bad.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("i,a\n", "no column 'c'"),
        ("i,a,a,c\n", "2 columns 'a'"),
        ("i,a,c\nx,1.505,EUR\n", "line 2: found '1.505' as amount"),
        ("i,a,c\nx,,EU\n", "'EU' as currency"),
        (b"\xff\xfei\x00,\x00", "UTF-16 (its byte order mark)"),
        ("i,a,c\n" + "x" * 1_100_000, "no line end"),
        ('i,a,c\n"x,1,EUR\n', "the end of the file inside a quoted field"),
        ('i,a,c\n"x"y,1,EUR\n', "line 2: found no readable line"),
    ],
)
def test_a_csv_that_does_not_fit_its_map(tmp_path: Path, text: str | bytes, says: str) -> None:
    assert says in refused(text, map_=mapped(tmp_path, COLUMNS))


@pytest.mark.parametrize(
    ("head", "format_"),
    [
        (b"", None),
        (b"id,amount,currency\n", None),
        (b"\xef\xbb\xbfid,amount_minor,currency\n", BookFormat.LEDGER),
        (b"\xff\xfe<\x00", BookFormat.CAMT053),
        (b"\xff\xfei\x00", None),
        (b"  \n<Document>", BookFormat.CAMT053),
        (f"{STRIPE},id,amount_minor\n".encode(), None),  # two formats at once: not sure
        (b'"id', None),
    ],
)
def test_a_format_is_detected_only_where_that_is_sure(head: bytes, format_: BookFormat | None) -> None:
    assert detected(head) is format_


# --- classes


def ours(status: Status = Status.CONFIRMED, amount: int = 1250, readable: bool = True) -> Entry:
    return Entry("a", status, amount, "USD", NOW, readable)


def line(kind: LineKind, amount: int = 1250, code: str = "USD") -> Line:
    return Line("a", kind, amount, code, 1)


WON = [Class.CHARGEBACK_REVERSED] * 2
P, R, T, C, F = LineKind.PAYMENT, LineKind.REFUND, LineKind.RETURN, LineKind.CHARGEBACK, LineKind.FEE


@pytest.mark.parametrize(
    ("status", "lines", "mine", "theirs"),
    [
        (Status.CONFIRMED, [line(P)], Class.MATCHED, [Class.MATCHED]),
        (Status.CONFIRMED, [line(P), line(F, -30)], Class.MATCHED, [Class.MATCHED, Class.FEE]),
        (Status.CONFIRMED, [line(P, 1000), line(P, 250)], Class.IN_PARTS, [Class.IN_PARTS] * 2),
        (Status.CONFIRMED, [line(P, 2000), line(P, -750)], Class.IN_PARTS, [Class.IN_PARTS] * 2),
        (Status.CONFIRMED, [line(P), line(P)], Class.DOUBLED, [Class.DOUBLED] * 2),
        (Status.CONFIRMED, [line(P, 1250, "EUR"), line(P, 1250, "EUR")], Class.DOUBLED, [Class.DOUBLED] * 2),
        (Status.CONFIRMED, [line(P, 1000), line(P, 100)], Class.OTHER_AMOUNT, [Class.OTHER_AMOUNT] * 2),
        (Status.CONFIRMED, [line(P, 1249)], Class.OTHER_AMOUNT, [Class.OTHER_AMOUNT]),
        (Status.CONFIRMED, [line(P, 1250, "EUR")], Class.OTHER_CURRENCY, [Class.OTHER_CURRENCY]),
        (Status.CONFIRMED, [line(P, 1000), line(P, 250, "EUR")], Class.OTHER_CURRENCY, [Class.OTHER_CURRENCY] * 2),
        (Status.CONFIRMED, [], Class.NOT_MOVED, []),
        (Status.CONFIRMED, [line(F, -30)], Class.NOT_MOVED, [Class.FEE]),
        (Status.CONFIRMED, [line(LineKind.PENDING)], Class.PENDING, [Class.PENDING]),
        (Status.CONFIRMED, [line(LineKind.PENDING, 7)], Class.NOT_MOVED, [Class.PENDING]),
        (Status.CONFIRMED, [line(P), line(R, -250)], Class.MATCHED, [Class.MATCHED, Class.REFUND]),
        (Status.CONFIRMED, [line(P), line(R, -9), line(R, 9)], Class.MATCHED, [Class.MATCHED] + [Class.REFUND] * 2),
        (Status.CONFIRMED, [line(P), line(R, -1251)], Class.MATCHED, [Class.MATCHED, Class.OVER_REFUNDED]),
        (Status.CONFIRMED, [line(P), line(R, -1, "EUR")], Class.MATCHED, [Class.MATCHED, Class.OVER_REFUNDED]),
        (Status.CONFIRMED, [line(P), line(C, -1250)], Class.MATCHED, [Class.MATCHED, Class.CHARGEBACK]),
        (Status.CONFIRMED, [line(P), line(C, -9), line(C, 9)], Class.MATCHED, [Class.MATCHED, *WON]),
        (Status.CONFIRMED, [line(P), line(T, -1250)], Class.MATCHED, [Class.MATCHED, Class.RETURNED]),
        (Status.CONFIRMED, [line(P), line(LineKind.OTHER, 5)], Class.MATCHED, [Class.MATCHED, Class.UNCLASSIFIED]),
        (Status.REJECTED, [], None, []),
        (Status.REJECTED, [line(P)], None, [Class.REJECTED]),
        (Status.REJECTED, [line(P), line(R, -1250)], None, [Class.RETURNED] * 2),
        (Status.REJECTED, [line(P), line(T, -1250)], None, [Class.RETURNED] * 2),
        (Status.REJECTED, [line(P), line(R, -250)], None, [Class.REJECTED, Class.REFUND]),
        (Status.REJECTED, [line(P), line(P, -1250)], None, [Class.RETURNED] * 2),
        (Status.REJECTED, [line(R, -1250)], None, [Class.OVER_REFUNDED]),
        (Status.PENDING, [line(P)], None, [Class.OPEN]),
        (Status.PROCESSING, [line(P)], None, [Class.OPEN]),
        (Status.PENDING, [line(P, 7)], None, [Class.OTHER_AMOUNT]),
        (Status.REVIEW, [line(P)], None, [Class.DESK]),
        (Status.REVIEW, [line(P), line(P)], None, [Class.DOUBLED] * 2),
    ],
)  # fmt: skip
def test_the_class_of_each_line(status: Status, lines: list[Line], mine: Class | None, theirs: list[Class]) -> None:
    found = judge(ours(status), lines, covered=True)
    assert found.ours is mine
    assert [class_ for _, class_ in found.lines] == theirs
    assert [one for one, _ in found.lines] == lines


def test_what_the_file_does_not_cover_need_not_be_in_it() -> None:
    assert judge(ours(), [], covered=False).ours is Class.OUTSIDE
    assert judge(ours(), [line(P)], covered=False).ours is Class.MATCHED
    assert judge(ours(readable=False), [line(P)], covered=True).differing == [Class.UNREADABLE]
    assert judge(ours(amount=0), [line(P, 0), line(P, 0)], covered=True).ours is Class.DOUBLED


@pytest.mark.parametrize(
    ("lines", "classes"),
    [
        ([line(P)], [Class.UNKNOWN]),
        ([line(P), line(P)], [Class.DOUBLED] * 2),
        ([line(P), line(P, 7)], [Class.UNKNOWN] * 2),
        ([line(P), line(R, -7)], [Class.UNKNOWN, Class.REFUND]),
        ([line(R, -7)], [Class.OVER_REFUNDED]),
        ([line(C, -7)], [Class.CHARGEBACK]),
        ([line(F, -7)], [Class.FEE]),
    ],
)
def test_the_class_of_what_is_not_here(lines: list[Line], classes: list[Class]) -> None:
    assert [class_ for _, class_ in judge_unknown(lines).lines] == classes


def test_the_class_of_what_names_nobody() -> None:
    found = [
        judge_nameless(line(kind, -7)) for kind in (P, R, T, C, F, LineKind.PAYOUT, LineKind.PENDING, LineKind.OTHER)
    ]
    unattributed = [Class.UNATTRIBUTED] * 3
    assert found == [*unattributed, Class.CHARGEBACK, Class.FEE, Class.PAYOUT, Class.PENDING, Class.UNCLASSIFIED]


def test_each_class_has_its_meaning() -> None:
    assert set(MEANING) == set(Class) > set(AGREEING)
    assert len(Class) - len(AGREEING) >= 9


def test_no_id_has_lines_without_end() -> None:
    with pytest.raises(BadBook, match=r"10,001 lines of one id; allowed: at most 10,000"):
        Book(line(P) for _ in range(MOST_LINES + 1))
    Book(Line("", F, -1, "USD", 1) for _ in range(MOST_LINES + 1)).__exit__()


# --- the command


def test_fees_refunds_and_disputes_are_no_doubles_and_the_classes_are_the_totals(
    confirm: MemoryCli, tmp_path: Path
) -> None:
    done(confirm, "a", "b", "c", "d", "gone")
    add(confirm, "no")
    settle(confirm, "no", Rejected("closed"))
    rows = (
        "t1,2026-01-04 10:00:00,usd,12.50,0.66,11.84,charge,a",
        "t2,2026-01-04 10:00:00,usd,10.00,0.50,9.50,charge,b",
        "t3,2026-01-04 10:00:00,usd,2.50,0.10,2.40,charge,b",
        "t4,2026-01-04 10:00:00,usd,12.50,0.66,11.84,charge,c",
        "t5,2026-01-04 10:00:00,usd,-12.50,15.00,-27.50,dispute,c",
        "t6,2026-01-04 10:00:00,usd,12.50,0.66,11.84,charge,d",
        "t7,2026-01-04 10:00:00,usd,-5.00,0.00,-5.00,refund,d",
        "t8,2026-01-04 10:00:00,usd,12.50,0.66,11.84,charge,no",
        "t9,2026-01-04 10:00:00,usd,-40.00,0.00,-40.00,payout,",
        "t10,2026-01-04 10:00:00,usd,3.00,0.00,3.00,charge,",
    )
    path = tmp_path / "stripe.csv"
    path.write_text(stripe(*rows))
    result = confirm("reconcile", str(path), "--json")
    assert result.code == Exit.BOOKS_DIFFER
    found = json.loads(result.out)
    assert {one["id"]: one["kind"] for one in found["differences"]} == {
        "gone": "not-moved",
        "c": "chargeback",
        "no": "moved-but-rejected",
        "": "without-an-id",
    }
    classes = found["classes"]["USD"]
    assert set(classes) >= {"matched", "matched-in-parts", "fee", "refund", "payout"}
    for side in ("ours", "theirs"):
        for figure in ("count", "amount"):
            assert sum(both[side][figure] for both in classes.values()) == found["currencies"]["USD"][side][figure]
    assert found["currencies"]["USD"]["ours"] == {"count": 5, "amount": 6250}
    (chargeback,) = [one for one in found["differences"] if one["kind"] == "chargeback"]
    assert chargeback["moved_minor"] == -1250
    assert chargeback["lines"] == [
        {"place": 6, "kind": "chargeback", "amount_minor": -1250, "currency": "USD", "reference": "t5", "day": DAY}
    ]
    text = " ".join(confirm("reconcile", str(path)).out.split())
    assert "c: chargeback; here CONFIRMED 12.50 USD, moved -12.50 USD (line 6)" in text
    assert "no id: without-an-id; here unknown, moved 3.00 USD (line 11)" in text


def test_a_statement_and_a_map_by_the_command(confirm: MemoryCli, tmp_path: Path) -> None:
    add(confirm, "a")
    (tmp_path / "s.xml").write_text(statement(entry("12.50", detail("a"), code="USD"), code="USD"))
    result = confirm("reconcile", str(tmp_path / "s.xml"))
    assert result.code == Exit.BOOKS_DIFFER
    assert "a: moved-but-open; here PENDING 12.50 USD, moved 12.50 USD (line 1)" in result.out
    (tmp_path / "m.toml").write_text(COLUMNS)
    (tmp_path / "b.csv").write_text("i,a,c\na,12.50,USD\n")
    arguments = ("reconcile", str(tmp_path / "b.csv"), "--columns", str(tmp_path / "m.toml"))
    assert "moved-but-open" in confirm(*arguments).out
    both = confirm(*arguments, "--format", "ledger")
    assert (both.code, "--format and --columns" in both.err) == (Exit.USAGE, True)
    assert "No such file" in confirm("reconcile", str(tmp_path / "b.csv"), "--columns", "none.toml").err
    bad = confirm("reconcile", str(tmp_path / "b.csv"))
    assert (bad.code, bad.out) == (Exit.ERROR, "")
    assert "or --columns MAP.toml; nothing was compared" in bad.err


def test_a_file_that_ends_earlier_need_not_have_the_newer_ones(confirm: MemoryCli, tmp_path: Path) -> None:
    done(confirm, "a", "later")
    path = tmp_path / "ledger.csv"
    path.write_text("id,amount_minor,currency\na,1250,USD\n")
    at = confirm.find("later").settled_at
    assert at is not None
    assert confirm("reconcile", str(path)).code == Exit.BOOKS_DIFFER
    found = confirm("reconcile", str(path), "--until", at.isoformat(), "--json")
    assert found.code == Exit.OK
    outside = json.loads(found.out)["classes"]["USD"]["outside-the-file"]
    assert outside == {"ours": {"count": 1, "amount": 1250}, "theirs": {"count": 0, "amount": 0}}


def test_classes_that_do_not_come_to_the_totals_are_never_shown(
    confirm: MemoryCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(confirm, "a")
    path = tmp_path / "ledger.csv"
    path.write_text("id,amount_minor,currency\na,1250,USD\n")
    monkeypatch.setattr(reconcile, "Both", lambda: Both(theirs=Side(count=1)))
    result = confirm("reconcile", str(path))
    assert (result.code, result.out) == (Exit.ERROR, "")
    assert "an error in this program (RuntimeError)" in result.err


# --- what nobody thought of

PIECES = (
    b"", b"<", b">", b"&", b"\0", b'"', b",", b";", b"\n", b"\r", b"-", b"9" * 20, b"\xff", b"\xef\xbb\xbf", b"1e9",
    b"NaN", b"<!DOCTYPE x>", b"\xed\xa0\x80", b"<Ntry>", b"</Ntry>", b"<TxDtls>", b"</Stmt>", b"XXX", "٣".encode(),
    b"9999-12-31",
)  # fmt: skip
WHOLE = (
    statement(*TWO, stmt=PERIOD.format("2026-01-01", DAY) + balance("OPBD", "5.00") + balance("CLBD", "16.50")),
    stripe("t,2026-01-04 10:00:00,usd,12.50,0.66,11.84,charge,a", "t,2026-01-04,usd,-1.00,0,-1.00,refund,a"),
    adyen(settled("a", "Settled", ",5.00", ",4.88"), settled("", "Fee", ",", "3.00,", gross_code="")),
    "id,amount_minor,currency\na,1250,USD\nb,7,EUR\n",
)


@pytest.mark.parametrize("text", WHOLE, ids=("camt.053", "stripe", "adyen", "ledger"))
def test_a_broken_file_is_a_bad_book_and_never_another_error(text: str) -> None:
    assert read(text)
    chance, messages = random.Random(text), list[str]()
    for _ in range(300):
        raw = bytearray(text.encode())
        for _ in range(chance.randint(1, 3)):
            start = chance.randrange(len(raw) + 1)
            raw[start : start + chance.choice((0, 1, 5, 40))] = chance.choice(PIECES)
        if chance.random() < 0.1:
            del raw[chance.randrange(len(raw)) :]
        try:
            read(bytes(raw))
        except BadBook as bad:
            messages.append(str(bad))
    assert len(messages) > 100
    assert all(0 < message.index(": found ") < message.index("; allowed: ") < 500 for message in messages)


@pytest.mark.parametrize(
    "account", ["4111111111111111", "DE02120300000000202051", "123-45-6789", "123456789", "1234567.89"]
)
def test_no_message_holds_an_account(account: str) -> None:
    told_of = 0
    for text in (
        stripe(f"t,2026-01-04,usd,{account},0,1,charge,a"),
        stripe(f"t,{account},usd,1,0,1,charge,a"),
        adyen(settled("a", "Settled", f"{account},{account}", ",4.88")),
        statement(entry(account)),
        statement(entry("1.00", code=account)),
        statement(*TWO, stmt=totals(account, "13.50")),
        statement(*TWO, stmt=f"<StmtPgntn><PgNb>{account}</PgNb></StmtPgntn>"),
    ):
        with suppress(BadBook):
            read(text)
            continue
        assert account not in refused(text)
        told_of += 1
    assert told_of > 2
