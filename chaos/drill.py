"""`make drill`: a datastore goes back to the middle of a run, by the commands of docs/restore.md, and nothing is paid
twice.

The gateway forgets every key while the datastore goes back: a resend would be a second effect. Deadlines pass
meanwhile. What a restored table lacks is looked up before, after the restore, and after the page's `pulumi refresh &&
pulumi up`.

Only AWS restores to any second and renames clusters. Here the table's copy is made at the moment in question, by the
same command; and the database's files are copied as they stand, all of its processes frozen, which is what a snapshot
of Aurora's storage is, too.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import shutil
import signal
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from rich.console import Console

from alternatives import ALTERNATIVES
from chaos.front import send
from chaos.judge import Judged, judged, tell
from chaos.stage import FOLDER, Config, behave, configure, must, stack
from cli.exits import Exit
from demo import chaos
from demo.scenario import Scenario, ask_gateway
from demo.screen import console as terminal
from evidence.record import Evidence, Figure, Table, keep
from local.aws_cli import play
from local.errors import LocalError
from local.postgres import Postgres
from local.processes import ROOT
from local.stack import LocalAws
from workers.domain.transaction import Status, Transaction, to_text

EARLY, LATE = 400, 100
"""There before the moment that is gone back to; brought in after it."""
AT_MOMENT = 0.3
"""So large a share is CONFIRMED at that moment."""
SOON, SOON_SECONDS = 50, 25
"""So many of the early ones have a deadline that passes before the workers look again."""
PATIENCE_SECONDS = 240.0
APART = timedelta(milliseconds=100)
"""The clocks that date the lines: a worker keeps the database's time as exactly as an answer is quick."""
FORGETFUL = {"key_window_seconds": 0.001}
CONFIG: Config = {
    "environment": "staging",
    "clockSkewSeconds": 0,
    "batchSize": 20,
    "gatewayConcurrency": 5,
    "maxAttempts": 8,
}
CANARIES = "canaryMinutes"
PAGE = ROOT / "docs" / "restore.md"
COLUMNS = ("id", "account", "amount_minor", "currency", "deadline")


class Store(ABC):
    """How one alternative's datastore is set back."""

    alternative: ClassVar[str]
    config: ClassVar[Config] = {}

    def __init__(self, aws: LocalAws, scenario: Scenario, console: Console) -> None:
        self.aws, self.scenario, self.console = aws, scenario, console

    @abstractmethod
    def snapshot(self) -> None:
        """Now, in the middle of the run."""

    @abstractmethod
    def restore(self) -> None: ...

    @abstractmethod
    def has(self) -> dict[str, Any]:
        """What the stack gave it, beside its data."""


class DynamoDb(Store):
    """A table: `restore-table-to-point-in-time` beside, looked at, backed up, and restored under its name."""

    alternative = "serverless"
    config: ClassVar[Config] = {CANARIES: 5, "canaryAccount": "test-account"}

    def __init__(self, aws: LocalAws, scenario: Scenario, console: Console) -> None:
        super().__init__(aws, scenario, console)
        self._words = {"TABLE": str(scenario.outputs["tableName"])}
        first, beside, *self._rest = commands("2. Restore, under the same name", 0)
        self._must(first, "TABLE=$(pulumi stack output tableName)")
        self._beside = beside

    def snapshot(self) -> None:
        self._play(self._beside)

    def restore(self) -> None:
        for command in self._rest:
            self._play(command)

    def has(self) -> dict[str, Any]:
        client, name = self.aws.client("dynamodb"), self._words["TABLE"]
        table = client.describe_table(TableName=name)["Table"]
        backups = client.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
        tags = client.list_tags_of_resource(ResourceArn=table["TableArn"])["Tags"]
        alarms = self.aws.client("cloudwatch").get_paginator("describe_alarms").paginate()
        targets = self.aws.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="dynamodb")
        insights = [
            client.describe_contributor_insights(TableName=name, **index).get("ContributorInsightsStatus")
            for index in ({}, {"IndexName": self.scenario.outputs["pendingIndexName"]})
        ]
        return {
            "billing": table.get("BillingModeSummary", {}).get("BillingMode"),
            "index": sorted(one["IndexName"] for one in table.get("GlobalSecondaryIndexes", ())),
            "encryption": table.get("SSEDescription", {}).get("KMSMasterKeyArn"),
            "deletion protection": table.get("DeletionProtectionEnabled"),
            "point-in-time recovery": backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"],
            "time to live": client.describe_time_to_live(TableName=name)["TimeToLiveDescription"].get("AttributeName"),
            "tags": {tag["Key"]: tag["Value"] for tag in sorted(tags, key=lambda tag: str(tag["Key"]))},
            "contributor insights": insights,
            "stream": table.get("StreamSpecification"),
            "autoscaling": [one["ResourceId"] for one in targets["ScalableTargets"]],
            "alarms": sorted(one["AlarmName"] for page in alarms for one in page["MetricAlarms"]),
        }

    def _play(self, command: str) -> None:
        for part in command.split(" && "):
            play(self.aws.client, part, self._words)

    @staticmethod
    def _must(found: str, wanted: str) -> None:
        if found != wanted:
            raise LocalError(f"{PAGE.name} begins its block with {found!r}, and the drill knows {wanted!r}.")


class PostgreSql(Store):
    """A cluster: its storage as it stood, put in the place of what it is."""

    alternative = "fargate"

    def __init__(self, aws: LocalAws, scenario: Scenario, console: Console) -> None:
        super().__init__(aws, scenario, console)
        self._server = Postgres.running(aws.folder / "postgres")
        self._copy = self._server.data.with_name("snapshot")

    def snapshot(self) -> None:
        """All processes of the server stand still meanwhile, so it is of one moment."""
        first = int((self._server.data / "postmaster.pid").read_text().split()[0])
        with frozen(first):
            shutil.copytree(self._server.data, self._copy, ignore=shutil.ignore_patterns("postmaster.pid"))

    def restore(self) -> None:
        self.aws.restart_emulator(self._swap)

    def has(self) -> dict[str, Any]:
        rds, name = self.aws.client("rds"), self.scenario.outputs["databaseClusterId"]
        [cluster] = rds.describe_db_clusters(DBClusterIdentifier=name)["DBClusters"]
        names = (
            "DeletionProtection",
            "BackupRetentionPeriod",
            "StorageEncrypted",
            "DBClusterParameterGroup",
            "TagList",
        )
        return {key: cluster.get(key) for key in names}

    def _swap(self) -> None:
        data = self._server.data
        owner = data.stat()
        shutil.rmtree(data)
        self._copy.rename(data)
        if os.geteuid() == 0:
            for path in (data, *data.rglob("*")):
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
        data.chmod(0o700)


@contextlib.contextmanager
def frozen(parent: int) -> Iterator[None]:
    """A process and all below it stand still. The parent first, so that no other is born."""
    stopped = []
    try:
        for pid in (parent, *_below(parent)):
            if send(pid, signal.SIGSTOP):
                stopped.append(pid)
        yield
    finally:
        for pid in reversed(stopped):
            send(pid, signal.SIGCONT)


def _below(parent: int) -> list[int]:
    return [int(pid) for pid, above in map(str.split, chaos.ps("-axo", "pid=,ppid=")) if int(above) == parent]


STORES: Mapping[str, type[Store]] = {one.alternative: one for one in (DynamoDb, PostgreSql)}


def commands(heading: str, block: int | None = None) -> list[str]:
    """Of the page's section, or of one of its blocks: a command each, however many lines it has."""
    section = PAGE.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```bash\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    text = re.sub(r"\s*\\\n\s*", " ", "\n".join(blocks if block is None else blocks[block : block + 1]))
    found = [re.sub(r"\s+# .*", "", line).strip() for line in text.splitlines() if line.strip()]
    if not found:
        raise LocalError(f"{PAGE.name} has no commands below {heading!r}.")
    return found


def main(names: Sequence[str], early: int = EARLY, late: int = LATE) -> int:
    """Exit code 0 where nothing was paid twice or lost, and the datastore has all that it had."""
    console, began = terminal(), time.monotonic()
    told: list[dict[str, Figure]] = []
    tables: list[Table] = []
    good = True
    for name in names:
        console.rule(f"[bold]{name}[/]: {early} payments, back to the middle of them, and {late} more", align="left")
        drill = Drill(console, STORES[name], early, late)
        good &= drill.run()
        told.append(drill.figures)
        tables += drill.tables
    figures = {f"{name}_{key}": value for name, one in zip(names, told, strict=True) for key, value in one.items()}
    keep(
        Evidence(
            part="drill",
            claim="A datastore that is set back to the middle of a run, by the steps of docs/restore.md, pays nothing "
            "twice and loses nothing, past the gateway's key window too.",
            command="make drill",
            passed=good,
            seconds=round(time.monotonic() - began, 1),
            figures=figures,
            tables=tables,
        )
    )
    return 0 if good else 1


class Drill:
    """One alternative's."""

    def __init__(self, console: Console, kind: type[Store], early: int, late: int) -> None:
        self.console, self.kind = console, kind
        self.figures: dict[str, Figure] = {}
        self.tables: list[Table] = []
        self._early, self._late = early, late
        self._aws: LocalAws
        self._scenario: Scenario

    def run(self) -> bool:
        config = {**CONFIG, **self.kind.config}
        with stack(self.console, self.kind.alternative, config, folder="drill") as aws:
            self._aws, self._scenario = aws, ALTERNATIVES[self.kind.alternative].scenario()(aws, aws.outputs())
            try:
                return self._run(self.kind(aws, self._scenario, self.console))
            finally:
                self._scenario.close()

    def _run(self, store: Store) -> bool:
        had = store.has()
        behave(self._aws, profile="calm", latency_seconds=[0.3, 0.6], refused=0.02)
        came = self._payments("early", self._early, soon=SOON)
        self._bring(came)
        self._wait(lambda: self._count(Status.CONFIRMED) >= AT_MOMENT * self._early, "the middle of the run")
        moment = datetime.now(UTC)
        store.snapshot()
        self._say(f"the moment: {to_text(moment)}, {self._count(Status.CONFIRMED)} confirmed")
        behave(self._aws, latency_seconds=[0.01, 0.05])
        late = self._payments("late", self._late)
        came += late
        self._bring(late)
        self._wait(self._all_final, "the end of the run")
        before = {record.id: record for record in self._everything()}
        effects = self._effects()
        behave(self._aws, **FORGETFUL)

        began = time.monotonic()
        if CANARIES in self.kind.config:
            self._config("rm", CANARIES)
        self._type("1. Send nothing", moment)
        store.restore()
        self._say("restored")
        self._wait(self._there, "the restored datastore")
        back = {record.id: record for record in self._everything()}
        open_again = [id_ for id_, record in back.items() if not record.status.is_final and before[id_].status.is_final]
        lacked = _lacks(had, store.has())
        self._type("2. Restore, under the same name", moment, block=2)
        self._say("pulumi refresh && pulumi up")
        self._bring(late)
        self._wait(self._settled, "the answers of the gateway")
        asked_only = self._effects() == effects
        self._type("4. Ask", moment)
        differ = self._reconcile()
        self._type("5. Go on", moment, without="confirm reconcile")
        if CANARIES in self.kind.config:
            configure(self._aws, {CANARIES: self.kind.config[CANARIES]})
        self._wait(self._all_final, "the end")
        seconds = time.monotonic() - began
        differ_at_end = self._reconcile()
        lacks = _lacks(had, store.has())
        found = judged(self._aws, came, self._everything(), apart=APART, marked=True)
        return self._tell(found, before, open_again, lacked, lacks, asked_only, differ, differ_at_end, seconds)

    # --- parts

    def _tell(
        self,
        found: Judged,
        before: Mapping[str, Transaction],
        open_again: Sequence[str],
        lacked: Mapping[str, str],
        lacks: Mapping[str, str],
        asked_only: bool,
        differ: int,
        differ_at_end: int,
        seconds: float,
    ) -> bool:
        after = {record.id: record for record in found.records}
        passed_by = sum(record.deadline <= datetime.now(UTC) for record in after.values())
        changed = [
            (id_, before[id_].status.value, after[id_].status.value)
            for id_ in open_again
            if id_ in after and after[id_].status.is_final and after[id_].status is not before[id_].status
        ]
        promises = {
            "no oracle found anything": not found.findings,
            "the restore opened what was final": bool(open_again),
            "deadlines had passed": passed_by > 0,
            "asking moved no money": asked_only,
            "the books agree after the questions": differ == 0,
            "the books agree at the end": differ_at_end == 0,
            "what was final is so again": not changed,
            "the datastore has all that it had": not lacks,
        }
        self.figures = {
            "transactions": len(after),
            "effects": len(found.effects),
            "doubles": found.doubles,
            "lost": found.lost,
            "findings": len(found.findings),
            "open_again_after_restore": len(open_again),
            "deadlines_passed": passed_by,
            "lacking_after_restore": len(lacked),
            "lacking_at_the_end": len(lacks),
            "differences_after_the_questions": differ,
            "restore_until_all_final_seconds": round(seconds, 1),
            **dict(Counter(record.status.value.lower() for record in after.values())),
        }
        name = self.kind.alternative
        self.tables = [
            Table(f"{name}: promises", ("promise", "kept"), list(promises.items())),
            Table(f"{name}: what the datastore lacked after its restore", ("what", "how"), list(lacked.items())),
            Table(f"{name}: what it lacks at the end", ("what", "how"), list(lacks.items())),
            Table(f"{name}: found", ("oracle", "transaction", "what"), [tuple(one) for one in found.findings]),
        ]
        tell(self.console, found.findings)
        for key, value in self.figures.items():
            self.console.print(f"  {key.replace('_', ' '):<36}{value}")
        for what, how in lacked.items():
            self.console.print(f"  lacked after the restore: {what}: {how}", style="dim")
        for what, how in lacks.items():
            self.console.print(f"  [red]lacks at the end: {what}: {how}[/]")
        for promise, kept in promises.items():
            self.console.print(f"  {'[green]kept   [/]' if kept else '[bold red]BROKEN [/]'} {promise}")
        return all(promises.values())

    def _payments(self, kind: str, count: int, soon: int = 0) -> list[Transaction]:
        now = datetime.now(UTC)
        late, near = now + timedelta(hours=24), now + timedelta(seconds=SOON_SECONDS)
        return [
            Transaction(f"{kind}-{n:04}", f"acct-{n}", 100 + n, "USD", now, near if n >= count - soon else late)
            for n in range(count)
        ]

    def _bring(self, payments: Sequence[Transaction]) -> None:
        """By `confirm import`, as whoever keeps the producers' files does."""
        file = FOLDER / "drill" / "payments.csv"
        with file.open("w", newline="") as opened:
            rows = csv.writer(opened)
            rows.writerow(COLUMNS)
            rows.writerows((p.id, p.account, p.amount, p.currency, to_text(p.deadline)) for p in payments)
        must(self._aws.run(["confirm", "import", str(file)], capture=True), "confirm import")

    def _type(self, heading: str, moment: datetime, block: int | None = None, without: str = "") -> None:
        """The page's commands, with the moment of this drill, and `pulumi` asked to ask nothing."""
        for command in commands(heading, block):
            if without and command.startswith(without):
                continue
            line = re.sub(r"restoreTime \d\S+", f"restoreTime {moment:%Y-%m-%dT%H:%M:%SZ}", command)
            line = re.sub(r"pulumi (up|refresh)\b", r"pulumi \1 --yes --skip-preview", line)
            done = self._aws.run(["bash", "-c", line], capture=True)
            if done.returncode not in (Exit.OK, Exit.NOT_YET_FINAL):  # something waits for a person: that may well be
                must(done, line)

    def _config(self, *words: str) -> None:
        line = f"pulumi config {' '.join(words)} --stack {self._aws.stack}"
        must(self._aws.run(["bash", "-c", line], capture=True), line)

    def _reconcile(self) -> int:
        """How many differences `confirm reconcile` finds between our book and the gateway's, canaries apart."""
        file = FOLDER / "drill" / "ledger.csv"
        rows = ask_gateway(self._aws, "/_ledger")["effects"]
        lines = [f"{one['id']},{one['amount']},{one['currency']},{one['reference']}" for one in rows]
        file.write_text("\n".join(["id,amount_minor,currency,reference", *lines]) + "\n")
        done = self._aws.run(["confirm", "reconcile", str(file), "--json"], capture=True)
        try:
            found = json.loads(done.stdout)
        except ValueError:
            raise LocalError(f"confirm reconcile: {done.stderr[-500:]}") from None
        return sum(found["counts"].values())

    def _effects(self) -> list[Any]:
        book = ask_gateway(self._aws, "/_ledger")["effects"]
        return [one for one in book if not str(one["id"]).startswith("canary-")]

    def _everything(self) -> list[Transaction]:
        return [record for record in self._scenario.everything() if not record.is_canary]

    def _count(self, status: Status) -> int:
        return sum(record.status is status for record in self._everything())

    def _all_final(self) -> bool:
        return all(record.status.is_final or record.status is Status.REVIEW for record in self._everything())

    def _settled(self) -> bool:
        """Nothing is open that may have been sent: what is, the gateway has never heard of."""
        known = {one["id"] for one in self._effects()}
        return not [r for r in self._everything() if r.id in known and not r.status.is_final]

    def _there(self) -> bool:
        return bool(self._everything())

    def _wait(self, holds: Callable[[], bool], what: str) -> None:
        give_up = time.monotonic() + PATIENCE_SECONDS
        with self.console.status(f"waiting for {what} ..."):
            while time.monotonic() < give_up:
                with contextlib.suppress(OSError, Exception if what.startswith("the restored") else OSError):
                    if holds():
                        return
                time.sleep(0.2)
        states = Counter(record.status.value for record in self._everything())
        raise LocalError(f"{what} did not come within {PATIENCE_SECONDS:.0f} s: {dict(states)}")

    def _say(self, text: str) -> None:
        self.console.print(f"  {text}")


def _lacks(had: Mapping[str, Any], has: Mapping[str, Any]) -> dict[str, str]:
    """What is no longer as it was."""
    return {key: f"{value!r}, now {has.get(key)!r}" for key, value in had.items() if has.get(key) != value}
