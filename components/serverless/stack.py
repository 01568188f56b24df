"""The serverless alternative: DynamoDB, and a scheduled run of Step Functions and Lambda over what is due."""

from __future__ import annotations

import json

import pulumi
import pulumi_aws as aws

from components import iam
from components.account import Place
from components.alternatives import Foundation, Outputs
from components.backup import Backup, BackupArgs
from components.experiments import Experiments, ExperimentsArgs
from components.network import Network, NetworkArgs
from components.observability.component import Observability, ObservabilityArgs
from components.operators import Operators, OperatorsArgs
from components.queries import Queries, QueriesArgs
from components.serverless.compute import FUNCTIONS, Compute, ComputeArgs
from components.serverless.datastore import INDEX, Datastore, DatastoreArgs, copying
from components.serverless.experiments import experiments
from components.serverless.observability import Sources, notes, table
from components.settings import FaultExperiments

DATA_SERVICES = ("backup", "dynamodb", "lambda", "s3", "secretsmanager")


def build(foundation: Foundation) -> Outputs:
    """Datastore, network, compute, observability."""
    settings, place, options = foundation.settings, foundation.place, foundation.options
    data_key, log_key = foundation.encryption.data_key.arn, foundation.encryption.log_key.arn
    datastore = Datastore("datastore", DatastoreArgs(settings, data_key), options)
    if settings.sizing.vault_days:
        statements = copying(datastore.table_arn, data_key, place)
        Backup("backup", BackupArgs(settings, place, datastore.table_arn, statements, data_key), options)
    network = Network(
        "network",
        NetworkArgs(
            settings=settings,
            place=place,
            log_key_arn=log_key,
            gateway_endpoints={"dynamodb": _table_only(datastore.table_arn, place), "s3": _own_buckets_only(place)},
        ),
        options,
    )
    compute = Compute(
        "compute",
        ComputeArgs(
            settings=settings,
            place=place,
            table_name=datastore.table_name,
            table_arn=datastore.table_arn,
            index_arn=datastore.index_arn,
            subnet_ids=network.subnet_ids,
            security_group_id=network.security_group_id,
            data_key_arn=data_key,
            log_key_arn=log_key,
        ),
        options,
    )
    statements = operating(datastore, compute.machine, data_key, place)
    operators = Operators("operators", OperatorsArgs(statements), options)
    sources = Sources(
        state_machine_arn=compute.machine.arn,
        schedule_group=compute.group.name,
        dead_letter_queue=compute.dead_letters.name,
        table_name=datastore.table_name,
        index_name=INDEX,
        functions={name: compute.functions[name].name for name in FUNCTIONS},
    )
    observability = Observability(
        "observability",
        ObservabilityArgs(
            settings=settings,
            place=place,
            table=table(settings, sources),
            notes=notes(settings),
            log_key_arn=log_key,
        ),
        options,
    )
    if settings.fault_experiments is not FaultExperiments.OFF:
        rows = experiments(place, network)
        Experiments("experiments", ExperimentsArgs(settings, place, rows, observability.alarms, log_key), options)
    Queries("queries", QueriesArgs(place, {name: compute.log_groups[name] for name in FUNCTIONS}), options)
    return {
        "tableName": datastore.table_name,
        "pendingIndexName": INDEX,
        "pendingShards": settings.work.pending_shards,
        "planBucket": compute.bucket.bucket,
        "stateMachineArn": compute.machine.arn,
        "scheduleName": compute.schedule.name,
        "scheduleGroup": compute.group.name,
        "deadLetterQueueUrl": compute.dead_letters.url,
        "operatorPolicyArn": operators.policy.arn,
        "alarmTopicArn": observability.topic.arn,
        "noticeTopicArn": observability.notices.arn,
        "dashboardName": observability.dashboard.dashboard_name,
        "logGroups": {name: group.name for name, group in compute.log_groups.items()},
        "functions": {name: function.name for name, function in compute.functions.items()},
        "vpcId": network.vpc_id,
        "egressAddresses": network.egress_addresses,
        "gatewayKeySecretArn": compute.gateway_key.arn,
    }


def operating(
    datastore: Datastore, machine: aws.sfn.StateMachine, key_arn: pulumi.Input[str], place: Place
) -> list[iam.Statement]:
    """What the command `confirm` calls."""
    executions = machine.name.apply(lambda name: place.arn("states", f"execution:{name}:*"))
    return [
        iam.Statement(
            sid="ReadTransactions",
            actions=("dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Scan"),
            resources=(datastore.table_arn,),
        ),
        iam.Statement(sid="ReadTheIndex", actions=("dynamodb:Query",), resources=(datastore.index_arn,)),
        # IAM cannot tell a redrive from another change: who came is in the history, and in CloudTrail's data events
        iam.Statement(
            sid="ImportAndRedrive",
            actions=("dynamodb:PartiQLInsert", "dynamodb:PartiQLUpdate"),
            resources=(datastore.table_arn,),
        ),
        # canaries are in no book, and the run lock is no transaction: whatever else a person's role may
        iam.Statement(
            sid="NotTheSystemsOwn",
            actions=("dynamodb:PartiQLInsert",),
            resources=(datastore.table_arn,),
            conditions={"ForAnyValue:StringLike": {"dynamodb:LeadingKeys": ["canary-*", "#*"]}},
            effect="Deny",
        ),
        iam.Statement(
            sid="OpenTheTable",
            actions=("kms:Decrypt",),
            resources=(key_arn,),
            conditions=iam.through("dynamodb", place),
        ),
        iam.Statement(sid="FindTheLastRun", actions=("states:ListExecutions",), resources=(machine.arn,)),
        iam.Statement(
            sid="ReadRuns",
            actions=("states:DescribeExecution", "states:GetExecutionHistory"),
            resources=(executions,),
        ),
    ]


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
