"""Four eyes on an AWS that checks signatures and policies: what two people decide is done, and nothing else."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import boto3
import pytest
from botocore.exceptions import ClientError

from cli.orders import NotLetIn
from tests.access.alternatives import Fargate, Serverless
from tests.access.desk import order
from tests.access.world import CHECKER, MAKER, OPERATORS, VIEWER, World
from tests.fakes import run
from workers.clock import SystemClock
from workers.domain.causes import Cause, because
from workers.domain.desk import Item, Role
from workers.domain.policy import Policy
from workers.domain.ports import Move, Store
from workers.domain.transaction import Status, Transaction
from workers.domain.transitions import SetAside, decide
from workers.stores.dynamodb import DynamoDbStore
from workers.stores.postgres import SESSION, PostgresStore


class Place:
    """A stack, and its transactions for who may everything."""

    def __init__(self, world: World) -> None:
        self.world = world

    def store(self, work: Any) -> Any:
        if isinstance(self.world, Fargate):
            return run(self._in_database(self.world.database, work))
        outputs = self.world.record.outputs
        table, index, shards = (outputs[name] for name in ("tableName", "pendingIndexName", "pendingShards"))
        return run(
            work(DynamoDbStore(self.world.client("dynamodb"), table, index, int(shards), SystemClock(), Policy()))
        )

    @staticmethod
    async def _in_database(url: str, work: Any) -> Any:
        async with asyncpg.create_pool(url, min_size=0, max_size=2, server_settings=SESSION) as pool:
            return await work(PostgresStore(pool, Policy()))

    def lay(self, *ids: str) -> list[dict[str, Any]]:
        """On the desk; as items of a request."""

        async def work(store: Store) -> list[dict[str, Any]]:
            now = datetime.now(UTC)
            await store.add([Transaction(id_, "acct-1", 100, "USD", now, now + timedelta(hours=2)) for id_ in ids])
            for held in (await store.claim(token="t", by="w", limit=9, ids=ids)).held:
                why = because(Cause.WRITE_FAILED, status="x", error="y")
                await store.settle([Move(held, decide(held, SetAside("w", why), now, Policy()))])
            return [Item.seen(found).told() for id_ in ids if (found := await store.find(id_))]

        found: list[dict[str, Any]] = self.store(work)
        return found

    def find(self, id_: str) -> Transaction:
        found: Transaction = self.store(lambda store: store.find(id_))
        return found

    def request(self, *ids: str) -> dict[str, Any]:
        """Of ana's, which was taken."""
        payload = {"id": secrets.token_hex(16), "order": {"kind": "redrive", "why": "w"}, "items": self.lay(*ids)}
        told = order(self.world, MAKER, "ana@example.com", Role.MAKER, "ask", payload)
        assert told.get("state") == "open", told
        return dict(told)


@pytest.fixture(params=["serverless", "fargate"])
def place(request: pytest.FixtureRequest) -> Place:
    world: Serverless | Fargate = request.getfixturevalue(request.param)
    return Place(world)


def new(name: str) -> str:
    return f"{name}-{secrets.token_hex(4)}"


def approve(place: Place, request: dict[str, Any], person: str, role: str = CHECKER, **other: Any) -> Any:
    payload = {"id": request["id"], "digest": request["digest"], **other}
    return order(place.world, role, person, Role.CHECKER, "approve", payload)


def test_what_one_asks_for_another_approves(place: Place) -> None:
    one, two = new("one"), new("two")
    request = place.request(one, two)
    told = approve(place, request, "ben@example.com")
    assert (told.get("state"), told.get("left_out")) == ("done", []), told
    for id_ in (one, two):
        record = place.find(id_)
        assert record.status is not Status.REVIEW
        lines = [line for line in record.history if line.cause is Cause.REDRIVEN]
        assert [line.by for line in lines] == ["ana@example.com"]
        assert "approved by ben@example.com (request " in lines[0].why
    assert "already" in approve(place, request, "ben@example.com")["refused"]


def test_nobody_gets_round_it(place: Place) -> None:
    """Each as on AWS: with signatures, roles and sessions as they are."""
    id_ = new("lies")
    request = place.request(id_)
    world = place.world
    assert "another person" in approve(place, request, "ana@example.com")["refused"], (
        "with the other set of permissions"
    )
    assert "another person" in approve(place, request, "ANA@example.com")["refused"]
    assert "look at it again" in approve(place, request, "ben@example.com", digest="0" * 64)["refused"]
    for role in (VIEWER, MAKER, OPERATORS):
        with pytest.raises(NotLetIn):
            approve(place, request, "ben@example.com", role)
    # whoever may call the function, by a role whose sessions can bear any name
    world.grant(OPERATORS, world.policies()[CHECKER])
    try:
        assert (
            "sessions of the role operators can bear any name"
            in approve(place, request, "ben@example.com", OPERATORS)["refused"]
        )
    finally:
        world.grant(OPERATORS, world.policies()[OPERATORS])
    assert "is REVIEW" in str(place.find(id_).status) or place.find(id_).status is Status.REVIEW


def test_a_signature_for_something_else_is_refused_by_sts(place: Place) -> None:
    id_ = new("signed")
    request = place.request(id_)
    client = place.world.client("lambda")
    name = place.world.record.outputs["deskFunctions"]["checker"]
    from analysis.graph import REGION
    from cli import orders
    from workers.desk.proof import order_digest

    payload = {"id": request["id"], "digest": request["digest"]}
    stack = place.world.record.one("aws:lambda/function:Function", "desk-checker").inputs["environment"]["variables"][
        "STACK"
    ]

    def call(digest: str, changed: Any = None) -> dict[str, Any]:
        with place.world.as_role(CHECKER, "ben@example.com"):
            proof = orders.proof(REGION, digest)
        event = {"action": "approve", "payload": payload, "proof": {**proof, **(changed or {})}}
        told: dict[str, Any] = json.loads(client.invoke(FunctionName=name, Payload=json.dumps(event))["Payload"].read())
        return told

    right = order_digest(stack, REGION, "checker", "approve", payload)
    for wrong in (
        order_digest("other", REGION, "checker", "approve", payload),
        order_digest(stack, REGION, "maker", "approve", payload),
        order_digest(stack, REGION, "checker", "go on", payload),
        order_digest(stack, REGION, "checker", "approve", {**payload, "digest": "0" * 64}),
    ):
        assert "STS does not know this signature" in call(wrong)["refused"]
    assert "STS does not know" in call(right, {"token": "T" * 64})["refused"]
    assert "not of its form" in call(right, {"host": "evil.example"})["refused"]
    assert place.find(id_).status is Status.REVIEW
    assert call(right)["request"]["state"] == "done"


@pytest.mark.parametrize("role", [OPERATORS, VIEWER, MAKER, CHECKER, "desk-maker"])
def test_no_role_of_people_writes_a_transaction_or_a_request(serverless: Serverless, role: str) -> None:
    table = serverless.record.outputs["tableName"]
    id_ = new("direct")
    Place(serverless).lay(id_)
    with serverless.as_role(role):
        client = boto3.client("dynamodb")
        for call, arguments in (
            ("execute_statement", {"Statement": f"UPDATE \"{table}\" SET status='CONFIRMED' WHERE id='{id_}'"}),
            ("put_item", {"TableName": table, "Item": {"id": {"S": id_}}}),
            ("delete_item", {"TableName": table, "Key": {"id": {"S": id_}}}),
            (
                "update_item",
                {
                    "TableName": table,
                    "Key": {"id": {"S": id_}},
                    "UpdateExpression": "SET attempt = :n",
                    "ExpressionAttributeValues": {":n": {"N": "0"}},
                },
            ),
            *(
                []
                if role == "desk-maker"
                else [("put_item", {"TableName": table, "Item": {"id": {"S": "#request#x"}}})]
            ),
        ):
            with pytest.raises(ClientError, match="AccessDenied"):
                getattr(client, call)(**arguments)


@pytest.mark.parametrize(
    ("function", "sid"),
    [
        ("desk-maker", "KnowIdentityCenter"),
        ("desk-maker", "ReadTheTable"),
        ("desk-maker", "ReadTheIndex"),
        ("desk-maker", "KeepRequests"),
        ("desk-checker", "KnowIdentityCenter"),
        ("desk-checker", "ReadTheTable"),
        ("desk-checker", "KeepRequests"),
        ("desk-checker", "MakeExits"),
    ],
)
def test_the_desk_needs(serverless: Serverless, function: str, sid: str) -> None:
    place, id_ = Place(serverless), new("needs")
    items = place.lay(id_)
    payload = {"id": secrets.token_hex(16), "order": {"kind": "redrive", "why": "w"}, "items": items}
    asked = (MAKER, "ana@example.com", Role.MAKER, "ask", payload)
    if function == "desk-maker":
        with serverless.without(function, sid):
            assert "refused" in order(serverless, *asked)
        return
    request = dict(order(serverless, *asked))
    with serverless.without(function, sid):
        assert "refused" in approve(place, request, "ben@example.com")
    assert place.find(id_).status is Status.REVIEW


@pytest.mark.parametrize("sid", ["KnowIdentityCenter", "AskTheDatabase"])
def test_the_desk_needs_on_fargate(fargate: Fargate, sid: str) -> None:
    place = Place(fargate)
    request = place.request(new("needs"))
    with fargate.without("desk-checker", sid):
        assert "refused" in approve(place, request, "ben@example.com")
    assert approve(place, request, "ben@example.com")["state"] == "done"


@pytest.mark.parametrize("role", [MAKER, CHECKER])
def test_people_need_to_call(serverless: Serverless, role: str) -> None:
    with serverless.without(role, "CallTheDesk"), pytest.raises(NotLetIn):
        order(serverless, role, "ana@example.com", Role(role.removeprefix("operators-")), "withdraw", {"id": "x"})
