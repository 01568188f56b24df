"""Amazon RDS and Aurora. The emulator keeps the books; the database itself is local/overlay/rds_postgres.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.provider.model import Call, Name, Read, Resource, Tagging

CLUSTER = {"DBClusterIdentifier": "{clusterIdentifier}"}
INSTANCE = {"DBInstanceIdentifier": "{identifier}"}
GROUP = {"DBSubnetGroupName": "{name}"}
ARN = Tagging({"ResourceName": "{arn}"}, add="add_tags_to_resource", remove="remove_tags_from_resource")

RENAME = {
    "iamDatabaseAuthenticationEnabled": "EnableIAMDatabaseAuthentication",
    "enabledCloudwatchLogsExports": "EnableCloudwatchLogsExports",
    "performanceInsightsEnabled": "EnablePerformanceInsights",
    "performanceInsightsKmsKeyId": "PerformanceInsightsKMSKeyId",
    "serverlessv2ScalingConfiguration": "ServerlessV2ScalingConfiguration",
}
CHANGEABLE = (
    "engineVersion", "port", "dbClusterParameterGroupName", "vpcSecurityGroupIds", "backupRetentionPeriod",
    "preferredBackupWindow", "preferredMaintenanceWindow", "iamDatabaseAuthenticationEnabled", "copyTagsToSnapshot",
    "deletionProtection", "serverlessv2ScalingConfiguration", "enableHttpEndpoint", "databaseInsightsMode",
    "performanceInsightsEnabled", "performanceInsightsKmsKeyId", "performanceInsightsRetentionPeriod",
    "manageMasterUserPassword", "masterUserSecretKmsKeyId", "masterPassword", "monitoringInterval", "monitoringRoleArn",
    "storageType", "networkType", "allowMajorVersionUpgrade",
)  # fmt: skip
NO_INSIGHTS = "the emulator has no Performance Insights"


def _parameters(items: list[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "Parameters": [
            {
                "ParameterName": item["name"],
                "ParameterValue": item["value"],
                "ApplyMethod": item.get("applyMethod") or "immediate",
            }
            for item in items
        ]
    }


def _group(kind: str, infix: str, description: str) -> Resource:
    """A parameter group: of a cluster, or of an instance."""
    name = f"DB{infix}ParameterGroupName"
    operation = f"db{'_cluster' if infix else ''}_parameter_group"
    return Resource(
        f"aws:rds/{kind[0].lower()}{kind[1:]}:{kind}",
        "rds",
        create=Call(
            f"create_{operation}",
            takes=("name", "family", "description"),
            rename={"name": name, "family": "DBParameterGroupFamily"},
        ),
        id="{name}",
        updates=(
            Call(
                f"modify_{operation}", takes=("parameters",), encode={"parameters": _parameters}, where={name: "{name}"}
            ),
        ),
        read=Read(f"describe_{operation}s", {name: "{name}"}, f"DB{infix}ParameterGroups[0]"),
        delete=Call(f"delete_{operation}", where={name: "{name}"}),
        name=Name(limit=255, lower=True),
        defaults={"description": "Managed by Pulumi"},
        tagging=ARN,
        outputs={"arn": f"DB{infix}ParameterGroupArn"},
        handled=() if infix else ("skipDestroy",),
        note=description,
    )


RESOURCES = (
    Resource(
        "aws:rds/subnetGroup:SubnetGroup",
        "rds",
        create=Call(
            "create_db_subnet_group",
            rename={"name": "DBSubnetGroupName", "description": "DBSubnetGroupDescription"},
        ),
        id="{name}",
        updates=(
            Call(
                "modify_db_subnet_group",
                takes=("subnetIds", "description"),
                rename={"description": "DBSubnetGroupDescription"},
                where=GROUP,
                update_only=True,
            ),
        ),
        read=Read("describe_db_subnet_groups", GROUP, "DBSubnetGroups[0]"),
        delete=Call("delete_db_subnet_group", where=GROUP),
        name=Name(limit=255, lower=True),
        defaults={"description": "Managed by Pulumi"},
        tagging=ARN,
        outputs={"arn": "DBSubnetGroupArn", "vpcId": "VpcId"},
    ),
    _group("ClusterParameterGroup", "Cluster", "the database has the settings of local/postgres.py"),
    _group("ParameterGroup", "", "the database has the settings of local/postgres.py"),
    Resource(
        "aws:rds/cluster:Cluster",
        "rds",
        create=Call(
            "create_db_cluster",
            takes=(
                "clusterIdentifier",
                "engine",
                "engineMode",
                "databaseName",
                "masterUsername",
                "dbSubnetGroupName",
                "kmsKeyId",
                "storageEncrypted",
                "enabledCloudwatchLogsExports",
                "availabilityZones",
                *(name for name in CHANGEABLE if name != "allowMajorVersionUpgrade"),
            ),
            rename={
                **RENAME,
                "clusterIdentifier": "DBClusterIdentifier",
                "masterPassword": "MasterUserPassword",
            },
        ),
        id="{clusterIdentifier}",
        updates=(
            Call(
                "modify_db_cluster",
                takes=CHANGEABLE,
                rename={**RENAME, "masterPassword": "MasterUserPassword"},
                where={**CLUSTER, "ApplyImmediately": True},
                update_only=True,
                only_changed=True,
            ),
            Call(
                "modify_db_cluster",
                takes=("enabledCloudwatchLogsExports",),
                encode={
                    "enabledCloudwatchLogsExports": lambda names: {
                        "CloudwatchLogsExportConfiguration": {"EnableLogTypes": names}
                    }
                },
                where={**CLUSTER, "ApplyImmediately": True},
                update_only=True,
            ),
        ),
        read=Read("describe_db_clusters", CLUSTER, "DBClusters[0]"),
        delete=Call("delete_db_cluster", where={**CLUSTER, "SkipFinalSnapshot": True}),
        name=Name("clusterIdentifier", "clusterIdentifierPrefix", limit=63, lower=True),
        tagging=ARN,
        outputs={
            "arn": "DBClusterArn",
            "clusterResourceId": "DbClusterResourceId",
            "endpoint": "Endpoint",
            "readerEndpoint": "ReaderEndpoint",
            "engineVersionActual": "EngineVersion",
            "hostedZoneId": "HostedZoneId",
            "masterUserSecrets": lambda found, _: [
                {
                    "kmsKeyId": secret["KmsKeyId"],
                    "secretArn": secret["SecretArn"],
                    "secretStatus": secret["SecretStatus"],
                }
                for secret in [found.get("MasterUserSecret")]
                if secret
            ],
            "port": "Port",
        },
        handled=("applyImmediately", "skipFinalSnapshot", "finalSnapshotIdentifier", "deleteAutomatedBackups"),
        drift=False,
        recorded={
            "serverlessv2ScalingConfiguration": "the database takes what the machine has",
            "enabledCloudwatchLogsExports": "the database logs into .local/postgres",
            "backupRetentionPeriod": "the emulator makes no backups",
            "storageEncrypted": "the database's files are in the clear",
            "performanceInsightsEnabled": NO_INSIGHTS,
            "databaseInsightsMode": NO_INSIGHTS,
        },
        replaces=("storageEncrypted",),
        actual=("port",),  # another one where this is taken
    ),
    Resource(
        "aws:rds/clusterInstance:ClusterInstance",
        "rds",
        create=Call(
            "create_db_instance",
            takes=(
                "identifier",
                "clusterIdentifier",
                "engine",
                "engineVersion",
                "instanceClass",
                "dbSubnetGroupName",
                "dbParameterGroupName",
                "availabilityZone",
                "publiclyAccessible",
                "promotionTier",
                "autoMinorVersionUpgrade",
                "preferredMaintenanceWindow",
                "monitoringInterval",
                "monitoringRoleArn",
                "performanceInsightsEnabled",
                "performanceInsightsKmsKeyId",
                "performanceInsightsRetentionPeriod",
                "caCertIdentifier",
                "copyTagsToSnapshot",
            ),
            rename={
                **RENAME,
                "identifier": "DBInstanceIdentifier",
                "clusterIdentifier": "DBClusterIdentifier",
                "instanceClass": "DBInstanceClass",
                "caCertIdentifier": "CACertificateIdentifier",
            },
        ),
        id="{identifier}",
        updates=(
            Call(
                "modify_db_instance",
                takes=(
                    "instanceClass",
                    "dbParameterGroupName",
                    "publiclyAccessible",
                    "promotionTier",
                    "autoMinorVersionUpgrade",
                    "preferredMaintenanceWindow",
                    "monitoringInterval",
                    "monitoringRoleArn",
                    "performanceInsightsEnabled",
                    "performanceInsightsKmsKeyId",
                    "performanceInsightsRetentionPeriod",
                    "caCertIdentifier",
                    "copyTagsToSnapshot",
                ),
                rename={
                    **RENAME,
                    "instanceClass": "DBInstanceClass",
                    "caCertIdentifier": "CACertificateIdentifier",
                },
                where={**INSTANCE, "ApplyImmediately": True},
                update_only=True,
                only_changed=True,
            ),
        ),
        read=Read("describe_db_instances", INSTANCE, "DBInstances[0]"),
        delete=Call("delete_db_instance", where={**INSTANCE, "SkipFinalSnapshot": True}),
        name=Name("identifier", "identifierPrefix", limit=63, lower=True),
        tagging=ARN,
        outputs={
            "arn": "DBInstanceArn",
            "dbiResourceId": "DbiResourceId",
            "endpoint": "Endpoint.Address",
            "port": "Endpoint.Port",
            "engineVersionActual": "EngineVersion",
            "writer": lambda _, scope: scope.get("promotionTier", 0) == 0,
        },
        handled=("applyImmediately", "forceDestroy"),
        drift=False,
        recorded={"performanceInsightsEnabled": NO_INSIGHTS},
    ),
)
