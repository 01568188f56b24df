"""The price of the recorded graph: every resource is priced or free by name, and the figures follow the graph."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alternatives.fargate import costs as fargate_costs
from alternatives.fargate.costs import SMALLEST, FargateEnv
from alternatives.serverless import costs as serverless_costs
from alternatives.serverless.costs import ServerlessEnv
from alternatives.settings import parse
from analysis.costs import graph, models
from analysis.costs.__main__ import main
from analysis.costs.advice import RULES, advice
from analysis.costs.graph import TYPES, Advice, Priced, UnpricedError, priced
from analysis.costs.models import break_even, month
from analysis.costs.prices import HOURS, MILLION, PRICES, price
from analysis.costs.schedules import runs_per_hour
from analysis.graph import PROJECT, Record, stack_config
from components.settings import Settings
from tests.docs.shown import recipe, shown
from tests.program.conftest import ALTERNATIVE_OF, STACKS

MODELS = (serverless_costs, fargate_costs)


def settings(name: str) -> Settings:
    config = stack_config(ALTERNATIVE_OF[name])
    return parse(
        {key.removeprefix(f"{PROJECT}:"): v for key, v in config.items() if key.startswith(PROJECT)}
        | dict(STACKS[name])
    )


@pytest.fixture
def stacks(records: dict[str, Record]) -> dict[str, Priced]:
    return {name: priced(name, settings(name), record) for name, record in records.items()}


def test_every_type_has_a_price_or_the_reason_why_not(records: dict[str, Record]) -> None:
    for record in records.values():
        assert list(graph.paid(record))
    for type_, row in TYPES.items():
        assert row.prices or row.free, type_
        assert set(row.prices) <= set(PRICES), type_


def test_no_row_waits_for_a_type_that_no_stack_has(records: dict[str, Record]) -> None:
    """It would let that type in unpriced."""
    assert not set(TYPES) - {one.type for record in records.values() for one in record.resources}


def test_a_type_without_a_row_is_an_error_by_its_name(records: dict[str, Record]) -> None:
    record = copy.deepcopy(records["dev"])
    record.resources.append(replace(record.resources[-1], type="aws:ec2/instance:Instance"))
    with pytest.raises(
        UnpricedError, match=r"aws:ec2/instance:Instance: add a row to TYPES in analysis/costs/graph\.py"
    ):
        priced("dev", settings("dev"), record)


def test_the_rows_name_all_prices_that_go_into_a_bill(
    stacks: dict[str, Priced], monkeypatch: pytest.MonkeyPatch
) -> None:
    used: set[str] = set()

    def noted(name: str, quantity: float = 1.0) -> float:
        if quantity:
            used.add(name)
        return price(name, quantity)

    for module in (models, graph, *MODELS):
        monkeypatch.setattr(module, "price", noted)
    for stack in stacks.values():
        used.clear()
        for volume in (0, MILLION):
            stack.bill(volume)
        graph.standing(stack.record)
        assert used <= set(stack.prices), stack.name


GOALS = {
    # stack: at most US$ a month without a transaction, and of another million at 10 M
    "prod": (90, 6.0),
    "dev": (50, 6.0),
    "fargate-prod": (460, 1.5),
    "fargate-dev": (104, 1.5),
    "fargate-asleep": (50, None),
}
"""Copies in the vault, which came later, are not in those of another million."""


@pytest.mark.parametrize("name", GOALS)
def test_the_bill_keeps_to_its_goal(stacks: dict[str, Priced], name: str) -> None:
    most, each = GOALS[name]
    found = month(stacks[name].bill, 10 * MILLION)
    assert found.fixed <= most
    copies = found.bill["backups"] / 10  # of a million
    assert each is None or round(found.further - copies, 2) <= each
    assert copies < 0.6


def test_the_smallest_database_in_prod_meets_its_goal() -> None:
    small = graph.of("fargate", **STACKS["fargate-prod"], **SMALLEST)
    assert month(small.bill, MILLION).fixed <= 196


def test_metrics_are_paid_for_the_hours_in_which_they_are_sent(stacks: dict[str, Priced]) -> None:
    """What comes all month is what workers with nothing to do send, as tests/serverless/test_handlers.py and
    tests/service/test_service.py see it; another alarm's metric would too, unless it is listed."""
    for name, all_month in (("prod", {"Backlog"}), ("fargate-prod", {"Backlog", "OldestPendingAge"})):
        stack = stacks[name]
        assert {metric[1] for metric in graph.kinds(stack.record)["all month"]} == all_month
        idle, rare, busy = (stack.bill(volume)["metrics of the work"] for volume in (0, 100, MILLION))
        assert idle == 0
        assert 0 < rare < busy / 5, "a hundred transactions fill a hundred hours of 730 at most"
        assert busy == pytest.approx(0.30 * (stack.env.work_metrics + 0.1 * stack.env.trouble_metrics), rel=0.01)


def test_a_run_that_finds_nothing_is_paid_for_too(stacks: dict[str, Priced]) -> None:
    idle, busy = (stacks["prod"].bill(volume)["Step Functions"] for volume in (0, 10 * MILLION))
    runs = HOURS * 60
    assert idle == pytest.approx(price("scheduler", runs) + price("sfn_transition", runs * 4))
    assert busy > price("sfn_transition", runs * 7)


def test_canaries_are_work_too(stacks: dict[str, Priced]) -> None:
    with_canary = stacks["staging"]
    assert with_canary.settings.canary
    without = replace(with_canary, settings=replace(with_canary.settings, canary=None))
    sent = HOURS * 60 / with_canary.settings.canary.minutes
    assert with_canary.bill(0) == without.bill(sent)
    assert sum(with_canary.bill(0).values()) > sum(without.bill(0).values())


def test_traces_are_paid_for_each_transaction_that_is_sampled_or_met_trouble(records: dict[str, Record]) -> None:
    def traces(percent: int) -> float:
        stack = priced("dev", replace(settings("dev"), trace_sampling=percent), records["dev"])
        return stack.bill(10 * MILLION)["X-Ray"] - stack.bill(9 * MILLION)["X-Ray"]

    assert [round(traces(percent), 2) for percent in (0, 1, 100)] == [0.25, 0.3, 5.0], "5 % are answered try later"


def test_gateways_addresses_and_endpoints_are_counted_from_awsxs_children(stacks: dict[str, Priced]) -> None:
    nat = price("nat_hour", HOURS) + price("ipv4", HOURS)
    assert [stacks[name].standing[graph.NAT] / nat for name in ("dev", "prod", "extremes")] == pytest.approx([1, 2, 3])
    assert "interface endpoints" not in stacks["prod"].standing  # gateway endpoints are free
    for extremes in ("extremes", "fargate-extremes"):
        assert stacks[extremes].standing["interface endpoints"] == pytest.approx(3 * 3 * 7.3)  # in each of three zones


def test_a_resource_more_costs_its_price_more(records: dict[str, Record]) -> None:
    for type_, usd in (
        ("aws:cloudwatch/metricAlarm:MetricAlarm", 0.10),
        ("aws:kms/key:Key", 1.0),
        ("aws:secretsmanager/secret:Secret", 0.40),
        ("aws:ec2/natGateway:NatGateway", 32.85),
    ):
        more = copy.deepcopy(records["prod"])
        more.resources.append(copy.deepcopy(more.all(type_)[0]))
        before, after = (sum(graph.standing(record).values()) for record in (records["prod"], more))
        assert after - before == pytest.approx(usd), type_


def test_the_settings_of_the_stack_reach_the_model(stacks: dict[str, Priced]) -> None:
    def serverless(name: str) -> ServerlessEnv:
        env = stacks[name].env
        assert isinstance(env, ServerlessEnv)
        return env

    def fargate(name: str) -> FargateEnv:
        env = stacks[name].env
        assert isinstance(env, FargateEnv)
        return env

    assert serverless("extremes").runs_per_hour == 4
    assert serverless("extremes").batch == 1_000
    assert (serverless("dev").recovery, serverless("prod").recovery) == (False, True)
    prod, wide = fargate("fargate-prod"), fargate("fargate-extremes")
    assert (prod.min_acu, prod.aurora_instances, prod.min_tasks, prod.on_demand_base, prod.spot_share) == (
        2,
        2,
        2,
        2,
        0.5,
    )
    assert (wide.task_vcpu, wide.task_gb, wide.aurora_instances, wide.spot_share) == (16, 120, 15, 1)
    assert wide.insights_acu_month == pytest.approx(0.003125 * 730)


def test_a_stack_asleep_pays_for_the_looks_alone(stacks: dict[str, Priced]) -> None:
    awake, asleep = stacks["fargate-dev"].bill(0), stacks["fargate-asleep"].bill(0)
    assert asleep["Aurora ACU"] == pytest.approx(awake["Aurora ACU"] / 36)  # awake for 5 minutes of 180
    assert (asleep["Container Insights"], asleep["logs"]) == (0, 0), "no task, no metrics, no lines"
    worked = stacks["fargate-asleep"].bill(MILLION)
    assert worked["Aurora ACU"] == pytest.approx(awake["Aurora ACU"], rel=0.01), "work keeps it awake"
    assert worked["Container Insights"] == pytest.approx(awake["Container Insights"], rel=0.01)
    assert asleep["Fargate"] < 0.05 < awake["Fargate"]
    assert asleep["Lambda"] > 0


def test_where_the_alternatives_cross(stacks: dict[str, Priced]) -> None:
    prod = break_even(stacks["prod"].bill, stacks["fargate-prod"].bill)
    assert prod is not None
    assert 60 * MILLION < prod < 130 * MILLION
    for volume, cheaper in ((prod / 2, "prod"), (prod * 2, "fargate-prod")):
        bills = {name: sum(stacks[name].bill(volume).values()) for name in ("prod", "fargate-prod")}
        assert min(bills, key=lambda name: bills[name]) == cheaper


@pytest.mark.parametrize(
    ("schedule", "times"),
    [
        ("rate(1 minute)", 60),
        ("rate(2 hours)", 0.5),
        ("cron(0/15 * * * ? *)", 4),
        ("cron(0 3 * * ? *)", 1 / 24),
        ("cron(0 8-17 ? * MON-FRI *)", 10 / 24 * 5 / 7),
        ("cron(0,30 0/6 ? * 1 *)", 2 * 4 / 24 / 7),
        ("cron(0 3 1 * ? *)", 1 / 24 / 31),
        ("cron(0 3 L * ? *)", 1 / 24 / 31),
    ],
)
def test_how_often_a_schedule_runs(schedule: str, times: float) -> None:
    assert runs_per_hour(schedule) == pytest.approx(times)


def test_each_advice_is_given_where_it_applies_and_nowhere_else(stacks: dict[str, Priced]) -> None:
    def found(stack: Priced, volume: float = MILLION) -> list[str]:
        return [one.text for one in advice(stack, volume)]

    def changed(name: str, type_: str, **inputs: Any) -> Priced:
        record = copy.deepcopy(stacks[name].record)
        record.all(type_)[0].inputs.update(inputs)
        return replace(stacks[name], record=record)

    def staging_of(stack: Priced) -> Priced:
        return replace(stack, settings=replace(stack.settings, environment=settings("staging").environment))

    def about(stack: Priced, words: str, volume: float = MILLION) -> bool:
        return any(words in text for text in found(stack, volume))

    assert found(stacks["prod"], MILLION / 10) == []
    assert about(staging_of(stacks["prod"]), "NAT gateway in each zone")
    assert not about(stacks["prod"], "NAT gateway in each zone")
    assert about(stacks["extremes"], "interface endpoints beside NAT")
    assert not about(stacks["prod"], "interface endpoints beside NAT")
    assert about(stacks["prod"], "3 months of them are in this bill, 12", 100 * MILLION)
    canaries = changed("prod", "aws:dynamodb/table:Table", ttl={"enabled": True})  # which forgets nothing else
    assert about(canaries, "3 months of them are in this bill, 12", 100 * MILLION)
    assert about(
        changed("prod", "aws:sfn/stateMachine:StateMachine", loggingConfiguration={"level": "ALL"}), "level ALL"
    )
    assert about(
        changed("prod", "aws:lambda/function:Function", loggingConfig={"applicationLogLevel": "DEBUG"}), "DEBUG"
    )
    assert about(
        changed("prod", "aws:dynamodb/contributorInsights:ContributorInsights", mode="ACCESSED_AND_THROTTLED_KEYS"),
        "counts every access",
    )
    assert about(stacks["fargate-prod"], "holds the capacity at 2 ACU")
    assert not about(stacks["fargate-staging"], "databaseInsights")
    assert about(stacks["fargate-extremes"], "AWS asks for 2")
    assert about(stacks["staging"], "rate(5 minutes)")
    assert not about(stacks["dev"], "rate(5 minutes)")
    assert not about(stacks["prod"], "rate(5 minutes)")


def test_no_rule_of_advice_is_dead(stacks: dict[str, Priced]) -> None:
    """Each of them is in the test above by its words; so many and no more."""
    assert len(RULES) == 6, "one of them asks the alternative, which has one of its own"
    assert all(isinstance(one, Advice) for one in advice(stacks["extremes"], MILLION))


# -- the command


def test_the_command_prints_both_bills_and_draws_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stacks: dict[str, Priced]
) -> None:
    picture = tmp_path / "cost.png"
    with shown("docs/costs.md", "What it costs", only=("make ",)) as page:
        _python, module, name, *arguments = recipe(next(page))
    assert (module, name) == ("-m", "analysis.costs")
    assert main([*arguments, "--plot", str(picture)]) == 0
    said = capsys.readouterr().out
    rows = {line.strip().split("  ")[0]: line.split()[-2:] for line in said.splitlines() if line.startswith("  ")}
    both = [month(stacks[name].bill, 10 * MILLION) for name in ("prod", "fargate-prod")]
    assert rows["together"] == [f"{one.total:,.2f}" for one in both]
    assert rows["fixed: without a transaction"] == [f"{one.fixed:,.2f}" for one in both]
    assert rows["each million"] == [f"{one.per_million:,.2f}" for one in both]
    assert rows["another million"] == [f"{one.further:,.2f}" for one in both]
    even = break_even(*(stacks[name].bill for name in ("prod", "fargate-prod")))
    assert even is not None
    assert f"Below {even / MILLION:,.1f} M transactions a month serverless is cheaper" in said
    for name in stacks["prod"].prices:
        assert PRICES[name].source in said
        assert PRICES[name].date in said
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--stack", "nowhere"], "there is no Pulumi.nowhere.yaml; there are stacks fargate, serverless"),
        (["--set", "batchSiz=4"], "did you mean batchSize?"),
    ],
)
def test_what_cannot_be_priced_is_told(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    assert says in capsys.readouterr().out


@pytest.mark.parametrize("volume", ["0", "-5", "many", "10G"])
def test_a_volume_that_is_none_is_refused(volume: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--volume", volume])
    said = capsys.readouterr().err
    assert "allowed: a number of transactions, such as 250000 or 10M" in said or "expected one argument" in said


def test_every_field_of_what_stands_is_read_off_the_graph_or_named() -> None:
    """A new field of Env that nobody reads off would stay at its assumption, unnoticed."""
    readers = (
        (graph.env_of, models.Env),
        (serverless_costs.read, ServerlessEnv),
        (fargate_costs.read, FargateEnv),
    )
    for reads, env in readers:
        source = inspect.getsource(reads)
        inherited = {field.name for field in dataclasses.fields(models.Env)} if env is not models.Env else {"name"}
        for field in dataclasses.fields(env):
            assert field.name in inherited or f"{field.name}=" in source, field.name
