"""What holds for every resource of every fargate stack; `invariants.py` has what holds in general."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from analysis.graph import Record, Recorded
from tests.program.invariants import (
    ONE_OFF,
    Complaints,
    Invariant,
    at,
    expect,
    grants_come_before_use,
    put,
)

TASK = "aws:ecs/taskDefinition:TaskDefinition"
SERVICE = "aws:ecs/service:Service"
CLUSTER = "aws:rds/cluster:Cluster"
INSTANCE = "aws:rds/clusterInstance:ClusterInstance"
REPOSITORY = "aws:ecr/repository:Repository"


def _containers(record: Record) -> Iterator[tuple[Recorded, dict[str, Any]]]:
    for task in record.some(TASK):
        for container in json.loads(task.inputs["containerDefinitions"]):
            yield task, container


def _container(path: str, value: object) -> Callable[[Record], None]:
    """A sabotage: something of the first task's first container set to `value`."""

    def spoil(record: Record) -> None:
        for task in record.all(TASK):
            definitions = json.loads(task.inputs["containerDefinitions"])
            *parents, last = path.split(".")
            target = definitions[0]
            for part in parents:
                target = target[part]
            target[last] = value
            task.inputs["containerDefinitions"] = json.dumps(definitions)

    return spoil


def _sidecar(key: str, value: object) -> Callable[[Record], None]:
    """A sabotage: something of the worker's neighbour."""

    def spoil(record: Record) -> None:
        task = record.one(TASK, "worker")
        definitions = json.loads(task.inputs["containerDefinitions"])
        definitions[1][key] = value
        task.inputs["containerDefinitions"] = json.dumps(definitions)

    return spoil


def containers_may_nothing(record: Record) -> Complaints:
    for task, container in _containers(record):
        where = f"{task} {container['name']}"
        if container.get("user") != "10001":
            yield f"{where} runs as {container.get('user')}"
        if container.get("readonlyRootFilesystem") is not True:
            yield f"{where} may write to its own code"
        if container.get("privileged"):
            yield f"{where} is privileged"
        if container["linuxParameters"]["capabilities"] != {"drop": ["ALL"]}:
            yield f"{where} has {container['linuxParameters']['capabilities']}"
        if [mount["containerPath"] for mount in container["mountPoints"]] != ["/tmp"]:  # noqa: S108
            yield f"{where} has somewhere to write other than /tmp"
        if container.get("portMappings"):
            yield f"{where} listens"


def containers_log_to_our_groups(record: Record) -> Complaints:
    groups = {group.outputs["name"] for group in record.all("aws:cloudwatch/logGroup:LogGroup")}
    for task, container in _containers(record):
        options = container["logConfiguration"]["options"]
        if options["awslogs-group"] not in groups or "awslogs-create-group" in options:
            yield f"{task} {container['name']} logs to {options['awslogs-group']}"
        if options["mode"] != "non-blocking":
            yield f"{task} {container['name']} waits for CloudWatch"


def processes_get_their_signals(record: Record) -> Complaints:
    for task, container in _containers(record):
        if container["name"] == "collector":
            continue
        entry = container.get("entryPoint") or ["sh"]
        if entry[0] != "python" or container.get("command"):
            yield f"{task} {container['name']} starts with {entry}"
        if not container["linuxParameters"]["initProcessEnabled"] or container["stopTimeout"] > 120:
            yield f"{task} {container['name']} does not end as it should"


def tasks_hold_no_secret(record: Record) -> Complaints:
    for task, container in _containers(record):
        for variable in container["environment"]:
            if re.search("PASSWORD|TOKEN|API_KEY|SECRET(?!_ARN)", variable["name"]):
                yield f"{task} {container['name']} carries {variable['name']} in clear"
            if variable["value"] in (None, ""):
                yield f"{task} {container['name']}: {variable['name']} is empty"
        for secret in container.get("secrets", ()):
            if not secret["valueFrom"].startswith("arn:aws:secretsmanager:") or container["name"] != "migrations":
                yield f"{task} {container['name']} reads {secret}"


def images_are_pinned(record: Record) -> Complaints:
    for task, container in _containers(record):
        if not re.search(r"@sha256:[0-9a-f]{64}$", container["image"]):
            yield f"{task} {container['name']} runs whatever {container['image']} is"


def the_database_is_reached_by_the_workers_alone(record: Record) -> Complaints:
    group = record.one("aws:ec2/securityGroup:SecurityGroup", "database")
    workers = record.one("aws:ec2/securityGroup:SecurityGroup", "workers")
    (rule,) = group.inputs["ingress"]
    (cluster,) = record.all(CLUSTER)
    if rule.get("cidrBlocks") or rule["securityGroups"] != [f"{workers.outputs['name']}-id"]:
        yield f"{group} lets {rule} in"
    if not rule["fromPort"] == rule["toPort"] == cluster.inputs["port"] or cluster.inputs["port"] == 5432:
        yield f"{group}: port {rule['fromPort']}, the database has {cluster.inputs['port']}"
    if cluster.inputs["vpcSecurityGroupIds"] != [f"{group.outputs['name']}-id"] or group.inputs["egress"]:
        yield f"{cluster} is behind {cluster.inputs['vpcSecurityGroupIds']}"
    for instance in record.all(INSTANCE):
        if instance.inputs.get("publiclyAccessible") is not False:
            yield f"{instance} has a public address"


def parameters_hold(record: Record) -> Complaints:
    wanted = {
        "aws:rds/clusterParameterGroup:ClusterParameterGroup": {
            "rds.force_ssl": "1",
            "shared_preload_libraries": "pg_stat_statements",
            "log_statement": "ddl",
            "log_min_duration_statement": "-1",
            "log_min_error_statement": "panic",
            "log_min_messages": "log",
            "log_error_verbosity": "terse",
            "log_parameter_max_length": "0",
            "log_parameter_max_length_on_error": "0",
        },
        "aws:rds/parameterGroup:ParameterGroup": {
            "idle_in_transaction_session_timeout": "60000",
            "log_lock_waits": "1",
            "pg_stat_statements.track": "top",
        },
    }
    for type_, values in wanted.items():
        (group,) = record.all(type_)
        found = {row["name"]: row["value"] for row in group.inputs["parameters"]}
        if found != values or group.inputs["family"] != "aurora-postgresql17":
            yield f"{group}: {found}"


def database_is_as_agreed(record: Record) -> Complaints:
    wanted: dict[str, object] = {
        "storageEncrypted": True,
        "manageMasterUserPassword": True,
        "iamDatabaseAuthenticationEnabled": True,
        "copyTagsToSnapshot": True,
        "enabledCloudwatchLogsExports": ["postgresql"],
        "engine": "aurora-postgresql",
    }
    for cluster in record.all(CLUSTER):
        for key, value in wanted.items():
            if cluster.inputs.get(key) != value:
                yield f"{cluster}: {key} is {cluster.inputs.get(key)}"
        if cluster.inputs.get("databaseInsightsMode") not in ("standard", "advanced"):
            yield f"{cluster} leaves Database Insights to AWS, which takes the paid mode"
        if "masterPassword" in cluster.inputs:
            yield f"{cluster} has its password in the state"
        if not cluster.inputs["skipFinalSnapshot"] and not cluster.inputs.get("finalSnapshotIdentifier"):
            yield f"{cluster} cannot be deleted: its last snapshot has no name"


def service_is_as_agreed(record: Record) -> Complaints:
    wanted: dict[str, object] = {
        "networkConfiguration.assignPublicIp": False,
        "deploymentCircuitBreaker": {"enable": True, "rollback": True},
        "alarms.enable": True,
        "alarms.rollback": True,
        "deploymentMinimumHealthyPercent": 100,
        "deploymentMaximumPercent": 200,
        "availabilityZoneRebalancing": "ENABLED",
        "enableExecuteCommand": False,
        "waitForSteadyState": True,
    }
    for service in record.all(SERVICE):
        for path, value in wanted.items():
            if at(service, path) != value:
                yield f"{service}: {path} is {at(service, path)}"
        if service.inputs.get("launchType") or not service.inputs.get("capacityProviderStrategies"):
            yield f"{service} has no capacity providers"
        if "desiredCount" not in service.ignore_changes:
            yield f"{service}: each deployment sets back what scaling chose"
        alarms = {alarm.inputs["name"]: alarm.urn for alarm in record.all("aws:cloudwatch/metricAlarm:MetricAlarm")}
        for name in at(service, "alarms.alarmNames") or ["none"]:
            if alarms.get(name) not in service.dependencies:
                yield f"{service} may be made before its alarm {name}"


def all_stands_in_private_subnets(record: Record) -> Complaints:
    """The service, the one-off task and the database: where nobody comes in from outside."""
    private = set(record.all("awsx:ec2:Vpc")[0].outputs["privateSubnetIds"])
    places = {
        SERVICE: "networkConfiguration.subnets",
        ONE_OFF: "subnetIds",
        "aws:rds/subnetGroup:SubnetGroup": "subnetIds",
    }
    for type_, path in places.items():
        for resource in record.all(type_):
            if not (found := set(at(resource, path) or ())) or found - private:
                yield f"{resource} stands in {found}"


def the_schema_comes_before_the_service(record: Record) -> Complaints:
    (migrations,) = record.all(ONE_OFF)
    (service,) = record.all(SERVICE)
    if migrations.urn not in service.dependencies:
        yield "the service may start on a schema that it does not know"
    for instance in record.all(INSTANCE):
        if instance.urn not in migrations.dependencies:
            yield f"the migrations may run before {instance}"


def scaling_reaches_the_service(record: Record) -> Complaints:
    (target,) = record.all("aws:appautoscaling/target:Target")
    (service,) = record.all(SERVICE)
    (cluster,) = record.all("aws:ecs/cluster:Cluster")
    if target.inputs["resourceId"] != f"service/{cluster.inputs['name']}/{service.inputs['name']}":
        yield f"{target}: {target.inputs['resourceId']}"
    policies = record.all("aws:appautoscaling/policy:Policy")
    if {policy.inputs["policyType"] for policy in policies} != {"TargetTrackingScaling", "StepScaling"}:
        yield f"{policies}"
    (step,) = (policy for policy in policies if policy.inputs["policyType"] == "StepScaling")
    alarm = record.one("aws:cloudwatch/metricAlarm:MetricAlarm", "scale-out")
    if alarm.inputs["alarmActions"] != [step.outputs["arn"]]:
        yield f"{alarm} does not act"


FARGATE_INVARIANTS = (
    Invariant("containers run as nobody", containers_may_nothing, _container("user", "0"), TASK),
    Invariant("containers are read-only", containers_may_nothing, _container("readonlyRootFilesystem", False), TASK),
    Invariant(
        "containers have no capabilities",
        containers_may_nothing,
        _container("linuxParameters.capabilities", {"add": ["SYS_PTRACE"]}),
        TASK,
    ),
    Invariant(
        "containers have one place to write",
        containers_may_nothing,
        _container("mountPoints", [{"containerPath": "/app"}]),
        TASK,
    ),
    Invariant(
        "containers log to our groups",
        containers_log_to_our_groups,
        _container("logConfiguration.options.awslogs-group", "/ecs/worker"),
        TASK,
    ),
    Invariant(
        "containers do not wait for their log",
        containers_log_to_our_groups,
        _container("logConfiguration.options.mode", "blocking"),
        TASK,
    ),
    Invariant(
        "processes start without a shell",
        processes_get_their_signals,
        _container("entryPoint", ["sh", "-c", "python -m workers.service"]),
        TASK,
    ),
    Invariant("Fargate waits for them", processes_get_their_signals, _container("stopTimeout", 121), TASK),
    Invariant(
        "tasks hold no secret",
        tasks_hold_no_secret,
        _container("environment", [{"name": "DATABASE_PASSWORD", "value": "x"}]),
        TASK,
    ),
    Invariant(
        "only the migrations see the master's password",
        tasks_hold_no_secret,
        lambda record: put(
            TASK,
            "containerDefinitions",
            json.dumps(
                [
                    container | {"name": "worker"}
                    for task, container in _containers(record)
                    if container["name"] == "migrations"
                ]
            ),
        )(record),
        TASK,
    ),
    Invariant("images are pinned", images_are_pinned, _container("image", "workers:latest"), TASK),
    Invariant("sidecars' images are pinned", images_are_pinned, _sidecar("image", "public.ecr.aws/x/y:v1"), TASK),
    Invariant(
        "the database's port is closed to addresses",
        the_database_is_reached_by_the_workers_alone,
        put("aws:ec2/securityGroup:SecurityGroup", "ingress.0.securityGroups", ["sg-other"], "database"),
        CLUSTER,
    ),
    Invariant(
        "the database has no public address",
        the_database_is_reached_by_the_workers_alone,
        put(INSTANCE, "publiclyAccessible", True),
        CLUSTER,
    ),
    Invariant(
        "the database has a port of its own",
        the_database_is_reached_by_the_workers_alone,
        put(CLUSTER, "port", 5432),
        CLUSTER,
    ),
    Invariant(
        "the database takes TLS alone",
        parameters_hold,
        put("aws:rds/clusterParameterGroup:ClusterParameterGroup", "parameters.0.value", "0"),
        CLUSTER,
    ),
    Invariant(
        "the database ends forgotten transactions",
        parameters_hold,
        put("aws:rds/parameterGroup:ParameterGroup", "parameters.0.value", "0"),
        CLUSTER,
    ),
    Invariant(
        "nobody knows the master's password",
        database_is_as_agreed,
        put(CLUSTER, "manageMasterUserPassword", None),
        CLUSTER,
    ),
    Invariant(
        "workers log in by IAM",
        database_is_as_agreed,
        put(CLUSTER, "iamDatabaseAuthenticationEnabled", False),
        CLUSTER,
    ),
    Invariant("the database is sealed", database_is_as_agreed, put(CLUSTER, "storageEncrypted", None), CLUSTER),
    Invariant(
        "the database's log is exported",
        database_is_as_agreed,
        put(CLUSTER, "enabledCloudwatchLogsExports", []),
        CLUSTER,
    ),
    Invariant(
        "the insights' mode is chosen by us",
        database_is_as_agreed,
        put(CLUSTER, "databaseInsightsMode", None),
        CLUSTER,
    ),
    Invariant(
        "the service is private",
        service_is_as_agreed,
        put(SERVICE, "networkConfiguration.assignPublicIp", True),
        SERVICE,
    ),
    Invariant(
        "the service stands in private subnets",
        all_stands_in_private_subnets,
        put(SERVICE, "networkConfiguration.subnets", ["public-0"]),
        SERVICE,
    ),
    Invariant(
        "the database stands in private subnets",
        all_stands_in_private_subnets,
        put("aws:rds/subnetGroup:SubnetGroup", "subnetIds", ["public-0"]),
        SERVICE,
    ),
    Invariant(
        "a failed deployment goes back",
        service_is_as_agreed,
        put(SERVICE, "deploymentCircuitBreaker.rollback", False),
        SERVICE,
    ),
    Invariant(
        "an alarm rolls a deployment back",
        service_is_as_agreed,
        put(SERVICE, "alarms.alarmNames", ["another"]),
        SERVICE,
    ),
    Invariant("nobody gets a shell", service_is_as_agreed, put(SERVICE, "enableExecuteCommand", True), SERVICE),
    Invariant(
        "deployments leave scaling alone",
        service_is_as_agreed,
        lambda record: record.all(SERVICE)[0].ignore_changes.clear(),
        SERVICE,
    ),
    Invariant(
        "the service comes after its grants",
        grants_come_before_use,
        lambda record: record.all(SERVICE)[0].dependencies.clear(),
        SERVICE,
    ),
    Invariant(
        "the migrations come after their grants",
        grants_come_before_use,
        lambda record: record.all(ONE_OFF)[0].dependencies.clear(),
        SERVICE,
    ),
    Invariant(
        "the schema comes before the service",
        the_schema_comes_before_the_service,
        lambda record: record.all(SERVICE)[0].dependencies.clear(),
        SERVICE,
    ),
    Invariant(
        "the database comes before the schema",
        the_schema_comes_before_the_service,
        lambda record: record.all(ONE_OFF)[0].dependencies.clear(),
        SERVICE,
    ),
    Invariant(
        "scaling reaches the service",
        scaling_reaches_the_service,
        put("aws:appautoscaling/target:Target", "resourceId", "service/a/b"),
        SERVICE,
    ),
    Invariant(
        "the age of the oldest starts tasks",
        scaling_reaches_the_service,
        put("aws:cloudwatch/metricAlarm:MetricAlarm", "alarmActions", [], "scale-out"),
        SERVICE,
    ),
    Invariant(
        "tags of images never move",
        expect(REPOSITORY, "imageTagMutability", "IMMUTABLE"),
        put(REPOSITORY, "imageTagMutability", "MUTABLE"),
        REPOSITORY,
    ),
    Invariant(
        "images are scanned",
        expect(REPOSITORY, "imageScanningConfiguration.scanOnPush", True),
        put(REPOSITORY, "imageScanningConfiguration.scanOnPush", False),
        REPOSITORY,
    ),
    Invariant(
        "images run on arm64",
        expect(TASK, "runtimePlatform.cpuArchitecture", "ARM64"),
        put(TASK, "runtimePlatform.cpuArchitecture", "X86_64"),
        TASK,
    ),
    Invariant(
        "tasks are counted",
        expect("aws:ecs/cluster:Cluster", "settings.0.value", "enabled"),
        put("aws:ecs/cluster:Cluster", "settings.0.value", "disabled"),
        SERVICE,
    ),
)
