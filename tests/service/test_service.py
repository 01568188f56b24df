"""The service as a real process: it confirms, stops in good order, and survives what the world does to it."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from cli.postgres import asking
from tests.fakes import run
from tests.service.conftest import Gateway
from tests.service.harness import SHORT, Harness
from workers.domain.pause import Scope, paused, resumed
from workers.domain.transaction import Status, Transaction
from workers.migrations import Migration, migrate, migrations
from workers.stores.postgres import PostgresStore
from workers.stores.postgres_desk import PostgresDesk

Statuses = Counter[str]


def add(store: PostgresStore, count: int, start: int = 0) -> None:
    now = datetime.now(UTC)
    records = [
        Transaction(f"p-{n:05}", "acct-1", 100 + n, "USD", now, now + timedelta(hours=1))
        for n in range(start, start + count)
    ]
    assert len(run(store.add(records)).new) == count


def statuses(store: PostgresStore) -> Statuses:
    rows = run(store.pool.fetch("SELECT status, count(*) AS n FROM transactions GROUP BY status"))
    return Counter({row["status"]: row["n"] for row in rows})


def wait(what: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not come about in time"
        time.sleep(0.05)


def all_final(store: PostgresStore, count: int, on_desk: int = 0) -> Callable[[], bool]:
    def ended() -> bool:
        now = statuses(store)
        assert now["REVIEW"] <= on_desk, f"{now['REVIEW']} are on a desk, and the rest waits for them: {now}"
        return now["CONFIRMED"] + now["REJECTED"] == count

    return ended


def once_each(gateway: Gateway, store: PostgresStore) -> None:
    """Exactly one effect for each confirmed one, none for the others."""
    confirmed = {row["id"] for row in run(store.pool.fetch("SELECT id FROM transactions WHERE status = 'CONFIRMED'"))}
    effects = Counter(effect.id for effect in gateway.ledger.effects)
    assert set(effects) == confirmed
    assert set(effects.values()) <= {1}
    assert gateway.ledger.violations == []


def sent(line: dict[str, Any]) -> set[str]:
    """The metrics of a line."""
    return {metric["Name"] for block in line["_aws"]["CloudWatchMetrics"] for metric in block["Metrics"]}


def test_it_confirms_what_is_there_and_what_comes_and_says_so(
    place: Harness, store: PostgresStore, gateway: Gateway
) -> None:
    gateway.behave(refused=0.1)
    add(store, 300)
    with place.worker() as worker:
        wait(all_final(store, 300))
        idle = {"Backlog", "OldestPendingAge"}  # each other is paid for in the hours that have it; scaling reads these
        wait(lambda: any(sent(line) == idle for line in worker.lines() if "_aws" in line))
        add(store, 50, start=300)
        wait(all_final(store, 350))
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(60) == 0
    once_each(gateway, store)
    record = run(store.find("p-00000"))
    assert record is not None
    assert [line.now for line in record.history] == [Status.PENDING, Status.PROCESSING, record.status]
    assert worker.events("stopped")[0]["held"] == 0
    metrics = [line for line in worker.lines() if "_aws" in line]
    assert sum(line.get("Confirmed", 0) + line.get("Rejected", 0) for line in metrics) == 350
    assert not any("GatewayErrors" in line or "BreakerOpen" in line for line in metrics), "no trouble, no metric"
    assert sum(len(line.get("GatewayMs", ())) for line in metrics) >= 100
    assert any(line.get("TimeToFinal") for line in metrics)
    assert metrics[-1]["Backlog"] == 0
    logged = [line["tx"] for line in worker.lines() if "tx" in line]
    assert sorted(logged) == [f"p-{n:05}" for n in range(350)]
    assert "acct-1" not in worker.log.read_text()


def test_new_work_wakes_it_before_its_poll(place: Harness, store: PostgresStore) -> None:
    with place.worker(POLL_SECONDS="20") as worker:
        worker.await_event("started")
        time.sleep(0.5)
        took = []
        for n in range(5):
            began = time.monotonic()
            add(store, 1, start=n)
            wait(all_final(store, n + 1))
            took.append(time.monotonic() - began)
    assert statistics.median(took) < 8, "a poll alone would have taken 10 s on average"


def stop(store: PostgresStore, scope: Scope | None) -> None:
    """As the desk's function does it; None resumes."""
    desk = PostgresDesk(asking(store.pool))
    before = run(desk.standing())
    after = paused(before, scope, "ana", "w", datetime.now(UTC)) if scope else resumed(before, "w")[0]
    assert run(desk.pause(before, after))


def test_it_stops_when_people_say_so_and_goes_on_when_they_do(
    place: Harness, store: PostgresStore, gateway: Gateway
) -> None:
    with place.worker() as worker:
        worker.await_event("started")
        stop(store, Scope.ALL)
        worker.await_event("paused")
        add(store, 3)
        run(store.add([late := Transaction("late", "acct-1", 1, "USD", *past())]))
        wait(lambda: statuses(store)["REVIEW"] == 1)  # its deadline holds all the same
        assert statuses(store) == {"PENDING": 3, "REVIEW": 1}
        assert gateway.ledger.calls == {}
        wait(lambda: any("PausedSeconds" in line for line in worker.lines()))
        stop(store, None)
        worker.await_event("resumed")
        wait(all_final(store, 3, on_desk=1))
    once_each(gateway, store)
    assert late.id not in gateway.ledger.calls


def past() -> tuple[datetime, datetime]:
    """When it was created, and its deadline."""
    now = datetime.now(UTC)
    return now - timedelta(hours=2), now - timedelta(hours=1)


def test_faults_of_the_gateway_double_and_lose_nothing(place: Harness, store: PostgresStore, gateway: Gateway) -> None:
    faults = ("timeout-after", "error-after", "unavailable", "close-before")
    gateway.behave(faults=dict.fromkeys(faults, 0.05), hang_seconds=3)
    add(store, 120)
    with place.worker(GATEWAY_TIMEOUT_SECONDS="0.4", MAX_ATTEMPTS="50"):
        wait(all_final(store, 120))
    once_each(gateway, store)


def test_sigterm_ends_calls_and_releases_the_rest(place: Harness, store: PostgresStore, gateway: Gateway) -> None:
    gateway.behave(latency_seconds=[0.3, 0.3])
    add(store, 400)
    with place.worker(GATEWAY_CONCURRENCY="10") as worker:
        wait(lambda: statuses(store)["CONFIRMED"] > 0)
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(60) == 0
    after = statuses(store)
    assert after["PROCESSING"] == 0, "every lease is settled or released"
    assert after["PENDING"] > 0
    attempts = run(store.pool.fetchval("SELECT max(attempt) FROM transactions WHERE status = 'PENDING'"))
    assert attempts == 0, "what was not tried burned no attempt"
    once_each(gateway, store)


def test_a_killed_worker_is_relieved_when_its_leases_are_over(
    place: Harness, store: PostgresStore, gateway: Gateway
) -> None:
    gateway.behave(latency_seconds=[0.2, 0.2])
    add(store, 150)
    with place.worker("first", **SHORT) as first:
        wait(lambda: statuses(store)["CONFIRMED"] > 10)
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
        wait(lambda: not run(store.pool.fetchval(CONNECTED)))  # the database ends what it was told last
        stuck = statuses(store)["PROCESSING"]
        assert stuck > 0
        with place.worker("second"):
            wait(all_final(store, 150))
    once_each(gateway, store)
    told = run(store.pool.fetchval("SELECT count(*) FROM history WHERE taken_over"))
    assert told == stuck


def test_a_frozen_worker_does_no_harm_when_it_wakes(place: Harness, store: PostgresStore, gateway: Gateway) -> None:
    gateway.behave(latency_seconds=[0.2, 0.2])
    add(store, 100)
    with place.worker("frozen", **SHORT) as frozen:
        wait(lambda: statuses(store)["CONFIRMED"] > 5)
        frozen.process.send_signal(signal.SIGSTOP)
        time.sleep(4.5)  # beyond its leases
        with place.worker("other"):
            wait(all_final(store, 100))
            frozen.process.send_signal(signal.SIGCONT)
            time.sleep(1)
        frozen.process.send_signal(signal.SIGTERM)
        assert frozen.process.wait(60) == 0
    once_each(gateway, store)
    assert statuses(store) == {"CONFIRMED": 100}


def test_leases_of_slow_calls_are_renewed(place: Harness, store: PostgresStore, gateway: Gateway) -> None:
    gateway.behave(latency_seconds=[0.6, 0.6])
    add(store, 15)
    one_by_one = SHORT | {"LEASE_SECONDS": "6", "GATEWAY_CONCURRENCY": "1"}
    with place.worker("slow", **one_by_one) as slow:
        slow.await_event("started")
        wait(lambda: not statuses(store)["PENDING"])  # all are its own: the last one waits for 9 s
        with place.worker("rival", **one_by_one):
            wait(all_final(store, 15))
    once_each(gateway, store)
    longest = run(store.pool.fetchval("SELECT max(at - claimed_at) FROM history WHERE now = 'CONFIRMED'"))
    assert longest > timedelta(seconds=6), "without more lease it would have been released"


@pytest.mark.parametrize("immediate", [False, True], ids=["fast", "crash"])
def test_a_restart_of_the_database_is_waited_out_and_told_once(
    place: Harness, store: PostgresStore, gateway: Gateway, immediate: bool
) -> None:
    gateway.behave(latency_seconds=[0.05, 0.05])
    add(store, 200)
    with place.worker(GATEWAY_CONCURRENCY="5") as worker:
        wait(lambda: statuses(store)["CONFIRMED"] > 20)
        run(store.pool.expire_connections())
        place.postgres.restart(immediate=immediate)
        worker.await_event("database back")
        wait(lambda: _final_or_away(store) == 200)
        assert len(worker.events("database lost")) == 1
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(60) == 0
    once_each(gateway, store)


def _final_or_away(store: PostgresStore) -> int:
    try:
        return statuses(store)["CONFIRMED"]
    except Exception:
        return -1


CONNECTED = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'confirm_service' AND datname = current_database()"
CUT_OFF = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'confirm_service'"


def test_a_cut_connection_listens_again(place: Harness, store: PostgresStore, gateway: Gateway) -> None:
    with place.worker(POLL_SECONDS="600") as worker:  # nothing is found by polling here
        worker.await_event("started")
        add(store, 5)
        wait(all_final(store, 5))
        run(store.pool.execute(CUT_OFF))
        add(store, 5, start=5)
        wait(all_final(store, 10))
    once_each(gateway, store)


REFUSALS = {
    "read-only": ("ROLE confirm_service IN DATABASE {0} SET default_transaction_read_only = on", "RESET ALL"),
    "out-of-connections": ("DATABASE {0} CONNECTION LIMIT 0", "CONNECTION LIMIT -1"),
}
"""What a database does that is there and takes nothing, and how it ends: `ALTER ...`."""


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_database_that_takes_nothing_is_waited_out_and_told_once(
    place: Harness, store: PostgresStore, gateway: Gateway, refusal: str
) -> None:
    begin, end = REFUSALS[refusal]
    begin = begin.format(place.database)
    end = f"{begin.partition(' SET ')[0].partition(' CONNECTION ')[0]} {end}"
    with place.worker(METRICS_SECONDS="60") as worker:  # nobody but the claims asks
        worker.await_event("started")
        run(store.pool.execute(f"ALTER {begin}"))
        run(store.pool.execute(CUT_OFF))
        add(store, 60)
        worker.await_event("database lost")
        time.sleep(2)
        assert statuses(store) == {"PENDING": 60}
        run(store.pool.execute(f"ALTER {end}"))
        wait(all_final(store, 60))
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(60) == 0
    assert len(worker.events("database lost")) == len(worker.events("database back")) == 1
    once_each(gateway, store)


def test_it_starts_once_the_database_lets_it_in(place: Harness, store: PostgresStore, gateway: Gateway) -> None:
    begin, end = (f"ALTER DATABASE {place.database} CONNECTION LIMIT {limit}" for limit in (0, -1))
    run(store.pool.execute(begin))
    add(store, 20)
    with place.worker() as worker:
        worker.await_event("database lost")
        run(store.pool.execute(end))
        worker.await_event("started")
        wait(all_final(store, 20))
    once_each(gateway, store)


def test_an_outage_of_the_gateway_burns_no_attempts(place: Harness, store: PostgresStore, gateway: Gateway) -> None:
    gateway.behave(profile="down")
    add(store, 60)
    with place.worker():
        time.sleep(3)
        assert statuses(store)["CONFIRMED"] == 0
        assert statuses(store)["REVIEW"] == 0
        gateway.behave(profile="calm")
        wait(all_final(store, 60))
    once_each(gateway, store)


COMMITS = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"


def test_a_flood_of_notifications_changes_nothing(place: Harness, store: PostgresStore, gateway: Gateway) -> None:
    with place.worker() as worker:
        worker.await_event("started")
        before = run(store.pool.fetchval(COMMITS))
        flood = "SELECT pg_notify('transactions', n::text) FROM generate_series(1, 20000) n"
        run(store.pool.execute(flood))
        add(store, 100)
        wait(all_final(store, 100))
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(60) == 0  # it has told the database's statistics all that it did
    assert run(store.pool.fetchval(COMMITS)) - before < 5_000, "many of them rouse it once"
    once_each(gateway, store)


def test_it_will_not_start_on_an_older_schema(place: Harness, store: PostgresStore) -> None:
    run(store.pool.execute("DELETE FROM schema_migrations WHERE number = (SELECT max(number) FROM schema_migrations)"))
    with place.worker() as worker:
        assert worker.process.wait(60) == 1
    said = worker.log.read_text()
    assert "run the migrations" in said
    assert "Traceback" not in said


def test_it_works_on_while_a_migration_adds_to_its_tables(
    place: Harness, store: PostgresStore, gateway: Gateway
) -> None:
    """As in a deployment: the schema is the next version's before the last worker of this one is gone."""
    tables = ("transactions", "history")  # in a transaction each: a lock on both could meet a worker's in reverse
    known = migrations()
    following = [
        Migration(n, f"{n:04}_{table}.sql", f"ALTER TABLE {table} ADD COLUMN later text")
        for n, table in enumerate(tables, len(known) + 1)
    ]

    async def migrated() -> list[str]:
        connection = await asyncpg.connect(place.postgres.url(database=place.database))
        try:
            return await migrate(connection, [*known, *following])
        finally:
            await connection.close()

    gateway.behave(latency_seconds=[0.05, 0.05])
    add(store, 60)
    with place.worker(GATEWAY_CONCURRENCY="5") as worker:
        wait(lambda: statuses(store)["CONFIRMED"] > 10)
        assert run(migrated()) == [one.name for one in following]
        add(store, 60, start=60)
        wait(all_final(store, 120))
        assert not worker.events("failed")
    with place.worker("late"):  # and one that starts on the newer schema
        add(store, 5, start=120)
        wait(all_final(store, 125))
    once_each(gateway, store)


def test_a_missing_setting_is_named(place: Harness) -> None:
    with place.worker(BATCH_SIZE="many") as worker:
        assert worker.process.wait(60) == 1
    assert "BATCH_SIZE must be a number from 0 to 1,000,000,000, found text of 4 characters" in worker.log.read_text()


def checked(heartbeat: Path) -> int:
    """The exit code of the container's health check."""
    command = [sys.executable, "-m", "workers.service.health"]
    return subprocess.run(command, env={**os.environ, "HEARTBEAT_FILE": str(heartbeat)}, check=False).returncode


def test_its_heart_beats_and_the_check_sees_it(place: Harness, tmp_path: object) -> None:
    from workers.service.health import OLDEST_SECONDS, age_of

    with place.worker() as worker:
        worker.await_event("started")
        assert age_of(worker.heartbeat) < OLDEST_SECONDS
        old = time.time() - OLDEST_SECONDS - 5
        os.utime(worker.heartbeat, (old, old))
        wait(lambda: age_of(worker.heartbeat) < OLDEST_SECONDS)
        assert checked(worker.heartbeat) == 0
    old = time.time() - OLDEST_SECONDS - 5
    os.utime(worker.heartbeat, (old, old))
    assert checked(worker.heartbeat) == 1, "ECS replaces whose heart stands still"
    assert age_of(worker.heartbeat.with_name("nothing")) == float("inf")


def test_it_sends_canaries_and_counts_none_of_them(place: Harness, store: PostgresStore, gateway: Gateway) -> None:
    add(store, 3)
    with place.worker(CANARY_MINUTES=str(2 / 60), CANARY_ACCOUNT="test-account") as worker:
        wait(lambda: any(line.get("CanaryConfirmed") for line in worker.lines()))
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(60) == 0
    confirmed = [line for line in worker.lines() if line.get("CanaryConfirmed")]
    assert 0 <= confirmed[0]["CanarySeconds"][0] < 60
    assert sum(line.get("Confirmed", 0) for line in worker.lines()) == 3
    sent = {effect.id for effect in gateway.ledger.effects} - {f"p-{n:05}" for n in range(3)}
    assert sent
    assert all(id_.startswith("canary-") for id_ in sent)
    assert "test-account" not in worker.log.read_text()


def test_a_canary_that_is_not_let_in_stops_no_payment(place: Harness, store: PostgresStore) -> None:
    run(store.pool.execute("REVOKE INSERT ON transactions FROM confirm_canary"))
    with place.worker(CANARY_MINUTES="5", CANARY_ACCOUNT="test-account") as worker:
        assert worker.await_event("failed")["error"] == "InsufficientPrivilegeError"
        add(store, 3)
        wait(all_final(store, 3))
        assert not worker.events("stopped")


def test_in_shadow_mode_it_marks_what_waits_and_the_first_worker_after_it_knows_until_when(
    place: Harness, store: PostgresStore, gateway: Gateway
) -> None:
    """The row that is not due yet, the one that comes in after shadow mode has looked, and the one that a producer
    began before and commits after: it asks about each first. What comes in later is sent without a question."""
    add(store, 1)
    run(store.pool.execute("UPDATE transactions SET due_at = now() + interval '1 hour'"))
    with place.worker(GATEWAY_MODE="shadow") as worker:
        worker.await_event("possibly sent by others")
    marked = run(store.find("p-00000"))
    assert marked is not None
    assert (marked.status, marked.sent_earlier) == (Status.PENDING, True)
    assert marked.first_sent_at == marked.created_at
    add(store, 1, start=1)
    producer = run(store.pool.acquire())
    transaction = producer.transaction()
    run(transaction.start())
    run(producer.execute("INSERT INTO transactions (id, account, amount, currency) VALUES ('late', 'a', 1, 'USD')"))
    run(store.pool.execute("UPDATE transactions SET due_at = now()"))
    with place.worker() as worker:
        until = worker.await_event("shadow mode left")["until"]
        run(transaction.commit())
        wait(all_final(store, 3))
        asked = gateway.ledger.stats()["answers"]["ask not_found"]
        assert asked >= 3
        late = run(store.find("late"))
        assert late is not None
        assert late.history[0].at < datetime.fromisoformat(until)
        add(store, 5, start=2)
        wait(all_final(store, 8))
        assert gateway.ledger.stats()["answers"]["ask not_found"] == asked
    run(store.pool.release(producer))
    assert gateway.ledger.stats()["answers"]["confirm 200"] == 8
    once_each(gateway, store)


def test_a_worker_in_shadow_mode_that_lives_on_beside_the_first_that_sends_is_left_once_more(
    place: Harness, store: PostgresStore, gateway: Gateway
) -> None:
    """A rolling deployment: it leaves its note each minute, until it is ended."""
    add(store, 2)
    with place.worker("shadow", GATEWAY_MODE="shadow") as shadow:
        wait(lambda: bool(run(store.pool.fetchval("SELECT EXISTS (SELECT FROM shadow_mode)"))))
        with place.worker("sends") as sends:
            first = sends.await_event("shadow mode left")
            again = sends.await_event("shadow mode left", count=2)
            assert again["until"] > first["until"]
            shadow.process.send_signal(signal.SIGTERM)
            assert shadow.process.wait(30) == 0
            wait(all_final(store, 2))
    assert gateway.ledger.stats()["answers"]["ask not_found"] >= 2
    once_each(gateway, store)
