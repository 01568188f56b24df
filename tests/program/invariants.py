"""What holds for every resource of every stack. Each row says what is wrong with a record, and how to make it so:
`test_invariants.py` wants no complaint about the program, and one about each sabotage."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from analysis.graph import PROVIDER, Record, Recorded
from components.protection import HOLDERS, SPARED
from components.settings import PROJECT, RETENTION_DAYS
from components.tags import COMPONENT, takes_tags
from workers.domain.transaction import CANARY

Complaints = Iterator[str]

SHARED = ("encryption", "datastore", "network", "compute", "observability", "operators", "queries", "desk")
COMPONENTS = {
    "serverless": {*SHARED},
    "fargate": {*SHARED, "deployments", "scaling"},
}
OPTIONAL_COMPONENTS = ("backup", "budget", "channels", "experiments")  # by environment, by setting
SLEEPERS_COMPONENT = "publisher"  # of fargate stacks with minTasks 0
TAGS = {"Project", "Stack", "Environment", "Alternative", "Owner", "CostCenter"}

FUNCTION = "aws:lambda/function:Function"
BUCKET = "aws:s3/bucket:Bucket"
STATE_MACHINE = "aws:sfn/stateMachine:StateMachine"
SCHEDULE = "aws:scheduler/schedule:Schedule"
TABLE = "aws:dynamodb/table:Table"
QUEUE = "aws:sqs/queue:Queue"
COMPONENT_NAMES = {*COMPONENTS["serverless"], *COMPONENTS["fargate"], *OPTIONAL_COMPONENTS, SLEEPERS_COMPONENT}
COMPOSITE = "aws:cloudwatch/compositeAlarm:CompositeAlarm"
ONE_OFF = "pulumi-python:dynamic/confirm-transactions:OneOffTask"

FUNCTIONS = ("plan", "confirm", "report", "publisher", "desk-maker", "desk-checker")
NETWORK_FAULTS = ("zone-lost", "network-lost", "dynamodb-unreachable", "s3-unreachable", "images-unreachable")
WILDCARDS = {
    # who, statement: why the resource cannot be named
    **{(function, "Trace"): "X-Ray has no resources" for function in FUNCTIONS},
    ("state-machine", "Trace"): "X-Ray has no resources",
    ("worker-task", "Trace"): "X-Ray has no resources",
    **{(function, "NetworkInterfaces"): "made by Lambda, nameless beforehand" for function in FUNCTIONS},
    ("state-machine", "DeliverLogs"): "log deliveries have no resources",
    ("flow-logs", "FindLogGroups"): "groups are listed as a whole",
    **{
        (f"experiment-{name}", "DeliverLogs"): "log deliveries have no resources"
        for name in (*NETWORK_FAULTS, "task-stopped", "all-tasks-stopped", "database-restarted", "database-failover")
    },
    **{(f"experiment-{name}", "LookAround"): "EC2 lists without resources" for name in NETWORK_FAULTS},
    **{
        (f"experiment-{name}", "FindTasks"): "the cluster is a condition"
        for name in ("task-stopped", "all-tasks-stopped")
    },
    ("slack", "DrawAlarms"): "metrics have no resources",
    ("worker-execution", "LogInToTheRegistry"): "a login is for the whole registry",
    ("migrations-execution", "LogInToTheRegistry"): "a login is for the whole registry",
}

TRACING = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
WRITE_LOGS = {"logs:CreateLogStream", "logs:PutLogEvents"}
EVERY_FUNCTION = TRACING | WRITE_LOGS | {
    "ec2:AssignPrivateIpAddresses", "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets", "ec2:UnassignPrivateIpAddresses",
}  # fmt: skip
PULL = {
    "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetAuthorizationToken", "ecr:GetDownloadUrlForLayer",
}  # fmt: skip
FLOW_LOGS = {"logs:CreateLogStream", "logs:DescribeLogGroups", "logs:DescribeLogStreams", "logs:PutLogEvents"}
DELIVER_LOGS = {
    "logs:CreateLogDelivery", "logs:DescribeLogGroups", "logs:DescribeResourcePolicies", "logs:PutResourcePolicy",
}  # fmt: skip
CUT = DELIVER_LOGS | {
    "ec2:CreateNetworkAcl", "ec2:CreateNetworkAclEntry", "ec2:CreateTags", "ec2:DeleteNetworkAcl",
    "ec2:DescribeManagedPrefixLists", "ec2:DescribeNetworkAcls", "ec2:DescribeSubnets", "ec2:DescribeVpcs",
    "ec2:GetManagedPrefixListEntries", "ec2:ReplaceNetworkAclAssociation",
}  # fmt: skip
STOP_TASKS = DELIVER_LOGS | {"ecs:DescribeTasks", "ecs:ListTasks", "ecs:StopTask"}
VAULT = {
    "backup:CopyIntoBackupVault", "backup:DescribeBackupVault", "backup:TagResource", "kms:CreateGrant",
    "kms:DescribeKey",
}  # fmt: skip
READ_SECRET = {"kms:Decrypt", "secretsmanager:GetSecretValue"}
DESK = {"iam:GetRole"}
DRAW_ALARMS = {
    "cloudwatch:DescribeAlarmHistory", "cloudwatch:DescribeAlarms", "cloudwatch:GetMetricData",
    "cloudwatch:GetMetricStatistics", "cloudwatch:GetMetricWidgetImage", "cloudwatch:ListMetrics",
}  # fmt: skip
GRANTS = {
    "serverless": {
        "plan": EVERY_FUNCTION | {
            "dynamodb:BatchGetItem", "dynamodb:PartiQLUpdate", "dynamodb:Query", "dynamodb:UpdateItem", "kms:Decrypt",
            "kms:GenerateDataKey", "s3:PutObject",
        },
        "confirm": EVERY_FUNCTION | READ_SECRET
        | {"dynamodb:BatchGetItem", "dynamodb:PartiQLUpdate", "dynamodb:UpdateItem"},
        "report": EVERY_FUNCTION | {"dynamodb:Query", "dynamodb:UpdateItem", "kms:Decrypt"},
        "state-machine": TRACING | {
            "dynamodb:UpdateItem", "kms:Decrypt", "lambda:InvokeFunction", "s3:GetObject", "states:DescribeExecution",
            "states:RedriveExecution", "states:StartExecution", "states:StopExecution", "logs:CreateLogDelivery",
            "logs:DeleteLogDelivery", "logs:DescribeLogGroups", "logs:DescribeResourcePolicies", "logs:GetLogDelivery",
            "logs:ListLogDeliveries", "logs:PutResourcePolicy", "logs:UpdateLogDelivery", "xray:GetSamplingRules",
            "xray:GetSamplingTargets",
        },
        "desk-maker": EVERY_FUNCTION | DESK
        | {"dynamodb:BatchGetItem", "dynamodb:PutItem", "dynamodb:Query", "kms:Decrypt"},
        "desk-checker": EVERY_FUNCTION | DESK
        | {"dynamodb:BatchGetItem", "dynamodb:PartiQLUpdate", "dynamodb:PutItem", "kms:Decrypt"},
        "scheduler": {"sqs:SendMessage", "states:StartExecution"},
        "backup": VAULT | {
            "dynamodb:DescribeTable", "dynamodb:ListTagsOfResource", "dynamodb:StartAwsBackupJob", "kms:Decrypt",
            "kms:GenerateDataKey",
        },
        "flow-logs": FLOW_LOGS,
        "slack": DRAW_ALARMS,
        **{f"experiment-{name}": CUT for name in NETWORK_FAULTS[:4]},
    },
    "fargate": {
        "worker-payments": READ_SECRET | {"rds-db:connect"},
        "worker-task": TRACING | {"sts:AssumeRole"},
        "worker-execution": PULL | WRITE_LOGS,
        "migrations-execution": PULL | WRITE_LOGS | READ_SECRET,
        "migrations": {"secretsmanager:PutSecretValue", "kms:Decrypt", "kms:GenerateDataKey"},
        **{f"experiment-{name}": CUT for name in ("zone-lost", "network-lost", "images-unreachable")},
        "experiment-task-stopped": STOP_TASKS,
        "experiment-all-tasks-stopped": STOP_TASKS,
        "experiment-database-restarted": DELIVER_LOGS | {"rds:DescribeDBInstances", "rds:RebootDBInstance"},
        "experiment-database-failover": DELIVER_LOGS | {"rds:DescribeDBClusters", "rds:FailoverDBCluster"},
        "desk-maker": EVERY_FUNCTION | DESK | READ_SECRET | {"rds-data:ExecuteStatement"},
        "desk-checker": EVERY_FUNCTION | DESK | READ_SECRET | {"rds-data:ExecuteStatement"},
        "publisher": EVERY_FUNCTION | READ_SECRET | {"rds-data:ExecuteStatement"},
        "scheduler": {"sqs:SendMessage", "lambda:InvokeFunction"},
        "backup": VAULT | {
            "rds:AddTagsToResource", "rds:CopyDBClusterSnapshot", "rds:CreateDBClusterSnapshot",
            "rds:DeleteDBClusterSnapshot", "rds:DescribeDBClusterSnapshots", "rds:DescribeDBClusters",
            "rds:ListTagsForResource", "rds:ModifyDBClusterSnapshotAttribute",
        },
        "flow-logs": FLOW_LOGS,
        "slack": DRAW_ALARMS,
    },
}  # fmt: skip
"""All that each role may do."""

LENGTHS = {
    # a type: {input: AWS's limit in characters}
    "aws:cloudwatch/compositeAlarm:CompositeAlarm": {"alarmName": 255, "alarmDescription": 1024, "alarmRule": 10_240},
    "aws:cloudwatch/dashboard:Dashboard": {"dashboardName": 255},
    "aws:cloudwatch/eventRule:EventRule": {"description": 512, "eventPattern": 4096},
    "aws:cloudwatch/logResourcePolicy:LogResourcePolicy": {"policyName": 512, "policyDocument": 5120},
    "aws:ec2/securityGroup:SecurityGroup": {"description": 255},
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": {"policy": 30_720},
    "aws:ecs/cluster:Cluster": {"name": 255},
    "aws:ecs/taskDefinition:TaskDefinition": {"family": 255, "containerDefinitions": 60_000},
    "aws:rds/cluster:Cluster": {"clusterIdentifier": 63, "masterUsername": 63, "databaseName": 63},
    "aws:cloudwatch/logGroup:LogGroup": {"name": 512},
    "aws:cloudwatch/metricAlarm:MetricAlarm": {"name": 255, "alarmDescription": 1024},
    "aws:iam/role:Role": {"description": 1000, "assumeRolePolicy": 2048},
    "aws:iam/rolePolicy:RolePolicy": {"policy": 10_240},
    "aws:kms/alias:Alias": {"name": 256},
    "aws:kms/key:Key": {"description": 8192, "policy": 32_768},
    "aws:lambda/function:Function": {"description": 256},
    "aws:scheduler/schedule:Schedule": {"description": 512, "scheduleExpression": 256},
    "aws:secretsmanager/secret:Secret": {"description": 2048},
    "aws:sfn/stateMachine:StateMachine": {"name": 80, "definition": 1_000_000},
    "aws:s3/bucketPolicy:BucketPolicy": {"policy": 20_480},
    "aws:sns/topicPolicy:TopicPolicy": {"policy": 30_720},
}
AUTONAME_LIMITS = {
    # a type: AWS's limit for the name that Pulumi makes, the logical name and 8 more characters
    "aws:cloudwatch/eventRule:EventRule": 64,
    "aws:ecr/repository:Repository": 256,
    "aws:iam/role:Role": 64,
    "aws:lambda/function:Function": 64,
    "aws:s3/bucket:Bucket": 63,
    "aws:scheduler/schedule:Schedule": 64,
    "aws:scheduler/scheduleGroup:ScheduleGroup": 64,
    "aws:sqs/queue:Queue": 80,
}
TLS_PORTS = (443, 8443)  # AWS's, and that of the gateway in the stacks `extremes`
DATABASE_PORT = 5433
PLAIN_TEXT = r"[a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]*"  # all that EC2 takes in a description


MASK = "aws:cloudwatch/logDataProtectionPolicy:LogDataProtectionPolicy"


@dataclass(frozen=True, slots=True)
class Invariant:
    name: str
    complaints: Callable[[Record], Complaints]
    sabotage: Callable[[Record], None]
    """Makes a copy of the record wrong."""
    about: str = PROVIDER
    """The type that it is about; stacks without it have nothing to keep."""


def at(resource: Recorded, path: str) -> Any:
    value: Any = resource.inputs
    for part in path.split("."):
        value = value[int(part)] if isinstance(value, list) else (value or {}).get(part)
    return value


def put(type_: str, path: str, value: object, name: str | None = None) -> Callable[[Record], None]:
    """A sabotage: one input of one resource of a type set to `value` (None: taken away)."""

    def spoil(record: Record) -> None:
        found = record.all(type_)
        resource = found[0] if name is None else record.one(type_, name)
        *parents, last = path.split(".")
        target: Any = resource.inputs
        for part in parents:
            target = target[int(part)] if isinstance(target, list) else target[part]
        assert last in target, f"{resource} has no {path} to spoil"
        if value is None:
            del target[last]
        else:
            target[last] = value

    return spoil


def drop(type_: str) -> Callable[[Record], None]:
    def spoil(record: Record) -> None:
        record.resources.remove(record.all(type_)[0])

    return spoil


def policy(key: str, value: object, name: str = "flow-logs") -> Callable[[Record], None]:
    """A sabotage: one member of the first statement of a role's policy."""

    def spoil(record: Record) -> None:
        resource = record.one("aws:iam/rolePolicy:RolePolicy", name)
        document = json.loads(resource.inputs["policy"])
        document["Statement"][0][key] = value
        resource.inputs["policy"] = json.dumps(document)

    return spoil


def expect(type_: str, path: str, wanted: object) -> Callable[[Record], Complaints]:
    """The check that an input has one value in every resource of a type."""

    def complain(record: Record) -> Complaints:
        for resource in record.all(type_):
            found = at(resource, path)
            if found != wanted:
                yield f"{resource}: {path} is {found!r}, not {wanted!r}"

    return complain


def statements(record: Record, type_: str) -> Iterator[tuple[Recorded, dict[str, Any]]]:
    for resource in record.all(type_):
        for statement in json.loads(resource.inputs["policy"])["Statement"]:
            yield resource, statement


def listed(value: object) -> list[str]:
    return [value] if isinstance(value, str) else list(value)  # type: ignore[call-overload]


def log_groups_are_kept_and_sealed(record: Record) -> Complaints:
    for group in record.all("aws:cloudwatch/logGroup:LogGroup"):
        if group.inputs.get("retentionInDays") not in RETENTION_DAYS:
            yield f"{group} keeps its lines for ever"
        if not group.inputs.get("kmsKeyId"):
            yield f"{group} has no key"


def log_groups_are_masked(record: Record) -> Complaints:
    """Where any is, all are that a line of ours, of the database or of a container may come to."""
    policies = {one.inputs["logGroupName"]: one.inputs["policyDocument"] for one in record.all(MASK)}
    for group in record.all("aws:cloudwatch/logGroup:LogGroup"):
        if group.name in ("flow-logs", "experiments"):  # of addresses and of experiments, by AWS itself
            continue
        document = json.loads(policies.get(group.outputs["name"], '{"Statement": []}'))
        found = {next(iter(one["Operation"])): set(one["DataIdentifier"]) for one in document["Statement"]}
        if not any(one.endswith("/CreditCardNumber") for one in found.get("Deidentify", ())):
            yield f"{group} masks no card"
        elif found.get("Audit") != found["Deidentify"]:
            yield f"{group}: AWS wants the same in both statements"


def functions_write_to_our_groups(record: Record) -> Complaints:
    groups = {group.outputs["name"] for group in record.all("aws:cloudwatch/logGroup:LogGroup")}
    for function in record.some("aws:lambda/function:Function"):
        if at(function, "loggingConfig.logGroup") not in groups:
            yield f"{function} writes to a group that Lambda makes, without retention and key"


def buckets_are_closed(record: Record) -> Complaints:
    by_bucket: dict[str, dict[str, Recorded]] = {}
    for resource in record.resources:
        if resource.type.startswith("aws:s3/bucket") and "bucket" in resource.inputs:
            by_bucket.setdefault(resource.inputs["bucket"], {})[resource.type.rsplit(":")[-1]] = resource
    for bucket in record.some("aws:s3/bucket:Bucket"):
        about = by_bucket.get(bucket.outputs["bucket"], {})
        block = about.get("BucketPublicAccessBlock")
        switches = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
        if block is None or not all(block.inputs.get(switch) is True for switch in switches):
            yield f"{bucket} may become public"
        sealed = about.get("BucketServerSideEncryptionConfiguration")
        default = "rules.0.applyServerSideEncryptionByDefault"
        if sealed is None or not at(sealed, f"{default}.kmsMasterKeyId"):
            yield f"{bucket} has no key of ours"
        expiry = about.get("BucketLifecycleConfiguration")
        if expiry is None or at(expiry, "rules.0.expiration.days") is None:
            yield f"{bucket} keeps objects for ever"
        policy = about.get("BucketPolicy")
        if policy is None or not _refuses_plain_http(policy):
            yield f"{bucket} answers without TLS"


def _refuses_plain_http(resource: Recorded) -> bool:
    return any(
        statement["Effect"] == "Deny"
        and statement["Principal"] == "*"
        and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        for statement in json.loads(resource.inputs["policy"])["Statement"]
    )


def queue_and_topic_speak_tls(record: Record) -> Complaints:
    for type_ in ("aws:sqs/queuePolicy:QueuePolicy", "aws:sns/topicPolicy:TopicPolicy"):
        for policy in record.some(type_):
            if not _refuses_plain_http(policy):
                yield f"{policy} answers without TLS"


def no_action_is_a_wildcard(record: Record) -> Complaints:
    for where, document in record.policies():
        for statement in document["Statement"]:
            if statement["Effect"] == "Allow" and any("*" in action for action in listed(statement["Action"])):
                yield f"{where}: {statement['Action']}"


def wildcard_resources_have_reasons(record: Record) -> Complaints:
    for policy, statement in statements(record, "aws:iam/rolePolicy:RolePolicy"):
        if "*" in listed(statement["Resource"]) and (policy.name, statement["Sid"]) not in WILDCARDS:
            yield f"{policy} {statement['Sid']}"


def sends_canaries(record: Record) -> bool:
    return "nothing-comes-through" in {page.name for page in record.all("aws:cloudwatch/compositeAlarm:CompositeAlarm")}


def roles_may_what_they_need_and_no_more(record: Record) -> Complaints:
    granted: dict[str, set[str]] = {}
    for policy, statement in statements(record, "aws:iam/rolePolicy:RolePolicy"):
        granted.setdefault(policy.name, set()).update(listed(statement["Action"]))
    for role in record.all("aws:iam/role:Role"):
        wanted = GRANTS[record.alternative].get(role.name, set())
        if role.name == "plan" and sends_canaries(record):
            wanted = wanted | {"dynamodb:PutItem"}
        found = granted.pop(role.name, set())
        if found != wanted:
            yield f"{role}: too much {sorted(found - wanted)}, missing {sorted(wanted - found)}"
    if granted:
        yield f"policies of roles that are not there: {sorted(granted)}"
    attached = [r for r in record.resources if "olicyAttachment" in r.type]
    if attached:
        yield f"managed policies: {[str(resource) for resource in attached]}"


SOURCELESS = ("lambda.amazonaws.com", "backup.amazonaws.com", "chatbot.amazonaws.com")


def roles_serve_us_alone(record: Record) -> Complaints:
    """Lambda and AWS Backup send no source with their request, and Amazon Q in chat documents none; every other service
    does."""
    for role in record.all("aws:iam/role:Role"):
        (trust,) = json.loads(role.inputs["assumeRolePolicy"])["Statement"]
        if "AWS" in trust["Principal"]:  # a role of ours, which says the word
            if trust["Principal"]["AWS"] not in {one.outputs["arn"] for one in record.all("aws:iam/role:Role")}:
                yield f"{role} opens to others than a role of ours"
            if not trust.get("Condition", {}).get("StringEquals", {}).get("sts:ExternalId"):
                yield f"{role} opens without a word"
            continue
        if trust["Principal"]["Service"] in SOURCELESS:
            continue
        condition = trust.get("Condition", {})
        if not condition.get("StringEquals", {}).get("aws:SourceAccount"):
            yield f"{role} serves other accounts too"
        if "aws:SourceArn" not in condition.get("ArnLike", {}):
            yield f"{role} serves any resource"


def roles_are_used_once(record: Record) -> Complaints:
    uses = json.dumps(
        [
            resource.inputs
            for resource in record.resources
            if not resource.type.startswith("aws:iam") and resource.custom
        ],
        default=str,
    )
    uses = uses.replace("\\", "")  # a document within a document
    for role in record.all("aws:iam/role:Role"):
        count = uses.count(f'"{role.outputs["arn"]}"')
        if count != 1:
            yield f"{role} is used {count} times"


def grants_come_before_use(record: Record) -> Complaints:
    """AWS checks the permission when the function, the machine, the schedule is made, not only when it runs."""
    policies = {policy.name: policy.urn for policy in record.all("aws:iam/rolePolicy:RolePolicy")}
    users: dict[str, tuple[str, ...]] = {
        "aws:lambda/function:Function": ("{name}",),
        "aws:sfn/stateMachine:StateMachine": ("state-machine",),
        "aws:scheduler/schedule:Schedule": ("scheduler",),
        "aws:ec2/flowLog:FlowLog": ("flow-logs",),
        "aws:ecs/service:Service": ("worker-payments", "worker-task", "worker-execution"),
        "aws:backup/selection:Selection": ("backup",),
        "aws:fis/experimentTemplate:ExperimentTemplate": ("experiment-{name}",),
        ONE_OFF: ("migrations-execution",),
    }
    for type_, roles in users.items():
        for resource in record.some(type_):
            for role in roles:
                if policies[role.format(name=resource.name)] not in resource.dependencies:
                    yield f"{resource} may be made before {role.format(name=resource.name)} may anything"


def lock_grants_end_at_the_lock(record: Record) -> Complaints:
    for policy, statement in statements(record, "aws:iam/rolePolicy:RolePolicy"):
        if "dynamodb:UpdateItem" in listed(statement["Action"]):
            keys = statement.get("Condition", {}).get("ForAllValues:StringEquals", {}).get("dynamodb:LeadingKeys")
            if keys not in (["#run"], ["#shares"]):
                yield f"{policy} {statement['Sid']} may write transactions"
        if "dynamodb:PutItem" in listed(statement["Action"]):
            keys = statement.get("Condition", {}).get("ForAllValues:StringLike", {}).get("dynamodb:LeadingKeys")
            desks = policy.name.startswith("desk-") and keys == ["#request#*"]
            if keys != [f"{CANARY}*"] and not desks:
                yield f"{policy} {statement['Sid']} may bring transactions in"


def everything_is_tagged(record: Record) -> Complaints:
    (provider,) = record.all(PROVIDER)
    tags = provider.inputs["defaultTags"]
    tags = json.loads(tags) if isinstance(tags, str) else tags
    if {key for key, value in tags["tags"].items() if value} != TAGS:
        yield f"the provider tags with {tags}"
    for resource in record.resources:
        if resource.type.split(":")[0] in ("aws", "awsx") and not resource.provider.startswith(provider.urn):
            yield f"{resource} goes through {resource.provider or 'the default provider'}, without our tags"
        if takes_tags(resource.type) and (resource.inputs.get("tags") or {}).get(COMPONENT) not in COMPONENT_NAMES:
            yield f"{resource} does not say which component it is of"


def names_fit(record: Record) -> Complaints:
    for type_, limits in LENGTHS.items():
        for resource in record.some(type_):
            for key, limit in limits.items():
                length = len(resource.inputs[key])
                if length > limit:
                    yield f"{resource}: {key} has {length} characters of {limit}"
    for type_, limit in AUTONAME_LIMITS.items():
        for resource in record.some(type_):
            if len(resource.name) + 8 > limit:
                yield f"{resource}: its name will be too long"


def machine_name_is_plain(record: Record) -> Complaints:
    for machine in record.some("aws:sfn/stateMachine:StateMachine"):
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,80}", machine.inputs["name"]):
            yield f"{machine}: {machine.inputs['name']}"


def ec2_takes_the_descriptions(record: Record) -> Complaints:
    for group in record.all("aws:ec2/securityGroup:SecurityGroup"):
        rules = [*group.inputs["ingress"], *group.inputs["egress"]]
        for text in (group.inputs["description"], *(rule["description"] for rule in rules)):
            if not re.fullmatch(PLAIN_TEXT, text):
                yield f"{group}: {text}"


def environments_fit_and_hold_no_secret(record: Record) -> Complaints:
    for function in record.some("aws:lambda/function:Function"):
        variables = at(function, "environment.variables")
        size = sum(len(key) + len(value) for key, value in variables.items())
        if size > 4096:
            yield f"{function}: {size} bytes of environment, 4,096 are allowed"
        if any(key.startswith(("AWS_", "LAMBDA_")) for key in variables):
            yield f"{function} sets a name that Lambda keeps for itself"
        if any(re.search("PASSWORD|TOKEN|API_KEY|SECRET(?!_ARN)", key) for key in variables):
            yield f"{function} carries a secret"


def functions_are_as_agreed(record: Record) -> Complaints:
    wanted = {
        "runtime": "python3.13",
        "architectures": ["arm64"],
        "tracingConfig.mode": "Active",
        "loggingConfig.logFormat": "JSON",
    }
    for function in record.some("aws:lambda/function:Function"):
        for path, value in wanted.items():
            if at(function, path) != value:
                yield f"{function}: {path} is {at(function, path)}"
        if not at(function, "vpcConfig.subnetIds") or not at(function, "vpcConfig.securityGroupIds"):
            yield f"{function} is outside the VPC"
        if not 10 <= function.inputs["timeout"] <= 900:
            yield f"{function}: time-out {function.inputs['timeout']}"


def nothing_comes_in(record: Record) -> Complaints:
    for group in record.all("aws:ec2/securityGroup:SecurityGroup"):
        for rule in group.inputs["ingress"]:
            if rule.get("cidrBlocks") or rule.get("ipv6CidrBlocks") or rule.get("prefixListIds"):
                yield f"{group} lets addresses in"
        for rule in group.inputs["egress"]:
            one = rule["protocol"] == "tcp" and rule["fromPort"] == rule["toPort"]
            inside = rule["toPort"] == DATABASE_PORT and rule["cidrBlocks"] == ["10.0.0.0/16"]
            if not one or not (rule["toPort"] in TLS_PORTS or inside):
                yield f"{group} lets more out than TLS"
    for group in record.all("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup"):
        if group.inputs.get("ingress") or group.inputs.get("egress"):
            yield f"{group} is open"


def _for_people(record: Record) -> list[Recorded]:
    """All alarms but those that scaling acts on."""
    alarms = record.all("aws:cloudwatch/metricAlarm:MetricAlarm")
    return [alarm for alarm in alarms if alarm.name != "scale-out"]


def alarms_reach_the_topic(record: Record) -> Complaints:
    """Pages to one topic, notices to the other."""
    for topic, alarms in (("alarms", record.all(COMPOSITE)), ("notices", _for_people(record))):
        arn = record.one("aws:sns/topic:Topic", topic).outputs["arn"]
        for alarm in alarms:
            for key in ("alarmActions", "okActions"):
                if alarm.inputs.get(key) != [arn]:
                    yield f"{alarm} has no {key}"


def alarms_say_what_to_do(record: Record) -> Complaints:
    text = r"\[{}\] .{{40,}} Runbook: docs/runbooks/[a-z-]+\.md"
    for alarm in record.all(COMPOSITE):
        if not re.fullmatch(text.format("page"), alarm.inputs.get("alarmDescription") or ""):
            yield f"{alarm} does not"
    for alarm in record.all("aws:cloudwatch/metricAlarm:MetricAlarm"):
        allowed = r"\[scaling\] .{40,}" if alarm.name == "scale-out" else text.format("inform")
        if not re.fullmatch(allowed, alarm.inputs.get("alarmDescription") or ""):
            yield f"{alarm} does not"
        queries = alarm.inputs.get("metricQueries") or ()
        (period,) = {q["metric"]["period"] for q in queries if "metric" in q} or {alarm.inputs.get("period")}
        if period % 60 or period * alarm.inputs["evaluationPeriods"] > 86_400:
            yield f"{alarm}: CloudWatch takes whole minutes, a day at most"
        if alarm.inputs.get("treatMissingData") not in ("notBreaching", "breaching"):
            yield f"{alarm} does not say what no data means"


def components_hold_everything(record: Record) -> Complaints:
    stack = next(resource.urn for resource in record.resources if resource.type == "pulumi:pulumi:Stack")
    found = {resource.type for resource in record.resources if resource.type.startswith(PROJECT)}
    modules = set(COMPONENTS[record.alternative])
    if record.alternative == "fargate" and any(one.name == "publisher" for one in record.some(FUNCTION)):
        modules.add(SLEEPERS_COMPONENT)
    modules |= {name for name in OPTIONAL_COMPONENTS if f"{PROJECT}:{name}:{name.capitalize()}" in found}
    wanted = {f"{PROJECT}:{module}:{module.capitalize()}" for module in modules}
    if found != wanted:
        yield f"type tokens changed, which replaces everything: {sorted(found ^ wanted)}"
    for resource in record.resources:
        top = resource.type.startswith((PROJECT, "pulumi:"))
        if not top and resource.parent in ("", stack):
            yield f"{resource} has no parent"


def schedule_gives_up_and_tells(record: Record) -> Complaints:
    for schedule in record.some("aws:scheduler/schedule:Schedule"):
        policy = at(schedule, "target.retryPolicy") or {}
        if not 0 < policy.get("maximumRetryAttempts", 185) <= 10:
            yield f"{schedule} retries for ever"
        if not at(schedule, "target.deadLetterConfig.arn"):
            yield f"{schedule} forgets what failed"


def data_is_sealed_with_our_key(record: Record) -> Complaints:
    paths = {
        "aws:dynamodb/table:Table": "serverSideEncryption.kmsKeyArn",
        "aws:secretsmanager/secret:Secret": "kmsKeyId",
        "aws:sns/topic:Topic": "kmsMasterKeyId",
        "aws:ecr/repository:Repository": "encryptionConfigurations.0.kmsKey",
        "aws:backup/vault:Vault": "kmsKeyArn",
        "aws:lambda/function:Function": "kmsKeyArn",
        "aws:rds/cluster:Cluster": "kmsKeyId",
    }
    keys = {key.outputs["arn"] for key in record.all("aws:kms/key:Key")}
    for type_, path in paths.items():
        for resource in record.some(type_):
            if at(resource, path) not in keys:
                yield f"{resource}: {path} is {at(resource, path)}"
    for queue in record.some("aws:sqs/queue:Queue"):
        if queue.inputs.get("sqsManagedSseEnabled") is not True:
            yield f"{queue} is in clear"
    if any(resource.type.endswith(":SecretVersion") for resource in record.resources):
        yield "a secret's value is in the state file"


def key_policies_trust_this_account(record: Record) -> Complaints:
    """The one principal beside AWS's services is the account itself; services come with a condition."""
    for key, statement in statements(record, "aws:kms/key:Key"):
        principal, condition = statement["Principal"], statement.get("Condition")
        if not isinstance(principal, dict) or ("Service" in principal and not condition):
            yield f"{key} {statement['Sid']} trusts anybody"
        if statement["Sid"] != "Administration" and not condition:
            yield f"{key} {statement['Sid']} is without condition"
        if statement["Sid"] == "Administration" and "kms:Decrypt" in statement["Action"]:
            yield f"{key}: administration can read"


def what_holds_something_is_protected(record: Record) -> Complaints:
    """All of it where the table or the database has AWS's own protection, and nothing where it has not."""
    (store,) = [*record.some(TABLE), *record.some("aws:rds/cluster:Cluster")]
    wanted = bool(store.inputs.get("deletionProtectionEnabled") or store.inputs.get("deletionProtection"))
    for resource in record.resources:
        if resource.protect != (wanted and resource.type in HOLDERS and resource.name not in SPARED):
            yield f"{resource}: protect is {resource.protect}"


def index_is_sparse_and_lean(record: Record) -> Complaints:
    for table in record.some("aws:dynamodb/table:Table"):
        (index,) = table.inputs["globalSecondaryIndexes"]
        keys = (index.get("hashKey"), index.get("rangeKey"), index.get("projectionType"))
        if keys != ("pending_shard", "next_attempt_at", "KEYS_ONLY"):
            yield f"{table}: {keys} costs a write more per claim"


_WRITES = "aws:iam/rolePolicy:RolePolicy"
INVARIANTS = (
    Invariant(
        "log groups have retention and a key",
        log_groups_are_kept_and_sealed,
        put("aws:cloudwatch/logGroup:LogGroup", "retentionInDays", None),
    ),
    Invariant("log groups are masked", log_groups_are_masked, put(MASK, "logGroupName", "/another"), MASK),
    Invariant(
        "log groups have a key",
        log_groups_are_kept_and_sealed,
        put("aws:cloudwatch/logGroup:LogGroup", "kmsKeyId", None),
    ),
    Invariant(
        "functions write to our log groups",
        functions_write_to_our_groups,
        put("aws:lambda/function:Function", "loggingConfig.logGroup", "/aws/lambda/plan"),
        about=FUNCTION,
    ),
    Invariant(
        "buckets block public access",
        buckets_are_closed,
        put("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", "blockPublicAcls", False),
        about=BUCKET,
    ),
    Invariant(
        "buckets have our key",
        buckets_are_closed,
        drop("aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"),
        about=BUCKET,
    ),
    Invariant(
        "buckets expire",
        buckets_are_closed,
        drop("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"),
        about=BUCKET,
    ),
    Invariant(
        "buckets want TLS",
        buckets_are_closed,
        drop("aws:s3/bucketPolicy:BucketPolicy"),
        about=BUCKET,
    ),
    Invariant(
        "queue and topic want TLS",
        queue_and_topic_speak_tls,
        put("aws:sqs/queuePolicy:QueuePolicy", "policy", '{"Statement": []}'),
        about=QUEUE,
    ),
    Invariant("no action is a wildcard", no_action_is_a_wildcard, policy("Action", ["s3:*"])),
    Invariant("wildcards have reasons", wildcard_resources_have_reasons, policy("Resource", "*")),
    Invariant("no role may too much", roles_may_what_they_need_and_no_more, policy("Action", "dynamodb:Scan")),
    Invariant("no role lacks its policy", roles_may_what_they_need_and_no_more, drop(_WRITES)),
    Invariant(
        "roles serve this account alone",
        roles_serve_us_alone,
        put(
            "aws:iam/role:Role",
            "assumeRolePolicy",
            json.dumps({"Statement": [{"Principal": {"Service": "vpc-flow-logs.amazonaws.com"}}]}),
            "flow-logs",
        ),
    ),
    Invariant(
        "each role has one user",
        roles_are_used_once,
        lambda record: put(
            "aws:ec2/flowLog:FlowLog",
            "iamRoleArn",
            next(r for r in record.all("aws:iam/role:Role") if r.name != "flow-logs").outputs["arn"],
        )(record),
    ),
    Invariant(
        "functions come after their grants",
        grants_come_before_use,
        lambda record: record.all("aws:lambda/function:Function")[0].dependencies.clear(),
        about=FUNCTION,
    ),
    Invariant(
        "the run comes after its grants",
        grants_come_before_use,
        lambda record: record.all("aws:sfn/stateMachine:StateMachine")[0].dependencies.clear(),
        about=STATE_MACHINE,
    ),
    Invariant(
        "the schedule comes after its grants",
        grants_come_before_use,
        lambda record: record.all("aws:scheduler/schedule:Schedule")[0].dependencies.clear(),
        about=SCHEDULE,
    ),
    Invariant(
        "flow logs come after their grants",
        grants_come_before_use,
        lambda record: record.all("aws:ec2/flowLog:FlowLog")[0].dependencies.clear(),
    ),
    Invariant(
        "only the lock may be written around the core",
        lock_grants_end_at_the_lock,
        policy("Action", ["dynamodb:UpdateItem"], "plan"),
        STATE_MACHINE,
    ),
    Invariant(
        "only canaries may be brought in around producers",
        lock_grants_end_at_the_lock,
        policy("Action", ["dynamodb:PutItem"], "plan"),
        STATE_MACHINE,
    ),
    Invariant("the provider tags", everything_is_tagged, put(PROVIDER, "defaultTags", {"tags": {"Project": "x"}})),
    Invariant(
        "everything goes through the provider that tags",
        everything_is_tagged,
        lambda record: setattr(record.all("awsx:ec2:Vpc")[0], "provider", ""),
    ),
    Invariant(
        "awsx's children say their component",
        everything_is_tagged,
        put("aws:ec2/natGateway:NatGateway", "tags", {"Name": "vpc-1"}),
    ),
    Invariant("names fit", names_fit, put("aws:cloudwatch/metricAlarm:MetricAlarm", "name", "x" * 256)),
    Invariant("policies fit", names_fit, put(_WRITES, "policy", "x" * 10_241)),
    Invariant(
        "the machine's name is plain",
        machine_name_is_plain,
        put("aws:sfn/stateMachine:StateMachine", "name", "a:b"),
        about=STATE_MACHINE,
    ),
    Invariant(
        "EC2 takes the descriptions",
        ec2_takes_the_descriptions,
        put("aws:ec2/securityGroup:SecurityGroup", "description", "the workers’ group"),
    ),
    Invariant(
        "environments fit",
        environments_fit_and_hold_no_secret,
        put("aws:lambda/function:Function", "environment.variables", {"GATEWAY_URL": "x" * 4096}),
        about=FUNCTION,
    ),
    Invariant(
        "environments hold no secret",
        environments_fit_and_hold_no_secret,
        put("aws:lambda/function:Function", "environment.variables", {"GATEWAY_API_KEY": "x"}),
        about=FUNCTION,
    ),
    Invariant(
        "functions are traced",
        functions_are_as_agreed,
        put("aws:lambda/function:Function", "tracingConfig.mode", "PassThrough"),
        about=FUNCTION,
    ),
    Invariant(
        "functions run on arm64",
        functions_are_as_agreed,
        put("aws:lambda/function:Function", "architectures", ["x86_64"]),
        about=FUNCTION,
    ),
    Invariant(
        "functions are inside",
        functions_are_as_agreed,
        put("aws:lambda/function:Function", "vpcConfig.subnetIds", []),
        about=FUNCTION,
    ),
    Invariant(
        "nothing comes in",
        nothing_comes_in,
        put(
            "aws:ec2/securityGroup:SecurityGroup",
            "ingress",
            [{"protocol": "tcp", "fromPort": 443, "toPort": 443, "cidrBlocks": ["0.0.0.0/0"]}],
            "workers",
        ),
    ),
    Invariant(
        "only TLS goes out",
        nothing_comes_in,
        put("aws:ec2/securityGroup:SecurityGroup", "egress.0.toPort", 65_535, "workers"),
    ),
    Invariant(
        "the default group is empty",
        nothing_comes_in,
        put("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup", "egress", [{"protocol": "-1"}]),
    ),
    Invariant(
        "alarms have actions",
        alarms_reach_the_topic,
        put("aws:cloudwatch/metricAlarm:MetricAlarm", "alarmActions", []),
    ),
    Invariant("pages page", alarms_reach_the_topic, put(COMPOSITE, "alarmActions", ["arn:aws:sns:::notices"])),
    Invariant(
        "alarms say what to do",
        alarms_say_what_to_do,
        put("aws:cloudwatch/metricAlarm:MetricAlarm", "alarmDescription", "[page] Alarm"),
    ),
    Invariant(
        "alarms keep CloudWatch's periods",
        alarms_say_what_to_do,
        put("aws:cloudwatch/metricAlarm:MetricAlarm", "period", 90_000, "oldest-pending"),
    ),
    Invariant(
        "components hold everything",
        components_hold_everything,
        lambda record: setattr(record.all("aws:ec2/eip:Eip")[0], "parent", ""),
    ),
    Invariant(
        "the schedule gives up",
        schedule_gives_up_and_tells,
        put("aws:scheduler/schedule:Schedule", "target.retryPolicy", None),
        about=SCHEDULE,
    ),
    Invariant(
        "the schedule tells",
        schedule_gives_up_and_tells,
        put("aws:scheduler/schedule:Schedule", "target.deadLetterConfig", None),
        about=SCHEDULE,
    ),
    Invariant(
        "data is sealed with our key",
        data_is_sealed_with_our_key,
        put("aws:secretsmanager/secret:Secret", "kmsKeyId", "alias/aws/secretsmanager"),
    ),
    Invariant(
        "no secret's value is in the state",
        data_is_sealed_with_our_key,
        lambda record: record.resources.append(
            dataclasses.replace(record.all("aws:secretsmanager/secret:Secret")[0], type="x:SecretVersion")
        ),
    ),
    Invariant(
        "key policies trust this account",
        key_policies_trust_this_account,
        put(
            "aws:kms/key:Key",
            "policy",
            json.dumps({"Statement": [{"Sid": "All", "Principal": "*", "Action": "kms:*"}]}),
        ),
    ),
    Invariant(
        "what holds something is protected",
        what_holds_something_is_protected,
        lambda record: setattr(record.all("aws:cloudwatch/logGroup:LogGroup")[0], "protect", None),
    ),
    Invariant(
        "copies come after their grants",
        grants_come_before_use,
        lambda record: record.all("aws:backup/selection:Selection")[0].dependencies.clear(),
        about="aws:backup/selection:Selection",
    ),
    Invariant(
        "the index is sparse and lean",
        index_is_sparse_and_lean,
        put("aws:dynamodb/table:Table", "globalSecondaryIndexes.0.projectionType", "ALL"),
        about=TABLE,
    ),
    Invariant(
        "keys rotate",
        expect("aws:kms/key:Key", "enableKeyRotation", True),
        put("aws:kms/key:Key", "enableKeyRotation", False),
    ),
    Invariant(
        "the table is on demand",
        expect("aws:dynamodb/table:Table", "billingMode", "PAY_PER_REQUEST"),
        put("aws:dynamodb/table:Table", "billingMode", "PROVISIONED"),
        about=TABLE,
    ),
    Invariant(
        "the run is traced",
        expect("aws:sfn/stateMachine:StateMachine", "tracingConfiguration.enabled", True),
        put("aws:sfn/stateMachine:StateMachine", "tracingConfiguration.enabled", False),
        about=STATE_MACHINE,
    ),
    Invariant(
        "logs of runs hold no data",
        expect("aws:sfn/stateMachine:StateMachine", "loggingConfiguration.includeExecutionData", False),
        put("aws:sfn/stateMachine:StateMachine", "loggingConfiguration.includeExecutionData", True),
        about=STATE_MACHINE,
    ),
    Invariant(
        "the schedule is in UTC",
        expect("aws:scheduler/schedule:Schedule", "scheduleExpressionTimezone", "UTC"),
        put("aws:scheduler/schedule:Schedule", "scheduleExpressionTimezone", "Europe/Berlin"),
        about=SCHEDULE,
    ),
    Invariant(
        "flow logs hold all traffic",
        expect("aws:ec2/flowLog:FlowLog", "trafficType", "ALL"),
        put("aws:ec2/flowLog:FlowLog", "trafficType", "REJECT"),
    ),
)
