"""The pipeline's roles, held to what the provider really calls: each call is asked about with the resources, tags and
conditions that it carries, of both alternatives, to create, refresh, update and destroy (calls.py)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import pytest

from analysis.graph import ACCOUNT, Record, record, record_bootstrap
from components.bootstrap.permissions import APPLY
from tests.access.authorization import (
    Document,
    Principal,
    Question,
    Unanswerable,
    ask,
    kind,
    knows,
    level,
    managed,
    takes,
)
from tests.access.calls import CALLS, HERE, MORE, PARTS, STEPS, TYPES, Stack, action, given, questions, worn
from tests.access.calls import STACKS as CALLED
from tests.program.conftest import ALTERNATIVE_OF
from tests.program.conftest import STACKS as TESTED

STACKS = ("dev", "extremes", "fargate-asleep", "fargate-extremes")
"""With all the resources, and all the ways to have them, that there are."""
READERS = ("plan", "verify", "review")
ADMINISTRATOR = Principal("administrator", [{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}])
ROLE, POLICY = "aws:iam/role:Role", "aws:iam/policy:Policy"
INLINE, ATTACHED = "aws:iam/rolePolicy:RolePolicy", "aws:iam/rolePolicyAttachment:RolePolicyAttachment"


@cache
def bootstrap() -> Record:
    return record_bootstrap()


@cache
def recorded(name: str) -> Record:
    return record(ALTERNATIVE_OF[name], **TESTED[name])


@cache
def stack(name: str) -> Stack:
    return Stack(recorded(name), boundary().outputs["arn"])


def boundary() -> Any:
    return bootstrap().one(POLICY, "boundary")


@cache
def asked(name: str, step: str) -> Sequence[tuple[str, Question]]:
    return tuple(questions(stack(name), step))


def everything(*steps: str) -> Iterator[tuple[Stack, str, Question]]:
    for name in STACKS:
        for step in steps or STEPS:
            for operation, question in asked(name, step):
                yield stack(name), operation, question


def documents(name: str) -> dict[str, Document]:
    """A role's policies by name, as they are after the next change of the role: where the program lists what a role
    has attached, AWS's provider detaches all else."""
    made = bootstrap()
    role = made.one(ROLE, name)
    found = {
        one.name: json.loads(one.inputs["policy"]) for one in made.all(INLINE) if one.inputs["role"] == _name(role)
    }
    own = {one.outputs["arn"]: json.loads(one.inputs["policy"]) for one in made.all(POLICY)}
    attached = [one.inputs["policyArn"] for one in made.all(ATTACHED) if one.inputs["role"] == _name(role)]
    for arn in role.inputs.get("managedPolicyArns") or attached:
        found[arn.rpartition("/")[2]] = own[arn] if arn in own else managed(arn)
    return found


def _name(role: Any) -> str:
    return str(role.outputs["name"])


@cache
def principal(name: str) -> Principal:
    return Principal(_name(bootstrap().one(ROLE, name)), list(documents(name).values()))


def refused(who: Principal, asking: Iterator[tuple[Stack, str, Question]]) -> list[str]:
    return [
        f"{operation}: {question}"
        for of, operation, question in asking
        if not ask(who, question, of.policies.get(question.resource)).allowed
    ]


# --- all that is called is allowed


def test_each_recorded_call_is_asked_about() -> None:
    assert len(CALLED) > 200
    assert set(CALLS) == set(CALLED)
    asking = {operation for _, operation, _ in everything()}
    assert asking == {*CALLS, *(operation for rows in MORE.values() for operation in rows)}


def test_each_type_of_the_program_is_asked_about() -> None:
    there = {one.type for name in STACKS for one in recorded(name).resources if one.custom}
    known = {type_ for type_, _ in TYPES.values()} | PARTS.keys()
    missing = {one for one in there if one.startswith("aws:")} - known
    assert missing == set(), "rows in tests/access/calls.py say what their calls ask of IAM"
    assert set(PARTS.values()) <= TYPES.keys()


def test_each_resource_that_an_action_wants_is_asked_about() -> None:
    """AWS wants all the resources of a call allowed; those that the reference marks can't be left out."""
    kinds: dict[str, set[str]] = {}
    for _, operation, question in everything():
        if question.action == action(operation):
            kinds.setdefault(question.action, set()).add(kind(question.action, question.resource))
    missing = {
        what: left
        for what, found in kinds.items()
        if (left := {one.rstrip("*") for one in takes(what) if one.endswith("*")} - found)
    }
    assert missing == {}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", STACKS)
def test_apply_may(name: str, step: str) -> None:
    assert refused(principal("apply"), ((stack(name), *one) for one in asked(name, step))) == []


@pytest.mark.parametrize("role", READERS)
def test_whoever_refreshes_may_read_all_that_a_refresh_reads(role: str) -> None:
    """And the functions' environments among it: else each of them has drifted."""
    assert refused(principal(role), everything("plan")) == []
    variables = [question for _, _, question in everything("plan") if question.action == "kms:Decrypt"]
    assert variables
    table = "kms:EncryptionContext:aws:dynamodb:tableName"
    for question in variables:
        # not what else the key seals, and not through Lambda for a function that is another's
        context = dict(question.context) | {
            "kms:EncryptionContext:aws:lambda:FunctionArn": f"arn:aws:lambda:{HERE}:function:x"
        }
        assert not ask(principal("plan"), Question("kms:Decrypt", question.resource, context)).allowed
        through = dict(question.context) | {
            "kms:ViaService": "dynamodb.us-east-1.amazonaws.com",
            table: "transactions-1",
        }
        assert not ask(principal("plan"), Question("kms:Decrypt", question.resource, through)).allowed


def test_an_administrator_may_do_it_all_by_hand() -> None:
    """No policy of a resource stands in the way of `pulumi up` by a person: the vault's key asks for RetireGrant."""
    assert refused(ADMINISTRATOR, everything()) == []


def test_no_role_lists_what_others_attach_to_it() -> None:
    """The list is the whole: with the next change of the role, all that came by a resource of its own is gone."""
    for made in (bootstrap(), *map(recorded, STACKS)):
        for role in made.all(ROLE):
            assert not {"managedPolicyArns", "inlinePolicies"} & role.inputs.keys(), role
        apart = {one.type for one in made.resources} & {
            # rules and routes beside the group or table that lists its own: the same quarrel
            "aws:ec2/securityGroupRule:SecurityGroupRule",
            "aws:iam/policyAttachment:PolicyAttachment",
            "aws:iam/rolePoliciesExclusive:RolePoliciesExclusive",
            "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule",
            "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
        }
        assert apart == set()
        for table in made.some("aws:ec2/routeTable:RouteTable"):
            assert "routes" not in table.inputs


# --- and nothing else


def own_statements() -> list[Mapping[str, Any]]:
    return [
        one
        for name, document in documents("apply").items()
        if name != "ReadOnlyAccess"
        for one in document["Statement"]
        if one["Effect"] == "Allow"
    ]


OF_THE_STATE = {"StateBucket", "State", "Locks", "StateSecrets"}
"""What Pulumi's backend asks; the provider does not."""
BESIDE = {
    # granted, and asked for by no call of the provider
    "ecs:StopTask": "the migrations' task that takes too long (components/one_off_task.py)",
    "logs:CreateLogDelivery": "Step Functions and FIS may ask it of whoever sets their logs",
    "logs:DeleteLogDelivery": "Step Functions and FIS may ask it of whoever sets their logs",
    "logs:UpdateLogDelivery": "Step Functions and FIS may ask it of whoever sets their logs",
    "s3:TagResource": "later versions of the provider tag buckets so",
    "s3:UntagResource": "later versions of the provider tag buckets so",
    "secretsmanager:DeleteResourcePolicy": "a secret's policy, which the program has none of so far",
    "secretsmanager:PutResourcePolicy": "a secret's policy, which the program has none of so far",
    "sns:SetSubscriptionAttributes": "a subscription's filter, which the program has none of so far",
}


def test_each_action_of_apply_is_called() -> None:
    called = {question.action for _, _, question in everything()}
    granted = {what for one in own_statements() if one["Sid"] not in OF_THE_STATE for what in one["Action"]}
    assert granted - called == set(BESIDE)


def test_without_any_one_statement_a_call_is_refused() -> None:
    """And so each is there for something, and the simulator sees it."""
    decided: dict[str, list[tuple[Stack, Question]]] = {}
    for of, _, question in everything():
        answer = ask(principal("apply"), question, of.policies.get(question.resource))
        decided.setdefault(answer.sid, []).append((of, question))
    idle = []
    for one in own_statements():
        rest = [
            {"Statement": [each for each in document["Statement"] if each != one]}
            for document in documents("apply").values()
        ]
        less = Principal("apply", rest)
        hits = decided.get(one["Sid"], [])
        if all(ask(less, question, of.policies.get(question.resource)).allowed for of, question in hits):
            idle.append(one["Sid"])
    # what ReadOnlyAccess has too stays here: AWS may take it away there
    assert set(idle) - OF_THE_STATE == {"StateMachinesTheirText"}


def changes(*services: str) -> Iterator[tuple[Stack, Question]]:
    """What changes things of these services that are there and have tags."""
    for of, _, question in everything("update", "destroy"):
        tagged = "aws:ResourceTag/Project" in question.context
        if tagged and question.action.split(":")[0] in services and level(question.action) not in ("Read", "List"):
            yield of, question


BY_TAG = ("ec2", "events", "kms", "lambda")
"""Services whose resources go by the tag, as the program does not choose their names."""


def test_what_is_anothers_by_its_tag_apply_leaves_alone() -> None:
    seen = set()
    for of, question in changes(*BY_TAG):
        seen.add(question.action)
        theirs = Question(question.action, question.resource, {**question.context, "aws:ResourceTag/Project": "other"})
        assert not ask(principal("apply"), theirs, of.policies.get(question.resource)).allowed, theirs
    assert len(seen) > 40


CLAIMABLE = {
    # what Apply may do to what has no tag `Project` at all: as a new key has none that counts, and the default security
    # group of a VPC has none. Each gives the tag, or needs it, so what is another's is safe with a tag of its own.
    ("ec2:CreateTags", "security-group"),
    ("events:TagResource", "rule-on-default-event-bus"),
    ("kms:CreateGrant", "key"),
    ("kms:Decrypt", "key"),
    ("kms:Encrypt", "key"),
    ("kms:GenerateDataKey", "key"),
    ("kms:PutKeyPolicy", "key"),
    ("kms:RetireGrant", "key"),
    ("kms:TagResource", "key"),
    ("lambda:TagResource", "function"),
}


def test_what_has_no_tag_apply_may_claim_and_not_change() -> None:
    found = set()
    for of, question in changes(*BY_TAG):
        bare = {key: value for key, value in question.context.items() if not key.startswith("aws:ResourceTag/")}
        if ask(
            principal("apply"), Question(question.action, question.resource, bare), of.policies.get(question.resource)
        ).allowed:
            found.add((question.action, kind(question.action, question.resource)))
    assert found == CLAIMABLE


def test_the_states_key_is_never_the_programs() -> None:
    """It has a tag `Project` of its own, so that Apply cannot take it over by giving it the program's."""
    key = bootstrap().one("aws:kms/key:Key", "state")
    policy = json.loads(key.inputs["policy"])
    (tags,) = {one.inputs["defaultTags"] for one in bootstrap().all("pulumi:providers:aws")}
    has = worn(json.loads(tags)["tags"])
    assert has["aws:ResourceTag/Project"] == "confirm-transactions-bootstrap"
    claim = given({"Project": "confirm-transactions"})
    for what in (
        "TagResource",
        "UntagResource",
        "PutKeyPolicy",
        "ScheduleKeyDeletion",
        "DisableKeyRotation",
        "CreateAlias",
    ):
        question = Question(f"kms:{what}", key.outputs["arn"], {**has, **claim})
        assert not ask(principal("apply"), question, policy).allowed, question
        assert ask(ADMINISTRATOR, question, policy).allowed, question


def test_a_role_gets_the_boundary_or_nothing() -> None:
    role = f"arn:aws:iam::{ACCOUNT}:role/worker-1234567"
    tags = given({"Project": "confirm-transactions"})
    for what, more in (("CreateRole", tags), ("PutRolePolicy", {}), ("PutRolePermissionsBoundary", {})):
        for limit, allowed in (
            (boundary().outputs["arn"], True),
            (f"arn:aws:iam::{ACCOUNT}:policy/wide", False),
            (None, False),
        ):
            context = {**more, **({"iam:PermissionsBoundary": limit} if limit else {})}
            assert ask(principal("apply"), Question(f"iam:{what}", role, context)).allowed == allowed, (what, limit)


TABLE = f"arn:aws:dynamodb:{HERE}:table/transactions-1234567"
OTHERS = [
    # data of the account: this program's and another's
    ("s3:GetObject", "arn:aws:s3:::any-bucket-of-the-account/payments.csv"),
    ("s3:GetObjectVersion", "arn:aws:s3:::any-bucket-of-the-account/payments.csv"),
    ("s3:GetObject", "arn:aws:s3:::plans-1234567/plans/x/0.jsonl"),
    ("dynamodb:GetItem", TABLE),
    ("dynamodb:Scan", TABLE),
    ("dynamodb:Query", f"{TABLE}/index/pending"),
    ("dynamodb:PartiQLSelect", TABLE),
    ("dynamodb:Scan", f"arn:aws:dynamodb:{HERE}:table/customers"),
    ("logs:GetLogEvents", f"arn:aws:logs:{HERE}:log-group:/x:log-stream:y"),
    ("logs:FilterLogEvents", f"arn:aws:logs:{HERE}:log-group:/x"),
    ("cloudwatch:GetInsightRuleReport", f"arn:aws:cloudwatch:{HERE}:insight-rule/x"),
    ("xray:BatchGetTraces", "*"),
    ("xray:GetTraceSummaries", "*"),
    ("cloudtrail:LookupEvents", "*"),
    ("pi:GetResourceMetrics", f"arn:aws:pi:{HERE}:metrics/rds/db-X"),
    ("kinesis:GetRecords", f"arn:aws:kinesis:{HERE}:stream/x"),
    ("athena:GetQueryResults", f"arn:aws:athena:{HERE}:workgroup/x"),
    ("codecommit:GetFile", f"arn:aws:codecommit:{HERE}:x"),
    ("rds-data:ExecuteStatement", f"arn:aws:rds:{HERE}:cluster:x"),
    ("ec2:GetConsoleOutput", f"arn:aws:ec2:{HERE}:instance/i-0"),
]
ELSEWHERE = [
    # of services that the program has nothing of
    ("ssm:DescribeParameters", "*"),
    ("glue:GetTable", f"arn:aws:glue:{HERE}:table/x/y"),
    ("cloudformation:GetTemplate", f"arn:aws:cloudformation:{HERE}:stack/x/y"),
]


@pytest.mark.parametrize(
    ("role", "what", "resource"),
    # not of Apply: AWS makes calls to further services in its name
    [(role, *one) for role in (*READERS, "apply") for one in (*OTHERS, *(ELSEWHERE if role in READERS else ()))],
)
def test_no_role_reads_data_of_the_account(role: str, what: str, resource: str) -> None:
    """ReadOnlyAccess does, and a pull request of anybody has a role with it."""
    question = Question(what, resource, {"dynamodb:LeadingKeys": ["order-1"]})
    assert ask(ADMINISTRATOR, question).allowed
    assert not ask(principal(role), question).allowed


@pytest.mark.parametrize("role", READERS)
def test_whoever_plans_reads_the_state(role: str) -> None:
    bucket = bootstrap().one("aws:s3/bucket:Bucket", "state").outputs["arn"]
    assert ask(principal(role), Question("s3:GetObject", f"{bucket}/.pulumi/stacks/x.json")).allowed
    assert not ask(principal(role), Question("s3:GetObject", f"{bucket}/elsewhere")).allowed


@pytest.mark.parametrize(
    ("keys", "allowed"), [(["canary-1"], True), (["order-1"], False), (["canary-1", "order-1"], False), (None, False)]
)
def test_verify_reads_canaries_and_no_payment(keys: list[str] | None, allowed: bool) -> None:
    context = {} if keys is None else {"dynamodb:LeadingKeys": keys}
    assert ask(principal("verify"), Question("dynamodb:BatchGetItem", TABLE, context)).allowed == allowed


MANAGED = (
    f"arn:aws:iam::{ACCOUNT}:policy/operators-1234567",
    f"arn:aws:iam::{ACCOUNT}:policy/pipeline-confirm-dev-boundary",
)


@pytest.mark.parametrize("policy", MANAGED)
@pytest.mark.parametrize("what", ["CreatePolicyVersion", "DeletePolicyVersion", "SetDefaultPolicyVersion"])
def test_apply_changes_no_policy_that_somebody_has(what: str, policy: str) -> None:
    """People have the operators' policy, and no boundary of ours: its next version would be theirs at once."""
    assert ask(ADMINISTRATOR, Question(f"iam:{what}", policy)).allowed
    assert not ask(principal("apply"), Question(f"iam:{what}", policy)).allowed


def test_apply_attaches_no_policy_to_anybody() -> None:
    """Else a new one would be a person's by its own hand."""
    role, user, group = (f"arn:aws:iam::{ACCOUNT}:{one}/payment-operators" for one in ("role", "user", "group"))
    for what, on in (("AttachRolePolicy", role), ("AttachUserPolicy", user), ("AttachGroupPolicy", group)):
        for limit in (None, boundary().outputs["arn"]):
            context = {"iam:PolicyARN": MANAGED[0], **({"iam:PermissionsBoundary": limit} if limit else {})}
            assert not ask(principal("apply"), Question(f"iam:{what}", on, context)).allowed


@pytest.mark.parametrize("name", STACKS)
def test_the_operators_policy_is_another_one_with_each_change(name: str) -> None:
    """So Apply need not write a version, and what is attached stays as a person has read it, until he attaches the
    next one: AWS deletes none that is attached."""
    policy = recorded(name).one(POLICY, "operators")
    assert policy.replace_on_changes == ["policy"]
    assert policy.retain_on_delete
    assert "name" not in policy.inputs, "two of one name cannot be"


@pytest.mark.parametrize("name", STACKS)
def test_a_restore_is_a_persons(name: str) -> None:
    """docs/restore.md: to restore a table AWS wants whoever asks to read and write its items, which no role of the
    pipeline may."""
    table = f"arn:aws:dynamodb:{HERE}:table/transactions-1234567"
    of = f"arn:aws:rds:{HERE}:cluster:confirm-transactions-fargate"
    wanted = {
        "dynamodb": [("RestoreTableToPointInTime", table), ("Scan", table), ("PutItem", table)],
        "rds": [("RestoreDBClusterToPointInTime", of), ("RestoreDBClusterFromSnapshot", of)],
    }
    service = "dynamodb" if ALTERNATIVE_OF[name] == "serverless" else "rds"
    for what, resource in wanted[service]:
        assert not ask(principal("apply"), Question(f"{service}:{what}", resource)).allowed
        assert ask(ADMINISTRATOR, Question(f"{service}:{what}", resource)).allowed


# --- the program's own roles, within the boundary


def examples(statement: Mapping[str, Any]) -> Iterator[Question]:
    """A call of each action on each resource, with all that its conditions want."""
    context: dict[str, Any] = {}
    for operator, keys in (statement.get("Condition") or {}).items():
        for key, value in keys.items():
            values = [str(one).replace("*", "x") for one in (value if isinstance(value, list) else [value])]
            if operator != "Null":
                context[key] = values if operator.startswith("For") else values[0]
    for what in statement["Action"]:
        for resource in statement["Resource"]:
            yield Question(what, resource.replace("*", "x") if takes(what) else "*", context)


def test_the_boundary_leaves_the_programs_roles_all_that_they_have() -> None:
    limit = json.loads(boundary().inputs["policy"])
    seen = 0
    for name in STACKS:
        for policy in recorded(name).all(INLINE):
            document = json.loads(policy.inputs["policy"])
            alone, bound = Principal(policy.name, [document]), Principal(policy.name, [document], [[limit]])
            for statement in document["Statement"]:
                for question in examples(statement):
                    try:
                        allowed = ask(alone, question).allowed
                    except Unanswerable:  # an action that takes another of the statement's resources
                        continue
                    if allowed:
                        seen += 1
                        assert ask(bound, question).allowed, f"{name} {policy.name}: {question}"
    assert seen > 300


def test_the_boundary_keeps_the_programs_roles_from_the_state_and_from_iam() -> None:
    limit = json.loads(boundary().inputs["policy"])
    anything = Principal("worker", ADMINISTRATOR.policies, [[limit]])
    bucket = bootstrap().one("aws:s3/bucket:Bucket", "state").outputs["arn"]
    for question in (
        Question("iam:CreateRole", f"arn:aws:iam::{ACCOUNT}:role/worker-2"),
        Question("s3:GetObject", f"{bucket}/.pulumi/stacks/it.json"),
        Question("kms:Decrypt", bootstrap().one("aws:kms/key:Key", "state").outputs["arn"]),
    ):
        assert ask(ADMINISTRATOR, question).allowed
        assert not ask(anything, question).allowed


# --- the simulator itself

KEY = f"arn:aws:kms:{HERE}:key/0"
MINE = {"Statement": [{"Sid": "Mine", "Effect": "Allow", "Action": "kms:Decrypt", "Resource": KEY}]}


@pytest.mark.parametrize(
    ("what", "resource"),
    [
        ("kms:Decript", KEY),
        ("kms:Decrypt", "*"),
        ("kms:Decrypt", f"arn:aws:kms:{HERE}:alias/it"),
        ("kms:ListAliases", KEY),
    ],
)
def test_what_aws_would_not_ask_has_no_answer(what: str, resource: str) -> None:
    with pytest.raises(Unanswerable):
        ask(ADMINISTRATOR, Question(what, resource))


def test_a_condition_key_that_the_action_does_not_know_is_not_sent() -> None:
    role = f"arn:aws:iam::{ACCOUNT}:role/it"
    tags = given({"Project": "it"})
    wants = {"Condition": {"StringEquals": {"aws:RequestTag/Project": "it"}}, "Effect": "Allow", "Resource": "*"}
    for what, sent in (("iam:CreateRole", True), ("iam:PutRolePermissionsBoundary", False)):
        question = Question(what, role, tags)
        assert knows(question, "aws:RequestTag/Project") == sent
        assert ask(Principal("it", [{"Statement": [{**wants, "Action": what}]}]), question).allowed == sent


def test_a_key_must_say_yes_too() -> None:
    account = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    yes = {"Effect": "Allow", "Principal": account, "Action": "kms:Decrypt", "Resource": "*"}
    through = {**yes, "Condition": {"StringEquals": {"kms:ViaService": "lambda.us-east-1.amazonaws.com"}}}
    question = Question("kms:Decrypt", KEY)
    me = Principal("me", [MINE])
    assert ask(me, question, {"Statement": [yes]}).allowed
    assert not ask(me, question, {"Statement": [through]}).allowed
    assert not ask(me, question, {"Statement": []}).allowed
    assert not ask(me, question, {"Statement": [yes, {**yes, "Effect": "Deny"}]}).allowed
    assert not ask(Principal("me", []), question, {"Statement": [yes]}).allowed, "the account leaves it to IAM"


def test_limits_only_take_away() -> None:
    question = Question("kms:Decrypt", KEY)
    none: Document = {"Statement": []}
    assert ask(Principal("me", [MINE], [[MINE]]), question).allowed
    assert not ask(Principal("me", [MINE], [[MINE], [none]]), question).allowed
    assert not ask(Principal("me", [none], [[MINE]]), question).allowed


def test_the_grants_are_those_of_the_tables() -> None:
    """Apply has what permissions.py says, as managed policies: none was lost on the way."""
    sids = {one["Sid"] for one in own_statements()}
    assert {grant.sid for rows in APPLY.values() for grant in rows} <= sids
