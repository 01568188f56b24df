"""Create, read, update and delete against the emulator, through the entries of the catalogue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from local.provider import catalogue
from local.provider.lifecycle import Lifecycle
from local.provider.session import AwsError, Session
from local.provider.values import ASSET, SIGNATURE, Props
from tests.conftest import AwsAccount


class Stack:
    """What the engine does with one provider, in a few lines."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def life(self, token: str) -> Lifecycle:
        resource = catalogue.find(token)
        assert resource is not None
        return Lifecycle(resource, self.session)

    def make(self, token: str, **news: Any) -> tuple[str, Props, Props]:
        inputs, failures = self.life(token).check("it", news, {}, b"seed")
        assert failures == []
        identity, state = self.life(token).create("it", inputs)
        return identity, state, inputs


@pytest.fixture
def stack(aws: AwsAccount, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stack:
    for key, value in aws.environment.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("CONFIRM_RECORDED_ONLY", str(tmp_path / "recorded.jsonl"))
    return Stack(Session("us-east-1", {"project": "test"}))


def test_a_table_with_all_that_it_has(stack: Stack, aws: AwsAccount, tmp_path: Path) -> None:
    token = "aws:dynamodb/table:Table"
    attributes = [{"name": name, "type": "S"} for name in ("id", "shard", "due")]
    index = {"name": "pending", "hashKey": "shard", "rangeKey": "due", "projectionType": "KEYS_ONLY"}
    identity, state, inputs = stack.make(
        token,
        billingMode="PAY_PER_REQUEST",
        hashKey="id",
        attributes=attributes,
        globalSecondaryIndexes=[index],
        pointInTimeRecovery={"enabled": True},
        deletionProtectionEnabled=True,
        ttl={"enabled": True, "attributeName": "expires"},
        warmThroughput={"readUnitsPerSecond": 12000, "writeUnitsPerSecond": 4000},
    )
    client = aws.client("dynamodb")
    table = client.describe_table(TableName=identity)["Table"]
    assert state["arn"] == table["TableArn"]
    assert state["tagsAll"] == {"project": "test"}
    assert [key["AttributeName"] for key in table["GlobalSecondaryIndexes"][0]["KeySchema"]] == ["shard", "due"]
    assert table["DeletionProtectionEnabled"] is True
    backups = client.describe_continuous_backups(TableName=identity)["ContinuousBackupsDescription"]
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"
    assert client.describe_time_to_live(TableName=identity)["TimeToLiveDescription"]["AttributeName"] == "expires"
    recorded = [json.loads(line) for line in (tmp_path / "recorded.jsonl").read_text().splitlines()]
    assert [(one["name"], one["what"].split(":")[0]) for one in recorded] == [("it", "warmThroughput")]

    assert stack.life(token).read(identity, state, inputs) == (state, inputs), "a refresh sees no drift"
    with pytest.raises(AwsError, match="DeleteTable"):
        stack.life(token).delete(identity, state)
    news = {
        **inputs,
        "deletionProtectionEnabled": False,
        "globalSecondaryIndexes": [{**index, "rangeKey": "id"}],
        "attributes": attributes[:2],
    }
    state = stack.life(token).update("it", identity, state, inputs, news)
    table = client.describe_table(TableName=identity)["Table"]
    assert [key["AttributeName"] for key in table["GlobalSecondaryIndexes"][0]["KeySchema"]] == ["shard", "id"]
    stack.life(token).delete(identity, state)
    assert stack.life(token).read(identity, state, news) is None
    stack.life(token).delete(identity, state)  # already gone is fine


def test_a_table_that_was_restored_under_its_name_gets_back_what_it_lacks(stack: Stack, aws: AwsAccount) -> None:
    token, client = "aws:dynamodb/table:Table", aws.client("dynamodb")
    key = aws.client("kms").create_key()["KeyMetadata"]["Arn"]
    given = {
        "pointInTimeRecovery": {"enabled": True},
        "ttl": {"enabled": True, "attributeName": "expires"},
        "serverSideEncryption": {"enabled": True, "kmsKeyArn": key},
        "tags": {"Owner": "payments"},
    }
    attributes = [{"name": "id", "type": "S"}]
    identity, state, inputs = stack.make(
        token, billingMode="PAY_PER_REQUEST", hashKey="id", attributes=attributes, **given
    )
    life = stack.life(token)
    assert life.read(identity, state, inputs) == (state, inputs)
    backup = client.create_backup(TableName=identity, BackupName="mid-run")["BackupDetails"]["BackupArn"]
    client.delete_table(TableName=identity)
    client.restore_table_from_backup(TargetTableName=identity, BackupArn=backup)
    found = life.read(identity, state, inputs)
    assert found
    assert {name for name in given if found[1][name] != inputs[name]} == given.keys()
    state = life.update("it", identity, found[0], found[1], inputs)
    assert life.read(identity, state, inputs) == (state, inputs), "all of it is there again"
    news = {name: value for name, value in inputs.items() if name != "ttl"}
    state = life.update("it", identity, state, inputs, news)
    assert client.describe_time_to_live(TableName=identity)["TimeToLiveDescription"]["AttributeName"] == "expires"
    life.delete(identity, state)


def test_a_queue_changes_only_what_changed_and_shows_drift(stack: Stack, aws: AwsAccount) -> None:
    token = "aws:sqs/queue:Queue"
    url, state, inputs = stack.make(token, visibilityTimeoutSeconds=60, delaySeconds=5)
    client = aws.client("sqs")

    def attributes() -> dict[str, str]:
        found: dict[str, str] = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return found

    assert attributes()["VisibilityTimeout"] == "60"
    assert state["maxMessageSize"] == int(attributes()["MaximumMessageSize"])
    news = {key: value for key, value in inputs.items() if key != "delaySeconds"} | {"visibilityTimeoutSeconds": 70}
    after = stack.life(token).update("it", url, state, inputs, news)
    assert (attributes()["VisibilityTimeout"], attributes()["DelaySeconds"]) == ("70", "0")
    assert after["maxMessageSize"] == state["maxMessageSize"], "an update keeps outputs"

    client.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "99"})
    found = stack.life(token).read(url, after, news)
    assert found is not None
    assert found[1] == {**news, "visibilityTimeoutSeconds": 99}
    stack.life(token).delete(url, after)
    assert stack.life(token).read(url, after, news) is None


def test_tags_are_set_changed_and_removed(stack: Stack, aws: AwsAccount) -> None:
    for token, given in (
        ("aws:iam/role:Role", {"assumeRolePolicy": '{"Version": "2012-10-17", "Statement": []}'}),
        ("aws:ec2/vpc:Vpc", {"cidrBlock": "10.0.0.0/16"}),
        ("aws:s3/bucket:Bucket", {}),
    ):
        identity, state, inputs = stack.make(token, **given, tags={"old": "1", "kept": "1"})
        news = {**inputs, "tags": {"project": "test", "kept": "2"}}
        after = stack.life(token).update("it", identity, state, inputs, news)
        assert after["tagsAll"] == {"project": "test", "kept": "2"}
        assert tags_of(aws, token, identity) == {"project": "test", "kept": "2"}, token
        stack.life(token).delete(identity, after)


def tags_of(aws: AwsAccount, token: str, identity: str) -> dict[str, str]:
    match token.split(":")[1].split("/")[0]:
        case "iam":
            pairs = aws.client("iam").list_role_tags(RoleName=identity)["Tags"]
        case "ec2":
            pairs = aws.client("ec2").describe_vpcs(VpcIds=[identity])["Vpcs"][0]["Tags"]
        case _:
            pairs = aws.client("s3").get_bucket_tagging(Bucket=identity)["TagSet"]
    return {pair["Key"]: pair["Value"] for pair in pairs}


def test_a_group_has_just_the_rules_of_the_program(stack: Stack, aws: AwsAccount) -> None:
    vpc, vpc_state, _ = stack.make("aws:ec2/vpc:Vpc", cidrBlock="10.0.0.0/16")
    token = "aws:ec2/securityGroup:SecurityGroup"
    rule = {"protocol": "tcp", "fromPort": 443, "toPort": 443, "cidrBlocks": ["0.0.0.0/0"], "description": "TLS"}
    group, state, inputs = stack.make(token, vpcId=vpc, egress=[rule], ingress=[])

    def egress() -> list[tuple[str, str]]:
        found = aws.client("ec2").describe_security_groups(GroupIds=[group])["SecurityGroups"][0]
        assert found["IpPermissions"] == []
        return [
            (permission["IpProtocol"], permission["IpRanges"][0].get("Description"))
            for permission in found["IpPermissionsEgress"]
        ]

    assert egress() == [("tcp", "TLS")], "AWS's own open egress is gone"
    news = {**inputs, "egress": [{**rule, "description": "TLS only"}]}
    state = stack.life(token).update("it", group, state, inputs, news)
    assert egress() == [("tcp", "TLS only")]
    default = vpc_state["defaultSecurityGroupId"]
    adopted, _, _ = stack.make("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup", vpcId=vpc, ingress=[], egress=[])
    assert adopted == default
    assert (
        aws.client("ec2").describe_security_groups(GroupIds=[default])["SecurityGroups"][0]["IpPermissionsEgress"] == []
    )
    stack.life(token).delete(group, state)
    stack.life("aws:ec2/vpc:Vpc").delete(vpc, vpc_state)


def test_what_fails_half_way_leaves_nothing_behind(
    stack: Stack, aws: AwsAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Session.call

    def call(client: Any, operation: str, given: Any) -> Any:
        if operation == "update_time_to_live":
            raise AwsError("UpdateTimeToLive", "AccessDeniedException", "no")
        return real(client, operation, given)

    monkeypatch.setattr(Session, "call", staticmethod(call))
    attributes = [{"name": "id", "type": "S"}]
    with pytest.raises(AwsError, match="UpdateTimeToLive: AccessDeniedException: no"):
        stack.make(
            "aws:dynamodb/table:Table",
            name="half",
            hashKey="id",
            attributes=attributes,
            billingMode="PAY_PER_REQUEST",
            ttl={"enabled": True},
        )
    assert "half" not in aws.client("dynamodb").list_tables()["TableNames"]


def test_code_is_uploaded_and_changed(stack: Stack, aws: AwsAccount) -> None:
    token = "aws:lambda/function:Function"
    trust = '{"Version": "2012-10-17", "Statement": []}'
    _, role, _ = stack.make("aws:iam/role:Role", name="runner", assumeRolePolicy=trust)

    def code(text: str) -> dict[str, Any]:
        asset = {SIGNATURE: ASSET, "text": f"def handler(event, context): return {text!r}", "hash": text}
        return {SIGNATURE: "0def7320c3a5731c473e5ecbe6d01bc7", "assets": {"app.py": asset}, "hash": text}

    given = {"role": role["arn"], "runtime": "python3.13", "handler": "app.handler"}
    name, state, inputs = stack.make(
        token, **given, code=code("one"), environment={"variables": {"A": "1"}}, reservedConcurrentExecutions=2
    )
    client = aws.client("lambda")
    assert json.loads(client.invoke(FunctionName=name)["Payload"].read()) == "one"
    assert client.get_function_concurrency(FunctionName=name)["ReservedConcurrentExecutions"] == 2
    news = {**given, "name": name, "tags": inputs["tags"], "code": code("two")}
    after = stack.life(token).update("it", name, state, inputs, news)
    assert json.loads(client.invoke(FunctionName=name)["Payload"].read()) == "two"
    assert after["sourceCodeHash"] != state["sourceCodeHash"]
    configuration = client.get_function_configuration(FunctionName=name)
    assert configuration.get("Environment", {}).get("Variables", {}) == {}, "what the program drops is cleared"
    assert "ReservedConcurrentExecutions" not in client.get_function_concurrency(FunctionName=name)
    stack.life(token).delete(name, after)


def test_a_type_without_support_is_kept_on_record(stack: Stack, tmp_path: Path) -> None:
    _, state, _ = stack.make("aws:budgets/budget:Budget", budgetType="COST", timeUnit="MONTHLY")
    assert state["arn"].startswith("arn:aws:budgets::")
    [line] = (tmp_path / "recorded.jsonl").read_text().splitlines()
    assert json.loads(line)["type"] == "aws:budgets/budget:Budget"


def test_a_vault_with_a_plan_and_what_it_copies(stack: Stack, aws: AwsAccount) -> None:
    backup = aws.client("backup")
    vault, state, _ = stack.make("aws:backup/vault:Vault", name="copies", kmsKeyArn="arn:aws:kms:us-east-1:1:key/1")
    assert backup.describe_backup_vault(BackupVaultName=vault)["EncryptionKeyArn"] == "arn:aws:kms:us-east-1:1:key/1"
    assert backup.list_tags(ResourceArn=state["arn"])["Tags"] == {"project": "test"}
    rule = {"ruleName": "weekly", "targetVaultName": vault, "schedule": "cron(0 5 ? * SUN *)", "startWindow": 60,
            "lifecycle": {"deleteAfter": 14}}  # fmt: skip
    plan, before, inputs = stack.make("aws:backup/plan:Plan", name="copies", rules=[rule])
    longer = {**inputs, "rules": [{**rule, "lifecycle": {"deleteAfter": 30}}]}
    stack.life("aws:backup/plan:Plan").update("it", plan, before, inputs, longer)
    (found,) = backup.get_backup_plan(BackupPlanId=plan)["BackupPlan"]["Rules"]
    assert found["Lifecycle"] == {"DeleteAfterDays": 30}
    assert (found["TargetBackupVaultName"], found["ScheduleExpression"]) == (vault, "cron(0 5 ? * SUN *)")
    role, table = "arn:aws:iam::1:role/backup", "arn:aws:dynamodb:us-east-1:1:table/transactions"
    chosen, kept, _ = stack.make("aws:backup/selection:Selection", planId=plan, iamRoleArn=role, resources=[table])
    answer = backup.get_backup_selection(BackupPlanId=plan, SelectionId=chosen)["BackupSelection"]
    assert (answer["IamRoleArn"], answer["Resources"]) == (role, [table])
    stack.life("aws:backup/selection:Selection").delete(chosen, kept)
    stack.life("aws:backup/plan:Plan").delete(plan, before)
    stack.life("aws:backup/vault:Vault").delete(vault, state)
    assert vault not in {one["BackupVaultName"] for one in backup.list_backup_vaults()["BackupVaultList"]}
