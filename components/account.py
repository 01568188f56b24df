"""Where the stack goes: the AWS provider that tags everything, and account, region and names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.settings import PROJECT, Settings


@dataclass(frozen=True, slots=True)
class Account:
    """Its id, the region and the partition as plain text: ARNs of what does not exist yet are built from them."""

    id: str
    region: str
    partition: str
    prefix: str
    """Start of every name that something outside must find: project and stack."""
    boundary: str | None = None
    """ARN of the permissions boundary that every role gets."""

    def arn(self, service: str, resource: str) -> str:
        """The ARN of `resource` (its last part, such as `function:name`) in this account and region."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.id}:{resource}"

    @property
    def identifier(self) -> str:
        """The prefix for services that take lower-case letters, digits and single hyphens only, up to 63 (RDS)."""
        return re.sub("-+", "-", self.prefix.lower().replace("_", "-")).strip("-")

    @property
    def root(self) -> str:
        """The account as a principal: whom IAM policies in this account allow."""
        return f"arn:{self.partition}:iam::{self.id}:root"


@dataclass(frozen=True, slots=True)
class Identity:
    """As whom the stack is deployed, as far as config says it; the rest comes from where the AWS CLI takes it."""

    profile: str | None
    roles: Sequence[Mapping[str, str]]
    """Taken one after the other: roleArn, and sessionName, externalId where given."""


def identity() -> Identity:
    """What the config `aws:` says."""
    config = pulumi.Config("aws")
    roles: list[dict[str, str]] | None = config.get_object("assumeRoles")
    return Identity(config.get("profile"), tuple(roles or ()))


def provider(settings: Settings) -> aws.Provider:
    """The provider of every resource, awsx's children included, with the stack's tags as default tags.

    An explicit provider sees nothing of the `aws:` config, so what users set there is handed on.
    """
    config = pulumi.Config("aws")
    accounts: list[str] | None = config.get_object("allowedAccountIds")
    who = identity()
    return aws.Provider(
        "aws",
        region=config.get("region"),
        profile=who.profile,
        allowed_account_ids=accounts,
        assume_roles=[
            aws.ProviderAssumeRoleArgs(
                role_arn=role.get("roleArn"),
                session_name=role.get("sessionName"),
                external_id=role.get("externalId"),
            )
            for role in who.roles
        ]
        or None,
        default_tags=aws.ProviderDefaultTagsArgs(tags=settings.tags),
    )


def find(through: aws.Provider, settings: Settings) -> Account:
    """Ask AWS, through the provider, where we are.

    Raises:
        pulumi.RunError: the stack's name makes names too long for AWS.
    """
    stack = pulumi.get_stack()
    # the state machine's name may have 80 characters (hard limit) and no others than these
    if len(stack) > 40 or not stack.replace("-", "").replace("_", "").isalnum():
        raise pulumi.RunError(
            f"stack {json.dumps(stack)}: names of AWS resources begin with it; allowed: up to 40 letters, digits, "
            "- and _. Choose a shorter one: pulumi stack rename serverless-dev"
        )
    options = pulumi.InvokeOptions(provider=through)
    region = aws.get_region(opts=options).region
    return Account(
        id=aws.get_caller_identity(opts=options).account_id,
        region=region,
        partition=aws.get_partition(opts=options).partition,
        prefix=f"{PROJECT}-{stack}",
        boundary=settings.permissions_boundary,
    )
