"""Views on the screen: rich tables, plain words. Texts from outside are never read as markup, nor by the terminal:
whatever comes out of a record passes `printable`."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.books.classes import MEANING as CLASSES
from cli.books.classes import Class
from cli.desk import InState, Run
from cli.loading import Loaded
from cli.many import Picked, Search
from cli.reconcile import Difference, Reconciled, Side
from cli.views import MEANING, Overview, age, discreet, keys, named, names, printable, shown, shown_trace
from cli.why import SHOWN as EXAMPLES
from cli.why import Diagnosis, Explained
from workers.domain import currency
from workers.domain.desk import MOST_IDS, Item, Order
from workers.domain.redaction import masked
from workers.domain.transaction import CANARY_CURRENCY, HistoryEntry, Status, Transaction, to_text

DIFFERENCES = 50
"""Listed on the screen; all are counted."""
PIPED_WIDTH = 200
"""Columns where the output is no terminal, so that `grep` finds whole lines."""

_STYLE = {
    Status.PENDING: "yellow",
    Status.PROCESSING: "cyan",
    Status.CONFIRMED: "green",
    Status.REJECTED: "magenta",
    Status.REVIEW: "bold red",
}


def console(*, stderr: bool = False) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else PIPED_WIDTH, highlight=False, markup=False)


def as_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def overview(view: Overview) -> None:
    out = console()
    out.print(str(view.target), style="bold")
    if view.pause:
        pause(view.pause.told())
    least = "" if view.backlog.exact else "at least "
    rows: list[tuple[str, str, str]] = [
        ("open", f"{least}{view.backlog.open:,}", "not final yet: waiting, or with a worker"),
        ("due", f"{least}{view.backlog.due:,}", "of these, may be worked on now, or are being worked on"),
    ]
    if view.oldest_age is not None and view.backlog.oldest_due_at is not None:
        rows.append(("oldest", age(view.oldest_age), f"the longest due, since {_time(view.backlog.oldest_due_at)}"))
    rows.append(("in review", f"{least}{view.backlog.review:,}", "wait for a person; see `confirm review`"))
    rows += [("", f"{count:,}", cause or "cause not known") for cause, count in view.causes]
    served = view.target.data.served
    rows.append(("service" if served else "last run", *_run(view.last_run, view.now, served=served)))
    if view.last_work and (view.last_run is None or view.last_work.name != view.last_run.name):
        rows.append(("last with work", *_run(view.last_work, view.now, served=served)))
    out.print(_grid(rows))
    if view.states is not None:
        out.print(_states(view.states))
    if view.is_final:
        out.print("Nothing is open: every transaction is in a final state.", style="green")


def pause(told: Mapping[str, str] | None) -> None:
    """Loudly: while it lasts, nothing that waits goes on by itself."""
    if told is None:
        console().print("Nothing is paused.", style="green")
        return
    what = "SENDING IS PAUSED" if told["scope"] == "sending" else "PAUSED"
    said = f"{what} since {told['since']} by {discreet(told['by'])}: {discreet(told['why'])}"
    console().print(f"{said}. A checker resumes it: `confirm resume`.", style="bold red")


def _run(run: Run | None, now: datetime, *, served: bool) -> tuple[str, str]:
    if run is None:
        return "none", "it has not done anything yet" if served else "the scheduler has not started one yet"
    when = f"started {age(now - run.started_at)} ago"
    if served and run.stopped_at:
        when = f"last change {age(now - run.stopped_at)} ago; in the {age(run.stopped_at - run.started_at)} up to it"
    elif run.stopped_at and run.seconds is not None:
        when += f", took {run.seconds:.1f} s"
    if run.error:
        when += f", {discreet(run.error)}"
    if not run.totals:
        return run.status, f"{when}; nothing was due" if run.stopped_at else f"{when}; its first report is to come"
    rate = f", {run.per_second:,.1f} settled per second" if run.per_second else ""
    counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in run.totals.items() if count)
    return run.status, f"{when}{rate}: {counts}"


def _states(states: Mapping[Status, InState]) -> Table:
    table = Table(title="All transactions", title_justify="left")
    table.add_column("state")
    table.add_column("count", justify="right")
    table.add_column("sum", justify="right")
    table.add_column("which means")
    for status, state in states.items():
        sums = "\n".join(_money(amount, code) for code, amount in sorted(state.amounts.items()))
        table.add_row(Text(status, _STYLE[status]), f"{state.count:,}", sums, MEANING[status])
    return table


def record(transaction: Transaction) -> None:
    """All that is known of one, then its life line by line."""
    out = console()
    account, status = transaction.account, transaction.status
    title = Text(named(transaction.id), "bold")
    title.append("  ")
    title.append(status, _STYLE[status])
    title.append(f"  {MEANING[status]}", "dim")
    out.print(title)
    known = [
        ("amount", _money(transaction.amount, transaction.currency)),
        ("account", printable(masked(account))),
        ("created", _time(transaction.created_at)),
        ("deadline", _time(transaction.deadline)),
        ("attempts", str(transaction.attempt)),
        ("due", _time(transaction.next_attempt_at)),
        ("lease until", _time(transaction.lease_until)),
        ("sending", _sending(transaction)),
        ("keys", " ".join(keys(transaction)) if transaction.new_keys else None),
        ("tries", f"{transaction.tries:,}, asked {transaction.asked:,} times" if transaction.tries else None),
        ("workers lost", f"{transaction.lost:,} in a row" if transaction.lost else None),
        ("gateway away since", _time(transaction.away_since)),
        ("asked for a desk", _for_desk(transaction)),
        ("settled", _time(transaction.settled_at)),
        ("moved", None if transaction.moved is None else _money(*transaction.effect)),
        ("reference", shown(transaction.gateway_reference, account)),
        ("reason", discreet(transaction.reason, account)),
        ("owner", transaction.owner),
        ("decide by", _time(transaction.review_by)),
        ("trace", shown_trace(transaction)),
    ]
    out.print(_grid([(name, value) for name, value in known if value]))
    table = Table(title="History (UTC)", title_justify="left")
    for name in ("when", "by", "from", "to", "attempt", "token", "cause", "why"):
        table.add_column(name, overflow="fold", justify="right" if name == "attempt" else "left")
    for entry in transaction.history:
        table.add_row(
            Text(_time(entry.at) or ""),
            Text(discreet(entry.by, account) or ""),
            Text(entry.was or "-", _STYLE.get(entry.was, "dim") if entry.was else "dim"),
            Text(entry.now, _STYLE[entry.now]),
            str(entry.attempt),
            Text(printable(entry.token or "-")),
            Text(entry.cause or "-"),
            Text((discreet(entry.why, account) or "") + _repeated(entry)),
        )
    out.print(table)


def _sending(transaction: Transaction) -> str | None:
    """What is known of sending, in words: all that a redrive, a takeover or a restore goes by."""
    if transaction.status.is_final:
        return None
    if transaction.first_sent_at is None and transaction.last_sent_at is None:
        return "never sent, proven"
    first, last = _time(transaction.first_sent_at), _time(transaction.last_sent_at)
    until = f" until {last}" if last else ""
    return f"possibly sent since {first}{until}: the gateway is asked first"


def _for_desk(transaction: Transaction) -> str | None:
    if transaction.desk_by is None:
        return None
    return f"not sent meanwhile; back there without evidence, to be decided by {_time(transaction.desk_by)}"


def _repeated(entry: HistoryEntry) -> str:
    return f" ({entry.times:,} times since {_time(entry.since)})" if entry.times > 1 else ""


def desk(waiting: Sequence[Transaction], now: datetime) -> None:
    """Those in review, the nearest deadline first."""
    out = console()
    if not waiting:
        out.print("Nobody's desk: nothing is in review.", style="green")
        return
    table = Table(title=f"{len(waiting):,} in review", title_justify="left")
    for name in ("id", "amount", "account", "cause", "reason", "owner", "decide by"):
        table.add_column(name, overflow="fold", justify="right" if name == "amount" else "left")
    called = names(one.id for one in waiting)
    for one in waiting:
        late = one.review_by is not None and one.review_by < now
        table.add_row(
            Text(called[one.id]),
            _money(one.amount, one.currency),
            Text(printable(masked(one.account))),
            Text(one.cause or "-"),
            Text(discreet(one.reason, one.account) or "no reason given"),
            Text(printable(one.owner or "-")),
            Text(f"{_time(one.review_by) or '-'}{' (passed)' if late else ''}", "bold red" if late else ""),
        )
    out.print(table)
    out.print("See one with `confirm show ID`, and docs/desk.md for what can be done with it.")


def explained(one: Explained) -> None:
    """A record in two lines, and its row of the table."""
    out = console()
    record, account = one.record, one.record.account
    title = Text(named(record.id), "bold")
    title.append("  ")
    title.append(record.status, _STYLE[record.status])
    title.append(f"  {_money(record.amount, record.currency)}  {printable(masked(account))}  {record.cause or '-'}")
    out.print(title)
    by = _time(record.review_by)
    told = (discreet(record.reason, account), _sending(record), by and f"decide by {by} UTC")
    out.print(Text("; ".join(text for text in told if text) or f"created {_time(record.created_at)} UTC"))
    out.print(_grid((("case", one.cell.name), ("means", one.cell.means), ("to do", one.cell.todo),
                     ("who", one.cell.who.value))))  # fmt: skip
    for line in one.commands:
        out.print(Text(f"  {line}"), soft_wrap=True)


def diagnosis(found: Diagnosis, stack: str | None) -> None:
    """Each row with what is stuck in it."""
    out = console()
    if not found.groups:
        out.print("Nothing is stuck.", style="green")
    for group in found.groups:
        sums = ", ".join(_money(amount, code) for code, amount in sorted(group.sums.items()))
        by = _time(group.decide_by)
        called = names(group.ids)
        more = len(group.ids) - EXAMPLES
        ids = " ".join(called[id_] for id_ in group.ids[:EXAMPLES]) + (f" and {more:,} more" if more > 0 else "")
        rows = [
            ("means", group.cell.means),
            ("to do", group.cell.todo),
            ("who", group.cell.who.value),
            ("since", f"the oldest was created {_time(group.oldest)}{f'; decide by {by}' if by else ''}"),
            ("such as", ids),
        ]
        out.print(Text(f"{group.cell.name}: {len(group.ids):,}, {sums}", "bold"))
        out.print(_grid(rows))
        if line := group.command(stack, found.limit):
            out.print(Text(f"  {line}"), soft_wrap=True)
        out.print()
    for where in found.more:
        out.print(f"There are more {where}: raise --limit.", style="yellow")


def ids(found: Iterable[str]) -> None:
    """One in each line, for another command."""
    sys.stdout.writelines(f"{id_}\n" for id_ in found)


def search(result: Search) -> None:
    """What was found, a line each."""
    out = console()
    if not result.found:
        out.print("Nothing matches.")
        return
    table = Table(title=f"{'the first ' if result.more else ''}{len(result.found):,} found", title_justify="left")
    for name in ("id", "state", "amount", "account", "cause", "reason", "created", "reference or decide by"):
        table.add_column(name, overflow="fold", justify="right" if name == "amount" else "left")
    called = names(one.record.id for one in result.found)
    for one, cause in result.found:
        table.add_row(
            Text(called[one.id]),
            Text(one.status, _STYLE[one.status]),
            _money(one.amount, one.currency),
            Text(printable(masked(one.account))),
            Text(cause or "-"),
            Text(discreet(one.reason, one.account) or "-"),
            Text(_time(one.created_at) or "-"),
            Text(shown(one.gateway_reference, one.account) or _time(one.review_by) or "-"),
        )
    out.print(table)
    if result.more:
        out.print("There are more: raise --limit, or ask for less.", style="yellow")
    for way in result.ways:
        note(f"Found by {way.name}, which reads {way.reads}.")


def as_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Text that a spreadsheet would take for a formula begins with an apostrophe, as spreadsheets write that."""
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(columns)
    for row in rows:
        cells = ("" if row[name] is None else row[name] for name in columns)
        out.writerow([f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell for cell in cells])


_FORMULA = ("=", "+", "-", "@", "\t", "\r")


PICKED = 10


def picked(list_: Picked, order: Order) -> None:
    """On the error stream, for somebody to look at before it is asked for: how many, their sums, and ten of them."""
    out = console(stderr=True)
    sums = ", ".join(_money(amount, code) for code, amount in list_.sums.items())
    parts = len(list_.parts)
    out.print(f"{order.kind} of {len(list_.records):,} transactions in REVIEW, {sums}.", style="bold")
    for why, count in list_.left_out.items():
        out.print(f"{count:,} left out: {why}.", style="yellow")
    called = names(one.id for one in list_.records[:PICKED])
    out.print(_grid((called[one.id], _money(one.amount, one.currency), discreet(one.reason, one.account))
                    for one in list_.records[:PICKED]))  # fmt: skip
    if (more := len(list_.records) - PICKED) > 0:
        out.print(f"and {more:,} more")
    if parts > 1:
        out.print(f"They take {parts:,} requests, of {MOST_IDS:,} at most, each of which is approved.")


def request(told: Mapping[str, Any], items: Sequence[Item] = ()) -> None:
    """One request; `items` are its list, where that is wanted."""
    out = console()
    order, approvals = told["order"], told["approvals"]
    sums = ", ".join(_money(amount, code) for code, amount in sorted(told["sums"].items()))
    by = ", ".join(f"{one['by']} ({one['at']})" for one in approvals)
    rows = [
        ("request", told["id"]),
        ("exit", f"{order['kind']}: {order['why']}"),
        ("evidence", _proof(order["evidence"])),
        ("for", f"{told['transactions']:,} transactions, {sums}"),
        ("asked by", f"{told['by']} ({told['made_at']})"),
        ("approved by", f"{by or '-'}, {len(approvals)} of {told['approvals_needed']}"),
        ("state", told["state"]),
        ("ends", told["ends_at"]),
        ("digest", told["digest"]),
    ]
    out.print(_grid((name, value) for name, value in rows if value))
    if items:
        out.print(_grid((named(one.id), f"version {one.version}", _money(one.amount, one.currency)) for one in items))


def _proof(evidence: Mapping[str, Any] | None) -> str | None:
    if evidence is None:
        return None
    amount = evidence["amount"]
    moved = "" if amount is None else f": {_money(amount, evidence['currency'])}"
    return printable(f"{evidence['source']}, {evidence['reference']}{moved}")


def requests(waiting: Sequence[Mapping[str, Any]]) -> None:
    """Those that wait."""
    out = console()
    if not waiting:
        out.print("No request waits.", style="green")
        return
    table = Table(title=f"{len(waiting):,} requests", title_justify="left")
    for name in ("request", "exit", "for", "sum", "asked by", "approvals", "state", "ends", "why"):
        table.add_column(name, overflow="fold")
    for one in waiting:
        table.add_row(
            Text(one["id"][:12]),
            Text(one["order"]["kind"]),
            Text(f"{one['transactions']:,}"),
            Text("\n".join(_money(amount, code) for code, amount in sorted(one["sums"].items()))),
            Text(printable(one["by"])),
            Text(f"{len(one['approvals'])} of {one['approvals_needed']}"),
            Text(one["state"]),
            Text(one["ends_at"]),
            Text(printable(one["order"]["why"])),
        )
    out.print(table)
    out.print("See one with `confirm requests REQUEST`; approve it with `confirm approve REQUEST`.")


def progress(told: Mapping[str, Any]) -> None:
    note(f"{told['gone_through']:,} of {told['transactions']:,} gone through ...")


def outcome(told: Mapping[str, Any]) -> None:
    """What an approval led to."""
    if (more := told["approvals_needed"] - len(told["approvals"])) > 0:
        note(f"Nothing is changed yet: it takes {more} more, by another person.")
        return
    left = told["left_out"]
    note(f"{told['gone_through'] - len(left):,} of {told['transactions']:,} done, {len(left):,} left out.")
    for one in left[:LEFT_OUT]:
        note(f"  {named(one['id'])}: {_LEFT_OUT[one['why']]}")


LEFT_OUT = 20
_LEFT_OUT = {
    "changed": "has changed since it was asked for",
    "refused": "is refused by the rules",
    "gone": "is not there, or not readable",
}


def loaded(result: Loaded, source: str, rejects: str | None, copied: int, *, dry_run: bool) -> None:
    out = console()
    new = "good" if dry_run else "new"
    already = "repeated" if dry_run else "already there"
    out.print(
        f"{result.rows:,} rows of {printable(source)}: {result.new:,} {new}, {result.already:,} {already}, "
        f"{result.refused:,} refused."
    )
    if dry_run:
        out.print("Dry run: only the file was checked. Nothing was written, and the stack was not asked.")
    if result.overdue:
        out.print(
            f"{result.overdue:,} of the {new} rows have a deadline that has passed: they go to a person (REVIEW) "
            "without a call to the gateway.",
            style="yellow",
        )
    if rejects:
        left = result.refused - copied
        missing = f" ({left:,} were too long to be copied)" if left else ""
        out.print(
            f"The refused rows are in {printable(rejects)}{missing}: mend them and import that file.", style="yellow"
        )
    if result.rows == 0:
        out.print("There was nothing to do: the file holds a header and no rows.")


def reconciled(result: Reconciled) -> None:
    """Both books class by class, down to their totals; then each difference that is kept."""
    out = console()
    table = Table(title="Confirmed here, and in their book", title_justify="left")
    for name in ("currency", "class", "confirmed", "amount", "lines", "amount there"):
        table.add_column(name, justify="left" if name in ("currency", "class") else "right")
    for code in sorted({*result.ours, *result.theirs}):
        for class_ in Class:
            if both := result.classes.get(code, {}).get(class_):
                table.add_row(printable(code), class_.value, *_side(both.ours, code), *_side(both.theirs, code))
        ours, theirs = result.ours.get(code, Side()), result.theirs.get(code, Side())
        table.add_row(printable(code), "all", *_side(ours, code), *_side(theirs, code), style="bold", end_section=True)
    out.print(table)
    ours, theirs = result.our_canaries, result.their_canaries
    if ours.count or theirs.count:
        out.print(
            f"Besides, canaries: {ours.count:,} confirmed, {_money(ours.amount, CANARY_CURRENCY)}; "
            f"{theirs.count:,} effects, {_money(theirs.amount, CANARY_CURRENCY)}."
        )
    if result.equal:
        out.print("The books agree: each confirmed one has its effect, once, to the cent.", style="green")
        return
    out.print(_grid((kind.value, f"{count:,}", CLASSES[kind]) for kind, count in sorted(result.counts.items())))
    called = names(one.id for one in result.differences[:DIFFERENCES])
    for one in result.differences[:DIFFERENCES]:
        out.print(_difference(one, called[one.id]))
    if (more := sum(result.counts.values()) - DIFFERENCES) > 0:
        out.print(f"and {more:,} more; see --json")


def _side(side: Side, code: str) -> tuple[str, str]:
    return f"{side.count:,}", _money(side.amount, code)


def _difference(one: Difference, name: str) -> str:
    not_known = "unreadable" if one.kind is Class.UNREADABLE else "unknown"
    ours_is = f"{one.status} {_money(one.amount, one.currency)}" if one.status else not_known
    where = f" (line {one.lines[0].place:,})" if one.lines else ""
    return f"{name or 'no id'}: {one.kind}; here {ours_is}, moved {_money(one.moved, one.moved_currency)}{where}"


def _grid(rows: Iterable[tuple[str | None, ...]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for row in rows:
        grid.add_row(*(Text(printable(cell or "")) for cell in row))
    return grid


def _money(amount: int, code: str) -> str:
    """A currency is a text from a record like any other: an item from elsewhere may hold anything."""
    return printable(currency.in_major_units(amount, code))


def _time(time: datetime | None) -> str | None:
    """`2026-11-24 07:34:00.123`, always UTC."""
    return None if time is None else to_text(time).replace("T", " ").removesuffix("Z")


def trouble(what: str, fix: str) -> None:
    """One line on the error stream; never wrapped, so that it can be searched for."""
    sys.stderr.write(f"confirm: {printable(what)}. To fix: {printable(fix)}.\n")


def note(text: str) -> None:
    sys.stderr.write(f"{printable(text)}\n")


def json_loaded(
    result: Loaded, source: str, rejects: str | None, faults: Sequence[Mapping[str, Any]], total: int, *, dry_run: bool
) -> None:
    as_json(
        {
            "file": source,
            "dry_run": dry_run,
            "rows": result.rows,
            "new": result.new,
            "already": result.already,
            "refused": result.refused,
            "conflicting": result.conflicting,
            "overdue": result.overdue,
            "rejects": rejects,
            "faults": list(faults),
            "faults_total": total,
        }
    )
