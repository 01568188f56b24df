"""docs/switching.md and docs/migration.md, played on the local AWS: nothing lost, nothing twice, and back again.

One story: each test goes on where the one before it ended, so run the file as a whole. The fargate stack has `minTasks`
0: it comes up asleep, is woken by the first transactions, and is asleep again at the end.
"""

from __future__ import annotations

import asyncio
import csv
import json
import secrets
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from itertools import cycle, islice

import asyncpg
import pytest

from alternatives.serverless.demo import open_store
from cli.exits import Exit
from components.aurora.datastore import DATABASE
from demo import cdnow
from demo.scenario import ask_gateway
from local.postgres import Postgres
from local.stack import PROJECT, LocalAws
from tests.docs.shown import shown, typed
from tests.local.leaks import known_to_pulumi, leaks, left_by, secret_values
from tests.telemetry.secrets import planted
from workers.domain.transaction import Status

pytestmark = pytest.mark.usefixtures("pulumi_cli")

SECRETS = list(planted(20_261_125))[::2]
PURCHASES = tuple(
    replace(purchase, account=secret.text)
    for purchase, secret in zip(islice(cdnow.purchases(), 90), cycle(SECRETS), strict=False)
)
BEFORE, AFTER, BACK = PURCHASES[:40], PURCHASES[40:70], PURCHASES[70:]
OLD_JOBS = tuple(islice(cdnow.purchases(), 90, 93))
BOTH = BEFORE[:10]
"""A producer could not tell whether it had added these to the old stack: it adds them to the new one too."""
SPEED = 30.0
SLOW = {"latency_seconds": [0.2, 0.3]}
"""So that the old stack has open work while the new one comes up."""


class Play:
    """Both stacks, and the commands of the page as one types them."""

    def __init__(self, old: LocalAws, new: LocalAws) -> None:
        self.stacks = {aws.stack: aws for aws in (old, new)}

    def run(self, stack: str, *command: str) -> subprocess.CompletedProcess[str]:
        return self.stacks[stack].run(command, capture=True)

    def must(self, stack: str, *command: str) -> str:
        return said(self.run(stack, *command))

    def type(self, command: str, **options: str) -> subprocess.CompletedProcess[str]:
        """On the stack that is selected."""
        return typed(self.stacks["serverless"], command, **options)

    def write(self, purchases: tuple[cdnow.Purchase, ...]) -> None:
        """payments.csv, where one types."""
        with (self.stacks["serverless"].program / "payments.csv").open("w", newline="") as out:
            rows = csv.writer(out)
            rows.writerow(cdnow.COLUMNS)
            rows.writerows((p.id, p.account, p.amount, p.currency) for p in purchases)

    def bring(self, stack: str, purchases: tuple[cdnow.Purchase, ...]) -> int:
        """How many of them were new."""
        self.write(purchases)
        told = json.loads(self.must(stack, "confirm", "import", "payments.csv", "--stack", stack, "--json"))
        return int(told["new"])

    def finish(self, stack: str, purchases: tuple[cdnow.Purchase, ...]) -> None:
        """Until the gateway has moved the money for these and the table says so; then `confirm status` does, too.

        The table is asked, and not the command again and again: each of its processes takes as long as many runs.
        """
        aws, ids, end = self.stacks[stack], {purchase.id for purchase in purchases}, time.monotonic() + 180
        store = open_store(aws, aws.outputs())
        while not ids <= self.effects().keys():
            assert time.monotonic() < end, f"{stack} did not confirm {ids - self.effects().keys()}"
            time.sleep(0.2)
        while asyncio.run(store.backlog()).open:
            assert time.monotonic() < end, f"{stack} did not finish"
            time.sleep(0.2)
        self.must(stack, "confirm", "status", "--stack", stack)

    def keep_a_key(self, stack: str) -> None:
        """The gateway's; that this one never asks for it makes no difference."""
        aws = self.stacks[stack]
        arn = aws.outputs()["gatewayKeySecretArn"]
        aws.client("secretsmanager").put_secret_value(SecretId=arn, SecretString=secrets.token_hex(16))

    def service(self) -> tuple[int, int]:
        """The tasks of the fargate stack's service: those that are wanted, and those that run."""
        ecs, (cluster, service) = self.stacks["fargate"].client("ecs"), self.names
        (found,) = ecs.describe_services(cluster=cluster, services=[service])["services"]
        return found["desiredCount"], found["runningCount"]

    def activities(self) -> list[tuple[str, str]]:
        """What scaling did with it, the oldest first, and by which policy."""
        scaling = self.stacks["fargate"].client("application-autoscaling")
        found = scaling.describe_scaling_activities(ServiceNamespace="ecs")["ScalingActivities"]
        return [(one["Description"], one["Cause"].split()[-1].rpartition("-")[0]) for one in reversed(found)]

    def ask(self, sql: str) -> list[asyncpg.Record]:
        """The fargate stack's database."""
        server = Postgres.running(self.stacks["fargate"].folder / "postgres")

        async def fetch() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(server.url(database=DATABASE))
            try:
                return list(await connection.fetch(sql))
            finally:
                await connection.close()

        return asyncio.run(fetch())

    def statuses(self) -> dict[str, int]:
        """How many transactions of the fargate stack are in each."""
        return dict(map(tuple, self.ask("SELECT status, count(*)::int FROM transactions GROUP BY 1")))

    @cached_property
    def names(self) -> tuple[str, str]:
        """Of the fargate stack's cluster and service."""
        outputs = self.stacks["fargate"].outputs()
        return outputs["clusterName"], outputs["serviceName"]

    def effects(self) -> Counter[str]:
        """How often the gateway moved money for each id."""
        return Counter(effect["id"] for effect in ask_gateway(self.stacks["serverless"], "/_ledger")["effects"])

    def until_confirmed(self, *ids: str) -> None:
        """Asks the table, then the command: each of its processes takes as long as a transaction."""
        aws, end = self.stacks["serverless"], time.monotonic() + 180
        store = open_store(aws, aws.outputs())
        for id_ in ids:
            while (found := asyncio.run(store.find(id_))) is None or found.status is not Status.CONFIRMED:
                assert time.monotonic() < end, f"{id_} was not confirmed: {found}"
                time.sleep(0.2)
            self.must("serverless", "confirm", "show", id_, "--stack", "serverless")


def said(answer: subprocess.CompletedProcess[str], *codes: int) -> str:
    assert answer.returncode in (0, *codes), (answer.stdout + answer.stderr)[-3000:]
    return answer.stdout


def until(true: Callable[[], bool], hint: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end, f"it did not come about: {hint()}"
        time.sleep(0.2)


def ledger(play: Play) -> None:
    """ledger.csv: the gateway's book, where one types."""
    file = play.stacks["serverless"].program / "ledger.csv"
    effects = ask_gateway(play.stacks["serverless"], "/_ledger")["effects"]
    lines = [f"{effect['id']},{effect['amount']},{effect['currency']}\n" for effect in effects]
    file.write_text("".join(["id,amount_minor,currency\n", *lines]))


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    folder = tmp_path_factory.mktemp("switching")
    with (
        LocalAws("serverless", folder=folder / "local", scheduler_speed=SPEED) as old,
        LocalAws("fargate", folder=folder / "local") as new,
    ):
        ask_gateway(old, "/_faults", {"profile": "calm", **SLOW})
        yield Play(old, new)


def test_the_new_stack_comes_up_beside_the_old_one_and_sleeps(play: Play) -> None:
    up = ("pulumi", "up", "--yes", "--skip-preview", "--stack")
    play.must("serverless", *up, "serverless")
    play.keep_a_key("serverless")
    assert play.bring("serverless", BEFORE) == len(BEFORE)
    asleep = ("--plaintext", "minTasks=0", "--plaintext", "maxTasks=1")
    play.must("fargate", "pulumi", "config", "set-all", "--stack", "fargate", *asleep)
    with shown("docs/switching.md", "1. Bring the new stack up beside the old one") as page:
        for command in page:  # while the old one works
            said(play.type(command))
    play.keep_a_key("fargate")
    assert play.service() == (0, 0)


def test_what_comes_in_wakes_it_from_zero_tasks(play: Play) -> None:
    """The publisher tells of the backlog, as it alone runs then; the alarm scales out; a worker starts and confirms."""
    play.write((*BOTH, *AFTER))
    with shown("docs/switching.md", "2. Turn the producers") as page:
        for command in page:
            assert f"{len(BOTH) + len(AFTER)} new" in said(play.type(command))
    play.ask("UPDATE transactions SET due_at = due_at - interval '1 minute'")  # the one time that no speed shortens
    until(lambda: play.statuses() == {"CONFIRMED": len(BOTH) + len(AFTER)}, play.service)
    assert play.activities()[0] == ("Setting desired count to 1.", "oldest-due")
    assert [play.effects()[purchase.id] for purchase in AFTER] == [1] * len(AFTER)


def test_the_old_one_finishes_and_all_may_move_back(play: Play) -> None:
    play.finish("serverless", BEFORE)
    with shown("docs/switching.md", "3. Let the old one finish") as page:
        for command in page:
            said(play.type(command))

    assert play.bring("serverless", BACK) == len(BACK)  # back again
    play.finish("serverless", BACK)

    effects = play.effects()
    assert set(effects.values()) == {1}
    assert set(effects) == {purchase.id for purchase in PURCHASES}
    assert play.run("serverless", "confirm", "review", "--stack", "serverless", "--json").returncode == 0


def test_no_account_card_or_key_is_in_what_they_leave(play: Play) -> None:
    """In no state, output, history of a run, log, metric, alarm, plan or span of either alternative."""
    aws, new = play.stacks["serverless"], AFTER[0].id
    table = aws.outputs()["tableName"]
    landmarks = {"runs": "confirmed", "plans": BEFORE[0].id, "metrics": "Confirmed", "alarms": "backlog"}
    landmarks |= {"logs": new, "spans": new, "state of serverless": table, "outputs of serverless": table}
    landmarks |= {"state of fargate": "aws:rds/cluster:Cluster", "outputs of fargate": "databaseHost"}
    end = time.monotonic() + 60
    while True:  # logs and spans of tasks come a little later
        places = left_by(aws)
        for stack in play.stacks.values():
            places |= {f"{place} of {stack.stack}": text for place, text in known_to_pulumi(stack).items()}
        assert landmarks.keys() == places.keys()
        if not (missing := [place for place, text in landmarks.items() if text not in places[place]]):
            break
        assert time.monotonic() < end, f"not what was to be searched: {missing}"
        time.sleep(1)
    keys = secret_values(aws)
    assert len(keys) == 5, "the gateway's key in each, the database's password, the publisher's and the desk's"
    assert len(SECRETS) <= len(PURCHASES)
    assert not leaks([*SECRETS, *keys], places)


def test_from_the_cron_job_by_shadow_mode(play: Play) -> None:
    """What the old job did is known by the gateway's evidence; nothing is sent before the cut-over."""
    aws, (first, second, forgotten) = play.stacks["serverless"], OLD_JOBS
    play.must("serverless", "pulumi", "stack", "select", "serverless")
    # or the test waits for what it shows not
    short = [f"{key}=2" for key in ("retryBaseSeconds", "retryCapSeconds", "gatewayGraceSeconds")]
    play.must("serverless", "pulumi", "config", "set-all", *(word for one in short for word in ("--plaintext", one)))
    with shown("docs/migration.md", "2. Shadow: run beside it, send nothing", block=0) as page:
        for command in page:
            said(play.type(command))
    assert play.bring("serverless", OLD_JOBS) == len(OLD_JOBS)
    for purchase in (first, second):  # as the old job does, with the transaction's id as its key
        body = {
            "id": purchase.id,
            "account": purchase.account,
            "amount": purchase.amount,
            "currency": purchase.currency,
        }
        ask_gateway(aws, "/confirmations", body, {"Idempotency-Key": purchase.id})

    play.until_confirmed(first.id, second.id)
    with shown("docs/migration.md", "2. Shadow: run beside it, send nothing", block=1) as page:
        assert play.type(next(page)).returncode == 8
        assert play.type(next(page)).returncode == 0
    found = play.run("serverless", "confirm", "show", forgotten.id, "--stack", "serverless", "--json")
    assert json.loads(found.stdout)["status"] in ("PENDING", "PROCESSING")
    assert play.effects()[forgotten.id] == 0

    with shown("docs/restore.md", "5. Go on") as page:  # the cut-over: the same commands
        said(play.type(next(page)))
        said(play.type(next(page)), 8)
        play.finish("serverless", OLD_JOBS)
        ledger(play)
        said(play.type(next(page)), Exit.BOOKS_DIFFER)  # it has the other stack's payments too
    assert [play.effects()[purchase.id] for purchase in OLD_JOBS] == [1, 1, 1]


def test_in_place_it_is_refused_before_anything_is_touched(play: Play) -> None:
    table = play.stacks["serverless"].outputs()["tableName"]
    with shown("docs/switching.md", "In place") as page:
        said(play.type(next(page)))
        answer = play.type(next(page))
        assert answer.returncode != 0
        assert f"the table {table} would be deleted with every transaction in it" in answer.stdout + answer.stderr
        assert "Traceback" not in answer.stdout + answer.stderr
        said(play.type(next(page)))
        assert table in said(play.type(next(page), diff="true"))


def test_a_stack_beside_takes_over_the_settings(play: Play) -> None:
    """Without `pulumi up`, as the local AWS copies no cluster: tests/program/test_restore.py has what AWS is asked."""
    with shown("docs/restore.md", "Or beside, on a stack of its own", only=("pulumi stack ", "pulumi config ")) as page:
        for command in page:
            said(play.type(command))
    config = json.loads(said(play.type("pulumi config --json")))
    given = {key: config[f"{PROJECT}:{key}"]["value"] for key in ("alternative", "mode", "restoreFrom")}
    cluster = play.stacks["fargate"].outputs()["databaseClusterId"]
    assert given == {"alternative": "fargate", "mode": "shadow", "restoreFrom": cluster}


def test_without_work_the_service_is_asleep_again(play: Play) -> None:
    until(lambda: play.service() == (0, 0), play.activities)
    assert play.activities() == [  # once each: what it was woken for kept it awake
        ("Setting desired count to 1.", "oldest-due"),
        ("Setting desired count to 0.", "backlog-per-task"),
    ]
