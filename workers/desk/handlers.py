"""The desk functions `maker` and `checker`: one code, two Lambdas, so that IAM says who may come as what.

    {"action": ..., "payload": {...}, "proof": {...}}  ->  {"request": {...}}  or  {"refused": "...", "unproven": bool}

A refusal is an answer, no error of the function: it is told, and no alarm counts it.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError  # noqa: A004 - of botocore
from botocore.httpsession import URLLib3Session

from workers import measures
from workers.clock import SystemClock
from workers.config import Values, policy, telemetry
from workers.desk.proof import SSO_PATH, People, Signature, Sts, StsReply, Unproven, order_digest, prove
from workers.desk.service import DeskStore, FourEyes
from workers.domain.desk import Limits, Role
from workers.domain.exits import Refused
from workers.domain.policy import Policy
from workers.domain.ports import Clock
from workers.domain.redaction import redact
from workers.stores.dynamodb import DynamoDbStore
from workers.stores.dynamodb_desk import DynamoDbDesk
from workers.stores.postgres_desk import PostgresDesk
from workers.telemetry import Telemetry, failures_logged

RESERVE = timedelta(seconds=15)
"""Kept of an invocation's time: no part of a request begins that could be cut off."""
MOST_PAYLOAD = 900_000
"""Characters of an order: two thousand of the longest ids need 500,000."""
SECONDS = 5.0
"""For STS and IAM."""
RESUMING = "DatabaseResumingException"
PATIENCE = 40.0
WAIT_SECONDS = 3.0


@dataclass(frozen=True)
class DeskApp:
    """What a warm function keeps."""

    stack: str
    region: str
    role: Role
    store: DeskStore
    policy: Policy
    limits: Limits
    people: People
    sts: Sts
    clock: Clock
    telemetry: Telemetry
    loop: asyncio.AbstractEventLoop


@cache
def app() -> DeskApp:
    """Made at the first invocation."""
    values, clock = Values(os.environ), SystemClock()
    told = telemetry(values)
    if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
        told.take_over_logging()
    rules = policy(values)
    limits = Limits(
        ends_after=values.seconds("DESK_REQUEST_SECONDS"),
        two_from={str(k): int(v) for k, v in json.loads(values.text("DESK_TWO_APPROVALS_FROM", "{}")).items()},
    )
    vouched = tuple(name for name in values.text("DESK_ROLES", "").split(",") if name)
    people = People(values.text("ACCOUNT_ID"), vouched, _is_identity_center)
    role = Role(values.choice("DESK_ROLE", *Role))
    store = _store(values, clock, rules)
    values.check()
    sts = boto3.client("sts", config=_hurried())
    region = str(sts.meta.region_name)
    endpoint = str(sts.meta.endpoint_url)
    return DeskApp(
        stack=values.text("STACK"),
        region=region,
        role=role,
        store=store,
        policy=rules,
        limits=limits,
        people=people,
        sts=lambda headers, body: asked(endpoint, headers, body),
        clock=clock,
        telemetry=told,
        loop=asyncio.new_event_loop(),
    )


def _hurried() -> Config:
    return Config(connect_timeout=SECONDS, read_timeout=SECONDS, retries={"mode": "standard", "total_max_attempts": 2})


def _store(values: Values, clock: SystemClock, rules: Policy) -> DeskStore:
    if cluster := values.text("CLUSTER_ARN", ""):
        return PostgresDesk(DataApi(cluster, values.text("DESK_SECRET_ARN"), values.text("DATABASE_NAME")))
    table, index, shards = values.text("TABLE_NAME"), values.text("INDEX_NAME"), values.whole("PENDING_SHARDS")
    return DynamoDbDesk(DynamoDbStore(boto3.client("dynamodb"), table, index, shards, clock, rules))


@dataclass(frozen=True)
class DataApi:
    """Statements through the Data API: no driver, and no connection that would keep Aurora awake."""

    cluster: str
    secret: str
    database: str

    async def __call__(self, statement: str, **texts: str) -> list[str]:
        return await asyncio.to_thread(self._ask, statement, texts)

    def _ask(self, statement: str, texts: Mapping[str, str]) -> list[str]:
        client, began = _data_client(), monotonic()
        while True:
            try:
                answer = client.execute_statement(
                    resourceArn=self.cluster,
                    secretArn=self.secret,
                    database=self.database,
                    sql=statement,
                    parameters=[{"name": name, "value": {"stringValue": text}} for name, text in texts.items()],
                )
            except ClientError as error:
                if error.response["Error"]["Code"] != RESUMING or monotonic() - began >= PATIENCE:
                    raise
                sleep(WAIT_SECONDS)
                continue
            return [row[0]["stringValue"] for row in answer.get("records", [])]


@cache
def _data_client() -> Any:
    return boto3.client("rds-data")


@cache
def _iam() -> Any:
    return boto3.client("iam", config=_hurried())


def _is_identity_center(role: str) -> bool:
    """IAM lets us see roles under that path alone; that it has one of that name there is asked each time."""
    try:
        found = _iam().get_role(RoleName=role)["Role"]
    except ConnectionError as error:
        raise Unproven(f"IAM can't be reached, which tells the role {role} from one that anybody may make") from error
    except ClientError as error:
        if error.response["Error"]["Code"] in ("AccessDenied", "NoSuchEntity"):
            return False
        raise
    return str(found["Path"]).startswith(SSO_PATH)


def asked(endpoint: str, headers: Mapping[str, str], body: str) -> StsReply:
    """STS's answer. To where boto3 goes itself; urllib3 follows no redirect, and checks the certificate."""
    url = f"{endpoint.rstrip('/')}/"
    request = AWSRequest("POST", url, headers={**headers, "Host": urlsplit(url).netloc}, data=body.encode())
    answer = URLLib3Session(timeout=SECONDS).send(request.prepare())
    return StsReply(int(answer.status_code), bytes(answer.content))


@failures_logged
def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """The handler of both.

    Raises:
        ConfigError: the environment is not complete.
        BotoCoreError, StoreError: AWS can't be asked; what was begun is taken up again by the next call.
    """
    ends = monotonic() + context.get_remaining_time_in_millis() / 1000 - RESERVE.total_seconds()
    return app().loop.run_until_complete(take(app(), event, lambda: monotonic() < ends))


async def take(here: DeskApp, event: Mapping[str, Any], time_left: Callable[[], bool]) -> dict[str, Any]:
    """One order: who gives it is proven first, and nothing of it is looked at in the store before."""

    def tell(name: str, **fields: object) -> None:
        now = here.clock.now()
        here.telemetry.event(name, now, **fields)
        if counted := measures.of_orders(name, fields):
            by = {"dimension": "Exit", "Exit": str(fields["exit"])} if "exit" in fields else {}
            here.telemetry.metrics(counted, now, **by)

    person = None
    try:
        action, payload = event.get("action"), event.get("payload")
        if not isinstance(action, str) or not isinstance(payload, dict) or len(json.dumps(payload)) > MOST_PAYLOAD:
            raise Refused("an order has an action and a payload")
        digest = order_digest(here.stack, here.region, here.role, action, payload)
        person = prove(Signature.of(event.get("proof")), digest, here.region, here.clock.now(), here.sts, here.people)
        desk = FourEyes(here.stack, here.store, here.clock, here.policy, here.limits, tell, time_left)
        return {"request": await desk.do(here.role, person, action, payload)}
    except (Unproven, Refused) as refused:
        tell("desk refused", role=here.role.value, by=person, why=redact(str(refused)))
        return {"refused": str(refused), "unproven": isinstance(refused, Unproven)}
