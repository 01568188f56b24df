"""Check and diff as plain functions: names, defaults, default tags, refusals, update or replace."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from local.provider import catalogue
from local.provider.lifecycle import Lifecycle
from local.provider.session import AwsError, Session
from local.provider.shapes import encode_tags, fill
from local.provider.values import (
    ARCHIVE,
    ASSET,
    SIGNATURE,
    UNKNOWN,
    archive_bytes,
    from_struct,
    has_unknown,
    to_struct,
)

QUEUE, TABLE, BUCKET, FUNCTION = (
    "aws:sqs/queue:Queue", "aws:dynamodb/table:Table", "aws:s3/bucket:Bucket", "aws:lambda/function:Function",
)  # fmt: skip


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")


def life(token: str, tags: dict[str, str] | None = None) -> Lifecycle:
    resource = catalogue.find(token)
    assert resource is not None
    return Lifecycle(resource, Session("us-east-1", tags or {}, _account="000000000000"))


def checked(token: str, news: dict[str, Any], olds: dict[str, Any] | None = None, name: str = "jobs") -> dict[str, Any]:
    inputs, failures = life(token).check(name, news, olds or {}, b"seed")
    assert failures == []
    return inputs


def refused(token: str, news: dict[str, Any]) -> list[tuple[str, str]]:
    return life(token).check("jobs", news, {}, b"seed")[1]


def paths(token: str, olds: dict[str, Any], news: dict[str, Any], *ignored: str) -> dict[str, bool]:
    return {change.path: change.replace for change in life(token).diff(olds, news, ignored)}


# -- names ----------------------------------------------------------------------------------------------------


def test_a_name_is_the_logical_one_with_seven_hex_digits() -> None:
    name = checked(QUEUE, {})["name"]
    assert name.startswith("jobs-")
    assert len(name) == len("jobs-") + 7
    assert int(name.removeprefix("jobs-"), 16) >= 0


def test_the_name_stays_when_the_seed_does_not() -> None:
    first = checked(QUEUE, {})
    again, _ = life(QUEUE).check("jobs", {}, first, b"another seed")
    assert again["name"] == first["name"]


def test_a_given_name_is_taken_and_a_prefix_is_respected() -> None:
    assert checked(QUEUE, {"name": "mine"})["name"] == "mine"
    assert checked(QUEUE, {"namePrefix": "mine-"})["name"].startswith("mine-")


def test_a_new_prefix_makes_a_new_name() -> None:
    first = checked(QUEUE, {"namePrefix": "one-"})
    assert checked(QUEUE, {"namePrefix": "two-"}, first)["name"].startswith("two-")


def test_a_fifo_queue_is_named_so() -> None:
    assert checked(QUEUE, {"fifoQueue": True})["name"].endswith(".fifo")


def test_a_bucket_is_named_in_lower_case_and_within_63_characters() -> None:
    name = checked(BUCKET, {}, name="Plans" + "x" * 80)["bucket"]
    assert name.startswith("plans")
    assert len(name) == 63
    assert name == name.lower()


# -- tags and refusals ----------------------------------------------------------------------------------------


def test_default_tags_are_applied_and_the_resources_own_win() -> None:
    inputs, _ = life(QUEUE, {"a": "default", "b": "default"}).check("jobs", {"tags": {"b": "own"}}, {}, b"")
    assert inputs["tags"] == {"a": "default", "b": "own"}
    assert life(QUEUE).preview(inputs)["tagsAll"] == inputs["tags"]


def test_default_tags_come_json_encoded_from_the_config() -> None:
    session = Session.from_config({"region": "eu-west-1", "defaultTags": json.dumps({"tags": {"a": "1"}})})
    assert (session.region, session.default_tags) == ("eu-west-1", {"a": "1"})


def test_an_unknown_type_is_not_in_the_catalogue() -> None:
    assert catalogue.find("aws:qldb/ledger:Ledger") is None
    assert catalogue.find("aws:sqs/nothing:Nothing") is None


def test_a_property_that_the_type_lacks_is_refused_by_name() -> None:
    [(name, reason)] = refused(QUEUE, {"visibility": 3})
    assert name == "visibility"
    assert reason == "aws:sqs/queue:Queue has no property visibility"


def test_a_property_that_only_aws_has_is_refused_by_name() -> None:
    [(name, reason)] = refused(TABLE, {"hashKey": "id", "replicas": [{"regionName": "eu-west-1"}]})
    assert name == "replicas"
    assert "local AWS does not support replicas" in reason


def test_a_nested_property_that_aws_lacks_is_refused_by_its_path() -> None:
    [(name, reason)] = refused(FUNCTION, {"role": "r", "environment": {"secrets": {}}})
    assert name == "environment.secrets"
    assert "Variables" in reason


def test_values_not_known_yet_pass_the_check() -> None:
    assert checked(FUNCTION, {"role": UNKNOWN, "timeout": UNKNOWN, "environment": {"variables": {"A": UNKNOWN}}})


# -- diff -----------------------------------------------------------------------------------------------------


def test_nothing_changed_is_no_difference() -> None:
    inputs = checked(QUEUE, {"visibilityTimeoutSeconds": 30, "tags": {"a": "b"}})
    assert paths(QUEUE, inputs, dict(inputs)) == {}


@pytest.mark.parametrize(
    ("token", "olds", "news", "expected"),
    [
        (QUEUE, {"delaySeconds": 1}, {"delaySeconds": 2}, {"delaySeconds": False}),
        (QUEUE, {"delaySeconds": 1}, {}, {"delaySeconds": False}),
        (QUEUE, {"name": "a"}, {"name": "b"}, {"name": True}),
        (QUEUE, {"fifoQueue": True}, {"fifoQueue": False}, {"fifoQueue": True}),
        (QUEUE, {"tags": {"a": "1"}}, {"tags": {"a": "2", "b": "3"}}, {"tags.a": False, "tags.b": False}),
        (TABLE, {"hashKey": "id"}, {"hashKey": "key"}, {"hashKey": True}),
        (TABLE, {"deletionProtectionEnabled": True}, {}, {"deletionProtectionEnabled": False}),
        (TABLE, {"warmThroughput": {"readUnitsPerSecond": 1}}, {}, {"warmThroughput": False}),
        (FUNCTION, {"environment": {"variables": {"A": "1"}}}, {"environment": {"variables": {"A": "2"}}},
         {"environment.variables.A": False}),
        (FUNCTION, {"memorySize": 128}, {"memorySize": 256}, {"memorySize": False}),
        (FUNCTION, {"packageType": "Zip"}, {"packageType": "Image"}, {"packageType": True}),
        ("aws:ec2/subnet:Subnet", {"cidrBlock": "10.0.0.0/24"}, {"cidrBlock": "10.0.1.0/24"}, {"cidrBlock": True}),
        ("aws:ec2/subnet:Subnet", {"mapPublicIpOnLaunch": True}, {}, {"mapPublicIpOnLaunch": False}),
        ("aws:ec2/securityGroup:SecurityGroup", {"egress": []}, {"egress": [{"protocol": "-1"}]}, {"egress": False}),
        ("aws:ec2/securityGroup:SecurityGroup", {"description": "a"}, {"description": "b"}, {"description": True}),
        ("aws:s3/bucketPolicy:BucketPolicy", {"bucket": "a"}, {"bucket": "b"}, {"bucket": True}),
        ("aws:iam/rolePolicy:RolePolicy", {"policy": "{}"}, {"policy": '{"a": 1}'}, {"policy": False}),
        ("aws:kms/key:Key", {"keyUsage": "SIGN_VERIFY"}, {}, {"keyUsage": True}),
        ("aws:sfn/stateMachine:StateMachine", {"type": "STANDARD"}, {"type": "EXPRESS"}, {"type": True}),
    ],
)  # fmt: skip
def test_what_changes_in_place_and_what_replaces(
    token: str, olds: dict[str, Any], news: dict[str, Any], expected: dict[str, bool]
) -> None:
    assert paths(token, olds, news) == expected


def test_ignored_changes_are_ignored_also_below() -> None:
    olds = {"delaySeconds": 1, "tags": {"a": "1", "b": "1"}}
    news = {"delaySeconds": 2, "tags": {"a": "2", "b": "2"}}
    assert paths(QUEUE, olds, news, "delaySeconds", "tags.a") == {"tags.b": False}


def test_policies_that_say_the_same_are_the_same() -> None:
    assert paths(QUEUE, {"policy": '{"a":1,"b":2}'}, {"policy": '{ "b": 2, "a": 1 }'}) == {}
    assert paths(QUEUE, {"policy": '{"a":1}'}, {"policy": '{"a":2}'}) == {"policy": False}


def test_code_is_compared_by_its_hash() -> None:
    def code(path: str, digest: str) -> dict[str, Any]:
        return {"code": {SIGNATURE: ARCHIVE, "path": path, "hash": digest}}

    assert paths(FUNCTION, code("a.zip", "1"), code("b.zip", "1")) == {}
    assert set(paths(FUNCTION, code("a.zip", "1"), code("a.zip", "2"))) == {"code.hash"}


# -- preview --------------------------------------------------------------------------------------------------


def test_a_preview_of_a_create_knows_inputs_and_no_outputs() -> None:
    state = life(QUEUE).preview(checked(QUEUE, {"delaySeconds": 5}))
    assert state["delaySeconds"] == 5
    assert state["arn"] == state["url"] == UNKNOWN


def test_a_preview_of_an_update_keeps_outputs_but_those_that_change() -> None:
    olds = {"name": "f", "arn": "x", "sourceCodeHash": "old", "timeout": 3}
    kept = life(FUNCTION).preview({"name": "f", "timeout": 4}, olds, {"name": "f", "timeout": 3})
    assert (kept["arn"], kept["sourceCodeHash"], kept["timeout"]) == ("x", "old", 4)
    code = {"code": {SIGNATURE: ARCHIVE, "path": "b.zip", "hash": "2"}}
    assert life(FUNCTION).preview({"name": "f", **code}, olds, {"name": "f"})["sourceCodeHash"] == UNKNOWN


# -- values ---------------------------------------------------------------------------------------------------


def test_what_was_asked_for_counts_but_for_what_may_turn_out_otherwise() -> None:
    """The database's port: where it is taken on this machine, workers must be told the one that it has."""
    cluster = life("aws:rds/cluster:Cluster")
    asked: dict[str, Any] = {"port": 5433, "databaseName": "confirm"}
    state = cluster._outputs(asked, asked, found={"Port": 40001, "DatabaseName": "other"})
    assert state["port"] == 40001
    assert "databaseName" not in state


def test_values_survive_the_wire() -> None:
    value = {"a": 1, "b": 1.5, "c": True, "d": [{"e": "f"}], "g": {}}
    assert from_struct(to_struct(value)) == value
    assert isinstance(from_struct(to_struct(value))["a"], int)
    assert has_unknown({"a": [{"b": UNKNOWN}]})
    assert not has_unknown(value)


def test_archives_are_deterministic(tmp_path: Path) -> None:
    folder = tmp_path / "workers"
    (folder / "deep").mkdir(parents=True)
    (folder / "b.py").write_text("b")
    (folder / "deep" / "a.py").write_text("a")
    text = {SIGNATURE: ASSET, "text": "hello"}
    whole = {SIGNATURE: ARCHIVE, "assets": {"x.txt": text, "workers": {SIGNATURE: ARCHIVE, "path": str(folder)}}}
    first = archive_bytes(whole)
    for file in folder.rglob("*.py"):
        file.touch()
    assert archive_bytes(whole) == first
    with zipfile.ZipFile(io.BytesIO(first)) as found:
        assert found.namelist() == ["workers/b.py", "workers/deep/a.py", "x.txt"]
        assert found.read("x.txt") == b"hello"


def test_a_zip_is_taken_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "code.zip"
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("a.py", "a")
    assert archive_bytes({SIGNATURE: ARCHIVE, "path": str(file)}) == file.read_bytes()


def test_templates_keep_the_type_of_a_property_alone() -> None:
    scope = {"id": "x", "count": 3}
    assert fill(["{id}", {"a": "{count}"}, "{id}-{count}", 7], scope) == ["x", {"a": 3}, "x-3", 7]


def test_tags_follow_the_shape() -> None:
    session = Session("us-east-1")
    for service, operation, member, expected in (
        ("dynamodb", "TagResource", "Tags", [{"Key": "a", "Value": "b"}]),
        ("kms", "TagResource", "Tags", [{"TagKey": "a", "TagValue": "b"}]),
        ("stepfunctions", "TagResource", "tags", [{"key": "a", "value": "b"}]),
        ("sqs", "TagQueue", "Tags", {"a": "b"}),
    ):
        model = session.client(service).meta.service_model.operation_model(operation)
        assert encode_tags(model.input_shape.members[member], {"a": "b"}) == expected


def test_errors_are_one_line_with_operation_and_code() -> None:
    error = AwsError("CreateQueue", "QueueNameExists", "a queue\n  of this name exists")
    assert str(error) == "CreateQueue: QueueNameExists: a queue of this name exists"
    assert AwsError("X", "NoSuchBucket", "").gone
    assert AwsError("X", "DependencyViolation", "").in_use
    assert not AwsError("X", "AccessDenied", "").gone


def test_without_an_endpoint_nothing_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    with pytest.raises(RuntimeError, match="AWS_ENDPOINT_URL is not set"):
        Session("us-east-1").client("sqs")
