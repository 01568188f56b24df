"""Stripe's reports of the balance: `balance_change_from_activity`, `payout_reconciliation` and
`ending_balance_reconciliation`, itemized, as CSV.

Columns, from https://docs.stripe.com/reports/report-types: `gross`, `fee` and `net` in major units of `currency` (which
is in small letters), a payment above zero and what went back below, `fee` above zero where Stripe took it, and
net = gross - fee. `reporting_category` says what a line is: https://docs.stripe.com/reports/reporting-categories.
Amounts are in the currency of the balance; what the payer saw is in `customer_facing_amount` and
`customer_facing_currency`, which is what our transaction was in. Our id is in the payment's metadata, which the report
has as `payment_metadata[NAME]` where it was asked for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

from cli.books.lines import BadBook, Line, LineKind, Reading, shown
from cli.books.sheet import Sheet

COLUMNS = ("reporting_category", "gross", "fee", "net", "currency")
"""By which the report is known."""
METADATA = re.compile(r"payment_metadata\[.+\]")
OURS = "payment_metadata[transaction_id]"
"""Which of several it is, if none was named."""

KINDS: Mapping[str, LineKind] = {
    category: kind
    for kind, categories in {
        LineKind.PAYMENT: "charge partial_capture_reversal",
        LineKind.REFUND: "refund refund_failure",
        LineKind.RETURN: "charge_failure",
        LineKind.CHARGEBACK: "dispute dispute_reversal",
        LineKind.FEE: "fee network_cost tax platform_earning platform_earning_refund",
        LineKind.PAYOUT: "payout payout_reversal topup topup_reversal transfer transfer_reversal "
        "connect_reserved_funds connect_collection_transfer risk_reserved_funds",
    }.items()
    for category in categories.split()
}


def read(stream: BinaryIO, reading: Reading) -> Iterator[Line]:
    """A line for the amount, and one for the fee where there is one.

    Raises:
        BadBook: a line is none, or its amounts contradict each other.
    """
    table = Sheet(stream, reading)
    category, gross, fee, net, currency = (table.place(column) for column in COLUMNS)
    id_ = table.place(_id_column(table.header, reading))
    reference = table.place("balance_transaction_id", optional=True)
    days = [table.place(name, optional=True) for name in ("created_utc", "created")]
    day_at = next((place for place in days if place >= 0), -1)
    facing = [table.place(f"customer_facing_{name}", optional=True) for name in ("amount", "currency")]
    for number, row in table.rows():
        code = reading.code(number, "currency", row[currency])
        amount, taken, rest = (
            reading.amount(number, name, row[place].strip() or "0", code)
            for name, place in (("gross", gross), ("fee", fee), ("net", net))
        )
        if amount - taken != rest:
            raise BadBook(reading.at(number), f"a net that is not gross - fee ({shown(row[net])})", "net = gross - fee")
        kind = KINDS.get(row[category].strip(), LineKind.OTHER)
        name = reading.id(number, row[id_])
        reference_ = row[reference] if reference >= 0 else ""
        day = reading.day(number, table.header[day_at], row[day_at]) if day_at >= 0 else ""
        fee_code = code
        if min(facing) >= 0 and row[facing[0]].strip() and (seen := row[facing[1]].strip().upper()) and seen != code:
            code = reading.code(number, "customer_facing_currency", seen)
            seen_amount = abs(reading.amount(number, "customer_facing_amount", row[facing[0]].strip(), code))
            amount = -seen_amount if amount < 0 else seen_amount
        if amount or not taken:
            yield Line(name, kind, amount, code, number, reference_, day)
        if taken:
            yield Line(name, LineKind.FEE, -taken, fee_code, number, reference_, day)


def _id_column(header: Sequence[str], reading: Reading) -> str:
    if reading.id_from:
        return reading.id_from
    found = [column for column in header if METADATA.fullmatch(column)]
    if OURS in found or len(found) == 1:
        return OURS if OURS in found else found[0]
    raise BadBook(
        f"{reading.name} line 1",
        f"{len(found)} columns payment_metadata[...]" if found else "no column payment_metadata[...]",
        "one that holds the id under which we sent it",
        "export the report with that metadata; name the column with --id-from where there are several",
    )
