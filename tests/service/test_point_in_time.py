"""A database goes back to the middle of a run (docs/restore.md), by PostgreSQL's own point-in-time recovery, with real
workers and the operators' command. What both stores do after a restore: tests/contract/test_restore.py."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from cli.exits import Exit
from local.postgres import Postgres
from local.processes import HOST
from tests.cli.conftest import Confirm
from tests.cli.conftest import run as confirm
from tests.fakes import run
from tests.service.conftest import Gateway, place_on, store_in
from tests.service.harness import SHORT, Harness
from tests.service.test_service import all_final, statuses, wait
from workers.domain.causes import Cause

__all__ = ["confirm"]

FORGETFUL = 0.001
"""Seconds of a key window that is long over when the copy is there: not even then may anything happen twice."""


class Books:
    """The command `confirm` on a stack's outputs, and the gateway's book as the file that it reads."""

    def __init__(self, confirm: Confirm, gateway: Gateway, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._confirm, self._gateway, self._folder, self._monkeypatch = confirm, gateway, folder, monkeypatch
        monkeypatch.setenv("CONFIRM_OUTPUTS", str(folder / "outputs.json"))

    def at(self, outputs: dict[str, Any], url: str | None = None) -> None:
        """From now on the command works there."""
        (self._folder / "outputs.json").write_text(json.dumps({"environment": "dev", "region": "us-east-1", **outputs}))
        if url:
            self._monkeypatch.setenv("CONFIRM_DATABASE_URL", url)

    def bring(self, ids: range) -> dict[str, Any]:
        """What a producer has in its own records, imported."""
        path = self._folder / "payments.csv"
        path.write_text("\n".join(["id,account,amount_minor,currency", *(f"p-{n:03},acct-1,{n},EUR" for n in ids)]))
        code, out, err = self._confirm("import", str(path), "--json")
        assert code == Exit.OK, err
        return dict(json.loads(out))

    def reconcile(self) -> Counter[str]:
        """The kinds of differences, counted; empty where the books agree."""
        path = self._folder / "ledger.csv"
        path.write_text(self._gateway.ledger.as_csv())
        code, out, err = self._confirm("reconcile", str(path), "--json")
        found = json.loads(out)
        assert code == (Exit.OK if found["equal"] else Exit.BOOKS_DIFFER), err
        if found["equal"]:
            assert all(sides["ours"] == sides["theirs"] for sides in found["currencies"].values())
        return Counter(found["counts"])

    def sent(self) -> int:
        return sum(self._gateway.ledger.count(id_, "confirm") for id_ in self._gateway.ledger.calls)

    def once_each(self, count: int) -> None:
        assert set(Counter(effect.id for effect in self._gateway.ledger.effects).values()) == {1}
        assert len(self._gateway.ledger.effects) == count


@pytest.fixture
def books(
    confirm: Confirm,
    capsys: pytest.CaptureFixture[str],
    gateway: Gateway,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Books:
    def alone(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()  # what the functions logged until here
        return confirm(*arguments)

    return Books(alone, gateway, tmp_path, monkeypatch)


EARLY, LATE, WAITING = range(100, 290), range(300, 330), range(900, 910)
"""Payments: there before the moment that is gone back to; brought after it; there, and not sent by then or later."""
ALL = len(EARLY) + len(LATE) + len(WAITING)


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Postgres]:
    """A server that keeps its write-ahead log for good, as Aurora does."""
    archive = Postgres(tmp_path / "source").data.parent / "s" / "archive"
    keep = {"archive_mode": "on", "archive_command": f"mkdir -p {archive} && cp %p {archive}/%f"}
    server = Postgres(tmp_path / "source", settings=keep)
    try:
        yield server.start()
    finally:
        server.remove()


def base_backup(server: Postgres, to: Path) -> None:
    """A copy of the files, good together with the log from here on."""

    async def copy() -> None:
        master = await asyncpg.connect(server.url())
        await master.execute("SELECT pg_backup_start('nightly', true)")
        shutil.copytree(server.data, to, ignore=shutil.ignore_patterns("postmaster.*", "pg_wal"))
        (to / "pg_wal").mkdir()
        (to / "backup_label").write_text(await master.fetchval("SELECT labelfile FROM pg_backup_stop(false)"))
        await master.close()

    run(copy())


@contextlib.contextmanager
def recovered(source: Postgres, backup: Path, until: datetime, folder: Path) -> Iterator[Postgres]:
    """A new server with the data of `source` as they were at `until`."""
    settings = {
        "restore_command": f"cp {source.data.parent / 's' / 'archive'}/%f %p",
        "recovery_target_time": until.isoformat(),
        "recovery_target_action": "promote",
        "hot_standby": "off",  # nobody is let in before the moment is reached
    }
    server = Postgres(folder, settings=settings)
    folder.mkdir(exist_ok=True)
    (folder / "password").write_text(source.password)
    server.data.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(backup, server.data)
    (server.data / "recovery.signal").touch()
    if os.geteuid() == 0:
        for path in (server.data, *server.data.rglob("*")):
            shutil.chown(path, "nobody")
    server.data.chmod(0o700)
    try:
        yield server.start()
    finally:
        server.remove()


async def archived(master: asyncpg.Pool) -> None:
    """All that was written so far is in the archive."""
    last = await master.fetchval("SELECT pg_walfile_name(pg_switch_wal())")
    for _ in range(600):
        if (await master.fetchval("SELECT last_archived_wal FROM pg_stat_archiver") or "") >= last:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{last} was not archived")


def test_a_database_goes_back_to_the_middle_of_a_run(
    source: Postgres, gateway: Gateway, books: Books, tmp_path: Path
) -> None:
    gateway.behave(latency_seconds=[0.1, 0.1])  # the moment is to come in the middle, on a slow machine too
    with place_on(source, gateway.url, tmp_path) as place, store_in(place) as store:
        books.at(*_outputs(place))
        books.bring(WAITING)
        run(store.pool.execute("UPDATE transactions SET due_at = now() + interval '1 day'"))  # as after a retry
        books.bring(EARLY)
        base_backup(source, tmp_path / "backup")
        two_days = str(2 * 86_400)  # a turn further ahead than any retry would be called back
        with place.worker(GATEWAY_CONCURRENCY="5", BATCH_SIZE="20", RETRY_CAP_SECONDS=two_days, **SHORT):
            wait(lambda: statuses(store)["CONFIRMED"] >= 40)
            moment = run(store.pool.fetchval("SELECT clock_timestamp()"))
            gateway.behave(latency_seconds=[0, 0])
            books.bring(LATE)
            wait(all_final(store, len(EARLY) + len(LATE)))
        assert books.reconcile() == {}
        run(store.pool.execute("DELETE FROM transactions"))  # somebody's mistake
        run(archived(store.pool))
        with recovered(source, tmp_path / "backup", moment, tmp_path / "copy") as copy:
            _the_rest(Harness(copy, place.database, gateway.url, tmp_path), gateway, books)


def _outputs(place: Harness) -> tuple[dict[str, Any], str]:
    port, name = place.postgres.port, place.database
    outputs = {"alternative": "fargate", "databaseHost": HOST, "databasePort": port, "databaseName": name}
    return outputs, place.postgres.url("confirm_operator", "-", name)


def _the_rest(place: Harness, gateway: Gateway, books: Books) -> None:
    """What the runbook says, from where the copy is there."""
    gateway.behave(key_window_seconds=FORGETFUL)
    books.at(*_outputs(place))
    with store_in(place) as store:
        back = statuses(store)
        assert 40 <= back["CONFIRMED"] < len(EARLY)
        found = books.reconcile()
        assert found["moved-but-open"] == len(EARLY) - back["CONFIRMED"]
        assert found["moved-but-unknown"] == len(LATE)

        sent = books.sent()
        run(store.pool.execute("UPDATE transactions SET due_at = now() WHERE due_at IS NOT NULL"))  # nobody waits
        with place.worker("shadow", GATEWAY_MODE="shadow"):
            wait(all_final(store, len(EARLY)))
            assert books.bring(LATE)["new"] == len(LATE)
            wait(all_final(store, len(EARLY) + len(LATE)))
        assert books.sent() == sent, "in shadow mode nothing is sent"
        assert books.reconcile() == {}

        with place.worker("again"):
            wait(all_final(store, ALL))
        assert books.sent() == sent + len(WAITING)
        assert books.reconcile() == {}
        books.once_each(ALL)
        record = run(store.find(f"p-{EARLY[-1]}"))
        assert record is not None
        assert record.cause in (Cause.CONFIRMED, Cause.ALREADY_DONE), "not yet, or already claimed at that moment"
        assert record.history[-1].by.startswith(socket.gethostname()[:24])
