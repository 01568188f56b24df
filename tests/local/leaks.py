"""What a stack on the local AWS leaves where people look, to be searched for what must be in none of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from local.stack import LocalAws
from tests.telemetry.secrets import Secret, found, normal


def known_to_pulumi(aws: LocalAws) -> dict[str, str]:
    """The stack's state with what is encrypted in it, and its outputs."""
    exported = aws.pulumi("stack", "export", "--show-secrets", "--stack", aws.stack, capture=True)
    assert exported.returncode == 0, exported.stderr
    return {"state": _text(json.loads(exported.stdout)), "outputs": _text(aws.outputs())}


def left_by(aws: LocalAws) -> dict[str, str]:
    """Place in the account -> all that stands there in clear: runs, logs, metrics, alarms, plans and spans."""
    machines = aws.client("stepfunctions").list_state_machines()["stateMachines"]
    logs, watch = aws.client("logs"), aws.client("cloudwatch")
    groups = [group["logGroupName"] for group in _all(logs, "describe_log_groups")]
    buckets = [bucket["Name"] for bucket in aws.client("s3").list_buckets()["Buckets"]]
    return {
        "runs": _text([_runs(aws, machine["stateMachineArn"]) for machine in machines]),
        "logs": _text([_all(logs, "filter_log_events", logGroupName=group) for group in groups]),
        "metrics": _text(_all(watch, "list_metrics")),
        "alarms": _text([_all(watch, "describe_alarms"), _all(watch, "describe_alarm_history")]),
        "plans": _text([_plans(aws, bucket) for bucket in buckets]),
        "spans": (aws.folder / "traces" / "spans.jsonl").read_text(),
    }


def secret_values(aws: LocalAws) -> list[Secret]:
    """All that Secrets Manager holds: keys, and passwords that it has made itself."""
    client = aws.client("secretsmanager")
    found: list[Secret] = []
    for one in _all(client, "list_secrets"):
        try:
            text = client.get_secret_value(SecretId=one["ARN"])["SecretString"]
        except client.exceptions.ResourceNotFoundException:  # has no value yet
            continue
        value = json.loads(text)["password"] if text.startswith("{") else text
        found.append(Secret(one["Name"], value, normal(value)))
    return found


def leaks(secrets: Sequence[Secret], places: dict[str, str]) -> list[tuple[str, str, str]]:
    """(place, kind, text) of each secret that is found."""
    return [(place, one.kind, one.text) for place, text in places.items() for one in found(secrets, text)]


def _runs(aws: LocalAws, machine: str) -> list[Any]:
    """Each execution with its input and output, and each event of its history with its own."""
    client = aws.client("stepfunctions")
    executions = _all(client, "list_executions", stateMachineArn=machine)
    return [
        (
            client.describe_execution(executionArn=one["executionArn"]),
            _all(client, "get_execution_history", executionArn=one["executionArn"], includeExecutionData=True),
        )
        for one in executions
    ]


def _plans(aws: LocalAws, bucket: str) -> list[str]:
    client = aws.client("s3")
    keys = [one["Key"] for one in _all(client, "list_objects_v2", Bucket=bucket) if one["Key"].endswith(".jsonl")]
    return [client.get_object(Bucket=bucket, Key=key)["Body"].read().decode() for key in keys]


def _all(client: Any, operation: str, **arguments: Any) -> list[Any]:
    """All pages' items."""
    found = client.get_paginator(operation).paginate(**arguments).build_full_result()
    return [one for items in found.values() if isinstance(items, list) for one in items]


def _text(content: Any) -> str:
    return json.dumps(content, default=str, ensure_ascii=False)
