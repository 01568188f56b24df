"""Amazon EventBridge Scheduler."""

from __future__ import annotations

from local.provider.model import Call, Name, Read, Resource, Tagging

RESOURCES = (
    Resource(
        "aws:scheduler/schedule:Schedule",
        "scheduler",
        create=Call(
            "create_schedule",
            rename={
                "target.deadLetterConfig.arn": "Arn",
                "target.sqsParameters.messageGroupId": "MessageGroupId",
            },
        ),
        id="{groupName}/{name}",
        updates=(Call("update_schedule", where={"Name": "{name}"}, update_only=True),),
        replaces=("groupName",),
        read=Read("get_schedule", {"Name": "{name}", "GroupName": "{groupName}"}),
        delete=Call("delete_schedule", where={"Name": "{name}", "GroupName": "{groupName}"}),
        name=Name(limit=64),
        defaults={"groupName": "default"},
        outputs={"arn": "Arn"},
    ),
    Resource(
        "aws:scheduler/scheduleGroup:ScheduleGroup",
        "scheduler",
        create=Call("create_schedule_group"),
        id="{name}",
        read=Read("get_schedule_group", {"Name": "{name}"}),
        delete=Call("delete_schedule_group", where={"Name": "{name}"}),
        name=Name(limit=64),
        tagging=Tagging({"ResourceArn": "{arn}"}),
        outputs={"arn": "Arn"},
    ),
)
