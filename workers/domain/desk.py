"""Four eyes: what one person asks for, another approves, and only then is done. Pure: no clock, no I/O.

A request names an order (which exit from REVIEW, with which evidence, and why) and the exact list that it is for: id,
version, amount and currency of each. Its digest covers all of that, and an approval is of the digest: so what is done
is what both have seen. Who they are is proven outside (workers/desk/proof.py); here a person is a name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from workers.domain.exits import (
    AcceptAmount,
    AskNow,
    Cancel,
    DeskExit,
    Evidence,
    NewKey,
    Proven,
    Redrive,
    Refused,
    ResolveDone,
    ResolveRefused,
)
from workers.domain.outcomes import MOST_MONEY
from workers.domain.policy import Policy
from workers.domain.redaction import redact
from workers.domain.rules import ID
from workers.domain.text import MAX_REFERENCE, words
from workers.domain.transaction import Status, Transaction, from_text, to_text, utc
from workers.domain.transitions import decide

MOST_IDS = 2_000
"""Of one request: with the longest ids they fill an item of DynamoDB (400 KB) to three quarters."""
MOST_OPEN = 500
"""Requests that wait at once: a list that nobody can read through is no control."""
_REQUEST_ID = re.compile(r"[0-9a-f]{32}")
_CURRENCY = re.compile(r"[A-Z]{3}")


class Role(StrEnum):
    """As what a person comes; IAM says who may (components/desk.py)."""

    MAKER = "maker"
    CHECKER = "checker"


class Stage(StrEnum):
    OPEN = "open"
    """Waits for its approvals, until it ends."""
    APPROVED = "approved"
    """Is being done; what a function that ended midway has left is taken up again."""
    DONE = "done"
    WITHDRAWN = "withdrawn"


class Outcome(StrEnum):
    """What became of one transaction of an approved request; a letter each, for a request keeps thousands."""

    DONE = "d"
    CHANGED = "c"
    """Since it was asked for: another version, or no longer in REVIEW. Left out, and named."""
    REFUSED = "r"
    """By the table of transitions."""
    GONE = "g"
    """Not there, or not readable."""


class Wants(StrEnum):
    """What an exit takes for proof."""

    NONE = "none"
    SOURCE = "source"
    """Where it was seen, and under which name there: that nothing moved."""
    MONEY = "money"
    """The same, and which amount moved. For several transactions none: then each has moved its own."""
    IF_SENT = "source, if it may have been sent"


def evidence_of(given: Any) -> Evidence:
    """Raises Refused: not of this form."""
    found = _object(given, "evidence", ("source", "reference", "amount", "currency"))
    amount, currency = found.get("amount"), found.get("currency")
    if amount is not None and (type(amount) is not int or not 0 <= amount < MOST_MONEY):
        raise Refused(f"the evidence's amount is a whole number of minor units, 0 to {MOST_MONEY - 1}")
    if currency is not None and not _CURRENCY.fullmatch(str(currency)):
        raise Refused("the evidence's currency is three capitals (ISO 4217)")
    if (amount is None) is not (currency is None):
        raise Refused("the evidence names an amount and its currency, or none of both")
    return Evidence(_proof(found, "source"), _proof(found, "reference"), amount, currency)


def _proof(found: Mapping[str, Any], name: str) -> str:
    """It is kept and shown as it is: so it must be no number that nobody may see."""
    text = words(_text(found, name).strip(), MAX_REFERENCE)
    if redact(text) != text:
        raise Refused(f"the evidence's {name} shows what looks like a card's or an account's number: name it otherwise")
    return text


def evidence_told(evidence: Evidence) -> dict[str, Any]:
    return {
        "source": evidence.source,
        "reference": evidence.reference,
        "amount": evidence.amount,
        "currency": evidence.currency,
    }


@dataclass(frozen=True, slots=True)
class Order:
    """An exit from REVIEW: which, proven by what, and why."""

    kind: str
    why: str
    evidence: Evidence | None = None

    @classmethod
    def of(cls, given: Any) -> Order:
        """Raises Refused: there is no such exit, or it lacks its reason or its evidence."""
        found = _object(given, "order", ("kind", "why", "evidence"))
        kind, why = _text(found, "kind"), redact(words(_text(found, "why").strip()))
        if kind not in EXITS:
            raise Refused(f"{kind[:20]!a} is no exit from REVIEW; there are: {', '.join(EXITS)}")
        if not why:
            raise Refused(f"a {kind} says why")
        evidence = None if found.get("evidence") is None else evidence_of(found["evidence"])
        proof = EXITS[kind].proof
        if evidence is None and EXITS[kind].needs_evidence:
            raise Refused(f"{kind} needs evidence: where it was seen (source), and under which name there (reference)")
        if evidence is not None and proof is Wants.NONE:
            raise Refused(f"{kind} takes no evidence: the gateway is asked")
        if evidence is not None and evidence.amount is not None and proof is not Wants.MONEY:
            raise Refused(f"{kind} is for what moved nothing: its evidence has no amount")
        return cls(kind, why, evidence)

    def told(self) -> dict[str, Any]:
        evidence = evidence_told(self.evidence) if self.evidence else None
        return {"kind": self.kind, "why": self.why, "evidence": evidence}


@dataclass(frozen=True, slots=True)
class ExitKind:
    """A way out of REVIEW."""

    event: Callable[[Order, str, str], DeskExit]
    """The event of the table of transitions: of the order, who asked, and who approved."""
    what: str
    """What it does, for people."""
    proof: Wants = Wants.NONE
    alone: bool = False
    """Whether who may approve may do it alone: nothing is sent by it, and only the gateway's own evidence ends it."""

    @property
    def needs_evidence(self) -> bool:
        return self.proof in (Wants.SOURCE, Wants.MONEY)


def _proven(kind: type[Proven]) -> Callable[[Order, str, str], DeskExit]:
    def event(order: Order, by: str, approved_by: str) -> DeskExit:
        if order.evidence is None:
            raise Refused(f"{order.kind} needs evidence")
        return kind(by, approved_by, order.why, order.evidence)

    return event


EXITS: Mapping[str, ExitKind] = {
    "ask": ExitKind(
        lambda order, by, approved_by: AskNow(by, approved_by, order.why),
        "Have the gateway asked about it. Only its evidence changes anything, and nothing is sent.",
        alone=True,
    ),
    "redrive": ExitKind(
        lambda order, by, approved_by: Redrive(by, approved_by, order.why),
        "Ask the gateway about it, and send it again under its key where that can be no second effect.",
    ),
    "resolve-done": ExitKind(
        _proven(ResolveDone), "It was done, with the amount that was ordered: CONFIRMED.", Wants.MONEY
    ),
    "accept-amount": ExitKind(
        _proven(AcceptAmount), "It was done with another amount, which is accepted: CONFIRMED.", Wants.MONEY
    ),
    "resolve-refused": ExitKind(
        _proven(ResolveRefused), "The gateway refused it, and nothing moved: REJECTED.", Wants.SOURCE
    ),
    "cancel": ExitKind(
        lambda order, by, approved_by: Cancel(by, approved_by, order.why, order.evidence),
        "It was never sent, or nothing will come of what was sent: REJECTED.",
        Wants.IF_SENT,
    ),
    "new-key": ExitKind(
        _proven(NewKey),
        "What was sent had no effect, and its key may not be sent again: send it under a new one.",
        Wants.SOURCE,
    ),
}
"""Every way out of REVIEW. Another one is a row here, and an event of workers/domain/exits.py."""
ONE_ONLY = ("accept-amount",)
"""Exits of one transaction at a time: no two have moved the same by mistake."""


@dataclass(frozen=True, slots=True)
class Item:
    """One transaction, as it was when it was asked for."""

    id: str
    version: int
    amount: int
    currency: str

    @classmethod
    def of(cls, given: Any) -> Item:
        """Raises Refused: not of this form."""
        found = _object(given, "item", ("id", "version", "amount", "currency"))
        id_, version, amount = found.get("id"), found.get("version"), found.get("amount")
        if not isinstance(id_, str) or not ID.fullmatch(id_):
            raise Refused(f"{str(id_)[:40]!a} cannot be the id of a transaction")
        if type(version) is not int or type(amount) is not int or not _CURRENCY.fullmatch(str(found.get("currency"))):
            raise Refused(f"{id_}: version, amount and currency are not as a record has them")
        return cls(id_, version, amount, str(found["currency"]))

    @classmethod
    def seen(cls, record: Transaction) -> Item:
        return cls(record.id, record.version, record.amount, record.currency)

    def told(self) -> dict[str, Any]:
        return {"id": self.id, "version": self.version, "amount": self.amount, "currency": self.currency}


@dataclass(frozen=True, slots=True)
class Approval:
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Limits:
    """What settings say of requests."""

    ends_after: timedelta = timedelta(hours=24)
    two_from: Mapping[str, int] = field(default_factory=dict)
    """Sums in minor units by currency, from which on two people approve. Where there are any, a currency that is not
    among them wants two from the first unit on: nobody has said what is little of it."""

    def approvals(self, sums: Mapping[str, int]) -> int:
        return 2 if self.two_from and any(sum_ >= self.two_from.get(one, 0) for one, sum_ in sums.items()) else 1


@dataclass(frozen=True, slots=True)
class Request:
    """What one person asks for."""

    id: str
    """Random, chosen by who asks: so what is sent twice is one request."""
    stack: str
    order: Order
    items: tuple[Item, ...]
    maker: str
    made_at: datetime
    ends_at: datetime
    needed: int = 1
    """Approvals, by so many people besides the maker."""
    approvals: tuple[Approval, ...] = ()
    state: Stage = Stage.OPEN
    outcomes: str = ""
    """Of the first so many items, a letter each (`Outcome`)."""
    version: int = 1
    """Of the request: the fence of every change to it."""

    @property
    def sums(self) -> Mapping[str, int]:
        total: Counter[str] = Counter()
        for item in self.items:
            total[item.currency] += item.amount
        return dict(total)

    @property
    def digest(self) -> str:
        """Of all that is approved: who asks for what, for which, why, and until when."""
        return digest_of(
            {
                "id": self.id,
                "stack": self.stack,
                "order": self.order.told(),
                "items": [[item.id, item.version, item.amount, item.currency] for item in self.items],
                "maker": self.maker,
                "made_at": to_text(self.made_at),
                "ends_at": to_text(self.ends_at),
                "needed": self.needed,
            }
        )

    @property
    def approved_by(self) -> str:
        return " and ".join(approval.by for approval in self.approvals)

    def is_over(self, now: datetime) -> bool:
        """Whether nobody may approve it any more."""
        return self.state is not Stage.OPEN or now >= self.ends_at

    def left_out(self) -> list[tuple[str, Outcome]]:
        """Those of the list that were not done, and why."""
        pairs = zip(self.items, self.outcomes, strict=False)
        return [(item.id, Outcome(letter)) for item, letter in pairs if letter != Outcome.DONE]


def digest_of(document: Any) -> str:
    """SHA-256 of the one way to write `document` as JSON."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def person_of(name: str) -> str:
    """Names are compared so: who is Ana with one set of permissions and ANA with another is one person."""
    return name.strip().casefold()


# --- the rules -------------------------------------------------------------------------------------------------------


def asked(
    id_: str,
    stack: str,
    order: Order,
    items: Sequence[Item],
    found: Mapping[str, Transaction],
    maker: str,
    now: datetime,
    limits: Limits,
    policy: Policy,
    *,
    alone: bool = False,
) -> Request:
    """The request, if each of the list is in REVIEW, as its maker saw it, and may leave it so.

    `alone`: by who could approve it himself, where that takes nobody else.

    Raises:
        Refused: says what is wrong; nothing was asked for.
    """
    if not _REQUEST_ID.fullmatch(id_):
        raise Refused("a request's id is 32 hexadecimal digits")
    if not items:
        raise Refused("a request is for one transaction at least")
    if len(items) > MOST_IDS:
        raise Refused(f"a request is for {MOST_IDS:,} transactions at most, found {len(items):,}")
    if len({item.id for item in items}) < len(items):
        raise Refused("a request names each transaction once")
    for item in items:
        record = found.get(item.id)
        if record is None:
            raise Refused(f"there is no transaction {item.id}")
        if record.status is not Status.REVIEW:
            raise Refused(f"{item.id} is {record.status}: only what is in REVIEW leaves it")
        if Item.seen(record) != item:
            raise Refused(f"{item.id} is not as it was seen: look again")
        if record.is_canary:
            raise Refused(f"{item.id} is a canary: it is on no desk")
    kind, now = EXITS[order.kind], utc(now)
    if alone and not kind.alone:
        raise Refused(f"{order.kind} takes two people: ask for it, and have another approve it")
    if len(items) > 1 and order.kind in ONE_ONLY:
        raise Refused(f"{order.kind} is for one transaction at a time")
    if order.evidence and kind.proof is Wants.MONEY and (order.evidence.amount is None) is (len(items) == 1):
        raise Refused(
            f"the evidence of {order.kind} says the amount that moved and its currency; for several transactions it "
            "says none, for each has moved its own"
        )
    texts = [order.why, *((order.evidence.source, order.evidence.reference) if order.evidence else ())]
    for item in items:  # it is kept and shown as it is
        if any(redact(text, found[item.id].account) != text for text in (*texts, " ".join(texts[1:]))):
            raise Refused(f"{item.id}: why and evidence show what looks like its account or a card: say it otherwise")
    for item in items:  # better now than when it is approved
        decide(found[item.id], kind.event(order, maker, "who approves it"), now, policy)
    request = Request(id_, stack, order, tuple(items), maker, now, utc(now + limits.ends_after))
    if alone:
        return replace(request, needed=0, state=Stage.APPROVED)
    moved = order.evidence
    sums = [request.sums, *([{moved.currency: moved.amount}] if moved and moved.currency and moved.amount else [])]
    return replace(request, needed=max(map(limits.approvals, sums)))


def approved(request: Request, by: str, digest: str, now: datetime) -> Request:
    """The request with the approval of `by`; APPROVED where that was the last that it needs.

    Raises:
        Refused: says why that is none.
    """
    if request.state is Stage.WITHDRAWN:
        raise Refused(f"request {request.id} was withdrawn")
    if request.state is not Stage.OPEN:
        raise Refused(f"request {request.id} is {request.state} already, approved by {request.approved_by}")
    if now >= request.ends_at:
        raise Refused(f"request {request.id} ended at {to_text(request.ends_at)}: ask for it again")
    if digest != request.digest:
        raise Refused(f"request {request.id} is not what was approved: look at it again")
    if person_of(by) == person_of(request.maker):
        raise Refused(f"{by} can't approve what {request.maker} asked for: that takes another person")
    if any(person_of(by) == person_of(approval.by) for approval in request.approvals):
        raise Refused(f"{by} has approved request {request.id} already: it takes {request.needed} people")
    approvals = (*request.approvals, Approval(by, utc(now)))
    state = Stage.APPROVED if len(approvals) >= request.needed else Stage.OPEN
    return replace(request, approvals=approvals, state=state, version=request.version + 1)


def withdrawn(request: Request, by: str) -> Request:
    """Taken back by who asked for it, or refused by another who could approve it: both end it.

    Raises:
        Refused: it is not open any more.
    """
    if request.state is not Stage.OPEN:
        raise Refused(f"request {request.id} is {request.state}: it can't be withdrawn by {by}")
    return replace(request, state=Stage.WITHDRAWN, version=request.version + 1)


def went_on(request: Request, outcomes: Sequence[Outcome]) -> Request:
    """With what became of the next items of its list."""
    letters = request.outcomes + "".join(outcomes)
    state = Stage.DONE if len(letters) == len(request.items) else Stage.APPROVED
    return replace(request, outcomes=letters, state=state, version=request.version + 1)


def is_sound(request: Request) -> bool:
    """Whether what was stored can have come about by the rules: what is done is done by two people at least, except
    what one may do alone."""
    people = {person_of(approval.by) for approval in request.approvals}
    in_time = all(request.made_at <= approval.at < request.ends_at for approval in request.approvals)
    least = 0 if EXITS[request.order.kind].alone else 1
    enough = request.state not in (Stage.APPROVED, Stage.DONE) or len(people) >= request.needed >= least
    return person_of(request.maker) not in people and len(people) == len(request.approvals) and in_time and enough


def event_of(request: Request) -> DeskExit:
    """The event that its approval makes, for each of the list."""
    by = f"{request.approved_by or 'nobody else'} (request {request.id})"
    return EXITS[request.order.kind].event(request.order, request.maker, by)


def is_done_by(record: Transaction, request: Request, item: Item) -> bool:
    """Whether that very request has moved it: a function that ended before it could note so is taken up again."""
    return record.version > item.version and any(
        line.was is Status.REVIEW and line.by == request.maker and request.id == _request_in(line.why)
        for line in record.history
    )


def _request_in(why: str) -> str:
    """The request that a line of history names: behind its people, whose names have no brackets, and before any word of
    theirs."""
    return why.partition(" (request ")[2][:32]


# --- as text ---------------------------------------------------------------------------------------------------------


def to_document(request: Request) -> dict[str, Any]:
    """As stores keep it; the list as lines, for it may be long."""
    return {
        "id": request.id,
        "stack": request.stack,
        "order": json.dumps(request.order.told()),
        "items": "\n".join(f"{item.id} {item.version} {item.amount} {item.currency}" for item in request.items),
        "maker": request.maker,
        "made_at": to_text(request.made_at),
        "ends_at": to_text(request.ends_at),
        "needed": request.needed,
        "approvals": "\n".join(f"{to_text(approval.at)} {approval.by}" for approval in request.approvals),
        "state": request.state.value,
        "outcomes": request.outcomes,
        "version": request.version,
    }


def from_document(document: Mapping[str, Any]) -> Request:
    """The inverse of `to_document`.

    Raises:
        ValueError: something else wrote it.
    """
    try:
        lines = [line.split(" ") for line in document["items"].splitlines()]
        approvals = [line.split(" ", 1) for line in document["approvals"].splitlines()]
        request = Request(
            id=document["id"],
            stack=document["stack"],
            order=Order.of(json.loads(document["order"])),
            items=tuple(Item(id_, int(version), int(amount), currency) for id_, version, amount, currency in lines),
            maker=document["maker"],
            made_at=from_text(document["made_at"]),
            ends_at=from_text(document["ends_at"]),
            needed=int(document["needed"]),
            approvals=tuple(Approval(by, from_text(at)) for at, by in approvals),
            state=Stage(document["state"]),
            outcomes=document["outcomes"],
            version=int(document["version"]),
        )
        request.left_out()
    except (KeyError, ValueError, TypeError, AttributeError, Refused) as error:
        raise ValueError(f"no request as we write it: {error}") from None
    if not is_sound(request):
        raise ValueError("no request as we write it: it was not decided by the rules")
    return request


def _object(given: Any, what: str, names: Sequence[str]) -> Mapping[str, Any]:
    if not isinstance(given, dict) or set(given) - set(names):
        raise Refused(f"the {what} is not of its form: it has {', '.join(names)}")
    return given


def _text(found: Mapping[str, Any], name: str) -> str:
    value = found.get(name)
    if not isinstance(value, str) or not value.strip():
        raise Refused(f"{name} is missing")
    return value
