"""What a transaction is, as one table. What PostgreSQL refuses by its constraints (workers/migrations/), whoever reads
an item of DynamoDB refuses by these rules: tests hold both to the same cases.

A record that breaks a rule is believed in nothing: it lies on a desk, and no gateway hears of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

from workers.domain.outcomes import MOST_MONEY
from workers.domain.transaction import Status, Transaction

MAX_AMOUNT = 10**15
"""Minor units. Below 2^53, so that no JSON reader on the way can round it."""
MAX_ACCOUNT = 1_024
"""What was taken before there was a rule fits too; an import takes 128."""
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
CURRENCY = re.compile(r"[A-Z]{3}")
"""By its form: which codes there are is a matter of the gateway, and of imports (workers/domain/currency.py)."""
FIRST, LAST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
"""Between these every reader can reckon with a time, in whatever zone."""
MOST = 2**31 - 1
"""What counts is kept in 32 bits."""


def _whole(record: Transaction) -> bool:
    """Whether the fields of its state are there: without them nobody could ever claim, settle or decide it."""
    waits = record.next_attempt_at is not None
    match record.status:
        case Status.PENDING:
            return waits and record.lease_until is None
        case Status.PROCESSING:
            return waits and record.lease_until is not None and record.token is not None
        case Status.REVIEW:
            return record.reason is not None and record.owner is not None and record.review_by is not None
        case _:
            return record.settled_at is not None and not waits and record.lease_until is None


def _within(*times: datetime | None) -> bool:
    return all(time is None or FIRST < time < LAST for time in times)


def _counts(record: Transaction) -> bool:
    counts = (record.attempt, record.version, record.tries, record.asked, record.lost, record.new_keys)
    return all(0 <= count <= MOST for count in counts)


def _effect(record: Transaction) -> bool:
    """What moved in the place of the amount is whatever a gateway may move, of what is CONFIRMED."""
    if record.moved is None or record.moved_currency is None:
        return record.moved is None and record.moved_currency is None
    fits = 0 < record.moved < MOST_MONEY and CURRENCY.fullmatch(record.moved_currency) is not None
    return fits and record.status is Status.CONFIRMED


RULES: tuple[tuple[str, str, Callable[[Transaction], bool]], ...] = (
    ("id", "1 to 128 of A-Z a-z 0-9 . _ : -, beginning with a letter or a digit",
     lambda record: ID.fullmatch(record.id) is not None),
    ("account", f"1 to {MAX_ACCOUNT} characters, no NUL among them",
     lambda record: 0 < len(record.account) <= MAX_ACCOUNT and "\0" not in record.account),
    ("amount", f"whole minor units, 0 to {MAX_AMOUNT}", lambda record: 0 <= record.amount <= MAX_AMOUNT),
    ("currency", "three capital letters, as ISO 4217 has them",
     lambda record: CURRENCY.fullmatch(record.currency) is not None),
    ("created_at", "a time of the years 1 to 9998", lambda record: _within(record.created_at)),
    ("deadline", "a time of the years 1 to 9998", lambda record: _within(record.deadline)),
    ("times of its turns and of its sending", "times of the years 1 to 9998",
     lambda record: _within(record.next_attempt_at, record.lease_until, record.first_sent_at, record.last_sent_at,
                            record.settled_at, record.review_by, record.away_since, record.desk_by)),
    ("attempt, version, tries, asked, lost and new_keys", f"0 to {MOST}", _counts),
    ("moved and moved_currency", "both or none, of what is CONFIRMED: 1 to 2^63 - 1, three capital letters",
     _effect),
    ("status", "with all that its state needs: a due time, a lease and a token, an end, or a desk", _whole),
)  # fmt: skip
"""Field, what is allowed, and whether a record keeps to it."""


def broken_rule(record: Transaction) -> str | None:
    """The first rule that the record breaks, as a reason without what was found there: it may be an account's data."""
    for field, allowed, holds in RULES:
        if not holds(record):
            return f"field {field} breaks the rules (allowed: {allowed})"
    return None
