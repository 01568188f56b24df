"""A container of a task on ECS Fargate as plain data, and the task definition and the roles around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_aws as aws

from components import iam
from components.account import Account

TASKS = "ecs-tasks.amazonaws.com"
USER = "10001"  # of workers/Dockerfile; no such user exists outside the image
LOG_BUFFER = "16m"


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a task."""

    name: str
    image: pulumi.Input[str]
    log_group: pulumi.Input[str]
    environment: Mapping[str, pulumi.Input[str]]
    secrets: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Name of the variable -> ARN of the secret; ECS puts the value in, and nobody else sees it."""
    entry_point: Sequence[str] = ()
    health: Mapping[str, Any] | None = None
    essential: bool = True
    stop_seconds: int = 30

    @property
    def scratch(self) -> str:
        """The volume of the one place that it may write to, /tmp: empty at the start, gone at the end.

        Of its own: Fargate gives a volume the rights of the folder in the image that mounts it first, root's where
        the image declares none, so a container that shares one may find that it cannot write.
        """
        return f"scratch-{self.name}"

    def definition(self, account: Account) -> dict[str, Any]:
        """As ECS reads it."""
        definition: dict[str, Any] = {
            "name": self.name,
            "image": self.image,
            "essential": self.essential,
            "user": USER,
            "readonlyRootFilesystem": True,
            "linuxParameters": {
                "capabilities": {"drop": ["ALL"]},
                "initProcessEnabled": True,  # hands SIGTERM on and buries what the health checks leave
            },
            "mountPoints": [{"sourceVolume": self.scratch, "containerPath": "/tmp", "readOnly": False}],  # noqa: S108
            "stopTimeout": self.stop_seconds,
            "environment": [{"name": name, "value": value} for name, value in sorted(self.environment.items())],
            "logConfiguration": {
                "logDriver": "awslogs",
                "options": {
                    "awslogs-group": self.log_group,
                    "awslogs-region": account.region,
                    "awslogs-stream-prefix": self.name,
                    "mode": "non-blocking",  # CloudWatch Logs in trouble must not stop payments
                    "max-buffer-size": LOG_BUFFER,
                },
            },
        }
        if self.entry_point:
            definition["entryPoint"] = list(self.entry_point)
        if self.secrets:
            definition["secrets"] = [{"name": name, "valueFrom": arn} for name, arn in sorted(self.secrets.items())]
        if self.health:
            definition["healthCheck"] = dict(self.health)
        return definition


def task_definition(
    name: str,
    containers: Sequence[Container],
    *,
    cpu: int,
    memory_mb: int,
    execution_role: aws.iam.Role,
    task_role: aws.iam.Role | None = None,
    account: Account,
    parent: pulumi.Resource,
) -> aws.ecs.TaskDefinition:
    """A task of these containers, in a network of its own, on ARM."""
    return aws.ecs.TaskDefinition(
        name,
        family=f"{account.prefix}-{name}",
        requires_compatibilities=["FARGATE"],
        network_mode="awsvpc",
        runtime_platform=aws.ecs.TaskDefinitionRuntimePlatformArgs(
            cpu_architecture="ARM64",  # a fifth cheaper than X86_64
            operating_system_family="LINUX",
        ),
        cpu=str(cpu),
        memory=str(memory_mb),
        execution_role_arn=execution_role.arn,
        task_role_arn=task_role.arn if task_role else None,
        volumes=[aws.ecs.TaskDefinitionVolumeArgs(name=container.scratch) for container in containers],
        container_definitions=pulumi.Output.json_dumps([container.definition(account) for container in containers]),
        opts=pulumi.ResourceOptions(parent=parent),
    )


def role(
    name: str, description: str, statements: Sequence[iam.Statement], account: Account, parent: pulumi.Resource
) -> tuple[aws.iam.Role, aws.iam.RolePolicy]:
    """A role for tasks of this account, or for ECS when it starts one."""
    return iam.role(
        name,
        TASKS,
        statements,
        account=account,
        description=description,
        parent=parent,
        source_arns=[account.arn("ecs", "*")],  # tasks have no names beforehand
    )
