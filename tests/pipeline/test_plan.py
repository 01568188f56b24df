"""What a plan does, in words; and what is loosened so that it can be applied at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from delivery.pipeline import plan
from delivery.pipeline.errors import Refused
from delivery.pipeline.plan import REFERENCE, SIGNATURE, UNKNOWN, Change


def made(*resources: tuple[str, str, list[str], dict[str, Any] | None]) -> dict[str, Any]:
    """A plan of (type, name, steps, goal)."""
    start = "urn:pulumi:serverless::confirm-transactions::confirm-transactions:network:Network$"
    return {"resourcePlans": {f"{start}{kind}::{name}": {"steps": s, "goal": g} for kind, name, s, g in resources}}


def goal(custom: bool = True, outputs: Any = None, **changed: Any) -> dict[str, Any]:
    return {"custom": custom, "inputDiff": {"updates": changed}, "outputDiff": outputs or {}}


TABLE, FUNCTION, KEY = "aws:dynamodb/table:Table", "aws:lambda/function:Function", "aws:kms/key:Key"
REPLACED = ["create-replacement", "replace", "delete-replaced"]
PLAN = made(
    (TABLE, "transactions", REPLACED, goal(hashKey="x", name="y")),
    (FUNCTION, "confirm", ["update"], goal(environment={})),
    (FUNCTION, "plan", ["same"], goal()),
    (FUNCTION, "report", ["create"], goal()),
    (KEY, "data", ["delete"], None),
    ("aws:sns/topic:Topic", "alarms", ["delete", "replace", "create-replacement"], goal(name="x")),
    ("awsx:ec2:Vpc", "vpc", ["create"], goal(custom=False)),
    ("confirm-transactions:compute:Compute", "compute", ["delete"], None),
    ("pulumi:providers:aws", "aws", ["create"], goal()),
    ("pulumi-python:dynamic/confirm-transactions:OneOffTask", "migrations", ["update"], goal(triggers={})),
)


def test_the_changes_are_those_of_resources() -> None:
    assert plan.changes(PLAN) == [
        Change("changed", FUNCTION, "confirm", ("environment",)),
        Change("changed", "pulumi-python:dynamic/confirm-transactions:OneOffTask", "migrations", ("triggers",)),
        Change("created", FUNCTION, "report", ()),
        Change("deleted", KEY, "data", ()),
        Change("replaced", TABLE, "transactions", ("hashKey", "name")),
        Change("replaced", "aws:sns/topic:Topic", "alarms", ("name",)),
    ]


URL = {"GATEWAY_URL": "https://new.example", "LOG_LEVEL": "info", "GATEWAY_MODE": "confirm"}
OLD = {"GATEWAY_URL": "https://old.example", "LOG_LEVEL": "info", "GONE": "1"}


def containers(variables: dict[str, str], image: str = "x") -> str:
    found = [{"name": name, "value": value} for name, value in variables.items()]
    return json.dumps([{"name": "worker", "image": image, "environment": found}, {"name": "collector", "image": "y"}])


@pytest.mark.parametrize(
    ("key", "old", "new", "told"),
    [
        (
            "environment",
            {"variables": OLD},
            {"variables": URL},
            ("environment: GATEWAY_MODE", "environment: GATEWAY_URL", "environment: GONE"),
        ),
        (
            "containerDefinitions",
            containers(OLD),
            containers(URL | {"GONE": "1"}),
            ("containerDefinitions: worker GATEWAY_MODE", "containerDefinitions: worker GATEWAY_URL"),
        ),
        ("containerDefinitions", containers(OLD), containers(URL, image="z"), ("containerDefinitions",)),
        ("containerDefinitions", containers(OLD), UNKNOWN, ("containerDefinitions",)),
        ("environment", None, {"variables": URL}, ("environment",)),
        ("environment", {SIGNATURE: "secret", "ciphertext": "x"}, {"variables": URL}, ("environment",)),
        ("policy", '{"a": 1}', '{"a": 2}', ("policy",)),
    ],
)
def test_a_variable_that_changes_is_named_and_its_value_is_not(key: str, old: Any, new: Any, told: Any) -> None:
    """Another gateway must not hide behind the word `environment`."""
    planned = made((FUNCTION, "confirm", ["update"], goal(**{key: new})))
    (urn,) = planned["resourcePlans"]
    (change,) = plan.changes(planned, {urn: {key: old}})
    assert change.keys == told
    text = plan.summary("s", "c", [change])
    assert all(f"`{one}`" in text for one in told)
    assert "example" not in text


def test_what_is_lost_comes_first_and_shouts() -> None:
    text = plan.summary("serverless", "abc", plan.changes(PLAN))
    assert "**1 deleted**, **2 replaced**, **2 changed**, **1 created**." in text
    lost = text[text.index("## DATA WILL BE LOST") : text.index("## DELETED")]
    assert "- **DELETED**: `aws:kms/key:Key` **data** (what all else is sealed with)" in lost
    assert "- **REPLACED**: `aws:dynamodb/table:Table` **transactions** (the transactions)" in lost
    assert "alarms" not in lost  # a topic can be made again
    assert text.index("## DELETED") < text.index("## REPLACED") < text.index("## Changed") < text.index("## Created")
    assert "| `aws:dynamodb/table:Table` | transactions | `hashKey`, `name` |" in text


def test_nothing_shouts_where_nothing_is_lost() -> None:
    assert plan.summary("s", "c", [Change("changed", TABLE, "transactions", ("tags",))]).count("LOST") == 0
    assert plan.summary("s", "c", []).endswith("Nothing changes.\n")


def reference(id_: str) -> dict[str, str]:
    return {SIGNATURE: REFERENCE, "id": id_, "urn": "urn"}


def test_only_outputs_of_components_that_nobody_can_know_are_loosened() -> None:
    outputs = {
        "adds": {"vpc": reference(""), "subnets": [reference("subnet-1"), reference("")], "known": reference("vpc-1")},
        "updates": {"gateways": {"a": reference(UNKNOWN)}, "plain": "text"},
    }
    vpc = goal(custom=False, outputs=outputs)
    inputs = {
        "custom": True,
        "inputDiff": {"adds": {"vpc": reference("")}},
        "outputDiff": {"adds": {"a": reference("")}},
    }
    planned = made(
        ("awsx:ec2:Vpc", "vpc", ["create"], vpc), (FUNCTION, "f", ["create"], inputs), (KEY, "k", ["delete"], None)
    )
    before = repr(inputs)
    assert plan.fit(planned) == ["vpc.gateways", "vpc.subnets", "vpc.vpc"]
    assert outputs["adds"] == {"vpc": UNKNOWN, "subnets": UNKNOWN, "known": reference("vpc-1")}
    assert outputs["updates"] == {"gateways": UNKNOWN, "plain": "text"}
    assert repr(inputs) == before
    assert plan.fit(planned) == []


def test_the_stacks_own_outputs_are_let_go() -> None:
    outputs: dict[str, Any] = {"adds": {"databasePort": 5433}}
    planned = made(
        ("pulumi:pulumi:Stack", "s", ["create"], {**goal(custom=False, outputs=outputs), "type": plan.STACK})
    )
    assert plan.fit(planned) == ["s.databasePort"]
    assert outputs["adds"] == {"databasePort": UNKNOWN}


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"resourcePlans": {}}'])
def test_what_is_no_plan_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "plan.json"
    file.write_text(text)
    with pytest.raises(Refused, match=r"plan\.json: found no plan"):
        plan.read(file)
    with pytest.raises(Refused, match="found no plan"):
        plan.read(tmp_path / "none")
