"""Amazon S3. Settings of a bucket are types of their own, whose id is the bucket."""

from __future__ import annotations

from typing import Any

from local.provider.model import Call, Name, Read, Resource, Scope, Tagging

BUCKET = {"Bucket": "{bucket}"}


def _empty(client: Any, scope: Scope) -> None:
    """Deletes every version of every object, where the program said `forceDestroy`."""
    if not scope.get("forceDestroy"):
        return
    for page in client.get_paginator("list_object_versions").paginate(Bucket=scope["bucket"]):
        found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        keys = [{"Key": item["Key"], "VersionId": item["VersionId"]} for item in found]
        if keys:
            client.delete_objects(Bucket=scope["bucket"], Delete={"Objects": keys, "Quiet": True})
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=scope["bucket"]):
        keys = [{"Key": item["Key"]} for item in page.get("Contents", [])]
        if keys:
            client.delete_objects(Bucket=scope["bucket"], Delete={"Objects": keys, "Quiet": True})


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    """A lifecycle rule: AWS wants a filter in every one, and inside it one condition or an `And`."""
    names = {"id": "ID", "prefix": "Prefix", "status": "Status"}
    result: dict[str, Any] = {names[key]: rule[key] for key in names if rule.get(key) is not None}
    condition = rule.get("filter") or {}
    result["Filter"] = _pascal({key: value for key, value in condition.items() if value is not None})
    if not result["Filter"] and "Prefix" not in result:
        result["Filter"] = {"Prefix": ""}
    for key, target in (
        ("expiration", "Expiration"),
        ("noncurrentVersionExpiration", "NoncurrentVersionExpiration"),
        ("abortIncompleteMultipartUpload", "AbortIncompleteMultipartUpload"),
    ):
        if rule.get(key):
            result[target] = _pascal(rule[key])
    for key, target in (
        ("transitions", "Transitions"),
        ("noncurrentVersionTransitions", "NoncurrentVersionTransitions"),
    ):
        if rule.get(key):
            result[target] = [_pascal(item) for item in rule[key]]
    return result


def _pascal(value: Any) -> Any:
    if isinstance(value, dict):
        return {key[0].upper() + key[1:]: _pascal(item) for key, item in value.items() if item is not None}
    return [_pascal(item) for item in value] if isinstance(value, list) else value


def _setting(kind: str, put: Call, get: str, delete: Call | None, root: str = "@", **more: Any) -> Resource:
    return Resource(
        f"aws:s3/{kind[0].lower()}{kind[1:]}:{kind}",
        "s3",
        create=put,
        upsert=True,
        replaces=("bucket",),
        id="{bucket}",
        read=Read(get, BUCKET, root),
        delete=delete,
        drift=False,
        delete_first=True,
        **more,
    )


RESOURCES = (
    Resource(
        "aws:s3/bucket:Bucket",
        "s3",
        create=Call(
            "create_bucket",
            takes=("bucket", "objectLockEnabled"),
            rename={"bucket": "Bucket", "objectLockEnabled": "ObjectLockEnabledForBucket"},
        ),
        id="{bucket}",
        read=Read("head_bucket", BUCKET),
        delete=Call("delete_bucket", where=BUCKET),
        name=Name("bucket", "bucketPrefix", limit=63, lower=True),
        tagging=Tagging(BUCKET, add="put_bucket_tagging", whole=True),
        tags_on_create=False,
        outputs={
            "arn": "arn:aws:s3:::{bucket}",
            "bucketDomainName": "{bucket}.s3.amazonaws.com",
            "bucketRegionalDomainName": "{bucket}.s3.{region}.amazonaws.com",
            "bucketRegion": "{region}",
        },
        handled=("forceDestroy",),
        before_delete=_empty,
        drift=False,
    ),
    _setting(
        "BucketPublicAccessBlock",
        Call(
            "put_public_access_block",
            rename={
                "bucket": "Bucket",
                **{
                    name: f"PublicAccessBlockConfiguration.{name[0].upper()}{name[1:]}"
                    for name in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
                },
            },
        ),
        "get_public_access_block",
        Call("delete_public_access_block", where=BUCKET),
        handled=("skipDestroy",),
    ),
    _setting(
        "BucketServerSideEncryptionConfiguration",
        Call(
            "put_bucket_encryption",
            rename={
                "rules": "ServerSideEncryptionConfiguration.Rules",
                "rules.applyServerSideEncryptionByDefault.sseAlgorithm": "SSEAlgorithm",
                "rules.applyServerSideEncryptionByDefault.kmsMasterKeyId": "KMSMasterKeyID",
            },
        ),
        "get_bucket_encryption",
        Call("delete_bucket_encryption", where=BUCKET),
    ),
    _setting(
        "BucketVersioning",
        Call("put_bucket_versioning", rename={"mfa": "MFA"}),
        "get_bucket_versioning",
        None,  # versioning can be suspended, and goes with the bucket
    ),
    _setting(
        "BucketLifecycleConfiguration",
        Call(
            "put_bucket_lifecycle_configuration",
            encode={"rules": lambda rules: {"LifecycleConfiguration": {"Rules": [_rule(rule) for rule in rules]}}},
        ),
        "get_bucket_lifecycle_configuration",
        Call("delete_bucket_lifecycle", where=BUCKET),
        note="the emulator keeps the rules and expires nothing",
        handled=("timeouts",),
    ),
    _setting(
        "BucketPolicy",
        Call("put_bucket_policy"),
        "get_bucket_policy",
        Call("delete_bucket_policy", where=BUCKET),
    ),
    _setting(
        "BucketOwnershipControls",
        Call(
            "put_bucket_ownership_controls",
            encode={
                "rule": lambda rule: {"OwnershipControls": {"Rules": [{"ObjectOwnership": rule["objectOwnership"]}]}}
            },
        ),
        "get_bucket_ownership_controls",
        Call("delete_bucket_ownership_controls", where=BUCKET),
    ),
)
