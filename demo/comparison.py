"""The alternatives side by side: what was measured here, and what the cost model says of AWS."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import combinations
from statistics import median

from rich.console import Console
from rich.table import Table

from alternatives import ALTERNATIVES
from analysis.costs import graph
from analysis.costs.models import Model, break_even, month
from analysis.costs.prices import MILLION
from demo.scenario import Outcome

VOLUMES = (MILLION / 10, 10 * MILLION, 100 * MILLION)
PROD = {"environment": "prod", "alarmEmail": "on-call@example.com"}


@cache
def bill_of(alternative: str) -> Model:
    """What the program declares for prod, priced."""
    return graph.of(alternative, **PROD).bill


def rows(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """A row a question: the question, then each alternative's answer."""

    def each(what: str, *answers: str) -> tuple[str, ...]:
        return (what, *answers)

    table = [
        each("promises kept", *(_kept(o) for o in outcomes)),
        each("best 5 seconds here, final per second", *(f"{o.rate():,.0f}" for o in outcomes)),
        each("insert to final when quiet, median here", *(f"{median(o.latencies):.2f} s" for o in outcomes)),
    ]
    models = [bill_of(o.alternative) for o in outcomes]
    table.append(each("US$ a month on AWS, prod: fixed", *(f"{month(m, 0).fixed:,.0f}" for m in models)))
    for volume in VOLUMES:
        costs = (f"{month(m, volume).total:,.0f}" for m in models)
        table.append(each(f"  with {volume / MILLION:g} M transactions", *costs))
    per_million = (f"{month(m, VOLUMES[-1]).variable / VOLUMES[-1] * MILLION:.2f}" for m in models)
    table.append(each(f"  each million at {VOLUMES[-1] / MILLION:g} M", *per_million))
    table.append(each("better for", *(ALTERNATIVES[o.alternative].scenario().better_for for o in outcomes)))
    return table


def alike(outcomes: Sequence[Outcome]) -> tuple[int, int]:
    """How many transactions have the same final state in each alternative, and of how many."""
    ends = [{(record.id, record.status) for record in outcome.records} for outcome in outcomes]
    return len(set.intersection(*ends)), len({id_ for one in ends for id_, _ in one})


def show(console: Console, outcomes: Sequence[Outcome]) -> None:
    """Print the table and the break-even."""
    table = Table(box=None, padding=(0, 2), header_style="bold")
    table.add_column("")
    for outcome in outcomes:
        table.add_column(outcome.alternative, max_width=38)
    for row in rows(outcomes):
        table.add_row(*row)
    console.print(table)
    same, of = alike(outcomes)
    console.print(f"\n  {same:,} of {of:,} transactions ended the same way in both: the gateway refuses by the id,")
    console.print("  and the two people at the desk decide by its ledger.")
    for one, other in combinations((outcome.alternative for outcome in outcomes), 2):
        even = break_even(bill_of(one), bill_of(other))
        if even is not None:
            console.print(f"  Below {even / MILLION:.0f} M transactions a month {one} is cheaper, above it {other}.")
    console.print("  Costs are list prices of what the program declares (make cost), not a bill.", style="dim")


def _kept(outcome: Outcome) -> str:
    checks = outcome.verdict.checks
    return f"{sum(check.kept for check in checks)} of {len(checks)}"
