"""The pages of the console: each is one look, or one order, at the desk that the commands work with too."""

from __future__ import annotations

import asyncio
import io
import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlencode

from babel.dates import format_timedelta
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as ASGIScope

from cli import language, lookup, views
from cli.books import formats
from cli.books.classes import MEANING as CLASSES
from cli.books.classes import Class
from cli.books.formats import BookFormat
from cli.books.lines import BadBook, Moves, Reading
from cli.console import words
from cli.console.gate import BY_ITSELF, IDLE_SECONDS, MOST_BODY, Doorstep, Gate, TooLong
from cli.console.queue import MOST, PAGE, Filter, Queue, Waiting, part, sums
from cli.desk import Desk
from cli.exits import Exit, Trouble
from cli.identity import Caller
from cli.reconcile import Book, Side, reconcile
from cli.views import age, discreet, named, printable, shown, shown_trace
from workers.desk.service import told
from workers.domain import currency
from workers.domain.causes import Cause
from workers.domain.desk import EXITS, MOST_IDS, Order, Role, Stage
from workers.domain.diagnosis import diagnosed
from workers.domain.exits import Refused
from workers.domain.finding import DESK, Found, Where
from workers.domain.pause import Pause, Scope
from workers.domain.redaction import masked
from workers.domain.transaction import HistoryEntry, Transaction, to_text

T = TypeVar("T")

HERE = Path(__file__).parent
FRESH = timedelta(seconds=10)
"""So long the queue is shown from memory: turning its pages reads it once."""
SAMPLE = 10
"""Of a list that is asked for: shown before it is sent."""
LISTED = 100
"""Of a request's list."""
DIFFERENCES = 100
MOST_BOOK = 64 * 1024 * 1024
"""Of a file from a bank or a gateway; larger ones are for `confirm reconcile`."""
UPLOADS: Mapping[str, int] = {"/reconcile": MOST_BOOK + MOST_BODY}
MOST_FIELDS = 100
LANGUAGE = "language"
"""A cookie: which one the person chose."""


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Console:
    """What all pages work with."""

    desk: Desk
    caller: Caller
    language: str
    """Of the environment: where the browser says nothing."""
    base: str = ""
    now: Callable[[], datetime] = utc_now
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    _queue: Queue | None = None
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def queue(self) -> Queue:
        """What waits for a person."""
        async with self._reading:  # two tabs read it once
            if self._queue is None or self.now() - self._queue.at > FRESH:
                at, waiting = self.now(), list[Found]()
                async for found in self.desk.finder.find(Where(states=DESK), MOST):
                    waiting.append(found)
                    if len(waiting) == MOST:
                        break
                self._queue = Queue.of(waiting, at)
            return self._queue

    async def paused(self) -> Pause | None:
        """What people have stopped; nothing where nobody can say."""
        try:
            return (await self.desk.requests.standing()).pause
        except Exception:
            return None  # the page itself tells what can't be reached

    def forget(self) -> None:
        """Something was ordered: look anew."""
        self._queue = None


def application(console: Console) -> Starlette:
    """Below `console.base`, which the gate has made; styles and scripts, which tell nothing, are outside."""
    pages = Pages(console)
    routes = [
        Route("/", pages.queue),
        Route("/transactions/{name:path}", pages.transaction),
        Route("/ask", pages.ask, methods=["POST"]),
        Route("/ask/send", pages.send, methods=["POST"]),
        Route("/requests", pages.requests),
        Route("/requests/{id}", pages.request),
        Route("/requests/{id}/{action}", pages.decide, methods=["POST"]),
        Route("/status", pages.status),
        Route("/pause", pages.stop, methods=["POST"]),
        Route("/resume", pages.go_on, methods=["POST"]),
        Route("/reconcile", pages.reconcile, methods=["GET"]),
        Route("/reconcile", pages.reconciled, methods=["POST"]),
        Route("/language", pages.choose, methods=["POST"]),
    ]
    return Starlette(
        routes=[
            Mount("/static", StaticFiles(directory=HERE / "static")),
            Mount("/{base}", routes=routes, middleware=[Middleware(_knowing, console=console)]),
        ],
        exception_handlers={
            Trouble: pages.trouble,
            TooLong: pages.trouble,
            HTTPException: pages.trouble,
            Exception: pages.trouble,
        },
    )


def _knowing(app: ASGIApp, console: Console) -> ASGIApp:
    """Each page says whether people have paused the workers."""

    async def page(scope: ASGIScope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["paused"] = await console.paused()
        await app(scope, receive, send)

    return page


def doorstep(console: Console) -> Doorstep:
    """The page for who is not in."""

    def page(scope: ASGIScope, gate: Gate, says: str) -> Response:
        status = {"code": 200, "in": 200, "wrong": 403, "used": 401, "over": 401}[says]
        inside = f"{gate.base}/" if says == "in" else None
        spoken = _spoken(Request(scope), console)
        text = _environment(spoken).get_template("door.html")
        minutes = IDLE_SECONDS // 60
        return HTMLResponse(text.render(says=says, inside=inside, minutes=minutes, language=spoken), status)

    return page


class Pages:
    """A method for each page."""

    def __init__(self, console: Console) -> None:
        self.console = console

    # --- look --------------------------------------------------------------------------------------------------------

    async def queue(self, request: Request) -> Response:
        queue = await self._reached(self.console.queue())
        now, problem = self.console.now(), None
        given = _given(request.query_params)
        try:
            wanted = Filter.of(given)
        except Trouble as trouble:
            wanted, problem = Filter(), trouble
        chosen = wanted.apply(queue, now)
        page = part(chosen, given.get("after", ""))
        late = sum(row.is_late(now) for row in queue.rows)
        return self._page(
            request,
            "queue.html",
            queue=queue,
            is_cut=queue.is_cut,
            wanted=wanted,
            given=given,
            part=page,
            late=late,
            coming=next(
                (row.record.review_by for row in queue.rows if row.record.review_by and not row.is_late(now)), None
            ),
            sums=sums(queue.rows),
            chosen_sums=sums(chosen),
            onward=urlencode({**wanted.query, "after": page.after}) if page.after else None,
            most_ids=MOST_IDS,
            most=MOST,
            page_size=PAGE,
            trouble=problem,
            status_code=200 if problem is None else 400,
        )

    async def transaction(self, request: Request) -> Response:
        try:
            record = await self._reached(lookup.found(self.console.desk, request.path_params["name"]))
        except Trouble as trouble:
            return self._not_found(request, trouble)
        return self._page(
            request,
            "transaction.html",
            record=record,
            name=named(record.id),
            account=printable(masked(record.account)),
            reason=discreet(record.reason, record.account),
            reference=shown(record.gateway_reference, record.account),
            cell=diagnosed(record, self.console.desk.target.policy, self.console.now()),
            steps=_steps(record),
            trace=shown_trace(record),
            trace_link=self._trace_link(record),
            printable=printable,
        )

    async def requests(self, request: Request) -> Response:
        now = self.console.now()
        waiting = await self._reached(self.console.desk.requests.requests(now - lookup.ENDED_SHOWN))
        told_ = [told(one, now) for one in waiting]
        return self._page(
            request,
            "requests.html",
            mine=[one for one in told_ if self._is_for_me(one)],
            others=[one for one in told_ if not self._is_for_me(one)],
        )

    async def request(self, request: Request) -> Response:
        return await self._request(request, request.path_params["id"])

    async def _request(self, request: Request, id_: str, trouble: Trouble | None = None) -> Response:
        now = self.console.now()
        try:
            found = await self._reached(lookup.requested(self.console.desk, id_, now))
        except Trouble as missing:
            return self._not_found(request, missing)
        one = told(found, now)
        return self._page(
            request,
            "request.html",
            one=one,
            items=found.items[:LISTED],
            is_mine=self.console.caller.is_called(found.maker),
            is_for_me=self._is_for_me(one),
            may_refuse=one["state"] == Stage.OPEN and Role.CHECKER in self.console.caller.roles,
            may_withdraw=one["state"] == Stage.OPEN and self.console.caller.is_called(found.maker),
            goes_on=found.state is Stage.APPROVED and "paused" not in request.query_params,
            trouble=trouble,
            status_code=200 if trouble is None else _status_of(trouble),
        )

    async def status(self, request: Request) -> Response:
        return await self._status(request)

    async def _status(self, request: Request, trouble: Trouble | None = None, why: str = "") -> Response:
        view = await self._reached(lookup.overview(self.console.desk, self.console.now(), everything=False))
        template = "numbers.html" if BY_ITSELF in request.query_params else "status.html"
        return self._page(
            request,
            template,
            view=view,
            served=view.target.data.served,
            trouble=trouble,
            why=why,
            status_code=200 if trouble is None else _status_of(trouble),
        )

    # --- order -------------------------------------------------------------------------------------------------------

    async def ask(self, request: Request) -> Response:
        """From what was chosen in the queue to the form that says what for."""
        form = await self._form(request)
        queue = await self._reached(self.console.queue())
        if form.get("all"):
            rows = Filter.of({name: _text(form, name) for name in Filter.__slots__}).apply(queue, self.console.now())
        else:
            rows = [queue.by_name[one] for one in _texts(form, "id") if one in queue.by_name]
            gone = [one for one in _texts(form, "id") if one not in queue.by_name]
            if not rows and gone:
                rows = [_row(await self._reached(lookup.found(self.console.desk, one))) for one in gone]
        if not rows:
            raise Trouble("nothing was chosen", "mark one transaction or more in the queue", Exit.USAGE)
        if len(rows) > MOST_IDS:
            raise Trouble(
                f"{len(rows):,} were chosen, and a request is for {MOST_IDS:,} at most", "narrow the filter", Exit.USAGE
            )
        seen = "\n".join(f"{row.record.version} {row.name}" for row in rows)
        return self._ask_page(request, rows, _given({"seen": seen, "id": secrets.token_hex(16)}))

    def _ask_page(
        self, request: Request, rows: list[Waiting], given: Mapping[str, str], trouble: Trouble | None = None
    ) -> Response:
        return self._page(
            request,
            "ask.html",
            rows=rows[:SAMPLE],
            count=len(rows),
            sums=sums(rows),
            exits=list(EXITS),
            any_evidence=any(kind.needs_evidence for kind in EXITS.values()),
            given=given,
            trouble=trouble,
            status_code=200 if trouble is None else _status_of(trouble),
        )

    async def send(self, request: Request) -> Response:
        """The request itself: for exactly what was shown, as it was shown. What takes nobody else is done at once."""
        form = await self._form(request)
        given = _given({name: _text(form, name) for name in form if name != "csrf"})
        lines = [line.partition(" ") for line in given.get("seen", "").splitlines()]
        seen = {name: version for version, _, name in lines[: MOST_IDS + 1]}
        rows = await self._as_they_are(list(seen))
        try:
            as_seen = {row.name for row in rows if str(row.record.version) == seen[row.name]}
            changed = [name for name in seen if name not in as_seen]
            if changed:
                which = ", ".join(map(printable, changed[:5]))
                raise Trouble(
                    f"{len(changed)} of {len(seen)} have changed since you chose them: {which}",
                    "go back to the queue and choose again",
                    Exit.REFUSED,
                )
            order = _order(given)
            items = [
                {"id": r.id, "version": r.version, "amount": r.amount, "currency": r.currency}
                for r in (row.record for row in rows)
            ]
            payload = {"id": given.get("id", ""), "order": order.told(), "items": items}
            alone = EXITS[order.kind].alone and Role.CHECKER in self.console.caller.roles
            role, action = (Role.CHECKER, "do alone") if alone else (Role.MAKER, "ask")
            made = await self._ordered(role, action, payload)
        except Trouble as trouble:
            return self._ask_page(request, rows, given, _named_in(trouble, rows))
        return RedirectResponse(f"{self.console.base}/requests/{made['id']}", 303)

    async def _as_they_are(self, names_: list[str]) -> list[Waiting]:
        """Those of these names, as they are at this moment: read at once, for they may be thousands."""
        known = (await self._reached(self.console.queue())).by_name
        ids = [
            known[name].record.id if name in known else (await self._reached(lookup.found(self.console.desk, name))).id
            for name in names_
        ]
        called = dict(zip(ids, names_, strict=True))
        read = await self._reached(self.console.desk.finder.read(ids))
        return [Waiting.of(Found(record, record.cause), called[record.id]) for record in read]

    async def decide(self, request: Request) -> Response:
        """Approve, go on, withdraw or refuse a request."""
        form, id_ = await self._form(request), request.path_params["id"]
        action = request.path_params["action"]
        role, order = {
            "approve": (Role.CHECKER, {"id": id_, "digest": _text(form, "digest")}),
            "go-on": (Role.CHECKER, {"id": id_}),
            "refuse": (Role.CHECKER, {"id": id_}),
            "withdraw": (Role.MAKER, {"id": id_}),
        }.get(action, (None, {}))
        if role is None:
            raise HTTPException(404)
        said = {"go-on": "go on", "refuse": "withdraw"}.get(action, action)
        try:
            await self._ordered(role, said, order)
        except Trouble as trouble:
            return await self._request(request, id_, trouble)
        return RedirectResponse(f"{self.console.base}/requests/{id_}", 303)

    async def _ordered(self, role: Role, action: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return await self._reached(self.console.desk.orders.order(role, action, payload))
        finally:
            self.console.forget()

    async def stop(self, request: Request) -> Response:
        """Pause everything, or sending alone. Whoever may ask or approve may."""
        form = await self._form(request)
        role = Role.MAKER if Role.MAKER in self.console.caller.roles else Role.CHECKER
        return await self._stand(request, form, role, "pause", {"scope": _text(form, "scope")})

    async def go_on(self, request: Request) -> Response:
        return await self._stand(request, await self._form(request), Role.CHECKER, "resume", {})

    async def _stand(
        self, request: Request, form: FormData, role: Role, action: str, order: Mapping[str, Any]
    ) -> Response:
        why = _text(form, "why")
        try:
            await self._ordered(role, action, {**order, "why": why})
        except Trouble as trouble:
            request.state.paused = await self.console.paused()
            return await self._status(request, trouble, why)
        return RedirectResponse(f"{self.console.base}/status", 303)

    # --- books -------------------------------------------------------------------------------------------------------

    async def reconcile(self, request: Request) -> Response:
        return self._page(request, "reconcile.html", result=None, given=_given({}), trouble=None)

    async def reconciled(self, request: Request) -> Response:
        form = await self._form(request, files=1)
        given = _given({name: _text(form, name) for name in ("format", "moves")})
        file = form.get("file")
        try:
            if not isinstance(file, UploadFile) or not file.filename:
                raise Trouble("no file was chosen", "choose what a bank or a gateway sent", Exit.USAGE)
            if (file.size or 0) > MOST_BOOK:
                raise Trouble(
                    f"the file has {file.size:,} bytes, and the page takes {MOST_BOOK:,}",
                    "use `confirm reconcile FILE`, which takes any size",
                    Exit.USAGE,
                )
            name = printable(file.filename)[:100]
            reading = Reading(name, self.console.now(), None, Moves(given["moves"] or Moves.IN))
            wanted = BookFormat(given["format"]) if given["format"] else None
            book = await asyncio.to_thread(_read_book, file.file, reading, wanted)
            with book:
                result = await self._reached(reconcile(book, self.console.desk.census.entries()))
        except BadBook as bad:
            trouble = Trouble(f"{bad.where}: found {bad.found}; allowed: {bad.allowed}", f"{bad.fix}; nothing compared")
            return self._page(request, "reconcile.html", result=None, given=given, trouble=trouble, status_code=400)
        except Trouble as trouble:
            return self._page(
                request, "reconcile.html", result=None, given=given, trouble=trouble, status_code=_status_of(trouble)
            )
        except ValueError:
            raise Trouble("that is no format of a book", "choose one of the list", Exit.USAGE) from None
        lines = [
            (code, class_, result.classes[code][class_])
            for code in sorted(result.classes)
            for class_ in Class
            if class_ in result.classes[code]
        ]
        codes = sorted({*result.ours, *result.theirs})
        totals = [(code, result.ours.get(code, Side()), result.theirs.get(code, Side())) for code in codes]
        called = views.names(one.id for one in result.differences[:DIFFERENCES])
        return self._page(
            request,
            "reconcile.html",
            result=result,
            file=name,
            lines=lines,
            totals=totals,
            called=called,
            counts=sorted(result.counts.items()),
            differences=result.differences[:DIFFERENCES],
            given=given,
            trouble=None,
            printable=printable,
        )

    # --- all ---------------------------------------------------------------------------------------------------------

    async def choose(self, request: Request) -> Response:
        """Another language; then the page that one was on."""
        form = await self._form(request)
        chosen, back = _text(form, "language"), _text(form, "back")
        inside = back.startswith("/") and not back.startswith("//") and "\\" not in back
        answer = RedirectResponse(self.console.base + (back if inside else "/"), 303)
        if chosen in language.languages():
            answer.set_cookie(LANGUAGE, chosen, path=f"{self.console.base}/", httponly=True, samesite="strict")
        return answer

    async def trouble(self, request: Request, error: Exception) -> Response:
        """Whatever went wrong, as a page that says so in words."""
        match error:
            case Trouble():
                trouble, status = error, _status_of(error)
            case TooLong():
                trouble, status = Trouble("that is more than is taken here", "send less; nothing was done"), 413
            case HTTPException():
                trouble, status = Trouble("there is no such page", "go to the queue"), error.status_code
            case _:
                trouble, status = (
                    Trouble(
                        f"an error in this program ({type(error).__name__})",
                        "report it; what two people decide is done only when the desk's function says so",
                    ),
                    500,
                )
        return self._page(request, "trouble.html", trouble=trouble, status_code=status)

    def _not_found(self, request: Request, trouble: Trouble) -> Response:
        status = 404 if trouble.code in (Exit.ERROR, Exit.USAGE) else _status_of(trouble)
        return self._page(request, "trouble.html", trouble=trouble, status_code=status)

    async def _reached(self, work: Awaitable[T]) -> T:
        """What it comes to, with the errors of AWS and the store turned into words."""
        try:
            return await work
        except (Trouble, BadBook, OSError, HTTPException):
            raise
        except Exception as error:
            target = self.console.desk.target
            raise target.data.explained(error, target) from error

    async def _form(self, request: Request, files: int = 0) -> FormData:
        """What was sent, if one of our pages has sent it."""
        form = await request.form(max_files=files, max_fields=MOST_IDS + MOST_FIELDS, max_part_size=MOST_BODY)
        if not secrets.compare_digest(_text(form, "csrf").encode(), self.console.csrf.encode()):
            raise Trouble(
                "that form is of another session of the console", "load the page again; nothing was done", Exit.REFUSED
            )
        return form

    def _is_for_me(self, one: Mapping[str, Any]) -> bool:
        """Whether it waits for an approval that this person could give."""
        caller = self.console.caller
        return (
            one["state"] == Stage.OPEN
            and Role.CHECKER in caller.roles
            and not caller.is_called(one["by"])
            and not any(caller.is_called(approval["by"]) for approval in one["approvals"])
        )

    def _trace_link(self, record: Transaction) -> str | None:
        """Where AWS shows the trace; none of the local AWS."""
        trace, target = shown_trace(record), self.console.desk.target
        if trace is None or target.endpoint:
            return None
        home = f"https://{target.region}.console.aws.amazon.com/cloudwatch/home?region={target.region}"
        return f"{home}#xray:traces/1-{trace[:8]}-{trace[8:]}"

    def _page(self, request: Request, template: str, *, status_code: int = 200, **found: object) -> Response:
        spoken = _spoken(request, self.console)
        now, base = self.console.now(), self.console.base
        path = request.url.path.removeprefix(base) or "/"
        text = _environment(spoken).get_template(template)
        return HTMLResponse(
            text.render(
                base=base,
                csrf=self.console.csrf,
                caller=self.console.caller,
                target=self.console.desk.target,
                language=spoken,
                languages=language.languages(),
                back=f"{path}?{request.url.query}" if request.method == "GET" and request.url.query else path,
                path=path,
                now=now,
                until=lambda time: _until(time, now, spoken),
                STATES=words.STATES,
                CAUSES=words.CAUSES,
                EXITS=words.EXITS,
                STAGES=words.STAGES,
                OUTCOMES=words.OUTCOMES,
                Role=Role,
                Scope=Scope,
                paused=getattr(request.state, "paused", None),
                **found,
            ),
            status_code,
        )


def _read_book(file: BinaryIO, reading: Reading, format_: BookFormat | None) -> Book:
    """Raises BadBook: it is none."""
    file.seek(0, io.SEEK_END)
    size = file.tell()
    if not size:
        raise BadBook(reading.name, "an empty file", "what a bank or a gateway sent")
    file.seek(0)
    return Book(formats.lines(io.BufferedReader(_Raw(file), formats.PEEK), reading, format_), reading.name)


class _Raw(io.RawIOBase):
    """What was sent, as a file that can be looked into."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._file.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a life, as far as people may see it."""

    entry: HistoryEntry
    by: str
    why: str
    token: str
    waited: str
    """Since the line before it."""


def _steps(record: Transaction) -> list[Step]:
    steps, before = [], None
    for entry in record.history:
        waited = "" if before is None else age(entry.at - before)
        by, why = discreet(entry.by, record.account) or "", discreet(entry.why, record.account) or ""
        steps.append(Step(entry, by, why, printable(entry.token or ""), waited))
        before = entry.at
    return steps


def _row(record: Transaction) -> Waiting:
    return Waiting.of(Found(record, record.cause), named(record.id))


def _order(given: Mapping[str, str]) -> Order:
    """What the form asks for.

    Raises:
        Trouble: says what is wrong with it.
    """
    evidence = None
    if any(given.get(name) for name in ("source", "reference", "amount", "currency")):
        code = given.get("currency", "").strip().upper()
        try:
            amount = currency.in_minor_units(given["amount"].strip(), code) if given.get("amount") else None
        except ValueError as error:
            raise Trouble(
                f"the evidence's amount is {error}", "write it like 12.50, with its currency", Exit.USAGE
            ) from None
        evidence = {
            "source": given.get("source", ""),
            "reference": given.get("reference", ""),
            "amount": amount,
            "currency": code or None,
        }
    try:
        order = {"kind": given.get("kind", ""), "why": " ".join(given.get("why", "").split()), "evidence": evidence}
        return Order.of(order)
    except Refused as refused:
        raise Trouble(str(refused), "correct the form", Exit.REFUSED) from None


def _named_in(trouble: Trouble, rows: list[Waiting]) -> Trouble:
    """With the names of those that it speaks of instead of their ids, which may hold a card's number."""
    what = trouble.what
    for row in rows:
        what = what.replace(row.record.id, row.name)
    return Trouble(what, trouble.fix, trouble.code)


def _status_of(trouble: Trouble) -> int:
    return {Exit.USAGE: 400, Exit.REFUSED: 409, Exit.NO_ACCESS: 502}.get(trouble.code, 500)


def _given(said: Mapping[str, str]) -> Mapping[str, str]:
    """What a form or an address says; what it does not say is empty."""
    return defaultdict(str, said)


def _text(form: FormData, name: str) -> str:
    value = form.get(name, "")
    return value if isinstance(value, str) else ""


def _texts(form: FormData, name: str) -> list[str]:
    return [value for value in form.getlist(name) if isinstance(value, str)]


def _spoken(request: Request, console: Console) -> str:
    """What the person chose, else what the browser asks for, else what the environment says."""
    chosen = request.cookies.get(LANGUAGE, "")
    if chosen in language.languages():
        return chosen
    return language.of_header(request.headers.get("accept-language", "")) or console.language


def _until(time: datetime, now: datetime, spoken: str) -> str:
    """`in 3 hours`, `2 days ago`."""
    return str(format_timedelta(time - now, add_direction=True, threshold=1.2, locale=spoken))


@cache
def _environment(spoken: str) -> Environment:
    """Templates in one language. Everything that is put in is escaped."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    made.install_gettext_translations(language.words(spoken), newstyle=True)  # type: ignore[attr-defined]
    made.filters |= {"money": _money, "moment": _moment, "count": lambda number: f"{number:,}", "age": age}
    made.globals.update({"Cause": Cause, "CLASSES": CLASSES, "BookFormat": BookFormat, "named": named})
    return made


def _money(amount: int, code: str) -> str:
    """The same in every language: two people, and the commands, must see the same, and `1.234` is two amounts."""
    return printable(currency.in_major_units(amount, code))


def _moment(time: datetime | None, seconds: bool = True) -> str:
    text = "" if time is None else to_text(time).replace("T", " ")
    return text[: 19 if seconds else 16]
