"""What a recorded stack acts with and as, on an emulator that enforces IAM: the recorded roles and policies, and the
functions, tasks, machine and schedules that use them. The account is the recorded one, so that ARNs fit as they are."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import boto3
import pytest

from analysis.graph import ACCOUNT, Record, Recorded
from components import artifact
from local.emulator import REGION, Emulator
from local.overlay.access import Check

T = TypeVar("T")
ROLE, POLICY = "aws:iam/role:Role", "aws:iam/rolePolicy:RolePolicy"
FUNCTION, SECRET = "aws:lambda/function:Function", "aws:secretsmanager/secret:Secret"
OPERATORS = "operators"
VIEWER, MAKER, CHECKER = (f"operators-{role}" for role in ("viewer", "maker", "checker"))
SITTING = (VIEWER, MAKER, CHECKER)
"""Who sits at the desk, with a role of IAM Identity Center each."""
PEOPLES = (OPERATORS, *SITTING)
"""The policies of people, each on a role of its name."""
SSO = "/aws-reserved/sso.amazonaws.com/eu-central-1/"
MASTER = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:rds!cluster-1-abcdef"
"""The recorded ARN of the database's managed secret."""


def until(look: Callable[[], T | None], seconds: float = 90) -> T:
    """Look again and again until there is something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError(f"nothing within {seconds} s")


@dataclass
class World:
    """One recorded stack on the emulator."""

    emulator: Emulator
    record: Record
    log: Path
    """Of the checks."""
    changes: dict[str, str]
    """Variables of every worker that differ from the recorded ones."""
    secrets: dict[str, str]
    """Recorded ARN of a secret -> its value."""
    arns: dict[str, str] = field(default_factory=dict)
    """Recorded ARN -> the emulator's, where the two differ."""
    _clients: dict[str, Any] = field(default_factory=dict, repr=False)

    def client(self, service: str) -> Any:
        """As the account's root."""
        if service not in self._clients:
            self._clients[service] = self.emulator.client(service, account=ACCOUNT)
        return self._clients[service]

    def here(self, text: str) -> str:
        """With the emulator's ARNs."""
        for recorded, made in self.arns.items():
            text = text.replace(recorded, made)
        return text

    def checks(self) -> list[Check]:
        """All checks of roles so far."""
        if not self.log.exists():
            return []
        return [Check(**json.loads(line)) for line in self.log.read_text().splitlines()]

    # --- roles

    def policies(self) -> dict[str, list[dict[str, Any]]]:
        """Logical name of each role (and of people's policies) -> its statements."""
        found = {one.name: one for one in self.record.all(POLICY)}
        found |= {one.name: one for one in self.record.all("aws:iam/policy:Policy")}
        return {name: json.loads(self.here(one.inputs["policy"]))["Statement"] for name, one in found.items()}

    def role(self, name: str) -> str:
        """Its ARN."""
        return f"arn:aws:iam::{ACCOUNT}:role{SSO if name in SITTING else '/'}{self.role_name(name)}"

    def role_name(self, name: str) -> str:
        if name in SITTING:
            return f"AWSReservedSSO_{name}_0123456789abcdef"
        return name if name in PEOPLES else str(self.record.one(ROLE, name).outputs["name"])

    def grant(self, name: str, statements: Sequence[dict[str, Any]]) -> None:
        """Let the role do this and nothing else."""
        document = {"Version": "2012-10-17", "Statement": statements or [NOTHING]}
        self.client("iam").put_role_policy(
            RoleName=self.role_name(name), PolicyName="own", PolicyDocument=json.dumps(document)
        )

    @contextlib.contextmanager
    def without(self, name: str, sid: str) -> Iterator[None]:
        """The role without one statement."""
        whole = self.policies()[name]
        rest = [one for one in whole if one["Sid"] != sid]
        assert len(rest) == len(whole) - 1, f"{name} has no statement {sid}"
        self.grant(name, rest)
        try:
            yield
        finally:
            self.grant(name, whole)

    @contextlib.contextmanager
    def as_role(self, name: str, session: str = "somebody") -> Iterator[pytest.MonkeyPatch]:
        """This process with the role's credentials; the role trusts services alone, so for once it trusts us."""
        self.client("iam").update_assume_role_policy(RoleName=self.role_name(name), PolicyDocument=PEOPLE)
        made = self.client("sts").assume_role(RoleArn=self.role(name), RoleSessionName=session)["Credentials"]
        if name not in PEOPLES:
            trust = self.record.one(ROLE, name).inputs["assumeRolePolicy"]
            self.client("iam").update_assume_role_policy(RoleName=self.role_name(name), PolicyDocument=trust)
        with pytest.MonkeyPatch.context() as patch:
            for variable, value in (
                ("AWS_ENDPOINT_URL", self.emulator.endpoint_url),
                ("AWS_ACCESS_KEY_ID", made["AccessKeyId"]),
                ("AWS_SECRET_ACCESS_KEY", made["SecretAccessKey"]),
                ("AWS_SESSION_TOKEN", made["SessionToken"]),
                ("AWS_REGION", REGION),
                ("AWS_DEFAULT_REGION", REGION),
                ("NO_PROXY", "127.0.0.1"),
            ):
                patch.setenv(variable, value)
            patch.setattr(boto3, "DEFAULT_SESSION", None)
            yield patch

    # --- resources

    def make(self) -> None:
        """All of it. Secrets first: the emulator adds to their ARNs, as AWS does."""
        for arn, value in self.secrets.items():
            made = self.client("secretsmanager").create_secret(Name=arn.rsplit(":", 1)[-1], SecretString=value)
            self.arns[arn] = made["ARN"]
        iam = self.client("iam")
        for role in self.record.all(ROLE):
            iam.create_role(RoleName=role.outputs["name"], AssumeRolePolicyDocument=role.inputs["assumeRolePolicy"])
        for name in PEOPLES:
            path = SSO if name in SITTING else "/"
            iam.create_role(RoleName=self.role_name(name), Path=path, AssumeRolePolicyDocument=PEOPLE)
        for name, statements in self.policies().items():
            self.grant(name, statements)
        for group in self.record.all("aws:cloudwatch/logGroup:LogGroup"):
            self.client("logs").create_log_group(logGroupName=group.inputs["name"])
        for queue in self.record.some("aws:sqs/queue:Queue"):
            self._queue(queue)
        for function in self.record.some(FUNCTION):
            self._function(function)

    def _queue(self, queue: Recorded) -> None:
        made = self.client("sqs").create_queue(QueueName=queue.outputs["name"])
        policy = self.record.one("aws:sqs/queuePolicy:QueuePolicy", queue.name).inputs["policy"]
        self.client("sqs").set_queue_attributes(QueueUrl=made["QueueUrl"], Attributes={"Policy": policy})

    def _function(self, function: Recorded) -> None:
        inputs = function.inputs
        variables = {**inputs["environment"]["variables"], **self.changes}
        self.client("lambda").create_function(
            FunctionName=function.outputs["name"],
            Role=inputs["role"],
            Runtime=inputs["runtime"],
            Handler=inputs["handler"],
            Timeout=int(inputs["timeout"]),
            MemorySize=int(inputs["memorySize"]),
            Code={"ZipFile": artifact.build().read_bytes()},
            Environment={"Variables": {name: self.here(value) for name, value in variables.items()}},
            LoggingConfig={"LogGroup": inputs["loggingConfig"]["logGroup"], "LogFormat": "JSON"},
            KMSKeyArn=inputs["kmsKeyArn"],
        )

    def schedule(self) -> None:
        """Its one schedule, at work from now on."""
        (made,) = self.record.all("aws:scheduler/schedule:Schedule")
        target = made.inputs["target"]
        scheduler = self.client("scheduler")
        with contextlib.suppress(scheduler.exceptions.ConflictException):
            scheduler.create_schedule_group(Name=made.inputs["groupName"])
        scheduler.create_schedule(
            Name=made.name,
            GroupName=made.inputs["groupName"],
            ScheduleExpression="rate(1 minute)",
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={
                "Arn": target["arn"],
                "RoleArn": target["roleArn"],
                "Input": target["input"],
                "RetryPolicy": {"MaximumRetryAttempts": 0},
                "DeadLetterConfig": {"Arn": target["deadLetterConfig"]["arn"]},
            },
        )

    def unschedule(self) -> None:
        """No start any more."""
        (made,) = self.record.all("aws:scheduler/schedule:Schedule")
        self.client("scheduler").delete_schedule(Name=made.name, GroupName=made.inputs["groupName"])


PEOPLE = json.dumps({"Statement": [{"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}]})
"""The trust of a role that somebody of the account may take."""
NOTHING = {"Sid": "Nothing", "Effect": "Deny", "Action": "iam:CreateUser", "Resource": "*"}
"""A policy needs a statement."""
