"""The cost model against its published results (US$ a month, rounded to the dollar)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from alternatives.fargate import costs as fargate_costs
from alternatives.fargate.costs import PROD_INSIGHTS, fargate
from alternatives.serverless import costs as serverless_costs
from alternatives.serverless.costs import (
    ASSUMED,
    CLAIM_MOVES_KEY,
    LEAN,
    Work,
    batch_seconds,
    express,
    naive,
    serverless,
)
from analysis.costs.models import COUNTED_LOAD, LOAD, Model, baseline, break_even, month, total
from analysis.costs.prices import MILLION, PRICES, Mark
from tests.fakes import START, payment
from workers.domain.transaction import HistoryEntry, Status
from workers.telemetry import Telemetry

MODELS: dict[str, Model] = {
    "serverless prod": serverless,
    "serverless dev": lambda volume: serverless(volume, replace(serverless_costs.DEV, runs_per_hour=12)),
    "fargate prod": fargate,
    "fargate prod with insights": lambda volume: fargate(volume, PROD_INSIGHTS),
    "fargate dev": lambda volume: fargate(volume, fargate_costs.DEV),
    "naive": naive,
    "cron": baseline,
}


@pytest.mark.parametrize(
    ("name", "fixed", "by_volume"),
    [
        ("serverless prod", 90, [90, 90, 93, 100, 150, 667]),
        ("serverless dev", 48, [49, 49, 50, 55, 107, 622]),
        ("fargate prod", 193, [193, 193, 193, 194, 208, 425]),
        ("fargate prod with insights", 456, [456, 456, 456, 457, 470, 624]),
        ("fargate dev", 107, [107, 107, 107, 108, 122, 297]),
        ("naive", 84, [84, 85, 101, 262, 1_865, 17_897]),
        ("cron", 68, [68, 68, 68, 68, 75]),
    ],
)
def test_each_model_gives_its_published_figures(name: str, fixed: int, by_volume: list[int]) -> None:
    model = MODELS[name]
    assert round(total(model(0))) == fixed
    assert [round(total(model(1_000 * 10**n))) for n in range(len(by_volume))] == by_volume


def test_cron_never_catches_up_with_a_hundred_million() -> None:
    assert total(baseline(100 * MILLION)) == float("inf")


@pytest.mark.parametrize(
    ("a", "b", "millions"),
    [
        (serverless, fargate, 28),
        (serverless, lambda volume: fargate(volume, replace(fargate_costs.PROD, min_acu=1)), 49),
        (serverless, MODELS["fargate prod with insights"], 90),
        (MODELS["serverless dev"], MODELS["fargate dev"], 13.5),
        (serverless, lambda volume: fargate(volume, io_per_transaction=7), 47),
        (
            lambda volume: serverless(volume, work=replace(ASSUMED, write_units=CLAIM_MOVES_KEY.per_transaction())),
            fargate,
            18,
        ),
        (naive, fargate, 0.62),
        (naive, serverless, 0.046),
    ],
)
def test_break_evens_are_the_published_ones(a: Model, b: Model, millions: float) -> None:
    volume = break_even(a, b)
    assert volume is not None
    assert volume / MILLION == pytest.approx(millions, rel=0.02)


def test_what_is_always_cheaper_has_no_break_even() -> None:
    assert break_even(serverless, lambda volume: {"double": 2 * total(serverless(volume))}) is None


def test_the_dominating_lines_are_the_published_ones() -> None:
    small, large = month(serverless, MILLION), month(serverless, 100 * MILLION)
    assert [(line, round(share, 2)) for line, share in (small.dominating, large.dominating)] == [
        ("NAT hours + IPv4", 0.73),
        ("DynamoDB writes", 0.49),
    ]
    assert (small.per_million, large.per_million) == pytest.approx((10.0, 5.8), abs=0.05)
    line, share = month(naive, 100 * MILLION).dominating
    assert (line, round(share, 2)) == ("Step Functions", 0.88)


def test_write_units_of_the_lean_design() -> None:
    assert LEAN.per_transaction() == pytest.approx(5.2)
    assert LEAN.per_transaction() - LEAN.ingest == pytest.approx(3.2)
    assert LEAN.per_transaction(replace(LOAD, attempts=1)) == 5


@pytest.mark.parametrize(
    ("name", "more", "line", "dollars"),
    [
        ("write_units", 1, "DynamoDB writes", 62.5),
        ("read_units_per_attempt", 1, "DynamoDB reads", 13.125),
        ("log_bytes_per_attempt", 400, "logs", 42 * 0.53),
        ("transitions_per_child", 1, "Step Functions", 1_077_480 * 25 / MILLION),
    ],
)
def test_counted_work_changes_its_line_alone(name: str, more: float, line: str, dollars: float) -> None:
    changed: Work = replace(ASSUMED, **{name: getattr(ASSUMED, name) + more})
    before, after = serverless(100 * MILLION), serverless(100 * MILLION, work=changed)
    assert after[line] - before[line] == pytest.approx(dollars)
    assert {key for key in before if after[key] != before[key]} == {line}


def test_less_cpu_shortens_a_batch_until_the_gateway_binds() -> None:
    assert batch_seconds(100) == pytest.approx(1.26, abs=0.005)
    assert batch_seconds(100, work=replace(ASSUMED, cpu_ms=0.1)) == pytest.approx(0.03 + 2 * 0.175 + 0.125)


def test_express_gets_cheaper_by_volume() -> None:
    requests = 345_600_000  # of a second each: 6,000 GB-hours at 64 MB
    assert express(requests, 1.0) == pytest.approx(345.6 + 1_000 * 0.06 + 4_000 * 0.03 + 1_000 * 0.0164)
    assert express(1_000, 0.11) == express(1_000, 0.2), "in steps of 100 ms"


def test_every_price_says_where_it_is_from() -> None:
    for name, price in PRICES.items():
        assert price.usd > 0, name
        assert price.unit, name
        assert price.mark is Mark.KNOWN or price.source, name


def test_a_container_s_lines_are_as_long_as_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """An end at the first try, and one in twenty that is tried again before."""

    def line(status: Status, why: str) -> HistoryEntry:
        return HistoryEntry(START, "w", Status.PROCESSING, status, 1, "t", why)

    ends = [line(Status.CONFIRMED, "gateway confirmed")] * 20 + [line(Status.PENDING, "unknown: gateway answered 500")]
    records = [payment("order-2026-11-24-000123")._replace(status=end.now, attempt=1, history=(end,)) for end in ends]
    Telemetry("ns", "fargate-prod", "fargate", "prod").transactions(records, "ip-10-0-1-23.eu-west-1.c-12")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(records)
    billed = sum(len(one) + 26 for one in lines) / len(records)
    assert 0.7 * COUNTED_LOAD.log_bytes < billed < COUNTED_LOAD.log_bytes


def test_masking_is_paid_by_what_is_logged() -> None:
    def logs(masked: bool) -> float:
        return fargate(10 * MILLION, replace(fargate_costs.PROD, masked=masked))["logs"]

    assert logs(True) / logs(False) == pytest.approx((0.50 + 0.03 + 0.12) / (0.50 + 0.03))
