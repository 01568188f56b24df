"""Amazon DynamoDB."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.provider.model import Call, Encoder, Name, Read, Resource, Scope, Tagging


def _index_keys(index: Mapping[str, Any]) -> list[dict[str, str]]:
    if index.get("keySchemas"):
        return [{"AttributeName": key["attributeName"], "KeyType": key["keyType"]} for key in index["keySchemas"]]
    pairs = ((index.get("hashKey"), "HASH"), (index.get("rangeKey"), "RANGE"))
    return [{"AttributeName": name, "KeyType": kind} for name, kind in pairs if name]


def _index(index: Mapping[str, Any]) -> dict[str, Any]:
    projection: dict[str, Any] = {"ProjectionType": index["projectionType"]}
    if index.get("nonKeyAttributes"):
        projection["NonKeyAttributes"] = index["nonKeyAttributes"]
    result: dict[str, Any] = {
        "IndexName": index["name"],
        "KeySchema": _index_keys(index),
        "Projection": projection,
    }
    if index.get("readCapacity"):
        result["ProvisionedThroughput"] = {
            "ReadCapacityUnits": index["readCapacity"],
            "WriteCapacityUnits": index["writeCapacity"],
        }
    for key, parameter, units in (
        ("onDemandThroughput", "OnDemandThroughput", ("maxReadRequestUnits", "maxWriteRequestUnits")),
        ("warmThroughput", "WarmThroughput", ("readUnitsPerSecond", "writeUnitsPerSecond")),
    ):
        if index.get(key):
            result[parameter] = {unit[0].upper() + unit[1:]: index[key][unit] for unit in units if index[key].get(unit)}
    return result


def _recovery(value: Mapping[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {"PointInTimeRecoveryEnabled": value["enabled"]}
    if value.get("recoveryPeriodInDays"):
        given["RecoveryPeriodInDays"] = value["recoveryPeriodInDays"]
    return {"PointInTimeRecoverySpecification": given}


def _expiry(value: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "TimeToLiveSpecification": {
            "Enabled": value.get("enabled", True),
            "AttributeName": value.get("attributeName") or "ttl",
        }
    }


def _encryption(value: Mapping[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {"Enabled": value["enabled"]}
    if value.get("kmsKeyArn"):
        given |= {"SSEType": "KMS", "KMSMasterKeyId": value["kmsKeyArn"]}
    return {"SSESpecification": given}


def _set_indexes(client: Any, scope: Scope) -> None:
    """AWS adds and removes one index a call; a changed one is removed and made again, as the real provider does."""
    table = client.describe_table(TableName=scope["name"])["Table"]
    wanted = {item["name"]: _index(item) for item in scope.get("globalSecondaryIndexes") or ()}
    for index in table.get("GlobalSecondaryIndexes", []):
        name = index["IndexName"]
        if name in wanted and all(index[key] == wanted[name][key] for key in ("KeySchema", "Projection")):
            del wanted[name]
        else:
            client.update_table(TableName=scope["name"], GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": name}}])
    given = [{"AttributeName": item["name"], "AttributeType": item["type"]} for item in scope["attributes"]]
    for new in wanted.values():
        client.update_table(
            TableName=scope["name"], AttributeDefinitions=given, GlobalSecondaryIndexUpdates=[{"Create": new}]
        )


def _seen(client: Any, scope: Scope) -> dict[str, Any]:
    """What a restored table lacks, whoever restored it."""
    name = scope["name"]
    table = client.describe_table(TableName=name)["Table"]
    backups = client.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    recovery = backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"
    expiry = client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    encryption = table.get("SSEDescription", {})
    tags = client.list_tags_of_resource(ResourceArn=table["TableArn"])["Tags"]
    return {
        "pointInTimeRecovery": {"enabled": recovery},
        "ttl": {
            "enabled": expiry.get("TimeToLiveStatus") in ("ENABLED", "ENABLING"),
            "attributeName": expiry.get("AttributeName"),
        },
        "serverSideEncryption": {
            "enabled": encryption.get("Status") in ("ENABLED", "ENABLING", "UPDATING"),
            "kmsKeyArn": encryption.get("KMSMasterKeyArn"),
        },
        "tags": {tag["Key"]: tag["Value"] for tag in tags},
    }


TABLE = {"TableName": "{name}"}
ENCODE: Mapping[str, Encoder] = {
    "hashKey": lambda name: {"KeySchema": [{"AttributeName": name, "KeyType": "HASH"}]},
    "rangeKey": lambda name: {"KeySchema": [{"AttributeName": name, "KeyType": "RANGE"}]},
    "globalSecondaryIndexes": lambda items: (
        {"GlobalSecondaryIndexes": [_index(item) for item in items]} if items else {}
    ),
    "localSecondaryIndexes": lambda items: {"LocalSecondaryIndexes": [_index(item) for item in items]} if items else {},
    "streamEnabled": lambda on: {"StreamSpecification": {"StreamEnabled": on}},
    "streamViewType": lambda view: {"StreamSpecification": {"StreamViewType": view}},
    "serverSideEncryption": _encryption,
}
RENAME = {
    "name": "TableName",
    "attributes": "AttributeDefinitions",
    "attributes.name": "AttributeName",
    "attributes.type": "AttributeType",
    "readCapacity": "ProvisionedThroughput.ReadCapacityUnits",
    "writeCapacity": "ProvisionedThroughput.WriteCapacityUnits",
}

RESOURCES = (
    Resource(
        "aws:dynamodb/table:Table",
        "dynamodb",
        create=Call("create_table", rename=RENAME, encode=ENCODE),
        id="{name}",
        updates=(
            Call(
                "update_table",
                takes=(
                    "billingMode",
                    "deletionProtectionEnabled",
                    "readCapacity",
                    "writeCapacity",
                    "tableClass",
                    "onDemandThroughput",
                    "streamEnabled",
                    "streamViewType",
                    "serverSideEncryption",
                    "warmThroughput",
                ),
                rename=RENAME,
                encode=ENCODE,
                where=TABLE,
                update_only=True,
                only_changed=True,
            ),
            Call(
                "update_continuous_backups",
                takes=("pointInTimeRecovery",),
                encode={"pointInTimeRecovery": _recovery},
                where=TABLE,
                unset={"pointInTimeRecovery": _recovery({"enabled": False})},
            ),
            # taken out it stays as it is (terraform-provider-aws shows no difference then)
            Call("update_time_to_live", takes=("ttl",), encode={"ttl": _expiry}, where=TABLE, stays=True),
        ),
        configure=_set_indexes,
        configures=("globalSecondaryIndexes", "attributes"),
        read=Read("describe_table", TABLE, "Table"),
        delete=Call("delete_table", where=TABLE),
        name=Name(prefix="", limit=255),
        tagging=Tagging({"ResourceArn": "{arn}"}),
        outputs={"arn": "TableArn", "streamArn": "LatestStreamArn", "streamLabel": "LatestStreamLabel"},
        recorded={"warmThroughput": "the emulator has no throughput limits"},
        seen=_seen,
    ),
    Resource(
        "aws:dynamodb/contributorInsights:ContributorInsights",
        "dynamodb",
        create=Call(
            "update_contributor_insights",
            takes=("tableName", "indexName", "mode"),
            rename={"mode": "ContributorInsightsMode"},
            where={"ContributorInsightsAction": "ENABLE"},
        ),
        id="name:{tableName}/index:{indexName}/{account}",
        read=Read("describe_contributor_insights", {"TableName": "{tableName}", "IndexName": "{indexName}"}),
        delete=Call(
            "update_contributor_insights",
            where={"TableName": "{tableName}", "IndexName": "{indexName}", "ContributorInsightsAction": "DISABLE"},
        ),
        note="the emulator keeps the setting and computes no insights",
        recorded={"mode": "the emulator computes no insights"},
    ),
)
