"""The settings of the serverless alternative alone: keys, sizes by environment, values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from components.schedules import period_seconds
from components.settings.alternative import Part
from components.settings.environments import Environment
from components.settings.reading import BY_ENVIRONMENT, Key, Value, Values, integer, matching
from components.settings.values import Settings


@dataclass(frozen=True, slots=True)
class ServerlessSizing:
    """What one environment has."""

    pending_shards: int
    """A shard of the index takes 1,000 writes a second."""
    schedule: str
    """A run each minute costs 4.4 US$ a month where there is nothing to do."""
    point_in_time_recovery: bool
    contributor_insights: bool
    warm_write_units: int
    """A new on-demand table takes 4,000 writes a second; 0 leaves it so. Warming is a one-off charge."""


SIZES: Mapping[Environment, ServerlessSizing] = {
    Environment.DEV: ServerlessSizing(
        pending_shards=4,
        schedule="rate(2 minutes)",
        point_in_time_recovery=False,
        contributor_insights=False,
        warm_write_units=0,
    ),
    Environment.STAGING: ServerlessSizing(
        pending_shards=10,
        schedule="rate(1 minute)",
        point_in_time_recovery=True,
        contributor_insights=True,
        warm_write_units=0,
    ),
    Environment.PROD: ServerlessSizing(
        pending_shards=10,
        schedule="rate(1 minute)",
        point_in_time_recovery=True,
        contributor_insights=True,
        warm_write_units=8_000,
    ),
}


@dataclass(frozen=True, slots=True)
class RunSettings:
    """The scheduled run over the backlog."""

    schedule: str
    map_concurrency: int
    batches_per_plan: int
    lease_seconds: int
    """How long the run lock outlives a run that vanished. Overlap is harmless, the claims are fenced."""
    period_seconds: int | None
    """Time between two runs, where the schedule is a rate."""


@dataclass(frozen=True, slots=True)
class FunctionSettings:
    memory_mb: int
    timeout_seconds: int
    reserved_concurrency: int | None
    """For the batches; None reserves nothing."""
    collector_layer: str | None
    """ARN of a version; None: spans go to the X-Ray daemon that Lambda runs."""


def _schedule(raw: object) -> Value:
    if raw == "auto":
        return "auto"
    text = str(matching(r"(rate|cron)\([^()]+\)")(raw))
    if text.startswith("rate"):
        match = re.fullmatch(r"rate\(([1-9]\d{0,4}) (minute|hour|day)s?\)", text)
        if match is None or (match[1] == "1" and text.endswith("s)")):
            raise ValueError
        return text
    fields = text[len("cron(") : -1].split(" ")
    # minutes, hours, day of month, month, day of week, year: one of the two days is `?`
    if len(fields) != 6 or (fields[2] == "?") == (fields[4] == "?"):
        raise ValueError
    if not all(re.fullmatch(r"[\dA-Z*,/#LW?-]+", field) for field in fields):
        raise ValueError
    return text


@dataclass(frozen=True, slots=True)
class TableSettings:
    pending_shards: int
    point_in_time_recovery: bool
    contributor_insights: bool
    warm_write_units: int


KEYS: tuple[Key, ...] = (
    Key("schedule", "string", "auto", "When a run starts, in UTC: Scheduler's rate or cron; auto by environment.",
        "rate(N minutes|hours|days) (singular for 1), cron() with six fields and one of the days `?`, or auto",
        _schedule),
    Key("mapConcurrency", "integer", 10, "Batches under way at once.",
        "1 to 1,000 batches", integer(1, 1_000)),
    Key("batchesPerPlan", "integer", 500, "Batches per loop of a run.",
        "1 to 10,000 batches", integer(1, 10_000)),
    Key("pendingShards", "integer", 0, "Shards of the pending index; 0 for the environment's own. May be lowered.",
        f"1 to 100 shards, or {BY_ENVIRONMENT}", integer(1, 100, special=(0,))),
    Key("lambdaMemoryMb", "integer", 512, "Memory of each Lambda, and with it its share of a CPU (1,769 MB are one).",
        "128 to 10,240 MB", integer(128, 10_240)),
    Key("lambdaTimeoutSeconds", "integer", 120, "Longest time of one Lambda call, that is of one batch.",
        "10 to 900 seconds", integer(10, 900)),
    Key("lambdaReservedConcurrency", "integer", 0,
        "Lambda concurrency kept for the batches; 0 by environment (prod and staging: mapConcurrency), -1 for none.",
        "1 to 1,000, -1 for none, or 0 for the environment's own", integer(1, 1_000, special=(0, -1))),
    Key("adotLayer", "string", "",
        "ARN of AWS's collector layer (ADOT), which the Lambdas' traces then go through; nothing: Lambda's own daemon.",
        "arn:aws:lambda:REGION:901920570463:layer:aws-otel-collector-arm64-ver-X-Y-Z:VERSION (AWS's own), or nothing",
        matching(r"|arn:aws:lambda:[a-z0-9-]+:901920570463:layer:aws-otel-collector-arm64-ver-\d+-\d+-\d+:\d+"),
        "arn:aws:lambda:us-east-1:901920570463:layer:aws-otel-collector-arm64-ver-0-117-0:1"),
)  # fmt: skip


def _read(values: Values, common: Settings) -> tuple[RunSettings, FunctionSettings, TableSettings]:
    number, text, sizing = values.number, values.text, SIZES[common.environment]
    schedule = sizing.schedule if text("schedule") == "auto" else text("schedule")
    reserved = number("lambdaReservedConcurrency")
    if reserved == 0 and common.sizing.reserve_concurrency:
        reserved = number("mapConcurrency")
    return (
        RunSettings(
            schedule=schedule,
            map_concurrency=number("mapConcurrency"),
            batches_per_plan=number("batchesPerPlan"),
            lease_seconds=min(900, max(300, 2 * common.work.lease_seconds)),
            period_seconds=period_seconds(schedule),
        ),
        FunctionSettings(
            memory_mb=number("lambdaMemoryMb"),
            timeout_seconds=number("lambdaTimeoutSeconds"),
            reserved_concurrency=reserved if reserved > 0 else None,
            collector_layer=text("adotLayer") or None,
        ),
        TableSettings(
            pending_shards=number("pendingShards") or sizing.pending_shards,
            point_in_time_recovery=sizing.point_in_time_recovery,
            contributor_insights=sizing.contributor_insights,
            warm_write_units=sizing.warm_write_units,
        ),
    )


PART = Part(KEYS, SIZES, _read)
