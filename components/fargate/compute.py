"""The service: an ECS cluster, the workers' image, two task definitions, and the service that keeps tasks running."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
import pulumi_awsx as awsx

from components import account, artifact, iam, worker
from components.account import Place
from components.encryption import Encryption
from components.fargate import containers
from components.fargate.containers import MIGRATIONS, SERVICE_NAME, WORKER
from components.fargate.datastore import CANARY, DATABASE, OPERATOR, SERVICE, AuroraDatastore
from components.fargate.observability import DEPLOYMENT_ALARMS, METRICS_SECONDS, FargateObservability, Metrics
from components.fargate.rules import STOP_MARGIN
from components.fargate.scaling import Scaling, ScalingArgs
from components.fargate.settings import ServiceSettings
from components.foundation import Foundation, Outputs, inside
from components.iam import Statement
from components.network import Network
from components.nonce import Nonce
from components.observability.component import alarm_name
from components.one_off_task import OneOffTask, OneOffTaskArgs
from components.operators import Operators, OperatorsArgs
from components.queries import Queries, QueriesArgs
from components.settings import Settings

POLL_SECONDS = 1
HEARTBEAT = "/tmp/heartbeat"  # noqa: S108 - in the container's own scratch volume
KEPT_IMAGES = 20  # enough to go back to
TASKS = "ecs-tasks.amazonaws.com"


@dataclass(frozen=True, slots=True)
class FargateComputeArgs:
    settings: Settings
    place: Place
    subnet_ids: pulumi.Input[Sequence[str]]
    security_group_id: pulumi.Input[str]
    database_host: pulumi.Input[str]
    database_port: pulumi.Output[int]
    database_resource_id: pulumi.Input[str]
    """What IAM knows the cluster by."""
    database_secret_arn: pulumi.Input[str]
    publisher_login: pulumi.Input[str] | None
    """ARN of the secret that the migrations lay the publisher's login in; None: there is no publisher."""
    database_ready: Sequence[pulumi.Resource]
    """What must be there before the migrations run."""
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
            place=base.place,
            subnet_ids=network.subnet_ids,
            security_group_id=network.security_group_id,
            database_host=datastore.host,
            database_port=datastore.port,
            database_resource_id=datastore.cluster.cluster_resource_id,
            database_secret_arn=datastore.secret_arn,
            database_ready=datastore.instances,
            publisher_login=publisher.login.arn if publisher else None,
            deployment_alarms={alarm_name(row, base.place): alarms[row] for row in DEPLOYMENT_ALARMS},
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
    repository: aws.ecr.Repository
    image: pulumi.Input[str]
    cluster: aws.ecs.Cluster
    task_definition: aws.ecs.TaskDefinition
    migrations: OneOffTask
    service: aws.ecs.Service

    def __init__(self, name: str, args: FargateComputeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        # The token and names of both alternatives' compute: on a switch the gateway's key stays as it is.
        super().__init__("confirm-transactions:compute:Compute", name, {}, opts)
        self._args = args
        self._place = args.place
        self._settings = args.settings
        self._tasks = args.settings.part(ServiceSettings)
        self._mine = pulumi.ResourceOptions(parent=self)
        self.gateway_key = worker.gateway_key(args.settings, args.data_key_arn, self)
        self.log_groups = {
            container: self._log_group(container, f"/{args.place.prefix}/{container}")
            for container in (containers.WORKER, containers.MIGRATIONS, containers.COLLECTOR)
        }
        # Container Insights writes here; a group that it makes itself has no key.
        insights = self._log_group("insights", f"/aws/ecs/containerinsights/{args.place.prefix}/performance")
        self.repository = self._repository()
        self.image = self._tasks.image or self._built_image()
        self.cluster, capacity = self._cluster(insights)
        self.migrations = self._migrations(capacity)
        self.task_definition, grants = self._worker()
        self.service = self._service([capacity, *grants])
        Scaling("scaling", ScalingArgs(args.settings, args.place, args.metrics, self.service), inside(self))
        operators = Operators("operators", OperatorsArgs([self._operators_may()]), inside(self))
        groups = {name: self.log_groups[name] for name in (WORKER, MIGRATIONS)}
        Queries("queries", QueriesArgs(args.place, groups), inside(self))
        self.outputs: Outputs = {
            "clusterName": self.cluster.name,
            "serviceName": self.service.name,
            "taskDefinitionArn": self.task_definition.arn,
            "repositoryUrl": self.repository.repository_url,
            "operatorPolicyArn": operators.policy.arn,
            "logGroups": {name: group.name for name, group in groups.items()},
            "gatewayKeySecretArn": self.gateway_key.arn,
        }
        self.register_outputs({"clusterName": self.cluster.name, "serviceName": self.service.name})

    def _log_group(self, name: str, path: str) -> aws.cloudwatch.LogGroup:
        return worker.log_group(name, path, self._settings, self._args.place, self._args.log_key_arn, self)

    # -- image

    def _repository(self) -> aws.ecr.Repository:
        repository = aws.ecr.Repository(
            "workers",
            image_tag_mutability="IMMUTABLE",  # a tag means one image for ever
            image_scanning_configuration=aws.ecr.RepositoryImageScanningConfigurationArgs(scan_on_push=True),
            encryption_configurations=[
                aws.ecr.RepositoryEncryptionConfigurationArgs(encryption_type="KMS", kms_key=self._args.data_key_arn)
            ],
            force_delete=not self._settings.sizing.deletion_protection,
            opts=self._mine,
        )
        aws.ecr.LifecyclePolicy(
            "workers",
            repository=repository.name,
            policy=json.dumps(
                {
                    "rules": [
                        {
                            "rulePriority": 1,
                            "description": "The newest stay",
                            "selection": {
                                "tagStatus": "any",
                                "countType": "imageCountMoreThan",
                                "countNumber": KEPT_IMAGES,
                            },
                            "action": {"type": "expire"},
                        }
                    ]
                }
            ),
            opts=pulumi.ResourceOptions(parent=repository),
        )
        return repository

    def _built_image(self) -> pulumi.Output[str]:
        return awsx.ecr.Image(
            "workers",
            repository_url=self.repository.repository_url,
            context="./workers",  # as seen from the project, so that the state is the same on every machine
            dockerfile="./workers/Dockerfile",
            platform="linux/arm64",
            image_tag=artifact.image_tag(),  # by content: an immutable tag is pushed once
            opts=self._mine,
        ).image_uri

    def _pull(self, *more: str) -> list[Statement]:
        """What an execution role needs for the image, and for others that are in a registry of ECR."""
        place = self._place
        images = [repository_arn(self._tasks.image, place) or self.repository.arn]
        images += [arn for image in more if (arn := repository_arn(image, place))]
        return [
            Statement(
                sid="LogInToTheRegistry",
                actions=("ecr:GetAuthorizationToken",),
                resources=("*",),
                reason="a login is for the registry; AWS knows no resource for it",
            ),
            Statement(
                sid="PullTheImage",
                actions=("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"),
                resources=images,
            ),
        ]

    def _write_logs(self, *groups: str) -> Statement:
        return Statement(
            sid="WriteLogs",
            actions=("logs:CreateLogStream", "logs:PutLogEvents"),
            resources=[pulumi.Output.concat(self.log_groups[group].arn, ":*") for group in groups],
        )

    # -- cluster

    def _cluster(self, insights: pulumi.Resource) -> tuple[aws.ecs.Cluster, aws.ecs.ClusterCapacityProviders]:
        cluster = aws.ecs.Cluster(
            "workers",
            name=self._place.prefix,  # the log group of its insights is named after it
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

    def _task_definition(
        self,
        name: str,
        of: Sequence[containers.Container],
        execution_role: aws.iam.Role,
        task_role: aws.iam.Role | None = None,
    ) -> aws.ecs.TaskDefinition:
        service = self._tasks
        return aws.ecs.TaskDefinition(
            name,
            family=f"{self._place.prefix}-{name}",
            requires_compatibilities=["FARGATE"],
            network_mode="awsvpc",
            runtime_platform=aws.ecs.TaskDefinitionRuntimePlatformArgs(
                cpu_architecture="ARM64",  # a fifth cheaper than X86_64
                operating_system_family="LINUX",
            ),
            cpu=str(service.cpu),
            memory=str(service.memory_mb),
            execution_role_arn=execution_role.arn,
            task_role_arn=task_role.arn if task_role else None,
            volumes=[aws.ecs.TaskDefinitionVolumeArgs(name=container.scratch) for container in of],
            container_definitions=pulumi.Output.json_dumps([container.definition(self._place) for container in of]),
            opts=self._mine,
        )

    def _database_environment(self) -> dict[str, pulumi.Input[str]]:
        return {
            "DATABASE_HOST": self._args.database_host,
            "DATABASE_PORT": self._args.database_port.apply(lambda port: str(int(port))),
            "DATABASE_NAME": DATABASE,
        }

    def _user(self, name: str) -> pulumi.Output[str]:
        """The ARN of a user of the database who logs in by IAM."""
        return pulumi.Output.concat(self._place.arn("rds-db", "dbuser:"), self._args.database_resource_id, "/", name)

    def _operators_may(self) -> Statement:
        """What the command `confirm` needs of AWS; the rest is the database's to say (0003_operator.sql)."""
        return Statement(sid="LogInToTheDatabase", actions=("rds-db:connect",), resources=(self._user(OPERATOR),))

    def _role(self, name: str, description: str, may: Sequence[Statement]) -> tuple[aws.iam.Role, aws.iam.RolePolicy]:
        return iam.role(
            name,
            TASKS,
            may,
            place=self._place,
            description=description,
            parent=self,
            source_arns=[self._place.arn("ecs", "*")],  # tasks have no names beforehand
        )

    def _migrations(self, capacity: pulumi.Resource) -> OneOffTask:
        """Runs before the service changes, as the master. It calls nothing of AWS, and has no role of its own, unless
        there is a publisher to give a login to."""
        login, own, more = self._args.publisher_login, None, []
        if login is not None:
            own, own_grant = self._role(
                "migrations",
                "The migrations: a new login for the publisher",
                [
                    Statement(
                        sid="RenewThePublishersLogin", actions=("secretsmanager:PutSecretValue",), resources=(login,)
                    ),
                    Statement(
                        sid="SealThePublishersLogin",
                        actions=("kms:Decrypt", "kms:GenerateDataKey"),
                        resources=(self._args.data_key_arn,),
                        conditions=iam.through("secretsmanager", self._place),
                    ),
                ],
            )
            more = [own_grant]
        role, grant = self._role(
            "migrations-execution",
            "ECS, to start the migrations: image, log, the master's password",
            [
                *self._pull(),
                self._write_logs(containers.MIGRATIONS),
                Statement(
                    sid="MastersPassword",
                    actions=("secretsmanager:GetSecretValue",),
                    resources=(self._args.database_secret_arn,),
                ),
                Statement(
                    sid="OpenTheMastersPassword",
                    actions=("kms:Decrypt",),
                    resources=(self._args.data_key_arn,),
                    conditions=iam.through("secretsmanager", self._place),
                ),
            ],
        )
        definition = self._task_definition(
            "migrations",
            [
                containers.migrations(
                    self.image,
                    self.log_groups[containers.MIGRATIONS].name,
                    {
                        **self._database_environment(),
                        "DATABASE_SERVICE_USER": SERVICE,
                        **({} if login is None else {"PUBLISHER_SECRET_ARN": login}),
                    },
                    self._args.database_secret_arn,
                )
            ],
            role,
            own,
        )
        identity = account.identity()
        return OneOffTask(
            "migrations",
            OneOffTaskArgs(
                region=self._place.region,
                profile=identity.profile,
                roles=identity.roles,
                cluster=self.cluster.name,
                task_definition=definition.arn,
                container=containers.MIGRATIONS,
                subnet_ids=self._args.subnet_ids,
                security_group_id=self._args.security_group_id,
                log_group=self.log_groups[containers.MIGRATIONS].name,
                log_stream_prefix=containers.MIGRATIONS,
                triggers={
                    "image": self.image,
                    "migrations": artifact.digest("migrations/*.sql"),
                    "database": self._args.database_resource_id,
                    **({} if login is None else {"publisher": login}),
                },
            ),
            pulumi.ResourceOptions(parent=self, depends_on=[grant, *more, capacity, *self._args.database_ready]),
        )

    def _worker(self) -> tuple[aws.ecs.TaskDefinition, list[pulumi.Resource]]:
        settings, place = self._settings, self._place
        execution, execution_grant = self._role(
            "worker-execution",
            "ECS, to start the workers: image, logs",
            [
                *self._pull(self._tasks.collector_image),
                self._write_logs(containers.WORKER, containers.COLLECTOR),
            ],
        )

        canaries = [Statement(sid="SendCanaries", actions=("rds-db:connect",), resources=(self._user(CANARY),))]
        task, task_grant, role, grant, word = self._roles(
            [
                Statement(sid="LogInToTheDatabase", actions=("rds-db:connect",), resources=(self._user(SERVICE),)),
                *(canaries if settings.canary else []),
                *worker.may_read_gateway_key(self.gateway_key, self._args.data_key_arn, place),
            ]
        )
        environment = {
            **worker.environment(settings, self.gateway_key),
            **worker.canary(settings),
            **self._database_environment(),
            "DATABASE_USER": SERVICE,
            "DATABASE_AUTH": "iam",
            "POLL_SECONDS": str(POLL_SECONDS),
            "STOP_SECONDS": str(self._tasks.stop_seconds - STOP_MARGIN),
            "HEARTBEAT_FILE": HEARTBEAT,
            "METRICS_SECONDS": str(METRICS_SECONDS),
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{containers.OTLP_PORT}",
            "OTEL_SERVICE_NAME": place.prefix,
            "WORKER_ROLE_ARN": role.arn,
            "WORKER_ROLE_EXTERNAL_ID": word,
            "AWS_STS_REGIONAL_ENDPOINTS": "regional",
        }
        definition = self._task_definition(
            "worker",
            [
                containers.worker(self.image, self.log_groups[containers.WORKER].name, environment, self._tasks),
                containers.collector(self.log_groups[containers.COLLECTOR].name, self._tasks),
            ],
            execution,
            task,
        )
        return definition, [execution_grant, task_grant, grant]

    def _roles(
        self, may: Sequence[Statement]
    ) -> tuple[aws.iam.Role, aws.iam.RolePolicy, aws.iam.Role, aws.iam.RolePolicy, pulumi.Output[str]]:
        """The task's role, and the worker's, which `may`.

        ECS has one role for a task, and every container gets its credentials: there is none for a container
        (https://github.com/aws/containers-roadmap/issues/204). So the task's role may hand in traces and become the
        worker's role; and that one opens to a word which stands in the environment of the worker's container alone. A
        container sees neither another's environment nor its processes (a task shares no process namespace unless asked
        to), and ECS's metadata tell no environment. The word is no password: who may read roles or task definitions
        sees it, and can do nothing with it unless he is the task.
        """
        place, word = self._place, Nonce("worker", pulumi.ResourceOptions(parent=self)).value
        task = iam.service_role(
            "worker-task",
            TASKS,
            place=place,
            description="Every container of a worker's task: traces, and to become the worker",
            parent=self,
            source_arns=[place.arn("ecs", "*")],  # as above
        )
        # Its name is new to stacks made before: what they have as `worker` serves their tasks until these are replaced.
        role, grant = iam.role_of_a_role(
            "worker-payments",
            task,
            word,
            may,
            place=place,
            description="The workers: one database user, the gateway's key",
            parent=self,
        )
        become = Statement(sid="BecomeTheWorker", actions=("sts:AssumeRole",), resources=(role.arn,))
        return task, iam.grant("worker-task", task, [become, iam.TRACE]), role, grant, word

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


def repository_arn(image: str | None, place: Place) -> str | None:
    """The ARN of the ECR repository that an image comes from; None for no image and for other registries."""
    match = re.fullmatch(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/([^@:]+)@.*", image or "")
    return f"arn:{place.partition}:ecr:{match[2]}:{match[1]}:repository/{match[3]}" if match else None
