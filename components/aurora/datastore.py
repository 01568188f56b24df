"""The transactions: an Aurora PostgreSQL cluster that grows and shrinks with the work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components import iam, worker
from components.account import Account
from components.aurora.settings import DatabaseSettings, Insights
from components.backup import Backup, BackupArgs
from components.encryption import Encryption
from components.foundation import Foundation, Outputs, inside
from components.network import Network
from components.settings import Restore, Settings

ENGINE = "aurora-postgresql"
DATABASE = "confirm"
PORT = 5433  # not the default: scans and misdirected clients look for 5432
MASTER = "confirm_admin"
SERVICE = "confirm_service"
"""The role that the workers log in as, by IAM. The migrations make it, a member of confirm_worker."""
OPERATOR = "confirm_operator"
"""The role that the command `confirm` logs in as, by IAM too."""
VIEWER = "confirm_viewer"
"""The role that it logs in as to look, and to ask and approve: the desk's functions write for it."""
CANARY = "confirm_canary"
"""The role that workers send canaries as, by IAM too."""

CLUSTER_PARAMETERS = {
    "rds.force_ssl": "1",  # no connection without TLS
    "shared_preload_libraries": "pg_stat_statements",
    "log_statement": "ddl",  # who changed what the tables look like
    # Statements hold accounts, whoever sends them, and so do the values and whole rows that errors quote. So no other
    # statement comes into the log, no parameter, no detail, and of messages those that PostgreSQL makes about itself
    # (LOG, FATAL, PANIC). Errors are told to who caused them; which statements are slow, pg_stat_statements knows.
    "log_min_duration_statement": "-1",
    "log_min_error_statement": "panic",
    "log_min_messages": "log",
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}
INSTANCE_PARAMETERS = {
    # A transaction that is left open keeps dead index entries from being cleared away: with one open for 300,000
    # settles, a claim went from 1.3 to 31 ms. Ours take milliseconds.
    "idle_in_transaction_session_timeout": "60000",  # milliseconds
    "log_lock_waits": "1",
    "pg_stat_statements.track": "top",
}
RESTORED_BY = ("restoreToPointInTime", "snapshotIdentifier")
"""Properties that AWS takes when the cluster is made, and never again."""
REBOOT = ("shared_preload_libraries",)
"""The parameters that only a restart sets."""


@dataclass(frozen=True, slots=True)
class AuroraDatastoreArgs:
    settings: Settings
    account: Account
    vpc_id: pulumi.Input[str]
    subnet_ids: pulumi.Input[Sequence[str]]
    workers_group_id: pulumi.Input[str]
    """The security group that may connect."""
    key_arn: pulumi.Input[str]
    log_key_arn: pulumi.Input[str]

    @classmethod
    def of(cls, base: Foundation, encryption: Encryption, network: Network) -> AuroraDatastoreArgs:
        return cls(
            settings=base.settings,
            account=base.account,
            vpc_id=network.vpc_id,
            subnet_ids=network.subnet_ids,
            workers_group_id=network.security_group_id,
            key_arn=encryption.data_key.arn,
            log_key_arn=encryption.log_key.arn,
        )


@dataclass(frozen=True, slots=True)
class Connection:
    """What a client of the database needs to know of it."""

    account: Account
    host: pulumi.Input[str]
    """The writer: claims go nowhere else."""
    port: pulumi.Output[int]
    resource_id: pulumi.Input[str]
    """What IAM knows the cluster by."""
    secret_arn: pulumi.Input[str]
    """Of the master's password, which AWS rotates; only the migrations read it."""
    ready: Sequence[pulumi.Resource]
    """What must be there before anybody connects."""

    @property
    def environment(self) -> dict[str, pulumi.Input[str]]:
        """What `workers/config.py` reads of it."""
        return {
            "DATABASE_HOST": self.host,
            "DATABASE_PORT": self.port.apply(lambda port: str(int(port))),
            "DATABASE_NAME": DATABASE,
        }

    def may_log_in(self, user: str, sid: str = "LogInToTheDatabase") -> iam.Statement:
        """What it takes to log in as that user of the database, by IAM."""
        arn = pulumi.Output.concat(self.account.arn("rds-db", "dbuser:"), self.resource_id, "/", user)
        return iam.Statement(sid=sid, actions=("rds-db:connect",), resources=(arn,))


class AuroraDatastore(pulumi.ComponentResource):
    """The database.

    Creates: a security group, a subnet group, parameter groups, a log group, the Aurora Serverless v2 cluster with its
    managed master secret, its instances, and where the environment has it the backup.
    """

    cluster: aws.rds.Cluster
    instances: Sequence[aws.rds.ClusterInstance]
    log_group: aws.cloudwatch.LogGroup
    connection: Connection

    def __init__(self, name: str, args: AuroraDatastoreArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        # The token of both alternatives' datastore
        super().__init__("confirm-transactions:datastore:Datastore", name, {}, opts)
        self._args = args
        self._mine = pulumi.ResourceOptions(parent=self)
        # AWS writes the exported log to a group of this name; one that it makes itself has no retention and no key.
        self.log_group = worker.log_group(
            "postgresql",
            f"/aws/rds/cluster/{args.account.identifier}/postgresql",
            args.settings,
            args.account,
            args.log_key_arn,
            self,
        )
        self.cluster = self._cluster()
        instances = args.settings.part(DatabaseSettings).instances
        self.instances = [self._instance(number) for number in range(1, instances + 1)]
        self.connection = Connection(
            account=args.account,
            host=self.cluster.endpoint,
            port=self.cluster.port,
            resource_id=self.cluster.cluster_resource_id,
            secret_arn=self.cluster.master_user_secrets.apply(lambda secrets: str(secrets[0].secret_arn)),
            ready=self.instances,
        )
        if args.settings.sizing.vault_days:
            arn = self.cluster.arn
            Backup(
                "backup",
                BackupArgs(args.settings, args.account, arn, copying(arn, args.account), args.key_arn),
                inside(self),
            )
        self.outputs: Outputs = {
            "databaseHost": self.connection.host,
            "databasePort": self.connection.port,
            "databaseName": DATABASE,
            "databaseUser": SERVICE,
            "databaseClusterId": self.cluster.cluster_identifier,
            "databaseSecretArn": self.connection.secret_arn,
        }
        self.register_outputs({"host": self.connection.host})

    def _security_group(self) -> aws.ec2.SecurityGroup:
        return aws.ec2.SecurityGroup(
            "database",
            description="Database: from the workers alone, nothing out",
            vpc_id=self._args.vpc_id,
            ingress=[
                aws.ec2.SecurityGroupIngressArgs(
                    description="Workers and migrations",
                    protocol="tcp",
                    from_port=PORT,
                    to_port=PORT,
                    security_groups=[self._args.workers_group_id],
                )
            ],
            egress=[],
            opts=self._mine,
        )

    def _cluster(self) -> aws.rds.Cluster:
        args, database, sizing = self._args, self._args.settings.part(DatabaseSettings), self._args.settings.sizing
        family = f"{ENGINE}{database.engine_version.split('.')[0]}"
        subnets = aws.rds.SubnetGroup(
            "database", description="Private subnets", subnet_ids=args.subnet_ids, opts=self._mine
        )
        parameters = aws.rds.ClusterParameterGroup(
            "database",
            family=family,
            description="TLS alone, statistics of statements",
            parameters=[
                aws.rds.ClusterParameterGroupParameterArgs(name=key, value=value, apply_method=_method(key))
                for key, value in CLUSTER_PARAMETERS.items()
            ],
            opts=self._mine,
        )
        self._instance_parameters = aws.rds.ParameterGroup(
            "database",
            family=family,
            description="No forgotten transactions, slow statements in the log",
            parameters=[
                aws.rds.ParameterGroupParameterArgs(name=key, value=value, apply_method=_method(key))
                for key, value in INSTANCE_PARAMETERS.items()
            ],
            opts=self._mine,
        )
        named = args.account.identifier
        return aws.rds.Cluster(
            "database",
            cluster_identifier=named,  # the log group above is named after it
            engine=aws.rds.EngineType.AURORA_POSTGRESQL,
            engine_mode="provisioned",  # so AWS calls the mode of Serverless v2
            engine_version=database.engine_version,
            serverlessv2_scaling_configuration=aws.rds.ClusterServerlessv2ScalingConfigurationArgs(
                min_capacity=database.min_capacity,
                max_capacity=database.max_capacity,
                seconds_until_auto_pause=database.auto_pause_seconds or None,
            ),
            database_name=DATABASE,
            port=PORT,
            master_username=MASTER,
            manage_master_user_password=True,
            master_user_secret_kms_key_id=args.key_arn,
            iam_database_authentication_enabled=True,
            enable_http_endpoint=True,  # the Data API: for functions, which have no driver and no connection
            db_subnet_group_name=subnets.name,
            vpc_security_group_ids=[self._security_group().id],
            db_cluster_parameter_group_name=parameters.name,
            storage_encrypted=True,
            kms_key_id=args.key_arn,
            enabled_cloudwatch_logs_exports=["postgresql"],
            # Set explicitly: AWS makes new clusters with the paid mode
            database_insights_mode="advanced" if database.insights is Insights.ADVANCED else "standard",
            performance_insights_enabled=database.insights is not Insights.OFF,
            performance_insights_kms_key_id=None if database.insights is Insights.OFF else args.key_arn,
            performance_insights_retention_period=database.insights_days or None,
            backup_retention_period=database.backup_days,
            copy_tags_to_snapshot=True,
            deletion_protection=sizing.deletion_protection,
            skip_final_snapshot=not database.final_snapshot,
            final_snapshot_identifier=_final_snapshot(named, args.key_arn) if database.final_snapshot else None,
            **_restored(args.settings.restore),
            apply_immediately=True,  # what `pulumi up` reports has happened, and does not wait for a night
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[self.log_group],
                delete_before_replace=True,  # its name can be there once
                # what it began as changes nothing later: the key goes out of the config once the books agree
                ignore_changes=list(RESTORED_BY),
            ),
        )

    def _instance(self, number: int) -> aws.rds.ClusterInstance:
        database = self._args.settings.part(DatabaseSettings)
        return aws.rds.ClusterInstance(
            f"database-{number}",
            cluster_identifier=self.cluster.cluster_identifier,
            engine=aws.rds.EngineType.AURORA_POSTGRESQL,
            engine_version=database.engine_version,
            instance_class="db.serverless",
            db_parameter_group_name=self._instance_parameters.name,
            promotion_tier=0 if number == 1 else 1,  # both follow the writer's capacity, ready to take over
            publicly_accessible=False,
            performance_insights_enabled=database.insights is not Insights.OFF,
            performance_insights_kms_key_id=None if database.insights is Insights.OFF else self._args.key_arn,
            performance_insights_retention_period=database.insights_days or None,
            copy_tags_to_snapshot=True,
            auto_minor_version_upgrade=False,  # engineVersion says it, and a preview shows it before it happens
            apply_immediately=True,
            opts=pulumi.ResourceOptions(parent=self.cluster),
        )


def _restored(restore: Restore | None) -> dict[str, Any]:
    """The arguments of a cluster that begins as a copy; the master's secret is made anew all the same."""
    if restore is None:
        return {}
    if restore.is_backup:
        return {"snapshot_identifier": restore.source}
    # AWS knows a cluster that is gone by its resource id alone: cluster- and capitals, which no identifier has
    gone = restore.source.startswith("cluster-") and restore.source.removeprefix("cluster-").isupper()
    return {
        "restore_to_point_in_time": aws.rds.ClusterRestoreToPointInTimeArgs(
            source_cluster_identifier=None if gone else restore.source,
            source_cluster_resource_id=restore.source if gone else None,
            restore_to_time=restore.time,
            use_latest_restorable_time=None if restore.time else True,
        )
    }


def _method(parameter: str) -> str:
    return "pending-reboot" if parameter in REBOOT else "immediate"


def _final_snapshot(cluster: str, key_arn: pulumi.Input[str]) -> pulumi.Output[str]:
    """What is kept of a cluster that goes. A stack that is made anew has a new key, and so another name for its own:
    AWS refuses to delete a cluster whose final snapshot's name is taken."""
    return pulumi.Output.from_input(key_arn).apply(lambda arn: f"{cluster}-final-{arn.rpartition('/')[2][:8]}")


def copying(cluster_arn: pulumi.Input[str], account: Account) -> list[iam.Statement]:
    """What AWS Backup needs to copy the cluster; it names its snapshots `awsbackup:...`."""
    snapshots = account.arn("rds", "cluster-snapshot:awsbackup:*")
    return [
        iam.Statement(
            sid="CopyTheCluster",
            actions=("rds:CreateDBClusterSnapshot", "rds:DescribeDBClusterSnapshots", "rds:ListTagsForResource"),
            resources=(cluster_arn, snapshots),
        ),
        iam.Statement(sid="SeeTheCluster", actions=("rds:DescribeDBClusters",), resources=(cluster_arn,)),
        iam.Statement(
            sid="KeepTheCopies",
            actions=(
                "rds:AddTagsToResource",
                "rds:CopyDBClusterSnapshot",
                "rds:DeleteDBClusterSnapshot",
                "rds:ModifyDBClusterSnapshotAttribute",
            ),
            resources=(snapshots,),
        ),
    ]
