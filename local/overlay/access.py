"""IAM's checks as on AWS, for all who act as a role, and a record of them.

Gaps: ministack checks a Lambda's calls and nobody else's: Step Functions, Scheduler, ECS and Lambda's own log lines act
as the account's root. It checks a batch of PartiQL statements as one action on `*`, where AWS checks PartiQLUpdate and
its like on each table; it knows no dynamodb:LeadingKeys, and of a role no path; and http on this machine
breaks every policy that wants TLS.

Only with enforcement (`Emulator(enforce_iam=True)`); else nobody is checked, as before. CONFIRM_ACCESS_LOG names the
file that takes every check of a role: JSON Lines, the fields of `Check`.
"""

from __future__ import annotations

import contextvars
import hashlib
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

logger = logging.getLogger("overlay.access")

LOG = "CONFIRM_ACCESS_LOG"
_PARTIQL = re.compile(
    r'\s*(?P<verb>INSERT\s+INTO|UPDATE|DELETE\s+FROM|SELECT\b.*?\bFROM)\s+"?(?P<table>[\w.-]+)"?(?:\."?(?P<index>[\w.-]+)"?)?',
    re.IGNORECASE | re.DOTALL,
)
_INSERTED = re.compile(r"\bVALUE\s*\{(?P<item>[^}]*)\}", re.IGNORECASE)
"""The item of a PartiQL INSERT as we write them: names, each with a parameter."""
_IMAGE = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com/([^@:]+)")
_role: contextvars.ContextVar[str] = contextvars.ContextVar("role of the state machine", default="")
_asked: contextvars.ContextVar[Any] = contextvars.ContextVar("what the caller's own policies were asked", default=None)
_writing = threading.Lock()


class Denied(Exception):  # noqa: N818 - what happened
    """A role may not do what a service tries to do as it."""


@dataclass(frozen=True)
class Check:
    """One question to IAM and its answer."""

    role: str
    """The role's name."""
    action: str
    resource: str
    context: dict[str, Any]
    allowed: bool


def enabled() -> bool:
    """Does the emulator enforce IAM?"""
    return os.environ.get("AUTH") == "true"


def apply() -> None:
    """Correct the checks, add those that are missing, record all."""
    from ministack import app
    from ministack.core import iam_actions, iam_evaluator

    # what services send each other comes with no request, and on AWS by TLS
    origin_of_services = contextvars.ContextVar("origin of a request", default=("127.0.0.1", True))
    iam_evaluator._request_origin = origin_of_services
    if not enabled():
        return

    evaluate, enforce = iam_evaluator.evaluate, iam_evaluator.enforce
    context, origin = iam_actions.dynamodb_service_context, app.pin_request_origin

    def remembered(asked: Any, *policies: Any) -> Any:
        _asked.set(_asked.get() or asked)  # a resource's own policy is asked after the caller's
        return evaluate(asked, *policies)

    def recorded(*given: Any, **more: Any) -> Any:
        _asked.set(None)
        refusal = enforce(*given, **more)
        if (asked := _asked.get()) is not None:
            _record(asked, refusal is None)
        return refusal

    iam_evaluator.evaluate, iam_evaluator.enforce = remembered, recorded
    iam_actions.dynamodb_transaction_checks = _each_statement(iam_actions.dynamodb_transaction_checks)
    iam_actions.dynamodb_service_context = lambda body: {**context(body), **leading_keys(_json(body))}
    iam_actions.extract_resource_arn = _with_path(iam_actions.extract_resource_arn)
    app.pin_request_origin = lambda address, _secure: origin(address, True)
    _check_state_machines()
    _check_log_lines()


def _record(asked: Any, allowed: bool) -> None:
    if not (path := os.environ.get(LOG)) or asked.principal_type != "AssumedRole":
        return
    role = str(asked.principal_arn).split("/")[1]
    check = Check(role, asked.action, asked.resource_arn, dict(asked.service_context), allowed)
    with _writing, Path(path).open("a") as log:
        log.write(json.dumps(asdict(check), default=str) + "\n")


# --- DynamoDB


def statements(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str | None]]:
    """(action, table, index) of each PartiQL statement of a request; nothing of other requests."""
    listed = [*(document.get("Statements") or ()), *(document.get("TransactStatements") or ()), document]
    for one in listed:
        if isinstance(text := one.get("Statement"), str):
            found = _PARTIQL.match(text)
            if found is None:  # never to be let through unseen
                yield "dynamodb:PartiQLSelect", "?", None
                continue
            verb = found["verb"].split()[0].capitalize()
            yield f"dynamodb:PartiQL{verb}", found["table"], found["index"]


def leading_keys(document: Mapping[str, Any]) -> dict[str, list[str]]:
    """dynamodb:LeadingKeys of a request with one-part keys, as all of our tables have."""
    keys = [document["Key"]] if isinstance(document.get("Key"), dict) else []
    if isinstance(item := document.get("Item"), dict) and "id" in item:  # the key of each of our tables
        keys.append({"id": item["id"]})
    for wanted in (document.get("RequestItems") or {}).values():
        keys += wanted.get("Keys", []) if isinstance(wanted, dict) else []
    for one in [*(document.get("Statements") or ()), document]:
        if isinstance(text := one.get("Statement"), str) and (found := _INSERTED.search(text)):
            names = [name.strip().split(":")[0].strip("' ") for name in found["item"].split(",")]
            keys += [{"id": one["Parameters"][names.index("id")]}] if "id" in names else []
    values = [str(next(iter(value.values()))) for key in keys if len(key) == 1 for value in key.values()]
    return {"dynamodb:LeadingKeys": values} if values else {}


def _each_statement(original: Callable[..., list[tuple[str, str]]]) -> Callable[..., list[tuple[str, str]]]:
    def checks(action: str, body: bytes, region: str, account: str) -> list[tuple[str, str]]:
        table = f"arn:aws:dynamodb:{region}:{account}:table/"
        found = [
            (one, table + name + (f"/index/{index}" if index else "")) for one, name, index in statements(_json(body))
        ]
        return list(dict.fromkeys(found)) or original(action, body, region, account)

    return checks


def _json(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body or b"{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


# --- IAM


def _with_path(original: Callable[..., str]) -> Callable[..., str]:
    """The ARN of a role as it is: with the path that it was made in."""

    def arn(*given: Any, **more: Any) -> str:
        from ministack.services import iam

        found = original(*given, **more)
        service, _, name = found.partition(":role/")
        role = iam._roles.get_scoped(service.split(":")[4], None, name) if service.startswith("arn:aws:iam::") else None
        return str(role["Arn"]) if role else found

    return arn


# --- services that act as a role


def require(role_arn: str, action: str, resource: str, context: Mapping[str, Any] | None = None) -> None:
    """Ask IAM whether the role may, where IAM is enforced.

    Raises:
        Denied: it may not.
    """
    if not enabled() or not role_arn:
        return
    from ministack.core import iam_evaluator
    from ministack.core.responses import get_region

    account, name = role_arn.split(":")[4], role_arn.rsplit("/", 1)[-1]
    asked = iam_evaluator.EvalContext(
        principal_arn=f"arn:aws:sts::{account}:assumed-role/{name}/service",
        principal_type="AssumedRole",
        principal_account=account,
        action=action,
        resource_arn=resource,
        region=get_region(),
        service_context={key.lower(): value for key, value in (context or {}).items()},
    )
    allowed = iam_evaluator.evaluate(asked, iam_evaluator._gather_role_policies(name, account)).decision == "Allow"
    _record(asked, allowed)
    if not allowed:
        raise Denied(f"{role_arn} is not authorized to perform: {action} on resource: {resource}")


def session(role_arn: str, name: str) -> dict[str, str]:
    """Credentials of the role, as variables of an environment; nothing where IAM is not enforced."""
    if not enabled() or not role_arn:
        return {}
    from ministack.services import sts

    account, role = role_arn.split(":")[4], role_arn.rsplit("/", 1)[-1]
    digest = hashlib.sha256(f"{role_arn}:{name}".encode()).hexdigest()
    key = f"ASIA{digest[:16].upper()}"
    sts.register_session(
        key,
        {
            "Arn": f"arn:aws:sts::{account}:assumed-role/{role}/{name}",
            "UserId": f"{role}:{name}",
            "SecretAccessKey": digest,
            "SessionToken": digest,
        },
    )
    return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": digest, "AWS_SESSION_TOKEN": digest}


def pull(role_arn: str, image: str) -> None:
    """What ECS asks of ECR as the execution role, for an image of ECR. Raises Denied."""
    if found := _IMAGE.match(image):
        account, region, name = found.groups()
        repository = f"arn:aws:ecr:{region}:{account}:repository/{name}"
        require(role_arn, "ecr:GetAuthorizationToken", "*")
        for action in ("BatchCheckLayerAvailability", "BatchGetImage", "GetDownloadUrlForLayer"):
            require(role_arn, f"ecr:{action}", repository)


def write_log(role_arn: str, group: str, stream: str) -> None:
    """What is asked before lines go into a stream. Raises Denied."""
    from ministack.core.responses import get_account_id, get_region

    resource = f"arn:aws:logs:{get_region()}:{get_account_id()}:log-group:{group}:log-stream:{stream}"
    for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
        require(role_arn, action, resource)


def _check_log_lines() -> None:
    """A Lambda whose role may not write its log runs, and nobody reads what it said: as on AWS."""
    from ministack.services import lambda_svc

    emit = lambda_svc._emit_lambda_logs

    def emit_lambda_logs(func: dict[str, Any], *rest: Any, **more: Any) -> None:
        config = func.get("config") or func
        group = (config.get("LoggingConfig") or {}).get("LogGroup") or f"/aws/lambda/{config.get('FunctionName')}"
        try:
            write_log(str(config.get("Role") or ""), group, "stream")
        except Denied as denied:
            logger.warning("%s", denied)
            return
        emit(func, *rest, **more)

    lambda_svc._emit_lambda_logs = emit_lambda_logs


def _check_state_machines() -> None:
    """A state machine may call functions, write items, read a Map's items and start children as far as its role may."""
    from ministack.services import stepfunctions as states

    run, invoke, read = states._run_execution, states._invoke_resource, states._s3_object_text
    distributed = states._run_distributed_map

    def ask(error: str, action: str, resource: str, context: Mapping[str, Any] | None = None) -> None:
        try:
            require(_role.get(), action, resource, context)
        except Denied as denied:
            raise states._ExecutionError(error, str(denied)) from None

    def run_execution(arn: str) -> None:
        machine = states._state_machines.get((states._executions.get(arn) or {}).get("stateMachineArn")) or {}
        _role.set(str(machine.get("roleArn") or ""))
        run(arn)

    def invoke_resource(resource: str, given: Any) -> Any:
        from ministack.core.responses import get_account_id, get_region

        where = f"{get_region()}:{get_account_id()}"
        if "states:::lambda:invoke" in resource:
            name = str(given.get("FunctionName", ""))
            arn = name if name.startswith("arn:") else f"arn:aws:lambda:{where}:function:{name}"
            ask("Lambda.AccessDeniedException", "lambda:InvokeFunction", arn)
        elif ":dynamodb:" in resource:
            operation = resource.rsplit(":", 1)[-1]
            action = f"dynamodb:{operation[0].upper()}{operation[1:]}"
            table = f"arn:aws:dynamodb:{where}:table/{given.get('TableName')}"
            ask("DynamoDB.AccessDeniedException", action, table, leading_keys(given))
        return invoke(resource, given)

    def s3_object_text(bucket: str, key: str) -> str:
        ask("States.ItemReaderFailed", "s3:GetObject", f"arn:aws:s3:::{bucket}/{key}")
        return str(read(bucket, key))

    def run_distributed_map(state: Any, raw: Any, effective: Any, iterator: Any, execution: Any, ctx: Any) -> Any:
        ask("States.TaskFailed", "states:StartExecution", str(execution["stateMachineArn"]))
        return distributed(state, raw, effective, iterator, execution, ctx)

    states._run_execution, states._invoke_resource, states._s3_object_text = (
        run_execution,
        invoke_resource,
        s3_object_text,
    )
    states._run_distributed_map = run_distributed_map
