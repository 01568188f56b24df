"""Adyen's Settlement details report, as CSV.

Columns and types, from https://docs.adyen.com/reporting/settlement-detail-report: `Merchant Reference` is what we
sent; the gross amount is in `Gross Debit (GC)` or `Gross Credit (GC)`, in the payment's `Gross Currency`, as the net is
in `Net Currency`; `Type` says what a line is. Lines of fees and payouts have a net amount alone.

Which way a payment's line goes is read from its type: Adyen's own sample has a settled payment under debit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import BinaryIO

from cli.books.lines import BadBook, Line, LineKind, Reading, shown
from cli.books.sheet import Sheet

COLUMNS = (
    "Psp Reference",
    "Merchant Reference",
    "Type",
    "Gross Currency",
    "Gross Debit (GC)",
    "Gross Credit (GC)",
    "Net Currency",
    "Net Debit (NC)",
    "Net Credit (NC)",
)
"""By which the report is known."""

TRANSACTIONS: Mapping[str, tuple[LineKind, int]] = {
    "settled": (LineKind.PAYMENT, 1),
    "settledbulk": (LineKind.PAYMENT, 1),
    "settledininstallments": (LineKind.PAYMENT, 1),
    "settledreversed": (LineKind.PAYMENT, -1),
    "capturefailed": (LineKind.RETURN, -1),
    "refunded": (LineKind.REFUND, -1),
    "refundedbulk": (LineKind.REFUND, -1),
    "refundedininstallments": (LineKind.REFUND, -1),
    "refundedreversed": (LineKind.REFUND, 1),
    "chargeback": (LineKind.CHARGEBACK, -1),
    "secondchargeback": (LineKind.CHARGEBACK, -1),
    "chargebackreversed": (LineKind.CHARGEBACK, 1),
}
"""By type, in small letters and without blanks: what it is, and which way it goes."""
OF_THE_ACCOUNT: Mapping[str, LineKind] = {
    **dict.fromkeys(("fee", "misccosts", "invoicededuction", "paymentcost"), LineKind.FEE),
    **dict.fromkeys(
        ("merchantpayout", "merchantpayin", "balancetransfer", "internalcompanypayout", "depositcorrection",
         "reserveadjustment", "advancement"),
        LineKind.PAYOUT,
    ),
}  # fmt: skip


def read(stream: BinaryIO, reading: Reading) -> Iterator[Line]:
    """A line for the amount and, where gross and net are of one currency, one for the fee between them.

    Raises:
        BadBook: a line is none.
    """
    table = Sheet(stream, reading)
    psp, merchant, type_, gross_code, debit, credit, net_code, net_debit, net_credit = map(table.place, COLUMNS)
    id_ = table.place(reading.id_from) if reading.id_from else merchant
    created = table.place("Creation Date", optional=True)

    def sided(number: int, row: list[str], code: str, places: tuple[int, int]) -> int:
        """Credit above zero, debit below."""
        down, up = (reading.amount(number, table.header[at], row[at].strip() or "0", code) for at in places)
        if (down and up) or down < 0 or up < 0:
            raise BadBook(
                reading.at(number),
                f"{shown(row[places[0]])} and {shown(row[places[1]])}",
                "a debit or a credit, without a sign",
            )
        return up - down

    for number, row in table.rows():
        word = row[type_].strip().replace(" ", "").lower()
        name = reading.id(number, row[id_])
        day = reading.day(number, "Creation Date", row[created]) if created >= 0 else ""
        if word in TRANSACTIONS:
            kind, way = TRANSACTIONS[word]
            code = reading.code(number, "Gross Currency", row[gross_code])
            gross = sided(number, row, code, (debit, credit))
            yield Line(name, kind, way * abs(gross), code, number, row[psp], day)
            if row[net_code].strip().upper() == code:
                net = sided(number, row, code, (net_debit, net_credit))
                # of the same side unless the fee is more than the payment
                rest = way * (abs(net) if (net < 0) == (gross < 0) else -abs(net))
                if fee := rest - way * abs(gross):
                    yield Line(name, LineKind.FEE, fee, code, number, row[psp], day)
            continue
        if row[net_code].strip():
            code, places = reading.code(number, "Net Currency", row[net_code]), (net_debit, net_credit)
        else:
            code, places = reading.code(number, "Gross Currency", row[gross_code]), (debit, credit)
        kind = OF_THE_ACCOUNT.get(word, LineKind.OTHER)
        yield Line(name, kind, sided(number, row, code, places), code, number, row[psp], day)
