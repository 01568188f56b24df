"""A task that runs once during `pulumi up`, before what needs its result: the schema's migrations.

A dynamic resource: Pulumi runs the code below in a process of its own, which knows nothing of the program's provider.
So region, profile and roles come as inputs, and the credentials from where the AWS CLI takes them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

POLL_SECONDS = 2
START_TRIES = 4
START_WAIT_SECONDS = 15
"""Between the tries: a role that was just made is known everywhere only after some seconds."""
LOG_LINES = 20
"""How many of a failed task's last lines the user sees."""


class TaskError(Exception):
    """The task did not end well; says how, and what it logged last."""


@dataclass(frozen=True, slots=True)
class OneOffTaskArgs:
    region: pulumi.Input[str]
    cluster: pulumi.Input[str]
    task_definition: pulumi.Input[str]
    """ARN, with its revision."""
    container: str
    """Whose exit code counts."""
    subnet_ids: pulumi.Input[Sequence[str]]
    security_group_id: pulumi.Input[str]
    log_group: pulumi.Input[str]
    log_stream_prefix: str
    triggers: Mapping[str, pulumi.Input[str]]
    """The task runs again when one of these changes, and for no other change."""
    timeout_seconds: int = 900
    profile: str | None = None
    roles: Sequence[Mapping[str, str]] = ()
    """Roles to take one after the other, as in the config `aws:assumeRoles`: roleArn, sessionName, externalId."""


class OneOffTask(Resource, module="confirm-transactions", name="OneOffTask"):
    """Runs the task on creation and whenever a trigger changes; waits for its end. Deleting it does nothing."""

    def __init__(self, name: str, args: OneOffTaskArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(
            _Provider(),
            name,
            {
                "region": args.region,
                "cluster": args.cluster,
                "taskDefinition": args.task_definition,
                "container": args.container,
                "subnetIds": args.subnet_ids,
                "securityGroupId": args.security_group_id,
                "logGroup": args.log_group,
                "logStreamPrefix": args.log_stream_prefix,
                "triggers": dict(args.triggers),
                "timeoutSeconds": args.timeout_seconds,
                "profile": args.profile,
                "roles": [dict(role) for role in args.roles],
                "taskArn": None,
            },
            opts,
        )


class _Provider(ResourceProvider):
    """Pickled by reference to this module, so that its code may change without the resource changing."""

    serialize_as_secret_always = False  # it holds nothing

    def create(self, props: dict[str, Any]) -> CreateResult:
        arn = run(props)
        return CreateResult(arn, {**props, "taskArn": arn})

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        return DiffResult(changes=_olds.get("triggers") != _news.get("triggers"))

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        return UpdateResult({**_news, "taskArn": run(_news)})


def run(props: Mapping[str, Any]) -> str:
    """Run the task to its end and return its ARN. One whose container never started is tried again: nothing ran.

    Raises:
        TaskError: it could not start, failed, or took too long.
    """
    session = _session(props)
    for left in reversed(range(START_TRIES)):
        arn = _start(session.client("ecs"), props)
        task = _ended(session.client("ecs"), props, arn)
        exits = {container["name"]: container.get("exitCode") for container in task["containers"]}
        code = exits.get(props["container"])
        if code == 0:
            return arn
        if code is not None or not left:
            break
        time.sleep(START_WAIT_SECONDS)
    reason = task.get("stoppedReason") or "no reason given"
    ended = "did not start" if code is None else f"ended with exit code {code}"
    raise TaskError(f"{arn} {ended} ({reason}). Its last lines:\n{_last_lines(session, props, arn)}")


def _start(ecs: Any, props: Mapping[str, Any]) -> str:
    """Start the task and return its ARN."""
    answer = ecs.run_task(
        cluster=props["cluster"],
        taskDefinition=props["taskDefinition"],
        launchType="FARGATE",
        count=1,
        startedBy="pulumi",
        propagateTags="TASK_DEFINITION",
        networkConfiguration={
            "awsvpcConfiguration": {
                "subnets": list(props["subnetIds"]),
                "securityGroups": [props["securityGroupId"]],
                "assignPublicIp": "DISABLED",
            }
        },
    )
    if answer.get("failures") or not answer["tasks"]:
        reasons = "; ".join(f"{f.get('reason')} {f.get('detail', '')}".strip() for f in answer.get("failures", []))
        raise TaskError(f"{props['taskDefinition']} did not start: {reasons or 'ECS gave no reason'}")
    return str(answer["tasks"][0]["taskArn"])


def _ended(ecs: Any, props: Mapping[str, Any], arn: str) -> dict[str, Any]:
    """The task once it has stopped; one that takes too long is stopped."""
    deadline = time.monotonic() + float(props["timeoutSeconds"])
    while True:
        found = ecs.describe_tasks(cluster=props["cluster"], tasks=[arn])["tasks"]
        if found and found[0]["lastStatus"] == "STOPPED":
            return dict(found[0])
        if time.monotonic() > deadline:
            ecs.stop_task(cluster=props["cluster"], task=arn, reason="took too long")
            raise TaskError(f"{arn} has not ended after {props['timeoutSeconds']:.0f} s and was stopped")
        time.sleep(POLL_SECONDS)


def _last_lines(session: Any, props: Mapping[str, Any], arn: str) -> str:
    """What the task logged last; an explanation where that cannot be had, for the first error matters more."""
    stream = f"{props['logStreamPrefix']}/{props['container']}/{arn.rpartition('/')[2]}"
    try:
        events = session.client("logs").get_log_events(
            logGroupName=props["logGroup"], logStreamName=stream, limit=LOG_LINES, startFromHead=False
        )["events"]
    except Exception as error:  # whatever it is, it must not hide why the task failed
        return f"  (none to be had from {stream} in {props['logGroup']}: {error})"
    return "\n".join(f"  {event['message'].rstrip()}" for event in events) or "  (none)"


def _session(props: Mapping[str, Any]) -> Any:
    """A session as the program's provider has it: profile, then each role in turn."""
    import boto3  # in the process that runs the task only: the program needs it not

    session = boto3.Session(region_name=props["region"], profile_name=props.get("profile"))
    for role in props.get("roles") or ():
        request = {"RoleArn": role["roleArn"], "RoleSessionName": role.get("sessionName", "pulumi")}
        if role.get("externalId"):
            request["ExternalId"] = role["externalId"]
        given = session.client("sts").assume_role(**request)["Credentials"]
        session = boto3.Session(
            region_name=props["region"],
            aws_access_key_id=given["AccessKeyId"],
            aws_secret_access_key=given["SecretAccessKey"],
            aws_session_token=given["SessionToken"],
        )
    return session
