"""Amazon ECS. The emulator runs the containers of our own image as processes (local/overlay/ecs_tasks.py)."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from local.provider.model import Call, Name, Read, Resource, Scope, Tagging

CLUSTER = {"cluster": "{id}"}
SERVICE = {"cluster": "{cluster}", "service": "{name}"}
STEADY_SECONDS = 180.0
"""For a service to become steady; AWS's own provider waits for 20 minutes, for images and networks that we lack."""

DEATHS = 3
"""Of new tasks, after which we wait no more."""

FAILED = ("EssentialContainerExited", "TaskFailedToStart")


def _strategy(items: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {key: item[key] for key in ("capacityProvider", "weight", "base") if item.get(key) is not None}
        for item in items
    ]


def _definition(values: Mapping[str, Any], _: Scope) -> dict[str, Any]:
    """A task definition: its containers are JSON in AWS's own terms, the rest is Pulumi's."""
    result: dict[str, Any] = {
        key: values[key]
        for key in ("family", "cpu", "memory", "networkMode", "executionRoleArn", "taskRoleArn", "pidMode", "ipcMode")
        if values.get(key)
    }
    if containers := values.get("containerDefinitions"):  # not there while a preview does not know all of it
        result["containerDefinitions"] = json.loads(containers)
    for key in ("requiresCompatibilities", "runtimePlatform"):
        if values.get(key):
            result[key] = values[key]
    if values.get("ephemeralStorage"):
        result["ephemeralStorage"] = {"sizeInGiB": values["ephemeralStorage"]["sizeInGib"]}
    if values.get("volumes"):
        result["volumes"] = [_volume(volume) for volume in values["volumes"]]
    return result


def _volume(volume: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {"name": volume["name"]}
    if volume.get("hostPath"):
        result["host"] = {"sourcePath": volume["hostPath"]}
    return result


def _network(value: Mapping[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {"subnets": value["subnets"], "securityGroups": value.get("securityGroups") or []}
    given["assignPublicIp"] = "ENABLED" if value.get("assignPublicIp") else "DISABLED"
    return {"networkConfiguration": {"awsvpcConfiguration": given}}


def _deployment(key: str) -> Any:
    return lambda value: {"deploymentConfiguration": {key: value}}


ENCODE = {
    "networkConfiguration": _network,
    "capacityProviderStrategies": lambda items: {"capacityProviderStrategy": _strategy(items)},
    "deploymentCircuitBreaker": _deployment("deploymentCircuitBreaker"),
    "deploymentMaximumPercent": _deployment("maximumPercent"),
    "deploymentMinimumHealthyPercent": _deployment("minimumHealthyPercent"),
    "alarms": _deployment("alarms"),
}
CHANGEABLE = (
    "taskDefinition", "desiredCount", "networkConfiguration", "capacityProviderStrategies", "deploymentCircuitBreaker",
    "deploymentMaximumPercent", "deploymentMinimumHealthyPercent", "alarms", "enableExecuteCommand", "platformVersion",
    "healthCheckGracePeriodSeconds", "forceNewDeployment", "enableEcsManagedTags", "propagateTags",
    "availabilityZoneRebalancing",
)  # fmt: skip


def _settle(client: Any, scope: dict[str, Any]) -> None:
    """Wait until the service runs as many tasks as it should, where the program asks for that.

    Raises:
        RuntimeError: its tasks keep dying, or its deployment failed; says why, with what the last one wrote.
    """
    if not scope.get("waitForSteadyState"):
        return
    names, began = {"cluster": scope["cluster"], "services": [scope["name"]]}, time.time()
    while True:
        service = client.describe_services(**names)["services"][0]
        primary = next(one for one in service["deployments"] if one["status"] == "PRIMARY")
        new = [one for one in _ended(client, scope) if one["taskDefinitionArn"] == scope["taskDefinition"]]
        if primary["taskDefinition"] != service["taskDefinition"] or len(_failed(service)):
            _give_up(client, scope, new, "its deployment failed" + _rolled_back(service))
        if primary["rolloutState"] == "COMPLETED" and service["runningCount"] == service["desiredCount"]:
            return
        deaths = [one for one in new if one["createdAt"].timestamp() >= began - 1]
        if len(deaths) >= DEATHS and not _has_breaker(service):  # which counts them itself, and rolls back
            _give_up(client, scope, deaths, f"{len(deaths)} of its tasks ended at once")
        if time.time() - began > STEADY_SECONDS:
            counts = f"{service['runningCount']} of {service['desiredCount']} tasks run"
            _give_up(client, scope, new, f"not steady after {STEADY_SECONDS:.0f} s, {counts}")
        time.sleep(0.2)


def _has_breaker(service: Mapping[str, Any]) -> bool:
    return bool(service.get("deploymentConfiguration", {}).get("deploymentCircuitBreaker", {}).get("enable"))


def _failed(service: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Deployments of what we asked for that the circuit breaker ended."""
    return [one for one in service["deployments"] if one.get("rolloutState") == "FAILED"]


def _rolled_back(service: Mapping[str, Any]) -> str:
    return ", the one before it is back" if len(service["deployments"]) > len(_failed(service)) else ""


def _ended(client: Any, scope: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The service's tasks that ended by themselves, or were ended for their health; the last one first."""
    arns = client.list_tasks(cluster=scope["cluster"], serviceName=scope["name"], desiredStatus="STOPPED")["taskArns"]
    tasks = client.describe_tasks(cluster=scope["cluster"], tasks=arns)["tasks"] if arns else []
    found = [one for one in tasks if one.get("stopCode") in FAILED or "health" in one.get("stoppedReason", "")]
    return sorted(found, key=lambda one: one["createdAt"], reverse=True)


def _give_up(client: Any, scope: Mapping[str, Any], ended: list[dict[str, Any]], what: str) -> None:
    text = f"the service {scope['name']} does not become steady: {what}"
    if ended:
        task = ended[0]
        codes = ", ".join(
            f"{one['name']} exited with {one['exitCode']}"
            for one in task["containers"]
            if one.get("exitCode") is not None
        )
        text += f". The last one: {task['stoppedReason']}" + (f" ({codes})" if codes else "")
        if lines := _last_lines(client, task):
            text += "; it wrote: " + " | ".join(lines)
    raise RuntimeError(text)


def _last_lines(client: Any, task: Mapping[str, Any], count: int = 5) -> list[str]:
    """The end of the logs of the task's containers."""
    import boto3

    definition = client.describe_task_definition(taskDefinition=task["taskDefinitionArn"])["taskDefinition"]
    logs = boto3.client("logs", endpoint_url=client.meta.endpoint_url, region_name=client.meta.region_name)
    lines: list[str] = []
    for container in definition["containerDefinitions"]:
        options = (container.get("logConfiguration") or {}).get("options") or {}
        if "awslogs-group" not in options:
            continue
        stream = f"{options.get('awslogs-stream-prefix')}/{container['name']}/{task['taskArn'].rsplit('/', 1)[-1]}"
        try:
            events = logs.get_log_events(
                logGroupName=options["awslogs-group"], logStreamName=stream, limit=count, startFromHead=False
            )["events"]
        except logs.exceptions.ResourceNotFoundException:
            continue
        lines += [event["message"] for event in events[-count:]]
    return lines


def _drain(client: Any, scope: dict[str, Any]) -> None:
    """No task outlives the service: what it needs is deleted next."""
    names = {"cluster": scope["cluster"], "service": scope["name"]}
    found = client.describe_services(cluster=scope["cluster"], services=[scope["name"]])["services"]
    if not found or found[0]["status"] == "INACTIVE":
        return
    client.update_service(**names, desiredCount=0)
    client.delete_service(**names, force=True)
    until = time.monotonic() + STEADY_SECONDS
    while time.monotonic() < until:
        services = client.describe_services(cluster=scope["cluster"], services=[scope["name"]])["services"]
        if not services or services[0]["status"] == "INACTIVE":
            return
        time.sleep(0.1)


def _providers(values: Mapping[str, Any], _: Scope) -> dict[str, Any]:
    return {
        "cluster": values.get("clusterName"),
        "capacityProviders": values.get("capacityProviders") or [],
        "defaultCapacityProviderStrategy": _strategy(values.get("defaultCapacityProviderStrategies") or []),
    }


RESOURCES = (
    Resource(
        "aws:ecs/cluster:Cluster",
        "ecs",
        create=Call("create_cluster", rename={"name": "clusterName"}),
        id="cluster.clusterArn",
        updates=(
            Call(
                "update_cluster",
                takes=("settings", "configuration", "serviceConnectDefaults"),
                where=CLUSTER,
                update_only=True,
            ),
        ),
        read=Read(
            "describe_clusters",
            {"clusters": ["{id}"], "include": ["SETTINGS", "CONFIGURATIONS", "TAGS"]},
            "clusters[?status=='ACTIVE'] | [0]",
        ),
        delete=Call("delete_cluster", where=CLUSTER),
        name=Name(prefix="", limit=255),
        tagging=Tagging({"resourceArn": "{arn}"}),
        outputs={"arn": "clusterArn"},
        recorded={"configuration": "the emulator has no ECS Exec"},
    ),
    Resource(
        "aws:ecs/clusterCapacityProviders:ClusterCapacityProviders",
        "ecs",
        create=Call(
            "put_cluster_capacity_providers",
            takes=("clusterName", "capacityProviders", "defaultCapacityProviderStrategies"),
            compose=_providers,
        ),
        upsert=True,
        replaces=("clusterName",),
        id="{clusterName}",
        read=Read("describe_clusters", {"clusters": ["{clusterName}"]}, "clusters[0].capacityProviders"),
        delete=Call(
            "put_cluster_capacity_providers",
            where={"cluster": "{clusterName}", "capacityProviders": [], "defaultCapacityProviderStrategy": []},
        ),
        drift=False,
        note="every task is a process of this machine, whatever its capacity provider",
    ),
    Resource(
        "aws:ecs/taskDefinition:TaskDefinition",
        "ecs",
        create=Call(
            "register_task_definition",
            takes=(
                "family",
                "containerDefinitions",
                "cpu",
                "memory",
                "networkMode",
                "executionRoleArn",
                "taskRoleArn",
                "requiresCompatibilities",
                "runtimePlatform",
                "ephemeralStorage",
                "volumes",
                "pidMode",
                "ipcMode",
            ),
            compose=_definition,
        ),
        id="taskDefinition.taskDefinitionArn",
        read=Read(
            "describe_task_definition",
            {"taskDefinition": "{id}"},
            "taskDefinition",
            exists=lambda found, _: found["status"] == "ACTIVE",
        ),
        delete=Call("deregister_task_definition", where={"taskDefinition": "{id}"}),
        tagging=Tagging({"resourceArn": "{id}"}),
        outputs={
            "arn": "taskDefinitionArn",
            "arnWithoutRevision": lambda _, scope: str(scope["id"]).rpartition(":")[0],
        },
        handled=("skipDestroy", "trackLatest"),
        drift=False,
        note="its containers are processes of this machine, without limits of CPU and memory; "
        "a sidecar that does not name its program is not run",
    ),
    Resource(
        "aws:ecs/service:Service",
        "ecs",
        create=Call(
            "create_service",
            takes=(*CHANGEABLE, "name", "cluster", "launchType", "deploymentController", "schedulingStrategy"),
            rename={"name": "serviceName"},
            encode={**ENCODE, "forceNewDeployment": lambda _: {}},
        ),
        id="service.serviceArn",
        updates=(
            Call(
                "update_service",
                takes=CHANGEABLE,
                encode=ENCODE,
                where=SERVICE,
                update_only=True,
                only_changed=True,  # the autoscaler's desired count stays as it is
            ),
        ),
        configure=_settle,
        configures=CHANGEABLE,
        read=Read(
            "describe_services",
            {"cluster": "{cluster}", "services": ["{name}"]},
            "services[?status=='ACTIVE'] | [0]",
        ),
        before_delete=_drain,
        delete=Call("delete_service", where={**SERVICE, "force": True}),
        name=Name(prefix="", limit=255),
        tagging=Tagging({"resourceArn": "{id}"}),
        outputs={"arn": "serviceArn"},
        handled=("waitForSteadyState", "forceDelete", "triggers", "sigintRollback"),
        drift=False,
        recorded={
            "alarms": "the emulator rolls a deployment back when its tasks die, not on alarms",
            "capacityProviderStrategies": "every task is a process of this machine",
            "networkConfiguration": "a task has the machine's own network",
        },
    ),
)
