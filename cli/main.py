"""`confirm`: what an operator asks and orders. Parses the command line; all else is in its own module."""

from __future__ import annotations

import asyncio
import io
import os
import re
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from errno import ENOSPC
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, BinaryIO, NoReturn, TypeVar

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from cli import lookup, many, render, target, views
from cli import why as explaining
from cli.books import columns as column_maps
from cli.books import formats
from cli.books.formats import BookFormat
from cli.books.lines import BadBook, Moves, Reading
from cli.desk import Desk, Target
from cli.exits import Exit, Trouble
from cli.language import say as _
from cli.loading import Loaded, Rejects, chunks, load, taken
from cli.lookup import ENDED_SHOWN, REVIEW_LIMIT, SHORT
from cli.many import Chosen
from cli.orders import NotLetIn, asking
from cli.reconcile import Book, Covered, Reconciled
from cli.reconcile import reconcile as compare
from cli.rows import MAX_ACCOUNT, BadFile, Defaults, Format, RefusedRow, Rows
from cli.where import where_of
from workers.canary import made
from workers.desk.service import told
from workers.domain.desk import EXITS, Order, Role, Stage
from workers.domain.exits import Evidence
from workers.domain.pause import Scope
from workers.domain.transaction import CANARY, Status, Transaction, utc

T = TypeVar("T")

_RUN = re.compile(r"[0-9A-Za-z]{1,20}")
FAULTS_IN_JSON = 1000
"""The JSON of an import lists this many and counts the rest, so that memory stays bounded."""
STDIN = "-"
LOOK_SECONDS = 1.0
"""Between two looks at a canary that was sent."""

app = typer.Typer(
    name="confirm",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "See and steer the confirmation of pending transactions, on AWS or on the local AWS.\n\n"
        "Exit codes: 0 done, 1 error, 2 wrong usage, 3 some rows refused, 4 no access to the stack, "
        "5 forbidden by a rule, 6 the books differ, 8 not yet final."
    ),
    epilog="Example: confirm import payments.csv && confirm status",
)

Stack = Annotated[
    str | None,
    typer.Option("--stack", "-s", metavar="NAME", help="The stack to work against (default: the selected one)."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of tables.")]


@app.command(epilog="Example: confirm status --all   |   until confirm status; do sleep 10; done")
def status(
    stack: Stack = None,
    json: Json = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Also count every state; reads the whole table, which AWS bills.")
    ] = False,
) -> None:
    """Show what is open, due, oldest and in review, and what the last run did.

    Ends with 0 when everything is final, and with 8 while something is open or in review.
    """
    view = _at_desk(target.find(stack), lambda desk: lookup.overview(desk, _now(), everything=everything))
    if json:
        render.as_json(views.overview_json(view))
    else:
        render.overview(view)
    raise typer.Exit(Exit.OK if view.is_final else Exit.NOT_YET_FINAL)


@app.command(epilog="Example: confirm show 00004-19970101-01")
def show(
    id: Annotated[str, typer.Argument(metavar="ID", help="The transaction's id.")],  # noqa: A002 - the word for it
    stack: Stack = None,
    json: Json = False,
) -> None:
    """Show one transaction: its whole record and its life from PENDING to its end.

    Ends with 0 when it is final, and with 8 when it is not.
    """
    record = _at_desk(target.find(stack), lambda desk: lookup.found(desk, id))
    if json:
        render.as_json(views.record_json(record))
    else:
        render.record(record)
    raise typer.Exit(Exit.OK if record.status.is_final else Exit.NOT_YET_FINAL)


@app.command(epilog="Example: confirm review --json | jq -r '.review[].id'")
def review(stack: Stack = None, json: Json = False) -> None:
    """List what waits for a person: the reason, the owner and by when to decide."""
    waiting = _at_desk(target.find(stack), lambda desk: desk.store.review(REVIEW_LIMIT))
    if json:
        render.as_json({"review": views.waiting_json(waiting)})
    else:
        render.desk(waiting, _now())


@app.command(epilog="Example: confirm desk   |   confirm desk --stack fargate --no-browser")
def desk(
    stack: Stack = None,
    port: Annotated[
        int, typer.Option("--port", metavar="NUMBER", min=0, max=65535, help="0 takes any that is free.")
    ] = 0,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Open none, but print a code to come in by.")
    ] = False,
) -> None:
    """Open the desk in your browser: what waits, each one's life, requests and approvals, the live numbers.

    A page on this machine alone (127.0.0.1), for you alone, until Ctrl-C. It orders with your own AWS identity, as the
    commands do.
    """
    from cli import identity, language  # only here: no other command needs a server
    from cli.console.serve import serve

    at = target.find(stack)

    async def sit(desk: Desk) -> None:
        caller = await identity.caller(at)
        await serve(desk, caller, port, language.of_environment(os.environ), browser=not no_browser)

    try:
        _at_desk(at, sit)
    except OSError as error:
        raise Trouble(
            f"nothing can listen on 127.0.0.1:{port} ({error.strerror})", "leave --port out, or free it", Exit.USAGE
        ) from None


@app.command(epilog="Example: confirm why 00004-19970101-01")
def why(
    id: Annotated[str, typer.Argument(metavar="ID", help="The transaction's id.")],  # noqa: A002 - the word for it
    ask_first: Annotated[
        bool, typer.Option("--ask", help="Have the gateway asked first, and wait for what it says. A checker may.")
    ] = False,
    stack: Stack = None,
    json: Json = False,
) -> None:
    """Say why a transaction is where it is: what that means, what to do, by which command, and who may.

    Of what the record knows; with --ask, of what the gateway says now of one in REVIEW: nothing is sent, and only its
    evidence changes anything. Ends with 0 when it is final, and with 8 when it is not.
    """
    at = target.find(stack)
    record = _at_desk(at, lambda desk: _heard(desk, id) if ask_first else lookup.found(desk, id))
    found = explaining.explained(record, at.policy, _now())
    if json:
        render.as_json(explaining.why_json(found))
    else:
        render.explained(found)
    raise typer.Exit(Exit.OK if record.status.is_final else Exit.NOT_YET_FINAL)


ANSWER_SECONDS = 180
"""For an answer: a run of every minute claims it, asks, and writes what it heard."""


async def _heard(desk: Desk, id_: str) -> Transaction:
    """The transaction once the gateway was asked about it anew; as it is, where it lies on no desk."""
    record = await lookup.found(desk, id_)
    if record.status is not Status.REVIEW:
        render.note(_("Nobody has to ask: it is on no desk."))
        return record
    order = Order("ask", "what does the gateway say now?")
    await _done(desk, await desk.orders.order(Role.CHECKER, "do alone", asking(order, [record])))
    render.note(_("The gateway is asked; waiting for what it says ..."))
    for _look in range(ANSWER_SECONDS):
        record = await lookup.found(desk, record.id)
        if record.status.is_final or record.status is Status.REVIEW:
            return record
        await _look_again()
    render.note(_("No answer yet: look again with `confirm why`."))
    return record


async def _look_again() -> None:
    await asyncio.sleep(LOOK_SECONDS)


@app.command(
    epilog="Example: confirm diagnose   |   confirm diagnose --cell out-of-reach --ids | "
    "confirm ask --from - --yes --why 'the bank is back'"
)
def diagnose(
    cell: Annotated[str | None, typer.Option(metavar="NAME", help="This case alone.", show_default=False)] = None,
    ids: Annotated[bool, typer.Option("--ids", help="Print the ids of that case, for --from - of an exit.")] = False,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=many.MOST_LISTED, help="So many on the desk, and so many open.")
    ] = explaining.USUAL,
    stack: Stack = None,
    json: Json = False,
) -> None:
    """Say of all that is stuck what it means and what to do: what lies on the desk, and open work that is late.

    Grouped by case, with count, sums, the oldest, and the command for all of them. Reads by the indexes of the desk and
    of the open work, and never the whole table.
    """
    explaining.check_cell(cell)
    if ids:
        explaining.needs_one_cell(cell)
    found = _at_desk(target.find(stack), lambda desk: explaining.diagnose(desk, _now(), limit, cell))
    if ids:
        plain, left_out = explaining.plain_ids(found)
        render.ids(plain)
        for where in found.more:
            render.note(f"There are more {where}: raise --limit.")
        if left_out:
            render.note(f"{left_out:,} left out: their ids are not shown whole. Name each by what `confirm why` takes.")
    elif json:
        render.as_json(explaining.diagnosis_json(found, stack))
    else:
        render.diagnosis(found, stack)


Texts = Annotated[list[str] | None, typer.Option(metavar="NAME", help="One of these; may be said again.")]


@app.command(
    epilog="Example: confirm find --state REVIEW --cause deadline-passed --currency EUR --older-than 3d   |   "
    "confirm find --account '****3000' --newer-than 6h --csv"
)
def find(
    state: Texts = None,
    cause: Texts = None,
    account: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Whole, or as it is shown: ****3000.", show_default=False)
    ] = None,
    reference: Annotated[str | None, typer.Option(metavar="TEXT", help="The gateway's, whole.")] = None,
    older_than: Annotated[str | None, typer.Option(metavar="AGE", help="Since it was created: 30m, 6h, 3d.")] = None,
    newer_than: Annotated[str | None, typer.Option(metavar="AGE", help="The same.")] = None,
    amount_from: Annotated[str | None, typer.Option(metavar="N", help="Minor units: 1250 for 12.50 EUR.")] = None,
    amount_to: Annotated[str | None, typer.Option(metavar="N", help="The same; both count.")] = None,
    currency: Annotated[str | None, typer.Option(metavar="CODE", help="ISO 4217.")] = None,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="A part of it, in large or small letters.")] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=many.MOST_LISTED, help="So many at most.")] = 100,
    everything: Annotated[
        bool, typer.Option("--all", help="Read the whole table where no index finds it, which AWS bills.")
    ] = False,
    stack: Stack = None,
    json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")] = False,
) -> None:
    """Find transactions. All that is asked must hold; what no index finds takes --all.

    An index has what is in REVIEW, and what is PENDING or PROCESSING.
    """
    one = {
        "account": account,
        "reference": reference,
        "older-than": older_than,
        "newer-than": newer_than,
        "amount-from": amount_from,
        "amount-to": amount_to,
        "currency": currency,
        "reason": reason,
    }
    texts = {
        "state": state or [],
        "cause": cause or [],
        **{key: [text] for key, text in one.items() if text is not None},
    }
    where = where_of(texts, _now())

    async def look(desk: Desk) -> many.Search:
        reads = await many.check_price(desk, where, everything=everything)
        if reads:
            render.note(f"Reading {reads} ...")
        return await many.search(desk, where, limit)

    found = _at_desk(target.find(stack), look)
    if json:
        render.as_json(views.search_json(found))
    elif csv:
        render.as_csv(views.found_json(found.found), views.FOUND)
    else:
        render.search(found)


Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="Transactions in REVIEW.", show_default=False)]
WhereText = Annotated[
    str | None,
    typer.Option("--where", metavar="TEXT", help="All in REVIEW that match: 'cause=deadline-passed currency=EUR'."),
]
From = Annotated[
    str | None, typer.Option("--from", metavar="FILE", help="A file with an id in each line; - reads stdin.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Don't ask whether that is the list that is meant.")]


Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, for the record.")]
Source = Annotated[
    str | None,
    typer.Option("--source", metavar="TEXT", help="Evidence: where it was seen (the gateway's console, a statement)."),
]
Reference = Annotated[
    str | None, typer.Option("--reference", metavar="TEXT", help="Evidence: under which name or number there.")
]
Amount = Annotated[
    int | None, typer.Option("--amount", metavar="N", help="Evidence: what moved, in minor units (1250 for 12.50 USD).")
]
Currency = Annotated[
    str | None, typer.Option("--currency", metavar="CODE", help="Evidence: of that amount (ISO 4217).")
]


class Became(StrEnum):
    """What `resolve` may say that became of it."""

    DONE = "done"
    OTHER_AMOUNT = "other-amount"
    REFUSED = "refused"


_KIND_OF = {Became.DONE: "resolve-done", Became.OTHER_AMOUNT: "accept-amount", Became.REFUSED: "resolve-refused"}


@app.command(epilog="Example: confirm ask 00004-19970101-01 --why 'the customer says that it was paid'")
def ask(
    why: Why,
    ids: Ids = None,
    where: WhereText = None,
    from_: From = None,
    yes: Yes = False,
    stack: Stack = None,
    json: Json = False,
) -> None:
    """Have the gateway asked about it, now. Nothing is sent, and only the gateway's evidence changes anything.

    Who may approve may do it alone; of others it becomes a request. The answer is in `confirm show`: where it is no
    evidence the transaction is back on its desk, with the deadline that it had.
    """
    _ask(stack, Chosen(ids or (), where, from_, yes), Order("ask", _line(why)), json=json)


@app.command(
    epilog="Example: confirm redrive 00004-19970101-01 --why 'gateway says never received'   |   "
    "confirm redrive --where 'cause=deadline-passed older-than=3d' --why 'the bank was down'"
)
def redrive(
    why: Why,
    ids: Ids = None,
    where: WhereText = None,
    from_: From = None,
    yes: Yes = False,
    stack: Stack = None,
    json: Json = False,
) -> None:
    """Ask for it to be sent from REVIEW to PENDING again. Another person approves: `confirm approve`.

    The gateway is asked about it first, always; it is never simply sent twice, nor past its key window. Changes nothing
    by itself: it makes a request, for exactly these transactions as they are now. You come as who you are signed in as
    to AWS.
    """
    _ask(stack, Chosen(ids or (), where, from_, yes), Order("redrive", _line(why)), json=json)


@app.command(
    epilog="Example: confirm resolve 00004-19970101-01 --as done --source 'bank statement 2026-11-30' "
    "--reference NTRF-1881 --amount 1250 --currency USD --why 'seen on the statement'"
)
def resolve(
    why: Why,
    decision: Annotated[Became, typer.Option("--as", help="What became of it.")],
    ids: Ids = None,
    where: WhereText = None,
    from_: From = None,
    yes: Yes = False,
    source: Source = None,
    reference: Reference = None,
    amount: Amount = None,
    currency: Currency = None,
    stack: Stack = None,
    json: Json = False,
) -> None:
    """Ask for it to end as the evidence says: done, done with another amount, or refused. Another person approves.

    done: CONFIRMED; the evidence has the amount that was ordered (of several transactions none: each moved its own).
    other-amount: CONFIRMED, and the record says what moved. refused: REJECTED, nothing moved.
    """
    evidence = _evidence(source, reference, amount, currency)
    _ask(stack, Chosen(ids or (), where, from_, yes), Order(_KIND_OF[decision], _line(why), evidence), json=json)


@app.command(epilog="Example: confirm cancel 00004-19970101-01 --why 'the order was withdrawn'")
def cancel(
    why: Why,
    ids: Ids = None,
    where: WhereText = None,
    from_: From = None,
    yes: Yes = False,
    source: Source = None,
    reference: Reference = None,
    stack: Stack = None,
    json: Json = False,
) -> None:
    """Ask for it to end unsent: REJECTED. Another person approves.

    What was never sent, as its record proves, needs no evidence. What may have been sent needs some that nothing will
    come of it.
    """
    _ask(
        stack,
        Chosen(ids or (), where, from_, yes),
        Order("cancel", _line(why), _evidence(source, reference)),
        json=json,
    )


@app.command(
    "new-key",
    epilog='Example: confirm new-key 00004-19970101-01 --source "gateway\'s console" --reference CASE-77 '
    "--why 'no trace of it, and its key is too old to be sent again'",
)
def new_key(
    why: Why,
    ids: Ids = None,
    where: WhereText = None,
    from_: From = None,
    yes: Yes = False,
    source: Source = None,
    reference: Reference = None,
    stack: Stack = None,
    json: Json = False,
) -> None:
    """Ask for it to be sent under a new idempotency key, since what was sent had no effect. Another person approves.

    For what may not be sent again under its own: the gateway has forgotten that key by now. It is asked about under
    each key before anything is sent, and from then on.
    """
    _ask(
        stack,
        Chosen(ids or (), where, from_, yes),
        Order("new-key", _line(why), _evidence(source, reference)),
        json=json,
    )


def _evidence(
    source: str | None, reference: str | None, amount: int | None = None, currency: str | None = None
) -> Evidence | None:
    if source is None and reference is None and amount is None and currency is None:
        return None
    if source is None or reference is None:
        missing = "--source" if source is None else "--reference"
        raise Trouble(
            f"evidence needs {missing}",
            "say where it was seen (--source) and under which name or number there (--reference)",
            Exit.USAGE,
        )
    return Evidence(_line(source), _line(reference), amount, currency and currency.strip().upper())


def _ask(stack: str | None, chosen: Chosen, order: Order, *, json: bool) -> None:
    """Make a request for that exit, or as many as the list takes, and say what becomes of it."""
    chosen.check()
    ids = many.ids_in(chosen.file, sys.stdin.buffer) if chosen.file else chosen.ids

    async def ask(desk: Desk) -> list[Mapping[str, Any]]:
        if not chosen.is_many:
            return [await _asked(desk, order, [await lookup.found(desk, id_) for id_ in dict.fromkeys(ids)])]
        picked = await _picked(desk, chosen, ids)
        render.picked(picked, order)
        if not chosen.yes:
            _confirm(picked)
        made: list[Mapping[str, Any]] = []
        for part in picked.parts:
            try:
                made.append(await _asked(desk, order, part))
            except Trouble as trouble:
                if not made:
                    raise
                ids_made = ", ".join(one["id"][:SHORT] for one in made)
                what = f"{len(made)} of {len(picked.parts)} requests were made ({ids_made}), then: {trouble.what}"
                raise Trouble(
                    what, f"{trouble.fix}; what was made stands, or `confirm withdraw` it", trouble.code
                ) from None
            render.note(
                f"Request {len(made)} of {len(picked.parts)}: {made[-1]['id'][:SHORT]}, {len(part):,} transactions."
            )
        return made

    made = _at_desk(target.find(stack), ask)
    if json:
        render.as_json({"requests": made} if chosen.is_many else made[0])
        return
    for request in made:
        render.request(request)
        if request["state"] == Stage.DONE:
            render.outcome(request)
            continue
        render.note(
            f"Nothing is changed yet: another person approves it with `confirm approve {request['id'][:SHORT]}` "
            f"until {request['ends_at']}."
        )


async def _asked(desk: Desk, order: Order, records: Sequence[Transaction]) -> Mapping[str, Any]:
    """One request for those. An error calls them by the names that people know them by."""
    try:
        payload = asking(order, records)
        if EXITS[order.kind].alone:
            with suppress(NotLetIn):
                return await _done(desk, await desk.orders.order(Role.CHECKER, "do alone", payload))
        return await desk.orders.order(Role.MAKER, "ask", payload)
    except Trouble as trouble:
        what = trouble.what
        for record in records:
            if record.id in what:
                what = what.replace(record.id, views.named(record.id))
        raise Trouble(what, trouble.fix, trouble.code) from None


async def _picked(desk: Desk, chosen: Chosen, ids: Sequence[str]) -> many.Picked:
    if chosen.where is not None:
        return await many.on_desk(desk, chosen.where, _now())
    picked, missing = await many.listed(desk, ids)
    if picked is None:  # a name, or an id that is wrong, which this then says
        names = {id_: (await lookup.found(desk, id_)).id for id_ in missing}
        picked, missing = await many.listed(desk, list(dict.fromkeys(names.get(id_, id_) for id_ in ids)))
    if picked is None:
        raise Trouble(f"{len(missing):,} of those are gone just now", "run the same command again")
    return picked


def _is_here() -> bool:
    return sys.stdin.isatty()


def _confirm(picked: many.Picked) -> None:
    """Raises Trouble: nobody says that it is the list that is meant."""
    if not _is_here():
        raise Trouble("nobody is here to say whether that is the list that is meant", "say --yes", Exit.USAGE)
    said = typer.prompt(f"Ask for these {len(picked.records):,}? Type how many they are", err=True, default="no")
    if said.replace(",", "").strip() != str(len(picked.records)):
        raise Trouble(
            "that is not how many they are: nothing was asked for", "run it again, or say --yes", Exit.REFUSED
        )


@app.command(epilog="Example: confirm requests   |   confirm requests 3f2a9c1e")
def requests(
    request: Annotated[
        str | None, typer.Argument(metavar="REQUEST", help="One of them, with its whole list.", show_default=False)
    ] = None,
    stack: Stack = None,
    json: Json = False,
) -> None:
    """List what was asked for and waits for an approval, or is being done: the first to end first."""
    at, now = target.find(stack), _now()
    if request is not None:
        found = _at_desk(at, lambda desk: lookup.requested(desk, request, now))
        if json:
            render.as_json(views.request_json(found, now))
        else:
            render.request(told(found, now), found.items)
        return
    waiting = _at_desk(at, lambda desk: desk.requests.requests(now - ENDED_SHOWN))
    if json:
        render.as_json({"requests": [told(one, now) for one in waiting]})
    else:
        render.requests([told(one, now) for one in waiting])


@app.command(epilog="Example: confirm approve 3f2a9c1e")
def approve(
    request: Annotated[str, typer.Argument(metavar="REQUEST", help="Its id, or the beginning of it.")],
    stack: Stack = None,
    json: Json = False,
    digest: Annotated[
        str | None,
        typer.Option("--digest", metavar="TEXT", help="How its digest begins, as you know it: else it is refused."),
    ] = None,
) -> None:
    """Approve what another person has asked for: exactly what is shown, and only once. Then it is done.

    What has changed since it was asked for is left out, and named. Stopped midway, the same command goes on.
    """

    async def decide(desk: Desk) -> Mapping[str, Any]:
        found = await lookup.requested(desk, request, _now())
        if digest is not None and not (digest and found.digest.startswith(digest)):
            raise Trouble(
                f"request {found.id[:SHORT]} has another digest: {found.digest[:SHORT]}",
                f"look at what it is for now: `confirm requests {found.id[:SHORT]}`",
                Exit.REFUSED,
            )
        order = {"id": found.id, "digest": found.digest}
        action = "go on" if found.state is Stage.APPROVED else "approve"
        return await _done(desk, await desk.orders.order(Role.CHECKER, action, order))

    result = _at_desk(target.find(stack), decide)
    if json:
        render.as_json(result)
    else:
        render.request(result)
        render.outcome(result)


async def _done(desk: Desk, result: Mapping[str, Any]) -> Mapping[str, Any]:
    """An approved request, once all of it is gone through."""
    while result["state"] == Stage.APPROVED:
        render.progress(result)
        result = await desk.orders.order(Role.CHECKER, "go on", {"id": result["id"]})
    return result


@app.command(epilog="Example: confirm withdraw 3f2a9c1e")
def withdraw(
    request: Annotated[str, typer.Argument(metavar="REQUEST", help="Its id, or the beginning of it.")],
    stack: Stack = None,
    json: Json = False,
    as_checker: Annotated[
        bool, typer.Option("--as-checker", help="Refuse what another has asked for, as who may approve it.")
    ] = False,
) -> None:
    """Take back what you have asked for, before it is approved. It ends, and nothing was changed."""
    role = Role.CHECKER if as_checker else Role.MAKER

    async def end(desk: Desk) -> Mapping[str, Any]:
        return await desk.orders.order(role, "withdraw", {"id": (await lookup.requested(desk, request, _now())).id})

    result = _at_desk(target.find(stack), end)
    if json:
        render.as_json(result)
    else:
        render.request(result)


@app.command(epilog="Example: confirm pause --sending --why 'the bank is down'")
def pause(
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, for the record.")],
    sending: Annotated[bool, typer.Option("--sending", help="Send nothing; go on asking about what was sent.")] = False,
    stack: Stack = None,
    json: Json = False,
    as_checker: Annotated[bool, typer.Option("--as-checker", help="As a checker, where you are no maker.")] = False,
) -> None:
    """Stop all calls to the gateway, or sending alone, now. One person may; calls under way end.

    Deadlines go on: what passes its own goes to its desk.
    """
    role = Role.CHECKER if as_checker else Role.MAKER
    _stop(stack, role, "pause", {"scope": Scope.SENDING if sending else Scope.ALL, "why": _line(why)}, json=json)


@app.command(epilog="Example: confirm resume --why 'the bank is back'")
def resume(
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, for the record.")],
    stack: Stack = None,
    json: Json = False,
) -> None:
    """Let go on what was paused. A checker may."""
    _stop(stack, Role.CHECKER, "resume", {"why": _line(why)}, json=json)


def _stop(stack: str | None, role: Role, action: str, order: Mapping[str, Any], *, json: bool) -> None:
    told_ = _at_desk(target.find(stack), lambda desk: desk.orders.order(role, action, order))["pause"]
    if json:
        render.as_json({"paused": told_ and views.pause_json(told_)})
    else:
        render.pause(told_)


@app.command(
    "import",
    epilog=(
        "Example: confirm import payments.csv --dry-run   |   confirm import - --format jsonl < payments.jsonl   |   "
        'a row in JSON Lines: {"id":"order-1","account":"DE89...","amount_minor":1250,"currency":"EUR"}'
    ),
)
def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="CSV (.csv) or JSON Lines (.jsonl); - reads stdin.")],
    stack: Stack = None,
    json: Json = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the file only: write nothing, ask no stack.")
    ] = False,
    format_: Annotated[
        Format | None, typer.Option("--format", help="Where the file's name does not say.", show_default=False)
    ] = None,
    rejects: Annotated[
        Path | None,
        typer.Option("--rejects", metavar="PATH", help="New file for bad rows (default: FILE with .rejected)."),
    ] = None,
    final_within: Annotated[
        float,
        typer.Option("--final-within", metavar="HOURS", min=0.01, max=8760, help="Deadline of rows without one."),
    ] = 24.0,
) -> None:
    """Load transactions: good rows are loaded, bad ones are named with what is wrong, nothing is overwritten.

    Columns (keys): id, account, amount_minor (whole minor units: 1250 for 12.50 USD), currency (ISO 4217), and,
    optional, created_at and deadline (ISO 8601 with a zone). One record is one line.

    The same file twice adds nothing. Bad rows also go to a file of their own, to be mended and imported. Ends with 3
    when rows were refused.
    """
    job = _Import(_source(file, format_, rejects), json, dry_run, Defaults(_now(), timedelta(hours=final_within)))
    raise typer.Exit(job.run(None if dry_run else target.find(stack)))


@dataclass(frozen=True, slots=True)
class _Source:
    name: str
    path: Path | None
    """None: standard input."""
    format: Format
    rejects: Path
    chosen: bool
    """Whether the operator named that file."""

    def open(self) -> BinaryIO:
        return sys.stdin.buffer if self.path is None else self.path.open("rb")

    @property
    def size(self) -> int | None:
        """Bytes, where they are known beforehand (not of a pipe)."""
        return self.path.stat().st_size if self.path and self.path.is_file() else None


_ENDINGS = {".csv": Format.CSV, ".jsonl": Format.JSONL, ".ndjson": Format.JSONL, ".json": Format.JSONL}


def _source(file: str, format_: Format | None, rejects: Path | None) -> _Source:
    path = None if file == STDIN else Path(file)
    format_ = format_ or (_ENDINGS.get(path.suffix.lower()) if path else None)
    if format_ is None:
        raise Trouble(f"whether {file} is CSV or JSON Lines is not to be seen", "say --format csv or jsonl", Exit.USAGE)
    if path and not path.exists():
        raise Trouble(f"there is no file {file}", "correct the path", Exit.USAGE)
    chosen = rejects is not None
    if rejects is None:
        rejects = path.with_suffix(f".rejected.{format_}") if path else Path(f"stdin.rejected.{format_}")
    if path and rejects.exists() and rejects.samefile(path):
        raise Trouble(f"{rejects} is the input itself", "name another file with --rejects", Exit.USAGE)
    if chosen and os.path.lexists(rejects):
        raise taken(rejects)
    return _Source(file if path else "standard input", path, format_, rejects, chosen)


@dataclass(slots=True)
class _Import:
    """One import: reads, loads, and tells while it goes."""

    source: _Source
    json: bool
    dry_run: bool
    defaults: Defaults
    loaded: Loaded = field(default_factory=Loaded)
    faults: list[dict[str, Any]] = field(default_factory=list)
    faults_total: int = 0

    def run(self, at: Target | None) -> Exit:
        """Load into that stack; None: only check."""
        try:
            with self.source.open() as stream, self._progress() as progress:
                return self._run(stream, progress, at)
        except OSError as error:
            what = f"{error.filename or self.source.name}: {error.strerror or error}"
            fix = "make room" if error.errno == ENOSPC else "correct the path or its permissions"
            raise Trouble(what + self._so_far(), fix + self._again()) from None
        except KeyboardInterrupt:
            raise Trouble(f"stopped{self._so_far()}", self._again().lstrip("; "), Exit.INTERRUPTED) from None

    def _run(self, stream: BinaryIO, progress: Progress, at: Target | None) -> Exit:
        task = progress.add_task(self.source.name, total=self.source.size, rows=0)
        rows = Rows(chunks(stream, lambda count: progress.advance(task, count)), self.source.format, self.defaults)
        rejects = Rejects(self.source.rejects, lambda: rows.header, chosen=self.source.chosen)

        def refused(row: RefusedRow) -> None:
            rejects.write(row)
            self._tell(row)

        def part(loaded: Loaded) -> None:
            progress.update(task, rows=loaded.rows)

        try:
            if at is None:
                asyncio.run(load(rows, None, refused, part, self.loaded))
            else:
                self._at_desk(at, lambda desk: load(rows, desk.store, refused, part, self.loaded))
        except BadFile as bad:
            self._tell(RefusedRow(bad.line, bad.faults, None))
            self._end(None, 0)
            raise Trouble(f"{self.source.name} is no file of transactions", "see above; nothing was loaded") from None
        finally:
            rejects.close()
        progress.stop()
        self._end(str(rejects.path) if rejects.rows else None, rejects.rows)
        return Exit.ROWS_REFUSED if self.loaded.refused else Exit.OK

    def _at_desk(self, at: Target, work: Callable[[Desk], Awaitable[None]]) -> None:
        try:
            _at_desk(target.as_importer(at), work)
        except Trouble as trouble:
            raise Trouble(trouble.what + self._so_far(), trouble.fix + self._again(), trouble.code) from None

    def _tell(self, row: RefusedRow) -> None:
        self.faults_total += len(row.faults)
        if self.json:
            self.faults += views.refused_json(row)[: max(FAULTS_IN_JSON - len(self.faults), 0)]
        else:
            for fault in row.faults:
                render.note(f"{self.source.name} line {row.line}: {fault}")

    def _end(self, rejects: str | None, copied: int) -> None:
        if self.json:
            render.json_loaded(
                self.loaded, self.source.name, rejects, self.faults, self.faults_total, dry_run=self.dry_run
            )
        elif self.faults_total == 0 or self.loaded.rows:
            render.loaded(self.loaded, self.source.name, rejects, copied, dry_run=self.dry_run)

    def _progress(self) -> Progress:
        return _bytes_progress(TextColumn("{task.fields[rows]:,} rows"), silent=self.json)

    def _so_far(self) -> str:
        done = self.loaded
        if not done.rows:
            return ""
        return f" (after line {done.last_line:,}: {done.new:,} new, {done.already:,} already there)"

    def _again(self) -> str:
        return "" if self.dry_run else "; then run the same command again: what is there is left as it is"


@app.command(
    epilog=(
        "Example: confirm reconcile ledger.csv --since 2026-11-01T00:00Z   |   "
        "confirm reconcile statement.xml   |   confirm reconcile bank.csv --columns bank.toml"
    )
)
def reconcile(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What a bank or a gateway sent: its whole book of some time.")
    ],
    stack: Stack = None,
    json: Json = False,
    format_: Annotated[
        BookFormat | None,
        typer.Option("--format", help="Where the file's content does not say.", show_default=False),
    ] = None,
    columns: Annotated[
        Path | None,
        typer.Option(
            "--columns", metavar="MAP", help="Any other CSV: a small TOML file that says what its columns are."
        ),
    ] = None,
    id_from: Annotated[
        str | None,
        typer.Option("--id-from", metavar="NAME", help="The column (of camt.053: the element) that holds our id."),
    ] = None,
    moves: Annotated[
        Moves, typer.Option("--moves", help="Of a bank's account: whether our payments come in or go out.")
    ] = Moves.IN,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="The file begins there (ISO 8601): older ones need not be in it."),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", help="The file ends there: what was settled later need not be in it."),
    ] = None,
) -> None:
    """Hold every transaction against what a bank or a gateway sent, id by id and to the minor unit.

    FILE is a plain ledger (CSV with id, amount_minor, currency), a bank's statement (camt.053), a report of Stripe's
    balance, Adyen's settlement details, or any CSV by a column map. Reads the whole table, which AWS bills. Ends with 0
    where the books agree, and with 6 where they differ.
    """
    if columns is not None and format_ is not None:
        raise Trouble("--format and --columns were both given", "say one of them", Exit.USAGE)
    covered = Covered(*(None if text is None else _time(text) for text in (since, until)))
    at = target.find(stack)
    try:
        map_ = None if columns is None else column_maps.load(columns)
        reading = Reading(str(file), _now(), id_from, moves)
        with _read_book(file, reading, format_, map_, silent=json) as book:
            result = _at_desk(at, lambda desk: compare(book, desk.census.entries(), covered))
    except BadBook as bad:
        raise Trouble(
            f"{bad.where}: found {bad.found}; allowed: {bad.allowed}", f"{bad.fix}; nothing was compared"
        ) from None
    except OSError as error:
        name = error.filename or file
        raise Trouble(f"{name}: {error.strerror or error}", "correct the path or its permissions") from None
    _reconciled(result, str(file), json=json)


def _read_book(
    file: Path, reading: Reading, format_: BookFormat | None, map_: column_maps.Columns | None, *, silent: bool
) -> Book:
    """All of the file, with progress for whoever waits."""
    with _bytes_progress(silent=silent) as progress, file.open("rb", buffering=0) as raw:
        task = progress.add_task(reading.name, total=file.stat().st_size or None)
        counted = formats.Counted(raw, lambda count: progress.advance(task, count))
        return Book(formats.lines(io.BufferedReader(counted, formats.PEEK), reading, format_, map_), reading.name)


def _reconciled(result: Reconciled, file: str, *, json: bool) -> NoReturn:
    if json:
        render.as_json(views.reconciled_json(result, file))
    else:
        render.reconciled(result)
    raise typer.Exit(Exit.OK if result.equal else Exit.BOOKS_DIFFER)


@app.command(epilog="Example: confirm canary --account test-account")
def canary(
    account: Annotated[
        str, typer.Option("--account", metavar="ACCOUNT", help="The gateway's account for tests; - reads stdin.")
    ],
    stack: Stack = None,
    json: Json = False,
    run: Annotated[str, typer.Option("--run", metavar="ID", help="What its id says besides the time.")] = "hand",
    within: Annotated[float, typer.Option("--within", metavar="SECONDS", min=0, help="How long to wait.")] = 300.0,
) -> None:
    """Send a canary over the whole path, now, and wait until it is confirmed.

    It is really paid: 0.01 USD, and is in no book. Comes as who may bring in canaries and nothing else, not as an
    operator. Ends with 0 when it was confirmed, and with 8 when it was not within the time.
    """
    account = sys.stdin.readline().strip() if account == STDIN else account
    if not (account.isprintable() and 0 < len(account) <= MAX_ACCOUNT):
        raise Trouble("that is no account", f"say one of 1 to {MAX_ACCOUNT} printable characters", Exit.USAGE)
    if not _RUN.fullmatch(run):
        raise Trouble(f"{run[:40]!a} cannot be in an id", "use 1 to 20 of A-Z a-z 0-9", Exit.USAGE)
    now = _now()
    sent = made(f"{CANARY}{run}-{now:%Y%m%dT%H%M%SZ}", account, now)
    record = _at_desk(target.as_canary(target.find(stack)), lambda desk: _sent(desk, sent, within))
    if json:
        render.as_json(views.record_json(record))
    else:
        render.record(record)
    raise typer.Exit(Exit.OK if record.status is Status.CONFIRMED else Exit.NOT_YET_FINAL)


async def _sent(desk: Desk, canary: Transaction, within: float) -> Transaction:
    """That canary, sent, and as it was last seen: at its end, on a desk, or when the time was up."""
    await desk.canaries.send(canary)
    end = monotonic() + within
    while (record := await desk.canaries.look(canary.id)) is not None:
        if record.status.is_final or record.status is Status.REVIEW or monotonic() >= end:
            return record
        await asyncio.sleep(LOOK_SECONDS)
    raise Trouble(f"{canary.id} is gone from {desk.target}", "see who deletes transactions there")


def _bytes_progress(*more: TextColumn, silent: bool) -> Progress:
    """How much of a file was read, for a person at a terminal."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        *more,
        TimeRemainingColumn(),
    )
    disable = silent or not sys.stderr.isatty()
    return Progress(*columns, console=render.console(stderr=True), disable=disable, transient=True)


def _time(text: str) -> datetime:
    try:
        return utc(datetime.fromisoformat(text))
    except ValueError:
        raise Trouble(f"{text!a} is no time", "write it like 2026-11-01T00:00Z, with its zone", Exit.USAGE) from None


# --- shared ----------------------------------------------------------------------------------------------------------


def _at_desk(at: Target, work: Callable[[Desk], Awaitable[T]]) -> T:
    """The result of `work` at the desk of that stack, with the errors of AWS and the store turned into words."""

    async def open_and_work() -> T:
        async with target.open_desk(at) as desk:
            return await work(desk)

    try:
        return asyncio.run(open_and_work())
    except (Trouble, BadFile, OSError):
        raise
    except Exception as error:
        raise at.data.explained(error, at) from error


def _line(text: str) -> str:
    """Text for the record: one line."""
    return " ".join(text.split())


def _now() -> datetime:
    return datetime.now(UTC)


def run(arguments: Sequence[str] | None = None) -> NoReturn:
    """The entry point: every end has an exit code of `Exit`, and no end shows a stack trace."""
    try:
        app(args=None if arguments is None else list(arguments), prog_name="confirm")
    except Trouble as trouble:
        render.trouble(trouble.what, trouble.fix)
        sys.exit(trouble.code)
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
    except Exception as error:
        if os.environ.get("CONFIRM_DEBUG"):
            raise
        render.trouble(
            f"an error in this program ({type(error).__name__})",
            "report it, with what CONFIRM_DEBUG=1 shows in front of the same command",
        )
        sys.exit(Exit.ERROR)
    sys.exit(Exit.OK)


if __name__ == "__main__":
    run()
