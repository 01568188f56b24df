"""A transaction, its states and its history: immutable values, no I/O."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from workers.domain.causes import Cause

CANARY = "canary-"
"""How the id of a canary begins: a payment of our own that shows the whole path to work. It goes the way of every
other, and is in no book: no desk, no sum, no count of outcomes. The name alone makes none (`is_canary`)."""
CANARY_AMOUNT, CANARY_CURRENCY = 1, "USD"
CANARY_KEPT = timedelta(days=7)
"""How long one can be looked at; then the datastore forgets it."""
_CANARY_ID = re.compile(r"canary-([0-9A-Za-z]{1,20}-)?[0-9]{8}T[0-9]{6}Z")
"""With the time in it, and before that, of those that the pipeline sends, the number of its run."""


def is_canary(id_: str, amount: int, currency: str) -> bool:
    """Whether that is a canary: all of its form, or any payment could hide behind the name.

    The function `is_canary` of the database says the same (workers/migrations/0006_true_canaries.sql).
    """
    return (
        id_.startswith(CANARY)
        and (amount, currency) == (CANARY_AMOUNT, CANARY_CURRENCY)
        and _CANARY_ID.fullmatch(id_) is not None
    )


KEY_MARK = "~"
"""Between an id and the number of a key that a desk gave it: no id has it, so no key is another's id, and no URL has to
escape it."""


MOST_KEYS = 5
"""New keys of one transaction: each is one more question whenever it is asked about."""


def id_of(key: str) -> str:
    """The transaction that an idempotency key is of."""
    return key.partition(KEY_MARK)[0]


class Status(StrEnum):
    """The five states. CONFIRMED and REJECTED are final; REVIEW waits for a person."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    CONFIRMED = "CONFIRMED"
    REJECTED = "REJECTED"
    REVIEW = "REVIEW"

    __hash__ = str.__hash__  # the same number as Enum's own, which is a function in Python

    @property
    def is_final(self) -> bool:
        return self in (Status.CONFIRMED, Status.REJECTED)


class HistoryEntry(NamedTuple):
    """One change of state: when, by whom, from what to what, in which attempt, under which token, and why.

    `why` is for people; what is counted or decided goes by `cause`.
    """

    at: datetime
    by: str
    was: Status | None
    now: Status
    attempt: int
    token: str | None
    why: str
    times: int = 1
    """How often it happened, where equal changes came one after the other: this is the last of them."""
    since: datetime | None = None
    """When the first of them was; None for a single one."""
    cause: Cause | None = None
    """None in a line of before there were causes."""


class Transaction(NamedTuple):
    """One pending payment and all that is known of it. A tuple, since a worker makes some 100,000 a second of them.

    Times are aware UTC with millisecond resolution; `amount` is in minor units of `currency` (ISO 4217).
    """

    id: str
    account: str
    amount: int
    currency: str
    created_at: datetime
    deadline: datetime
    """With no evidence by then, the transaction goes to REVIEW."""
    status: Status = Status.PENDING
    attempt: int = 0
    """Attempts begun so far; a call that was never made or only asked leaves it uncounted, and so does a lost worker.
    Attempts bound what is sent: beyond the policy's number a claim may ask, and send no more."""
    next_attempt_at: datetime | None = None
    """Since when it is due (open states only; a claim leaves it alone, so that the index of open work stands still)."""
    lease_until: datetime | None = None
    """Until then the holder of `token`, and nobody else, may act (PROCESSING only)."""
    token: str | None = None
    """Random and fresh for each claim: the fence that a late worker fails on."""
    first_sent_at: datetime | None = None
    """Since when an effect may exist at the gateway; the key window counts from here. None: proven never sent. A claim
    sets it before anything is sent, and only proof takes it away: a call that was not made, or an answer that says that
    nothing was done."""
    last_sent_at: datetime | None = None
    """Until when an attempt before the present one may have sent; the grace period counts from here. None: there was
    none, which outside of PROCESSING is proof only where `first_sent_at` is None too."""
    settled_at: datetime | None = None
    gateway_reference: str | None = None
    reason: str | None = None
    """Why it is in its state, when that needs saying: the refusal, the last trouble, what a person must decide."""
    owner: str | None = None
    """Whose desk it is on, and until when (REVIEW only)."""
    review_by: datetime | None = None
    version: int = 1
    tries: int = 0
    """Tries of any kind that brought no end, since it came or was redriven: the next wait grows with them."""
    asked: int = 0
    """Questions among them that brought no evidence."""
    lost: int = 0
    """Workers lost with it since a call of it last came back."""
    away_since: datetime | None = None
    """Since when nobody could ask about it, long past its deadline; None: nobody tried, or a question got through."""
    desk_by: datetime | None = None
    """A desk has it asked about, and wants it back to be decided by then: until it is back nothing is sent. None: no
    desk does."""
    new_keys: int = 0
    """How many idempotency keys a desk has given it, after its first."""
    moved: int | None = None
    """What the gateway moved in the place of `amount`, where two people have accepted that (CONFIRMED only) ..."""
    moved_currency: str | None = None
    history: tuple[HistoryEntry, ...] = ()

    @property
    def is_canary(self) -> bool:
        return is_canary(self.id, self.amount, self.currency)

    @property
    def key(self) -> str:
        """The idempotency key that it is sent under: one for all attempts, so that the gateway itself refuses a second
        effect. Another one only a desk gives it."""
        return f"{self.id}{KEY_MARK}{self.new_keys + 1}" if self.new_keys else self.id

    @property
    def keys(self) -> tuple[str, ...]:
        """All that it may have been sent under: it is asked about under each of them, the present one last.

        Once a desk has given it one, that is all that it may ever get: a datastore that was set back knows of fewer
        than there were.
        """
        if not self.new_keys:
            return (self.id,)
        others = (number for number in range(MOST_KEYS, 0, -1) if number != self.new_keys)
        return (self.id, *(f"{self.id}{KEY_MARK}{number + 1}" for number in others), self.key)

    @property
    def effect(self) -> tuple[int, str]:
        """What a confirmed one has moved: minor units, currency."""
        if self.moved is None or self.moved_currency is None:
            return self.amount, self.currency
        return self.moved, self.moved_currency

    @property
    def cause(self) -> Cause | None:
        """Of its present state, where its history is there and says so."""
        return self.history[-1].cause if self.history else None

    @property
    def sent_earlier(self) -> bool:
        """Whether an attempt before the present claim may have reached the gateway: then ask before sending."""
        return self.last_sent_at is not None or (
            self.status is not Status.PROCESSING and self.first_sent_at is not None
        )


def utc(value: datetime) -> datetime:
    """`value` as UTC, cut to milliseconds: what both datastores keep.

    Raises:
        ValueError: `value` carries no time zone.
    """
    if value.tzinfo is UTC and not value.microsecond % 1000:
        return value
    if value.tzinfo is None:
        raise ValueError(f"a time needs a zone, found {value.isoformat()}")
    value = value.astimezone(UTC)
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


def to_text(value: datetime) -> str:
    """`value` as `2026-11-24T07:34:00.123Z`: fixed width, so that text order is time order."""
    return utc(value).isoformat(timespec="milliseconds")[:23] + "Z"  # strftime leaves years before 1000 short


def from_text(value: str) -> datetime:
    """The inverse of `to_text`.

    Raises:
        ValueError: not of that form.
    """
    try:
        return utc(datetime.fromisoformat(value))
    except OverflowError:  # a zone that leads out of the years 1 to 9999
        raise ValueError(f"no such time in UTC: {value}") from None
