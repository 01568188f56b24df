"""The transactions: one table, and a sparse index over those that are still open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components import iam
from components.account import Account
from components.backup import Backup, BackupArgs
from components.encryption import Encryption
from components.foundation import Foundation, Outputs, inside
from components.serverless.settings import TableSettings
from components.settings import Restore, Settings

INDEX = "pending"
EXPIRES = "expires_at"
WARM_READ_UNITS = 12_000  # what a new on-demand table has anyway; AWS wants both figures


RESTORED_BY = ("restoreBackupArn", "restoreDateTime", "restoreSourceName", "restoreToLatestTime")
"""Properties that AWS takes when the table is made, and never again."""


@dataclass(frozen=True, slots=True)
class DynamoDbDatastoreArgs:
    settings: Settings
    account: Account
    key_arn: pulumi.Input[str]

    @classmethod
    def of(cls, base: Foundation, encryption: Encryption) -> DynamoDbDatastoreArgs:
        return cls(base.settings, base.account, encryption.data_key.arn)


class DynamoDbDatastore(pulumi.ComponentResource):
    """The DynamoDB table of the serverless alternative.

    Creates: the table with its index; where the environment has it, contributor insights on both and the backup.
    """

    table: aws.dynamodb.Table
    table_name: pulumi.Output[str]
    table_arn: pulumi.Output[str]
    index_arn: pulumi.Output[str]

    def __init__(self, name: str, args: DynamoDbDatastoreArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("confirm-transactions:datastore:Datastore", name, {}, opts)
        sizing, table = args.settings.sizing, args.settings.part(TableSettings)
        self.table = aws.dynamodb.Table(
            "transactions",
            billing_mode="PAY_PER_REQUEST",
            hash_key="id",
            attributes=[
                aws.dynamodb.TableAttributeArgs(name="id", type="S"),
                aws.dynamodb.TableAttributeArgs(name="pending_shard", type="S"),
                aws.dynamodb.TableAttributeArgs(name="next_attempt_at", type="S"),
            ],
            global_secondary_indexes=[
                # Sparse: settled items lose `pending_shard` and with it their place here. KEYS_ONLY, and a claim
                # leaves the keys alone: so claiming costs no write here. Hash and range key although the provider
                # deprecates them: `key_schema` shows differences for ever (terraform-provider-aws#46602).
                {
                    "name": INDEX,
                    "hash_key": "pending_shard",
                    "range_key": "next_attempt_at",
                    "projection_type": "KEYS_ONLY",
                }
            ],
            server_side_encryption=aws.dynamodb.TableServerSideEncryptionArgs(enabled=True, kms_key_arn=args.key_arn),
            point_in_time_recovery=aws.dynamodb.TablePointInTimeRecoveryArgs(enabled=table.point_in_time_recovery),
            deletion_protection_enabled=sizing.deletion_protection,
            warm_throughput=aws.dynamodb.TableWarmThroughputArgs(
                read_units_per_second=WARM_READ_UNITS, write_units_per_second=table.warm_write_units
            )
            if table.warm_write_units
            else None,
            # of canaries alone, a week after they were sent; no other item has the attribute
            ttl=aws.dynamodb.TableTtlArgs(enabled=True, attribute_name=EXPIRES) if args.settings.canary else None,
            **_restored(args.settings.restore),
            # what it began as changes nothing later: the key goes out of the config once the books agree
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=list(RESTORED_BY)),
        )
        self.table_name = self.table.name
        self.table_arn = self.table.arn
        self.index_arn = pulumi.Output.concat(self.table.arn, "/index/", INDEX)
        if table.contributor_insights:
            self._insights("insights")
            self._insights("index-insights", INDEX)
        if sizing.vault_days:
            statements = copying(self.table_arn, args.key_arn, args.account)
            Backup(
                "backup",
                BackupArgs(args.settings, args.account, self.table_arn, statements, args.key_arn),
                inside(self),
            )
        self.outputs: Outputs = {
            "tableName": self.table_name,
            "pendingIndexName": INDEX,
            "pendingShards": table.pending_shards,
        }
        self.register_outputs({"tableName": self.table_name, "tableArn": self.table_arn})

    def _insights(self, name: str, index: str | None = None) -> None:
        """Which keys are throttled: the cheap mode, charged only for throttled events."""
        aws.dynamodb.ContributorInsights(
            name,
            table_name=self.table.name,
            index_name=index,
            mode="THROTTLED_KEYS",
            opts=pulumi.ResourceOptions(parent=self.table),
        )


def _restored(restore: Restore | None) -> dict[str, Any]:
    """The arguments of a table that begins as a copy. Everything else a restored table lacks is declared with it."""
    if restore is None:
        return {}
    if restore.is_backup:
        return {"restore_backup_arn": restore.source}
    if restore.time:
        return {"restore_source_name": restore.source, "restore_date_time": restore.time}
    return {"restore_source_name": restore.source, "restore_to_latest_time": True}


def copying(table_arn: pulumi.Input[str], key_arn: pulumi.Input[str], account: Account) -> list[iam.Statement]:
    """What AWS Backup needs to copy the table (its advanced features for DynamoDB: on, unless an account is old)."""
    return [
        iam.Statement(
            sid="CopyTheTable",
            actions=("dynamodb:DescribeTable", "dynamodb:ListTagsOfResource", "dynamodb:StartAwsBackupJob"),
            resources=(table_arn,),
        ),
        iam.Statement(
            sid="OpenTheTable",
            actions=("kms:Decrypt", "kms:GenerateDataKey"),
            resources=(key_arn,),
            conditions=iam.through("dynamodb", account),
        ),
    ]
