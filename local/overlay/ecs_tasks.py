"""ECS tasks run: the commands of their containers as processes of this machine.

Gap: without Docker ministack keeps only the books of ECS. With an engine at `_get_docker()` its scheduler does the
rest: services keep their desired count, a deployment starts its tasks before those of the one before it are stopped,
the circuit breaker counts failures. This is such an engine, for processes. It also closes what ministack leaves open
with Docker: stopping takes its time (SIGTERM, `stopTimeout`, SIGKILL) and tells the true exit code, health checks are
run, what dies again and again is started with growing waits, a stopped task of a service is replaced, and the metrics
RunningTaskCount and DesiredTaskCount are there.

What is as on AWS: command, environment and secrets of the task definition, `python` being this very Python and the
repository its code; each container has a folder of its own for /tmp. A container that does not name its program (a
sidecar, whose image knows it) is recorded as running, and runs nothing.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from local.overlay import access
from local.overlay.clock import MINUTE, SPEED, every
from local.processes import HOST, ROOT

logger = logging.getLogger("overlay.ecs_tasks")

STOP_SECONDS = 30.0
"""ECS's `stopTimeout` where the task definition has none."""

STABLE_SECONDS = 10.0
"""A task that lived as long is no crash loop; its successor starts at once."""

FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
"""Seconds before a service's next task when the ones before it died young."""

SHUTDOWN_SECONDS = 8.0
"""For all tasks together when the emulator itself is to end."""

STEADY_SECONDS = 0.5
"""How long a task without a health check has to stay before its deployment goes on."""

LONGEST_LINE = 256 * 1024
"""Bytes of one CloudWatch log event."""

COLLECTOR = "CONFIRM_COLLECTOR"
"""Names the collector's URL that stands for the one in the task, which is only recorded."""
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
"""Where a worker looks for its own."""

CODE = "CONFIRM_CODE"
"""Names the folder that stands for the image's code; the repository unless given."""

_TMP = re.compile(r"(?<![\w.-])/tmp(?![\w.-])")
_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class HealthCheck:
    """Times in seconds; those that pace it are divided by the Scheduler's speed, so that a demo sees it act."""

    command: tuple[str, ...]
    interval: float
    timeout: float
    retries: int
    start_period: float

    @classmethod
    def of(cls, definition: Mapping[str, Any], folder: Path, speed: float) -> HealthCheck | None:
        """As the container definition has it, with ECS's defaults."""
        given = definition.get("healthCheck") or {}
        words = list(given.get("command") or ())
        if not words or words[0] == "NONE":
            return None
        kind, rest = (words[0], words[1:]) if words[0] in ("CMD", "CMD-SHELL") else ("CMD", words)
        command = ["/bin/sh", "-c", " ".join(rest)] if kind == "CMD-SHELL" else rest
        return cls(
            tuple(own_words(command, folder)),
            float(given.get("interval") or 30) / speed,
            float(given.get("timeout") or 5),
            int(given.get("retries") or 3),
            float(given.get("startPeriod") or 0) / speed,
        )


@dataclass
class Container:
    """One container of a task; `process` is None where it is only recorded."""

    name: str
    essential: bool
    record: dict[str, Any]
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    stop_seconds: float = STOP_SECONDS
    check: HealthCheck | None = None
    process: subprocess.Popen[bytes] | None = None
    code: int | None = None

    def start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Its process group is its own, so that all that it starts ends with it."""
        self.process = subprocess.Popen(
            [sys.executable, "-SE", str(ROOT / "local" / "overlay" / "contain.py"), *command],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return self.process

    def ended(self) -> bool:
        """Has it ended? Then its exit code is known, and what it left behind has ended too."""
        if self.process is None or self.code is not None:
            return self.code is not None
        code = self.process.poll()
        if code is None:
            return False
        self.kill()
        self.code = code if code >= 0 else 128 - code
        self.record.update(lastStatus="STOPPED", exitCode=self.code)
        return True

    def terminate(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()

    def kill(self) -> None:
        """SIGKILL to the whole group."""
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)


class Task:
    """The life of one task, in a thread of its own."""

    def __init__(
        self, record: dict[str, Any], definition: Mapping[str, Any], overrides: Sequence[Mapping[str, Any]]
    ) -> None:
        self.record, self.definition, self.overrides = record, definition, overrides
        self.arn = str(record["taskArn"])
        self.id = self.arn.rsplit("/", 1)[-1]
        self.folder = Path(tempfile.gettempdir()) / "tasks" / self.id
        self.containers: list[Container] = []
        self.asked_to_stop = threading.Event()
        self.unhealthy = threading.Event()
        self.over = threading.Event()

    @property
    def service(self) -> str | None:
        """The key of its service, `cluster/name`, if one started it."""
        group = str(self.record.get("group") or "")
        if not group.startswith("service:"):
            return None
        return f"{self.record['clusterArn'].rsplit('/', 1)[-1]}/{group.partition(':')[2]}"

    @property
    def lineage(self) -> str | None:
        """What its restarts are counted by: the service and what it runs."""
        return f"{self.service}@{self.record['taskDefinitionArn']}" if self.service else None

    def live(self) -> None:
        """From PROVISIONING to STOPPED."""
        from ministack.services import ecs

        _running[self.arn] = self
        reason, code = "", ""
        try:
            if self.asked_to_stop.wait(_restarts.wait(self.lineage)) or _closing.is_set():
                return
            if ecs._mark_task_pending(self.arn, self.record) and ecs._mark_task_activating(self.arn, self.record):
                self.start()
                if ecs._mark_task_running(self.arn, self.record):
                    self.settle_in()
                    reason, code = self.watch()
        except ecs._SecretResolutionError as error:
            reason = f"ResourceInitializationError: unable to pull secrets or registry auth: {error}"
            code = "TaskFailedToStart"
        except (StartError, OSError) as error:
            reason, code = f"ResourceInitializationError: {error}", "TaskFailedToStart"
        except Exception:
            logger.exception("task %s: fault in the local AWS", self.id)
            reason, code = "InternalError: see the emulator's log", "TaskFailedToStart"
        finally:
            self.stop_containers()
            _running.pop(self.arn, None)
            self.finish(reason, code)
            shutil.rmtree(self.folder, ignore_errors=True)
            self.over.set()

    # --- start

    def start(self) -> None:
        """All containers, in the order of the task definition."""
        from ministack.core.responses import get_region
        from ministack.services import ecs

        definitions = self.definition.get("containerDefinitions") or []
        for definition, record in zip(definitions, self.record["containers"], strict=True):
            override = ecs._container_override_for(self.overrides, definition["name"])
            command = override.get("command") or definition.get("command") or []
            words = [*(definition.get("entryPoint") or ()), *command]
            self.ask_as_execution_role(definition)
            folder = self.folder / definition["name"]
            container = Container(definition["name"], bool(definition.get("essential", True)), record, folder)
            self.containers.append(container)
            record["lastStatus"] = "RUNNING"
            if not names_a_program(words):
                continue
            (folder / "tmp").mkdir(parents=True, exist_ok=True)
            container.stop_seconds = float(definition.get("stopTimeout") or STOP_SECONDS)
            container.environment = environment(
                {**pairs(definition.get("environment")), **pairs(override.get("environment"))},
                ecs._resolve_container_secrets(definition),
                folder,
                self.record["taskArn"].split(":")[4],
                get_region(),
            )
            container.environment |= access.session(str(self.definition.get("taskRoleArn") or ""), self.id)
            container.check = HealthCheck.of(definition, folder, SPEED)
            log = ecs._awslogs_config(definition, self.id, self.id)
            if log and not ecs._ensure_awslogs_stream(log):
                raise StartError(
                    "failed to validate logger args: create stream has been retried 1 times: "
                    f"ResourceNotFoundException: The specified log group {log['group']} does not exist."
                )
            if self.asked_to_stop.is_set():
                return
            process = container.start(own_words(words, folder))
            record["runtimeId"] = f"{self.id.replace('-', '')}-{process.pid}"
            (folder / "pid").write_text(f"{process.pid}\n")
            _in_background(forward, process, log)

    def ask_as_execution_role(self, definition: Mapping[str, Any]) -> None:
        """May ECS have what the container needs before it starts? Raises StartError if not."""
        from ministack.services import ecs

        role = str(self.definition.get("executionRoleArn") or "")
        try:
            access.pull(role, str(definition.get("image") or ""))
            for secret in definition.get("secrets") or ():
                arn = ":".join(str(secret["valueFrom"]).split(":")[:7])
                access.require(role, "secretsmanager:GetSecretValue", arn)
            if log := ecs._awslogs_config(definition, self.id, self.id):
                access.write_log(role, log["group"], log["stream"])
        except access.Denied as denied:
            raise StartError(f"AccessDeniedException: {denied}") from None

    def settle_in(self) -> None:
        """The service may count on it when it is healthy; without a health check, when it has stayed a while."""
        from ministack.core.responses import get_account_id, get_region
        from ministack.services import ecs

        for container in self.containers:
            if container.check:
                _in_background(self.watch_health, container, container.check)
        if not any(one.check and one.essential for one in self.containers) and self.service:
            ecs._schedule_service_deployment_completion(
                self.service.split("/")[0], self.service, get_account_id(), get_region(), healthy_task=self.record
            )

    # --- watch

    def watch(self) -> tuple[str, str]:
        """Wait for its end; AWS's reason and code for it."""
        while not self.asked_to_stop.wait(_LOOK_SECONDS):
            over = [container for container in self.containers if container.ended()]
            if any(container.essential for container in over):
                return "Essential container in task exited", "EssentialContainerExited"
            if over and len(over) == sum(container.process is not None for container in self.containers):
                return "All containers in task exited", "EssentialContainerExited"
            if self.unhealthy.is_set():
                return "Task failed container health checks", "ServiceSchedulerInitiated"
        return "", ""

    def watch_health(self, container: Container, check: HealthCheck) -> None:
        """Its health check, from the start to its end. Until it is healthy for the first time we look once a second;
        failures count at the interval of the definition, and only after its start period, as on AWS."""
        began = time.monotonic()
        failures, counted = 0, began
        while not self.asked_to_stop.wait(min(check.interval, 1.0) if failures == 0 else check.interval):
            fine = healthy(check, container)
            if container.code is not None:
                return
            now = time.monotonic()
            if fine:
                failures = 0
                self.set_health(container, "HEALTHY")
                if self.asked_to_stop.wait(check.interval):
                    return
            elif now - began > check.start_period and now - counted >= check.interval * 0.9:
                failures, counted = failures + 1, now
                if failures >= check.retries:
                    self.set_health(container, "UNHEALTHY")
                    if container.essential and self.service:  # a task that nobody's service started goes on, as on AWS
                        self.unhealthy.set()
                        return

    def set_health(self, container: Container, status: str) -> None:
        """On container and task; the first time that a service's task is healthy, its deployment may go on."""
        from ministack.core.responses import get_account_id, get_region
        from ministack.services import ecs

        if container.record.get("healthStatus") == status:
            return
        container.record["healthStatus"] = status
        all_of = {one.record.get("healthStatus") for one in self.containers if one.check and one.essential}
        before = self.record.get("healthStatus")
        worst = next((state for state in ("UNHEALTHY", "UNKNOWN") if state in all_of), "HEALTHY")
        self.record["healthStatus"] = worst
        if worst == "HEALTHY" != before and self.service:
            ecs._schedule_service_deployment_completion(
                self.service.split("/")[0], self.service, get_account_id(), get_region(), healthy_task=self.record
            )

    # --- stop

    def stop_containers(self) -> None:
        """SIGTERM, `stopTimeout`, SIGKILL; each container by its own time."""
        self.asked_to_stop.set()
        began = time.monotonic()
        for container in self.containers:
            container.terminate()
        while alive := [one for one in self.containers if one.process and not one.ended()]:
            for container in alive:
                if time.monotonic() - began > container.stop_seconds:
                    container.kill()
            time.sleep(_LOOK_SECONDS)
        for container in self.containers:
            container.record["lastStatus"] = "STOPPED"

    def finish(self, reason: str, code: str) -> None:
        """STOPPED. A service replaces it."""
        from ministack.services import ecs

        if ecs._tasks.get(self.arn) is not self.record:  # the emulator was reset meanwhile
            return
        if ecs._task_is_active(self.arn, self.record):  # it ended by itself
            _restarts.note(self.lineage, lived(self.record))
            ecs._mark_task_stopped(self.arn, self.record, reason or "Task stopped", code or "UserInitiated")
            if code == "ServiceSchedulerInitiated":
                ecs._record_service_task_failure(self.record)
            return
        stopped(self.record)
        cluster, _, name = (self.service or "").partition("/")
        ecs._recount_cluster(self.record["clusterArn"].rsplit("/", 1)[-1])
        if name:
            ecs._refresh_service_state(cluster, f"service:{name}")
            close(cluster, name)


class StartError(Exception):
    """Why a task cannot start, in ECS's words."""


class Restarts:
    """How long a service waits before its next task: not at all, unless tasks die young."""

    def __init__(self) -> None:
        self._young: dict[str, int] = {}
        self._lock = threading.Lock()

    def note(self, lineage: str | None, seconds: float) -> None:
        """One ended by itself after so many seconds."""
        if lineage:
            with self._lock:
                self._young[lineage] = self._young.get(lineage, 0) + 1 if seconds < STABLE_SECONDS else 0

    def wait(self, lineage: str | None) -> float:
        """Seconds."""
        deaths = self._young.get(lineage or "", 0)
        return min(FIRST_WAIT * 2.0 ** (deaths - 1), LONGEST_WAIT) if deaths else 0.0


_running: dict[str, Task] = {}
"""The tasks that live, by ARN."""

_restarts = Restarts()
_closing = threading.Event()


# --- what a process of a container gets


def names_a_program(words: Sequence[str]) -> bool:
    """Is the program in the definition, and not in an image that we don't have?"""
    return bool(words) and not words[0].startswith("-") and shutil.which(own_words(words, Path("/"))[0]) is not None


def own_words(words: Sequence[str], folder: Path) -> list[str]:
    """The words of a command with our Python and the container's own /tmp."""
    own = [_TMP.sub(str(folder / "tmp"), word) for word in words]
    return [sys.executable, *own[1:]] if own and own[0] in ("python", "python3") else own


def environment(
    given: Mapping[str, str], secrets: Mapping[str, str], folder: Path, account: str, region: str
) -> dict[str, str]:
    """What the image has, what Fargate adds, then what the task definition says."""
    inherited = {name: os.environ[name] for name in ("LANG", "LC_ALL", "LD_LIBRARY_PATH") if name in os.environ}
    port = os.environ.get("GATEWAY_PORT", "4566")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    own = {name: _TMP.sub(str(folder / "tmp"), value) for name, value in given.items()}
    if ENDPOINT in own and (collector := os.environ.get(COLLECTOR)):
        own[ENDPOINT] = collector
    if "METRICS_SECONDS" in own:  # a minute is shorter here: one without a report would be one without data
        own["METRICS_SECONDS"] = f"{float(own['METRICS_SECONDS']) / SPEED:g}"
    return {
        **inherited,
        "PATH": path,
        "HOME": str(folder),
        "TMPDIR": str(folder / "tmp"),
        "PYTHONPATH": os.environ.get(CODE, str(ROOT)),
        "PYTHONUNBUFFERED": "1",
        "NO_PROXY": f"{HOST},localhost",
        "AWS_ENDPOINT_URL": f"http://{HOST}:{port}",
        "AWS_ACCESS_KEY_ID": "test" if account == "000000000000" else account,
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE",
        **own,
        **secrets,
    }


def pairs(items: Any) -> dict[str, str]:
    return {item["name"]: str(item["value"]) for item in items or ()}


def healthy(check: HealthCheck, container: Container) -> bool:
    """Did the check's command succeed within its time?"""
    try:
        answer = subprocess.run(
            check.command,
            cwd=container.folder,
            env=container.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=check.timeout,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0


# --- logs


def forward(process: subprocess.Popen[bytes], log: Mapping[str, Any] | None) -> None:
    """What it writes, into its log stream, line by line; nowhere if its definition has no log driver."""
    from ministack.core.responses import get_account_id, get_region, request_scope
    from ministack.services import cloudwatch_logs

    with request_scope(get_account_id(), (log or {}).get("region") or get_region()):
        for lines in batches(process.stdout):
            now = int(time.time() * 1000)
            events = [{"timestamp": now, "message": line} for line in lines if line]
            if log and events:
                cloudwatch_logs._put_log_events(
                    {"logGroupName": log["group"], "logStreamName": log["stream"], "logEvents": events}
                )


def batches(stream: IO[bytes] | None) -> Iterator[list[str]]:
    """Whole lines as they come; a longer one than an event may be is cut."""
    rest = b""
    while chunk := os.read(stream.fileno(), 64 * 1024) if stream else b"":
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > LONGEST_LINE:
            lines, rest = [*lines, rest], b""
        yield [line.decode(errors="replace").rstrip("\r")[:LONGEST_LINE] for line in lines]
    yield [rest.decode(errors="replace")]


# --- ministack's side


def stop_by(code: str, default: str) -> Any:
    """The StopTask of the API (`UserInitiated`), or of the service scheduler."""

    def stop_task(data: Mapping[str, Any]) -> Any:
        from ministack.core.concurrency import resource_lock
        from ministack.core.responses import error_response_json, json_response
        from ministack.services import ecs

        cluster = ecs._resolve_cluster_name(data.get("cluster", "default"))
        if cluster is None:
            return error_response_json("ClusterNotFoundException", "Cluster not found.", 400)
        record = ecs._resolve_task(data.get("task", ""), cluster)
        if not record:
            return error_response_json("InvalidParameterException", "The referenced task was not found.", 400)
        arn = record["taskArn"]
        with resource_lock("ecs-task", arn):
            active = ecs._task_is_active(arn, record)
            if active:
                ecs._bump_task_version(record)
                record.update(
                    desiredStatus="STOPPED",
                    lastStatus="STOPPING",
                    stoppingAt=ecs._iso(),
                    stoppedReason=data.get("reason") or default,
                    stopCode=code,
                )
        if active:
            if task := _running.get(arn):
                task.asked_to_stop.set()
            else:
                stopped(record)
            ecs._recount_cluster(cluster)
            ecs._refresh_service_state(cluster, record.get("group", ""))
            if code == "UserInitiated" and str(record.get("group")).startswith("service:"):
                ecs._reconcile_service_tasks(cluster, f"{cluster}/{record['group'].partition(':')[2]}")
        return json_response({"task": ecs._sanitize(record)})

    return stop_task


def stopped(record: dict[str, Any]) -> None:
    from ministack.services import ecs

    ecs._bump_task_version(record)
    now = ecs._iso()
    record.update(lastStatus="STOPPED", desiredStatus="STOPPED", stoppedAt=now, executionStoppedAt=now)


def lived(record: Mapping[str, Any]) -> float:
    """Seconds since it was RUNNING."""
    from ministack.services import ecs

    return time.time() - ecs._ts_to_epoch(record["startedAt"]) if record.get("startedAt") else 0.0


def close(cluster: str, name: str) -> None:
    """A deleted service is DRAINING until its last task has stopped."""
    from ministack.services import ecs

    service = ecs._services.get(f"{cluster}/{name}")
    if service and service["status"] == "DRAINING" and not _tasks_of(service):
        service["status"] = "INACTIVE"


def _tasks_of(service: Mapping[str, Any]) -> list[dict[str, Any]]:
    from ministack.services import ecs

    return [
        task
        for task in list(ecs._tasks.values())
        if task.get("group") == f"service:{service['serviceName']}"
        and task.get("clusterArn") == service["clusterArn"]
        and task.get("lastStatus") != "STOPPED"
    ]


def _in_background(function: Any, *arguments: Any) -> None:
    """A thread with the account and region of this one."""
    from ministack.core.concurrency import spawn_background

    spawn_background(function, *arguments, thread_name=f"ecs-{function.__name__}")


def apply() -> None:
    """Put the engine where ministack looks for Docker."""
    from ministack.core.responses import request_scope
    from ministack.services import ecs, eventbridge

    engine = object()
    record_failure, make_deployment, delete_service, restore, reset = (
        ecs._record_service_task_failure,
        ecs._make_deployment,
        ecs._delete_service,
        ecs._restore_state,
        ecs.reset,
    )

    def run(record: dict[str, Any], definition: Any, overrides: Any, _engine: Any, account: str, region: str) -> None:
        with request_scope(account, region):
            Task(record, definition, overrides).live()

    def deployment(task_definition: str, desired: int, status: str = "PRIMARY") -> dict[str, Any]:
        """One is not complete before its tasks run; and there are no image tags to resolve."""
        made: dict[str, Any] = make_deployment(task_definition, desired, status)
        return made | {
            "rolloutState": "IN_PROGRESS",
            "rolloutStateReason": "ECS deployment in progress.",
            "_image_resolution_disabled": True,
        }

    def failed(record: dict[str, Any], *arguments: Any, **named: Any) -> None:
        """EventBridge hears of a deployment that fails, as from ECS itself."""
        before = _failed_deployments(record)
        record_failure(record, *arguments, **named)
        for identity in _failed_deployments(record) - before:
            service, detail = record["group"].partition(":")[2], {"eventName": "SERVICE_DEPLOYMENT_FAILED"}
            arn = record["clusterArn"].replace(":cluster/", ":service/") + f"/{service}"
            entry = {
                "Source": "aws.ecs",
                "DetailType": "ECS Deployment State Change",
                "Resources": [arn],
                "Detail": json.dumps({"eventType": "ERROR", **detail, "deploymentId": identity}),
            }
            eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)

    def delete(data: dict[str, Any]) -> Any:
        status, headers, body = delete_service(data)
        if status < 400:
            service = ecs._services[_key_of(json.loads(body)["service"])]
            service["status"] = "DRAINING"
            close(*_key_of(service).split("/"))
            return ecs.json_response({"service": ecs._sanitize(service)})
        return status, headers, body

    def restored(data: Any) -> None:
        restore(data)
        for record in ecs._tasks._data.values():
            if record.get("desiredStatus") != "STOPPED":
                stopped(record)
                record.update(stoppedReason="The local AWS was stopped", stopCode="TerminationNotice")

    def wiped() -> None:
        tasks = list(_running.values())
        reset()
        for task in tasks:
            for container in task.containers:
                container.kill()

    ecs._ECS_DEPLOYMENT_STEADY_DELAY = STEADY_SECONDS
    ecs._get_docker = lambda: engine
    ecs._run_task_worker = run
    ecs._stop_task = stop_by("ServiceSchedulerInitiated", "Scaling activity initiated by the service")
    ecs._ACTION_MAP["StopTask"] = stop_by("UserInitiated", "Task stopped by user")
    ecs._maybe_mark_stopped = lambda *_: None
    ecs._cleanup_task_resources = lambda *_: None
    ecs._make_deployment = deployment
    ecs._record_service_task_failure = failed
    ecs._delete_service = ecs._ACTION_MAP["DeleteService"] = delete
    ecs._restore_state = restored
    ecs.reset = wiped
    every(MINUTE, "task-metrics", lambda: ecs._services, _count)


def _failed_deployments(record: Mapping[str, Any]) -> set[str]:
    """Of the service of a task."""
    from ministack.services import ecs

    cluster, name = record["clusterArn"].rsplit("/", 1)[-1], str(record.get("group", "")).partition(":")[2]
    service = ecs._services.get(f"{cluster}/{name}") or {}
    return {one["id"] for one in service.get("deployments") or () if one.get("rolloutState") == "FAILED"}


def _key_of(service: Mapping[str, Any]) -> str:
    return f"{service['clusterArn'].rsplit('/', 1)[-1]}/{service['serviceName']}"


def stop_all() -> None:
    """When the emulator ends in good order: SIGTERM for all, SIGKILL for those that take too long."""
    _closing.set()
    tasks = list(_running.values())
    until = time.monotonic() + SHUTDOWN_SECONDS
    for task in tasks:
        task.asked_to_stop.set()
    for task in tasks:
        if not task.over.wait(max(0.0, until - time.monotonic())):
            for container in task.containers:
                container.kill()


def _count(_: str, service: Mapping[str, Any]) -> None:
    """ContainerInsights has a point of each service a minute; so has this, by the Scheduler's clock."""
    from ministack.services import cloudwatch, ecs

    cluster = ecs._clusters.get(service["clusterArn"].rsplit("/", 1)[-1]) or {}
    watched = {one["value"] for one in cluster.get("settings") or () if one["name"] == "containerInsights"}
    if service["status"] != "ACTIVE" or not watched & {"enabled", "enhanced"}:
        return
    dimensions = {"ClusterName": cluster["clusterName"], "ServiceName": service["serviceName"]}
    for name, value in (
        ("RunningTaskCount", service["runningCount"]),
        ("PendingTaskCount", service["pendingCount"]),
        ("DesiredTaskCount", service["desiredCount"]),
    ):
        cloudwatch.record_metric("ECS/ContainerInsights", name, value, "Count", dimensions)
