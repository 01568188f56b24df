"""What no `pulumi destroy` takes away where the environment protects: all that cannot be made again.

One table for the whole program, kept by a transform, so a further log group or key is protected without a word of its
own. `pulumi destroy` tells in its preview what is protected and stops before anything is gone (docs/environments.md).
AWS's own protection of the table and the database is set beside it, where they are made.
"""

from __future__ import annotations

from collections.abc import Mapping

import pulumi

from components.settings import Settings

HOLDERS: Mapping[str, str] = {
    "aws:backup/vault:Vault": "the copies of the data",
    "aws:cloudwatch/logGroup:LogGroup": "the audit trail",
    "aws:dynamodb/table:Table": "the transactions",
    "aws:ec2/eip:Eip": "an address that the gateway allows",
    "aws:kms/key:Key": "what all else is sealed with",
    "aws:rds/cluster:Cluster": "the transactions",
    "aws:rds/clusterInstance:ClusterInstance": "the database's way in",
    "aws:secretsmanager/secret:Secret": "the gateway's key, which Pulumi never had",
}
"""What would be lost with each."""
SPARED = ("publisher-login",)  # the migrations make another, and a stack may come to need none


def register(settings: Settings) -> None:
    """Protect what is made from now on, if it holds something and the environment protects."""
    if settings.sizing.deletion_protection:
        pulumi.runtime.register_resource_transform(_protect)


def _protect(args: pulumi.ResourceTransformArgs) -> pulumi.ResourceTransformResult | None:
    if args.type_ not in HOLDERS or args.name in SPARED:
        return None
    args.opts.protect = True
    return pulumi.ResourceTransformResult(args.props, args.opts)
