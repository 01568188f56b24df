"""What the serverless alternative asks of the network: free ways to DynamoDB and S3, each with a narrow policy."""

from __future__ import annotations

import json

import pulumi

from components import iam
from components.account import Place
from components.encryption import Encryption
from components.foundation import Foundation
from components.network import NetworkArgs
from components.serverless.datastore import DynamoDbDatastore


def network_args(base: Foundation, encryption: Encryption, datastore: DynamoDbDatastore) -> NetworkArgs:
    """The arguments of the network."""
    endpoints: dict[str, pulumi.Input[str]] = {
        "dynamodb": _table_only(datastore.table_arn, base.place),
        "s3": _own_buckets_only(base.place),
    }
    return NetworkArgs(base.settings, base.place, encryption.log_key.arn, endpoints)


def _table_only(table_arn: pulumi.Input[str], place: Place) -> pulumi.Output[str]:
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
            "Condition": {"StringEquals": {"aws:PrincipalAccount": place.account}},
        }
    )


def _own_buckets_only(place: Place) -> str:
    """Through the endpoint goes our account, to buckets of our account: data cannot be carried to another's."""
    statement = {
        "Sid": "OurBuckets",
        "Effect": "Allow",
        "Principal": "*",
        "Action": ["s3:GetObject", "s3:PutObject"],
        "Resource": f"arn:{place.partition}:s3:::*/*",
        "Condition": {
            "StringEquals": {
                "aws:PrincipalAccount": place.account,
                "aws:ResourceAccount": place.account,
            }
        },
    }
    return json.dumps({"Version": iam.VERSION, "Statement": [statement]})
