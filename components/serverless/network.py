"""What the serverless alternative asks of the network: free ways to DynamoDB and S3, each with a narrow policy."""

from __future__ import annotations

import json

import pulumi

from components import iam
from components.account import Account
from components.encryption import Encryption
from components.foundation import Foundation
from components.network import NetworkArgs
from components.serverless.datastore import DynamoDbDatastore


def network_args(base: Foundation, encryption: Encryption, datastore: DynamoDbDatastore) -> NetworkArgs:
    """The arguments of the network."""
    endpoints: dict[str, pulumi.Input[str]] = {
        "dynamodb": _table_only(datastore.table_arn, base.account),
        "s3": _own_buckets_only(base.account),
    }
    return NetworkArgs(base.settings, base.account, encryption.log_key.arn, endpoints)


def _table_only(table_arn: pulumi.Input[str], account: Account) -> pulumi.Output[str]:
    """Through the endpoint goes our account, to our table, and nothing else."""
    return iam.policy(
        {
            "Sid": "OurTable",
            "Effect": "Allow",
            "Principal": "*",
            "Action": [
                "dynamodb:BatchGetItem",
                "dynamodb:GetItem",
                "dynamodb:PartiQLSelect",
                "dynamodb:PartiQLUpdate",
                "dynamodb:PutItem",
                "dynamodb:Query",
                "dynamodb:UpdateItem",
            ],
            "Resource": [table_arn, pulumi.Output.concat(table_arn, "/index/*")],
            "Condition": {"StringEquals": {"aws:PrincipalAccount": account.id}},
        }
    )


def _own_buckets_only(account: Account) -> str:
    """Through the endpoint goes our account, to buckets of our account: data cannot be carried to another's."""
    statement = {
        "Sid": "OurBuckets",
        "Effect": "Allow",
        "Principal": "*",
        "Action": ["s3:GetObject", "s3:PutObject"],
        "Resource": f"arn:{account.partition}:s3:::*/*",
        "Condition": {
            "StringEquals": {
                "aws:PrincipalAccount": account.id,
                "aws:ResourceAccount": account.id,
            }
        },
    }
    return json.dumps({"Version": iam.VERSION, "Statement": [statement]})
