"""AWS Secrets Manager."""

from __future__ import annotations

from local.provider.model import Call, Name, Read, Resource, Tagging

SECRET = {"SecretId": "{id}"}

RESOURCES = (
    Resource(
        "aws:secretsmanager/secret:Secret",
        "secretsmanager",
        create=Call("create_secret", takes=("name", "description", "kmsKeyId")),
        id="ARN",
        updates=(
            Call("update_secret", takes=("description", "kmsKeyId"), where=SECRET, update_only=True),
            Call(
                "put_resource_policy",
                takes=("policy",),
                rename={"policy": "ResourcePolicy"},
                where=SECRET,
                remove="delete_resource_policy",
            ),
        ),
        read=Read("describe_secret", SECRET, exists=lambda found, _: "DeletedDate" not in found),
        # a secret in its recovery window would block the next one of the same name
        delete=Call("delete_secret", where={**SECRET, "ForceDeleteWithoutRecovery": True}),
        name=Name(limit=512),
        tagging=Tagging(SECRET),
        outputs={"arn": "ARN"},
        handled=("recoveryWindowInDays", "forceOverwriteReplicaSecret"),
    ),
)
