"""The run of the schema's migrations: a task of its own, before what needs the new schema, as the master."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import artifact, container, iam, worker
from components.account import Account, identity
from components.aurora.datastore import SERVICE, Connection
from components.container import Container
from components.iam import Statement
from components.image import WorkersImage
from components.one_off_task import OneOffTask, OneOffTaskArgs

MIGRATIONS = "migrations"
# exec form: no shell stands between ECS and the process
ENTRY_POINT = ("python", "-m", "workers.migrations")


@dataclass(frozen=True, slots=True)
class MigrationsArgs:
    account: Account
    database: Connection
    image: WorkersImage
    cluster: aws.ecs.Cluster
    ready: Sequence[pulumi.Resource]
    """What must be there before, besides the database."""
    cpu: int
    memory_mb: int
    log_group: aws.cloudwatch.LogGroup
    subnet_ids: pulumi.Input[Sequence[str]]
    security_group_id: pulumi.Input[str]
    logins: Mapping[str, pulumi.Input[str]]
    """Whose logins they renew, and the ARN of the secret of each."""
    data_key_arn: pulumi.Input[str]


def run(args: MigrationsArgs, parent: pulumi.Resource) -> OneOffTask:
    """They call nothing of AWS but to lay new logins into their secrets.

    Creates, below `parent`: the task definition with the role that starts it, and the run.
    """
    account, logins = args.account, args.logins
    own, own_grant = container.role(
        MIGRATIONS, "The migrations: new logins for functions", _may_renew(args), account, parent
    )
    role, grant = container.role(
        "migrations-execution",
        "ECS, to start the migrations: image, log, the master's password",
        [
            *args.image.may_pull(),
            worker.may_write_logs(args.log_group),
            Statement(
                sid="MastersPassword",
                actions=("secretsmanager:GetSecretValue",),
                resources=(args.database.secret_arn,),
            ),
            Statement(
                sid="OpenTheMastersPassword",
                actions=("kms:Decrypt",),
                resources=(args.data_key_arn,),
                conditions=iam.through("secretsmanager", account),
            ),
        ],
        account,
        parent,
    )
    definition = container.task_definition(
        MIGRATIONS,
        [
            Container(
                name=MIGRATIONS,
                image=args.image.uri,
                log_group=args.log_group.name,
                environment={
                    **args.database.environment,
                    "DATABASE_SERVICE_USER": SERVICE,
                    **{f"{name}_SECRET_ARN": login for name, login in logins.items()},
                },
                secrets={"DATABASE_SECRET": args.database.secret_arn},  # nobody else sees the master's password
                entry_point=ENTRY_POINT,
            )
        ],
        cpu=args.cpu,
        memory_mb=args.memory_mb,
        execution_role=role,
        task_role=own,
        account=account,
        parent=parent,
    )
    deployer = identity()
    return OneOffTask(
        MIGRATIONS,
        OneOffTaskArgs(
            region=account.region,
            profile=deployer.profile,
            roles=deployer.roles,
            cluster=args.cluster.name,
            task_definition=definition.arn,
            container=MIGRATIONS,
            subnet_ids=args.subnet_ids,
            security_group_id=args.security_group_id,
            log_group=args.log_group.name,
            log_stream_prefix=MIGRATIONS,
            triggers={
                "image": args.image.uri,
                "migrations": artifact.digest("migrations/*.sql"),
                "database": args.database.resource_id,
                **{name.lower(): login for name, login in logins.items()},
            },
        ),
        pulumi.ResourceOptions(parent=parent, depends_on=[grant, own_grant, *args.ready, *args.database.ready]),
    )


def _may_renew(args: MigrationsArgs) -> list[Statement]:
    return [
        Statement(sid="RenewLogins", actions=("secretsmanager:PutSecretValue",), resources=list(args.logins.values())),
        Statement(
            sid="SealLogins",
            actions=("kms:Decrypt", "kms:GenerateDataKey"),
            resources=(args.data_key_arn,),
            conditions=iam.through("secretsmanager", args.account),
        ),
    ]
