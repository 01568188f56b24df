"""The way of `confirm` to the desk functions: signs who comes and what he orders, and calls the one for his role."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cli.desk import Target
from cli.exits import Exit, Trouble
from workers.desk.proof import BODY, CONTENT_TYPE, ORDER_HEADER, order_digest
from workers.domain.desk import Item, Order, Role
from workers.domain.transaction import Transaction

SECONDS = 70
"""For an answer: longer than a function may take."""


class NotLetIn(Trouble):
    """IAM lets nobody in who does not come in that role."""


@dataclass(frozen=True, slots=True)
class DeskCalls:
    """Calls the functions of a stack."""

    target: Target

    async def order(self, role: Role, action: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        name = self.target.functions.get(role)
        if name is None:
            raise Trouble(
                f"stack {self.target.stack} has no desk function {role}",
                "bring it up again with `pulumi up`",
                Exit.NO_ACCESS,
            )
        return await asyncio.to_thread(self._order, name, role, action, payload)

    def _order(self, name: str, role: Role, action: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        import boto3  # only here: who only looks at a database needs no AWS
        from botocore.config import Config

        digest = order_digest(self.target.stack, self.target.region, role, action, payload)
        event = {"action": action, "payload": payload, "proof": proof(self.target.region, digest)}
        config = Config(region_name=self.target.region, read_timeout=SECONDS, retries={"mode": "standard"})
        client = boto3.client("lambda", config=config)
        try:
            answer = client.invoke(FunctionName=name, Payload=json.dumps(event).encode())
        except client.exceptions.ClientError as error:
            if error.response["Error"]["Code"] != "AccessDeniedException":
                raise
            raise NotLetIn(
                f"you may not come to the desk of {self.target.stack} as {role}",
                f"sign in with a set of permissions that has the policy {role}: docs/desk.md",
                Exit.NO_ACCESS,
            ) from None
        told = json.loads(answer["Payload"].read() or b"null")
        if "FunctionError" in answer or not isinstance(told, dict):
            raise Trouble(
                "the desk function failed", "see its log, then run the same command again: nothing is done twice"
            )
        if "refused" in told:
            fix = (
                "see `confirm requests` and `confirm show`; what two people decide, two people have to ask and approve"
            )
            if told.get("unproven"):
                fix = "sign in as yourself, by IAM Identity Center (`aws sso login`): docs/desk.md"
            raise Trouble(str(told["refused"]), fix, Exit.REFUSED)
        return dict(told["request"])


def proof(region: str, digest: str) -> dict[str, str | None]:
    """A signature of who is signed in to AWS here, for the order of that digest alone, for some minutes.

    Raises:
        Trouble: nobody is.
    """
    import boto3
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.exceptions import NoCredentialsError

    session = boto3.Session()
    credentials = session.get_credentials()
    if credentials is None:
        raise NoCredentialsError
    endpoint = session.client("sts", region_name=region).meta.endpoint_url
    headers = {"Content-Type": CONTENT_TYPE, ORDER_HEADER: digest}
    request = AWSRequest("POST", f"{endpoint.rstrip('/')}/", headers=headers, data=BODY)
    SigV4Auth(credentials.get_frozen_credentials(), "sts", region).add_auth(request)
    return {
        "authorization": request.headers["Authorization"],
        "date": request.headers["X-Amz-Date"],
        "token": request.headers.get("X-Amz-Security-Token"),
    }


def asking(order: Order, records: Sequence[Transaction]) -> dict[str, Any]:
    """The payload that asks for that exit of those."""
    items = [Item.seen(record).told() for record in records]
    return {"id": secrets.token_hex(16), "order": order.told(), "items": items}
