"""AWS as the desk sees it: people who sign with credentials of theirs, and an STS that checks as the real one.

Signatures are made and checked by botocore's own SigV4; the fake knows the secret of each key, as STS does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from unittest.mock import patch

from botocore import auth
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from simulation.oracles import LINES
from tests.fakes import LOOP, FakeClock
from tests.memory_desk import MemoryDesk
from tests.memory_store import MemoryStore
from workers.desk.handlers import DeskApp
from workers.desk.proof import BODY, CONTENT_TYPE, ORDER_HEADER, People, StsReply, order_digest
from workers.domain.desk import Limits, Role
from workers.domain.policy import Policy
from workers.domain.transaction import Status
from workers.telemetry import Telemetry

ACCOUNT, REGION, STACK = "111122223333", "eu-central-1", "prod"
ENDPOINT = f"https://sts.{REGION}.amazonaws.com/"
SSO = ("AWSReservedSSO_Maker_0123456789abcdef", "AWSReservedSSO_Checker_0123456789abcdef")

BY_PEOPLE = {cause for cause, changes in LINES.items() if any(was is Status.REVIEW for was, _ in changes)}
"""Off a desk: each by one who asked and another who approved."""


@dataclass(frozen=True)
class Identity:
    """Whom a key belongs to."""

    arn: str
    key: str
    token: str | None = "T" * 200

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.key, f"secret-of-{self.key}", self.token)


def session(role: str, name: str, account: str = ACCOUNT) -> Identity:
    key = "ASIA" + sha256(f"{role} {name} {account}".encode()).hexdigest()[:16].upper()
    return Identity(f"arn:aws:sts::{account}:assumed-role/{role}/{name}", key)


def user(name: str, account: str = ACCOUNT) -> Identity:
    return Identity(
        f"arn:aws:iam::{account}:user/{name}",
        "AKIA" + sha256(f"{name} {account}".encode()).hexdigest()[:16].upper(),
        None,
    )


def signed(request: AWSRequest, who: Identity, now: datetime, region: str = REGION, service: str = "sts") -> AWSRequest:
    with patch.object(auth, "get_current_datetime", lambda *_, **__: now.replace(tzinfo=None), create=True):
        SigV4Auth(who.credentials, service, region).add_auth(request)
    return request


def proof(
    who: Identity,
    action: str,
    payload: Mapping[str, Any],
    now: datetime,
    *,
    role: Role = Role.MAKER,
    stack: str = STACK,
    region: str = REGION,
    endpoint: str = ENDPOINT,
    body: str = BODY,
    method: str = "POST",
    service: str = "sts",
    more: Mapping[str, str] | None = None,
) -> dict[str, str | None]:
    """As cli/orders.py makes one; everything about it can be another."""
    headers = {"Content-Type": CONTENT_TYPE, ORDER_HEADER: order_digest(stack, region, role, action, payload)}
    request = AWSRequest(method, endpoint, headers={**headers, **(more or {})}, data=body)
    request = signed(request, who, now, region, service)
    return {
        "authorization": request.headers["Authorization"],
        "date": request.headers["X-Amz-Date"],
        "token": request.headers.get("X-Amz-Security-Token"),
    }


@dataclass
class FakeSts:
    """Checks a signature over the request as it has arrived, and says whose it is."""

    clock: FakeClock
    known: dict[str, Identity] = field(default_factory=dict)
    answer: StsReply | None = None
    """What it says instead."""
    calls: int = 0

    def knows(self, *people: Identity) -> None:
        self.known |= {one.key: one for one in people}

    def __call__(self, headers: Mapping[str, str], body: str) -> StsReply:
        self.calls += 1
        if self.answer is not None:
            return self.answer
        given = headers["Authorization"]
        who = self.known.get(given.split("Credential=")[1].split("/")[0])
        then = datetime.strptime(headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if who is None or abs((self.clock.now() - then).total_seconds()) > 900:
            return StsReply(403, b"<ErrorResponse/>")
        kept = {name: text for name, text in headers.items() if name not in ("Authorization", "X-Amz-Date")}
        kept.pop("X-Amz-Security-Token", None)
        request = signed(AWSRequest("POST", ENDPOINT, headers=kept, data=body), who, then)
        if request.headers["Authorization"] != given or headers.get("X-Amz-Security-Token") != who.token:
            return StsReply(403, b"<ErrorResponse/>")
        return StsReply(200, f"<GetCallerIdentityResponse><Arn>{who.arn}</Arn></GetCallerIdentityResponse>".encode())


class Silent(Telemetry):
    """Keeps what is told."""

    def __init__(self) -> None:
        super().__init__("", STACK, "serverless", "prod")
        self.told: list[tuple[str, dict[str, object]]] = []

    def event(self, name: str, at: datetime, **fields: object) -> None:
        self.told.append((name, fields))

    def metrics(self, *_: object, **__: object) -> None: ...


def desks(
    store: MemoryStore, desk: MemoryDesk, sts: FakeSts, limits: Limits, vouched: Sequence[str] = ()
) -> dict[Role, DeskApp]:
    """Both functions of a stack."""
    people = People(ACCOUNT, tuple(vouched), lambda role: role in SSO)
    told = Silent()
    return {
        role: DeskApp(
            stack=STACK,
            region=REGION,
            role=role,
            store=desk,
            policy=Policy(),
            limits=limits,
            people=people,
            sts=sts,
            clock=store.clock,
            telemetry=told,
            loop=LOOP,
        )
        for role in Role
    }


def as_sent(event: Mapping[str, Any]) -> dict[str, Any]:
    """Through JSON, as Lambda hands it over."""
    found: dict[str, Any] = json.loads(json.dumps(event))
    return found
