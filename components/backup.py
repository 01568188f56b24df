"""Copies of the data beside its own point-in-time recovery: in a vault that, locked, not even an administrator empties.

Point-in-time recovery goes with its table or cluster, and whoever may delete these may switch it off. The vault is
another door: its copies outlive both. A copy of the table is always a full one, so their number has a price
(`make cost` has the line `backups`): one a week.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import iam
from components.account import Account
from components.settings import Settings

SCHEDULE = "cron(0 5 ? * SUN *)"  # UTC, in the quietest hours
LEAST_DAYS = 7  # of a copy in a locked vault: longer than any schedule's gap


@dataclass(frozen=True, slots=True)
class BackupArgs:
    settings: Settings
    account: Account
    source_arn: pulumi.Input[str]
    """The table or the cluster."""
    statements: Sequence[iam.Statement]
    """What it takes to copy it."""
    key_arn: pulumi.Input[str]


class Backup(pulumi.ComponentResource):
    """AWS Backup of the datastore.

    Creates: a vault sealed with the data key; its lock, where the environment has it; a plan that copies weekly; the
    role that copies, and the selection of what.
    """

    vault: aws.backup.Vault

    def __init__(self, name: str, args: BackupArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("confirm-transactions:backup:Backup", name, {}, opts)
        mine = pulumi.ResourceOptions(parent=self)
        account, settings = args.account, args.settings
        days = settings.sizing.vault_days
        # a vault with copies in it cannot be deleted, by Pulumi neither: force_destroy would delete them first
        self.vault = aws.backup.Vault("copies", name=account.prefix, kms_key_arn=args.key_arn, opts=mine)
        if settings.sizing.vault_locked:
            aws.backup.VaultLockConfiguration(
                "copies",
                backup_vault_name=self.vault.name,
                min_retention_days=LEAST_DAYS,
                max_retention_days=max(days, 365),
                # Without it the lock is in governance mode: whoever has backup:DeleteBackupVaultLockConfiguration may
                # take it away. With it nobody can once the days are over, not even AWS.
                changeable_for_days=settings.vault_grace_days or None,
                opts=pulumi.ResourceOptions(parent=self.vault),
            )
        plan = aws.backup.Plan(
            "copies",
            name=account.prefix,
            rules=[
                aws.backup.PlanRuleArgs(
                    rule_name="weekly",
                    target_vault_name=self.vault.name,
                    schedule=SCHEDULE,
                    schedule_expression_timezone="UTC",
                    start_window=60,  # minutes
                    completion_window=24 * 60,
                    lifecycle=aws.backup.PlanRuleLifecycleArgs(delete_after=days),
                )
            ],
            opts=mine,
        )
        role, grant = iam.role(
            "backup",
            "backup.amazonaws.com",  # sends no source with its request, so none can be asked for
            [
                *args.statements,
                iam.Statement(
                    sid="IntoTheVault",
                    actions=("backup:CopyIntoBackupVault", "backup:DescribeBackupVault"),
                    resources=(self.vault.arn,),
                ),
                iam.Statement(  # what the copied one's tags become: without it a copy of something tagged fails
                    sid="TagTheCopies",
                    actions=("backup:TagResource",),
                    resources=(account.arn("backup", "recovery-point:*"),),
                ),
                iam.Statement(sid="SeeTheKey", actions=("kms:DescribeKey",), resources=(args.key_arn,)),
                iam.Statement(
                    sid="SealTheCopies",
                    actions=("kms:CreateGrant",),
                    resources=(args.key_arn,),
                    conditions={"Bool": {"kms:GrantIsForAWSResource": "true"}},
                ),
            ],
            account=account,
            description="Copies the datastore into the backup vault",
            parent=self,
        )
        aws.backup.Selection(
            "datastore",
            name="datastore",
            plan_id=plan.id,
            iam_role_arn=role.arn,
            resources=[args.source_arn],
            opts=pulumi.ResourceOptions(parent=plan, depends_on=[grant]),
        )
        self.register_outputs({"vault": self.vault.name})
