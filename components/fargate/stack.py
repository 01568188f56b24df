"""The fargate alternative: Aurora PostgreSQL, and a service on ECS Fargate that claims as transactions arrive."""

from __future__ import annotations

import json

import pulumi

from components import iam
from components.account import Place
from components.alternatives import Foundation, Outputs
from components.backup import Backup, BackupArgs
from components.experiments import Experiments, ExperimentsArgs
from components.fargate.compute import METRICS_SECONDS, SERVICE_NAME, Compute, ComputeArgs
from components.fargate.containers import MIGRATIONS, WORKER
from components.fargate.datastore import DATABASE, OPERATOR, PORT, SERVICE, Datastore, DatastoreArgs, copying
from components.fargate.deployments import Deployments, DeploymentsArgs
from components.fargate.experiments import experiments
from components.fargate.observability import DEPLOYMENT_ALARMS, Metrics, Sources, notes, table
from components.fargate.scaling import Publisher, PublisherArgs, Scaling, ScalingArgs, publisher_minutes
from components.network import Network, NetworkArgs
from components.observability.component import Observability, ObservabilityArgs, alarm_name
from components.observability.table import MINUTE
from components.operators import Operators, OperatorsArgs
from components.queries import Queries, QueriesArgs
from components.settings import FaultExperiments

DATA_SERVICES = ("backup", "ecr", "lambda", "rds", "secretsmanager")


def build(foundation: Foundation) -> Outputs:
    """Network, datastore, observability (the service's deployments wait for its alarms), compute, scaling."""
    settings, place, options = foundation.settings, foundation.place, foundation.options
    data_key, log_key = foundation.encryption.data_key.arn, foundation.encryption.log_key.arn
    network = Network(
        "network",
        NetworkArgs(
            settings=settings,
            place=place,
            log_key_arn=log_key,
            gateway_endpoints={"s3": _image_layers_only(place)},
            database_port=PORT,
        ),
        options,
    )
    datastore = Datastore(
        "datastore",
        DatastoreArgs(
            settings=settings,
            place=place,
            vpc_id=network.vpc_id,
            subnet_ids=network.subnet_ids,
            workers_group_id=network.security_group_id,
            key_arn=data_key,
            log_key_arn=log_key,
        ),
        options,
    )
    if settings.sizing.vault_days:
        cluster_arn = datastore.cluster.arn
        Backup("backup", BackupArgs(settings, place, cluster_arn, copying(cluster_arn, place), data_key), options)
    publisher = None
    if settings.service.min_tasks == 0:
        publisher = Publisher(
            "publisher",
            PublisherArgs(
                settings=settings,
                place=place,
                cluster_arn=datastore.cluster.arn,
                subnet_ids=network.subnet_ids,
                security_group_id=network.security_group_id,
                data_key_arn=data_key,
                log_key_arn=log_key,
            ),
            options,
        )
    deployments = Deployments(
        "deployments", DeploymentsArgs(settings, place, place.prefix, SERVICE_NAME, log_key), options
    )
    metrics = Metrics(
        settings,
        Sources(
            cluster=place.prefix,
            service=SERVICE_NAME,
            database=place.identifier,
            instances=[one.identifier for one in datastore.instances],
            deployment_rule=deployments.rule.name,
            publisher=publisher.function.name if publisher else None,
            dead_letter_queue=publisher.dead_letters.name if publisher else None,
            schedule_group=publisher.group.name if publisher else None,
        ),
    )
    report_seconds = publisher_minutes(settings) * MINUTE if publisher else METRICS_SECONDS
    observability = Observability(
        "observability",
        ObservabilityArgs(
            settings=settings,
            place=place,
            table=table(settings, metrics, report_seconds),
            notes=notes(settings),
            log_key_arn=log_key,
        ),
        options,
    )
    compute = Compute(
        "compute",
        ComputeArgs(
            settings=settings,
            place=place,
            subnet_ids=network.subnet_ids,
            security_group_id=network.security_group_id,
            database_host=datastore.host,
            database_port=datastore.port,
            database_resource_id=datastore.cluster.cluster_resource_id,
            database_secret_arn=datastore.secret_arn,
            database_ready=datastore.instances,
            publisher_login=publisher.login.arn if publisher else None,
            deployment_alarms={alarm_name(row, place): observability.alarms[row] for row in DEPLOYMENT_ALARMS},
            data_key_arn=data_key,
            log_key_arn=log_key,
        ),
        options,
    )
    operators = Operators("operators", OperatorsArgs([logging_in(datastore, place)]), options)
    Scaling("scaling", ScalingArgs(settings, place, metrics, compute.service), options)
    if settings.fault_experiments is not FaultExperiments.OFF:
        rows = experiments(place, network, datastore, compute.cluster, compute.service)
        Experiments("experiments", ExperimentsArgs(settings, place, rows, observability.alarms, log_key), options)
    Queries("queries", QueriesArgs(place, {name: compute.log_groups[name] for name in (WORKER, MIGRATIONS)}), options)
    return {
        "clusterName": compute.cluster.name,
        "serviceName": compute.service.name,
        "taskDefinitionArn": compute.task_definition.arn,
        "repositoryUrl": compute.repository.repository_url,
        "databaseHost": datastore.host,
        "databasePort": datastore.port,
        "databaseName": DATABASE,
        "databaseUser": SERVICE,
        "databaseClusterId": datastore.cluster.cluster_identifier,
        "databaseSecretArn": datastore.secret_arn,
        "operatorPolicyArn": operators.policy.arn,
        "alarmTopicArn": observability.topic.arn,
        "noticeTopicArn": observability.notices.arn,
        "dashboardName": observability.dashboard.dashboard_name,
        "logGroups": {name: compute.log_groups[name].name for name in (WORKER, MIGRATIONS)},
        "vpcId": network.vpc_id,
        "egressAddresses": network.egress_addresses,
        "gatewayKeySecretArn": compute.gateway_key.arn,
    }


def logging_in(datastore: Datastore, place: Place) -> iam.Statement:
    """What the command `confirm` needs of AWS; the rest is the database's to say (0003_operator.sql)."""
    user = pulumi.Output.concat(place.arn("rds-db", "dbuser:"), datastore.cluster.cluster_resource_id, "/", OPERATOR)
    return iam.Statement(sid="LogInToTheDatabase", actions=("rds-db:connect",), resources=(user,))


def _image_layers_only(place: Place) -> str:
    """Through the endpoint goes what ECR keeps images' layers in, a bucket of AWS, and nothing else: no data of ours
    can be carried to another's bucket. Fargate pulls as AWS's principal, so no account is named."""
    statement = {
        "Sid": "ImageLayers",
        "Effect": "Allow",
        "Principal": "*",
        "Action": ["s3:GetObject"],
        "Resource": f"arn:{place.partition}:s3:::prod-{place.region}-starport-layer-bucket/*",
    }
    return json.dumps({"Version": iam.VERSION, "Statement": [statement]})
