"""The descriptor of the fargate alternative."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alternatives.descriptor import Alternative, Datastore, Stacks

if TYPE_CHECKING:
    from analysis.costs.graph import CostModel
    from analysis.diagrams.model import Diagram
    from analysis.watched import Watched
    from cli.desk import DeskOf
    from components.settings import AlternativeSettings
    from demo.scenario import Scenario


def _settings() -> AlternativeSettings:
    from components.fargate.rules import SETTINGS

    return SETTINGS


def _stacks() -> Stacks:
    from alternatives.fargate.stacks import STACKS

    return STACKS


def _watched() -> Watched:
    from alternatives.fargate.watched import table

    return table


def _costs() -> CostModel:
    from alternatives.fargate.costs import read

    return read


def _diagram() -> Diagram:
    from alternatives.fargate.diagram import DIAGRAM

    return DIAGRAM


def _desk() -> DeskOf:
    from alternatives.fargate.desk import DESK

    return DESK


def _scenario() -> type[Scenario]:
    from alternatives.fargate.demo import Fargate

    return Fargate


ALTERNATIVE = Alternative(
    datastore=Datastore(output="databaseHost", called="the database"),
    has_image=True,
    settings=_settings,
    stacks=_stacks,
    watched=_watched,
    costs=_costs,
    diagram=_diagram,
    desk=_desk,
    scenario=_scenario,
)
