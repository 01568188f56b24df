"""What the fargate alternative asks of the network: a free way to the layers of images, and one to the database."""

from __future__ import annotations

import json

from components import iam
from components.account import Account
from components.aurora.datastore import PORT
from components.encryption import Encryption
from components.foundation import Foundation
from components.network import NetworkArgs


def network_args(base: Foundation, encryption: Encryption) -> NetworkArgs:
    """The arguments of the network."""
    endpoints = {"s3": _image_layers_only(base.account)}
    return NetworkArgs(base.settings, base.account, encryption.log_key.arn, endpoints, database_port=PORT)


def _image_layers_only(account: Account) -> str:
    """Through the endpoint goes what ECR keeps images' layers in, a bucket of AWS, and nothing else: no data of ours
    can be carried to another's bucket. Fargate pulls as AWS's principal, so no account is named."""
    statement = {
        "Sid": "ImageLayers",
        "Effect": "Allow",
        "Principal": "*",
        "Action": ["s3:GetObject"],
        "Resource": f"arn:{account.partition}:s3:::prod-{account.region}-starport-layer-bucket/*",
    }
    return json.dumps({"Version": iam.VERSION, "Statement": [statement]})
