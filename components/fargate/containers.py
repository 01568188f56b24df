"""The containers of a worker's task: the worker, and the collector of traces beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pulumi

from components.container import Container
from components.fargate.settings import ServiceSettings

WORKER, COLLECTOR = "worker", "collector"
SERVICE_NAME = "worker"
"""Of the service, as scaling, alarms and deployments know it before it is there."""
# exec form: no shell stands between ECS and the process, and SIGTERM arrives
ENTRY_POINT = ("python", "-m", "workers.service")
HEALTH = ("python", "-m", "workers.service.health")
OTLP_PORT = 4318


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
        entry_point=ENTRY_POINT,
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
