"""Who the pipeline is to AWS: Azure DevOps as an identity provider, and a role for each task. No key is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi
import pulumi_aws as aws

from components import iam
from components.account import Account
from components.bootstrap.backend import Backend
from components.bootstrap.boundary import BOUNDARY
from components.bootstrap.permissions import APPLY, CLAIMED, DATA, FUNCTIONS, NEW, OBJECTS, OURS, PROGRAM_ROLES, READ
from components.bootstrap.settings import REVIEW, REVIEWED, Bootstrap, connection
from components.iam import Statement
from components.settings import PROJECT

SESSION_SECONDS = 2 * 3600
"""A cluster's first creation takes most of an hour."""
IMAGES = "confirm-transactions"
SERVICES = ("backup", "chatbot", "ecs-tasks", "events", "fis", "lambda", "rds", "scheduler", "states", "vpc-flow-logs")
"""To which the program hands its roles."""
LINKED = (
    *("backup", "contributorinsights.dynamodb", "ecs", "ecs.application-autoscaling", "fis", "management.chatbot"),
    "rds",
)
"""Whose service-linked roles AWS makes at their first use."""


class Identity(pulumi.ComponentResource):
    """Creates: the OIDC provider (unless the account has it), the permissions boundary of the program's roles, and the
    roles plan, apply and verify; in dev the role review; where this account keeps the images, their repository and the
    role build.

    AWS is told by a token which service connection asks, and nothing more: IAM reads `aud` and `sub` of a provider like
    this one, and Azure's `sub` names organization, project and connection. The branch stands in claims that IAM does
    not read. So what main may and what every branch may are two connections here, with a role each, and the branch is
    held by Azure's branch control on the connection (delivery/pipeline/gates.py looks that it is there).
    """

    roles: Mapping[str, aws.iam.Role]
    """By service connection."""
    boundary: aws.iam.Policy
    repository: aws.ecr.Repository | None = None

    def __init__(
        self,
        name: str,
        settings: Bootstrap,
        account: Account,
        backend: Backend,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("confirm-transactions:bootstrap:Identity", name, {}, opts)
        self._settings, self._account, self._backend = settings, account, backend
        self._inside = pulumi.ResourceOptions(parent=self)
        self._provider_arn: pulumi.Input[str] = (
            settings.provider_arn
            or aws.iam.OpenIdConnectProvider(
                "azure-devops", url=settings.issuer, client_id_lists=[settings.audience], opts=self._inside
            ).arn
        )
        self.boundary = aws.iam.Policy(
            "boundary",
            name=f"{account.prefix}-boundary",
            description="The most that roles made by the program may do",
            policy=iam.policy(
                *(grant.statement(account) for grant in BOUNDARY),
                {
                    "Sid": "NotTheStateOfTheStacks",
                    "Effect": "Deny",
                    "Action": ["s3:*"],
                    "Resource": [backend.bucket.arn, self._objects("*")],
                },
                {"Sid": "NotItsKey", "Effect": "Deny", "Action": ["kms:*"], "Resource": [backend.key.arn]},
            ),
            opts=self._inside,
        )
        made = {
            "plan": self._role("plan", "Reads for a plan, and changes nothing"),
            "verify": self._role("verify", "Looks at what was applied, and adds a canary transaction"),
            "apply": self._role("apply", "Changes what the program makes, and nothing else"),
        }
        reads = [*self._state(writes=False), self._variables()]
        self._grant("plan", made["plan"], [*reads, *self._no_data(), _no_other_service()])
        self._grant(
            "verify",
            made["verify"],
            [*reads, *self._canary(), *self._no_data("dynamodb:BatchGetItem"), *_no_payment(), _no_other_service()],
        )
        self._grant("apply", made["apply"], [*self._state(writes=True), *self._no_data()])
        for group, grants in APPLY.items():
            self._attach(f"apply-{group}", made["apply"], [grant.statement(account) for grant in grants])
        self._attach("apply-identity", made["apply"], self._identity())
        if settings.environment == REVIEWED:
            made[REVIEW] = self._role(REVIEW, "Shows what a pull request would change here")
            self._grant(REVIEW, made[REVIEW], [*reads, *self._no_data(), _no_other_service()])
        for name, role in made.items():
            self._attachment(f"{name}-reads", role, f"arn:{account.partition}:iam::aws:policy/ReadOnlyAccess")
        self.roles = {connection(settings.environment, role): made[role] for role in made}
        if settings.images:
            self.repository = self._images()
            build = self._role("build", "Pushes images, and nothing else")
            self._grant("build", build, self._push(self.repository))
            self.roles = {**self.roles, connection(settings.environment, "build"): build}
        self.register_outputs({})

    def _objects(self, end: str) -> pulumi.Output[str]:
        return self._backend.bucket.arn.apply(lambda arn: f"{arn}/{end}")

    # -- roles

    def _role(self, name: str, description: str) -> aws.iam.Role:
        """A role that a token of its own service connection opens, and nothing else.

        Without `managed_policy_arns`: that list is the whole of what a role may have attached, and each change of the
        role would detach all that `_attachment` attached.
        """
        settings = self._settings
        host = settings.issuer.removeprefix("https://")
        trust = {
            "Sid": "ServiceConnection",
            "Effect": "Allow",
            "Principal": {"Federated": self._provider_arn},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {
                "StringEquals": {f"{host}:aud": settings.audience, f"{host}:sub": settings.subject(name)},
            },
        }
        return aws.iam.Role(
            name,
            name=f"{self._account.prefix}-{name}",
            description=description,
            assume_role_policy=iam.policy(trust),
            max_session_duration=SESSION_SECONDS,
            opts=self._inside,
        )

    def _grant(self, name: str, role: aws.iam.Role, statements: Sequence[Statement | Mapping[str, object]]) -> None:
        options = pulumi.ResourceOptions(parent=role)
        aws.iam.RolePolicy(name, role=role.name, policy=iam.policy(*statements), opts=options)

    def _attach(self, name: str, role: aws.iam.Role, statements: Sequence[Statement]) -> None:
        """As managed policies: a role's inline ones may have 10,240 characters together."""
        options = pulumi.ResourceOptions(parent=role)
        policy = aws.iam.Policy(
            name, name=f"{self._account.prefix}-{name}", policy=iam.policy(*statements), opts=options
        )
        self._attachment(name, role, policy.arn)

    def _attachment(self, name: str, role: aws.iam.Role, policy_arn: pulumi.Input[str]) -> None:
        options = pulumi.ResourceOptions(parent=role)
        aws.iam.RolePolicyAttachment(name, role=role.name, policy_arn=policy_arn, opts=options)

    # -- what they may

    def _state(self, *, writes: bool) -> list[Statement]:
        """The backend. A preview and a refresh read the state, and lock it while they do."""
        bucket, key = self._backend.bucket.arn, self._backend.key.arn
        objects = ("s3:DeleteObject", "s3:GetObject", "s3:PutObject")
        keys = ("kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey")
        return [
            Statement("StateBucket", ("s3:GetBucketLocation", "s3:ListBucket"), [bucket]),
            Statement("State", objects if writes else ("s3:GetObject",), [self._objects(".pulumi/*")]),
            Statement("Locks", objects, [self._objects(".pulumi/locks/*")]),
            Statement("StateSecrets", (*keys, "kms:Encrypt") if writes else keys, [key]),
        ]

    def _variables(self) -> Statement:
        """Of the functions. Lambda shows them to whoever may open them; a refresh that sees none takes that for drift.
        They hold no secret."""
        account = self._account
        functions = [account.arn("lambda", f"function:{name}-*") for name in FUNCTIONS]
        return Statement(
            "FunctionsTheirVariables",
            ("kms:Decrypt",),
            [account.arn("kms", "key/*")],
            {
                **iam.through("lambda", account),
                "StringLike": {"kms:EncryptionContext:aws:lambda:FunctionArn": functions},
            },
        )

    def _no_data(self, *apart: str) -> Sequence[Mapping[str, object]]:
        actions = {f"{service}:{action}" for service, names in DATA.items() for action in names.split()}
        state = self._objects(".pulumi/*")
        return [
            {"Sid": "NoData", "Effect": "Deny", "Action": sorted(actions - {*apart}), "Resource": "*"},
            {"Sid": "NoObjects", "Effect": "Deny", "Action": list(OBJECTS), "NotResource": [state]},
        ]

    def _canary(self) -> list[Statement]:
        """As `confirm canary` does it, in either alternative: nothing but canaries."""
        account = self._account
        table = account.arn("dynamodb", "table/transactions-*")
        database = "dbuser:*/confirm_canary"
        return [
            Statement(
                "CanaryTable",
                ("dynamodb:BatchGetItem", "dynamodb:PutItem"),
                [table],
                {
                    "ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["canary-*"]},
                    "Null": {"dynamodb:LeadingKeys": "false"},  # of an empty set ForAllValues holds
                },
            ),
            Statement(
                "CanaryTablesKey",
                ("kms:Decrypt",),
                [account.arn("kms", "key/*")],
                {
                    **iam.through("dynamodb", account),
                    "StringLike": {"kms:EncryptionContext:aws:dynamodb:tableName": "transactions-*"},
                },
            ),
            Statement("CanaryDatabase", ("rds-db:connect",), [account.arn("rds-db", database)]),
        ]

    def _identity(self) -> list[Statement]:
        """Roles of the program: only with the boundary, so that Apply cannot make one that may more than that."""
        account, boundary = self._account, self.boundary.arn
        roles = [f"arn:{account.partition}:iam::{account.id}:role/{name}-*" for name in PROGRAM_ROLES]
        bound: iam.Conditions = {"StringEquals": {"iam:PermissionsBoundary": boundary}}
        return [
            Statement(
                "NewRoles",
                ("iam:CreateRole",),
                roles,
                {
                    "StringEquals": {"iam:PermissionsBoundary": boundary, **NEW["StringEquals"]},
                },
            ),
            # a boundary is set without tags: no request for one carries any
            Statement(
                "RolesTheirPolicies",
                ("iam:DeleteRolePolicy", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy"),
                roles,
                bound,
            ),
            Statement(
                "Roles",
                (
                    *("iam:DeleteRole", "iam:TagRole", "iam:UntagRole", "iam:UpdateAssumeRolePolicy"),
                    *("iam:UpdateRole", "iam:UpdateRoleDescription"),
                ),
                roles,
                OURS,
            ),
            Statement("NewRolesTheirTags", ("iam:TagRole",), roles, CLAIMED),
            Statement(
                "RolesToServices",
                ("iam:PassRole",),
                roles,
                {
                    "StringEquals": {
                        "iam:PassedToService": [f"{service}.amazonaws.com" for service in SERVICES],
                    },
                },
            ),
            Statement(
                "PoliciesOfOperators",  # no new version of one: people have it attached, without a boundary
                ("iam:CreatePolicy", "iam:DeletePolicy", "iam:TagPolicy", "iam:UntagPolicy"),
                [f"arn:{account.partition}:iam::{account.id}:policy/operators-*"],
            ),
            Statement(
                "ServiceLinkedRoles",
                ("iam:CreateServiceLinkedRole",),
                [f"arn:{account.partition}:iam::{account.id}:role/aws-service-role/*"],
                {"StringEquals": {"iam:AWSServiceName": [f"{service}.amazonaws.com" for service in LINKED]}},
            ),
            Statement(
                "Dashboards",
                ("cloudwatch:DeleteDashboards", "cloudwatch:PutDashboard"),
                [f"arn:{account.partition}:cloudwatch::{account.id}:dashboard/{PROJECT}-*"],
            ),
            Statement(
                "Budgets",
                ("budgets:ModifyBudget", "budgets:TagResource", "budgets:UntagResource"),
                [f"arn:{account.partition}:budgets::{account.id}:budget/*"],
            ),
        ]

    # -- images

    def _images(self) -> aws.ecr.Repository:
        repository = aws.ecr.Repository(
            "images",
            name=IMAGES,
            image_tag_mutability="IMMUTABLE",
            image_scanning_configuration=aws.ecr.RepositoryImageScanningConfigurationArgs(scan_on_push=True),
            opts=pulumi.ResourceOptions(parent=self, protect=True),
        )
        if self._settings.image_readers:
            readers = [f"arn:{self._account.partition}:iam::{account}:root" for account in self._settings.image_readers]
            aws.ecr.RepositoryPolicy(
                "images",
                repository=repository.name,
                policy=iam.policy(
                    {
                        "Sid": "Pull",
                        "Effect": "Allow",
                        "Principal": {"AWS": readers},
                        "Action": [
                            "ecr:BatchCheckLayerAvailability",
                            "ecr:BatchGetImage",
                            "ecr:GetDownloadUrlForLayer",
                        ],
                    }
                ),
                opts=pulumi.ResourceOptions(parent=repository),
            )
        return repository

    def _push(self, repository: aws.ecr.Repository) -> list[Statement]:
        return [
            Statement("LogIn", ("ecr:GetAuthorizationToken",), ("*",), reason="a token is for a whole registry"),
            Statement(
                "Push",
                (
                    *("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:CompleteLayerUpload"),
                    *("ecr:GetDownloadUrlForLayer", "ecr:InitiateLayerUpload", "ecr:ListImages", "ecr:PutImage"),
                    "ecr:UploadLayerPart",
                ),
                (repository.arn,),
            ),
        ]


def _no_other_service() -> Mapping[str, object]:
    actions = [f"{service}:*" for service in READ]
    return {"Sid": "NoOtherService", "Effect": "Deny", "NotAction": actions, "Resource": "*"}


def _no_payment() -> Sequence[Mapping[str, object]]:
    """Of a table the canaries alone, though ReadOnlyAccess allows to read any item of any."""
    deny = {"Effect": "Deny", "Action": ["dynamodb:BatchGetItem"], "Resource": "*"}
    keys = "dynamodb:LeadingKeys"
    return [
        {**deny, "Sid": "NoPayment", "Condition": {"ForAnyValue:StringNotLike": {keys: ["canary-*"]}}},
        {**deny, "Sid": "NoItemWithoutKey", "Condition": {"Null": {keys: "true"}}},
    ]
