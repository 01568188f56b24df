"""The console on a desk in memory, with what a day may bring, and a client that speaks to it without a socket."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from cli.console.gate import Gate
from cli.console.serve import gate_of
from cli.desk import Desk
from cli.exits import Exit, Trouble
from cli.identity import Caller
from tests.cli.conftest import TARGET, CanariesOf, FakeRuns, MemoryCensus
from tests.fakes import START, FakeClock, run
from tests.memory_desk import MemoryDesk
from tests.memory_finder import MemoryFinder
from tests.memory_store import MemoryStore
from workers.desk.service import FourEyes
from workers.domain.causes import Cause
from workers.domain.desk import Limits, Role
from workers.domain.exits import Refused
from workers.domain.transaction import HistoryEntry, Status, Transaction

NOW = START + timedelta(days=2, hours=1)
PORT = 40404
ACCOUNTS = ("DE89370400440532013000", "ES9121000418450200051332", "4111111111111111", "GB29NWBK60161331926819")
CAUSES = (
    (Cause.DEADLINE_PASSED, "deadline passed, last seen: time-out"),
    (Cause.ATTEMPTS_USED_UP, "8 attempts used up, last seen: HTTP 503"),
    (Cause.KEY_WINDOW_OVER, "gateway knows nothing of it and its key window is over"),
    (Cause.AMOUNT_MISMATCH, "gateway moved another amount than was ordered"),
    (Cause.WORKERS_LOST, "3 workers took it and none of them came back"),
)


def waiting(number: int, **changes: Any) -> Transaction:
    """One in REVIEW, with the life that led to it."""
    cause, reason = CAUSES[number % len(CAUSES)]
    created = START + timedelta(minutes=7 * (number % 190))
    decided = created + timedelta(hours=24)
    end, worker = timedelta(seconds=2), f"run-{number % 7}/3"
    history = (
        HistoryEntry(created, "import", None, Status.PENDING, 0, None, "added", cause=Cause.ADDED),
        HistoryEntry(
            created + end, worker, Status.PENDING, Status.PROCESSING, 1, "t0ken", "claimed", cause=Cause.CLAIMED
        ),
        HistoryEntry(
            created + 2 * end,
            worker,
            Status.PROCESSING,
            Status.PENDING,
            1,
            "t0ken",
            "unknown: time-out",
            7,
            created,
            Cause.UNKNOWN_OUTCOME,
        ),
        HistoryEntry(decided, worker, Status.PENDING, Status.REVIEW, 8, None, reason, cause=cause),
    )
    one = Transaction(
        id=f"order-{number:05d}",
        account=ACCOUNTS[number % len(ACCOUNTS)],
        amount=1250 + 9173 * (number % 61),
        currency=("EUR", "USD", "JPY")[number % 3],
        created_at=created,
        deadline=decided,
        status=Status.REVIEW,
        attempt=8,
        first_sent_at=created + end,
        last_sent_at=created + 2 * end,
        reason=reason,
        owner=("payments", "night-desk")[number % 5 == 4],
        review_by=decided + timedelta(hours=(8, 24, 72)[number % 3]),
        version=17,
        tries=8,
        asked=3,
        history=history,
    )
    return one._replace(**changes)


@dataclass
class Orders:
    """As the desk's functions take them, from whoever is signed in."""

    world: World

    async def order(self, role: Role, action: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        here = self.world
        if role not in here.caller.roles:
            raise Trouble(f"AWS refused Invoke on {TARGET} (AccessDeniedException)", "ask for a role", Exit.NO_ACCESS)
        desk = FourEyes("stack", here.requests, here.clock, TARGET.policy, here.limits, _silent, here.left)
        try:
            return await desk.do(role, here.caller.name or "?", action, json.loads(json.dumps(payload)))
        except Refused as refused:
            raise Trouble(str(refused), "see `confirm requests`", Exit.REFUSED) from None


def _silent(*_: object, **__: object) -> None:
    """No log."""


def person(name: str, *roles: Role) -> Caller:
    return Caller(
        f"arn:aws:sts::111122223333:assumed-role/AWSReservedSSO_Desk_0123456789abcdef/{name}", frozenset(roles)
    )


ANA, BERTA = person("ana", Role.MAKER), person("berta", Role.CHECKER, Role.MAKER)


@dataclass
class World:
    """A stack with a queue, and one person at its console after the other."""

    caller: Caller = ANA
    limits: Limits = field(default_factory=Limits)
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW))
    elapsed: float = 0.0
    seconds_left: int | None = None
    """How often a function may go on; None for as long as it takes."""

    def __post_init__(self) -> None:
        self.store = MemoryStore(self.clock, TARGET.policy)
        self.requests = MemoryDesk(self.store)
        self.target = replace(TARGET, region="eu-central-1")
        self.desk = Desk(
            self.target,
            self.store,
            FakeRuns(),
            MemoryCensus(self.store),
            CanariesOf(self.store),
            self.requests,
            Orders(self),
            MemoryFinder(self.store),
        )

    def left(self) -> bool:
        if self.seconds_left is None:
            return True
        self.seconds_left -= 1
        return self.seconds_left >= 0

    def holds(self, *records: Transaction) -> World:
        self.store.records.update((record.id, record) for record in records)
        return self

    def gate(self, language: str = "en", port: int = PORT) -> Gate:
        """A console of whoever is signed in now."""
        gate = gate_of(self.desk, self.caller, port, language, self.clock.now)
        gate.clock = lambda: self.elapsed
        return gate

    def sits(self, caller: Caller | None = None, language: str = "en") -> Client:
        """Somebody who has come in."""
        self.caller = caller or self.caller
        client = Client(self.gate(language))
        client.come_in()
        return client

    def ask(self, *ids: str, why: str = "the bank says it was never received") -> str:
        """A request of Ana's: its id."""
        client = self.sits(ANA)
        form = client.post("/ask", {"id": list(ids)})
        sent = client.post("/ask/send", {**form.fields, "kind": "redrive", "why": why})
        assert sent.status == 303, sent.text
        return sent.headers["location"].rpartition("/")[2]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def fields(self) -> dict[str, str]:
        """The hidden fields of a form of ours."""
        hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', self.text))
        areas = dict(re.findall(r'<textarea name="(\w+)" hidden[^>]*>([^<]*)</textarea>', self.text))
        return hidden | areas


@dataclass
class Client:
    """A browser, as far as HTTP goes."""

    gate: Gate
    cookies: dict[str, str] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.gate.port}"

    def come_in(self) -> Answer:
        return self.raw("POST", "/enter", {"origin": "null"}, urlencode({"code": self.gate.code}).encode())

    def get(self, path: str, **headers: str) -> Answer:
        return self.raw("GET", self.gate.base + path, headers)

    def post(self, path: str, form: Mapping[str, str | Sequence[str]], **headers: str) -> Answer:
        """As a form of ours does it, unless `headers` or `form` says otherwise."""
        token = re.search(r'name="csrf" value="([^"]+)"', self.get("/").text)
        whole = {"csrf": token[1] if token else "", **form}
        given = {"origin": self.origin, "sec-fetch-site": "same-origin", **headers}
        return self.raw("POST", self.gate.base + path, given, urlencode(whole, doseq=True).encode())

    async def sends(self, path: str, given: Mapping[str, str], fields: Mapping[str, str]) -> Answer:
        """A form of a page with those hidden fields, filled in."""
        headers = {"origin": self.origin, "sec-fetch-site": "same-origin"}
        return await self.sent("POST", self.gate.base + path, headers, urlencode({**fields, **given}).encode())

    def raw(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        with ThreadPoolExecutor(1) as aside:  # where a browser is driven, the loop of this thread is taken
            return aside.submit(run, self.sent(method, path, headers, body)).result()

    async def sent(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        path, _, query = path.partition("?")
        given = {"host": f"127.0.0.1:{self.gate.port}", "accept-language": "", **headers}
        if body:
            given = {
                "content-length": str(len(body)),
                "content-type": "application/x-www-form-urlencoded",
                **given,
            }
        if self.cookies and "cookie" not in given:
            given["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in given.items()],
            "server": ("127.0.0.1", self.gate.port),
            "client": ("127.0.0.1", 50000),
        }
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.gate(scope, receive, send)
        start = sent[0]
        answered = [(name.decode().lower(), value.decode()) for name, value in start["headers"]]
        for name, value in answered:
            if name == "set-cookie":
                cookie, _, kept = value.partition(";")[0].partition("=")
                self.cookies[cookie] = kept
        text = b"".join(message.get("body", b"") for message in sent[1:]).decode("utf-8", "replace")
        return Answer(start["status"], dict(answered), text)


def at(hours: float) -> datetime:
    return NOW + timedelta(hours=hours)
