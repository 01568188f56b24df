"""What each component of the fargate alternative makes of its settings, and what the stack tells the outside."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from alternatives.fargate.stacks import IMAGE
from alternatives.settings import parse
from analysis.graph import ACCOUNT, PROJECT, REGION, ROOT, Record, record
from components import artifact, iam, nonce
from components.account import Account
from components.aurora import capacity
from components.fargate.publisher import publisher_minutes
from components.fargate.scaling import per_task, scale_out_seconds
from components.image import repository_arn
from local.overlay.scaling import Tracking, compute, track
from workers import config as worker_config
from workers.canary import Canary
from workers.service.__main__ import CANARY_USER

CONFIG = {
    "owner": "payments",
    "costCenter": "cc-1",
    "gatewayUrl": "https://payments.example.com",
    "alternative": "fargate",
}
OUTPUTS = {
    "alternative", "environment", "region", "clusterName", "serviceName", "taskDefinitionArn", "repositoryUrl",
    "databaseHost", "databasePort", "databaseName", "databaseUser", "databaseClusterId", "databaseSecretArn",
    "alarmTopicArn", "noticeTopicArn", "dashboardName", "logGroups", "vpcId", "egressAddresses", "gatewayUrl",
    "gatewayKeySecretArn", "mode", "reviewHours", "reviewOwner", "operatorPolicyArn", "deskFunctions", "deskPolicyArns",
}  # fmt: skip
SECRET = "aws:secretsmanager/secret:Secret"
TASK = "aws:ecs/taskDefinition:TaskDefinition"
SERVICE = "aws:ecs/service:Service"
CLUSTER = "aws:rds/cluster:Cluster"
INSTANCE = "aws:rds/clusterInstance:ClusterInstance"
ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"
POLICY = "aws:appautoscaling/policy:Policy"
FUNCTION = "aws:lambda/function:Function"


def container(of: Record, task: str, name: str) -> dict[str, Any]:
    definitions = json.loads(of.one(TASK, task).inputs["containerDefinitions"])
    (found,) = (definition for definition in definitions if definition["name"] == name)
    return dict(found)


def environment(of: Record, task: str) -> dict[str, str]:
    return {row["name"]: row["value"] for row in container(of, task, task)["environment"]}


def statements(of: Record, role: str) -> dict[str, dict[str, Any]]:
    document = json.loads(of.one("aws:iam/rolePolicy:RolePolicy", role).inputs["policy"])
    return {statement["Sid"]: statement for statement in document["Statement"]}


def test_the_outputs_are_those_that_command_and_demo_read(fargate: Record) -> None:
    assert set(fargate.outputs) == OUTPUTS
    assert all(fargate.outputs.values())
    assert set(fargate.outputs["logGroups"]) == {"worker", "migrations", "desk"}


# -- datastore


@pytest.mark.parametrize(("stack", "protected"), [("fargate-dev", False), ("fargate-prod", True)])
def test_prod_is_protected_twice_and_dev_is_not(records: dict[str, Record], stack: str, protected: bool) -> None:
    (cluster,) = records[stack].all(CLUSTER)
    assert cluster.protect is protected
    assert cluster.inputs["deletionProtection"] is protected
    assert cluster.inputs["skipFinalSnapshot"] is not protected
    key = records[stack].one("aws:kms/key:Key", "data").outputs["arn"].rpartition("/")[2]
    final = cluster.inputs.get("finalSnapshotIdentifier")
    assert final == (f"confirm-transactions-fargate-final-{key[:8]}" if protected else None)  # a new stack, a new key
    assert cluster.inputs["backupRetentionPeriod"] == (35 if protected else 1)
    assert records[stack].one("aws:ecr/repository:Repository", "workers").inputs["forceDelete"] is not protected


def test_capacity_and_instances_follow_the_settings(records: dict[str, Record]) -> None:
    def sizes(stack: str) -> tuple[Any, ...]:
        (cluster,) = records[stack].all(CLUSTER)
        scaling = cluster.inputs["serverlessv2ScalingConfiguration"]
        return (
            scaling["minCapacity"],
            scaling["maxCapacity"],
            scaling.get("secondsUntilAutoPause"),
            len(records[stack].all(INSTANCE)),
            cluster.inputs["enableHttpEndpoint"],
        )

    assert sizes("fargate-dev") == (0.5, 4, None, 1, True)
    assert sizes("fargate-staging") == (0.5, 8, None, 2, True)
    assert sizes("fargate-prod") == (2, 32, None, 2, True)
    assert sizes("fargate-asleep") == (0, 4, 300, 1, True)
    assert sizes("fargate-extremes") == (1, 256, None, 15, True)
    tiers = [instance.inputs["promotionTier"] for instance in records["fargate-prod"].all(INSTANCE)]
    assert sorted(tiers) == [0, 1]


@pytest.mark.parametrize(
    ("stack", "mode", "enabled", "days"),
    [
        ("fargate-dev", "standard", False, None),
        ("fargate-prod", "standard", True, 7),
        ("fargate-extremes", "advanced", True, 465),
    ],
)
def test_insights_are_the_same_on_cluster_and_instances(
    records: dict[str, Record], stack: str, mode: str, enabled: bool, days: int | None
) -> None:
    (cluster,) = records[stack].all(CLUSTER)
    assert cluster.inputs["databaseInsightsMode"] == mode
    for resource in (cluster, *records[stack].all(INSTANCE)):
        assert resource.inputs["performanceInsightsEnabled"] is enabled
        assert resource.inputs.get("performanceInsightsRetentionPeriod") == days
        assert ("performanceInsightsKmsKeyId" in resource.inputs) is enabled


def test_the_exported_log_goes_to_a_group_of_ours(fargate: Record) -> None:
    (cluster,) = fargate.all(CLUSTER)
    group = fargate.one("aws:cloudwatch/logGroup:LogGroup", "postgresql")
    assert group.inputs["name"] == f"/aws/rds/cluster/{cluster.inputs['clusterIdentifier']}/postgresql"
    assert group.urn in cluster.dependencies


def test_names_that_rds_refuses_are_made_to_fit() -> None:
    made = record("fargate", as_stack="Fargate_Live--2")
    (cluster,) = made.all(CLUSTER)
    name = cluster.inputs["clusterIdentifier"]
    assert re.fullmatch(r"[a-z](-?[a-z0-9])*", name)
    key = json.loads(made.one("aws:kms/key:Key", "logs").inputs["policy"])
    (logs,) = (s for s in key["Statement"] if s["Sid"] == "LogGroupsOfThisStack")
    assert any(name in arn for arn in logs["Condition"]["ArnLike"]["kms:EncryptionContext:aws:logs:arn"])


def test_the_workers_get_out_to_the_database_and_nobody_else_in(fargate: Record) -> None:
    (cluster,) = fargate.all(CLUSTER)
    workers = fargate.one("aws:ec2/securityGroup:SecurityGroup", "workers")
    (rule,) = (rule for rule in workers.inputs["egress"] if rule["toPort"] == cluster.inputs["port"])
    assert rule["cidrBlocks"] == [fargate.all("awsx:ec2:Vpc")[0].inputs["cidrBlock"]]
    assert workers.inputs["ingress"] == []


# -- compute


def test_the_workers_understand_what_they_are_told(fargate: Record) -> None:
    told = worker_config.read_service(environment(fargate, "worker"))
    assert told.alternative == "fargate"
    assert told.database.host == fargate.outputs["databaseHost"]
    assert told.database.port == fargate.outputs["databasePort"] == 5433
    assert told.database.name == fargate.outputs["databaseName"]
    assert told.database.user == fargate.outputs["databaseUser"] == "confirm_service"
    assert told.gateway.secret_arn == fargate.outputs["gatewayKeySecretArn"]
    assert told.stop_within.total_seconds() == container(fargate, "worker", "worker")["stopTimeout"] - 10
    assert told.policy.lease.total_seconds() == 90
    assert environment(fargate, "worker")["DATABASE_AUTH"] == "iam"


def test_workers_send_canaries_as_a_user_of_its_own_where_settings_say_so(records: dict[str, Record]) -> None:
    stack = records["fargate-staging"]
    told = worker_config.read_service(environment(stack, "worker"))
    assert told.canary == Canary("test-account", timedelta(minutes=5))
    (policy,) = (one for one in stack.all("aws:iam/rolePolicy:RolePolicy") if one.name == "worker-payments")
    users = {s["Sid"]: s["Resource"] for s in json.loads(policy.inputs["policy"])["Statement"]}
    assert users["SendCanaries"][0].rpartition("/")[2] == CANARY_USER
    assert users["SendCanaries"][0].rpartition("/")[0] == users["LogInToTheDatabase"][0].rpartition("/")[0]
    assert worker_config.read_service(environment(records["fargate-prod"], "worker")).canary is None
    assert (
        "SendCanaries"
        not in records["fargate-prod"].one("aws:iam/rolePolicy:RolePolicy", "worker-payments").inputs["policy"]
    )


def test_the_migrations_understand_what_they_are_told(fargate: Record) -> None:
    values = worker_config.Values(environment(fargate, "migrations"))
    database = worker_config.database(values, "DATABASE_SERVICE_USER")
    values.check()
    assert (database.host, database.user) == (fargate.outputs["databaseHost"], fargate.outputs["databaseUser"])
    assert container(fargate, "migrations", "migrations")["secrets"] == [
        {"name": "DATABASE_SECRET", "valueFrom": fargate.outputs["databaseSecretArn"]}
    ]


def test_the_rate_limit_is_not_divided_by_the_tasks(records: dict[str, Record]) -> None:
    for stack, rate in (("fargate-dev", 500.0), ("fargate-prod", 500.0), ("fargate-extremes", 100_000.0)):
        told = worker_config.read_service(environment(records[stack], "worker"))
        assert told.gateway.rate_limit == rate


def test_the_heartbeat_lies_where_a_read_only_container_may_write(fargate: Record) -> None:
    file = Path(environment(fargate, "worker")["HEARTBEAT_FILE"])
    assert str(file.parent) == container(fargate, "worker", "worker")["mountPoints"][0]["containerPath"]


def test_no_container_writes_where_another_does(fargate: Record) -> None:
    """Fargate gives a volume the rights of the folder in the image that mounts it first."""
    for task in fargate.all(TASK):
        mounts = [one["mountPoints"] for one in json.loads(task.inputs["containerDefinitions"])]
        sources = [mount["sourceVolume"] for each in mounts for mount in each]
        assert all(len(each) == 1 for each in mounts)
        assert len(set(sources)) == len(sources)
        assert sorted(sources) == sorted(volume["name"] for volume in task.inputs["volumes"])


def test_the_entry_points_exist(fargate: Record) -> None:
    import importlib.util

    modules = {
        "worker": ["python", "-m", "workers.service"],
        "migrations": ["python", "-m", "workers.migrations"],
    }
    for task, entry in modules.items():
        assert container(fargate, task, task)["entryPoint"] == entry
        assert importlib.util.find_spec(f"{entry[-1]}.__main__")
    health = container(fargate, "worker", "worker")["healthCheck"]["command"]
    assert health == ["CMD", "python", "-m", "workers.service.health"]
    assert importlib.util.find_spec(health[-1])


def test_a_dead_collector_stops_no_payment(fargate: Record) -> None:
    collector = container(fargate, "worker", "collector")
    assert collector["essential"] is False
    assert container(fargate, "worker", "worker")["essential"] is True
    variables = {row["name"]: row["value"] for row in collector["environment"]}
    pipeline = yaml.safe_load(variables["AOT_CONFIG_CONTENT"])
    endpoint = pipeline["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
    assert endpoint.startswith("127.0.0.1:")
    assert environment(fargate, "worker")["OTEL_EXPORTER_OTLP_ENDPOINT"] == f"http://{endpoint}"
    traces = pipeline["service"]["pipelines"]["traces"]
    for kind in ("receivers", "processors", "exporters"):
        assert set(traces[kind]) == set(pipeline[kind])


def test_the_worker_logs_in_as_one_user_of_one_database(fargate: Record) -> None:
    (cluster,) = fargate.all(CLUSTER)
    login = statements(fargate, "worker-payments")["LogInToTheDatabase"]
    user = f"dbuser:{cluster.outputs['clusterResourceId']}/{fargate.outputs['databaseUser']}"
    assert login["Resource"] == [f"arn:aws:rds-db:{REGION}:{ACCOUNT}:{user}"]


def test_who_may_read_the_masters_password(records: dict[str, Record]) -> None:
    for stack in ("fargate-prod", "fargate-asleep"):
        secret = records[stack].outputs["databaseSecretArn"]
        found = {
            where.split()[1]
            for where, document in records[stack].policies()
            for statement in document["Statement"]
            if secret in statement.get("Resource", ())
        }
        assert found == {"migrations-execution"}


def test_the_publisher_has_a_login_of_its_own(records: dict[str, Record]) -> None:
    record = records["fargate-asleep"]
    login = record.one("aws:secretsmanager/secret:Secret", "publisher-login").outputs["arn"]
    assert statements(record, "publisher")["OwnLogin"]["Resource"] == [login]
    assert login in statements(record, "migrations")["RenewLogins"]["Resource"]
    task = record.one(TASK, "migrations").inputs
    assert task["taskRoleArn"].endswith(":role/migrations-1234567")
    (container,) = json.loads(task["containerDefinitions"])
    assert {"name": "PUBLISHER_SECRET_ARN", "value": login} in container["environment"]
    (migrations,) = record.all("pulumi-python:dynamic/confirm-transactions:OneOffTask")
    assert migrations.inputs["triggers"]["publisher"] == login, "a stack that comes to need one runs them again"


def test_the_migrations_renew_logins_and_nothing_else(fargate: Record) -> None:
    """They call nothing else of AWS."""
    own = statements(fargate, "migrations")
    logins = {one.outputs["arn"] for one in fargate.all(SECRET) if one.name in ("desk-login", "publisher-login")}
    assert set(own) == {"RenewLogins", "SealLogins"}
    assert set(own["RenewLogins"]["Resource"]) == logins
    desk = fargate.one(SECRET, "desk-login").outputs["arn"]
    (container,) = json.loads(fargate.one(TASK, "migrations").inputs["containerDefinitions"])
    assert {"name": "DESK_SECRET_ARN", "value": desk} in container["environment"]
    for role in ("desk-maker", "desk-checker"):
        assert statements(fargate, role)["OwnLogin"]["Resource"] == [desk]
    assert fargate.one(TASK, "worker").inputs["taskRoleArn"].endswith(":role/worker-task-1234567")
    roles = {task.inputs["executionRoleArn"] for task in fargate.all(TASK)}
    assert len(roles) == 2


def test_the_collector_shares_no_right_but_to_hand_in_traces(fargate: Record) -> None:
    """ECS has one role for all containers of a task. It opens the worker's role to a word that one of them is told."""
    shared = statements(fargate, "worker-task")
    assert {sid: statement["Action"] for sid, statement in shared.items()} == {
        "BecomeTheWorker": ["sts:AssumeRole"],
        "Trace": sorted(iam.TRACE.actions),
    }
    worker, task = (fargate.one("aws:iam/role:Role", name) for name in ("worker-payments", "worker-task"))
    assert shared["BecomeTheWorker"]["Resource"] == [worker.outputs["arn"]]
    (trust,) = json.loads(worker.inputs["assumeRolePolicy"])["Statement"]
    word = trust["Condition"]["StringEquals"]["sts:ExternalId"]
    assert trust["Principal"] == {"AWS": task.outputs["arn"]}
    told = [
        (definition.name, one["name"])
        for definition in fargate.all(TASK)
        for one in json.loads(definition.inputs["containerDefinitions"])
        if word in json.dumps(one)
    ]
    assert told == [("worker", "worker")]
    assert environment(fargate, "worker")["WORKER_ROLE_ARN"] == worker.outputs["arn"]
    assert "pidMode" not in fargate.one(TASK, "worker").inputs, "each container sees its own processes alone"
    told_of = worker_config.read_service(environment(fargate, "worker")).role
    assert told_of
    assert (told_of.arn, told_of.external_id) == (worker.outputs["arn"], word)
    assert word not in repr(told_of)


def test_the_word_is_nothing_to_guess_and_another_for_each_stack() -> None:
    made = [(nonce._Provider().create({}).outs or {})["value"] for _ in range(2)]
    assert len(set(made)) == 2
    assert all(re.fullmatch(r"[\w-]{43}", word) for word in made), "as STS takes it, 2 to 1,224 of these"


def test_a_collector_of_a_private_registry_can_be_pulled() -> None:
    image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/collector@sha256:" + "c" * 64
    pull = statements(record("fargate", collectorImage=image), "worker-execution")["PullTheImage"]
    assert "arn:aws:ecr:us-east-1:123456789012:repository/collector" in pull["Resource"]


def test_capacity_providers_have_base_and_weights(records: dict[str, Record]) -> None:
    def strategies(stack: str) -> dict[str, tuple[int | None, int]]:
        (service,) = records[stack].all(SERVICE)
        return {
            row["capacityProvider"]: (row.get("base"), row["weight"])
            for row in service.inputs["capacityProviderStrategies"]
        }

    assert strategies("fargate-dev") == {"FARGATE_SPOT": (None, 100)}
    assert strategies("fargate-staging") == {"FARGATE": (1, 30), "FARGATE_SPOT": (None, 70)}
    assert strategies("fargate-prod") == {"FARGATE": (2, 50), "FARGATE_SPOT": (None, 50)}
    only = record("fargate", spotWeight="0")
    (service,) = only.all(SERVICE)
    assert [row["capacityProvider"] for row in service.inputs["capacityProviderStrategies"]] == ["FARGATE"]


def test_the_image_is_built_unless_one_is_named(records: dict[str, Record]) -> None:
    (built,) = records["fargate-dev"].all("awsx:ecr:Image")
    assert built.inputs["platform"] == "linux/arm64"
    assert built.inputs["imageTag"] == artifact.image_tag()
    for key in ("context", "dockerfile"):
        assert built.inputs[key].startswith("./workers")  # no path of this machine in the state
        assert (ROOT / built.inputs[key]).exists()
    assert not records["fargate-extremes"].some("awsx:ecr:Image")
    assert container(records["fargate-extremes"], "worker", "worker")["image"] == IMAGE
    assert container(records["fargate-extremes"], "migrations", "migrations")["image"] == IMAGE
    pull = statements(records["fargate-extremes"], "worker-execution")["PullTheImage"]
    assert pull["Resource"] == ["arn:aws:ecr:eu-west-1:210987654321:repository/confirm/workers"]
    # it stays although the image comes from elsewhere: going back must not find it gone
    assert records["fargate-extremes"].all("aws:ecr/repository:Repository")


def test_the_alarm_on_connections_counts_with_those_that_a_worker_opens(records: dict[str, Record]) -> None:
    for stack, tasks, each in (("fargate-dev", 2, 6), ("fargate-staging", 4, 7), ("fargate-prod", 10, 6)):  # a canary's
        assert each == capacity.connections_per_task(stack == "fargate-staging")
        assert records[stack].one(ALARM, "connections").inputs["threshold"] == (tasks + 2) * each + 20


def test_only_ecr_has_repositories_to_name() -> None:
    account = Account(id=ACCOUNT, region=REGION, partition="aws", prefix="p")
    assert repository_arn(None, account) is None
    assert repository_arn("docker.io/library/worker@sha256:" + "a" * 64, account) is None


def test_the_images_tag_follows_its_content(tmp_path: Path) -> None:
    workers = tmp_path / "workers"
    shutil.copytree(artifact.WORKERS, workers, ignore=shutil.ignore_patterns("__pycache__"))
    before = artifact.digest(*artifact.IMAGE_FILES, workers=workers)
    assert before == artifact.digest(*artifact.IMAGE_FILES)
    (workers / "notes.txt").write_text("not in the image")
    assert artifact.digest(*artifact.IMAGE_FILES, workers=workers) == before
    for name in ("Dockerfile", "requirements.lock", "config.py", "migrations/0001_transactions.sql"):
        file = workers / name
        content = file.read_bytes()
        file.write_bytes(content + b"\n")
        assert artifact.digest(*artifact.IMAGE_FILES, workers=workers) != before, name
        file.write_bytes(content)
    (workers / "config.py").rename(workers / "configuration.py")
    assert artifact.digest(*artifact.IMAGE_FILES, workers=workers) != before
    with pytest.raises(FileNotFoundError, match=r"nothing matches \*\.rs"):
        artifact.digest("*.rs", workers=workers)


def test_the_image_holds_what_its_tag_counts() -> None:
    lines = (artifact.WORKERS / ".dockerignore").read_text().splitlines()
    kept = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert kept == set(artifact.IMAGE_FILES)
    assert "*" in lines


def test_the_dockerfile_keeps_its_promises() -> None:
    text = (artifact.WORKERS / "Dockerfile").read_text()
    final = text[text.rindex("\nFROM ") :]
    assert "--require-hashes" in text
    assert re.search(r"(?m)^USER 10001:10001$", final)
    assert re.search(r'(?m)^VOLUME \["/tmp"\]$', final)
    assert re.search(r'(?m)^ENTRYPOINT \["python", "-m", "workers.service"\]$', final)
    assert final.index("USER 10001") > final.index("RUN ")
    assert "/app/rds-ca.pem" in text


def test_everything_that_the_image_takes_from_elsewhere_is_named_by_a_digest() -> None:
    text = (artifact.WORKERS / "Dockerfile").read_text().replace("\\\n", " ")
    values = dict(re.findall(r"(?m)^ARG (\w+)=(\S+)$", text))
    stages = set(re.findall(r"(?m)^FROM \S+ AS (\w+)$", text))
    bases = [values[name] if name else image for name, image in re.findall(r"(?m)^FROM (?:\$\{(\w+)\}|(\S+))", text)]
    assert len(bases) == 2
    for base in bases:
        assert re.fullmatch(r"[\w./:-]+@sha256:[0-9a-f]{64}", base), base
    fetched = re.findall(r"(?m)^ADD (.*https://.*)$", text)
    assert len(fetched) == 1
    assert all(re.search(r"--checksum=sha256:[0-9a-f]{64} ", one) for one in fetched)
    assert all(source in stages for source in re.findall(r"--from=(\S+)", text))
    assert "--require-hashes --no-deps --only-binary :all:" in text


def test_the_image_has_the_versions_that_are_tested() -> None:
    pins = {
        line.split()[0]
        for line in (artifact.WORKERS / "requirements.in").read_text().splitlines()
        if line[:1].isalpha()
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert pins <= set(project["dependencies"])
    locked = re.findall(r"(?m)^([a-z0-9-]+==\S+)", (artifact.WORKERS / "requirements.lock").read_text())
    tested = set(re.findall(r"(?m)^([a-z0-9-]+==\S+)", (ROOT / "requirements.lock").read_text()))
    assert pins <= set(locked) <= tested
    assert "://" not in (artifact.WORKERS / "requirements.lock").read_text()


def test_a_new_task_definition_alone_does_not_migrate_again(fargate: Record) -> None:
    (migrations,) = fargate.all("pulumi-python:dynamic/confirm-transactions:OneOffTask")
    (cluster,) = fargate.all(CLUSTER)
    logins = {one.name.partition("-")[0]: one.outputs["arn"] for one in fargate.some(SECRET) if "login" in one.name}
    assert migrations.inputs["triggers"] == {
        "image": container(fargate, "migrations", "migrations")["image"],
        "migrations": artifact.digest("migrations/*.sql"),
        "database": cluster.outputs["clusterResourceId"],
        **logins,
    }
    assert migrations.inputs["taskDefinition"] == fargate.one(TASK, "migrations").outputs["arn"]
    assert migrations.inputs["logGroup"] == fargate.outputs["logGroups"]["migrations"]
    options = container(fargate, "migrations", "migrations")["logConfiguration"]["options"]
    assert options["awslogs-stream-prefix"] == migrations.inputs["logStreamPrefix"]


# -- scaling


def test_the_target_stays_within_the_settings(records: dict[str, Record]) -> None:
    for stack, least, most in (("fargate-dev", 1, 2), ("fargate-prod", 2, 10), ("fargate-extremes", 0, 400)):
        (target,) = records[stack].all("aws:appautoscaling/target:Target")
        (service,) = records[stack].all(SERVICE)
        assert (target.inputs["minCapacity"], target.inputs["maxCapacity"]) == (least, most)
        assert service.inputs["desiredCount"] == least


def test_the_backlog_is_shared_by_the_running_tasks(fargate: Record) -> None:
    policy = fargate.one(POLICY, "backlog-per-task").inputs["targetTrackingScalingPolicyConfiguration"]
    terms = {term["id"]: term for term in policy["customizedMetricSpecification"]["metrics"]}
    assert policy["targetValue"] == 2_000
    assert [name for name, term in terms.items() if term["returnData"]] == ["per_task"]
    backlog, running = terms["backlog"]["metricStat"], terms["running"]["metricStat"]
    assert (backlog["stat"], backlog["metric"]["metricName"]) == ("Maximum", "Backlog")  # several tasks say the same
    assert {d["name"]: d["value"] for d in backlog["metric"]["dimensions"]} == {
        "Stack": "fargate",
        "Alternative": "fargate",
        "Environment": fargate.outputs["environment"],
    }
    assert running["metric"]["namespace"] == "ECS/ContainerInsights"
    assert {d["name"]: d["value"] for d in running["metric"]["dimensions"]} == {
        "ClusterName": fargate.outputs["clusterName"],
        "ServiceName": fargate.outputs["serviceName"],
    }
    expression = terms["per_task"]["expression"]
    asleep = not fargate.one(SERVICE, "worker").inputs["desiredCount"]
    for backlog_, tasks, wanted in (
        *((5000, None, 5000), (5000, 0, 5000), (5000, 1, 5000), (5000, 4, 1250), (0, None, 0), (0, 1, 0), (7, 2, 3.5)),
        *((7, tasks, 2_000 if asleep else 7) for tasks in (None, 0, 1)),  # what is due keeps the last one awake
    ):
        assert compute(expression, {"backlog": backlog_, "running": tasks}) == wanted


def test_a_service_that_was_just_woken_is_not_put_to_sleep_in_its_first_quiet_minute() -> None:
    quiet: list[float | None] = [0.0] * 14
    woken = compute(per_task(0, 2_000), {"backlog": 7, "running": None})
    assert track([0.0, woken, *quiet], 1, Tracking(2_000)) == 1
    assert track([0.0, *quiet, woken], 1, Tracking(2_000)) == 0, "after a quarter of an hour"


def test_the_age_of_the_oldest_starts_tasks_from_none_too(fargate: Record) -> None:
    step = fargate.one(POLICY, "oldest-due").inputs["stepScalingPolicyConfiguration"]
    assert step["adjustmentType"] == "PercentChangeInCapacity"
    assert step["minAdjustmentMagnitude"] == 1
    steps = step["stepAdjustments"]
    assert [row["scalingAdjustment"] for row in steps] == [50, 100]
    assert steps[0]["metricIntervalLowerBound"] == "0"
    assert steps[0]["metricIntervalUpperBound"] == steps[1]["metricIntervalLowerBound"]
    assert "metricIntervalUpperBound" not in steps[1]
    alarm = fargate.one(ALARM, "scale-out").inputs
    assert (alarm["metricName"], alarm["statistic"], alarm["period"]) == ("OldestPendingAge", "Maximum", 60)
    asleep = not fargate.one(SERVICE, "worker").inputs["desiredCount"]
    assert alarm["threshold"] == (60 if asleep else 180)


def test_scaling_out_comes_long_before_the_alarm() -> None:
    for age in (60, 300, 900, 86_400):
        seconds = scale_out_seconds(parse(CONFIG | {"oldestPendingAlarmSeconds": age}))
        assert 60 <= seconds <= max(60, age // 5)


def test_somebody_reports_the_backlog_when_no_task_runs(records: dict[str, Record]) -> None:
    for stack in ("fargate-dev", "fargate-prod"):
        assert {one.name for one in records[stack].some(FUNCTION)} == {"desk-maker", "desk-checker"}
        assert not records[stack].some("aws:scheduler/schedule:Schedule")
    from workers import publisher

    for stack, rate in (("fargate-asleep", "rate(180 minutes)"), ("fargate-extremes", "rate(1 minute)")):
        function = records[stack].one(FUNCTION, "publisher")
        (schedule,) = records[stack].all("aws:scheduler/schedule:Schedule")
        assert schedule.inputs["target"]["arn"] == function.outputs["arn"]
        assert schedule.inputs["scheduleExpression"] == rate
        module, _, name = function.inputs["handler"].rpartition(".")
        assert (module, callable(getattr(publisher, name))) == (publisher.__name__, True)
        variables = function.inputs["environment"]["variables"]
        (cluster,) = records[stack].all(CLUSTER)
        assert variables["CLUSTER_ARN"] == cluster.outputs["arn"]
        login = records[stack].one("aws:secretsmanager/secret:Secret", "publisher-login")
        assert variables["PUBLISHER_SECRET_ARN"] == login.outputs["arn"]
        reads = inspect.getsource(publisher) + inspect.getsource(worker_config.telemetry)
        assert set(re.findall(r'values\.(?:text|seconds)\("([A-Z_]+)"\)', reads)) == set(variables)


def test_the_publisher_lets_a_pausing_database_sleep() -> None:
    """It pauses after autoPauseSeconds without a question, so questions must be further apart than that."""
    for pause in (300, 301, 3_601, 86_400):
        config = CONFIG | {"minTasks": 0, "minCapacityUnits": "0", "autoPauseSeconds": pause}
        assert publisher_minutes(parse(config)) * 60 >= max(3 * pause, 3 * 3_600)
    assert publisher_minutes(parse(CONFIG | {"minTasks": 0})) == 1


# -- observability


def test_the_publisher_reports_under_the_names_that_scaling_reads() -> None:
    from workers import publisher

    source = inspect.getsource(publisher)
    assert all(f'"{name}": (' in source for name in ("Backlog", "OldestPendingAge"))


def test_failed_deployments_of_our_service_are_counted(fargate: Record) -> None:
    (rule,) = fargate.all("aws:cloudwatch/eventRule:EventRule")
    pattern = json.loads(rule.inputs["eventPattern"])
    service = f"service/{fargate.outputs['clusterName']}/{fargate.outputs['serviceName']}"
    assert pattern["resources"] == [f"arn:aws:ecs:{REGION}:{ACCOUNT}:{service}"]
    assert pattern["detail"] == {"eventName": ["SERVICE_DEPLOYMENT_FAILED"]}
    (target,) = fargate.all("aws:cloudwatch/eventTarget:EventTarget")
    group = fargate.one("aws:cloudwatch/logGroup:LogGroup", "deployments")
    assert (target.inputs["rule"], target.inputs["arn"]) == (rule.outputs["name"], group.outputs["arn"])
    (policy,) = fargate.all("aws:cloudwatch/logResourcePolicy:LogResourcePolicy")
    streams, events = json.loads(policy.inputs["policyDocument"])["Statement"]
    assert {streams["Resource"], events["Resource"]} == {f"{group.outputs['arn']}:*"}
    # a stream is made without saying for whom; only then do events come, which name their rule
    assert (streams["Action"], streams.get("Condition")) == (["logs:CreateLogStream"], None)
    assert events["Action"] == ["logs:PutLogEvents"]
    assert events["Condition"] == {"ArnEquals": {"aws:SourceArn": rule.outputs["arn"]}}
    assert fargate.one(ALARM, "deployment-failed").inputs["dimensions"] == {"RuleName": rule.outputs["name"]}
    assert group.inputs["name"].startswith("/aws/events/")  # where EventBridge may write to
    assert PROJECT in group.inputs["name"]


def test_a_switch_keeps_what_a_person_put_in_by_hand(records: dict[str, Record]) -> None:
    """Pulumi knows a resource by its URN: what both alternatives have under one name stays on a switch."""

    def urns(stack: str) -> set[str]:
        kept = ("Secret", "Eip", "Key", "Topic", "TopicSubscription", "Vpc")
        return {
            resource.urn.split("::", 2)[2]
            for resource in records[stack].resources
            if resource.type.rpartition(":")[2] in kept and resource.name != "desk-login"  # the migrations fill it
        }

    assert urns("prod") == urns("fargate-prod")
    assert any("Secret" in urn for urn in urns("prod"))
