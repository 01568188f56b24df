"""After Apply: is what runs what was built, and does a transaction come through?"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import yaml

from delivery.pipeline import build, image, shell
from delivery.pipeline.errors import Refused
from delivery.pipeline.shell import run, run_json

CANARY_SECONDS = 300
"""How long the canary may take: a minute until the next run, and some retries."""
SETTLE_SECONDS = 600
"""How long the service may take to be steady after a deployment."""

Clients = Callable[[str], Any]
Outputs = Mapping[str, Any]


def outputs(stack: str) -> Outputs:
    """The stack's outputs, as far as its own configuration says what they must be. Raises Refused."""
    found: Outputs = run_json("pulumi", "stack", "output", "--json", "--stack", stack)
    config = _config(stack)
    wanted = {"region": config.get("aws:region")}
    wanted |= {key: config.get(f"confirm-transactions:{key}") for key in ("alternative", "environment", "gatewayUrl")}
    wrong = [
        f"{key}: wanted {value}, found {found.get(key)}"
        for key, value in wanted.items()
        if value is not None and found.get(key) != value
    ]
    if wrong:
        raise Refused(f"The stack's outputs are not those of its configuration: {'; '.join(wrong)}")
    return found


def _config(stack: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = yaml.safe_load((shell.ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]
    return found


def code(found: Outputs, built: Path, stack: str, clients: Clients = boto3.client) -> list[str]:
    """What runs, a line each. Raises Refused where it is not what was built, or not steady."""
    if "serviceName" in found:
        return list(_service(found, image.of(stack), clients("ecs")))
    return list(_functions(found, built, clients("lambda")))


def _functions(found: Outputs, built: Path, aws: Any) -> Iterator[str]:
    manifest = json.loads((built / build.MANIFEST).read_text())
    wanted = base64.b64encode(bytes.fromhex(manifest["files"][build.ZIP])).decode()
    for name in sorted(found["functions"].values()):
        state = aws.get_function_configuration(FunctionName=name)
        if state["CodeSha256"] != wanted:
            raise Refused(f"function {name}: its code is {state['CodeSha256']}, built was {wanted}")
        yield f"function {name} runs what was built"


def _service(found: Outputs, wanted_image: str, aws: Any) -> Iterator[str]:
    wanted, cluster, name = found["taskDefinitionArn"], found["clusterName"], found["serviceName"]
    end = time.monotonic() + SETTLE_SECONDS
    while unsteady := _unsteady(aws.describe_services(cluster=cluster, services=[name])["services"][0], wanted):
        if time.monotonic() > end:
            raise Refused(f"service {name}: {unsteady}, and that for {SETTLE_SECONDS} s")
        time.sleep(2)
    yield f"service {name} runs {wanted.rpartition('/')[2]}"
    containers = aws.describe_task_definition(taskDefinition=wanted)["taskDefinition"]["containerDefinitions"]
    images = [container["image"] for container in containers]
    if wanted_image not in images:
        raise Refused(
            f"task definition {wanted}: its images are {', '.join(images)}; planned was {wanted_image or 'none'}"
        )
    yield f"its image is {wanted_image}"


def _unsteady(service: Mapping[str, Any], wanted: str) -> str:
    """What is not yet as it must be; "" for nothing."""
    if service["taskDefinition"] != wanted:
        return f"wanted is {wanted}, and it has {service['taskDefinition']} (was the deployment rolled back?)"
    others = [one for one in service["deployments"] if one["taskDefinition"] != wanted]
    if others:
        return f"tasks of {others[0]['taskDefinition']} still run"
    if service["runningCount"] < service["desiredCount"]:
        return f"{service['runningCount']} of {service['desiredCount']} tasks run"
    return ""


def canary(stack: str, run_id: str, account: str, seconds: float = CANARY_SECONDS) -> str:
    """Send one minor unit through the whole path and wait until it is confirmed. Raises Refused where it is not.

    It is a real payment of 0.01 to `account`, which must be the company's own, and it is in no book (docs/canary.md).
    Where the stack sends canaries itself, it is to their account: workers know that one, and no other.
    """
    account = str(_config(stack).get("confirm-transactions:canaryAccount") or account)
    began = time.monotonic()
    order = ("confirm", "canary", "--account", "-", "--run", run_id, "--within", f"{seconds:g}", "--stack", stack)
    record = json.loads(run(*order, "--json", given=f"{account}\n", allowed=(0, 8)))
    id_, took = record["id"], time.monotonic() - began
    if record["status"] == "CONFIRMED":
        return f"{id_} was confirmed after {took:.0f} s"
    raise Refused(
        f"{id_} is {record['status']} after {took:.0f} s (allowed: CONFIRMED within {seconds:.0f} s): "
        f"{record['reason'] or 'nobody took it'}. See `confirm show {id_}`."
    )
