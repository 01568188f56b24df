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
    Resource(
        "aws:secretsmanager/secretVersion:SecretVersion",
        "secretsmanager",
        create=Call("put_secret_value", takes=("secretId", "secretString", "secretBinary", "versionStages")),
        id=lambda response, scope: f"{scope['secretId']}|{response['VersionId']}",
        read=Read("describe_secret", {"SecretId": "{secretId}"}, exists=lambda found, _: "DeletedDate" not in found),
        delete=None,  # a version goes with its secret
        outputs={
            "arn": "{secretId}",
            "secretArn": "{secretId}",
            "versionId": lambda _, scope: scope["id"].rpartition("|")[2],
        },
        drift=False,
    ),
)
