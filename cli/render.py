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
from cli.language import N_
from cli.language import say as _
from cli.loading import Loaded
from cli.many import Picked, Search
from cli.reconcile import Difference, Reconciled, Side
from cli.views import MEANING, Overview, age, discreet, keys, named, names, printable, shown, shown_trace
from cli.why import SHOWN as EXAMPLES
from cli.why import Diagnosis, Explained
from workers.domain import currency
from workers.domain.desk import MOST_IDS, Item, Order
from workers.domain.diagnosis import Cell
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
    least = "" if view.backlog.exact else _("at least") + " "
    rows: list[tuple[str, str, str]] = [
        (_("open"), f"{least}{view.backlog.open:,}", _("not final yet: waiting, or with a worker")),
        (_("due"), f"{least}{view.backlog.due:,}", _("of these, may be worked on now, or are being worked on")),
    ]
    if view.oldest_age is not None and view.backlog.oldest_due_at is not None:
        since = _time(view.backlog.oldest_due_at)
        rows.append((_("oldest"), age(view.oldest_age), _("the longest due, since %(time)s", time=since)))
    rows.append((_("in review"), f"{least}{view.backlog.review:,}", _("wait for a person; see `confirm review`")))
    rows += [("", f"{count:,}", cause or _("cause not known")) for cause, count in view.causes]
    served = view.target.data.served
    rows.append((_("service") if served else _("last run"), *_run(view.last_run, view.now, served=served)))
    if view.last_work and (view.last_run is None or view.last_work.name != view.last_run.name):
        rows.append((_("last with work"), *_run(view.last_work, view.now, served=served)))
    out.print(_grid(rows))
    if view.states is not None:
        out.print(_states(view.states))
    if view.is_final:
        out.print(_("Nothing is open: every transaction is in a final state."), style="green")


def pause(told: Mapping[str, str] | None) -> None:
    """Loudly: while it lasts, nothing that waits goes on by itself."""
    if told is None:
        console().print(_("Nothing is paused."), style="green")
        return
    what = _("SENDING IS PAUSED") if told["scope"] == "sending" else _("PAUSED")
    by, why = discreet(told["by"]), discreet(told["why"])
    said = _(
        "%(what)s since %(time)s by %(who)s: %(why)s. A checker resumes it: `confirm resume`.",
        what=what, time=told["since"], who=by, why=why,
    )  # fmt: skip
    console().print(said, style="bold red")


def _run(run: Run | None, now: datetime, *, served: bool) -> tuple[str, str]:
    if run is None:
        never = _("it has not done anything yet") if served else _("the scheduler has not started one yet")
        return _("none"), never
    when = _("started %(span)s ago", span=age(now - run.started_at))
    if served and run.stopped_at:
        ago, before = age(now - run.stopped_at), age(run.stopped_at - run.started_at)
        when = _("last change %(span)s ago; in the %(before)s up to it", span=ago, before=before)
    elif run.stopped_at and run.seconds is not None:
        when += ", " + _("took %(seconds)s s", seconds=f"{run.seconds:.1f}")
    if run.error:
        when += f", {discreet(run.error)}"
    if not run.totals:
        return run.status, when + "; " + (_("nothing was due") if run.stopped_at else _("its first report is to come"))
    rate = ""
    if run.per_second:
        rate = ", " + _("%(number)s settled per second", number=f"{run.per_second:,.1f}")
    counts = ", ".join(f"{count:,} {_(_TOTALS.get(name, name))}" for name, count in run.totals.items() if count)
    return run.status, f"{when}{rate}: {counts}"


_TOTALS: Mapping[str, str] = {
    "claimed": N_("claimed"), "confirmed": N_("confirmed"), "rejected": N_("rejected"), "retried": N_("retried"),
    "review": N_("review"), "not_tried": N_("not tried"), "lost": N_("lost"), "failed": N_("failed"),
}  # fmt: skip
"""The words of a run's totals."""


def _states(states: Mapping[Status, InState]) -> Table:
    table = Table(title=_("All transactions"), title_justify="left")
    table.add_column(_("state"))
    table.add_column(_("count"), justify="right")
    table.add_column(_("sum"), justify="right")
    table.add_column(_("which means"))
    for status, state in states.items():
        sums = "\n".join(_money(amount, code) for code, amount in sorted(state.amounts.items()))
        table.add_row(Text(status, _STYLE[status]), f"{state.count:,}", sums, _(MEANING[status]))
    return table


def record(transaction: Transaction) -> None:
    """All that is known of one, then its life line by line."""
    out = console()
    account, status = transaction.account, transaction.status
    title = Text(named(transaction.id), "bold")
    title.append("  ")
    title.append(status, _STYLE[status])
    title.append("  " + _(MEANING[status]), "dim")
    out.print(title)
    known = [
        (_("amount"), _money(transaction.amount, transaction.currency)),
        (_("account"), printable(masked(account))),
        (_("created"), _time(transaction.created_at)),
        (_("deadline"), _time(transaction.deadline)),
        (_("attempts"), str(transaction.attempt)),
        (_("due"), _time(transaction.next_attempt_at)),
        (_("lease until"), _time(transaction.lease_until)),
        (_("sending"), _sending(transaction)),
        (_("keys"), " ".join(keys(transaction)) if transaction.new_keys else None),
        (_("tries"), _tries(transaction)),
        (_("workers lost"), _("%(count)s in a row", count=f"{transaction.lost:,}") if transaction.lost else None),
        (_("gateway away since"), _time(transaction.away_since)),
        (_("asked for a desk"), _for_desk(transaction)),
        (_("settled"), _time(transaction.settled_at)),
        (_("moved"), None if transaction.moved is None else _money(*transaction.effect)),
        (_("reference"), shown(transaction.gateway_reference, account)),
        (_("reason"), discreet(transaction.reason, account)),
        (_("owner"), transaction.owner),
        (_("decide by"), _time(transaction.review_by)),
        (_("trace"), shown_trace(transaction)),
    ]
    out.print(_grid([(name, value) for name, value in known if value]))
    table = Table(title=_("History (UTC)"), title_justify="left")
    titles = (_("when"), _("by"), _("from"), _("to"), _("attempt"), _("token"), _("cause"), _("why"))
    for name in titles:
        table.add_column(name, overflow="fold", justify="right" if name == _("attempt") else "left")
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


def _tries(transaction: Transaction) -> str | None:
    if not transaction.tries:
        return None
    return _("%(tries)s, asked %(asked)s times", tries=f"{transaction.tries:,}", asked=f"{transaction.asked:,}")


def _sending(transaction: Transaction) -> str | None:
    """What is known of sending, in words: all that a redrive, a takeover or a restore goes by."""
    if transaction.status.is_final:
        return None
    if transaction.first_sent_at is None and transaction.last_sent_at is None:
        return _("never sent, proven")
    first, last = _time(transaction.first_sent_at), _time(transaction.last_sent_at)
    if last is None:
        return _("possibly sent since %(time)s: the gateway is asked first", time=first)
    return _("possibly sent since %(time)s until %(last)s: the gateway is asked first", time=first, last=last)


def _for_desk(transaction: Transaction) -> str | None:
    if transaction.desk_by is None:
        return None
    by = _time(transaction.desk_by)
    return _("not sent meanwhile; back there without evidence, to be decided by %(time)s", time=by)


def _repeated(entry: HistoryEntry) -> str:
    if entry.times <= 1:
        return ""
    return " (" + _("%(times)s times since %(time)s", times=f"{entry.times:,}", time=_time(entry.since)) + ")"


def desk(waiting: Sequence[Transaction], now: datetime) -> None:
    """Those in review, the nearest deadline first."""
    out = console()
    if not waiting:
        out.print(_("Nobody's desk: nothing is in review."), style="green")
        return
    table = Table(title=_("%(count)s in review", count=f"{len(waiting):,}"), title_justify="left")
    titles = ("id", _("amount"), _("account"), _("cause"), _("reason"), _("owner"), _("decide by"))
    for name in titles:
        table.add_column(name, overflow="fold", justify="right" if name == _("amount") else "left")
    called, passed = names(one.id for one in waiting), " (" + _("passed") + ")"
    for one in waiting:
        late = one.review_by is not None and one.review_by < now
        table.add_row(
            Text(called[one.id]),
            _money(one.amount, one.currency),
            Text(printable(masked(one.account))),
            Text(one.cause or "-"),
            Text(discreet(one.reason, one.account) or _("no reason given")),
            Text(printable(one.owner or "-")),
            Text(f"{_time(one.review_by) or '-'}{passed if late else ''}", "bold red" if late else ""),
        )
    out.print(table)
    out.print(_("See one with `confirm show ID`, and docs/desk.md for what can be done with it."))


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
    told = (discreet(record.reason, account), _sending(record), by and _("decide by %(time)s UTC", time=by))
    created = _("created %(time)s UTC", time=_time(record.created_at))
    out.print(Text("; ".join(text for text in told if text) or created))
    out.print(_grid([(_("case"), one.cell.name), *_row(one.cell)]))
    for line in one.commands:
        out.print(Text(f"  {line}"), soft_wrap=True)


def diagnosis(found: Diagnosis, stack: str | None) -> None:
    """Each row with what is stuck in it."""
    out = console()
    if not found.groups:
        out.print(_("Nothing is stuck."), style="green")
    for group in found.groups:
        sums = ", ".join(_money(amount, code) for code, amount in sorted(group.sums.items()))
        by = _time(group.decide_by)
        called = names(group.ids)
        more = len(group.ids) - EXAMPLES
        ids = " ".join(called[id_] for id_ in group.ids[:EXAMPLES]) + (" " + _more(more) if more > 0 else "")
        oldest = _("the oldest was created %(time)s", time=_time(group.oldest))
        since = oldest + "; " + _("decide by %(time)s", time=by) if by else oldest
        rows = [*_row(group.cell), (_("since"), since), (_("such as"), ids)]
        out.print(Text(f"{group.cell.name}: {len(group.ids):,}, {sums}", "bold"))
        out.print(_grid(rows))
        if line := group.command(stack, found.limit):
            out.print(Text(f"  {line}"), soft_wrap=True)
        out.print()
    for where in found.more:
        out.print(_("There are more %(where)s: raise --limit.", where=_(where)), style="yellow")


def _row(cell: Cell) -> list[tuple[str, str]]:
    return [(_("means"), _(cell.means)), (_("to do"), _(cell.todo)), (_("who"), _(cell.who.value))]


def _more(count: int) -> str:
    return _("and %(count)s more", count=f"{count:,}")


def ids(found: Iterable[str]) -> None:
    """One in each line, for another command."""
    sys.stdout.writelines(f"{id_}\n" for id_ in found)


def search(result: Search) -> None:
    """What was found, a line each."""
    out = console()
    if not result.found:
        out.print(_("Nothing matches."))
        return
    count = f"{len(result.found):,}"
    title = _("the first %(count)s found", count=count) if result.more else _("%(count)s found", count=count)
    table = Table(title=title, title_justify="left")
    titles = (
        *("id", _("state"), _("amount"), _("account"), _("cause"), _("reason"), _("created")),
        _("reference or decide by"),
    )
    for name in titles:
        table.add_column(name, overflow="fold", justify="right" if name == _("amount") else "left")
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
        out.print(_("There are more: raise --limit, or ask for less."), style="yellow")
    for way in result.ways:
        note(_("Found by %(way)s, which reads %(reads)s.", way=way.name, reads=way.reads))


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
    count = f"{len(list_.records):,}"
    said = _("%(exit)s of %(count)s transactions in REVIEW, %(sums)s.", exit=order.kind, count=count, sums=sums)
    out.print(said, style="bold")
    for why, number in list_.left_out.items():
        out.print(_("%(count)s left out: %(why)s.", count=f"{number:,}", why=why), style="yellow")
    called = names(one.id for one in list_.records[:PICKED])
    out.print(_grid((called[one.id], _money(one.amount, one.currency), discreet(one.reason, one.account))
                    for one in list_.records[:PICKED]))  # fmt: skip
    if (more := len(list_.records) - PICKED) > 0:
        out.print(_more(more))
    if parts > 1:
        many, most = f"{parts:,}", f"{MOST_IDS:,}"
        out.print(
            _("They take %(count)s requests, of %(most)s at most, each of which is approved.", count=many, most=most)
        )


def request(told: Mapping[str, Any], items: Sequence[Item] = ()) -> None:
    """One request; `items` are its list, where that is wanted."""
    out = console()
    order, approvals = told["order"], told["approvals"]
    sums = ", ".join(_money(amount, code) for code, amount in sorted(told["sums"].items()))
    by = ", ".join(f"{one['by']} ({one['at']})" for one in approvals)
    rows = [
        (_("request"), told["id"]),
        (_("exit"), f"{order['kind']}: {order['why']}"),
        (_("evidence"), _proof(order["evidence"])),
        (_("for"), _("%(count)s transactions, %(sums)s", count=f"{told['transactions']:,}", sums=sums)),
        (_("asked by"), f"{told['by']} ({told['made_at']})"),
        (_("approved by"), f"{by or '-'}, {_approvals(told)}"),
        (_("state"), told["state"]),
        (_("ends"), told["ends_at"]),
        (_("digest"), told["digest"]),
    ]
    out.print(_grid((name, value) for name, value in rows if value))
    if items:
        out.print(
            _grid((named(one.id), _("version") + f" {one.version}", _money(one.amount, one.currency)) for one in items)
        )


def _approvals(told: Mapping[str, Any]) -> str:
    return _("%(count)s of %(needed)s", count=len(told["approvals"]), needed=told["approvals_needed"])


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
        out.print(_("No request waits."), style="green")
        return
    table = Table(title=_("%(count)s requests", count=f"{len(waiting):,}"), title_justify="left")
    titles = (
        _("request"),
        _("exit"),
        _("for"),
        _("sum"),
        _("asked by"),
        _("approvals"),
        _("state"),
        _("ends"),
        _("why"),
    )
    for name in titles:
        table.add_column(name, overflow="fold")
    for one in waiting:
        table.add_row(
            Text(one["id"][:12]),
            Text(one["order"]["kind"]),
            Text(f"{one['transactions']:,}"),
            Text("\n".join(_money(amount, code) for code, amount in sorted(one["sums"].items()))),
            Text(printable(one["by"])),
            Text(_approvals(one)),
            Text(one["state"]),
            Text(one["ends_at"]),
            Text(printable(one["order"]["why"])),
        )
    out.print(table)
    out.print(_("See one with `confirm requests REQUEST`; approve it with `confirm approve REQUEST`."))


def progress(told: Mapping[str, Any]) -> None:
    through, all_ = f"{told['gone_through']:,}", f"{told['transactions']:,}"
    note(_("%(count)s of %(all)s gone through ...", count=through, all=all_))


def outcome(told: Mapping[str, Any]) -> None:
    """What an approval led to."""
    if (more := told["approvals_needed"] - len(told["approvals"])) > 0:
        note(_("Nothing is changed yet: it takes %(count)s more, by another person.", count=more))
        return
    left = told["left_out"]
    done, all_ = f"{told['gone_through'] - len(left):,}", f"{told['transactions']:,}"
    note(_("%(count)s of %(all)s done, %(left)s left out.", count=done, all=all_, left=f"{len(left):,}"))
    for one in left[:LEFT_OUT]:
        note(f"  {named(one['id'])}: {_(_LEFT_OUT[one['why']])}")


LEFT_OUT = 20
_LEFT_OUT = {
    "changed": "has changed since it was asked for",
    "refused": "is refused by the rules",
    "gone": "is not there, or not readable",
}


def loaded(result: Loaded, source: str, rejects: str | None, copied: int, *, dry_run: bool) -> None:
    out = console()
    counts = {
        "rows": f"{result.rows:,}", "file": printable(source), "new": f"{result.new:,}",
        "already": f"{result.already:,}", "refused": f"{result.refused:,}",
    }  # fmt: skip
    if dry_run:
        out.print(_("%(rows)s rows of %(file)s: %(new)s good, %(already)s repeated, %(refused)s refused.", **counts))
        out.print(_("Dry run: only the file was checked. Nothing was written, and the stack was not asked."))
    else:
        out.print(
            _("%(rows)s rows of %(file)s: %(new)s new, %(already)s already there, %(refused)s refused.", **counts)
        )
    if result.overdue:
        late = _(
            "%(count)s of these rows have a deadline that has passed: they go to a person (REVIEW) without a call to "
            "the gateway.",
            count=f"{result.overdue:,}",
        )
        out.print(late, style="yellow")
    if rejects:
        left = result.refused - copied
        where = printable(rejects)
        if left:
            where += " (" + _("%(count)s were too long to be copied", count=f"{left:,}") + ")"
        out.print(_("The refused rows are in %(file)s: mend them and import that file.", file=where), style="yellow")
    if result.rows == 0:
        out.print(_("There was nothing to do: the file holds a header and no rows."))


def reconciled(result: Reconciled) -> None:
    """Both books class by class, down to their totals; then each difference that is kept."""
    out = console()
    table = Table(title=_("Confirmed here, and in their book"), title_justify="left")
    for name in (_("currency"), _("class")):
        table.add_column(name)
    for name in (_("confirmed"), _("amount"), _("lines"), _("amount there")):
        table.add_column(name, justify="right")
    for code in sorted({*result.ours, *result.theirs}):
        for class_ in Class:
            if both := result.classes.get(code, {}).get(class_):
                table.add_row(printable(code), class_.value, *_side(both.ours, code), *_side(both.theirs, code))
        ours, theirs = result.ours.get(code, Side()), result.theirs.get(code, Side())
        table.add_row(
            printable(code), _("all"), *_side(ours, code), *_side(theirs, code), style="bold", end_section=True
        )
    out.print(table)
    ours, theirs = result.our_canaries, result.their_canaries
    if ours.count or theirs.count:
        said = _(
            "Besides, canaries: %(ours)s confirmed, %(our_sum)s; %(theirs)s effects, %(their_sum)s.",
            ours=f"{ours.count:,}", our_sum=_money(ours.amount, CANARY_CURRENCY),
            theirs=f"{theirs.count:,}", their_sum=_money(theirs.amount, CANARY_CURRENCY),
        )  # fmt: skip
        out.print(said)
    if result.equal:
        out.print(_("The books agree: each confirmed one has its effect, once, to the cent."), style="green")
        return
    out.print(_grid((kind.value, f"{count:,}", _(CLASSES[kind])) for kind, count in sorted(result.counts.items())))
    called = names(one.id for one in result.differences[:DIFFERENCES])
    for one in result.differences[:DIFFERENCES]:
        out.print(_difference(one, called[one.id]))
    if (more := sum(result.counts.values()) - DIFFERENCES) > 0:
        out.print(_more(more) + "; " + _("see --json"))


def _side(side: Side, code: str) -> tuple[str, str]:
    return f"{side.count:,}", _money(side.amount, code)


def _difference(one: Difference, name: str) -> str:
    not_known = _("unreadable") if one.kind is Class.UNREADABLE else _("unknown")
    ours_is = f"{one.status} {_money(one.amount, one.currency)}" if one.status else not_known
    moved = _money(one.moved, one.moved_currency)
    said = _("here %(ours)s, moved %(moved)s", ours=ours_is, moved=moved)
    if one.lines:
        said += " (" + _("line %(number)s", number=f"{one.lines[0].place:,}") + ")"
    called = name or _("no id")
    return f"{called}: {one.kind}; {said}"


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
    mend = _("To fix:")
    sys.stderr.write(f"confirm: {printable(what)}. {mend} {printable(fix)}.\n")


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
