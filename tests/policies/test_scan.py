"""What checkov is given, and how its report is judged. `make check` runs checkov itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from analysis.graph import Record
from delivery.policies.plan_json import plan, terraform_type, values
from delivery.policies.scan import MOST_SKIPS, SHARES, STACKS, Result, Skip, judge, read, skips
from tests.program.conftest import records  # noqa: F401 - a fixture

TODAY = date(2026, 11, 24)
SKIP = Skip(("CKV_AWS_1",), ("aws_a.*",), "because", date(2027, 1, 1))
FAILED = ("CKV_AWS_1", "aws_a.b", "a thing")
PROD, DEV = Result("serverless-prod", 10, [FAILED]), Result("serverless-dev", 10, [FAILED])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("aws:dynamodb/table:Table", "aws_dynamodb_table"),
        ("aws:ec2/securityGroup:SecurityGroup", "aws_security_group"),
        ("aws:cloudwatch/logGroup:LogGroup", "aws_cloudwatch_log_group"),
        ("aws:rds/parameterGroup:ParameterGroup", "aws_db_parameter_group"),
        ("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup", "aws_default_security_group"),
    ],
)
def test_types_have_terraforms_names(ours: str, theirs: str) -> None:
    assert terraform_type(ours) == theirs


def test_values_have_terraforms_shapes() -> None:
    ours = {
        "kmsKeyId": "k",
        "retentionInDays": 365.0,
        "serverSideEncryption": {"enabled": True},
        "globalSecondaryIndexes": [{"hashKey": "h"}],
        "capacityProviderStrategies": [{"base": 2.0}],
        "subnetIds": ["a", "b"],
        "ingress": [{"fromPort": 1.0}],
        "tags": {"Owner": "x"},
        "environment": {"variables": {"GATEWAY_URL": "u"}},
    }
    assert values(ours) == {
        "kms_key_id": "k",
        "retention_in_days": 365,
        "server_side_encryption": [{"enabled": True}],
        "global_secondary_index": [{"hash_key": "h"}],
        "capacity_provider_strategy": [{"base": 2}],
        "subnet_ids": ["a", "b"],
        "ingress": [{"from_port": 1}],
        "tags": {"Owner": "x"},
        "environment": [{"variables": {"GATEWAY_URL": "u"}}],
    }


def test_a_plan_has_every_resource_and_who_refers_to_whom(records: dict[str, Record]) -> None:  # noqa: F811
    record = records["prod"]
    told = plan(record)
    made = [one for one in record.resources if one.custom and one.type.startswith("aws:")]
    assert len(told["planned_values"]["root_module"]["resources"]) == len(made)
    configured = {one["address"]: one["expressions"] for one in told["configuration"]["root_module"]["resources"]}
    assert "aws_vpc.vpc" in configured["aws_flow_log.flow-logs"]["vpc_id"]["references"]  # through awsx's component
    assert "aws_eip.egress-1" in configured["aws_nat_gateway.vpc-1"]["allocation_id"]["references"]
    assert "aws_s3_bucket.plans" in configured["aws_s3_bucket_policy.plans"]["bucket"]["references"]


def test_what_is_excused_passes() -> None:
    assert list(judge([PROD, DEV], [SKIP], TODAY)) == []


@pytest.mark.parametrize(
    ("results", "excused", "says"),
    [
        ([PROD], [], "serverless-prod: CKV_AWS_1 on aws_a.b: a thing"),
        ([PROD], [replace(SKIP, resources=("aws_c.*",))], "CKV_AWS_1 on aws_a.b"),
        ([PROD], [replace(SKIP, expires=date(2026, 11, 23))], "expired on 2026-11-23"),
        ([PROD], [replace(SKIP, reason=" ")], "has no reason"),
        ([replace(PROD, failed=[])], [SKIP], "excuses nothing"),
        ([replace(PROD, passed=0)], [SKIP], "serverless-prod: checkov judged nothing"),
        ([PROD, Result("fargate-dev", 8, [("CKV_AWS_2", "aws_a.b", "t")])], [SKIP], "fargate-dev: 89% of"),
        ([PROD, Result("fargate-staging", 9, [("CKV_AWS_2", "aws_a.b", "t")])], [SKIP], "fargate-staging: 90% of"),
        (
            [replace(PROD, failed=[(f"CKV_AWS_{n}", "aws_a.b", "t") for n in range(9)])],
            [replace(SKIP, checks=(f"CKV_AWS_{n}",), reason=str(n)) for n in range(9)],
            "there are 9 skips; allowed: 8",
        ),
    ],
)
def test_what_speaks_against_it_is_named(results: list[Result], excused: list[Skip], says: str) -> None:
    assert any(says in line for line in judge(results, excused, TODAY))


def test_the_report_is_read_by_stack() -> None:
    passed = {"file_path": "/serverless-prod.json", "check_id": "A", "resource": "r", "check_name": "n"}
    report = {"results": {"passed_checks": [passed, passed], "failed_checks": [{**passed, "check_id": "B"}]}}
    first = next(one for one in read(report) if one.stack == "serverless-prod")
    assert (first.passed, first.failed) == (2, [("B", "r", "n")])


def test_every_skip_has_a_reason_and_a_date_to_come() -> None:
    rows = skips()
    assert rows
    assert all(len(row.reason) > 30 for row in rows)


def test_the_skips_are_few_and_each_environment_is_scanned() -> None:
    assert len(skips()) <= MOST_SKIPS
    assert {name.partition("-")[2] for name in STACKS} == {"dev", "staging", "prod"}
    assert set(SHARES) == {"dev", "staging"}, "in prod all pass"
