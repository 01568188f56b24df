"""AWS Step Functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.provider.model import Call, Name, Read, Resource, Tagging

MACHINE = {"stateMachineArn": "{id}"}


def _logging(value: Mapping[str, Any]) -> dict[str, Any]:
    result = {key: value[key] for key in ("level", "includeExecutionData") if value.get(key) is not None}
    if value.get("logDestination"):
        result["destinations"] = [{"cloudWatchLogsLogGroup": {"logGroupArn": value["logDestination"]}}]
    return {"loggingConfiguration": result}


RESOURCES = (
    Resource(
        "aws:sfn/stateMachine:StateMachine",
        "stepfunctions",
        create=Call(
            "create_state_machine",
            encode={"loggingConfiguration": _logging},
        ),
        id="stateMachineArn",
        updates=(
            Call(
                "update_state_machine",
                encode={"loggingConfiguration": _logging},
                where=MACHINE,
                update_only=True,
            ),
        ),
        read=Read("describe_state_machine", MACHINE, exists=lambda found, _: found.get("status") != "DELETING"),
        delete=Call("delete_state_machine", where=MACHINE),
        name=Name(limit=80),
        tagging=Tagging({"resourceArn": "{id}"}),
        outputs={"arn": "stateMachineArn", "creationDate": lambda found, _: found["creationDate"].isoformat()},
        recorded={
            "loggingConfiguration": "the emulator writes no execution logs",
            "tracingConfiguration": "the emulator has no X-Ray",
        },
    ),
)
