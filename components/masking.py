"""A second net under the logs: CloudWatch masks what looks like a card, an account or a key, whoever wrote it.

The first one is `workers/domain/redaction.py`. Here a number counts only beside a word such as "card", so ids that are
mere digits stay legible. Whoever may `logs:Unmask` sees through it; nobody that we make may.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/mask-sensitive-log-data.html
"""

from __future__ import annotations

import pulumi
import pulumi_aws as aws

from components.account import Account

IDENTIFIERS = (
    *("CreditCardNumber", "CreditCardExpiration", "CreditCardSecurityCode"),
    *(f"BankAccountNumber-{country}" for country in ("DE", "ES", "FR", "GB", "IT", "US")),
    *("AwsSecretKey", "OpenSshPrivateKey", "PgpPrivateKey", "PkcsPrivateKey", "PuttyPrivateKey"),
)
"""AWS's names for them; bank accounts are known by country, IBANs included."""


def mask(name: str, group: aws.cloudwatch.LogGroup, account: Account) -> aws.cloudwatch.LogDataProtectionPolicy:
    """Mask them in a group's lines from now on. Each finding counts in its metric `LogEventsWithFindings`."""
    found = [f"arn:{account.partition}:dataprotection::aws:data-identifier/{one}" for one in IDENTIFIERS]
    return aws.cloudwatch.LogDataProtectionPolicy(
        name,
        log_group_name=group.name,
        policy_document=pulumi.Output.json_dumps(
            {
                "Name": "mask",
                "Version": "2021-06-01",
                "Statement": [
                    # AWS wants both, over the same; findings go nowhere else: they would be one more place to guard
                    {"Sid": "Find", "DataIdentifier": found, "Operation": {"Audit": {"FindingsDestination": {}}}},
                    {"Sid": "Mask", "DataIdentifier": found, "Operation": {"Deidentify": {"MaskConfig": {}}}},
                ],
            }
        ),
        opts=pulumi.ResourceOptions(parent=group),
    )
