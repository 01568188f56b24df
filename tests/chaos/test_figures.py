"""What the long runs are judged by: each judge is shown what it must refuse."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from chaos.attack import WHOLE, size_of
from chaos.fargate import FargateFront, seconds_of
from chaos.front import Front, Kind, shares
from chaos.normal import differences, normal
from chaos.serverless import ServerlessFront
from chaos.steady import LIMITS, Limit, Sample, Watched, trend
from chaos.takeover import Hold, at_share, takeovers, while_there, within
from workers.domain.causes import Cause
from workers.domain.transaction import HistoryEntry, Status, Transaction

T0 = datetime(2026, 1, 5, 9, tzinfo=UTC)
P, W, C = Status.PENDING, Status.PROCESSING, Status.CONFIRMED
LEASE = timedelta(seconds=10)


def line(
    second: float,
    was: Status | None,
    now: Status,
    cause: Cause,
    token: str | None = None,
    times: int = 1,
    by: str = "a",
) -> HistoryEntry:
    at = T0 + timedelta(seconds=second)
    return HistoryEntry(at, by, was, now, 1, token, str(cause), times, at if times > 1 else None, cause)


def record(*lines: HistoryEntry, id_: str = "p-1", amount: int = 5) -> Transaction:
    return Transaction(id_, "acct", amount, "USD", T0, T0 + timedelta(days=1), status=lines[-1].now, history=lines)


ADDED = line(0, None, P, Cause.ADDED)
CLAIMED = line(1, P, W, Cause.CLAIMED, "t-1")


# --- takeovers


def test_a_takeover_is_counted_from_the_end_of_the_dead_claims_lease() -> None:
    taken = record(ADDED, CLAIMED, line(11.5, W, W, Cause.TAKEN_OVER, "t-2"), line(12, W, C, Cause.CONFIRMED))
    given_up = record(ADDED, CLAIMED, line(14, W, Status.REVIEW, Cause.WORKERS_LOST))
    settled = record(ADDED, CLAIMED, line(2, W, C, Cause.CONFIRMED))
    assert [one.late for one in takeovers([taken, given_up, settled], LEASE)] == [0.5, 3.0]


def test_a_lease_that_was_renewed_ends_when_the_datastore_said() -> None:
    taken = record(ADDED, CLAIMED, line(15, W, W, Cause.TAKEN_OVER, "t-2"))
    ends: dict[Hold, datetime] = {("p-1", "t-1"): T0 + timedelta(seconds=14)}
    assert [one.late for one in takeovers([taken], LEASE, ends)] == [1.0]
    assert takeovers([taken], LEASE, {}) == [], "of a claim that was not seen nothing is said"


def test_what_waited_for_a_datastore_that_was_away_is_told_apart() -> None:
    taken = record(ADDED, CLAIMED, line(31, W, W, Cause.TAKEN_OVER, "t-2"))
    found = takeovers([taken], LEASE)

    def outage(began: float, ended: float) -> list[tuple[datetime, datetime]]:
        return [(T0 + timedelta(seconds=began), T0 + timedelta(seconds=ended))]

    assert while_there(found, outage(20, 25)) == while_there(found, outage(1, 5)) == []
    assert while_there(found, outage(32, 40)) == while_there(found, outage(0, 2)) == found, "it has no excuse"


def test_shares_of_many() -> None:
    values = [float(n) for n in range(1, 101)]
    assert (at_share(values, 0.99), at_share(values, 0.5), at_share([], 0.99)) == (99.0, 50.0, 0.0)
    assert (within(values, 98.0), within([], 98.0)) == (0.98, 0.0)


# --- what is done, and how often


def test_attacks_are_spread_evenly_and_all_of_them_are_there() -> None:
    row = shares({Kind.KILL: 30, Kind.CRASH: 3})
    assert Counter(row) == {Kind.KILL: 30, Kind.CRASH: 3}
    assert [n for n, kind in enumerate(row) if kind is Kind.CRASH] == [5, 16, 27]


def test_alternatives_share_the_attacks_that_they_have() -> None:
    fronts: list[type[Front]] = [ServerlessFront, FargateFront]
    sizes = [size_of(front, 20_000, WHOLE, fronts) for front in fronts]
    for kind, count in WHOLE.items():
        assert sum(size.attacks.get(kind, 0) for size in sizes) == count, kind
    assert Kind.TERM not in sizes[0].attacks, "a Lambda gets no SIGTERM"
    assert [size.transactions for size in sizes] == [10_000, 10_000]
    alone = size_of(ServerlessFront, 20_000, WHOLE, [ServerlessFront])
    assert (alone.transactions, alone.attacks[Kind.KILL]) == (20_000, 300)


@pytest.mark.parametrize(("text", "seconds"), [("07", 7), ("01:07", 67), ("02:01:07", 7267), ("1-02:01:07", 93_667)])
def test_the_age_of_a_process_as_ps_says_it(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


# --- flat


def series(slope: float, until: int = 600, first: float = 100.0) -> list[Sample]:
    return [Sample(n, first + slope * n + (n % 7) * 0.1) for n in range(0, until + 1, 10)]


def test_what_grows_is_not_flat() -> None:
    limit = Limit(0.05, 1.0)
    flat, leak = trend(series(0.0)), trend(series(0.05))
    assert flat
    assert leak
    assert flat.is_flat(limit)
    assert not leak.is_flat(limit)
    assert leak.rises == pytest.approx(15, abs=1), "over the second half"


def test_what_grew_while_it_warmed_up_is_flat() -> None:
    warm = [Sample(n, min(100.0, 20.0 + n)) for n in range(0, 601, 10)]
    found = trend(warm)
    assert found
    assert found.is_flat(Limit(0.05, 0.0))


def test_of_what_was_not_seen_to_the_end_nothing_is_said() -> None:
    assert trend([]) is None
    assert trend(series(0.0, until=400), ends=600) is None, "it died"
    assert trend([one for one in series(0.0) if one.seconds > 400], ends=600) is None, "it came later"
    watched = Watched()
    for one in series(0.0):
        watched.add("memory_mb", "1", *one)
    assert watched.unseen(600) == [what for what in LIMITS if what != "memory_mb"]


# --- told alike


def test_times_names_and_tries_without_a_call_make_no_difference() -> None:
    one = record(ADDED, CLAIMED, line(2, W, C, Cause.CONFIRMED))
    other = record(
        ADDED,
        line(3, P, W, Cause.CLAIMED, "x", by="b"),
        line(4, W, P, Cause.RATE_LIMITED, by="b"),
        line(5, P, W, Cause.CLAIMED, "y", by="b"),
        line(9, W, C, Cause.CONFIRMED, by="b"),
    )
    found, left_out = differences({"one": [one], "other": [other]})
    assert found == []
    assert left_out == {"one": {}, "other": {"rate-limited": 1}}


def test_equal_tries_are_the_same_counted_or_one_by_one() -> None:
    apart = (CLAIMED, line(2, W, P, Cause.NOT_DONE))
    counted = (line(5, P, W, Cause.CLAIMED, "z", times=3), line(6, W, P, Cause.NOT_DONE, times=3))
    end = (CLAIMED, line(9, W, C, Cause.CONFIRMED))
    assert normal(record(ADDED, *apart, *apart, *apart, *end)) == normal(record(ADDED, *counted, *end))
    assert normal(record(ADDED, *apart, *apart, *end)) != normal(record(ADDED, *counted, *end))


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ([], "missing"),
        ([record(ADDED, CLAIMED, line(2, W, Status.REJECTED, Cause.REFUSED))], "state"),
        ([record(ADDED, CLAIMED, line(2, W, C, Cause.CONFIRMED), amount=6)], "content"),
        ([record(ADDED, CLAIMED, line(2, W, C, Cause.ALREADY_DONE))], "history"),
        ([record(ADDED, CLAIMED, CLAIMED, line(2, W, C, Cause.CONFIRMED))], "history"),
    ],
)
def test_what_is_told_differently_is_found(other: list[Transaction], what: str) -> None:
    one = record(ADDED, CLAIMED, line(2, W, C, Cause.CONFIRMED))
    found, _ = differences({"one": [one], "other": other})
    assert [(difference.id, difference.what) for difference in found] == [("p-1", what)]
