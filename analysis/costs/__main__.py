"""`python -m analysis.costs` (`make cost`): what a month of a stack costs on AWS, at a given volume, by list price.

It prices the resources that the program declares for the stack's config, beside the other alternatives with the same
config, and needs no AWS account.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

from rich.console import Console
from rich.table import Table

from alternatives.settings import NAMES
from analysis.costs import graph, plot
from analysis.costs.advice import advice
from analysis.costs.graph import Priced, UnpricedError
from analysis.costs.models import Model, Month, break_even, month
from analysis.costs.prices import MILLION, PRICES
from components.settings import SettingsError

ROOT = Path(__file__).resolve().parents[2]
CENT = 0.005
SIZES = {"": 1, "k": 1_000, "m": MILLION}


def volume_of(text: str) -> float:
    """`250000`, `250k`, `1.5M`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([km]?)", text.replace(",", "").replace("_", "").lower())
    if match is None or not float(match[1]):
        raise argparse.ArgumentTypeError(f"found {text!r}; allowed: a number of transactions, such as 250000 or 10M")
    return float(match[1]) * SIZES[match[2]]


def change_of(text: str) -> tuple[str, str]:
    """`environment=prod`."""
    key, given, value = text.partition("=")
    if not given:
        raise argparse.ArgumentTypeError(f"found {text!r}; allowed: key=value, such as environment=prod")
    return key, value


def main(arguments: Sequence[str]) -> int:
    """Price the stack; 1 where it has a resource without a price or a wrong config, which is told."""
    parser = argparse.ArgumentParser(prog="python -m analysis.costs", description=__doc__.splitlines()[0])
    parser.add_argument("--stack", default="serverless", help="the stack, that is Pulumi.<stack>.yaml")
    parser.add_argument("--volume", type=volume_of, default=MILLION, help="transactions a month: 250000, 250k, 10M")
    parser.add_argument("--set", type=change_of, action="append", default=[], metavar="KEY=VALUE",
                        help="price it with another value of a config key")  # fmt: skip
    parser.add_argument("--plot", type=Path, help="where the picture goes (default: .local/costs/<stack>.png)")
    asked = parser.parse_args(arguments)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    if not (ROOT / f"Pulumi.{asked.stack}.yaml").is_file():
        there = ", ".join(sorted(file.name.split(".")[1] for file in ROOT.glob("Pulumi.*.yaml")))
        console.print(f"error: there is no Pulumi.{asked.stack}.yaml; there are stacks {there}", markup=False)
        return 1
    changes = dict(asked.set)
    try:
        own = graph.of(asked.stack, **changes)
    except (SettingsError, UnpricedError) as error:
        console.print(f"error: {error}", markup=False)
        return 1
    stacks = {own.settings.alternative: own}
    for other in NAMES:
        if other not in stacks:
            try:
                stacks[other] = graph.of(asked.stack, **changes, alternative=other)
            except SettingsError as error:
                console.print(f"{other} cannot be compared, with this config it is refused:\n{error}\n", markup=False)
    stacks = dict(sorted(stacks.items(), key=lambda pair: NAMES.index(pair[0]), reverse=True))
    file = asked.plot or ROOT / ".local" / "costs" / f"{asked.stack}.png"
    show(console, asked.stack, stacks, own, asked.volume)
    title = f"A month of {own.settings.environment} on AWS, by list price"
    plot.draw(curves(stacks, **changes), title, file, volume=asked.volume)
    console.print(f"The break-even as a picture: {file.relative_to(ROOT) if file.is_relative_to(ROOT) else file}")
    return 0


def show(console: Console, name: str, stacks: Mapping[str, Priced], own: Priced, volume: float) -> None:
    """The bills side by side, where they cross, the advice, and the prices."""
    months = {alternative: month(one.bill, volume) for alternative, one in stacks.items()}
    console.print(
        f"\n[bold]Stack {name}[/] ({own.settings.alternative}, {own.settings.environment}): US$ for a month with "
        f"{volume:,.0f} transactions, list prices of us-east-1\n"
    )
    console.print(_bills(months))
    _crossing(console, stacks)
    found = advice(own, volume)
    if found:
        console.print("[bold]Costs more than it gives[/]")
        for one in found:
            console.print(f"  [yellow]{one.usd:8,.2f}[/] US$  {one.text}", soft_wrap=True)
        console.print()
    console.print(_prices({price for one in stacks.values() for price in one.prices}))


def curves(stacks: Mapping[str, Priced], **changes: str) -> dict[str, Model]:
    """Each alternative; and the variants that it wants to be compared with.

    `changes` of config are those that the stacks were priced with.
    """
    curves: dict[str, Model] = {name: one.bill for name, one in stacks.items()}
    for alternative, one in stacks.items():
        for name, own in one.use.variants.items():
            curves[name] = graph.of(one.name, **{**changes, "alternative": alternative, **own}).bill
    return curves


def _bills(months: Mapping[str, Month]) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="bold")
    table.add_column("")
    for alternative in months:
        table.add_column(alternative, justify="right")
    lines = dict.fromkeys(line for one in months.values() for line in one.bill)
    dearest = sorted(lines, key=lambda line: -max(one.bill.get(line, 0) for one in months.values()))
    for line in dearest:
        amounts = [one.bill.get(line, 0.0) for one in months.values()]
        if max(amounts) >= CENT:
            table.add_row(line, *(f"{usd:,.2f}" if usd >= CENT else "" for usd in amounts))
    table.add_section()
    table.add_row("[bold]together[/]", *(f"[bold]{one.total:,.2f}[/]" for one in months.values()))
    table.add_row("fixed: without a transaction", *(f"{one.fixed:,.2f}" for one in months.values()))
    table.add_row("each million", *(f"{one.per_million:,.2f}" for one in months.values()))
    table.add_row("another million", *(f"{one.further:,.2f}" for one in months.values()))
    table.add_row("the dominating line", *("{}, {:.0%}".format(*one.dominating) for one in months.values()))
    return table


def _crossing(console: Console, stacks: Mapping[str, Priced]) -> None:
    for (first, a), (second, b) in combinations(stacks.items(), 2):
        even = break_even(a.bill, b.bill)
        if even is None:
            console.print(f"\n{first} is cheaper at any volume.\n")
        elif even <= 1:
            console.print(f"\n{second} is cheaper at any volume.\n")
        else:
            millions = f"{even / MILLION:,.1f} M transactions a month"
            console.print(f"\nBelow {millions} {first} is cheaper, above it {second}.\n")


def _prices(names: set[str]) -> Table:
    table = Table(box=None, padding=(0, 1), title="Prices, US$ (F: found in the source, K: known, verify it)",
                  title_justify="left", title_style="bold", header_style="dim", style="dim")  # fmt: skip
    for heading in ("price", "for a", "", "of", "source"):
        table.add_column(heading, justify="right" if heading == "price" else "left")
    for name, price in PRICES.items():
        if name in names:
            form = f"{price.usd:.4g}" if price.usd >= 0.001 else f"{price.usd * MILLION:.4g} / M"
            table.add_row(form, price.unit, price.mark.value, price.date, price.source)
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
