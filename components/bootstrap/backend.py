"""Where Pulumi keeps the stacks' state, and the key of the secrets in it."""

from __future__ import annotations

import pulumi
import pulumi_aws as aws

from components import iam
from components.account import Account
from components.bucket import seal
from components.encryption import ADMINISTRATION, USE

NONCURRENT_DAYS = 365
"""How long a former state can be brought back."""


class Backend(pulumi.ComponentResource):
    """Creates: a customer-managed key, its alias, and a bucket (versioned, encrypted, private, TLS only).

    Locks are objects in the bucket too: an update writes `.pulumi/locks/...`, and another one refuses to begin.
    """

    bucket: aws.s3.Bucket
    key: aws.kms.Key
    alias: aws.kms.Alias

    def __init__(self, name: str, account: Account, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("confirm-transactions:bootstrap:Backend", name, {}, opts)
        kept = pulumi.ResourceOptions(parent=self, protect=True)
        inside = pulumi.ResourceOptions(parent=self)
        self.key = aws.kms.Key(
            "state",
            description="State of the stacks, and the secrets in it",
            enable_key_rotation=True,
            deletion_window_in_days=30,
            policy=iam.policy(
                {
                    "Sid": "AdministrationAndUseByIam",  # which role may what is in components/bootstrap/identity.py
                    "Effect": "Allow",
                    "Principal": {"AWS": account.root},
                    "Action": sorted({*ADMINISTRATION, *USE}),
                    "Resource": "*",
                }
            ),
            opts=kept,
        )
        self.alias = aws.kms.Alias("state", name=f"alias/{account.prefix}", target_key_id=self.key.key_id, opts=inside)
        self.bucket = aws.s3.Bucket("state", bucket=f"{account.prefix}-{account.id}", opts=kept)
        bucket = self.bucket.bucket
        seal("state", self.bucket, self.key.arn)
        aws.s3.BucketOwnershipControls(
            "state",
            bucket=bucket,
            rule=aws.s3.BucketOwnershipControlsRuleArgs(object_ownership="BucketOwnerEnforced"),
            opts=inside,
        )
        aws.s3.BucketVersioning(
            "state",
            bucket=bucket,
            versioning_configuration=aws.s3.BucketVersioningVersioningConfigurationArgs(status="Enabled"),
            opts=inside,
        )
        aws.s3.BucketLifecycleConfiguration(
            "state",
            bucket=bucket,
            rules=[
                aws.s3.BucketLifecycleConfigurationRuleArgs(
                    id="former-states",
                    status="Enabled",
                    noncurrent_version_expiration=aws.s3.BucketLifecycleConfigurationRuleNoncurrentVersionExpirationArgs(
                        noncurrent_days=NONCURRENT_DAYS
                    ),
                    abort_incomplete_multipart_upload=aws.s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(
                        days_after_initiation=7
                    ),
                )
            ],
            opts=inside,
        )
        self.register_outputs({})
