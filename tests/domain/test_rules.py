"""What a transaction is: each rule up to its bound, and what each state needs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.fakes import START, payment
from workers.domain.outcomes import MOST_MONEY
from workers.domain.rules import broken_rule
from workers.domain.transaction import Status
from workers.stores.common import arrived

_TIMES = ("created_at", "deadline", "next_attempt_at", "first_sent_at", "last_sent_at", "review_by")
MOMENT = timedelta(milliseconds=1)
BOUNDS: tuple[tuple[str, Any, Any], ...] = (
    ("account", "9", ""),
    ("account", "9" * 1_024, "9" * 1_025),
    ("account", "no NUL", "a \0"),
    ("amount", 0, -1),
    ("amount", 10**15, 10**15 + 1),
    *((name, 0, -1) for name in ("attempt", "version", "tries", "asked")),
    *((name, 2**31 - 1, 2**31) for name in ("attempt", "version", "tries", "asked")),
    *((name, datetime(1, 1, 2, tzinfo=UTC) + MOMENT, datetime(1, 1, 2, tzinfo=UTC)) for name in _TIMES),
    *((name, datetime(9999, 1, 1, tzinfo=UTC) - MOMENT, datetime(9999, 1, 1, tzinfo=UTC)) for name in _TIMES),
)


@pytest.mark.parametrize(("field", "last", "beyond"), BOUNDS, ids=lambda value: str(value)[:20])
def test_a_rule_takes_all_up_to_its_bound(field: str, last: Any, beyond: Any) -> None:
    fine = arrived(payment("p"), START)
    assert broken_rule(fine._replace(**{field: last})) is None
    assert broken_rule(fine._replace(**{field: beyond})) is not None


NEEDS: dict[Status, dict[str, Any]] = {
    Status.PENDING: {"next_attempt_at": START},
    Status.PROCESSING: {"next_attempt_at": START, "lease_until": START, "token": "t"},
    Status.REVIEW: {"reason": "so", "owner": "ana", "review_by": START},
    Status.CONFIRMED: {"settled_at": START},
    Status.REJECTED: {"settled_at": START},
}
FORBIDS: dict[Status, dict[str, Any]] = {
    Status.PENDING: {"lease_until": START},
    Status.CONFIRMED: {"next_attempt_at": START, "lease_until": START},
    Status.REJECTED: {"next_attempt_at": START, "lease_until": START},
}


@pytest.mark.parametrize("status", Status)
def test_a_record_has_all_that_its_state_needs_and_nothing_that_it_forbids(status: Status) -> None:
    whole = payment("p")._replace(status=status, **NEEDS[status])
    assert broken_rule(whole) is None
    nothing: dict[str, Any] = dict.fromkeys(NEEDS[status])
    for field, value in [*nothing.items(), *FORBIDS.get(status, {}).items()]:
        assert "status" in (broken_rule(whole._replace(**{field: value})) or ""), field


@pytest.mark.parametrize(
    ("moved", "currency", "fits"),
    [
        (None, None, True),
        (1, "JPY", True),
        (MOST_MONEY - 1, "JPY", True),
        (MOST_MONEY, "JPY", False),
        (0, "JPY", False),
        (1, None, False),
        (None, "JPY", False),
        (1, "yen", False),
    ],
)
def test_what_moved_instead_is_money_whole_or_is_not_there(moved: int | None, currency: str | None, fits: bool) -> None:
    record = payment("p")._replace(status=Status.CONFIRMED, settled_at=START, moved=moved, moved_currency=currency)
    assert (broken_rule(record) is None) is fits
    whole = moved is not None and currency is not None
    assert record.effect == ((moved, currency) if whole else (record.amount, record.currency))
    open_ = record._replace(status=Status.PENDING, settled_at=None, next_attempt_at=START)
    assert (broken_rule(open_) is None) is (moved is None and currency is None), "only what is done has moved"
