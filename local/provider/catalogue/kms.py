"""AWS Key Management Service. The emulator keeps keys and aliases; services do not encrypt with them."""

from __future__ import annotations

from typing import Any

from local.provider.model import Call, Name, Read, Resource, Scope, Tagging

KEY = {"KeyId": "{id}"}


def _alias(found: Any, scope: Scope) -> Any:
    return next((alias for alias in found if alias["AliasName"] == scope["name"]), None)


RESOURCES = (
    Resource(
        "aws:kms/key:Key",
        "kms",
        create=Call(
            "create_key",
            rename={
                "customerMasterKeySpec": "KeySpec",
                "bypassPolicyLockoutSafetyCheck": "BypassPolicyLockoutSafetyCheck",
            },
        ),
        id="KeyMetadata.KeyId",
        updates=(
            Call("update_key_description", takes=("description",), where=KEY, update_only=True),
            Call("put_key_policy", takes=("policy",), where={**KEY, "PolicyName": "default"}, update_only=True),
            Call(
                "enable_key_rotation",
                takes=("enableKeyRotation", "rotationPeriodInDays"),
                encode={"enableKeyRotation": lambda _: {}},
                where=KEY,
                remove="disable_key_rotation",
            ),
        ),
        read=Read("describe_key", KEY, "KeyMetadata", exists=lambda key, _: key["KeyState"] != "PendingDeletion"),
        delete=Call("schedule_key_deletion", where={**KEY, "PendingWindowInDays": 7}),
        tagging=Tagging(KEY),
        outputs={"arn": "Arn", "keyId": "KeyId"},
        handled=("deletionWindowInDays",),
        drift=False,
    ),
    Resource(
        "aws:kms/alias:Alias",
        "kms",
        create=Call("create_alias", rename={"name": "AliasName"}),
        id="{name}",
        updates=(Call("update_alias", takes=("targetKeyId",), where={"AliasName": "{name}"}, update_only=True),),
        read=Read("list_aliases", {}, "Aliases", exists=lambda found, scope: _alias(found, scope) is not None),
        delete=Call("delete_alias", where={"AliasName": "{name}"}),
        name=Name(start="alias/", limit=256),
        outputs={
            "arn": lambda found, scope: (_alias(found, scope) or {}).get("AliasArn"),
            "targetKeyArn": "arn:aws:kms:{region}:{account}:key/{targetKeyId}",
        },
        drift=False,
    ),
)
