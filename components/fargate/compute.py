"""The service: an ECS cluster, the workers' image, the migrations, and the service that keeps tasks running."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import container, iam, worker
from components.account import Account
from components.aurora import migrations
from components.aurora.datastore import CANARY, DATABASE, OPERATOR, SERVICE, VIEWER, AuroraDatastore, Connection
from components.aurora.migrations import MIGRATIONS, MigrationsArgs
from components.desk import CHECKER, MAKER, DeskArgs, DeskFunctions
from components.encryption import Encryption
from components.fargate import containers
from components.fargate.containers import COLLECTOR, SERVICE_NAME, WORKER
from components.fargate.observability import DEPLOYMENT_ALARMS, METRICS_SECONDS, FargateObservability, Metrics
from components.fargate.rules import STOP_MARGIN
from components.fargate.scaling import Scaling, ScalingArgs
from components.fargate.settings import ServiceSettings
from components.foundation import Foundation, Outputs, inside
from components.iam import Statement
from components.image import WorkersImage
from components.network import Network
from components.nonce import Nonce
from components.observability.component import alarm_name
from components.one_off_task import OneOffTask
from components.operators import Operators, OperatorsArgs
from components.queries import Queries, QueriesArgs
from components.scheduled_function import Surroundings
from components.settings import Settings

POLL_SECONDS = 1
HEARTBEAT = "/tmp/heartbeat"  # noqa: S108 - in the container's own scratch volume


@dataclass(frozen=True, slots=True)
class FargateComputeArgs:
    settings: Settings
    account: Account
    subnet_ids: pulumi.Input[Sequence[str]]
    security_group_id: pulumi.Input[str]
    database: Connection
    cluster_arn: pulumi.Input[str]
    """What the Data API knows the database by."""
    publisher_login: pulumi.Input[str] | None
    """ARN of the secret that the migrations lay the publisher's login in; None: there is no publisher."""
    deployment_alarms: Mapping[str, pulumi.Resource]
    """By name: while one is raised, a deployment is rolled back."""
    metrics: Metrics
    """What the service scales by."""
    data_key_arn: pulumi.Input[str]
    log_key_arn: pulumi.Input[str]

    @classmethod
    def of(
        cls,
        base: Foundation,
        encryption: Encryption,
        network: Network,
        datastore: AuroraDatastore,
        observability: FargateObservability,
    ) -> FargateComputeArgs:
        alarms, publisher = observability.alarms, observability.publisher
        return cls(
            settings=base.settings,
            account=base.account,
            subnet_ids=network.subnet_ids,
            security_group_id=network.security_group_id,
            database=datastore.connection,
            cluster_arn=datastore.cluster.arn,
            publisher_login=publisher.login.arn if publisher else None,
            deployment_alarms={alarm_name(row, base.account): alarms[row] for row in DEPLOYMENT_ALARMS},
            metrics=observability.metrics,
            data_key_arn=encryption.data_key.arn,
            log_key_arn=encryption.log_key.arn,
        )


class FargateCompute(pulumi.ComponentResource):
    """What runs.

    Creates: the secret for the gateway's API key (its value is put there by hand, never by Pulumi), the repository of
    the workers' image (and the image, unless settings name one), log groups and the saved queries over these, the
    cluster with its capacity providers, the task definitions with their roles, the run of the migrations, the service
    with its scaling, and the policy of the operators.
    """

    log_groups: Mapping[str, aws.cloudwatch.LogGroup]
    gateway_key: aws.secretsmanager.Secret
    image: WorkersImage
    cluster: aws.ecs.Cluster
    task_definition: aws.ecs.TaskDefinition
    migrations: OneOffTask
    service: aws.ecs.Service
    desk: DeskFunctions
    desk_login: aws.secretsmanager.Secret

    def __init__(self, name: str, args: FargateComputeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        # The token and names of both alternatives' compute: on a switch the gateway's key stays as it is.
        super().__init__("confirm-transactions:compute:Compute", name, {}, opts)
        self._args = args
        self._account = args.account
        self._settings = args.settings
        self._tasks = args.settings.part(ServiceSettings)
        self._mine = pulumi.ResourceOptions(parent=self)
        self.gateway_key = worker.gateway_key(args.settings, args.data_key_arn, self)
        self.log_groups = {
            name: self._log_group(name, f"/{args.account.prefix}/{name}") for name in (WORKER, MIGRATIONS, COLLECTOR)
        }
        # Container Insights writes here; a group that it makes itself has no key.
        insights = self._log_group("insights", f"/aws/ecs/containerinsights/{args.account.prefix}/performance")
        self.image = WorkersImage(
            self._tasks.image,
            account=args.account,
            key_arn=args.data_key_arn,
            keep=args.settings.sizing.deletion_protection,
            parent=self,
        )
        self.cluster, capacity = self._cluster(insights)
        self.desk_login = aws.secretsmanager.Secret(
            "desk-login",
            description="Login of the database's user that the desk functions come as; the migrations renew it",
            kms_key_id=args.data_key_arn,
            recovery_window_in_days=args.settings.sizing.key_deletion_days,
            opts=self._mine,
        )
        self.migrations = migrations.run(
            MigrationsArgs(
                account=args.account,
                database=args.database,
                image=self.image,
                cluster=self.cluster,
                ready=[capacity],
                cpu=self._tasks.cpu,
                memory_mb=self._tasks.memory_mb,
                log_group=self.log_groups[MIGRATIONS],
                subnet_ids=args.subnet_ids,
                security_group_id=args.security_group_id,
                logins={
                    "DESK": self.desk_login.arn,
                    **({} if args.publisher_login is None else {"PUBLISHER": args.publisher_login}),
                },
                data_key_arn=args.data_key_arn,
            ),
            self,
        )
        self.task_definition, grants = self._worker()
        self.service = self._service([capacity, *grants])
        Scaling("scaling", ScalingArgs(args.settings, args.account, args.metrics, self.service), inside(self))
        # what the command `confirm` needs of AWS; the rest is the database's to say (0003_operator.sql)
        operators = Operators("operators", OperatorsArgs([args.database.may_log_in(OPERATOR)]), inside(self))
        self.desk = DeskFunctions("desk", self._desk_args(), inside(self))
        groups = {name: self.log_groups[name] for name in (WORKER, MIGRATIONS)}
        Queries("queries", QueriesArgs(args.account, groups), inside(self))
        self.outputs: Outputs = {
            "clusterName": self.cluster.name,
            "serviceName": self.service.name,
            "taskDefinitionArn": self.task_definition.arn,
            "repositoryUrl": self.image.repository.repository_url,
            "operatorPolicyArn": operators.policy.arn,
            **self.desk.outputs,
            "logGroups": {**{name: group.name for name, group in groups.items()}, "desk": self.desk.log_group.name},
            "gatewayKeySecretArn": self.gateway_key.arn,
        }
        self.register_outputs({"clusterName": self.cluster.name, "serviceName": self.service.name})

    def _log_group(self, name: str, path: str) -> aws.cloudwatch.LogGroup:
        return worker.log_group(name, path, self._settings, self._args.account, self._args.log_key_arn, self)

    # -- desk

    def _desk_args(self) -> DeskArgs:
        """Both functions come through the Data API as one user, who moves what an approved request lists and nothing
        else (workers/migrations/0017_desk.sql)."""
        args = self._args
        may = [
            Statement(sid="AskTheDatabase", actions=("rds-data:ExecuteStatement",), resources=(args.cluster_arn,)),
            # the Data API knows no IAM users of the database, so there is a password
            Statement(sid="OwnLogin", actions=("secretsmanager:GetSecretValue",), resources=(self.desk_login.arn,)),
            Statement(
                sid="OpenTheLogin",
                actions=("kms:Decrypt",),
                resources=(args.data_key_arn,),
                conditions=iam.through("secretsmanager", args.account),
            ),
        ]
        return DeskArgs(
            settings=self._settings,
            around=Surroundings(args.account, args.subnet_ids, args.security_group_id, args.data_key_arn),
            log_key_arn=args.log_key_arn,
            environment={
                "CLUSTER_ARN": args.cluster_arn,
                "DESK_SECRET_ARN": self.desk_login.arn,
                "DATABASE_NAME": DATABASE,
            },
            may={MAKER: may, CHECKER: may},
            viewers_may=[args.database.may_log_in(VIEWER)],
        )

    # -- cluster

    def _cluster(self, insights: pulumi.Resource) -> tuple[aws.ecs.Cluster, aws.ecs.ClusterCapacityProviders]:
        cluster = aws.ecs.Cluster(
            "workers",
            name=self._account.prefix,  # the log group of its insights is named after it
            settings=[aws.ecs.ClusterSettingArgs(name="containerInsights", value="enabled")],
            opts=pulumi.ResourceOptions(parent=self, depends_on=[insights], delete_before_replace=True),
        )
        capacity = aws.ecs.ClusterCapacityProviders(
            "workers",
            cluster_name=cluster.name,
            capacity_providers=["FARGATE", "FARGATE_SPOT"],
            opts=pulumi.ResourceOptions(parent=cluster),
        )
        return cluster, capacity

    # -- tasks

    def _worker(self) -> tuple[aws.ecs.TaskDefinition, list[pulumi.Resource]]:
        settings, account = self._settings, self._account
        execution, execution_grant = container.role(
            "worker-execution",
            "ECS, to start the workers: image, logs",
            [
                *self.image.may_pull(self._tasks.collector_image),
                worker.may_write_logs(self.log_groups[WORKER], self.log_groups[COLLECTOR]),
            ],
            account,
            self,
        )
        canaries = [self._args.database.may_log_in(CANARY, "SendCanaries")] if settings.canary else []
        task, task_grant, role, grant, external_id = self._roles(
            [
                self._args.database.may_log_in(SERVICE),
                *canaries,
                *worker.may_read_gateway_key(self.gateway_key, self._args.data_key_arn, account),
            ]
        )
        environment = {
            **worker.environment(settings, self.gateway_key),
            **worker.canary(settings),
            **self._args.database.environment,
            "DATABASE_USER": SERVICE,
            "DATABASE_AUTH": "iam",
            "POLL_SECONDS": str(POLL_SECONDS),
            "STOP_SECONDS": str(self._tasks.stop_seconds - STOP_MARGIN),
            "HEARTBEAT_FILE": HEARTBEAT,
            "METRICS_SECONDS": str(METRICS_SECONDS),
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{containers.OTLP_PORT}",
            "OTEL_SERVICE_NAME": account.prefix,
            "WORKER_ROLE_ARN": role.arn,
            "WORKER_ROLE_EXTERNAL_ID": external_id,
            "AWS_STS_REGIONAL_ENDPOINTS": "regional",
        }
        definition = container.task_definition(
            "worker",
            [
                containers.worker(self.image.uri, self.log_groups[WORKER].name, environment, self._tasks),
                containers.collector(self.log_groups[COLLECTOR].name, self._tasks),
            ],
            cpu=self._tasks.cpu,
            memory_mb=self._tasks.memory_mb,
            execution_role=execution,
            task_role=task,
            account=account,
            parent=self,
        )
        return definition, [execution_grant, task_grant, grant]

    def _roles(
        self, may: Sequence[Statement]
    ) -> tuple[aws.iam.Role, aws.iam.RolePolicy, aws.iam.Role, aws.iam.RolePolicy, pulumi.Output[str]]:
        """The task's role, and the worker's, which `may`.

        ECS has one role for a task, and every container gets its credentials: there is none for a container
        (https://github.com/aws/containers-roadmap/issues/204). So the task's role may hand in traces and become the
        worker's role; and that one wants an external id, which stands in the environment of the worker's container
        alone. A container sees neither another's environment nor its processes (a task shares no process namespace
        unless asked to), and ECS's metadata tell no environment. The id is no password: who may read roles or task
        definitions sees it, and can do nothing with it unless he is the task.
        """
        account, external_id = self._account, Nonce("worker", pulumi.ResourceOptions(parent=self)).value
        task = iam.service_role(
            "worker-task",
            container.TASKS,
            account=account,
            description="Every container of a worker's task: traces, and to become the worker",
            parent=self,
            source_arns=[account.arn("ecs", "*")],  # tasks have no names beforehand
        )
        # Its name is new to stacks made before: what they have as `worker` serves their tasks until these are replaced.
        role, grant = iam.role_of_a_role(
            "worker-payments",
            task,
            external_id,
            may,
            account=account,
            description="The workers: one database user, the gateway's key",
            parent=self,
        )
        become = Statement(sid="BecomeTheWorker", actions=("sts:AssumeRole",), resources=(role.arn,))
        return task, iam.grant("worker-task", task, [become, iam.TRACE]), role, grant, external_id

    # -- service

    def _service(self, after: Sequence[pulumi.Resource]) -> aws.ecs.Service:
        service = self._tasks
        weights = {"FARGATE": 100 - service.spot_weight, "FARGATE_SPOT": service.spot_weight}
        return aws.ecs.Service(
            "worker",
            name=SERVICE_NAME,  # scaling and alarms name it
            cluster=self.cluster.arn,
            task_definition=self.task_definition.arn,
            desired_count=service.min_tasks,
            capacity_provider_strategies=[
                aws.ecs.ServiceCapacityProviderStrategyArgs(
                    capacity_provider=provider,
                    weight=weight,
                    base=service.on_demand_base if provider == "FARGATE" else None,
                )
                for provider, weight in weights.items()
                if weight
            ],
            network_configuration=aws.ecs.ServiceNetworkConfigurationArgs(
                subnets=self._args.subnet_ids,
                security_groups=[self._args.security_group_id],
                assign_public_ip=False,
            ),
            # Old and new work side by side: claims are fenced, and the schema fits both.
            deployment_minimum_healthy_percent=100,
            deployment_maximum_percent=200,
            deployment_circuit_breaker=aws.ecs.ServiceDeploymentCircuitBreakerArgs(enable=True, rollback=True),
            alarms=aws.ecs.ServiceAlarmsArgs(
                alarm_names=list(self._args.deployment_alarms), enable=True, rollback=True
            ),
            availability_zone_rebalancing="ENABLED",
            enable_execute_command=False,  # nobody gets a shell next to the gateway's key
            enable_ecs_managed_tags=True,
            propagate_tags="SERVICE",
            wait_for_steady_state=True,  # `pulumi up` fails when the deployment does
            opts=pulumi.ResourceOptions(
                parent=self,
                # scaling moves it; each deployment would set it back
                ignore_changes=["desiredCount"],
                delete_before_replace=True,  # its name can be there once
                depends_on=[*after, self.migrations, *self._args.deployment_alarms.values()],
            ),
        )
