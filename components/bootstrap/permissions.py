"""What the pipeline's roles may, as tables: tests hold them to what the program makes, and to an independent linter.

`pulumi preview` and `refresh` read whatever the provider reads, which changes with each of its versions. So reading is
AWS's own managed policy ReadOnlyAccess, less all that is data (`DATA`). Changing is listed here, action by action: on
what bears the program's names, or the tag that its provider puts on everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from components.account import Account
from components.iam import Conditions, Statement
from components.settings import PROJECT

TAG = "Project"
OURS: Conditions = {"StringEquals": {f"aws:ResourceTag/{TAG}": PROJECT}}
"""It has the program's tag."""
NEW: Conditions = {"StringEquals": {f"aws:RequestTag/{TAG}": PROJECT}}
"""It is made with the program's tag."""
NOT_ANOTHERS: Conditions = {"StringEqualsIfExists": {f"aws:ResourceTag/{TAG}": PROJECT}}
"""It has the program's tag, or none of that name: a new key, whose tags take up to five minutes to count, or what AWS
made for the program and tagged with nothing. What else is in the account is safe from Apply by a tag `Project`."""
CLAIMED: Conditions = {**NEW, **NOT_ANOTHERS}
"""The program's tag is put on what is new, or nobody's: never on what is another's."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Actions of one service. `on` are the ends of ARNs: `table/transactions-*`, after partition, region, account."""

    sid: str
    service: str
    actions: str
    """Split by blanks; without the service's prefix."""
    on: Sequence[str] = ()
    conditions: Conditions = field(default_factory=dict)
    reason: str = ""
    """Why `*`, where `on` is empty."""
    of: str = ""
    """The service of the ARNs, where it is another one."""
    through: Sequence[str] = ()
    """Services that may do it for Apply, which may not do it by itself (KMS keys)."""

    def statement(self, account: Account) -> Statement:
        services = [f"{service}.{account.region}.amazonaws.com" for service in self.through]
        return Statement(
            sid=self.sid,
            actions=[f"{self.service}:{action}" for action in self.actions.split()],
            resources=[_arn(account, self.of or self.service, end) for end in self.on] or ["*"],
            conditions={**self.conditions, **({"StringEquals": {"kms:ViaService": services}} if services else {})},
            reason=self.reason,
        )


GLOBAL = {"iam": "::{account}:", "route53": ":::", "s3": ":::"}
"""Services whose ARNs have no region, or neither region nor account."""


def _arn(account: Account, service: str, end: str) -> str:
    where = GLOBAL.get(service, ":{region}:{account}:").format(account=account.id, region=account.region)
    return f"arn:{account.partition}:{service}{where}{end}"


BY_TAG = "its ARN is AWS's own choice; the tag says whose it is"
NO_RESOURCE = "AWS knows no resource to name for these actions"

APPLY: Mapping[str, Sequence[Grant]] = {
    "data": (
        Grant(
            "Tables",
            "dynamodb",
            "CreateTable DeleteTable TagResource UntagResource UpdateContinuousBackups UpdateContributorInsights "
            "UpdateTable UpdateTimeToLive",
            ["table/transactions-*", "table/transactions-*/index/*"],
        ),
        Grant(
            "Databases",
            "rds",
            "AddTagsToResource CreateDBCluster CreateDBClusterParameterGroup CreateDBClusterSnapshot CreateDBInstance "
            "CreateDBParameterGroup CreateDBSubnetGroup DeleteDBCluster DeleteDBClusterParameterGroup DeleteDBInstance "
            "DeleteDBParameterGroup DeleteDBSubnetGroup ModifyDBCluster ModifyDBClusterParameterGroup ModifyDBInstance "
            "ModifyDBParameterGroup ModifyDBSubnetGroup RemoveTagsFromResource "
            "DisableHttpEndpoint EnableHttpEndpoint ResetDBClusterParameterGroup ResetDBParameterGroup",
            [
                *(f"cluster:{PROJECT}-*", f"cluster-snapshot:{PROJECT}-*", f"db:{PROJECT}-*", "db:database-*"),
                *("cluster-pg:database-*", "pg:database-*", "subgrp:database-*", "og:default:*"),
            ],
        ),
        Grant(
            "Buckets",
            "s3",
            "CreateBucket DeleteBucket DeleteBucketPolicy PutBucketPolicy PutBucketPublicAccessBlock PutBucketTagging "
            "PutEncryptionConfiguration PutLifecycleConfiguration TagResource UntagResource",
            ["plans-*"],
        ),
        Grant("BucketsTheirObjects", "s3", "DeleteObject DeleteObjectVersion", ["plans-*/*"]),
        Grant("NewKeys", "kms", "CreateKey", conditions=NEW, reason=BY_TAG),
        Grant("NewKeysTheirTags", "kms", "TagResource", ["key/*"], CLAIMED),  # asked of CreateKey too
        Grant(
            "NewKeysTheirRest",  # PutKeyPolicy: AWS makes no key whose maker could not change its policy
            "kms",
            "CreateAlias EnableKeyRotation PutKeyPolicy",
            ["key/*"],
            NOT_ANOTHERS,
        ),
        Grant(
            "KeysThroughServices",  # functions' environments, secrets, table, database, images and the vault are sealed
            "kms",
            "CreateGrant Decrypt Encrypt GenerateDataKey ReEncryptFrom ReEncryptTo RetireGrant",
            ["key/*"],
            NOT_ANOTHERS,
            through=("backup", "dynamodb", "ecr", "lambda", "rds", "secretsmanager"),
        ),
        Grant(
            "Keys",
            "kms",
            "DeleteAlias DisableKeyRotation ScheduleKeyDeletion TagResource UntagResource UpdateAlias "
            "UpdateKeyDescription",
            ["key/*"],
            OURS,
        ),
        Grant("KeysTheirNames", "kms", "CreateAlias DeleteAlias UpdateAlias", [f"alias/{PROJECT}-*"]),
        Grant(
            "Secrets",
            "secretsmanager",
            "CreateSecret DeleteResourcePolicy DeleteSecret PutResourcePolicy TagResource UntagResource UpdateSecret",
            ["secret:gateway-key-*", "secret:publisher-login-*", "secret:desk-login-*", "secret:rds!cluster-*"],
        ),
        Grant(
            "Backups",
            "backup",
            "CreateBackupVault DeleteBackupVault PutBackupVaultLockConfiguration DeleteBackupVaultLockConfiguration "
            "TagResource UntagResource",
            [f"backup-vault:{PROJECT}-*"],
        ),
        Grant(
            "BackupPlans",
            "backup",
            "CreateBackupPlan CreateBackupSelection DeleteBackupPlan DeleteBackupSelection TagResource UntagResource "
            "UpdateBackupPlan",
            ["backup-plan:*"],
        ),
        Grant("BackupStorage", "backup-storage", "MountCapsule", reason=NO_RESOURCE),
    ),
    "network": (
        Grant(
            "NewParts",
            "ec2",
            "AllocateAddress CreateFlowLogs CreateInternetGateway CreateNatGateway CreateRouteTable "
            "CreateSecurityGroup CreateSubnet CreateVpc CreateVpcEndpoint",
            conditions=NEW,
            reason=BY_TAG,
        ),
        Grant(
            "NewPartsInOurs",  # what a new part is put into, or made of, bears no new tag
            "ec2",
            "CreateNatGateway CreateRouteTable CreateSecurityGroup CreateSubnet CreateVpcEndpoint CreateFlowLogs",
            conditions=OURS,
            reason=BY_TAG,
        ),
        Grant(
            "NewTags",
            "ec2",
            "CreateTags",
            conditions={
                "StringEquals": {
                    "ec2:CreateAction": [
                        *("AllocateAddress", "CreateFlowLogs", "CreateInternetGateway", "CreateNatGateway"),
                        *("CreateRouteTable", "CreateSecurityGroup", "CreateSubnet", "CreateVpc", "CreateVpcEndpoint"),
                    ]
                }
            },
            reason=BY_TAG,
        ),
        Grant(
            # AWS makes it with each VPC, and tags nothing: the provider does, and only then takes its rules away
            "DefaultGroup",
            "ec2",
            "CreateTags",
            ["security-group/*"],
            CLAIMED,
        ),
        Grant("PrivateNames", "route53", "AssociateVPCWithHostedZone", ["hostedzone/*"]),  # of interface endpoints
        Grant(
            "Parts",
            "ec2",
            "AssociateRouteTable AttachInternetGateway AuthorizeSecurityGroupEgress "
            "AuthorizeSecurityGroupIngress CreateRoute CreateTags DeleteFlowLogs DeleteInternetGateway "
            "DeleteNatGateway DeleteRoute DeleteRouteTable DeleteSecurityGroup DeleteSubnet DeleteTags "
            "DeleteVpc DeleteVpcEndpoints DetachInternetGateway DisassociateAddress DisassociateRouteTable "
            "ModifySubnetAttribute ModifyVpcAttribute ModifyVpcEndpoint ReleaseAddress ReplaceRoute "
            "ReplaceRouteTableAssociation RevokeSecurityGroupEgress RevokeSecurityGroupIngress",
            conditions=OURS,
            reason=BY_TAG,
        ),
    ),
    "compute": (
        Grant("NewFunctions", "lambda", "CreateFunction TagResource", ["function:*"], CLAIMED),
        Grant(
            "Functions",
            "lambda",
            "DeleteFunction DeleteFunctionConcurrency "
            "PutFunctionConcurrency TagResource UntagResource "
            "UpdateFunctionCode UpdateFunctionConfiguration",
            ["function:*"],
            OURS,
        ),
        Grant(
            "StateMachines",
            "states",
            "CreateStateMachine DeleteStateMachine TagResource UntagResource UpdateStateMachine",
            [f"stateMachine:{PROJECT}-*"],
        ),
        Grant("StateMachinesTheirText", "states", "ValidateStateMachineDefinition", reason=NO_RESOURCE),
        Grant(
            "Schedules",
            "scheduler",
            "CreateSchedule CreateScheduleGroup DeleteSchedule DeleteScheduleGroup TagResource UntagResource "
            "UpdateSchedule",
            [
                *("schedule-group/publisher-*", "schedule-group/schedules-*"),
                *("schedule/publisher-*/*", "schedule/schedules-*/*"),
            ],
        ),
        Grant(
            "Images",
            "ecr",
            "CreateRepository DeleteLifecyclePolicy DeleteRepository PutImageScanningConfiguration "
            "PutImageTagMutability PutLifecyclePolicy TagResource UntagResource",
            ["repository/workers-*"],
        ),
        Grant(
            "Services",
            "ecs",
            "CreateCluster CreateService DeleteCluster DeleteService PutClusterCapacityProviders "
            "RegisterTaskDefinition RunTask StopTask TagResource UntagResource UpdateCluster "
            "UpdateService",
            [
                *(f"cluster/{PROJECT}-*", f"service/{PROJECT}-*", f"task/{PROJECT}-*"),
                f"task-definition/{PROJECT}-*:*",
            ],
        ),
        Grant("TaskDefinitions", "ecs", "DeregisterTaskDefinition", reason=NO_RESOURCE),
        Grant(
            "Scaling",
            "application-autoscaling",
            "DeleteScalingPolicy DeregisterScalableTarget PutScalingPolicy "
            "RegisterScalableTarget TagResource UntagResource",
            ["scalable-target/*"],
        ),
        Grant(
            "Experiments",
            "fis",
            "CreateExperimentTemplate DeleteExperimentTemplate TagResource UntagResource UpdateExperimentTemplate",
            ["experiment-template/*", "action/*"],
        ),
    ),
    "watch": (
        Grant(
            "Logs",
            "logs",
            "AssociateKmsKey CreateLogGroup DeleteDataProtectionPolicy DeleteLogGroup DeleteRetentionPolicy "
            "DisassociateKmsKey PutDataProtectionPolicy PutRetentionPolicy TagResource UntagResource",
            [
                *(f"log-group:/{PROJECT}-*", f"log-group:/aws/events/{PROJECT}-*"),
                *(
                    f"log-group:/aws/vendedlogs/states/{PROJECT}-*",
                    f"log-group:/aws/vendedlogs/{PROJECT}-*",
                    f"log-group:/aws/rds/cluster/{PROJECT}-*",
                ),
                f"log-group:/aws/ecs/containerinsights/{PROJECT}-*",
            ],
        ),
        Grant(
            "LogsTheirAccess",
            "logs",
            "CreateLogDelivery DeleteLogDelivery DeleteQueryDefinition DeleteResourcePolicy PutQueryDefinition "
            "PutResourcePolicy UpdateLogDelivery",
            reason=NO_RESOURCE,
        ),
        Grant(
            "Alarms",
            "cloudwatch",
            "DeleteAlarms PutCompositeAlarm PutMetricAlarm TagResource UntagResource",
            [f"alarm:{PROJECT}-*"],
        ),
        Grant(
            # Application Auto Scaling asks in the caller's name whether he might make its alarms, of whatever name
            "AlarmsThroughScaling",
            "cloudwatch",
            "DeleteAlarms PutMetricAlarm",
            ["alarm:*"],
            {"Bool": {"aws:ViaAWSService": "true"}},
        ),
        Grant(
            "Rules", "events", "DeleteRule PutRule PutTargets RemoveTargets TagResource UntagResource", ["rule/*"], OURS
        ),
        Grant("NewRules", "events", "PutRule TagResource", ["rule/*"], CLAIMED),
        Grant(
            "Topics",
            "sns",
            "CreateTopic DeleteTopic SetTopicAttributes Subscribe TagResource UntagResource",
            ["alarms-*", "notices-*"],
        ),
        Grant("Subscriptions", "sns", "SetSubscriptionAttributes Unsubscribe", reason=NO_RESOURCE),
        Grant(
            "SlackChannels",
            "chatbot",
            "CreateSlackChannelConfiguration DeleteSlackChannelConfiguration TagResource UntagResource "
            "UpdateSlackChannelConfiguration",
            reason=NO_RESOURCE,
        ),
        Grant("Queues", "sqs", "CreateQueue DeleteQueue SetQueueAttributes TagQueue UntagQueue", ["dead-letters-*"]),
    ),
}
"""What Apply may change: only what the program makes. Roles, dashboards and budgets are in identity.py: their ARNs are
built otherwise."""

PROGRAM_ROLES = (
    *("backup", "confirm", "desk", "experiment", "flow-logs", "migrations", "plan", "publisher", "report"),
    *("scheduler", "slack", "state-machine", "worker"),
)
"""How the names of the program's roles begin; Pulumi ends them with a hyphen and some digits."""

FUNCTIONS = ("confirm", "desk", "plan", "publisher", "report")
"""How the names of the program's functions begin."""

DATA: Mapping[str, str] = {
    "athena": "GetQueryResults GetQueryResultsStream",
    "cloudtrail": "GetEventDataStore GetQueryResults LookupEvents",
    "cloudwatch": "GetInsightRuleReport",
    "codecommit": "BatchGetCommits GetBlob GetFile GetFolder GitPull",
    "dynamodb": "BatchGetItem ExportTableToPointInTime GetItem GetRecords GetShardIterator PartiQLSelect Query Scan",
    "ec2": "DescribeInstanceAttribute DescribeLaunchTemplateVersions GetConsoleOutput GetConsoleScreenshot "
    "GetLaunchTemplateData GetPasswordData",
    "ecr": "BatchGetImage GetDownloadUrlForLayer",
    "kinesis": "GetRecords GetShardIterator SubscribeToShard",
    "lambda": "InvokeFunction",  # not GetLayerVersion, which Lambda asks of whoever attaches a layer (adotLayer)
    "logs": "FilterLogEvents GetLogEvents GetLogObject GetLogRecord GetQueryResults ListAnomalies StartLiveTail "
    "StartQuery Unmask",
    "pi": "DescribeDimensionKeys GetDimensionKeyDetails GetPerformanceAnalysisReport GetResourceMetrics",
    "rds": "DownloadCompleteDBLogFile DownloadDBLogFilePortion",
    "rds-data": "BatchExecuteStatement ExecuteSql ExecuteStatement",
    "redshift-data": "GetStatementResult",
    "secretsmanager": "BatchGetSecretValue GetSecretValue",
    "sqs": "ReceiveMessage",
    "ssm": "GetParameter GetParameterHistory GetParameters GetParametersByPath",
    "states": "DescribeExecution GetExecutionHistory",
    "xray": "BatchGetTraces GetTraceGraph GetTraceSummaries",
}
"""What nobody needs to know in order to plan or apply: refused, whatever ReadOnlyAccess comes to grant."""

OBJECTS = (
    *("s3:GetDataAccess", "s3:GetObject", "s3:GetObjectAttributes", "s3:GetObjectTorrent", "s3:GetObjectVersion"),
    *("s3:GetObjectVersionAttributes", "s3:GetObjectVersionForReplication", "s3:GetObjectVersionTorrent"),
)
"""Data too, but for the state of the stacks."""

READ = (
    *(
        "application-autoscaling",
        "backup",
        "backup-storage",
        "budgets",
        "chatbot",
        "cloudwatch",
        "dynamodb",
        "ec2",
        "ecr",
        "ecs",
    ),
    *("events", "fis", "iam", "kms", "lambda", "logs", "rds", "rds-db", "route53", "s3", "scheduler"),
    *("secretsmanager", "sns", "sqs", "states", "sts", "tag"),
)
"""The services of the program. ReadOnlyAccess reads all that AWS has: who only looks, looks at no other. Not for Apply:
AWS makes calls to further services in its name."""
