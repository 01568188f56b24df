"""A bank's statement: camt.053 of ISO 20022, versions 02 to 13, in bounded memory.

What its elements mean is in the message definition reports on https://www.iso20022.org (BankToCustomerStatement):
`CdtDbtInd` says which way an entry (`Ntry`) moved the account; `RvslInd` that it takes back an earlier one; `Sts` BOOK
that it is booked; `TxDtls` are the payments that were booked together, each under the `EndToEndId` that we gave it;
`RtrInf` is why one came back; `ChrgInclInd` that a charge (`Chrgs`) was taken off its amount. `TxsSummry` and the
balances `Bal` say what all of it must come to, and a statement that contradicts itself is refused. The bank
transaction codes `BkTxCd` are ISO's external code set.

The parser is defused: a file with a DTD, and so with entities, is refused before anything of it is expanded. It builds
no tree: of an entry only what `_PLAN` names is kept, and only until the entry ends.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import BinaryIO, TypeAlias
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

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
PIECE = 64 * 1024
NO_EVENT = 1024 * 1024
"""Bytes without an element: a tag that no bank writes."""
MOST_TEXT = 2_000
"""Characters of what is kept; the longest that ISO allows of it is 140."""
DEEPEST = 100
"""Elements in each other; a statement has some fifteen."""
MOST_PARTS = 1_000
"""Balances of a statement, or charges of a payment."""
SLACK = timedelta(days=1)
"""Between a statement's period and its booking days, for zones."""

_ROOT = re.compile(r"\{urn:iso:std:iso:20022:tech:xsd:camt\.053\.001\.(\d\d)\}Document")
_ISO = re.compile(r"\{urn:(?:iso:std:iso:20022:tech:xsd|swift:xsd):([a-z0-9.]+)\}Document")


# --- what is kept of a statement: leaves by path, and the elements that repeat, each with its own

_Plan: TypeAlias = "dict[str, _Plan | None]"
"""Of what is in an element. None: its text alone; of one that has both, the key for the text is empty."""

_CHARGE: _Plan = {"Amt": None, "CdtDbtInd": None, "ChrgInclInd": None}
_CODE: _Plan = {"Cd": None, "Fmly": {"SubFmlyCd": None}}


def _plan(id_from: str) -> _Plan:
    """Of the element Document."""
    detail: _Plan = {
        "Refs": {"AcctSvcrRef": None},
        "Amt": None,
        "CdtDbtInd": None,
        "AmtDtls": {"TxAmt": {"Amt": None}},
        "Chrgs": {"Rcrd": _CHARGE},
        "RtrInf": {"Rsn": {"Cd": None, "Prtry": None}},
        "BkTxCd": {"Domn": _CODE},
    }
    *holders, leaf = id_from.split("/")
    into = detail
    for holder in holders:
        inner = into.get(holder) or {}
        into[holder] = inner
        into = inner
    into[leaf] = None
    total: _Plan = {"NbOfNtries": None, "Sum": None}
    entry: _Plan = {
        "Amt": None,
        "CdtDbtInd": None,
        "RvslInd": None,
        "Sts": {"": None, "Cd": None},
        "BookgDt": {"Dt": None, "DtTm": None},
        "AcctSvcrRef": None,
        "NtryRef": None,
        "BkTxCd": {"Domn": _CODE},
        "Chrgs": {"Rcrd": _CHARGE},
        "NtryDtls": {"TxDtls": detail},
    }
    return {
        "BkToCstmrStmt": {
            "Stmt": {
                "Id": None,
                "ElctrncSeqNb": None,
                "StmtPgntn": {"PgNb": None, "LastPgInd": None},
                "FrToDt": {"FrDtTm": None, "ToDtTm": None},
                "Acct": {"Id": {"IBAN": None, "Othr": {"Id": None}}, "Ccy": None},
                "Bal": {"Tp": {"CdOrPrtry": {"Cd": None}, "SubTp": {"Cd": None}}, "Amt": None, "CdtDbtInd": None},
                "TxsSummry": {"TtlNtries": total, "TtlCdtNtries": total, "TtlDbtNtries": total},
                "Ntry": entry,
            },
            "Ntry": {},
        }
    }


_IN_A_STATEMENT = 3
"""Records in each other: of the document, the statement and the entry."""
_REPEATS = ("Stmt", "Bal", "Ntry", "TxDtls", "Rcrd")


class _Record:
    """What is kept of one of the elements that repeat."""

    __slots__ = ("charges", "of")

    def __init__(self) -> None:
        self.of: dict[str, str] = {}
        """Path -> text; of an amount, `path@` -> its currency."""
        self.charges: list[_Record] = []

    def __getitem__(self, path: str) -> str:
        return self.of.get(path, "")


class _Node:
    """An element that is kept, or has something in it that is."""

    __slots__ = ("children", "leaf", "path", "repeats")

    def __init__(self, space: str, name: str, path: str, plan: _Plan | None) -> None:
        self.repeats = name if name in _REPEATS else ""
        self.path = path
        self.leaf = plan is None or "" in plan
        below = "" if self.repeats or not path else f"{path}/"
        self.children: dict[str, _Node] = {}
        for key, inner in (plan or {}).items():
            if key:
                self.children[space + key] = _Node(space, key, below + key, inner)


class _Target:
    """What the parser tells: it keeps the records, and hands each to `ended` when its element ends."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader
        self._node: _Node | None = None
        self._above: list[_Node | None] = []
        self._records: list[_Record] = [_Record()]
        self._skipped = 0
        self._depth = 0
        self._text: list[str] = []
        self._length = 0
        self.alive = False

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self.alive = True
        self._depth += 1
        if self._skipped:
            self._skipped += 1
            if self._depth > DEEPEST:
                raise self._reader.bad(f"more than {DEEPEST} elements in each other", "a statement, which has fifteen")
            return
        node = self._node
        if node is None:
            if self._depth > DEEPEST:
                raise self._reader.bad(f"more than {DEEPEST} elements in each other", "a statement, which has fifteen")
            space = self._reader.namespace(tag)
            child = _Node(space, "Document", "", _plan(self._reader.id_path)) if space else None
        else:
            child = node.children.get(tag)
            if child is None:
                self._skipped = 1
                return
        self._above.append(node)
        self._node = child
        if child is None:
            return
        if child.repeats:
            self._records.append(_Record())
            self._reader.began(child.repeats, self._records)
        elif child.leaf:
            self._text, self._length = [], 0
            if "Ccy" in attributes:
                self._records[-1].of.setdefault(f"{child.path}@", attributes["Ccy"])

    def data(self, text: str) -> None:
        node = self._node
        if self._skipped or node is None or not node.leaf:
            return
        self._length += len(text)
        if self._length > MOST_TEXT:
            raise self._reader.bad(f"more than {MOST_TEXT:,} characters as {node.path}", "what ISO 20022 allows there")
        self._text.append(text)

    def end(self, _: str) -> None:
        self.alive = True
        self._depth -= 1
        if self._skipped:
            self._skipped -= 1
            return
        node = self._node
        self._node = self._above.pop()
        if node is None:
            return
        if node.repeats:
            record = self._records.pop()
            self._reader.ended(node.repeats, record, self._records[-1])
        elif node.leaf:
            if text := "".join(self._text).strip():
                self._records[-1].of.setdefault(node.path, text)
            self._text, self._length = [], 0

    def close(self) -> None:
        pass


# --- what it says


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
    held: _Record | None = None
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
    balances: list[_Record] = field(default_factory=list)


_AGAIN = "fetch it from the bank again"


def read(stream: BinaryIO, reading: Reading) -> Iterator[Line]:
    """A line for each booked payment, charge and other movement.

    Raises:
        BadBook: it is no statement, or does not come to its own totals.
    """
    if reading.id_from is not None and reading.id_from not in ID_FROM:
        raise BadBook(reading.name, f"--id-from {reading.id_from!a}", ", ".join(ID_FROM), "name one of these")
    reader = _Reader(reading)
    target = _Target(reader)
    parser = DefusedXMLParser(target=target, forbid_dtd=True)
    since = 0
    try:
        while piece := stream.read(PIECE):
            parser.feed(piece)
            since = 0 if target.alive else since + len(piece)
            target.alive = False
            if since > NO_EVENT:
                raise reader.bad(f"{NO_EVENT:,} bytes without an element", "the elements of a statement")
            yield from reader.lines
            reader.lines.clear()
        parser.close()
    except DefusedXmlException:
        raise BadBook(
            reading.name, "a DTD or an entity, as XML bombs have", "camt.053, which has none", "ask who made it"
        ) from None
    except ParseError as error:
        line, column = error.position
        if error.code in _CUT_SHORT:
            raise reader.bad(f"its end in the middle, in line {line:,}", "a whole statement") from None
        raise BadBook(
            f"{reading.name} line {line:,}",
            f"no XML in column {column + 1:,} ({str(error).partition(':')[0]})",
            "XML in the encoding that its first line names",
            _AGAIN,
        ) from None
    except (LookupError, ValueError) as error:  # an encoding that nobody has; of several bytes, but not UTF-8 or 16
        if "encoding" not in str(error):
            raise
        raise reader.bad(f"an encoding that cannot be read ({error})", "UTF-8") from None
    if not reader.whole:
        raise reader.bad("no statement (Stmt)", "camt.053 with one or more")
    yield from reader.lines


_CUT_SHORT = (3, 5, 6)
"""expat's numbers for "no element found", "unclosed token" and "partial character"."""


class _Reader:
    """From records to lines, and whether a statement comes to what it says of itself."""

    def __init__(self, reading: Reading) -> None:
        self._reading = Reading(reading.name, reading.now, reading.id_from, reading.moves, unit="entry")
        self.id_path = ID_FROM[reading.id_from or "EndToEndId"]
        self.lines: list[Line] = []
        """Since they were last taken."""
        self.whole = False
        """Whether a statement was read to its end."""
        self._up = reading.moves is not Moves.OUT
        self._seen: set[tuple[str, str, str]] = set()
        self._number = 0
        self._statement: _Statement | None = None
        self._balances: list[_Record] = []
        self._entry: _Entry | None = None
        self._ends: Mapping[str, Callable[[_Record, _Record], None]] = {
            "Rcrd": self._end_charge,
            "Bal": self._end_balance,
            "TxDtls": self._end_detail,
            "Ntry": self._end_entry,
            "Stmt": self._end_statement,
        }

    def bad(self, found: str, allowed: str) -> BadBook:
        return BadBook(self._reading.name, found, allowed, _AGAIN)

    def namespace(self, tag: str) -> str:
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

    def began(self, name: str, records: list[_Record]) -> None:
        if name == "Stmt":
            self._statement, self._balances = None, []
        elif name == "Ntry":
            self._entry = None
            if len(records) < _IN_A_STATEMENT:
                raise self.bad("an entry outside of a statement", "entries (Ntry) in a statement (Stmt)")
            self._statement = self._statement or self._new_statement(records[-2])

    def ended(self, name: str, record: _Record, above: _Record) -> None:
        self._ends[name](record, above)

    def _end_charge(self, record: _Record, above: _Record) -> None:
        self._bounded(above.charges)
        above.charges.append(record)

    def _end_balance(self, record: _Record, _: _Record) -> None:
        self._bounded(self._balances)
        self._balances.append(record)

    def _bounded(self, records: list[_Record]) -> None:
        if len(records) >= MOST_PARTS:
            raise self.bad(f"more than {MOST_PARTS:,} balances, or charges of a payment", "what a bank writes")

    def _end_detail(self, record: _Record, above: _Record) -> None:
        entry = self._entry = self._entry or self._new_entry(self._open(), above)
        entry.details += 1
        if entry.details == 1:
            entry.held = record
            return
        if entry.held is not None:
            self._detail(entry, entry.held, None)
            entry.held = None
        self._detail(entry, record, None)

    def _end_entry(self, record: _Record, _: _Record) -> None:
        """What is left of an entry when it ends: its only detail, itself where it has none, or what they left open."""
        statement = self._open()
        entry = self._entry or self._new_entry(statement, record)
        if entry.held is not None:
            self._detail(entry, entry.held, entry.amount)
        elif entry.details == 0:
            self._line(entry, "", entry.amount, entry.credit, entry.charges, entry.reference, "", entry.subfamily)
        left = (entry.amount if entry.credit else -entry.amount) - entry.told
        if left:
            kind = LineKind.OTHER if entry.booked else LineKind.PENDING
            amount = left if self._up else -left
            self.lines.append(Line("", kind, amount, entry.code, entry.number, entry.reference, entry.day))
        self._count(statement.totals, entry)
        self._entry = None

    def _open(self) -> _Statement:
        if self._statement is None:
            raise RuntimeError("an entry that did not begin in a statement")
        return self._statement

    def _end_statement(self, record: _Record, _: _Record) -> None:
        statement = self._statement or self._new_statement(record)
        self._check(statement, record)
        self._statement = None
        self.whole = True

    # --- a statement -------------------------------------------------------------------------------------------------

    def _new_statement(self, record: _Record) -> _Statement:
        name = record["Id"]
        number = record["ElctrncSeqNb"]
        account = record["Acct/Id/IBAN"] or record["Acct/Id/Othr/Id"]
        key = (name, number, account)
        if key in self._seen:
            raise BadBook(self._reading.name, f"statement {shown(name)} twice", "each statement once", "remove one")
        self._seen.add(key)
        page, last = record["StmtPgntn/PgNb"], record["StmtPgntn/LastPgInd"]
        if page and (page.lstrip("0") != "1" or last not in ("true", "1")):
            raise BadBook(
                self._reading.name,
                f"page {shown(page)} of a statement of several",
                "a whole statement in one file",
                "ask the bank for the statement as one message",
            )
        code = record["Acct/Ccy"]
        return _Statement(
            name, self._reading.code(0, "the account's currency", code) if code else "", self._period(record)
        )

    def _period(self, record: _Record) -> tuple[date, date] | None:
        texts = [record[f"FrToDt/{name}"] for name in ("FrDtTm", "ToDtTm")]
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

    def _check(self, statement: _Statement, record: _Record) -> None:
        """Raises BadBook where its entries do not come to the totals that it states."""
        code, found = statement.code, statement.totals
        if not code and self._balances:
            code = self._balances[0]["Amt@"]
        if not code:
            return
        self._summary(statement, record, code)
        balances: dict[str, int] = {}
        for balance in self._balances:
            if balance["Tp/SubTp/Cd"] or not balance["Amt"]:
                continue  # of a part of the statement
            self._same_currency(statement, balance["Amt@"], 0, "a balance")
            value = self._reading.amount(0, "a balance", balance["Amt"], code)
            credit = self._credit(0, balance["CdtDbtInd"])
            balances.setdefault(balance["Tp/CdOrPrtry/Cd"], value if credit else -value)
        opening = balances.get("OPBD", balances.get("PRCD"))
        closing = balances.get("CLBD")
        moved = found.booked_credit - found.booked_debit
        if opening is not None and closing is not None and opening + moved != closing:
            raise self._wrong(
                statement,
                f"entries of {moved:,} between an opening balance of {opening:,} and a closing one of {closing:,}",
                f"entries that come to {closing - opening:,} (minor units of {code})",
            )

    def _summary(self, statement: _Statement, record: _Record, code: str) -> None:
        found = statement.totals
        booked = found.booked_credit + found.booked_debit
        rows = (
            ("TtlNtries", {found.entries, found.booked}, {found.credit + found.debit, booked}),
            ("TtlCdtNtries", None, {found.credit, found.booked_credit}),
            ("TtlDbtNtries", None, {found.debit, found.booked_debit}),
        )  # fmt: skip
        for name, counts, sums in rows:
            count, total = record[f"TxsSummry/{name}/NbOfNtries"], record[f"TxsSummry/{name}/Sum"]
            if counts is not None and count and not (count.isascii() and count.isdigit() and int(count) in counts):
                raise self._wrong(statement, f"{found.entries:,} entries", f"{shown(count)}, as its {name} says")
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

    def _new_entry(self, statement: _Statement, record: _Record) -> _Entry:
        self._number += 1
        number = self._number
        if not record["Amt"]:
            raise BadBook(self._reading.at(number), "no Amt", "an entry with one", _AGAIN)
        code = self._same_currency(statement, record["Amt@"], number, "an entry")
        value = self._reading.amount(number, "Amt", record["Amt"], code)
        credit = self._credit(number, record["CdtDbtInd"])
        day = self._reading.day(number, "BookgDt", record["BookgDt/Dt"] or record["BookgDt/DtTm"])
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
            (record["Sts/Cd"] or record["Sts"]) == "BOOK",
            record["RvslInd"] in ("true", "1"),
            code,
            day,
            record["AcctSvcrRef"] or record["NtryRef"],
            record["BkTxCd/Domn/Cd"],
            record["BkTxCd/Domn/Fmly/SubFmlyCd"],
            self._charges(number, record, code),
        )

    def _same_currency(self, statement: _Statement, found: str, number: int, what: str) -> str:
        code = self._reading.code(number, "Ccy", found)
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

    def _charges(self, number: int, record: _Record, code: str) -> int:
        """What was taken off the amount, below zero; in the account's terms."""
        total = 0
        for one in record.charges:
            if one["ChrgInclInd"] in ("true", "1") and one["Amt@"] == code:
                value = self._reading.amount(number, "Chrgs/Rcrd/Amt", one["Amt"], code)
                total += value if one["CdtDbtInd"] == "CRDT" else -value
        return total

    def _detail(self, entry: _Entry, record: _Record, whole: int | None) -> None:
        """One payment of an entry; `whole` is the entry's amount where it is the only one."""
        path = "Amt" if record["Amt"] else "AmtDtls/TxAmt/Amt"
        if record[f"{path}@"] == entry.code and record[path]:
            value = self._reading.amount(entry.number, "TxDtls/Amt", record[path], entry.code)
        elif whole is not None:
            value = whole
        else:
            raise BadBook(
                self._reading.at(entry.number),
                f"a payment among several without an amount in {entry.code}",
                "Amt or AmtDtls/TxAmt in each TxDtls",
                "ask the bank for the details of its collective entries",
            )
        way = record["CdtDbtInd"]
        credit = self._credit(entry.number, way) if way else entry.credit
        name = self._reading.id(entry.number, record[self.id_path])
        charges = self._charges(entry.number, record, entry.code) or (entry.charges if whole is not None else 0)
        self._line(
            entry,
            "" if name == NONE_GIVEN else name,
            value,
            credit,
            charges,
            record["Refs/AcctSvcrRef"] or entry.reference,
            record["RtrInf/Rsn/Cd"] or record["RtrInf/Rsn/Prtry"],
            record["BkTxCd/Domn/Fmly/SubFmlyCd"] or entry.subfamily,
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
    ) -> None:
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
        self.lines.append(Line(name, kind, sign * (moved - charges), entry.code, entry.number, reference, entry.day))
        if charges:
            self.lines.append(Line(name, LineKind.FEE, sign * charges, entry.code, entry.number, reference, entry.day))

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
