"""What happened at the simulated gateway: every effect, every call. The judge of exactly-once.

One line of JSON per record, appended with one write before anything is answered: once written it belongs to the
kernel and survives `kill -9` of this process (not a power cut: that needs no simulation here).
"""

# ruff: noqa: A001, A002 - `id` is the domain's own word
from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local.errors import LocalError


@dataclass(frozen=True, slots=True)
class Result:
    """What the gateway decided under a key. With `status` "confirmed" it is an effect: money moved."""

    id: str
    key: str
    status: str
    """confirmed, rejected or error."""
    amount: int
    currency: str
    reference: str
    at: float
    """Seconds since 1970, UTC."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call that came in, and what was made of it."""

    id: str
    verb: str
    """confirm or ask."""
    answer: str
    """The status, or what happened in place of one."""
    at: float
    key: str = ""
    """The idempotency key that it was about, where that is not the id."""

    @property
    def about(self) -> str:
        return self.key or self.id


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that a correct caller never does."""

    id: str
    key: str
    what: str
    at: float


Record = Result | Call | Violation
_KINDS: Mapping[str, type[Record]] = {"result": Result, "call": Call, "violation": Violation}
_NAMES = {kind: name for name, kind in _KINDS.items()}


TURNED_AWAY = "429"
"""Of a call that was not looked at."""
NOTHING_DONE = ("unavailable",)
"""Answers to a call that say that nothing was done: after one, it may be sent again unasked."""
UNASKED, PAST_THE_WINDOW = "sent again unasked", "sent again past the key window"
LEAST_WINDOW_SECONDS = 60.0
"""A gateway with a shorter one is told to forget, and keeps no window that a caller could know."""
MOST_LEAVES = 3
"""A worker that stood still after its question sends when another has asked and sent meanwhile; more than so many do
not at once."""


class Order:
    """In which order each key was sent and asked about: what may have been done is asked about before it is sent again.

    Only an answer gives leave to send again: to a call, that nothing was done; to a question, "not found".
    """

    def __init__(self) -> None:
        self._leaves: dict[str, int] = {}
        """How often it may be sent, by what was answered so far."""
        self._in_doubt: set[str] = set()
        """Those whose last answer gave no leave."""
        self._sent: defaultdict[str, list[float]] = defaultdict(list)
        """When it may have been done."""

    def misuse(self, key: str, now: float, window_seconds: float, *, strict: bool) -> str | None:
        """What is wrong with sending this one now, if anything. `strict`: the very last answer must have given leave,
        as it must where no worker ever stands still."""
        sent = self._sent.get(key)
        if sent and now - sent[0] >= window_seconds >= LEAST_WINDOW_SECONDS:
            return PAST_THE_WINDOW
        if not self._leaves.get(key, 1) or (strict and key in self._in_doubt):
            return UNASKED
        return None

    def sent(self, key: str, at: float) -> None:
        """A call came in, whatever becomes of it."""
        self._leaves[key] = max(0, self._leaves.get(key, 1) - 1)
        self._in_doubt.add(key)
        self._sent[key].append(at)

    def answered(self, call: Call) -> None:
        if call.verb == "confirm" and call.answer in NOTHING_DONE and self._sent[call.about]:
            self._sent[call.about].pop()
            self._leave(call.about)
        elif call.verb == "ask" and call.answer == "not_found":
            self._leave(call.about)
        elif call.verb == "ask" and self._sent.get(call.about):
            self._in_doubt.add(call.about)

    def _leave(self, key: str) -> None:
        self._leaves[key] = min(MOST_LEAVES, self._leaves.get(key, 1) + 1)
        self._in_doubt.discard(key)


class Ledger:
    """In memory for reading, in a file for good."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file and reads what is there.

        Raises:
            LocalError: it cannot be opened, another gateway writes it, or it holds something else.
        """
        self.effects: list[Result] = []
        self.effects_of: defaultdict[str, list[Result]] = defaultdict(list)
        self.results: dict[str, Result] = {}
        """The last result under each key."""
        self.calls: defaultdict[str, list[Call]] = defaultdict(list)
        self.answers: Counter[str] = Counter()
        self.sums: Counter[str] = Counter()
        self.violations: list[Violation] = []
        self.order = Order()
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LocalError(f"{path}: another simulated gateway writes this ledger; stop it first.") from None
            self._size = self._load(path.read_bytes())
            os.ftruncate(self._file, self._size)
        except OSError as error:
            raise LocalError(f"{path}: cannot keep the ledger there: {error.strerror}.") from None

    def add(self, *records: Record) -> None:
        """Writes the records, all or none, and only then knows them.

        Raises:
            OSError: the disk is full, for instance; nothing happened then.
        """
        data = b"".join(_line(record) for record in records)
        written = os.write(self._file, data)
        if written < len(data):
            os.ftruncate(self._file, self._size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += written
        self._know(records)

    def close(self) -> None:
        """Lets the file go. Nothing is left to write."""
        with contextlib.suppress(OSError):
            os.close(self._file)

    def result(self, key: str, now: float, window_seconds: float) -> Result | None:
        """What was decided under `key`, as far as the gateway remembers."""
        result = self.results.get(key)
        return result if result is not None and now - result.at < window_seconds else None

    def count(self, id: str, verb: str) -> int:
        return sum(call.verb == verb for call in self.calls.get(id, ()))

    def doubles(self) -> list[str]:
        """The ids whose money moved more than once."""
        return [id for id, effects in self.effects_of.items() if len(effects) > 1]

    def as_json(self) -> dict[str, Any]:
        return {
            "effects": [_shown(effect) for effect in self.effects],
            "calls": {id: {"confirm": self.count(id, "confirm"), "ask": self.count(id, "ask")} for id in self.calls},
            "violations": [_shown(violation) for violation in self.violations],
        }

    def as_csv(self) -> str:
        """The effects as a gateway's owner exports them, for `confirm reconcile`."""
        rows = (f"{one.id},{one.amount},{one.currency},{one.reference}\n" for one in self.effects)
        return "id,amount_minor,currency,reference\n" + "".join(rows)

    def life_of(self, id: str) -> dict[str, Any]:
        """Everything about one id, in order."""
        return {
            "id": id,
            "effects": [_shown(effect) for effect in self.effects_of.get(id, ())],
            "calls": [_shown(call) for call in self.calls.get(id, ())],
            "violations": [_shown(violation) for violation in self.violations if violation.id == id],
        }

    def stats(self) -> dict[str, Any]:
        return {
            "effects": len(self.effects),
            "ids": len(self.effects_of),
            "doubles": len(self.doubles()),
            "violations": len(self.violations),
            "rejected": sum(result.status == "rejected" for result in self.results.values()),
            "calls": sum(self.answers.values()),
            "answers": dict(sorted(self.answers.items())),
            "sums": dict(sorted(self.sums.items())),
        }

    def _know(self, records: Iterable[Record]) -> None:
        for record in records:
            match record:
                case Result():
                    self.results[record.key] = record
                    if record.status == "confirmed":
                        self.effects.append(record)
                        self.effects_of[record.id].append(record)
                        self.sums[record.currency] += record.amount
                case Call():
                    self.order.answered(record)
                    self.calls[record.id].append(record)
                    self.answers[f"{record.verb} {record.answer}"] += 1
                case Violation():
                    self.violations.append(record)

    def _load(self, data: bytes) -> int:
        """Reads the file; returns its length without a last line that was cut short (it was never answered)."""
        whole = data.rfind(b"\n") + 1
        for number, line in enumerate(data[:whole].splitlines(), start=1):
            try:
                fields = json.loads(line)
                record = _KINDS[fields.pop("kind")](**fields)
            except (ValueError, KeyError, TypeError, AttributeError):
                raise LocalError(f"{self.path}, line {number}: not a record of the simulated gateway.") from None
            if isinstance(record, Call) and record.verb == "confirm" and record.answer != TURNED_AWAY:
                self.order.sent(record.id, record.at)
            self._know([record])
        return whole


def _line(record: Record) -> bytes:
    return json.dumps({"kind": _NAMES[type(record)], **asdict(record)}, separators=(",", ":")).encode() + b"\n"


def _shown(record: Record) -> dict[str, Any]:
    at = datetime.fromtimestamp(record.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {**asdict(record), "at": at}
