"""`python -m benchmarks.books`: 100,000 transactions against 100,000 lines of each format, with breaks planted in them.

The transactions are the real purchases of the demo, over and over under ids of their own; the other book is written in
each format that `confirm reconcile` reads, with fees, refunds, captures in parts and payouts in between, which are no
differences, and with breaks of every class that the format can tell of. All of them must be found, and nothing else;
the classes must come to the totals of both books; and each format has 20 seconds, of reading and comparing. Each runs
in a process of its own, whose most memory is told. `--megabytes 500` reads a statement of that size instead.

What it found decides the exit code; the time only informs, unless asked to be `--strict`.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple, TextIO

from cli.books import adyen, columns, formats, stripe
from cli.books.classes import Class
from cli.books.lines import LineKind, Reading
from cli.desk import Entry
from cli.reconcile import Book, Difference, Reconciled, reconcile
from demo.cdnow import purchases
from evidence.record import Evidence, keep
from evidence.record import Table as Shown
from workers.domain.transaction import Status

SECONDS = 20.0
SIZE = 100_000
EACH = 100
"""Breaks of each class."""
SEED = 15
NOW = datetime(2026, 1, 5, tzinfo=UTC)
DAY = "2026-01-04"
LEAST = 300
"""Minor units of what is broken or divided, so that parts of it are something."""
MIB = 1024 * 1024
P, R, T, C, F = LineKind.PAYMENT, LineKind.REFUND, LineKind.RETURN, LineKind.CHARGEBACK, LineKind.FEE
FORMATS = ("ledger", "camt.053", "stripe", "adyen", "columns")


class Told(NamedTuple):
    """A line of the other book before it has a format."""

    id: str
    kind: LineKind
    amount: int
    currency: str = "USD"
    fee: int = 0


PLANTED = (
    Class.DOUBLED, Class.OTHER_AMOUNT, Class.OTHER_CURRENCY, Class.NOT_MOVED, Class.REJECTED, Class.OPEN, Class.DESK,
    Class.UNKNOWN, Class.RETURNED, Class.CHARGEBACK, Class.OVER_REFUNDED, Class.UNATTRIBUTED, Class.UNCLASSIFIED,
)  # fmt: skip
HARMLESS = (Class.REFUND, Class.IN_PARTS, Class.CHARGEBACK_REVERSED, Class.PENDING)
PLAIN = (
    Class.DOUBLED, Class.OTHER_AMOUNT, Class.OTHER_CURRENCY, Class.NOT_MOVED, Class.REJECTED, Class.OPEN, Class.DESK,
    Class.UNKNOWN, Class.IN_PARTS,
)  # fmt: skip
"""What a ledger of effects alone can tell of."""
UNTOLD: Mapping[str, frozenset[Class]] = {
    "ledger": frozenset({*PLANTED, *HARMLESS} - {*PLAIN}),
    "stripe": frozenset({Class.PENDING}),
    "adyen": frozenset({Class.PENDING}),
    "camt.053": frozenset({Class.UNCLASSIFIED, Class.CHARGEBACK_REVERSED}),
    "columns": frozenset(),
}
STATUS = {Class.REJECTED: Status.REJECTED, Class.OPEN: Status.PENDING, Class.DESK: Status.REVIEW}


@dataclass(frozen=True, slots=True)
class Case:
    """Both books, and what is wrong between them."""

    entries: Sequence[Entry]
    told: Sequence[Told]
    planted: Mapping[tuple[str, Class], int]
    """Id and class -> how often; ids that the file does not name are empty."""


def case(size: int, name: str) -> Case:
    """The same for the same size and format, for ever."""
    chance = random.Random(f"{SEED}-{size}")
    rows = list(islice(((f"{one.id}-{turn}", one.amount) for turn in count(1) for one in purchases()), size))
    worth = [number for number, (_, amount) in enumerate(rows) if amount >= LEAST]
    classes = [one for one in (*PLANTED, *HARMLESS) if one not in UNTOLD[name]]
    each = min(EACH, len(worth) // (2 * len(classes)))
    chosen = iter(chance.sample(worth, each * len(classes)))
    of = {next(chosen): class_ for class_ in classes for _ in range(each)}
    entries: list[Entry] = []
    told: list[Told] = []
    planted: Counter[tuple[str, Class]] = Counter()
    for number, (id_, amount) in enumerate(rows):
        class_ = of.get(number, Class.MATCHED)
        if class_ is not Class.UNKNOWN:
            entries.append(Entry(id_, STATUS.get(class_, Status.CONFIRMED), amount, "USD", NOW))
        told += _lines(id_, amount, class_)
        if class_ in PLANTED:
            planted["" if class_ in (Class.UNATTRIBUTED, Class.UNCLASSIFIED) else id_, class_] += 1
    if name != "ledger":
        told.append(Told("", LineKind.PAYOUT, -sum(one.amount - one.fee for one in told if one.currency == "USD") // 2))
    chance.shuffle(told)
    return Case(entries, told, planted)


def _lines(id_: str, amount: int, class_: Class) -> list[Told]:
    fee = amount // 50
    whole = Told(id_, P, amount, fee=fee)
    match class_:
        case Class.DOUBLED:
            return [whole, whole]
        case Class.OTHER_AMOUNT:
            return [Told(id_, P, amount - 1)]
        case Class.OTHER_CURRENCY:
            return [Told(id_, P, amount, "EUR")]
        case Class.NOT_MOVED:
            return []
        case Class.RETURNED:
            return [whole, Told(id_, T, -amount)]
        case Class.CHARGEBACK:
            return [whole, Told(id_, C, -amount, fee=15_00)]
        case Class.CHARGEBACK_REVERSED:
            return [whole, Told(id_, C, -amount), Told(id_, C, amount)]
        case Class.OVER_REFUNDED:
            return [whole, Told(id_, R, -amount), Told(id_, R, -1)]
        case Class.UNATTRIBUTED:
            return [whole, Told("", P, 7)]
        case Class.UNCLASSIFIED:
            return [whole, Told("", LineKind.OTHER, 7)]
        case Class.REFUND:
            return [whole, Told(id_, R, -100), Told(id_, R, -100)]
        case Class.IN_PARTS:
            return [Told(id_, P, 100), Told(id_, P, amount - 100, fee=fee)]
        case Class.PENDING:
            return [Told(id_, LineKind.PENDING, amount)]
        case _:
            return [whole]


# --- the formats


def decimal(minor: int) -> str:
    return f"{'-' * (minor < 0)}{abs(minor) // 100}.{abs(minor) % 100:02}"


def write(name: str, told: Sequence[Told], out: TextIO) -> None:
    """That book in that format."""
    {
        "ledger": _ledger,
        "stripe": _stripe,
        "adyen": _adyen,
        "columns": _columns,
        "camt.053": _camt,
    }[name](told, out)


def _ledger(told: Sequence[Told], out: TextIO) -> None:
    out.write("id,amount_minor,currency\n")
    out.writelines(f"{one.id},{one.amount},{one.currency}\n" for one in told)


_STRIPE = {P: "charge", R: "refund", T: "charge_failure", C: "dispute", LineKind.PAYOUT: "payout"}


def _stripe(told: Sequence[Told], out: TextIO) -> None:
    out.write(f"balance_transaction_id,created_utc,{','.join(stripe.COLUMNS)},{stripe.OURS}\n")
    for number, one in enumerate(told):
        category = _STRIPE.get(one.kind, "other_adjustment")
        amounts = ",".join(map(decimal, (one.amount, one.fee, one.amount - one.fee)))
        out.write(f"txn_{number},{DAY} 10:00:00,{category},{amounts},{one.currency.lower()},{one.id}\n")


_ADYEN = {P: "Settled", R: "Refunded", T: "CaptureFailed", C: "Chargeback", LineKind.PAYOUT: "MerchantPayout"}


def _adyen(told: Sequence[Told], out: TextIO) -> None:
    out.write(f"{','.join(adyen.COLUMNS)},Creation Date\n")
    for number, one in enumerate(told):
        kind = "ChargebackReversed" if one.kind is C and one.amount > 0 else _ADYEN.get(one.kind, "NewType")
        gross, net = (_sided(amount) for amount in (one.amount, one.amount - one.fee))
        out.write(f"psp-{number},{one.id},{kind},{one.currency},{gross},{one.currency},{net},{DAY} 10:00:00\n")


def _sided(amount: int) -> str:
    return f",{decimal(amount)}" if amount >= 0 else f"{decimal(-amount)},"


_MAP = columns.Columns(
    {"id": "ref", "amount": "amount", "fee": "fee", "kind": "kind", "currency": "currency"},
    kinds={kind.value: kind for kind in LineKind if kind is not LineKind.OTHER},
    delimiter=";",
    decimal=",",
)


def _columns(told: Sequence[Told], out: TextIO) -> None:
    out.write("ref;amount;fee;kind;currency\n")
    for one in told:
        amounts = f"{decimal(one.amount)};{decimal(one.fee)}".replace(".", ",")
        out.write(f"{one.id};{amounts};{one.kind.value};{one.currency}\n")


_REASONS = {T: "AC04", C: "MD06"}


def _camt(told: Sequence[Told], out: TextIO) -> None:
    """A statement for each currency, with its balances and totals."""
    out.write('<?xml version="1.0" encoding="UTF-8"?>\n')
    out.write('<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt>')
    for code in sorted({one.currency for one in told}):
        lines = [one for one in told if one.currency == code]
        booked = sum(one.amount - one.fee for one in lines if one.kind is not LineKind.PENDING)
        way = "CRDT" if booked >= 0 else "DBIT"
        out.write(f"<Stmt><Id>{code}</Id><Acct><Ccy>{code}</Ccy></Acct>")
        for kind, amount in (("OPBD", 0), ("CLBD", abs(booked))):
            out.write(
                f"<Bal><Tp><CdOrPrtry><Cd>{kind}</Cd></CdOrPrtry></Tp>"
                f'<Amt Ccy="{code}">{decimal(amount)}</Amt><CdtDbtInd>{way}</CdtDbtInd></Bal>'
            )
        total = decimal(sum(abs(one.amount - one.fee) for one in lines))
        out.write(
            f"<TxsSummry><TtlNtries><NbOfNtries>{len(lines)}</NbOfNtries><Sum>{total}</Sum></TtlNtries></TxsSummry>"
        )
        out.writelines(_entry(one) for one in lines)
        out.write("</Stmt>")
    out.write("</BkToCstmrStmt></Document>\n")


def _entry(one: Told) -> str:
    net = one.amount - one.fee
    status = "PDNG" if one.kind is LineKind.PENDING else "BOOK"
    charge = (
        f'<Chrgs><Rcrd><Amt Ccy="{one.currency}">{decimal(one.fee)}</Amt><CdtDbtInd>DBIT</CdtDbtInd>'
        "<ChrgInclInd>true</ChrgInclInd></Rcrd></Chrgs>"
        if one.fee
        else ""
    )
    reason = f"<RtrInf><Rsn><Cd>{_REASONS[one.kind]}</Cd></Rsn></RtrInf>" if one.kind in _REASONS else ""
    domain = "CAMT" if one.kind is LineKind.PAYOUT else "PMNT"
    return (
        f'<Ntry><Amt Ccy="{one.currency}">{decimal(abs(net))}</Amt>'
        f"<CdtDbtInd>{'CRDT' if net >= 0 else 'DBIT'}</CdtDbtInd><Sts><Cd>{status}</Cd></Sts>"
        f"<BookgDt><Dt>{DAY}</Dt></BookgDt><ValDt><Dt>{DAY}</Dt></ValDt><BkTxCd><Domn><Cd>{domain}</Cd><Fmly>"
        "<Cd>RCDT</Cd><SubFmlyCd>ESCT</SubFmlyCd></Fmly></Domn></BkTxCd><NtryDtls><TxDtls><Refs>"
        f"<EndToEndId>{one.id or 'NOTPROVIDED'}</EndToEndId></Refs>{charge}"
        "<RltdPties><Dbtr><Pty><Nm>A. Customer</Nm></Pty></Dbtr></RltdPties>"
        f"<RmtInf><Ustrd>purchase</Ustrd></RmtInf>{reason}</TxDtls></NtryDtls></Ntry>\n"
    )


# --- a run


@dataclass(frozen=True, slots=True)
class Found:
    """Of one format."""

    format: str
    ours: int
    lines: int
    bytes: int
    planted: int
    found: int
    false: int
    classes: int
    read_seconds: float
    compare_seconds: float
    cpu_seconds: float
    peak_mib: float

    @property
    def seconds(self) -> float:
        return self.read_seconds + self.compare_seconds

    @property
    def right(self) -> bool:
        return self.found == self.planted and not self.false


def compared(name: str, size: int, path: Path) -> Found:
    """Write that book, read it as the command does, and hold what was found against what was planted."""
    given = case(size, name)
    with path.open("w", encoding="utf-8") as out:
        write(name, given.told, out)
    before, cpu = time.perf_counter(), time.process_time()
    with book(path, _MAP if name == "columns" else None) as read:
        between = time.perf_counter()
        seen: Counter[tuple[str, Class]] = Counter()
        result = asyncio.run(_reconciled(read, given.entries, seen))
        after = time.perf_counter()
    planted = Counter(given.planted)
    return Found(
        name,
        len(given.entries),
        sum(side.count for side in result.theirs.values()),
        path.stat().st_size,
        planted.total(),
        (planted & seen).total(),
        (seen - planted).total(),
        len({class_ for of in result.classes.values() for class_ in of}),
        between - before,
        after - between,
        time.process_time() - cpu,
        peak(),
    )


def book(path: Path, map_: columns.Columns | None = None) -> Book:
    with path.open("rb", buffering=0) as raw:
        stream = io.BufferedReader(raw, formats.PEEK)
        return Book(formats.lines(stream, Reading(path.name, NOW), None, map_), path.name)


async def _reconciled(read: Book, entries: Sequence[Entry], seen: Counter[tuple[str, Class]]) -> Reconciled:
    async def every() -> AsyncIterator[Entry]:
        for entry in entries:
            yield entry

    def each(one: Difference) -> None:
        seen[one.id, one.kind] += 1

    return await reconcile(read, every(), each=each)


def peak() -> float:
    """MiB of this process, at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def large(path: Path, megabytes: int) -> dict[str, float]:
    """A statement of that size, read; it is written as it goes, so this process never holds it."""
    with path.open("w", encoding="utf-8") as out:
        out.write('<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt><Stmt><Id>1</Id>')
        for number in count():
            out.write(_entry(Told(f"id-{number}", P, 1250, fee=25)))
            if number % 1000 == 0 and out.tell() > megabytes * MIB:
                break
        out.write("</Stmt></BkToCstmrStmt></Document>\n")
    small = peak()
    before = time.perf_counter()
    with book(path) as read:
        lines = sum(side.count for side in read.sums.values())
    seconds = time.perf_counter() - before
    return {
        "megabytes": path.stat().st_size // MIB,
        "lines": lines,
        "seconds": round(seconds, 1),
        "peak_mib": round(peak(), 1),
        "before_mib": round(small, 1),
    }


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.books", description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=SIZE, help="transactions (100,000)")
    parser.add_argument("--format", choices=FORMATS, help="one alone, in this process; prints JSON")
    parser.add_argument("--megabytes", type=int, help="read a statement of that size instead")
    parser.add_argument("--strict", action="store_true", help="fail where it takes longer than 20 s, too")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "book"
        if asked.megabytes:
            print(json.dumps(large(path, asked.megabytes)))
            return 0
        if asked.format:
            print(json.dumps(_as_json(compared(asked.format, asked.size, path))))
            return 0
    began = time.perf_counter()
    found = list(_each(asked.size))
    header = ("format", "ours", "lines", "planted", "found", "false", "classes", "read s", "compare s", "CPU s",
              "peak MiB")  # fmt: skip
    rows = [
        (
            one.format, one.ours, one.lines, one.planted, one.found, one.false, one.classes,
            round(one.read_seconds, 1), round(one.compare_seconds, 1), round(one.cpu_seconds, 1),
            round(one.peak_mib),
        )
        for one in found
    ]  # fmt: skip
    for row in (header, *rows):
        print("  ".join(f"{cell:>10,}" if isinstance(cell, int) else f"{cell:>10}" for cell in row))
    right = all(one.right for one in found)
    slowest = max(one.seconds for one in found)
    keep(
        Evidence(
            "reconciliation",
            "of 100,000 transactions against what a bank or a gateway sent, every break is found and nothing else",
            "python -m benchmarks.books",
            right,
            round(time.perf_counter() - began, 1),
            {
                "transactions": asked.size,
                "planted": sum(one.planted for one in found),
                "found": sum(one.found for one in found),
                "false": sum(one.false for one in found),
                "slowest_seconds": round(slowest, 1),
                "slowest_cpu_seconds": round(max(one.cpu_seconds for one in found), 1),
                "peak_mib": round(max(one.peak_mib for one in found)),
            },
            tables=[Shown("by format", header, rows)],
        )
    )
    cpu = max(one.cpu_seconds for one in found)
    print(f"{'right' if right else 'WRONG'}; the slowest took {slowest:.1f} s of {SECONDS:.0f}, {cpu:.1f} s of CPU")
    return 0 if right and (slowest <= SECONDS or not asked.strict) else 1


def _each(size: int) -> Iterator[Found]:
    for name in FORMATS:
        command = [sys.executable, "-m", "benchmarks.books", "--format", name, "--size", str(size)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        yield Found(**json.loads(done.stdout))


def _as_json(found: Found) -> dict[str, object]:
    return {name: getattr(found, name) for name in Found.__slots__}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
