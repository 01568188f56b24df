"""AWS Systems Manager: Parameter Store."""

from __future__ import annotations

from local.provider.model import Call, Name, Read, Resource, Tagging

RESOURCES = (
    Resource(
        "aws:ssm/parameter:Parameter",
        "ssm",
        create=Call(
            "put_parameter",
            takes=(
                "name",
                "type",
                "value",
                "insecureValue",
                "description",
                "keyId",
                "allowedPattern",
                "tier",
                "dataType",
                "overwrite",
            ),
            rename={"insecureValue": "Value"},
        ),
        id="{name}",
        updates=(
            Call(
                "put_parameter",
                takes=("type", "value", "insecureValue", "description", "keyId", "allowedPattern", "tier", "dataType"),
                rename={"insecureValue": "Value"},
                where={"Name": "{name}", "Overwrite": True},
                update_only=True,
            ),
        ),
        read=Read("get_parameter", {"Name": "{name}", "WithDecryption": True}, "Parameter"),
        delete=Call("delete_parameter", where={"Name": "{name}"}),
        name=Name(prefix="", limit=2048),
        tagging=Tagging(
            {"ResourceType": "Parameter", "ResourceId": "{name}"}, "add_tags_to_resource", "remove_tags_from_resource"
        ),
        outputs={"arn": "ARN", "version": "Version"},
    ),
)
