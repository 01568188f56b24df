"""What must hold of a run, whichever: played by a seed, of real processes that were killed, of the demo.

Pure functions over what came in, the transactions as they are stored, and the effects in the gateway's own ledger. A
judge is not made of what it judges: so the lines that a history may have are written down here once more.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from html import unescape
from typing import NamedTuple, Protocol, TypeVar
from urllib.parse import unquote

from workers.domain.transaction import HistoryEntry, Status, Transaction

ORACLES: Mapping[str, str] = {
    "two effects": "No id has two effects at the gateway.",
    "ledger": "CONFIRMED has its effect to the minor unit, REJECTED has none, and no other effect is unexplained.",
    "lost": "What came in is there, with its content; and nothing else is.",
    "open": "All is final, or on a person's desk.",
    "final moved": "CONFIRMED and REJECTED never change.",
    "desk": "REVIEW has a reason, an owner and a deadline.",
    "history": "The history is a path of the table of transitions without a gap, up to the present state.",
    "cause": "Every line of history says by whom and why, and its cause is one that leads from its state to the next.",
    "lines": "Every change of a transaction has its line.",
    "one token": "A claim has a token of its own, who ends it has that token, and nobody has one afterwards.",
    "money": "The money of each currency that came in is there, and what is CONFIRMED is what the gateway moved.",
    "order": "What the datastore told of a transaction fits one order of its changes, and the order of time.",
    "attempts": "A claim is one attempt more, after a lost worker the same; one less where nothing was tried. Bounded.",
    "long history": "No history is longer than its bound.",
    "words": "What others said is kept in words that can be shown, and not too many.",
    "secret": "No secret is in anything that leaves.",
    "starved": "No healthy transaction waits for another one longer than a bound.",
}

_P, _W, _R = Status.PENDING, Status.PROCESSING, Status.REVIEW
_Change = tuple[Status | None, Status]
_BACK: set[_Change] = {(_W, _P)}
_DESK: set[_Change] = {(_P, _R), (_W, _R)}
LINES: Mapping[str, set[_Change]] = {
    "added": {(None, _P)},
    "claimed": {(_P, _W)},
    "taken-over": {(_W, _W)},
    "confirmed": {(_W, Status.CONFIRMED)},
    "already-done": {(_W, Status.CONFIRMED)},
    "refused": {(_W, Status.REJECTED)},
    "amount-mismatch": {(_W, _R)},
    "not-done": _BACK,
    "throttled": _BACK,
    "key-refused": _BACK,
    "not-sent": _BACK,
    "unknown-outcome": _BACK,
    "not-found-yet": _BACK,
    "resend": _BACK,
    "breaker-open": _BACK,
    "rate-limited": _BACK,
    "key-missing": _BACK,
    "lease-short": _BACK,
    "time-short": _BACK,
    "too-late": _BACK,
    "no-attempt-left": _BACK,
    "stopping": _BACK,
    "suspected": _BACK,
    "paused": _BACK,
    "workers-lost": {(_W, _R)},
    "attempts-used-up": _DESK,
    "deadline-passed": _DESK,
    "key-window-over": {(_W, _R)},
    "claim-failed": _DESK,
    "write-failed": {(_W, _R)},
    "unreadable": _DESK,
    "asked": {(_W, _R)},
    "redriven": {(_R, _P)},
    "to-be-asked": {(_R, _P)},
    "new-key": {(_R, _P)},
    "resolved-done": {(_R, Status.CONFIRMED)},
    "amount-accepted": {(_R, Status.CONFIRMED)},
    "resolved-refused": {(_R, Status.REJECTED)},
    "cancelled": {(_R, Status.REJECTED)},
}
"""Which change each cause may lead to."""
TAKES_BACK = frozenset((
    "throttled", "key-refused", "not-sent", "not-found-yet", "resend", "breaker-open", "rate-limited", "key-missing",
    "lease-short", "time-short", "too-late", "no-attempt-left", "stopping",
    "suspected", "paused",
))  # fmt: skip
"""Causes after which the claim was no attempt: nothing was sent, or nothing was done for sure and that is our fault."""
MOST_LINES = 61
"""Of a history: 60, and the one of its end."""
MOST_WORDS = 2000
"""Characters of a line."""
LEFT_OUT = "left-out"
"""The line that stands for those that a long history leaves out: it may lead from any state to any."""


class Finding(NamedTuple):
    oracle: str
    id: str
    found: str

    def __str__(self) -> str:
        return f"{self.oracle}: {self.id}: {self.found}"


class Came(Protocol):
    """A payment that came in; a `Transaction` is one."""

    @property
    def id(self) -> str: ...
    @property
    def account(self) -> str: ...
    @property
    def amount(self) -> int:
        """Minor units."""
        ...

    @property
    def currency(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Effect:
    """Money that the gateway moved, by its own ledger."""

    id: str
    amount: int
    currency: str


class Operation(NamedTuple):
    """One operation on one transaction, as whoever asked the datastore saw it. Times are those of one clock."""

    id: str
    who: str
    began: float
    ended: float | None
    """When the answer came; None where it never came, so that it may take effect at any later time."""
    saw: int | None
    """The version that it read, or that it was to replace; None before the first."""
    wrote: int | None
    """The version that it made; None where it only read."""
    refused: bool = False
    """The write was refused, since `saw` stood no longer."""


_Has = TypeVar("_Has", Effect, Operation)


class Turn(NamedTuple):
    """One wait of a transaction for a worker."""

    id: str
    due: datetime
    taken: datetime | None
    """None while it waits."""


def at_end(
    came: Iterable[Came],
    records: Iterable[Transaction],
    effects: Iterable[Effect],
    *,
    apart: timedelta = timedelta(),
    marked: bool = False,
) -> list[Finding]:
    """Everything that must hold of a run that has come to its end. Leave canaries out: they are in no book.

    `apart` is how far the clocks may be apart that dated the lines; `marked` says that there was shadow mode or a
    restore, whose marks raise the version and write no line.
    """
    came, records, effects = list(came), list(records), list(effects)
    return [
        *two_effects(effects),
        *ledger(records, effects),
        *lost(came, records),
        *still_open(records),
        *desk(records),
        *history(records, apart),
        *cause(records),
        *lines(records, marked=marked),
        *one_token(records),
        *money(came, records, effects),
    ]


def at_any_time(
    records: Iterable[Transaction],
    effects: Iterable[Effect],
    *,
    apart: timedelta = timedelta(),
    marked: bool = False,
) -> list[Finding]:
    """What must hold in the middle of a run as well, and whatever is on its way."""
    records, effects = list(records), list(effects)
    return [
        *two_effects(effects),
        *desk(records),
        *history(records, apart),
        *cause(records),
        *lines(records, marked=marked),
        *one_token(records),
    ]


# --- the books --------------------------------------------------------------------------------------------------------


def two_effects(effects: Iterable[Effect]) -> list[Finding]:
    times = Counter(effect.id for effect in effects)
    return [Finding("two effects", id_, f"{count} effects") for id_, count in times.items() if count > 1]


def ledger(records: Iterable[Transaction], effects: Iterable[Effect]) -> list[Finding]:
    """Our book against the gateway's, id by id and unit by unit. Whoever is on a desk may have an effect or not."""
    records, effects = list(records), list(effects)
    return [*confirmed(records, effects), *rejected(records, effects), *unexplained(records, effects)]


def confirmed(records: Iterable[Transaction], effects: Iterable[Effect]) -> list[Finding]:
    done = _by_id(effects)
    return [
        Finding("ledger", one.id, f"CONFIRMED {_moved(one)}, gateway moved {_sum(done.get(one.id, ()))}")
        for one in records
        if one.status is Status.CONFIRMED
        and [(effect.amount, effect.currency) for effect in done.get(one.id, ())] != [one.effect]
    ]


def rejected(records: Iterable[Transaction], effects: Iterable[Effect]) -> list[Finding]:
    done = _by_id(effects)
    return [
        Finding("ledger", one.id, f"REJECTED, gateway moved {_sum(done[one.id])}")
        for one in records
        if one.status is Status.REJECTED and one.id in done
    ]


def unexplained(records: Iterable[Transaction], effects: Iterable[Effect]) -> list[Finding]:
    """Effects of what is not CONFIRMED, nor on the desk of a person who may find it."""
    status = {one.id: one.status for one in records}
    return [
        Finding("ledger", id_, f"gateway moved {_sum(those)}, and it is {status.get(id_, 'unknown')}")
        for id_, those in _by_id(effects).items()
        if status.get(id_) not in (Status.CONFIRMED, _R)
    ]


def _moved(record: Transaction) -> str:
    return f"{record.effect[0]} {record.effect[1]}"


def _sum(effects: Iterable[Effect]) -> str:
    return " + ".join(f"{one.amount} {one.currency}" for one in effects) or "nothing"


def lost(came: Iterable[Came], records: Iterable[Transaction]) -> list[Finding]:
    came, records = list(came), list(records)
    return [*missing(came, records), *foreign(came, records), *changed(came, records)]


def missing(came: Iterable[Came], records: Iterable[Transaction]) -> list[Finding]:
    there = {one.id for one in records}
    return [Finding("lost", one.id, "came in, and is not there") for one in came if one.id not in there]


def foreign(came: Iterable[Came], records: Iterable[Transaction]) -> list[Finding]:
    known, there = {one.id for one in came}, Counter(one.id for one in records)
    found = [Finding("lost", id_, "is there, and did not come in") for id_ in there if id_ not in known]
    return found + [Finding("lost", id_, f"is there {times} times") for id_, times in there.items() if times > 1]


def changed(came: Iterable[Came], records: Iterable[Transaction]) -> list[Finding]:
    wanted = {one.id: one for one in came}
    return [
        Finding("lost", one.id, f"came in as {as_it_came.amount} {as_it_came.currency}, is {one.amount} {one.currency}")
        for one in records
        if (as_it_came := wanted.get(one.id))
        and (one.account, one.amount, one.currency) != (as_it_came.account, as_it_came.amount, as_it_came.currency)
    ]


def still_open(records: Iterable[Transaction]) -> list[Finding]:
    return [Finding("open", one.id, f"is {one.status} at the end") for one in records if one.status in (_P, _W)]


def desk(records: Iterable[Transaction]) -> list[Finding]:
    return [
        Finding("desk", one.id, f"reason {one.reason!r}, owner {one.owner!r}, deadline {one.review_by}")
        for one in records
        if one.status is _R and not (one.reason and one.owner and one.review_by)
    ]


def money(came: Iterable[Came], records: Iterable[Transaction], effects: Iterable[Effect]) -> list[Finding]:
    """Sums, in each currency: a pair of errors that make up for each other in one book shows in another."""
    brought, there, confirmed, moved = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for one in came:
        brought[one.currency] += one.amount
    final = set()
    for record in records:
        there[record.currency] += record.amount
        if record.status is Status.CONFIRMED:
            amount, currency = record.effect
            confirmed[currency] += amount
            final.add(record.id)
    for effect in effects:
        if effect.id in final:
            moved[effect.currency] += effect.amount
    found = []
    for currency in sorted({*brought, *there, *confirmed, *moved}):
        if brought[currency] != there[currency]:
            found.append(Finding("money", currency, f"{brought[currency]} came in, {there[currency]} is there"))
        if confirmed[currency] != moved[currency]:
            said = f"{confirmed[currency]} is CONFIRMED, {moved[currency]} was moved for these"
            found.append(Finding("money", currency, said))
    return found


# --- a transaction's own story ----------------------------------------------------------------------------------------


def history(records: Iterable[Transaction], apart: timedelta = timedelta()) -> list[Finding]:
    """Each line goes on where the one before it ended, no earlier than it, and the last one is the present state."""
    return [Finding("history", one.id, gap) for one in records if (gap := _gap(one, apart))]


def _gap(record: Transaction, apart: timedelta) -> str | None:
    was: Status | None = None
    at: datetime | None = None
    for line in record.history:
        if line.was is not was:
            return f"{was or 'nothing'}, then {line.was} -> {line.now}"
        if at and line.at + apart < at:
            return f"{line.was} -> {line.now} at {line.at}, after a line of {at}"
        was, at = line.now, line.at
    return None if was is record.status else f"ends in {was or 'nothing'}, and it is {record.status}"


def cause(records: Iterable[Transaction]) -> list[Finding]:
    return [
        Finding("cause", one.id, f"{line.was} -> {line.now} by {line.by!r}, {line.cause}: {line.why!r}")
        for one in records
        for line in one.history
        if not (line.by and line.why and _leads(line))
    ]


def _leads(line: HistoryEntry) -> bool:
    cause = str(line.cause)
    return cause == LEFT_OUT or (line.was, line.now) in LINES.get(cause, ())


def lines(records: Iterable[Transaction], *, marked: bool = False) -> list[Finding]:
    """Each change raises the version by one and writes a line, which may be counted in another or left out."""
    return [
        Finding("lines", one.id, f"version {one.version}, and lines of {told} changes")
        for one in records
        if (told := sum(line.times for line in one.history)) > one.version or (told < one.version and not marked)
    ]


def one_token(records: Iterable[Transaction]) -> list[Finding]:
    return [Finding("one token", one.id, said) for one in records if (said := _tokens(one))]


def _tokens(record: Transaction) -> str | None:
    held: str | None = None
    unsure, seen = False, set[str]()
    for line in record.history:
        if str(line.cause) == LEFT_OUT:
            unsure = True
            continue
        if line.now is _W:
            if not line.token or line.token in seen:
                return f"claimed under {line.token!r}, as once before" if line.token else "claimed without a token"
            seen.add(line.token)
        elif line.was is _W and not unsure and line.token != held:
            return f"{held!r} held it, and {line.token!r} brought it to {line.now}"
        held, unsure = line.token if line.now is _W else None, False
    if record.token != held and not unsure:
        return f"{record.token!r} holds it by its record, {held!r} by its history"
    if record.token is None and record.lease_until:
        return f"nobody holds it, with a lease until {record.lease_until}"
    return None


def attempts(records: Iterable[Transaction], bounds: Iterable[int]) -> list[Finding]:
    """`bounds` are the most attempts that were ever set."""
    bounds = tuple(bounds)
    return [Finding("attempts", one.id, said) for one in records if (said := _miscounted(one, bounds))]


def _miscounted(record: Transaction, bounds: Sequence[int]) -> str | None:
    before, unsure = 0, False
    for line in record.history:
        cause, now = str(line.cause), line.attempt
        if cause == LEFT_OUT:
            before, unsure = now, True
            continue
        if line.now is _W:  # one after a crash goes on with its attempt; where the bound was lowered it may begin below
            lowered = now <= before and any(now == 2 * most + 1 for most in bounds)
            if now != before + (line.was is not _W) and not lowered and not unsure:
                return f"{line.cause} as attempt {now}, after {before}"
        elif cause in TAKES_BACK and now != before - 1 and not unsure:
            return f"{line.cause} was attempt {before}, and leaves {now}"
        elif cause == "attempts-used-up" and now < min(bounds):
            return f"attempts used up after {now}"
        before, unsure = now, False
    return None


def long_history(records: Iterable[Transaction]) -> list[Finding]:
    return [
        Finding("long history", one.id, f"{len(one.history)} lines") for one in records if len(one.history) > MOST_LINES
    ]


def unfit_words(said: Iterable[tuple[str, str]]) -> list[Finding]:
    return [
        Finding("words", id_, f"{len(text)} characters: {text[:80]!r}")
        for id_, text in said
        if len(text) > MOST_WORDS or not text.isprintable()
    ]


# --- two looks, and many ----------------------------------------------------------------------------------------------


def final_moved(earlier: Iterable[Transaction], later: Iterable[Transaction]) -> list[Finding]:
    """Of two looks at the same transactions: what was final in the first is the same in the second, to the letter."""
    now = {record.id: record for record in later}
    found = []
    for record in earlier:
        if record.status.is_final and (stands := now.get(record.id)) != record:
            changed = [
                f"{name} was {was!r}, is {is_!r}"
                for name, was, is_ in zip(record._fields, record, stands or (), strict=False)
                if was != is_ and name not in ("account", "history")
            ]
            said = "; ".join(changed) or ("its history changed" if stands else "is gone")
            found.append(Finding("final moved", record.id, said))
    return found


def order(operations: Iterable[Operation], begins: Mapping[str, int] | None = None) -> list[Finding]:
    """Whether each transaction's operations are linearizable: there is one order of them that fits what each of them
    saw, and in which whatever ended before another began comes first.

    A write replaces the version that it saw, which makes the order of the writes known. `begins` has the versions of
    those that were there before the first operation.
    """
    found = []
    for id_, those in _by_id(operations).items():
        found += [Finding("order", id_, said) for said in _disorder(those, (begins or {}).get(id_))]
    return found


def _disorder(operations: Sequence[Operation], begins: int | None) -> list[str]:
    writes = sorted(
        (one for one in operations if one.wrote is not None), key=lambda one: (one.wrote or 0, one.saw or 0)
    )
    said, version, last = [], begins, None
    for one in writes:
        if one.saw is not None and (one.wrote or 0) <= one.saw:
            said.append(f"{one.who} wrote version {one.wrote} over {one.saw}")
        if one.saw != version:
            said.append(f"{one.who} wrote version {one.wrote} over {one.saw}, and version {version} stood")
        if last and one.ended is not None and one.ended < last.began:
            said.append(f"{one.who} wrote version {one.wrote} before {last.who} began with {last.wrote}")
        version, last = one.wrote, one if last is None or one.began > last.began else last
    by_version = {one.wrote: one for one in writes}
    replaced = {one.saw: one for one in writes}
    for one in operations:
        if one.wrote is not None:
            continue
        made, over = by_version.get(one.saw), replaced.get(one.saw)
        if one.refused:
            if over is None or (one.ended is not None and over.began > one.ended):
                said.append(f"{one.who} was refused version {one.saw}, which stood")
        elif one.saw is not None and made is None and one.saw != begins:
            said.append(f"{one.who} saw version {one.saw}, which nobody wrote")
        elif made and one.ended is not None and made.began > one.ended:
            said.append(f"{one.who} saw version {one.saw} before it was written")
        elif over and over.ended is not None and over.ended < one.began:
            said.append(f"{one.who} saw version {one.saw}, after {over.who} had written {over.wrote}")
    return said


def starved(turns: Iterable[Turn], poisoned: Iterable[str], bound: timedelta, now: datetime) -> list[Finding]:
    """Of the healthy ones: who waited for longer than `bound` between being due and being taken."""
    sick = set(poisoned)
    return [
        Finding("starved", one.id, f"due at {one.due}, {'taken' if one.taken else 'not taken'} after {waited}")
        for one in turns
        if one.id not in sick and (waited := (one.taken or now) - one.due) > bound
    ]


# --- what leaves ------------------------------------------------------------------------------------------------------

LEAST = 8
"""Letters and digits of a secret in a row that are a part of it; the last four of a card may be shown."""


def secrets_out(planted: Iterable[str], outputs: Iterable[tuple[str, str]], least: int = LEAST) -> list[Finding]:
    """Whether anything of a planted secret is in an output (its place, its text), whatever stands between its letters.

    Any `least` letters and digits of it in a row count, or all of it where it is shorter.
    """
    pieces = _pieces(tuple(planted), least)
    sizes = sorted({len(piece) for piece in pieces})
    found = []
    for where, text in outputs:
        bare = bare_text(text)
        hit = next(
            (
                pieces[piece]
                for size in sizes
                for start in range(len(bare) - size + 1)
                if (piece := bare[start : start + size]) in pieces
            ),
            None,
        )
        if hit is not None:
            found.append(Finding("secret", where, f"shows a part of planted secret {hit}"))
    return found


@lru_cache(maxsize=64)
def _pieces(planted: tuple[str, ...], least: int) -> Mapping[str, int]:
    pieces: dict[str, int] = {}
    for number, secret in enumerate(planted):
        bare = bare_text(secret)
        size = min(least, len(bare))
        for start in range(len(bare) - size + 1 if bare else 0):
            pieces.setdefault(bare[start : start + size], number)
    return pieces


def bare_text(text: str) -> str:
    """Letters and digits alone, without case, width, accents, foreign digits and the escapes of JSON, URLs and HTML."""
    if "\\" in text or "%" in text or "&" in text:
        text = _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else " ", unescape(unquote(text)))
    if text.isascii():
        return "".join(filter(str.isalnum, text)).casefold()
    folded = unicodedata.normalize("NFKD", text).casefold()
    return "".join(str(unicodedata.digit(one, one)) for one in folded if one.isalnum())


_ESCAPE = re.compile(r"\\+(?:u([0-9a-fA-F]{4})|[bfnrt])")


def _by_id(those: Iterable[_Has]) -> dict[str, list[_Has]]:
    groups: defaultdict[str, list[_Has]] = defaultdict(list)
    for one in those:
        groups[one.id].append(one)
    return dict(groups)
