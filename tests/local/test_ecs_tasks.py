"""ECS tasks as processes: what they get, how they end, and what their service does about it."""
# ruff: noqa: S108 - /tmp is that of a container

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from local.emulator import Emulator
from local.overlay import ecs_tasks
from local.overlay.ecs_tasks import HealthCheck, Restarts, batches, environment, names_a_program, own_words
from local.processes import ROOT, command_of
from tests.conftest import AwsAccount
from tests.local.test_overlays import until

GROUP = "/tasks"
SLEEP = "import time; print('up', flush=True); time.sleep(300)"


class Ecs:
    """A cluster of an account, and what the tests ask of it."""

    def __init__(self, client: Callable[[str], Any], tasks: Path, name: str) -> None:
        self.client, self.tasks, self.name = client("ecs"), tasks, name
        self.logs, self.metrics = client("logs"), client("cloudwatch")
        self.aws = client
        if not self.logs.describe_log_groups(logGroupNamePrefix=GROUP)["logGroups"]:
            self.logs.create_log_group(logGroupName=GROUP)
        self.client.create_cluster(clusterName=name, settings=[{"name": "containerInsights", "value": "enabled"}])

    def define(self, code: str, *, family: str = "", sidecars: Sequence[dict[str, Any]] = (), **more: Any) -> str:
        """A task definition whose container `worker` runs Python code; its ARN."""
        options = {"awslogs-group": GROUP, "awslogs-region": "us-east-1", "awslogs-stream-prefix": "t"}
        container = {
            "name": "worker",
            "image": "registry/workers@sha256:" + "0" * 64,
            "entryPoint": ["python", "-c"],
            "command": [code],
            "logConfiguration": {"logDriver": "awslogs", "options": options},
            **more,
        }
        made = self.client.register_task_definition(
            family=family or self.name, containerDefinitions=[container, *sidecars], requiresCompatibilities=["FARGATE"]
        )
        return str(made["taskDefinition"]["taskDefinitionArn"])

    def run(self, definition: str, **more: Any) -> str:
        made = self.client.run_task(cluster=self.name, taskDefinition=definition, launchType="FARGATE", **more)
        return str(made["tasks"][0]["taskArn"])

    def task(self, arn: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.describe_tasks(cluster=self.name, tasks=[arn])["tasks"][0]
        return found

    def ended(self, arn: str, seconds: float = 60) -> dict[str, Any]:
        return until(lambda: task if (task := self.task(arn))["lastStatus"] == "STOPPED" else None, seconds)

    def serve(self, definition: str, count: int = 1, **more: Any) -> None:
        self.client.create_service(
            cluster=self.name, serviceName="s", taskDefinition=definition, desiredCount=count, **more
        )

    def service(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.describe_services(cluster=self.name, services=["s"])["services"][0]
        return found

    def steady(self, count: int, seconds: float = 60) -> list[str]:
        """Wait until so many tasks run, all of the newest definition; their ARNs."""

        def look() -> list[str] | None:
            seen = self.service()
            states = [one["rolloutState"] for one in seen["deployments"]]
            return self.live() if seen["runningCount"] == count and states == ["COMPLETED"] else None

        found = until(look, seconds)
        assert len(found) == count
        return found

    def live(self) -> list[str]:
        found: list[str] = self.client.list_tasks(cluster=self.name, serviceName="s")["taskArns"]
        return found

    def lines(self, arn: str) -> list[str]:
        events = self.logs.get_log_events(
            logGroupName=GROUP, logStreamName=f"t/worker/{arn.rsplit('/', 1)[-1]}", startFromHead=True
        )["events"]
        return [event["message"] for event in events]

    def let(self, arn: str, name: str) -> None:
        """What the container waits for: a file in its /tmp."""
        (self.tasks / arn.rsplit("/", 1)[-1] / "worker" / "tmp" / name).touch()

    def pid(self, arn: str) -> int:
        """Of the process that holds the container."""
        return int((self.tasks / arn.rsplit("/", 1)[-1] / "worker" / "pid").read_text())


def said(ecs: Ecs, arn: str, text: str) -> bool:
    try:
        return text in ecs.lines(arn)
    except ecs.logs.exceptions.ResourceNotFoundException:
        return False


@pytest.fixture
def ecs(emulator: Emulator, aws: AwsAccount, request: pytest.FixtureRequest) -> Any:
    cluster = Ecs(aws.client, emulator.folder / "tmp" / "tasks", request.node.name[:60].replace("[", "-").rstrip("]"))
    yield cluster
    for arn in cluster.client.list_services(cluster=cluster.name)["serviceArns"]:
        cluster.client.delete_service(cluster=cluster.name, service=arn, force=True)


def test_a_task_gets_what_its_definition_says_and_its_exit_code_is_told(ecs: Ecs) -> None:
    secret = ecs.aws("secretsmanager").create_secret(Name="db", SecretString='{"password": "p w", "username": "u"}')
    code = (
        "import os, json, sys, workers, boto3\n"
        "open(os.environ['HEARTBEAT_FILE'], 'w').close()\n"
        "print(json.dumps(dict(os.environ)), flush=True)\n"
        "print(boto3.client('sts').get_caller_identity()['Account'], flush=True)\n"
        "print('no end of line', end='', flush=True)\n"
        "sys.exit(int(os.environ['CODE']))"
    )
    definition = ecs.define(
        code,
        environment=[
            {"name": "HEARTBEAT_FILE", "value": "/tmp/heartbeat"},
            {"name": "CODE", "value": "1"},
            {"name": "URL", "value": "postgresql://h/tmp"},
        ],
        secrets=[
            {"name": "ALL", "valueFrom": secret["ARN"]},
            {"name": "PASSWORD", "valueFrom": f"{secret['ARN']}:password::"},
        ],
    )
    overrides = {"containerOverrides": [{"name": "worker", "environment": [{"name": "CODE", "value": "7"}]}]}
    arn = ecs.run(definition, overrides=overrides)
    task = ecs.ended(arn)
    assert task["containers"][0]["exitCode"] == 7
    assert (task["stopCode"], task["stoppedReason"]) == (
        "EssentialContainerExited",
        "Essential container in task exited",
    )
    until(lambda: said(ecs, arn, "no end of line"))
    first, account, _ = ecs.lines(arn)
    assert account == arn.split(":")[4]
    seen = json.loads(first)
    assert json.loads(seen["ALL"])["username"] == "u"
    assert seen["PASSWORD"] == "p w"
    assert seen["URL"] == "postgresql://h/tmp"
    assert seen["HEARTBEAT_FILE"].endswith(f"{arn.rsplit('/', 1)[-1]}/worker/tmp/heartbeat")
    assert seen["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")
    assert not Path(seen["HOME"]).exists(), "its folder is gone with it"
    allowed = {"PATH", "HOME", "TMPDIR", "PYTHONPATH", "PYTHONUNBUFFERED", "NO_PROXY", "LANG", "LC_ALL", "LC_CTYPE"}
    own = {"HEARTBEAT_FILE", "CODE", "URL", "ALL", "PASSWORD", "LD_LIBRARY_PATH"}
    assert {name for name in seen if not name.startswith("AWS_")} <= allowed | own


def test_sigterm_then_its_own_time_then_sigkill(ecs: Ecs) -> None:
    polite = ecs.define(
        "import signal, sys, time\n"
        "def leave(*_):\n    print('leaving', flush=True); time.sleep(0.5); sys.exit(3)\n"
        "signal.signal(signal.SIGTERM, leave); print('ready', flush=True); time.sleep(300)",
        family="polite",
        stopTimeout=30,
    )
    deaf = ecs.define(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('ready', flush=True); time.sleep(300)",
        family="deaf",
        stopTimeout=1,
    )
    arns = [ecs.run(polite), ecs.run(deaf)]
    for arn in arns:
        until(lambda arn=arn: said(ecs, arn, "ready"))  # type: ignore[misc]
        seen = ecs.client.stop_task(cluster=ecs.name, task=arn, reason="enough")["task"]
        assert (seen["desiredStatus"], seen["lastStatus"]) == ("STOPPED", "STOPPING")
    first, second = (ecs.ended(arn) for arn in arns)
    assert first["containers"][0]["exitCode"] == 3
    assert "leaving" in ecs.lines(arns[0])
    assert (first["stoppedReason"], first["stopCode"]) == ("enough", "UserInitiated")
    assert second["containers"][0]["exitCode"] == 137


def test_what_a_task_cannot_have_keeps_it_from_starting(ecs: Ecs) -> None:
    gone = "arn:aws:secretsmanager:us-east-1:000000000000:secret:gone-123456"
    no_secret = ecs.ended(ecs.run(ecs.define(SLEEP, secrets=[{"name": "X", "valueFrom": gone}])))
    assert no_secret["stopCode"] == "TaskFailedToStart"
    assert f"unable to retrieve secret {gone}" in no_secret["stoppedReason"]
    options = {"awslogs-group": "/none", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "t"}
    no_group = ecs.ended(ecs.run(ecs.define(SLEEP, logConfiguration={"logDriver": "awslogs", "options": options})))
    assert "The specified log group /none does not exist." in no_group["stoppedReason"]


def test_a_sidecar_without_a_program_is_recorded_and_ends_with_the_task(ecs: Ecs) -> None:
    sidecar = {"name": "collector", "image": "public/otel:1", "essential": False, "command": ["--config=x"]}
    script = "sleep 300 & echo $! > /tmp/child; wait"
    helper = {"name": "helper", "image": "x", "essential": False, "entryPoint": ["sh", "-c", script]}
    code = "import os, time\nwhile not os.path.exists(os.environ['END']): time.sleep(0.05)"
    end = [{"name": "END", "value": "/tmp/end"}]
    arn = ecs.run(ecs.define(code, environment=end, sidecars=[sidecar, helper]))
    task = until(lambda: seen if (seen := ecs.task(arn))["lastStatus"] == "RUNNING" else None)
    assert [one["lastStatus"] for one in task["containers"]] == ["RUNNING"] * 3
    folder = ecs.tasks / arn.rsplit("/", 1)[-1] / "helper"
    child = until(lambda: note.read_text() if (note := folder / "tmp" / "child").exists() else None)
    pids = [int((folder / "pid").read_text()), int(child)]
    ecs.let(arn, "end")
    task = ecs.ended(arn)
    assert [one.get("exitCode") for one in task["containers"]] == [0, None, 143]
    assert [command_of(pid) for pid in pids] == ["", ""], "what it started has ended as well"


def test_a_killed_task_is_replaced_and_the_desired_count_obeyed(ecs: Ecs) -> None:
    ecs.serve(ecs.define(SLEEP), 2)
    first, second = ecs.steady(2)
    os.kill(ecs.pid(first), signal.SIGKILL)
    dead = ecs.ended(first)
    assert dead["containers"][0]["exitCode"] == 137
    assert second in until(lambda: found if len(found := ecs.live()) == 2 and first not in found else None)
    time.sleep(ecs_tasks.STEADY_SECONDS + 0.5)  # nothing is under way that would look after it anyhow
    ecs.client.stop_task(cluster=ecs.name, task=second)
    until(lambda: ecs.service()["runningCount"] == 2 and second not in ecs.live())
    dimensions = [{"Name": "ClusterName", "Value": ecs.name}, {"Name": "ServiceName", "Value": "s"}]

    def counted(name: str) -> float:
        points = ecs.metrics.get_metric_statistics(
            Namespace="ECS/ContainerInsights",
            MetricName=name,
            Dimensions=dimensions,
            StartTime=time.time() - 600,
            EndTime=time.time() + 60,
            Period=600,
            Statistics=["Maximum"],
        )["Datapoints"]
        return max((float(point["Maximum"]) for point in points), default=0.0)

    assert until(lambda: counted("DesiredTaskCount") == counted("RunningTaskCount") == 2.0)
    ecs.client.update_service(cluster=ecs.name, service="s", desiredCount=1)
    assert len(until(lambda: found if len(found := ecs.live()) == 1 else None)) == 1
    ecs.client.delete_service(cluster=ecs.name, service="s", force=True)
    until(lambda: ecs.service()["status"] == "INACTIVE")
    assert ecs.live() == []


def test_a_new_definition_runs_before_the_old_one_stops(ecs: Ecs) -> None:
    ecs.serve(ecs.define(SLEEP), 1)
    (old,) = ecs.steady(1)
    check = {"command": ["CMD-SHELL", "test -f /tmp/ready"], "interval": 60, "retries": 10, "startPeriod": 300}
    ecs.client.update_service(cluster=ecs.name, service="s", taskDefinition=ecs.define(SLEEP, healthCheck=check))
    new = until(lambda: [arn for arn in ecs.live() if arn != old])[0]
    until(lambda: ecs.task(new)["lastStatus"] == "RUNNING")
    assert ecs.task(new)["healthStatus"] == "UNKNOWN"
    assert ecs.task(old)["lastStatus"] == "RUNNING", "the old one works until the new one is healthy"
    ecs.let(new, "ready")
    assert ecs.steady(1) == [new]
    assert ecs.task(new)["healthStatus"] == "HEALTHY"
    assert ecs.ended(old)["stopCode"] == "ServiceSchedulerInitiated"


def test_an_unhealthy_task_is_replaced_in_a_service_and_only_told_elsewhere(ecs: Ecs) -> None:
    check = {"command": ["CMD", "python", "-c", "import sys; sys.exit(1)"], "interval": 5, "timeout": 5, "retries": 2}
    definition = ecs.define(SLEEP, healthCheck=check)
    alone = ecs.run(definition)
    ecs.serve(definition, 1)
    first = until(lambda: ecs.live())[0]
    dead = ecs.ended(first)
    assert dead["stoppedReason"] == "Task failed container health checks"
    assert dead["healthStatus"] == "UNHEALTHY"
    assert until(lambda: [arn for arn in ecs.live() if arn != first])
    until(lambda: ecs.task(alone)["healthStatus"] == "UNHEALTHY")
    assert ecs.task(alone)["lastStatus"] == "RUNNING"
    ecs.client.stop_task(cluster=ecs.name, task=alone)


def test_a_deployment_that_fails_is_rolled_back_and_told_by_event(
    ecs: Ecs, aws: AwsAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = aws.client("sqs").create_queue(QueueName="failures")["QueueUrl"]
    attributes = aws.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
    events = aws.client("events")
    pattern = {"source": ["aws.ecs"], "detail": {"eventName": ["SERVICE_DEPLOYMENT_FAILED"]}}
    events.put_rule(Name="failed", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="failed", Targets=[{"Id": "q", "Arn": attributes["QueueArn"]}])
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
    good = ecs.define(SLEEP)
    ecs.serve(good, 1, deploymentConfiguration=breaker)
    (old,) = ecs.steady(1)
    ecs.client.update_service(
        cluster=ecs.name, service="s", taskDefinition=ecs.define("raise SystemExit('broken config')")
    )
    until(lambda: ecs.service()["taskDefinition"] == good)
    states = {one["taskDefinition"]: one["rolloutState"] for one in ecs.service()["deployments"]}
    assert "FAILED" in states.values()
    assert ecs.task(old)["lastStatus"] == "RUNNING", "it worked all the time"
    message = until(lambda: aws.client("sqs").receive_message(QueueUrl=queue).get("Messages"))[0]
    event = json.loads(message["Body"])
    assert event["resources"] == [ecs.service()["serviceArn"]]
    assert event["detail-type"] == "ECS Deployment State Change"


def test_emf_lines_of_a_task_are_metrics(ecs: Ecs) -> None:
    line = {
        "_aws": {
            "Timestamp": int(time.time() * 1000),
            "CloudWatchMetrics": [
                {"Namespace": "Tasks", "Dimensions": [["A"]], "Metrics": [{"Name": "Backlog", "Unit": "Count"}]}
            ],
        },
        "A": "fargate",
        "Backlog": 41,
    }
    ecs.ended(ecs.run(ecs.define(f"print({json.dumps(line)!r}, flush=True)")))
    until(lambda: ecs.metrics.list_metrics(Namespace="Tasks")["Metrics"])


# --- the emulator's own end


def test_tasks_end_with_the_emulator_and_come_back_with_its_state(tmp_path: Path) -> None:
    with Emulator(tmp_path, scheduler_speed=60) as first:
        ecs = Ecs(first.client, tmp_path / "tmp" / "tasks", "kept")
        ecs.serve(ecs.define(SLEEP), 1)
        (old,) = ecs.steady(1)
        held = ecs.pid(old)
    assert command_of(held) == ""
    with Emulator(tmp_path, scheduler_speed=60) as second:
        ecs = Ecs(second.client, tmp_path / "tmp" / "tasks", "kept")
        new = until(lambda: ecs.service()["runningCount"] == 1 and ecs.live())
        assert isinstance(new, list)
        assert old not in new
        assert ecs.task(old)["desiredStatus"] == ecs.task(old)["lastStatus"] == "STOPPED"
        held, emulator = ecs.pid(new[0]), second.pid
        assert emulator

        def children() -> list[str]:
            told = subprocess.run(["pgrep", "-P", str(held)], capture_output=True, text=True, check=False)
            return told.stdout.split()

        below = until(children)  # running is said before the command has started
        assert isinstance(below, list)
        os.kill(emulator, signal.SIGKILL)
        until(lambda: not any(command_of(pid) for pid in (held, *map(int, below))))


def contain(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-SE", str(ROOT / "local" / "overlay" / "contain.py"), sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("code", "wanted"), [("raise SystemExit(9)", 9), ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137)]
)
def test_a_container_ends_as_its_command_does(code: str, wanted: int) -> None:
    held = contain(code)
    assert held.wait(60) == wanted


def test_a_program_that_is_not_there_is_named() -> None:
    held = subprocess.Popen(
        [sys.executable, str(ROOT / "local" / "overlay" / "contain.py"), "no-such-program"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert held.wait(60) == 127
    assert held.stderr
    assert held.stderr.read() == 'exec: "no-such-program": No such file or directory\n'


def test_a_deaf_command_and_its_children_end_with_the_lifeline() -> None:
    code = (
        "import os, signal, subprocess, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(subprocess.Popen(['sleep', '300']).pid, os.getpid(), flush=True)\ntime.sleep(300)"
    )
    held = contain(code)
    assert held.stdin
    assert held.stdout
    pids = [int(word) for word in held.stdout.readline().split()]
    held.stdin.close()
    held.wait(60)
    until(lambda: not any(command_of(pid) for pid in pids))


# --- parts


def test_restarts_wait_longer_while_tasks_die_young() -> None:
    restarts = Restarts()
    waits = []
    for _ in range(8):
        waits.append(restarts.wait("s@1"))
        restarts.note("s@1", 0.5)
    assert waits == [0, 0.5, 1, 2, 4, 8, 16, 32]
    assert restarts.wait("s@2") == 0, "another definition starts at once"
    restarts.note("s@1", 11)
    assert restarts.wait("s@1") == 0
    restarts.note(None, 0)
    assert restarts.wait(None) == 0


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["python", "-m", "x", "/tmp/heartbeat"], [sys.executable, "-m", "x", "/f/tmp/heartbeat"]),
        (["sh", "-c", "cat /tmp/a '/tmp'"], ["sh", "-c", "cat /f/tmp/a '/f/tmp'"]),
        (["/var/tmp/x", "/tmpfile", "http://h/tmp"], ["/var/tmp/x", "/tmpfile", "http://h/tmp"]),
        ([], []),
    ],
)
def test_tmp_is_the_containers_own(words: list[str], wanted: list[str]) -> None:
    assert own_words(words, Path("/f")) == wanted


@pytest.mark.parametrize(
    ("words", "wanted"),
    [(["python"], True), (["sh", "-c", "x"], True), (["--config=x"], False), ([], False), (["/otel-collector"], False)],
)
def test_which_containers_name_their_program(words: list[str], wanted: bool) -> None:
    assert names_a_program(words) is wanted


def test_health_checks_have_ecs_defaults_and_the_schedulers_pace(tmp_path: Path) -> None:
    check = HealthCheck.of({"healthCheck": {"command": ["CMD-SHELL", "test -f /tmp/x"]}}, tmp_path, 6)
    assert check == HealthCheck(("/bin/sh", "-c", f"test -f {tmp_path}/tmp/x"), 5.0, 5.0, 3, 0.0)
    given = {"command": ["CMD", "python", "-m", "x"], "interval": 12, "timeout": 2, "retries": 5, "startPeriod": 60}
    check = HealthCheck.of({"healthCheck": given}, tmp_path, 6)
    assert check == HealthCheck((sys.executable, "-m", "x"), 2.0, 2.0, 5, 10.0)
    assert HealthCheck.of({"healthCheck": {"command": ["NONE"]}}, tmp_path, 6) is None
    assert HealthCheck.of({}, tmp_path, 6) is None


def test_the_environment_is_the_definitions_and_secrets_come_last() -> None:
    seen = environment(
        {"A": "/tmp/a", "AWS_REGION": "own"}, {"A": "/tmp/secret"}, Path("/f"), "111122223333", "eu-west-1"
    )
    assert seen["A"] == "/tmp/secret", "a secret is not touched"
    assert seen["AWS_REGION"] == "own"
    assert seen["AWS_ACCESS_KEY_ID"] == "111122223333"
    assert seen["TMPDIR"] == "/f/tmp"


def test_long_and_broken_lines_are_cut_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ecs_tasks, "LONGEST_LINE", 10)
    reader, writer = os.pipe()
    os.write(writer, b"one\r\n\xfftwo\n" + b"x" * 25 + b"\nlast")
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        lines = [line for batch in batches(stream) for line in batch]
    assert lines == ["one", "\ufffdtwo", "x" * 10, "last"]


def test_a_worker_reports_once_in_each_of_the_shorter_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ecs_tasks, "SPEED", 6.0)
    told = ecs_tasks.environment({"METRICS_SECONDS": "15"}, {}, tmp_path, "000000000000", "us-east-1")
    assert told["METRICS_SECONDS"] == "2.5"
