"""The desk: two functions, which alone write requests and exits from REVIEW, and the policies of who may call which."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import worker
from components.foundation import Outputs
from components.iam import Statement
from components.operators import operators_policy
from components.scheduled_function import FunctionArgs, Surroundings, function
from components.settings import Settings

MAKER, CHECKER = "maker", "checker"
ROLES = (MAKER, CHECKER)
TIMEOUT = 60  # seconds; a paused database takes 30 to resume, and two thousand exits some 20
MEMORY_MB = 512
AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class DeskArgs:
    settings: Settings
    around: Surroundings
    log_key_arn: pulumi.Input[str]
    environment: Mapping[str, pulumi.Input[str]]
    """How the functions find the datastore."""
    may: Mapping[str, Sequence[Statement]]
    """What each needs of the datastore."""
    viewers_may: Sequence[Statement]
    """What people need who look, and nothing else."""


class DeskFunctions(pulumi.ComponentResource):
    """Four eyes that are two people.

    Creates: the functions `desk-maker` and `desk-checker` with a role each and one log group, and managed policies for
    viewers, makers and checkers, to be attached to sets of permissions of IAM Identity Center.

    Two functions, since IAM tells the caller of one from the caller of the other, and since the one that takes requests
    need not be able to write a transaction. Who calls is no matter of IAM's policies but of a proof in the call
    (workers/desk/proof.py), so that one person with both policies is still one person.
    """

    functions: Mapping[str, aws.lambda_.Function]
    log_group: aws.cloudwatch.LogGroup
    policies: Mapping[str, aws.iam.Policy]

    def __init__(self, name: str, args: DeskArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("confirm-transactions:desk:Desk", name, {}, opts)
        account, settings = args.around.account, args.settings
        self.log_group = worker.log_group("desk", f"/{account.prefix}/desk", settings, account, args.log_key_arn, self)
        people = Statement(
            sid="KnowIdentityCenter",
            actions=("iam:GetRole",),
            resources=(f"arn:{account.partition}:iam::{account.id}:role/aws-reserved/sso.amazonaws.com/*",),
        )
        self.functions = {
            role: function(
                f"desk-{role}",
                FunctionArgs(
                    description=_TASKS[role],
                    handler="workers.desk.handlers.handle",
                    may=[people, *args.may[role]],
                    log_group=self.log_group,
                    environment={
                        **_environment(settings),
                        **args.environment,
                        "DESK_ROLE": role,
                        "ACCOUNT_ID": account.id,
                    },
                    memory_mb=MEMORY_MB,
                    timeout_seconds=TIMEOUT,
                    # people are few; reserving fails where the account's quota is still the starter's
                    reserved_concurrency=AT_ONCE if settings.sizing.reserve_concurrency else None,
                ),
                args.around,
                self,
            )
            for role in ROLES
        }
        calls = {
            role: [Statement(sid="CallTheDesk", actions=("lambda:InvokeFunction",), resources=(one.arn,))]
            for role, one in self.functions.items()
        }
        self.policies = {
            role: operators_policy(f"operators-{role}", _PEOPLE[role], [*args.viewers_may, *calls.get(role, ())], self)
            for role in ("viewer", *ROLES)
        }
        self.outputs: Outputs = {
            "deskFunctions": {role: one.name for role, one in self.functions.items()},
            "deskPolicyArns": {role: one.arn for role, one in self.policies.items()},
        }
        self.register_outputs({"functions": {role: one.name for role, one in self.functions.items()}})


_TASKS = {
    MAKER: "Takes requests for exits from REVIEW",
    CHECKER: "Takes approvals, and makes the exits that two people agree on",
}
_PEOPLE = {
    "viewer": "The command confirm, to look: status, show, find, review, requests, reconcile",
    MAKER: "The command confirm, to look and to ask for exits from REVIEW",
    CHECKER: "The command confirm, to look and to approve what others ask for",
}


def _environment(settings: Settings) -> dict[str, pulumi.Input[str]]:
    """What workers/desk/handlers.py reads, whatever the datastore."""
    desk = settings.desk
    return {
        **worker.metric_environment(settings),
        **worker.policy_environment(settings),
        "DESK_REQUEST_SECONDS": str(desk.request_seconds),
        "DESK_ROLES": ",".join(desk.roles),
        "DESK_TWO_APPROVALS_FROM": json.dumps(desk.two_approvals_from, sort_keys=True),
    }
