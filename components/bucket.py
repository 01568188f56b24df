"""What makes a bucket private: no public access, our key, TLS alone."""

from __future__ import annotations

import pulumi
import pulumi_aws as aws

from components import iam


def seal(name: str, bucket: aws.s3.Bucket, key_arn: pulumi.Input[str]) -> None:
    """Close `bucket` to the public, encrypt it with the key, and refuse plain HTTP; all under the bucket, as `name`."""
    inside = pulumi.ResourceOptions(parent=bucket)
    block = aws.s3.BucketPublicAccessBlock(
        name,
        bucket=bucket.bucket,
        block_public_acls=True,
        block_public_policy=True,
        ignore_public_acls=True,
        restrict_public_buckets=True,
        opts=inside,
    )
    aws.s3.BucketServerSideEncryptionConfiguration(
        name,
        bucket=bucket.bucket,
        rules=[
            aws.s3.BucketServerSideEncryptionConfigurationRuleArgs(
                apply_server_side_encryption_by_default=aws.s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs(
                    sse_algorithm="aws:kms", kms_master_key_id=key_arn
                ),
                bucket_key_enabled=True,  # one KMS call for many objects
            )
        ],
        opts=inside,
    )
    aws.s3.BucketPolicy(
        name,
        bucket=bucket.bucket,
        policy=iam.policy(iam.tls_only("TlsOnly", ["s3:*"], [bucket.arn, pulumi.Output.concat(bucket.arn, "/*")])),
        # S3 takes one change of a bucket's access at a time
        opts=pulumi.ResourceOptions(parent=bucket, depends_on=[block]),
    )
