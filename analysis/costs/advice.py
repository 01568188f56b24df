"""What costs more than it gives, in this very stack: each with what it costs a month and the key that changes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from alternatives import ALTERNATIVES
from analysis.costs.graph import TYPES, Advice, Priced
from analysis.costs.models import COUNTED_LOAD as LOAD
from analysis.costs.prices import GB, HOURS, MILLION, price
from components.settings import Environment

LONG_MONTHS = 12
"""How far the growth of what is kept is looked ahead."""


def advice(stack: Priced, volume: float) -> list[Advice]:
    """The dearest first."""
    found = [one for rule in RULES for one in rule(stack, volume)]
    return sorted(found, key=lambda one: -one.usd)


def _nat_per_zone(stack: Priced, _: float) -> Iterator[Advice]:
    if stack.env.nats > 1 and stack.settings.environment is not Environment.PROD:
        spare = (stack.env.nats - 1) * (price("nat_hour", HOURS) + price("ipv4", HOURS))
        yield Advice(
            spare,
            f"a NAT gateway in each zone: it survives the loss of a zone, which {stack.settings.environment} need not. "
            "natStrategy single",
        )


def _interface_endpoints(stack: Priced, volume: float) -> Iterator[Advice]:
    endpoints = stack.standing.get("interface endpoints", 0.0)
    if not endpoints or not stack.env.nats:
        return
    # at best they take all of AWS's own traffic off the NAT: logs, and what comes with each call to AWS
    saved = price("nat_gb", 5 + volume * LOAD.attempts * LOAD.log_bytes / GB)
    if endpoints > saved:
        yield Advice(
            endpoints - saved,
            f"interface endpoints beside NAT: they save {saved:.2f} US$ of its data at most. Keep them only where data "
            "must not leave AWS's network, else interfaceEndpoints []",
        )


def _hot_retention(stack: Priced, volume: float) -> Iterator[Advice]:
    short, long = (
        sum(stack.bill(volume, replace(LOAD, retention_months=months)).values())
        for months in (LOAD.retention_months, LONG_MONTHS)
    )
    if long - short > short / 20:
        where = ALTERNATIVES[stack.settings.alternative].datastore.called
        yield Advice(
            long - short,
            f"settled transactions stay in {where}: {LOAD.retention_months:g} months of them are in this bill, "
            f"{LONG_MONTHS} cost so much more. Nothing here deletes one: move what is older to S3 by means of your own",
        )


def _log_levels(stack: Priced, volume: float) -> Iterator[Advice]:
    for machine in stack.record.some("aws:sfn/stateMachine:StateMachine"):
        if (machine.inputs.get("loggingConfiguration") or {}).get("level") == "ALL":
            yield Advice(
                3.18 * volume / MILLION, f"{machine.name} logs every state (level ALL). ERROR logs what goes wrong"
            )
    for function in stack.record.some("aws:lambda/function:Function"):
        level = (function.inputs.get("loggingConfig") or {}).get("applicationLogLevel")
        if level in ("DEBUG", "TRACE"):
            yield Advice(10.60 * volume / MILLION, f"{function.name} logs at level {level}: INFO has a line for each")


def _contributors(stack: Priced, _: float) -> Iterator[Advice]:
    for insights in stack.record.some("aws:dynamodb/contributorInsights:ContributorInsights"):
        row = TYPES[insights.type].standing
        if insights.inputs.get("mode") != "THROTTLED_KEYS" and row:
            usd = sum(row(insights).values()) / 2
            yield Advice(usd, f"{insights.name} counts every access to a key. Mode THROTTLED_KEYS counts what matters")


def _own(stack: Priced, volume: float) -> Iterator[Advice]:
    """What the alternative knows of itself."""
    return stack.use.advice(stack, volume)


RULES = (
    _nat_per_zone,
    _interface_endpoints,
    _hot_retention,
    _log_levels,
    _contributors,
    _own,
)
