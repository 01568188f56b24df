"""The one-off task: what it asks of ECS, when it runs again, and what a user reads when it fails."""

from __future__ import annotations

import base64
import pickle
import subprocess
import sys
from typing import Any

import boto3
import pytest
from pulumi.dynamic.dynamic import serialize_provider

from analysis.graph import ROOT
from components import one_off_task
from components.one_off_task import TaskError, _Provider, run

ARN = "arn:aws:ecs:us-east-1:123456789012:task/cluster/abc123"
PROPS: dict[str, Any] = {
    "region": "us-east-1",
    "cluster": "cluster",
    "taskDefinition": "arn:definition:3",
    "container": "migrations",
    "subnetIds": ["subnet-1", "subnet-2"],
    "securityGroupId": "sg-1",
    "logGroup": "/stack/migrations",
    "logStreamPrefix": "migrations",
    "triggers": {"image": "a", "migrations": "b", "database": "c"},
    "timeoutSeconds": 900.0,  # numbers come as floating ones from the engine
    "profile": None,
    "roles": [],
}
Answer = dict[str, Any]


class Aws:
    """As much of ECS, CloudWatch Logs and STS as a run asks."""

    def __init__(self) -> None:
        self.started: list[Answer] = []
        self.stopped: list[Answer] = []
        self.sessions: list[Answer] = []
        self.assumed: list[Answer] = []
        self.answer: Answer = {"tasks": [{"taskArn": ARN}], "failures": []}
        self.states: list[Answer] = [self.state("PENDING"), self.state("STOPPED", 0)]
        self.lines: list[str] | Exception = ["applied 0001", "done\n"]

    @staticmethod
    def state(status: str, code: int | None = None, reason: str = "Essential container exited") -> Answer:
        container: Answer = {"name": "migrations", **({} if code is None else {"exitCode": code})}
        return {"lastStatus": status, "stoppedReason": reason, "containers": [container]}

    def session(self, **options: Any) -> Aws:
        self.sessions.append(options)
        return self

    def client(self, service: str) -> Aws:
        assert service in ("ecs", "logs", "sts")
        return self

    def run_task(self, **request: Any) -> Answer:
        self.started.append(request)
        return self.answer

    def describe_tasks(self, cluster: str, tasks: list[str]) -> Answer:
        assert (cluster, tasks) == ("cluster", [ARN])
        return {"tasks": [self.states.pop(0) if len(self.states) > 1 else self.states[0]]}

    def stop_task(self, **request: Any) -> None:
        self.stopped.append(request)

    def get_log_events(self, **request: Any) -> Answer:
        assert request["logGroupName"] == "/stack/migrations"
        assert request["logStreamName"] == "migrations/migrations/abc123"
        if isinstance(self.lines, Exception):
            raise self.lines
        return {"events": [{"message": line} for line in self.lines]}

    def assume_role(self, **request: Any) -> Answer:
        self.assumed.append(request)
        return {"Credentials": {"AccessKeyId": f"A{len(self.assumed)}", "SecretAccessKey": "s", "SessionToken": "t"}}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Aws:
    fake = Aws()
    monkeypatch.setattr(boto3, "Session", fake.session)
    monkeypatch.setattr(one_off_task, "POLL_SECONDS", 0)
    monkeypatch.setattr(one_off_task, "START_WAIT_SECONDS", 0)
    return fake


def test_it_starts_privately_and_waits_for_the_end(aws: Aws) -> None:
    assert run(PROPS) == ARN
    (request,) = aws.started
    assert request["taskDefinition"] == "arn:definition:3"
    assert request["launchType"] == "FARGATE"
    assert request["networkConfiguration"]["awsvpcConfiguration"] == {
        "subnets": ["subnet-1", "subnet-2"],
        "securityGroups": ["sg-1"],
        "assignPublicIp": "DISABLED",
    }
    assert len(aws.states) == 1  # it saw PENDING and went on asking


def test_a_failure_says_what_the_task_said_last(aws: Aws) -> None:
    aws.states = [aws.state("STOPPED", 1)]
    aws.lines = ["SchemaError: never change a migration\n"]
    with pytest.raises(TaskError, match=r"exit code 1 .*\n  SchemaError: never change a migration$"):
        run(PROPS)


def test_a_task_that_never_ran_is_no_success(aws: Aws) -> None:
    aws.states = [aws.state("STOPPED", None, "CannotPullContainerError: access denied")]
    aws.lines = LookupError("ResourceNotFoundException")
    with pytest.raises(TaskError, match=r"did not start \(CannotPullContainerError.*\n  \(none to be had"):
        run(PROPS)
    assert len(aws.started) == one_off_task.START_TRIES


def test_a_role_that_ecs_does_not_know_yet_is_waited_for(aws: Aws) -> None:
    aws.states = [aws.state("STOPPED", None, "unable to assume the role"), aws.state("STOPPED", 0)]
    assert run(PROPS) == ARN
    assert len(aws.started) == 2


def test_what_ran_and_failed_is_not_run_again(aws: Aws) -> None:
    aws.states = [aws.state("STOPPED", 1), aws.state("STOPPED", 0)]
    with pytest.raises(TaskError):
        run(PROPS)
    assert len(aws.started) == 1


@pytest.mark.parametrize(
    "answer", [{"tasks": [], "failures": [{"reason": "Capacity is unavailable"}]}, {"tasks": [], "failures": []}]
)
def test_what_ecs_does_not_start_fails_with_its_reason(aws: Aws, answer: Answer) -> None:
    aws.answer = answer
    with pytest.raises(TaskError, match=r"did not start: (Capacity is unavailable|ECS gave no reason)"):
        run(PROPS)


def test_a_task_that_hangs_is_stopped(aws: Aws) -> None:
    aws.states = [aws.state("RUNNING")]
    with pytest.raises(TaskError, match="has not ended after 0 s and was stopped"):
        run(PROPS | {"timeoutSeconds": 0})
    assert [request["task"] for request in aws.stopped] == [ARN]


def test_it_comes_as_the_programs_provider_does(aws: Aws) -> None:
    roles = [{"roleArn": "arn:one"}, {"roleArn": "arn:two", "sessionName": "ci", "externalId": "x"}]
    run(PROPS | {"profile": "payments", "roles": roles})
    assert aws.sessions[0] == {"region_name": "us-east-1", "profile_name": "payments"}
    assert aws.assumed == [
        {"RoleArn": "arn:one", "RoleSessionName": "pulumi"},
        {"RoleArn": "arn:two", "RoleSessionName": "ci", "ExternalId": "x"},
    ]
    assert [options["aws_access_key_id"] for options in aws.sessions[1:]] == ["A1", "A2"]


def test_it_runs_on_creation_and_when_a_trigger_changes(aws: Aws) -> None:
    provider = _Provider()
    made = provider.create(PROPS)
    assert (made.id, made.outs) == (ARN, {**PROPS, "taskArn": ARN})

    def changed(news: Answer) -> Any:
        return provider.diff(ARN, made.outs or {}, news).changes

    assert changed(PROPS) is False
    assert changed(PROPS | {"taskDefinition": "arn:definition:4"}) is False
    for trigger in PROPS["triggers"]:
        news = PROPS | {"triggers": PROPS["triggers"] | {trigger: "new"}}
        assert changed(news) is True, trigger
    aws.states = [aws.state("STOPPED", 0)]
    updated = provider.update(ARN, made.outs or {}, news)
    assert updated.outs == {**news, "taskArn": ARN}
    assert len(aws.started) == 2
    provider.delete(ARN, PROPS)
    assert len(aws.started) == 2


def test_a_failed_update_does_not_pass(aws: Aws) -> None:
    aws.states = [aws.state("STOPPED", 1)]
    with pytest.raises(TaskError):
        _Provider().update(ARN, PROPS, PROPS)


def test_its_code_can_change_without_the_resource_changing() -> None:
    """The engine compares the pickled provider: by reference it is the same whatever this module says."""
    text = base64.b64decode(serialize_provider(_Provider()))
    assert len(text) < 200
    assert b"components.one_off_task" in text
    assert isinstance(pickle.loads(text), _Provider)  # noqa: S301


def test_it_loads_without_the_program() -> None:
    """Pulumi's process for it imports this module for each call: not the AWS SDK of Pulumi, which takes seconds."""
    heavy = "[m for m in ('pulumi_aws', 'pulumi_awsx', 'boto3') if m in sys.modules]"
    script = f"import sys, components.one_off_task; print({heavy})"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
