"""The faults that can be done to the serverless alternative on AWS.

Lambda's own faults (`aws:lambda:invocation-*`) need an extension of FIS in the function: what runs in prod would not be
what was tested. Throttling by DynamoDB cannot be ordered at all. Both have their tests (docs/experiments.md).
"""

from __future__ import annotations

from components.account import Account
from components.experiments import Experiment, cut, network_faults
from components.network import Network


def experiments(account: Account, network: Network) -> tuple[Experiment, ...]:
    """One row each."""
    subnets = network.subnet_ids.apply(lambda ids: [account.arn("ec2", f"subnet/{id_}") for id_ in ids])

    def without(service: str, name: str, what: str) -> Experiment:
        description = f"No Lambda reaches {name}, for five minutes: {what}"
        return cut(f"{service}-unreachable", description, account, network.vpc_id, subnets, service)

    return (
        *network_faults(account, network.vpc_id, network.subnet_ids),
        without("dynamodb", "DynamoDB", "no claim, no settle"),
        without("s3", "S3", "no plan"),
    )
