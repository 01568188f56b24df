"""The containers of the tasks, as plain data: what runs, as whom, with what around it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi

from components.account import Place
from components.fargate.settings import ServiceSettings

USER = "10001"  # of workers/Dockerfile; no such user exists outside the image
WORKER, COLLECTOR, MIGRATIONS = "worker", "collector", "migrations"
SERVICE_NAME = "worker"
"""Of the service, as scaling, alarms and deployments know it before it is there."""
ENTRY_POINTS: Mapping[str, tuple[str, ...]] = {
    # exec form: no shell stands between ECS and the process, and SIGTERM arrives
    WORKER: ("python", "-m", "workers.service"),
    MIGRATIONS: ("python", "-m", "workers.migrations"),
}
HEALTH = ("python", "-m", "workers.service.health")
OTLP_PORT = 4318
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

    def definition(self, place: Place) -> dict[str, Any]:
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
                    "awslogs-region": place.region,
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


def worker(
    image: pulumi.Input[str],
    log_group: pulumi.Input[str],
    environment: Mapping[str, pulumi.Input[str]],
    settings: ServiceSettings,
) -> Container:
    """The service's one process."""
    return Container(
        name=WORKER,
        image=image,
        log_group=log_group,
        environment=environment,
        entry_point=ENTRY_POINTS[WORKER],
        # A worker that hangs is replaced after 90 s, and one that never becomes healthy fails its deployment: without
        # a health check ECS counts a process that starts and dies as started.
        health={"command": ["CMD", *HEALTH], "interval": 30, "timeout": 5, "retries": 3, "startPeriod": 60},
        stop_seconds=settings.stop_seconds,
    )


def collector(log_group: pulumi.Input[str], settings: ServiceSettings) -> Container:
    """The OpenTelemetry collector: takes traces on this task's loopback and hands them to X-Ray.

    Not essential: when it dies, traces are lost and payments go on.
    """
    return Container(
        name=COLLECTOR,
        image=settings.collector_image,
        log_group=log_group,
        environment={"AOT_CONFIG_CONTENT": json.dumps(_COLLECTOR_CONFIG, sort_keys=True)},  # YAML reads JSON
        health={"command": ["CMD", "/healthcheck"], "interval": 30, "timeout": 5, "retries": 3, "startPeriod": 15},
        essential=False,
    )


def migrations(
    image: pulumi.Input[str],
    log_group: pulumi.Input[str],
    environment: Mapping[str, pulumi.Input[str]],
    secret_arn: pulumi.Input[str],
) -> Container:
    """The one-off task that brings the schema up to date; the only one that sees the master's password."""
    return Container(
        name=MIGRATIONS,
        image=image,
        log_group=log_group,
        environment=environment,
        secrets={"DATABASE_SECRET": secret_arn},
        entry_point=ENTRY_POINTS[MIGRATIONS],
    )


_COLLECTOR_CONFIG = {
    "extensions": {"health_check": {}},
    "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{OTLP_PORT}"}}}},
    "processors": {
        "memory_limiter": {"check_interval": "1s", "limit_mib": 100},
        "batch": {"timeout": "5s"},
    },
    "exporters": {"awsxray": {}},
    "service": {
        "extensions": ["health_check"],
        "pipelines": {
            "traces": {"receivers": ["otlp"], "processors": ["memory_limiter", "batch"], "exporters": ["awsxray"]}
        },
    },
}
