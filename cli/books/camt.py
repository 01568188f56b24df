"""A bank's statement: camt.053 of ISO 20022, versions 02 to 13, in bounded memory.

What its elements mean is in the message definition reports on https://www.iso20022.org (BankToCustomerStatement):
`CdtDbtInd` says which way an entry (`Ntry`) moved the account; `RvslInd` that it takes back an earlier one; `Sts` BOOK
that it is booked; `TxDtls` are the payments that were booked together, each under the `EndToEndId` that we gave it;
`RtrInf` is why one came back; `ChrgInclInd` that a charge (`Chrgs`) was taken off its amount. `TxsSummry` and the
balances `Bal` say what all of it must come to, and a statement that contradicts itself is refused. The bank
transaction codes `BkTxCd` are ISO's external code set.

The parser is defused: a file with a DTD, and so with entities, is refused before anything of it is expanded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import BinaryIO
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import iterparse

from cli.books.lines import BadBook, Line, LineKind, Moves, Reading, shown

VERSIONS = range(2, 14)
ID_FROM: Mapping[str, str] = {
    "EndToEndId": "Refs/EndToEndId",
    "InstrId": "Refs/InstrId",
    "TxId": "Refs/TxId",
    "MndtId": "Refs/MndtId",
    "AcctSvcrRef": "Refs/AcctSvcrRef",
    "Ref": "RmtInf/Strd/CdtrRefInf/Ref",
    "Ustrd": "RmtInf/Ustrd",
}
"""Where a bank may have put our id."""
NONE_GIVEN = "NOTPROVIDED"
"""What banks write where a payment had no EndToEndId."""
FEES = frozenset(("FEES", "COMM", "COME", "COMI", "COMT", "CHRG", "TAXE"))
"""Subfamilies of the bank transaction code."""
SWEEPS = "CAMT"
"""Its domain of cash management: money between accounts of our own."""
DISPUTED = frozenset({"MD01", "MD06", "FOCR", "FRAD"})
"""Return reasons that are the payer's word against ours: no mandate, a disputed debit, a recall, a fraud."""
NO_EVENT = 1024 * 1024
"""Bytes without an element: a text or a nesting that no bank writes."""
MOST_ELEMENTS = 200_000
"""Between two entries: what is kept in memory at once."""
SLACK = timedelta(days=1)
"""Between a statement's period and its booking days, for zones."""

_ROOT = re.compile(r"\{urn:iso:std:iso:20022:tech:xsd:camt\.053\.001\.(\d\d)\}Document")
_ISO = re.compile(r"\{urn:(?:iso:std:iso:20022:tech:xsd|swift:xsd):([a-z0-9.]+)\}Document")


@dataclass(slots=True)
class _Totals:
    """Of a statement, as its entries come."""

    entries: int = 0
    booked: int = 0
    credit: int = 0
    debit: int = 0
    booked_credit: int = 0
    booked_debit: int = 0


@dataclass(slots=True)
class _Entry:
    """An entry while its details are read; they come after what it says of itself."""

    number: int
    amount: int
    credit: bool
    booked: bool
    reversal: bool
    code: str
    day: str
    reference: str
    domain: str
    subfamily: str
    charges: int
    held: Element | None = None
    """Its first detail: it needs no amount of its own while it is the only one."""
    details: int = 0
    told: int = 0
    """The sum of its details."""


@dataclass(slots=True)
class _Statement:
    name: str
    code: str
    period: tuple[date, date] | None
    totals: _Totals = field(default_factory=_Totals)


class _Bounded:
    """The stream, which ends where the parser finds nothing in it for too long."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream, self._name = stream, name
        self.since = 0

    def read(self, size: int = -1) -> bytes:
        piece = self._stream.read(size)
        self.since += len(piece)
        if self.since > NO_EVENT:
            raise BadBook(self._name, f"{NO_EVENT:,} bytes without an element", "the elements of a statement", _AGAIN)
        return piece


_AGAIN = "fetch it from the bank again"


def read(stream: BinaryIO, reading: Reading) -> Iterator[Line]:
    """A line for each booked payment, charge and other movement.

    Raises:
        BadBook: it is no statement, or does not come to its own totals.
    """
    if reading.id_from is not None and reading.id_from not in ID_FROM:
        raise BadBook(reading.name, f"--id-from {reading.id_from!a}", ", ".join(ID_FROM), "name one of these")
    bounded = _Bounded(stream, reading.name)
    try:
        yield from _Reader(reading).lines(bounded)
    except DefusedXmlException:
        raise BadBook(
            reading.name, "a DTD or an entity, as XML bombs have", "camt.053, which has none", "ask who made it"
        ) from None
    except ParseError as error:
        line, column = error.position
        if error.code in _CUT_SHORT:
            raise BadBook(
                reading.name, f"its end in the middle, in line {line:,}", "a whole statement", _AGAIN
            ) from None
        raise BadBook(
            f"{reading.name} line {line:,}",
            f"no XML in column {column + 1:,} ({str(error).partition(':')[0]})",
            "XML in the encoding that its first line names",
            _AGAIN,
        ) from None
    except (LookupError, ValueError) as error:  # an encoding that nobody has; of several bytes, but not UTF-8 or 16
        if "encoding" not in str(error):
            raise
        raise BadBook(reading.name, f"an encoding that cannot be read ({error})", "UTF-8", _AGAIN) from None


_CUT_SHORT = (3, 5, 6)
"""expat's numbers for "no element found", "unclosed token" and "partial character"."""


class _Reader:
    def __init__(self, reading: Reading) -> None:
        self._reading = Reading(reading.name, reading.now, reading.id_from, reading.moves, unit="entry")
        self._id = ID_FROM[reading.id_from or "EndToEndId"]
        self._up = reading.moves is not Moves.OUT
        self._seen: set[tuple[str, str, str]] = set()
        self._number = 0

    def lines(self, source: _Bounded) -> Iterator[Line]:
        space, statement, entry = "", None, None
        element_of_entry = element_of_statement = message = None
        kept, whole = 0, False
        for event, element in iterparse(source, events=("start", "end"), forbid_dtd=True):
            source.since = 0
            tag = element.tag
            if event == "start":
                kept += 1
                if kept > MOST_ELEMENTS:
                    raise BadBook(self._reading.name, f"{MOST_ELEMENTS:,} elements in one", "entries of a bank", _AGAIN)
                if not space:
                    space = self._namespace(tag)
                elif tag == space + "Ntry":
                    if statement is None and element_of_statement is not None:
                        statement = self._statement(element_of_statement, space)
                    element_of_entry, entry = element, None
                elif tag == space + "Stmt":
                    element_of_statement, statement = element, None
                elif tag == space + "BkToCstmrStmt":
                    message = element
                continue
            if not tag.startswith(space) or not space:
                continue
            name = tag[len(space) :]
            if name == "TxDtls" and element_of_entry is not None and statement is not None:
                entry = entry or self._entry(element_of_entry, space, statement)
                entry.details += 1
                if entry.details == 1:
                    entry.held = element
                    continue
                if entry.held is not None:
                    yield from self._detail(entry, entry.held, space, None)
                    entry.held.clear()
                    entry.held = None
                yield from self._detail(entry, element, space, None)
                for holder in element_of_entry.findall(space + "NtryDtls"):
                    holder.clear()
                kept = 0
            elif name == "Ntry" and element_of_statement is not None and statement is not None:
                entry = entry or self._entry(element, space, statement)
                yield from self._end_of(entry, space)
                self._count(statement.totals, entry)
                element_of_statement.remove(element)
                element_of_entry = entry = None
                kept = 0
            elif name == "Stmt" and message is not None:
                statement = statement or self._statement(element, space)
                self._check(statement, element, space)
                message.remove(element)
                element_of_statement = statement = None
                whole = True
                kept = 0
        if not whole:
            raise BadBook(self._reading.name, "no statement (Stmt)", "camt.053 with one or more", _AGAIN)

    def _namespace(self, tag: str) -> str:
        """The namespace, in braces; empty as long as the document has not begun (an envelope may be around it)."""
        if not tag.endswith("}Document") and tag != "Document":
            return ""
        found = _ROOT.fullmatch(tag)
        if found and int(found[1]) in VERSIONS:
            return tag.removesuffix("Document")
        other = _ISO.fullmatch(tag)
        raise BadBook(
            self._reading.name,
            f"a document of {other[1]}" if other else "a document without a namespace of ISO 20022",
            f"camt.053.001.{VERSIONS[0]:02} to camt.053.001.{VERSIONS[-1]:02}",
            "ask the bank for its statements as camt.053",
        )

    # --- a statement -------------------------------------------------------------------------------------------------

    def _statement(self, element: Element, space: str) -> _Statement:
        name = _text(element, space, "Id")
        number = _text(element, space, "ElctrncSeqNb")
        account = _text(element, space, "Acct/Id/IBAN") or _text(element, space, "Acct/Id/Othr/Id")
        key = (name, number, account)
        if key in self._seen:
            raise BadBook(self._reading.name, f"statement {shown(name)} twice", "each statement once", "remove one")
        self._seen.add(key)
        page, last = _text(element, space, "StmtPgntn/PgNb"), _text(element, space, "StmtPgntn/LastPgInd")
        if page and (page.lstrip("0") != "1" or last not in ("true", "1")):
            raise BadBook(
                self._reading.name,
                f"page {page[:9]} of a statement of several",
                "a whole statement in one file",
                "ask the bank for the statement as one message",
            )
        code = _text(element, space, "Acct/Ccy")
        return _Statement(
            name, self._reading.code(0, "the account's currency", code) if code else "", self._period(element, space)
        )

    def _period(self, element: Element, space: str) -> tuple[date, date] | None:
        texts = [_text(element, space, f"FrToDt/{name}") for name in ("FrDtTm", "ToDtTm")]
        if not all(texts):
            return None
        first, last = (
            date.fromisoformat(self._reading.day(0, name, text))
            for name, text in zip(("FrDtTm", "ToDtTm"), texts, strict=True)
        )
        if last < first:
            raise BadBook(
                self._reading.name, f"a period from {first} to {last}", "one that ends after it begins", _AGAIN
            )
        return first - SLACK, last + SLACK

    def _check(self, statement: _Statement, element: Element, space: str) -> None:
        """Raises BadBook where its entries do not come to the totals that it states."""
        code, found = statement.code, statement.totals
        if not code:
            code = next((amount.get("Ccy", "") for amount in element.iterfind(_path(space, "Bal/Amt"))), "")
        if not code and not found.entries:
            return
        self._summary(statement, element, space, code)
        balances: dict[str, int] = {}
        for balance in element.iterfind(_path(space, "Bal")):
            if _text(balance, space, "Tp/SubTp/Cd"):
                continue  # of a part of the statement
            amount = balance.find(space + "Amt")
            if amount is None:
                continue
            self._same_currency(statement, amount, 0, "a balance")
            value = self._reading.amount(0, "a balance", (amount.text or "").strip(), code)
            credit = self._credit(0, _text(balance, space, "CdtDbtInd"))
            balances.setdefault(_text(balance, space, "Tp/CdOrPrtry/Cd"), value if credit else -value)
        opening = balances.get("OPBD", balances.get("PRCD"))
        closing = balances.get("CLBD")
        moved = found.booked_credit - found.booked_debit
        if opening is not None and closing is not None and opening + moved != closing:
            raise self._wrong(
                statement,
                f"entries of {moved:,} between an opening balance of {opening:,} and a closing one of {closing:,}",
                f"entries that come to {closing - opening:,} (minor units of {code})",
            )

    def _summary(self, statement: _Statement, element: Element, space: str, code: str) -> None:
        found = statement.totals
        booked = found.booked_credit + found.booked_debit
        rows = (
            ("TtlNtries", {found.entries, found.booked}, {found.credit + found.debit, booked}),
            ("TtlCdtNtries", None, {found.credit, found.booked_credit}),
            ("TtlDbtNtries", None, {found.debit, found.booked_debit}),
        )  # fmt: skip
        for name, counts, sums in rows:
            said = element.find(_path(space, f"TxsSummry/{name}"))
            if said is None:
                continue
            count, total = _text(said, space, "NbOfNtries"), _text(said, space, "Sum")
            if counts is not None and count and not (count.isascii() and count.isdigit() and int(count) in counts):
                raise self._wrong(statement, f"{found.entries:,} entries", f"{count[:15]}, as its {name} says")
            if total and (value := self._reading.amount(0, f"{name}/Sum", total, code)) not in sums:
                raise self._wrong(
                    statement,
                    f"entries that sum to {max(sums):,}",
                    f"{value:,} minor units of {code}, as its {name} says",
                )

    def _wrong(self, statement: _Statement, found: str, allowed: str) -> BadBook:
        return BadBook(
            f"{self._reading.name} statement {shown(statement.name)}",
            found,
            allowed,
            "ask the bank for the statement again: a part of it is missing or was changed",
        )

    # --- an entry ----------------------------------------------------------------------------------------------------

    def _entry(self, element: Element, space: str, statement: _Statement) -> _Entry:
        self._number += 1
        number = self._number
        amount = element.find(space + "Amt")
        if amount is None:
            raise BadBook(self._reading.at(number), "no Amt", "an entry with one", _AGAIN)
        code = self._same_currency(statement, amount, number, "an entry")
        value = self._reading.amount(number, "Amt", (amount.text or "").strip(), code)
        credit = self._credit(number, _text(element, space, "CdtDbtInd"))
        day = self._reading.day(
            number, "BookgDt", _text(element, space, "BookgDt/Dt") or _text(element, space, "BookgDt/DtTm")
        )
        if day and statement.period and not statement.period[0] <= date.fromisoformat(day) <= statement.period[1]:
            first, last = statement.period
            raise BadBook(
                self._reading.at(number),
                f"booked on {day}",
                f"a day of the statement's period, {first + SLACK} to {last - SLACK}",
                _AGAIN,
            )
        return _Entry(
            number,
            value,
            credit,
            (_text(element, space, "Sts/Cd") or _text(element, space, "Sts")) == "BOOK",
            _text(element, space, "RvslInd") in ("true", "1"),
            code,
            day,
            _text(element, space, "AcctSvcrRef") or _text(element, space, "NtryRef"),
            _text(element, space, "BkTxCd/Domn/Cd"),
            _text(element, space, "BkTxCd/Domn/Fmly/SubFmlyCd"),
            self._charges(number, element, space, code),
        )

    def _same_currency(self, statement: _Statement, amount: Element, number: int, what: str) -> str:
        code = self._reading.code(number, "Ccy", amount.get("Ccy", ""))
        if not statement.code:
            statement.code = code
        elif code != statement.code:
            raise BadBook(
                self._reading.at(number) if number else self._reading.name,
                f"{what} in {code}",
                f"the account's currency, {statement.code}: a statement is of one",
                _AGAIN,
            )
        return code

    def _credit(self, number: int, text: str) -> bool:
        if text not in ("CRDT", "DBIT"):
            raise BadBook(self._reading.at(number), f"{shown(text)} as CdtDbtInd", "CRDT or DBIT", _AGAIN)
        return text == "CRDT"

    def _charges(self, number: int, element: Element, space: str, code: str) -> int:
        """What was taken off the amount, below zero; in the account's terms."""
        total = 0
        for record in element.iterfind(_path(space, "Chrgs/Rcrd")):
            amount = record.find(space + "Amt")
            if amount is None or _text(record, space, "ChrgInclInd") not in ("true", "1") or amount.get("Ccy") != code:
                continue
            value = self._reading.amount(number, "Chrgs/Rcrd/Amt", (amount.text or "").strip(), code)
            total += value if _text(record, space, "CdtDbtInd") == "CRDT" else -value
        return total

    def _end_of(self, entry: _Entry, space: str) -> Iterator[Line]:
        """What is left of an entry when it ends: its only detail, itself where it has none, or what they left open."""
        if entry.held is not None:
            yield from self._detail(entry, entry.held, space, entry.amount)
        elif entry.details == 0:
            yield from self._line(
                entry, "", entry.amount, entry.credit, entry.charges, entry.reference, "", entry.subfamily
            )
        left = (entry.amount if entry.credit else -entry.amount) - entry.told
        if left:
            kind = LineKind.OTHER if entry.booked else LineKind.PENDING
            yield Line("", kind, left if self._up else -left, entry.code, entry.number, entry.reference, entry.day)

    def _detail(self, entry: _Entry, element: Element, space: str, whole: int | None) -> Iterator[Line]:
        """One payment of an entry; `whole` is the entry's amount where it is the only one."""
        amount = element.find(space + "Amt")
        if amount is None:
            amount = element.find(_path(space, "AmtDtls/TxAmt/Amt"))
        if amount is not None and amount.get("Ccy") == entry.code:
            value = self._reading.amount(entry.number, "TxDtls/Amt", (amount.text or "").strip(), entry.code)
        elif whole is not None:
            value = whole
        else:
            raise BadBook(
                self._reading.at(entry.number),
                f"a payment among several without an amount in {entry.code}",
                "Amt or AmtDtls/TxAmt in each TxDtls",
                "ask the bank for the details of its collective entries",
            )
        way = _text(element, space, "CdtDbtInd")
        credit = self._credit(entry.number, way) if way else entry.credit
        name = self._reading.id(entry.number, _text(element, space, self._id))
        charges = self._charges(entry.number, element, space, entry.code) or (entry.charges if whole is not None else 0)
        yield from self._line(
            entry,
            "" if name == NONE_GIVEN else name,
            value,
            credit,
            charges,
            _text(element, space, "Refs/AcctSvcrRef") or entry.reference,
            _text(element, space, "RtrInf/Rsn/Cd") or _text(element, space, "RtrInf/Rsn/Prtry"),
            _text(element, space, "BkTxCd/Domn/Fmly/SubFmlyCd") or entry.subfamily,
        )

    def _line(
        self,
        entry: _Entry,
        name: str,
        value: int,
        credit: bool,
        charges: int,
        reference: str,
        reason: str,
        subfamily: str,
    ) -> Iterator[Line]:
        moved = value if credit else -value
        entry.told += moved
        if not entry.booked:
            kind = LineKind.PENDING
        elif subfamily in FEES:
            kind = LineKind.FEE
        elif reason:
            kind = LineKind.CHARGEBACK if reason in DISPUTED else LineKind.RETURN
        elif entry.reversal:
            kind = LineKind.RETURN
        elif entry.domain == SWEEPS:
            kind = LineKind.PAYOUT
        else:
            kind = LineKind.PAYMENT if credit is self._up else LineKind.REFUND
        if kind in (LineKind.PENDING, LineKind.FEE):
            charges = 0
        sign = 1 if self._up else -1
        yield Line(name, kind, sign * (moved - charges), entry.code, entry.number, reference, entry.day)
        if charges:
            yield Line(name, LineKind.FEE, sign * charges, entry.code, entry.number, reference, entry.day)

    @staticmethod
    def _count(totals: _Totals, entry: _Entry) -> None:
        totals.entries += 1
        totals.booked += entry.booked
        if entry.credit:
            totals.credit += entry.amount
            totals.booked_credit += entry.amount * entry.booked
        else:
            totals.debit += entry.amount
            totals.booked_debit += entry.amount * entry.booked


def _path(space: str, path: str) -> str:
    return "/".join(space + part for part in path.split("/"))


def _text(element: Element, space: str, path: str) -> str:
    found = element.findtext(_path(space, path))
    return found.strip() if found else ""
