"""One line of a book: whose payment it speaks of, what it is and how much it moved. And what is wrong with a book."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from workers.domain import currency
from workers.domain.currency import EXPONENTS

MAX_ID = 256
FIRST_DAY = date(1970, 1, 1)
AHEAD = timedelta(days=1)
"""How far a date may lie ahead of our clock: the bank's day begins earlier in the east."""


class LineKind(StrEnum):
    """What a line is by its sender's own words; what it means is a matter of `classes`."""

    PAYMENT = "payment"
    """Money that moved for a payment, whole or in part; negative where a part of it was never captured."""
    REFUND = "refund"
    """We sent it back; positive where that failed."""
    RETURN = "return"
    """The bank or the scheme took it back: a returned direct debit, a transfer that bounced."""
    CHARGEBACK = "chargeback"
    """The payer disputed it; positive where the dispute was won."""
    FEE = "fee"
    PAYOUT = "payout"
    """Between our own balances: the gateway's payout, a reserve, a sweep."""
    PENDING = "pending"
    """Not booked: it may still vanish, so it proves nothing."""
    OTHER = "other"


class Moves(StrEnum):
    """Which way our payments go on a bank's account."""

    IN = "in"
    OUT = "out"


class Line(NamedTuple):
    id: str
    """Under which we sent it; empty where the line names none."""
    kind: LineKind
    amount: int
    """In minor units; above zero the way that our payments go."""
    currency: str
    place: int
    """Its line in the file, or of a bank's statement the number of its entry."""
    reference: str = ""
    """The sender's own, for evidence."""
    day: str = ""
    """ISO 8601."""


class BadBook(Exception):  # noqa: N818 - a verdict on the file
    """The file is no book: nothing of it was compared, as half a book proves nothing."""

    def __init__(self, where: str, found: str, allowed: str, fix: str = "mend the file") -> None:
        super().__init__(f"{where}: found {found}; allowed: {allowed}; fix: {fix}")
        self.where, self.found, self.allowed, self.fix = where, found, allowed, fix


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader is told besides the bytes."""

    name: str
    """Of the file, for messages."""
    now: datetime
    id_from: str | None = None
    """Where the id lies, if not where it usually does."""
    moves: Moves = Moves.IN
    unit: str = "line"

    def at(self, place: int) -> str:
        return f"{self.name} {self.unit} {place:,}" if place else self.name

    def amount(self, place: int, field: str, text: str, code: str) -> int:
        """In minor units.

        Raises:
            BadBook: it is no amount of that currency.
        """
        try:
            return currency.in_minor_units(text, code)
        except ValueError as error:
            raise BadBook(
                self.at(place),
                f"{shown(text)} as {field} ({error})",
                f"a decimal number with at most {EXPONENTS.get(code, 2)} decimals in {code}: 1250 JPY, 12.50 USD",
            ) from None

    def code(self, place: int, field: str, text: str) -> str:
        """A currency, in capitals.

        Raises:
            BadBook: it is none.
        """
        code = text.strip().upper()
        if code not in EXPONENTS:
            raise BadBook(self.at(place), f"{shown(text)} as {field}", "a currency of ISO 4217 with a minor unit: EUR")
        return code

    def id(self, place: int, text: str) -> str:
        text = text.strip()
        if len(text) > MAX_ID or not text.isprintable():
            raise BadBook(self.at(place), f"an id of {len(text):,} characters", f"at most {MAX_ID} printable ones")
        return text

    def day(self, place: int, field: str, text: str) -> str:
        """The day of a date or a time of ISO 8601; empty where there is none.

        Raises:
            BadBook: it is none, or cannot be.
        """
        if not (text := text.strip()):
            return ""
        try:
            found = date.fromisoformat(text[:10])
        except ValueError:
            raise BadBook(self.at(place), f"{shown(text)} as {field}", "a date such as 2026-11-30") from None
        return self.checked(place, field, found)

    def checked(self, place: int, field: str, found: date) -> str:
        last = self.now.date() + AHEAD
        if not FIRST_DAY <= found <= last:
            raise BadBook(
                self.at(place),
                f"{found} as {field}",
                f"a day from {FIRST_DAY} to {last}",
                "see whether day and month are mixed up, or the clock of whoever wrote it is wrong",
            )
        return found.isoformat()


_HARMLESS = re.compile(
    r"[-+]?\d{0,6}([.,]\d{0,6})?"  # accounts have more digits
    r"|[A-Za-z]{1,12}"
    r"|(\d{4}([-/.])\d{1,2}\3\d{1,2}|\d{1,2}([-/.])\d{1,2}\4\d{4})([T ][\d:.]{4,15}Z?)?",
    re.ASCII,
)


def shown(text: str) -> str:
    """What was found, where it looks like what belongs there; else how long it is: it may be an account."""
    return repr(text) if _HARMLESS.fullmatch(text) else f"text of {len(text):,} characters"
