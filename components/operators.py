"""What people may do who work with the command `confirm`: a managed policy to attach to their own role."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import iam


@dataclass(frozen=True, slots=True)
class OperatorsArgs:
    statements: Sequence[iam.Statement]
    """What the alternative's datastore lets them do."""


class Operators(pulumi.ComponentResource):
    """The operators' permissions.

    Creates: a managed policy. No role: who the operators are, an identity provider or another account knows.

    People's roles have no boundary of ours, so what they have attached must not change under them: whoever stands
    behind the pipeline could make them mightier than himself. So another text is another policy, which a person reads
    and attaches, and the pipeline has no right to write a new version of one. The old one stays: AWS deletes no policy
    that is attached, and the deployment would fail on it.
    """

    policy: aws.iam.Policy

    def __init__(self, name: str, args: OperatorsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("confirm-transactions:operators:Operators", name, {}, opts)
        self.policy = operators_policy(
            "operators", "The command confirm: status, show, find, review, import", args.statements, self
        )
        self.register_outputs({"policyArn": self.policy.arn})


def operators_policy(
    name: str, description: str, statements: Sequence[iam.Statement], parent: pulumi.Resource
) -> aws.iam.Policy:
    """A managed policy for people, of which no version is ever changed."""
    return aws.iam.Policy(
        name,
        description=description,
        policy=iam.policy(*statements),
        opts=pulumi.ResourceOptions(parent=parent, replace_on_changes=["policy"], retain_on_delete=True),
    )
