"""The settings of Aurora: keys, sizes by environment, values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from components.settings.alternative import Part
from components.settings.environments import Environment
from components.settings.reading import BY_ENVIRONMENT, Key, Value, Values, choice, integer, matching
from components.settings.values import Settings


class Insights(StrEnum):
    """CloudWatch Database Insights. Set explicitly: new databases get the paid mode otherwise."""

    OFF = "off"
    """Standard mode, which measures nothing of its own (AWS: Performance Insights off)."""
    STANDARD = "standard"
    ADVANCED = "advanced"


# What AWS keeps at choice: 7 days free, else whole months of 31 days, up to two years. 0 is the mode's own.
INSIGHTS_DAYS: tuple[int, ...] = (0, 7, *(31 * months for months in range(1, 24)), 731)

# What is kept where databaseInsightsDays leaves it to the mode: the free week, and Advanced's least.
INSIGHTS_DEFAULT_DAYS: Mapping[Insights, int] = {Insights.OFF: 0, Insights.STANDARD: 7, Insights.ADVANCED: 465}


@dataclass(frozen=True, slots=True)
class DatabaseSizing:
    """What one environment has."""

    min_capacity_units: float
    """Aurora; a unit is about 2 GiB of memory and 87.6 US$ a month. Database Insights wants 2 or more."""
    max_capacity_units: float
    database_instances: int
    """The second takes over within seconds; a single one is made anew, which takes minutes."""
    database_insights: Insights
    backup_days: int
    """Aurora's own, to any second of them; a table's point-in-time recovery always has 35."""
    final_snapshot: bool


SIZES: Mapping[Environment, DatabaseSizing] = {
    Environment.DEV: DatabaseSizing(
        min_capacity_units=0.5,
        max_capacity_units=4,
        database_instances=1,
        database_insights=Insights.OFF,
        backup_days=1,
        final_snapshot=False,
    ),
    Environment.STAGING: DatabaseSizing(
        min_capacity_units=0.5,
        max_capacity_units=8,
        database_instances=2,
        database_insights=Insights.OFF,
        backup_days=7,
        final_snapshot=True,
    ),
    Environment.PROD: DatabaseSizing(
        min_capacity_units=2,
        max_capacity_units=32,
        database_instances=2,
        database_insights=Insights.STANDARD,
        backup_days=35,
        final_snapshot=True,
    ),
}


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """Aurora. Capacities are in ACU."""

    engine_version: str
    min_capacity: float
    max_capacity: float
    instances: int
    insights: Insights
    insights_days: int
    """0 with insights off."""
    auto_pause_seconds: int
    """0: never."""
    backup_days: int
    final_snapshot: bool


def _capacity(raw: object) -> Value:
    """Aurora's capacity units, in steps of a half; "auto" is the environment's own, -1."""
    if raw == "auto":
        return -1.0
    if isinstance(raw, bool) or not re.fullmatch(r"\d{1,3}(\.[05])?", str(raw)):
        raise ValueError
    units = float(str(raw))
    if units > 256:
        raise ValueError
    return units


def _insights_days(raw: object) -> Value:
    number = integer(0, 731)(raw)
    if number not in INSIGHTS_DAYS:
        raise ValueError
    return number


KEYS: tuple[Key, ...] = (
    Key("minCapacityUnits", "string", "auto", "Least capacity of Aurora, in ACU; 0 lets it pause (autoPauseSeconds).",
        "0 to 256 in steps of 0.5, or auto for the environment's own", _capacity),
    Key("maxCapacityUnits", "string", "auto", "Most capacity of Aurora, in ACU (about 2 GiB of memory each).",
        "0.5 to 256 in steps of 0.5, or auto for the environment's own", _capacity),
    Key("databaseInstances", "integer", 0, "Instances of the Aurora cluster, a writer and readers that stand by.",
        f"1 to 15, or {BY_ENVIRONMENT}", integer(1, 15, special=(0,))),
    Key("databaseInsights", "string", "auto", "Database Insights: off, standard or advanced; auto by environment.",
        "off, standard, advanced or auto", choice("auto", *Insights)),
    Key("databaseInsightsDays", "integer", 0, "Days that Database Insights keeps; 0 for the mode's own (7, 465).",
        "7, 731, whole months of 31 days up to 713, or 0 for the mode's own", _insights_days),
    Key("autoPauseSeconds", "integer", 0, "Idle time after which Aurora pauses (with minCapacityUnits 0); 0 never.",
        "300 to 86,400 seconds, or 0 for never", integer(300, 86_400, special=(0,))),
    Key("engineVersion", "string", "17.7", "Version of Aurora PostgreSQL.",
        "a version 17.x from 17.4 on", matching(r"17\.([4-9]|[1-9]\d)")),
)  # fmt: skip


def _read(values: Values, common: Settings) -> tuple[DatabaseSettings]:
    sizing = SIZES[common.environment]
    number, text, units = values.number, values.text, values.units
    least, most, insights = units("minCapacityUnits"), units("maxCapacityUnits"), text("databaseInsights")
    mode = sizing.database_insights if insights == "auto" else Insights(insights)
    database = DatabaseSettings(
        engine_version=text("engineVersion"),
        min_capacity=sizing.min_capacity_units if least < 0 else least,
        max_capacity=sizing.max_capacity_units if most < 0 else most,
        instances=number("databaseInstances") or sizing.database_instances,
        insights=mode,
        insights_days=number("databaseInsightsDays") or INSIGHTS_DEFAULT_DAYS[mode],
        auto_pause_seconds=number("autoPauseSeconds"),
        backup_days=sizing.backup_days,
        final_snapshot=sizing.final_snapshot,
    )
    return (database,)


PART = Part(KEYS, SIZES, _read)
