"""Two customer-managed keys with narrow policies: one for data, one for logs and alarms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import iam
from components.account import Account
from components.foundation import Foundation
from components.settings import Settings

# Administration without use: nobody decrypts by it.
ADMINISTRATION = (
    "kms:CancelKeyDeletion",
    "kms:CreateAlias",
    "kms:DeleteAlias",
    "kms:DescribeKey",
    "kms:DisableKey",
    "kms:DisableKeyRotation",
    "kms:EnableKey",
    "kms:EnableKeyRotation",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:ListGrants",
    "kms:ListKeyPolicies",
    "kms:ListKeyRotations",
    "kms:ListResourceTags",
    "kms:PutKeyPolicy",
    "kms:RetireGrant",  # AWS Backup and ECR ask for it of whoever makes a vault or a repository
    "kms:RevokeGrant",
    "kms:RotateKeyOnDemand",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateAlias",
    "kms:UpdateKeyDescription",
)
USE = (
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
)


@dataclass(frozen=True, slots=True)
class EncryptionArgs:
    settings: Settings
    account: Account
    data_services: Sequence[str]
    """The AWS services that may use the data key on our behalf."""

    @classmethod
    def of(cls, base: Foundation, data_services: Sequence[str]) -> EncryptionArgs:
        return cls(base.settings, base.account, data_services)


class Encryption(pulumi.ComponentResource):
    """Keys, rotated yearly.

    Creates: a key for the transactions, what goes with them and the gateway's secret; a key for log groups and the
    alarms' topic.
    """

    data_key: aws.kms.Key
    log_key: aws.kms.Key

    def __init__(self, name: str, args: EncryptionArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("confirm-transactions:encryption:Encryption", name, {}, opts)
        account = args.account
        self._args = args
        self.data_key = self._key(
            "data",
            "Transactions and the gateway's secret",
            [
                {
                    # IAM says which role may; the key, that it may only through these services
                    "Sid": "UseThroughServices",
                    "Effect": "Allow",
                    "Principal": {"AWS": account.root},
                    "Action": list(USE),
                    "Resource": "*",
                    "Condition": {
                        "StringEquals": {
                            "kms:CallerAccount": account.id,
                            "kms:ViaService": [f"{s}.{account.region}.amazonaws.com" for s in args.data_services],
                        }
                    },
                }
            ],
        )
        self.log_key = self._key(
            "logs",
            "Logs and alarms",
            [
                {
                    "Sid": "LogGroupsOfThisStack",
                    "Effect": "Allow",
                    "Principal": {"Service": f"logs.{account.region}.amazonaws.com"},
                    "Action": [
                        "kms:Decrypt",
                        "kms:Encrypt",
                        "kms:GenerateDataKey",
                        "kms:GenerateDataKeyWithoutPlaintext",
                        "kms:ReEncryptFrom",
                        "kms:ReEncryptTo",
                    ],
                    "Resource": "*",
                    "Condition": {
                        "ArnLike": {
                            "kms:EncryptionContext:aws:logs:arn": [
                                account.arn("logs", f"log-group:*{name}/*")
                                for name in sorted({account.prefix, account.identifier})
                            ]
                        }
                    },
                },
                {
                    "Sid": "AlarmsToTheTopic",
                    "Effect": "Allow",
                    "Principal": {"Service": "cloudwatch.amazonaws.com"},
                    "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
                    "Resource": "*",
                    "Condition": {"StringEquals": {"aws:SourceAccount": account.id}},
                },
            ],
        )
        self.register_outputs({"dataKeyArn": self.data_key.arn, "logKeyArn": self.log_key.arn})

    def _key(self, name: str, description: str, uses: Sequence[Mapping[str, object]]) -> aws.kms.Key:
        administration = {
            "Sid": "Administration",
            "Effect": "Allow",
            "Principal": {"AWS": self._args.account.root},
            "Action": list(ADMINISTRATION),
            "Resource": "*",  # in a key's policy: this key
        }
        sizing = self._args.settings.sizing
        key = aws.kms.Key(
            name,
            description=description,
            enable_key_rotation=True,
            deletion_window_in_days=sizing.key_deletion_days,
            policy=iam.policy(administration, *uses),
            opts=pulumi.ResourceOptions(parent=self),
        )
        aws.kms.Alias(
            name,
            name=f"alias/{self._args.account.prefix}-{name}",
            target_key_id=key.key_id,
            opts=pulumi.ResourceOptions(parent=key),
        )
        return key
