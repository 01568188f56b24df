"""Faults to rehearse on AWS (Fault Injection Service): templates that somebody starts by hand, never by themselves.

An experiment is a row that the alternative lists in its `experiments.py`; each has a twin among the tests that plays it
without AWS (docs/experiments.md). It ends by itself, and at once when one of our alarms says that the promise is at
risk. Its role may do that one fault to that one target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from components import iam
from components.account import Account
from components.encryption import Encryption
from components.foundation import Foundation
from components.observability.component import Observability
from components.settings import Settings

STOPS = ("oldest-pending", "in-review")
"""The alarms that end an experiment: work grows old, or lands on people's desks."""
LASTS = "PT5M"
"""Of a fault that has a duration: longer than any retry, shorter than the alarm on age waits."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """One fault, done to one kind of target."""

    name: str
    description: str
    action: str
    """As FIS calls it: `aws:ecs:stop-task`."""
    target: str
    """What the action calls its target: `Tasks`."""
    target_type: str
    statements: Sequence[iam.Statement]
    """What its role needs."""
    arns: Sequence[pulumi.Input[str]] | pulumi.Output[Sequence[str]] | None = None
    target_parameters: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Where the target is found by these instead of by ARN."""
    select: str = "ALL"
    """`COUNT(1)` for any one of the targets."""
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExperimentsArgs:
    settings: Settings
    account: Account
    experiments: Sequence[Experiment]
    alarms: Mapping[str, aws.cloudwatch.MetricAlarm]
    log_key_arn: pulumi.Input[str]

    @classmethod
    def of(
        cls, base: Foundation, encryption: Encryption, observability: Observability, experiments: Sequence[Experiment]
    ) -> ExperimentsArgs:
        return cls(base.settings, base.account, experiments, observability.alarms, encryption.log_key.arn)


class Experiments(pulumi.ComponentResource):
    """Templates of fault experiments.

    Creates: a log group; per row a role and a template with our alarms as stop conditions.
    """

    def __init__(self, name: str, args: ExperimentsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("confirm-transactions:experiments:Experiments", name, {}, opts)
        account = args.account
        log_group = aws.cloudwatch.LogGroup(
            "experiments",
            name=f"/aws/vendedlogs/{account.prefix}/experiments",  # so named, deliveries share one resource policy
            retention_in_days=args.settings.log_retention_days,
            kms_key_id=args.log_key_arn,
            opts=pulumi.ResourceOptions(parent=self),
        )
        for experiment in args.experiments:
            self._template(experiment, args, log_group)
        self.register_outputs({})

    def _template(self, experiment: Experiment, args: ExperimentsArgs, log_group: aws.cloudwatch.LogGroup) -> None:
        account = args.account
        role, grant = iam.role(
            f"experiment-{experiment.name}",
            "fis.amazonaws.com",
            [*experiment.statements, DELIVER_LOGS],
            account=account,
            description=f"Fault experiment {experiment.name}",
            parent=self,
            source_arns=[account.arn("fis", "experiment/*")],
        )
        aws.fis.ExperimentTemplate(
            experiment.name,
            description=experiment.description,
            role_arn=role.arn,
            actions=[
                aws.fis.ExperimentTemplateActionArgs(
                    name="fault",
                    action_id=experiment.action,
                    parameters=[
                        aws.fis.ExperimentTemplateActionParameterArgs(key=key, value=value)
                        for key, value in experiment.parameters.items()
                    ],
                    target=aws.fis.ExperimentTemplateActionTargetArgs(key=experiment.target, value="ours"),
                )
            ],
            targets=[
                aws.fis.ExperimentTemplateTargetArgs(
                    name="ours",
                    resource_type=experiment.target_type,
                    resource_arns=experiment.arns,
                    parameters=dict(experiment.target_parameters) or None,
                    selection_mode=experiment.select,
                )
            ],
            stop_conditions=[
                aws.fis.ExperimentTemplateStopConditionArgs(source="aws:cloudwatch:alarm", value=args.alarms[name].arn)
                for name in STOPS
            ],
            experiment_options=aws.fis.ExperimentTemplateExperimentOptionsArgs(
                account_targeting="single-account", empty_target_resolution_mode="fail"
            ),
            log_configuration=aws.fis.ExperimentTemplateLogConfigurationArgs(
                log_schema_version=2,
                cloudwatch_logs_configuration=aws.fis.ExperimentTemplateLogConfigurationCloudwatchLogsConfigurationArgs(
                    log_group_arn=pulumi.Output.concat(log_group.arn, ":*")
                ),
            ),
            tags={"Name": f"{account.prefix}-{experiment.name}"},  # FIS gives it no name else
            opts=pulumi.ResourceOptions(parent=self, depends_on=[grant]),
        )


DELIVER_LOGS = iam.Statement(
    sid="DeliverLogs",
    actions=(
        "logs:CreateLogDelivery",
        "logs:DescribeLogGroups",
        "logs:DescribeResourcePolicies",
        "logs:PutResourcePolicy",
    ),
    resources=("*",),
    reason="log deliveries have no resource to name (AWS: Experiment logging, FIS)",
)

# -- the rows of every alternative


def network_faults(
    account: Account, vpc_id: pulumi.Output[str], subnet_ids: pulumi.Output[list[str]]
) -> tuple[Experiment, Experiment]:
    """What the network can do to workers in private subnets."""
    subnets = subnet_ids.apply(lambda ids: [account.arn("ec2", f"subnet/{id_}") for id_ in ids])
    return (
        cut(
            "zone-lost",
            "The first zone's workers reach nothing and nobody, for five minutes: a zone is gone",
            account,
            vpc_id,
            subnets.apply(lambda arns: arns[:1]),
        ),
        cut(
            "network-lost",
            "No worker reaches anything, for five minutes: gateway, datastore, AWS",
            account,
            vpc_id,
            subnets,
        ),
    )


def cut(
    name: str,
    description: str,
    account: Account,
    vpc_id: pulumi.Output[str],
    subnets: pulumi.Output[list[str]],
    scope: str = "all",
) -> Experiment:
    """Traffic of subnets that is denied, by a network ACL that FIS puts in place of theirs and takes away again.

    `scope`: `all`, or one AWS service: `dynamodb`, `s3`.
    """
    acls = account.arn("ec2", "network-acl/*")
    vpc = pulumi.Output.concat(account.arn("ec2", "vpc/"), vpc_id)
    return Experiment(
        name=name,
        description=description,
        action="aws:network:disrupt-connectivity",
        parameters={"duration": LASTS, "scope": scope},
        target="Subnets",
        target_type="aws:ec2:subnet",
        arns=subnets,
        statements=[
            iam.Statement(sid="MakeAnAcl", actions=("ec2:CreateNetworkAcl",), resources=(acls, vpc)),
            iam.Statement(
                sid="MarkIt",
                actions=("ec2:CreateTags",),
                resources=(acls,),
                conditions={
                    "StringEquals": {"aws:RequestTag/managedByFIS": "true", "ec2:CreateAction": "CreateNetworkAcl"}
                },
            ),
            iam.Statement(
                sid="FillAndRemoveIt",
                actions=("ec2:CreateNetworkAclEntry", "ec2:DeleteNetworkAcl"),
                resources=(acls,),
                conditions={"StringEquals": {"ec2:ResourceTag/managedByFIS": "true"}},
            ),
            iam.Statement(
                sid="PutItInPlace",
                actions=("ec2:ReplaceNetworkAclAssociation",),
                resources=(account.arn("ec2", "subnet/*"), acls),
                conditions={"ArnEquals": {"ec2:Vpc": vpc}},
            ),
            iam.Statement(
                sid="ReadPrefixLists",
                actions=("ec2:GetManagedPrefixListEntries",),
                resources=(f"arn:{account.partition}:ec2:{account.region}:aws:prefix-list/*",),
            ),
            iam.Statement(
                sid="LookAround",
                actions=(
                    "ec2:DescribeManagedPrefixLists",
                    "ec2:DescribeNetworkAcls",
                    "ec2:DescribeSubnets",
                    "ec2:DescribeVpcs",
                ),
                resources=("*",),
                reason="EC2 has no resource to name for what it lists",
            ),
        ],
    )
