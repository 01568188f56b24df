"""delivery/bootstrap/: the backend, and what the pipeline's roles may; held to program, provider and a linter."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

import pulumi
import pytest

from alternatives import stacks
from analysis.graph import ACCOUNT, ARNS, REGION, Record, record_bootstrap
from components.bootstrap import permissions, settings
from components.bootstrap.permissions import APPLY, PROGRAM_ROLES
from components.bootstrap.settings import ROLES
from delivery.azure_runner import CONNECTIONS
from local.provider import catalogue
from local.provider.model import Resource
from workers.domain.transaction import CANARY
from workers.service.__main__ import CANARY_USER

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it imports pkg_resources, which setuptools deprecates
    import parliament

ISSUER = "https://vstoken.dev.azure.com/00000000-0000-0000-0000-000000000000"
LEVELS = {
    f"{service['prefix']}:{one['privilege']}".lower(): one["access_level"]
    for service in parliament.iam_definition
    for one in service["privileges"]
}


@pytest.fixture(scope="module")
def made() -> Record:
    return record_bootstrap()


def statements(made: Record, role: str) -> list[Mapping[str, Any]]:
    """Of the role's own policy and those attached to it."""
    names = {
        role,
        *(name for policy in made.all("aws:iam/policy:Policy") if (name := policy.name).startswith(f"{role}-")),
    }
    policies = [*made.all("aws:iam/policy:Policy"), *made.all("aws:iam/rolePolicy:RolePolicy")]
    return [s for policy in policies if policy.name in names for s in json.loads(policy.inputs["policy"])["Statement"]]


def allowed(made: Record, role: str) -> dict[str, list[Mapping[str, Any]]]:
    """Statements by action, in small letters."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for statement in statements(made, role):
        if statement["Effect"] == "Allow":
            for action in statement["Action"]:
                found.setdefault(action.lower(), []).append(statement)
    return found


# --- the backend


def test_the_bucket_is_versioned_encrypted_private_and_kept(made: Record) -> None:
    bucket, key = made.one("aws:s3/bucket:Bucket", "state"), made.one("aws:kms/key:Key", "state")
    assert bucket.protect
    assert key.protect
    assert key.inputs["enableKeyRotation"] is True
    assert made.one("aws:s3/bucketVersioning:BucketVersioning", "state").inputs["versioningConfiguration"] == {
        "status": "Enabled"
    }
    block = made.one("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", "state").inputs
    assert [value for name, value in block.items() if name != "bucket"] == [True] * 4
    encryption = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    (rule,) = made.one(encryption, "state").inputs["rules"]
    assert rule["applyServerSideEncryptionByDefault"] == {
        "sseAlgorithm": "aws:kms",
        "kmsMasterKeyId": key.outputs["arn"],
    }
    (refuses,) = json.loads(made.one("aws:s3/bucketPolicy:BucketPolicy", "state").inputs["policy"])["Statement"]
    assert refuses["Effect"] == "Deny"
    assert refuses["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


# --- who may be whom


def test_each_role_is_opened_by_the_tokens_of_one_service_connection(made: Record) -> None:
    subjects = {}
    for role in made.all("aws:iam/role:Role"):
        (trust,) = json.loads(role.inputs["assumeRolePolicy"])["Statement"]
        assert trust["Action"] == "sts:AssumeRoleWithWebIdentity"
        host = ISSUER.removeprefix("https://")
        condition = trust["Condition"].pop("StringEquals")
        assert trust["Condition"] == {}
        assert condition.keys() == {f"{host}:aud", f"{host}:sub"}
        assert condition[f"{host}:aud"] == "api://AzureADTokenExchange"
        subjects[role.name] = condition[f"{host}:sub"]
    assert subjects == {
        **{role: f"sc://contoso/payments/confirm-dev-{role}" for role in (*ROLES, "review")},
        "build": "sc://contoso/payments/confirm-build",
    }
    provider = made.one("aws:iam/openIdConnectProvider:OpenIdConnectProvider", "azure-devops")
    assert provider.inputs["url"] == ISSUER


def test_the_connections_are_those_that_the_pipeline_uses(made: Record) -> None:
    there = set(made.outputs["serviceConnections"])
    for environment in ("staging", "prod"):
        there |= set(record_bootstrap(environment=environment, images="false").outputs["serviceConnections"])
    assert there == set(CONNECTIONS)


def test_an_account_has_one_provider_and_may_have_it_already() -> None:
    arn = f"arn:aws:iam::{ACCOUNT}:oidc-provider/vstoken.dev.azure.com/x"
    made = record_bootstrap(oidcProviderArn=arn, images="false", imageReaders='["123456789013"]')
    assert not made.some("aws:iam/openIdConnectProvider:OpenIdConnectProvider")
    assert not made.some("aws:ecr/repository:Repository")
    for role in made.all("aws:iam/role:Role"):
        assert json.loads(role.inputs["assumeRolePolicy"])["Statement"][0]["Principal"] == {"Federated": arn}


def test_other_accounts_may_pull_images_and_nothing_else() -> None:
    policy = record_bootstrap(imageReaders='["123456789013"]').one(
        "aws:ecr/repositoryPolicy:RepositoryPolicy", "images"
    )
    (statement,) = json.loads(policy.inputs["policy"])["Statement"]
    assert statement["Principal"] == {"AWS": ["arn:aws:iam::123456789013:root"]}
    assert all(LEVELS[action.lower()] == "Read" for action in statement["Action"])


# --- what they may

NO_WRITES = {"kms:decrypt", "kms:generatedatakey", "s3:deleteobject", "s3:putobject"}
"""For the lock that a refresh takes, and the state's encryption."""


@pytest.mark.parametrize("name", ["plan", "review"])
def test_plan_changes_nothing_but_its_lock(made: Record, name: str) -> None:
    may = allowed(made, name)
    assert {action for action in may if LEVELS[action] not in ("Read", "List")} <= NO_WRITES
    for action in ("s3:putobject", "s3:deleteobject"):
        (statement,) = may[action]
        assert all(resource.endswith("/.pulumi/locks/*") for resource in statement["Resource"])
    attached = made.all("aws:iam/rolePolicyAttachment:RolePolicyAttachment")
    own = made.one("aws:iam/role:Role", name).outputs["name"]
    has = [one.inputs["policyArn"] for one in attached if one.inputs["role"] == own]
    assert has == ["arn:aws:iam::aws:policy/ReadOnlyAccess"]


def test_pull_requests_have_a_role_in_dev_alone() -> None:
    """AWS sees the connection and no branch: so what every branch may is a role of its own, and reads dev."""
    having = []
    for environment in ("dev", "staging", "prod"):
        made = record_bootstrap(environment=environment)
        roles = {role.name for role in made.all("aws:iam/role:Role")}
        assert ("review" in roles) == ("confirm-dev-review" in made.outputs["serviceConnections"])
        having += [environment] if "review" in roles else []
    assert having == ["dev"]


@pytest.mark.parametrize("role", ["plan", "apply", "verify", "review"])
def test_nobody_reads_secrets_or_other_data(made: Record, role: str) -> None:
    refused = denied(made, role)
    assert {"secretsmanager:GetSecretValue", "logs:GetLogEvents", "sqs:ReceiveMessage"} <= refused
    assert {"dynamodb:GetItem", "dynamodb:Query", "dynamodb:Scan"} <= refused
    assert ("dynamodb:BatchGetItem" in refused) == (role != "verify")  # it looks at its canary
    assert "lambda:GetLayerVersion" not in refused, "Lambda asks it of whoever attaches a layer (adotLayer)"
    assert not refused & {action for action in allowed(made, role) if LEVELS[action] in ("Write", "Tagging")}


def denied(made: Record, role: str) -> set[str]:
    """What it is refused, whatever a call carries."""
    found = [one for one in statements(made, role) if one["Effect"] == "Deny" and "Condition" not in one]
    return {action for one in found for action in one.get("Action", ())}


def test_verify_may_send_its_canary_as_the_command_does(made: Record) -> None:
    """`confirm canary`: PutItem and BatchGetItem (workers/stores/dynamodb.py); and not one payment."""
    may = allowed(made, "verify")
    assert {action for action in may if action.startswith("dynamodb:") and LEVELS[action] == "Write"} == {
        "dynamodb:putitem"
    }
    for action in ("dynamodb:putitem", "dynamodb:batchgetitem"):
        (statement,) = may[action]
        assert statement["Condition"] == {
            "ForAllValues:StringLike": {"dynamodb:LeadingKeys": [f"{CANARY}*"]},
            "Null": {"dynamodb:LeadingKeys": "false"},
        }
    (database,) = may["rds-db:connect"]
    assert [resource.rpartition("/")[2] for resource in database["Resource"]] == [CANARY_USER]
    assert "dynamodb:BatchGetItem" not in denied(made, "verify")


def test_apply_cannot_change_its_own_role_or_state(made: Record) -> None:
    own = [f"arn:aws:iam::{ACCOUNT}:role/pipeline-confirm-dev-{role}" for role in (*ROLES, "build")]
    for action, found in allowed(made, "apply").items():
        for statement in found:
            if action.startswith("iam:"):
                matching = [arn for arn in own if any(fnmatchcase(arn, pattern) for pattern in statement["Resource"])]
                condition = json.dumps(statement.get("Condition", {}))
                assert not matching or "PermissionsBoundary" in condition or "Tag/Project" in condition, (
                    action,
                    matching,
                )
    assert "sts:assumerole" not in allowed(made, "apply")
    assert not any(
        action.startswith(("iam:attach", "iam:createuser", "iam:putuser", "iam:addroleto"))
        for action in allowed(made, "apply")
    )
    for statement in allowed(made, "apply")["iam:createpolicy"]:
        assert statement["Resource"] == [f"arn:aws:iam::{ACCOUNT}:policy/operators-*"]  # that people get, no role
    passed = allowed(made, "apply")["iam:passrole"]
    assert all("iam:PassedToService" in one["Condition"]["StringEquals"] for one in passed)


def test_a_new_role_has_the_boundary_or_is_not_made(made: Record) -> None:
    boundary = made.one("aws:iam/policy:Policy", "boundary").outputs["arn"]
    may = allowed(made, "apply")
    for action in ("iam:createrole", "iam:putrolepolicy", "iam:deleterolepolicy", "iam:putrolepermissionsboundary"):
        for statement in may[action]:
            assert statement["Condition"]["StringEquals"]["iam:PermissionsBoundary"] == boundary
    assert "iam:deleterolepermissionsboundary" not in may


def test_every_role_of_the_program_takes_the_boundary(records: dict[str, Record]) -> None:
    for stack in ("extremes", "fargate-extremes"):
        roles = records[stack].all("aws:iam/role:Role")
        assert {role.inputs.get("permissionsBoundary") for role in roles} == {stacks.BOUNDARY}
    assert not any("permissionsBoundary" in role.inputs for role in records["dev"].all("aws:iam/role:Role"))


def bounds(made: Record) -> list[Mapping[str, Any]]:
    return list(json.loads(made.one("aws:iam/policy:Policy", "boundary").inputs["policy"])["Statement"])


def within(boundary: list[Mapping[str, Any]], action: str, resource: str) -> bool:
    """Whether the boundary lets a role do that, if its own policy does."""
    hits = [
        one["Effect"]
        for one in boundary
        if any(fnmatchcase(action, pattern) for pattern in one["Action"])
        and any(fnmatchcase(resource, pattern) for pattern in one["Resource"])
    ]
    return bool(hits) and "Deny" not in hits


def own(records: Mapping[str, Record]) -> Iterator[tuple[str, str, str]]:
    """(policy, action, resource) of everything that the program's roles may."""
    for made in records.values():
        for policy in made.all("aws:iam/rolePolicy:RolePolicy"):
            for statement in json.loads(policy.inputs["policy"])["Statement"]:
                if statement["Effect"] == "Allow":
                    for action in statement["Action"]:
                        yield from ((policy.name, action, resource) for resource in statement["Resource"])


def test_the_boundary_holds_all_that_the_programs_roles_do(made: Record, records: dict[str, Record]) -> None:
    boundary = bounds(made)
    outside = {one for one in own(records) if not within(boundary, *one[1:])}
    assert sorted(outside) == [], "add it to BOUNDARY in components/bootstrap/boundary.py"


def test_the_boundary_holds_nothing_else(made: Record, records: dict[str, Record]) -> None:
    """Action by action: a service's every action is what an attacker would write into a role of his."""
    allowed_ = {action for one in bounds(made) if one["Effect"] == "Allow" for action in one["Action"]}
    assert not [action for action in allowed_ if "*" in action]
    assert allowed_ == {action for _, action, _ in own(records)}
    for statement in bounds(made):
        if statement["Effect"] == "Allow" and "*" in statement["Resource"]:
            assert statement["Sid"] in {
                "DrawnAlarms",
                "FindTasks",
                "Images",
                "LogsOfRuns",
                "Traces",
                "NetworkInterfaces",
            }


EVIL = [
    ("dynamodb:GetItem", "table/transactions-1234567"),
    ("dynamodb:Query", "table/payroll"),
    ("dynamodb:DeleteTable", "table/transactions-1234567"),
    ("s3:GetObject", "customers/2026.csv"),
    ("s3:ListBucket", "plans-1234567"),
    ("secretsmanager:GetSecretValue", "secret:root-of-everything-AbCdEf"),
    ("secretsmanager:PutSecretValue", "secret:gateway-key-1234567"),
    ("kms:ScheduleKeyDeletion", "key/data-1234567"),
    ("rds-db:connect", "dbuser:cluster-1/confirm_operator"),
    ("rds:ModifyDBCluster", "cluster:confirm-transactions-serverless"),
    ("ec2:RunInstances", "instance/*"),
    ("ec2:AuthorizeSecurityGroupIngress", "security-group/sg-1"),
    ("lambda:UpdateFunctionCode", "function:confirm-1234567"),
    ("lambda:InvokeFunction", "function:somebody-elses"),
    ("ecr:PutImage", "repository/workers-1234567"),
    ("ecs:ExecuteCommand", "task/confirm-transactions-fargate/1"),
    ("ssm:GetParameter", "parameter/all"),
    ("iam:CreateUser", "user/mallory"),
    ("iam:GetRole", "role/admin"),
    ("sts:AssumeRole", "role/admin"),
]


@pytest.mark.parametrize(("action", "resource"), EVIL, ids=lambda value: value.replace("/", "-"))
def test_a_role_that_may_everything_by_its_own_policy_may_not(made: Record, action: str, resource: str) -> None:
    service = action.partition(":")[0]
    where = {"s3": ":::", "iam": f"::{ACCOUNT}:"}.get(service, f":{REGION}:{ACCOUNT}:")
    assert not within(bounds(made), action, f"arn:aws:{service}{where}{resource}")


def test_the_boundary_keeps_the_state_and_its_key_from_every_role(made: Record) -> None:
    bucket, key = made.one("aws:s3/bucket:Bucket", "state"), made.one("aws:kms/key:Key", "state")
    assert not within(bounds(made), "s3:GetObject", f"{bucket.outputs['arn']}/.pulumi/stacks/x.json")
    assert not within(bounds(made), "kms:Decrypt", key.outputs["arn"])


# --- held to the program


def operations(entry: Resource) -> Iterator[str]:
    """All that the local provider calls for a type that changes something."""
    calls = [entry.create, entry.delete, *entry.updates]
    yield from (call.operation for call in calls if call)
    yield from (call.remove for call in entry.updates if call.remove)
    if entry.tagging:
        yield from (entry.tagging.add, entry.tagging.remove)


IAM_NAMES = {"stepfunctions": "states"}
OTHERWISE = {
    "s3:deletebucketencryption": "s3:putencryptionconfiguration",
    "s3:deletebucketlifecycle": "s3:putlifecycleconfiguration",
    "s3:deletebucketownershipcontrols": "s3:putbucketownershipcontrols",
    "s3:deletepublicaccessblock": "s3:putbucketpublicaccessblock",
    "s3:putbucketencryption": "s3:putencryptionconfiguration",
    "s3:putbucketlifecycleconfiguration": "s3:putlifecycleconfiguration",
    "s3:putpublicaccessblock": "s3:putbucketpublicaccessblock",
    "budgets:createbudget": "budgets:modifybudget",
    "budgets:deletebudget": "budgets:modifybudget",
    "budgets:updatebudget": "budgets:modifybudget",
    "budgets:tagresource": "budgets:modifybudget",
    "budgets:untagresource": "budgets:modifybudget",
    "iam:deleterolepermissionsboundary": "",  # what makes a role mightier is not Apply's
    "iam:attachrolepolicy": "",
    "iam:createpolicyversion": "",  # another text is another policy (components/operators.py)
    "iam:detachrolepolicy": "",
}
"""Actions that are called otherwise than the operation; "" for what Apply may not do, and need not."""


def test_apply_may_do_all_that_the_local_provider_does(made: Record, records: dict[str, Record]) -> None:
    may = allowed(made, "apply")
    missing = set()
    for kind in {one.type for found in records.values() for one in found.resources if one.custom}:
        entry = catalogue.find(kind) if kind.startswith("aws:") else None
        if entry and entry.service:
            for operation in operations(entry):
                service = IAM_NAMES.get(entry.service, entry.service)
                action = f"{service}:{operation.replace('_', '')}"
                if (wanted := OTHERWISE.get(action, action)) and wanted not in may:
                    missing.add(f"{kind}: {wanted}")
    assert sorted(missing) == [], "add them to components/bootstrap/permissions.py"


def test_the_names_are_those_that_the_program_makes(made: Record, records: dict[str, Record]) -> None:
    resources = [pattern for found in allowed(made, "apply").values() for s in found for pattern in s["Resource"]]
    seen = 0
    for record_ in records.values():
        for one in record_.resources:
            arn = one.outputs.get("arn", "")
            if one.type in ARNS and one.type != "aws:iam/role:Role":
                seen += 1
                assert any(p != "*" and fnmatchcase(arn, p) for p in resources), f"{arn} is none of Apply's names"
            elif one.type == "aws:iam/role:Role":
                assert one.name.startswith(PROGRAM_ROLES), f"{one.name}: add it to PROGRAM_ROLES"
    assert seen > 100


def test_no_service_is_granted_for_nothing(records: dict[str, Record]) -> None:
    modules = {
        one.type.split(":")[1].split("/")[0] for found in records.values() for one in found.resources if one.custom
    }
    names = {"appautoscaling": "application-autoscaling", "sfn": "states"}
    there = {names.get(module, module) for module in modules} | {"backup-storage", "logs", "events", "route53"}
    granted = {grant.service for grants in APPLY.values() for grant in grants}
    assert granted <= there


# --- the linter


KNOWN = {
    # what the linter says, and why it stays: the linter does not know Azure DevOps as an identity provider,
    ("assumeRolePolicy", "UNKNOWN_FEDERATION_SOURCE"),
    ("assumeRolePolicy", "UNKNOWN_CONDITION_FOR_ACTION"),
    # an alias is checked on the alias and on its key, which are in a statement each, as the key goes by its tag;
    ("apply-data policy", "RESOURCE_MISMATCH"),
    # an execution is asked for as one, and the linter wants those of express machines too, of which there are none;
    ("boundary policy", "RESOURCE_MISMATCH"),
    # who writes the bucket's policy could give itself what is in it: plans, which are lists of ids;
    ("apply-data policy", "RESOURCE_POLICY_PRIVILEGE_ESCALATION"),
    # it does not know this key, which comes with every request of a service on somebody's behalf;
    ("apply-watch policy", "UNKNOWN_CONDITION_FOR_ACTION"),
    # AWS's own examples compare iam:PermissionsBoundary with StringEquals
    ("apply-identity policy", "MISMATCHED_TYPE_BUT_USABLE"),
    # logs:GetLogObject is younger than the linter's list; it is refused to all
    *((f"{role} policy", "UNKNOWN_ACTION") for role in ("apply", "plan", "review", "verify")),
}


def test_the_linter_finds_nothing_that_is_not_known(made: Record) -> None:
    found = set()
    for where, document in made.policies():
        if where.endswith("assumeRolePolicy"):  # what trusts has no resource, and the linter wants one
            document = {**document, "Statement": [{**s, "Resource": "*"} for s in document["Statement"]]}
        for finding in parliament.analyze_policy_string(json.dumps(document)).findings:
            if finding.issue != "RESOURCE_STAR":  # each has its reason, or a condition
                end = where.rpartition(" ")[2] if where.endswith("assumeRolePolicy") else where.partition(" ")[2]
                found.add((end, finding.issue))
                if finding.issue == "UNKNOWN_ACTION":
                    assert "GetLogObject" in str(finding.detail)
                if finding.issue == "RESOURCE_MISMATCH":
                    service = "states" if "boundary" in end else "kms"
                    assert {detail["action"].partition(":")[0] for detail in finding.detail} == {service}
    assert found == KNOWN


def test_policies_fit(made: Record) -> None:
    """AWS counts no blanks: 6,144 characters for a managed policy, 10,240 for all inline ones of a role."""
    for policy in made.all("aws:iam/policy:Policy"):
        assert len(json.dumps(json.loads(policy.inputs["policy"]), separators=(",", ":"))) <= 6_144, policy
    attached = [one.inputs["role"] for one in made.all("aws:iam/rolePolicyAttachment:RolePolicyAttachment")]
    assert max(map(attached.count, attached)) <= 10


def test_a_star_needs_a_reason() -> None:
    grants = [grant for rows in APPLY.values() for grant in rows]
    assert len(grants) > 20
    for grant in grants:
        assert grant.on or grant.reason, grant.sid
    assert permissions.OURS == {"StringEquals": {"aws:ResourceTag/Project": "confirm-transactions"}}


# --- configuration

GOOD = {
    "environment": "dev",
    "owner": "payments",
    "costCenter": "payments-dev",
    "azureOrganization": "contoso",
    "azureProject": "payments",
    "oidcIssuer": ISSUER,
    "oidcAudience": "api://AzureADTokenExchange",
    "images": "true",
    "imageReaders": "[]",
    "oidcProviderArn": "",
}


def test_mistakes_are_told_together() -> None:
    with pytest.raises(pulumi.RunError) as error:
        settings.parse({**GOOD, "environment": "test", "oidcIssuer": "vstoken", "imageReaders": "[1]", "owners": "x"})
    said = str(error.value)
    assert 'environment: found "test"; allowed: dev, staging or prod' in said
    assert "pulumi config set environment dev" in said
    assert 'oidcIssuer: found "vstoken"; allowed: an https address' in said
    assert 'imageReaders: found "[1]"; allowed: account ids' in said
    assert "owners: found a key that does not exist" in said


@pytest.mark.parametrize("name", [name for name in GOOD if name != "oidcProviderArn"])
def test_each_key_is_needed(name: str) -> None:
    assert settings.parse(GOOD).subject("plan") == "sc://contoso/payments/confirm-dev-plan"
    with pytest.raises(pulumi.RunError, match=f"{name}: found nothing"):
        settings.parse({key: value for key, value in GOOD.items() if key != name})
