"""A transaction's life as a table that a payments person can read: when, who, what happened, which state, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simulation.gateway import EFFECT
from simulation.journal import FAULT, Journal, Line
from workers.domain.transaction import Status

TROUBLES: Mapping[str, str] = {
    "crash": "the worker dies",
    "pause": "the worker stands still",
    "paused": "people pause it by hand",
    "resumed": "people let it go on",
    "lost_answer": "the datastore may have done it, and its answer is lost",
    "partly": "the datastore takes a part of the batch",
    "stale": "the datastore shows what stood earlier",
    "store_throttled": "the datastore is too busy",
    "slow_statement": "a statement takes its time: it sees what stood when it began, and holds its rows",
    "failover": "the database has no writer",
    "duplicate_trigger": "the scheduler starts one run more",
    "service_fault": "a function is called again, whatever became of the call before",
    "no_key": "the gateway's key cannot be read",
    "timeout_before": "no answer: the gateway was never reached",
    "timeout_after": "no answer, and the gateway does it all the same",
    "error_before": "the gateway fails before it does anything",
    "error_after": "the gateway says that it failed, after what it did",
    "unavailable": "the gateway is overloaded: 503",
    "throttled": "the gateway asks to be called less often: 429",
    "not_connected": "no connection to the gateway",
    "stranger": "something between answers in the gateway's place",
    "duplicate": "the call is repeated on its way",
    "garbage": "the gateway's answer is garbage",
    "mixed_up": "the answer to another call comes back",
    "cached": "an answer out of a cache comes back",
    "key_refused": "the gateway refuses our credentials",
    "invalid": "the gateway does not understand the call",
    "in_flight": "the gateway says that another call is under way",
    "other_currency": "the gateway will move another currency",
    "brown_out": "the gateway is very slow",
    "forgotten": "the gateway has forgotten the key",
    "poison kills": "the worker dies of this transaction",
    "poison raises": "the adapter fails at this transaction",
    "poison nonsense": "the adapter makes nonsense of the answer",
    "fat": "somebody keeps much more in its item",
    "dated ahead": "a version before this one had sent it, by a clock that was days ahead",
    "foreign": "somebody writes into the table what is no transaction",
    "clock_step": "the worker's clock is set",
    "clock_off": "the worker's clock is hours off",
    "clock_skew": "the worker's clock is a little off",
    "signature refused": "AWS refuses who dates a request wrongly",
    "settings changed": "the settings change",
    "shards changed": "the number of shards changes",
    "back_to_shadow": "shadow mode again, and the old job sends",
    "not_yet": "the gateway does not show yet what it did",
    "not found, though done": "the gateway says that it knows nothing of it, and did it",
    "other_amount": "the gateway will move another amount",
    "refused": "the gateway refuses the payment",
    "slow_turn": "the rate limit leaves no turn for long",
    "outage": "the gateway is away",
    "deployment": "a deployment: workers end in order and start anew",
    "restore": "the datastore is set back",
}
"""What each fault is, in words."""

DEEDS: Mapping[str, str] = {
    "adds": "brings it in",
    "asks": "asks the gateway about it",
    "sends": "sends it to the gateway",
    EFFECT: "THE MONEY MOVES",
    "loses the fence": "comes too late: somebody else has it",
    "redrives": "hands it back to the workers",
    "REVIEW -> CONFIRMED": "ends it: done, by evidence",
    "REVIEW -> REJECTED": "ends it: nothing moved, by evidence",
    "PENDING -> PROCESSING": "takes it",
    "PROCESSING -> PROCESSING": "takes it over from a silent worker",
    "PROCESSING -> PENDING": "puts it back, to try or ask again",
    "PROCESSING -> CONFIRMED": "confirms it",
    "PROCESSING -> REJECTED": "rejects it",
    "PROCESSING -> REVIEW": "puts it on a desk",
    "PENDING -> REVIEW": "puts it on a desk",
}
ANSWERS: Mapping[str, str] = {
    "Confirmed": "done",
    "Rejected": "refused",
    "Retryable": "not done this time",
    "Unknown": "nobody knows",
    "NotFound": "never heard of it",
}
ASKED: Mapping[str, str] = {"confirm": "hears of the call", "ask": "hears of the question"}


class _Row(tuple[str, str, str, str, str]):
    __slots__ = ()


HEAD = _Row(("time", "who", "what happened", "state", "why"))


def life_of(journal: Journal, id_: str) -> str:
    """What happened to one transaction, and to everybody, one line each."""
    lines = [line for line in journal.lines if line.id == id_ or (not line.id and _concerns(line, journal, id_))]
    rows, state = [HEAD], ""
    for line in lines:
        state = _state(line, id_) or state
        rows.append(_Row((_time(line.at), line.who, _deed(line), state, line.detail)))
    return table(rows)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be; the last one as long as it is."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in rows
    )


def _concerns(line: Line, journal: Journal, id_: str) -> bool:
    """What happened to all, or to a worker that has to do with it."""
    return not line.who or any(other.who == line.who and other.id == id_ for other in journal.lines)


def _time(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{rest:06.3f}"


def _deed(line: Line) -> str:
    if line.what.startswith(FAULT):
        kind = line.what.removeprefix(FAULT)
        return f"TROUBLE: {TROUBLES.get(kind, kind.replace('_', ' '))}"
    verb, _, outcome = line.what.partition(": ")
    if verb in ASKED and outcome in ANSWERS:
        return f"{ASKED[verb]}: {ANSWERS[outcome]}"
    return DEEDS.get(line.what, line.what)


def _state(line: Line, id_: str) -> str:
    if line.id != id_:
        return ""
    if line.what in ("adds", "redrives"):
        return Status.PENDING
    was, arrow, now = line.what.partition(" -> ")
    return now if arrow and was in Status.__members__ else ""


def summary(faults: Mapping[str, int], others: Sequence[str]) -> str:
    """What a life is made of, in one line."""
    struck = [f"{kind} x {count}" for kind, count in sorted(faults.items()) if count and kind != "clock_skew"]
    return ", ".join([*others, *(struck or ["no fault"])])
