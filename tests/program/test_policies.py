"""Every policy of every stack through an independent linter, and the endpoints' in particular."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest

from alternatives import ALTERNATIVES
from analysis.graph import ACCOUNT, Record
from components import iam, network
from components.settings import INTERFACE_ENDPOINTS
from tests.program.invariants import NETWORK_FAULTS, WILDCARDS
from workers.domain.transaction import CANARY

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it imports pkg_resources, which setuptools deprecates
    import parliament

KNOWN: set[tuple[str, str]] = {
    # where, issue: why the linter is wrong
    # AWS documents ArnLike for this very key (CloudWatch Logs, "Encrypt log data using KMS")
    ("aws:kms/key:Key logs policy", "MISMATCHED_TYPE"),
    # AWS's own policy for Distributed Map names executions; the linter's data only knows Express ones
    ("aws:iam/rolePolicy:RolePolicy state-machine policy", "RESOURCE_MISMATCH"),
    # the linter's data for listing and reading executions knows only map runs and Express
    *(
        (f"aws:iam/policy:Policy operators{who} policy", "RESOURCE_MISMATCH")
        for who in ("", "-viewer", "-maker", "-checker")
    ),
    # the prefix lists of AWS's services belong to an account that is called `aws`
    *((f"aws:iam/rolePolicy:RolePolicy experiment-{name} policy", "INVALID_ARN") for name in NETWORK_FAULTS),
}


def findings(document: dict[str, Any]) -> list[Any]:
    return list(parliament.analyze_policy_string(json.dumps(document)).findings)


def test_the_linter_finds_nothing_that_is_not_known(records: dict[str, Record]) -> None:
    seen: set[tuple[str, str]] = set()
    new = []
    for where, document in (policy for record in records.values() for policy in record.policies()):
        if where.endswith("assumeRolePolicy"):  # what trusts has no resource, and the linter wants one
            document = {**document, "Statement": [{**s, "Resource": "*"} for s in document["Statement"]]}
        for finding in findings(document):
            # stars have a list of their own (WILDCARDS), and in a key's policy they mean that key
            if finding.issue == "RESOURCE_STAR":
                continue
            seen.add((where, finding.issue))
            if (where, finding.issue) not in KNOWN:
                new.append((where, finding.issue, finding.detail))
    assert new == []
    assert seen == KNOWN, "an exception that is no longer needed"


@pytest.mark.parametrize(
    ("change", "issue"),
    [
        ({"Action": ["dynamodb:Querry"]}, "UNKNOWN_ACTION"),
        ({"Resource": "arn:aws:s3:::bucket/key"}, "RESOURCE_MISMATCH"),
        ({"Condition": {"StringEquals": {"dynamodb:Keys": "#run"}}}, "UNKNOWN_CONDITION_FOR_ACTION"),
    ],
)
def test_the_linter_notices_mistakes(records: dict[str, Record], change: dict[str, Any], issue: str) -> None:
    document = json.loads(records["dev"].one("aws:iam/rolePolicy:RolePolicy", "report").inputs["policy"])
    statement = {**document["Statement"][0], **change}
    assert issue in {finding.issue for finding in findings({**document, "Statement": [statement]})}


def test_a_wildcard_without_a_reason_cannot_even_be_written() -> None:
    with pytest.raises(ValueError, match="resource \\* needs a reason"):
        iam.Statement("All", ("s3:GetObject",), ("*",))
    with pytest.raises(ValueError, match="name each action"):
        iam.Statement("All", ("s3:*",), ("arn:aws:s3:::bucket",))
    assert all(WILDCARDS.values())


def test_endpoints_let_our_account_through_alone(serverless: Record) -> None:
    (vpc,) = serverless.all("awsx:ec2:Vpc")
    table = serverless.one("aws:dynamodb/table:Table", "transactions").outputs["arn"]
    for spec in vpc.inputs["vpcEndpointSpecs"]:
        (statement,) = json.loads(spec["policy"])["Statement"]
        assert statement["Condition"]["StringEquals"]["aws:PrincipalAccount"] == ACCOUNT
        if spec["serviceName"].endswith("dynamodb"):
            assert statement["Resource"] == [table, f"{table}/index/*"]
        else:
            assert statement["Condition"]["StringEquals"]["aws:ResourceAccount"] == ACCOUNT


def test_interface_endpoints_let_our_account_do_what_workers_do_alone(records: dict[str, Record]) -> None:
    assert set(network.ENDPOINT_ACTIONS) == set(INTERFACE_ENDPOINTS)
    seen = set()
    for stack in ("extremes", "fargate-extremes"):
        for endpoint in records[stack].all("aws:ec2/vpcEndpoint:VpcEndpoint"):
            if endpoint.inputs["vpcEndpointType"] != "Interface":
                continue
            (statement,) = json.loads(endpoint.inputs["policy"])["Statement"]
            assert statement["Condition"] == {"StringEquals": {"aws:PrincipalAccount": ACCOUNT}}
            assert statement["Resource"] == "*" or f":{ACCOUNT}:" in statement["Resource"]
            service = endpoint.inputs["serviceName"].split(".", 3)[3]
            assert {action.split(":")[0] for action in statement["Action"]} == {service.split(".")[0]}
            seen.add(service)
    assert seen == {"ecr.api", "ecr.dkr", "kms", "secretsmanager", "xray"}


def test_interface_endpoints_let_through_what_the_workers_may(records: dict[str, Record]) -> None:
    """All that a worker's role or its execution role may do in a service that can have an endpoint."""
    through = {action for actions, _ in network.ENDPOINT_ACTIONS.values() for action in actions}
    served = {action.split(":")[0] for action in through}
    for stack, workers in (
        ("dev", ("plan", "confirm", "report")),
        (
            "fargate-asleep",
            ("worker-payments", "worker-task", "worker-execution", "migrations", "migrations-execution", "publisher"),
        ),
    ):
        for worker in workers:
            document = json.loads(records[stack].one("aws:iam/rolePolicy:RolePolicy", worker).inputs["policy"])
            may = {action for statement in document["Statement"] for action in statement["Action"]}
            assert {action for action in may if action.split(":")[0] in served} <= through


def test_operators_may_what_their_command_does(recorded: Record) -> None:
    document = json.loads(recorded.one("aws:iam/policy:Policy", "operators").inputs["policy"])
    statements = document["Statement"]
    needed = ALTERNATIVES[recorded.alternative].stacks().operators
    assert {action for statement in statements for action in statement["Action"]} == set(needed)
    refused = [one for one in statements if one["Effect"] == "Deny"]
    if recorded.alternative == "serverless":
        (own,) = refused
        assert own["Action"] == ["dynamodb:PartiQLInsert"]
        assert own["Condition"] == {"ForAnyValue:StringLike": {"dynamodb:LeadingKeys": [f"{CANARY}*", "#*"]}}
    else:
        assert refused == []
    for statement in statements:
        assert all(resource.startswith("arn:aws:") for resource in statement["Resource"])
        assert all(ACCOUNT in resource for resource in statement["Resource"])
    if recorded.alternative == "fargate":  # neither the workers' user nor the master
        (user,) = statements[0]["Resource"]
        assert user.endswith("/confirm_operator")


def test_endpoints_let_through_what_the_workers_may(serverless: Record) -> None:
    """A grant that the endpoint refuses is none."""
    (vpc,) = serverless.all("awsx:ec2:Vpc")
    open_ = {
        action
        for spec in vpc.inputs["vpcEndpointSpecs"]
        for statement in json.loads(spec["policy"])["Statement"]
        for action in statement["Action"]
    }
    for function in ("plan", "confirm", "report"):
        document = json.loads(serverless.one("aws:iam/rolePolicy:RolePolicy", function).inputs["policy"])
        wanted = {a for s in document["Statement"] for a in s["Action"] if a.startswith(("dynamodb:", "s3:"))}
        assert wanted
        assert wanted <= open_


def test_images_come_through_the_endpoint_and_nothing_else_goes(fargate: Record) -> None:
    """ECR keeps layers in a bucket of AWS's, and Fargate fetches them as AWS's principal: a policy that names our
    account lets no task start."""
    (vpc,) = fargate.all("awsx:ec2:Vpc")
    (spec,) = vpc.inputs["vpcEndpointSpecs"]
    (statement,) = json.loads(spec["policy"])["Statement"]
    assert spec["serviceName"].endswith(".s3")
    assert statement["Resource"] == "arn:aws:s3:::prod-us-east-1-starport-layer-bucket/*"
    assert (statement["Principal"], statement["Action"]) == ("*", ["s3:GetObject"])
    assert "Condition" not in statement
