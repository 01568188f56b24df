"""The program on the local AWS through the plain `pulumi` command, from the first preview to an empty account.

One story: each test goes on where the one before it ended, so run the file as a whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import os
import secrets
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from alternatives.serverless.demo import open_store
from cli.exits import Exit
from demo import cdnow, chaos
from demo.scenario import ask_gateway
from demo.verdict import Effect, Verdict, judge
from local.aws_cli import call_of, filled, play
from local.processes import ROOT
from local.stack import LocalAws
from tests.docs.shown import parts, shown, typed
from workers.domain.causes import Cause
from workers.domain.transaction import Status, Transaction

pytestmark = pytest.mark.usefixtures("pulumi_cli")

PURCHASES = tuple(islice(cdnow.purchases(), 300))
BATCH = 25
SPEED = 30.0  # a minute of the Scheduler lasts 2 s, and an alarm's 5 minutes last 10 s
GATEWAY = {"latency_seconds": [0.6, 1.2], "hang_seconds": 2}  # slow enough to be caught in the middle of a batch
CONFIG = {"batchSize": BATCH, "lambdaTimeoutSeconds": 18, "leaseSeconds": 19, "clockSkewSeconds": 0}
"""The shortest lease that settings allow: what a killed Lambda held comes back after it."""
OUTPUTS = {
    *("alternative", "environment", "region", "tableName", "pendingIndexName", "pendingShards", "planBucket"),
    *("stateMachineArn", "scheduleName", "scheduleGroup", "deadLetterQueueUrl", "alarmTopicArn", "dashboardName"),
    *("noticeTopicArn", "operatorPolicyArn", "deskFunctions", "deskPolicyArns"),
    *("logGroups", "functions", "vpcId", "egressAddresses", "gatewayUrl", "gatewayKeySecretArn"),
    *("mode", "reviewHours", "reviewOwner"),
}


@dataclass
class Story:
    """What the tests hand on."""

    aws: LocalAws
    purchases: Path
    failed_before: int
    """Tests of the whole session that had failed before it began."""
    outputs: dict[str, Any] = field(default_factory=dict)
    records: list[Transaction] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    violations: int = 0

    def pulumi(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """As the user types it; its output is in the answer."""
        return self.aws.pulumi(*arguments, "--non-interactive", capture=True)

    def set(self, **config: object) -> None:
        pairs = [word for key, value in config.items() for word in ("--plaintext", f"{key}={value}")]
        self._must("config", "set-all", *pairs)

    def unset(self, *keys: str) -> None:
        self._must("config", "rm-all", *keys)

    def type(self, command: str, *codes: int, **options: str) -> str:
        """What it says; fails where it does, but for `codes` at its end."""
        answer = typed(self.aws, command, **options)
        assert answer.returncode in (0, *codes), (answer.stdout + answer.stderr)[-3000:]
        return answer.stdout

    def planned(self, command: str = "pulumi preview", **options: str) -> dict[str, str]:
        """What a preview would change: operation by `type name`."""
        steps = json.loads(self.type(command, json="true", **options))["steps"]
        return {_named(step["urn"]): step["op"] for step in steps if step["op"] not in ("same", "read")}

    def done(self, command: str = "pulumi up", **options: str) -> dict[str, str]:
        """What an update changed."""
        lines = self.type(command, json="true", **options).splitlines()
        events = [json.loads(line).get("resOutputsEvent", {}).get("metadata", {"op": "same"}) for line in lines]
        return {_named(event["urn"]): event["op"] for event in events if event["op"] not in ("same", "read")}

    def gateway(self, path: str) -> Any:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self.aws.gateway_url}{path}", timeout=10) as answer:
            return json.load(answer)

    def judge(self, records: list[Transaction] | None = None, effects: list[Effect] | None = None) -> Verdict:
        return judge(PURCHASES, records or self.records, effects or self.effects, self.violations)

    def _must(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        answer = self.pulumi(*arguments)
        assert answer.returncode == 0, (answer.stdout + answer.stderr)[-3000:]
        return answer


def _named(urn: str) -> str:
    *_, types, name = urn.split("::")
    return f"{types.rpartition('$')[2]} {name}"


@pytest.fixture(scope="module")
def tracked() -> Iterator[None]:
    """git sees nothing of the whole story."""

    def status() -> str:
        return subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True).stdout

    before = status()
    yield
    assert status() == before


@pytest.fixture(scope="module")
def whole_story(
    tracked: None, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("plain-cli")
    purchases = folder / "purchases.csv"
    with purchases.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(cdnow.COLUMNS)
        rows.writerows((p.id, p.account, p.amount, p.currency) for p in PURCHASES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIMULATED_GATEWAY_KEY", secrets.token_hex(16))
        change = ("--change", json.dumps(GATEWAY))
        with LocalAws(folder=folder / "local", gateway_arguments=change, scheduler_speed=SPEED) as aws:
            yield Story(aws, purchases, request.session.testsfailed)
    until(lambda: not processes_of(aws))


@pytest.fixture
def story(whole_story: Story, request: pytest.FixtureRequest) -> Story:
    """The story so far; what is left of one that went wrong is not worth its time."""
    if request.session.testsfailed > whole_story.failed_before:
        pytest.skip("the story went wrong before")
    return whole_story


def processes_of(aws: LocalAws) -> list[str]:
    """Everything that runs with this local AWS's folder in its command or its environment."""
    every = subprocess.run(["ps", "axeww", "-o", "pid=,command="], capture_output=True, text=True, check=True).stdout
    own = str(os.getpid())
    return [line[:200] for line in every.splitlines() if str(aws.folder) in line and line.split()[0] != own]


def until(holds: Callable[[], object], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)


def made(aws: LocalAws) -> Mapping[str, list[str]]:
    """All there is in the account of what the stack is made of, asked of each service itself."""
    roles = aws.client("iam").list_roles()["Roles"]
    vpcs = aws.client("ec2").describe_vpcs(Filters=[{"Name": "is-default", "Values": ["false"]}])["Vpcs"]
    aliases = aws.client("kms").list_aliases()["Aliases"]
    secrets_ = aws.client("secretsmanager").list_secrets()["SecretList"]
    everything = {
        "tables": aws.client("dynamodb").list_tables()["TableNames"],
        "functions": [f["FunctionName"] for f in aws.client("lambda").list_functions()["Functions"]],
        "state machines": [m["name"] for m in aws.client("stepfunctions").list_state_machines()["stateMachines"]],
        "schedules": [s["Name"] for s in aws.client("scheduler").list_schedules()["Schedules"]],
        "queues": aws.client("sqs").list_queues().get("QueueUrls", []),
        "topics": [t["TopicArn"] for t in aws.client("sns").list_topics()["Topics"]],
        "log groups": [g["logGroupName"] for g in aws.client("logs").describe_log_groups()["logGroups"]],
        "buckets": [b["Name"] for b in aws.client("s3").list_buckets()["Buckets"]],
        "alarms": [a["AlarmName"] for a in aws.client("cloudwatch").describe_alarms()["MetricAlarms"]],
        "dashboards": [d["DashboardName"] for d in aws.client("cloudwatch").list_dashboards()["DashboardEntries"]],
        "networks": [vpc["VpcId"] for vpc in vpcs],
        "addresses": [a["PublicIp"] for a in aws.client("ec2").describe_addresses()["Addresses"]],
        "roles": [r["RoleName"] for r in roles if not r["Path"].startswith("/aws-service-role/")],
        "keys": [a["AliasName"] for a in aliases if not a["AliasName"].startswith("alias/aws/")],
        "secrets": [s["Name"] for s in secrets_ if "DeletedDate" not in s],
    }
    return {kind: names for kind, names in everything.items() if names}


@contextlib.contextmanager
def frozen(pids: Sequence[int]) -> Iterator[None]:
    """These processes stand still in the block; those that live go on after it."""
    try:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


# --- before anything is there


def test_a_stack_of_ones_own_begins_as_the_readme_says(story: Story) -> None:
    with shown("README.md", "On AWS", only=("cp ", "pulumi stack ")) as page:
        for command in page:
            story.type(command)
    assert "serverless-prod" in story.type("pulumi stack ls")
    story.type("pulumi stack select serverless")


def test_a_preview_makes_nothing_and_keeps_the_policies(story: Story) -> None:
    story.set(**CONFIG)
    with shown("docs/policies.md", "Policies") as page:
        for command in page:
            planned = story.planned(command)
    assert set(planned.values()) == {"create"}
    assert len(planned) >= 80
    assert not made(story.aws)


def test_mistakes_in_the_config_are_told_together_without_a_stack_trace(story: Story) -> None:
    story.set(alternative="lambda", leaseSeconds=5, batchSzie=50)
    answer = story.pulumi("up", "--yes", "--skip-preview")
    said = answer.stdout + answer.stderr
    assert answer.returncode != 0
    assert "3 mistakes" in said
    assert 'alternative: found "lambda"; allowed: fargate or serverless' in said
    assert 'leaseSeconds: found "5"; allowed: 10 to 3,600 seconds' in said
    assert "batchSzie: found a key that does not exist" in said
    assert "did you mean batchSize?" in said
    assert "Traceback" not in said
    assert ".py" not in said
    assert not made(story.aws)
    story.unset("batchSzie")
    story.set(alternative="serverless", leaseSeconds=CONFIG["leaseSeconds"])


def test_ctrl_c_in_the_middle_of_up_leaves_no_process(story: Story) -> None:
    """As on a terminal: SIGINT to the whole group, once the table is there."""
    command = ["pulumi", "up", "--yes", "--skip-preview", "--non-interactive"]
    up = subprocess.Popen(
        command,
        cwd=story.aws.program,
        env=story.aws.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert up.stdout
        line = next(line for line in up.stdout if "aws:dynamodb:Table" in line and "created" in line)
        os.killpg(up.pid, signal.SIGINT)
        said = line + up.stdout.read()
        assert up.wait(60) != 0
    finally:
        if up.poll() is None:
            os.killpg(up.pid, signal.SIGKILL)
            up.wait()
    assert "Traceback" not in said
    assert "aws:scheduler:Schedule run created" not in said
    home = f"PULUMI_HOME={story.aws.environment['PULUMI_HOME']}"
    until(lambda: not any(home in line for line in processes_of(story.aws)))


def test_up_makes_the_rest(story: Story) -> None:
    with shown("README.md", "On AWS", only=("pulumi up",)) as page:
        done = story.done(next(page))
    assert set(done.values()) <= {"create", "update"}
    assert "aws:scheduler/schedule:Schedule run" in done
    assert "aws:dynamodb/table:Table transactions" not in done  # it was there, and stayed
    assert len(made(story.aws)) == 15
    story.outputs = story.aws.outputs()
    assert story.outputs.keys() == OUTPUTS
    assert story.outputs["tableName"] in made(story.aws)["tables"]


def test_the_children_of_awsx_have_the_stacks_tags_and_their_component(story: Story) -> None:
    ec2 = story.aws.client("ec2")
    ours = [{"Name": "vpc-id", "Values": [story.outputs["vpcId"]]}]
    found = {
        "gateways": ec2.describe_nat_gateways(Filters=ours)["NatGateways"],
        "networks": ec2.describe_vpcs(Filters=ours)["Vpcs"],
        "subnets": ec2.describe_subnets(Filters=ours)["Subnets"],
        "endpoints": ec2.describe_vpc_endpoints(Filters=ours)["VpcEndpoints"],
    }
    wanted = {"Component": "network", "Alternative": "serverless", "Environment": "dev", "CostCenter": "payments-dev"}
    for kind, resources in found.items():
        assert resources, kind
        for resource in resources:
            assert wanted.items() <= {tag["Key"]: tag["Value"] for tag in resource["Tags"]}.items(), resource


# --- a run


def test_a_lambda_is_killed_in_the_middle_of_its_batch(story: Story) -> None:
    """The Scheduler starts the runs; another one meanwhile ends at once."""
    aws, arn = story.aws, story.outputs["stateMachineArn"]
    # however busy the machine is: each of the Lambdas that work side by side is in the middle of its calls for long
    # the Lambdas that work side by side are all in the middle of their calls, however long a busy machine starts them
    ask_gateway(aws, "/_faults", {"latency_seconds": [8, 8]})
    with shown("README.md", "On AWS", only=("aws ",)) as page:
        for command in page:
            words = {"file:///dev/stdin": os.environ["SIMULATED_GATEWAY_KEY"]}
            call_of(aws.client, filled(command, story.outputs, words)).made()
    imported = aws.run(["confirm", "import", str(story.purchases)], capture=True)
    assert imported.returncode == 0, imported.stderr
    assert "300 new, 0 already there, 0 refused" in imported.stdout

    emulator = int((aws.folder / "aws" / "overlay.pid").read_text())
    steps = aws.client("stepfunctions")
    store = open_store(aws, story.outputs)

    def kill() -> bool:
        pids = chaos.below(emulator, f"AWS_LAMBDA_FUNCTION_NAME={story.outputs['functions']['confirm']}")
        if not story.gateway("/_stats")["in_flight"] > BATCH * (len(pids) - 1) >= 0:
            return False
        with frozen(pids):  # however long we take to look, and to kill
            held = sum(record.status is Status.PROCESSING for record in asyncio.run(store.everything()))
            # a worker holds at most BATCH: beyond that, each is in the middle of one
            return held > BATCH * (len(pids) - 1) and chaos.kill(pids[0])

    until(kill)
    ask_gateway(aws, "/_faults", {"latency_seconds": GATEWAY["latency_seconds"]})
    second = steps.start_execution(stateMachineArn=arn, name="second", input="{}")["executionArn"]
    until(lambda: steps.describe_execution(executionArn=second)["status"] != "RUNNING")
    entered = [
        event["stateEnteredEventDetails"]["name"]
        for event in steps.get_execution_history(executionArn=second)["events"]
        if "stateEnteredEventDetails" in event
    ]
    assert entered == ["Plan", "AnyWork", "AlreadyRunning"]


# --- changes, while the run waits for the killed Lambda's leases to end


def test_other_settings_are_previewed(story: Story) -> None:
    story.set(natStrategy="one-per-zone")
    with shown("docs/experiments.md", "Fault experiments", only=("pulumi config ",)) as page:
        for command in page:
            story.type(command)
    with shown("docs/canary.md", "The canary", only=("pulumi config ",)) as page:
        for command in page:
            story.type(command)
    with shown("docs/configuration.md", "Configuration") as page:
        story.type(next(page))
        assert "50" in next(line for line in story.type(next(page)).splitlines() if line.startswith("batchSize"))
        planned = story.planned(next(page))
    story.unset("natStrategy", "faultExperiments", "canaryAccount", "canaryMinutes")
    story.set(batchSize=BATCH)
    assert (
        planned.items()
        >= {
            "aws:ec2/eip:Eip egress-2": "create",
            "aws:ec2/natGateway:NatGateway vpc-2": "create",
            "aws:ec2/route:Route vpc-private-2": "update",
            "aws:fis/experimentTemplate:ExperimentTemplate zone-lost": "create",
            "aws:cloudwatch/metricAlarm:MetricAlarm canary": "create",
            "aws:lambda/function:Function plan": "update",
        }.items()
    )
    assert not [name for name, what in planned.items() if what not in ("create", "update")]


def test_a_list_in_the_config_is_written_item_by_item(story: Story) -> None:
    with shown("docs/security.md", "Network") as page:
        for command in page:
            story.type(command)
    config = story.aws.config()
    assert config["confirm-transactions:gatewayCidrs"] == ["203.0.113.0/24"]
    assert config["confirm-transactions:interfaceEndpoints"] == ["secretsmanager"]
    story.unset("gatewayCidrs", "interfaceEndpoints")


def test_a_plan_is_applied_and_a_changed_setting_changes_just_its_alarms(story: Story) -> None:
    names = ("oldest-pending", "slow-to-final", "run-slow")
    alarms = {f"aws:cloudwatch/metricAlarm:MetricAlarm {name}": "update" for name in names}
    alarms |= {"aws:cloudwatch/dashboard:Dashboard dashboard": "update"}  # thresholds are drawn
    plan = str(story.aws.folder / "plan.json")
    story.set(oldestPendingAlarmSeconds=1200)
    assert story.planned(save_plan=plan) == alarms  # and nothing else: what was made is as it was asked for
    assert threshold(story) == 900
    assert story.done(plan=plan) == alarms
    assert threshold(story) == 1200


def threshold(story: Story) -> float:
    name = f"{story.outputs['dashboardName']}-oldest-pending"
    (alarm,) = story.aws.client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"]
    return float(alarm["Threshold"])


# --- the verdict


def test_every_transaction_is_final_with_its_effect_once(story: Story) -> None:
    store = open_store(story.aws, story.outputs)
    until(lambda: not asyncio.run(store.backlog()).open)
    story.records = asyncio.run(store.everything())
    ledger = story.gateway("/_ledger")
    story.effects = [Effect(e["id"], e["amount"], e["currency"]) for e in ledger["effects"]]
    story.violations = len(ledger["violations"])
    verdict = story.judge()
    assert verdict.holds, [check for check in verdict.checks if not check.kept]
    counts = {row.status: row.count for row in verdict.rows}
    assert sum(counts.values()) == len(PURCHASES)
    assert counts[Status.CONFIRMED] > 250
    assert counts[Status.REJECTED] > 0
    causes = {line.cause for record in story.records for line in record.history}
    assert Cause.TAKEN_OVER in causes, "the Lambda was killed, but not in the middle of its batch"
    assert Cause.UNKNOWN_OUTCOME in causes, "the gateway was never in doubt"
    status = story.aws.run(["confirm", "status", "--json"], capture=True)
    assert json.loads(status.stdout)["open"] == 0


def test_an_operator_sees_the_same_and_so_do_the_books(story: Story) -> None:
    with shown("README.md", "Two commands", only=("confirm ",)) as page:
        assert "CONFIRMED" in story.type(next(page))
        assert "CONFIRMED" in story.type(next(page), Exit.NOT_YET_FINAL)  # a desk may have one
    with shown("docs/confirm-command.md", "Books of banks and gateways") as page:
        for command in page:
            story.type(command)


def test_the_verdict_convicts_what_is_wrong_in_this_very_run(story: Story) -> None:
    one = next(record for record in story.records if record.status is Status.CONFIRMED)
    effect = next(effect for effect in story.effects if effect.id == one.id)
    others = [record for record in story.records if record is not one]
    rest = [e for e in story.effects if e is not effect]
    assert not story.judge(records=others).holds  # lost
    assert not story.judge(effects=[*story.effects, effect]).holds  # doubled
    assert not story.judge(effects=rest).holds  # claimed without an effect
    assert not story.judge(effects=[*rest, replace(effect, amount=effect.amount + 1)]).holds  # a cent too much
    assert not story.judge(records=[*others, one._replace(history=one.history[1:])]).holds  # no beginning


def test_the_same_file_again_adds_nothing(story: Story) -> None:
    again = story.aws.run(["confirm", "import", str(story.purchases)], capture=True)
    assert again.returncode == 0
    assert "0 new, 300 already there, 0 refused" in again.stdout
    assert len(asyncio.run(open_store(story.aws, story.outputs).everything())) == len(PURCHASES)


def test_the_alarm_of_the_killed_lambda_went_off_and_ended(story: Story) -> None:
    watch, name = story.aws.client("cloudwatch"), f"{story.outputs['dashboardName']}-batches-failed"

    def states() -> list[str]:
        history = watch.describe_alarm_history(AlarmName=name, HistoryItemType="StateUpdate")["AlarmHistoryItems"]
        data = (json.loads(item["HistoryData"]) for item in sorted(history, key=lambda item: item["Timestamp"]))
        return [item["newState"]["stateValue"] for item in data]

    until(lambda: states()[-2:] == ["ALARM", "OK"])


# --- the table is lost


def test_a_table_restored_under_its_name_is_the_stacks_again(story: Story) -> None:
    """The name is free once the table is gone, and Pulumi knows it by its name."""
    words = {"TABLE": story.outputs["tableName"]}
    with shown("docs/restore.md", "2. Restore, under the same name", block=0) as page:
        assert next(page) == "TABLE=$(pulumi stack output tableName)"
        for command in page:
            for part in parts(command):
                play(story.aws.client, part, words)
    with shown("docs/restore.md", "2. Restore, under the same name", block=2) as page:
        refresh, up = parts(next(page))
    story.type(refresh)
    assert set(story.done(up).values()) <= {"update"}  # nothing is made anew
    assert story.judge(records=asyncio.run(open_store(story.aws, story.outputs).everything())).holds


# --- the end


def test_destroy_leaves_nothing(story: Story) -> None:
    story.aws.client("dynamodb").delete_table(TableName=f"{story.outputs['tableName']}-beside")
    with shown("docs/environments.md", "What no destroy takes away") as page:
        for command in page:
            if command.startswith("aws "):
                call_of(story.aws.client, filled(command, story.outputs, {})).made()
            else:
                story.type(command)
    assert not made(story.aws)
