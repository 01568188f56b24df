"""What a command found, as JSON and as words: pure, no I/O. The JSON keys are a contract (tests/cli/test_output.py).

Accounts are masked here, once, for both: nothing downstream holds a whole one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

from cli.books.classes import Class
from cli.books.lines import Line
from cli.desk import InState, Run, Target
from cli.many import Search
from cli.reconcile import Reconciled, Side
from cli.rows import RefusedRow
from workers.desk.service import told
from workers.domain.causes import Cause
from workers.domain.desk import Request
from workers.domain.finding import Found
from workers.domain.pause import Pause
from workers.domain.ports import Backlog
from workers.domain.redaction import masked, receipt, without_account, without_secrets
from workers.domain.transaction import KEY_MARK, HistoryEntry, Status, Transaction, to_text
from workers.tracing import trace_id

MEANING: Mapping[Status, str] = {
    Status.PENDING: "waits for its turn",
    Status.PROCESSING: "a worker has it",
    Status.CONFIRMED: "done at the gateway; final",
    Status.REJECTED: "nothing moved, and nothing will; final",
    Status.REVIEW: "a person must decide",
}


def discreet(text: str | None, account: str = "") -> str | None:
    """Free text (a gateway's, a colleague's) without the account, card-like numbers and control characters."""
    if text is None:
        return None
    if len(account) >= 4:
        text = without_account(text, account, masked(account))
    return printable(without_secrets(text))


LEAST_DIGEST = 3
"""Digits of an id's digest that its name ends with: of a card's number it says which of few it is, and not which."""
_DIGEST = "~"


def named(id_: str, digits: int = LEAST_DIGEST) -> str:
    """An id for a person's eyes, and the name that each command takes it by: whoever brought it in, or keeps the
    gateway's book, may have taken a card for one. What is not shown whole ends with some digits of its digest."""
    clean = _clean(id_)
    return clean if clean == id_ else f"{clean}{_DIGEST}{_digest(id_)[:digits]}"


def names(ids: Iterable[str]) -> dict[str, str]:
    """The same for a list, in which no two have the same name: their digests are as long as that takes."""
    found, alike, digits = {id_: named(id_) for id_ in ids}, True, LEAST_DIGEST
    while alike:
        digits += 1
        often = Counter(found.values())
        longer = {id_: named(id_, digits) for id_, name in found.items() if often[name] > 1}
        alike = any(found[id_] != name for id_, name in longer.items())
        found |= longer
    return found


def is_named(id_: str, name: str) -> bool:
    """Whether that is a name of this id, of however many digits."""
    if name == id_ == _clean(id_):
        return True
    digest = name.rpartition(_DIGEST)[2]
    return len(digest) >= LEAST_DIGEST and named(id_, len(digest)) == name != id_


def may_be_masked(name: str) -> bool:
    """Whether it has the form of a name that `named` makes for what is not shown whole."""
    return re.search(rf"{_DIGEST}[0-9a-f]{{{LEAST_DIGEST},}}$", name) is not None


def _clean(id_: str) -> str:
    return printable(without_secrets(id_, of_id=True))


def _digest(id_: str) -> str:
    return blake2b(id_.encode("utf-8", "surrogatepass"), digest_size=16, person=b"name").hexdigest()


def shown(reference: str | None, account: str) -> str | None:
    """A gateway's reference for a person's eyes."""
    return None if reference is None else printable(receipt(reference, account))


def printable(text: str) -> str:
    """Without what could steer a terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def moment(time: datetime | None) -> str | None:
    return None if time is None else to_text(time)


@dataclass(frozen=True, slots=True)
class Overview:
    """What `confirm status` tells."""

    target: Target
    now: datetime
    backlog: Backlog
    review: Sequence[Transaction]
    """The nearest deadlines first; may be fewer than are in review."""
    last_run: Run | None
    last_work: Run | None
    """The last run that found something to do."""
    states: Mapping[Status, InState] | None
    """Only where the table was scanned."""
    pause: Pause | None = None

    @property
    def is_final(self) -> bool:
        return not self.backlog.open and not self.backlog.review

    @property
    def oldest_age(self) -> timedelta | None:
        due = self.backlog.oldest_due_at
        return None if due is None else max(self.now - due, timedelta())

    @property
    def reasons(self) -> list[tuple[str, int]]:
        """Why those in review are there, the most frequent first."""
        counts = Counter(discreet(record.reason, record.account) or "no reason given" for record in self.review)
        return counts.most_common()

    @property
    def causes(self) -> list[tuple[Cause | None, int]]:
        """The same by cause; None for what a version before this one, or no version of ours, has put there."""
        return Counter(record.cause for record in self.review).most_common()


def overview_json(view: Overview) -> dict[str, Any]:
    age = view.oldest_age
    return {
        "stack": view.target.stack,
        "alternative": view.target.alternative,
        "environment": view.target.environment,
        "region": view.target.region,
        "at": moment(view.now),
        "final": view.is_final,
        "paused": view.pause and pause_json(view.pause.told()),
        "open": view.backlog.open,
        "due": view.backlog.due,
        "exact": view.backlog.exact,
        "oldest_due_at": moment(view.backlog.oldest_due_at),
        "oldest_due_seconds": None if age is None else round(age.total_seconds(), 3),
        "review": view.backlog.review,
        "review_reasons": [{"reason": reason, "count": count} for reason, count in view.reasons],
        "review_causes": [{"cause": cause and cause.value, "count": count} for cause, count in view.causes],
        "last_run": run_json(view.last_run),
        "last_run_with_work": run_json(view.last_work),
        "states": None
        if view.states is None
        else {
            status.value: {
                "count": state.count,
                "amounts_minor": {printable(code): amount for code, amount in sorted(state.amounts.items())},
            }
            for status, state in view.states.items()
        },
    }


def pause_json(told_: Mapping[str, str]) -> dict[str, Any]:
    return {name: discreet(text) for name, text in told_.items()}


def run_json(run: Run | None) -> dict[str, Any] | None:
    if run is None:
        return None
    return {
        "name": run.name,
        "status": run.status,
        "started_at": moment(run.started_at),
        "stopped_at": moment(run.stopped_at),
        "seconds": None if run.seconds is None else round(run.seconds, 3),
        "counts": dict(run.totals),
        "settled_per_second": None if run.per_second is None else round(run.per_second, 1),
        "error": None if run.error is None else printable(run.error),
    }


def request_json(request: Request, now: datetime) -> dict[str, Any]:
    """With its list."""
    items = [{"id": named(one.id), **{k: v for k, v in one.told().items() if k != "id"}} for one in request.items]
    return {**told(request, now), "list": items}


def record_json(record: Transaction) -> dict[str, Any]:
    return {
        "id": named(record.id),
        "account": printable(masked(record.account)),
        "amount_minor": record.amount,
        "currency": printable(record.currency),
        "status": record.status.value,
        "final": record.status.is_final,
        "attempt": record.attempt,
        "created_at": moment(record.created_at),
        "deadline": moment(record.deadline),
        "next_attempt_at": moment(record.next_attempt_at),
        "lease_until": moment(record.lease_until),
        "first_sent_at": moment(record.first_sent_at),
        "last_sent_at": moment(record.last_sent_at),
        "tries": record.tries,
        "asked": record.asked,
        "lost": record.lost,
        "away_since": moment(record.away_since),
        "desk_by": moment(record.desk_by),
        "keys": keys(record),
        "moved_minor": record.moved,
        "moved_currency": None if record.moved_currency is None else printable(record.moved_currency),
        "settled_at": moment(record.settled_at),
        "gateway_reference": shown(record.gateway_reference, record.account),
        "reason": discreet(record.reason, record.account),
        "owner": None if record.owner is None else printable(record.owner),
        "review_by": moment(record.review_by),
        "trace": shown_trace(record),
        "history": [entry_json(entry, record.account) for entry in record.history],
    }


def keys(record: Transaction) -> list[str]:
    """The idempotency keys that it may have been sent under, the newest last; what looks like a card is masked."""
    name = named(record.id)
    return [name, *(f"{name}{KEY_MARK}{number + 2}" for number in range(record.new_keys))]


def shown_trace(record: Transaction) -> str | None:
    """Its trace, which is a digest of the whole id: not of one that is not shown whole."""
    return trace_id(record) if _clean(record.id) == record.id else None


def entry_json(entry: HistoryEntry, account: str) -> dict[str, Any]:
    return {
        "at": moment(entry.at),
        "by": discreet(entry.by, account),
        "from": None if entry.was is None else entry.was.value,
        "to": entry.now.value,
        "attempt": entry.attempt,
        "token": None if entry.token is None else printable(entry.token),
        "why": discreet(entry.why, account),
        "cause": entry.cause and entry.cause.value,
        "times": entry.times,
        "since": moment(entry.since),
    }


def waiting_json(waiting: Sequence[Transaction]) -> list[dict[str, Any]]:
    """Those on a person's desk, without their history."""
    called = names(record.id for record in waiting)
    keys = ("id", "account", "amount_minor", "currency", "attempt", "cause", "reason", "owner", "review_by", "deadline")
    wholes = (
        {**record_json(record), "id": called[record.id], "cause": record.cause and record.cause.value}
        for record in waiting
    )
    return [{key: whole[key] for key in keys} for whole in wholes]


FOUND = (
    *("id", "status", "account", "amount_minor", "currency", "cause", "reason", "owner", "created_at"),
    *("review_by", "settled_at", "gateway_reference"),
)


def found_json(found: Sequence[Found]) -> list[dict[str, Any]]:
    """What was looked for, a line each."""
    called = names(one.record.id for one in found)
    return [
        {
            "id": called[record.id],
            "status": record.status.value,
            "account": printable(masked(record.account)),
            "amount_minor": record.amount,
            "currency": printable(record.currency),
            "cause": cause and cause.value,
            "reason": discreet(record.reason, record.account),
            "owner": None if record.owner is None else printable(record.owner),
            "created_at": moment(record.created_at),
            "review_by": moment(record.review_by),
            "settled_at": moment(record.settled_at),
            "gateway_reference": shown(record.gateway_reference, record.account),
        }
        for record, cause in found
    ]


def search_json(search: Search) -> dict[str, Any]:
    return {"found": found_json(search.found), "more": search.more, "by": [way.name for way in search.ways]}


def refused_json(row: RefusedRow) -> list[dict[str, Any]]:
    return [
        {
            "line": row.line,
            "field": fault.field,
            "found": fault.found,
            "allowed": fault.allowed,
            "fix": fault.fix,
        }
        for fault in row.faults
    ]


def reconciled_json(result: Reconciled, ledger: str) -> dict[str, Any]:
    nothing, called = Side(), names(one.id for one in result.differences)
    return {
        "ledger": ledger,
        "equal": result.equal,
        "currencies": {
            printable(currency): {
                "ours": asdict(result.ours.get(currency, nothing)),
                "theirs": asdict(result.theirs.get(currency, nothing)),
            }
            for currency in sorted({*result.ours, *result.theirs})
        },
        "classes": {
            printable(currency): {class_.value: asdict(of[class_]) for class_ in Class if class_ in of}
            for currency, of in sorted(result.classes.items())
        },
        "canaries": result.their_canaries.count,
        "canary_sums": {"ours": asdict(result.our_canaries), "theirs": asdict(result.their_canaries)},
        "differences_total": sum(result.counts.values()),
        "counts": {kind.value: count for kind, count in sorted(result.counts.items())},
        "differences": [
            {
                "id": called[one.id],
                "kind": one.kind.value,
                "status": None if one.status is None else one.status.value,
                "amount_minor": one.amount,
                "currency": printable(one.currency),
                "moved_minor": one.moved,
                "moved_currency": printable(one.moved_currency),
                "lines": [line_json(line) for line in one.lines],
            }
            for one in result.differences
        ],
    }


def line_json(line: Line) -> dict[str, Any]:
    """A line of the other book, as evidence."""
    return {
        "place": line.place,
        "kind": line.kind.value,
        "amount_minor": line.amount,
        "currency": printable(line.currency),
        "reference": discreet(line.reference),
        "day": line.day or None,
    }


def age(span: timedelta) -> str:
    """A span for people: `12 s`, `3 min 20 s`, `5 h 2 min`, `3 d 4 h`."""
    seconds = int(span.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    if seconds < 86400:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return f"{seconds // 86400} d {seconds % 86400 // 3600} h"
