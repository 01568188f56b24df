"""AWS Backup. The emulator keeps vaults, plans and selections; it copies nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.provider.model import Call, Name, Read, Resource, Scope, Tagging

LIFECYCLE = {"deleteAfter": "DeleteAfterDays", "coldStorageAfter": "MoveToColdStorageAfterDays"}
RULE = {
    "ruleName": "RuleName",
    "targetVaultName": "TargetBackupVaultName",
    "schedule": "ScheduleExpression",
    "scheduleExpressionTimezone": "ScheduleExpressionTimezone",
    "startWindow": "StartWindowMinutes",
    "completionWindow": "CompletionWindowMinutes",
    "enableContinuousBackup": "EnableContinuousBackup",
}


def _named(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names[key]: value for key, value in values.items() if key in names and value is not None}


def _plan(properties: Mapping[str, Any], _: Scope) -> dict[str, Any]:
    rules = [
        {**_named(rule, RULE), **({"Lifecycle": _named(rule["lifecycle"], LIFECYCLE)} if rule.get("lifecycle") else {})}
        for rule in properties["rules"]
    ]
    return {"BackupPlan": {"BackupPlanName": properties["name"], "Rules": rules}}


def _selection(properties: Mapping[str, Any], _: Scope) -> dict[str, Any]:
    return {
        "BackupSelection": {
            "SelectionName": properties["name"],
            "IamRoleArn": properties["iamRoleArn"],
            "Resources": properties.get("resources", []),
        },
        "BackupPlanId": properties["planId"],
    }


def _tagged(kind: str) -> Tagging:
    return Tagging({"ResourceArn": f"arn:{{partition}}:backup:{{region}}:{{account}}:{kind}"})


RESOURCES = (
    Resource(
        "aws:backup/vault:Vault",
        "backup",
        create=Call("create_backup_vault", rename={"name": "BackupVaultName", "kmsKeyArn": "EncryptionKeyArn"}),
        id="{name}",
        read=Read("describe_backup_vault", {"BackupVaultName": "{name}"}),
        delete=Call("delete_backup_vault", where={"BackupVaultName": "{name}"}),
        name=Name(prefix="", limit=50),
        tagging=_tagged("backup-vault:{name}"),
        outputs={"arn": "BackupVaultArn", "recoveryPoints": "NumberOfRecoveryPoints"},
        handled=("forceDestroy",),
        note="nothing is copied: the emulator keeps the books of AWS Backup",
    ),
    Resource(
        "aws:backup/vaultLockConfiguration:VaultLockConfiguration",
        id="{backupVaultName}",
        note="the emulator has no vault lock",
    ),
    Resource(
        "aws:backup/plan:Plan",
        "backup",
        create=Call("create_backup_plan", takes=("name", "rules"), compose=_plan),
        id="BackupPlanId",
        updates=(
            Call(
                "update_backup_plan",
                takes=("name", "rules"),
                compose=_plan,
                where={"BackupPlanId": "{id}"},
                update_only=True,
            ),
        ),
        read=Read("get_backup_plan", {"BackupPlanId": "{id}"}),
        delete=Call("delete_backup_plan", where={"BackupPlanId": "{id}"}),
        name=Name(prefix="", limit=50),
        tagging=_tagged("backup-plan:{id}"),
        outputs={"arn": "BackupPlanArn", "version": "VersionId"},
    ),
    Resource(
        "aws:backup/selection:Selection",
        "backup",
        create=Call("create_backup_selection", takes=("name", "iamRoleArn", "resources", "planId"), compose=_selection),
        id="SelectionId",
        read=Read("get_backup_selection", {"BackupPlanId": "{planId}", "SelectionId": "{id}"}),
        delete=Call("delete_backup_selection", where={"BackupPlanId": "{planId}", "SelectionId": "{id}"}),
        name=Name(prefix="", limit=50),
    ),
)
