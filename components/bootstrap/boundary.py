"""The most that the program's roles may do: their permissions boundary, as a table.

Apply makes roles and writes their policies, so whoever stands behind Apply could write any. What such a role can do is
its policy *and* this list, whichever is less. So the list is what the program's roles do today, action by action, on
what bears the program's names; no role can read other data of the account, make a resource, or make itself mightier. A
test holds every role of every stack to it, and says which row is missing.
"""

from __future__ import annotations

from collections.abc import Sequence

from components.bootstrap.permissions import FUNCTIONS, NO_RESOURCE, Grant
from components.settings import PROJECT

ANYWHERE = "images lie in the account that keeps them, and a login is for a whole registry; both only read"
NO_NAME = "what is named there has no name beforehand"

BOUNDARY: Sequence[Grant] = (
    Grant(
        "Tables",
        "dynamodb",
        "BatchGetItem DescribeTable ListTagsOfResource PartiQLUpdate PutItem Query StartAwsBackupJob UpdateItem",
        ["table/transactions-*"],
    ),
    Grant("Plans", "s3", "GetObject PutObject", ["plans-*/*"]),
    Grant(
        "Secrets",
        "secretsmanager",
        "GetSecretValue",
        ["secret:gateway-key-*", "secret:publisher-login-*", "secret:desk-login-*", "secret:rds!cluster-*"],
    ),
    Grant("SecretsToRenew", "secretsmanager", "PutSecretValue", ["secret:publisher-login-*", "secret:desk-login-*"]),
    # a key opens what else this list lets a role read, and nothing by itself
    Grant("Keys", "kms", "CreateGrant Decrypt DescribeKey GenerateDataKey", ["key/*"]),
    Grant(
        "Database",
        "rds",
        "AddTagsToResource CopyDBClusterSnapshot CreateDBClusterSnapshot DeleteDBClusterSnapshot "
        "DescribeDBClusterSnapshots DescribeDBClusters DescribeDBInstances FailoverDBCluster ListTagsForResource "
        "ModifyDBClusterSnapshotAttribute RebootDBInstance",
        [f"cluster:{PROJECT}-*", "cluster-snapshot:awsbackup:*", "db:database-*"],
    ),
    Grant("DatabaseUsers", "rds-db", "connect", ["dbuser:*/confirm_canary", "dbuser:*/confirm_service"]),
    Grant("DatabaseByHttp", "rds-data", "ExecuteStatement", [f"cluster:{PROJECT}-*"], of="rds"),
    Grant(
        "Functions",
        "lambda",
        "InvokeFunction",
        [f"function:{name}-*" for name in FUNCTIONS],
    ),
    Grant("Runs", "states", "StartExecution", [f"stateMachine:{PROJECT}-*"]),
    Grant("RunsOnTheirWay", "states", "DescribeExecution RedriveExecution StopExecution", [f"execution:{PROJECT}-*"]),
    Grant("DeadLetters", "sqs", "SendMessage", ["dead-letters-*"]),
    Grant("Workers", "sts", "AssumeRole", ["role/worker-*"], of="iam"),
    Grant("IdentityCenter", "iam", "GetRole", ["role/aws-reserved/sso.amazonaws.com/*"]),
    Grant("Tasks", "ecs", "DescribeTasks StopTask", [f"task/{PROJECT}-*"]),
    Grant("FindTasks", "ecs", "ListTasks", reason=NO_RESOURCE),
    Grant(
        "Images",
        "ecr",
        "BatchCheckLayerAvailability BatchGetImage GetAuthorizationToken GetDownloadUrlForLayer",
        reason=ANYWHERE,
    ),
    Grant("LogLines", "logs", "CreateLogStream DescribeLogStreams PutLogEvents", [f"log-group:/{PROJECT}-*"]),
    Grant(
        "LogsOfRuns",
        "logs",
        "CreateLogDelivery DeleteLogDelivery DescribeLogGroups DescribeResourcePolicies GetLogDelivery "
        "ListLogDeliveries PutResourcePolicy UpdateLogDelivery",
        reason=NO_RESOURCE,
    ),
    Grant(
        "Traces",
        "xray",
        "GetSamplingRules GetSamplingTargets PutTelemetryRecords PutTraceSegments",
        reason=NO_RESOURCE,
    ),
    Grant("Copies", "backup", "CopyIntoBackupVault DescribeBackupVault", [f"backup-vault:{PROJECT}-*"]),
    Grant("CopiesTheirTags", "backup", "TagResource", ["recovery-point:*"]),
    Grant(
        "NetworkInterfaces",  # of functions in a VPC
        "ec2",
        "AssignPrivateIpAddresses CreateNetworkInterface DeleteNetworkInterface DescribeManagedPrefixLists "
        "DescribeNetworkAcls DescribeNetworkInterfaces DescribeSubnets DescribeVpcs GetManagedPrefixListEntries "
        "UnassignPrivateIpAddresses",
        reason=NO_NAME,
    ),
    Grant(
        "DrawnAlarms",  # in Slack
        "cloudwatch",
        "DescribeAlarmHistory DescribeAlarms GetMetricData GetMetricStatistics GetMetricWidgetImage ListMetrics",
        reason=NO_RESOURCE,
    ),
    Grant(
        "CutConnections",  # of fault experiments
        "ec2",
        "CreateNetworkAcl CreateNetworkAclEntry CreateTags DeleteNetworkAcl ReplaceNetworkAclAssociation",
        ["network-acl/*", "subnet/*", "vpc/*"],
    ),
)
