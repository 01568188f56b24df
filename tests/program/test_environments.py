"""What the environments differ in beside their sizes: copies in the vault, protection, the budget."""

from __future__ import annotations

import json

import pytest

from alternatives.settings import parse
from analysis.graph import Record
from components.protection import HOLDERS
from components.settings import ENVIRONMENTS, Environment
from tests.program.invariants import MASK
from tests.program.test_settings import LEAST

VAULT, PLAN = "aws:backup/vault:Vault", "aws:backup/plan:Plan"
LOCK, SELECTION = "aws:backup/vaultLockConfiguration:VaultLockConfiguration", "aws:backup/selection:Selection"


@pytest.mark.parametrize("prefix", ["", "fargate-"])
def test_copies_are_kept_as_long_as_the_environment_says(records: dict[str, Record], prefix: str) -> None:
    for environment in Environment:
        record, sizing = records[f"{prefix}{environment}"], ENVIRONMENTS[environment]
        rules = [rule for plan in record.some(PLAN) for rule in plan.inputs["rules"]]
        assert [rule["lifecycle"]["deleteAfter"] for rule in rules] == (
            [sizing.vault_days] if sizing.vault_days else []
        )
        assert len(record.some(VAULT)) == bool(sizing.vault_days)
        assert len(record.some(LOCK)) == sizing.vault_locked


@pytest.mark.parametrize("prefix", ["", "fargate-"])
def test_logs_are_masked_where_the_environment_says_and_by_setting(records: dict[str, Record], prefix: str) -> None:
    masked = {name: bool(records[f"{prefix}{name}"].some(MASK)) for name in ("dev", "staging", "prod", "extremes")}
    assert masked == {"dev": False, "staging": True, "prod": True, "extremes": False}
    asked = parse(LEAST | {"maskLogs": "on"})
    assert (asked.environment, asked.mask_logs) == (Environment.DEV, True)
    groups = {one.inputs["logGroupName"].rpartition("/")[2] for one in records[f"{prefix}prod"].all(MASK)}
    assert groups >= ({"worker", "migrations", "postgresql"} if prefix else {"plan", "confirm", "report", "runs"})


@pytest.mark.parametrize(
    ("stack", "source"), [("prod", "aws:dynamodb/table:Table"), ("fargate-prod", "aws:rds/cluster:Cluster")]
)
def test_the_datastore_and_nothing_else_is_copied_into_our_vault(
    records: dict[str, Record], stack: str, source: str
) -> None:
    record = records[stack]
    (vault,), (plan,), (selection,) = record.all(VAULT), record.all(PLAN), record.all(SELECTION)
    assert selection.inputs["resources"] == [record.all(source)[0].outputs["arn"]]
    assert selection.inputs["planId"] == plan.outputs["name"] + "-id"
    assert plan.inputs["rules"][0]["targetVaultName"] == vault.inputs["name"]
    assert "forceDestroy" not in vault.inputs  # whoever wants the copies gone empties the vault, by hand


def test_a_lock_is_for_ever_only_where_that_was_asked_for(records: dict[str, Record]) -> None:
    locks = {
        stack: records[stack].all(LOCK)[0].inputs for stack in ("prod", "fargate-prod", "extremes", "fargate-extremes")
    }
    assert {stack: lock.get("changeableForDays") for stack, lock in locks.items()} == {
        "prod": None, "fargate-prod": None, "extremes": 30, "fargate-extremes": 30,
    }  # fmt: skip
    assert all(lock["minRetentionDays"] <= ENVIRONMENTS[Environment.PROD].vault_days for lock in locks.values())


def test_each_kind_of_holder_is_there_in_some_stack(records: dict[str, Record]) -> None:
    """A name of a type that is misspelt in the table would protect nothing."""
    protected = {resource.type for record in records.values() for resource in record.resources if resource.protect}
    assert protected == set(HOLDERS)


def test_the_budget_watches_this_stack_alone_and_tells_its_owner(records: dict[str, Record]) -> None:
    assert not records["prod"].some("aws:budgets/budget:Budget")
    for stack in ("extremes", "fargate-extremes"):
        (budget,) = records[stack].all("aws:budgets/budget:Budget")
        assert (budget.inputs["limitAmount"], budget.inputs["limitUnit"]) == ("500", "USD")
        tags = records[stack].all("pulumi:providers:aws")[0].inputs["defaultTags"]
        tag = (tags if isinstance(tags, dict) else json.loads(tags))["tags"]["Stack"]
        assert budget.inputs["costFilters"] == [{"name": "TagKeyValue", "values": [f"user:Stack${tag}"]}]
        alerts = {(one["notificationType"], one["threshold"]) for one in budget.inputs["notifications"]}
        assert alerts == {("FORECASTED", 100), ("ACTUAL", 80), ("ACTUAL", 100)}
        assert all(one["subscriberEmailAddresses"] == ["on-call@example.com"] for one in budget.inputs["notifications"])
